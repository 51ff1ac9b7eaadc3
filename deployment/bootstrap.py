"""Whether the account is prepared for the CDK."""

from __future__ import annotations

from botocore.exceptions import ClientError

from deployment.account import Aws, Identity
from deployment.errors import NotStartedError
from deployment.hints import Hints
from lambdas.common.errors import error_code

# https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
QUALIFIER = "hnb659fds"
VERSION_PARAMETER = f"/cdk-bootstrap/{QUALIFIER}/version"
TOOLKIT_STACK = "CDKToolkit"


def check_bootstrapped(aws: Aws, identity: Identity, hints: Hints) -> str:
    """The version of the bootstrap resources. Raises `NotStartedError` with the command to run when there are none."""
    try:
        version: str = aws.client("ssm").get_parameter(Name=VERSION_PARAMETER)["Parameter"]["Value"]
    except ClientError as error:
        if error_code(error) != "ParameterNotFound":
            raise
        raise NotStartedError(
            f"account {identity.account} is not bootstrapped for the CDK in {aws.region} (there is no parameter "
            f"{VERSION_PARAMETER}). Run once: {hints.bootstrap(identity.account, aws.region)}"
        ) from error
    return version
