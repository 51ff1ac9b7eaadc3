"""What tests do to the machines and load balancers of a local deployment, past the AWS endpoint."""

from __future__ import annotations

import secrets
import subprocess
from ipaddress import IPv4Address

from local.deployment import BACKEND_HOST, Deployment, role_of
from local.machine import Machine
from local.record import INTERNAL, DeploymentRecord, RecordFile


def launch(deployment: Deployment, role: str, user_data: str | None = None) -> Machine:
    """One more machine of a role, an instance that EC2 does not know, behind the role's load balancer.

    The user data are those of the role's other machines if none are given.
    """
    image = [image for image in deployment.images.all() if role_of(image.name) == role][-1]
    if user_data is None and deployment.with_role(role):
        user_data = deployment.with_role(role)[0].description.user_data
    machine = deployment.launch_instance(f"i-{secrets.token_hex(9)[:17]}", image.image_id, user_data)

    def registered(record: DeploymentRecord) -> DeploymentRecord:
        for name, balancer in record.balancers.items():
            listeners = tuple(
                listener.model_copy(update={"registered": (*listener.registered, machine.instance_id)})
                if listener.role == role
                else listener
                for listener in balancer.listeners
            )
            record = record.with_balancer(name, listeners=listeners)
        return record

    RecordFile(deployment.layout).change(registered)
    deployment.apply_listeners()
    return machine


def move_internal_balancer(deployment: Deployment, address: IPv4Address | None = None) -> IPv4Address:
    """Move the internal load balancer to another address of its range (the next free one by default) and its name with
    it, as AWS may do with an NLB's. Connections through the former address end. Returns the address.
    """
    former, network = deployment.record.balancers[INTERNAL].address, deployment.network
    target = address or next(free for free in network.balancer_addresses() if free != former)
    network.add_address(target)
    RecordFile(deployment.layout).change(lambda record: record.with_balancer(INTERNAL, address=target))
    deployment.apply_listeners()
    deployment.dns.set(BACKEND_HOST, target)
    if target != former:
        device = ["ip", "address", "delete", str(network.interface(former)), "dev", network.bridge]
        subprocess.run(device, check=True)
    return target
