"""A local deployment: its machines, load balancers and name server, as they stand on disk and run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.balancer import Balancer, BalancerTarget, Listener, TargetHealth
from local.errors import LocalError
from local.images import Image, ImageStore
from local.layout import Layout
from local.locks import locked
from local.machine import SHUTDOWN_GRACE, Machine, MachineDescription
from local.name_server import DOMAIN, NameServer
from local.network import Network
from local.record import PUBLIC, DeploymentRecord, ListenerRecord, Ports, RecordFile
from stacks.names import MOCK_SERVERS_IMAGE, SECURE_PROXY_IMAGE

PROXY = "secure-proxy"
MOCKS = "mock-servers"
BACKEND_HOST = f"{MOCKS}.{DOMAIN}"

_ROLES = {SECURE_PROXY_IMAGE: PROXY, MOCK_SERVERS_IMAGE: MOCKS}


@dataclass(frozen=True)
class Deployment:
    """The deployment of `layout`. Its state is on disk alone, so that every process sees the same and may change it."""

    layout: Layout

    @classmethod
    def load(cls, name: str = "default", layout: Layout | None = None) -> Deployment:
        """The deployment of that name; raises `NotDeployedError` if there is none."""
        deployment = cls(layout or Layout(name))
        deployment.record  # noqa: B018  (to find out)
        return deployment

    @classmethod
    def create(cls, layout: Layout, record: DeploymentRecord) -> Deployment:
        """A new deployment, whose directories are there."""
        RecordFile(layout).write(record)
        return cls(layout)

    @property
    def record(self) -> DeploymentRecord:
        """What is known now. Raises `LocalError` if the deployment is gone or its record damaged."""
        return RecordFile(self.layout).read()

    def note(self, ports: Ports, issuer: str) -> None:
        """Record what the deployment was last deployed with."""
        RecordFile(self.layout).change(lambda record: record.model_copy(update={"ports": ports, "issuer": issuer}))

    @property
    def public_ports(self) -> set[int]:
        """The ports that the public load balancer listens on."""
        return {listener.port for listener in self.record.balancers[PUBLIC].listeners}

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
        return self._machines(self.record)

    @property
    def balancers(self) -> dict[str, Balancer]:
        """`public`, before the proxies, and `internal`, before the mock servers."""
        return {
            name: Balancer(name, found.address, self.layout.unit(f"{name}-balancer"), self.layout.run, self.layout.logs)
            for name, found in self.record.balancers.items()
        }

    def machine(self, name: str) -> Machine:
        """The machine of that name; raises `LocalError` naming those there are."""
        machines = self.machines
        try:
            return machines[name]
        except KeyError:
            raise LocalError(f"there is no machine {name!r}; there are: {', '.join(machines)}") from None

    def with_role(self, role: str) -> list[Machine]:
        """The machines of a role: `secure-proxy` or `mock-servers`."""
        return [machine for machine in self.machines.values() if machine.role == role]

    def of_instance(self, instance_id: str) -> Machine | None:
        """The machine that is the EC2 instance of that id; None if there is none."""
        return next((machine for machine in self.machines.values() if machine.instance_id == instance_id), None)

    @property
    def bridge(self) -> str | None:
        """Which bridge the newest proxy image was built for, `lua` or `websockify`; None while there is no image."""
        image = self._image(PROXY)
        return image.description.parameters["Bridge"] if image else None

    def listeners(self) -> dict[str, list[Listener]]:
        """What each load balancer listens to now that the machines are what they are."""
        record = self.record
        machines = list(self._machines(record).values())
        return {
            name: [_listener(listener, machines) for listener in balancer.listeners]
            for name, balancer in record.balancers.items()
        }

    def set_listeners(self, name: str, listeners: Sequence[ListenerRecord]) -> None:
        """Give the load balancer `name` these listeners in place of its own."""
        RecordFile(self.layout).change(lambda record: record.with_balancer(name, listeners=tuple(listeners)))
        self.apply_listeners()

    def apply_listeners(self) -> None:
        """Bring both load balancers up to date with the record and the machines; starts them if need be."""
        with locked(self.layout.run / "balancers.lock", wait=True):
            balancers = self.balancers
            for name, listeners in self.listeners().items():
                balancers[name].apply(listeners)

    def launch_instance(self, instance_id: str, image_id: str, user_data: str | None) -> Machine:
        """Boot a machine that is the EC2 instance of that id; which listeners send to it is theirs to say.

        Raises `LocalError`.
        """
        image = self.images.get(image_id)
        if image is None:
            raise LocalError(f"there is no image {image_id}")
        machine = self._reserve(image, user_data, instance_id)
        try:
            machine.launch(image.root, self.network)
        except BaseException:
            self._forget(machine.name)
            machine.remove()
            raise
        self.apply_listeners()
        return machine

    def terminate(self, name: str, grace: float = SHUTDOWN_GRACE) -> None:
        """Take a machine from behind its balancer, shut it down within `grace` seconds and remove its disk."""
        machine = self.machine(name)
        self._forget(name)
        self.apply_listeners()
        machine.remove(grace)

    def health(self) -> dict[str, list[TargetHealth]]:
        """What each load balancer thinks of its targets."""
        return {name: balancer.health() for name, balancer in self.balancers.items()}

    def trust_file(self) -> Path:
        """Write the proxies' certificates to the CA file that clients use, and return its path.

        Raises `LocalError` if there is none: nobody could verify a proxy.
        """
        if not self.collect_certificates():
            proxies = ", ".join(machine.name for machine in self.with_role(PROXY)) or "there is none"
            raise LocalError(f"no proxy of deployment {self.layout.name!r} has made a certificate: {proxies}")
        return self.layout.ca_file

    def collect_certificates(self) -> int:
        """Write the CA file; how many proxies' certificates it holds.

        A proxy that has not come to making its certificate cannot serve yet and is left out.
        """
        certificates = []
        for machine in self.machines.values():
            if machine.certificate is not None:
                with suppress(FileNotFoundError):
                    certificates.append(machine.certificate.read_text(encoding="ascii"))
        with locked(self.layout.run / "trust.lock", wait=True):
            new = self.layout.ca_file.with_suffix(".new")
            new.write_text("".join(certificates), encoding="ascii")
            new.chmod(0o644)
            new.replace(self.layout.ca_file)
        return len(certificates)

    def _image(self, role: str) -> Image | None:
        """The newest image of a role."""
        images = [image for image in self.images.all() if role_of(image.name) == role]
        return max(images, key=lambda image: image.description.created, default=None)

    def _reserve(self, image: Image, user_data: str | None, instance_id: str) -> Machine:
        """A name and an address. Known before it runs: whatever happens from here on, the machine is found."""
        role = role_of(image.name)
        with RecordFile(self.layout).locked() as record:
            # One that is being removed is in no record and still has its directory, name and address.
            present = sorted(path.name for path in self.layout.machines.iterdir())
            used = {machine.address for machine in _load(self.layout, present)}
            address = next((free for free in self.network.machine_addresses() if free not in used), None)
            if address is None:
                raise LocalError(f"{record.subnet} has no address left for another machine")
            description = MachineDescription(
                name=next(free for n in range(1, 256) if (free := f"{role}-{n}") not in present),
                role=role,
                image=image.name,
                image_id=image.image_id,
                version=image.version,
                instance_id=instance_id,
                address=self.network.interface(address),
                resolver=self.network.gateway,
                user_data=user_data,
                certificate=_certificate(image),
            )
            machine = Machine(self.layout, description)
            machine.describe()
            RecordFile(self.layout).write(record.model_copy(update={"machines": (*record.machines, description.name)}))
        return machine

    def _forget(self, name: str) -> None:
        RecordFile(self.layout).change(
            lambda record: record.model_copy(
                update={"machines": tuple(other for other in record.machines if other != name)}
            )
        )

    def _machines(self, record: DeploymentRecord) -> dict[str, Machine]:
        return {machine.name: machine for machine in _load(self.layout, record.machines)}


def role_of(image: str) -> str:
    """The role of machines of the image of that name."""
    return _ROLES.get(image, image)


def _certificate(image: Image) -> str | None:
    """Where machines of an image keep their certificate, seen from their root directory; None if they have none."""
    if role_of(image.name) != PROXY:
        return None
    parameters = image.description.parameters
    return f"{parameters['JailBaseDir']}{parameters['ProxyBaseDir']}/certs/servercert.pem"


def _load(layout: Layout, names: Sequence[str]) -> list[Machine]:
    """The machines of those names; one that is gone in the meantime is none."""
    return [machine for name in names if (machine := Machine.find(layout, name))]


def _listener(listener: ListenerRecord, machines: Sequence[Machine]) -> Listener:
    targets = tuple(
        BalancerTarget(machine.name, machine.address, listener.target_port)
        for machine in machines
        if machine.role == listener.role and machine.instance_id in listener.registered
    )
    return Listener(listener.port, targets, listener.health_check)
