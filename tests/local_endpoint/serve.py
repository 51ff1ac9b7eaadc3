"""The endpoint in a process of its own, without the deployment that the real one acts on.

`python -m tests.local_endpoint.serve DIRECTORY PORT`
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from local.endpoint.image_builder.recipes import Recipe
from local.endpoint.server import Application, listen
from local.errors import LocalError
from local.layout import Layout


class NoWorkshop:
    """Builds no image."""

    def make(self, recipe: Recipe, cancel: threading.Event, report: Callable[[str], None]) -> str:  # noqa: ARG002
        raise LocalError("no images are built here")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    base = Path(sys.argv[1])
    layout = Layout("test", state_base=base, cache_base=base)
    layout.make_directories()
    port = int(sys.argv[2])
    listen(Application(layout, port, lambda _: NoWorkshop()), port).serve_forever()
