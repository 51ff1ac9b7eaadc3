"""Cron expressions as EC2 Image Builder reads them."""

from __future__ import annotations

import pytest

from stacks.settings_cron import parse_cron
from stacks.settings_types import RefusedError


@pytest.mark.parametrize(
    "fields",
    [
        "0 2 ? * sun *",
        "0 0 1 * ? *",
        "0/15 * ? * 2-6 *",
        "0,30 8-18 ? jan-mar mon-fri 2026",
        "59 23 31 12 ? 2199",
        "0 0 L * ? *",
        "0 0 LW * ? *",
        "0 0 15W * ? *",
        "0 0 ? * 6L *",
        "0 0 ? * friL *",
        "0 0 ? * 2#1 *",
        "0 0 ? * mon#5 *",
        "0 0 ? 1,4,7,10 sat 2026-2030",
        "*/5 * * * ? *",
        "*/1 */23 * * ? *",
        "*/59 1-5/2 * * ? *",
    ],
)
@pytest.mark.parametrize("form", ["{}", "cron({})"])
def test_an_expression_is_kept_in_its_wrapper(fields: str, form: str) -> None:
    assert parse_cron(form.format(fields)) == f"cron({fields})"


def test_names_of_days_and_months_may_have_any_case() -> None:
    assert parse_cron("0 2 ? JAN Sun *") == "cron(0 2 ? jan sun *)"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "fields"),
        ("0 2 * * 0", "5 fields instead of 6"),
        ("0 2 ? * sun * *", "7 fields instead of 6"),
        (" 0 2 ? * sun *", "fields"),
        ("0 2 ? * sun * ", "fields"),
        ("0  2 ? * sun *", "fields"),
        ("0\t2 ? * sun *", "5 fields"),
        ("@weekly", "fields"),
        ("rate(7 days)", "fields"),
        ("cron(0 2 ? * sun *", "minute"),
        ("0 2 * * sun *", "`?` either"),
        ("0 2 ? * ? *", "`?` either"),
        ("0 2 1 * sun *", "`?` either"),
        ("60 2 ? * sun *", "wrong minute"),
        ("-1 2 ? * sun *", "wrong minute"),
        ("x 2 ? * sun *", "wrong minute"),
        (", 2 ? * sun *", "wrong minute"),
        ("0, 2 ? * sun *", "wrong minute"),
        ("? 2 ? * sun *", "wrong minute"),
        ("5-1 2 ? * sun *", "wrong minute"),
        ("1- 2 ? * sun *", "wrong minute"),
        ("*/0 2 ? * sun *", "wrong minute"),
        ("*/ 2 ? * sun *", "wrong minute"),
        ("*/99 2 ? * sun *", "wrong minute"),
        ("*/60 2 ? * sun *", "wrong minute"),
        ("** 2 ? * sun *", "wrong minute"),
        ("0 24 ? * sun *", "wrong hour"),
        ("0 2 0 * ? *", "wrong day of the month"),
        ("0 2 32 * ? *", "wrong day of the month"),
        ("0 2 32W * ? *", "wrong day of the month"),
        ("0 2 mon * ? *", "wrong day of the month"),
        ("0 2 ? 0 sun *", "wrong month"),
        ("0 2 ? 13 sun *", "wrong month"),
        ("0 2 ? sun sun *", "wrong month"),
        ("0 2 ? * 0 *", "wrong day of the week"),
        ("0 2 ? * 8 *", "wrong day of the week"),
        ("0 2 ? * sunday *", "wrong day of the week"),
        ("0 2 ? * sun#6 *", "wrong day of the week"),
        ("0 2 ? * 2# *", "wrong day of the week"),
        ("0 2 ? * sun 1969", "wrong year"),
        ("0 2 ? * sun 2200", "wrong year"),
        ("0 2 ? * sun *\n", "wrong year"),
        ("0 2 ? * sun *;", "wrong year"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason.replace("?", r"\?")):
        parse_cron(text)
