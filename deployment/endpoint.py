"""Where the deployment is, as the stack has published it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployment.account import Aws
from deployment.errors import NotStartedError
from deployment.hints import Hints
from stacks.names import STACK, ParameterNames


@dataclass(frozen=True)
class Endpoint:
    """What a client must know of the deployment."""

    host: str
    wss_port: str
    oauth_port: str
    issuer: str

    def client_options(self, *, bridge: str | None, ca_file: Path | None) -> list[str]:
        """The words by which `python -m client` finds it, trusts it and knows what its bridge cannot do."""
        words = ["--host", self.host, "--wss-port", self.wss_port, "--oauth-port", self.oauth_port,
                 "--issuer", self.issuer]  # fmt: skip
        if ca_file is not None:
            words += ["--ca-file", str(ca_file)]
        if bridge == "websockify":
            words.append("--allow-missing-close")  # known limit of that bridge: it never answers a close frame
        return words

    def describe(self) -> list[str]:
        """Lines for people."""
        return [
            f"  wss    wss://{self.host}:{self.wss_port}/",
            f"  oauth  https://{self.host}:{self.oauth_port}   issuer {self.issuer}",
        ]


def find_endpoint(aws: Aws, names: ParameterNames, hints: Hints) -> Endpoint:
    """The endpoint from its parameters. Raises `NotStartedError` when some are missing: there is no deployment."""
    wanted = [names.proxy_host, names.proxy_wss_port, names.proxy_oauth_port, names.proxy_issuer]
    answer = aws.client("ssm").get_parameters(Names=wanted)
    found = {entry["Name"]: entry["Value"] for entry in answer["Parameters"]}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise NotStartedError(
            f"{STACK} is not deployed in {aws.region}: there is no parameter {', '.join(missing)}. "
            f"Deploy it: {hints.deploy}; or export the AWS_DEFAULT_REGION in which it is"
        )
    return Endpoint(*(found[name] for name in wanted))
