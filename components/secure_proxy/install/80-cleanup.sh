#!/usr/bin/env bash
# Removes what only the build needed: compilers, sources, package caches.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
source "$(dirname "$0")/packages.sh"
require_root

manager=$(package_manager)

readonly BEFORE=$WORK_DIR/packages-before-compilers

# The jail holds copies; their packages stay, so that a scanner of the image sees which versions these are.
library_packages() {
  local library
  while read -r library; do
    package_owning "$manager" "$library"
  done <"$WORK_DIR/jail-libraries" | sort -u
}

# All that came with the compilers, whatever else may recommend or suggest it by now, but for the libraries' packages.
compiler_packages() {
  installed_packages "$manager" | comm -13 "$BEFORE" - | comm -23 - <(printf '%s\n' "${libraries[@]}")
}

mapfile -t libraries < <(library_packages)
keep_packages "$manager" "${libraries[@]}"
if [[ -e $BEFORE ]]; then
  mapfile -t compilers < <(compiler_packages)
  if ((${#compilers[@]} > 0)); then
    remove_packages "$manager" "${compilers[@]}"
    lost=$(installed_packages "$manager" | comm -13 - <(printf '%s\n' "${libraries[@]}"))
    if [[ -n $lost ]]; then
      fail "removing the compilers took packages along that the jail's libraries belong to:" "$lost"
    fi
    log "removed ${#compilers[@]} packages that only the build needed"
  fi
fi
clean_package_cache "$manager"
rm -rf "$WORK_DIR"
