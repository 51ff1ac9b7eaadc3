"""Run many sequences; see the package's docstring. Exit code 1 if the decoders disagreed anywhere."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.fuzz import corpus
from tests.fuzz.comparison import compare
from tests.fuzz.decoder_process import DecoderProcess
from tests.fuzz.outcome import Kind
from tests.fuzz.sequences import sequence
from tests.proxy.nginx_harness import resident

BATCH = 10000


@dataclass
class Result:
    """What came of a range of seeds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    data_bytes: int = 0
    failures: list[str] = field(default_factory=list)
    growth: int = 0


def run(first: int, count: int) -> Result:
    """Compare the decoders over the seeds from `first`; each difference is saved to the corpus."""
    result = Result()
    with DecoderProcess() as ours:
        start = 0
        for seed in range(first, first + count):
            if seed == first + count // 10:
                start = resident(ours.pid)
            chunks = sequence(seed)
            outcome, why = compare(ours, chunks)
            if why:
                path = corpus.save(chunks, f"seed {seed}: {why}")
                result.failures.append(f"seed {seed}: {why} ({path.name})")
            refusal = f" {outcome.code}" if outcome.kind is Kind.FAILED else ""
            result.outcomes[outcome.kind.name + refusal] += 1
            result.data_bytes += len(outcome.data)
        result.growth = resident(ours.pid) - start
    return result


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100000, help="how many sequences")
    parser.add_argument("--seed", type=int, default=0, help="number of the first sequence")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    total = Result()
    starts = range(options.seed, options.seed + options.count, BATCH)
    sizes = [min(BATCH, options.seed + options.count - start) for start in starts]
    with ProcessPoolExecutor(options.jobs) as pool:
        for result in pool.map(run, starts, sizes):
            total.outcomes += result.outcomes
            total.data_bytes += result.data_bytes
            total.failures += result.failures
            total.growth = max(total.growth, result.growth)
            for failure in result.failures:
                print(failure, file=sys.stderr)
    seconds = time.monotonic() - started
    print(f"{options.count} sequences from seed {options.seed}, {total.data_bytes} payload bytes, {seconds:.0f} s")
    for outcome, count in sorted(total.outcomes.items()):
        print(f"  {outcome}: {count}")
    print(f"largest growth of a decoder process: {total.growth // 1024} KB")
    print(f"differences: {len(total.failures)}")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
