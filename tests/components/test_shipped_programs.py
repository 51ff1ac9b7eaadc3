"""The Python programs that run on machine images: they must be readable for the oldest Python there, 3.9."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest

from tests.components.component_support import COMPONENT

REPOSITORY = COMPONENT.parents[1]
OLDEST = (3, 9)
PROGRAMS = COMPONENT / "rootfs/usr/libexec/secure-proxy"
WITHOUT_SUFFIX = [path for path in PROGRAMS.iterdir() if path.is_file() and not path.suffix]
SHIPPED = sorted([*COMPONENT.rglob("*.py"), *WITHOUT_SUFFIX])
# New in later versions of the standard library; anything here would be found out on the machine only.
TOO_NEW_NAMES = {
    "StrEnum",
    "TaskGroup",
    "ExceptionGroup",
    "Self",
    "UTC",
    "batched",
    "pairwise",
    "tomllib",
    "file_digest",
}
TOO_NEW_ARGUMENTS = {("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only")}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), feature_version=OLDEST)


def shown(path: Path) -> str:
    return str(path.relative_to(COMPONENT))


@pytest.mark.parametrize("path", SHIPPED, ids=shown)
def test_syntax_is_known_to_the_oldest_python(path: Path) -> None:
    assert not [node for node in ast.walk(tree(path)) if isinstance(node, ast.Match)]


@pytest.mark.parametrize("path", SHIPPED, ids=shown)
def test_annotations_are_not_evaluated(path: Path) -> None:
    found = [node for node in tree(path).body if not isinstance(node, ast.Expr)]
    if not found:
        return
    first = found[0]
    assert isinstance(first, ast.ImportFrom)
    assert first.module == "__future__"


@pytest.mark.parametrize("path", SHIPPED, ids=shown)
def test_nothing_newer_than_the_oldest_python_is_used(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in TOO_NEW_NAMES
        elif isinstance(node, ast.alias):
            assert node.name.split(".")[-1] not in TOO_NEW_NAMES
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for keyword in node.keywords:
                assert (node.func.id, keyword.arg) not in TOO_NEW_ARGUMENTS


@pytest.mark.parametrize("path", SHIPPED, ids=shown)
def test_only_the_standard_library_is_imported(path: Path) -> None:
    own = {"proxy_configuration", "proxy_self_test"}
    for node in ast.walk(tree(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names | own


@pytest.mark.parametrize("path", WITHOUT_SUFFIX, ids=shown)
def test_a_program_whose_name_does_not_end_in_py_is_linted_and_its_types_are_checked(path: Path) -> None:
    linted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["extend-include"]
    assert f"components/**/{path.name}" in linted
    assert f"'components/*/{path.name}'" in (REPOSITORY / "run_tests.sh").read_text()
