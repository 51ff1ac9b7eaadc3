"""Conformance: the Autobahn case set against the proxy."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.bridge.autobahn import Verdict, compared_as_streams, run
from tests.proxy.bridge.autobahn_exclusions import BOUNDARIES, EMPTY, EXCLUSIONS, EXTENSION_CASES
from tests.proxy.nginx_harness import Proxy

pytestmark = pytest.mark.machine

CASES = 301  # of the groups 1 to 10


@pytest.fixture(scope="module")
def strict(shared_proxy: Proxy) -> dict[str, Verdict]:
    return asyncio.run(run(shared_proxy, ["*"], EXTENSION_CASES))


def test_every_case_that_is_not_excluded_passes_strictly(strict: dict[str, Verdict]) -> None:
    assert len(strict) == CASES
    assert [verdict for case, verdict in strict.items() if not verdict.strict and case not in EXCLUSIONS] == []


def test_no_case_is_excluded_that_would_pass(strict: dict[str, Verdict]) -> None:
    # Whether a large message comes back in pieces is a matter of timing.
    needless = [case for case, reason in EXCLUSIONS.items() if reason != BOUNDARIES and strict[case].strict]
    assert needless == []


def test_every_case_passes_when_its_events_are_compared_as_bytes(proxy: Proxy) -> None:
    async def compared() -> dict[str, Verdict]:
        async with compared_as_streams():
            return await run(proxy, ["*"], [*EXTENSION_CASES, *empty])

    empty = [case for case, reason in EXCLUSIONS.items() if reason == EMPTY]
    verdicts = asyncio.run(compared())
    assert len(verdicts) == CASES - len(empty)
    assert [verdict for verdict in verdicts.values() if not verdict.strict] == []


def test_compression_is_declined_in_every_case_that_offers_it(proxy: Proxy) -> None:
    verdicts = asyncio.run(run(proxy, EXTENSION_CASES, []))
    assert len(verdicts) == 216
    assert {verdict.behavior for verdict in verdicts.values()} == {"UNIMPLEMENTED"}
