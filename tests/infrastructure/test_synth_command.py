"""`cdk synth` as users and their CI type it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stacks.options import DeploymentOptions
from stacks.settings import SettingsError
from tests.synthesis import REPOSITORY

# What synthesizing reads; other tests write elsewhere at the same time.
SOURCES = ("app.py", "cdk.json", "stacks", "lambdas", "components")


def cdk() -> str:
    """The CLI that `package.json` pins."""
    found = shutil.which("cdk", path=f"{REPOSITORY / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}")
    assert found, "the CDK CLI is missing; install it with `npm ci`"
    return found


def synth(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without credentials, region or network."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(output),
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
    }
    return subprocess.run(
        [cdk(), "synth", "--quiet", "--output", str(output / "cdk.out"), *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def contents() -> dict[str, str]:
    """Every file of the sources with a digest of its bytes; a leftover of Python would be one more."""
    paths = [path for source in SOURCES for path in [REPOSITORY / source, *(REPOSITORY / source).rglob("*")]]
    return {
        str(path.relative_to(REPOSITORY)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }


def test_it_works_offline_without_credentials_and_leaves_the_sources_alone(tmp_path: Path) -> None:
    for package in ("stacks", "lambdas"):
        for leftover in (REPOSITORY / package).rglob("__pycache__"):
            shutil.rmtree(leftover, ignore_errors=True)
    before = contents()
    result = synth(tmp_path)
    assert result.returncode == 0, result.stderr
    assert contents() == before
    assert json.loads((tmp_path / "cdk.out" / "EC2ImageBuilderSecureProxy.template.json").read_text(encoding="utf-8"))


def test_a_wrong_setting_stops_it_with_the_key_and_no_traceback(tmp_path: Path) -> None:
    result = synth(tmp_path, "--context", "projectSettings.proxySettings.wssProxyBindPort=70000")
    assert result.returncode != 0
    assert "cdk.json: projectSettings.proxySettings.wssProxyBindPort" in result.stderr
    assert "Traceback" not in result.stderr


class TestOptions:
    """Context as options."""

    def test_defaults_are_those_of_aws(self) -> None:
        options = DeploymentOptions.from_context({})
        assert (options.nginx_build, options.source_base_url, options.mock_runtime) == (
            "source",
            "https://github.com",
            "docker",
        )

    @pytest.mark.parametrize(("key", "value"), [("nginxBuild", "fast"), ("mockRuntime", "podman")])
    def test_an_unknown_build_or_runtime_is_refused_with_what_is_allowed(self, key: str, value: str) -> None:
        with pytest.raises(SettingsError, match=f'context.{key}: "{value}" is unknown, allowed: '):
            DeploymentOptions.from_context({key: value})

    @pytest.mark.parametrize(
        ("text", "value"), [("8", 8), ("true", True), ('["a"]', ["a"]), ("lua", "lua"), ("30s", "30s"), (8, 8)]
    )
    def test_overrides_are_read_as_json_where_they_are(self, text: object, value: object) -> None:
        options = DeploymentOptions.from_context({"projectSettings.a.b": text, "another": "x"})
        assert options.overrides == {"a.b": value}
