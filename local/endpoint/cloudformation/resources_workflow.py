"""Resource types of AWS Lambda and AWS Step Functions.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_Lambda.html
"""

from __future__ import annotations

import json
from typing import Any

from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register


@register
class Function(ResourceType):
    name = "AWS::Lambda::Function"
    updates = True
    replaced_by = frozenset({"FunctionName", "PackageType", "Architectures", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("FunctionName") or context.name(64)
        parameters = {**properties.without("ReservedConcurrentExecutions"), "FunctionName": name}
        made = Made(name, {"Arn": context.call("lambda", "create_function", **parameters)["FunctionArn"]})
        self._reserve(context, context.begun(made).ref, properties)
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        if old["Code"] != new["Code"]:
            context.call("lambda", "update_function_code", FunctionName=made.ref, **new["Code"])
        configuration = new.without("Code", "FunctionName", "Architectures", "ReservedConcurrentExecutions", "Tags")
        context.call("lambda", "update_function_configuration", FunctionName=made.ref, **configuration)
        self._reserve(context, made.ref, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("lambda", "delete_function", FunctionName=made.ref)

    def _reserve(self, context: Context, name: str, properties: Properties) -> None:
        reserved = properties.get("ReservedConcurrentExecutions")
        if reserved is None:
            context.call("lambda", "delete_function_concurrency", FunctionName=name)
        else:
            context.call("lambda", "put_function_concurrency", FunctionName=name, ReservedConcurrentExecutions=reserved)


@register
class StateMachine(ResourceType):
    name = "AWS::StepFunctions::StateMachine"
    updates = True
    replaced_by = frozenset({"StateMachineName", "StateMachineType", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("StateMachineName") or context.name(80)
        arn = context.call("stepfunctions", "create_state_machine", Name=name, **_definition(properties))[
            "stateMachineArn"
        ]
        return Made(arn, {"Arn": arn, "Name": name})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("stepfunctions", "update_state_machine", StateMachineArn=made.ref, **_definition(new))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("stepfunctions", "delete_state_machine", StateMachineArn=made.ref)


def _definition(properties: Properties) -> dict[str, Any]:
    parameters = properties.without("StateMachineName", "DefinitionString", "Definition")
    text = properties.get("DefinitionString") or json.dumps(properties.get("Definition"))
    return {**parameters, "Definition": text}
