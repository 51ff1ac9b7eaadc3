"""`up`: from nothing, or from whatever is there, to a deployment whose every target is healthy.

As on AWS, by the same commands: `cdk bootstrap` once, then `python -m deployment deploy`, which runs `cdk deploy` and
the workflow. What is of this machine alone is made before: a network, and the endpoint that stands in for AWS.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from local.base_root import BaseRoot
from local.cleanup import Cleanup
from local.commands import Commands
from local.control_groups import ControlGroups
from local.deployment import BACKEND_HOST, Deployment
from local.endpoint.control import Endpoint
from local.errors import LocalError, NotDeployedError, UsageError
from local.layout import Layout
from local.locks import locked
from local.network import Network, choose_subnet, host_networks
from local.plan import Plan
from local.prerequisites import check_ports, check_space
from local.processes import tail
from local.progress import Progress, follow
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord
from local.traces import MARKER


class DeploymentFailedError(LocalError):
    """The stack or the workflow failed, as it would on AWS; the endpoint and what was deployed before stay.

    Its exit code is that of `python -m deployment`, where that has a meaning.
    """

    def __init__(self, code: int, layout: Layout) -> None:
        self.exit_code = code if code in (2, 130) else 1
        super().__init__(
            f"the deployment failed, see above; logs are in {layout.logs}. Mend the cause and deploy again, "
            f"or remove all: {layout.destroy_command}"
        )


@dataclass(frozen=True)
class Up:
    """One run of `up` for the deployment `layout`; its caller holds the deployment's lock.

    `giving_up` is called before an interrupted run cleans up.
    """

    layout: Layout
    plan: Plan
    mirror: str
    progress: Progress
    cancel: threading.Event
    giving_up: Callable[[], None] = lambda: None

    def run(self) -> Deployment:
        """Do it. Raises `LocalError`; whatever else it raises, nothing that it started runs on or is half made."""
        # Whatever tool we run is known as ours, should we be killed before it ends.
        os.environ[MARKER] = self.layout.unit("up")
        current = self._current()
        check_space([self.layout.state_base, self.layout.cache_base])
        if current:
            self._check_address(current)
        else:
            self._remove_leftovers()
        held = current.public_ports if current else set()
        check_ports(self.plan.options.listen, [port for port in self.plan.public_ports if port not in held])
        try:
            deployment = current or self._prepare()
            self._deploy(deployment)
        except DeploymentFailedError:
            raise
        except BaseException:
            self._give_up(current)
            raise
        deployment.trust_file()
        return deployment

    def _current(self) -> Deployment | None:
        """The deployment if it is there with its endpoint, which knows all that was deployed."""
        if not (self.layout.bootstrapped.exists() and Endpoint(self.layout).running):
            return None
        try:
            return Deployment.load(layout=self.layout)
        except NotDeployedError:
            return None
        except LocalError as error:
            self.progress.line("deployment", f"an earlier one is damaged and is replaced: {error}")
            return None

    def _check_address(self, current: Deployment) -> None:
        """The endpoint has told the address to whoever asked for the load balancer's name, once and for all."""
        listen = current.record.listen
        if listen != self.plan.options.listen:
            raise UsageError(
                f"--listen {self.plan.options.listen}: deployment {self.layout.name!r} listens on {listen}; leave the "
                f"option out, or remove the deployment first: {self.layout.destroy_command}"
            )

    def _remove_leftovers(self) -> None:
        cleanup = Cleanup(self.layout, ControlGroups())
        if cleanup.is_needed():
            self.progress.line("deployment", "removing what an interrupted run left")
            cleanup.stop()

    def _give_up(self, current: Deployment | None) -> None:
        self.cancel.set()
        self.giving_up()
        words = self._what_goes_on() if current else "stopping what was started"
        # Nobody may be left to read it: a terminal that is gone is one reason to give up.
        with suppress(OSError):
            self.progress.line("deployment", f"not finished; {words}")
        if not current:
            Cleanup(self.layout, ControlGroups()).stop()

    def _what_goes_on(self) -> str:
        return (
            "what was there stays, and what the workflow has begun goes on; follow it to its end and deploy again: "
            f"{self.layout.deploy_command}   or remove all: {self.layout.destroy_command}"
        )

    def _prepare(self) -> Deployment:
        """What AWS would be: a base image, a network without machines, and the endpoint, bootstrapped."""
        self.layout.make_directories()
        base = BaseRoot(self.layout.cache_base / "base", self.mirror)
        base.ensure(self.layout.logs / "base-root.log", self.progress, self.cancel)
        with self.progress.step("network", "bridge, name server, load balancers"):
            deployment = self._make_network()
        endpoint = Endpoint(self.layout, self.mirror)
        with self.progress.step("endpoint", "local AWS endpoint"):
            endpoint.start()
        with self.progress.step("endpoint", "cdk bootstrap"):
            self._bootstrap()
        self.layout.bootstrapped.touch()
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
                PUBLIC: BalancerRecord(address=self.plan.options.listen),
                INTERNAL: BalancerRecord(address=internal),
            },
        )
        deployment = Deployment.create(self.layout, record)
        deployment.dns.start({BACKEND_HOST: internal})
        deployment.apply_listeners()
        return deployment

    def _bootstrap(self) -> None:
        log = self.layout.logs / "bootstrap.log"
        code = Commands(self.layout).bootstrap(log)
        if code != 0:
            raise LocalError(f"cdk bootstrap failed with exit code {code}; {log} ends with:\n{tail(log)}")

    def _deploy(self, deployment: Deployment) -> None:
        """The stack and the workflow, with what the endpoint says of builds and machines in between."""
        with follow(self.layout.progress, self.progress):
            code = Commands(self.layout).deploy(self.plan.options.context(), f"{deployment.record.listen}/32")
        if code != 0:
            raise DeploymentFailedError(code, self.layout)
        deployment.note(self.plan.ports, self.plan.issuer)
        self.layout.deployed.touch()
