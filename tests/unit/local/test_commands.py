"""The commands that are run against the endpoint."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from deployment.cli import _parser
from local.commands import Commands
from local.endpoint.account import environment
from local.endpoint.control import Endpoint
from local.layout import REPOSITORY, Layout


class Started:
    """Stands in for `subprocess.Popen`: notes what is started, which ends at once."""

    command: list[str]
    options: dict[str, Any]

    def __init__(self, command: list[str], **options: Any) -> None:
        Started.command, Started.options = command, options
        scratch = Path(options["env"]["TMPDIR"])
        (scratch / "secure-proxy-cdk-x/asset").mkdir(parents=True)

    def wait(self) -> int:
        return 3

    def poll(self) -> int:
        return 3


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr("local.commands.subprocess.Popen", Started)
    monkeypatch.setattr(Endpoint, "environment", property(lambda _: environment(4566)))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    made = Layout("other", tmp_path / "state", tmp_path / "cache")
    made.make_directories()
    return made


def understood() -> argparse.Namespace:
    """What `python -m deployment` takes the started command for."""
    words = Started.command
    return _parser().parse_args(words[words.index("deployment") + 1 :])


def test_the_deployment_is_told_settings_and_who_is_admitted_and_asks_nothing(layout: Layout) -> None:
    assert Commands(layout).deploy({"nginxBuild": "source", "projectSettings.a.b": "x=y"}, "127.0.0.1/32") == 3
    options = understood()
    assert options.context == ["nginxBuild=source", "projectSettings.a.b=x=y"]
    assert (options.yes, options.admitted_cidr) == (True, "127.0.0.1/32")


def test_a_rerun_deploys_once_the_execution_of_an_interrupted_run_has_ended(layout: Layout) -> None:
    Commands(layout).deploy({}, "127.0.0.1/32")
    assert understood().after_running


def test_its_hints_name_this_deployment(layout: Layout) -> None:
    Commands(layout).destroy()
    assert understood().hint_options == "--local --name other"


def test_commands_find_the_endpoint_and_the_users_profile_leads_nowhere(layout: Layout) -> None:
    Commands(layout).destroy()
    variables = Started.options["env"]
    assert variables["AWS_ENDPOINT_URL"] == "http://localhost:4566"
    assert "AWS_PROFILE" not in variables
    assert variables["PATH"] == f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert Started.options["cwd"] == REPOSITORY


def test_bootstrapping_runs_away_from_the_app(layout: Layout) -> None:
    assert Commands(layout).bootstrap(layout.logs / "bootstrap.log") == 3
    assert not (Started.options["cwd"] / "cdk.json").exists()


def test_what_a_command_leaves_behind_goes_with_it(layout: Layout) -> None:
    Commands(layout).destroy()
    scratch = Path(Started.options["env"]["TMPDIR"])
    assert scratch.parent == layout.run
    assert not scratch.exists()
