"""`up`: what is refused before anything is made, and what stays when it fails. (What it makes: see tests/e2e.)"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from local.cleanup import Cleanup
from local.commands import Commands
from local.deployment import Deployment
from local.endpoint.control import Endpoint
from local.errors import LocalError, UsageError
from local.layout import Layout
from local.plan import UpOptions, make_plan
from local.progress import Progress
from local.traces import MARKER
from local.up import DeploymentFailedError, Up


class Scene:
    """An `up` that makes no network, starts no endpoint and runs no command."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout("scene", tmp_path / "state", tmp_path / "cache")
        self.output: io.StringIO = io.StringIO()
        self.stopped = 0
        self.exit_code = 0
        self.there = False
        self.prepared: Callable[[], None] = lambda: None
        monkeypatch.setattr("local.up.check_ports", lambda *_: None)
        monkeypatch.setattr(Up, "_prepare", self._prepare)
        monkeypatch.setattr(Cleanup, "stop", self._stop)
        monkeypatch.setattr(Cleanup, "remaining", lambda _: [])
        monkeypatch.setattr(Commands, "deploy", lambda *_: self.exit_code)
        monkeypatch.setattr(Endpoint, "running", property(lambda _: self.there))
        monkeypatch.setattr(Deployment, "load", lambda **_: self._deployment())
        monkeypatch.setenv(MARKER, "")  # set by `up` for its children; taken back after the test

    def run(self) -> Deployment:
        self.layout.make_directories()
        progress = Progress(self.output)
        return Up(self.layout, make_plan(UpOptions()), "http://none.invalid", progress, threading.Event()).run()

    def _prepare(self, _: Up | None = None) -> Deployment:
        self.prepared()
        return self._deployment()

    def _deployment(self) -> Deployment:
        return Deployment(self.layout)

    def _stop(self, _: Cleanup | None = None) -> None:
        self.stopped += 1


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(tmp_path, monkeypatch)
    record = type("Record", (), {"listen": "127.0.0.1"})
    monkeypatch.setattr(Deployment, "record", record)
    return made


def fail(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def test_a_success_is_noted(scene: Scene) -> None:
    scene.run()
    assert scene.layout.deployed.exists()


def test_too_little_space_stops_before_anything_is_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.prerequisites.shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**20}))
    scene.prepared = fail(AssertionError("something was made"))
    with pytest.raises(UsageError, match="GiB free"):
        scene.run()


def test_a_taken_port_stops_before_anything_is_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise UsageError("port 10000 on 127.0.0.1 is not free")

    monkeypatch.setattr("local.up.check_ports", taken)
    scene.prepared = fail(AssertionError("something was made"))
    with pytest.raises(UsageError, match="port 10000"):
        scene.run()


def test_ports_that_the_deployment_itself_holds_are_no_obstacle_to_its_update(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.up.check_ports", lambda *_: pytest.fail("the ports were checked"))
    scene.there = True
    scene.run()


class Gone(io.StringIO):
    """A terminal that hung up, or the pipe of a reader that has ended."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")])
def test_what_was_started_is_stopped_also_when_nobody_reads_that(scene: Scene, error: OSError) -> None:
    scene.output = Gone(error)
    scene.prepared = fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        scene.run()
    assert scene.stopped == 1


@pytest.mark.parametrize("error", [LocalError("no base root"), KeyboardInterrupt()])
def test_what_fails_before_the_first_deployment_leaves_nothing_running(scene: Scene, error: BaseException) -> None:
    scene.prepared = fail(error)
    with pytest.raises(type(error)):
        scene.run()
    assert scene.stopped == 1
    assert "not finished; stopping what was started" in scene.output.getvalue()


def test_a_failed_deployment_leaves_the_endpoint_and_says_where_to_look(scene: Scene) -> None:
    scene.exit_code = 1
    with pytest.raises(DeploymentFailedError, match=rf"{scene.layout.logs}.*destroy\.sh --local"):
        scene.run()
    assert scene.stopped == 0
    assert not scene.layout.deployed.exists()


def test_an_interrupted_update_leaves_what_was_there(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    scene.there = True
    monkeypatch.setattr(Commands, "deploy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scene.run()
    assert scene.stopped == 0
    assert "what was there stays" in scene.output.getvalue()
