"""What a resource type is to the engine: how a resource of it is made, changed and unmade."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from botocore.exceptions import ClientError

from local.endpoint.clients import Clients
from local.endpoint.errors import error_code

_GONE = re.compile(r"NotFound|NoSuch|NonExistent|DoesNotExist|InvalidAllocationID|ResourceNotFound")


class ResourceError(Exception):
    """A resource cannot be made, changed or unmade; the text becomes the reason in the stack's events."""


@dataclass(frozen=True)
class Made:
    """A resource that exists: what `Ref` and `Fn::GetAtt` give of it."""

    ref: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Properties(dict[str, Any]):
    """The properties of a resource, which know what of them was asked for: what nobody uses is an error."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self._used.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._used.add(name)
        return super().get(name, default)

    def only(self, *names: str) -> dict[str, Any]:
        """Those of the named properties that are set, by name."""
        self._used.update(names)
        return {name: self[name] for name in names if name in self}

    def all(self) -> dict[str, Any]:
        """All properties."""
        return self.only(*self)

    def without(self, *names: str) -> dict[str, Any]:
        """All but the named properties, which count as used."""
        return {name: value for name, value in self.all().items() if name not in names}

    def unused(self) -> list[str]:
        """Names of the properties that nobody asked for."""
        return sorted(self.keys() - self._used)


@dataclass(frozen=True)
class Context:
    """For whom a resource is made: its stack and logical id, and the clients to make it with."""

    clients: Clients
    stack_name: str
    stack_id: str
    logical_id: str
    type_name: str
    suffix: str  # of generated names; new for each resource
    unfinished: list[Made] = field(default_factory=list)

    def begun(self, made: Made) -> Made:
        """To be called once the first of several calls has made a resource: if a later one fails, it is deleted."""
        self.unfinished.append(made)
        return made

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        """Call a service; parameters that are None are left out."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return self.clients.call(service, operation, given)

    def name(self, longest: int = 128) -> str:
        """A name for a resource that was given none, as CloudFormation makes it; at most `longest` characters."""
        ending = f"-{self.suffix}"
        beginning = f"{self.stack_name}-{self.logical_id}"
        return beginning[: longest - len(ending)].rstrip("-") + ending


class ResourceType:
    """A resource type. Unless it says otherwise, every change is a replacement."""

    name: ClassVar[str]
    replaced_by: ClassVar[frozenset[str]] = frozenset()  # properties whose change "requires replacement"
    updates: ClassVar[bool] = False

    def create(self, context: Context, properties: Properties) -> Made:
        raise NotImplementedError

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        """Change the resource in place, from `old` to `new`."""
        raise NotImplementedError

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        raise NotImplementedError


_TYPES: dict[str, ResourceType] = {}
_T = TypeVar("_T", bound=type[ResourceType])


def register(kind: _T) -> _T:
    """Class decorator: the type is one of those that stacks may hold."""
    _TYPES[kind.name] = kind()
    return kind


def find(type_name: str) -> ResourceType | None:
    """The resource type of that name; None if there is none."""
    return _TYPES.get("Custom::" if type_name.startswith("Custom::") else type_name)


def is_gone(error: ClientError) -> bool:
    """Whether a service says that there is no such thing, which is what a deletion wants."""
    return bool(_GONE.search(error_code(error)))
