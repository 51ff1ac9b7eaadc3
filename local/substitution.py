"""Parameters of component documents: which value each has, and their place in the steps' inputs.

AWS replaces `{{ Name }}` by the value's text, once, with spaces inside the braces ignored and letters' case
significant, in step inputs alone. Simplified against AWS: chained references (`{{ phase.step.outputs.stdout }}`) and
loop values are refused. Stricter than the AWSTOE command line, as Image Builder's recipes are: a parameter that no
document knows is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from local.document import BashInputs, Document, Download, ExecuteBash, Phase, S3Download, Step
from local.errors import DocumentError

_REFERENCE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def substitute(document: Document, given: Mapping[str, str], source: str) -> Document:
    """`document` with every reference replaced by what is `given` or the default.

    Raises `DocumentError`, one line per problem: a parameter that it does not declare or that has no value, a reference
    to nothing.
    """
    _check_parameters(document, given, source)
    values = {name: constant.value for name, constant in document.constants.items()}
    values |= {name: parameter.default or "" for name, parameter in document.parameters.items()} | dict(given)
    problems: list[str] = []
    phases = tuple(
        Phase(
            name=phase.name,
            steps=tuple(_step(step, values, f"{phase.name}/{step.name}", problems) for step in phase.steps),
        )
        for phase in document.phases
    )
    if problems:
        raise DocumentError("\n".join(f"{source}: {problem}" for problem in problems))
    return document.model_copy(update={"phases": phases})


def _check_parameters(document: Document, given: Mapping[str, str], source: str) -> None:
    problems = [f"{source}: there is no parameter {name}" for name in sorted(given.keys() - document.parameters.keys())]
    problems += [
        f"{source}: parameter {name} has no default and was not given"
        for name, parameter in document.parameters.items()
        if parameter.default is None and name not in given
    ]
    if problems:
        raise DocumentError("\n".join(problems))


def _step(step: Step, values: Mapping[str, str], place: str, problems: list[str]) -> Step:
    def filled(text: str) -> str:
        return _fill(text, values, place, problems)

    if isinstance(step, ExecuteBash):
        return step.model_copy(update={"inputs": BashInputs(commands=tuple(map(filled, step.inputs.commands)))})
    return step.model_copy(
        update={
            "inputs": tuple(_download(entry, filled(entry.source), filled(entry.destination)) for entry in step.inputs)
        }
    )


def _download(entry: Download, source: str, destination: str) -> Download:
    return entry.model_copy(update={"source": source, "destination": destination})


def _fill(text: str, values: Mapping[str, str], place: str, problems: list[str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1).strip(" ")
        if name in values:
            return values[name]
        if _NAME.fullmatch(name):
            problems.append(f"{place}: {{{{ {name} }}}} names no parameter or constant")
        else:
            problems.append(f"{place}: {{{{ {name} }}}} is a reference that this executor does not support")
        return ""

    return _REFERENCE.sub(value, text)


def downloads(steps: Iterable[Step]) -> Iterable[Download]:
    """All objects that the steps download."""
    return (entry for step in steps if isinstance(step, S3Download) for entry in step.inputs)
