"""gixy over the rendered templates of every combination of build, bridge and authentication."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.components.component_support import COMPONENT, PARAMETERS, ROOTFS
from tests.shipped_programs import put_on_path

PROGRAM_DIRECTORY = ROOTFS / "usr/libexec/secure-proxy"
VARIANTS = [("distribution", "lua", "external"), ("source", "lua", "openidc"), ("source", "websockify", "openidc")]

# What gixy reports and why it is right to leave it: (check, file) → reason.
EXCUSED = {
    ("hsts_header", "wss.conf"): "not for browsers' pages; HSTS would bind every port of a name that is the user's",
    ("worker_rlimit_nofile_vs_connections", "nginx.conf"): "the unit's LimitNOFILE is twice the connections + 1024",
}


def render(directory: Path, build: str, bridge: str, provider: str) -> Path:
    """Writes the configuration as an instance would have it; returns its nginx.conf."""
    policies = importlib.import_module("proxy_configuration.policy")
    rendering = importlib.import_module("proxy_configuration.rendering")
    values = {**PARAMETERS, "NGINX_BUILD": build, "BRIDGE": bridge, "BACKEND_HOST": "backend.example.com"}
    document = json.loads(policies.placeholder_policy(values))
    document["authentication"]["provider"] = provider
    policy = policies.Policy(json.dumps(document), values)
    jail = rendering.Jail(values)
    jail.templates = COMPONENT / "nginx"
    variables = rendering.candidate_variables(values, policy, directory="/etc/nginx/certs", names="10.0.0.2")
    jail.write_candidate(directory, variables, {})
    (directory / "modules.conf").write_text("")
    return directory / "nginx.conf"


@pytest.fixture(autouse=True)
def program_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(monkeypatch, PROGRAM_DIRECTORY)


def lint(configuration: Path) -> list[dict[str, Any]]:
    gixy = Path(sys.executable).with_name("gixy")
    result = subprocess.run([gixy, "--format", "json", configuration], capture_output=True, text=True, check=False)
    problems: list[dict[str, Any]] = json.loads(result.stdout)
    return problems


@pytest.mark.parametrize(("build", "bridge", "provider"), VARIANTS)
def test_gixy_finds_nothing_that_is_not_excused(build: str, bridge: str, provider: str, tmp_path: Path) -> None:
    problems = lint(render(tmp_path, build, bridge, provider))
    found = {(problem["plugin"], Path(problem["file"]).name): problem["reason"] for problem in problems}
    assert {key: reason for key, reason in found.items() if key not in EXCUSED} == {}


def test_every_excuse_is_still_needed(tmp_path: Path) -> None:
    needed = set()
    for number, variant in enumerate(VARIANTS):
        directory = tmp_path / str(number)
        directory.mkdir()
        needed |= {(problem["plugin"], Path(problem["file"]).name) for problem in lint(render(directory, *variant))}
    assert needed == set(EXCUSED)


def test_gixy_sees_a_status_page_that_is_open_to_all(tmp_path: Path) -> None:
    configuration = render(tmp_path, *VARIANTS[0])
    health = tmp_path / "conf.d/health.conf"
    text = health.read_text()
    guarded = text[text.index("if ($remote_addr") : text.index("default_type application/json")]
    health.write_text(text.replace(guarded, "allow 127.0.0.1; deny all;\n"))
    assert "return_bypasses_allow_deny" in {problem["plugin"] for problem in lint(configuration)}
