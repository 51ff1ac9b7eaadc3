"""Templates: what is refused before anything changes, and what intrinsic functions come to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.endpoint.account import ACCOUNT, REGION
from local.endpoint.cloudformation.evaluation import Evaluation
from local.endpoint.cloudformation.template import Template, TemplateError, parameter_values

RESOURCE = {"Type": "Test::Thing"}


def template(**document: Any) -> Template:
    return Template(json.dumps({"Resources": {"Thing": RESOURCE}, **document}))


def evaluation(made: Template, **parameters: Any) -> Evaluation:
    return Evaluation(
        made,
        stack_name="stack",
        stack_id="id",
        parameters=parameters,
        reference=lambda name: f"ref-{name}",
        attribute=lambda name, attribute: f"{name}-{attribute}",
        exports={"other": "exported"},
    )


def value(part: Any, **parameters: Any) -> Any:
    conditions = {"Yes": {"Fn::Equals": ["a", "a"]}, "No": {"Fn::Not": [{"Condition": "Yes"}]}}
    return evaluation(template(Conditions=conditions), **parameters).value(part)


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ({"Type": "String"}, {}, r"Parameters: \[P\] must have values"),
        ({"Type": "String", "AllowedPattern": "[0-9]+"}, {"P": "x"}, "failed to satisfy constraint"),
        ({"Type": "String", "AllowedPattern": "[0-9]+"}, {"P": "1x"}, "failed to satisfy constraint"),
        ({"Type": "String", "AllowedValues": ["a"]}, {"P": "b"}, "failed to satisfy constraint"),
        ({"Type": "String", "Default": "a"}, {"Q": "b"}, r"\[Q\] do not exist"),
        ({"Type": "Number", "Default": "a"}, {}, "must be a number"),
        ({"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/a"}, {}, "Unable to fetch parameters"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused(
    declared: dict[str, Any], given: dict[str, str], message: str
) -> None:
    with pytest.raises(TemplateError, match=message):
        parameter_values(template(Parameters={"P": declared}), given, {})


@pytest.mark.parametrize(
    ("declared", "given", "expected"),
    [
        ({"Type": "String", "Default": "a"}, {}, "a"),
        ({"Type": "String", "Default": "a"}, {"P": "b"}, "b"),
        ({"Type": "Number"}, {"P": "3"}, 3),
        ({"Type": "CommaDelimitedList"}, {"P": "a,b"}, ["a", "b"]),
        ({"Type": "AWS::SSM::Parameter::Value<String>"}, {"P": "/a"}, "stored"),
    ],
)
def test_a_parameter_has_its_type(declared: dict[str, Any], given: dict[str, str], expected: object) -> None:
    _, values = parameter_values(template(Parameters={"P": declared}), given, {"/a": "stored"})
    assert values == {"P": expected}


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({}, "At least one Resources member"),
        ({"A": {**RESOURCE, "Properties": {"X": {"Ref": "B"}}}}, r"Unresolved resource dependencies \[B\]"),
        ({"A": {**RESOURCE, "Properties": {"X": {"Fn::Sub": "${B.Arn}"}}}}, r"Unresolved resource dependencies \[B\]"),
        ({"A": {**RESOURCE, "DependsOn": "B"}, "B": {**RESOURCE, "DependsOn": ["A"]}}, "Circular dependency"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(resources: dict[str, Any], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(json.dumps({"Resources": resources}))


@pytest.mark.parametrize(
    "reference",
    [
        {"Properties": {"X": {"Ref": "B"}}},
        {"Properties": {"X": [{"Fn::GetAtt": ["B", "Arn"]}]}},
        {"Properties": {"X": {"Fn::Sub": "a${B}"}}},
        {"DependsOn": "B"},
    ],
)
def test_a_resource_comes_after_what_it_needs(reference: dict[str, Any]) -> None:
    made = Template(json.dumps({"Resources": {"A": {**RESOURCE, **reference}, "B": RESOURCE}}))
    assert made.order() == ["B", "A"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"Ref": "P"}, "p"),
        ({"Ref": "Thing"}, "ref-Thing"),
        ({"Ref": "AWS::AccountId"}, ACCOUNT),
        ({"Fn::GetAtt": ["Thing", "Arn"]}, "Thing-Arn"),
        ({"Fn::Join": ["-", ["a", {"Ref": "P"}]]}, "a-p"),
        ({"Fn::Select": ["1", {"Fn::Split": [",", "a,b"]}]}, "b"),
        ({"Fn::Sub": "${P} ${Thing} ${Thing.Arn} ${!P} ${AWS::Region}"}, f"p ref-Thing Thing-Arn ${{P}} {REGION}"),
        ({"Fn::Sub": ["${X}", {"X": {"Ref": "P"}}]}, "p"),
        ({"Fn::Base64": "a"}, "YQ=="),
        ({"Fn::ImportValue": "other"}, "exported"),
        ({"Fn::If": ["Yes", "a", "b"]}, "a"),
        ({"Fn::If": ["No", "a", "b"]}, "b"),
        ({"A": {"Fn::If": ["No", "a", {"Ref": "AWS::NoValue"}]}, "B": 1}, {"B": 1}),
        ([{"Ref": "AWS::NoValue"}, "a"], ["a"]),
    ],
)
def test_an_intrinsic_function_comes_to_its_value(part: object, expected: object) -> None:
    assert value(part, P="p") == expected


@pytest.mark.parametrize("part", [{"Fn::Unheard": 1}, {"Fn::ImportValue": "nobody's"}, {"Fn::If": ["Missing", 1, 2]}])
def test_what_cannot_be_evaluated_is_an_error(part: object) -> None:
    with pytest.raises(TemplateError):
        value(part)


def test_a_rule_that_does_not_hold_is_told_with_its_description() -> None:
    rule = {
        "Assertions": [{"Assert": {"Fn::Contains": [["6"], {"Ref": "V"}]}, "AssertDescription": "version 6 please"}]
    }
    made = template(Rules={"Version": rule})
    evaluation(made, V="6").check_rules()
    with pytest.raises(TemplateError, match="version 6 please"):
        evaluation(made, V="5").check_rules()


def test_short_forms_of_yaml_are_read() -> None:
    made = Template(
        "Resources:\n  A:\n    Type: T\n    Properties:\n      X: !Sub a${AWS::Region}\n      Y: !Ref AWS::Region"
    )
    assert made.resources["A"]["Properties"] == {
        "X": {"Fn::Sub": "a${AWS::Region}"},
        "Y": {"Ref": "AWS::Region"},
    }
