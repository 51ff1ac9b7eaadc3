"""What only the account or the moment of deployment knows: parameters of the CloudFormation stack.

`deploy.sh` finds their values out; the template is the same for everybody.
"""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from stacks.names import ADMITTED_CIDR, IMAGE_SCANNING, RESERVED_CONCURRENCY
from stacks.settings import ExternalIp

_YES_NO = ["true", "false"]


class StackParameters(Construct):
    """The parameters, and the conditions that follow from them."""

    def __init__(self, scope: Construct, construct_id: str, *, external_ip: ExternalIp) -> None:
        super().__init__(scope, construct_id)
        # Without a default when the address is to be detected: a deployment that forgets it stops instead of opening.
        admitted = cdk.CfnParameter(
            self,
            ADMITTED_CIDR,
            type="String",
            default=None if external_ip.auto_detect else external_ip.i_p_address,
            allowed_pattern=r"^(\d{1,3}\.){3}\d{1,3}/\d{1,2}$",
            constraint_description="an IPv4 CIDR block such as 203.0.113.7/32",
            description="IPv4 block whose addresses may reach the public ports (externalIp in cdk.json)",
        )
        admitted.override_logical_id(ADMITTED_CIDR)
        self.admitted_cidr = admitted.value_as_string
        self.image_scanning = self._switch(
            IMAGE_SCANNING,
            "Have Amazon Inspector scan new images; needs Inspector switched on for EC2",
            default="false",
        )
        self.reserved_concurrency = self._switch(
            RESERVED_CONCURRENCY,
            "Limit each function to one execution at a time; needs a quota that leaves 100 unreserved",
            default="true",
        )

    def _switch(self, name: str, description: str, *, default: str) -> cdk.CfnCondition:
        parameter = cdk.CfnParameter(
            self, name, type="String", allowed_values=_YES_NO, default=default, description=description
        )
        parameter.override_logical_id(name)
        condition = cdk.CfnCondition(
            self, f"{name}On", expression=cdk.Fn.condition_equals(parameter.value_as_string, "true")
        )
        condition.override_logical_id(f"{name}On")
        return condition
