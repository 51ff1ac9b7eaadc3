"""boto3 clients of the endpoint inside its own process: requests go to its application without a socket.

So the parts of the endpoint ask each other as everybody else asks them, and what one of them does differently from
moto holds for all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.model import ListShape, MapShape, Shape, StructureShape
from moto.core.botocore_stubber import MockRawResponse
from werkzeug.test import EnvironBuilder, run_wsgi_app

from local.endpoint.account import REGION

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_CONFIG = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})


class Clients:
    """Clients of `application`, whose address is `url`; one of a kind, to be used by any thread."""

    def __init__(self, application: WSGIApplication, url: str) -> None:
        self._application = application
        self._session = boto3.Session("test", "test", region_name=REGION)
        self.url = url
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """The client of an AWS service, such as `ec2`."""
        with self._lock:
            if service not in self._clients:
                client = self._session.client(service, endpoint_url=self.url, config=_CONFIG)  # type: ignore[call-overload]
                client.meta.events.register("before-send", self._send)
                self._clients[service] = client
            return self._clients[service]

    def prepare(self, services: Iterable[str]) -> None:
        """Make clients before they are asked for, in a thread: each takes a while, and nothing else is to do yet."""
        threading.Thread(target=lambda: [self.client(service) for service in services], daemon=True).start()

    def call(self, service: str, operation: str, parameters: Mapping[str, Any]) -> Any:
        """Call an operation (boto3's name for it) with parameters whose scalars may be of another type.

        Templates hold numbers as strings and the other way round. Raises what boto3 raises.
        """
        client = self.client(service)
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
        shape = model.input_shape
        return getattr(client, operation)(**(typed(parameters, shape) if shape else {}))

    def _send(self, request: AWSPreparedRequest, **__: Any) -> AWSResponse:
        body: Any = request.body or b""
        path, _, query = request.url.removeprefix(self.url).partition("?")
        builder = EnvironBuilder(
            path or "/",
            base_url=self.url,
            query_string=query,
            method=request.method,
            headers=[(name, _text(value)) for name, value in request.headers.items()],
            data=body.read() if hasattr(body, "read") else body,
        )
        chunks, status, headers = run_wsgi_app(self._application, builder.get_environ())
        answer = HTTPHeaders()
        for name, value in headers.items():
            answer.add_header(name, value)
        return AWSResponse(request.url, int(status.split()[0]), answer, MockRawResponse(b"".join(chunks)))


def typed(value: Any, shape: Shape) -> Any:
    """The value as the shape wants it: scalars of its types, names that begin small where the service's do.

    What is of another structure passes, for boto3 to refuse.
    """
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return dict(_member(key, entry, shape) for key, entry in value.items())
    if isinstance(shape, ListShape) and isinstance(value, list | tuple):
        return [typed(entry, shape.member) for entry in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {key: typed(entry, shape.value) for key, entry in value.items()}
    return _scalar(value, shape.type_name)


def _member(key: str, value: Any, shape: StructureShape) -> tuple[str, Any]:
    name = key if key in shape.members else key[:1].lower() + key[1:]
    return (name, typed(value, shape.members[name])) if name in shape.members else (key, value)


def _scalar(value: Any, kind: str) -> Any:
    if isinstance(value, str):
        if kind in ("integer", "long") and value.lstrip("-").isdecimal():
            return int(value)
        if kind in ("float", "double"):
            return float(value)
        if kind == "boolean" and value in ("true", "false"):
            return value == "true"
    elif kind == "string" and isinstance(value, bool):
        return str(value).lower()
    elif kind == "string" and isinstance(value, int | float):
        return str(value)
    return value


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
