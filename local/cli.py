"""The command line of the local target: `python -m local COMMAND`."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address

from local.base_root import DEFAULT_MIRROR
from local.cleanup import Cleanup, purge_cache, stop_command
from local.commands import Commands
from local.control_groups import ControlGroups
from local.deployment import Deployment
from local.endpoint.control import Endpoint
from local.errors import LocalError, UsageError
from local.layout import Layout
from local.locks import LockedError, locked
from local.plan import DEFAULT_LISTEN, DEFAULT_SOURCE_BASE_URL, UpOptions, make_plan
from local.prerequisites import (
    check_listen,
    check_platform,
    check_tools,
    missing_packages,
    use_admin_path,
)
from local.processes import tail
from local.progress import Progress
from local.status import client_options, status, text
from local.up import Up

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 it worked, 1 it failed, 2 it could not start, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its escape, not a UnicodeEncodeError.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    # Load balancers and name server run under accounts of their own, and machines have users: what they read must not
    # depend on the caller's mask. What is for root alone has modes of its own.
    os.umask(0o022)
    use_admin_path()
    for number in _SIGNALS:
        # What is ignored (nohup, a background job of a script) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except LocalError as error:
        return _fail(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(text: str, code: int) -> int:
    with suppress(OSError):  # the terminal may be gone
        print(text, file=sys.stderr)
    return code


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    """Let no second Ctrl-C interrupt the clean-up that the first one began."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="Secure Proxy on this machine, without AWS.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, words: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        command.set_defaults(command=run)
        if name != "prerequisites":
            command.add_argument("--name", default="default", help="which deployment (default: default)")
        return command

    up = add("up", "build the images, boot the machines and wait until all is healthy", _up)
    up.add_argument("--nginx-build", choices=("distribution", "source"), default="distribution")
    up.add_argument(
        "--source-base-url",
        default=DEFAULT_SOURCE_BASE_URL,
        metavar="URL",
        help="where owner/name is cloned from (source)",
    )
    up.add_argument("--bridge", choices=("lua", "websockify"), help="instead of what cdk.json says")
    up.add_argument(
        "--authentication",
        choices=("external", "openidc"),
        help="instead of external (distribution build) or what cdk.json says (source build)",
    )
    up.add_argument("--proxies", type=_count, default=1, metavar="N", help="how many proxies, 1 to 4 (default: 1)")
    up.add_argument(
        "--listen",
        metavar="ADDRESS",
        help=f"a loopback address for the public listeners (default: where it listens already, else {DEFAULT_LISTEN})",
    )
    up.add_argument("--debian-mirror", default=DEFAULT_MIRROR, metavar="URL", help=f"(default: {DEFAULT_MIRROR})")

    show = add("status", "show machines, addresses, ports, health and logs", _status)
    show.add_argument("--json", action="store_true")

    where = add(
        "endpoint", "print the options by which `python -m client` finds the deployment, a word a line", _endpoint
    )
    where.add_argument("--no-ca-file", action="store_true", help="leave out the certificate authority to trust")

    logs = add("logs", "show the journal of a machine, or a log by its name", _logs)
    logs.add_argument("log", metavar="NAME")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=200, metavar="N")

    shell = add("shell", "open a root shell in a machine, or run a command there", _shell)
    shell.add_argument("machine", metavar="NAME")
    shell.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD...")

    down = add("down", "remove the deployment and all that it left", _down)
    down.add_argument("--purge-cache", action="store_true", help="also remove the cached base root and downloads")

    needs = add("prerequisites", "list the Debian packages that are missing, one a line", _prerequisites)
    needs.add_argument("--json", action="store_true")
    return parser


def _up(arguments: argparse.Namespace) -> int:
    layout = Layout(arguments.name)
    options = UpOptions(
        nginx_build=arguments.nginx_build,
        source_base_url=arguments.source_base_url.rstrip("/"),
        bridge=arguments.bridge,
        authentication=arguments.authentication,
        proxies=arguments.proxies,
        listen=check_listen(arguments.listen) if arguments.listen else _where_it_listens(layout),
    )
    check_platform()
    plan = make_plan(options)
    check_tools()
    layout.cache_base.mkdir(parents=True, exist_ok=True, mode=0o755)
    try:
        with locked(layout.lock, parents=True), Progress() as progress:
            for line in plan.describe():
                progress.line("plan", line)
            mirror = arguments.debian_mirror.rstrip("/")
            deployment = Up(layout, plan, mirror, progress, threading.Event(), _ignore_interrupts).run()
    except LockedError as error:
        raise UsageError(
            f"another command works on deployment {layout.name!r} (process {error.holder}); wait for it, or end it "
            f"with: {layout.destroy_command}"
        ) from None
    print()
    print(text(status(deployment)))
    return 0


def _where_it_listens(layout: Layout) -> IPv4Address:
    with suppress(LocalError):
        return Deployment.load(layout=layout).record.listen
    return DEFAULT_LISTEN


def _status(arguments: argparse.Namespace) -> int:
    check_platform()
    state = status(Deployment.load(arguments.name))
    print(json.dumps(state, indent=2) if arguments.json else text(state))
    return 0


def _endpoint(arguments: argparse.Namespace) -> int:
    print("\n".join(client_options(Deployment.load(arguments.name), trust=not arguments.no_ca_file)))
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    check_platform()
    layout = Layout(arguments.name)
    follow = ["--follow"] if arguments.follow else []
    with suppress(LocalError):
        deployment = Deployment.load(layout=layout)
        if arguments.log in deployment.record.machines:
            command = deployment.machine(arguments.log).journal_command()
            os.execvp(command[0], [*command, f"--lines={arguments.lines}", *follow])  # noqa: S606  (becomes the tool)
    path = layout.logs / f"{arguments.log}.log"
    if not path.is_file():
        known = sorted(entry.stem for entry in layout.logs.glob("*.log")) if layout.logs.is_dir() else []
        machines = sorted(entry.name for entry in layout.machines.glob("*")) if layout.machines.is_dir() else []
        raise LocalError(f"no log {arguments.log!r}; there are: {', '.join([*machines, *known]) or 'none'}")
    if arguments.follow:
        os.execvp("tail", ["tail", "-n", str(arguments.lines), "-F", str(path)])  # noqa: S606  (becomes the tool)
    print(tail(path, arguments.lines))
    return 0


def _shell(arguments: argparse.Namespace) -> int:
    check_platform()
    machine = Deployment.load(arguments.name).machine(arguments.machine)
    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    command = machine.enter(argv or ["bash", "-l"])
    os.execvp(command[0], command)  # noqa: S606  (becomes the tool)


def _down(arguments: argparse.Namespace) -> int:
    check_platform()
    layout = Layout(arguments.name)
    try:
        with locked(layout.lock, parents=True):
            pass
    except LockedError as error:
        stop_command(error.holder, print)
    with locked(layout.lock, wait=True, parents=True):
        existed = layout.state.exists()
        destroyed = _destroy_on_endpoint(layout)
        Cleanup(layout, ControlGroups()).remove()
    if not destroyed:
        raise LocalError(
            "what was deployed could not be destroyed as on AWS, see above; the machines and all else here are removed"
        )
    print(f"deployment {layout.name!r}: " + ("removed; nothing of it is left" if existed else "there was none"))
    if arguments.purge_cache:
        purge_cache(layout)
        print(f"cache {layout.cache_base}: removed")
    elif layout.cache_base.is_dir():
        print(f"cache kept in {layout.cache_base} (base root and package downloads); remove it with --purge-cache")
    return 0


def _destroy_on_endpoint(layout: Layout) -> bool:
    """Whether nothing that was deployed is left on the endpoint; an unfinished deployment goes with the endpoint."""
    if not layout.deployed.exists() or not Endpoint(layout).running:
        return True
    return Commands(layout).destroy() == 0


def _count(text: str) -> int:
    if text not in ("1", "2", "3", "4"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 4")
    return int(text)


def _prerequisites(arguments: argparse.Namespace) -> int:
    packages = missing_packages()
    if arguments.json:
        print(json.dumps({"missing": packages}))
    else:
        print("\n".join(packages), end="\n" if packages else "")
    return 0
