"""Control groups of hosts without a service manager."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.control_groups import ControlGroups
from local.errors import LocalError


def tree(tmp_path: Path, *, version: int, managed: bool = False) -> ControlGroups:
    if version == 2:
        (tmp_path / "cgroup.controllers").touch()
    else:
        for name in ("systemd", "memory"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "cgroup.procs").touch()
    return ControlGroups(tmp_path, lambda: managed)


def test_version_2_has_one_hierarchy(tmp_path: Path) -> None:
    assert tree(tmp_path, version=2).create("sp-1-m") == [tmp_path / "sp-1-m/cgroup.procs"]


def test_of_version_1_the_one_named_systemd_is_used(tmp_path: Path) -> None:
    assert tree(tmp_path, version=1).create("sp-1-m") == [tmp_path / "systemd/sp-1-m/cgroup.procs"]


def test_a_service_manager_is_left_to_do_it(tmp_path: Path) -> None:
    assert tree(tmp_path, version=2, managed=True).create("sp-1-m") == []
    assert not (tmp_path / "sp-1-m").exists()


def test_groups_are_removed_with_those_inside(tmp_path: Path) -> None:
    groups = tree(tmp_path, version=1)
    groups.create("sp-1-m")
    groups.create("sp-2-m")
    (tmp_path / "systemd/sp-1-m/payload/system.slice").mkdir(parents=True)
    groups.remove("sp-1-")
    assert groups.find("sp-") == [tmp_path / "systemd/sp-2-m"]


def test_the_groups_of_one_unit_leave_those_whose_names_go_on(tmp_path: Path) -> None:
    groups = tree(tmp_path, version=1)
    groups.create("sp-1-proxy-1")
    groups.create("sp-1-proxy-10")
    groups.remove("sp-1-proxy-1")
    assert groups.find("sp-1-") == [tmp_path / "systemd/sp-1-proxy-10"]


def test_a_group_in_use_is_named(tmp_path: Path) -> None:
    groups = tree(tmp_path, version=1)
    groups.create("sp-1-m")
    (tmp_path / "systemd/sp-1-m/busy").touch()
    with pytest.raises(LocalError, match="sp-1-m is still in use"):
        groups.remove("sp-1-", timeout=0.1)
