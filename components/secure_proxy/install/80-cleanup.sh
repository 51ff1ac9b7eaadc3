#!/usr/bin/env bash
# Removes what only the build needed: compilers, sources, package caches.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
source "$(dirname "$0")/packages.sh"
require_root

manager=$(package_manager)

# The jail holds copies; their packages stay, so that a scanner of the image sees which versions these are.
keep_library_packages() {
  local library
  local -a owners
  mapfile -t owners < <(
    while read -r library; do
      package_owning "$manager" "$library"
    done <"$WORK_DIR/jail-libraries" | sort -u
  )
  if ((${#owners[@]} > 0)); then
    keep_packages "$manager" "${owners[@]}"
  fi
}

remove_build_packages() {
  local package
  local -a compilers
  if [[ ! -e $WORK_DIR/remove-packages ]]; then
    return
  fi
  mapfile -t compilers <"$WORK_DIR/remove-packages"
  if ((${#compilers[@]} > 0)); then
    remove_packages "$manager" "${compilers[@]}"
    for package in "${compilers[@]}"; do
      if package_is_installed "$manager" "$package"; then
        fail "build package $package is still installed"
      fi
    done
    log "removed ${compilers[*]}"
  fi
}

keep_library_packages
remove_build_packages
clean_package_cache "$manager"
rm -rf "$WORK_DIR"
