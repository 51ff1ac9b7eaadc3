"""Removing a deployment with broken, missing or misleading records. (With machines: see tests/local.)"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.base_root import BaseRoot
from local.cleanup import Cleanup, purge_cache, stop_command
from local.control_groups import ControlGroups
from local.endpoint.control import Endpoint
from local.errors import LocalError
from local.layout import Layout
from local.locks import locked
from local.processes import identify, wait_until
from local.traces import MARKER


@pytest.fixture
def cleanup(tmp_path: Path) -> Cleanup:
    layout = Layout("gone", tmp_path / "state", tmp_path / "cache")
    layout.make_directories()
    return Cleanup(layout, ControlGroups(tmp_path / "cgroup", lambda: True))


@pytest.fixture
def daemon(cleanup: Cleanup) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the deployment's mark and no record."""
    environment = {**os.environ, MARKER: cleanup.layout.unit("public-balancer")}
    with subprocess.Popen(["sleep", "60"], env=environment) as process:
        yield process
        process.kill()


def test_a_process_without_a_record_is_ended(cleanup: Cleanup, daemon: subprocess.Popen[bytes]) -> None:
    cleanup.remove()
    assert identify(daemon.pid) is None


def test_a_process_of_another_deployment_is_left(cleanup: Cleanup, daemon: subprocess.Popen[bytes]) -> None:
    other = Layout("another", cleanup.layout.state_base, cleanup.layout.cache_base)
    Cleanup(other, cleanup.groups).remove()
    assert daemon.poll() is None


def test_logs_outlive_a_stop_and_nothing_else_does(cleanup: Cleanup) -> None:
    layout = cleanup.layout
    (layout.logs / "build.log").touch()
    (layout.images / "proxy").mkdir()
    (layout.machines / "half").mkdir()
    layout.record.write_text("{")
    layout.bootstrapped.touch()
    assert cleanup.is_needed()
    cleanup.stop()
    assert [path.name for path in layout.state.iterdir()] == ["logs"]
    assert not cleanup.is_needed()


def test_a_process_that_runs_on_is_reason_enough_to_clean_up(cleanup: Cleanup, daemon: subprocess.Popen[bytes]) -> None:
    cleanup.stop()
    assert daemon.wait() != 0
    assert not cleanup.is_needed()
    environment = {**os.environ, MARKER: cleanup.layout.unit("public-balancer")}
    with subprocess.Popen(["sleep", "60"], env=environment) as other:
        assert wait_until(cleanup.is_needed, 5)
        other.kill()


def test_everything_is_removed_even_the_lock(cleanup: Cleanup) -> None:
    (cleanup.layout.machines / "broken").mkdir()
    (cleanup.layout.machines / "broken/machine.json").write_text("not json")
    cleanup.layout.lock.touch()
    cleanup.remove()
    assert not cleanup.layout.state_base.exists()


def test_the_state_of_another_deployment_is_left(cleanup: Cleanup) -> None:
    (cleanup.layout.state_base / "another").mkdir()
    cleanup.remove()
    assert [path.name for path in cleanup.layout.state_base.iterdir()] == ["another"]


def test_what_is_left_is_named(cleanup: Cleanup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.cleanup.interfaces", lambda _: ["sp-0-a"])
    with pytest.raises(LocalError, match=r"of deployment 'gone' this is left:\n  network device sp-0-a"):
        cleanup.remove()


def test_a_copy_that_still_writes_does_not_stop_the_removal(cleanup: Cleanup) -> None:
    """Such as the `cp` of an `up` that was killed."""
    environment = {**os.environ, MARKER: cleanup.layout.unit("up")}
    script = "i=0; while [ $i -lt 200 ]; do mkdir -p $0/d$i && echo x >$0/d$i/f; i=$((i+1)); sleep 0.005; done"
    with subprocess.Popen(["sh", "-c", script, str(cleanup.layout.builds)], stderr=subprocess.DEVNULL, env=environment):
        cleanup.remove()
    assert not cleanup.layout.state.exists()


def test_an_unfinished_command_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        stop_command(process.pid, print)
        assert wait_until(lambda: process.poll() is not None, 5)
    assert f"ending the unfinished command (process {process.pid} (sleep 60))" in capsys.readouterr().out


@pytest.mark.parametrize("pid", [0, 2**22])
def test_a_command_that_is_gone_is_no_error(pid: int) -> None:
    stop_command(pid, print)


@pytest.fixture
def other(cleanup: Cleanup) -> Layout:
    """Another deployment, with a cache that both use."""
    layout = Layout("another", cleanup.layout.state_base, cleanup.layout.cache_base)
    layout.make_directories()
    (layout.cache_base / "base").mkdir(parents=True)
    return layout


def test_the_cache_is_kept_while_another_deployments_endpoint_runs(
    cleanup: Cleanup, other: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "running", property(lambda endpoint: endpoint.layout == other))
    with pytest.raises(LocalError, match=r"kept: deployment 'another' uses it.* destroy\.sh --local --name another$"):
        purge_cache(cleanup.layout)
    assert (other.cache_base / "base").exists()


def test_the_cache_is_kept_while_a_command_works_on_another_deployment(cleanup: Cleanup, other: Layout) -> None:
    with locked(other.lock), pytest.raises(LocalError, match="deployment 'another' uses it"):
        purge_cache(cleanup.layout)
    assert (other.cache_base / "base").exists()


def test_the_cache_is_kept_while_somebody_makes_a_base_root(cleanup: Cleanup, other: Layout) -> None:
    with (
        BaseRoot(other.cache_base / "base").reserved(),
        pytest.raises(LocalError, match=rf"kept: process {os.getpid()} .* makes a base root"),
    ):
        purge_cache(cleanup.layout)
    assert (other.cache_base / "base").exists()


def test_the_cache_is_removed_when_what_is_left_of_others_does_nothing(cleanup: Cleanup, other: Layout) -> None:
    other.lock.touch()
    (other.state_base / "Not a deployment").touch()
    purge_cache(cleanup.layout)
    assert not other.cache_base.exists()
