#!/usr/bin/env bash
# Run every check and test of the project; what CI runs.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/common.sh"

readonly LINT_PACKAGES=(shellcheck shfmt lua-check)
readonly FUZZ_PACKAGES=(luajit)

usage() {
  cat <<'TEXT'
Usage: bash run_tests.sh [--setup-only | --lint-only] [PYTEST ARGUMENT...]

Installs what it needs, runs the linters and type checks, then pytest with a local deployment of its own.
Tests of the `source` build are left out unless SOURCE_BASE_URL names a place to clone the pinned repositories from.

  --setup-only  install the Python packages and the CDK CLI into the project's directory, and nothing else
  --lint-only   the linters and type checks alone
  -h, --help    this text

Examples:
  bash run_tests.sh                                       all that needs no source repositories
  bash run_tests.sh tests/unit                            one directory, no root needed
  SOURCE_BASE_URL=https://github.com bash run_tests.sh -m source    the source build
TEXT
}

lint() {
  local scripts
  need_tool git git
  need_tool shellcheck shellcheck
  need_tool shfmt shfmt
  need_tool luacheck luacheck
  step "Linting"
  mapfile -t scripts < <(git ls-files '*.sh')
  "${PYTHON}" -m ruff check .
  "${PYTHON}" -m ruff format --check .
  shellcheck --external-sources "${scripts[@]}"
  shfmt -i 2 -ci -d "${scripts[@]}"
  luacheck --quiet components
  step "Checking types"
  "${PYTHON}" -m mypy
  check_shipped_programs
}

# The programs that travel to the machines are no part of the package tree: each is checked where it lies.
check_shipped_programs() {
  local program
  while read -r program; do
    MYPYPATH="$(dirname "${program}")" "${PYTHON}" -m mypy --strict "${program}" || return 1
  done < <(git ls-files 'components/*.py' 'components/*/configure' 'components/*/sessions' ':(exclude,glob)components/**/proxy_*/**')
}

main() {
  local setup_only=false lint_only=false arguments=()
  while [[ $# -gt 0 ]]; do
    case "$1" in
      -h | --help)
        usage
        exit 0
        ;;
      --setup-only) setup_only=true ;;
      --lint-only) lint_only=true ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  cd "${PROJECT_DIR}"
  ensure_virtualenv
  ensure_cdk_cli
  [[ ${setup_only} == true ]] && exit 0
  has_apt && ensure_debian_packages "${LINT_PACKAGES[@]}"
  lint
  [[ ${lint_only} == true ]] && exit 0
  if [[ ${EUID} -eq 0 ]]; then
    has_apt && ensure_debian_packages "${FUZZ_PACKAGES[@]}"
    ensure_local_target
  fi
  step "Testing"
  exec "${PYTHON}" -m pytest "${arguments[@]}"
}

main "$@"
