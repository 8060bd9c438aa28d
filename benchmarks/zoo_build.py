"""How long each network of the zoo takes to build for analysis: on the meta device, without drawing weights.

    python benchmarks/zoo_build.py [--rounds N]

See docs/speed.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import STYLE, Target, environment, measure, print_environment, print_targets, rounds_option
from roofline import models
from roofline.loading import build_on_meta

LIMIT_S = 0.1
SHOWN = 10


def builder(entry: models.Entry) -> Callable[[], object]:
    return lambda: build_on_meta(entry.build)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time building every network of the zoo on the meta device.")
    rounds_option(parser, 7)
    rounds = parser.parse_args().rounds

    console, where = Console(highlight=False), environment()
    timings, failures = measure({entry.name: builder(entry) for entry in models.entries()}, rounds=rounds)
    slowest = sorted(timings, key=lambda name: -timings[name].median_s)
    table = Table(title=f"The slowest {SHOWN} of {len(timings)} networks", **STYLE)
    table.add_column("network", no_wrap=True)
    for column in ("ms", "quartiles"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in slowest[:SHOWN]:
        low, high = (1e3 * quartile for quartile in timings[name].quartiles_s)
        table.add_row(name, f"{1e3 * timings[name].median_s:.1f}", f"{low:.1f} - {high:.1f}")
    console.print(table)
    for name, why in failures.items():
        console.print(f"{name} is left out: {why}", style="yellow")
    console.print()
    print_environment(console, where, f"Medians of {rounds} interleaved rounds, after one that warms up")
    total_s = sum(timing.median_s for timing in timings.values())
    console.print(f"All of them one after the other: {total_s:.2f} s", style="dim")
    target = Target("every network builds in under 0.1 s", timings[slowest[0]].median_s, LIMIT_S, "s")
    print_targets(console, [target], {name: timings[name] for name in slowest[:1]})


if __name__ == "__main__":
    main()
