"""`docs/clients.md`: its examples run as printed, its tables and pins agree with the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.statuses import CLOSE_REMEDIES, HANDSHAKE_REMEDIES
from tests.unit.client.behaviour import Behaviour
from tests.unit.client.certificates import Authority
from tests.unit.client.conftest import StartProxy
from tests.unit.client.fake_proxy import FakeProxy

_EXAMPLE = re.compile(
    r"^### (?P<name>\w+)\n(?P<text>.*?)^```(?:python|javascript)\n(?P<code>.*?)^```\n+^```bash\n(?P<command>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Example:
    """One example of the page: the file to save it as, its code, the command that runs it and what it installs."""

    file: str
    code: str
    command: str
    installs: str


@pytest.fixture(scope="session")
def page(repository: Path) -> str:
    return (repository / "docs" / "clients.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def examples(page: str) -> dict[str, Example]:
    found = {}
    for match in _EXAMPLE.finditer(page):
        file = re.search(r"as\s+`(tcp_client\.\w+)`", match["text"])
        installs = re.search(r"`\w+ install ([^`]+)`", match["text"])
        assert file is not None
        assert installs is not None
        found[match["name"]] = Example(file[1], match["code"], match["command"], installs[1])
    return found


def test_the_page_has_both_examples(examples: dict[str, Example]) -> None:
    assert set(examples) == {"Python", "Node"}


@pytest.fixture(scope="session")
def scratch(examples: dict[str, Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both examples as a reader would have saved them, and with the pinned `ws` installed."""
    directory = tmp_path_factory.mktemp("examples")
    for example in examples.values():
        (directory / example.file).write_text(example.code, encoding="utf-8")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).parent / "node" / name, directory)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=directory,
        check=True,
        timeout=300,
    )
    return directory


RunExample = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["Python", "Node"])
def run_example(
    request: pytest.FixtureRequest, examples: dict[str, Example], scratch: Path, authority: Authority
) -> RunExample:
    """Runs an example's command exactly as the page prints it, against a fake proxy."""

    def run(proxy: FakeProxy, token: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOST": "localhost",
            "PORT": str(proxy.wss_port),
            "CA": str(authority.ca_file),
            "TOKEN": token,
            **changes,
        }
        return subprocess.run(
            ["bash", "-c", examples[request.param].command],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_an_example_prints_the_lines_that_come_back(proxy: FakeProxy, run_example: RunExample) -> None:
    token = proxy.make_token()
    result = run_example(proxy, token)
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\nhow are you\n", "")
    headers = proxy.handshakes[0].request.headers
    assert headers["Authorization"] == f"Bearer {token}"
    assert headers["Sec-WebSocket-Protocol"] == "binary"
    assert proxy.received == b"hello\nhow are you\n"


def node_finds_addresses_of_ipv6() -> bool:
    """Whether the Node.js that examples run on finds an IPv6 address in a certificate that has it; 24.19.0 does not."""
    program = "require('tls').checkServerIdentity('::1', {subject: {}, subjectaltname: 'IP Address:0:0:0:0:0:0:0:1'})"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["node", "-e", f"process.exit({program} === undefined ? 0 : 1)"]
    return subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode == 0


def test_an_example_works_over_ipv6(
    request: pytest.FixtureRequest, start_proxy: StartProxy, run_example: RunExample
) -> None:
    if request.node.callspec.params["run_example"] == "Node" and not node_finds_addresses_of_ipv6():
        pytest.skip("this Node.js refuses every certificate of an IPv6 address")
    proxy = start_proxy(host="::1")
    assert run_example(proxy, proxy.make_token(), HOST="[::1]").returncode == 0


def test_an_example_reassembles_lines_from_any_frames(start_proxy: StartProxy, run_example: RunExample) -> None:
    proxy = start_proxy(Behaviour(frame_sizes=(1,)))
    assert run_example(proxy, proxy.make_token()).stdout == "hello\nhow are you\n"


def test_an_example_says_with_which_status_it_was_refused(proxy: FakeProxy, run_example: RunExample) -> None:
    result = run_example(proxy, "garbage")
    assert result.returncode == 1
    assert result.stderr == "refused with HTTP 403\n"


def test_an_example_says_with_which_code_the_session_ended(start_proxy: StartProxy, run_example: RunExample) -> None:
    proxy = start_proxy(Behaviour(close_after=(6, 4401, "token expired"), transform=lambda: lambda _: b""))
    result = run_example(proxy, proxy.make_token())
    assert result.returncode == 1
    assert result.stderr == "closed with 4401 token expired\n"


def test_an_example_trusts_no_unknown_certificate(
    start_proxy: StartProxy, run_example: RunExample, tmp_path: Path
) -> None:
    proxy = start_proxy(certificate=Authority(tmp_path).issue("localhost"))
    result = run_example(proxy, proxy.make_token())
    assert result.returncode == 1
    assert result.stderr.startswith("no connection: ")
    assert proxy.handshakes == []


def test_an_example_does_not_take_the_token_elsewhere(start_proxy: StartProxy, run_example: RunExample) -> None:
    elsewhere = start_proxy()
    behaviour = Behaviour(valid_refusal=307, location=f"wss://localhost:{elsewhere.wss_port}/")
    proxy = start_proxy(behaviour)
    result = run_example(proxy, proxy.make_token())
    assert result.returncode == 1
    assert elsewhere.handshakes == []


# Tables and pins


def test_the_pages_pins_are_those_that_are_tested(examples: dict[str, Example], repository: Path) -> None:
    assert examples["Python"].installs in (repository / "requirements.txt").read_text().splitlines()
    package = json.loads((Path(__file__).parent / "node" / "package.json").read_text())
    assert examples["Node"].installs == f"ws@{package['dependencies']['ws']}"


def codes_of(page: str, heading: str) -> set[int]:
    """The codes in the first column of the section's table."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {int(code) for code in re.findall(r"^\| (?:none \()?(\d{3,4})\)? \|", section, re.MULTILINE)}


def test_the_page_lists_the_statuses_that_the_client_explains(page: str) -> None:
    # 404 is what another listener answers, not this one.
    assert codes_of(page, "When the handshake is refused") == set(HANDSHAKE_REMEDIES) - {404}


def test_the_page_lists_the_close_codes_that_the_client_explains(page: str) -> None:
    assert codes_of(page, "When the session ends") == set(CLOSE_REMEDIES)
