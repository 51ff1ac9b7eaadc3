"""A world without machines: what the endpoint's extensions ask of it, and what a test lets happen in it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from local.balancer import TargetHealth
from local.errors import LocalError
from local.record import ListenerRecord

IMAGE, NEXT_IMAGE = "ami-00000000000000001", "ami-00000000000000002"


class FakeWorld:
    """Machines are there when `gate` is open, and healthy unless they are in `sick`."""

    def __init__(self) -> None:
        self.images = {IMAGE, NEXT_IMAGE}
        self.gate = threading.Event()
        self.gate.set()
        self.failures: list[str] = []  # what the next launches fail with
        self.machines: dict[str, tuple[str, str | None]] = {}  # image and user data by instance id
        self.stopped: set[str] = set()
        self.sick: set[str] = set()
        self.unasked: set[str] = set()
        self.listeners: dict[str, list[ListenerRecord]] = {}
        self.events: list[str] = []
        self.most = 0

    def has_image(self, image_id: str) -> bool:
        return image_id in self.images

    def launch(self, instance_id: str, image_id: str, user_data: str | None) -> str:
        self.gate.wait()
        if self.failures:
            raise LocalError(self.failures.pop(0))
        self.machines[instance_id] = (image_id, user_data)
        self.most = max(self.most, len(self.machines))
        self.events.append(f"launched {instance_id}")
        return f"10.213.7.{9 + len(self.machines)}"

    def terminate(self, instance_id: str) -> None:
        self.machines.pop(instance_id, None)
        self.events.append(f"terminated {instance_id}")

    def states(self) -> Mapping[str, str]:
        return {id_: "stopped" if id_ in self.stopped else "running" for id_ in list(self.machines)}

    def dns_name(self, balancer: str) -> str:
        return {"public": "127.0.0.2", "internal": "mock-servers.secure-proxy.internal"}[balancer]

    def set_listeners(self, balancer: str, listeners: Sequence[ListenerRecord]) -> None:
        before = {id_ for listener in self.listeners.get(balancer, []) for id_ in listener.registered}
        self.listeners[balancer] = list(listeners)
        after = {id_ for listener in listeners for id_ in listener.registered}
        self.events += [f"removed {id_}" for id_ in sorted(before - after)]

    def health(self, balancer: str) -> Mapping[tuple[int, str], TargetHealth]:
        return {
            (listener.port, id_): TargetHealth(
                listener.port,
                id_,
                id_ not in self.sick | self.unasked,
                "L7STS 503" if id_ in self.sick else "",
                id_ not in self.unasked,
            )
            for listener in self.listeners.get(balancer, [])
            for id_ in listener.registered
            if id_ in self.machines
        }
