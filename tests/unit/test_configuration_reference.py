"""docs/configuration.md is what the models say."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stacks.configuration_reference import reference
from stacks.settings_group import Effect
from stacks.settings_rules import RULES
from tests.unit.settings_support import REPOSITORY, SHIPPED, all_keys, value_at

DOCUMENT = REPOSITORY / "docs" / "configuration.md"
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()
ROWS = {line.split("`")[1]: line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")}


@pytest.mark.parametrize(
    "key",
    [
        "proxySettings.wssProxyBindPort",
        "proxySettings.oAuthProxyBindPort",
        "proxySettings.proxyPortScaleFactor",
        "mockServers.tcpServerPort",
        "mockServers.oAuthServerPort",
        "mockServers.authorizerPort",
        "elb.namePrefix",
        "proxySettings.proxyCloudwatchLogGroup",
    ],
)
def test_what_load_balancers_and_machines_must_agree_on_takes_effect_in_two_steps(key: str) -> None:
    assert ROWS[key].rstrip(" |").endswith(f"| {Effect.BOTH}")
    assert key.split(".")[-1] in OPERATIONS or key.split(".")[0] in OPERATIONS


def test_the_document_has_not_drifted_from_the_models() -> None:
    command = ".venv/bin/python -m stacks.configuration_reference > docs/configuration.md"
    assert DOCUMENT.read_text() == reference(), f"make it again: {command}"


def test_the_command_in_the_document_makes_it() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "stacks.configuration_reference"], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert made.stdout == DOCUMENT.read_bytes()


def test_every_key_has_a_row() -> None:
    assert sorted(ROWS) == sorted(all_keys())


@pytest.mark.parametrize("key", sorted(all_keys()))
def test_a_row_has_every_column_filled(key: str) -> None:
    cells = [cell.strip() for cell in ROWS[key].strip("|").split(" | ")]
    assert len(cells) == 6
    assert all(cells)
    assert cells[5].rstrip(" |") in list(Effect)


@pytest.mark.parametrize("key", sorted(set(all_keys()) - {"imagebuilder.schedule"}))
def test_a_row_shows_the_shipped_default(key: str) -> None:
    assert f"| `{json.dumps(value_at(SHIPPED, key))}` |" in ROWS[key]


def test_every_rule_is_listed() -> None:
    text = DOCUMENT.read_text()
    assert [rule.text for rule in RULES if f"- {rule.text}\n" not in text] == []
