"""AWS CloudFormation, in place of moto's.

moto ignores resource types it does not know and reports success, leaves several types behind on delete, recreates what
it should update and knows no rollback. Here each resource is made through the API of its service, as CloudFormation
makes it: what a service refuses fails the stack, with the service's reason.
"""

from local.endpoint.cloudformation import (
    resources_balancing,
    resources_custom,
    resources_identity,
    resources_image_builder,
    resources_messaging,
    resources_network,
    resources_scaling,
    resources_security_groups,
    resources_storage,
    resources_workflow,
)

__all__ = [
    "resources_balancing",
    "resources_custom",
    "resources_identity",
    "resources_image_builder",
    "resources_messaging",
    "resources_network",
    "resources_scaling",
    "resources_security_groups",
    "resources_storage",
    "resources_workflow",
]
