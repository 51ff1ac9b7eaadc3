"""Running the programs that this one relies on."""

from __future__ import annotations

import subprocess

from proxy_configuration.errors import ConfigurationError


def run(command: list[str], what: str) -> None:
    """Run a program that prints nothing worth knowing. Raises ConfigurationError with its words when it fails."""
    output(command, what)


def output(command: list[str], what: str) -> str:
    """What a program prints. Raises ConfigurationError with its words when it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        words = (result.stderr or result.stdout).strip()
        raise ConfigurationError(f"{what} failed with exit code {result.returncode}:\n{words}")
    return result.stdout
