"""What several tests of the local target need."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path

from local.document import Document, parse_document
from local.executor import DocumentExecutor
from local.progress import Progress
from local.targets import BootedMachine


def steps(text: str, phase: str = "build") -> Document:
    """A document of one phase; `text` holds its steps, unindented."""
    indented = "".join(f"      {line}\n" for line in text.strip().splitlines())
    return parse_document(f"schemaVersion: 1.0\nphases:\n  - name: {phase}\n    steps:\n{indented}", "component.yaml")


def bash(name: str, *commands: str, **keys: object) -> str:
    """A step that runs commands."""
    lines = [f"- name: {name}", "  action: ExecuteBash", *(f"  {key}: {value}" for key, value in keys.items())]
    return "\n".join([*lines, "  inputs:", "    commands:", *(f"      - {command!r}" for command in commands)]) + "\n"


def on_host(argv: Sequence[str]) -> list[str]:
    """Run a machine's commands right here."""
    return list(argv)


def executor(directory: Path, assets: dict[str, Path] | None = None) -> DocumentExecutor:
    """An executor whose target is this host; its log is `directory`/log."""
    target = BootedMachine(on_host, threading.Event())
    return DocumentExecutor("image", target, assets or {}, directory / "log", Progress(io.StringIO()))
