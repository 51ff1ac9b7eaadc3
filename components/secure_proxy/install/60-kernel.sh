#!/usr/bin/env bash
# Installs the kernel settings; they take effect when an instance boots from the image.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
require KERNEL_PORTS_RANGE_START KERNEL_PORTS_RANGE_END WSS_PROXY_BIND_PORT OAUTH_PROXY_BIND_PORT HEALTH_PORT
require_root

install_rendered "$COMPONENT_DIR/rootfs/etc/sysctl.d/60-secure-proxy.conf" /etc/sysctl.d/60-secure-proxy.conf 0644 \
  KERNEL_PORTS_RANGE_START KERNEL_PORTS_RANGE_END WSS_PROXY_BIND_PORT OAUTH_PROXY_BIND_PORT HEALTH_PORT
log "ephemeral ports $KERNEL_PORTS_RANGE_START to $KERNEL_PORTS_RANGE_END"
