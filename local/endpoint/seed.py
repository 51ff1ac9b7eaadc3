"""What an AWS account has before anybody makes something: here the base image, and the public parameters that name it.

moto's Parameter Store knows Amazon Linux's real AMI ids, which are of no image here, and nothing of Ubuntu.
"""

from __future__ import annotations

from datetime import UTC, datetime

from moto.ssm.models import Parameter, ParameterDict, ssm_backends

from local.endpoint.account import ACCOUNT, REGION
from local.endpoint.clients import Clients

BASE_IMAGE_NAME = "secure-proxy-base"
_PUBLIC_IMAGES = ("/aws/service/ami-amazon-linux-latest/", "/aws/service/canonical/ubuntu/")


class _PublicParameters(ParameterDict):
    """Parameters among which each one for an AMI of an operating system names the base image; it is never listed."""

    def __init__(self, image_id: str) -> None:
        super().__init__(ACCOUNT, REGION)
        self._image_id = image_id

    def __getitem__(self, name: str) -> list[Parameter]:
        if self._is_public(name):
            return [_image_parameter(name, self._image_id)]
        found: list[Parameter] = super().__getitem__(name)
        return found

    def __contains__(self, name: object) -> bool:
        return self._is_public(name) or (isinstance(name, str) and super().__contains__(name))

    def _is_public(self, name: object) -> bool:
        return isinstance(name, str) and name.startswith(_PUBLIC_IMAGES)


def seed(clients: Clients) -> None:
    """Register the base image, from which the machine images are made, and let its public parameters name it."""
    image = clients.call("ec2", "register_image", {"Name": BASE_IMAGE_NAME, "Description": "the cached base root"})
    ssm_backends[ACCOUNT][REGION]._parameters = _PublicParameters(image["ImageId"])


def _image_parameter(name: str, image_id: str) -> Parameter:
    return Parameter(  # type: ignore[abstract]  # it is for moto too
        account_id=ACCOUNT,
        name=name,
        value=image_id,
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=datetime.now(UTC),
        version=1,
        data_type="aws:ec2:image",
    )
