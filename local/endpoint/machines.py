"""How the extensions of EC2, ELBv2 and Auto Scaling reach the machines and load balancers of a deployment.

`World` is what they ask for. `DeploymentWorld` is the deployment on this host; tests have a world of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from local.balancer import TargetHealth
from local.deployment import BACKEND_HOST, MOCKS, PROXY, Deployment
from local.errors import LocalError
from local.record import INTERNAL, PUBLIC, ListenerRecord

# Seconds: a proxy takes the time of `proxySettings.limits.drainTimeout`, at most 5 minutes, to close its sessions.
_SHUTDOWN = 330.0
ROLES = {PUBLIC: PROXY, INTERNAL: MOCKS}


class World(Protocol):
    """Machines by the id of the EC2 instance that each is, and the load balancers `public` and `internal`."""

    def has_image(self, image_id: str) -> bool:
        """Whether machines can be launched from that AMI."""

    def launch(self, instance_id: str, image_id: str, user_data: str | None) -> str:
        """Boot a machine; returns its address once it has booted. Raises `LocalError`, and then nothing is left."""

    def terminate(self, instance_id: str) -> None:
        """Shut the machine down and remove it; nothing happens if there is none. Raises `LocalError`."""

    def states(self) -> Mapping[str, str]:
        """`running` or `stopped` of every machine there is."""

    def dns_name(self, balancer: str) -> str:
        """The name, or address, that clients of the load balancer use."""

    def set_listeners(self, balancer: str, listeners: Sequence[ListenerRecord]) -> None:
        """Make these the load balancer's listeners; established connections go on. Raises `LocalError`."""

    def health(self, balancer: str) -> Mapping[tuple[int, str], TargetHealth]:
        """What the load balancer thinks of its targets, by listener port and instance id."""


@dataclass(frozen=True)
class DeploymentWorld:
    """The machines and load balancers of `deployment`."""

    deployment: Deployment
    _trust: Lock = field(default_factory=Lock)

    def has_image(self, image_id: str) -> bool:
        """See `World`."""
        return self.deployment.images.get(image_id) is not None

    def launch(self, instance_id: str, image_id: str, user_data: str | None) -> str:
        """See `World`. Clients trust a proxy from here on, which is before it gets any."""
        machine = self.deployment.launch_instance(instance_id, image_id, user_data)
        try:
            machine.wait_booted()
            self.deployment.collect_certificates()
        except BaseException:
            self.deployment.terminate(machine.name)
            raise
        return str(machine.address)

    def terminate(self, instance_id: str) -> None:
        """See `World`."""
        machine = self.deployment.of_instance(instance_id)
        if machine:
            self.deployment.terminate(machine.name, _SHUTDOWN)
            self.deployment.collect_certificates()

    def states(self) -> Mapping[str, str]:
        """See `World`."""
        return {machine.instance_id: machine.state for machine in self.deployment.machines.values()}

    def dns_name(self, balancer: str) -> str:
        """See `World`: the public one is asked at the address that was chosen for it."""
        return BACKEND_HOST if balancer == INTERNAL else str(self.deployment.record.listen)

    def set_listeners(self, balancer: str, listeners: Sequence[ListenerRecord]) -> None:
        """See `World`."""
        if balancer not in self.deployment.record.balancers:
            raise LocalError(f"there is no load balancer {balancer!r}")
        self.deployment.set_listeners(balancer, listeners)

    def health(self, balancer: str) -> Mapping[tuple[int, str], TargetHealth]:
        """See `World`."""
        ids = {name: machine.instance_id for name, machine in self.deployment.machines.items()}
        return {
            (entry.listener_port, ids[entry.target]): entry
            for entry in self.deployment.balancers[balancer].health()
            if entry.target in ids
        }
