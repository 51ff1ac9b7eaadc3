"""A local deployment: its machines, load balancers and name server, as they stand on disk and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from local.balancer import Balancer, BalancerTarget, HealthCheck, Listener, TargetHealth
from local.errors import LocalError, NotDeployedError
from local.images import ImageStore
from local.layout import Layout
from local.machine import Machine, MachineDescription
from local.name_server import DOMAIN, NameServer
from local.network import Network

PROXY = "secure-proxy"
MOCKS = "mock-servers"
BACKEND_HOST = f"{MOCKS}.{DOMAIN}"
PUBLIC = "public"
INTERNAL = "internal"


class Ports(BaseModel):
    """The ports of the machines, which are also those of the load balancers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wss: int
    oauth: int
    health: int
    tcp_backend: int
    oauth_backend: int
    authorizer: int


class DeploymentRecord(BaseModel):
    """What is known of a deployment beside its machines' own descriptions; the content of `deployment.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subnet: IPv4Network
    listen: IPv4Address
    internal: IPv4Address
    ports: Ports
    issuer: str
    oauth_health_path: str
    machines: tuple[str, ...]
    user_data: Mapping[str, str]


@dataclass
class Deployment:
    """The deployment of `layout`. Changes are written to disk at once, so that every process sees the same."""

    layout: Layout
    record: DeploymentRecord

    @classmethod
    def load(cls, name: str = "default", layout: Layout | None = None) -> Deployment:
        """The deployment of that name; raises `NotDeployedError` if there is none."""
        layout = layout or Layout(name)
        try:
            text = layout.record.read_text(encoding="utf-8")
        except OSError:
            raise NotDeployedError(
                f"there is no local deployment {layout.name!r}; make one with: bash deploy.sh --local"
                + (f" --name {layout.name}" if layout.name != "default" else "")
            ) from None
        try:
            return cls(layout, DeploymentRecord.model_validate_json(text))
        except ValidationError as error:
            raise LocalError(f"{layout.record} is damaged ({error}); run: bash destroy.sh --local") from None

    def save(self) -> None:
        """Write the record, whole or not at all."""
        new = self.layout.record.with_suffix(".new")
        new.touch(mode=0o600)  # user data are nobody else's business
        new.write_text(self.record.model_dump_json(indent=2), encoding="utf-8")
        new.replace(self.layout.record)

    @property
    def network(self) -> Network:
        return Network(self.layout.bridge, self.record.subnet)

    @property
    def images(self) -> ImageStore:
        return ImageStore(self.layout.images)

    @property
    def dns(self) -> NameServer:
        return NameServer(self.network.gateway, self.layout.unit("names"), self.layout.run, self.layout.logs)

    @property
    def machines(self) -> dict[str, Machine]:
        """All machines by name, in the order they were launched."""
        return {name: Machine.load(self.layout, name) for name in self.record.machines}

    @property
    def balancers(self) -> dict[str, Balancer]:
        """`public`, before the proxies, and `internal`, before the mock servers."""
        addresses = {PUBLIC: self.record.listen, INTERNAL: self.record.internal}
        return {
            name: Balancer(name, address, self.layout.unit(f"{name}-balancer"), self.layout.run, self.layout.logs)
            for name, address in addresses.items()
        }

    def machine(self, name: str) -> Machine:
        """The machine of that name; raises `LocalError` naming those there are."""
        try:
            return self.machines[name]
        except KeyError:
            raise LocalError(f"there is no machine {name!r}; there are: {', '.join(self.record.machines)}") from None

    def with_role(self, role: str) -> list[Machine]:
        """The machines of a role: `secure-proxy` or `mock-servers`."""
        return [machine for machine in self.machines.values() if machine.role == role]

    @property
    def bridge(self) -> str | None:
        """Which bridge the proxy image was built for, `lua` or `websockify`; None while there is no image."""
        image = self.images.find(PROXY)
        return image.description.parameters["Bridge"] if image else None

    def listeners(self) -> dict[str, list[Listener]]:
        """What each load balancer listens to now that the machines are what they are."""
        ports = self.record.ports
        ready = HealthCheck(ports.health, "/readyz")
        oidc = HealthCheck(path=self.record.oauth_health_path)
        return {
            PUBLIC: [self._listener(port, PROXY, ready) for port in (ports.wss, ports.oauth)],
            INTERNAL: [
                self._listener(ports.tcp_backend, MOCKS, HealthCheck()),
                self._listener(ports.oauth_backend, MOCKS, oidc),
                self._listener(ports.authorizer, MOCKS, HealthCheck()),
            ],
        }

    def apply_listeners(self) -> None:
        """Bring both load balancers up to date with the machines; starts them if need be."""
        for name, listeners in self.listeners().items():
            self.balancers[name].apply(listeners)

    def launch(self, role: str, name: str | None = None, user_data: str | None = None) -> Machine:
        """Boot one more machine of a role, with the role's user data if none is given, and put it behind its balancer.

        The balancer sends it connections once it is healthy. Raises `LocalError`.
        """
        image = self.images.find(role)
        if image is None:
            raise LocalError(f"there is no image {role}")
        machines = self.machines
        number = next(n for n in range(1, 256) if f"{role}-{n}" not in machines)
        used = {machine.address for machine in machines.values()}
        address = next((free for free in self.network.machine_addresses() if free not in used), None)
        if address is None:
            raise LocalError(f"{self.record.subnet} has no address left for another machine")
        description = MachineDescription(
            name=name or f"{role}-{number}",
            role=role,
            image=image.name,
            version=image.version,
            address=self.network.interface(address),
            resolver=self.network.gateway,
            user_data=self.record.user_data.get(role) if user_data is None else user_data,
        )
        if description.name in machines:
            raise LocalError(f"there is a machine {description.name} already")
        machine = Machine(self.layout, description)
        # Known before it runs: whatever happens from here on, it is found.
        self._update(machines=(*self.record.machines, machine.name))
        try:
            machine.launch(image.root, self.network)
        except BaseException:
            self._update(machines=tuple(known for known in self.record.machines if known != machine.name))
            machine.remove()
            raise
        self.apply_listeners()
        return machine

    def terminate(self, name: str) -> None:
        """Take a machine from behind its balancer, stop it and remove its disk."""
        machine = self.machine(name)
        self._update(machines=tuple(other for other in self.record.machines if other != name))
        self.apply_listeners()
        machine.remove()

    def move_internal_balancer(self, address: IPv4Address | None = None) -> IPv4Address:
        """Move the internal load balancer to another address of its range (the next free one by default) and its name
        with it, as AWS may do with an NLB's. Connections through the former address end. Returns the address.
        """
        former = self.record.internal
        target = address or next(free for free in self.network.balancer_addresses() if free != former)
        self.network.add_address(target)
        self._update(internal=target)
        self.apply_listeners()
        self.dns.set(BACKEND_HOST, target)
        if target != former:
            self.network.remove_address(former)
        return target

    def health(self) -> dict[str, list[TargetHealth]]:
        """What each load balancer thinks of its targets."""
        return {name: balancer.health() for name, balancer in self.balancers.items()}

    def trust_file(self) -> Path:
        """Write the proxies' certificates to the CA file that clients use, and return its path."""
        certificates = [
            (machine.root / "nginx/etc/nginx/certs/servercert.pem").read_text(encoding="ascii")
            for machine in self.with_role(PROXY)
        ]
        self.layout.ca_file.write_text("".join(certificates), encoding="ascii")
        self.layout.ca_file.chmod(0o644)
        return self.layout.ca_file

    def _listener(self, port: int, role: str, check: HealthCheck) -> Listener:
        targets = tuple(BalancerTarget(machine.name, machine.address, port) for machine in self.with_role(role))
        return Listener(port, targets, check)

    def _update(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)
        self.save()
