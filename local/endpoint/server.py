"""The endpoint as a web server: who answers what.

moto's application answers all but these: CloudFormation and Image Builder, which are ours (see there why), invocations
of functions, and the answers of custom resources. It listens on 127.0.0.1 alone. Its state is in memory: when it ends,
the deployment on it is gone, and `destroy.sh --local` tidies up what that leaves on the machine.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from moto.core.config import default_user_config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Request, Response

from local.endpoint import buckets
from local.endpoint.account import HOST, environment
from local.endpoint.clients import Clients
from local.endpoint.cloudformation import resources_custom
from local.endpoint.cloudformation.api import CloudFormation
from local.endpoint.functions import Functions
from local.endpoint.image_builder.api import ImageBuilderApi
from local.endpoint.image_builder.builds import Workshop
from local.endpoint.seed import seed
from local.endpoint.services import Service
from local.layout import Layout

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Of the header `Authorization`, or of a pre-signed URL.
_SCOPE = re.compile(r"Credential=[^/,]+/\d{8}/[^/]+/([^/]+)/aws4_request")

# Their clients are made while the CDK CLI synthesizes, not while somebody waits for the stack.
_USED_BY_TEMPLATES = (
    *("iam", "ecr", "s3", "ssm", "elbv2", "imagebuilder", "logs", "kms", "lambda", "sns", "sqs", "autoscaling"),
    *("stepfunctions", "cloudwatch", "events"),
)

logger = logging.getLogger(__name__)


class Application:
    """The WSGI application."""

    def __init__(self, layout: Layout, port: int, make_workshop: Callable[[Clients], Workshop]) -> None:
        os.environ["MOTO_PORT"] = str(port)  # where moto's Step Functions call Lambda
        default_user_config["stepfunctions"]["execute_state_machine"] = True
        default_user_config["iam"]["load_aws_managed_policies"] = True
        buckets.install()
        self.clients = Clients(self, f"http://localhost:{port}")
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._functions = Functions(layout, environment(port))
        self.image_builder = ImageBuilderApi(make_workshop(self.clients))
        self._services = {
            "cloudformation": Service("cloudformation", CloudFormation(self.clients)),
            "imagebuilder": Service("imagebuilder", self.image_builder),
        }
        seed(self.clients)
        self.clients.prepare(_USED_BY_TEMPLATES)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._answer(environ, start_response)
        except NotImplementedError as error:  # moto's word for an operation that it has not
            return _unknown_operation(Request(environ), str(error))(environ, start_response)
        except Exception:
            logger.exception("%s %s", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return Response("internal failure; the endpoint's log tells why", 500)(environ, start_response)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(resources_custom.PATH):
            taken = resources_custom.answer(path.removeprefix(resources_custom.PATH), Request(environ).get_data())
            return Response(status=200 if taken else 404)(environ, start_response)
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        service = scope[1] if scope else ""
        if service == "lambda" and self._functions.serves(environ["REQUEST_METHOD"], path):
            return self._functions.respond(Request(environ))(environ, start_response)
        found: Iterable[bytes] = self._services.get(service, self._moto)(environ, start_response)
        return found


def _unknown_operation(request: Request, message: str) -> Response:
    """An error of the client, which the SDKs do not try again, in both protocols that name operations."""
    if "json" in (request.content_type or ""):
        body = json.dumps({"__type": "UnknownOperationException", "message": message})
        return Response(body, 400, content_type="application/x-amz-json-1.1")
    error = f"<Error><Code>InvalidAction</Code><Message>{escape(message)}</Message></Error>"
    return Response(f"<ErrorResponse>{error}</ErrorResponse>", 400, content_type="text/xml")


def listen(application: Application, port: int) -> BaseWSGIServer:
    """The application's server; the caller runs it. Raises `OSError` if the port is taken."""
    return make_server(HOST, port, application, threaded=True, request_handler=MotoRequestHandler)
