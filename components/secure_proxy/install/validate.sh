#!/usr/bin/env bash
# Judges a finished image, or a machine booted from it: jail, units, programs, configuration. Changes nothing.
set -euo pipefail

readonly PROGRAMS=/usr/libexec/secure-proxy
readonly UNITS=(nginx.service secure-proxy-configure.service secure-proxy-metrics.timer secure-proxy-logrotate.timer)
# shellcheck disable=SC1091 # written when the image was built
source /etc/secure-proxy/image.env
problems=0

problem() {
  printf 'validate: %s\n' "$*" >&2
  problems=$((problems + 1))
}

check_units() {
  local unit state
  for unit in "${UNITS[@]}"; do
    state=$(systemctl is-enabled "$unit" 2>/dev/null || true)
    [[ $state == enabled ]] || problem "$unit is '${state:-unknown}', not enabled"
  done
  [[ $(readlink -f /etc/systemd/system/nginx.service) == "$JAIL_BASE_DIR/etc/systemd/system/nginx.service" ]] ||
    problem "nginx.service does not come from the jail $JAIL_BASE_DIR"
}

check_user() {
  local shell
  shell=$(getent passwd nginx | cut -d: -f7)
  [[ $shell == /sbin/nologin ]] || problem "the shell of nginx is '$shell', not /sbin/nologin"
}

check_units
check_user
"$PROGRAMS/inspect-jail" --jail "$JAIL_BASE_DIR" --configuration "$PROXY_BASE_DIR" ||
  problem "the jail is not as it should be"
"$PROGRAMS/configure" --check-templates || problem "NGINX refuses the configuration templates"
if ((problems > 0)); then
  printf 'validate: %d problems\n' "$problems" >&2
  exit 1
fi
echo 'validate: the image is as it should be'
