"""`up` before anything is made: what is refused, what is used again. (What it makes: see tests/e2e.)"""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from local.build import ImageBuilder
from local.cleanup import Cleanup
from local.deployment import PROXY
from local.errors import LocalError, UsageError
from local.images import ImageStore, new_image_id
from local.layout import Layout
from local.plan import Plan, UpOptions, make_plan
from local.progress import Progress
from local.traces import MARKER
from local.up import Up


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(UpOptions())


class Scene:
    """An `up` whose images are built by nobody."""

    def __init__(self, tmp_path: Path, plan: Plan) -> None:
        self.plan = plan
        self.layout = Layout("scene", tmp_path / "state", tmp_path / "cache")
        self.layout.make_directories()
        self.store = ImageStore(self.layout.images)
        self.output = io.StringIO()

    def publish(self, name: str, version: str) -> None:
        (self.layout.builds / name / "root").mkdir(parents=True)
        self.store.publish(self.layout.builds / name, new_image_id(), name, version, {})

    def run(self, **options: bool) -> None:
        plan = Plan(**{**vars(self.plan), "options": UpOptions(**options)})  # type: ignore[arg-type]
        Up(self.layout, plan, "http://none.invalid", Progress(self.output), threading.Event()).run()


@pytest.fixture
def scene(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr("local.up.check_ports", lambda *_: None)
    monkeypatch.setenv(MARKER, "")  # set by `up` for its children; taken back after the test
    return Scene(tmp_path, plan)


def test_an_image_of_another_version_is_refused_with_both_versions_and_the_remedies(scene: Scene, plan: Plan) -> None:
    scene.publish(PROXY, "1.0.1")
    wanted = {image.name: image.version for image in plan.images}[PROXY]
    with pytest.raises(UsageError) as caught:
        scene.run()
    for words in ("version 1.0.1", f"version {wanted}", "--rebuild", "destroy.sh --local"):
        assert words in str(caught.value)
    assert scene.store.find(PROXY) is not None


def test_too_little_space_stops_before_anything_is_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.prerequisites.shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**20}))
    with pytest.raises(UsageError, match="GiB free"):
        scene.run()


def test_a_taken_port_stops_before_anything_is_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise UsageError("port 10000 on 127.0.0.1 is not free")

    monkeypatch.setattr("local.up.check_ports", taken)
    with pytest.raises(UsageError, match="port 10000"):
        scene.run()


def test_images_of_the_same_version_are_used_again_and_it_is_said(
    scene: Scene, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReachedError(LocalError):
        pass

    def boot(_: Up) -> None:
        raise ReachedError

    monkeypatch.setattr(Up, "_boot", boot)
    for image in plan.images:
        scene.publish(image.name, image.version)
    with pytest.raises(ReachedError):
        scene.run()
    for image in plan.images:
        assert f"image {image.version} is there and is used again" in scene.output.getvalue()


def test_a_failed_rebuild_leaves_what_runs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LocalError("the cause")

    def stop(_: Cleanup) -> None:
        pytest.fail("the running deployment was stopped")

    monkeypatch.setattr(Up, "_current", lambda _: "running")
    monkeypatch.setattr(Up, "_up_to_date", lambda *_: False)
    monkeypatch.setattr(Up, "_make_images", fail)
    monkeypatch.setattr(Cleanup, "stop", stop)
    with pytest.raises(LocalError, match="the cause"):
        scene.run(rebuild=True)
    assert "what ran before runs on" in scene.output.getvalue()


def test_the_first_failed_build_ends_the_other_and_is_the_error(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from local.targets import CancelledError

    told: list[bool] = []

    def build(self: ImageBuilder, request: object) -> None:
        if getattr(request, "name", "") == PROXY:
            raise LocalError("the cause")
        told.append(self.cancel.wait(10))
        raise CancelledError("interrupted")

    monkeypatch.setattr(ImageBuilder, "build", build)
    monkeypatch.setattr("local.up.BaseRoot.ensure", lambda *_: Path("/"))
    with pytest.raises(LocalError, match="the cause"):
        scene.run()
    assert told == [True]
    assert "not finished; stopping what was started" in scene.output.getvalue()
    assert scene.store.all() == []
    assert sorted(path.name for path in scene.layout.state.iterdir()) == ["images", "logs"]
