"""Importing the programs that travel to the machines, from where they lie in the tree."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


def put_on_path(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Imports from `directory` first, and leaves no bytecode in it.

    Not pytest's `syspath_prepend`: that asks `pkg_resources`, once loaded, for what kosoku's stand-in of it lacks.
    """
    monkeypatch.setattr(sys, "path", [str(directory), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
