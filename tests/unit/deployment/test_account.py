"""The environment: what is missing or contradicts itself is named, with the remedy, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, UnauthorizedSSOTokenError

from deployment import account
from deployment.account import connect, identify
from deployment.errors import NotStartedError
from tests.unit.deployment.support import StubbedAws
from tests.unit.lambdas.scenario import ACCOUNT, REGION, Call

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of whoever runs the tests: neither the environment's nor the home directory's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "CDK_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def refusal(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotStartedError) as refused:
        connect(environment)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, {})
    assert "AWS_DEFAULT_REGION is missing: export AWS_DEFAULT_REGION=" in text
    assert "AWS credentials are missing: export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in text


def test_the_region_of_the_profile_is_proposed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-3\n")
    assert "export AWS_DEFAULT_REGION=eu-west-3" in refusal(monkeypatch, {**KEYS, "AWS_PROFILE": "work"})


def test_half_a_key_pair_is_missing_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, {"AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"})
    assert "AWS credentials are missing" in text
    assert "AWS_DEFAULT_REGION is missing" not in text


def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal(monkeypatch, {"AWS_DEFAULT_REGION": REGION, "AWS_PROFILE": "nobody"})
    assert "(nobody) could not be found. See the profiles there are: aws configure list-profiles" in text


@pytest.mark.parametrize("name", ["AWS_REGION", "CDK_DEFAULT_REGION"])
def test_two_regions_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text = refusal(monkeypatch, {**KEYS, "AWS_DEFAULT_REGION": REGION, name: "us-east-1"})
    assert text == f"{name}=us-east-1 contradicts AWS_DEFAULT_REGION={REGION}: unset {name}"


def test_an_sso_profile_without_a_session_says_how_to_sign_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "[profile work]\nsso_start_url = https://example.awsapps.com/start\nsso_region = eu-west-1\n"
        "sso_account_id = 111122223333\nsso_role_name = Admin\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "aws sso login" in refusal(monkeypatch, {"AWS_DEFAULT_REGION": REGION, "AWS_PROFILE": "work"})


def test_a_key_pair_and_a_region_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**KEYS, "AWS_DEFAULT_REGION": REGION}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    aws = connect(environment)
    assert aws.region == REGION
    assert aws.client("sts").meta.region_name == REGION


def test_the_account_is_that_of_the_caller() -> None:
    answer = {"Account": ACCOUNT, "Arn": "arn:aws:iam::111122223333:user/me", "UserId": "AIDAEXAMPLE"}
    aws = StubbedAws([Call("sts", "get_caller_identity", {}, answer)])
    assert identify(aws) == account.Identity(ACCOUNT, "arn:aws:iam::111122223333:user/me")
    aws.stubs.assert_all_made()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ExpiredToken", "the AWS session has expired"),
        ("InvalidClientTokenId", "AWS does not accept the credentials"),
        ("AccessDenied", "have an administrator permit"),
    ],
)
def test_credentials_that_aws_refuses(code: str, words: str) -> None:
    with pytest.raises(NotStartedError, match=words):
        identify(StubbedAws([Call("sts", "get_caller_identity", {}, error=code, status=403)]))


class Unreachable(StubbedAws):
    """A region in which no request gets an answer."""

    def __init__(self, region: str, error: Exception) -> None:
        super().__init__([])
        self.region = region
        self._error = error

    def client(self, service: str) -> Any:
        assert service == "sts"
        return self

    def get_caller_identity(self) -> None:
        raise self._error


def test_a_region_that_does_not_exist_is_told_from_a_network_that_does_not_answer() -> None:
    error = EndpointConnectionError(endpoint_url="https://sts.example")
    with pytest.raises(NotStartedError, match="eu-centrl-1 is no region of AWS; did you mean eu-central-1"):
        identify(Unreachable("eu-centrl-1", error))
    with pytest.raises(NotStartedError, match="AWS cannot be reached"):
        identify(Unreachable("eu-central-1", error))


def test_an_expired_sso_session_says_how_to_renew_it() -> None:
    with pytest.raises(NotStartedError, match="aws sso login"):
        identify(Unreachable("eu-central-1", UnauthorizedSSOTokenError()))
