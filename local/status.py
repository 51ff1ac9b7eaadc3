"""What runs where, for people and (as JSON) for programs."""

from __future__ import annotations

from typing import Any

from deployment.endpoint import Endpoint
from local.deployment import BACKEND_HOST, Deployment
from local.machine import Machine
from local.record import INTERNAL, DeploymentRecord


def status(deployment: Deployment) -> dict[str, Any]:
    """The state of a deployment as plain data; the keys are part of the command's contract."""
    record = deployment.record
    health = deployment.health()
    listeners = deployment.listeners()
    return {
        "name": deployment.layout.name,
        "state_dir": str(deployment.layout.state),
        "proxy": {
            "host": str(record.listen),
            "wss_port": record.ports.wss,
            "oauth_port": record.ports.oauth,
            "issuer": record.issuer,
            "bridge": deployment.bridge,
            "ca_file": str(deployment.layout.ca_file),
        },
        "machines": [_machine(deployment, record, machine) for machine in deployment.machines.values()],
        "load_balancers": [
            {
                "name": name,
                "address": str(balancer.address),
                "dns_name": BACKEND_HOST if name == INTERNAL else None,
                "state": "running" if balancer.running else "stopped",
                "log": str(deployment.layout.logs / f"{name}.haproxy.log"),
                "listeners": [
                    {
                        "port": listener.port,
                        "targets": [
                            {"name": entry.target, "health": _word(entry.healthy), "reason": entry.reason}
                            for entry in health[name]
                            if entry.listener_port == listener.port
                        ],
                    }
                    for listener in listeners[name]
                ],
            }
            for name, balancer in deployment.balancers.items()
        ],
    }


def text(state: dict[str, Any]) -> str:
    """`status` for people."""
    proxy = state["proxy"]
    lines = [
        f"deployment {state['name']}   state in {state['state_dir']}",
        "",
        f"  wss    wss://{proxy['host']}:{proxy['wss_port']}",
        f"  oauth  https://{proxy['host']}:{proxy['oauth_port']}   issuer {proxy['issuer']}",
        f"  CA     {proxy['ca_file']}",
        "",
        f"  {'machine':<18} {'state':<9} {'health':<10} {'address':<15} {'ports':<18} image",
    ]
    for machine in state["machines"]:
        ports = ",".join(map(str, machine["ports"]))
        lines.append(
            f"  {machine['name']:<18} {machine['state']:<9} {machine['health']:<10} {machine['address']:<15} "
            f"{ports:<18} {machine['image']} {machine['version']}"
        )
    lines += ["", f"  {'load balancer':<18} {'state':<9} {'address':<15} targets"]
    for balancer in state["load_balancers"]:
        lines.append(f"  {balancer['name']:<18} {balancer['state']:<9} {balancer['address']:<15} {_targets(balancer)}")
        for listener in balancer["listeners"]:
            lines += [
                f"  {'':<18} {listener['port']} → {target['name']}: {target['health']} ({target['reason']})"
                for target in listener["targets"]
                if target["reason"]
            ]
    lines += ["", "  logs: .venv/bin/python -m local logs NAME [-f]     shell: .venv/bin/python -m local shell NAME"]
    return "\n".join(lines)


def client_options(deployment: Deployment, *, trust: bool) -> list[str]:
    """The words by which `python -m client` finds the deployment and, with `trust`, verifies its certificate."""
    record = deployment.record
    endpoint = Endpoint(str(record.listen), str(record.ports.wss), str(record.ports.oauth), record.issuer)
    return endpoint.client_options(bridge=deployment.bridge, ca_file=deployment.layout.ca_file if trust else None)


def machine_health(deployment: Deployment, machine: Machine) -> str:
    """`healthy` if every listener that sends to the machine finds it so, `unknown` if none does, else `unhealthy`."""
    verdicts = [
        entry.healthy for found in deployment.health().values() for entry in found if entry.target == machine.name
    ]
    return _word(all(verdicts)) if verdicts else "unknown"


def _machine(deployment: Deployment, record: DeploymentRecord, machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.name,
        "role": machine.role,
        "instance_id": machine.instance_id,
        "image": machine.description.image,
        "image_id": machine.description.image_id,
        "version": machine.description.version,
        "address": str(machine.address),
        "state": machine.state,
        "health": machine_health(deployment, machine),
        "ports": _ports(record, machine.role),
        "log": str(machine.console),
    }


def _ports(record: DeploymentRecord, role: str) -> list[int]:
    """The ports of a role's machines that load balancers ask: for traffic, then for health."""
    listeners = [
        listener for balancer in record.balancers.values() for listener in balancer.listeners if listener.role == role
    ]
    traffic = [listener.target_port for listener in listeners]
    checks = [listener.health_check.port for listener in listeners if listener.health_check.port]
    return list(dict.fromkeys(traffic + checks))


def _targets(balancer: dict[str, Any]) -> str:
    return "  ".join(
        f"{listener['port']}: {sum(target['health'] == 'healthy' for target in listener['targets'])}"
        f"/{len(listener['targets'])} healthy"
        for listener in balancer["listeners"]
    )


def _word(healthy: bool) -> str:
    return "healthy" if healthy else "unhealthy"
