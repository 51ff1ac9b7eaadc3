"""The state machine as it stands in the template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.synthesis import Template

TASKS = [
    "BeginDeployment",
    "StartImageBuilds",
    "CheckImageBuilds",
    "PublishImages",
    "LaunchMockServers",
    "LaunchSecureProxy",
    "CheckHealth",
    "EndRollout",
]


@pytest.fixture(scope="session")
def definition(template: Template) -> dict[str, Any]:
    _, machine = template.one("AWS::StepFunctions::StateMachine")
    parsed: dict[str, Any] = json.loads(template.resolve(machine["DefinitionString"]))
    return parsed


@pytest.fixture(scope="session")
def states(definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definition["States"]
    return found


def test_the_way_to_success(definition: dict[str, Any], states: dict[str, Any]) -> None:
    way, state = [], definition["StartAt"]
    while state:
        way.append(state)
        choices = states[state].get("Choices")
        state = choices[0]["Next"] if choices else states[state].get("Next")
    assert way == [
        "NewDeployment",
        "BeginDeployment",
        "StartImageBuilds",
        "WaitForImageBuilds",
        "CheckImageBuilds",
        "ImageBuildsDone?",
        "PublishImages",
        "LaunchMockServers",
        "LaunchSecureProxy",
        "WaitForHealth",
        "CheckHealth",
        "HealthDone?",
        "EndRollout",
        "Succeed",
    ]


@pytest.mark.parametrize(
    ("choice", "wait"), [("ImageBuildsDone?", "WaitForImageBuilds"), ("HealthDone?", "WaitForHealth")]
)
def test_what_is_not_done_is_waited_for(states: dict[str, Any], choice: str, wait: str) -> None:
    assert states[choice]["Default"] == wait


@pytest.mark.parametrize("name", ["WaitForImageBuilds", "WaitForHealth"])
def test_polls_are_a_quarter_of_a_minute_apart(states: dict[str, Any], name: str) -> None:
    assert states[name]["Seconds"] == 15


@pytest.mark.parametrize(("task", "minutes"), [("CheckImageBuilds", 150), ("CheckHealth", 45)])
def test_polls_are_bounded(states: dict[str, Any], task: str, minutes: int) -> None:
    assert states[task]["Parameters"]["maxChecks"] * 15 == minutes * 60


def test_the_whole_is_bounded_beyond_its_polls(definition: dict[str, Any], states: dict[str, Any]) -> None:
    polls = sum(states[task]["Parameters"]["maxChecks"] * 15 for task in ("CheckImageBuilds", "CheckHealth"))
    assert polls < definition["TimeoutSeconds"] == 5 * 3600


@pytest.mark.parametrize("task", TASKS)
def test_any_error_of_a_task_leads_to_the_roll_back(states: dict[str, Any], task: str) -> None:
    assert states[task]["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "RollBack"}]


@pytest.mark.parametrize("task", [*TASKS, "RollBack"])
def test_errors_that_pass_are_retried_with_backoff(states: dict[str, Any], task: str) -> None:
    transient, patience = states[task]["Retry"]
    assert {"TransientServiceError", "Lambda.TooManyRequestsException", "Lambda.ServiceException"} <= set(
        transient["ErrorEquals"]
    )
    assert set(patience["ErrorEquals"]) == {"ImageNotVisibleError", "RolloutEndingError"}
    for retry in (transient, patience):
        assert retry["BackoffRate"] > 1
        assert 0 < retry["MaxAttempts"] <= 8
        assert retry["MaxDelaySeconds"] <= 60
    assert transient["JitterStrategy"] == "FULL"
    # Full jitter may leave no pause at all, and eight attempts may then be over before Parameter Store has looked.
    assert patience.get("JitterStrategy", "NONE") == "NONE"
    delays = [
        min(patience["IntervalSeconds"] * patience["BackoffRate"] ** n, patience["MaxDelaySeconds"]) for n in range(8)
    ]
    assert patience["MaxAttempts"] == 8
    assert sum(delays) > 120


@pytest.mark.parametrize("task", [*TASKS, "RollBack"])
def test_a_task_is_its_own_function_and_cannot_hang(template: Template, states: dict[str, Any], task: str) -> None:
    logical_id = states[task]["Resource"].strip("<>").removesuffix(".Arn")
    assert template.path(logical_id).endswith(f"/{task}/Resource")
    function = template.resources[logical_id]["Properties"]
    assert function["Timeout"] < states[task]["TimeoutSeconds"] <= function["Timeout"] + 60


def test_the_failure_path_tells_and_fails(template: Template, states: dict[str, Any]) -> None:
    topic, _ = template.one("AWS::SNS::Topic", "Failures")
    assert states["RollBack"]["Next"] == "NotifyFailure"
    assert states["NotifyFailure"]["Parameters"]["TopicArn"] == f"<{topic}>"
    assert states["NotifyFailure"]["Parameters"]["Message.$"] == "$.report.text"
    assert states["NotifyFailure"]["Next"] == "Failed"
    assert states["Failed"]["Type"] == states["FailedAndNotRolledBack"]["Type"] == "Fail"


def test_every_state_can_be_reached(definition: dict[str, Any], states: dict[str, Any]) -> None:
    reached, ahead = set(), [definition["StartAt"]]
    while ahead:
        name = ahead.pop()
        if name in reached:
            continue
        reached.add(name)
        state = states[name]
        ahead += [state[key] for key in ("Next", "Default") if key in state]
        ahead += [entry["Next"] for key in ("Choices", "Catch") for entry in state.get(key, [])]
    assert reached == states.keys()


def test_executions_are_logged_and_traced(template: Template) -> None:
    _, machine = template.one("AWS::StepFunctions::StateMachine")
    assert machine["LoggingConfiguration"]["Level"] == "ALL"
    assert machine["TracingConfiguration"] == {"Enabled": True}


def test_functions_run_the_newest_python_one_at_a_time(template: Template) -> None:
    for entry in template.of_type("AWS::Lambda::Function").values():
        properties = entry["Properties"]
        assert properties["Runtime"] == "python3.14"
        assert properties["Architectures"] == ["arm64"]
        condition, reserved, _ = properties["ReservedConcurrentExecutions"]["Fn::If"]
        assert (condition, reserved) == ("ReservedConcurrencyOn", 1)
        assert "DeadLetterConfig" in properties
