"""AMIs of the endpoint: what EC2 knows of the images that were built.

moto lists AMIs and has nothing behind them. Here each AMI of ours has its files in the image store, and deregistering
it removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.amis import Ami

from local.endpoint.account import ACCOUNT, REGION
from local.endpoint.patches import Patches
from local.images import Image, ImageStore


def register(image: Image, description: str, tags: Mapping[str, str]) -> None:
    """Make a built image known to EC2 under its id, with the tags on the AMI and its snapshot."""
    backend = ec2_backends[ACCOUNT][REGION]
    ami = Ami(
        backend,
        image.image_id,
        name=f"{image.name} {image.description.created:%Y-%m-%dT%H-%M-%S.%f}",
        description=description,
        owner_id=ACCOUNT,
        root_device_type="ebs",
        virtualization_type="hvm",
        architecture="x86_64",
        tags=dict(tags),
    )
    ami.ebs_snapshot.add_tags(dict(tags))
    backend.amis[image.image_id] = ami


def install(patches: Patches, store: ImageStore) -> None:
    """Have EC2 remove an image's files when its AMI is deregistered. Machines that run from it have their own."""

    def removing(deregister: Callable[..., Any]) -> Callable[..., Any]:
        def deregister_image(backend: EC2Backend, ami_id: str) -> Any:
            result = deregister(backend, ami_id)
            store.remove(ami_id)
            return result

        return deregister_image

    patches.replace(EC2Backend, "deregister_image", removing)
