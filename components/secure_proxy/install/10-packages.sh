#!/usr/bin/env bash
# Installs what the image needs to run and what the build needs to compile; remembers the latter for the cleanup.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
source "$(dirname "$0")/packages.sh"
require NGINX_BUILD
require_root

manager=$(package_manager)
readonly REMOVE_LATER=$WORK_DIR/remove-packages
install -d -m 0700 "$WORK_DIR"

# Writes down which of the packages the base image lacks. Once: when this step is repeated after a failure, some are
# installed already and must go all the same.
remember_absent() {
  local package
  if [[ -e $REMOVE_LATER ]]; then
    return
  fi
  for package in "$@"; do
    if ! package_is_installed "$manager" "$package"; then
      echo "$package"
    fi
  done >"$REMOVE_LATER.new"
  mv "$REMOVE_LATER.new" "$REMOVE_LATER"
}

read -ra wanted <<<"$(runtime_packages "$manager")"
read -ra compilers <<<"$(build_packages "$manager")"
distribution=()
if [[ $NGINX_BUILD == distribution ]]; then
  packaged=$(distribution_packages "$manager")
  read -ra distribution <<<"$packaged"
  # The package would start its own NGINX under our unit's name; 50-service.sh puts ours there instead.
  systemctl mask nginx.service
fi

refresh_package_lists "$manager"
if [[ $NGINX_BUILD == source ]]; then
  remember_absent "${compilers[@]}"
  wanted+=("${compilers[@]}")
fi
install_packages "$manager" "${wanted[@]}" "${distribution[@]}"
log "installed with $manager for NGINX_BUILD=$NGINX_BUILD"
