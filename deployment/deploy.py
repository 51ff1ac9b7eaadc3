"""Deploys: checks, `cdk deploy`, the workflow, the endpoints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployment.account import Aws, connect, identify
from deployment.admitted import admitted_cidr
from deployment.bootstrap import check_bootstrapped
from deployment.cdk import check_cli, deploy_stack
from deployment.console import Console
from deployment.endpoint import find_endpoint
from deployment.errors import DeploymentError, InterruptedByUserError, NotStartedError, before_anything_starts
from deployment.execution import running_executions, start, state_machine_arn
from deployment.facilities import image_scanning, reserved_concurrency
from deployment.follow import Follower
from deployment.hints import Hints
from deployment.settings import settings_with
from deployment.stack import Stack, check_deployable, find_stack
from deployment.waiting import Waiter
from stacks.names import ADMITTED_CIDR, IMAGE_SCANNING, RESERVED_CONCURRENCY, STACK, ParameterNames
from stacks.settings import ProjectSettings


@dataclass(frozen=True)
class DeployOptions:
    """What the command line says. `None` is for what is to be found out."""

    confirm: bool = True
    wait: bool = True
    after_running: bool = False
    context: tuple[str, ...] = ()
    admitted_cidr: str | None = None
    image_scanning: bool | None = None
    reserved_concurrency: bool | None = None
    poll: float = 10.0
    hints: Hints = field(default_factory=Hints)


def deploy(options: DeployOptions, environment: Mapping[str, str], console: Console) -> None:
    """Deploys the stack, starts the workflow and follows it to its end.

    Raises `NotStartedError` before anything was changed, `DeploymentError` afterwards.
    """
    settings = settings_with(options.context)
    names = ParameterNames(settings.ssm.project_prefix)
    check_cli()
    with before_anything_starts():
        aws = connect(environment)
        if options.confirm and not sys.stdin.isatty():
            raise NotStartedError("there is no terminal to confirm changes at: run it in one, or pass --yes")
        parameters = _check_account(options, settings, aws, console)
        running = _running_execution(aws, names)
    if running is not None and not options.after_running:
        _follow_instead(running, options, aws, console)
    else:
        if running is not None:
            _follow_first(running, options, aws, console)
        console.line(f"cdk deploy {STACK}")
        deploy_stack(aws, parameters=parameters, context=options.context, confirm=options.confirm, hints=options.hints)
        console.line("stack deployed")
        if not _run_workflow(options, names, aws, console):
            return
    _show_end(names, aws, console, options.hints)


def follow(execution_arn: str, options: DeployOptions, environment: Mapping[str, str], console: Console) -> None:
    """Follows an execution that was started earlier; ends as `deploy` does."""
    settings = settings_with(options.context)
    with before_anything_starts():
        aws = connect(environment)
        identify(aws)
    Follower(aws, Waiter(console, options.poll), options.hints).follow(execution_arn)
    _show_end(ParameterNames(settings.ssm.project_prefix), aws, console, options.hints)


def _check_account(options: DeployOptions, settings: ProjectSettings, aws: Aws, console: Console) -> dict[str, str]:
    """Everything that can be known beforehand; the parameters of the stack."""
    identity = identify(aws)
    console.line(f"account {identity.account}, region {aws.region}, as {identity.arn}")
    if settings.imagebuilder.notification_email is None:
        console.line(
            "nobody will be told about failures: imagebuilder.imageBuilderEmailAddress in cdk.json is a placeholder"
        )
    console.line(f"CDK bootstrap resources of version {check_bootstrapped(aws, identity, options.hints)}")
    stack: Stack | None = find_stack(aws)
    check_deployable(stack, aws, options.hints)
    console.line(f"stack {STACK}: {stack.status if stack else 'not there yet'}")
    concurrency = reserved_concurrency(options.reserved_concurrency, aws, stack)
    console.line(f"reserved concurrency: {concurrency}")
    scanning = image_scanning(options.image_scanning, aws, identity)
    console.line(f"image scanning: {scanning}")
    present = None if stack is None else stack.parameters.get(ADMITTED_CIDR)
    cidr, origin = admitted_cidr(options.admitted_cidr, settings.external_ip, present)
    console.line(f"public ports admit {cidr} ({origin})")
    # All of them, always: the CLI would keep the value of the last deployment for one that is not given.
    return {
        ADMITTED_CIDR: cidr,
        IMAGE_SCANNING: scanning.parameter,
        RESERVED_CONCURRENCY: concurrency.parameter,
    }


def _running_execution(aws: Aws, names: ParameterNames) -> str | None:
    machine = state_machine_arn(aws, names)
    running = [] if machine is None else running_executions(aws.client("stepfunctions"), machine)
    return running[0] if running else None


def _follow_instead(execution_arn: str, options: DeployOptions, aws: Aws, console: Console) -> None:
    """Follows what runs already, if the user wants that; else raises `NotStartedError` with the ways out."""
    text = f"a deployment is under way: {execution_arn}"
    if not (options.confirm and console.confirm(f"{text}\nFollow it?")):
        raise NotStartedError(
            f"{text}\n  follow it: {options.hints.follow(execution_arn)}\n"
            f"  stop it:   {options.hints.stop(execution_arn, aws.region)}"
        )
    Follower(aws, Waiter(console, options.poll), options.hints).follow(execution_arn)


def _follow_first(execution_arn: str, options: DeployOptions, aws: Aws, console: Console) -> None:
    """Follows what runs already to its end, whichever that is: what is deployed next takes its place."""
    console.line(f"a deployment is under way, which is followed first: {execution_arn}")
    try:
        Follower(aws, Waiter(console, options.poll), options.hints).follow(execution_arn)
    except InterruptedByUserError:
        raise
    except DeploymentError as error:
        console.line(str(error))


def _run_workflow(options: DeployOptions, names: ParameterNames, aws: Aws, console: Console) -> bool:
    """Starts the workflow; whether it was also followed to its end."""
    machine = state_machine_arn(aws, names)
    if machine is None:
        raise DeploymentError(f"the stack is deployed, but has no parameter {names.state_machine}; deploy again")
    execution_arn = start(aws.client("stepfunctions"), machine)
    console.plain(f"State Machine Arn: {machine}")
    console.plain(f"State Machine Execution Arn: {execution_arn}")
    if not options.wait:
        console.plain(f"\n  not waited for; follow it: {options.hints.follow(execution_arn)}")
        return False
    Follower(aws, Waiter(console, options.poll), options.hints).follow(execution_arn)
    console.line("deployed")
    return True


def _show_end(names: ParameterNames, aws: Aws, console: Console, hints: Hints) -> None:
    console.plain()
    for line in find_endpoint(aws, names, hints).describe():
        console.plain(line)
    console.plain(f"\n  next: {hints.verify}     and, to remove it: {hints.destroy}")
