"""The report: tables, the same results as JSON, and whether all bars hold."""

import json
import os
import platform as machine
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.compare import Comparison, Slice
from benchmarks.databases import HISTORY_ROWS
from benchmarks.processes import Memory
from benchmarks.servers import server_processes
from benchmarks.size import MEGABYTES_AT_MOST, small_enough

_CHECKOUT = Path(__file__).parent.parent


@dataclass
class Report:
    """All results of a benchmark. Those that were not requested are empty."""

    command: str
    comparisons: list[Comparison] = field(default_factory=list)
    web_processes: list[Memory] = field(default_factory=list)
    when: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    load_average: float = field(default_factory=lambda: os.getloadavg()[0])

    def holds(self) -> bool:
        """Return whether all measured bars hold."""
        return all(
            [
                *(comparison.holds() for comparison in self.comparisons),
                small_enough(self.web_processes),
            ]
        )

    def text(self) -> str:
        """Return the report in Markdown."""
        parts = [self._conditions()]
        if self.comparisons:
            parts.append(_comparison_table(self.comparisons))
        if self.web_processes:
            parts.append(self._size_table())
        return "\n\n".join([*parts, "All bars hold." if self.holds() else "Some bars FAIL."])

    def json(self) -> str:
        """Return the report as JSON, with all slices."""
        return json.dumps(
            {
                "when": self.when,
                "command": self.command,
                "commit": _commit(),
                "machine": _machine(),
                "load_average": self.load_average,
                "server_processes": server_processes(),
                "holds": self.holds(),
                "comparisons": [_comparison_json(comparison) for comparison in self.comparisons],
                "web_processes": [asdict(process) for process in self.web_processes],
            },
            indent=2,
        )

    def _conditions(self) -> str:
        return (
            f"`{self.command}`, {self.when}, commit {_commit()}; {_machine()}; load average before "
            f"{self.load_average:.1f}{self._others()}. "
            f"{server_processes()} server processes each, PostgreSQL with fsync, "
            f"{HISTORY_ROWS:,} executions of ten tenants per side."
        )

    def _others(self) -> str:
        slices = [part for result in self.comparisons for part in (*result.platform, *result.peer)]
        if not slices:
            return ""
        cores = median(part.others_cores for part in slices)
        return f", other programs used {cores:.1f} cores"

    def _size_table(self) -> str:
        rows = []
        for process in self.web_processes:
            holds = small_enough([process])
            size = f"{process.rss_mb:.0f} MB resident, {process.pss_mb:.0f} MB proportional"
            rows.append(
                ["web process after load", size, f"≤ {MEGABYTES_AT_MOST:.0f} MB", verdict(holds)]
            )
        return table(["size", "measured", "bar", ""], rows)


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    header = ["endpoint", "connections", "requests/s", "peer", "ratio", "adjacent slices"]
    header += ["p50 ms", "peer", "p95 ms", "peer", "CPU µs", "peer", "bars"]
    return table(header, [_comparison_row(comparison) for comparison in comparisons])


def _comparison_row(result: Comparison) -> list[str]:
    pairs = result.ratios("requests_per_second")
    row = [result.endpoint.name, str(result.connections)]
    for figure, digits in (("requests_per_second", 0), ("p50_ms", 1), ("p95_ms", 1), ("cpu_us", 0)):
        row += [f"{_median(side, figure):,.{digits}f}" for side in (result.platform, result.peer)]
        if figure == "requests_per_second":
            row += [f"**{result.ratio(figure):.2f}**", f"{min(pairs):.2f} to {max(pairs):.2f}"]
    return [*row, _bars(result)]


def _bars(result: Comparison) -> str:
    if errors := result.errors():
        return f"FAILS: {errors} responses were not 2xx"
    if failed := result.failed_bars():
        return "FAILS: " + ", ".join(f"{result.ratio(bar.figure):.2f}, {bar}" for bar in failed)
    return "holds: " + ", ".join(map(str, result.bars))


def verdict(holds: bool) -> str:
    return "holds" if holds else "FAILS"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def _comparison_json(result: Comparison) -> dict[str, Any]:
    figures = ("requests_per_second", "p50_ms", "p95_ms", "cpu_us")
    return {
        "endpoint": result.endpoint.name,
        "connections": result.connections,
        "holds": result.holds(),
        "bars": [str(bar) for bar in result.bars],
        "failed_bars": [str(bar) for bar in result.failed_bars()],
        "ratios": {figure: round(result.ratio(figure), 3) for figure in figures},
        "platform": [asdict(part) for part in result.platform],
        "peer": [asdict(part) for part in result.peer],
    }


def _median(slices: Sequence[Slice], figure: str) -> float:
    return float(median(getattr(part, figure) for part in slices))


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    return (
        f"{os.cpu_count()} cores {models[0] if models else machine.machine()}, Linux {machine.release()}, "
        f"Python {machine.python_version()}"
    )


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    result = subprocess.run(command, cwd=_CHECKOUT, capture_output=True, text=True)
    return result.stdout.strip() or "unknown"
