"""How fast the exact sweep is, beside the plain vectorised evaluation of the same sum.

    python benchmarks/sweep_speed.py [--rounds N]

1,000 models of 200 layers, and one table of a million layers, at 501 ridge points; the counts are drawn at random with
a fixed seed. The plain evaluation takes the larger of two times for every layer at every ridge point, and adds them up.
All of it runs in one thread, in rounds whose order is drawn anew each time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import (
    Target,
    Timing,
    environment,
    measure,
    print_environment,
    print_targets,
    rounds_option,
    timing_table,
)
from roofline.curves import Curve, Floats
from roofline.layers import Ints, LayerTable
from roofline.sweep import Candidate, RidgeSweep, spaced, sweep_layers

MODELS, LAYERS, MANY_LAYERS, RELATED = 1000, 200, 1_000_000, 40
POINTS = spaced(None, points=501, scale="linear")
BLOCK = 256  # layers at a time, whose times at all points stay in the cache: the plain evaluation at its best
SWEEP, PLAIN = "sweep, 1,000 models", "plain, 1,000 models"
CURVE, PLAIN_CURVE = "curve, a million layers", "plain, a million layers"
RELATIONS = f"crossings and fronts, {RELATED} models"


def random_table(layers: int, random: np.random.Generator) -> LayerTable:
    """Layers of up to 10^9 MACs and 10^8 bytes; a tenth of them has no MACs, as pooling and copies have none."""

    def up_to(exponent: float) -> Ints:
        return (10 ** random.uniform(2, exponent, layers)).astype(np.int64)

    same, nothing = np.full(layers, "other", dtype=object), np.zeros(layers, dtype=np.int64)
    return LayerTable(
        name=same,
        kind=same,
        ops=same,
        input_shape=same,
        output_shape=same,
        kernel=same,
        macs=np.where(random.random(layers) < 0.1, 0, up_to(9)),
        vector_ops=nothing,
        weight_bytes=up_to(7.5),
        input_bytes=up_to(7.5),
        output_bytes=up_to(7.5),
        external_bytes=nothing,
        fusion="epilogue",
        dtype="int8",
        fused_activations=frozenset(),
        transposes=False,
        params=0,
        peak_activation_bytes=0,
    )


def plain(layers: LayerTable) -> Floats:
    """ModelTime at a fixed peak, by evaluating every layer at every ridge point."""
    macs, mem_bytes = layers.macs.astype(np.float64)[:, None], layers.mem_bytes.astype(np.float64)[:, None]
    total = np.zeros(len(POINTS))
    for start in range(0, len(layers), BLOCK):
        block = slice(start, start + BLOCK)
        total += np.maximum(macs[block], mem_bytes[block] * POINTS).sum(axis=0)
    return total


def exact(layers: LayerTable) -> Floats:
    """The same by sorting, prefix sums and binary search."""
    return Curve.from_layers(layers.macs, layers.mem_bytes).time(POINTS)


def relations(candidates: list[Candidate]) -> RidgeSweep:
    """A sweep with all that relates each model to each other."""
    result = sweep_layers(candidates)
    assert result.crossings
    assert result.pareto_intervals
    return result


def largest_difference(tables: list[LayerTable]) -> float:
    """Between the two evaluations, relative."""
    pairs = [(exact(layers), plain(layers)) for layers in tables]
    return max(float(np.abs(one / other - 1).max()) for one, other in pairs)


def targets(timings: Mapping[str, Timing]) -> list[Target]:
    """The limits that were set in advance."""
    return [
        Target("1,000 models of 200 layers take under 0.15 s", timings[SWEEP].median_s, 0.15, "s"),
        Target("the curve of a million layers takes under 1 s", timings[CURVE].median_s, 1.0, "s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the exact sweep beside the plain evaluation.")
    rounds_option(parser, 9)
    rounds = parser.parse_args().rounds

    console = Console(highlight=False)
    where = environment()
    random = np.random.default_rng(0)
    tables = [random_table(LAYERS, random) for _ in range(MODELS)]
    candidates = [
        Candidate(name=f"model{number}", layers=layers, top1=70 + number % 10) for number, layers in enumerate(tables)
    ]
    many = random_table(MANY_LAYERS, random)
    calls: dict[str, Callable[[], object]] = {
        SWEEP: lambda: sweep_layers(candidates),
        PLAIN: lambda: [plain(layers) for layers in tables],
        CURVE: lambda: exact(many),
        PLAIN_CURVE: lambda: plain(many),
        RELATIONS: lambda: relations(candidates[:RELATED]),
    }
    timings, _ = measure(calls, rounds=rounds)
    ours = {PLAIN: SWEEP, PLAIN_CURVE: CURVE}
    console.print(timing_table(f"At {len(POINTS)} ridge points", timings, ours))
    console.print()
    agreement = f"Largest relative difference of the two evaluations: {largest_difference([*tables, many]):.1g}"
    method = f"Medians of {rounds} interleaved rounds in one process and one thread"
    print_environment(console, where, method, f"numpy {np.__version__}", agreement)
    print_targets(console, targets(timings), timings)


if __name__ == "__main__":
    main()
