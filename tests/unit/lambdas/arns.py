"""Names and AWS objects that scenarios speak of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.unit.lambdas.scenario import ACCOUNT, REGION

STATE_MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:Deployment"
STARTED_AT = "2026-01-01T10:00:00.000Z"
PROXY_GROUP, MOCK_GROUP = "proxy-group", "mock-group"
IMAGE_PARAMETERS = {
    "secureProxy": "/secure-proxy/images/secure-proxy",
    "mockServers": "/secure-proxy/images/mock-servers",
}
PIPELINES = {
    "secureProxy": f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image-pipeline/secure-proxy",
    "mockServers": f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image-pipeline/mock-servers",
}
_IMAGES = {"secureProxy": "secure-proxy", "mockServers": "mock-servers"}


def execution(name: str, started_at: str) -> dict[str, Any]:
    """A running execution as ListExecutions shows it."""
    return {
        "executionArn": f"arn:aws:states:{REGION}:{ACCOUNT}:execution:Deployment:{name}",
        "stateMachineArn": STATE_MACHINE,
        "name": name,
        "status": "RUNNING",
        "startDate": datetime.fromisoformat(started_at),
    }


EXECUTION = str(execution("this", STARTED_AT)["executionArn"])


def target_group(name: str) -> str:
    """The ARN of a target group."""
    return f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{name}/0123456789abcdef"


def build_arn(name: str, build: str = "1") -> str:
    """The ARN of an image that a pipeline builds."""
    return f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image/{_IMAGES[name]}/1.0.7/{build}"


def group(
    name: str, min_size: int, desired_capacity: int, *target_groups: str, states: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An Auto Scaling group, with what its shape requires. `states` are those of its instances by their ids."""
    return {
        "AutoScalingGroupName": name,
        "MinSize": min_size,
        "MaxSize": 4,
        "DesiredCapacity": desired_capacity,
        "DefaultCooldown": 300,
        "AvailabilityZones": [f"{REGION}a"],
        "HealthCheckType": "ELB",
        "CreatedTime": datetime.fromisoformat(STARTED_AT),
        "TargetGroupARNs": list(target_groups),
        "Instances": [
            {
                "InstanceId": instance,
                "LifecycleState": state,
                "AvailabilityZone": f"{REGION}a",
                "HealthStatus": "Healthy",
                "ProtectedFromScaleIn": False,
            }
            for instance, state in (states or {}).items()
        ],
    }


def ami_parameter(name: str, image_id: str) -> dict[str, str]:
    """A parameter as GetParameters shows it."""
    return {"Name": name, "Value": image_id, "Type": "String", "DataType": "aws:ec2:image"}


def summary(
    name: str,
    status: str,
    *,
    ami: str | None = None,
    region: str = REGION,
    reason: str | None = None,
    build: str = "1",
    build_type: str = "USER_INITIATED",
    created: str = "2026-01-01T10:00:07.123Z",
) -> dict[str, Any]:
    """A build as ListImagePipelineImages shows it."""
    return {
        "arn": build_arn(name, build),
        "name": _IMAGES[name],
        "state": {"status": status, **({"reason": reason} if reason else {})},
        "buildType": build_type,
        "dateCreated": created,
        "outputResources": {"amis": [{"region": region, "image": ami}] if ami else []},
    }
