"""What the user sees."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path

import pytest

from local.processes import wait_until
from local.progress import Progress, follow


def test_a_step_is_a_line_with_its_time() -> None:
    stream = io.StringIO()
    with Progress(stream).step("proxy", "build/Packages"):
        time.sleep(0.1)
    assert re.fullmatch(r"proxy +build/Packages +0\.[1-9] s\n", stream.getvalue())


def test_a_failed_step_says_so() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Progress(stream).step("proxy", "build/Packages"):
        raise RuntimeError
    assert stream.getvalue().endswith("s  failed\n")


class Gone(io.StringIO):
    """A terminal that hung up."""

    def write(self, _: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_stream_that_is_gone_does_not_hide_why_a_step_failed() -> None:
    with pytest.raises(RuntimeError, match="the cause"), Progress(Gone()) as progress, progress.step("proxy", "build"):
        raise RuntimeError("the cause")


def test_a_stream_that_is_gone_ends_what_nobody_sees() -> None:
    with pytest.raises(OSError, match="Input/output"), Progress(Gone()).step("proxy", "build"):
        pass


def test_lines_of_several_sources_do_not_mix() -> None:
    stream = io.StringIO()
    progress = Progress(stream)

    def speak(source: str) -> None:
        for number in range(200):
            progress.line(source, f"line {number} of {source}")

    threads = [threading.Thread(target=speak, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 600
    assert all(re.fullmatch(r"(\w+) +line \d+ of \1", line) for line in lines)


def test_a_terminal_sees_what_runs_and_for_how_long() -> None:
    stream = io.StringIO()
    with Progress(stream, live=True) as progress, progress.step("proxy", "build/Packages"):
        time.sleep(2.2)
    assert "proxy: build/Packages 1 s" in stream.getvalue()


def test_the_counter_is_erased_before_a_line() -> None:
    stream = io.StringIO()
    with Progress(stream, live=True) as progress, progress.step("proxy", "slow"):
        time.sleep(0.7)
        progress.line("mock", "hello")
    assert "slow 0 s\r\x1b[Kmock " in stream.getvalue()


def test_a_file_gets_no_control_characters() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress, progress.step("proxy", "slow"):
        time.sleep(0.7)
    assert "\x1b" not in stream.getvalue()


def test_a_file_gets_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.progress._HEARTBEAT", 0.6)
    stream = io.StringIO()
    with Progress(stream) as progress, progress.step("proxy", "slow"):
        time.sleep(1.3)
    assert "slow … 1 s so far" in stream.getvalue()


def test_what_another_process_writes_is_shown_line_by_line(tmp_path: Path) -> None:
    stream, log = io.StringIO(), tmp_path / "log"
    log.write_text("before\n")
    with follow(log, Progress(stream)), log.open("a") as file:
        file.write("first\nsec")
        file.flush()
        assert wait_until(lambda: "first\n" in stream.getvalue(), 10)
        file.write("ond\n")
    assert stream.getvalue() == "first\nsecond\n"


def test_what_is_not_there_yet_can_be_followed(tmp_path: Path) -> None:
    stream, log = io.StringIO(), tmp_path / "log"
    with follow(log, Progress(stream)):
        log.write_text("late\n")
    assert stream.getvalue() == "late\n"
