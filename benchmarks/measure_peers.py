"""How well repeated invocations agree: `roofline measure` beside torch.utils.benchmark, on the same networks.

    python benchmarks/measure_peers.py [--invocations N] [--max-time SECONDS] [--system-allocator]

Each invocation is a fresh process that times ten networks, each with one tool and at once with the other, which goes
first in every other invocation: this machine's speed changes within a minute, so tools that take turns by the minute
are not compared. The spread of a network is the largest of its medians over the smallest, less 1; for ours once as the
stopwatch had it and once at the machine's reference state. And a self-test on real ops: a product done twice takes
twice as long as once (by the stopwatch and in turns, as a product alone does not drift as networks do), and an empty
function takes nothing. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import STYLE, Target, environment, print_environment, print_targets
from roofline.measurement.clock import Timer
from roofline.measurement.subject import Subject

MODELS = (
    "mobilenetv1_050", "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "mobileone_s0", "regnetx_002", "regnety_004", "rexnet_100", "micronet_m2",
)  # fmt: skip
WAYS = ("roofline, at reference", "roofline, stopwatch", "blocked_autorange")
SHARE_OF_PEER = 1 / 3  # our spread at the reference state, at most, of the peer's
TWICE = 0.03  # off 2, at most
Medians = Mapping[str, Mapping[str, float]]  # by way and network, seconds


def invoke(max_s: float, keep_memory: bool, ours_first: bool) -> dict[str, dict[str, float]]:
    """Medians of one invocation, and its self-test."""
    from roofline.measurement.api import measure_models

    measure_models(MODELS[:1], max_s=max_s, keep_memory=keep_memory)  # sets the allocator, and the reference state
    found: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for name in MODELS:
        for is_ours in (ours_first, not ours_first):
            if is_ours:
                (measured,) = measure_models((name,), max_s=max_s, keep_memory=keep_memory).measurements
                found[WAYS[0]][name] = measured.reference_latency_s.median
                found[WAYS[1]][name] = measured.latency_s.median
            else:
                found[WAYS[2]][name] = _blocked_autorange(name, max_s)
    return {**found, "self-test": _self_test(max_s, keep_memory)}


def _blocked_autorange(name: str, max_s: float) -> float:
    """Its median of a network, in seconds, with as many threads."""
    import torch
    from torch.utils.benchmark import Timer

    from roofline.loading import load

    made = load(name, weights=True)
    module, image = made.module.eval(), torch.randn(1, 3, *made.inputs[0].shape[2:])
    with torch.inference_mode():
        given = {"module": module, "image": image}
        timer = Timer("module(image)", globals=given, num_threads=torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=max_s).median


def _self_test(max_s: float, keep_memory: bool) -> dict[str, float]:
    import torch

    from roofline.measurement.api import Request, measure_here

    left, right = torch.randn(2, 384, 384)
    works = {"once": lambda: left @ right, "twice": lambda: (left @ right, left @ right), "nothing": lambda: None}
    tests = measure_here(
        [partial(_subject, name, work) for name, work in works.items()],
        Request(max_s=max_s, keep_memory=keep_memory),
    )
    once, twice, nothing = tests.measurements
    return {
        "twice the work": twice.latency_s.median / once.latency_s.median,
        "empty function, s": nothing.latency_s.median,
    }


def _subject(name: str, work: Callable[[], object], timer: Timer) -> Subject:
    from roofline.measurement.subject import of_callable

    return of_callable(work, (), timer=timer, name=name)


def spreads(invocations: Sequence[Medians], way: str) -> dict[str, float]:
    """Largest over smallest median of each network, less 1."""
    names = set.intersection(*(set(found[way]) for found in invocations))
    return {
        name: max(found[way][name] for found in invocations) / min(found[way][name] for found in invocations) - 1
        for name in sorted(names)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Invoke, and print the table and the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--invocations", type=int, default=3)
    parser.add_argument("--max-time", type=float, default=4.0, help="seconds of timing each network, each way")
    parser.add_argument("--system-allocator", action="store_true", help="leave glibc's allocator as it is, for both")
    parser.add_argument("--only", choices=("ours-first", "theirs-first"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        print(json.dumps(invoke(options.max_time, not options.system_allocator, options.only == "ours-first")))
        return
    invocations: list[Medians] = []
    for number in range(options.invocations):
        print(f"invocation {number + 1} of {options.invocations}", file=sys.stderr)
        command = [sys.executable, __file__, "--max-time", str(options.max_time)]
        command += ["--only", "theirs-first" if number % 2 else "ours-first"]
        command += ["--system-allocator"] * options.system_allocator
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        invocations.append(json.loads(done.stdout.splitlines()[-1]))
    console = Console(width=100)
    print_environment(console, environment())
    table = Table("network", *(f"{way}: ms" for way in WAYS), *(f"{way}: spread" for way in WAYS), **STYLE)
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
