#!/usr/bin/env bash
# Checks the component parameters (arguments NAME=VALUE) and writes them to image.env.
# Values reach shell scripts and systemd units, so nothing outside the patterns passes.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

readonly PORT='[1-9][0-9]{0,4}'

declare -rA PATTERNS=(
  [ASSET_URL]='[a-z0-9]+://[A-Za-z0-9_./%+=-]+'
  [RUNTIME]='(docker|native)'
  [TCP_SERVER_PORT]=$PORT
  [OAUTH_SERVER_PORT]=$PORT
  [AUTHORIZER_PORT]=$PORT
)

declare -A values=()

read_arguments() {
  local argument name value
  for argument in "$@"; do
    name=${argument%%=*}
    value=${argument#*=}
    if [[ -z ${PATTERNS[$name]:-} ]]; then
      fail "unknown parameter $name; known: $(tr ' ' '\n' <<<"${!PATTERNS[*]}" | sort | tr '\n' ' ')"
    fi
    if [[ ! $value =~ ^${PATTERNS[$name]}$ ]]; then
      fail "parameter $name is '$value'; it must match ${PATTERNS[$name]}"
    fi
    if [[ ${PATTERNS[$name]} == "$PORT" ]] && ((value > 65535)); then
      fail "parameter $name is $value; a port is 1 to 65535"
    fi
    values[$name]=$value
  done
  for name in "${!PATTERNS[@]}"; do
    [[ -n ${values[$name]:-} ]] || fail "parameter $name is missing"
  done
}

check_ports_differ() {
  local ports
  ports=$(printf '%s\n' "${values[TCP_SERVER_PORT]}" "${values[OAUTH_SERVER_PORT]}" "${values[AUTHORIZER_PORT]}" | sort -u | wc -l)
  ((ports == 3)) || fail "TCP_SERVER_PORT, OAUTH_SERVER_PORT and AUTHORIZER_PORT must be three different ports"
}

write_image_env() {
  local name
  install -d -m 0755 "$(dirname "$IMAGE_ENV")"
  {
    printf '# Component parameters of this image, written when it was built.\n'
    for name in "${!values[@]}"; do
      printf '%s=%s\n' "$name" "${values[$name]}"
    done | sort
  } >"$IMAGE_ENV"
  chmod 0644 "$IMAGE_ENV"
}

read_arguments "$@"
check_ports_differ
write_image_env
log "wrote ${#values[@]} parameters to $IMAGE_ENV"
