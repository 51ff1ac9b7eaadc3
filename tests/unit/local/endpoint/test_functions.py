"""Functions: their code in processes of their own, and how their ends are reported."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.endpoint.functions import Functions, TooManyRequestsError
from local.layout import Layout

CODE = """
import os, sys, time

def echo(event, context):
    print("said", event)
    return {"event": event, "X": os.environ.get("X"), "URL": os.environ["AWS_ENDPOINT_URL"], "left": 0 <
            context.get_remaining_time_in_millis() <= 5000, "user": os.environ.get("HOME_OF_USER")}

def fail(event, context):
    raise LookupError("no such thing")

def leave(event, context):
    os._exit(3)

def hang(event, context):
    time.sleep(60)

def unspeakable(event, context):
    return object()

def much(event, context):
    return "x" * event

def meet(event, context):
    open(event["here"], "w").close()
    while not os.path.exists(event["there"]):
        time.sleep(0.01)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("test", state_base=tmp_path, cache_base=tmp_path)
    layout.make_directories()
    return layout


@pytest.fixture
def functions(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Functions:
    monkeypatch.setenv("HOME_OF_USER", "secret")
    return Functions(layout, {"AWS_ENDPOINT_URL": "http://localhost:1"})


def function(handler: str, **facts: Any) -> Any:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("code.py", "")
        file.writestr("package/work.py", CODE)
    found = {"timeout": 5, "environment_vars": {}, "reserved_concurrency": None, **facts}
    return SimpleNamespace(
        function_name="name",
        function_arn="arn",
        logs_group_name="logs",
        memory_size=128,
        handler=handler,
        code_bytes=archive.getvalue(),
        **found,
    )


def report(functions: Functions, handler: str, **facts: Any) -> dict[str, Any]:
    outcome = functions.invoke(function(handler, **facts), {})
    assert outcome.failed
    found: dict[str, Any] = json.loads(outcome.payload)
    return found


def test_a_function_gets_its_event_and_environment_and_nothing_of_the_users(functions: Functions) -> None:
    outcome = functions.invoke(function("package.work.echo", environment_vars={"X": "1"}), {"a": [1]})
    assert not outcome.failed
    assert json.loads(outcome.payload) == {
        "event": {"a": [1]},
        "X": "1",
        "URL": "http://localhost:1",
        "left": True,
        "user": None,
    }


def test_what_a_function_prints_is_in_its_log(functions: Functions, layout: Layout) -> None:
    functions.invoke(function("package.work.echo"), "words")
    assert "said words" in (layout.logs / "function-work.log").read_text(encoding="utf-8")


def test_a_result_may_be_large(functions: Functions) -> None:
    assert len(functions.invoke(function("package.work.much"), 1_000_000).payload) == 1_000_002


def test_an_error_is_reported_by_class_and_text(functions: Functions) -> None:
    found = report(functions, "package.work.fail")
    assert (found["errorType"], found["errorMessage"]) == ("LookupError", "no such thing")
    assert "in fail" in found["stackTrace"][-1]


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        ("package.missing.x", "Runtime.ImportModuleError"),
        ("package.work.missing", "Runtime.HandlerNotFound"),
        ("package.work.unspeakable", "Runtime.MarshalError"),
        ("package.work.leave", "Runtime.ExitError"),
    ],
)
def test_an_end_without_result_has_the_runtimes_name(functions: Functions, handler: str, kind: str) -> None:
    assert report(functions, handler)["errorType"] == kind


def test_a_function_that_takes_too_long_is_killed(functions: Functions) -> None:
    found = report(functions, "package.work.hang", timeout=1)
    assert found["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in found["errorMessage"]


def test_no_more_executions_run_than_are_reserved(functions: Functions, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    meeting = function("package.work.meet", reserved_concurrency=1, timeout=30)
    first = threading.Thread(target=functions.invoke, args=(meeting, {"here": str(here), "there": str(there)}))
    first.start()
    while not here.exists():
        time.sleep(0.01)
    with pytest.raises(TooManyRequestsError):
        functions.invoke(meeting, {})
    there.touch()
    first.join()
    assert not functions.invoke(meeting, {"here": str(here), "there": str(there)}).failed
