"""Amazon S3 where moto is stricter or quicker than AWS.

- moto looks at no conditions of bucket policies: a statement that refuses what does not come over TLS refuses
  everything. Requests to the endpoint never leave the machine and count as secure; other conditions do not occur in
  statements that refuse.
- moto refuses to set where access logs go before the policy is there that lets them in. AWS takes it, and delivers logs
  once there is one.
- moto writes a record of each request to a bucket into its log bucket at once, so that one which logs itself could
  never be emptied. AWS delivers them some hours later; here nobody does.
"""

from __future__ import annotations

import json

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket, S3Backend


def install() -> None:
    """Changes moto's classes, for this process."""
    FakeBucket.get_permission = _permission  # type: ignore[method-assign, assignment]
    FakeBucket._log_permissions_enabled_policy = lambda *_, **__: True  # type: ignore[method-assign]
    S3Backend.log_incoming_request = lambda *_: None  # type: ignore[method-assign]


def _permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(bucket.policy)
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    unconditional = [statement for statement in statements if "Condition" not in statement]
    return IAMPolicy(json.dumps({**policy, "Statement": unconditional})).is_action_permitted(action, resource)
