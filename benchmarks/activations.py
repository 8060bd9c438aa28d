"""Activation functions: the tables of docs/activations.md, made again.

    python benchmarks/activations.py [--predicted] [--write] [--max-time SECONDS]

Predicts the probe with every activation on some profiles beside what is published; measures it on this machine with the
project's own harness, all variants in turns in one session; and times each function element by element, at sizes that
fit each cache and none, in place and not. `--predicted` leaves out what takes a stopwatch. `--write` puts the tables
into docs/activations.md; without it they are printed. The measurements take some minutes, on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

import roofline
from benchmarks._harness import filled, markdown
from roofline.activation_comparison import LABELS, ActivationComparison, Row, compare_activations, interval_of
from roofline.elementwise import Elementwise, measure_elementwise
from roofline.hardware import ACTIVATIONS as FUSIBLE
from roofline.hardware import Hardware
from roofline.output import write_text
from roofline.reports.elementwise_terminal import MARKS, binary_size, label_of
from roofline.units import milliseconds, si, significant

PAGE = Path(__file__).resolve().parents[1] / "docs" / "activations.md"
PROFILES = ("pixel6_tpu", "iphone12_ane", "iphone12_cpu")
VECTOR_OPS_PER_S = 6e10  # of no device: 64 lanes at about 1 GHz, as the comment in hwprofiles/__init__.py has it
ORDER = (
    "relu", "relu6", "leaky_relu", "prelu", "hardsigmoid", "hardswish", "elu", "gelu", "sigmoid", "silu", "tanh",
    "mish", "se_relu", "dynamic_relu_a", "dynamic_relu_b", "dynamic_shift_max",
)  # fmt: skip
V3, V3_PLACES = "mobilenetv3_large_100", (("pixel4_cpu", "fp32"), ("raspberrypi_4", "fp32"))


def with_vector_rate() -> Hardware:
    """A device that there is not: the EdgeTPU, were every activation fused and vector work to take time."""
    tpu = roofline.load_profile("pixel6_tpu")
    return replace(
        tpu, id="vector_rate", vector_ops_per_s=VECTOR_OPS_PER_S, fused_activations=frozenset(FUSIBLE), figures={}
    )


def predictions() -> ActivationComparison:
    return compare_activations(acts=ORDER, hw=[*PROFILES, with_vector_rate()])


def predicted(comparison: ActivationComparison) -> str:
    """Ratios to ReLU on each profile, and what an activation adds."""
    relu = comparison.baseline
    places = [place.id for place in comparison.places]

    def rows() -> Iterator[Sequence[str]]:
        for row in comparison.rows:
            counts = [
                si(getattr(row, key) - getattr(relu, key), unit) if row is not relu else si(getattr(row, key), unit)
                for key, unit in (("params", ""), ("macs", ""), ("vector_ops", ""), ("mem_bytes", "B"))
            ]
            times = [_ratio(comparison, row, place) for place in places]
            yield row.label, *(cell if row is relu else f"+{cell}" for cell in counts), *times

    heads = (
        "activation",
        "params",
        "MACs",
        "vector ops",
        "bytes",
        *(f"`{place}`" for place in PROFILES),
        "vector rate",
    )
    return markdown(heads, rows())


def _ratio(comparison: ActivationComparison, row: Row, place: str) -> str:
    ratio = comparison.ratio_predicted(row, place)
    if row is comparison.baseline:
        return f"{milliseconds(row.predictions[place].latency_s)} ms"
    return "-" if ratio is None else significant(ratio)


def mobileone(comparison: ActivationComparison) -> str:
    """The published times on the iPhone 12 in their order, beside our ratios."""
    rows = {row.activation: row for row in comparison.rows}
    places = [place.id for place in comparison.places]

    def lines() -> Iterator[Sequence[str]]:
        for found in sorted(comparison.published(), key=lambda found: found.latency_s):
            ratio = comparison.published_ratio(found)
            theirs = f"{milliseconds(found.latency_s)} ms", "1" if ratio is None else significant(ratio)
            ours = (comparison.ratio_predicted(rows[found.act], place) or 0.0 for place in places)
            yield LABELS[found.act], *theirs, *map(significant, ours)

    heads = ("activation", "published", "x ReLU", *(f"`{place}`" for place in PROFILES), "vector rate")
    return markdown(heads, lines())


def agreements(comparison: ActivationComparison) -> str:
    names = {"vector_rate": "with a vector rate"}

    def lines() -> Iterator[Sequence[str]]:
        for item in comparison.agreements():
            turned = "; ".join(f"{LABELS[faster]} before {LABELS[slower]}" for faster, slower in item.reversed) or "-"
            where = names.get(item.place, f"`{item.place}`")
            yield where, str(item.agree), str(item.tied), str(len(item.reversed)), turned

    return markdown(("where", "same order", "equal", "other way round", "published so"), lines())


def mobilenetv3() -> str:
    """Theirs and ours of h-swish everywhere, over ReLU everywhere."""

    def lines() -> Iterator[Sequence[str]]:
        comparison = None
        for profile, dtype in V3_PLACES:
            comparison = compare_activations(V3, acts=["relu", "hardswish"], hw=[profile], dtype=dtype)
            relu, hswish = (row.predictions[profile] for row in comparison.rows)
            ways = (("epilogue", "ReLU fused"), ("none", "nothing fused"), ("all", "both fused"))
            for way, name in ways:
                times = relu.ways_s[way], hswish.ways_s[way]
                kind = comparison.places[0].latency_kind
                yield (f"`{profile}`, {dtype}, {name} ({kind})", *map(milliseconds, times),
                       significant(times[1] / times[0]))  # fmt: skip
        assert comparison is not None
        by_table: dict[tuple[str, str, str], dict[str, float]] = {}
        for found in comparison.published():
            by_table.setdefault(found.table, {})[found.act] = found.latency_s
        for (_, device, runtime), found_s in by_table.items():
            ratio = significant(found_s["hardswish"] / found_s["relu"])
            name = f"published: {device}, {runtime}"
            yield name, milliseconds(found_s["relu"]), milliseconds(found_s["hardswish"]), ratio

    return markdown(("where", "ReLU, ms", "h-swish, ms", "h-swish / ReLU"), lines())


def predicted_tables() -> dict[str, str]:
    """Those that need no stopwatch, by the name of their place in the page."""
    comparison = predictions()
    return {
        "predicted": predicted(comparison),
        "mobileone": mobileone(comparison),
        "agreements": agreements(comparison),
        "mobilenetv3": mobilenetv3(),
    }


# --- what takes a stopwatch -------------------------------------------------------------------------------------------


def measured(comparison: ActivationComparison) -> str:
    def lines() -> Iterator[Sequence[str]]:
        for row in comparison.rows:
            ratio = comparison.ratio_measured(row)
            if row.measurement is None or ratio is None:
                yield row.label, "-", "-", "-", "not measured"
                continue
            latency = row.measurement.latency_s
            within = " to ".join(map(milliseconds, interval_of(latency) or ())) or "too few samples"
            limits = "" if row is comparison.baseline else " to ".join(map(significant, ratio.ci95 or ())) or "-"
            yield (row.label, f"{milliseconds(latency.median)} ({within})", significant(ratio.value), limits,
                   row.measurement.status)  # fmt: skip

    heads = ("activation", "ms (95 %)", "x ReLU", "95 % of the ratio", "status")
    return f"{_machine(comparison.run.environment if comparison.run else {})}\n\n{markdown(heads, lines())}"


def elementwise(result: Elementwise) -> str:
    def lines(in_place: bool) -> Iterator[Sequence[str]]:
        for name in ("scale" if in_place else "copy", *result.activations):
            yield label_of(name), *(_cell(result, name, level.name, in_place) for level in result.levels)

    parts = [_machine(result.run.environment)]
    for in_place, title in ((False, "out of place"), (True, "in place")):
        heads = (f"{title}, GB/s", *(f"{level.name}, {binary_size(level.footprint_bytes)}" for level in result.levels))
        parts.append(markdown(heads, lines(in_place)))
    return "\n\n".join([*parts, *result.notes()])


def _cell(result: Elementwise, name: str, level: str, in_place: bool) -> str:
    timing = result.find(name, level, in_place)
    if timing is None:
        return "-"
    mark = "" if name in ("copy", "scale") else f" {MARKS[timing.bound]}"
    return f"{significant(timing.bytes_per_s / 1e9)}{mark}"


def _machine(environment: Mapping[str, object]) -> str:
    device, versions = environment.get("device"), environment.get("versions")
    name = device.get("name", "") if isinstance(device, Mapping) else ""
    torch = versions.get("torch", "") if isinstance(versions, Mapping) else ""
    return f"{name}, torch {torch}, {datetime.now(UTC):%Y-%m-%d}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the tables, and print or write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--predicted", action="store_true", help="only what needs no stopwatch")
    parser.add_argument("--write", action="store_true", help="write docs/activations.md")
    parser.add_argument("--max-time", type=float, default=10.0, help="seconds of timing each, at most (default: 10)")
    given = parser.parse_args(arguments)
    how: dict[str, Any] = {"max_s": given.max_time}
    makers: dict[str, Callable[[], str]] = {
        "measured": lambda: measured(compare_activations(acts=ORDER, device="cpu", **how)),
        "elementwise": lambda: elementwise(measure_elementwise(**how)),
    }
    parts = predicted_tables() | ({} if given.predicted else {name: make() for name, make in makers.items()})
    if not given.write:
        for name, part in parts.items():
            print(f"\n## {name}\n\n{part}")
        return
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), parts))


if __name__ == "__main__":
    main()
