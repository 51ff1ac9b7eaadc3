"""Processes: identity, daemons, ends."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from local.errors import LocalError
from local.processes import Daemon, Identity, alive, identify, parse_stat, run_tool, tail, terminate, wait_until


def daemon(tmp_path: Path) -> Daemon:
    return Daemon("sleeper", tmp_path / "record", tmp_path / "log")


def test_a_stat_line_with_a_wild_command_name_is_read() -> None:
    line = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 12345 1000 10\n"
    assert parse_stat(line) == (Identity(42, 12345), "S")


@pytest.mark.parametrize("text", ["", "42", "42 (x) S 1"])
def test_what_is_no_stat_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"stat line|invalid literal"):
        parse_stat(text)


def test_another_process_with_the_same_number_is_not_ours() -> None:
    mine = identify(os.getpid())
    assert mine is not None
    assert not alive(Identity(mine.pid, mine.started + 1))


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["true"]) as child:
        assert wait_until(lambda: identify(child.pid) is None, 5)


def test_a_daemon_runs_on_its_own_and_writes_to_its_log(tmp_path: Path) -> None:
    started = daemon(tmp_path).start(["sh", "-c", "echo here; exec sleep 60"])
    try:
        assert wait_until(lambda: (tmp_path / "log").read_text() == "here\n", 5)
        assert os.getsid(started.pid) == started.pid
        assert daemon(tmp_path).identity == started
    finally:
        daemon(tmp_path).stop()
    assert not alive(started)
    assert not (tmp_path / "record").exists()


def test_a_daemon_is_not_started_twice(tmp_path: Path) -> None:
    daemon(tmp_path).start(["sleep", "60"])
    try:
        with pytest.raises(LocalError, match="runs already"):
            daemon(tmp_path).start(["sleep", "60"])
    finally:
        daemon(tmp_path).stop()


def test_a_daemon_joins_its_control_groups_first(tmp_path: Path) -> None:
    joined = tmp_path / "cgroup.procs"
    started = daemon(tmp_path).start(["sh", "-c", f"cat {joined}; exec sleep 60"], control_groups=[joined])
    assert wait_until(lambda: (tmp_path / "log").read_text() == f"{started.pid}\n", 5)
    daemon(tmp_path).stop()


def test_a_recorded_number_that_was_given_to_another_process_is_never_signalled(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        stat = Path(f"/proc/{innocent.pid}/stat").read_text()
        fields = stat.split()
        fields[21] = str(int(fields[21]) - 1)
        (tmp_path / "record").write_text(" ".join(fields))
        daemon(tmp_path).stop()
        assert innocent.poll() is None
        innocent.kill()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    started = daemon(tmp_path).start(["sh", "-c", script])
    assert wait_until(lambda: "ready" in tail(tmp_path / "log"), 5)
    began = time.monotonic()
    terminate(started, grace=0.3)
    assert not alive(started)
    assert 0.3 <= time.monotonic() - began < 5


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(LocalError, match="trying: no-such-tool is not installed"):
        run_tool(["no-such-tool"], what="trying")


def test_a_tools_own_words_are_passed_on() -> None:
    with pytest.raises(LocalError, match=r"trying: sh -c echo why >&2; exit 2: why"):
        run_tool(["sh", "-c", "echo why >&2; exit 2"], what="trying")


def test_the_tail_is_the_last_lines_after_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\nthree\n")
    assert (tail(path, 2), tail(path, 9, offset=4), tail(tmp_path / "none")) == ("two\nthree", "two\nthree", "")
