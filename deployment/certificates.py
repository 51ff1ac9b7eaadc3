"""The certificates of the proxies, by which a client can verify them.

Each proxy makes its own pair on first boot, so no authority vouches for it. Its metrics record, which reaches the
proxies' log group every minute, carries the public certificate: who trusts that log group can trust the certificate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from deployment.account import Aws
from deployment.errors import DeploymentError, NotStartedError
from deployment.stack import Stack
from lambdas.common.errors import error_code
from stacks.names import PROXY_GROUP_OUTPUT, PROXY_LOG_GROUP_OUTPUT

# As the image's CloudWatch agent names it.
_STREAM = "{instance}/var/log/secure-proxy/nginx-metrics.log"
_LATEST_RECORDS = 20
_OTHERWISE = "or say what to trust: --ca-file FILE; --insecure verifies nothing"


def trusted_certificates(aws: Aws, stack: Stack) -> str:
    """The self-signed certificates of the proxies in service, as PEM; nothing when authorities have signed them all.

    Raises `DeploymentError` when a proxy has not published its certificate, or publishes something else.
    """
    found = {instance: _published(aws, stack, instance) for instance in _proxies(aws, stack)}
    missing = [instance for instance, record in found.items() if "Certificate" not in record]
    if missing:
        raise NotStartedError(
            f"no certificate of {', '.join(missing)} in log group {stack.outputs[PROXY_LOG_GROUP_OUTPUT]} yet: a proxy "
            f"publishes it within two minutes of its boot. Try again a little later, {_OTHERWISE}"
        )
    return "".join(_checked(instance, str(record["Certificate"])) for instance, record in found.items())


def _proxies(aws: Aws, stack: Stack) -> list[str]:
    name = stack.outputs[PROXY_GROUP_OUTPUT]
    groups = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    instances = [
        instance["InstanceId"]
        for group in groups
        for instance in group["Instances"]
        if instance["LifecycleState"] == "InService"
    ]
    if not instances:
        raise NotStartedError(f"no proxy is in service in the Auto Scaling group {name}: run the deployment first")
    return sorted(instances)


def _published(aws: Aws, stack: Stack, instance: str) -> Mapping[str, object]:
    """The newest record that holds a certificate; an empty one when there is none."""
    try:
        events = aws.client("logs").get_log_events(
            logGroupName=stack.outputs[PROXY_LOG_GROUP_OUTPUT],
            logStreamName=_STREAM.format(instance=instance),
            limit=_LATEST_RECORDS,
            startFromHead=False,
        )["events"]
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return {}
        raise
    records = [_record(event["message"]) for event in events]  # oldest first
    return next((record for record in reversed(records) if "Certificate" in record), {})


def _record(message: str) -> Mapping[str, object]:
    try:
        record = json.loads(message)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _checked(instance: str, pem: str) -> str:
    """The certificate if it is to be trusted by itself. An authority is not: it could vouch for anybody."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise DeploymentError(
            f"{instance} publishes a certificate that cannot be read ({error}); {_OTHERWISE}"
        ) from error
    if certificate.issuer != certificate.subject:
        return ""
    if constraints.ca:
        raise DeploymentError(f"{instance} publishes the certificate of an authority as its own; {_OTHERWISE}")
    return certificate.public_bytes(Encoding.PEM).decode("ascii")  # and nothing that stood beside it
