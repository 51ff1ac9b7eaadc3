#!/usr/bin/env bash
# Verify a deployment end to end with the client, as an outside user would meet it.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: bash execute_e2e_tests.sh [-c KEY=VALUE] [CLIENT OPTION...]
       bash execute_e2e_tests.sh --local [--name NAME] [CLIENT OPTION...]

Runs four scenarios against the deployment: the OAuth configuration, a token, a WebSocket echo with that token, and the
refusal (403) of invalid ones. TLS is verified against the certificates that the deployed proxies have published.

  --local          the deployment on this machine; without it, the one in the AWS account that the environment names
  --name NAME      which one on this machine, if it is not the default one
  -c, --context KEY=VALUE
                   CDK context, if the deployment in AWS was made with any
  --ca-file PEM    trust these certificates instead
  --insecure       verify nothing; for throw-away tests only
  --json           the results as JSON
  -h, --help       this text; `.venv/bin/python -m client e2e --help` lists the other client options

Exit codes: 0 every expectation holds, 1 one does not, 2 could not start.
TEXT
}

main() {
  local target arguments place=() client=() trust=() own_trust=false
  parse_target "$@"
  set -- "${arguments[@]}"
  while [[ $# -gt 0 ]]; do
    case "${target} $1" in
      "local --name" | "aws -c" | "aws --context")
        [[ $# -ge 2 ]] || die "$1 needs a value" "${EXIT_NOT_STARTED}"
        place+=("$1" "$2")
        shift
        ;;
      "local --name="* | "aws -c"* | "aws --context="*) place+=("$1") ;;
      "aws --name" | "aws --name="*)
        die "--name goes with --local; in AWS there is one deployment a region" "${EXIT_NOT_STARTED}"
        ;;
      "local -c"* | "local --context" | "local --context="*)
        die "${1%%=*} does not go with --local, which deploys what cdk.json says" "${EXIT_NOT_STARTED}"
        ;;
      *)
        [[ $1 == --insecure || $1 == --ca-file || $1 == --ca-file=* ]] && own_trust=true
        client+=("$1")
        ;;
    esac
    shift
  done
  verify
}

# Uses `target`, `place`, `client`, `trust` and `own_trust` of main.
verify() {
  local words endpoint=()
  cd "${PROJECT_DIR}"
  if [[ ${target} == local ]]; then
    ensure_local_target
    [[ ${own_trust} == false ]] || trust=(--no-ca-file)
    words="$("${PYTHON}" -m local endpoint "${place[@]}" "${trust[@]}")" || exit "${EXIT_NOT_STARTED}"
  else
    ensure_virtualenv
    scratch="$(mktemp -d)"
    trap 'rm -rf "${scratch}"' EXIT
    [[ ${own_trust} == true ]] || trust=(--ca-file "${scratch}/proxies.pem")
    words="$("${PYTHON}" -m deployment endpoint "${place[@]}" "${trust[@]}")" || exit
  fi
  mapfile -t endpoint <<<"${words}"
  "${PYTHON}" -m client e2e "${endpoint[@]}" "${client[@]}"
}

main "$@"
