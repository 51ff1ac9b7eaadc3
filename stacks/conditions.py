"""Conditions that several policies share."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct


def in_this_region(scope: Construct) -> dict[str, dict[str, str]]:
    """For calls that name no resource: they may go to the region of the stack alone."""
    return {"StringEquals": {"aws:RequestedRegion": cdk.Stack.of(scope).region}}
