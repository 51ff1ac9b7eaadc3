"""Our decoder and the reference, on the same sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.fuzz.decoder_process import DecoderProcess
from tests.fuzz.outcome import Kind, Outcome, difference
from tests.fuzz.reference import Reference, decode

# Enough for either to see the whole header of a frame whose first bytes are wrong already, and a byte of its payload.
PROBE = bytes(16)
TOO_LARGE = 1009


def compare(ours: DecoderProcess, chunks: Sequence[bytes]) -> tuple[Outcome, str | None]:
    """What our decoder makes of a sequence, and how that differs from what the reference makes of it, if it does.

    A bad header is noticed here and there at different bytes of it. So if one has refused and the other waits for more,
    the other gets the rest of a header to look at. And ours refuses to begin a frame that it could not count.
    """
    outcome = ours.decode(chunks)
    reference = decode(chunks)
    if outcome.code == TOO_LARGE and reference.protocol.frame_too_long_to_count:
        return outcome, None
    if outcome.kind is Kind.FAILED and reference.outcome().kind is Kind.MORE:
        return outcome, difference(outcome, _probed(reference))
    if outcome.kind is Kind.MORE and reference.outcome().kind is Kind.FAILED:
        return outcome, difference(ours.decode([*chunks, PROBE]), reference.outcome())
    return outcome, difference(outcome, reference.outcome())


def _probed(reference: Reference) -> Outcome:
    before = reference.outcome()
    reference.feed(PROBE)
    return replace(reference.outcome(), data=before.data, controls=before.controls)
