"""Where the deployment is, and by which certificates a client verifies it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from deployment.certificates import trusted_certificates
from deployment.endpoint import find_endpoint
from deployment.errors import DeploymentError, NotStartedError
from deployment.stack import Stack
from stacks.names import ParameterNames
from tests.unit.deployment.support import HINTS, STACK_ID, StubbedAws
from tests.unit.lambdas.scenario import REGION, Call

NAMES = ParameterNames("secure-proxy")
WANTED = [NAMES.proxy_host, NAMES.proxy_wss_port, NAMES.proxy_oauth_port, NAMES.proxy_issuer]
STACK = Stack(STACK_ID, "CREATE_COMPLETE", "", {}, {"ProxyGroupName": "proxies", "ProxyLogGroupName": "SecureProxy"})


def parameters(*values: str) -> Call:
    found = [{"Name": name, "Value": value} for name, value in zip(WANTED, values, strict=False)]
    return Call("ssm", "get_parameters", {"Names": WANTED}, {"Parameters": found})


def test_the_client_is_told_host_ports_and_issuer() -> None:
    aws = StubbedAws([parameters("proxy.example", "10000", "11080", "https://login.example")])
    assert find_endpoint(aws, NAMES, HINTS).client_options(bridge="lua", ca_file=None) == [
        "--host", "proxy.example", "--wss-port", "10000", "--oauth-port", "11080", "--issuer", "https://login.example",
    ]  # fmt: skip


def test_where_nothing_is_deployed_the_remedy_is_named() -> None:
    with pytest.raises(NotStartedError, match=rf"is not deployed in {REGION}: .*/secure-proxy/proxy/host.*bash deploy"):
        find_endpoint(StubbedAws([parameters()]), NAMES, HINTS)


def certificate(*, issuer: str = "proxy.example", ca: bool = False) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy.example")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def proxies(*instances: str) -> Call:
    group = {
        "AutoScalingGroupName": "proxies", "MinSize": 0, "MaxSize": 4, "DesiredCapacity": 2, "DefaultCooldown": 300,
        "AvailabilityZones": [f"{REGION}a"], "HealthCheckType": "ELB", "CreatedTime": "2026-01-01T10:00:00Z",
        "Instances": [
            {"InstanceId": name, "LifecycleState": "Terminating" if name == "i-old" else "InService",
             "AvailabilityZone": f"{REGION}a", "HealthStatus": "Healthy", "ProtectedFromScaleIn": False}
            for name in instances
        ],
    }  # fmt: skip
    asked = {"AutoScalingGroupNames": ["proxies"]}
    return Call("autoscaling", "describe_auto_scaling_groups", asked, {"AutoScalingGroups": [group]})


def asked_of(instance: str) -> dict[str, object]:
    return {
        "logGroupName": "SecureProxy",
        "logStreamName": f"{instance}/var/log/secure-proxy/nginx-metrics.log",
        "limit": 20,
        "startFromHead": False,
    }


def records(instance: str, *messages: str) -> Call:
    events = [{"message": message, "timestamp": 1, "ingestionTime": 1} for message in messages]
    return Call("logs", "get_log_events", asked_of(instance), {"events": events})


def record(pem: str) -> str:
    return json.dumps({"ConnectionsActive": 1, "Certificate": pem})


def test_the_newest_certificate_of_every_proxy_in_service_is_trusted() -> None:
    old, first, second = certificate(), certificate(), certificate()
    aws = StubbedAws(
        [
            proxies("i-2", "i-old", "i-1"),
            records("i-1", record(old), record(first), json.dumps({"ConnectionsActive": 2}), "no JSON"),
            records("i-2", record(second)),
        ]
    )
    assert trusted_certificates(aws, STACK) == first + second
    aws.stubs.assert_all_made()


def test_what_stands_beside_a_certificate_is_not_trusted() -> None:
    pem = certificate()
    aws = StubbedAws([proxies("i-1"), records("i-1", record(pem + certificate(ca=True)))])
    assert trusted_certificates(aws, STACK) == pem


def test_a_certificate_that_an_authority_signed_needs_no_trust_of_its_own() -> None:
    aws = StubbedAws([proxies("i-1"), records("i-1", record(certificate(issuer="authority.example")))])
    assert trusted_certificates(aws, STACK) == ""


@pytest.mark.parametrize("pem", [certificate(ca=True), "garbage"])
def test_an_authority_or_garbage_in_place_of_a_certificate_is_refused(pem: str) -> None:
    with pytest.raises(DeploymentError, match=r"i-1 publishes .*--ca-file FILE; --insecure verifies nothing"):
        trusted_certificates(StubbedAws([proxies("i-1"), records("i-1", record(pem))]), STACK)


def test_a_proxy_that_has_just_booted_is_named() -> None:
    no_stream = Call("logs", "get_log_events", asked_of("i-1"), error="ResourceNotFoundException")
    with pytest.raises(NotStartedError, match=r"no certificate of i-1, i-2 in log group SecureProxy yet"):
        trusted_certificates(StubbedAws([proxies("i-1", "i-2"), no_stream, records("i-2", "{}")]), STACK)


def test_without_proxies_there_is_nothing_to_verify() -> None:
    with pytest.raises(NotStartedError, match="no proxy is in service"):
        trusted_certificates(StubbedAws([proxies()]), STACK)
