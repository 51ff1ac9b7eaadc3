"""The policy checks find nothing, and what they are excused from is little and reasoned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stacks import machine_roles
from stacks.exceptions import METADATA_KEY
from tests import synthesis
from tests.synthesis import REPOSITORY, Template

MOST_EXCEPTIONS = 10
SCRIPTS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the output of a synthesis that was checked by cdk-nag and the CDK's own validation."""
    directory = tmp_path_factory.mktemp("checks")
    synthesis.synthesize({"checks": "true"}, directory / "cdk.out")
    return directory


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # A proxy that nobody answers at: whoever tries the network fails.
    environment = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_cdk_nag_and_cloudformation_find_nothing(assembly: Path) -> None:
    """With `checks=true`, synthesizing raises on a finding; so the assembly is there."""
    assert (assembly / "cdk.out" / "EC2ImageBuilderSecureProxy.template.json").is_file()


def test_cdk_nag_would_find_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the exceptions, the same check fails: it does look."""
    monkeypatch.setattr(machine_roles, "accept_finding", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match=r"ValidationFailed.*wildcard permissions"):
        synthesis.synthesize({"checks": "true"}, tmp_path)


def test_cfn_lint_finds_nothing(assembly: Path) -> None:
    result = run("cfn-lint", "cdk.out/EC2ImageBuilderSecureProxy.template.json", cwd=assembly)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_checkov_finds_nothing_and_stays_off_the_network(assembly: Path) -> None:
    result = run("checkov", "--config-file", str(REPOSITORY / "checkov.yaml"), cwd=assembly)
    assert result.returncode == 0, result.stdout
    assert "Failed checks: 0, Skipped checks: 0" in result.stdout
    passed = int(result.stdout.split("Passed checks: ")[1].split(",")[0])
    assert passed > 300


def test_checkov_would_find_something(assembly: Path, tmp_path: Path) -> None:
    target = tmp_path / "cdk.out" / "EC2ImageBuilderSecureProxy.template.json"
    target.parent.mkdir()
    source = (assembly / "cdk.out" / target.name).read_text(encoding="utf-8")
    target.write_text(source.replace('"EnableKeyRotation": true', '"EnableKeyRotation": false'), encoding="utf-8")
    result = run("checkov", "--config-file", str(REPOSITORY / "checkov.yaml"), cwd=tmp_path)
    assert result.returncode == 1
    assert "CKV_AWS_7" in result.stdout


def test_checkov_skips_no_rule() -> None:
    settings = yaml.safe_load((REPOSITORY / "checkov.yaml").read_text(encoding="utf-8"))
    assert not {"skip-check", "soft-fail", "baseline", "skip-resources-without-violations"} & settings.keys()
    assert settings["skip-download"] is True


def test_cfn_lint_has_no_configuration_that_ignores() -> None:
    assert not [name for name in (".cfnlintrc", ".cfnlintrc.yaml", ".cfnlintrc.yml") if (REPOSITORY / name).exists()]


def test_exceptions_are_few_and_have_their_reasons(template: Template) -> None:
    exceptions = [
        (name, rule, reason)
        for name, entry in template.resources.items()
        for rule, reason in entry.get("Metadata", {}).get(METADATA_KEY, {}).items()
    ]
    assert 0 < len(exceptions) <= MOST_EXCEPTIONS
    for name, rule, reason in exceptions:
        assert "[" in rule, f"{name}: {rule} must name the finding"
        assert len(reason.split()) >= 8, f"{name}: {rule} needs a reason"


def test_no_resource_excuses_itself_from_checkov_or_cfn_lint(template: Template) -> None:
    for name, entry in template.resources.items():
        assert not {"checkov", "cfn-lint", "cfn_nag"} & entry.get("Metadata", {}).keys(), name
