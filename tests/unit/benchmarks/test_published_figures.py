"""What the README says of the bridge's speed is what was measured, and within the limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.bridge import RESULTS
from benchmarks.report import METRICS

FIGURES: list[dict[str, Any]] = json.loads((RESULTS / "bridge.json").read_text())["metrics"]
LIMITED = [figure for figure in FIGURES if figure["limit"]]


def test_the_readme_shows_the_table_that_was_written() -> None:
    readme = (RESULTS.parents[1] / "README.md").read_text()
    assert (RESULTS / "bridge.md").read_text().strip() in readme


def test_every_metric_with_a_limit_was_measured() -> None:
    limits = {metric.label: metric.limit for metric in METRICS if metric.limit}
    assert {figure["metric"]: figure["limit"] for figure in LIMITED} == limits


@pytest.mark.parametrize("figure", LIMITED, ids=lambda figure: figure["metric"])
def test_the_bridge_is_within_its_limit(figure: dict[str, Any]) -> None:
    assert figure["systems"]["bridge"]["ratio"]["median"] <= figure["limit"]
    assert len(figure["systems"]["bridge"]["values"]) >= (3 if "memory" in figure["metric"] else 7)
