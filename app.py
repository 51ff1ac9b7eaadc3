#!/usr/bin/env python3
"""The CDK app: `cdk synth` and `cdk deploy` run it. It asks nobody anything: no account, no network, no clock."""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

_OUR_PACKAGES = tuple(f"{Path(__file__).resolve().parent / package}/" for package in ("stacks", "lambdas"))
_write_bytecode = SourceFileLoader.set_data


def _write_bytecode_of_others(loader: SourceFileLoader, path: str, data: bytes, *, _mode: int = 0o666) -> None:
    """Leaves nothing beside our own sources, but the bytecode of the CDK, which takes ten seconds to compile."""
    if not path.startswith(_OUR_PACKAGES):
        _write_bytecode(loader, path, data, _mode=_mode)


SourceFileLoader.set_data = _write_bytecode_of_others  # type: ignore[method-assign, assignment]

from collections.abc import Mapping  # noqa: E402
from typing import Any  # noqa: E402

import aws_cdk as cdk  # noqa: E402
from cdk_nag import AwsSolutionsChecks  # noqa: E402

from stacks.names import STACK  # noqa: E402
from stacks.options import DeploymentOptions  # noqa: E402
from stacks.secure_proxy_stack import SecureProxyStack  # noqa: E402
from stacks.settings import SettingsError, load_settings  # noqa: E402


def build_app(context: Mapping[str, Any] | None = None, outdir: str | None = None) -> cdk.App:
    """The app with its one stack.

    With context `checks=true`, synthesizing ends in an error unless the template is valid CloudFormation and cdk-nag's
    AwsSolutions rules find nothing. That takes longer than all the rest, so it is for tests. Raises `SettingsError`
    when `cdk.json` or the context cannot be used.
    """
    checked = _context(context).get("checks") == "true"
    app = cdk.App(context=context, outdir=outdir, analytics_reporting=False, builtin_cloud_formation_validation=checked)
    options = DeploymentOptions.from_context(app.node.get_all_context(None))
    settings = load_settings(overrides=options.overrides)
    SecureProxyStack(app, STACK, settings=settings, options=options)
    if checked:
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app


def _context(given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Context as the app will have it: `given`, or what the CDK CLI hands over."""
    return given if given is not None else json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}"))


def main() -> int:
    """Synthesizes; settings that cannot be used are named, one a line, without a traceback."""
    try:
        build_app().synth()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
