"""sources.lock and the step that clones by it, against repositories made here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.components.component_support import COMPONENT, INSTALL, PARAMETERS, run_script

LOCK = COMPONENT / "sources.lock"
NAMES = {
    "luajit2", "nginx", "ngx_devel_kit", "lua-nginx-module", "websockify-nginx-module", "lua-cjson", "lua-resty-core",
    "lua-resty-lrucache", "lua-resty-string", "lua-resty-http", "lua-resty-openssl", "lua-resty-jwt", "lua-resty-hmac",
    "lua-resty-session", "lua-resty-openidc",
}  # fmt: skip


def lock_lines() -> list[list[str]]:
    lines = LOCK.read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]
    command = ["git", *identity, "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """owner/library with the lightweight tag v1, the annotated tag v2 and a later commit."""
    directory = tmp_path / "mirror" / "owner" / "library"
    directory.mkdir(parents=True)
    git(directory, "init", "--quiet")
    for number, tag in enumerate((["tag", "v1"], ["tag", "--annotate", "--message", "second", "v2"], None)):
        (directory / "file").write_text(str(number))
        git(directory, "add", "file")
        git(directory, "commit", "--quiet", "--message", str(number))
        if tag:
            git(directory, *tag)
    return directory


def clone(tmp_path: Path, lock: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "lock"
    file.write_text(lock)
    environment = {
        **PARAMETERS,
        "NGINX_BUILD": "source",
        "SOURCE_BASE_URL": f"file://{tmp_path}/mirror",
        "SOURCES_LOCK": str(file),
        "WORK_DIR": str(tmp_path / "work"),
        "IMAGE_ENV": str(tmp_path / "absent"),
    }
    return run_script(INSTALL / "20-sources.sh", environment=environment)


def test_lock_names_every_source_of_the_build_once() -> None:
    names = [line[0] for line in lock_lines()]
    assert sorted(names) == sorted(NAMES)


def test_every_line_pins_a_repository_a_tag_a_commit_and_a_licence() -> None:
    for line in lock_lines():
        assert len(line) == 5, line
        _, repository, _, commit, licence = line
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        assert licence in {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}


@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_source_at_its_pinned_commit_is_accepted(tag: str, repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", f"{tag}^{{commit}}")
    result = clone(tmp_path, f"library owner/library {tag} {commit} MIT\n")
    assert result.returncode == 0, result.stderr
    assert git(tmp_path / "work/sources/library", "rev-parse", "HEAD") == commit


def test_another_commit_stops_the_build_with_both_ids(repository: Path, tmp_path: Path) -> None:
    pinned = git(repository, "rev-parse", "v1^{commit}")
    found = git(repository, "rev-parse", "v2^{commit}")
    result = clone(tmp_path, f"library owner/library v2 {pinned} MIT\n")
    assert result.returncode == 1
    assert pinned in result.stderr
    assert found in result.stderr


def test_id_of_the_annotated_tag_itself_is_not_the_commit(repository: Path, tmp_path: Path) -> None:
    tag_object = git(repository, "rev-parse", "v2")
    result = clone(tmp_path, f"library owner/library v2 {tag_object} MIT\n")
    assert result.returncode == 1
    assert tag_object in result.stderr


@pytest.mark.usefixtures("repository")
def test_missing_tag_names_the_address_it_was_sought_at(tmp_path: Path) -> None:
    result = clone(tmp_path, f"library owner/library v3 {'0' * 40} MIT\n")
    assert result.returncode == 1
    assert f"file://{tmp_path}/mirror/owner/library" in result.stderr


@pytest.mark.usefixtures("repository")
def test_missing_repository_fails_without_asking_for_a_password(tmp_path: Path) -> None:
    result = clone(tmp_path, f"library owner/absent v1 {'0' * 40} MIT\n")
    assert result.returncode == 1
    assert "owner/absent" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "library owner/library v1 1234 MIT",
        f"library owner/library v1 {'0' * 40}",
        f"library owner/library v1 {'0' * 40} MIT extra",
        f"library owner/library v1 {'G' * 40} MIT",
    ],
)
@pytest.mark.usefixtures("repository")
def test_malformed_line_is_refused(line: str, tmp_path: Path) -> None:
    result = clone(tmp_path, line + "\n")
    assert result.returncode == 1
    assert "line of 'library'" in result.stderr


def test_empty_lock_is_refused(tmp_path: Path) -> None:
    result = clone(tmp_path, "# nothing\n")
    assert result.returncode == 1
    assert "lists no sources" in result.stderr
