"""Scenarios of the handlers that build and publish images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lambdas import begin_deployment, check_image_builds, publish_images, start_image_builds
from tests.unit.lambdas.arns import (
    EXECUTION,
    IMAGE_PARAMETERS,
    MOCK_GROUP,
    PIPELINES,
    PROXY_GROUP,
    STARTED_AT,
    STATE_MACHINE,
    ami_parameter,
    build_arn,
    execution,
    group,
    summary,
)
from tests.unit.lambdas.scenario import Call, Scenario

BEGIN_EVENT = {
    "stateMachineArn": STATE_MACHINE,
    "executionArn": EXECUTION,
    "startedAt": STARTED_AT,
    "groupNames": {"secureProxy": PROXY_GROUP, "mockServers": MOCK_GROUP},
    "imageParameters": sorted(IMAGE_PARAMETERS.values()),
}
BEFORE = {
    "groups": {
        "secureProxy": {"groupName": PROXY_GROUP, "minSize": 2, "maxSize": 4, "desiredCapacity": 3},
        "mockServers": {"groupName": MOCK_GROUP, "minSize": 0, "maxSize": 4, "desiredCapacity": 0},
    },
    "images": {IMAGE_PARAMETERS["mockServers"]: "ami-0a0a", IMAGE_PARAMETERS["secureProxy"]: "ami-0b0b"},
}


def running(*executions: Mapping[str, Any]) -> Call:
    return Call(
        "stepfunctions",
        "list_executions",
        {"stateMachineArn": STATE_MACHINE, "statusFilter": "RUNNING"},
        {"executions": list(executions)},
    )


def refreshes(group_name: str, *statuses: str) -> Call:
    return Call(
        "autoscaling",
        "describe_instance_refreshes",
        {"AutoScalingGroupName": group_name, "MaxRecords": 1},
        {"InstanceRefreshes": [{"Status": status} for status in statuses]},
    )


DESCRIBE_GROUPS = Call(
    "autoscaling",
    "describe_auto_scaling_groups",
    {"AutoScalingGroupNames": sorted([MOCK_GROUP, PROXY_GROUP])},
    {"AutoScalingGroups": [group(MOCK_GROUP, 0, 0), group(PROXY_GROUP, 2, 3)]},
)
GET_IMAGES = Call(
    "ssm",
    "get_parameters",
    {"Names": sorted(IMAGE_PARAMETERS.values())},
    {
        "Parameters": [
            ami_parameter(IMAGE_PARAMETERS["mockServers"], "ami-0a0a"),
            ami_parameter(IMAGE_PARAMETERS["secureProxy"], "ami-0b0b"),
        ]
    },
)
NO_REFRESHES = (refreshes(PROXY_GROUP), refreshes(MOCK_GROUP, "Successful"))

BEGIN = [
    Scenario(
        "begin_deployment_notes_groups_and_images",
        begin_deployment.handler,
        BEGIN_EVENT,
        [running(execution("this", STARTED_AT)), *NO_REFRESHES, DESCRIBE_GROUPS, GET_IMAGES],
        BEFORE,
    ),
    Scenario(
        "begin_deployment_goes_on_when_only_a_later_execution_runs",
        begin_deployment.handler,
        BEGIN_EVENT,
        [
            running(execution("later", "2026-01-01T10:00:05+00:00"), execution("this", STARTED_AT)),
            *NO_REFRESHES,
            DESCRIBE_GROUPS,
            GET_IMAGES,
        ],
        BEFORE,
    ),
    Scenario(
        "begin_deployment_goes_on_when_the_list_does_not_show_it_yet",
        begin_deployment.handler,
        BEGIN_EVENT,
        [running(), *NO_REFRESHES, DESCRIBE_GROUPS, GET_IMAGES],
        BEFORE,
    ),
    Scenario(
        "begin_deployment_refuses_when_an_earlier_execution_runs",
        begin_deployment.handler,
        BEGIN_EVENT,
        [running(execution("this", STARTED_AT), execution("zzz-earlier", "2026-01-01T09:59:59+00:00"))],
        error="DeploymentInProgressError",
        message=f"{execution('zzz-earlier', STARTED_AT)['executionArn']} started earlier",
    ),
    Scenario(
        "begin_deployment_refuses_the_second_of_two_that_started_in_the_same_millisecond",
        begin_deployment.handler,
        BEGIN_EVENT,
        [running(execution("this", STARTED_AT), execution("another", STARTED_AT))],
        error="DeploymentInProgressError",
        message="stop-execution",
    ),
    Scenario(
        "begin_deployment_refuses_while_somebody_replaces_instances",
        begin_deployment.handler,
        BEGIN_EVENT,
        [running(execution("this", STARTED_AT)), refreshes(PROXY_GROUP, "InProgress")],
        error="RolloutInProgressError",
        message=f"cancel-instance-refresh --auto-scaling-group-name {PROXY_GROUP}",
    ),
    Scenario(
        "begin_deployment_asks_for_a_later_attempt_while_a_replacement_is_cancelled",
        begin_deployment.handler,
        BEGIN_EVENT,
        [running(execution("this", STARTED_AT)), refreshes(PROXY_GROUP, "Cancelling")],
        error="RolloutEndingError",
        message="Cancelling",
    ),
    Scenario(
        "begin_deployment_names_a_group_that_does_not_exist",
        begin_deployment.handler,
        BEGIN_EVENT,
        [
            running(execution("this", STARTED_AT)),
            *NO_REFRESHES,
            Call(
                "autoscaling",
                "describe_auto_scaling_groups",
                {"AutoScalingGroupNames": sorted([MOCK_GROUP, PROXY_GROUP])},
                {"AutoScalingGroups": [group(MOCK_GROUP, 0, 0)]},
            ),
        ],
        error="FleetNotFoundError",
        message=PROXY_GROUP,
    ),
]

START_EVENT = {
    "executionArn": EXECUTION,
    "pipelines": {
        name: {"pipelineArn": arn, "imageParameter": IMAGE_PARAMETERS[name]} for name, arn in PIPELINES.items()
    },
}


def start(name: str, **outcome: Any) -> Call:
    token = start_image_builds.idempotency_token(EXECUTION, PIPELINES[name])
    parameters = {"imagePipelineArn": PIPELINES[name], "clientToken": token}
    answer = {} if "error" in outcome else {"imageBuildVersionArn": build_arn(name)}
    return Call("imagebuilder", "start_image_pipeline_execution", parameters, answer, **outcome)


def builds(checks: int, *, finished: bool = False, **image_ids: str) -> dict[str, Any]:
    return {
        "builds": {
            name: {
                "pipelineArn": arn,
                "imageParameter": IMAGE_PARAMETERS[name],
                "buildArn": build_arn(name),
                "imageId": image_ids.get(name),
            }
            for name, arn in PIPELINES.items()
        },
        "checks": checks,
        "finished": finished,
    }


START = [
    Scenario(
        "start_image_builds_starts_both_pipelines",
        start_image_builds.handler,
        START_EVENT,
        [start("secureProxy"), start("mockServers")],
        builds(0),
    ),
    Scenario(
        "start_image_builds_asks_for_a_later_attempt_when_throttled",
        start_image_builds.handler,
        START_EVENT,
        [start("secureProxy"), start("mockServers", error="CallRateLimitExceededException", status=429)],
        error="TransientServiceError",
        message="CallRateLimitExceededException",
    ),
    Scenario(
        "start_image_builds_lets_other_errors_pass",
        start_image_builds.handler,
        START_EVENT,
        [start("secureProxy", error="ForbiddenException", status=403)],
        error="ForbiddenException",
        message="ForbiddenException of start_image_pipeline_execution",
    ),
]


def listed(name: str, *summaries: Mapping[str, Any]) -> Call:
    return Call(
        "imagebuilder",
        "list_image_pipeline_images",
        {"imagePipelineArn": PIPELINES[name]},
        {"imageSummaryList": list(summaries)},
    )


def check_event(checks: int = 0, max_checks: int = 10) -> dict[str, Any]:
    return {"images": builds(checks), "maxChecks": max_checks, "pollSeconds": 24}


CHECK = [
    Scenario(
        "check_image_builds_goes_on_while_one_is_building",
        check_image_builds.handler,
        check_event(),
        [
            listed("secureProxy", summary("secureProxy", "TESTING")),
            listed("mockServers", summary("mockServers", "AVAILABLE", ami="ami-0c0c")),
        ],
        builds(1, mockServers="ami-0c0c"),
    ),
    Scenario(
        "check_image_builds_takes_a_build_that_is_not_listed_yet_for_pending",
        check_image_builds.handler,
        check_event(),
        [
            listed("secureProxy", summary("secureProxy", "AVAILABLE", ami="ami-0d0d", build="another")),
            listed("mockServers"),
        ],
        builds(1),
    ),
    Scenario(
        "check_image_builds_reads_on_to_the_page_that_lists_the_build",
        check_image_builds.handler,
        check_event(),
        [
            Call(
                "imagebuilder",
                "list_image_pipeline_images",
                {"imagePipelineArn": PIPELINES["secureProxy"]},
                {"imageSummaryList": [summary("secureProxy", "AVAILABLE", build="0")], "nextToken": "more"},
            ),
            Call(
                "imagebuilder",
                "list_image_pipeline_images",
                {"imagePipelineArn": PIPELINES["secureProxy"], "nextToken": "more"},
                {"imageSummaryList": [summary("secureProxy", "AVAILABLE", ami="ami-0d0d")]},
            ),
            listed("mockServers", summary("mockServers", "BUILDING")),
        ],
        builds(1, secureProxy="ami-0d0d"),
    ),
    Scenario(
        "check_image_builds_is_finished_when_both_are_available",
        check_image_builds.handler,
        check_event(checks=3),
        [
            listed("secureProxy", summary("secureProxy", "AVAILABLE", ami="ami-0d0d")),
            listed("mockServers", summary("mockServers", "AVAILABLE", ami="ami-0c0c")),
        ],
        builds(4, finished=True, mockServers="ami-0c0c", secureProxy="ami-0d0d"),
    ),
    *(
        Scenario(
            f"check_image_builds_fails_at_once_when_one_is_{status.lower()}",
            check_image_builds.handler,
            check_event(),
            [
                listed("secureProxy", summary("secureProxy", status, reason="step NginxTest: exit 1")),
                listed("mockServers", summary("mockServers", "BUILDING")),
            ],
            error="ImageBuildFailedError",
            message=f"image secureProxy is {status}: step NginxTest: exit 1 ({build_arn('secureProxy')})",
        )
        for status in ("FAILED", "CANCELLED", "TIMED_OUT", "DELETED")
    ),
    Scenario(
        "check_image_builds_fails_when_an_available_image_has_no_ami_here",
        check_image_builds.handler,
        check_event(),
        [
            listed("secureProxy", summary("secureProxy", "AVAILABLE", ami="ami-0d0d", region="us-east-1")),
            listed("mockServers", summary("mockServers", "BUILDING")),
        ],
        error="ImageBuildFailedError",
        message="no AMI in eu-central-1",
    ),
    Scenario(
        "check_image_builds_gives_up_at_the_last_look",
        check_image_builds.handler,
        check_event(checks=9),
        [
            listed("secureProxy", summary("secureProxy", "BUILDING")),
            listed("mockServers", summary("mockServers", "AVAILABLE", ami="ami-0c0c")),
        ],
        error="ImageBuildTimedOutError",
        message="secureProxy is BUILDING after 4 minutes. How far it came",
    ),
]

PUBLISH_EVENT = {"images": builds(4, finished=True, mockServers="ami-0c0c", secureProxy="ami-0d0d")}
PUBLISHED = {IMAGE_PARAMETERS["secureProxy"]: "ami-0d0d", IMAGE_PARAMETERS["mockServers"]: "ami-0c0c"}


def get_images(**image_ids: str) -> Call:
    names = sorted(IMAGE_PARAMETERS[name] for name in image_ids)
    values = {IMAGE_PARAMETERS[name]: image_id for name, image_id in image_ids.items()}
    return Call(
        "ssm",
        "get_parameters",
        {"Names": names},
        {"Parameters": [ami_parameter(name, values[name]) for name in names if values[name]]},
    )


def put_image(name: str, image_id: str, **outcome: Any) -> Call:
    return Call(
        "ssm",
        "put_parameter",
        {
            "Name": IMAGE_PARAMETERS[name],
            "Value": image_id,
            "Type": "String",
            "DataType": "aws:ec2:image",
            "Overwrite": True,
        },
        **outcome,
    )


PUBLISH = [
    Scenario(
        "publish_images_puts_both_and_sees_them",
        publish_images.handler,
        PUBLISH_EVENT,
        [
            get_images(mockServers="ami-0a0a", secureProxy="ami-0b0b"),
            put_image("mockServers", "ami-0c0c"),
            put_image("secureProxy", "ami-0d0d"),
            get_images(mockServers="ami-0c0c", secureProxy="ami-0d0d"),
        ],
        PUBLISHED,
    ),
    Scenario(
        "publish_images_puts_nothing_that_is_already_there",
        publish_images.handler,
        PUBLISH_EVENT,
        [get_images(mockServers="ami-0c0c", secureProxy="ami-0d0d")],
        PUBLISHED,
    ),
    Scenario(
        "publish_images_asks_for_a_later_attempt_until_parameter_store_shows_them",
        publish_images.handler,
        PUBLISH_EVENT,
        [
            get_images(mockServers="ami-0c0c", secureProxy="ami-0b0b"),
            put_image("secureProxy", "ami-0d0d"),
            get_images(secureProxy="ami-0b0b"),
        ],
        error="ImageNotVisibleError",
        message=f"{IMAGE_PARAMETERS['secureProxy']} should hold ami-0d0d",
    ),
    Scenario(
        "publish_images_refuses_a_build_without_ami",
        publish_images.handler,
        {"images": builds(4, finished=True, mockServers="ami-0c0c")},
        [],
        error="ImageBuildFailedError",
        message="secureProxy has no AMI",
    ),
]

SCENARIOS = [*BEGIN, *START, *CHECK, *PUBLISH]
