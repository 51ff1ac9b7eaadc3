#!/usr/bin/env python3
"""Test the proxy of this machine: a WebSocket round trip with a good token, and refusals of bad ones.

Runs on an instance booted from a new image, before the image is published. It needs no network: the TCP application,
the OAuth server and the authorizer are started here, on loopback, with a key made on the spot. Everything it
writes is removed again. Exit code 0 when all holds, 1 when something does not, 2 when the machine must not be tested.

Standard library and the openssl command alone, Python 3.9 or newer: it runs on machine images as they come.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

# The image's own directory tree stays as it was built.
sys.dont_write_bytecode = True

from proxy_self_test.machine import Machine, SelfTestError, get_when_ready, journal, policy, systemctl  # noqa: E402
from proxy_self_test.servers import (  # noqa: E402
    LOOPBACK,
    authorizer_handler,
    echo_server,
    http_server,
    identity_handler,
    running,
)
from proxy_self_test.tokens import SigningKey, altered, claims  # noqa: E402
from proxy_self_test.websocket import WebSocket  # noqa: E402

READY_SECONDS = 60
AUTHORIZER_PORT = 10090
ISSUER_PATH = "/awsexample"
# A line, and as much as fits into one frame of the more limited bridge.
PAYLOADS = (b"hello\n", os.urandom(65535))


def check(holds: bool, expectation: str, found: object) -> None:
    """Says what was expected; raises SelfTestError with what was found instead."""
    if not holds:
        raise SelfTestError(f"expected: {expectation}; found: {found}")
    print(f"ok: {expectation}", flush=True)


def check_round_trip(machine: Machine, token: str) -> None:
    with WebSocket(machine.port("WSS_PROXY_BIND_PORT"), machine.certificate, token) as session:
        check(session.status == 101, "a good token opens a WebSocket", session.status)
        for payload in PAYLOADS:
            session.send(payload)
            received = session.receive(len(payload))
            check(received == payload, f"{len(payload)} bytes come back unchanged", f"{len(received)} other bytes")
        session.close()


def check_refusal(machine: Machine, kind: str, token: str | None, status: int) -> None:
    with WebSocket(machine.port("WSS_PROXY_BIND_PORT"), machine.certificate, token) as attempt:
        check(attempt.status == status, f"{kind} is refused with {status}", attempt.status)
        if status == 401:
            challenge = attempt.headers.get("www-authenticate", "")
            check(challenge.startswith("Bearer"), "the challenge is for a bearer token", challenge)


def check_proxy(machine: Machine, issuer: str, key: SigningKey, stranger: SigningKey) -> None:
    check(systemctl("is-active", "nginx.service", check=False) == "active", "nginx.service is active", "it is not")
    ready = f"http://{LOOPBACK}:{machine.port('HEALTH_PORT')}/readyz"
    check(get_when_ready(ready, deadline=time.monotonic() + READY_SECONDS) == 200, "/readyz answers 200", "another")

    good = key.token(claims(issuer))
    check_round_trip(machine, good)
    check_refusal(machine, "no token", None, 401)
    check_refusal(machine, "a token with an altered signature", altered(good), 403)
    check_refusal(machine, "an expired token", key.token(claims(issuer, lifetime_seconds=-600)), 403)
    check_refusal(machine, "a token of algorithm none", key.token(claims(issuer), algorithm="none"), 403)
    check_refusal(machine, "a token signed by another key", stranger.token(claims(issuer)), 403)
    check_round_trip(machine, good)
    check(
        systemctl("is-active", "nginx.service", check=False) == "active", "nginx.service is still active", "it is not"
    )


def run(machine: Machine) -> None:
    """Starts the stand-ins and the proxy, checks, and leaves the machine as it was."""
    issuer = f"http://{LOOPBACK}:{machine.port('OAUTH_BACKEND_PORT')}{ISSUER_PATH}"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secure-proxy-self-test-", dir="/run")))
        strangers = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        key, stranger = SigningKey(directory), SigningKey(strangers)
        for server in (
            echo_server(machine.port("WSS_BACKEND_PORT")),
            http_server(machine.port("OAUTH_BACKEND_PORT"), identity_handler(issuer, ISSUER_PATH, key)),
            http_server(AUTHORIZER_PORT, authorizer_handler(key)),
        ):
            stack.enter_context(running(server))
        stack.enter_context(machine.left_as_found())
        environment = {
            "BACKEND_HOST": LOOPBACK,
            "CERTIFICATE_NAMES": f"localhost,{LOOPBACK}",
            "POLICY": policy(
                "openidc" if machine.is_source_build() else "external",
                issuer,
                f"http://{LOOPBACK}:{AUTHORIZER_PORT}/authorize",
            ),
        }
        try:
            machine.start(environment, directory)
            check_proxy(machine, issuer, key, stranger)
        except (SelfTestError, OSError):
            # Before the clean-up stops the units and empties the logs.
            report(machine)
            raise


def report(machine: Machine) -> None:
    """What the units and NGINX said, for whoever reads the build's log."""
    print(f"--- journal\n{journal()}", file=sys.stderr)
    for path in sorted(machine.logs.glob("*error.log")):
        print(f"--- {path}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="self-test", description=(__doc__ or "").split("\n")[0])
    parser.parse_args(argv)
    machine = Machine()
    try:
        machine.refuse_when_in_service()
    except SelfTestError as error:
        print(f"self-test: {error}; run it on a fresh instance of the image", file=sys.stderr)
        return 2
    try:
        run(machine)
    except (SelfTestError, OSError) as error:
        print(f"self-test: {error}", file=sys.stderr)
        return 1
    print("self-test: the proxy does what it should")
    return 0


if __name__ == "__main__":
    sys.exit(main())
