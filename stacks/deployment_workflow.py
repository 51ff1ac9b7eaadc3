"""The state machine that builds both images, publishes them and rolls them out.

    BeginDeployment ▸ StartImageBuilds ▸ Wait ▸ CheckImageBuilds ─(building)─▸ Wait
      ▸ PublishImages ▸ LaunchMockServers ▸ LaunchSecureProxy ▸ Wait ▸ CheckHealth ─(not yet)─▸ Wait
      ▸ EndRollout ▸ Succeed
    any of these ─(error)─▸ RollBack ▸ NotifyFailure ▸ Fail

Each task is a function; the states pass their payload explicitly, so the functions need no configuration of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from stacks.encryption import Encryption
from stacks.functions import TIMEOUT, Functions
from stacks.image_parameters import ImageParameters
from stacks.log_groups import log_group
from stacks.names import STATE_MACHINE
from stacks.workflow_functions import Tier, WorkflowFunctions
from stacks.workflow_role import workflow_role

POLL_SECONDS = 15
_BUILDS_WITHIN_MINUTES = 150
_HEALTHY_WITHIN_MINUTES = 45
_EXECUTION_HOURS = 5

# A service that throttles, fails on its side or is out of reach; AWS Lambda itself; a function that took too long.
_TRANSIENT_ERRORS = [
    "TransientServiceError",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Sandbox.Timedout",
    "States.Timeout",
]
# What is under way and needs a little time: Parameter Store's validation, the end of an earlier rollout.
_PATIENCE_ERRORS = ["ImageNotVisibleError", "RolloutEndingError"]

_At = sfn.JsonPath.string_at


class DeploymentWorkflow(Construct):
    """The state machine with its functions and its role. `tiers` are launched in their order."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        tiers: Sequence[Tier],
        functions: Functions,
        image_parameters: ImageParameters,
        failures: sns.Topic,
        encryption: Encryption,
    ) -> None:
        super().__init__(scope, construct_id)
        self._tiers = tiers
        self._failures = failures
        self.functions = WorkflowFunctions(
            self, "Functions", functions=functions, tiers=tiers, image_parameters=image_parameters
        )
        self._log_group = log_group(
            self, "LogGroup", key=encryption.key, name=f"/aws/vendedlogs/states/{STATE_MACHINE}"
        )
        self._on_failure = self._failure_path()
        self.state_machine = sfn.StateMachine(
            self,
            "StateMachine",
            state_machine_name=STATE_MACHINE,
            comment="Builds both images, publishes them and rolls them out",
            definition_body=sfn.DefinitionBody.from_chainable(self._success_path()),
            query_language=sfn.QueryLanguage.JSON_PATH,
            timeout=cdk.Duration.hours(_EXECUTION_HOURS),
            role=workflow_role(
                self, functions=self.functions.all, failures=failures, encryption=encryption
            ).without_policy_updates(),
            logs=sfn.LogOptions(destination=self._log_group, level=sfn.LogLevel.ALL, include_execution_data=True),
            tracing_enabled=True,
        )
        resource = self.state_machine.node.default_child
        assert isinstance(resource, sfn.CfnStateMachine)  # noqa: S101 - what the CDK makes of a state machine
        # The role with all its policies is named in the properties, which is dependency enough.
        resource.add_deletion_override("DependsOn")

    def _success_path(self) -> sfn.IChainable:
        new_deployment = sfn.Pass(
            self,
            "NewDeployment",
            comment="What a failure path may ask for is there from the beginning",
            result=sfn.Result.from_object(
                {
                    "before": {"groups": {}, "images": {}},
                    "published": {},
                    "launches": {},
                    "health": {"healthy": False, "checks": 0, "waitingFor": ""},
                }
            ),
            result_path="$",
        )
        end = self._end_rollout().next(sfn.Succeed(self, "Succeed"))
        health = self._poll("Health", self._check_health(), done="$.health.healthy", then=end)
        rollout = sfn.Chain.start(self._publish_images())
        for tier in self._tiers:
            rollout = rollout.next(self._launch(tier))
        rollout.next(health)
        builds = self._poll("ImageBuilds", self._check_image_builds(), done="$.images.finished", then=rollout)
        return new_deployment.next(self._begin_deployment()).next(self._start_image_builds()).next(builds)

    def _begin_deployment(self) -> sfn.TaskStateBase:
        return self._task(
            "BeginDeployment",
            self.functions.begin_deployment,
            {
                "stateMachineArn": _At("$$.StateMachine.Id"),
                "executionArn": _At("$$.Execution.Id"),
                "startedAt": _At("$$.Execution.StartTime"),
                "groupNames": {tier.key: tier.machines.name for tier in self._tiers},
                "imageParameters": [tier.image_parameter for tier in self._tiers],
            },
            result_path="$.before",
        )

    def _start_image_builds(self) -> sfn.TaskStateBase:
        return self._task(
            "StartImageBuilds",
            self.functions.start_image_builds,
            {
                "executionArn": _At("$$.Execution.Id"),
                "pipelines": {
                    tier.key: {"pipelineArn": tier.pipeline.arn, "imageParameter": tier.image_parameter}
                    for tier in self._tiers
                },
            },
            result_path="$.images",
        )

    def _check_image_builds(self) -> sfn.TaskStateBase:
        return self._task(
            "CheckImageBuilds",
            self.functions.check_image_builds,
            {"images": _object_at("$.images"), **_bound(_BUILDS_WITHIN_MINUTES)},
            result_path="$.images",
        )

    def _publish_images(self) -> sfn.TaskStateBase:
        return self._task(
            "PublishImages",
            self.functions.publish_images,
            {"images": _object_at("$.images")},
            result_path="$.published",
        )

    def _launch(self, tier: Tier) -> sfn.TaskStateBase:
        return self._task(
            f"Launch{tier.name}",
            self.functions.launch[tier.name],
            {
                "before": _object_at(f"$.before.groups.{tier.key}"),
                "capacity": tier.capacity,
                "maxCapacity": tier.max_capacity,
                "retries": sfn.JsonPath.number_at("$$.State.RetryCount"),
            },
            result_path=f"$.launches.{tier.key}",
        )

    def _check_health(self) -> sfn.TaskStateBase:
        return self._task(
            "CheckHealth",
            self.functions.check_health,
            {
                "fleets": {
                    tier.key: {
                        "groupName": tier.machines.name,
                        "targetGroupArns": [
                            group.target_group_arn for group in tier.load_balancer.target_groups.values()
                        ],
                    }
                    for tier in self._tiers
                },
                "launches": _object_at("$.launches"),
                "health": _object_at("$.health"),
                **_bound(_HEALTHY_WITHIN_MINUTES),
            },
            result_path="$.health",
        )

    def _end_rollout(self) -> sfn.TaskStateBase:
        return self._task(
            "EndRollout",
            self.functions.end_rollout,
            {"healthCheckTypes": {tier.machines.name: tier.machines.health_check_type for tier in self._tiers}},
            result_path=sfn.JsonPath.DISCARD,
        )

    def _failure_path(self) -> sfn.IChainable:
        """RollBack tells what happened; if even that fails, the notification says so and leaves the rest to people."""
        roll_back = self._function_state(
            "RollBack",
            self.functions.roll_back,
            {
                "executionArn": _At("$$.Execution.Id"),
                "startedAt": _At("$$.Execution.StartTime"),
                "enteredAt": _At("$$.State.EnteredTime"),
                "pipelineArns": [tier.pipeline.arn for tier in self._tiers],
                "healthCheckTypes": {tier.key: tier.machines.health_check_type for tier in self._tiers},
                "before": _object_at("$.before"),
                "published": _object_at("$.published"),
                "failure": _object_at("$.failure"),
            },
            result_path="$.report",
        )
        # A state that timed out has an error, but no cause: only the object as a whole is sure to be there.
        failure = sfn.JsonPath.json_to_string(_object_at("$.failure"))
        incomplete = self._notify(
            "NotifyIncompleteRollBack",
            sfn.JsonPath.format(
                "{}\nExecution: {}\nThe roll-back failed too: {}\nLook at both groups, then run the deployment again.",
                failure,
                _At("$$.Execution.Id"),
                sfn.JsonPath.json_to_string(_object_at("$.rollBackFailure")),
            ),
            sfn.Fail(self, "FailedAndNotRolledBack", error="NotRolledBack", cause_path=failure),
        )
        roll_back.add_catch(incomplete, errors=["States.ALL"], result_path="$.rollBackFailure")
        failed = sfn.Fail(self, "Failed", error_path="$.report.error", cause_path="$.report.text")
        return roll_back.next(self._notify("NotifyFailure", _At("$.report.text"), failed))

    def _notify(self, name: str, message: str, then: sfn.Fail) -> sfn.TaskStateBase:
        notify = tasks.SnsPublish(
            self,
            name,
            topic=self._failures,
            subject="Secure Proxy: deployment failed",
            message=sfn.TaskInput.from_text(message),
            result_path=sfn.JsonPath.DISCARD,
        )
        notify.add_retry(
            errors=["States.TaskFailed"],
            interval=cdk.Duration.seconds(2),
            max_attempts=4,
            backoff_rate=2,
            jitter_strategy=sfn.JitterType.FULL,
        )
        notify.add_catch(then, errors=["States.ALL"], result_path=sfn.JsonPath.DISCARD)
        notify.next(then)
        return notify

    def _task(
        self, name: str, function: lambda_.Function, payload: Mapping[str, Any], *, result_path: str
    ) -> tasks.LambdaInvoke:
        """A task of the deployment: its errors lead to the failure path."""
        state = self._function_state(name, function, payload, result_path=result_path)
        state.add_catch(self._on_failure, errors=["States.ALL"], result_path="$.failure")
        return state

    def _function_state(
        self, name: str, function: lambda_.Function, payload: Mapping[str, Any], *, result_path: str
    ) -> tasks.LambdaInvoke:
        state = tasks.LambdaInvoke(
            self,
            name,
            lambda_function=function,
            payload=sfn.TaskInput.from_object(dict(payload)),
            payload_response_only=True,
            retry_on_service_exceptions=False,
            task_timeout=sfn.Timeout.duration(TIMEOUT.plus(cdk.Duration.seconds(10))),
            result_path=result_path,
        )
        state.add_retry(
            errors=_TRANSIENT_ERRORS,
            interval=cdk.Duration.seconds(2),
            max_attempts=6,
            backoff_rate=2,
            max_delay=cdk.Duration.seconds(60),
            jitter_strategy=sfn.JitterType.FULL,
        )
        state.add_retry(
            errors=_PATIENCE_ERRORS,
            interval=cdk.Duration.seconds(5),
            max_attempts=8,
            backoff_rate=1.5,
            max_delay=cdk.Duration.seconds(30),
            # Without jitter, which may be next to no pause at all: what is waited for takes its time.
        )
        return state

    def _poll(self, subject: str, check: sfn.TaskStateBase, *, done: str, then: sfn.IChainable) -> sfn.IChainable:
        """Wait, look, and again until `done`; how often is for the function to count, which can say what is missing."""
        wait = sfn.Wait(self, f"WaitFor{subject}", time=sfn.WaitTime.duration(cdk.Duration.seconds(POLL_SECONDS)))
        choice = sfn.Choice(self, f"{subject}Done?")
        choice.when(sfn.Condition.boolean_equals(done, True), then).otherwise(wait)
        wait.next(check).next(choice)
        return wait


def _bound(minutes: int) -> dict[str, int]:
    """What tells a polling task when to give up."""
    return {"maxChecks": minutes * 60 // POLL_SECONDS, "pollSeconds": POLL_SECONDS}


def _object_at(path: str) -> Any:
    return sfn.JsonPath.object_at(path)
