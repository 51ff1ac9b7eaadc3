"""The loads, each put on one system."""

from __future__ import annotations

import multiprocessing
import os
import ssl
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.peers import DONE, READ_SIZE, command, connect, hold_sessions, message
from benchmarks.systems import System


@dataclass(frozen=True)
class Sample:
    """CPU seconds of the system and elapsed seconds of one load; latencies in seconds where they were taken."""

    cpu: float
    elapsed: float
    p50: float = 0.0
    p99: float = 0.0


class StalledError(RuntimeError):
    """A session came to a halt, or ended, before all was transferred."""


@contextmanager
def _transfer(system: System) -> Iterator[None]:
    """What is done in it raises StalledError when the connection times out or breaks."""
    try:
        yield
    except OSError as error:
        raise StalledError(f"{system.name} came to a halt: {error}") from error


def upload(system: System, size: int, total: int) -> Sample:
    """`total` bytes from the client in messages of `size`, each a write of its own."""
    with connect(system, system.context()) as client, _transfer(system):
        client.sendall(message(system, command("take", size, total)))
        data = message(system, os.urandom(size))
        cpu, started = system.cpu_seconds(), time.monotonic()
        for _ in range(total // size):
            client.sendall(data)
        if not client.recv(64).endswith(DONE):
            raise StalledError(f"{system.name} did not bring all of an upload to the backend")
        return Sample(system.cpu_seconds() - cpu, time.monotonic() - started)


def download(system: System, size: int, total: int) -> Sample:
    """`total` bytes from the backend in writes of `size`."""
    with connect(system, system.context()) as client, _transfer(system):
        buffer = bytearray(READ_SIZE)
        cpu, started = system.cpu_seconds(), time.monotonic()
        client.sendall(message(system, command("give", size, total)))
        left = total  # the frames' headers are counted too: a few bytes in 64 KiB, or in 1 KiB at worst
        while left > 0:
            count = client.recv_into(buffer)
            if not count:
                raise StalledError(f"{system.name} ended the session with {left} bytes to come")
            left -= count
        return Sample(system.cpu_seconds() - cpu, time.monotonic() - started)


def round_trips(system: System, size: int, count: int) -> Sample:
    """`count` messages of `size` bytes (below 126), each sent when the echo of the one before is there."""
    with connect(system, system.context()) as client:
        data = message(system, b"e" * size)
        expected = size + (2 if system.websocket else 0)
        times: list[float] = []
        for index in range(-(count // 10), count):
            if index == 0:
                times.clear()
                cpu, started = system.cpu_seconds(), time.monotonic()
            begun = time.perf_counter()
            client.sendall(data)
            got = 0
            while got < expected:
                got += len(client.recv(4096))
            times.append(time.perf_counter() - begun)
        used, elapsed = system.cpu_seconds() - cpu, time.monotonic() - started
        times.sort()
        return Sample(used, elapsed, statistics.median(times), times[len(times) * 99 // 100])


def handshakes(system: System, context: ssl.SSLContext, count: int) -> Sample:
    """`count` sessions opened and closed one after the other, each with a full TLS handshake."""
    cpu, started = system.cpu_seconds(), time.monotonic()
    for _ in range(count):
        connect(system, context).close()
    elapsed = time.monotonic() - started
    time.sleep(0.1)  # the system notices the last ends
    return Sample(system.cpu_seconds() - cpu, elapsed)


def idle_memory(system: System, count: int) -> float:
    """Bytes of memory for each of `count` silent sessions; what the first hundred cost is not counted."""
    holders = []
    sizes = []
    for number in (100, count):
        ours, theirs = multiprocessing.Pipe()
        holder = multiprocessing.Process(target=hold_sessions, args=(system, number, theirs), daemon=True)
        holder.start()
        holders.append((holder, ours))
        ours.recv()
        time.sleep(0.5)
        sizes.append(system.private_bytes())
    for holder, pipe in holders:
        pipe.send(True)
        holder.join(30)
    return (sizes[1] - sizes[0]) / count
