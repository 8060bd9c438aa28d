"""How many networks of a design space are drawn, counted, predicted on five devices and written in a second.

    python benchmarks/spaces.py [--networks N] [--rounds N] [--spaces SPACE ...] [--json FILE]

What `roofline explore` does between the start of its processes and the report, with one worker and with two. Each run
has new processes, which know nothing of the space yet: what they have to learn of its parts is in the time, as are the
draws that are no networks and the sample that is traced whole. That they start, and import torch, is not. The devices
are a GPU and two CPUs, each at its usual dtype and fusion, and two accelerators, of which one keeps tensors on the
chip, so that there each network is predicted on its own. Beside it stands what it takes to build, trace and predict
each network whole. See docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import (
    STYLE,
    Target,
    Timing,
    environment,
    print_environment,
    print_targets,
    rounds_option,
)
from roofline.engine import predict
from roofline.exploring import engines
from roofline.exploring.request import Request
from roofline.exploring.run import carry_out
from roofline.exploring.work import Job
from roofline.layers import lower
from roofline.loading import build_on_meta
from roofline.profiles import load_profile
from roofline.spaces import BUILT_IN, RandomChooser
from roofline.trace import trace

DEVICES = ("nvidia_a100", "xeon_8380", "pixel6_cpu", "pixel6_tpu", "coral_edgetpu_usb")
WORKERS = (1, 2)
TRACED = 10  # networks
MIN_PER_S = {"regnetx": 500, "uib": 200}  # networks, with two workers


def ready(*_: object) -> None:
    """What a worker needs is imported; it takes so long that each of them gets to do it once."""
    import roofline.exploring.work
    import roofline.spaces.counting

    _ = roofline.exploring.work, roofline.spaces.counting
    time.sleep(1)


def explore_once(space: str, workers: int, networks: int, seed: int) -> None:
    """Print how long one run takes in this process, which is new, and its workers, in seconds."""
    ready()
    job = Job.of(Request(space=space, n=networks, hw=DEVICES, seed=seed))
    with tempfile.TemporaryDirectory() as folder, engines.local(workers) as engine:
        for promise in [engine.submit(ready, job, worker) for worker in range(workers)]:
            promise.result()
        start_s = time.perf_counter()
        carry_out(job, Path(folder), engine=engine)
        print(time.perf_counter() - start_s)


def exploring_s(space: str, workers: int, networks: int, seed: int) -> float:
    """The same in a process of its own."""
    arguments = [space, str(workers), str(networks), str(seed)]
    run = [sys.executable, "-W", "ignore", __file__, "--once", *arguments]
    return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


def trace_each(space: str) -> None:
    """Some networks, each traced once, and lowered for and predicted on each device."""
    import torch

    image = torch.empty(BUILT_IN[space].input_shape, device="meta")
    drawn = (BUILT_IN[space].draw(RandomChooser(0, index)) for index in count())
    valid = (config for config in drawn if not BUILT_IN[space].why_invalid(config))
    for _, config in zip(range(TRACED), valid, strict=False):
        graph = trace(build_on_meta(partial(BUILT_IN[space].build, config)), image)
        for device in map(load_profile, DEVICES):
            layers = lower(
                graph,
                fusion=device.default_fusion,
                dtype=device.default_dtype,
                fused_activations=device.fused_activations,
                transposes=device.copies_transposes,
            )
            predict(layers, device)


def named(space: str, workers: int) -> str:
    return f"{space}, {workers} worker{'s' if workers > 1 else ''}"


def traced(space: str) -> str:
    return f"{space}, traced each"


def targets(per_s: Mapping[str, float]) -> list[Target]:
    """The limits of docs/scaling.md, as times."""
    found = []
    for space, rate in MIN_PER_S.items():
        measured = per_s.get(named(space, 2))
        ms = 1e3 / measured if measured is not None else None
        found.append(Target(f"{space}: at least {rate} networks a second with 2 workers", ms, 1e3 / rate, "ms each"))
    return found


def rate_table(spaces: Sequence[str], per_s: Mapping[str, float]) -> Table:
    """A row a space: networks a second, and how many times as many as where each is traced."""
    drawn = Table(title="networks a second", **STYLE)
    drawn.add_column("space", no_wrap=True)
    for column in (*(f"{workers} worker{'s' if workers > 1 else ''}" for workers in WORKERS), "traced each", "ratio"):
        drawn.add_column(column, justify="right", no_wrap=True)
    for space in spaces:
        found = [per_s.get(name) for name in (*(named(space, workers) for workers in WORKERS), traced(space))]
        ratio = f"{found[0] / found[-1]:.0f}" if found[0] and found[-1] else ""
        drawn.add_row(space, *(f"{rate:,.3g}" if rate else "" for rate in found), ratio)
    return drawn


def timed(spaces: Sequence[str], networks: int, rounds: int) -> dict[str, Timing]:
    """All runs, in an order drawn anew each round; each round has a seed of its own."""
    samples: dict[str, list[float]] = {}
    runs = [(space, workers) for space in spaces for workers in (*WORKERS, 0)]
    shuffle = random.Random(0).shuffle
    for seed in range(rounds):
        shuffle(runs)
        for space, workers in runs:
            if workers:
                samples.setdefault(named(space, workers), []).append(exploring_s(space, workers, networks, seed))
            else:
                start_s = time.perf_counter()
                trace_each(space)
                samples.setdefault(traced(space), []).append(time.perf_counter() - start_s)
    return {name: Timing(tuple(of_name)) for name, of_name in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the exploration of design spaces, networks a second.")
    rounds_option(parser, 3)
    parser.add_argument("--networks", type=int, default=5000, help="of each space and round (default: 5000)")
    parser.add_argument("--spaces", nargs="+", choices=list(BUILT_IN), default=list(BUILT_IN), metavar="SPACE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was measured")
    parser.add_argument("--once", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once is not None:
        explore_once(asked.once[0], *map(int, asked.once[1:]))
        return

    console = Console(highlight=False)
    where = environment()
    trace_each(asked.spaces[0])  # warms up
    timings = timed(asked.spaces, asked.networks, asked.rounds)
    networks = {name: TRACED if name.endswith("each") else asked.networks for name in timings}
    per_s = {name: networks[name] / timing.median_s for name, timing in timings.items()}
    console.print(rate_table(asked.spaces, per_s))
    console.print()
    details = f"Medians of {asked.rounds} rounds of {asked.networks:,} networks a space"
    print_environment(console, where, f"Devices: {', '.join(DEVICES)}", details)
    print_targets(console, targets(per_s), timings)
    if asked.json is not None:
        asked.json.write_text(json.dumps(saved(where, asked.networks, per_s, timings), indent=1), encoding="utf-8")


def saved(
    where: Mapping[str, str], networks: int, per_s: Mapping[str, float], timings: Mapping[str, Timing]
) -> dict[str, Any]:
    """What was measured, as plain data."""
    return {
        "environment": dict(where),
        "devices": list(DEVICES),
        "networks": networks,
        "networks_per_s": dict(per_s),
        "timings": {name: timing.to_dict() for name, timing in timings.items()},
    }


if __name__ == "__main__":
    main()
