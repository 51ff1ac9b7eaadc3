"""The daemon: `python -m local.endpoint --name NAME --port PORT`, started by `control`. Ends on SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from local.base_root import DEFAULT_MIRROR, BaseRoot
from local.deployment import Deployment
from local.endpoint import fleet
from local.endpoint.clients import Clients
from local.endpoint.image_builder import amis
from local.endpoint.image_builder.workshop import LocalWorkshop
from local.endpoint.machines import DeploymentWorld
from local.endpoint.patches import Patches
from local.endpoint.server import Application, listen
from local.layout import Layout
from local.progress import Progress


def main() -> int:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m local.endpoint", description=__doc__)
    parser.add_argument("--name", required=True, help="of the deployment")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--debian-mirror", default=DEFAULT_MIRROR, metavar="URL")
    arguments = parser.parse_args()
    # To standard error, which `control` has led into the log. moto tells of every request that it answers.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    layout = Layout(arguments.name)
    deployment = Deployment.load(layout=layout)
    base = BaseRoot(layout.cache_base / "base", arguments.debian_mirror)
    with layout.progress.open("a", encoding="utf-8") as stream:
        progress = Progress(stream)

        def workshop(clients: Clients) -> LocalWorkshop:
            return LocalWorkshop(layout, base, progress, clients.client("s3"))

        application = Application(layout, arguments.port, workshop)
        amis.install(Patches(), deployment.images)
        leave_machines = fleet.install(DeploymentWorld(deployment))
        server = listen(application, arguments.port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ended.wait()
        server.shutdown()
        leave_machines()
        application.image_builder.builds.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
