"""The endpoint in a process of its own, without the deployment that the real one acts on.

`python -m tests.local_endpoint.serve DIRECTORY PORT`
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from local.endpoint.server import make
from local.layout import Layout

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    base = Path(sys.argv[1])
    layout = Layout("test", state_base=base, cache_base=base)
    layout.make_directories()
    make(layout, int(sys.argv[2])).serve_forever()
