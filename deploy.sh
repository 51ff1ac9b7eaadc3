#!/usr/bin/env bash
# Provision Secure Proxy: in an AWS account, or with --local on this machine.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: bash deploy.sh --local [OPTION...]

Builds both machine images from the component documents, boots them on this machine behind load balancers, waits until
all is healthy and prints the endpoints. Needs Linux (Debian or Ubuntu) and root; installs what is missing.

  --local                       deploy on this machine, no AWS account needed
  --nginx-build BUILD           distribution (default: NGINX from packages) or source (compiled from pinned commits)
  --source-base-url URL         where the source build clones owner/name from (default: https://github.com)
  --bridge BRIDGE               lua or websockify (default: what cdk.json says; websockify needs the source build)
  --authentication PROVIDER     external or openidc (default: external with distribution, else what cdk.json says)
  --rebuild                     build the images again and replace a running deployment
  --name NAME --listen ADDRESS  a second deployment beside the default one
  -h, --help                    this text

Exit codes: 0 deployed, 1 failed, 2 could not start (usage or prerequisites).
See also: bash execute_e2e_tests.sh --local, bash destroy.sh --local, .venv/bin/python -m local status
TEXT
}

main() {
  local target="" arguments=()
  while [[ $# -gt 0 ]]; do
    case "$1" in
      -h | --help)
        usage
        exit 0
        ;;
      --local) target=local ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  if [[ ${target} != local ]]; then
    die "the deployment to AWS is not built yet; use --local to deploy on this machine" "${EXIT_NOT_STARTED}"
  fi
  ensure_local_target
  local_target up "${arguments[@]}"
}

main "$@"
