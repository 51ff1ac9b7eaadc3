"""The executor's semantics, each rule attacked by real processes on this host."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from local.errors import DocumentError
from local.executor import StepFailedError
from tests.unit.local.support import bash, executor, steps


def test_steps_run_in_order(tmp_path: Path) -> None:
    document = steps("".join(bash(name, f"echo {name} >>{tmp_path}/order") for name in ("One", "Two", "Three")))
    results = executor(tmp_path).run(document, "build")
    assert (tmp_path / "order").read_text() == "One\nTwo\nThree\n"
    assert [(result.step, result.status) for result in results] == [
        ("One", "success"),
        ("Two", "success"),
        ("Three", "success"),
    ]


def test_another_phase_is_left_alone(tmp_path: Path) -> None:
    assert executor(tmp_path).run(steps(bash("One", f"touch {tmp_path}/ran"), phase="test"), "build") == []
    assert not (tmp_path / "ran").exists()


def test_commands_are_one_script(tmp_path: Path) -> None:
    executor(tmp_path).run(steps(bash("One", "word=kept", f'echo "$word" >{tmp_path}/word')), "build")
    assert (tmp_path / "word").read_text() == "kept\n"


def test_the_exit_code_is_the_scripts_own(tmp_path: Path) -> None:
    """As on AWS: no `set -e` is added, so an early failure does not fail the step."""
    executor(tmp_path).run(steps(bash("One", "false", "true")), "build")


def test_the_script_runs_with_bash_and_finds_nothing_to_read(tmp_path: Path) -> None:
    executor(tmp_path).run(
        steps(bash("One", f'[[ -n $BASH_VERSION ]] && cat >{tmp_path}/input; echo "${{#}}"')), "build"
    )
    assert (tmp_path / "input").read_text() == ""


def test_the_script_file_is_removed(tmp_path: Path) -> None:
    executor(tmp_path).run(steps(bash("One", f"echo $0 >{tmp_path}/script")), "build")
    script = Path((tmp_path / "script").read_text().strip())
    assert script.name == "input.sh"
    assert not script.parent.exists()


def test_a_failure_stops_the_document(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError):
        executor(tmp_path).run(steps(bash("Bad", "exit 3") + bash("Next", f"touch {tmp_path}/ran")), "build")
    assert not (tmp_path / "ran").exists()


def test_a_failure_names_phase_step_code_last_lines_and_log(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError) as caught:
        executor(tmp_path).run(
            steps(bash("Bad", "for n in $(seq 100); do echo line $n; done", "echo why >&2; exit 3")), "build"
        )
    message = str(caught.value)
    assert message.startswith("image: step Bad of phase build failed with exit code 3\n")
    assert "  | line 100\n  | why\n" in message
    assert "line 50\n" not in message
    assert message.endswith(f"whole log: {tmp_path}/log")


def test_both_streams_go_to_the_log(tmp_path: Path) -> None:
    executor(tmp_path).run(steps(bash("One", "echo out; echo err >&2")), "build")
    log = (tmp_path / "log").read_text()
    assert "==> build/One, attempt 1 of 1\nout\nerr\n==> succeeded after" in log


def test_writing_to_dev_stderr_does_not_cut_the_log(tmp_path: Path) -> None:
    executor(tmp_path).run(steps(bash("One", "echo first; echo second >/dev/stderr; echo third >/dev/stdout")), "build")
    assert "first\nsecond\nthird\n" in (tmp_path / "log").read_text()


def test_attempts_are_repeated_until_one_succeeds(tmp_path: Path) -> None:
    script = f"echo x >>{tmp_path}/tries; [ $(wc -l <{tmp_path}/tries) -ge 3 ]"
    [result] = executor(tmp_path).run(steps(bash("Flaky", script, maxAttempts=5)), "build")
    assert (result.status, result.attempts) == ("success", 3)


def test_attempts_end_at_their_number(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError):
        executor(tmp_path).run(steps(bash("Bad", f"echo x >>{tmp_path}/tries; exit 1", maxAttempts=3)), "build")
    assert (tmp_path / "tries").read_text().count("x") == 3


def test_the_last_lines_are_those_of_the_last_attempt(tmp_path: Path) -> None:
    script = f"echo x >>{tmp_path}/tries; echo try $(wc -l <{tmp_path}/tries); exit 1"
    with pytest.raises(StepFailedError) as caught:
        executor(tmp_path).run(steps(bash("Bad", script, maxAttempts=2)), "build")
    assert "try 2" in str(caught.value)
    assert "try 1" not in str(caught.value)


def test_continue_runs_the_rest_of_the_phase_and_fails_then(tmp_path: Path) -> None:
    document = steps(bash("Bad", "exit 4", onFailure="Continue") + bash("Next", f"touch {tmp_path}/ran"))
    with pytest.raises(StepFailedError, match="step Bad of phase build failed with exit code 4"):
        executor(tmp_path).run(document, "build")
    assert (tmp_path / "ran").exists()


def test_ignore_counts_as_success(tmp_path: Path) -> None:
    document = steps(bash("Bad", "exit 4", onFailure="Ignore") + bash("Next", f"touch {tmp_path}/ran"))
    assert [result.status for result in executor(tmp_path).run(document, "build")] == ["ignored", "success"]
    assert (tmp_path / "ran").exists()


def test_a_step_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    script = f"(sleep 3; touch {tmp_path}/survived) & wait"
    began = time.monotonic()
    with pytest.raises(StepFailedError, match="exceeded its timeoutSeconds of 1"):
        executor(tmp_path).run(steps(bash("Slow", script, timeoutSeconds=1)), "build")
    assert time.monotonic() - began < 2.5
    time.sleep(max(0, 3.5 - (time.monotonic() - began)))
    assert not (tmp_path / "survived").exists()


def test_each_attempt_has_the_whole_time(tmp_path: Path) -> None:
    script = f"echo x >>{tmp_path}/tries; [ $(wc -l <{tmp_path}/tries) -eq 2 ] || sleep 9"
    [result] = executor(tmp_path).run(steps(bash("Slow", script, timeoutSeconds=1, maxAttempts=2)), "build")
    assert result.attempts == 2


def test_output_that_is_left_open_does_not_hold_the_step(tmp_path: Path) -> None:
    began = time.monotonic()
    executor(tmp_path).run(steps(bash("One", "setsid sleep 30 & echo started")), "build")
    assert time.monotonic() - began < 10
    assert "started" in (tmp_path / "log").read_text()


def test_asking_for_a_reboot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match=r"asked for a reboot \(exit code 194\)"):
        executor(tmp_path).run(steps(bash("Boot", "exit 194")), "build")


DOWNLOAD = """
- name: Fetch
  action: S3Download
  inputs:
    - source: {source}
      destination: {destination}
      overwrite: {overwrite}
"""


def download(tmp_path: Path, source: str = "s3://bucket/key", destination: str = "", overwrite: str = "true") -> None:
    asset = tmp_path / "asset"
    asset.write_bytes(b"\x00binary\n\xff")
    text = DOWNLOAD.format(source=source, destination=destination or tmp_path / "here", overwrite=overwrite)
    executor(tmp_path, {"s3://bucket/key": asset}).run(steps(text), "build")


def test_a_download_copies_the_bytes(tmp_path: Path) -> None:
    download(tmp_path)
    assert (tmp_path / "here").read_bytes() == b"\x00binary\n\xff"


def test_a_download_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("something longer than the asset")
    download(tmp_path)
    assert (tmp_path / "here").read_bytes() == b"\x00binary\n\xff"


def test_a_download_leaves_a_file_where_overwrite_is_false(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("mine")
    with pytest.raises(StepFailedError, match="exists already"):
        download(tmp_path, overwrite="false")
    assert (tmp_path / "here").read_text() == "mine"


def test_a_download_into_a_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError):
        download(tmp_path, destination=str(tmp_path / "no/such/place"))


@pytest.mark.parametrize("source", ["s3://bucket/other", "https://bucket/key", "s3://bucket/*"])
def test_a_download_from_elsewhere_is_refused_before_anything_runs(tmp_path: Path, source: str) -> None:
    text = bash("First", f"touch {tmp_path}/ran") + DOWNLOAD.format(
        source=source, destination="/tmp/x", overwrite="true"
    ).lstrip("\n")
    with pytest.raises(DocumentError, match="S3Download source"):
        executor(tmp_path, {"s3://bucket/key": tmp_path}).run(steps(text), "build")
    assert not (tmp_path / "ran").exists()


def test_a_download_to_a_relative_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="not an absolute path"):
        download(tmp_path, destination="here")
