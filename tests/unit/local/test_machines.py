"""Images built, tested and booted for real, from documents of a few lines: the local target without the product."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest
from moto import mock_aws

from local.base_root import BaseRoot
from local.build import Component, ImageBuilder, ImageRequest
from local.cleanup import Cleanup
from local.control_groups import ControlGroups
from local.deployment import MOCKS, PROXY, Deployment
from local.document import parse_document
from local.endpoint.fleet import install
from local.endpoint.machines import DeploymentWorld
from local.errors import DocumentError, LocalError
from local.executor import StepFailedError
from local.images import Image, new_image_id
from local.layout import CACHE_BASE, Layout
from local.locks import locked
from local.machine import Machine
from local.mounts import mount_points
from local.name_server import NameServer
from local.network import Network, choose_subnet, host_networks, interfaces
from local.processes import identify, wait_until
from local.progress import Progress
from local.record import INTERNAL, PUBLIC, BalancerRecord, DeploymentRecord, ListenerRecord, Ports
from local.traces import find_processes

pytestmark = pytest.mark.machine

BUILD = """
schemaVersion: 1.0
parameters:
  - AssetUrl: {type: string}
  - Word: {type: string}
phases:
  - name: build
    steps:
      - name: Fetch
        action: S3Download
        inputs:
          - source: '{{ AssetUrl }}'
            destination: /tmp/unit
      - name: Install
        action: ExecuteBash
        inputs:
          commands:
            - |
              set -euo pipefail
              install -m 644 /tmp/unit /etc/systemd/system/word.service
              echo '{{ Word }}' >/etc/word
              systemctl enable word.service
              [ "$(stat -fc %T /run)" = tmpfs ]
  - name: validate
    steps:
      - name: Check
        action: ExecuteBash
        inputs:
          commands:
            - grep -qx '{{ Word }}' /etc/word && test -e /tmp/unit
"""

TEST = """
schemaVersion: 1.0
phases:
  - name: test
    steps:
      - name: ServiceRuns
        action: ExecuteBash
        inputs:
          commands:
            - systemctl is-active word.service && test "$(cat /proc/1/comm)" = systemd && test ! -e /tmp/unit
      - name: IsAlone
        action: ExecuteBash
        inputs:
          commands:
            - "! timeout 2 bash -c ': </dev/tcp/deb.debian.org/80'"
"""

UNIT = """
[Service]
ExecStart=/usr/bin/python3 -m http.server 9000
Restart=always
RestartSec=0
[Install]
WantedBy=multi-user.target
"""

PORTS = Ports(wss=10000, oauth=11080, health=8080, tcp_backend=9000, oauth_backend=10080, authorizer=10090)


class Workshop:
    """A deployment's layout with a base root and what builds need."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="secure-proxy-test-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.layout = Layout("unit", self.directory / "state", CACHE_BASE)
        self.layout.make_directories()
        CACHE_BASE.mkdir(parents=True, exist_ok=True)
        self.progress = Progress()
        self.cancel = threading.Event()
        base = BaseRoot(CACHE_BASE / "base").ensure(self.layout.logs / "base.log", self.progress, self.cancel)
        self.builder = ImageBuilder(self.layout, base, self.progress, self.cancel, ControlGroups())
        (self.directory / "unit").write_text(UNIT)

    def request(self, name: str = MOCKS, build: str = BUILD, test: str = TEST, **parameters: str) -> ImageRequest:
        given = {"AssetUrl": "s3://assets/unit", "Word": "hello", **parameters}
        components = (
            Component("component.yaml", parse_document(build, "component.yaml"), given),
            Component("test_component.yaml", parse_document(test, "test_component.yaml"), {}),
        )
        assets = {"s3://assets/unit": self.directory / "unit"}
        return ImageRequest(new_image_id(), name, "1.0.1", components, assets)

    @property
    def cleanup(self) -> Cleanup:
        return Cleanup(self.layout, ControlGroups())


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    made = Workshop()
    yield made
    made.cleanup.remove()
    shutil.rmtree(made.directory)


@pytest.fixture(scope="module")
def image(workshop: Workshop) -> Image:
    return workshop.builder.build(workshop.request())


@pytest.fixture(scope="module")
def deployment(workshop: Workshop, image: Image) -> Iterator[Deployment]:
    """Network, name server and load balancers, and one machine."""
    assert image.name == MOCKS
    with locked(CACHE_BASE / "network.lock", wait=True):
        network = Network(workshop.layout.bridge, choose_subnet("unit", host_networks()))
        network.create()
    internal = network.balancer_addresses()[0]
    network.add_address(internal)
    record = DeploymentRecord(
        subnet=network.subnet,
        ports=PORTS,
        issuer="http://x",
        balancers={
            PUBLIC: BalancerRecord(address=IPv4Address("127.83.9.9")),
            INTERNAL: BalancerRecord(
                address=internal, listeners=(ListenerRecord(port=9000, target_port=9000, role=MOCKS),)
            ),
        },
        user_data={MOCKS: "GREETING=hello\n"},
    )
    made = Deployment.create(workshop.layout, record)
    made.dns.start({"mock-servers.secure-proxy.internal": internal})
    made.apply_listeners()
    made.launch(MOCKS).wait_booted()
    yield made
    workshop.cleanup.stop()


@pytest.fixture
def machine(deployment: Deployment) -> Machine:
    return deployment.machine(f"{MOCKS}-1")


def output(machine: Machine, command: str) -> str:
    return machine.run(["sh", "-c", command], check=True).stdout.strip()


# Images


def test_an_image_holds_what_the_document_made(image: Image) -> None:
    assert (image.root / "etc/word").read_text() == "hello\n"
    assert image.description.parameters["Word"] == "hello"


def test_an_image_holds_nothing_of_its_build(image: Image) -> None:
    assert (image.root / "etc/machine-id").read_text() == ""
    assert not (image.root / "etc/resolv.conf").exists()
    for directory in ("tmp", "run", "var/tmp"):
        assert [path.name for path in (image.root / directory).iterdir() if path.name != "lock"] == []


def test_after_a_build_nothing_but_image_and_logs_is_left(workshop: Workshop, image: Image) -> None:
    assert image.path.exists()
    assert list(workshop.layout.builds.iterdir()) == []
    assert not (workshop.layout.machines / f"test-{MOCKS}").exists()


@pytest.mark.parametrize(
    ("phase", "build", "test"),
    [
        ("build", BUILD.replace("set -euo pipefail", "echo broken; exit 7"), TEST),
        ("validate", BUILD.replace("grep -qx", "echo broken; ! grep -qx"), TEST),
        ("test", BUILD, TEST.replace("systemctl is-active word", "echo broken; systemctl is-active no-such")),
    ],
    ids=["build", "validate", "test"],
)
def test_a_failed_phase_publishes_nothing(workshop: Workshop, phase: str, build: str, test: str) -> None:
    with pytest.raises(StepFailedError, match=f"of phase {phase} failed") as caught:
        workshop.builder.build(workshop.request("broken", build, test))
    assert "  | broken" in str(caught.value)
    assert workshop.builder.store.find("broken") is None
    assert list(workshop.layout.builds.iterdir()) == []
    assert not any(path.name == "test-broken" for path in workshop.layout.machines.iterdir())


def test_a_failed_test_leaves_the_machines_journal_in_the_log(workshop: Workshop) -> None:
    with pytest.raises(StepFailedError):
        workshop.builder.build(workshop.request("broken", test=TEST.replace("is-active word", "is-active no-such")))
    assert "Started word.service" in workshop.builder.log("broken").read_text()


def test_parameters_that_do_not_fit_are_refused_before_anything_is_made(workshop: Workshop) -> None:
    request = workshop.request("wrong", Wrod="hello")
    with pytest.raises(DocumentError, match="there is no parameter Wrod"):
        workshop.builder.check(request)
    with pytest.raises(DocumentError):
        workshop.builder.build(request)
    assert list(workshop.layout.builds.iterdir()) == []


def test_a_build_reports_its_statuses_in_their_order(workshop: Workshop) -> None:
    statuses: list[str] = []
    replace(workshop.builder, report=statuses.append).build(workshop.request("reported"))
    assert statuses == ["BUILDING", "TESTING", "DISTRIBUTING"]


def test_cancelling_ends_a_build_and_its_processes(workshop: Workshop) -> None:
    builder = replace(workshop.builder, cancel=threading.Event())
    slow = BUILD.replace("set -euo pipefail", "sleep 111")
    threading.Timer(3, builder.cancel.set).start()
    with pytest.raises(LocalError, match="interrupted"):
        builder.build(workshop.request("slow", slow))
    assert not any("build-slow" in str(group) for group in ControlGroups().find(workshop.layout.identity))
    assert subprocess.run(["pgrep", "-f", "^sleep 111$"], capture_output=True, check=False).returncode == 1


def test_a_step_that_takes_too_long_is_killed_with_what_it_started(workshop: Workshop) -> None:
    slow = BUILD.replace("        action: ExecuteBash\n", "        action: ExecuteBash\n        timeoutSeconds: 2\n", 1)
    slow = slow.replace("set -euo pipefail", "setsid sleep 113 & sleep 112")
    with pytest.raises(StepFailedError, match="exceeded its timeoutSeconds of 2"):
        workshop.builder.build(workshop.request("slow", slow))
    assert subprocess.run(["pgrep", "-f", "^sleep 11[23]$"], capture_output=True, check=False).returncode == 1


# Machines


def test_systemd_is_pid_1_and_all_units_are_well(machine: Machine) -> None:
    assert output(machine, "cat /proc/1/comm") == "systemd"
    assert machine.failed_units() == []


def test_a_machine_has_the_address_and_name_server_it_was_given(machine: Machine, deployment: Deployment) -> None:
    assert str(machine.address) in output(machine, "ip -4 -br address show eth0")
    assert output(machine, "cat /etc/resolv.conf").startswith(f"nameserver {deployment.network.gateway}\n")
    assert output(machine, "cat /etc/hostname 2>/dev/null || hostname") == machine.name


def test_user_data_are_served_with_a_token_and_not_without(machine: Machine) -> None:
    url = "http://169.254.169.254/latest"
    token = f"$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {url}/api/token)"
    assert output(machine, f'curl -s -H "X-aws-ec2-metadata-token: {token}" {url}/user-data') == "GREETING=hello"
    assert output(machine, f"curl -s -o /dev/null -w '%{{http_code}}' {url}/user-data") == "401"


def test_user_data_are_not_served_on_the_host(deployment: Deployment) -> None:
    assert deployment.machines
    addresses = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, check=True).stdout
    assert "169.254.169.254" not in addresses


def test_kernel_settings_of_a_machine_are_its_own(machine: Machine) -> None:
    path = "/proc/sys/net/ipv4/ip_local_port_range"
    before = Path(path).read_text()
    assert output(machine, f"echo 20000 21000 >{path}; cat {path}").split() == ["20000", "21000"]
    assert Path(path).read_text() == before


def test_a_command_that_fails_says_so(machine: Machine) -> None:
    done = machine.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_service_that_is_killed_comes_back(machine: Machine) -> None:
    def number() -> str:
        return output(machine, "systemctl show --property MainPID --value word.service")

    before = number()
    machine.run(["systemctl", "kill", "--signal=KILL", "word.service"], check=True)
    assert wait_until(lambda: number() not in (before, "0"), 10)


def test_the_journal_is_read_by_unit(machine: Machine) -> None:
    assert "word.service" in machine.journal("word.service")
    assert "dbus" not in machine.journal("word.service")


def test_machines_reach_each_other_and_the_balancer(machine: Machine, deployment: Deployment) -> None:
    assert wait_until(lambda: all(entry.healthy for entry in deployment.health()["internal"][:1]), 10)
    host = "mock-servers.secure-proxy.internal"
    assert output(machine, f"curl -s -o /dev/null -w '%{{http_code}}' http://{host}:9000/") == "200"


def test_a_second_machine_has_an_identity_of_its_own(machine: Machine, deployment: Deployment) -> None:
    second = deployment.launch(MOCKS)
    try:
        second.wait_booted()
        assert second.address != machine.address
        assert output(second, "cat /etc/machine-id") != output(machine, "cat /etc/machine-id")
        assert second.instance_id != machine.instance_id
        names = [target.name for target in deployment.listeners()["internal"][0].targets]
        assert names == [machine.name, second.name]
    finally:
        deployment.terminate(second.name)
    assert second.name not in deployment.machines
    assert not second.directory.exists()


def test_a_machine_of_an_image_that_is_not_there_is_refused(deployment: Deployment) -> None:
    with pytest.raises(LocalError, match=f"there is no image {PROXY}"):
        deployment.launch(PROXY)


def test_another_process_sees_the_same_deployment(deployment: Deployment) -> None:
    loaded = Deployment.load(layout=deployment.layout)
    assert loaded.record == deployment.record
    assert loaded.machine(f"{MOCKS}-1").state == "running"


def test_a_machine_that_is_not_there_is_named_with_those_that_are(deployment: Deployment) -> None:
    with pytest.raises(LocalError, match=f"no machine 'nobody'; there are: {MOCKS}-1"):
        deployment.machine("nobody")


# Names


def test_the_balancer_moves_with_its_name(machine: Machine, deployment: Deployment) -> None:
    host = "mock-servers.secure-proxy.internal"
    former = deployment.record.internal
    moved = deployment.move_internal_balancer()
    try:
        assert moved != former
        assert wait_until(lambda: output(machine, f"getent ahostsv4 {host}").startswith(str(moved)), 5)
        assert output(machine, f"curl -s -o /dev/null -w '%{{http_code}}' http://{host}:9000/") == "200"
        assert machine.run(["curl", "-s", "-m", "2", f"http://{former}:9000/"]).returncode != 0
    finally:
        deployment.move_internal_balancer(former)


def test_names_of_the_world_are_not_answered(machine: Machine) -> None:
    assert machine.run(["getent", "ahostsv4", "deb.debian.org"]).returncode != 0


def test_a_name_that_is_not_ours_to_give_away_has_a_short_life(deployment: Deployment) -> None:
    dns: NameServer = deployment.dns
    dns.set("other.secure-proxy.internal", IPv4Address("10.0.0.1"))
    assert dns.names()["other.secure-proxy.internal"] == IPv4Address("10.0.0.1")


def test_a_machine_is_stopped_and_started_with_its_disk(deployment: Deployment) -> None:
    second = deployment.launch(MOCKS)
    try:
        second.wait_booted()
        second.run(["sh", "-c", "echo kept >/etc/kept; logger --id=1 before the end"], check=True)
        identity = output(second, "cat /etc/machine-id")
        second.stop()
        assert second.state == "stopped"
        assert "before the end" in second.journal(lines=500)
        second.start()
        second.wait_booted()
        assert output(second, "cat /etc/machine-id /etc/kept").split() == [identity, "kept"]
    finally:
        deployment.terminate(second.name)


# Instances


class Group:
    """An Auto Scaling group of instances of `image` behind the internal load balancer, in moto on real machines."""

    def __init__(self, image: Image) -> None:
        session = boto3.Session("testing", "testing", region_name="eu-central-1")
        self.ec2, self.elbv2 = session.client("ec2"), session.client("elbv2")
        self.autoscaling = session.client("autoscaling")
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        data = {"ImageId": image.image_id, "UserData": base64.b64encode(b"GREETING=instance\n").decode()}
        template = self.ec2.create_launch_template(LaunchTemplateName="template", LaunchTemplateData=data)  # type: ignore[arg-type]
        balancer = self.elbv2.create_load_balancer(Name="b", Subnets=[subnet], Scheme="internal", Type="network")
        made = self.elbv2.create_target_group(Name="t", Protocol="TCP", Port=9000, VpcId=vpc)
        self.targets = made["TargetGroups"][0]["TargetGroupArn"]
        self.elbv2.modify_target_group_attributes(
            TargetGroupArn=self.targets, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        )
        self.elbv2.create_listener(
            LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
            Protocol="TCP",
            Port=9000,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.targets}],
        )
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="g",
            MinSize=0,
            MaxSize=2,
            VPCZoneIdentifier=subnet,
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"]},
            TargetGroupARNs=[self.targets],
        )

    def resize(self, capacity: int) -> None:
        self.autoscaling.update_auto_scaling_group(AutoScalingGroupName="g", DesiredCapacity=capacity)

    def instances(self) -> list[str]:
        group = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["g"])["AutoScalingGroups"][0]
        return [entry["InstanceId"] for entry in group["Instances"]]

    def health(self) -> dict[str, str]:
        found = self.elbv2.describe_target_health(TargetGroupArn=self.targets)["TargetHealthDescriptions"]
        return {entry["Target"]["Id"]: entry["TargetHealth"]["State"] for entry in found}

    def refreshed(self) -> bool:
        found = self.autoscaling.describe_instance_refreshes(AutoScalingGroupName="g")["InstanceRefreshes"]
        return found[0]["Status"] == "Successful"


def test_instances_of_an_auto_scaling_group_are_machines(deployment: Deployment, image: Image) -> None:
    former = deployment.record.balancers[INTERNAL].listeners
    before = set(deployment.machines)
    with mock_aws():
        uninstall = install(DeploymentWorld(deployment))
        try:
            group = Group(image)
            group.resize(1)
            assert wait_until(lambda: list(group.health().values()) == ["healthy"], 90, 0.2), group.health()
            [old] = group.instances()
            machine = deployment.of_instance(old)
            assert machine is not None
            [instance] = group.ec2.describe_instances(InstanceIds=[old])["Reservations"][0]["Instances"]
            assert instance["PrivateIpAddress"] == str(machine.address)
            assert metadata(machine, "meta-data/instance-id") == old
            assert metadata(machine, "meta-data/ami-id") == image.image_id
            assert metadata(machine, "user-data") == "GREETING=instance"
            with asked_on_and_on(f"http://{deployment.record.internal}:9000/") as answers:
                group.autoscaling.start_instance_refresh(AutoScalingGroupName="g")
                assert wait_until(group.refreshed, 90, 0.2)
            assert set(answers) == {200}, "a request was lost while instances were replaced"
            [new] = group.instances()
            assert new != old
            assert group.health() == {new: "healthy"}
            assert deployment.of_instance(old) is None
            assert not machine.directory.exists()
            group.resize(0)
            assert wait_until(lambda: group.instances() == [], 60, 0.2)
            assert set(deployment.machines) == before
        finally:
            uninstall()
            deployment.set_listeners(INTERNAL, former)


@contextmanager
def asked_on_and_on(url: str) -> Iterator[list[int | str]]:
    """What a client gets that asks again and again for the length of the block: statuses, or what went wrong."""
    answers: list[int | str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                with urlopen(url, timeout=10) as response:  # noqa: S310  (http)
                    answers.append(response.status)
            except OSError as error:
                answers.append(str(error))

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield answers
    finally:
        done.set()
        client.join()


def metadata(machine: Machine, path: str) -> str:
    url = "http://169.254.169.254/latest"
    token = f"$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {url}/api/token)"
    return output(machine, f'curl -s -H "X-aws-ec2-metadata-token: {token}" {url}/{path}')


# Ends: these come last, for they end the machine.


def test_a_machine_whose_supervisor_was_killed_is_still_found(machine: Machine, workshop: Workshop) -> None:
    container = next(
        identity
        for identity in find_processes(workshop.cleanup.traces())
        if b"systemd-nspawn" in Path(f"/proc/{identity.pid}/cmdline").read_bytes()
    )
    inside = machine.leader
    assert inside is not None
    os.kill(container.pid, signal.SIGKILL)
    assert wait_until(lambda: identify(container.pid) is None, 5)
    assert identify(inside) is not None, "systemd died with its supervisor; this test has lost its point"
    assert inside in [identity.pid for identity in find_processes(workshop.cleanup.traces())]


def test_all_is_removed_whatever_is_left_of_the_records(deployment: Deployment, workshop: Workshop) -> None:
    layout = deployment.layout
    for record in layout.run.iterdir():
        if record.is_file():
            record.unlink()
    layout.record.write_text("{")
    with suppress(OSError):
        (layout.machines / f"{MOCKS}-1/machine.json").unlink()
    workshop.cleanup.remove()
    assert workshop.cleanup.remaining() == []
    assert interfaces(layout.identity) == []
    assert mount_points(layout.state) == []
    assert not layout.state_base.exists()
    table = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not re.findall(rf".*{layout.identity}.*", table)


def test_removing_what_is_not_there_is_no_error(workshop: Workshop) -> None:
    workshop.layout.state_base.mkdir(parents=True, exist_ok=True)
    workshop.cleanup.remove()
    workshop.cleanup.remove()
