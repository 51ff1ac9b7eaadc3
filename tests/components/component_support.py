"""What the component tests share: where things are, the shipped programs as modules, the scripts' parameters."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

COMPONENT = Path(__file__).parents[2] / "components" / "secure_proxy"
INSTALL = COMPONENT / "install"
ROOTFS = COMPONENT / "rootfs"
SCRIPTS = sorted(INSTALL.glob("*.sh"))
NUMBERED = [script for script in SCRIPTS if script.name[0].isdigit()]

# The parameters of an image with the product's defaults, as 00-parameters.sh takes them.
PARAMETERS = {
    "ASSET_URL": "s3://bucket/asset.zip",
    "NGINX_BUILD": "distribution",
    "SOURCE_BASE_URL": "https://github.com",
    "JAIL_BASE_DIR": "/nginx",
    "PROXY_BASE_DIR": "/etc/nginx",
    "PROXY_WORKER_PROCESSES": "auto",
    "PROXY_WORKER_CONNECTIONS": "16384",
    "KEEPALIVE_TIMEOUT": "120",
    "WSS_PROXY_BIND_PORT": "10000",
    "OAUTH_PROXY_BIND_PORT": "11080",
    "HEALTH_PORT": "8080",
    "WSS_BACKEND_PORT": "9000",
    "OAUTH_BACKEND_PORT": "10080",
    "KERNEL_PORTS_RANGE_START": "32768",
    "KERNEL_PORTS_RANGE_END": "61000",
    "CONNECT_TIMEOUT": "30s",
    "READ_TIMEOUT": "60s",
    "SEND_TIMEOUT": "60s",
    "CLOUDWATCH_LOG_GROUP": "SecureProxy",
    "BRIDGE": "lua",
}


def load_program(path: Path, name: str) -> ModuleType:
    """A program of the image as a module; nothing is compiled beside it."""
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        specification.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def run_script(script: Path, *arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs an install script with `environment` and the search path alone, nothing else of this process."""
    return subprocess.run(
        ["bash", str(script), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def install_rendered(source: Path, target: Path, values: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A file of rootfs/ with its placeholders replaced, by the function that the install scripts use."""
    script = 'source "$0/lib.sh" && install_rendered "$@"'
    return subprocess.run(
        ["bash", "-c", script, str(INSTALL), str(source), str(target), "0644", *values],
        env={"PATH": os.environ["PATH"], **values},
        capture_output=True,
        text=True,
        check=False,
    )
