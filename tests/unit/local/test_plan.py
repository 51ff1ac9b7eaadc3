"""From options and settings to a plan, or a refusal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from local.deployment import MOCKS, PROXY
from local.errors import DocumentError, UsageError
from local.plan import COMPONENTS, Plan, UpOptions, make_plan


def policy(plan: Plan) -> dict[str, dict[str, object]]:
    match = re.search(r"^POLICY='(.*)'$", plan.user_data[PROXY], re.MULTILINE)
    assert match
    found: dict[str, dict[str, object]] = json.loads(match.group(1))
    return found


def test_the_distribution_build_has_the_external_provider_unless_told_otherwise() -> None:
    assert policy(make_plan(UpOptions()))["authentication"]["provider"] == "external"


def test_the_source_build_has_what_the_settings_say() -> None:
    assert policy(make_plan(UpOptions(nginx_build="source")))["authentication"]["provider"] == "openidc"


def test_the_source_build_can_have_the_external_provider_and_the_other_bridge() -> None:
    plan = make_plan(UpOptions(nginx_build="source", authentication="external", bridge="websockify"))
    assert policy(plan)["authentication"]["provider"] == "external"
    assert {image.name: image.parameters.get("Bridge") for image in plan.images}[PROXY] == "websockify"


@pytest.mark.parametrize("options", [UpOptions(bridge="websockify"), UpOptions(authentication="openidc")])
def test_what_the_distribution_build_lacks_is_refused_with_the_remedy(options: UpOptions) -> None:
    with pytest.raises(UsageError, match=r"needs NginxBuild=source[\s\S]*--nginx-build source"):
        make_plan(options)


@pytest.mark.parametrize("url", ["http://plain.example", "ssh://git@example", "https://a b", ""])
def test_a_source_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="source_base_url"):
        make_plan(UpOptions(nginx_build="source", source_base_url=url))


def test_a_mirror_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no such directory"):
        make_plan(UpOptions(nginx_build="source", source_base_url="file:///no/such/mirror"))


def test_the_same_options_give_the_same_versions() -> None:
    assert make_plan(UpOptions()).images == make_plan(UpOptions()).images


def test_another_build_is_another_version_of_the_proxy_image_alone() -> None:
    first, second = (
        {image.name: image.version for image in make_plan(UpOptions(nginx_build=build)).images}
        for build in ("distribution", "source")
    )
    assert first[PROXY] != second[PROXY]
    assert first[MOCKS] == second[MOCKS]


def test_a_changed_file_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    copy = tmp_path / "mock_servers"
    shutil.copytree(COMPONENTS[MOCKS], copy)
    monkeypatch.setattr("local.plan.COMPONENTS", {PROXY: COMPONENTS[PROXY], MOCKS: copy})
    before = make_plan(UpOptions())
    (copy / "servers/new").write_text("x")
    after = make_plan(UpOptions())
    assert [a.version == b.version for a, b in zip(before.images, after.images, strict=True)] == [True, False]


def test_a_document_that_does_not_fit_its_parameters_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("component.yaml", "test_component.yaml"):
        text = (COMPONENTS[MOCKS] / name).read_text()
        (tmp_path / name).write_text(text.replace("- Runtime:", "- Surprise:"))
    monkeypatch.setattr("local.plan.COMPONENTS", {PROXY: COMPONENTS[PROXY], MOCKS: tmp_path})
    with pytest.raises(DocumentError, match="Surprise has no default"):
        make_plan(UpOptions())


def test_the_certificate_is_made_for_the_address_that_clients_use() -> None:
    options = replace(UpOptions(), listen=UpOptions().listen + 5)
    assert "CERTIFICATE_NAMES=localhost,127.0.0.1,127.0.0.6\n" in make_plan(options).user_data[PROXY]


def test_the_issuers_placeholders_are_filled() -> None:
    assert make_plan(UpOptions()).issuer == "http://mock-servers.secure-proxy.internal:10080/awsexample"


def test_the_asset_of_a_request_is_at_hand(tmp_path: Path) -> None:
    for image in make_plan(UpOptions()).images:
        request = image.request(tmp_path)
        assert request.assets[image.parameters["AssetUrl"]].is_file()


def test_the_plan_says_what_will_be_done() -> None:
    words = "\n".join(make_plan(UpOptions(nginx_build="source")).describe())
    assert "source from https://github.com" in words
    assert "openidc" in words
    assert "lua" in words
