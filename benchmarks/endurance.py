"""What takes too long for every run of the tests: much data, a huge frame, many sessions for a long time.

    .venv/bin/python -m benchmarks.endurance stream --gigabytes 10
    .venv/bin/python -m benchmarks.endurance frame --gibibytes 4
    .venv/bin/python -m benchmarks.endurance idle --sessions 10000 --minutes 10

Each exits with 1 if it does not hold. The tests run the same functions with smaller numbers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.idle import Idle, hold_idle
from benchmarks.root import ensure_root
from benchmarks.streams import FrameResult, StreamResult, send_one_frame, stream_both_ways

LARGEST_GROWTH = 4 << 20


def _stream(root: Path, options: argparse.Namespace) -> bool:
    result: StreamResult = stream_both_ways(root, int(options.gigabytes * 1e9), options.seed)
    print(
        f"up {result.up_bytes} bytes in {result.up_frames} frames, down {result.down_bytes} bytes in "
        f"{result.down_frames} frames, {result.seconds:.0f} s; seed {options.seed}\n"
        f"hashes: up {'equal' if result.up_equal else 'DIFFER'}, down {'equal' if result.down_equal else 'DIFFER'}; "
        f"growth of the worker {result.growth // 1024} KB; errors in the log: {len(result.errors)}"
    )
    return result.up_equal and result.down_equal and not result.errors and result.growth < LARGEST_GROWTH


def _frame(root: Path, options: argparse.Namespace) -> bool:
    result: FrameResult = send_one_frame(root, int(options.gibibytes * 2**30))
    print(
        f"one frame of {result.size} bytes in {result.seconds:.0f} s: hash {'equal' if result.equal else 'DIFFERS'}, "
        f"growth of the worker {result.growth // 1024} KB"
    )
    return result.equal and result.growth < LARGEST_GROWTH


def _idle(root: Path, options: argparse.Namespace) -> bool:
    holds = True
    for ending in ("reload", "graceful stop"):
        result = hold_idle(
            root, Idle(options.sessions, options.minutes * 60, options.drain, ending, read_timeout=options.read_timeout)
        )
        print(
            f"{result.opened} sessions open, {result.alive} after {options.minutes:g} minutes, {result.pings} pings "
            f"answered; {ending}: {result.going_away} closed with 1001, between {result.first:.1f} and "
            f"{result.last:.1f} s; in each quarter of the {options.drain:g} s: {result.quarters}; "
            f"errors in the log: {len(result.errors)}"
        )
        holds = holds and result.holds
    return holds


def main(arguments: list[str] | None = None) -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", type=Path, help="root with an NGINX with Lua; default: one made for it")
    which = parser.add_subparsers(required=True)
    stream = which.add_parser("stream", help="random data in random fragments, both ways at once, compared by hash")
    stream.add_argument("--gigabytes", type=float, default=10.0, help="each way")
    stream.add_argument("--seed", type=int, default=1)
    stream.set_defaults(run=_stream)
    frame = which.add_parser("frame", help="one frame")
    frame.add_argument("--gibibytes", type=float, default=4.0)
    frame.set_defaults(run=_frame)
    idle = which.add_parser("idle", help="idle sessions, then a reload; and again, then a graceful stop")
    idle.add_argument("--sessions", type=int, default=10_000)
    idle.add_argument("--minutes", type=float, default=10.0)
    idle.add_argument("--read-timeout", type=float, default=60.0, help="seconds; half of it between pings")
    idle.add_argument("--drain", type=float, default=30.0, help="seconds")
    idle.set_defaults(run=_idle)
    options = parser.parse_args(arguments)
    return 0 if options.run(options.root or ensure_root(), options) else 1


if __name__ == "__main__":
    sys.exit(main())
