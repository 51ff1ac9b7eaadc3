"""One image, built for all tests here, and one deployment of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from local.deployment import MOCKS, Deployment
from local.images import Image
from local.layout import CACHE_BASE
from local.locks import locked
from local.machine import Machine
from local.network import Network, choose_subnet, host_networks
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord, ListenerRecord, Ports
from tests.local.workshop import Workshop
from tests.machines import launch

PORTS = Ports(wss=10000, oauth=11080, health=8080)


@pytest.fixture(scope="package")
def workshop() -> Iterator[Workshop]:
    made = Workshop()
    yield made
    made.cleanup.remove()
    shutil.rmtree(made.directory)


@pytest.fixture(scope="package")
def image(workshop: Workshop) -> Image:
    return workshop.builder.build(workshop.request())


@pytest.fixture(scope="package")
def deployment(workshop: Workshop, image: Image) -> Iterator[Deployment]:
    """Network, name server and load balancers, and one machine."""
    assert image.name == MOCKS
    with locked(CACHE_BASE / "network.lock", wait=True):
        network = Network(workshop.layout.bridge, choose_subnet("unit", host_networks()))
        network.create()
    internal = network.balancer_addresses()[0]
    network.add_address(internal)
    record = DeploymentRecord(
        subnet=network.subnet,
        ports=PORTS,
        issuer="http://x",
        balancers={
            PUBLIC: BalancerRecord(address=IPv4Address("127.83.9.9")),
            INTERNAL: BalancerRecord(
                address=internal, listeners=(ListenerRecord(port=9000, target_port=9000, role=MOCKS),)
            ),
        },
    )
    made = Deployment.create(workshop.layout, record)
    made.dns.start({"mock-servers.secure-proxy.internal": internal})
    made.apply_listeners()
    launch(made, MOCKS, "GREETING=hello\n").wait_booted()
    yield made
    workshop.cleanup.stop()


@pytest.fixture
def machine(deployment: Deployment) -> Machine:
    return deployment.machine(f"{MOCKS}-1")
