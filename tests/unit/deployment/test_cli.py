"""The commands as they are typed: usage, exit codes, and each bad input answered with what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from deployment import cli
from deployment.cdk import ROOT
from deployment.cli import main
from deployment.errors import DeploymentError, InterruptedByUserError, NotStartedError
from tests.unit.deployment.support import StubbedAws, describe_stack
from tests.unit.deployment.test_endpoint import parameters

COMMANDS = ("deploy", "destroy", "endpoint")


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        code = main(argv)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else -1
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def pytest_keeps_its_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_SIGNALS", ())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert out.startswith(f"usage: python -m deployment {command}")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["up"],
        ["deploy", "extra"],
        ["deploy", "--name", "other"],
        ["destroy", "--purge-cache"],
        ["deploy", "--admitted-cidr", "203.0.113.7/24"],
        ["deploy", "--admitted-cidr", "::/0"],
        ["deploy", "--context", "nginxBuild"],
        ["deploy", "--poll", "0"],
        ["deploy", "--no-wai"],
    ],
)
def test_wrong_usage_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert "usage:" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeploymentError("it failed"), 1),
        (NotStartedError("not as asked"), 2),
        (InterruptedByUserError("interrupted. It goes on"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "deploy", fails)
    got, _, err = run(capsys, "deploy")
    assert got == code
    assert err.startswith("error: ")


def test_an_error_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise DeploymentError("cause:\n\x1b[2Jgone")

    monkeypatch.setattr(cli, "deploy", fails)
    _, _, err = run(capsys, "deploy")
    assert err == "error: cause:\n\\x1b[2Jgone\n"


def test_a_terminal_without_unicode_gets_escapes(tmp_path: Path) -> None:
    script = (
        "import sys, deployment.cli as cli\n"
        "cli.deploy = lambda _options, _environment, console: console.line('waiting \u2026')\n"
        "sys.exit(cli.main(['deploy']))"
    )
    done = command(tmp_path, sys.executable, "-c", script, PYTHONPATH=str(ROOT), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("waiting \\u2026\n")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of whoever runs the tests but the programs."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **more}


def command(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=home,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("script", ["deploy.sh", "destroy.sh", "execute_e2e_tests.sh"])
def test_the_scripts_name_what_is_missing_and_start_nothing(tmp_path: Path, script: str) -> None:
    done = command(tmp_path, "bash", str(ROOT / script))
    assert done.returncode == 2
    assert "AWS_DEFAULT_REGION is missing: export AWS_DEFAULT_REGION=" in done.stderr
    assert "AWS credentials are missing: export AWS_ACCESS_KEY_ID" in done.stderr


@pytest.mark.parametrize("script", ["deploy.sh", "destroy.sh", "execute_e2e_tests.sh"])
def test_the_scripts_explain_both_ways(tmp_path: Path, script: str) -> None:
    done = command(tmp_path, "bash", str(ROOT / script), "--help")
    assert done.returncode == 0
    assert f"Usage: bash {script} [" in done.stdout
    assert f"bash {script} --local" in done.stdout


@pytest.fixture(scope="module")
def endpoint() -> Iterator[dict[str, str]]:
    """An AWS account that has seen nothing yet, and the environment that leads to it."""
    server = ThreadedMotoServer(port=0)
    server.start()
    _, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://localhost:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    server.stop()


def deployment(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return command(home, sys.executable, "-m", "deployment", *words, PYTHONPATH=str(ROOT), **more)


def test_an_account_that_is_not_bootstrapped_gets_the_command(tmp_path: Path, endpoint: dict[str, str]) -> None:
    done = deployment(tmp_path, "deploy", "--yes", **endpoint)
    assert done.returncode == 2
    assert "Run once: source .venv/bin/activate && cdk bootstrap aws://123456789012/eu-central-1" in done.stderr


def test_an_invalid_e_mail_address_is_refused_before_aws_is_asked(tmp_path: Path, endpoint: dict[str, str]) -> None:
    invalid = "projectSettings.imagebuilder.imageBuilderEmailAddress=nobody"
    done = deployment(tmp_path, "deploy", "--yes", "-c", invalid, **endpoint)
    assert done.returncode == 2
    assert "imageBuilderEmailAddress" in done.stderr
    assert done.stdout == ""


def test_a_region_that_does_not_exist_is_named(tmp_path: Path, endpoint: dict[str, str]) -> None:
    elsewhere = {**endpoint, "AWS_DEFAULT_REGION": "eu-centrl-1", "AWS_ENDPOINT_URL": "http://localhost:1"}
    done = deployment(tmp_path, "deploy", "--yes", **elsewhere)
    assert done.returncode == 2
    assert "AWS_DEFAULT_REGION=eu-centrl-1 is no region of AWS; did you mean eu-central-1?" in done.stderr


def test_an_execution_that_does_not_exist_cannot_be_followed(tmp_path: Path, endpoint: dict[str, str]) -> None:
    arn = "arn:aws:states:eu-central-1:123456789012:execution:SecureProxyDeployment:none"
    done = deployment(tmp_path, "deploy", "--follow", arn, **endpoint)
    assert done.returncode == 2
    assert f"there is no execution {arn}" in done.stderr


def test_where_nothing_is_deployed_there_is_no_endpoint(tmp_path: Path, endpoint: dict[str, str]) -> None:
    done = deployment(tmp_path, "endpoint", **endpoint)
    assert done.returncode == 2
    assert "is not deployed in eu-central-1" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("bridge", "ending"), [("lua", "https://login.example"), ("websockify", "--allow-missing-close")]
)
def test_the_endpoint_tells_the_client_what_the_bridge_cannot_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bridge: str, ending: str
) -> None:
    aws = StubbedAws([parameters("proxy.example", "10000", "11080", "https://login.example")])
    monkeypatch.setattr(cli, "connect", lambda _: aws)
    code, out, _ = run(capsys, "endpoint", "-c", f"projectSettings.proxySettings.bridge={bridge}")
    assert code == 0
    assert out.splitlines()[:2] == ["--host", "proxy.example"]
    assert out.splitlines()[-1] == ending


def test_the_endpoint_writes_the_certificates_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws = StubbedAws(
        [parameters("proxy.example", "10000", "11080", "https://login.example"), describe_stack("CREATE_COMPLETE")]
    )
    monkeypatch.setattr(cli, "connect", lambda _: aws)
    monkeypatch.setattr(cli, "trusted_certificates", lambda *_: "PEM\n")
    file = tmp_path / "proxies.pem"
    code, out, _ = run(capsys, "endpoint", "--ca-file", str(file))
    assert code == 0
    assert out.splitlines()[-2:] == ["--ca-file", str(file)]
    assert file.read_text() == "PEM\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_following_says_that_the_execution_goes_on(
    tmp_path: Path, endpoint: dict[str, str], number: int
) -> None:
    arn = running_execution(endpoint["AWS_ENDPOINT_URL"], f"signal-{number}")
    following = subprocess.Popen(
        [sys.executable, "-u", "-m", "deployment", "deploy", "--follow", arn, "--poll", "3600"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(ROOT), **endpoint),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout
    following.stdout.readline()  # it is following now
    following.send_signal(number)
    _, err = following.communicate(timeout=60)
    assert following.returncode == 130
    assert "The execution goes on." in err
    assert f"follow it: bash deploy.sh --follow {arn}" in err
    assert "Traceback" not in err


def running_execution(url: str, name: str) -> str:
    """An execution that does not end: moto starts it and leaves it at that."""
    sfn = boto3.client(
        "stepfunctions",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    machine = sfn.create_state_machine(name=name, definition="{}", roleArn="arn:aws:iam::123456789012:role/x")[
        "stateMachineArn"
    ]
    return str(sfn.start_execution(stateMachineArn=machine, name="x")["executionArn"])
