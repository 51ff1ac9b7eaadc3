"""What the user sees: times, the line that changes, and nothing that steers the terminal."""

from __future__ import annotations

import pytest

from deployment.console import clock_time
from tests.unit.deployment.support import Screen


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "    0:00"), (65.9, "    1:05"), (3661, " 1:01:01"), (-1, "    0:00")]
)
def test_times(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


def test_a_line_carries_the_time_since_the_beginning() -> None:
    screen = Screen()
    screen.now = 61
    screen.line("stack deployed")
    assert screen.text == "    1:01  stack deployed\n"


def test_on_a_terminal_the_status_is_one_line_that_changes() -> None:
    screen = Screen(live=True)
    screen.status("waiting", at=1)
    screen.status("waiting more", at=2)
    screen.line("done", at=3)
    assert screen.text == "    0:01  waiting\r\x1b[K    0:02  waiting more\r\x1b[K    0:03  done\n"


def test_what_an_instance_says_cannot_steer_the_terminal() -> None:
    screen = Screen(live=True)
    screen.line("a\x1b[2Jb\rc", at=0)
    screen.status("d\x1b]0;e\x07", at=0)
    assert "\x1b[2J" not in screen.text
    assert "\x1b]" not in screen.text
    assert "a\\x1b[2Jb\\rc" in screen.text


@pytest.mark.parametrize(("answer", "yes"), [("y", True), ("YES ", True), ("", False), ("n", False), ("yo", False)])
def test_only_yes_is_yes(answer: str, yes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert Screen().confirm("Delete?") is yes


def test_no_input_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    assert Screen().confirm("Delete?") is False
