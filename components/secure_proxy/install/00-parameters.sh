#!/usr/bin/env bash
# Checks the component parameters (arguments NAME=VALUE) and writes them to image.env.
# Values reach shell scripts, a systemd unit and NGINX's configuration, so nothing outside the patterns passes.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

readonly PORT='([1-9][0-9]{0,4})'
readonly DURATION='[0-9]{1,9}(ms|s|m|h)'
readonly DIRECTORY='(/[A-Za-z0-9][A-Za-z0-9_.-]*)+'

declare -rA PATTERNS=(
  [ASSET_URL]='[a-z0-9]+://[A-Za-z0-9_./%+=-]+'
  [NGINX_BUILD]='(source|distribution)'
  [SOURCE_BASE_URL]='(https|file)://[A-Za-z0-9_./:@%-]+'
  [JAIL_BASE_DIR]=$DIRECTORY
  [PROXY_BASE_DIR]=$DIRECTORY
  [PROXY_WORKER_PROCESSES]='(auto|[1-9][0-9]{0,3})'
  [PROXY_WORKER_CONNECTIONS]='[1-9][0-9]{0,6}'
  [KEEPALIVE_TIMEOUT]='[1-9][0-9]{0,8}'
  [WSS_PROXY_BIND_PORT]=$PORT
  [OAUTH_PROXY_BIND_PORT]=$PORT
  [HEALTH_PORT]=$PORT
  [WSS_BACKEND_PORT]=$PORT
  [OAUTH_BACKEND_PORT]=$PORT
  [KERNEL_PORTS_RANGE_START]=$PORT
  [KERNEL_PORTS_RANGE_END]=$PORT
  [CONNECT_TIMEOUT]=$DURATION
  [READ_TIMEOUT]=$DURATION
  [SEND_TIMEOUT]=$DURATION
  [CLOUDWATCH_LOG_GROUP]='[A-Za-z0-9_./#-]+'
  [BRIDGE]='(lua|websockify)'
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
    if [[ -z ${values[$name]:-} ]]; then
      fail "parameter $name is missing"
    fi
  done
}

check_combinations() {
  if [[ ${values[BRIDGE]} == websockify && ${values[NGINX_BUILD]} == distribution ]]; then
    fail "BRIDGE=websockify needs NGINX_BUILD=source: no distribution packages websockify-nginx-module." \
      "Set proxySettings.bridge to lua or build from source"
  fi
  if ((values[KERNEL_PORTS_RANGE_START] >= values[KERNEL_PORTS_RANGE_END])); then
    fail "KERNEL_PORTS_RANGE_START must be below KERNEL_PORTS_RANGE_END"
  fi
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
check_combinations
write_image_env
log "wrote ${#values[@]} parameters to $IMAGE_ENV"
