"""`up`: from nothing, or from whatever is there, to a deployment whose every target is healthy."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from local.balancer import HealthCheck
from local.base_root import BaseRoot
from local.build import ImageBuilder
from local.cleanup import Cleanup
from local.control_groups import ControlGroups
from local.deployment import BACKEND_HOST, MOCKS, PROXY, Deployment
from local.errors import LocalError, NotDeployedError, UsageError
from local.images import Image, ImageStore
from local.layout import Layout
from local.locks import locked
from local.network import Network, choose_subnet, host_networks
from local.plan import OIDC_ISSUER_ID, Plan, PlannedImage
from local.prerequisites import check_ports, check_space
from local.progress import Progress
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord, ListenerRecord, Ports
from local.traces import MARKER

HEALTH_TIMEOUT = 90.0  # seconds
_JOURNAL_LINES = 30


@dataclass(frozen=True)
class Up:
    """One run of `up` for the deployment `layout`; its caller holds the deployment's lock.

    `giving_up` is called before a failed or interrupted run cleans up.
    """

    layout: Layout
    plan: Plan
    mirror: str
    progress: Progress
    cancel: threading.Event
    giving_up: Callable[[], None] = lambda: None

    def run(self) -> Deployment:
        """Do it. Raises `LocalError`; whatever it raises, nothing that it started runs on and nothing is half made."""
        # Whatever tool we run is known as ours, should we be killed before it ends.
        os.environ[MARKER] = self.layout.unit("up")
        current = self._current()
        self._check_versions()
        if current and self._up_to_date(current):
            self.progress.line("deployment", "already up, in these versions and with these settings")
            self._wait_healthy(current, timeout=30)
            return current
        check_space([self.layout.state_base, self.layout.cache_base])
        if not current:
            check_ports(self.plan.options.listen, self.plan.public_ports)
        cleanup = Cleanup(self.layout, ControlGroups())
        if not current and cleanup.remaining() not in ([], [f"  directory {self.layout.state}"]):
            self.progress.line("deployment", "removing what an interrupted run left")
            cleanup.stop()
        try:
            self.layout.make_directories()
            self._make_images()
        except BaseException:
            self._give_up(None if current else cleanup)
            raise
        try:
            if current:
                self.progress.line("deployment", "replacing the running machines")
                cleanup.stop()
                self.layout.make_directories()
            deployment = self._boot()
            self._wait_healthy(deployment, HEALTH_TIMEOUT)
            deployment.trust_file()
        except BaseException:
            self._give_up(cleanup)
            raise
        return deployment

    def _give_up(self, cleanup: Cleanup | None) -> None:
        """End builds, and what runs by `cleanup` (None leaves it: it ran before us)."""
        self.cancel.set()
        self.giving_up()
        if cleanup:
            self.progress.line("deployment", "not finished; stopping what was started")
            cleanup.stop()
        else:
            self.progress.line("deployment", "not finished; what ran before runs on")

    def _current(self) -> Deployment | None:
        """The deployment if it is there with all its machines running."""
        try:
            deployment = Deployment.load(layout=self.layout)
            complete = all(machine.state == "running" for machine in deployment.machines.values())
            return deployment if complete and deployment.machines else None
        except NotDeployedError:
            return None
        except LocalError as error:
            self.progress.line("deployment", f"an earlier one is damaged and is replaced: {error}")
            return None

    def _check_versions(self) -> None:
        """Refuse an image of another version under the same name, unless a rebuild was asked for."""
        if self.plan.options.rebuild:
            return
        store = ImageStore(self.layout.images)
        problems = [
            f"image {planned.name} is there in version {found.version}, and this is version {planned.version}"
            for planned in self.plan.images
            if (found := store.find(planned.name)) and found.version != planned.version
        ]
        if problems:
            raise UsageError(
                "\n".join([*problems, "replace with --rebuild, or remove the old deployment: bash destroy.sh --local"])
            )

    def _up_to_date(self, current: Deployment) -> bool:
        versions = {(planned.name, planned.version) for planned in self.plan.images}
        running = {(machine.role, machine.description.version) for machine in current.machines.values()}
        record = current.record
        same = record.user_data == self.plan.user_data and record.listen == self.plan.options.listen
        return same and running == versions and not self.plan.options.rebuild

    def _make_images(self) -> None:
        store = ImageStore(self.layout.images)
        wanted: list[PlannedImage] = []
        for planned in self.plan.images:
            found = None if self.plan.options.rebuild else store.find(planned.name)
            if found:
                self.progress.line(planned.name, f"image {found.version} is there and is used again")
            else:
                wanted.append(planned)
        if not wanted:
            return
        base = BaseRoot(self.layout.cache_base / "base", self.mirror)
        root = base.ensure(self.layout.logs / "base-root.log", self.progress, self.cancel)
        builder = ImageBuilder(self.layout, root, self.progress, self.cancel, ControlGroups())
        scratch = self.layout.builds / "assets"
        scratch.mkdir()
        try:
            self._build_all(builder, wanted, scratch)
        finally:
            shutil.rmtree(scratch)

    def _build_all(self, builder: ImageBuilder, wanted: Sequence[PlannedImage], scratch: Path) -> None:
        """Build at once, in a thread each; the first failure ends the others."""
        requests = [planned.request(scratch) for planned in wanted]
        with ThreadPoolExecutor(max_workers=len(requests)) as pool:
            futures = [pool.submit(builder.build, request) for request in requests]
            try:
                _wait_interruptibly(futures)
            finally:
                if any(not future.done() for future in futures):
                    self.cancel.set()
        errors = [error for future in futures if (error := future.exception())]
        # The cause first: what was cancelled because of it says nothing new.
        for error in sorted(errors, key=lambda error: type(error).__name__ == "CancelledError"):
            raise error
        for future in futures:
            self.progress.line(future.result().name, f"image {future.result().version} published")

    def _boot(self) -> Deployment:
        with self.progress.step("network", "bridge, name server, load balancers"):
            deployment = self._make_network()
        machines = []
        for role in (MOCKS, PROXY):
            with self.progress.step(f"{role}-1", "copy of the image"):
                machines.append(deployment.launch(role))
        for machine in machines:
            with self.progress.step(machine.name, "boot"):
                failed = machine.wait_booted()
            if failed:
                self.progress.line(machine.name, f"units that failed: {', '.join(failed)}")
        return deployment

    def _make_network(self) -> Deployment:
        with locked(self.layout.cache_base / "network.lock", wait=True):
            network = Network(self.layout.bridge, choose_subnet(self.layout.name, host_networks()))
            network.create()
        internal = network.balancer_addresses()[0]
        network.add_address(internal)
        record = DeploymentRecord(
            subnet=network.subnet,
            ports=self.plan.ports,
            issuer=self.plan.issuer,
            balancers={
                PUBLIC: BalancerRecord(address=self.plan.options.listen, listeners=_public_listeners(self.plan.ports)),
                INTERNAL: BalancerRecord(address=internal, listeners=_internal_listeners(self.plan.ports)),
            },
            user_data=self.plan.user_data,
        )
        deployment = Deployment.create(self.layout, record)
        deployment.dns.start({BACKEND_HOST: internal})
        deployment.apply_listeners()
        return deployment

    def _wait_healthy(self, deployment: Deployment, timeout: float) -> None:
        with self.progress.step("deployment", "health of all targets"):
            problems = wait_healthy(deployment, timeout)
        if problems:
            raise LocalError("\n".join([f"not healthy after {timeout:.0f} s:", *problems, *self._evidence(deployment)]))

    def _evidence(self, deployment: Deployment) -> list[str]:
        """Journals' ends, kept in the logs, for the machines will be gone."""
        lines = [f"(where all units run: does a firewall of this host drop what comes in on {self.layout.bridge}?)"]
        for machine in deployment.machines.values():
            log = self.layout.logs / f"{machine.name}.journal.log"
            log.write_text(machine.journal(lines=2000), encoding="utf-8")
            failed = machine.failed_units()
            lines.append(f"machine {machine.name}: units that failed: {', '.join(failed) or 'none'}; journal: {log}")
            lines += [f"  | {line}" for line in machine.journal(lines=_JOURNAL_LINES).splitlines()]
        return lines


def _public_listeners(ports: Ports) -> tuple[ListenerRecord, ...]:
    ready = HealthCheck(ports.health, "/readyz")
    return tuple(
        ListenerRecord(port=port, target_port=port, role=PROXY, health_check=ready) for port in (ports.wss, ports.oauth)
    )


def _internal_listeners(ports: Ports) -> tuple[ListenerRecord, ...]:
    checks = {
        ports.tcp_backend: HealthCheck(),
        ports.oauth_backend: HealthCheck(path=f"/{OIDC_ISSUER_ID}/.well-known/openid-configuration"),
        ports.authorizer: HealthCheck(),
    }
    return tuple(
        ListenerRecord(port=port, target_port=port, role=MOCKS, health_check=check) for port, check in checks.items()
    )


def wait_healthy(deployment: Deployment, timeout: float) -> list[str]:
    """Wait until every load balancer finds every target healthy; what was not after `timeout` seconds, a line each."""
    deadline = time.monotonic() + timeout
    while True:
        problems = _unhealthy(deployment)
        if not problems or time.monotonic() > deadline:
            return problems
        time.sleep(0.2)


def _unhealthy(deployment: Deployment) -> list[str]:
    health = deployment.health()
    problems = []
    for name in (INTERNAL, PUBLIC):
        found = {(entry.listener_port, entry.target): entry for entry in health[name]}
        for listener in deployment.listeners()[name]:
            for target in listener.targets:
                entry = found.get((listener.port, target.name))
                check = listener.health_check
                asked = (
                    f"{'HTTP ' + check.path if check.path else 'TCP'} on {target.address}:{check.port or target.port}"
                )
                if entry is None:
                    problems.append(f"  {name} load balancer: {target.name} is not among its targets; does it run?")
                elif not entry.healthy:
                    problems.append(
                        f"  {name} load balancer, port {listener.port}: {target.name}: {asked}: {entry.reason}"
                    )
    return problems


def _wait_interruptibly(futures: Sequence[Future[Image]]) -> None:
    """Wait for all, or for the first failure, in short turns, so that a signal is noticed."""
    while True:
        done, pending = wait(futures, timeout=0.5, return_when=FIRST_EXCEPTION)
        if not pending or any(future.exception() for future in done):
            return
