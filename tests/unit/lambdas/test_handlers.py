"""Every scenario: exactly these calls in this order, nothing left over, and this result or error."""

from __future__ import annotations

import json

import pytest

from lambdas.common import clients
from tests.unit.lambdas import scenarios_fleet, scenarios_images
from tests.unit.lambdas.scenario import Scenario, StubbedClients

SCENARIOS = [*scenarios_images.SCENARIOS, *scenarios_fleet.SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs = StubbedClients(scenario.calls)
    monkeypatch.setattr(clients, "client", stubs.client)
    event = json.loads(json.dumps(scenario.event))
    if scenario.error is None:
        result = scenario.handler(event)
        assert json.loads(json.dumps(result)) == scenario.result
    else:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - clients make their error classes as they go
            scenario.handler(event)
        assert type(caught.value).__name__ == scenario.error
        assert scenario.message in str(caught.value)
    stubs.assert_all_made()
