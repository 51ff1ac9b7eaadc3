"""The commands: usage, errors, exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from local.cli import main
from local.deployment import Deployment
from local.errors import LocalError
from local.layout import REPOSITORY, Layout
from local.locks import locked
from local.plan import Plan
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord
from local.up import Up

COMMANDS = ("up", "status", "endpoint", "logs", "shell", "down", "prerequisites")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the host's deployments, and none depends on being root."""
    monkeypatch.setattr(
        "local.layout.Layout.__init__.__defaults__", ("default", tmp_path / "state", tmp_path / "cache")
    )
    monkeypatch.setattr("local.prerequisites.os.geteuid", lambda: 0)
    monkeypatch.setattr("local.cli._SIGNALS", ())  # pytest keeps its own handlers
    before = os.umask(0o022)
    yield
    os.umask(before)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        code = main(argv)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else -1
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert out.startswith(f"usage: python -m local {command}")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["destroy"],
        ["up", "--nginx-build", "other"],
        ["up", "extra"],
        ["up", "--yes"],
        ["down", "--poll", "1"],
        ["logs"],
        ["shell"],
    ],
)
def test_wrong_usage_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert "usage:" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["up", "--bridge", "websockify"], "needs NginxBuild=source"),
        (["up", "--authentication", "openidc"], "needs NginxBuild=source"),
        (["up", "--listen", "0.0.0.0"], "only loopback addresses"),  # noqa: S104
        (["up", "--listen", "here"], "not an IPv4 address"),
        (["up", "--name", "../x"], "deployment name"),
        (["up", "--source-base-url", "file:///none"], "no such directory"),
        (["down", "--name", "A"], "deployment name"),
    ],
)
def test_what_cannot_be_served_is_exit_code_2_before_anything_is_made(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["up"], ["status"], ["logs", "x"], ["shell", "x"], ["down"]])
def test_without_root_nothing_is_done(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.prerequisites.os.geteuid", lambda: 1000)
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert "needs root" in err


@pytest.mark.parametrize("argv", [["up"], ["down"]])
def test_on_another_system_nothing_is_done(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.prerequisites.platform.system", lambda: "Darwin")
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert "needs Linux" in err


def test_missing_tools_are_named_before_anything_is_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("local.prerequisites.shutil.which", lambda tool: None if tool == "haproxy" else "/bin/x")
    code, _, err = run(capsys, "up")
    assert code == 2
    assert "apt-get install haproxy\n" in err
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_setting_is_named_with_its_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = json.loads((REPOSITORY / "cdk.json").read_text())
    settings["projectSettings"]["proxySettings"]["wssProxyBindPort"] = 11080
    (tmp_path / "cdk.json").write_text(json.dumps(settings))
    from stacks.settings import load_settings

    monkeypatch.setattr("local.plan.load_settings", lambda overrides: load_settings(tmp_path / "cdk.json", overrides))
    code, _, err = run(capsys, "up")
    assert code == 2
    assert "cdk.json: projectSettings.proxySettings" in err


@pytest.mark.parametrize("argv", [["status"], ["endpoint"], ["shell", "proxy"]])
def test_what_needs_a_deployment_says_how_to_make_one(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *argv)
    assert code == 1
    assert "bash deploy.sh --local" in err


def test_another_deployments_name_is_in_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert "bash deploy.sh --local --name second" in run(capsys, "status", "--name", "second")[2]


def test_a_log_that_is_not_there_is_named_with_those_that_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    logs = tmp_path / "state/default/logs"
    logs.mkdir(parents=True)
    (logs / "build-secure-proxy.log").write_text("one\ntwo\n")
    code, _, err = run(capsys, "logs", "nothing")
    assert code == 1
    assert "there are: build-secure-proxy" in err
    assert run(capsys, "logs", "build-secure-proxy", "-n", "1")[:2] == (0, "two\n")


def test_removing_nothing_is_no_error_and_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "down")
    assert code == 0
    assert "there was none" in out
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_kept_and_its_place_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    assert f"cache kept in {tmp_path}/cache" in run(capsys, "down")[1]
    assert (tmp_path / "cache").is_dir()


def test_the_cache_is_removed_when_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "cache/base").mkdir(parents=True)
    run(capsys, "down", "--purge-cache")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_listed_one_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.cli.missing_packages", lambda: ["haproxy", "mmdebstrap"])
    assert run(capsys, "prerequisites") == (0, "haproxy\nmmdebstrap\n", "")
    assert json.loads(run(capsys, "prerequisites", "--json")[1]) == {"missing": ["haproxy", "mmdebstrap"]}


def test_nothing_missing_is_an_empty_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.cli.missing_packages", list)
    assert run(capsys, "prerequisites") == (0, "", "")


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local", "--help"], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert all(command in done.stdout for command in COMMANDS)


def test_a_deployment_that_another_command_works_on_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.cli.check_tools", lambda: None)
    with locked(Layout("second").lock, parents=True):
        code, out, err = run(capsys, "up", "--name", "second")
    assert (code, out) == (2, "")
    assert f"(process {os.getpid()}); wait for it, or end it with: bash destroy.sh --local --name second" in err


@pytest.mark.parametrize(("option", "address"), [([], "127.0.0.9"), (["--listen", "127.0.0.2"], "127.0.0.2")])
def test_a_deployment_listens_where_it_did_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: list[str], address: str
) -> None:
    plans: list[Plan] = []

    def stop(up: Up) -> None:
        plans.append(up.plan)
        raise LocalError("far enough")

    monkeypatch.setattr(Up, "run", stop)
    monkeypatch.setattr("local.cli.check_tools", lambda: None)
    run(capsys, "up", "--listen", "127.0.0.9")
    layout = Layout()
    layout.make_directories()
    balancers = {name: BalancerRecord(address=plans[0].options.listen) for name in (PUBLIC, INTERNAL)}
    Deployment.create(
        layout,
        DeploymentRecord(subnet=IPv4Network("10.213.7.0/24"), ports=plans[0].ports, issuer="", balancers=balancers),
    )
    run(capsys, "up", *option)
    assert str(plans[1].options.listen) == address


def test_what_is_made_does_not_depend_on_the_users_umask(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(up: Up) -> None:
        up.layout.make_directories()
        raise LocalError("far enough")

    monkeypatch.setattr(Up, "run", stop)
    monkeypatch.setattr("local.cli.check_tools", lambda: None)
    os.umask(0o077)
    assert run(capsys, "up")[0] == 1
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "state", tmp_path / "cache", *(tmp_path / "state/default").iterdir())
    }
    for_all = dict.fromkeys(("state", "cache", "logs", "run"), 0o755)
    assert modes == {**for_all, **dict.fromkeys(("images", "builds", "machines"), 0o700)}


def test_a_terminal_without_unicode_gets_escapes(tmp_path: Path) -> None:
    script = (
        "import sys, local.cli as cli\n"
        "cli._prerequisites = lambda _: print('\u2026 \u2192') or 0\n"
        "sys.exit(cli.main(['prerequisites']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "\\u2026 \\u2192\n"), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_is_exit_code_130(number: signal.Signals, tmp_path: Path) -> None:
    script = (
        "import sys, time, local.cli as cli\n"
        "def wait(_):\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "cli._status = wait\nsys.exit(cli.main(['status']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=20)[1] == "interrupted\n"
    assert process.returncode == 130
