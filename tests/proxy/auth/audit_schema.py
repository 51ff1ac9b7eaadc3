"""What the documentation says that audit records are, and the check of real ones against it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from tests.proxy.nginx_harness import REPOSITORY

SCHEMA: dict[str, Any] = json.loads((REPOSITORY / "docs/audit-record.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def faults(records: Iterable[dict[str, Any]]) -> list[str]:
    """The records that are not as documented, each with what is wrong."""
    found = ((record, best_match(VALIDATOR.iter_errors(record))) for record in records)
    return [f"{error.message} in {record}" for record, error in found if error]
