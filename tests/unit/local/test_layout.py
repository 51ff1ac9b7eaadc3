"""Names and paths of a deployment."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.errors import UsageError
from local.layout import Layout


@pytest.mark.parametrize("name", ["", "Default", "1st", "-x", "a/b", "..", "a b", "x" * 32])
def test_a_name_that_could_do_harm_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="deployment name"):
        Layout(name)


def test_device_names_fit_the_kernels_limit() -> None:
    layout = Layout("x" * 31)
    assert max(len(layout.bridge), len(layout.interface(254))) <= 15


def test_no_deployments_names_start_with_anothers() -> None:
    first, second = Layout("a").identity, Layout("a-b").identity
    assert not first.startswith(second)
    assert not second.startswith(first)


def test_the_same_name_elsewhere_is_another_deployment(tmp_path: Path) -> None:
    assert Layout("a").identity != Layout("a", state_base=tmp_path).identity


def test_roots_are_for_root_alone(tmp_path: Path) -> None:
    layout = Layout("a", tmp_path / "state", tmp_path / "cache")
    layout.make_directories()
    assert [path.stat().st_mode & 0o777 for path in (layout.images, layout.builds, layout.machines)] == [0o700] * 3
