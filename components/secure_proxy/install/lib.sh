# shellcheck shell=bash
# Shared by the install scripts: logging, checked variables, rendered files. Sourced, never run.

COMPONENT_DIR=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# Build-time state; removed by the cleanup step.
WORK_DIR=${WORK_DIR:-/var/tmp/secure-proxy-work}
# What goes into the jail, laid out as inside it, whichever way NGINX came.
STAGE_DIR=$WORK_DIR/stage
# The component parameters, written by 00-parameters.sh.
IMAGE_ENV=${IMAGE_ENV:-/etc/secure-proxy/image.env}
# Names are sorted and messages are read the same way wherever the build runs.
LC_ALL=C
export COMPONENT_DIR WORK_DIR STAGE_DIR LC_ALL

log() {
  printf '%s: %s\n' "$(basename "$0")" "$*"
}

fail() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Loads the image's parameters and stops unless every named variable has a value.
require() {
  local name
  if [[ -r $IMAGE_ENV ]]; then
    # shellcheck disable=SC1090 # written by 00-parameters.sh, which lets no shell character through
    source "$IMAGE_ENV"
  fi
  for name in "$@"; do
    if [[ -z ${!name:-} ]]; then
      fail "variable $name has no value; 00-parameters.sh writes it to $IMAGE_ENV"
    fi
  done
}

require_root() {
  if ((EUID != 0)); then
    fail "must run as root"
  fi
}

require_command() {
  local name
  for name in "$@"; do
    command -v "$name" >/dev/null || fail "command $name is missing; 10-packages.sh installs it"
  done
}

# install_rendered SOURCE TARGET MODE NAME…: copies a file of rootfs/, replacing @NAME@ by the variable's value.
# Only the names given are replaced; one that is left over is an error, so that no placeholder reaches an image.
install_rendered() {
  local source=$1 target=$2 mode=$3 name text left
  shift 3
  text=$(<"$source")
  for name in "$@"; do
    text=${text//"@$name@"/"${!name}"}
  done
  left=$(grep -oE '@[A-Z][A-Z0-9_]*@' <<<"$text" | sort -u | tr '\n' ' ' || true)
  if [[ -n $left ]]; then
    fail "$source: placeholders without a value: $left"
  fi
  install -d -m 0755 "$(dirname "$target")"
  printf '%s\n' "$text" >"$target"
  chmod "$mode" "$target"
}
