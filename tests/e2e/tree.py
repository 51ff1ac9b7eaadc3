"""A copy of the tree, to be changed and deployed."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import REPOSITORY

_COPIED = (
    "app.py",
    "cdk.json",
    "components",
    "deploy.sh",
    "deployment",
    "lambdas",
    "local",
    "package-lock.json",
    "package.json",
    "requirements.txt",
    "scripts",
    "stacks",
)
_SHARED = (".venv", "node_modules")


def copy_tree(target: Path) -> Path:
    """Everything that is deployed, copied into the directory `target`; what is installed is shared."""
    for name in _COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / name)
    for name in _SHARED:
        (target / name).symlink_to(REPOSITORY / name)
    return target
