"""The commands that messages name."""

from __future__ import annotations

from dataclasses import dataclass

from stacks.names import STACK


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

    @property
    def on_aws(self) -> bool:
        """Whether the AWS CLI leads to the deployment: with `--local`, it would lead to an account of the user's."""
        return "--local" not in self.options.split()

    def follow(self, execution_arn: str) -> str:
        """The command that follows an execution. With `--local` it also deploys, once that has ended."""
        return f"{self.deploy} --follow {execution_arn}" if self.on_aws else self.deploy

    def stop(self, execution_arn: str, region: str) -> str:
        """The command that stops an execution."""
        return self._aws(f"stepfunctions stop-execution --execution-arn {execution_arn}", region) or self.destroy

    def stack_events(self, region: str) -> str:
        """The command that shows what happens to the stack."""
        if self.on_aws:
            return f"aws cloudformation describe-stack-events --stack-name {STACK} --region {region} --max-items 20"
        place = self.options.replace("--local", "").strip()
        return f".venv/bin/python -m local logs endpoint {place}".rstrip()

    def cancel_update(self, region: str) -> str:
        """The command that stops an update of the stack."""
        return self._aws(f"cloudformation cancel-update-stack --stack-name {STACK}", region) or self.destroy

    def continue_rollback(self, region: str) -> str:
        """The command after which a stack whose update could not be undone can be deployed again."""
        return self._aws(f"cloudformation continue-update-rollback --stack-name {STACK}", region) or self.destroy

    def bootstrap(self, account: str, region: str) -> str:
        """The command that prepares the account for the CDK."""
        if self.on_aws:
            return f"source .venv/bin/activate && cdk bootstrap aws://{account}/{region}"
        return f"{self.destroy} && {self.deploy}"

    def _aws(self, words: str, region: str) -> str:
        """A command of the AWS CLI; empty where it would lead elsewhere."""
        return f"aws {words} --region {region}" if self.on_aws else ""

    def _command(self, script: str) -> str:
        return f"bash {script} {self.options}".rstrip()
