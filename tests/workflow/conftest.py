"""The workflow, new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.synthesis import template
from tests.workflow.runner import Workflow


@pytest.fixture(autouse=True)
def _no_other_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workflow() -> Iterator[Workflow]:
    with Workflow(template()).installed() as installed:
        yield installed


@pytest.fixture
def impatient() -> Iterator[Workflow]:
    """The workflow with both polls so short that a test reaches their end."""
    with Workflow(template()).installed(max_checks=12) as installed:
        yield installed


def _settled(workflow: Workflow) -> Workflow:
    assert workflow.run("first").status == "SUCCEEDED"
    workflow.world.pass_time(60)
    workflow.world.calls.clear()
    return workflow


@pytest.fixture
def deployed(workflow: Workflow) -> Workflow:
    """The workflow after a first deployment that succeeded, its machines settled."""
    return _settled(workflow)


@pytest.fixture
def deployed_impatient(impatient: Workflow) -> Workflow:
    """The same with short polls."""
    return _settled(impatient)
