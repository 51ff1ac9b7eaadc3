#!/usr/bin/env bash
# RUNTIME=docker: the Docker engine and the pinned images, pulled now so that an instance starts without a registry.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../rootfs/docker/etc/secure-proxy/container-images.env
source "$COMPONENT_DIR/rootfs/docker/etc/secure-proxy/container-images.env"

install_docker() {
  local manager
  command -v docker >/dev/null && return
  manager=$(package_manager)
  refresh_package_lists "$manager"
  case $manager in
    apt) install_package apt docker.io ;;
    dnf) install_package dnf docker ;;
  esac
}

start_docker() {
  [[ -d /run/systemd/system ]] ||
    fail "Runtime=docker needs a booted machine with systemd, to run the Docker engine; use Runtime=native here"
  systemctl enable --now docker.service
  docker info >/dev/null || fail "the Docker engine does not answer; see journalctl --unit docker"
}

pull_images() {
  local image
  for image in "$PYTHON_IMAGE" "$NODE_IMAGE" "$OAUTH_IMAGE"; do
    docker pull --quiet "$image" || fail "cannot pull $image; see rootfs/docker/etc/secure-proxy/container-images.env"
  done
}

# The authorizer's packages, by the npm of the image that runs it.
install_npm_packages() {
  docker run --rm --volume "$TARGET_DIR/servers:/servers" --workdir /servers "$NODE_IMAGE" \
    npm ci --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier --no-progress
}

main() {
  install_docker
  start_docker
  pull_images
  install_npm_packages
  chmod -R u=rwX,go=rX "$TARGET_DIR"
  log "pulled the images; $(docker --version)"
}

main
