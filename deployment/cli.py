"""The command line: `python -m deployment COMMAND`."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deployment.account import connect
from deployment.admitted import DETECT, parse_cidr
from deployment.certificates import trusted_certificates
from deployment.console import Console, printable
from deployment.deploy import DeployOptions, deploy, follow
from deployment.destroy import DestroyOptions, destroy
from deployment.endpoint import find_endpoint
from deployment.errors import AWS_ERRORS, DeploymentError, before_anything_starts, explanation
from deployment.hints import Hints
from deployment.settings import settings_with
from deployment.stack import find_stack
from stacks.names import ParameterNames

INTERRUPTED = 130
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code: 0 it worked, 1 it did not, 2 nothing was started, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, not a UnicodeEncodeError.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    for number in _SIGNALS:
        # What is ignored (nohup, a background job of a script) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except DeploymentError as error:
        return _fail(str(error), error.exit_code)
    except AWS_ERRORS as error:
        return _fail(explanation(error), DeploymentError.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _fail(text: str, code: int) -> int:
    print(f"error: {printable(text)}", file=sys.stderr)
    return code


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployment", description="Secure Proxy in an AWS account.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, words: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=words, description=f"{words[0].upper()}{words[1:]}.", allow_abbrev=False
        )
        command.set_defaults(command=run)
        command.add_argument(
            "-c",
            "--context",
            action="append",
            default=[],
            type=_context,
            metavar="KEY=VALUE",
            help="CDK context, such as projectSettings.proxyFleet.minCapacity=3",
        )
        command.add_argument(
            "--hint-options", default="", metavar="WORDS", help="what the commands in messages carry, such as --local"
        )
        return command

    up = add("deploy", "deploy the stack, run the deployment workflow, follow it to its end", _deploy)
    up.add_argument("--no-wait", action="store_true", help="leave once the workflow has started")
    up.add_argument("--follow", metavar="ARN", help="only follow this execution of the workflow")
    up.add_argument(
        "--after-running",
        action="store_true",
        help="if an execution is under way, follow it to its end first, whichever that is, then deploy",
    )
    up.add_argument(
        "--admitted-cidr",
        type=_cidr,
        metavar=f"CIDR|{DETECT}",
        help="IPv4 block that may reach the public ports, or this machine's public address (default: as externalIp in "
        "cdk.json says; where that says to detect the address, an update keeps the block of before)",
    )
    up.add_argument(
        "--image-scanning",
        action=argparse.BooleanOptionalAction,
        help="have Amazon Inspector scan new images (default: if it is switched on for EC2)",
    )
    up.add_argument(
        "--reserved-concurrency",
        action=argparse.BooleanOptionalAction,
        help="one execution at a time of each function (default: if the account's quota is large enough)",
    )

    down = add("destroy", "delete the stack and the images that its pipelines have made", _destroy)
    for command in (up, down):
        command.add_argument("--yes", action="store_true", help="ask nothing")
        command.add_argument(
            "--poll", type=_seconds, default=10.0, metavar="SECONDS", help="how often to look (default: 10)"
        )

    where = add(
        "endpoint", "print the options by which `python -m client e2e` finds the deployment, a word a line", _endpoint
    )
    where.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="write the certificates of the proxies to FILE, unless authorities signed them, and print it too",
    )
    return parser


def _deploy(arguments: argparse.Namespace) -> None:
    options = DeployOptions(
        confirm=not arguments.yes,
        wait=not arguments.no_wait,
        after_running=arguments.after_running,
        context=tuple(arguments.context),
        admitted_cidr=arguments.admitted_cidr,
        image_scanning=arguments.image_scanning,
        reserved_concurrency=arguments.reserved_concurrency,
        poll=arguments.poll,
        hints=Hints(arguments.hint_options),
    )
    if arguments.follow is not None:
        follow(arguments.follow, options, os.environ, Console())
    else:
        deploy(options, os.environ, Console())


def _destroy(arguments: argparse.Namespace) -> None:
    options = DestroyOptions(
        confirm=not arguments.yes,
        context=tuple(arguments.context),
        poll=arguments.poll,
        hints=Hints(arguments.hint_options),
    )
    destroy(options, os.environ, Console())


def _endpoint(arguments: argparse.Namespace) -> None:
    hints = Hints(arguments.hint_options)
    settings = settings_with(arguments.context)
    names = ParameterNames(settings.ssm.project_prefix)
    with before_anything_starts():
        aws = connect(os.environ)
        endpoint = find_endpoint(aws, names, hints)
        stack = None if arguments.ca_file is None else find_stack(aws)
        certificates = "" if stack is None else trusted_certificates(aws, stack)
    if certificates:
        arguments.ca_file.write_text(certificates, encoding="ascii")
    ca_file = arguments.ca_file if certificates else None
    print("\n".join(endpoint.client_options(bridge=settings.proxy_settings.bridge, ca_file=ca_file)))


def _context(text: str) -> str:
    key, separator, _ = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return text


def _cidr(text: str) -> str:
    if text == DETECT:
        return text
    try:
        return parse_cidr(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{error}; an IPv4 block such as 203.0.113.7/32 is wanted, or {DETECT}"
        ) from error


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to 3600")
    return value
