"""Building an image as EC2 Image Builder does: a fresh base, the build and validate phases of its documents, then the
test phase on a machine booted from the result, and only then the image is published.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path

from local.control_groups import ControlGroups
from local.document import Document
from local.downloads import Downloads
from local.errors import LocalError
from local.executor import DocumentExecutor, check_downloads
from local.images import Image, ImageStore, copy_tree, remove_tree
from local.layout import Layout
from local.machine import Machine, MachineDescription
from local.nspawn import Environment, Mount
from local.progress import Progress
from local.sources import with_mirror
from local.substitution import substitute
from local.targets import BootedMachine, BuildRoot

# A test machine is alone: this address (TEST-NET-2 of RFC 5737) leads nowhere.
_TEST_ADDRESS = IPv4Interface("198.51.100.10/24")

# What must not be the same on all machines of an image, and what only the build needed (Image Builder's own clean-up
# script does the like). Runs inside the root, so that its links cannot lead out of it.
_SANITIZE = """
rm -f /etc/machine-id /etc/resolv.conf /etc/hostname /etc/ssh/ssh_host_* /var/lib/systemd/random-seed
: >/etc/machine-id
rm -rf /var/lib/apt/lists /var/cache/apt/*.bin /root/.cache /root/.npm /var/tmp/*
install -d /var/lib/apt/lists/partial
rm -f /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
touch /etc/.updated /var/.updated  # systemd's ConditionNeedsUpdate=: the package manager has done all that
find /var/log -type f -exec truncate --size 0 {} +
"""


@dataclass(frozen=True)
class Component:
    """A component of a recipe: its document, where that comes from, and the recipe's parameters for it."""

    source: str
    document: Document
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class ImageRequest:
    """What to build: the components in the order of the recipe, and the s3:// URLs that they download as files."""

    image_id: str
    name: str
    version: str
    components: tuple[Component, ...]
    assets: Mapping[str, Path]

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of all components."""
        return {name: value for component in self.components for name, value in component.parameters.items()}


@dataclass(frozen=True)
class ImageBuilder:
    """Builds images of the deployment `layout` on the base root `base`. Builds of several names may run at once.

    `cancel`, once set, ends a build; `report` hears what Image Builder would call its status: BUILDING, TESTING,
    DISTRIBUTING.
    """

    layout: Layout
    base: Path
    progress: Progress
    cancel: threading.Event
    groups: ControlGroups
    report: Callable[[str], None] = lambda _: None

    @property
    def store(self) -> ImageStore:
        return ImageStore(self.layout.images)

    def check(self, request: ImageRequest) -> None:
        """Raise `DocumentError` unless the request's documents, parameters and assets fit together; runs nothing."""
        for document in _documents(request.components):
            check_downloads(request.name, document, request.assets)

    def build(self, request: ImageRequest) -> Image:
        """Build, validate, test and publish the image. Whatever happens, nothing but the log and the image is left.

        Raises `DocumentError` before anything runs, `StepFailedError` at a failed step, `LocalError` otherwise.
        """
        log = self.log(request.name)
        log.write_bytes(b"")
        directory = self.layout.builds / request.name
        unit = self._unit(request)
        downloads = Downloads(self.layout.cache_base / "downloads")
        remove_tree(directory)
        try:
            candidate = directory / "image"
            scratch = directory / "tmp"
            candidate.mkdir(parents=True)
            scratch.mkdir()
            scratch.chmod(0o1777)
            downloads.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            host = downloads.environment(unit, os.environ)
            # On an instance, /tmp is one directory for all steps.
            host = Environment((*host.mounts, Mount(scratch, "/tmp", writable=True)), host.variables)  # noqa: S108
            components, environment = _with_mirror(request.components, host)
            documents = _documents(components)
            self.report("BUILDING")
            with self.progress.step(request.name, "copy of the base root"):
                copy_tree(self.base, candidate / "root")
            root = BuildRoot(candidate / "root", unit, environment, self.groups.create(unit), self.cancel)
            self._build(request, documents, root)
            self.report("TESTING")
            self._test(request, documents, candidate)
            self.report("DISTRIBUTING")
            return self.store.publish(candidate, request.image_id, request.name, request.version, request.parameters)
        finally:
            self.groups.remove(unit)
            downloads.release(unit)
            remove_tree(directory)

    def log(self, name: str) -> Path:
        """The log of the last build of image `name`."""
        return self.layout.logs / f"build-{name}.log"

    def _build(self, request: ImageRequest, documents: Sequence[Document], root: BuildRoot) -> None:
        executor = self._executor(request, root)
        for phase in ("build", "validate"):
            for document in documents:
                executor.run(document, phase)
        with self.log(request.name).open("ab") as log:
            code = root.execute(["sh", "-euc", _SANITIZE], stdin=b"", timeout=60, output=log.write)
        if code != 0:
            raise LocalError(
                f"{request.name}: cleaning the image failed with exit code {code}; see {self.log(request.name)}"
            )

    def _test(self, request: ImageRequest, documents: Sequence[Document], candidate: Path) -> None:
        if not any(document.phase("test") for document in documents):
            return
        name = f"test-{request.name}"
        description = MachineDescription(
            name=name,
            role="test",
            image=request.name,
            image_id=request.image_id,
            version=request.version,
            address=_TEST_ADDRESS,
            resolver=None,
            user_data=None,
        )
        machine = Machine(self.layout, description, self.groups)
        try:
            with self.progress.step(request.name, "boot of the test machine"):
                machine.launch(candidate / "root", None, borrow=True)
                machine.wait_booted()
            executor = self._executor(request, BootedMachine(machine.enter, self.cancel))
            for document in documents:
                executor.run(document, "test")
        except LocalError:
            with self.log(request.name).open("a", encoding="utf-8") as log:
                log.write(f"==> journal of the test machine\n{self._journal(machine)}\n")
            raise
        finally:
            machine.remove()

    def _journal(self, machine: Machine) -> str:
        try:
            return machine.journal(lines=200)
        except LocalError as error:
            return str(error)

    def _executor(self, request: ImageRequest, target: BuildRoot | BootedMachine) -> DocumentExecutor:
        return DocumentExecutor(request.name, target, request.assets, self.log(request.name), self.progress)

    def _unit(self, request: ImageRequest) -> str:
        return self.layout.unit(f"build-{request.name}")


def _documents(components: Sequence[Component]) -> list[Document]:
    return [substitute(component.document, component.parameters, component.source) for component in components]


def _with_mirror(components: Sequence[Component], environment: Environment) -> tuple[list[Component], Environment]:
    turned = []
    for component in components:
        parameters, environment = with_mirror(component.parameters, environment)
        turned.append(replace(component, parameters=parameters))
    return turned, environment
