"""Loading the settings: the shipped file, defaults, overrides, and how problems are told."""

from __future__ import annotations

import copy
import importlib.util
import json
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from stacks.settings import HEALTH_PORT, ProjectSettings, SettingsError, load_settings
from stacks.settings_network import architecture_of
from tests.unit.settings_support import REPOSITORY, SHIPPED, all_keys, parsed, problems, value_at

KEYS = sorted(all_keys())
INTEGERS = [key for key in KEYS if type(value_at(SHIPPED, key)) is int]


def write(directory: Path, settings: object) -> Path:
    file = directory / "cdk.json"
    file.write_text(json.dumps({"app": "python3 app.py", "projectSettings": settings}))
    return file


def test_shipped_file_gives_the_contracts_values() -> None:
    settings = load_settings()
    proxy = settings.proxy_settings
    assert (settings.vpc.cidr, settings.vpc.subnets.mask) == ("192.168.0.0/16", 22)
    assert (settings.ssm.project_prefix, settings.elb.name_prefix) == ("secure-proxy", "secure-proxy-elb")
    assert (proxy.jail_base_dir, proxy.proxy_base_dir) == ("/nginx", "/etc/nginx")
    assert (proxy.proxy_worker_processes, proxy.proxy_worker_connections) == ("auto", 16384)
    assert (proxy.proxy_cloudwatch_log_group, proxy.keepalive_timeout) == ("SecureProxy", 120)
    assert (proxy.wss_proxy_bind_port, proxy.o_auth_proxy_bind_port, HEALTH_PORT) == (10000, 11080, 8080)
    assert (proxy.kernel_ports_range_start, proxy.kernel_ports_range_end) == (32768, 61000)
    assert proxy.proxy_port_scale_factor == 1000
    assert proxy.websockify_connect_timeout == "30s"
    assert (proxy.websockify_read_timeout, proxy.websockify_send_timeout) == ("60s", "60s")
    assert (settings.mock_servers.tcp_server_port, settings.mock_servers.o_auth_server_port) == (9000, 10080)
    assert (settings.external_ip.auto_detect, settings.external_ip.i_p_address) == (True, "0.0.0.0/0")


def test_shipped_file_says_the_defaults_for_every_key(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, SHIPPED)) == load_settings(write(tmp_path, {})) == load_settings()
    assert [key for key in KEYS if value_at(SHIPPED, key) is None] == []


@pytest.mark.parametrize("key", KEYS)
def test_each_key_may_be_left_out(key: str, tmp_path: Path) -> None:
    settings = copy.deepcopy(SHIPPED)
    *parents, last = key.split(".")
    group = value_at(settings, ".".join(parents))
    assert isinstance(group, dict)
    del group[last]
    assert load_settings(write(tmp_path, settings)) == load_settings()


@pytest.mark.parametrize("key", INTEGERS)
def test_numbers_may_be_strings_as_in_older_files(key: str) -> None:
    assert load_settings(overrides={key: str(value_at(SHIPPED, key))}) == load_settings()


def test_an_earlier_versions_settings_are_accepted_but_for_retired_keys(tmp_path: Path) -> None:
    build: dict[str, object] = {"baseImageArn": "x", "ebsVolumeSize": 8, "instanceTypes": ["t2.medium"]}
    settings: dict[str, object] = {
        "vpc": {"cidr": "192.168.0.0/16", "subnets": {"mask": 22}},
        "imagebuilder": build,
        "proxySettings": {"proxyWorkerProcesses": "1", "proxyWorkerConnections": "20", "keepaliveTimeout": "120"},
        "mockServers": {"tcpServerPort": "9000", "oAuthServerPort": "10080"},
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, settings))
    found = parsed(str(caught.value))
    assert list(found) == ["imagebuilder.baseImageArn"]
    assert "named by imagebuilder.baseImage now" in found["imagebuilder.baseImageArn"]
    del build["baseImageArn"]
    assert load_settings(write(tmp_path, settings)).proxy_settings.proxy_worker_processes == "1"


def test_overrides_win_over_the_file() -> None:
    settings = load_settings(overrides={"proxySettings.bridge": "websockify", "vpc.subnets.mask": 24})
    assert (settings.proxy_settings.bridge, settings.vpc.subnets.mask) == ("websockify", 24)


def test_overrides_reach_groups_that_the_file_lacks(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, {}), {"proxySettings.limits.sessionsPerWorker": 7})
    assert settings.proxy_settings.limits.sessions_per_worker == 7


def test_an_override_below_a_plain_value_is_told() -> None:
    assert "is not an object" in problems({"vpc.cidr.mask": 22})["vpc.cidr.mask"]


def test_an_override_with_an_unknown_key_is_told() -> None:
    assert "is not a known key" in problems({"proxySettings.colour": "red"})["proxySettings.colour"]


@pytest.mark.parametrize("group", ["", "vpc", "vpc.subnets", "proxySettings.authentication", "proxySettings.limits"])
def test_an_unknown_key_is_told_in_every_group(group: str) -> None:
    key = f"{group}.colour".lstrip(".")
    assert list(problems({key: 1})) == [key]


def test_an_unknown_key_names_its_neighbour() -> None:
    found = problems({"proxySettings.wssProxyPort": 10000})
    assert "did you mean wssProxyBindPort?" in found["proxySettings.wssProxyPort"]


def test_keys_are_case_sensitive() -> None:
    assert list(problems({"proxySettings.Bridge": "lua"})) == ["proxySettings.Bridge"]


def test_python_names_are_not_keys() -> None:
    assert list(problems({"vpc.max_azs": 2})) == ["vpc.max_azs"]


@pytest.mark.parametrize("group", ["vpc", "vpc.subnets", "imagebuilder", "proxySettings.limits", "mockServers"])
@pytest.mark.parametrize("value", [3, "x", [], None, True])
def test_a_group_that_is_no_object_is_told_once(group: str, value: object) -> None:
    found = problems({group: value})
    assert list(found) == [group]
    assert "is not an object, allowed: an object with the keys" in found[group]


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        {
            "vpc.cidr": "nowhere",
            "proxySettings.limits.drainTimeout": "soon",
            "proxySettings.colour": "red",
            "imagebuilder.instanceTypes": ["t3.medium", "huge"],
            "proxySettings.bridge": "rope",
            "proxyFleet.maxCapacity": 1,
        }
    )
    assert set(found) == {
        "vpc.cidr",
        "proxySettings.limits.drainTimeout",
        "proxySettings.colour",
        "imagebuilder.instanceTypes[1]",
        "proxySettings.bridge",
        "proxyFleet.maxCapacity",
    }


def test_a_rule_that_needs_a_wrong_value_does_not_run() -> None:
    found = problems({"proxySettings.wssProxyBindPort": 70000, "mockServers.tcpServerPort": 9500})
    assert list(found) == ["proxySettings.wssProxyBindPort"]


def test_a_rule_that_needs_a_wrong_group_does_not_run() -> None:
    found = problems({"proxySettings.wssProxyBindPort": 10001, "mockServers": 3})
    assert list(found) == ["mockServers"]


def test_a_rule_that_needs_a_list_with_a_wrong_entry_does_not_run() -> None:
    found = problems({"imagebuilder.instanceTypes": ["t3.medium", "huge"], "proxyFleet.instanceType": "t4g.small"})
    assert list(found) == ["imagebuilder.instanceTypes[1]"]


def test_a_rule_that_needs_no_wrong_value_does_run() -> None:
    found = problems({"proxySettings.bridge": "rope", "mockServers.tcpServerPort": 9500})
    assert list(found) == ["proxySettings.bridge", "mockServers.tcpServerPort"]


def test_a_problem_is_one_line_whatever_the_value_holds() -> None:
    found = problems({"proxySettings.bridge": "lua\ncdk.json: projectSettings.x: y\x1b[2J" + "z" * 500})
    assert list(found) == ["proxySettings.bridge"]
    assert "\x1b" not in found["proxySettings.bridge"]
    assert len(found["proxySettings.bridge"]) < 200


def test_a_problem_is_one_line_whatever_the_key_holds(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, {"a\nb: c": 1}))
    assert len(str(caught.value).splitlines()) == 1


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.vpc.cidr = "10.0.0.0/16"


def test_loading_leaves_overrides_as_they_were() -> None:
    overrides: dict[str, object] = {"proxySettings.limits": {"drainTimeout": "5s"}}
    load_settings(overrides={**overrides, "proxySettings.limits.maxSessionAge": "1h"})
    assert overrides == {"proxySettings.limits": {"drainTimeout": "5s"}}


def test_the_placeholder_address_means_nobody() -> None:
    assert load_settings().imagebuilder.notification_email is None


@pytest.mark.parametrize("address", ["a@example.org", "a@b.EXAMPLE.com", "a@b.test", "email@domian.com"])
def test_reserved_domains_mean_nobody(address: str) -> None:
    settings = load_settings(overrides={"imagebuilder.imageBuilderEmailAddress": address})
    assert settings.imagebuilder.notification_email is None


@pytest.mark.parametrize("address", ["ops@company.com", "ops@notexample.com", "first.last+tag@a-b.co.uk"])
def test_a_real_address_is_kept(address: str) -> None:
    settings = load_settings(overrides={"imagebuilder.imageBuilderEmailAddress": address})
    assert settings.imagebuilder.notification_email == address


def test_backend_ports_follow_from_bind_ports_and_factor() -> None:
    settings = load_settings(
        overrides={
            "proxySettings.wssProxyBindPort": 443,
            "proxySettings.oAuthProxyBindPort": 444,
            "proxySettings.proxyPortScaleFactor": -9000,
            "mockServers.tcpServerPort": 9443,
            "mockServers.oAuthServerPort": 9444,
        }
    )
    assert (settings.wss_backend_port, settings.o_auth_backend_port) == (9443, 9444)


@pytest.mark.parametrize(
    ("instance_type", "architecture"),
    [
        ("t3.medium", "x86_64"),
        ("t4g.small", "arm64"),
        ("a1.large", "arm64"),
        ("c7gn.16xlarge", "arm64"),
        ("im4gn.large", "arm64"),
        ("g5.xlarge", "x86_64"),
        ("g5g.xlarge", "arm64"),
        ("g4dn.xlarge", "x86_64"),
        ("m7i-flex.large", "x86_64"),
        ("u-6tb1.metal", "x86_64"),
        ("c6a.large", "x86_64"),
    ],
)
def test_architecture_follows_from_the_instance_types(instance_type: str, architecture: str) -> None:
    overrides = {"proxyFleet.instanceType": instance_type, "imagebuilder.instanceTypes": [instance_type]}
    assert load_settings(overrides=overrides).architecture == architecture


def test_the_architecture_of_something_else_is_an_error() -> None:
    with pytest.raises(ValueError, match="is not an EC2 instance type"):
        architecture_of("huge")


def test_cdk_json_sets_the_feature_flags_that_the_pinned_library_recommends() -> None:
    package = importlib.util.find_spec("aws_cdk")  # found, not imported: importing starts a Node process
    assert package is not None
    assert package.origin is not None
    library = next((Path(package.origin).parent / "_jsii").glob("aws-cdk-lib@*.jsii.tgz"))
    with tarfile.open(library) as archive:
        flags = archive.extractfile("package/recommended-feature-flags.json")
        assert flags is not None
        recommended = json.load(flags)
    assert json.loads((REPOSITORY / "cdk.json").read_text())["context"] == recommended


def test_the_settings_import_nothing_of_the_aws_cdk() -> None:
    sources = list((REPOSITORY / "stacks").glob("settings*.py"))
    assert len(sources) > 5
    assert [file.name for file in sources if "aws_cdk" in file.read_text()] == []


def test_every_group_refuses_unknown_keys_and_changes() -> None:
    assert ProjectSettings.model_config["extra"] == "forbid"
    assert ProjectSettings.model_config["frozen"] is True
