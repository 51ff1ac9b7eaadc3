"""What the pages tell people to type, and what they say of the code, holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
MESSAGES = [path for package in ("client", "deployment", "local") for path in (REPOSITORY / package).rglob("*.py")]
MODULE = re.compile(r"(?<!\.venv/bin/)python3? -m (?:benchmarks|client|deployment|local|stacks|tests)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run_as_they_are_printed(page: Path) -> None:
    # The diagram of architecture.md has the module's name alone.
    assert MODULE.findall(page.read_text().replace('["python -m deployment<br/>', "")) == []


@pytest.mark.parametrize("source", MESSAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_messages_name_commands_that_run(source: Path) -> None:
    # Docstrings and help texts have names in backquotes, and argparse the program's.
    lines = [line for line in source.read_text().splitlines() if "`" not in line and "prog=" not in line]
    assert [line for line in lines if MODULE.search(line)] == []
