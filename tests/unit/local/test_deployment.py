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
from local.images import new_image_id
from local.layout import REPOSITORY, Layout
from local.machine import Machine, MachineDescription
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord, ListenerRecord, Ports, RecordFile
from local.status import client_options, status, text
from stacks.names import MOCK_SERVERS_IMAGE, SECURE_PROXY_IMAGE

READY = HealthCheck(8080, "/readyz")
MOCK, *REST = (f"i-{number:017x}" for number in range(3))
PROXIES = tuple(REST)
RECORD = DeploymentRecord(
    subnet=IPv4Network("10.213.7.0/24"),
    ports=Ports(wss=10000, oauth=11080, health=8080),
    issuer="http://mock-servers.secure-proxy.internal:10080/awsexample",
    balancers={
        PUBLIC: BalancerRecord(
            address=IPv4Address("127.0.0.2"),
            listeners=(
                ListenerRecord(port=10000, target_port=10000, role=PROXY, health_check=READY, registered=PROXIES),
                ListenerRecord(port=11080, target_port=11080, role=PROXY, health_check=READY, registered=PROXIES),
            ),
        ),
        INTERNAL: BalancerRecord(
            address=IPv4Address("10.213.7.2"),
            listeners=(
                ListenerRecord(port=9000, target_port=9000, role=MOCKS, registered=(MOCK,)),
                ListenerRecord(
                    port=10080,
                    target_port=10081,
                    role=MOCKS,
                    health_check=HealthCheck(path="/oidc"),
                    registered=(MOCK,),
                ),
            ),
        ),
    },
    machines=(f"{MOCKS}-1", f"{PROXY}-1", f"{PROXY}-2"),
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
            instance_id=(MOCK, *PROXIES)[number],
            address=IPv4Interface(f"10.213.7.{10 + number}/24"),
            resolver=RECORD.subnet[1],
            user_data=None,
            certificate="/srv/jail/etc/proxy/certs/servercert.pem" if PROXY in name else None,
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
    wss, oauth = deployment.record.balancers["public"].listeners
    former = oauth.model_copy(update={"registered": (PROXIES[0],)})
    RecordFile(deployment.layout).change(lambda record: record.with_balancer("public", listeners=(wss, former)))
    found = {
        listener.port: [target.name for target in listener.targets] for listener in deployment.listeners()["public"]
    }
    assert found == {10000: [f"{PROXY}-1", f"{PROXY}-2"], 11080: [f"{PROXY}-1"]}
    assert deployment.of_instance(PROXIES[1]) == deployment.machine(f"{PROXY}-2")


def certify(deployment: Deployment, name: str, text: str) -> None:
    """Have the machine made its certificate, in a jail that lies elsewhere than by default."""
    certs = deployment.machine(name).root / "srv/jail/etc/proxy/certs"
    certs.mkdir(parents=True)
    (certs / "servercert.pem").write_text(text)


def test_clients_trust_the_certificates_of_all_proxies_wherever_these_keep_them(deployment: Deployment) -> None:
    certify(deployment, f"{PROXY}-1", "one\n")
    certify(deployment, f"{PROXY}-2", "two\n")
    certify(deployment, f"{MOCKS}-1", "of no proxy\n")
    assert deployment.trust_file().read_text() == "one\ntwo\n"


def test_a_proxy_that_has_not_made_its_certificate_is_left_out(deployment: Deployment) -> None:
    certify(deployment, f"{PROXY}-2", "two\n")
    assert deployment.trust_file().read_text() == "two\n"


def test_no_certificate_at_all_is_an_error(deployment: Deployment) -> None:
    with pytest.raises(LocalError, match=f"has made a certificate: {PROXY}-1, {PROXY}-2$"):
        deployment.trust_file()


@pytest.mark.parametrize(
    ("name", "expected"),
    [(SECURE_PROXY_IMAGE, "/srv/jail/etc/proxy/certs/servercert.pem"), (MOCK_SERVERS_IMAGE, None)],
)
def test_where_a_machine_keeps_its_certificate_is_as_its_image_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str | None
) -> None:
    layout = Layout("paper", tmp_path / "state", tmp_path / "cache")
    layout.make_directories()
    deployment = Deployment.create(layout, RECORD.model_copy(update={"machines": ()}))
    (tmp_path / "candidate").mkdir()
    parameters = {"JailBaseDir": "/srv/jail", "ProxyBaseDir": "/etc/proxy"} if expected else {}
    image = deployment.images.publish(tmp_path / "candidate", new_image_id(), name, "1.0.1", parameters)
    monkeypatch.setattr(Machine, "launch", lambda *_: None)
    monkeypatch.setattr(Deployment, "apply_listeners", lambda _: None)
    machine = deployment.launch_instance("i-0123456789abcdef0", image.image_id, None)
    assert machine.description.certificate == expected


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
