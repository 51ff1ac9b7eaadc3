"""Exceptions from the rules of cdk-nag: each stands beside the resource that it excuses, with its reason.

Checkov and cfn-lint need none.
"""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

# Where a resource of the template tells which rules it is excused from, and why.
METADATA_KEY = "AcceptedFindings"


def accept_finding(construct: Construct, *, rule: str, reason: str) -> None:
    """Excuses `construct` from one cdk-nag finding, such as `AwsSolutions-IAM5[Resource::*]`, and from nothing else."""
    cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))
    resource = construct.node.default_child
    if not isinstance(resource, cdk.CfnResource):
        raise TypeError(f"{construct.node.path} is no resource: {rule} must be accepted where it is found")
    resource.add_metadata(METADATA_KEY, {**(resource.get_metadata(METADATA_KEY) or {}), rule: reason})
