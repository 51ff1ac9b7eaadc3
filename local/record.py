"""What is known of a deployment beside its machines' own descriptions: the file `deployment.json`.

Several processes read and change it: the commands, the AWS endpoint, tests. So it is read anew for every look, and
changed under a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from local.balancer import HealthCheck
from local.errors import LocalError, NotDeployedError
from local.layout import Layout
from local.locks import locked

PUBLIC = "public"
INTERNAL = "internal"


class Ports(BaseModel):
    """The ports that the proxies are configured with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wss: int
    oauth: int
    health: int


class ListenerRecord(BaseModel):
    """A port of a load balancer, and the target group behind it.

    Targets are the machines of `role` whose EC2 instance is `registered`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int
    target_port: int
    role: str
    health_check: HealthCheck = HealthCheck()
    registered: tuple[str, ...] = ()


class BalancerRecord(BaseModel):
    """A load balancer: where it listens, and to what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: IPv4Address
    listeners: tuple[ListenerRecord, ...] = ()


class DeploymentRecord(BaseModel):
    """The content of `deployment.json`: load balancers by name, machines by name in the order they were launched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subnet: IPv4Network
    ports: Ports
    issuer: str
    balancers: Mapping[str, BalancerRecord]
    machines: tuple[str, ...] = ()

    @property
    def listen(self) -> IPv4Address:
        """Where clients find the proxies."""
        return self.balancers[PUBLIC].address

    def with_balancer(self, name: str, **changes: object) -> DeploymentRecord:
        """This record with `changes` made to one load balancer."""
        changed = self.balancers[name].model_copy(update=changes)
        return self.model_copy(update={"balancers": {**self.balancers, name: changed}})


@dataclass(frozen=True)
class RecordFile:
    """The record of `layout` on disk."""

    layout: Layout

    def read(self) -> DeploymentRecord:
        """The record as it stands. Raises `NotDeployedError` if there is none, `LocalError` if it is damaged."""
        path = self.layout.record
        try:
            return DeploymentRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError:
            raise NotDeployedError(
                f"there is no local deployment {self.layout.name!r}; make one with: {self.layout.deploy_command}"
            ) from None
        except ValidationError as error:
            raise LocalError(f"{path} is damaged ({error}); run: {self.layout.destroy_command}") from None

    def write(self, record: DeploymentRecord) -> None:
        """Write the record, whole or not at all."""
        new = self.layout.record.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(record.model_dump_json(indent=2), encoding="utf-8")
        new.replace(self.layout.record)

    @contextmanager
    def locked(self) -> Iterator[DeploymentRecord]:
        """Keep all others from changing the record for the length of the block, which gets it as it stands."""
        with locked(self._lock, wait=True):
            yield self.read()

    def change(self, function: Callable[[DeploymentRecord], DeploymentRecord]) -> DeploymentRecord:
        """Replace the record by `function` of it; returns the new one."""
        with self.locked() as record:
            changed = function(record)
            self.write(changed)
        return changed

    @property
    def _lock(self) -> Path:
        return self.layout.run / "record.lock"
