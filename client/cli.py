"""The commands of `python -m client`: run, report, exit code."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from client.jwt import InvalidJwtError, Jwt
from client.network import DaemonExecutor
from client.oauth import OAuthListener, Token
from client.options import Credentials, Options, parse
from client.pipe import pipe
from client.results import ExpectationError, Failure, ScenarioResult, report
from client.scenarios import EndToEnd, elapsed_ms
from client.session import open_session
from client.terminal import Terminal
from client.tls import INSECURE_WARNING, CaFileError, make_context

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: `sys.argv`) and returns its exit code.

    0: every expectation holds. 1: one does not. 2: wrong usage. 130: interrupted.
    """
    terminal = Terminal(sys.stdout, sys.stderr)
    try:
        options, usage_error = parse(argv)
        try:
            tls = make_context(options.target)
            given_token = _read_token(options.token_file) if options.token_file else None
        except (CaFileError, _TokenFileError) as error:
            usage_error(str(error))
        if options.command == "send" and sys.stdin is None:
            usage_error("send reads stdin, which is closed")
    except SystemExit as end:  # argparse ends so, after its message
        return EXIT_OK if end.code in (None, 0) else EXIT_USAGE
    if options.credentials.client_secret != Credentials().client_secret:
        terminal.hide(options.credentials.client_secret)
    if options.target.insecure:
        terminal.problem(INSECURE_WARNING)
    command = _Command(options, tls, terminal, given_token)
    try:
        return asyncio.run(_with_daemon_threads(command.run()))
    except KeyboardInterrupt:
        terminal.problem("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python must not fail again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


class _TokenFileError(Exception):
    """`--token-file` cannot be used; the text names the file and the cause."""


def _read_token(path: Path) -> Token:
    try:
        value = path.read_text("ascii").strip()
        jwt = Jwt.parse(value)
    except OSError as error:
        raise _TokenFileError(f"--token-file {path}: {error.strerror}") from None
    except (UnicodeDecodeError, InvalidJwtError):
        raise _TokenFileError(f"--token-file {path}: holds no JWT") from None
    return Token(value, str(jwt.claims.get("iss")), jwt.expires_at or 0.0)


async def _with_daemon_threads(work: Coroutine[Any, Any, int]) -> int:
    asyncio.get_running_loop().set_default_executor(DaemonExecutor())
    return await work


class _Command:
    """One command: does the work, prints its outcome as text or JSON, and says the exit code."""

    def __init__(self, options: Options, tls: ssl.SSLContext, terminal: Terminal, token: Token | None) -> None:
        self._options = options
        self._tls = tls
        self._terminal = terminal
        self._oauth = OAuthListener(options.target, tls, options.timeout)
        self._started = time.monotonic()
        self._token = token
        if token:
            terminal.hide(token.value)

    async def run(self) -> int:
        commands = {
            "e2e": self._e2e,
            "configuration": self._configuration,
            "token": self._print_token,
            "send": self._send,
        }
        try:
            return await commands[self._options.command]()
        except ExpectationError as error:
            if self._options.json:
                self._report(None, error.failure)
            else:
                self._terminal.problem(f"{self._options.command} failed")
                self._explain(error.failure)
            return EXIT_FAILED

    async def _e2e(self) -> int:
        target, as_text = self._options.target, not self._options.json
        if as_text:
            self._terminal.line(
                f"Secure Proxy at {target.host}: https port {target.oauth_port}, wss port {target.wss_port}"
            )

        def show(result: ScenarioResult) -> None:
            if as_text:
                self._show(result)

        outcome = await EndToEnd(self._options, self._tls, self._terminal.hide).run(show)
        if as_text:
            self._terminal.line(
                f"{outcome.count('passed')} of {len(outcome.scenarios)} scenarios passed, "
                f"{outcome.count('failed')} failed, {outcome.count('not_run')} not run, "
                f"in {elapsed_ms(self._started)} ms"
            )
        else:
            self._report(asdict(outcome), passed=outcome.passed)
        return EXIT_OK if outcome.passed else EXIT_FAILED

    def _show(self, result: ScenarioResult) -> None:
        label = {"passed": "PASS", "failed": "FAIL", "not_run": "NOT RUN"}[result.status]
        detail = f"  {result.detail}" if result.detail else ""
        self._terminal.line(f"{label:<7} {result.number} {result.name:<13} {result.elapsed_ms:>6} ms{detail}")
        if result.failure:
            self._explain(result.failure, to_stdout=True)

    async def _configuration(self) -> int:
        configuration = await self._oauth.configuration(self._options.issuer)
        if self._options.json:
            self._report({"issuer": configuration.issuer, "endpoints": dict(configuration.endpoints)})
            return EXIT_OK
        rows = {"issuer": configuration.issuer, **configuration.endpoints}
        width = max(len(name) for name in rows)
        for name, value in rows.items():
            self._terminal.line(f"{name:<{width}}  {value}")
        return EXIT_OK

    async def _obtain_token(self) -> Token:
        token = await self._oauth.token(self._options, await self._oauth.configuration(self._options.issuer))
        self._terminal.hide(token.value)
        return token

    async def _print_token(self) -> int:
        token = await self._obtain_token()
        if self._options.json:
            result = {"access_token": token.value, "issuer": token.issuer, "expires_at": token.expires_at}
            self._terminal.token_json(self._envelope(result))
        else:
            self._terminal.token(token.value)
        return EXIT_OK

    async def _send(self) -> int:
        options = self._options
        token = self._token or await self._obtain_token()
        async with open_session(options.target, self._tls, token.value, options.timeout) as session:
            summary = await pipe(
                session,
                sys.stdin.fileno(),
                sys.stdout.buffer,
                terminal=sys.stdout.isatty(),
                linger=options.linger,
                timeout=options.timeout,
            )
        if options.json:
            self._report(
                {
                    "bytes_sent": summary.sent,
                    "bytes_received": summary.received,
                    "close_code": summary.ending.code,
                    "closed_by": "client" if summary.ending.client_closed_first else "proxy",
                }
            )
        return EXIT_OK

    def _explain(self, failure: Failure, *, to_stdout: bool = False) -> None:
        """Shows a failure: in place among the results of `e2e`, else on stderr."""
        show = self._terminal.line if to_stdout else self._terminal.problem
        show(f"        expected: {failure.expected}")
        show(f"        received: {failure.received}")
        if failure.remedy:
            show(f"        remedy:   {failure.remedy}")

    def _report(self, result: dict[str, Any] | None, failure: Failure | None = None, *, passed: bool = True) -> None:
        # stdout of `send` is the application's data; its report must not mix with it.
        self._terminal.json(self._envelope(result, failure, passed=passed), to_stderr=self._options.command == "send")

    def _envelope(
        self, result: dict[str, Any] | None, failure: Failure | None = None, *, passed: bool = True
    ) -> dict[str, Any]:
        return report(
            self._options.command,
            self._options.target,
            passed=passed and failure is None,
            elapsed_ms=elapsed_ms(self._started),
            result=result,
            failure=failure,
        )
