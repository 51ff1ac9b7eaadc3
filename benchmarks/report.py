"""Figures as a table, as JSON and as a chart."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

TERMINATOR = "terminator"
SYSTEMS = (TERMINATOR, "bridge", "websockify module", "websockify package")


@dataclass(frozen=True)
class Metric:
    """A row of the table. `limit` is the largest ratio to the terminator that the bridge may have.

    `base` is the key of the terminator's values, where it is another: a terminator checks no token.
    """

    key: str
    label: str
    unit: str
    digits: int = 2
    limit: float | None = None
    charted: bool = False
    base: str = ""


METRICS = (
    Metric("upload 1024 cpu", "CPU per GB up, 1 KiB messages", "s", limit=1.5, charted=True),
    Metric("upload 16384 cpu", "CPU per GB up, 16 KiB messages", "s", limit=1.5, charted=True),
    Metric("upload 61440 cpu", "CPU per GB up, 60 KiB messages", "s", limit=1.5, charted=True),
    Metric("download 1024 cpu", "CPU per GB down, 1 KiB writes", "s", limit=1.15, charted=True),
    Metric("download 16384 cpu", "CPU per GB down, 16 KiB writes", "s", limit=1.15, charted=True),
    Metric("download 61440 cpu", "CPU per GB down, 60 KiB writes", "s", limit=1.15, charted=True),
    Metric("upload rate", "throughput up, 60 KiB messages", "MB/s", 0),
    Metric("download rate", "throughput down, 60 KiB writes", "MB/s", 0),
    Metric("round trip cpu", "CPU per 64-byte round trip", "µs", 1, limit=1.1, charted=True),
    Metric("round trip p50", "64-byte round trip, p50", "µs", 0, limit=1.1, charted=True),
    Metric("round trip p99", "64-byte round trip, p99", "µs", 0),
    Metric("handshake cpu", "CPU per session opened and closed", "ms", 2),
    Metric("handshake cpu with token", "the same with token check, limits, audit", "ms", 2, base="handshake cpu"),
    Metric("handshake rate", "sessions opened and closed, one client", "/s", 0),
    Metric("handshake rate with token", "the same with token check, limits, audit", "/s", 0, base="handshake rate"),
    Metric("idle memory", "memory per idle session", "KB", 0, limit=1.35, charted=True),
    Metric("idle memory with token", "the same with token check, limits, audit", "KB", 0, base="idle memory"),
)

TIMES = "\N{MULTIPLICATION SIGN}"
WIDTH, BAR, GAP, LEFT, TOP = 900, 9, 14, 290, 64
COLOURS = {"bridge": "#1f77b4", "websockify module": "#d95f02", "websockify package": "#a6761d"}
SCALE_END = 8.0  # ratios beyond it are cut, and written beside the bar


@dataclass(frozen=True)
class Ratio:
    """A ratio to the terminator: median, smallest and largest over all turns."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Results:
    """`values[metric][system]` is a list with one value of each turn; turns of all systems correspond. It is empty if
    the system stalls under that load.
    """

    values: Mapping[str, Mapping[str, Sequence[float]]]
    environment: Mapping[str, str]

    @property
    def systems(self) -> list[str]:
        """Those that were measured, in the order of the columns."""
        measured = {system for by_system in self.values.values() for system in by_system}
        return [system for system in SYSTEMS if system in measured]

    @property
    def metrics(self) -> list[Metric]:
        """Those that were measured."""
        return [metric for metric in METRICS if metric.key in self.values]

    def median(self, metric: Metric, system: str) -> float | None:
        """The median value, None if there is none."""
        values = self._values(metric, system)
        return statistics.median(values) if values else None

    def stalls(self, metric: Metric, system: str) -> bool:
        """Whether the system was given this load and came to a halt."""
        return list(self.values.get(metric.key, {}).get(system, (0.0,))) == []

    def _values(self, metric: Metric, system: str) -> Sequence[float]:
        key = metric.base if metric.base and system == TERMINATOR else metric.key
        return self.values.get(key, {}).get(system, ())

    def ratio(self, metric: Metric, system: str) -> Ratio | None:
        """The system's ratio to the terminator, made within each turn."""
        ours, base = self._values(metric, system), self._values(metric, TERMINATOR)
        if not ours or not base:
            return None
        ratios = [one / other for one, other in zip(ours, base, strict=True)]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    def beyond_limits(self) -> list[str]:
        """A line for each of the bridge's ratios that is larger than it may be."""
        lines = []
        for metric in self.metrics:
            ratio = self.ratio(metric, "bridge")
            if ratio and metric.limit and ratio.median > metric.limit:
                lines.append(f"{metric.label}: {ratio.median:.2f} (limit {metric.limit})")
        return lines

    def as_json(self) -> str:
        """All values, medians, ratios and limits."""
        rows = []
        for metric in self.metrics:
            systems = {}
            for system in self.systems:
                ratio = self.ratio(metric, system)
                systems[system] = {
                    "stalls": self.stalls(metric, system),
                    "median": self.median(metric, system),
                    "ratio": vars(ratio) if ratio else None,
                    "values": list(self._values(metric, system)),
                }
            rows.append({"metric": metric.label, "unit": metric.unit, "limit": metric.limit, "systems": systems})
        return json.dumps({"environment": dict(self.environment), "metrics": rows}, indent=1) + "\n"

    def as_markdown(self) -> str:
        """The table: the terminator's value, then ratios to it with their spread."""
        others = [system for system in self.systems if system != TERMINATOR]
        head = ["", "TLS terminator", *others, "limit"]
        lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for metric in self.metrics:
            base = self.median(metric, TERMINATOR)
            cells = [metric.label, f"{base:.{metric.digits}f} {metric.unit}" if base is not None else ""]
            cells += [self._cell(metric, system) for system in others]
            cells.append(f"{metric.limit:.2f}{TIMES}" if metric.limit else "")
            lines.append("| " + " | ".join(cells) + " |")
        where = ", ".join(f"{name}: {value}" for name, value in self.environment.items())
        return (
            "\n".join(lines)
            + "\n\nRatios to the terminator made within a round: their median, the smallest and the largest. "
            f"Of throughput and sessions a second, more is better. {where}.\n"
        )

    def _cell(self, metric: Metric, system: str) -> str:
        if self.stalls(metric, system):
            return "stalls"
        ratio, value = self.ratio(metric, system), self.median(metric, system)
        if ratio is None or value is None:
            return ""
        digits = 2 if ratio.high < 10 else 0
        spread = f"{ratio.low:.{digits}f}-{ratio.high:.{digits}f}"
        mark = "**" if system == "bridge" else ""
        return f"{mark}{ratio.median:.{digits}f}{TIMES}{mark} ({spread})"

    def as_svg(self) -> str:
        """Horizontal bars of the ratios to the terminator, the shorter the better."""
        others = [system for system in self.systems if system != TERMINATOR]
        rows = [metric for metric in self.metrics if metric.charted]
        row_height = BAR * len(others) + GAP
        height = TOP + row_height * len(rows) + 40
        unit = (WIDTH - LEFT - 70) / SCALE_END
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="12" role="img">',
            "<title>Cost relative to a TLS terminator; shorter is better</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            '<text x="16" y="24" font-size="15" font-weight="bold">Cost relative to a plain TLS terminator (= 1); '
            "shorter is better</text>",
        ]
        for index, system in enumerate(others):
            left = 16 + 170 * index
            parts.append(f'<rect x="{left}" y="36" width="12" height="12" fill="{COLOURS[system]}"/>')
            parts.append(f'<text x="{left + 18}" y="46">{escape(system)}</text>')
        left = 16 + 170 * len(others)
        parts.append(self._mark(left, 36, 48))
        parts.append(f'<text x="{left + 8}" y="46">limit for the bridge</text>')
        for tick in range(int(SCALE_END) + 1):
            x = LEFT + tick * unit
            stroke = "#222222" if tick == 1 else "#dddddd"
            parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - 34}" stroke="{stroke}"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle" fill="#444444">{tick}{TIMES}</text>'
            )
        for row, metric in enumerate(rows):
            y = TOP + row * row_height
            middle = y + BAR * len(others) / 2 + 4
            parts.append(f'<text x="{LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(metric.label)}</text>')
            for index, system in enumerate(others):
                parts += self._bar(metric, system, y + index * BAR, unit)
            if metric.limit:
                x = LEFT + metric.limit * unit
                parts.append(self._mark(x, y - 1, y + BAR))
        return "\n".join([*parts, "</svg>"]) + "\n"

    @staticmethod
    def _mark(x: float, top: float, bottom: float) -> str:
        return f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#cc0000" stroke-width="2"/>'

    def _bar(self, metric: Metric, system: str, y: float, unit: float) -> list[str]:
        if self.stalls(metric, system):
            return [f'<text x="{LEFT + 5}" y="{y + BAR - 1}" font-size="9" fill="{COLOURS[system]}">stalls</text>']
        ratio = self.ratio(metric, system)
        if ratio is None:
            return []
        width = min(ratio.median, SCALE_END) * unit
        low, high = (LEFT + min(value, SCALE_END) * unit for value in (ratio.low, ratio.high))
        end = max(LEFT + width, high) + 5
        return [
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{COLOURS[system]}"/>',
            f'<line x1="{low:.1f}" y1="{y + BAR / 2}" x2="{high:.1f}" y2="{y + BAR / 2}" stroke="#000000"/>',
            f'<text x="{end:.1f}" y="{y + BAR - 1}" font-size="9">{ratio.median:.2f}</text>',
        ]
