# shellcheck shell=bash
# Everything that depends on the distribution: package names, package manager, where the CA bundle lies.
# Sourced after lib.sh. Systems: apt (Ubuntu 24.04, Debian 13) and dnf (Amazon Linux 2023).

package_manager() {
  if command -v apt-get >/dev/null; then
    echo apt
  elif command -v dnf >/dev/null; then
    echo dnf
  else
    fail "neither apt-get nor dnf is here; use Amazon Linux 2023, Ubuntu 24.04 or Debian 13 as base image"
  fi
}

# The packages that stay: what the boot configuration, log rotation and validation run.
runtime_packages() {
  case $1 in
    apt) echo ca-certificates libgcc-s1 logrotate openssl python3 ;;
    dnf) echo ca-certificates libgcc logrotate openssl python3 shadow-utils ;;
  esac
}

# The packages that compile NGINX; gone again when the image is finished.
build_packages() {
  case $1 in
    apt) echo gcc git libc6-dev libpcre2-dev libssl-dev make ;;
    dnf) echo diffutils findutils gcc git-core glibc-devel make openssl-devel pcre2-devel ;;
  esac
}

# NGINX and its Lua world as the distribution packages them.
distribution_packages() {
  case $1 in
    apt) echo libnginx-mod-http-lua libnginx-mod-stream lua-cjson lua-resty-core lua-resty-lrucache nginx-light ;;
    dnf) fail "NGINX_BUILD=distribution needs apt (Debian, Ubuntu): Amazon Linux packages no Lua module." \
      "Build from source here" ;;
  esac
}

# The names of all installed packages, sorted.
installed_packages() {
  case $1 in
    apt) dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' ;;
    dnf) rpm --query --all --queryformat '%{NAME}\n' ;;
  esac | sort -u
}

install_packages() {
  local manager=$1
  shift
  case $manager in
    apt)
      DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        --option DPkg::Lock::Timeout=300 "$@"
      ;;
    dnf) dnf --assumeyes --setopt=install_weak_deps=False install "$@" ;;
  esac
}

system_runs() {
  [[ -d /run/systemd/system ]]
}

# An Ubuntu that has just booted updates itself. That would hold apt's locks, and what it installs meanwhile would pass for compilers. The
# timers start again with the next boot; an update that is running is let finish.
pause_automatic_updates() {
  system_runs || return 0
  ! command -v cloud-init >/dev/null || cloud-init status --wait >/dev/null || true
  systemctl stop apt-daily.timer apt-daily-upgrade.timer 2>/dev/null || true
  while systemctl is-active apt-daily.service apt-daily-upgrade.service | grep -qx 'active\|activating\|deactivating'; do
    log "waiting for the system's own updates"
    sleep 5
  done
}

refresh_package_lists() {
  case $1 in
    apt)
      pause_automatic_updates
      apt-get update
      ;;
    dnf) dnf --assumeyes makecache ;;
  esac
}

# The package that owns a file, or nothing.
package_owning() {
  local manager=$1 file=$2 candidate
  case $manager in
    apt)
      # dpkg knows a merged-/usr file by one of its two names only.
      for candidate in "$file" "/usr$file" "$(readlink -f "$file")" "${file#/usr}"; do
        if dpkg-query --search "$candidate" 2>/dev/null | grep -v '^diversion ' | head -n 1 | cut -d: -f1 | grep .; then
          return
        fi
      done
      ;;
    dnf) rpm --query --file --queryformat '%{NAME}\n' "$(readlink -f "$file")" | grep -v ' ' ;;
  esac || true
}

# Packages so marked do not count as left over once those that pulled them in are gone.
keep_packages() {
  local manager=$1
  shift
  case $manager in
    apt) apt-mark manual "$@" ;;
    dnf) dnf --assumeyes mark install "$@" ;;
  esac
}

remove_packages() {
  local manager=$1
  shift
  case $manager in
    apt)
      DEBIAN_FRONTEND=noninteractive apt-get purge --yes --option DPkg::Lock::Timeout=300 "$@"
      ;;
    dnf) dnf --assumeyes remove --noautoremove "$@" ;;
  esac
}

clean_package_cache() {
  case $1 in
    apt)
      apt-get clean
      rm -rf /var/lib/apt/lists
      install -d -m 0755 /var/lib/apt/lists
      ;;
    dnf) dnf clean all ;;
  esac
}

ca_bundle() {
  case $1 in
    apt) echo /etc/ssl/certs/ca-certificates.crt ;;
    dnf) echo /etc/pki/tls/certs/ca-bundle.crt ;;
  esac
}
