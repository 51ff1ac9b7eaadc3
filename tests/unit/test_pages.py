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


def test_the_fields_of_the_proxy_protocol_are_those_that_are_sent() -> None:
    source = (REPOSITORY / "components/secure_proxy/lua/secure_proxy/proxy_protocol.lua").read_text()
    sent = re.findall(r"\.\. field\((\w+), who\.", source)
    numbers: dict[str, str] = {}
    for names, values in re.findall(r"^local ([A-Z_, ]+) = (0x[0-9A-Fx, ]+)", source, re.MULTILINE):
        numbers |= dict(zip(names.split(", "), values.strip().split(", "), strict=True))
    _, _, section = (REPOSITORY / "docs/security.md").read_text().partition("## What the application is told")
    assert re.findall(r"^\| (0x[0-9A-F]{2}) \|", section, re.MULTILINE) == [numbers[name] for name in sent]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_other_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text())
    lost = []
    for place, anchor in links:
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{place}#{anchor}")
    assert lost == []
