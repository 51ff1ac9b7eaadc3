"""Where a local deployment keeps its things, and what its kernel objects are called.

Everything is derived from the deployment's name, so that whatever a killed process left behind can be found by name
alone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from local.errors import UsageError

STATE_BASE = Path("/var/lib/secure-proxy")
CACHE_BASE = Path("/var/cache/secure-proxy")
REPOSITORY = Path(__file__).resolve().parent.parent

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


def covers(unit: str, name: str) -> bool:
    """Whether `name` is that of `unit`; one that ends in a hyphen, as `sp-0123abcd-`, stands for all that begin so.

    The unit `sp-0123abcd-proxy-1` must not be taken for `sp-0123abcd-proxy-10`.
    """
    return name.startswith(unit) if unit.endswith("-") else name == unit


@dataclass(frozen=True)
class Layout:
    """Paths and names of the deployment `name`. Two deployments share nothing but the cache.

    Raises `UsageError` for a name that could not be a directory and a host name label.
    """

    name: str = "default"
    state_base: Path = STATE_BASE
    cache_base: Path = CACHE_BASE

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"deployment name {self.name!r}: use a lower-case letter, then up to 30 of a-z, 0-9 and '-', "
                "such as 'default'"
            )

    @property
    def state(self) -> Path:
        return self.state_base / self.name

    @property
    def images(self) -> Path:
        """Published images; for root alone, because roots hold setuid programs."""
        return self.state / "images"

    @property
    def builds(self) -> Path:
        """Images in the making; nothing in it outlives the run that made it."""
        return self.state / "builds"

    @property
    def machines(self) -> Path:
        return self.state / "machines"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def progress(self) -> Path:
        """What the endpoint says of builds and machines, a line each, for whoever deploys."""
        return self.logs / "progress.log"

    @property
    def run(self) -> Path:
        """Process identities, sockets and generated configuration."""
        return self.state / "run"

    @property
    def namespaces(self) -> Path:
        """Files that network namespaces are mounted on."""
        return self.run / "netns"

    @property
    def record(self) -> Path:
        return self.state / "deployment.json"

    @property
    def bootstrapped(self) -> Path:
        """There since the endpoint that runs was bootstrapped."""
        return self.state / "bootstrapped"

    @property
    def deployed(self) -> Path:
        """There since the first deployment that succeeded."""
        return self.state / "deployed"

    @property
    def ca_file(self) -> Path:
        """The certificates that clients of this deployment trust; readable by everyone."""
        return self.state / "ca.pem"

    @property
    def lock(self) -> Path:
        """Held by the one command that changes the deployment; beside the state, which that command may remove."""
        return self.state_base / f".{self.name}.lock"

    @property
    def identity(self) -> str:
        """`sp-` and eight hexadecimal digits: the start of every kernel object's name, of one length for all names."""
        place = f"{self.state_base}/{self.name}"
        return "sp-" + hashlib.sha256(place.encode()).hexdigest()[:8]

    @property
    def bridge(self) -> str:
        return self.identity

    def unit(self, part: str) -> str:
        """The name of the machine, scope and control group for `part` of this deployment."""
        return f"{self.identity}-{part}"

    def interface(self, number: int) -> str:
        """The host's end of the cable to machine `number` (0 to 255): at most 15 characters, the kernel's limit."""
        return f"{self.identity}-{number:x}"

    @property
    def options(self) -> str:
        """What `deploy.sh` and the other commands must be told to mean this deployment."""
        return "--local" if self.name == "default" else f"--local --name {self.name}"

    @property
    def deploy_command(self) -> str:
        return f"bash deploy.sh {self.options}"

    @property
    def destroy_command(self) -> str:
        return f"bash destroy.sh {self.options}"

    def make_directories(self) -> None:
        """Create the state directories with their modes."""
        self.state.mkdir(parents=True, exist_ok=True, mode=0o755)
        for path in (self.logs, self.run, self.namespaces):
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
        for path in (self.images, self.builds, self.machines):
            path.mkdir(exist_ok=True, mode=0o700)
