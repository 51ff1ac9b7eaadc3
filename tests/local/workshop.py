"""Images and machines of documents of a few lines: the local target without the product."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from local.base_root import BaseRoot
from local.build import Component, ImageBuilder, ImageRequest
from local.cleanup import Cleanup
from local.control_groups import ControlGroups
from local.deployment import MOCKS
from local.document import parse_document
from local.images import new_image_id
from local.layout import CACHE_BASE, Layout
from local.machine import Machine
from local.progress import Progress

BUILD = """
schemaVersion: 1.0
parameters:
  - AssetUrl: {type: string}
  - Word: {type: string}
phases:
  - name: build
    steps:
      - name: Fetch
        action: S3Download
        inputs:
          - source: '{{ AssetUrl }}'
            destination: /tmp/unit
      - name: Install
        action: ExecuteBash
        inputs:
          commands:
            - |
              set -euo pipefail
              install -m 644 /tmp/unit /etc/systemd/system/word.service
              echo '{{ Word }}' >/etc/word
              systemctl enable word.service
              [ "$(stat -fc %T /run)" = tmpfs ]
  - name: validate
    steps:
      - name: Check
        action: ExecuteBash
        inputs:
          commands:
            - grep -qx '{{ Word }}' /etc/word && test -e /tmp/unit
"""

TEST = """
schemaVersion: 1.0
phases:
  - name: test
    steps:
      - name: ServiceRuns
        action: ExecuteBash
        inputs:
          commands:
            - systemctl is-active word.service && test "$(cat /proc/1/comm)" = systemd && test ! -e /tmp/unit
      - name: IsAlone
        action: ExecuteBash
        inputs:
          commands:
            - "! timeout 2 bash -c ': </dev/tcp/deb.debian.org/80'"
"""

UNIT = """
[Service]
ExecStart=/usr/bin/python3 -m http.server 9000
Restart=always
RestartSec=0
[Install]
WantedBy=multi-user.target
"""


class Workshop:
    """A deployment's layout with a base root and what builds need."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="secure-proxy-test-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.layout = Layout("unit", self.directory / "state", CACHE_BASE)
        self.layout.make_directories()
        CACHE_BASE.mkdir(parents=True, exist_ok=True)
        self.progress = Progress()
        self.cancel = threading.Event()
        base = BaseRoot(CACHE_BASE / "base").ensure(self.layout.logs / "base.log", self.progress, self.cancel)
        self.builder = ImageBuilder(self.layout, base, self.progress, self.cancel, ControlGroups())
        (self.directory / "unit").write_text(UNIT)

    def request(self, name: str = MOCKS, build: str = BUILD, test: str = TEST, **parameters: str) -> ImageRequest:
        given = {"AssetUrl": "s3://assets/unit", "Word": "hello", **parameters}
        components = (
            Component("component.yaml", parse_document(build, "component.yaml"), given),
            Component("test_component.yaml", parse_document(test, "test_component.yaml"), {}),
        )
        assets = {"s3://assets/unit": self.directory / "unit"}
        return ImageRequest(new_image_id(), name, "1.0.1", components, assets)

    @property
    def cleanup(self) -> Cleanup:
        return Cleanup(self.layout, ControlGroups())


def output(machine: Machine, command: str) -> str:
    return machine.run(["sh", "-c", command], check=True).stdout.strip()


def metadata(machine: Machine, path: str) -> str:
    url = "http://169.254.169.254/latest"
    token = f"$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {url}/api/token)"
    return output(machine, f'curl -s -H "X-aws-ec2-metadata-token: {token}" {url}/{path}')
