"""Names that more than one place must agree on: the stack, its parameters, images. Each stands here once.

Of the outputs, those that programs read; the others stand where they are made.
"""

from __future__ import annotations

from dataclasses import dataclass

STACK = "EC2ImageBuilderSecureProxy"
STATE_MACHINE = "SecureProxyDeployment"
DASHBOARD = "SecureProxy"
METRICS_NAMESPACE = "NGINX"

# Parameters of the CloudFormation stack.
ADMITTED_CIDR = "AdmittedCidr"
IMAGE_SCANNING = "ImageScanning"
RESERVED_CONCURRENCY = "ReservedConcurrency"

# Outputs that programs read.
PROXY_GROUP_OUTPUT = "ProxyGroupName"
PROXY_LOG_GROUP_OUTPUT = "ProxyLogGroupName"

# Names of the images: of Image Builder's resources, of AMIs, and the last part of their parameters.
SECURE_PROXY_IMAGE = "secure-proxy"
MOCK_SERVERS_IMAGE = "secure-proxy-mock-servers"

# Tag of AMIs, snapshots and build instances, by which they are found when the stack is gone; its value is the stack.
OWNER_TAG = "secure-proxy:stack"
IMAGE_TAG = "secure-proxy:image"


@dataclass(frozen=True)
class ParameterNames:
    """Names of the Systems Manager parameters, all below one prefix."""

    prefix: str

    @property
    def proxy_host(self) -> str:
        """DNS name of the public load balancer."""
        return self._named("proxy/host")

    @property
    def proxy_wss_port(self) -> str:
        """Public port for `wss://`."""
        return self._named("proxy/wss-port")

    @property
    def proxy_oauth_port(self) -> str:
        """Public port of the OAuth listener."""
        return self._named("proxy/oauth-port")

    @property
    def proxy_issuer(self) -> str:
        """The issuer whose tokens the proxy accepts."""
        return self._named("proxy/issuer")

    @property
    def backend_host(self) -> str:
        """DNS name of the internal load balancer."""
        return self._named("backend/host")

    @property
    def state_machine(self) -> str:
        """ARN of the deployment workflow."""
        return self._named("workflow/state-machine-arn")

    def image(self, image: str) -> str:
        """AMI id of the newest published image. The workflow writes it; launch templates read it."""
        return self._named(f"images/{image}")

    def _named(self, path: str) -> str:
        return f"/{self.prefix}/{path}"


def export_name(output: str) -> str:
    """The name under which the stack exports an output."""
    return f"{STACK}-{output}"
