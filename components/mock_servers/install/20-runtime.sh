#!/usr/bin/env bash
# Installs what runs the servers: containers (RUNTIME=docker) or Node.js on the machine itself (RUNTIME=native).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

require RUNTIME
exec bash "$(dirname "$0")/runtime-$RUNTIME.sh"
