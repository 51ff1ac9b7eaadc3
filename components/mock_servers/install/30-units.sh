#!/usr/bin/env bash
# Installs the units and programs of rootfs/common and rootfs/RUNTIME, and enables the units for the next boot.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

install_tree() {
  local tree=$1 file
  while IFS= read -r -d '' file; do
    install -D -m 0644 "$tree/$file" "/$file"
  done < <(cd "$tree" && find . -type f -printf '%P\0')
}

main() {
  require RUNTIME
  install_tree "$COMPONENT_DIR/rootfs/common"
  install_tree "$COMPONENT_DIR/rootfs/$RUNTIME"
  install -m 0755 "$COMPONENT_DIR/install/validate.sh" /usr/libexec/mock-servers/validate
  if [[ -d /run/systemd/system ]]; then
    systemctl daemon-reload
  fi
  # Not started: an image is built without instance values.
  systemctl enable mock-instance.service mock-echo.service mock-oauth.service mock-authorizer.service
  log "enabled the $RUNTIME units"
}

main
