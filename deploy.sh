#!/usr/bin/env bash
# Provision Secure Proxy: in an AWS account, or with --local on this machine.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: bash deploy.sh [OPTION...]
       bash deploy.sh --local [LOCAL OPTION...]

Deploys the stack EC2ImageBuilderSecureProxy into the AWS account that the environment names, starts the workflow that
builds both machine images and launches the fleets, follows it to its end and prints the endpoints. Running it again is
safe: it updates the stack, builds new images and rolls them out.

It needs AWS credentials as the AWS CLI finds them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or SSO) and
AWS_DEFAULT_REGION; CDK_DEFAULT_REGION is taken from it. Everything is checked before anything is changed.

  --yes                         ask nothing (without it, the CDK asks before it widens permissions)
  --no-wait                     leave once the workflow has started
  --follow ARN                  only follow an execution that was started before
  --after-running               if an execution is under way, follow it to its end first, then deploy
  --admitted-cidr CIDR|detect   who may reach the public ports: an IPv4 block, or the public address of this machine
                                (default: as externalIp in cdk.json says, that is, the address of this machine when the
                                stack is made; an update keeps what is admitted)
  --[no-]image-scanning         have Amazon Inspector scan new images (default: if it is switched on for EC2)
  --[no-]reserved-concurrency   one execution at a time of each function (default: if the account's quota suffices)
  -c, --context KEY=VALUE       CDK context, such as projectSettings.proxyFleet.minCapacity=3
  --poll SECONDS                how often to look while following (default: 10)

With --local it does the same on this machine, against an AWS endpoint that it starts: images are built from the component
documents, machines boot behind load balancers. Needs Linux (Debian or Ubuntu) and root; installs what is missing.

  --local                       deploy on this machine, no AWS account needed
  --nginx-build BUILD           distribution (default: NGINX from packages) or source (compiled from pinned commits)
  --source-base-url URL         where the source build clones owner/name from (default: https://github.com)
  --bridge BRIDGE               lua or websockify (default: what cdk.json says; websockify needs the source build)
  --authentication PROVIDER     external or openidc (default: external with distribution, else what cdk.json says)
  --proxies N                   how many proxies, 1 to 4 (default: 1)
  --debian-mirror URL           where Debian's packages come from (default: http://deb.debian.org)
  --name NAME --listen ADDRESS  a second deployment beside the default one
  -h, --help                    this text

Exit codes: 0 deployed, 1 failed, 2 could not start (usage or prerequisites), 130 interrupted.
See also: bash execute_e2e_tests.sh [--local], bash destroy.sh [--local], .venv/bin/python -m local status
TEXT
}

main() {
  local target arguments
  parse_target "$@"
  if [[ ${target} == local ]]; then
    ensure_local_target
    local_target up "${arguments[@]}"
  else
    ensure_aws_target
    aws_target deploy "${arguments[@]}"
  fi
}

main "$@"
