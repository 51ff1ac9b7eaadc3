"""How the benchmark's figures become ratios, a verdict, a table, JSON and a chart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from benchmarks.report import METRICS, Results

UPLOAD = "upload 1024 cpu"


def results(values: Mapping[str, Mapping[str, Sequence[float]]]) -> Results:
    return Results(values, {"cpu": "2 x something"})


def row(measured: Results, label: str) -> list[str]:
    (line,) = (line for line in measured.as_markdown().splitlines() if line.startswith(f"| {label}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_are_made_within_a_round() -> None:
    measured = results({UPLOAD: {"terminator": [1.0, 10.0, 2.0], "bridge": [1.2, 11.0, 3.0]}})
    ratio = measured.ratio(METRICS[0], "bridge")
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (1.2, 1.1, 1.5)


def test_a_ratio_at_its_limit_is_within_it_and_a_larger_one_is_not() -> None:
    assert results({UPLOAD: {"terminator": [2.0], "bridge": [3.0]}}).beyond_limits() == []
    (line,) = results({UPLOAD: {"terminator": [2.0], "bridge": [3.1]}}).beyond_limits()
    assert "CPU per GB up, 1 KiB messages: 1.55 (limit 1.5)" in line


def test_only_the_bridge_has_limits() -> None:
    values = {UPLOAD: {"terminator": [1.0], "bridge": [1.0], "websockify package": [9.0]}}
    assert results(values).beyond_limits() == []


def test_a_token_check_is_compared_with_the_same_rounds_of_the_terminator() -> None:
    values = {
        "handshake cpu": {"terminator": [1.0, 2.0], "bridge": [1.0, 2.0]},
        "handshake cpu with token": {"bridge": [1.5, 3.0]},
    }
    cells = row(results(values), "the same with token check")
    assert cells[1] == "1.50 ms"
    assert "1.50\N{MULTIPLICATION SIGN}" in cells[2]


def test_what_was_not_measured_has_no_row() -> None:
    table = results({UPLOAD: {"terminator": [1.0], "bridge": [1.0]}}).as_markdown()
    assert "token" not in table
    assert "memory" not in table


def test_a_system_that_stalls_is_said_to_do_so() -> None:
    measured = results({UPLOAD: {"terminator": [1.0], "bridge": [1.0], "websockify module": []}})
    assert row(measured, "CPU per GB up, 1 KiB")[3] == "stalls"
    assert json.loads(measured.as_json())["metrics"][0]["systems"]["websockify module"]["stalls"] is True
    assert ">stalls</text>" in measured.as_svg()


def test_the_chart_is_well_formed_and_cuts_what_is_off_its_scale() -> None:
    measured = results({UPLOAD: {"terminator": [1.0], "bridge": [1.0], "websockify package": [95.0]}})
    chart = ElementTree.fromstring(measured.as_svg())  # noqa: S314 - our own
    width = float(chart.attrib["viewBox"].split()[2])
    bars = [element for element in chart.iter() if element.tag.endswith("rect") and "x" in element.attrib]
    assert bars
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width for bar in bars)
    assert ">95.00</text>" in measured.as_svg()
