"""The account of the local endpoint."""

from __future__ import annotations

import subprocess
import sys

from moto.core.models import DEFAULT_ACCOUNT_ID

from local.endpoint.account import ACCOUNT, environment
from local.layout import REPOSITORY


def test_the_account_is_the_one_that_moto_takes_callers_for() -> None:
    assert ACCOUNT == DEFAULT_ACCOUNT_ID


def test_nothing_of_the_users_account_is_used() -> None:
    variables = environment(4566)
    assert variables["AWS_ENDPOINT_URL"] == "http://localhost:4566"
    assert {variables["AWS_CONFIG_FILE"], variables["AWS_SHARED_CREDENTIALS_FILE"]} == {"/dev/null"}


def test_commands_that_only_look_do_not_load_moto() -> None:
    program = "import sys, local.cli; sys.exit('moto' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False)
    assert done.returncode == 0
