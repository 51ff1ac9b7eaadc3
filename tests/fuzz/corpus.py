"""Sequences worth keeping: one JSON file each, with the chunks in hexadecimal and why it is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent / "corpus"


def save(chunks: Sequence[bytes], why: str, directory: Path = DIRECTORY) -> Path:
    """Write a sequence, under a name made of its content; returns the file."""
    text = json.dumps({"why": why, "chunks": [chunk.hex() for chunk in chunks]}, indent=2) + "\n"
    name = hashlib.sha256(b"|".join(chunks)).hexdigest()[:12]
    path = directory / f"{name}.json"
    path.write_text(text)
    return path


def load(path: Path) -> list[bytes]:
    """The chunks of a file."""
    return [bytes.fromhex(chunk) for chunk in json.loads(path.read_text())["chunks"]]


def files() -> list[Path]:
    """All files, in the order of their names."""
    return sorted(DIRECTORY.glob("*.json"))
