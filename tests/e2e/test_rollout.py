"""A second deploy.sh with a changed image: what runs is replaced, and who reconnects loses nothing."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.connection import Connection

from local.deployment import Deployment
from tests.conftest import LISTEN, NAME
from tests.e2e.sessions import connect, receive, tls
from tests.e2e.tree import copy_tree

pytestmark = pytest.mark.machine

HEADER = "X-Rollout"


class Client(threading.Thread):
    """Sends numbered lines, one after the other's echo; when its session is cut, it connects again, once."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(daemon=True)
        self._deployment = deployment
        self.over = threading.Event()
        self.acknowledged: list[bytes] = []
        self.cuts: list[int | None] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                with connect(self._deployment) as session:
                    self._converse(session)
        except Exception as error:
            self.failure = error

    def _converse(self, session: Connection) -> None:
        """Line after line until the session is cut; the line that it was cut at is sent again by the next one."""
        before = len(self.acknowledged)
        try:
            while not self.over.wait(0.01):
                line = b"line %08d\n" % len(self.acknowledged)
                session.send(line)
                self.acknowledged.append(receive(session, len(line)))
        except ConnectionClosed as cut:
            self.cuts.append(cut.rcvd.code if cut.rcvd else None)
            assert len(self.acknowledged) > before, "the new session was cut before its first line"


@pytest.fixture
def changed_tree(tmp_path: Path) -> Path:
    """A copy of the tree whose NGINX adds a header to what the OAuth listener answers."""
    copy_tree(tmp_path)
    template = tmp_path / "components/secure_proxy/nginx/conf.d/oauth.conf.template"
    text = template.read_text()
    assert text.count("    proxy_http_version 1.1;\n") == 1
    template.write_text(
        text.replace("    proxy_http_version 1.1;\n", f"    proxy_http_version 1.1;\n    add_header {HEADER} second;\n")
    )
    return tmp_path


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    """A client at work."""
    running = Client(deployment)
    running.start()
    yield running
    running.over.set()
    running.join(timeout=60)


def configuration_header(deployment: Deployment) -> str | None:
    record = deployment.record
    connection = HTTPSConnection(str(record.listen), record.ports.oauth, context=tls(deployment), timeout=10)
    try:
        connection.request("GET", "/configuration")
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        return response.headers[HEADER]
    finally:
        connection.close()


def test_a_changed_image_is_rolled_out_and_no_acknowledged_line_is_lost(
    deployment: Deployment, changed_tree: Path, client: Client
) -> None:
    before = {machine.instance_id for machine in deployment.machines.values()}
    assert configuration_header(deployment) is None
    done = subprocess.run(
        ["bash", "deploy.sh", "--local", "--name", NAME, "--listen", LISTEN],
        cwd=changed_tree,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    client.over.set()
    client.join(timeout=60)
    assert client.failure is None, client.failure
    assert client.acknowledged == [b"line %08d\n" % number for number in range(len(client.acknowledged))]
    assert client.cuts, "nothing was replaced under the client's feet"
    assert configuration_header(deployment) == "second"
    assert before.isdisjoint(machine.instance_id for machine in deployment.machines.values())
