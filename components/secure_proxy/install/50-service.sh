#!/usr/bin/env bash
# Installs the units and the programs they run, and enables ours in place of any NGINX unit of the distribution.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
require JAIL_BASE_DIR PROXY_BASE_DIR PROXY_WORKER_CONNECTIONS HEALTH_PORT WSS_PROXY_BIND_PORT
require_root
require_command systemctl

readonly ROOTFS=$COMPONENT_DIR/rootfs
readonly UNITS=/etc/systemd/system
readonly PROGRAMS=/usr/libexec/secure-proxy
readonly PROXY_UNIT=$JAIL_BASE_DIR/etc/systemd/system/nginx.service

# A session holds a connection to each side; the rest is for logs, listeners and temporary files.
LIMIT_NOFILE=$((2 * PROXY_WORKER_CONNECTIONS + 1024))
export LIMIT_NOFILE

install_programs() {
  install -d -m 0755 "$PROGRAMS/proxy_configuration" "$PROGRAMS/proxy_self_test"
  install -m 0755 "$ROOTFS$PROGRAMS/configure" "$PROGRAMS/configure"
  install -m 0755 "$ROOTFS$PROGRAMS/sessions" "$PROGRAMS/sessions"
  install -m 0644 "$ROOTFS$PROGRAMS/proxy_configuration"/*.py "$PROGRAMS/proxy_configuration/"
  install -m 0755 "$COMPONENT_DIR/metrics/nginx_metrics.py" "$PROGRAMS/nginx-metrics"
  install -m 0755 "$COMPONENT_DIR/self_test/self_test.py" "$PROGRAMS/self-test"
  install -m 0644 "$COMPONENT_DIR/self_test/proxy_self_test"/*.py "$PROGRAMS/proxy_self_test/"
  install -m 0755 "$COMPONENT_DIR/install/inspect_jail.py" "$PROGRAMS/inspect-jail"
  install -m 0755 "$COMPONENT_DIR/install/validate.sh" "$PROGRAMS/validate"
}

install_units() {
  local unit
  for unit in secure-proxy-configure.service secure-proxy-metrics.service secure-proxy-metrics.timer \
    secure-proxy-logrotate.service secure-proxy-logrotate.timer; do
    install_rendered "$ROOTFS/etc/systemd/system/$unit" "$UNITS/$unit" 0644 JAIL_BASE_DIR PROXY_BASE_DIR \
      HEALTH_PORT WSS_PROXY_BIND_PORT
  done
  install_rendered "$ROOTFS/nginx/etc/systemd/system/nginx.service" "$PROXY_UNIT" 0644 \
    JAIL_BASE_DIR PROXY_BASE_DIR LIMIT_NOFILE
}

# The distribution's unit of the same name was masked before it could start; the mask makes room for the link.
enable_units() {
  systemctl disable nginx.service 2>/dev/null || true
  systemctl unmask nginx.service
  systemctl enable "$PROXY_UNIT"
  systemctl enable secure-proxy-configure.service secure-proxy-metrics.timer secure-proxy-logrotate.timer
}

install_programs
install_units
enable_units
log "nginx.service is $(systemctl is-enabled nginx.service), from $PROXY_UNIT"
