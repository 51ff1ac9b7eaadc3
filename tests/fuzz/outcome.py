"""What a decoder made of a sequence of chunks, in a form that two decoders can be compared in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a sequence ended."""

    MORE = 0  # everything was understood; more may come
    CLOSE = 1  # a close frame
    FAILED = 2  # refused


@dataclass(frozen=True)
class Outcome:
    """The end, the payload bytes in order, and the pings and pongs (opcode, payload) in order.

    `code` and `reason` are those of the close frame (0 for an empty one) or of the refusal.
    """

    kind: Kind
    code: int
    reason: str
    data: bytes
    controls: tuple[tuple[int, bytes], ...]


def difference(ours: Outcome, reference: Outcome) -> str | None:
    """Why two outcomes do not agree; None if they do.

    Both must end in the same way and have the same bytes. Of what they refuse, they may have taken more or less of the
    bytes before: how much of a chunk is looked at first is a matter of taste.
    """
    if ours.kind is not reference.kind:
        return (
            f"we say {ours.kind.name} {ours.code} {ours.reason!r}, the reference {reference.kind.name} {reference.code}"
        )
    if ours.code != reference.code:
        return f"our code is {ours.code} ({ours.reason}), the reference's {reference.code} ({reference.reason})"
    if ours.kind is Kind.FAILED:
        shorter, longer = sorted((ours.data, reference.data), key=len)
        if not longer.startswith(shorter):
            return "the bytes before the refusal differ"
    elif ours.data != reference.data:
        return f"the bytes differ: {len(ours.data)} against {len(reference.data)}"
    if ours.kind is Kind.CLOSE and ours.reason != reference.reason:
        return f"the close reasons differ: {ours.reason!r} against {reference.reason!r}"
    if ours.controls != reference.controls:
        return f"the control frames differ: {ours.controls!r} against {reference.controls!r}"
    return None
