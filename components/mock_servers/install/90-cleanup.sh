#!/usr/bin/env bash
# Removes what only the build needed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

main() {
  local manager package
  if [[ -e $WORK_DIR/remove-package ]]; then
    read -r manager package <"$WORK_DIR/remove-package"
    remove_package "$manager" "$package"
  fi
  rm -rf "$WORK_DIR"
  log "removed the build's tools and files"
}

main
