#!/usr/bin/env bash
# Clones every source of sources.lock, shallow and by tag, and refuses one whose commit is not the pinned one.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
require NGINX_BUILD SOURCE_BASE_URL

if [[ $NGINX_BUILD == distribution ]]; then
  log "nothing to clone: NGINX comes from the distribution's packages"
  exit 0
fi
require_command git

readonly LOCK=${SOURCES_LOCK:-$COMPONENT_DIR/sources.lock}

# A mirror on disk may belong to another user; git then asks for this consent. It is given for this build alone,
# and costs nothing: what counts is the commit id checked below. Never prompt: a missing repository must fail.
install -d -m 0700 "$WORK_DIR/sources"
printf '[safe]\n\tdirectory = *\n' >"$WORK_DIR/gitconfig"
export GIT_CONFIG_GLOBAL=$WORK_DIR/gitconfig GIT_TERMINAL_PROMPT=0

# clone NAME REPOSITORY TAG COMMIT
clone() {
  local name=$1 repository=$2 tag=$3 commit=$4 head
  local directory=$WORK_DIR/sources/$name url=${SOURCE_BASE_URL%/}/$repository
  rm -rf "$directory"
  git -c advice.detachedHead=false clone --quiet --depth 1 --branch "$tag" "$url" "$directory" ||
    fail "$name: tag $tag could not be cloned from $url; check SourceBaseUrl and that the mirror holds the tag"
  # HEAD is the commit also where the tag is an annotated one, whose own id differs.
  head=$(git -C "$directory" rev-parse --verify 'HEAD^{commit}')
  if [[ $head != "$commit" ]]; then
    fail "$name: tag $tag of $url is commit $head, but sources.lock pins $commit." \
      "Either the tag was moved or the mirror is not what it claims; compare the two before changing the lock"
  fi
  log "$name $tag is $commit"
}

count=0
while read -r name repository tag commit licence rest; do
  if [[ -z $name || $name == \#* ]]; then
    continue
  fi
  if [[ ! $commit =~ ^[0-9a-f]{40}$ || -z $licence || -n $rest ]]; then
    fail "$LOCK: line of '$name' is not: name repository tag commit licence"
  fi
  clone "$name" "$repository" "$tag" "$commit"
  count=$((count + 1))
done <"$LOCK"
if ((count == 0)); then
  fail "$LOCK lists no sources"
fi
log "$count sources verified"
