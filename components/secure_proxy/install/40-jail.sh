#!/usr/bin/env bash
# Builds the jail: NGINX, our configuration and Lua code, exactly the shared libraries they load, three devices.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
source "$(dirname "$0")/packages.sh"
require JAIL_BASE_DIR PROXY_BASE_DIR
require_root
require_command ldd mknod

readonly JAIL=$JAIL_BASE_DIR
readonly TEMPLATES=$COMPONENT_DIR/nginx

if [[ -n $(ls -A "$JAIL" 2>/dev/null) ]]; then
  fail "$JAIL exists and is not empty; a jail is built on a fresh image only"
fi
if [[ ! -x $STAGE_DIR/usr/sbin/nginx ]]; then
  fail "$STAGE_DIR holds no NGINX; run 30-compile.sh or 35-distribution.sh first"
fi

create_user() {
  if ! getent passwd nginx >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir /var/cache/nginx --shell /sbin/nologin \
      --comment 'NGINX workers' nginx
  fi
  NGINX_UID=$(id -u nginx)
  NGINX_GID=$(id -g nginx)
  export NGINX_UID NGINX_GID
}

install_accounts() {
  local name
  for name in passwd group hosts nsswitch.conf; do
    install_rendered "$COMPONENT_DIR/rootfs/nginx/etc/$name" "$JAIL/etc/$name" 0644 NGINX_UID NGINX_GID
  done
}

install_devices() {
  install -d -m 0755 "$JAIL/dev"
  mknod -m 0666 "$JAIL/dev/null" c 1 3
  mknod -m 0666 "$JAIL/dev/random" c 1 8
  mknod -m 0666 "$JAIL/dev/urandom" c 1 9
}

# Prints what the dynamic linker loads for every binary of the stage.
needed_libraries() {
  local object resolved
  while read -r object; do
    resolved=$(ldd "$object")
    if grep -q 'not found' <<<"$resolved"; then
      fail "$object needs libraries that are not installed: $(grep 'not found' <<<"$resolved")"
    fi
    awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' <<<"$resolved"
  done < <(find "$STAGE_DIR/usr/sbin" "$STAGE_DIR/usr/lib" -type f)
}

# The C library loads libgcc_s by name when a thread of NGINX's pool ends; ldd cannot know. The name service needs
# nothing beside it: files and dns are part of libc.so.6 since glibc 2.34, which all supported systems have.
unwinder_of() {
  echo "$(dirname "$(grep '/libc\.so\.6$' "$1")")/libgcc_s.so.1"
}

install_libraries() {
  local list=$WORK_DIR/jail-libraries library
  needed_libraries | sort -u >"$list.ldd"
  { cat "$list.ldd" && unwinder_of "$list.ldd"; } | sort -u >"$list"
  while read -r library; do
    install -D -m 0755 "$library" "$JAIL$library"
  done <"$list"
  log "$(wc -l <"$list") shared libraries"
}

install_program() {
  install -D -m 0755 "$STAGE_DIR/usr/sbin/nginx" "$JAIL/usr/sbin/nginx"
  install -d -m 0755 "$JAIL/usr/lib" "$JAIL/usr/share"
  cp -R "$STAGE_DIR/usr/lib/." "$JAIL/usr/lib/"
  cp -R "$STAGE_DIR/usr/share/lua" "$JAIL/usr/share/"
  cp -R "$COMPONENT_DIR/lua/secure_proxy" "$JAIL/usr/share/lua/"
  install -D -m 0644 "$STAGE_DIR/modules.conf" "$JAIL$PROXY_BASE_DIR/modules.conf"
  cp -R "$TEMPLATES" "$JAIL$PROXY_BASE_DIR/templates"
  install -D -m 0644 "$(ca_bundle "$(package_manager)")" "$JAIL/etc/ssl/certs/ca-certificates.crt"
}

# Everything belongs to root and is writable by root alone, before the few exceptions are made.
lock_down() {
  chown -R root:root "$JAIL"
  find "$JAIL" -type d -exec chmod 0755 {} +
  find "$JAIL/usr/share" "$JAIL$PROXY_BASE_DIR" -type f -exec chmod 0644 {} +
  find "$JAIL/usr/lib" -type f -exec chmod 0755 {} +
}

# NGINX chowns a log or directory that does not belong to its user, which the unit's capabilities forbid. So each
# one that the configuration or the binary names exists beforehand and is already nginx's own. The directories
# around them stay root's: a worker cannot put a link where root's master opens a log.
make_writable_places() {
  local path
  local -a logs
  install -d -m 0700 "$JAIL$PROXY_BASE_DIR/certs"
  install -d -m 0755 "$JAIL$PROXY_BASE_DIR/logs" "$JAIL/run" "$JAIL/var/cache/nginx" "$JAIL/var/lib"
  # Where the distribution's binary was compiled to keep temporary files.
  ln -s ../cache/nginx "$JAIL/var/lib/nginx"
  while read -r path; do
    install -d -o nginx -g nginx -m 0700 "$JAIL$path"
  done < <(temporary_directories)
  mapfile -t logs < <(log_files)
  if ((${#logs[@]} == 0)); then
    fail "$TEMPLATES names no log below \${PROXY_BASE_DIR}/logs"
  fi
  for path in "${logs[@]}"; do
    install -o nginx -g nginx -m 0660 /dev/null "$JAIL$PROXY_BASE_DIR/logs/$path"
  done
}

temporary_directories() {
  "$STAGE_DIR/usr/sbin/nginx" -V 2>&1 | grep -oE -e '--http-[a-z-]+-temp-path=[^ ]+' | cut -d= -f2
  grep -rhoE '^ *[a-z_]+_temp_path +/[^ ;]+' "$TEMPLATES" | awk '{ print $2 }' || true
}

log_files() {
  # shellcheck disable=SC2016 # the templates hold this text
  grep -rhoE '\$\{PROXY_BASE_DIR\}/logs/[a-z-]+\.log' "$TEMPLATES" | sed 's,.*/,,' | sort -u
}

create_user
install -d -m 0755 "$JAIL"
install_accounts
install_devices
install_program
install_libraries
lock_down
make_writable_places
log "jail of $(du -sh "$JAIL" | cut -f1) in $JAIL"
