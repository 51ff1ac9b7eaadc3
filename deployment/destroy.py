"""Removes everything: the stack, and what its pipelines have made."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from deployment import images
from deployment.account import Aws, Identity, connect, identify
from deployment.bootstrap import QUALIFIER, TOOLKIT_STACK
from deployment.console import Console
from deployment.emptying import empty_bucket, empty_groups, stop_executions
from deployment.errors import (
    AWS_ERRORS,
    DeploymentError,
    InterruptedByUserError,
    NotStartedError,
    before_anything_starts,
    explanation,
)
from deployment.hints import Hints
from deployment.inventory import Inventory, take_inventory
from deployment.settings import settings_with
from deployment.stack import Stack, failed_deletions, find_stack, resources_of
from deployment.waiting import Waiter
from stacks.names import STACK, ParameterNames

_CANCELLED_WITHIN_SECONDS = 30 * 60.0
_TERMINATED_WITHIN_SECONDS = 15 * 60.0
# Network interfaces of functions in a VPC alone can take 40 minutes.
_DELETED_WITHIN_SECONDS = 90 * 60.0
_DELETION_ATTEMPTS = 3
# How long a repeated deletion may still show how the one before it has ended.
_BEGUN_WITHIN_SECONDS = 2 * 60.0
# How long services may list what has been deleted.
_FORGOTTEN_WITHIN_SECONDS = 3 * 60.0
_FAILED = "DELETE_FAILED"
_UPDATING = ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "ROLLBACK_IN_PROGRESS")


@dataclass(frozen=True)
class DestroyOptions:
    """What the command line says."""

    confirm: bool = True
    context: tuple[str, ...] = ()
    poll: float = 10.0
    hints: Hints = field(default_factory=Hints)


def destroy(options: DestroyOptions, environment: Mapping[str, str], console: Console) -> None:
    """Removes all that there is. Safe to run again, also when the stack is gone already.

    Raises `NotStartedError` before anything was removed, and `DeploymentError` that names what is left.
    """
    names = ParameterNames(settings_with(options.context).ssm.project_prefix)
    with before_anything_starts():
        aws = connect(environment)
        if options.confirm and not sys.stdin.isatty():
            raise NotStartedError("there is no terminal to confirm the removal at: run it in one, or pass --yes")
        identity = identify(aws)
        console.line(f"account {identity.account}, region {aws.region}, as {identity.arn}")
        inventory = take_inventory(aws, names)
        _check_removable(inventory.stack, aws, options.hints)
    if inventory.is_empty:
        console.line(f"there is nothing to remove: no stack {STACK}, no image of it")
    else:
        _confirm(inventory, options, console)
        _remove(inventory, names, aws, Waiter(console, options.poll), options.hints)
    if options.hints.on_aws:
        _tell_what_stays(identity, aws, console)


def _check_removable(stack: Stack | None, aws: Aws, hints: Hints) -> None:
    if stack is not None and stack.status in _UPDATING:
        raise NotStartedError(
            f"the stack {STACK} is in state {stack.status}, in which CloudFormation deletes nothing. Wait until it has "
            f"ended, or stop an update: {hints.cancel_update(aws.region)}"
        )


def _confirm(inventory: Inventory, options: DestroyOptions, console: Console) -> None:
    console.plain("\nThis will be deleted:")
    for line in inventory.describe():
        console.plain(f"  {line}")
    console.plain()
    if options.confirm and not console.confirm("Delete all of it?"):
        raise NotStartedError("nothing was deleted")


def _remove(inventory: Inventory, names: ParameterNames, aws: Aws, waiter: Waiter, hints: Hints) -> None:
    again = f"what was begun goes on; take up where this ended with: {hints.destroy}"
    try:
        _stop_what_runs(inventory, aws, waiter)
        if inventory.stack is not None:
            _delete_stack(inventory.stack, aws, waiter)
        _delete_images(take_inventory(aws, names), aws, waiter)
        _verify(aws, names, waiter)
    except KeyboardInterrupt:
        raise InterruptedByUserError(f"interrupted; {again}") from None
    except AWS_ERRORS as error:
        raise DeploymentError(f"{explanation(error)}.\n  {again}") from error
    except DeploymentError as error:
        raise DeploymentError(f"{error}\n  {again}") from error
    finally:
        waiter.console.settle()


def _stop_what_runs(inventory: Inventory, aws: Aws, waiter: Waiter) -> None:
    for arn in stop_executions(aws, inventory.of_kind("AWS::StepFunctions::StateMachine")):
        waiter.console.line(f"stopped {arn}")
    _cancel_builds(inventory, aws, waiter)
    groups = inventory.of_kind("AWS::AutoScaling::AutoScalingGroup")
    empty_groups(aws, groups, waiter)
    if groups:
        waiter.console.line("Auto Scaling groups are empty")


def _cancel_builds(inventory: Inventory, aws: Aws, waiter: Waiter) -> None:
    """Cancels builds and waits for their end: Image Builder deletes nothing that is still being made."""
    pipelines = inventory.of_kind("AWS::ImageBuilder::ImagePipeline")

    def in_progress() -> str:
        running = [build for build in images.find_builds(aws, pipelines) if build.in_progress]
        return ", ".join(f"{build.name} {build.status}" for build in running)

    running = [build for build in inventory.builds if build.in_progress]
    for build in running:
        images.cancel_build(aws, build)
        waiter.console.line(f"cancelled the build {build.name}")
    if running:
        waiter.until_nothing(in_progress, within=_CANCELLED_WITHIN_SECONDS)


def _delete_stack(stack: Stack, aws: Aws, waiter: Waiter) -> None:
    """Deletes the stack. Load balancers write to their bucket to the end, so it may have to be emptied again."""
    status = stack.status
    for attempt in range(1, _DELETION_ATTEMPTS + 1):
        for resource in resources_of(aws, stack):
            if resource.kind == "AWS::S3::Bucket":
                count = empty_bucket(aws, resource.physical_id)
                waiter.console.line(f"bucket {resource.physical_id}: deleted {count} objects")
        aws.client("cloudformation").delete_stack(StackName=stack.id)
        if status == _FAILED:
            with suppress(DeploymentError):  # it may have failed again before anybody looked
                waiter.until_nothing(lambda: _not_begun(stack, aws), within=_BEGUN_WITHIN_SECONDS)
        waiter.until_nothing(lambda: _deletion(stack, aws), within=_DELETED_WITHIN_SECONDS)
        left = find_stack(aws, stack.id)
        if left is None:
            waiter.console.line(f"stack {STACK}: deleted")
            return
        status = left.status
        if attempt < _DELETION_ATTEMPTS:
            waiter.console.line(f"stack {STACK}: {left.status}, trying again")
            for build in images.find_builds(aws, []):  # a recipe may be held by what was made of it
                images.delete_build(aws, build)
    raise DeploymentError(f"CloudFormation cannot delete the stack: {'; '.join(failed_deletions(aws, stack))}")


def _not_begun(stack: Stack, aws: Aws) -> str:
    found = find_stack(aws, stack.id)
    return f"stack {STACK}: another attempt begins" if found is not None and found.status == _FAILED else ""


def _deletion(stack: Stack, aws: Aws) -> str:
    found = find_stack(aws, stack.id)
    if found is None or found.status == _FAILED:
        return ""
    return f"stack {STACK}: {found.status}, {len(resources_of(aws, stack))} resources left"


def _delete_images(inventory: Inventory, aws: Aws, waiter: Waiter) -> None:
    console = waiter.console
    if inventory.instances:
        images.terminate_instances(aws, inventory.instances)
        waiter.until_nothing(
            lambda: ", ".join(f"{name} ends" for name in images.find_instances(aws)), within=_TERMINATED_WITHIN_SECONDS
        )
    for build in inventory.builds:
        images.delete_build(aws, build)
        console.line(f"Image Builder image {build.name}: deleted")
    for ami in inventory.amis:
        images.delete_ami(aws, ami)
        console.line(f"AMI {ami.id}: deregistered")
    for snapshot in inventory.snapshots:
        images.delete_snapshot(aws, snapshot)
        console.line(f"snapshot {snapshot}: deleted")
    if inventory.parameters:
        aws.client("ssm").delete_parameters(Names=inventory.parameters)


def _verify(aws: Aws, names: ParameterNames, waiter: Waiter) -> None:
    """Looks until nothing is left. Services list for a while what was deleted."""
    waiter.until_nothing(lambda: "; ".join(take_inventory(aws, names).describe()), within=_FORGOTTEN_WITHIN_SECONDS)
    waiter.console.line("nothing is left")


def _tell_what_stays(identity: Identity, aws: Aws, console: Console) -> None:
    bucket = f"cdk-{QUALIFIER}-assets-{identity.account}-{aws.region}"
    console.plain(
        f"\n  The bootstrap resources of the CDK stay: other stacks may need them. If none does, empty and delete the\n"
        f"  bucket {bucket}, then run:\n"
        f"    aws cloudformation delete-stack --stack-name {TOOLKIT_STACK} --region {aws.region}"
    )
