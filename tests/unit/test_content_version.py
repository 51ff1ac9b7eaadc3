"""Versions follow from content: whatever changes an image changes them, nothing else does."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from stacks.content_version import content_version


@pytest.fixture
def component(tmp_path: Path) -> Path:
    directory = tmp_path / "component"
    (directory / "install").mkdir(parents=True)
    (directory / "component.yaml").write_text("name: x\n")
    (directory / "install" / "10.sh").write_text("#!/bin/bash\n")
    (directory / "install" / "10.sh").chmod(0o755)
    (directory / "install" / "latest.sh").symlink_to("10.sh")
    return directory


def version(*paths: Path, **extra: str) -> str:
    return content_version(paths, extra)


def test_a_version_has_the_form_that_image_builder_takes(component: Path) -> None:
    match = re.fullmatch(r"1\.0\.(0|[1-9][0-9]*)", version(component))
    assert match is not None
    assert int(match[1]) < 2**30


def test_numbers_spread_over_the_whole_range() -> None:
    numbers = [int(version(Path(__file__), a=str(i)).split(".")[2]) for i in range(200)]
    assert len(set(numbers)) == 200
    assert min(numbers) < 2**26
    assert max(numbers) > 2**29


def test_changed_bytes_change_the_version(component: Path) -> None:
    before = version(component)
    (component / "component.yaml").write_text("name: y\n")
    assert version(component) != before


def test_a_changed_executable_bit_changes_the_version(component: Path) -> None:
    before = version(component)
    (component / "install" / "10.sh").chmod(0o644)
    assert version(component) != before


def test_a_changed_name_changes_the_version(component: Path) -> None:
    before = version(component)
    (component / "install" / "10.sh").rename(component / "install" / "11.sh")
    assert version(component) != before


def test_a_changed_directory_name_changes_the_version(component: Path) -> None:
    before = version(component)
    (component / "install").rename(component / "scripts")
    assert version(component) != before


def test_an_added_empty_file_changes_the_version(component: Path) -> None:
    before = version(component)
    (component / "empty").touch()
    assert version(component) != before


def test_a_removed_file_changes_the_version(component: Path) -> None:
    before = version(component)
    (component / "component.yaml").unlink()
    assert version(component) != before


def test_a_changed_link_changes_the_version(component: Path) -> None:
    before = version(component)
    (component / "install" / "latest.sh").unlink()
    (component / "install" / "latest.sh").symlink_to("../component.yaml")
    assert version(component) != before


def test_a_link_is_not_the_file_that_it_leads_to(component: Path) -> None:
    before = version(component)
    (component / "install" / "latest.sh").unlink()
    shutil.copy(component / "install" / "10.sh", component / "install" / "latest.sh")
    assert version(component) != before


def test_a_changed_parameter_changes_the_version(component: Path) -> None:
    versions = {
        version(component),
        version(component, Bridge="lua"),
        version(component, Bridge="websockify"),
        version(component, Other="lua"),
        version(component, Bridge="lua", Other=""),
    }
    assert len(versions) == 5


def test_content_that_moves_between_two_files_changes_the_version(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a").write_text("xb")
    (tmp_path / "c" / "b").write_text("y")
    before = version(tmp_path / "c")
    (tmp_path / "c" / "a").write_text("x")
    (tmp_path / "c" / "b").write_text("by")
    assert version(tmp_path / "c") != before


def test_a_file_and_a_parameter_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("y")
    assert version(tmp_path / "a", b="file y") != version(tmp_path / "a", tmp_path / "b")


def test_the_order_does_not_matter(component: Path, tmp_path: Path) -> None:
    other = tmp_path / "shared.txt"
    other.write_text("x")
    assert content_version([component, other], {"A": "1", "B": "2"}) == content_version(
        [other, component], {"B": "2", "A": "1"}
    )


def test_the_order_of_the_directory_does_not_matter(tmp_path: Path) -> None:
    for place, names in (("first", "abc"), ("second", "cba")):
        (tmp_path / place / "c").mkdir(parents=True)
        for name in names:
            (tmp_path / place / "c" / name).write_text(name)
    assert version(tmp_path / "first" / "c") == version(tmp_path / "second" / "c")


def test_times_do_not_matter(component: Path) -> None:
    before = version(component)
    for path in component.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert version(component) == before


def test_the_umask_does_not_matter(component: Path) -> None:
    before = version(component)
    (component / "component.yaml").chmod(0o664)
    (component / "install" / "10.sh").chmod(0o700)
    assert version(component) == before


def test_the_place_does_not_matter(component: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "component"
    shutil.copytree(component, copy, symlinks=True)
    assert version(copy) == version(component)


def test_what_running_leaves_behind_does_not_matter(component: Path) -> None:
    before = version(component)
    (component / "install" / "__pycache__").mkdir()
    (component / "install" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    (component / "x.pyc").write_bytes(b"x")
    assert version(component) == before


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        version(tmp_path / "nowhere")


def test_two_paths_of_one_name_are_an_error(component: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "component"
    shutil.copytree(component, copy, symlinks=True)
    with pytest.raises(ValueError, match=r"two files are called component/"):
        version(component, copy)


def test_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no content"):
        version()
    with pytest.raises(ValueError, match="no content"):
        version(tmp_path)


def test_a_pipe_is_an_error(component: Path) -> None:
    os.mkfifo(component / "pipe")
    with pytest.raises(ValueError, match="neither a file"):
        version(component)
