"""The template, synthesized once a run."""

from __future__ import annotations

import pytest

from tests import synthesis
from tests.synthesis import Template


@pytest.fixture(scope="session")
def template() -> Template:
    """As `cdk synth` makes it from the settings of `cdk.json`."""
    return synthesis.template()
