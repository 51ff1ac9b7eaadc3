"""What a build root gets from the host: cached downloads of apt, pip and npm, the host's CA bundle and proxy settings.

None of it ends up in an image: all paths inside lie below /run, which is a file system of the container's own, and the
rest are environment variables.

apt keeps a lock on its archive directory and `apt-get clean` empties it. So each build has a directory of its own,
filled with links to the shared packages, and a hook links what apt is about to install back into the shared ones.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.layout import covers
from local.nspawn import Environment, Mount

_INSIDE = "/run/secure-proxy-host"
_CA_FILE = f"{_INSIDE}-ca.crt"
_HOST_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

# Each tool has its own name for the same file.
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
)

# How this host reaches registries, as the tools in a build root understand it too.
_PASSED = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "npm_config_registry", "NPM_CONFIG_REGISTRY"),
)
_CA_OF_THE_HOST = "SSL_CERT_FILE"

_KEEP = """#!/bin/sh
# apt names the packages that it is about to install, one a line.
while read -r package; do
  ln "$package" "{shared}/" 2>/dev/null || :
done
"""

_APT_CONF = """Dir::Cache::Archives "{archives}/";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
DPkg::Pre-Install-Pkgs {{ "{keep}"; }};
"""


@dataclass(frozen=True)
class Downloads:
    """The download cache in `directory`, shared by all builds of this host."""

    directory: Path

    @property
    def _shared(self) -> Path:
        return self.directory / "apt"

    def _work(self, unit: str) -> Path:
        return self.directory / "work" / unit

    def environment(self, unit: str, host: Mapping[str, str]) -> Environment:
        """Prepare the cache for the build `unit`; `host` is the environment of this process."""
        work = self._work(unit)
        shutil.rmtree(work, ignore_errors=True)
        archives = work / "archives"
        archives.mkdir(parents=True)
        for path in (self._shared, self.directory / "pip", self.directory / "npm"):
            path.mkdir(exist_ok=True)
        for package in self._shared.glob("*.deb"):
            with suppress(FileExistsError):
                os.link(package, archives / package.name)
        inside = f"{_INSIDE}/work/{unit}"
        keep = work / "keep"
        keep.write_text(_KEEP.format(shared=f"{_INSIDE}/apt"), encoding="utf-8")
        keep.chmod(0o755)
        (work / "apt.conf").write_text(
            _APT_CONF.format(archives=f"{inside}/archives", keep=f"{inside}/keep"), encoding="utf-8"
        )
        variables = {name: host[name] for name in _PASSED if name in host}
        variables |= {
            "APT_CONFIG": f"{inside}/apt.conf",
            "PIP_CACHE_DIR": f"{_INSIDE}/pip",
            "npm_config_cache": f"{_INSIDE}/npm",
        }
        mounts = [Mount(self.directory, _INSIDE, writable=True)]
        bundle = host_ca_file(host)
        if bundle:
            mounts.append(Mount(bundle, _CA_FILE))
            variables |= dict.fromkeys(_CA_VARIABLES, _CA_FILE)
        return Environment(tuple(mounts), variables)

    def release(self, unit: str) -> None:
        """Remove what builds of `unit` (see `layout.covers`) had for themselves."""
        for work in (self.directory / "work").glob(f"{unit}*"):
            if covers(unit, work.name):
                shutil.rmtree(work, ignore_errors=True)


def registry_access(host: Mapping[str, str]) -> dict[str, str]:
    """What of the environment `host` a process needs in order to prepare builds; see `Downloads.environment`."""
    return {name: host[name] for name in (*_PASSED, _CA_OF_THE_HOST) if name in host}


def host_ca_file(host: Mapping[str, str]) -> Path | None:
    """The bundle of certificate authorities that this host trusts, if it has one."""
    for text in (host.get(_CA_OF_THE_HOST, ""), *_HOST_CA_FILES):
        if text and Path(text).is_file():
            return Path(text).resolve()
    return None
