"""A service of ours, spoken as the AWS SDKs speak it: botocore's model says what a request and an answer look like.

Used for what moto has not (Image Builder) or does otherwise than AWS (CloudFormation). moto's parsers and serializers
do the protocols; an operation is a method of the implementation, named as in boto3, from a dict to a dict.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from botocore import xform_name
from botocore.model import OperationNotFoundError
from moto.core.exceptions import ServiceException
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)


class ServiceError(ServiceException):
    """What a service answers instead of a result: a code of its model and a text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


class Service:
    """The WSGI application of the service that boto3 calls `name`."""

    def __init__(self, name: str, implementation: object) -> None:
        self._name = name
        self._implementation = implementation

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        operation, uri = self._operation(request)
        serializer = get_serializer_class(self._name, self._protocol)(operation_model=operation)
        try:
            result: object = self._call(operation, self._parsed(request, operation, uri))
        except ServiceException as error:
            result = error
        except Exception:
            logger.exception("%s %s", self._name, operation.name)
            result = ServiceError("InternalFailure", f"{operation.name} failed; the endpoint's log tells why")
        answer = serializer.serialize(result)
        return Response(answer["body"], answer["status_code"], dict(answer["headers"]))

    def _call(self, operation: OperationModel, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        method = getattr(self._implementation, xform_name(operation.name), None)
        if method is None:
            raise ServiceError("InvalidAction", f"the local endpoint has no {self._name}:{operation.name}")
        return method(parameters) or {}

    def _parsed(self, request: Request, operation: OperationModel, uri: Mapping[str, str]) -> Mapping[str, Any]:
        parser = PROTOCOL_PARSERS[self._protocol](operation)
        parsed: Mapping[str, Any] = parser.parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": request.get_data(),
                "url_path": request.path,
                "url_params": dict(uri),
            }
        )
        return parsed

    def _operation(self, request: Request) -> tuple[OperationModel, Mapping[str, str]]:
        """The operation asked for, and the parts of the path that are parameters."""
        if self._protocol.startswith("rest"):
            for method, pattern, name in self._routes:
                match = pattern.fullmatch(request.path)
                if method == request.method and match:
                    found = {key[1:]: unquote(value) for key, value in match.groupdict().items()}
                    return self._model.operation_model(name), found
            named = f"{request.method} {request.path}"
        else:
            named = request.values.get("Action") or request.headers.get("X-Amz-Target", "").rpartition(".")[2]
            try:
                return self._model.operation_model(named), {}
            except OperationNotFoundError:
                pass
        return OperationModel({"name": named}, self._model, named), {}

    @cached_property
    def _model(self) -> ServiceModel:
        return get_service_model(self._name)

    @property
    def _protocol(self) -> str:
        return str(self._model.metadata["protocol"])

    @cached_property
    def _routes(self) -> list[tuple[str, re.Pattern[str], str]]:
        """Method, path and name of each operation; parameters of the path are groups `_name`."""
        routes = []
        for name in self._model.operation_names:
            http = self._model.operation_model(name).http
            path = re.sub(r"\\\{(\w+)(\\\+)?\\\}", r"(?P<_\1>.+)", re.escape(http["requestUri"].partition("?")[0]))
            routes.append((http["method"], re.compile(path), name))
        return routes
