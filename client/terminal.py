"""The only way out: everything the client prints passes here, escaped and free of secrets."""

from __future__ import annotations

import json
import re
from typing import Any, TextIO

_REDACTED = "<redacted>"
_MIN_SECRET = 8
_BEGINNING = 16

# A JWT, or its beginning, that nobody registered: base64url of '{"' is 'eyJ'.
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*")


def escape(text: str) -> str:
    """Makes text from the network safe for a terminal.

    Whatever is not printable (C0 and C1 controls, DEL, bidirectional overrides, line separators, lone surrogates)
    becomes a backslash escape, and so does a backslash, so that an escape cannot be forged.
    """
    return "".join(
        "\\\\" if char == "\\" else char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


class Terminal:
    """Writes results to stdout and problems to stderr; lets no registered secret and no control character through."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._secrets: set[str] = set()
        self._beginnings: set[str] = set()

    def hide(self, secret: str) -> None:
        """Registers a secret; from now on it, its dot-separated segments and their beginnings are replaced.

        Beginnings, because what a server sends back may be cut before it comes here.
        """
        parts = {part for part in (secret, *secret.split(".")) if len(part) >= _MIN_SECRET}
        self._secrets |= parts
        self._beginnings |= {part[:_BEGINNING] for part in parts if len(part) > _BEGINNING}

    def line(self, text: str) -> None:
        """Prints one line on stdout."""
        _print(escape(self._redacted(text)), self._stdout)

    def problem(self, text: str) -> None:
        """Prints one line on stderr."""
        _print(escape(self._redacted(text)), self._stderr)

    def json(self, value: dict[str, Any], *, to_stderr: bool = False) -> None:
        """Prints a JSON document; JSON's own escapes keep control characters from the terminal."""
        _print(_dump(self._redacted(value)), self._stderr if to_stderr else self._stdout)

    def token(self, token: str) -> None:
        """Prints a token on stdout as it is: only for the command that was asked to."""
        _print(escape(token), self._stdout)

    def token_json(self, value: dict[str, Any]) -> None:
        """Prints a JSON document that holds a token, for the same command."""
        _print(_dump(value), self._stdout)

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in sorted(self._secrets, key=len, reverse=True):
                value = value.replace(secret, _REDACTED)
            for beginning in self._beginnings:
                value = re.sub(re.escape(beginning) + r"[A-Za-z0-9_-]*", _REDACTED, value)
            return _JWT.sub(_REDACTED, value)
        if isinstance(value, dict):
            return {self._redacted(key): self._redacted(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._redacted(item) for item in value]
        return value


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True)


def _print(text: str, stream: TextIO) -> None:
    # A terminal that cannot show a character gets its escape, not a UnicodeEncodeError.
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
