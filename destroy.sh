#!/usr/bin/env bash
# Remove everything that deploy.sh made.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: bash destroy.sh --local [--name NAME] [--purge-cache]

Stops the machines and load balancers of the local deployment and removes every process, mount, namespace, bridge and
directory it left, also after a deployment that was killed half-way. Safe to run again.

  --local        the deployment on this machine
  --name NAME    which one, if it is not the default one
  --purge-cache  also remove the cached base system and package downloads
  -h, --help     this text

Exit codes: 0 nothing is left, 1 something is left (it is named), 2 could not start.
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
    die "the deployment to AWS is not built yet; use --local to remove the one on this machine" "${EXIT_NOT_STARTED}"
  fi
  ensure_local_target
  local_target down "${arguments[@]}"
}

main "$@"
