"""A deployment's record, listeners and status, without running anything."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from local.balancer import HealthCheck
from local.deployment import MOCKS, PROXY, Deployment
from local.errors import LocalError, NotDeployedError
from local.layout import REPOSITORY, Layout
from local.machine import MachineDescription
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord, ListenerRecord, Ports, RecordFile
from local.status import client_options, status, text

READY = HealthCheck(8080, "/readyz")
RECORD = DeploymentRecord(
    subnet=IPv4Network("10.213.7.0/24"),
    ports=Ports(wss=10000, oauth=11080, health=8080, tcp_backend=9000, oauth_backend=10080, authorizer=10090),
    issuer="http://mock-servers.secure-proxy.internal:10080/awsexample",
    balancers={
        PUBLIC: BalancerRecord(
            address=IPv4Address("127.0.0.2"),
            listeners=(
                ListenerRecord(port=10000, target_port=10000, role=PROXY, health_check=READY),
                ListenerRecord(port=11080, target_port=11080, role=PROXY, health_check=READY),
            ),
        ),
        INTERNAL: BalancerRecord(
            address=IPv4Address("10.213.7.2"),
            listeners=(
                ListenerRecord(port=9000, target_port=9000, role=MOCKS),
                ListenerRecord(port=10080, target_port=10081, role=MOCKS, health_check=HealthCheck(path="/oidc")),
            ),
        ),
    },
    machines=(f"{MOCKS}-1", f"{PROXY}-1", f"{PROXY}-2"),
    user_data={},
)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    layout = Layout("paper", tmp_path / "state", tmp_path / "cache")
    layout.make_directories()
    for number, name in enumerate(RECORD.machines):
        description = MachineDescription(
            name=name,
            role=name.rpartition("-")[0],
            image=name.rpartition("-")[0],
            image_id="ami-0123456789abcdef0",
            version="1.0.1",
            address=IPv4Interface(f"10.213.7.{10 + number}/24"),
            resolver=RECORD.subnet[1],
            user_data=None,
        )
        (layout.machines / name).mkdir()
        (layout.machines / name / "machine.json").write_text(description.model_dump_json())
    return Deployment.create(layout, RECORD)


def test_a_saved_deployment_is_loaded_whole(deployment: Deployment) -> None:
    loaded = Deployment.load(layout=deployment.layout)
    assert loaded.record == deployment.record
    assert list(loaded.machines) == list(RECORD.machines)


def test_a_deployment_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotDeployedError, match="no local deployment 'paper'"):
        Deployment.load(layout=Layout("paper", tmp_path / "none", tmp_path))


def test_a_damaged_record_is_an_error_with_the_remedy(deployment: Deployment) -> None:
    deployment.layout.record.write_text("{}")
    with pytest.raises(LocalError, match=r"damaged[\s\S]*destroy\.sh --local"):
        Deployment.load(layout=deployment.layout)


def test_the_public_balancer_sends_to_the_proxies_if_they_are_ready(deployment: Deployment) -> None:
    listeners = deployment.listeners()["public"]
    assert [listener.port for listener in listeners] == [10000, 11080]
    for listener in listeners:
        assert [(target.name, target.port) for target in listener.targets] == [
            (f"{PROXY}-1", listener.port),
            (f"{PROXY}-2", listener.port),
        ]
        assert listener.health_check == HealthCheck(8080, "/readyz")


def test_the_internal_balancer_sends_to_the_mock_servers(deployment: Deployment) -> None:
    found = {listener.port: listener for listener in deployment.listeners()["internal"]}
    targets = {port: [(target.name, target.port) for target in listener.targets] for port, listener in found.items()}
    assert targets == {9000: [(f"{MOCKS}-1", 9000)], 10080: [(f"{MOCKS}-1", 10081)]}
    assert found[10080].health_check.path == "/oidc"


def test_an_instance_is_a_target_of_the_listeners_where_it_is_registered(deployment: Deployment) -> None:
    instance_id = "i-0123456789abcdef0"
    machine = deployment.machine(f"{PROXY}-2")
    described = machine.description.model_copy(update={"instance_id": instance_id})
    (machine.directory / "machine.json").write_text(described.model_dump_json())
    wss, oauth = deployment.record.balancers["public"].listeners
    RecordFile(deployment.layout).change(
        lambda record: record.with_balancer(
            "public", listeners=(wss.model_copy(update={"registered": (instance_id,)}), oauth)
        )
    )
    found = {
        listener.port: [target.name for target in listener.targets] for listener in deployment.listeners()["public"]
    }
    assert found == {10000: [f"{PROXY}-1", f"{PROXY}-2"], 11080: [f"{PROXY}-1"]}
    assert deployment.of_instance(instance_id) == deployment.machine(f"{PROXY}-2")


def test_changes_of_several_processes_at_once_are_all_kept(deployment: Deployment) -> None:
    change = (
        "import sys; from local.layout import Layout; from local.record import RecordFile; from pathlib import Path\n"
        "file = RecordFile(Layout('paper', Path(sys.argv[1]), Path(sys.argv[1])))\n"
        "for n in range(40):\n"
        "    file.change(lambda r: r.model_copy(update={'machines': (*r.machines, f'{sys.argv[2]}-{n}')}))\n"
    )
    base = str(deployment.layout.state_base)
    writers = [subprocess.Popen([sys.executable, "-c", change, base, letter], cwd=REPOSITORY) for letter in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(deployment.record.machines) == len(RECORD.machines) + 3 * 40


def test_the_status_has_the_keys_of_the_contract(deployment: Deployment) -> None:
    state = status(deployment)
    assert state["proxy"] == {
        "host": "127.0.0.2",
        "wss_port": 10000,
        "oauth_port": 11080,
        "issuer": RECORD.issuer,
        "bridge": None,
        "ca_file": str(deployment.layout.ca_file),
    }
    machine = state["machines"][1]
    assert machine["ports"] == [10000, 11080, 8080]
    assert (machine["state"], machine["health"]) == ("stopped", "unknown")
    assert set(machine) == {
        *("name", "role", "instance_id", "image", "image_id", "version"),
        *("address", "state", "health", "ports", "log"),
    }
    assert [balancer["name"] for balancer in state["load_balancers"]] == ["public", "internal"]


def test_the_status_for_people_names_every_machine_and_endpoint(deployment: Deployment) -> None:
    words = text(status(deployment))
    assert "wss://127.0.0.2:10000" in words
    assert all(name in words for name in RECORD.machines)


def test_the_clients_options_verify_certificate_and_issuer(deployment: Deployment) -> None:
    words = client_options(deployment, trust=True)
    assert words[words.index("--host") + 1] == "127.0.0.2"
    assert words[words.index("--issuer") + 1] == RECORD.issuer
    assert words[words.index("--ca-file") + 1] == str(deployment.layout.ca_file)
    assert "--insecure" not in words


def test_the_clients_options_name_no_authority_where_the_user_has_one(deployment: Deployment) -> None:
    assert "--ca-file" not in client_options(deployment, trust=False)


def test_the_client_is_told_what_the_websockify_bridge_cannot_do(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--allow-missing-close" not in client_options(deployment, trust=True)
    monkeypatch.setattr(Deployment, "bridge", "websockify")
    assert "--allow-missing-close" in client_options(deployment, trust=True)
