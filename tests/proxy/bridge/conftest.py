"""The bridge must behave alike in both builds of NGINX, so its tests run in both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.proxy.conftest import copy_of_jail

# Of each build: the variable that may name a root, and the fixture that deploys an image of it.
BUILDS = {"distribution": ("NGINX_ROOT", "deployment"), "source": ("NGINX_SOURCE_ROOT", "source_deployment")}


@pytest.fixture(scope="session", params=["distribution", pytest.param("source", marks=pytest.mark.source)])
def nginx_root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with an NGINX to run, of each build in turn."""
    variable, deployment = BUILDS[request.param]
    given = os.environ.get(variable)
    if given:
        return Path(given)
    return copy_of_jail(request.getfixturevalue(deployment), tmp_path_factory.mktemp("jail"))
