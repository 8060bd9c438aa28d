"""What the benchmarks share: interleaved timing, targets, the words for where they ran, and tables in a page."""

from __future__ import annotations

import argparse
import datetime
import gc
import os
import platform
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

STEADY = 0.2  # of the median: a wider middle half says that the machine had other work
STYLE: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "title_justify": "left"}


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender's time in each round, in seconds."""

    samples_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle of the rounds."""
        return float(np.median(self.samples_s))

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """Half of the rounds lie between these."""
        low, high = np.percentile(self.samples_s, (25, 75))
        return float(low), float(high)

    @property
    def spread(self) -> float:
        """The distance of the quartiles, as a fraction of the median."""
        low, high = self.quartiles_s
        return (high - low) / self.median_s

    def to_dict(self) -> dict[str, Any]:
        """As plain data, raw samples included."""
        low, high = self.quartiles_s
        return {"median_s": self.median_s, "quartile_1_s": low, "quartile_3_s": high, "samples_s": list(self.samples_s)}


@dataclass(frozen=True, slots=True)
class Target:
    """An upper limit that was set in advance, and what was found; `value` is None where it could not be measured."""

    what: str
    value: float | None
    limit: float
    unit: str

    @property
    def met(self) -> bool | None:
        """Whether the limit holds; None where that is not known."""
        return None if self.value is None else self.value <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """As plain data, verdict included."""
        return {**asdict(self), "met": self.met}


def measure(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, seed: int = 0
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Time every call once a round, in an order drawn anew each round, after one warm-up each.

    What the machine does meanwhile then meets all of them alike. Garbage is collected before each call, so that none
    pays for what another left behind, and the collector stays on during it, as it is for users.

    Returns:
        The timings, and why a call that raised has none.
    """
    order, samples, failures = list(calls), dict[str, list[float]](), dict[str, str]()
    shuffle = random.Random(seed).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        for name in order:
            if name in failures:
                continue
            gc.collect()
            start_s = time.perf_counter()
            try:
                calls[name]()
            except Exception as error:
                failures[name] = reason(error)
                continue
            elapsed_s = time.perf_counter() - start_s
            if number > 0:  # 0 is the warm-up
                samples.setdefault(name, []).append(elapsed_s)
    return {name: Timing(tuple(samples[name])) for name in calls if name in samples and name not in failures}, failures


def rounds_option(parser: argparse.ArgumentParser, default: int) -> None:
    """Adds ``--rounds``."""
    parser.add_argument(
        "--rounds", type=_positive, default=default, help=f"timed rounds, after one to warm up (default: {default})"
    )


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def timing_table(title: str, timings: Mapping[str, Timing], ours: Mapping[str, str]) -> Table:
    """All calls; with the ratio to ours, by name, where another does the same."""
    drawn = Table(title=title, **STYLE)
    drawn.add_column("what", no_wrap=True)
    for column in ("ms", "quartiles", "best", "x ours"):
        drawn.add_column(column, justify="right", no_wrap=True)
    for name, timing in timings.items():
        low_ms, high_ms = (quartile_s * 1e3 for quartile_s in timing.quartiles_s)
        ratio = f"{timing.median_s / timings[ours[name]].median_s:.1f}" if name in ours else ""
        best_ms = min(timing.samples_s) * 1e3
        drawn.add_row(name, f"{timing.median_s * 1e3:.1f}", f"{low_ms:.1f} - {high_ms:.1f}", f"{best_ms:.1f}", ratio)
    return drawn


def reason(error: Exception) -> str:
    """Why something failed, in one line."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def environment() -> dict[str, str]:
    """What the numbers depend on, as words."""
    load = f", load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return {
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores{load}",
        "software": f"Python {platform.python_version()}, torch {metadata.version('torch')}, {platform.system()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def print_environment(console: Console, where: Mapping[str, str], *details: str) -> None:
    """One line each, under the table that they explain."""
    for line in (*where.values(), *details):
        console.print(line, style="dim", highlight=False)


def print_targets(console: Console, targets: Sequence[Target], timings: Mapping[str, Timing]) -> None:
    """Each target with what was found: met, missed, or not measured; and which timings are not steady."""
    styles = {True: ("met", "green"), False: ("missed", "red"), None: ("not measured", "yellow")}
    for target in targets:
        word, style = styles[target.met]
        found = "" if target.value is None else f"{target.value:.3g} {target.unit}, "
        console.print(Text.assemble((f"{word}: ", f"bold {style}"), target.what, f" ({found}limit {target.limit:g})"))
    unsteady = [name for name, timing in timings.items() if timing.spread > STEADY]
    if unsteady:
        apart = f"Unsteady (quartiles over {STEADY:.0%} of the median apart): {', '.join(unsteady)}."
        console.print(apart, "Repeat the run on an idle machine.", style="yellow")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, all columns but the first to the right."""
    lines = [heads, ["---", *(["---:"] * (len(heads) - 1))], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The text of a page, with these parts between their marks."""
    for name, part in parts.items():
        before, mark, rest = page.partition(f"<!-- made: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        assert mark, f"the page has no place for {name}"
        assert end, f"the place for {name} has no end"
        page = f"{before}{mark}\n{part}\n\n{end}{after}"
    return page
