"""What a request to change a stack asks for, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from local.endpoint.clients import Clients
from local.endpoint.cloudformation.evaluation import Evaluation
from local.endpoint.cloudformation.resource_type import find
from local.endpoint.cloudformation.stack import Change, Stack
from local.endpoint.cloudformation.template import Template, TemplateError, parameter_values

_Parameters = Mapping[str, Any]


def given_template(clients: Clients, parameters: _Parameters, stack: Stack | None) -> Template:
    """The template that a request names, gives or takes over. Raises `TemplateError`."""
    if parameters.get("UsePreviousTemplate") and stack and stack.template:
        return stack.template
    if "TemplateBody" in parameters:
        return Template(parameters["TemplateBody"])
    bucket, _, key = urlsplit(parameters["TemplateURL"]).path.lstrip("/").partition("/")
    host = urlsplit(parameters["TemplateURL"]).hostname or ""
    if ".s3." in host:  # the virtual-hosted style
        bucket, key = host.split(".s3.")[0], f"{bucket}/{key}".rstrip("/")
    stored = clients.client("s3").get_object(Bucket=bucket, Key=unquote(key))
    return Template(stored["Body"].read().decode())


def prepared(clients: Clients, parameters: _Parameters, stack: Stack) -> Change:
    """The change that a request asks for. Raises `TemplateError`."""
    template = given_template(clients, parameters, stack)
    unknown = sorted(kind for kind in template.types if find(kind) is None)
    if unknown:
        raise TemplateError(f"Template format error: Unrecognized resource types: [{', '.join(unknown)}]")
    given = {
        entry["ParameterKey"]: stack.parameters[entry["ParameterKey"]]
        if entry.get("UsePreviousValue")
        else entry["ParameterValue"]
        for entry in parameters.get("Parameters", [])
    }
    texts, values = parameter_values(template, given, _stored(clients, template, given))
    Evaluation(
        template,
        stack_name=stack.name,
        stack_id=stack.id,
        parameters=values,
        reference=lambda name: name,
        attribute=lambda name, attribute: f"{name}.{attribute}",
        exports={},
    ).check_rules()
    return Change(template, texts, values)


def _stored(clients: Clients, template: Template, given: Mapping[str, str]) -> Mapping[str, str]:
    names = {
        str(given.get(name, declared.get("Default")))
        for name, declared in template.parameters.items()
        if declared["Type"].startswith("AWS::SSM::Parameter::Value<")
    }
    if not names:
        return {}
    answer = clients.client("ssm").get_parameters(Names=sorted(names))
    return {entry["Name"]: entry["Value"] for entry in answer["Parameters"]}


def differs(stack: Stack, change: Change, parameters: _Parameters) -> bool:
    """Whether a change would change anything."""
    if stack.template is None:
        return True
    before = (stack.template.document, stack.parameters, stack.tags)
    return before != (change.template.document, change.parameters, parameters.get("Tags", stack.tags))
