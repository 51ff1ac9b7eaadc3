"""Published images."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.errors import LocalError
from local.images import ImageStore, copy_tree


def candidate(tmp_path: Path, word: str) -> Path:
    path = tmp_path / f"candidate-{word}"
    (path / "root").mkdir(parents=True)
    (path / "root/word").write_text(word)
    return path


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    (tmp_path / "images").mkdir()
    return ImageStore(tmp_path / "images")


def test_an_image_is_published_with_what_is_known_about_it(store: ImageStore, tmp_path: Path) -> None:
    published = store.publish(candidate(tmp_path, "a"), "proxy", "1.0.7", {"Bridge": "lua"})
    found = store.find("proxy")
    assert found == published
    assert found is not None
    assert (found.version, found.description.parameters, (found.root / "word").read_text()) == (
        "1.0.7",
        {"Bridge": "lua"},
        "a",
    )


def test_an_image_of_the_same_name_is_replaced(store: ImageStore, tmp_path: Path) -> None:
    store.publish(candidate(tmp_path, "a"), "proxy", "1.0.7", {})
    store.publish(candidate(tmp_path, "b"), "proxy", "1.0.8", {})
    [image] = store.all()
    assert (image.version, (image.root / "word").read_text()) == ("1.0.8", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_there_is_no_image_before_it_is_published(store: ImageStore) -> None:
    assert store.find("proxy") is None
    assert store.all() == []


def test_a_damaged_image_is_an_error_with_the_remedy(store: ImageStore) -> None:
    (store.directory / "proxy").mkdir()
    with pytest.raises(LocalError, match=r"damaged.*--rebuild"):
        store.find("proxy")


def test_a_copy_keeps_modes_and_links(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_text("x")
    (source / "tool").chmod(0o4755)
    (source / "link").symlink_to("/outside")
    copy_tree(source, tmp_path / "copy")
    assert (tmp_path / "copy/tool").stat().st_mode & 0o7777 == 0o4755
    assert str((tmp_path / "copy/link").readlink()) == "/outside"
