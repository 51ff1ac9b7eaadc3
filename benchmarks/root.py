"""The Debian root whose NGINX is measured: the distribution's, with its Lua module and its stream module."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

CACHE = Path("/var/cache/secure-proxy")
SUITE = "trixie"
PACKAGES = (
    "nginx-light",
    "libnginx-mod-http-lua",
    "libnginx-mod-stream",
    "lua-cjson",
)


def ensure_root() -> Path:
    """The cached root; made with mmdebstrap, in about a minute, if it is not there. Needs root and Debian's mirror."""
    key = hashlib.sha256("\n".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    path = CACHE / f"benchmark-{key}"
    if path.is_dir():
        return path
    print("making a Debian root with NGINX (once, about a minute) ...", flush=True)
    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    include = f"--include={','.join(PACKAGES)}"
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", include, SUITE, str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"mmdebstrap failed ({done.returncode}):\n{done.stderr[-2000:]}")
    partial.rename(path)
    return path
