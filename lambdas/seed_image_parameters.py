"""Custom resource: the parameters of the published images, holding the base image until the first deployment.

EC2 refuses a launch template whose image parameter does not exist or is not of data type `aws:ec2:image`, so they must
be there before the templates. CloudFormation cannot own them: at the next update of the stack it would put the base
image back in place of what the workflow published.

Protocol: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lambdas.common import clients
from lambdas.common.errors import ImageNotVisibleError, error_code
from lambdas.common.images import published_images

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

_VISIBLE_WITHIN_SECONDS = 90
_LOOK_EVERY_SECONDS = 3

logger = logging.getLogger("secure-proxy")


def handler(event: Mapping[str, Any], _context: object = None) -> None:
    """Answers CloudFormation's `Create`, `Update` and `Delete`; properties `BaseImageParameter` and `ImageParameters`.

    CloudFormation waits for the answer alone, so errors go into it instead of out of the function.
    """
    properties = event["ResourceProperties"]
    names = tuple(sorted(properties["ImageParameters"]))
    answer = {"Status": "SUCCESS"}
    try:
        ssm = clients.client("ssm")
        if event["RequestType"] == "Delete":
            delete(names, ssm)
        else:
            seed(names, properties["BaseImageParameter"], ssm)
    except Exception as error:
        logger.exception("%s of %s failed", event["RequestType"], names)
        answer = {"Status": "FAILED", "Reason": f"{type(error).__name__}: {error}"}
    # Another set of parameters is another resource: CloudFormation deletes the old one when the new one is there.
    _send(event, {**answer, "PhysicalResourceId": ",".join(names)})


def seed(names: tuple[str, ...], base_image_parameter: str, ssm: SSMClient) -> None:
    """Creates those parameters that do not exist, with the AMI id that the public parameter of the base image holds.

    Raises `ImageNotVisibleError` when Parameter Store does not show them within 90 seconds.
    """
    present = published_images(ssm, [*names, base_image_parameter])
    base_image = present.get(base_image_parameter)
    if base_image is None:
        raise ImageNotVisibleError(f"the public parameter {base_image_parameter} does not exist in this region")
    for name in names:
        if name not in present:
            _create(name, base_image, ssm)
    deadline = time.monotonic() + _VISIBLE_WITHIN_SECONDS
    while missing := sorted(set(names) - published_images(ssm, names).keys()):
        if time.monotonic() > deadline:
            raise ImageNotVisibleError(f"{', '.join(missing)} was put but did not appear")
        time.sleep(_LOOK_EVERY_SECONDS)


def delete(names: tuple[str, ...], ssm: SSMClient) -> None:
    """Deletes the parameters; one that is gone already is no error."""
    ssm.delete_parameters(Names=list(names))


def _create(name: str, image_id: str, ssm: SSMClient) -> None:
    try:
        ssm.put_parameter(Name=name, Value=image_id, Type="String", DataType="aws:ec2:image", Overwrite=False)
    except ClientError as error:
        if error_code(error) != "ParameterAlreadyExists":
            raise


def _send(event: Mapping[str, Any], answer: Mapping[str, str]) -> None:
    identity = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    request = urllib.request.Request(  # noqa: S310 - the URL is CloudFormation's
        event["ResponseURL"],
        data=json.dumps({**identity, **answer}).encode(),
        method="PUT",
        headers={"Content-Type": ""},  # the pre-signed URL was signed without one
    )
    with urllib.request.urlopen(request, timeout=20):  # noqa: S310
        pass
