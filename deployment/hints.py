"""The commands that messages name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hints:
    """How the user called us; `options` are what all three commands must carry, such as `--local`."""

    options: str = ""

    @property
    def deploy(self) -> str:
        """The command that deploys."""
        return self._command("deploy.sh")

    @property
    def verify(self) -> str:
        """The command that verifies the deployment."""
        return self._command("execute_e2e_tests.sh")

    @property
    def destroy(self) -> str:
        """The command that removes everything."""
        return self._command("destroy.sh")

    def follow(self, execution_arn: str) -> str:
        """The command that follows an execution."""
        return f"{self.deploy} --follow {execution_arn}"

    def _command(self, script: str) -> str:
        return f"bash {script} {self.options}".rstrip()
