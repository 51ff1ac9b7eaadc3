#!/usr/bin/env bash
# Checks the finished image without starting anything; exit code 0 only if all holds.
set -euo pipefail

readonly CONFIGURATION=/etc/secure-proxy
readonly TARGET_DIR=/usr/lib/mock-servers
readonly UNITS=(mock-instance.service mock-echo.service mock-oauth.service mock-authorizer.service)

fail() {
  printf 'validate: error: %s\n' "$*" >&2
  exit 1
}

check_settings() {
  local name
  # shellcheck disable=SC1091 # written by 00-parameters.sh, which lets no shell character through
  source "$CONFIGURATION/image.env"
  for name in RUNTIME TCP_SERVER_PORT OAUTH_SERVER_PORT AUTHORIZER_PORT; do
    [[ -n ${!name:-} ]] || fail "$name has no value in $CONFIGURATION/image.env"
  done
}

# What belongs to one instance, or keys that instances would share, must not be in an image.
check_nothing_of_an_instance() {
  local path
  for path in "$CONFIGURATION/instance.env" /run/secure-proxy/user-data /var/lib/mock-oauth /var/lib/private/mock-oauth; do
    [[ ! -e $path ]] || fail "$path is in the image"
  done
}

check_files() {
  local stray
  stray=$(find "$TARGET_DIR" /usr/libexec/mock-servers \( ! -user root -o -perm /022 -o -perm /6000 \) ! -type l -print -quit)
  [[ -z $stray ]] || fail "$stray is not root's alone"
}

check_units() {
  local unit
  for unit in "${UNITS[@]}"; do
    [[ $(systemctl is-enabled "$unit") == enabled ]] || fail "$unit is not enabled"
  done
  systemd-analyze verify "${UNITS[@]/#//etc/systemd/system/}" || fail "systemd does not accept the units"
}

check_native() {
  local server
  for server in "$TARGET_DIR"/servers/*.mjs; do
    "$TARGET_DIR/bin/node" --check "$server" || fail "$server does not parse"
  done
  (cd "$TARGET_DIR/servers" &&
    "$TARGET_DIR/bin/node" --input-type=module --eval "await import('jose'); await import('oauth2-mock-server')") ||
    fail "the servers' npm packages cannot be loaded"
  [[ ! -e $TARGET_DIR/lib && ! -e $TARGET_DIR/bin/npm ]] || fail "npm is left in the image"
}

check_docker() {
  local image
  # shellcheck disable=SC1091 # pinned in the repository
  source "$CONFIGURATION/container-images.env"
  for image in "$PYTHON_IMAGE" "$NODE_IMAGE" "$OAUTH_IMAGE"; do
    docker image inspect "$image" >/dev/null || fail "$image is not in the image"
  done
}

check_settings
check_nothing_of_an_instance
check_files
check_units
"check_$RUNTIME"
echo "validate: the mock-servers image is complete"
