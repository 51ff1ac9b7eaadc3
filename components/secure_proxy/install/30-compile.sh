#!/usr/bin/env bash
# Compiles LuaJIT, NGINX with its modules and lua-cjson once, and lays the result out as the jail wants it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
require NGINX_BUILD PROXY_BASE_DIR
require_root

if [[ $NGINX_BUILD == distribution ]]; then
  log "nothing to compile: NGINX comes from the distribution's packages"
  exit 0
fi
require_command gcc make

readonly SOURCES=$WORK_DIR/sources
readonly LUAJIT_PREFIX=$WORK_DIR/luajit
JOBS=$(nproc)
readonly JOBS

# Position-independent, with guarded stacks and checked buffer functions; symbols resolved and then write-protected
# at start. _FORTIFY_SOURCE is undefined first because some compilers predefine it.
readonly HARDENING='-O2 -fPIC -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -Wformat -Werror=format-security'
readonly LINKING='-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack'

# Static, so that one binary holds NGINX and LuaJIT. The Lua libraries are written for OpenResty's LuaJIT, which has
# the Lua 5.2 extensions. LuaJIT chooses its own flags, without guarded stacks: its interpreter is assembly.
compile_luajit() {
  make -C "$SOURCES/luajit2" --jobs="$JOBS" \
    BUILDMODE=static PREFIX="$LUAJIT_PREFIX" TARGET_CFLAGS=-fPIC XCFLAGS=-DLUAJIT_ENABLE_LUA52COMPAT
  make -C "$SOURCES/luajit2" install BUILDMODE=static PREFIX="$LUAJIT_PREFIX"
}

# Only what the configuration uses, what the route and limit settings need, and `stream`, which the benchmark loads
# as the TLS terminator to compare with. Everything else is left out: less code faces the network.
compile_nginx() {
  local -a without=(
    autoindex auth_basic browser charset empty_gif fastcgi grpc gzip memcached mirror scgi split_clients ssi
    upstream_hash upstream_ip_hash upstream_random userid uwsgi
  )
  local -a disabled=("${without[@]/#/--without-http_}")
  disabled=("${disabled[@]/%/_module}")
  export LUAJIT_LIB=$LUAJIT_PREFIX/lib LUAJIT_INC=$LUAJIT_PREFIX/include/luajit-2.1
  cd "$SOURCES/nginx"
  auto/configure \
    --prefix="$PROXY_BASE_DIR" \
    --sbin-path=/usr/sbin/nginx \
    --modules-path=/usr/lib/nginx/modules \
    --conf-path="$PROXY_BASE_DIR/nginx.conf" \
    --error-log-path="$PROXY_BASE_DIR/logs/nginx-error.log" \
    --http-log-path="$PROXY_BASE_DIR/logs/http-access.log" \
    --pid-path=/run/nginx.pid \
    --lock-path=/run/nginx.lock \
    --http-client-body-temp-path=/var/cache/nginx/client_temp \
    --http-proxy-temp-path=/var/cache/nginx/proxy_temp \
    --user=nginx \
    --group=nginx \
    --with-http_ssl_module \
    --with-http_stub_status_module \
    --with-pcre-jit \
    --with-stream=dynamic \
    --with-stream_ssl_module \
    "${disabled[@]}" \
    --add-module="$SOURCES/ngx_devel_kit" \
    --add-module="$SOURCES/lua-nginx-module" \
    --add-module="$SOURCES/websockify-nginx-module" \
    --with-cc-opt="$HARDENING" \
    --with-ld-opt="-pie $LINKING"
  make --jobs="$JOBS"
}

compile_lua_cjson() {
  make -C "$SOURCES/lua-cjson" cjson.so LUA_INCLUDE_DIR="$LUAJIT_PREFIX/include/luajit-2.1" \
    CFLAGS="$HARDENING -DNDEBUG" CJSON_LDFLAGS="-shared $LINKING"
}

stage() {
  local library
  rm -rf "$STAGE_DIR"
  install -d "$STAGE_DIR/usr/sbin" "$STAGE_DIR/usr/lib/nginx/modules" "$STAGE_DIR/usr/lib/lua" \
    "$STAGE_DIR/usr/share/lua"
  install -s -m 0755 "$SOURCES/nginx/objs/nginx" "$STAGE_DIR/usr/sbin/nginx"
  install -s -m 0755 "$SOURCES/nginx/objs/ngx_stream_module.so" "$STAGE_DIR/usr/lib/nginx/modules/"
  install -s -m 0755 "$SOURCES/lua-cjson/cjson.so" "$STAGE_DIR/usr/lib/lua/cjson.so"
  cp -R "$SOURCES/lua-cjson/lua/cjson" "$STAGE_DIR/usr/share/lua/"
  for library in "$SOURCES"/lua-resty-*; do
    cp -R "$library/lib/." "$STAGE_DIR/usr/share/lua/"
  done
  find "$STAGE_DIR/usr/share/lua" -type f ! -name '*.lua' -delete
  # Compiled in, so nothing is loaded at start.
  : >"$STAGE_DIR/modules.conf"
}

compile_luajit
compile_nginx
compile_lua_cjson
stage
log "compiled $("$STAGE_DIR/usr/sbin/nginx" -v 2>&1)"
