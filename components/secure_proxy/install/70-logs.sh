#!/usr/bin/env bash
# Installs log rotation and the CloudWatch agent's configuration. The agent itself comes with the base image or with
# AWS's own component; where there is none, as on a machine outside AWS, the file waits unread.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
require JAIL_BASE_DIR PROXY_BASE_DIR CLOUDWATCH_LOG_GROUP
require_root

readonly ROOTFS=$COMPONENT_DIR/rootfs
readonly AGENT_CONFIG=/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json
readonly AGENT_UNIT=amazon-cloudwatch-agent.service

# Where the metrics unit appends its records.
install -d -m 0755 /var/log/secure-proxy
install_rendered "$ROOTFS/etc/secure-proxy/logrotate.conf" /etc/secure-proxy/logrotate.conf 0644 \
  JAIL_BASE_DIR PROXY_BASE_DIR
install_rendered "$ROOTFS$AGENT_CONFIG" "$AGENT_CONFIG" 0644 JAIL_BASE_DIR PROXY_BASE_DIR CLOUDWATCH_LOG_GROUP
if systemctl cat "$AGENT_UNIT" >/dev/null 2>&1; then
  # The agent reads the file when it starts, so enabling it is all that is left to do.
  systemctl enable "$AGENT_UNIT"
  log "CloudWatch agent ships the logs to group $CLOUDWATCH_LOG_GROUP"
else
  log "no CloudWatch agent on this image; its configuration is at $AGENT_CONFIG"
fi
