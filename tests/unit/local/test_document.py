"""The component document's model: what AWS allows and this executor supports, and nothing else."""

from __future__ import annotations

import textwrap

import pytest

from local.document import Document, ExecuteBash, S3Download, parse_document
from local.errors import DocumentError

MINIMAL = """
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Only
        action: ExecuteBash
        inputs:
          commands:
            - "true"
"""


def parse(text: str) -> Document:
    return parse_document(textwrap.dedent(text), "component.yaml")


def problem(text: str) -> str:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    return str(caught.value)


def with_step(lines: str) -> str:
    return MINIMAL.replace("        inputs:\n", textwrap.indent(lines, " " * 8) + "\n        inputs:\n")


def test_defaults_are_those_of_aws() -> None:
    [phase] = parse(MINIMAL).phases
    [step] = phase.steps
    assert (step.timeout_seconds, step.timeout, step.on_failure, step.max_attempts) == (7200, 7200.0, "Abort", 1)


def test_schema_version_is_read_as_a_number_or_a_string() -> None:
    assert parse(MINIMAL).schema_version == parse(MINIMAL.replace("1.0", "'1.0'")).schema_version == "1.0"


def test_another_schema_version_is_refused() -> None:
    assert "schemaVersion" in problem(MINIMAL.replace("1.0", "2.0"))


def test_both_actions_are_read_as_their_types() -> None:
    document = parse(
        MINIMAL
        + """
      - name: Fetch
        action: S3Download
        inputs:
          - source: s3://bucket/key
            destination: /tmp/key
"""
    )
    assert [type(step) for step in document.phases[0].steps] == [ExecuteBash, S3Download]


def test_another_action_is_refused_with_its_place() -> None:
    assert problem(MINIMAL.replace("ExecuteBash", "Reboot")) == (
        "component.yaml: phases[build].steps[Only]: action Reboot is not supported; "
        "supported: 'ExecuteBash', 'S3Download'"
    )


def test_a_missing_action_is_refused() -> None:
    assert "action is missing" in problem(MINIMAL.replace("        action: ExecuteBash\n", ""))


@pytest.mark.parametrize("line", ["loop: {forEach: [1]}", "if: {stringEquals: a}", "retries: 3", "timeout_seconds: 1"])
def test_a_step_key_that_the_executor_does_not_know_is_refused(line: str) -> None:
    assert "this executor does not know this key" in problem(with_step(line))


def test_an_unknown_key_of_the_document_is_refused() -> None:
    assert "owner: this executor does not know this key" in problem(MINIMAL + "\nowner: me\n")


def test_an_unknown_phase_is_refused() -> None:
    assert "phases[deploy].name" in problem(MINIMAL.replace("name: build", "name: deploy"))


@pytest.mark.parametrize("seconds", [0, -2, "ten", 1.5])
def test_a_timeout_that_is_no_time_is_refused(seconds: object) -> None:
    assert "timeoutSeconds" in problem(with_step(f"timeoutSeconds: {seconds}"))


def test_a_timeout_of_minus_one_is_no_limit() -> None:
    assert parse(with_step("timeoutSeconds: -1")).phases[0].steps[0].timeout is None


@pytest.mark.parametrize("attempts", [0, -1, "many"])
def test_attempts_that_are_no_count_are_refused(attempts: object) -> None:
    assert "maxAttempts" in problem(with_step(f"maxAttempts: {attempts}"))


def test_an_unknown_on_failure_is_refused() -> None:
    assert "onFailure" in problem(with_step("onFailure: Retry"))


def test_two_steps_of_one_name_are_refused() -> None:
    twice = MINIMAL + MINIMAL.split("    steps:\n")[1]
    assert "step name in phase build used twice: Only" in problem(twice)


def test_two_phases_of_one_name_are_refused() -> None:
    assert "phase name used twice: build" in problem(MINIMAL + MINIMAL.split("phases:\n")[1])


def test_a_key_given_twice_is_refused() -> None:
    assert "given twice" in problem(with_step("onFailure: Abort\nonFailure: Ignore"))


def test_a_parameter_defined_twice_is_refused() -> None:
    definition = "parameters:\n  - Word: {type: string}\n  - Word: {type: string}\n"
    assert "Word is defined twice" in problem(MINIMAL + definition)


def test_a_name_both_parameter_and_constant_is_refused() -> None:
    definitions = "parameters:\n  - Word: {type: string}\nconstants:\n  - Word: {type: string, value: a}\n"
    assert "used twice: Word" in problem(MINIMAL + definitions)


@pytest.mark.parametrize("name", ["ab", "with space", "dot.ted", "x" * 129])
def test_a_parameter_name_outside_of_aws_rules_is_refused(name: str) -> None:
    assert "parameters" in problem(MINIMAL + f"parameters:\n  - {name}: {{type: string}}\n")


def test_a_parameter_of_another_type_is_refused() -> None:
    assert "parameters.Word.type" in problem(MINIMAL + "parameters:\n  - Word: {type: number}\n")


def test_a_default_that_is_not_a_string_is_refused() -> None:
    assert "parameters.Word.default" in problem(MINIMAL + "parameters:\n  - Word: {type: string, default: 8080}\n")


def test_parameters_as_a_map_are_refused() -> None:
    assert "must be a list" in problem(MINIMAL + "parameters:\n  Word: {type: string}\n")


@pytest.mark.parametrize("text", ["", "[]", "phases: [", "just words"])
def test_what_is_no_document_is_refused(text: str) -> None:
    assert problem(text).startswith("component.yaml: ")


def test_every_problem_is_listed() -> None:
    broken = with_step("maxAttempts: 0\nretries: 1")
    assert len(problem(broken).splitlines()) == 2


@pytest.mark.parametrize("part", ["phases", "steps", "commands"])
def test_an_empty_list_is_refused(part: str) -> None:
    head, _, _ = MINIMAL.partition(f"{part}:\n")
    assert "must not be empty" in problem(f"{head}{part}: []\n")
