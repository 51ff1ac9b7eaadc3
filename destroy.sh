#!/usr/bin/env bash
# Remove everything that deploy.sh made.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: bash destroy.sh [--yes] [-c KEY=VALUE] [--poll SECONDS]
       bash destroy.sh --local [--name NAME] [--purge-cache]

Removes the deployment from the AWS account that the environment names: prints what there is, asks, empties the groups,
deletes the stack, then the Image Builder images, AMIs and snapshots that its pipelines have made, and looks that nothing
is left. Safe to run again, also after it was interrupted and when the stack is gone already.

  --yes                    ask nothing
  -c, --context KEY=VALUE  CDK context, if the deployment was made with any
  --poll SECONDS           how often to look while waiting (default: 10)

With --local: stops the machines and load balancers of the local deployment and removes every process, mount, namespace, bridge and
directory it left, also after a deployment that was killed half-way. Safe to run again.

  --local        the deployment on this machine
  --name NAME    which one, if it is not the default one
  --purge-cache  also remove the cached base system and package downloads
  -h, --help     this text

Exit codes: 0 nothing is left, 1 something is left (it is named), 2 could not start, 130 interrupted.
TEXT
}

main() {
  local target arguments
  parse_target "$@"
  if [[ ${target} == local ]]; then
    ensure_local_target
    local_target down "${arguments[@]}"
  else
    ensure_virtualenv
    aws_target destroy "${arguments[@]}"
  fi
}

main "$@"
