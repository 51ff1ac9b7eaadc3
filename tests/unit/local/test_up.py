"""`up`: what is refused before anything is made, and what stays when it fails. (What it makes: see tests/e2e.)"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from local.base_root import BaseRoot
from local.cleanup import Cleanup
from local.commands import Commands
from local.deployment import PROXY, Deployment
from local.endpoint.control import Endpoint
from local.errors import LocalError, UsageError
from local.layout import Layout
from local.plan import DEFAULT_LISTEN, UpOptions, make_plan
from local.progress import Progress
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord, ListenerRecord
from local.traces import MARKER
from local.up import DeploymentFailedError, Up

RECORD = DeploymentRecord(
    subnet=IPv4Network("10.213.7.0/24"),
    ports=make_plan(UpOptions()).ports.model_copy(update={"oauth": 11081}),
    issuer="http://former",
    balancers={
        PUBLIC: BalancerRecord(
            address=DEFAULT_LISTEN,
            listeners=tuple(ListenerRecord(port=port, target_port=port, role=PROXY) for port in (10000, 11081)),
        ),
        INTERNAL: BalancerRecord(address=IPv4Address("10.213.7.2")),
    },
)


class Scene:
    """An `up` that makes no network, starts no endpoint and runs no command."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout("scene", tmp_path / "state", tmp_path / "cache")
        self.output: io.StringIO = io.StringIO()
        self.stopped = 0
        self.exit_code = 0
        self.there = False
        self.prepared: Callable[[], None] = lambda: None
        self.made = 0
        self.certificates = 1
        self.asked: list[tuple[IPv4Address, list[int]]] = []
        monkeypatch.setattr("local.up.check_ports", self._check_ports)
        monkeypatch.setattr(Up, "_make_network", self._make)
        monkeypatch.setattr(BaseRoot, "ensure", lambda *_: None)
        monkeypatch.setattr(Commands, "bootstrap", lambda *_: self.prepared() or 0)
        monkeypatch.setattr(Cleanup, "stop", self._stop)
        monkeypatch.setattr(Commands, "deploy", lambda *_: self.exit_code)
        monkeypatch.setattr(Endpoint, "running", property(lambda _: self.there))
        monkeypatch.setattr(Endpoint, "start", lambda _: None)
        monkeypatch.setattr(Deployment, "collect_certificates", lambda _: self.certificates)
        monkeypatch.setenv(MARKER, "")  # set by `up` for its children; taken back after the test

    def run(self, options: UpOptions | None = None) -> Deployment:
        progress = Progress(self.output)
        plan = make_plan(options or UpOptions())
        return Up(self.layout, plan, "http://none.invalid", progress, threading.Event()).run()

    def deploy_before(self) -> Deployment:
        """What an earlier run has left, which succeeded."""
        self.layout.make_directories()
        self.layout.bootstrapped.touch()
        self.there = True
        return self._create()

    def _make(self) -> Deployment:
        self.made += 1
        return self._create()

    def _create(self) -> Deployment:
        return Deployment.create(self.layout, RECORD)

    def _stop(self) -> None:
        self.stopped += 1

    def _check_ports(self, address: IPv4Address, ports: Iterable[int]) -> None:
        assert self.made == 0
        self.asked.append((address, list(ports)))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def fail(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def test_a_success_is_noted(scene: Scene) -> None:
    scene.run()
    assert scene.layout.deployed.exists()


def test_proxies_that_nobody_can_verify_are_a_failure_that_leaves_them_to_be_looked_at(scene: Scene) -> None:
    scene.certificates = 0
    with pytest.raises(LocalError, match="has made a certificate"):
        scene.run()
    assert scene.stopped == 0


def test_too_little_space_stops_before_anything_is_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.prerequisites.shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**20}))
    with pytest.raises(UsageError, match="GiB free"):
        scene.run()
    assert scene.made == 0


def test_a_taken_port_stops_before_anything_is_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise UsageError("port 10000 on 127.0.0.1 is not free")

    monkeypatch.setattr("local.up.check_ports", taken)
    with pytest.raises(UsageError, match="port 10000"):
        scene.run()
    assert (scene.made, scene.stopped, scene.layout.state.exists()) == (0, 0, False)


def test_an_update_is_checked_for_the_ports_that_the_deployment_does_not_hold_itself(scene: Scene) -> None:
    scene.deploy_before()
    scene.run()
    assert scene.asked == [(DEFAULT_LISTEN, [11080])]


@pytest.mark.parametrize("directory", ["machines", "builds", "images", "run"])
def test_what_an_earlier_run_left_is_removed_before_the_ports_are_checked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    """After a crash of the endpoint, our own load balancer still holds them; after one of the host, files are left."""
    (scene.layout.state / directory).mkdir(parents=True)
    order: list[str] = []
    monkeypatch.setattr(Cleanup, "stop", lambda _: order.append("removed"))
    monkeypatch.setattr("local.up.check_ports", lambda *_: order.append("checked"))
    scene.run()
    assert order == ["removed", "checked"]


def test_logs_alone_are_nothing_to_remove(scene: Scene) -> None:
    scene.layout.logs.mkdir(parents=True)
    scene.run()
    assert scene.stopped == 0


def test_an_endpoint_that_was_not_bootstrapped_is_replaced(scene: Scene) -> None:
    """Such as that of a run that was killed meanwhile."""
    scene.deploy_before()
    scene.layout.bootstrapped.unlink()
    scene.run()
    assert (scene.stopped, scene.made) == (1, 1)
    assert scene.layout.bootstrapped.exists()


def test_an_update_notes_what_was_deployed(scene: Scene) -> None:
    deployment = scene.deploy_before()
    scene.run()
    plan = make_plan(UpOptions())
    assert scene.made == 0
    assert (deployment.record.ports, deployment.record.issuer) == (plan.ports, plan.issuer)


def test_an_update_that_failed_notes_nothing(scene: Scene) -> None:
    deployment = scene.deploy_before()
    scene.exit_code = 1
    with pytest.raises(DeploymentFailedError):
        scene.run()
    assert deployment.record == RECORD


def test_a_deployment_does_not_move_to_another_address(scene: Scene) -> None:
    scene.deploy_before()
    words = r"listens on 127\.0\.0\.1; leave .* destroy\.sh --local --name scene$"
    with pytest.raises(UsageError, match=words):
        scene.run(UpOptions(listen=IPv4Address("127.0.0.2")))
    assert (scene.stopped, scene.asked) == (0, [])


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
    with pytest.raises(OSError, match=str(error.strerror)):
        scene.run()
    assert (scene.made, scene.stopped) == (1, 1)


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


@pytest.mark.parametrize(("code", "ours"), [(1, 1), (2, 2), (130, 130), (-9, 1), (3, 1)])
def test_the_exit_code_of_the_deployment_is_ours(scene: Scene, code: int, ours: int) -> None:
    scene.exit_code = code
    with pytest.raises(DeploymentFailedError) as failed:
        scene.run()
    assert failed.value.exit_code == ours


def test_an_interrupted_update_leaves_what_was_there(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    scene.deploy_before()
    monkeypatch.setattr(Commands, "deploy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scene.run()
    assert scene.stopped == 0
    said = scene.output.getvalue()
    assert "what was there stays" in said
    assert "deploy again: bash deploy.sh --local --name scene   or remove all: bash destroy.sh --local --name" in said
