#!/usr/bin/env bash
# Installs what the image needs to run and what the build needs to compile; remembers what was there before the latter.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
source "$(dirname "$0")/packages.sh"
require NGINX_BUILD
require_root

manager=$(package_manager)
readonly BEFORE=$WORK_DIR/packages-before-compilers

# Written once: when this step is repeated after a failure, some compilers are installed already and must go all
# the same.
remember_installed_packages() {
  if [[ ! -e $BEFORE ]]; then
    install -d -m 0700 "$WORK_DIR"
    installed_packages "$manager" >"$BEFORE.new"
    mv "$BEFORE.new" "$BEFORE"
  fi
}

read -ra wanted <<<"$(runtime_packages "$manager")"
if [[ $NGINX_BUILD == distribution ]]; then
  packaged=$(distribution_packages "$manager")
  read -ra distribution <<<"$packaged"
  wanted+=("${distribution[@]}")
  # The package would start its own NGINX under our unit's name; 50-service.sh puts ours there instead.
  systemctl mask nginx.service
fi
refresh_package_lists "$manager"
install_packages "$manager" "${wanted[@]}"

if [[ $NGINX_BUILD == source ]]; then
  read -ra compilers <<<"$(build_packages "$manager")"
  remember_installed_packages
  install_packages "$manager" "${compilers[@]}"
fi
log "installed with $manager for NGINX_BUILD=$NGINX_BUILD"
