"""The EC2 Image Builder component document as a typed model.

Follows AWS's schema (EC2 Image Builder user guide, "Use the AWSTOE component document framework" and "Use variables
in your custom component document"). Read strictly: a key that AWS has and this executor lacks (`if`, `loop`, other
actions) is an error when the document is read, before any step runs, and so is a key that nobody has.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from local.errors import DocumentError

# "between 3 and 128 characters", "alphanumeric characters, dashes, or underscores"
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{3,128}$")]
StepName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
PhaseName = Literal["build", "validate", "test"]


def _not_empty(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    if not entries:
        raise ValueError("must not be empty")
    return entries


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)


class Parameter(_Model):
    """A value that the recipe gives; one without a default must be given."""

    type: Literal["string"]
    default: str | None = None
    description: str | None = None


class Constant(_Model):
    """A value that nobody can change."""

    type: Literal["string"]
    value: str


class BashInputs(_Model):
    """`commands` become the lines of one script for bash, whose exit code is the step's."""

    commands: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_not_empty)]


class Download(_Model):
    """One object: `s3://bucket/key` to a local path."""

    source: str
    destination: str
    overwrite: bool = True


class _Step(_Model):
    name: StepName
    timeout_seconds: int = 7200
    on_failure: Literal["Abort", "Continue", "Ignore"] = "Abort"
    max_attempts: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _timeout_is_a_time(self) -> _Step:
        if self.timeout_seconds != -1 and self.timeout_seconds < 1:
            raise ValueError("timeoutSeconds must be positive, or -1 for no limit")
        return self

    @property
    def timeout(self) -> float | None:
        """Seconds that one attempt may take; None if there is no limit."""
        return None if self.timeout_seconds == -1 else float(self.timeout_seconds)


class ExecuteBash(_Step):
    """Run a script with bash, as root."""

    action: Literal["ExecuteBash"]
    inputs: BashInputs


class S3Download(_Step):
    """Copy objects into the machine."""

    action: Literal["S3Download"]
    inputs: Annotated[tuple[Download, ...], Field(strict=False), AfterValidator(_not_empty)]


Step = Annotated[ExecuteBash | S3Download, Field(discriminator="action")]


class Phase(_Model):
    """Steps that run in order."""

    name: PhaseName
    steps: Annotated[tuple[Step, ...], Field(strict=False), AfterValidator(_not_empty)]

    @model_validator(mode="after")
    def _step_names_differ(self) -> Phase:
        _must_differ([step.name for step in self.steps], f"step name in phase {self.name}")
        return self


def _version_text(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value


def _named_entries(value: Any) -> Any:
    """AWS writes variables as a list of one-key maps; they become one map, and a name given twice an error."""
    if not isinstance(value, list):
        raise ValueError("must be a list of `- Name: {type: string, …}`")
    entries: dict[Any, Any] = {}
    for entry in value:
        if not isinstance(entry, dict) or len(entry) != 1:
            raise ValueError("each entry must be one name with its definition")
        [(name, definition)] = entry.items()
        if name in entries:
            raise ValueError(f"{name} is defined twice")
        entries[name] = definition
    return entries


class Document(_Model):
    """A component document. `parameters` and `constants` are maps by name here."""

    name: str | None = None
    description: str | None = None
    schema_version: Annotated[Literal["1.0"], BeforeValidator(_version_text)]
    parameters: Annotated[dict[VariableName, Parameter], BeforeValidator(_named_entries)] = Field(default_factory=dict)
    constants: Annotated[dict[VariableName, Constant], BeforeValidator(_named_entries)] = Field(default_factory=dict)
    phases: Annotated[tuple[Phase, ...], Field(strict=False), AfterValidator(_not_empty)]

    @model_validator(mode="after")
    def _names_differ(self) -> Document:
        _must_differ([phase.name for phase in self.phases], "phase name")
        _must_differ([*self.parameters, *self.constants], "name of a parameter or constant")
        return self

    def phase(self, name: str) -> Phase | None:
        """The phase of that name, if the document has it."""
        return next((phase for phase in self.phases if phase.name == name), None)


def _must_differ(names: list[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} used twice: {', '.join(twice)}")


class _StrictLoader(yaml.SafeLoader):
    """Refuses a mapping key given twice, where YAML libraries silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_document(text: str, source: str) -> Document:
    """The document in `text`; `source` names it in errors. Raises `DocumentError`, one line per problem."""
    try:
        # _StrictLoader is a SafeLoader: it makes plain values alone.
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.YAMLError as error:
        raise DocumentError(f"{source}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise DocumentError(f"{source}: a component document is a mapping with schemaVersion and phases")
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        raise DocumentError("\n".join(f"{source}: {line}" for line in _problems(error, content))) from None


def _problems(error: ValidationError, content: dict[Any, Any]) -> list[str]:
    return [f"{_place(found['loc'], content)}: {_words(found)}" for found in error.errors(include_url=False)]


def _words(found: Any) -> str:
    if found["type"] == "extra_forbidden":
        return "this executor does not know this key"
    if found["type"] == "union_tag_invalid":
        return f"action {found['ctx']['tag']} is not supported; supported: {found['ctx']['expected_tags']}"
    if found["type"] == "union_tag_not_found":
        return "action is missing"
    return str(found["msg"]).removeprefix("Value error, ")


def _place(location: tuple[int | str, ...], content: Any) -> str:
    """`phases[build].steps[Install].inputs`: entries by their name where they have one."""
    words = ""
    for part in location:
        if part in ("ExecuteBash", "S3Download"):
            continue  # the model that was tried, not a place in the document
        content = _descend(content, part)
        if isinstance(part, int):
            label = content.get("name", part) if isinstance(content, dict) else part
            words += f"[{label}]"
        else:
            words += f".{part}" if words else str(part)
    return words or "document"


def _descend(content: Any, part: int | str) -> Any:
    try:
        return content[part]
    except (KeyError, IndexError, TypeError):
        return None
