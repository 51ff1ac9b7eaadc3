#!/usr/bin/env bash
# Copies the servers, readable by all and writable by root alone.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

main() {
  local file
  rm -rf "$TARGET_DIR/servers"
  install -d -m 0755 "$TARGET_DIR/servers"
  for file in "$COMPONENT_DIR"/servers/*.{mjs,py,json}; do
    install -m 0644 "$file" "$TARGET_DIR/servers/"
  done
  log "installed the servers to $TARGET_DIR/servers"
}

main
