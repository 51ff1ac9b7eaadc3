"""Measure the bridge against a TLS terminator that does nothing else, and against the websockify bridges.

Each round puts every load on every system in turn, so that what else the machine does hits all of them; ratios are made
within a round, and their median and spread over the rounds are what counts. CPU time is that of the system's processes
alone. The terminator is NGINX's own stream module, in the same worker of the same NGINX as the bridge.

Run it as root on Debian or Ubuntu:  .venv/bin/python -m benchmarks.bridge
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import loads, report
from benchmarks.peers import backend
from benchmarks.root import CACHE, ensure_root
from benchmarks.systems import (
    System,
    product,
    terminator_and_bridge,
    websockify_module,
    websockify_package,
    websockify_program,
)
from tests.proxy.nginx_harness import NGINX

RESULTS = Path(__file__).resolve().parent / "results"
KIB, GB = 1024, 1e9
SIZES = (KIB, 16 * KIB, 60 * KIB)
SMALL_TOTAL, LARGE_TOTAL = 256 << 20, 768 << 20
PROBE = 4 << 20
SLOW_SECONDS = 3.0  # what is given to a system that would take longer for the whole amount
# Small loads are put on the systems several times a round, in turn, because a moment's disturbance is long beside them.
TURNS = 5
ROUND_TRIPS = 4_000  # each turn
HANDSHAKES = 100
SESSIONS = 5_000
PACKAGE_SESSIONS = 50  # each is a process
PRODUCT = "product"  # the bridge with all that is checked before it; compared where that matters


@dataclass(frozen=True)
class Options:
    """What to measure and how often."""

    root: Path
    source_root: Path | None
    rounds: int
    memory_rounds: int
    scale: float
    package: bool


def _amount(system: System, load: str, size: int, scale: float) -> int:
    """How many bytes to move: less for a system that is so slow that it would take all day, 0 for one that stalls."""
    total = int((SMALL_TOTAL if size <= KIB else LARGE_TOTAL) * scale)
    if system.name in ("terminator", "bridge"):
        return total // size * size
    try:
        probe = getattr(loads, load)(system, size, PROBE // size * size)
    except loads.StalledError as error:
        print(f"no figure: {error}", file=sys.stderr, flush=True)
        return 0
    return max(PROBE, min(total, int(PROBE / probe.elapsed * SLOW_SECONDS))) // size * size


class Bench:
    """Collects the values of all rounds: `values[metric][system]` has one of each turn, none if the system stalls."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.values: dict[str, dict[str, list[float]]] = {}
        self._amounts: dict[tuple[str, str, int], int] = {}

    def add(self, metric: str, system: System, value: float) -> None:
        """Note a value of this round."""
        metric = f"{metric} with token" if system.token else metric
        self.values.setdefault(metric, {}).setdefault(system.name, []).append(value)

    def transfer(self, system: System, load: str, size: int) -> None:
        """One upload or download, of messages of `size`."""
        key = (system.name, load, size)
        if key not in self._amounts:
            self._amounts[key] = _amount(system, load, size, self.options.scale)
        total = self._amounts[key]
        metrics = [f"{load} {size} cpu", *([f"{load} rate"] if size == SIZES[-1] else [])]
        if not total:
            for metric in metrics:
                self.values.setdefault(metric, {}).setdefault(system.name, [])
            return
        sample = getattr(loads, load)(system, size, total)
        for metric, value in zip(metrics, (sample.cpu / total * GB, total / 1e6 / sample.elapsed), strict=False):
            self.add(metric, system, value)

    def round_trips(self, system: System) -> None:
        """Small messages back and forth."""
        count = int(ROUND_TRIPS * self.options.scale)
        sample = loads.round_trips(system, 64, count)
        self.add("round trip cpu", system, sample.cpu / count * 1e6)
        self.add("round trip p50", system, sample.p50 * 1e6)
        self.add("round trip p99", system, sample.p99 * 1e6)

    def handshakes(self, system: System) -> None:
        """Sessions opened and closed."""
        count = int(HANDSHAKES * self.options.scale)
        sample = loads.handshakes(system, system.context(), count)
        self.add("handshake cpu", system, sample.cpu / count * 1e3)
        self.add("handshake rate", system, count / sample.elapsed)

    def round(self, systems: Sequence[System]) -> None:
        """Every load on every system, the systems in turn. A token makes a difference for the handshake alone."""
        without_token = [system for system in systems if not system.token]
        for load in ("upload", "download"):
            for size in SIZES:
                for system in without_token:
                    self.transfer(system, load, size)
        for _ in range(TURNS):
            for system in without_token:
                self.round_trips(system)
        for _ in range(TURNS):
            for system in systems:
                self.handshakes(system)


@contextmanager
def running(options: Options, names: Sequence[str]) -> Iterator[list[System]]:
    """The systems of these names, freshly started, before a backend of their own."""
    with ExitStack() as stack:
        port = stack.enter_context(backend())
        systems = stack.enter_context(terminator_and_bridge(options.root, port))
        named = [system for system in systems if system.name in names]
        if options.source_root and PRODUCT in names:
            named.append(stack.enter_context(product(options.source_root, port)))
        if options.source_root and "websockify module" in names:
            named.append(stack.enter_context(websockify_module(options.source_root, port)))
        if options.package and "websockify package" in names:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            named.append(stack.enter_context(websockify_package(websockify_program(CACHE), directory, port)))
        yield named


def measure(options: Options) -> dict[str, dict[str, list[float]]]:
    """All values."""
    bench = Bench(options)
    names = ["terminator", "bridge"]
    names += [PRODUCT, "websockify module"] if options.source_root else []
    names += ["websockify package"] if options.package else []
    with running(options, names) as systems:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            # Not always the same first, lest the order matter.
            bench.round(systems if number % 2 else systems[::-1])
    for number in range(options.memory_rounds):
        for name in names:
            print(f"memory of {name}, {number + 1} of {options.memory_rounds}", file=sys.stderr, flush=True)
            count = PACKAGE_SESSIONS if name == "websockify package" else int(SESSIONS * options.scale)
            with running(options, [name]) as (system,):
                bench.add("idle memory", system, loads.idle_memory(system, count) / KIB)
    return bench.values


def environment(options: Options) -> dict[str, str]:
    """Where the figures were measured."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    kernel = ".".join(platform.release().split(".")[:2])
    measured = {"cpu": f"{os.cpu_count()} x {model}", "kernel": f"Linux {kernel}", "NGINX": nginx_version(options.root)}
    if options.source_root:
        measured["NGINX of websockify module and token check"] = nginx_version(options.source_root)
    return {**measured, "rounds": str(options.rounds)}


def nginx_version(root: Path) -> str:
    """What the NGINX of a root says that it is."""
    done = subprocess.run(["chroot", root, f"/{NGINX}", "-v"], capture_output=True, text=True, check=True)
    return done.stderr.strip().rpartition("/")[2]


def parse(arguments: list[str] | None) -> tuple[Options, argparse.Namespace]:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__.split("\n\n")[0])
    parser.add_argument("--root", type=Path, help="root with an NGINX with Lua and stream; default: one made for it")
    source_root_help = "jail of a source build, for websockify-nginx-module and the token check"
    parser.add_argument("--source-root", type=Path, help=source_root_help)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual amount of each load")
    parser.add_argument("--no-package", action="store_true", help="leave out the websockify Python package")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory for the JSON, the table and the chart")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a ratio is beyond its limit")
    given = parser.parse_args(arguments)
    root = given.root or ensure_root()
    options = Options(root, given.source_root, given.rounds, given.memory_rounds, given.scale, not given.no_package)
    return options, given


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write JSON, table and chart."""
    options, given = parse(arguments)
    values = measure(options)
    results = report.Results(values, environment(options))
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "bridge.json").write_text(results.as_json())
    (given.output / "bridge.md").write_text(results.as_markdown())
    (given.output / "bridge.svg").write_text(results.as_svg())
    print(results.as_markdown())
    beyond = results.beyond_limits()
    for line in beyond:
        print(f"beyond its limit: {line}", file=sys.stderr)
    return 1 if beyond and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
