"""Published images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from local.errors import LocalError
from local.images import ImageStore, copy_tree, new_image_id


def candidate(tmp_path: Path, word: str) -> Path:
    path = tmp_path / f"candidate-{word}"
    (path / "root").mkdir(parents=True)
    (path / "root/word").write_text(word)
    return path


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    (tmp_path / "images").mkdir()
    return ImageStore(tmp_path / "images")


FIRST, SECOND = "ami-" + "1" * 17, "ami-" + "2" * 17


def test_an_image_is_published_with_what_is_known_about_it(store: ImageStore, tmp_path: Path) -> None:
    published = store.publish(candidate(tmp_path, "a"), FIRST, "proxy", "1.0.7", {"Bridge": "lua"})
    found = store.get(FIRST)
    assert found == published
    assert found is not None
    assert (found.image_id, found.version, found.description.parameters, (found.root / "word").read_text()) == (
        FIRST,
        "1.0.7",
        {"Bridge": "lua"},
        "a",
    )


def test_of_several_images_of_a_name_the_newest_is_found_and_the_others_stay(store: ImageStore, tmp_path: Path) -> None:
    store.publish(candidate(tmp_path, "b"), SECOND, "proxy", "1.0.7", {})
    store.publish(candidate(tmp_path, "a"), FIRST, "proxy", "1.0.8", {})
    newest = store.find("proxy")
    assert newest
    assert newest.image_id == FIRST
    assert [image.image_id for image in store.all()] == [SECOND, FIRST]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_removed_image_is_gone_and_the_others_are_not(store: ImageStore, tmp_path: Path) -> None:
    store.publish(candidate(tmp_path, "a"), FIRST, "proxy", "1.0.7", {})
    store.publish(candidate(tmp_path, "b"), SECOND, "proxy", "1.0.8", {})
    store.remove(SECOND)
    assert [image.image_id for image in store.all()] == [FIRST]


def test_there_is_no_image_before_it_is_published(store: ImageStore) -> None:
    assert store.find("proxy") is None
    assert store.get(FIRST) is None
    assert store.all() == []


@pytest.mark.parametrize("image_id", ["..", "", "ami-x", "../" + FIRST])
def test_what_is_no_image_id_names_no_image(store: ImageStore, image_id: str) -> None:
    assert store.get(image_id) is None


def test_image_ids_are_all_different() -> None:
    ids = {new_image_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"ami-[0-9a-f]{17}", image_id) for image_id in ids)


def test_a_damaged_image_is_an_error_with_the_remedy(store: ImageStore) -> None:
    (store.directory / FIRST).mkdir()
    with pytest.raises(LocalError, match=r"damaged.*destroy\.sh --local"):
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
