"""What an image is made of: components, recipes, configurations, pipelines and lifecycle policies.

https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local.endpoint.account import arn
from local.endpoint.services import ServiceError

_Parameters = Mapping[str, Any]
_CLIENT_ONLY = ("clientToken", "dryRun")


@dataclass(frozen=True)
class Kind:
    """A kind of resource: the part of its ARN, and of operations' and parameters' names."""

    path: str  # in the ARN
    word: str  # in boto3's operations
    key: str  # in requests and answers
    versioned: bool = False
    suffix: str = ""  # of the ARN

    @property
    def arn_key(self) -> str:
        return f"{self.key}Arn"

    def arn_of(self, parameters: _Parameters) -> str:
        """The ARN of a resource made with these parameters."""
        name = re.sub(r"[^a-z0-9-]+", "-", parameters["name"].lower())
        version = f"/{parameters['semanticVersion']}" if self.versioned else ""
        return arn("imagebuilder", f"{self.path}/{name}{version}{self.suffix}")


COMPONENT = Kind("component", "component", "component", versioned=True, suffix="/1")
RECIPE = Kind("image-recipe", "image_recipe", "imageRecipe", versioned=True)
INFRASTRUCTURE = Kind("infrastructure-configuration", "infrastructure_configuration", "infrastructureConfiguration")
DISTRIBUTION = Kind("distribution-configuration", "distribution_configuration", "distributionConfiguration")
PIPELINE = Kind("image-pipeline", "image_pipeline", "imagePipeline")
LIFECYCLE = Kind("lifecycle-policy", "lifecycle_policy", "lifecyclePolicy")
KINDS = (COMPONENT, RECIPE, INFRASTRUCTURE, DISTRIBUTION, PIPELINE, LIFECYCLE)


_image_tags: dict[str, dict[str, str]] = {}  # by the ARN of a pipeline


def set_image_tags(pipeline_arn: str, tags: Mapping[str, str]) -> None:
    """Tags for all images that a pipeline makes from now on."""
    _image_tags[pipeline_arn] = dict(tags)


class ImageResources:
    """The account's resources, and the operations that make, tell, change and delete them.

    Operations are methods named as in boto3: `create_component`, `get_component`, `delete_component` and so on.
    """

    def __init__(self) -> None:
        self._stored: dict[str, dict[str, Any]] = {}  # by ARN
        self._lock = threading.RLock()

    def resource(self, kind: Kind, identity: str) -> dict[str, Any]:
        """What was said of the resource with that ARN, and its `arn`. Raises `ResourceNotFoundException`."""
        found = self._stored.get(identity)
        if found is None or found["kind"] is not kind:
            raise ServiceError("ResourceNotFoundException", f"The resource {identity} cannot be found.")
        tags = {"imageTags": _image_tags.get(identity, {})} if kind is PIPELINE else {}
        return {**found["said"], "arn": identity, "dateCreated": found["created"], **tags}

    def of_kind(self, kind: Kind) -> list[dict[str, Any]]:
        """All resources of a kind."""
        return [
            self.resource(kind, identity) for identity in list(self._stored) if self._stored[identity]["kind"] is kind
        ]

    def tag_resource(self, parameters: _Parameters) -> _Parameters:
        """Adds tags to a resource, or changes them."""
        self._change_tags(parameters["resourceArn"], lambda tags: {**tags, **parameters["tags"]})
        return {}

    def untag_resource(self, parameters: _Parameters) -> _Parameters:
        """Takes tags from a resource."""
        gone = parameters["tagKeys"]
        self._change_tags(
            parameters["resourceArn"], lambda tags: {key: value for key, value in tags.items() if key not in gone}
        )
        return {}

    def _change_tags(self, identity: str, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        with self._lock:
            if identity not in self._stored:
                raise ServiceError("ResourceNotFoundException", f"The resource {identity} cannot be found.")
            before = self._stored[identity]
            said = {**before["said"], "tags": change(before["said"].get("tags", {}))}
            self._stored[identity] = {**before, "said": said}

    def __getattr__(self, operation: str) -> Callable[[_Parameters], _Parameters]:
        verb, _, word = operation.partition("_")
        kind = next((kind for kind in KINDS if kind.word == word), None)
        verbs = {"create": self._create, "get": self._get, "update": self._update, "delete": self._delete}
        if kind is None or verb not in verbs or (verb == "update" and kind.versioned):
            raise AttributeError(operation)
        return lambda parameters: verbs[verb](kind, parameters)

    def _create(self, kind: Kind, parameters: _Parameters) -> _Parameters:
        identity = kind.arn_of(parameters)
        with self._lock:
            if identity in self._stored:
                raise ServiceError(
                    "ResourceAlreadyExistsException",
                    f"The following resource '{kind.path}' already exists: '{identity}'.",
                )
            self._check_references(parameters)
            said = {key: value for key, value in parameters.items() if key not in _CLIENT_ONLY}
            self._stored[identity] = {"kind": kind, "said": said, "created": _now()}
        return {**_request(parameters), _arn_in_answer(kind, "create"): identity}

    def _get(self, kind: Kind, parameters: _Parameters) -> _Parameters:
        found = self.resource(kind, parameters.get(kind.arn_key) or parameters[f"{kind.key}BuildVersionArn"])
        if kind.versioned:
            found["version"] = found["semanticVersion"]
        return {"requestId": str(uuid.uuid4()), kind.key: found}

    def _update(self, kind: Kind, parameters: _Parameters) -> _Parameters:
        identity = parameters[kind.arn_key]
        with self._lock:
            self.resource(kind, identity)
            self._check_references({key: value for key, value in parameters.items() if key != kind.arn_key})
            before = self._stored[identity]
            fixed = {key: before["said"][key] for key in ("name", "tags") if key in before["said"]}
            said = {key: value for key, value in parameters.items() if key not in (*_CLIENT_ONLY, kind.arn_key)}
            self._stored[identity] = {**before, "said": {**fixed, **said}}
        return {**_request(parameters), kind.arn_key: identity}

    def _delete(self, kind: Kind, parameters: _Parameters) -> _Parameters:
        key = _arn_in_answer(kind, "delete")
        identity = parameters[key]
        with self._lock:
            self.resource(kind, identity)
            users = [other for other, entry in self._stored.items() if identity in _references(entry["said"])]
            if users:
                raise ServiceError(
                    "ResourceDependencyException",
                    f"Resource dependency error: The resource ARN '{identity}' has other resources depended on it: "
                    + ", ".join(users),
                )
            del self._stored[identity]
        return {"requestId": str(uuid.uuid4()), key: identity}

    def _check_references(self, parameters: _Parameters) -> None:
        for identity in _references(parameters):
            if ":aws:" not in identity.partition("arn:aws:")[2] and identity not in self._stored:
                raise ServiceError("InvalidParameterValueException", f"The resource {identity} does not exist.")


def _references(parameters: _Parameters) -> list[str]:
    """The ARNs of resources of Image Builder that a resource is made of."""
    own = [parameters[kind.arn_key] for kind in KINDS if kind.arn_key in parameters]
    return own + [entry[COMPONENT.arn_key] for entry in parameters.get("components", [])]


def _arn_in_answer(kind: Kind, verb: str) -> str:
    return "componentBuildVersionArn" if kind is COMPONENT and verb in ("create", "delete") else kind.arn_key


def _request(parameters: _Parameters) -> dict[str, str]:
    return {"requestId": str(uuid.uuid4()), "clientToken": parameters.get("clientToken", "")}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
