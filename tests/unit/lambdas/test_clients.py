"""The clients of the handlers."""

from __future__ import annotations

import pytest

from lambdas.common import clients


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    clients.client.cache_clear()


def test_a_client_is_made_once() -> None:
    assert clients.client("ssm") is clients.client("ssm")


def test_waits_are_shorter_than_a_function_may_run() -> None:
    config = clients.client("ssm").meta.config
    attempts = config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) <= 60
