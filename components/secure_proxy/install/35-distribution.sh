#!/usr/bin/env bash
# Lays out NGINX, its Lua module and their Lua libraries, as the distribution packages them, the way the jail wants them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
require NGINX_BUILD
require_root

if [[ $NGINX_BUILD == source ]]; then
  log "nothing to collect: NGINX was compiled"
  exit 0
fi

readonly MODULES=/usr/lib/nginx/modules
# Loaded in this order: the Lua module uses the development kit.
readonly LOADED=(ndk_http_module.so ngx_http_lua_module.so)
# In the jail for the benchmark, which loads it as the TLS terminator to compare with; the proxy does not.
readonly UNLOADED=(ngx_stream_module.so)

# The compiled half of lua-cjson lies in the directory of the machine's architecture.
cjson_library() {
  local -a found=(/usr/lib/*/lua/5.1/cjson.so)
  if ((${#found[@]} != 1)) || [[ ! -f ${found[0]} ]]; then
    fail "expected one /usr/lib/*/lua/5.1/cjson.so, found: ${found[*]}"
  fi
  echo "${found[0]}"
}

rm -rf "$STAGE_DIR"
install -d "$STAGE_DIR/usr/sbin" "$STAGE_DIR/usr/lib/nginx/modules" "$STAGE_DIR/usr/lib/lua" "$STAGE_DIR/usr/share/lua"
install -m 0755 /usr/sbin/nginx "$STAGE_DIR/usr/sbin/nginx"
for module in "${LOADED[@]}" "${UNLOADED[@]}"; do
  install -m 0755 "$MODULES/$module" "$STAGE_DIR/usr/lib/nginx/modules/$module"
done
for module in "${LOADED[@]}"; do
  printf 'load_module %s/%s;\n' "$MODULES" "$module"
done >"$STAGE_DIR/modules.conf"

library=$(cjson_library)
install -m 0755 "$library" "$STAGE_DIR/usr/lib/lua/cjson.so"
for directory in cjson ngx resty; do
  cp -RL "/usr/share/lua/5.1/$directory" "$STAGE_DIR/usr/share/lua/"
done
log "collected $("$STAGE_DIR/usr/sbin/nginx" -v 2>&1)"
