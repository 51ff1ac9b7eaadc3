"""Images built and tested for real."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import replace

import pytest

from local.control_groups import ControlGroups
from local.deployment import MOCKS
from local.errors import DocumentError, LocalError
from local.executor import StepFailedError
from local.images import Image
from tests.local.workshop import BUILD, TEST, Workshop

pytestmark = pytest.mark.machine


def test_an_image_holds_what_the_document_made(image: Image) -> None:
    assert (image.root / "etc/word").read_text() == "hello\n"
    assert image.description.parameters["Word"] == "hello"


def test_an_image_holds_nothing_of_its_build(image: Image) -> None:
    assert (image.root / "etc/machine-id").read_text() == ""
    assert not (image.root / "etc/resolv.conf").exists()
    for directory in ("tmp", "run", "var/tmp"):
        assert [path.name for path in (image.root / directory).iterdir() if path.name != "lock"] == []


def test_after_a_build_nothing_but_image_and_logs_is_left(workshop: Workshop, image: Image) -> None:
    assert image.path.exists()
    assert list(workshop.layout.builds.iterdir()) == []
    assert not (workshop.layout.machines / f"test-{MOCKS}").exists()


@pytest.mark.parametrize(
    ("phase", "build", "test"),
    [
        ("build", BUILD.replace("set -euo pipefail", "echo broken; exit 7"), TEST),
        ("validate", BUILD.replace("grep -qx", "echo broken; ! grep -qx"), TEST),
        ("test", BUILD, TEST.replace("systemctl is-active word", "echo broken; systemctl is-active no-such")),
    ],
    ids=["build", "validate", "test"],
)
def test_a_failed_phase_publishes_nothing(workshop: Workshop, phase: str, build: str, test: str) -> None:
    with pytest.raises(StepFailedError, match=f"of phase {phase} failed") as caught:
        workshop.builder.build(workshop.request("broken", build, test))
    assert "  | broken" in str(caught.value)
    assert workshop.builder.store.find("broken") is None
    assert list(workshop.layout.builds.iterdir()) == []
    assert not any(path.name == "test-broken" for path in workshop.layout.machines.iterdir())


def test_a_failed_test_leaves_the_machines_journal_in_the_log(workshop: Workshop) -> None:
    with pytest.raises(StepFailedError):
        workshop.builder.build(workshop.request("broken", test=TEST.replace("is-active word", "is-active no-such")))
    assert "Started word.service" in workshop.builder.log("broken").read_text()


def test_parameters_that_do_not_fit_are_refused_before_anything_is_made(workshop: Workshop) -> None:
    request = workshop.request("wrong", Wrod="hello")
    with pytest.raises(DocumentError, match="there is no parameter Wrod"):
        workshop.builder.check(request)
    with pytest.raises(DocumentError):
        workshop.builder.build(request)
    assert list(workshop.layout.builds.iterdir()) == []


def test_a_build_reports_its_statuses_in_their_order(workshop: Workshop) -> None:
    statuses: list[str] = []
    replace(workshop.builder, report=statuses.append).build(workshop.request("reported"))
    assert statuses == ["BUILDING", "TESTING", "DISTRIBUTING"]


def test_cancelling_ends_a_build_and_its_processes(workshop: Workshop) -> None:
    builder = replace(workshop.builder, cancel=threading.Event())
    slow = BUILD.replace("set -euo pipefail", "sleep 111")
    threading.Timer(3, builder.cancel.set).start()
    with pytest.raises(LocalError, match="interrupted"):
        builder.build(workshop.request("slow", slow))
    assert not any("build-slow" in str(group) for group in ControlGroups().find(workshop.layout.identity))
    assert subprocess.run(["pgrep", "-f", "^sleep 111$"], capture_output=True, check=False).returncode == 1


def test_a_step_that_takes_too_long_is_killed_with_what_it_started(workshop: Workshop) -> None:
    slow = BUILD.replace("        action: ExecuteBash\n", "        action: ExecuteBash\n        timeoutSeconds: 2\n", 1)
    slow = slow.replace("set -euo pipefail", "setsid sleep 113 & sleep 112")
    with pytest.raises(StepFailedError, match="exceeded its timeoutSeconds of 2"):
        workshop.builder.build(workshop.request("slow", slow))
    assert subprocess.run(["pgrep", "-f", "^sleep 11[23]$"], capture_output=True, check=False).returncode == 1
