"""From options and settings to a plan, or a refusal."""

from __future__ import annotations

import pytest

from local.errors import UsageError
from local.plan import UpOptions, make_plan
from stacks.options import DeploymentOptions
from stacks.settings import load_settings


def provider(options: UpOptions) -> str:
    return make_plan(options).settings.proxy_settings.authentication.provider


def test_the_distribution_build_has_the_external_provider_unless_told_otherwise() -> None:
    assert provider(UpOptions()) == "external"


def test_the_source_build_has_what_the_settings_say() -> None:
    assert provider(UpOptions(nginx_build="source")) == "openidc"


def test_the_source_build_can_have_the_external_provider_and_the_other_bridge() -> None:
    options = UpOptions(nginx_build="source", authentication="external", bridge="websockify")
    assert provider(options) == "external"
    assert make_plan(options).settings.proxy_settings.bridge == "websockify"


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


def test_more_proxies_than_the_settings_permit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"projectSettings\.proxyFleet"):
        make_plan(UpOptions(proxies=5))


@pytest.mark.parametrize(
    "options",
    [
        UpOptions(),
        UpOptions(nginx_build="source", source_base_url="https://git.example.com"),
        UpOptions(nginx_build="source", bridge="websockify", authentication="external", proxies=3),
    ],
)
def test_the_cdk_app_is_told_what_was_planned(options: UpOptions) -> None:
    told = DeploymentOptions.from_context(options.context())
    assert (told.nginx_build, told.source_base_url) == (options.nginx_build, options.source_base_url)
    assert told.mock_runtime == "native"
    assert load_settings(overrides=told.overrides) == make_plan(options).settings


def test_the_issuers_placeholders_are_filled() -> None:
    assert make_plan(UpOptions()).issuer == "http://mock-servers.secure-proxy.internal:10080/awsexample"


def test_the_plan_says_what_will_be_done() -> None:
    words = "\n".join(make_plan(UpOptions(nginx_build="source")).describe())
    assert "source from https://github.com" in words
    assert "openidc" in words
    assert "lua" in words
