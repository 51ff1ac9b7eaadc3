"""What breaks on a running deployment, and that it heals without a hand on the proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from local.deployment import MOCKS, PROXY, Deployment
from local.machine import Machine
from local.record import INTERNAL
from tests.e2e.sessions import connect, readyz, receive, within
from tests.machines import move_internal_balancer

pytestmark = pytest.mark.machine

BACK_WITHIN_SECONDS = 10


def echoes(deployment: Deployment) -> bool:
    with connect(deployment) as session:
        session.send(b"still here\n")
        return receive(session, 11, timeout=5) == b"still here\n"


def refused_with(deployment: Deployment) -> int | None:
    """The HTTP status that a new session is refused with, None if it is accepted."""
    try:
        with connect(deployment):
            return None
    except InvalidStatus as refusal:
        return int(refusal.response.status_code)


@pytest.fixture
def proxy(deployment: Deployment) -> Machine:
    return deployment.with_role(PROXY)[0]


@pytest.fixture
def mock(deployment: Deployment) -> Iterator[Machine]:
    machine = deployment.with_role(MOCKS)[0]
    yield machine
    machine.run(["systemctl", "start", "mock-echo.service", "mock-authorizer.service"], check=True)
    assert within(20, lambda: echoes(deployment)), "the deployment did not heal; later tests would mislead"


def worker_pids(machine: Machine) -> list[str]:
    return machine.run(["pgrep", "--full", "nginx: worker process"]).stdout.split()


def test_a_killed_worker_is_replaced(deployment: Deployment, proxy: Machine) -> None:
    before = worker_pids(proxy)
    proxy.run(["kill", "-KILL", *before], check=True)
    assert within(BACK_WITHIN_SECONDS, lambda: echoes(deployment))
    assert not set(before) & set(worker_pids(proxy))


def test_a_killed_master_is_replaced(deployment: Deployment, proxy: Machine) -> None:
    main = ["systemctl", "show", "--property=MainPID", "--value", "nginx.service"]
    before = proxy.run(main, check=True).stdout.strip()
    proxy.run(["kill", "-KILL", before], check=True)
    assert within(BACK_WITHIN_SECONDS, lambda: echoes(deployment))
    assert proxy.run(main, check=True).stdout.strip() != before


def test_a_reload_keeps_the_service(deployment: Deployment, proxy: Machine) -> None:
    proxy.run(["systemctl", "reload", "nginx.service"], check=True)
    assert within(BACK_WITHIN_SECONDS, lambda: echoes(deployment))


def test_a_stopped_application_is_a_502_and_not_ready(deployment: Deployment, mock: Machine) -> None:
    mock.run(["systemctl", "stop", "mock-echo.service"], check=True)
    # The load balancer before the application notices first; until then it accepts and drops.
    assert within(15, lambda: refused_with(deployment) in (502, None) and readyz(deployment)[0] == 503)
    assert "application" in readyz(deployment)[1]


def test_the_application_coming_back_heals_the_proxy(deployment: Deployment, proxy: Machine, mock: Machine) -> None:
    started = proxy.run(["systemctl", "show", "--property=ActiveEnterTimestamp", "nginx.service"]).stdout
    mock.run(["systemctl", "stop", "mock-echo.service"], check=True)
    assert within(15, lambda: readyz(deployment)[0] == 503)
    mock.run(["systemctl", "start", "mock-echo.service"], check=True)
    assert within(20, lambda: readyz(deployment)[0] == 200 and echoes(deployment))
    assert proxy.run(["systemctl", "show", "--property=ActiveEnterTimestamp", "nginx.service"]).stdout == started


def test_a_new_address_behind_the_name_is_followed(deployment: Deployment, proxy: Machine, mock: Machine) -> None:
    started = proxy.run(["systemctl", "show", "--property=ActiveEnterTimestamp", "nginx.service"]).stdout
    former = deployment.record.balancers[INTERNAL].address
    assert move_internal_balancer(deployment) != former
    assert within(30, lambda: readyz(deployment)[0] == 200 and echoes(deployment))
    assert proxy.run(["systemctl", "show", "--property=ActiveEnterTimestamp", "nginx.service"]).stdout == started


def test_an_unreachable_authorizer_refuses_with_503(deployment: Deployment, mock: Machine) -> None:
    mock.run(["systemctl", "stop", "mock-authorizer.service"], check=True)
    assert within(15, lambda: readyz(deployment)[0] == 503)
    assert "authentication" in readyz(deployment)[1]
