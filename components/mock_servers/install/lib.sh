# shellcheck shell=bash
# Shared by the install scripts: logging, checked settings, packages. Sourced, never run.

COMPONENT_DIR=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# Build-time state; removed by 90-cleanup.sh.
WORK_DIR=${WORK_DIR:-/var/tmp/mock-servers-work}
# The component parameters, written by 00-parameters.sh.
IMAGE_ENV=${IMAGE_ENV:-/etc/secure-proxy/image.env}
# Where the servers and the Node.js that runs them end up.
readonly TARGET_DIR=/usr/lib/mock-servers
export COMPONENT_DIR WORK_DIR TARGET_DIR

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
  [[ -r $IMAGE_ENV ]] || fail "$IMAGE_ENV is missing; run 00-parameters.sh first"
  # shellcheck disable=SC1090 # written by 00-parameters.sh, which lets no shell character through
  source "$IMAGE_ENV"
  for name in "$@"; do
    [[ -n ${!name:-} ]] || fail "$name has no value in $IMAGE_ENV"
  done
}

package_manager() {
  if command -v apt-get >/dev/null; then
    echo apt
  elif command -v dnf >/dev/null; then
    echo dnf
  else
    fail "neither apt-get nor dnf is here; use Amazon Linux 2023, Ubuntu 24.04 or Debian 13 as base image"
  fi
}

system_runs() {
  [[ -d /run/systemd/system ]]
}

# An Ubuntu that has just booted updates itself. That would hold apt's locks. The
# timers start again with the next boot; an update that is running is let finish.
pause_automatic_updates() {
  system_runs || return 0
  ! command -v cloud-init >/dev/null || cloud-init status --wait >/dev/null || true
  systemctl stop apt-daily.timer apt-daily-upgrade.timer 2>/dev/null || true
  while systemctl is-active apt-daily.service apt-daily-upgrade.service | grep -qx 'active\|activating\|deactivating'; do
    log "waiting for the system's own updates"
    sleep 5
  done
}

refresh_package_lists() {
  case $1 in
    apt)
      pause_automatic_updates
      apt-get update
      ;;
    dnf) dnf --assumeyes makecache ;;
  esac
}

install_package() {
  case $1 in
    apt)
      DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        --option DPkg::Lock::Timeout=300 "$2"
      ;;
    dnf) dnf --assumeyes --setopt=install_weak_deps=False install "$2" ;;
  esac
}

remove_package() {
  case $1 in
    apt)
      DEBIAN_FRONTEND=noninteractive apt-get purge --yes --auto-remove --option DPkg::Lock::Timeout=300 "$2"
      ;;
    dnf) dnf --assumeyes remove "$2" ;;
  esac
}
