"""Running the programs that this one relies on."""

from __future__ import annotations

import subprocess

from proxy_configuration.errors import ConfigurationError


def run(command: list[str], what: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        output = (result.stderr or result.stdout).strip()
        raise ConfigurationError(f"{what} failed with exit code {result.returncode}:\n{output}")
