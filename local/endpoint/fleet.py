"""Instances, load balancers and Auto Scaling groups on the machines of a deployment, put together."""

from __future__ import annotations

from collections.abc import Callable

from local.endpoint.balancing import Balancing
from local.endpoint.instances import Instances
from local.endpoint.machines import World
from local.endpoint.patches import Patches
from local.endpoint.scaling import Scaling
from local.endpoint.scaling_api import ScalingApi


def install(world: World) -> Callable[[], None]:
    """Have moto's EC2, ELBv2 and Auto Scaling act on `world`, in this process; returns what takes that back."""
    patches = Patches()
    balancing = Balancing(world)
    scaling = Scaling(balancing)
    instances = Instances(world, scaling.wake)
    balancing.install(patches)
    instances.install(patches)
    ScalingApi(scaling).install(patches)
    scaling.start(instances)

    def uninstall() -> None:
        scaling.stop()
        balancing.stop()
        patches.undo()

    return uninstall
