#!/usr/bin/env bash
# Verify a deployment end to end with the client, as an outside user would meet it.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

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
  -h, --help     this text; `.venv/bin/python -m client e2e --help` lists the other client options

Exit codes: 0 every expectation holds, 1 one does not, 2 could not start.
TEXT
}

# Uses `context` and `arguments` of main.
verify_on_aws() {
  ensure_virtualenv
  cd "${PROJECT_DIR}"
  local words endpoint=() trust=()
  if [[ " ${arguments[*]} " != *" --insecure "* && " ${arguments[*]} " != *" --ca-file"* ]]; then
    scratch="$(mktemp -d)"
    trap 'rm -rf "${scratch}"' EXIT
    trust=(--ca-file "${scratch}/proxies.pem")
  fi
  words="$("${PYTHON}" -m deployment endpoint "${context[@]}" "${trust[@]}")" || exit
  mapfile -t endpoint <<<"${words}"
  "${PYTHON}" -m client e2e "${endpoint[@]}" "${arguments[@]}"
}

main() {
  local target="" name=default context=() arguments=()
  while [[ $# -gt 0 ]]; do
    case "$1" in
      -h | --help)
        usage
        exit 0
        ;;
      --local) target=local ;;
      --name)
        [[ $# -ge 2 ]] || die "--name needs a value" "${EXIT_NOT_STARTED}"
        name="$2"
        shift
        ;;
      -c | --context)
        [[ $# -ge 2 ]] || die "$1 needs a value" "${EXIT_NOT_STARTED}"
        context+=(--context "$2")
        shift
        ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  if [[ ${target} != local ]]; then
    verify_on_aws
    return
  fi
  ensure_local_target
  cd "${PROJECT_DIR}"
  local words endpoint=()
  words="$("${PYTHON}" -m local endpoint --name "${name}")" || exit "${EXIT_NOT_STARTED}"
  mapfile -t endpoint <<<"${words}"
  exec "${PYTHON}" -m client e2e "${endpoint[@]}" "${arguments[@]}"
}

main "$@"
