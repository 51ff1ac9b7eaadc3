"""The four scenarios of `e2e`: what must hold for a deployment to be called working."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from client.echo import echo, make_lines
from client.jwt import Jwt
from client.oauth import Configuration, OAuthListener, Token
from client.options import Options
from client.results import EndToEndResult, ExpectationError, Failure, ScenarioResult, Status
from client.session import HandshakeRefusedError, UpgradeError, describe_status, open_session

GARBAGE_TOKEN = "garbage"  # noqa: S105  what it says
_FORBIDDEN = 403


class _NotRunError(Exception):
    """An earlier scenario left nothing to run this one with; the text says what is missing."""


class EndToEnd:
    """One run of the scenarios, in order; later ones use what earlier ones obtained.

    `hide` is told the token before it is used, so that neither it nor its altered copy can appear in the output.
    """

    def __init__(self, options: Options, tls: ssl.SSLContext, hide: Callable[[str], None]) -> None:
        self._options = options
        self._tls = tls
        self._hide = hide
        self._oauth = OAuthListener(options.target, tls, options.timeout)
        self._configuration: Configuration | None = None
        self._token: Token | None = None
        self._token_accepted = False

    async def run(self, on_result: Callable[[ScenarioResult], None]) -> EndToEndResult:
        """Runs all scenarios; `on_result` sees each result as soon as it is there."""
        scenarios = {
            "configuration": self._fetch_configuration,
            "token": self._obtain_token,
            "echo": self._exchange_lines,
            "invalid token": self._present_invalid_tokens,
        }
        results: list[ScenarioResult] = []
        for number, (name, scenario) in enumerate(scenarios.items(), start=1):
            started = time.monotonic()
            status: Status = "passed"
            detail: str | None = None
            failure: Failure | None = None
            try:
                detail = await scenario()
            except ExpectationError as error:
                status, failure = "failed", error.failure
            except _NotRunError as missing:
                status, detail = "not_run", str(missing)
            results.append(
                ScenarioResult(
                    number=number,
                    name=name,
                    status=status,
                    elapsed_ms=elapsed_ms(started),
                    detail=detail,
                    failure=failure,
                )
            )
            on_result(results[-1])
        return EndToEndResult(tuple(results))

    async def _fetch_configuration(self) -> str:
        self._configuration = await self._oauth.configuration(self._options.issuer)
        return f"issuer {self._configuration.issuer}, {len(self._configuration.endpoints)} endpoints under it"

    async def _obtain_token(self) -> str:
        if self._configuration is None:
            raise _NotRunError("no OAuth configuration, so the token's issuer cannot be checked")
        self._token = await self._oauth.token(self._options, self._configuration)
        self._hide(self._token.value)
        return f"a signed JWT of the issuer, valid for {self._token.expires_at - time.time():.0f} s"

    async def _exchange_lines(self) -> str:
        if self._token is None:
            raise _NotRunError("no token")
        options = self._options
        async with open_session(options.target, self._tls, self._token.value, options.timeout) as session:
            self._token_accepted = True
            summary = await echo(
                session,
                make_lines(options.lines, options.line_bytes),
                options.timeout,
                allow_missing_close=options.allow_missing_close,
            )
        ending = "close 1000" if summary.closed_cleanly else "ended without a close frame, which was allowed"
        return f"{summary.lines} lines = {summary.size} bytes back in {summary.frames} frames, byte for byte; {ending}"

    async def _present_invalid_tokens(self) -> str:
        if self._token is None:
            raise _NotRunError("no token to make an invalid one of")
        if not self._token_accepted:
            raise _NotRunError("the valid token was not accepted, so refusing an invalid one would prove nothing")
        altered = Jwt.parse(self._token.value).with_altered_signature()
        await self._expect_refusal(altered, "the same token with one bit of its signature flipped")
        await self._expect_refusal(GARBAGE_TOKEN, "a token that is no JWT")
        return f"altered signature and garbage both refused with {describe_status(_FORBIDDEN)}"

    async def _expect_refusal(self, token: str, description: str) -> None:
        """Raises ExpectationError unless the handshake with this token is answered with 403."""
        expected = f"{description} refused with {describe_status(_FORBIDDEN)} before the upgrade"
        options = self._options
        try:
            async with open_session(options.target, self._tls, token, options.timeout):
                received = "accepted (101 Switching Protocols)"
        except HandshakeRefusedError as refused:
            if refused.status == _FORBIDDEN:
                return
            received = refused.failure.received
        except UpgradeError as upgraded:
            received = upgraded.failure.received
        except ExpectationError as unreachable:
            raise ExpectationError(expected, unreachable.failure.received, unreachable.failure.remedy) from None
        raise ExpectationError(expected, received, "the proxy may be open to anyone: do not use it until this passes")


def elapsed_ms(started: float) -> int:
    """Milliseconds since `started` (`time.monotonic()`)."""
    return round((time.monotonic() - started) * 1000)
