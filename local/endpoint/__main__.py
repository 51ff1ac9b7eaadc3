"""The daemon: `python -m local.endpoint --name NAME --port PORT`, started by `control`. Ends on SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from local.endpoint.server import make
from local.layout import Layout


def main() -> int:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m local.endpoint", description=__doc__)
    parser.add_argument("--name", required=True, help="of the deployment")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    arguments = parser.parse_args()
    # To standard error, which `control` has led into the log. moto tells of every request that it answers.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    server = make(Layout(arguments.name), arguments.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended.wait()
    server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
