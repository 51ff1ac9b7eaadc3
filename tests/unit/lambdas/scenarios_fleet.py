"""Scenarios of the handlers that launch instances, watch their health and undo a failed deployment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from lambdas import check_health, end_rollout, launch_fleet, roll_back, start_image_builds
from tests.unit.lambdas.arns import (
    EXECUTION,
    IMAGE_PARAMETERS,
    MOCK_GROUP,
    PIPELINES,
    PROXY_GROUP,
    STARTED_AT,
    build_arn,
    group,
    summary,
    target_group,
)
from tests.unit.lambdas.scenario import Call, Scenario
from tests.unit.lambdas.scenarios_images import BEFORE, PUBLISHED, get_images, listed, put_image, refreshes

WSS, OAUTH, ECHO = target_group("wss"), target_group("oauth"), target_group("echo")
TARGET_GROUPS = {PROXY_GROUP: (WSS, OAUTH), MOCK_GROUP: (ECHO,)}


def launch_event(desired_capacity: int, *, min_size: int = 0, retries: int = 0) -> dict[str, Any]:
    return {
        "before": {
            "groupName": PROXY_GROUP,
            "minSize": min_size,
            "maxSize": 5,
            "desiredCapacity": desired_capacity,
        },
        "capacity": 2,
        "maxCapacity": 4,
        "retries": retries,
    }


def update(group_name: str, **changes: Any) -> Call:
    return Call("autoscaling", "update_auto_scaling_group", {"AutoScalingGroupName": group_name, **changes})


def resize(**changes: Any) -> Call:
    return update(PROXY_GROUP, MinSize=2, MaxSize=4, **changes)


def refresh(group_name: str = PROXY_GROUP, **outcome: Any) -> Call:
    return Call(
        "autoscaling",
        "start_instance_refresh",
        {
            "AutoScalingGroupName": group_name,
            "Strategy": "Rolling",
            "Preferences": {
                "MinHealthyPercentage": 100,
                "MaxHealthyPercentage": 200,
                "SkipMatching": False,
                "ScaleInProtectedInstances": "Refresh",
                "StandbyInstances": "Terminate",
            },
        },
        **outcome,
    )


LAUNCH = [
    Scenario(
        "launch_fleet_fills_an_empty_group",
        launch_fleet.handler,
        launch_event(0),
        [resize(DesiredCapacity=2)],
        {"groupName": PROXY_GROUP, "replacing": False},
    ),
    Scenario(
        "launch_fleet_replaces_instances_with_new_ones_first_that_load_balancers_find_healthy",
        launch_fleet.handler,
        launch_event(3),
        [resize(HealthCheckType="ELB"), refresh(answer={"InstanceRefreshId": "r-1"})],
        {"groupName": PROXY_GROUP, "replacing": True},
    ),
    Scenario(
        "launch_fleet_shrinks_a_group_that_was_as_small_as_it_had_to_be",
        launch_fleet.handler,
        launch_event(3, min_size=3),
        [resize(HealthCheckType="ELB", DesiredCapacity=2), refresh(answer={"InstanceRefreshId": "r-1"})],
        {"groupName": PROXY_GROUP, "replacing": True},
    ),
    Scenario(
        "launch_fleet_finds_the_replacement_of_its_first_attempt",
        launch_fleet.handler,
        launch_event(3, retries=1),
        [resize(HealthCheckType="ELB"), refresh(error="InstanceRefreshInProgress")],
        {"groupName": PROXY_GROUP, "replacing": True},
    ),
    Scenario(
        "launch_fleet_refuses_when_somebody_else_began_a_replacement",
        launch_fleet.handler,
        launch_event(3),
        [resize(HealthCheckType="ELB"), refresh(error="InstanceRefreshInProgress")],
        error="RolloutInProgressError",
        message=PROXY_GROUP,
    ),
    Scenario(
        "launch_fleet_lets_other_errors_of_the_replacement_pass",
        launch_fleet.handler,
        launch_event(3),
        [resize(HealthCheckType="ELB"), refresh(error="ValidationError")],
        error="ClientError",
        message="ValidationError",
    ),
    Scenario(
        "launch_fleet_asks_for_a_later_attempt_while_the_group_is_scaling",
        launch_fleet.handler,
        launch_event(0),
        [
            Call(
                "autoscaling",
                "update_auto_scaling_group",
                {"AutoScalingGroupName": PROXY_GROUP, "MinSize": 2, "MaxSize": 4, "DesiredCapacity": 2},
                error="ScalingActivityInProgress",
            )
        ],
        error="TransientServiceError",
        message="ScalingActivityInProgress",
    ),
]


def health_event(*, replacing: bool = False, checks: int = 0) -> dict[str, Any]:
    return {
        "fleets": {
            "secureProxy": {"groupName": PROXY_GROUP, "targetGroupArns": [WSS, OAUTH]},
            "mockServers": {"groupName": MOCK_GROUP, "targetGroupArns": [ECHO]},
        },
        "launches": {
            "secureProxy": {"groupName": PROXY_GROUP, "replacing": replacing},
            "mockServers": {"groupName": MOCK_GROUP, "replacing": False},
        },
        "health": {"healthy": False, "checks": checks, "waitingFor": ""},
        "maxChecks": 5,
        "pollSeconds": 24,
    }


def described(name: str, desired: int, *lifecycle: str, attached: Sequence[str] | None = None) -> Call:
    """The group with its instances i-0, i-1, …: as many as are wanted and in service, unless said otherwise."""
    states = {f"i-{index}": state for index, state in enumerate(lifecycle or ["InService"] * desired)}
    belonging = TARGET_GROUPS[name] if attached is None else attached
    return Call(
        "autoscaling",
        "describe_auto_scaling_groups",
        {"AutoScalingGroupNames": [name]},
        {"AutoScalingGroups": [group(name, desired, desired, *belonging, states=states)]},
    )


def targets(arn: str, *states: str, description: str = "") -> Call:
    """The targets i-0, i-1, …"""
    return Call(
        "elbv2",
        "describe_target_health",
        {"TargetGroupArn": arn},
        {
            "TargetHealthDescriptions": [
                {
                    "Target": {"Id": f"i-{index}", "Port": 10000},
                    "TargetHealth": {"State": state, **({"Description": description} if description else {})},
                }
                for index, state in enumerate(states)
            ]
        },
    )


HEALTHY_MOCKS = (described(MOCK_GROUP, 1), targets(ECHO, "healthy"))
HEALTHY_PROXIES = (described(PROXY_GROUP, 2), targets(WSS, "healthy", "healthy"), targets(OAUTH, "healthy", "healthy"))


def latest_refresh(status: str, group_name: str = PROXY_GROUP, **details: Any) -> Call:
    found = refreshes(group_name, status)
    return Call(
        found.service, found.operation, found.parameters, {"InstanceRefreshes": [{"Status": status, **details}]}
    )


def activities(name: str, *entries: dict[str, Any]) -> Call:
    return Call(
        "autoscaling",
        "describe_scaling_activities",
        {"AutoScalingGroupName": name, "MaxRecords": 10},
        {"Activities": list(entries)},
    )


def activity(status: str, **details: str) -> dict[str, Any]:
    return {
        "ActivityId": "a",
        "AutoScalingGroupName": PROXY_GROUP,
        "Cause": "c",
        "StartTime": "2026-01-01T10:30:00Z",
        "StatusCode": status,
        **details,
    }


HEALTH = [
    Scenario(
        "check_health_is_healthy_when_every_instance_is_a_healthy_target",
        check_health.handler,
        health_event(),
        [*HEALTHY_PROXIES, *HEALTHY_MOCKS],
        {"healthy": True, "checks": 1, "waitingFor": ""},
    ),
    Scenario(
        "check_health_ignores_old_instances_on_their_way_out",
        check_health.handler,
        health_event(replacing=True),
        [
            latest_refresh("Successful"),
            described(PROXY_GROUP, 2, "Terminating", "InService", "InService", "Terminating:Wait"),
            targets(WSS, "draining", "healthy", "healthy", "unhealthy"),
            targets(OAUTH, "unhealthy", "healthy", "healthy"),
            *HEALTHY_MOCKS,
        ],
        {"healthy": True, "checks": 1, "waitingFor": ""},
    ),
    Scenario(
        "check_health_waits_for_targets_that_are_not_registered_yet",
        check_health.handler,
        health_event(checks=1),
        [*HEALTHY_PROXIES, described(MOCK_GROUP, 1), targets(ECHO)],
        {"healthy": False, "checks": 2, "waitingFor": "echo has 0 healthy targets of 1: i-0 not registered"},
    ),
    Scenario(
        "check_health_waits_for_instances_that_are_not_in_service_yet",
        check_health.handler,
        health_event(),
        [*HEALTHY_PROXIES, described(MOCK_GROUP, 1, "Pending"), targets(ECHO, "healthy")],
        {"healthy": False, "checks": 1, "waitingFor": "echo has 0 healthy targets of 1"},
    ),
    Scenario(
        "check_health_ignores_targets_that_people_have_registered_beside_the_group",
        check_health.handler,
        health_event(),
        [*HEALTHY_PROXIES, described(MOCK_GROUP, 1), targets(ECHO, "healthy", "unhealthy", "initial")],
        {"healthy": True, "checks": 1, "waitingFor": ""},
    ),
    Scenario(
        "check_health_is_content_with_one_healthy_target_where_the_group_is_not_attached",
        check_health.handler,
        health_event(),
        [*HEALTHY_PROXIES, described(MOCK_GROUP, 1, attached=[]), targets(ECHO, "unhealthy", "healthy", "unused")],
        {"healthy": True, "checks": 1, "waitingFor": ""},
    ),
    Scenario(
        "check_health_waits_for_a_healthy_target_where_the_group_is_not_attached",
        check_health.handler,
        health_event(),
        [*HEALTHY_PROXIES, described(MOCK_GROUP, 1, attached=[]), targets(ECHO, "unhealthy")],
        {"healthy": False, "checks": 1, "waitingFor": "echo has no healthy target"},
    ),
    Scenario(
        "check_health_waits_for_unhealthy_targets_and_says_why",
        check_health.handler,
        health_event(),
        [
            described(PROXY_GROUP, 2),
            targets(WSS, "healthy", "healthy"),
            targets(OAUTH, "healthy", "unhealthy", description="Health checks failed"),
            *HEALTHY_MOCKS,
        ],
        {
            "healthy": False,
            "checks": 1,
            "waitingFor": "oauth has 1 healthy targets of 2: i-1 unhealthy (Health checks failed)",
        },
    ),
    Scenario(
        "check_health_waits_for_the_replacement_although_old_targets_are_healthy",
        check_health.handler,
        health_event(replacing=True),
        [latest_refresh("InProgress", PercentageComplete=50), *HEALTHY_PROXIES, *HEALTHY_MOCKS],
        {"healthy": False, "checks": 1, "waitingFor": f"{PROXY_GROUP} has replaced 50 % of its instances"},
    ),
    Scenario(
        "check_health_does_not_take_an_empty_group_for_healthy",
        check_health.handler,
        health_event(),
        [*HEALTHY_PROXIES, described(MOCK_GROUP, 0), targets(ECHO)],
        {"healthy": False, "checks": 1, "waitingFor": "echo has 0 healthy targets of 0"},
    ),
    Scenario(
        "check_health_fails_when_the_replacement_failed",
        check_health.handler,
        health_event(replacing=True),
        [latest_refresh("Failed", StatusReason="launch template is broken")],
        error="RolloutFailedError",
        message=f"{PROXY_GROUP} ended as Failed: launch template is broken",
    ),
    Scenario(
        "check_health_gives_up_at_the_last_look_with_what_it_awaits_and_why",
        check_health.handler,
        health_event(checks=4),
        [
            described(PROXY_GROUP, 2),
            targets(WSS),
            targets(OAUTH),
            *HEALTHY_MOCKS,
            activities(
                PROXY_GROUP,
                activity("InProgress", Description="Launching"),
                activity("Failed", Description="Launching a new EC2 instance", StatusMessage="no capacity in zone a"),
            ),
            activities(MOCK_GROUP),
        ],
        error="TargetsUnhealthyError",
        message="i-1 not registered; Launching a new EC2 instance: no capacity in zone a. The logs of the machines",
    ),
    Scenario(
        "check_health_names_a_group_that_does_not_exist",
        check_health.handler,
        health_event(),
        [
            Call(
                "autoscaling",
                "describe_auto_scaling_groups",
                {"AutoScalingGroupNames": [PROXY_GROUP]},
                {"AutoScalingGroups": []},
            )
        ],
        error="FleetNotFoundError",
        message=PROXY_GROUP,
    ),
]

END = [
    Scenario(
        "end_rollout_has_instances_judged_as_between_deployments",
        end_rollout.handler,
        {"healthCheckTypes": {PROXY_GROUP: "EC2", MOCK_GROUP: "ELB"}},
        [update(PROXY_GROUP, HealthCheckType="EC2"), update(MOCK_GROUP, HealthCheckType="ELB")],
        None,
    )
]

CAUSE = json.dumps({"errorMessage": "image secureProxy is FAILED", "errorType": "X", "stackTrace": ["secret path"]})


def roll_back_event(*, began: bool = True, published: bool = False, cause: str = CAUSE) -> dict[str, Any]:
    return {
        "executionArn": EXECUTION,
        "startedAt": STARTED_AT,
        "enteredAt": "2026-01-01T10:30:00.000Z",
        "healthCheckTypes": {"secureProxy": "EC2", "mockServers": "ELB"},
        "pipelineArns": list(PIPELINES.values()),
        "before": BEFORE if began else {"groups": {}, "images": {}},
        "published": PUBLISHED if published else {},
        "failure": {"Error": "ImageBuildFailedError", **({"Cause": cause} if cause else {})},
    }


def cancel(name: str, build: str = "1", **outcome: Any) -> Call:
    token = start_image_builds.idempotency_token(EXECUTION, build_arn(name, build))
    parameters = {"imageBuildVersionArn": build_arn(name, build), "clientToken": token}
    return Call("imagebuilder", "cancel_image_creation", parameters, **outcome)


def cancel_refresh(group_name: str, **outcome: Any) -> Call:
    return Call("autoscaling", "cancel_instance_refresh", {"AutoScalingGroupName": group_name}, **outcome)


def report(undone: str, message: str = "image secureProxy is FAILED") -> dict[str, str]:
    text = f"ImageBuildFailedError: {message}\nExecution: {EXECUTION}\n{undone}"
    return {"error": "ImageBuildFailedError", "text": text}


def undone(*done: str, serving: str = "") -> str:
    return f"Undone: {'; '.join(done)}. Remove the cause, then run the deployment again.{serving}"


UNCHANGED_IMAGES = get_images(mockServers="ami-0a0a", secureProxy="ami-0b0b")
RETURNED = (
    f"returned {PROXY_GROUP} to 3 instances",
    f"returned {MOCK_GROUP} to 0 instances",
    *(f"restored {name}" for name in sorted(IMAGE_PARAMETERS.values())),
)
RETURN_GROUPS = (
    update(PROXY_GROUP, MinSize=2, MaxSize=4, DesiredCapacity=3, HealthCheckType="EC2"),
    update(MOCK_GROUP, MinSize=0, MaxSize=4, DesiredCapacity=0, HealthCheckType="ELB"),
)
EARLIER, OURS, LATER = (datetime.fromisoformat(f"2026-01-01T{at}:00Z") for at in ("09:00", "10:20", "10:30"))
BEGAN_AGAIN = (
    f"began to replace the instances of {PROXY_GROUP}, some of which run the withdrawn image; until that has ended, no "
    f"deployment can begin (aws autoscaling describe-instance-refreshes --auto-scaling-group-name {PROXY_GROUP})"
)

GIVES_UP = next(scenario for scenario in HEALTH if scenario.name.startswith("check_health_gives_up"))
HEALTH.append(
    replace(GIVES_UP, name="check_health_says_how_long_it_has_waited", message="still not healthy after 2 minutes: ")
)

# What the report after a publication says at its end, and how it is found out.
IN_SERVICE = Call("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroupNames": [PROXY_GROUP, MOCK_GROUP]}, {
    "AutoScalingGroups": [{
        "AutoScalingGroupName": PROXY_GROUP, "MinSize": 2, "MaxSize": 4, "DesiredCapacity": 3, "DefaultCooldown": 300,
        "AvailabilityZones": ["eu-central-1a"], "HealthCheckType": "EC2", "CreatedTime": EARLIER, "Instances": [
            {"InstanceId": f"i-{number}", "AvailabilityZone": "eu-central-1a", "LifecycleState": state,
             "HealthStatus": "Healthy", "ProtectedFromScaleIn": False}
            for number, state in enumerate(("InService", "InService", "Terminating"))
        ],
    }]
})  # fmt: skip
SERVING = f"\nIn service now: 2 in {PROXY_GROUP}, 0 in {MOCK_GROUP}"

ROLL_BACK = [
    Scenario(
        "roll_back_cancels_the_unfinished_builds_of_this_deployment_alone",
        roll_back.handler,
        roll_back_event(),
        [
            UNCHANGED_IMAGES,
            listed(
                "secureProxy",
                summary("secureProxy", "FAILED"),
                summary("secureProxy", "BUILDING", build="2", build_type="SCHEDULED"),
                summary("secureProxy", "BUILDING", build="3", created="2026-01-01T09:59:59.999Z"),
            ),
            listed("mockServers", summary("mockServers", "TESTING")),
            cancel("mockServers"),
        ],
        report(undone(f"cancelled {build_arn('mockServers')}")),
    ),
    Scenario(
        "roll_back_goes_on_when_a_build_has_ended_by_itself",
        roll_back.handler,
        roll_back_event(),
        [
            UNCHANGED_IMAGES,
            listed("secureProxy"),
            listed("mockServers", summary("mockServers", "TESTING")),
            cancel("mockServers", error="InvalidRequestException"),
        ],
        report(
            undone(
                f"could not cancel {build_arn('mockServers')}: An error occurred (InvalidRequestException) when calling"
                " the CancelImageCreation operation: InvalidRequestException of cancel_image_creation"
            )
        ),
    ),
    Scenario(
        "roll_back_asks_for_a_later_attempt_when_throttled",
        roll_back.handler,
        roll_back_event(),
        [
            UNCHANGED_IMAGES,
            listed("secureProxy"),
            listed("mockServers", summary("mockServers", "TESTING")),
            cancel("mockServers", error="CallRateLimitExceededException", status=429),
        ],
        error="TransientServiceError",
    ),
    Scenario(
        "roll_back_of_a_half_made_publication_restores_the_images",
        roll_back.handler,
        roll_back_event(),
        [
            get_images(mockServers="ami-0c0c", secureProxy="ami-0b0b"),
            put_image("mockServers", "ami-0a0a"),
            get_images(mockServers="ami-0a0a"),
            listed("secureProxy"),
            listed("mockServers"),
        ],
        report(undone(f"restored {IMAGE_PARAMETERS['mockServers']}")),
    ),
    Scenario(
        "roll_back_after_publication_restores_groups_and_images",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("InProgress", StartTime=OURS, PercentageComplete=0),
            cancel_refresh(PROXY_GROUP),
            *RETURN_GROUPS,
            get_images(mockServers="ami-0c0c", secureProxy="ami-0d0d"),
            put_image("mockServers", "ami-0a0a"),
            put_image("secureProxy", "ami-0b0b"),
            UNCHANGED_IMAGES,
            latest_refresh("Cancelled", StartTime=OURS, PercentageComplete=0),
            IN_SERVICE,
        ],
        report(undone(*RETURNED, serving=SERVING)),
    ),
    Scenario(
        "roll_back_replaces_machines_of_the_withdrawn_image_once_the_former_one_is_published",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("Failed", StartTime=OURS, PercentageComplete=33),
            *RETURN_GROUPS,
            UNCHANGED_IMAGES,
            latest_refresh("Failed", StartTime=OURS, PercentageComplete=33),
            refresh(answer={"InstanceRefreshId": "r-2"}),
            IN_SERVICE,
        ],
        report(undone(*RETURNED, BEGAN_AGAIN, serving=SERVING)),
    ),
    Scenario(
        "roll_back_waits_until_the_replacement_that_it_cancels_has_ended",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("InProgress", StartTime=OURS, PercentageComplete=33),
            cancel_refresh(PROXY_GROUP),
            *RETURN_GROUPS,
            UNCHANGED_IMAGES,
            latest_refresh("Cancelling", StartTime=OURS, PercentageComplete=33),
            refresh(error="InstanceRefreshInProgress"),
        ],
        error="RolloutEndingError",
        message=PROXY_GROUP,
    ),
    Scenario(
        "roll_back_leaves_the_replacement_that_its_earlier_attempt_has_begun",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("InProgress", StartTime=LATER, PercentageComplete=50),
            *RETURN_GROUPS,
            UNCHANGED_IMAGES,
            latest_refresh("InProgress", StartTime=LATER, PercentageComplete=50),
            IN_SERVICE,
        ],
        report(undone(*RETURNED, BEGAN_AGAIN, serving=SERVING)),
    ),
    Scenario(
        "roll_back_leaves_a_replacement_of_earlier_days_alone",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("Successful", StartTime=EARLIER, PercentageComplete=100),
            *RETURN_GROUPS,
            UNCHANGED_IMAGES,
            latest_refresh("Successful", StartTime=EARLIER, PercentageComplete=100),
            IN_SERVICE,
        ],
        report(undone(*RETURNED, serving=SERVING)),
    ),
    Scenario(
        "roll_back_goes_on_when_the_replacement_has_just_ended",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("InProgress", StartTime=OURS),
            cancel_refresh(PROXY_GROUP, error="ActiveInstanceRefreshNotFound"),
            *RETURN_GROUPS,
            UNCHANGED_IMAGES,
            refreshes(PROXY_GROUP),
            IN_SERVICE,
        ],
        report(undone(*RETURNED, serving=SERVING)),
    ),
    Scenario(
        "roll_back_does_the_rest_before_it_lets_an_error_pass",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("InProgress"),
            cancel_refresh(PROXY_GROUP, error="AccessDenied", status=403),
            RETURN_GROUPS[1],
            UNCHANGED_IMAGES,
        ],
        error="ClientError",
        message="AccessDenied",
    ),
    Scenario(
        "roll_back_asks_for_a_later_attempt_before_it_lets_a_lasting_error_pass",
        roll_back.handler,
        roll_back_event(published=True),
        [
            latest_refresh("InProgress"),
            cancel_refresh(PROXY_GROUP, error="AccessDenied", status=403),
            RETURN_GROUPS[1],
            get_images(mockServers="ami-0c0c", secureProxy="ami-0b0b"),
            put_image("mockServers", "ami-0a0a"),
            get_images(mockServers="ami-0c0c"),
        ],
        error="ImageNotVisibleError",
    ),
    Scenario(
        "roll_back_touches_nothing_when_the_deployment_never_began",
        roll_back.handler,
        roll_back_event(began=False),
        [],
        report("Nothing was begun, so nothing was undone."),
    ),
    Scenario(
        "roll_back_reports_an_error_without_cause",
        roll_back.handler,
        roll_back_event(began=False, cause=""),
        [],
        report("Nothing was begun, so nothing was undone.", message="no cause was given"),
    ),
    Scenario(
        "roll_back_reports_a_cause_that_is_not_json_as_it_is",
        roll_back.handler,
        roll_back_event(began=False, cause="the task timed out"),
        [],
        report("Nothing was begun, so nothing was undone.", message="the task timed out"),
    ),
]

SCENARIOS = [*LAUNCH, *HEALTH, *END, *ROLL_BACK]
