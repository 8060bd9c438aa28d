"""How well repeated invocations agree: `roofline measure` beside torch.utils.benchmark, on the same networks.

    python benchmarks/measure_peers.py [--invocations N] [--max-time SECONDS]

Each invocation is a fresh process that times ten networks with one tool, then with the other. The spread of a network
is the largest of its medians over the smallest, less 1; for ours once as the stopwatch had it and once at the machine's
reference state. And a self-test on real ops: a product done twice takes twice as long as once, and an empty function
takes nothing. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import STYLE, Target, environment, print_environment, print_targets

MODELS = (
    "mobilenetv1_050", "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "mobileone_s0", "regnetx_002", "regnety_004", "rexnet_100", "micronet_m2",
)  # fmt: skip
WAYS = ("roofline, at reference", "roofline, stopwatch", "blocked_autorange")
SHARE_OF_PEER = 1 / 3  # our spread at the reference state, at most, of the peer's
TWICE = 0.03  # off 2, at most
Medians = Mapping[str, Mapping[str, float]]  # by way and network, seconds


def time_once(max_s: float) -> dict[str, dict[str, float]]:
    """Medians of one invocation, and the self-test."""
    import torch
    from torch.utils.benchmark import Timer

    import roofline
    from roofline.loading import load
    from roofline.measurement.api import measure_models

    run = measure_models(MODELS, max_s=max_s, reference_state="kept")
    found: dict[str, dict[str, float]] = {
        WAYS[0]: {m.name: m.reference_latency_s.median for m in run.measurements if m.reference_latency_s},
        WAYS[1]: {m.name: m.latency_s.median for m in run.measurements},
        WAYS[2]: {},
    }
    threads = torch.get_num_threads()
    for name in found[WAYS[1]]:
        module = load(name, weights=True).module.eval()
        image = torch.randn(1, 3, *load(name).inputs[0].shape[2:])
        with torch.inference_mode():
            timer = Timer("module(image)", globals={"module": module, "image": image}, num_threads=threads)
            found[WAYS[2]][name] = timer.blocked_autorange(min_run_time=max_s / 2).median
    left, right = torch.randn(2, 384, 384)
    once = roofline.measure(lambda: left @ right, max_s=max_s)
    twice = roofline.measure(lambda: (left @ right, left @ right), max_s=max_s)
    empty = roofline.measure(lambda: None, max_s=max_s)

    def at_reference(measurement: Any) -> float:
        return float((measurement.reference_latency_s or measurement.latency_s).median)

    found["self-test"] = {
        "twice the work": at_reference(twice) / at_reference(once),
        "empty function, s": float(empty.latency_s.median),
    }
    return found


def spreads(invocations: Sequence[Medians], way: str) -> dict[str, float]:
    """Largest over smallest median of each network, less 1."""
    names = set.intersection(*(set(found[way]) for found in invocations))
    return {
        name: max(found[way][name] for found in invocations) / min(found[way][name] for found in invocations) - 1
        for name in MODELS
        if name in names
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Invoke, and print the table and the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--invocations", type=int, default=3)
    parser.add_argument("--max-time", type=float, default=4.0, help="seconds of timing each network, each way")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(time_once(options.max_time)))
        return
    invocations: list[Medians] = []
    for number in range(options.invocations):
        print(f"invocation {number + 1} of {options.invocations}", file=sys.stderr)
        command = [sys.executable, __file__, "--once", "--max-time", str(options.max_time)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        invocations.append(json.loads(done.stdout.splitlines()[-1]))
    console = Console(width=100)
    print_environment(console, environment())
    table = Table("network", *(f"{way}: ms" for way in WAYS), *("spread" for _ in WAYS), **STYLE)
    found = {way: spreads(invocations, way) for way in WAYS}
    for name in found[WAYS[0]]:
        medians = [np.median([item[way][name] for item in invocations]) * 1e3 for way in WAYS]
        table.add_row(name, *(f"{median:.3f}" for median in medians), *(f"{found[way][name]:.1%}" for way in WAYS))
    console.print(table)
    typical = {way: float(np.median(list(found[way].values()))) for way in WAYS}
    console.print("Median spread between invocations: " + ", ".join(f"{way} {typical[way]:.1%}" for way in WAYS))
    tests = [item["self-test"] for item in invocations]
    twice = float(np.median([test["twice the work"] for test in tests]))
    empty_s = max(abs(test["empty function, s"]) for test in tests)
    print_targets(
        console,
        [
            Target("our spread at reference, over that of blocked_autorange", typical[WAYS[0]] / typical[WAYS[2]],
                   SHARE_OF_PEER, ""),
            Target("twice the work: off twice the time", abs(twice / 2 - 1), TWICE, ""),
            Target("an empty function", empty_s * 1e9, 50, "ns"),
        ],
        {},
    )  # fmt: skip


if __name__ == "__main__":
    main()
