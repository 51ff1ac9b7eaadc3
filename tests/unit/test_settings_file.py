"""Reading cdk.json: whatever is wrong with the file itself is one line that names the file and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks.settings import SettingsError, load_settings


def error_of(directory: Path, content: str | bytes) -> str:
    file = directory / "cdk.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "start"),
    [
        ("", "cdk.json: line 1, column 1 is not JSON (Expecting value), allowed: "),
        ('{\n  "projectSettings": {,}\n}', "cdk.json: line 2, column 23 is not JSON ("),
        ('{"projectSettings": {}} x', "cdk.json: line 1, column 25 is not JSON (Extra data), allowed: "),
        ('{"projectSettings": {"vpc": NaN}}', "cdk.json: is not JSON (NaN is not JSON), allowed: "),
        ('{"projectSettings": {"vpc": -Infinity}}', "cdk.json: is not JSON (-Infinity is not JSON), allowed: "),
        ('{"projectSettings": {"vpc": ' + "9" * 5000 + "}}", "cdk.json: is not JSON ("),
        ('{"projectSettings": ' + "[" * 100_000, "cdk.json: is nested too deeply, allowed: "),
        (b'{"projectSettings": "\xff"}', "cdk.json: byte 21 is not UTF-8, allowed: JSON in UTF-8"),
        ("[]", "cdk.json: is not a JSON object, allowed: an object with the key projectSettings"),
        ('"x"', "cdk.json: is not a JSON object, allowed: "),
        ("{}", "cdk.json: projectSettings: is missing, allowed: "),
        ('{"context": {"projectSettings": {}}}', "cdk.json: projectSettings: is missing, allowed: "),
        ('{"projectSettings": []}', "cdk.json: projectSettings: [] is not an object, allowed: "),
        ('{"projectSettings": null}', "cdk.json: projectSettings: null is not an object, allowed: "),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, content: str | bytes, start: str) -> None:
    error = error_of(tmp_path, content)
    assert error.startswith(start)
    assert "\n" not in error


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ('{"projectSettings": {"vpc": {}, "vpc": {}}}', ["projectSettings.vpc"]),
        ('{"projectSettings": {"vpc": {"cidr": 1, "cidr": 1}}}', ["projectSettings.vpc.cidr"]),
        ('{"projectSettings": {}, "projectSettings": {}}', ["projectSettings"]),
        ('{"context": {"a:b": 1, "a:b": 2}, "projectSettings": {}}', ['context."a:b"']),
        (
            '{"projectSettings": {"a": [{"b": 1, "b": 1}], "c": 1, "c": 2, "c": 3}}',
            ["projectSettings.c", "projectSettings.a[0].b"],
        ),
    ],
)
def test_a_key_given_twice_is_told_with_its_place(tmp_path: Path, content: str, places: list[str]) -> None:
    expected = [f"cdk.json: {place}: is given twice, allowed: each key once" for place in places]
    assert error_of(tmp_path, content).split("\n") == expected


def test_a_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^cdk.json: there is no file {tmp_path}/cdk.json, allowed: "):
        load_settings(tmp_path / "cdk.json")


def test_a_directory_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "cdk.json").mkdir()
    with pytest.raises(SettingsError, match=r"^cdk.json: cannot be read \(Is a directory\), allowed: "):
        load_settings(tmp_path / "cdk.json")


def test_the_current_directory_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings().vpc.cidr == "192.168.0.0/16"
    assert list(tmp_path.iterdir()) == []
