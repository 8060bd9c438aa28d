"""What to divide times by: candidates for the anchor, timed beside ten networks in several processes.

    python benchmarks/anchor.py [--processes N] [--seconds S] [--system-allocator]

Each process times the networks in turns, and every candidate beside each sample. A network's time in a process is then
the median of its samples over the candidate's local factor; of all pairs of processes, the share whose times agree is
what a candidate is worth. The table of docs/measuring.md is of this; let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import STYLE, environment, print_environment
from roofline.measurement.anchor import BLOCKS, NEAREST, REFERENCE_QUANTILE
from roofline.measurement.conditions import MAX_FACTOR

MODELS = (
    "mobilenetv1_050", "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_m", "mobileone_s0", "regnetx_002", "regnety_004", "rexnet_100", "micronet_m2", "convnext_atto",
    "efficientvit_b0",
)  # fmt: skip
# A candidate's factor is the geometric mean of those of these pieces of work.
CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "product, convolution and copy": ("product", "convolution", "copy"),
    "product": ("product",),
    "convolution": ("convolution",),
    "copy": ("copy",),
    "block at 56": ("block 56",),
    "blocks at 28 and 14": ("block 28", "block 14"),
    "blocks at 56, 28 and 14": ("block 56", "block 28", "block 14"),
    "these and the product": ("block 56", "block 28", "block 14", "product", "product"),  # 0.6 and 0.4
}


def pieces() -> dict[str, Callable[[], object]]:
    """The work that candidates are made of."""
    import torch
    from torch import nn
    from torch.nn import functional

    left, right, product = torch.randn(512, 512), torch.randn(512, 512), torch.empty(512, 512)
    images, weight = torch.randn(1, 64, 56, 56), torch.randn(64, 64, 3, 3)
    source = torch.randn(2_000_000)
    target = torch.empty_like(source)
    found: dict[str, Callable[[], object]] = {
        "product": lambda: torch.mm(left, right, out=product),
        "convolution": lambda: functional.conv2d(images, weight, padding=1),
        "copy": lambda: target.copy_(source),
    }
    for channels, side in BLOCKS:
        wide = 6 * channels
        block = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        ).eval()  # fmt: skip
        given = torch.randn(1, channels, side, side)
        found[f"block {side}"] = lambda block=block, given=given: block(given)  # type: ignore[misc]
    return found


def time_once(seconds: float, keep_memory: bool) -> list[dict[str, Any]]:
    """The samples of one process: model, seconds, and seconds of each piece just before."""
    import torch

    from roofline.loading import load
    from roofline.measurement.allocator import keep_memory as keep

    if keep_memory:
        keep()
    rng = random.Random()
    networks = {}
    for name in MODELS:
        made = load(name, weights=True)
        networks[name] = (made.module.eval(), torch.randn(1, 3, *made.inputs[0].shape[2:]))
    work = pieces()
    samples = []
    gc.disable()

    def timed(call: Callable[[], object]) -> float:
        start_s = time.perf_counter()
        call()
        return time.perf_counter() - start_s

    with torch.inference_mode():
        for module, images in networks.values():
            for _ in range(5):
                module(images)
        until_s = time.perf_counter() + seconds
        while time.perf_counter() < until_s:
            gc.collect()
            for name in rng.sample(MODELS, len(MODELS)):
                module, images = networks[name]
                for _ in range(2):
                    beside = {piece: timed(call) for piece, call in work.items()}
                    module(images)
                    wall_s = timed(lambda module=module, images=images: module(images))  # type: ignore[misc]
                    samples.append({"model": name, "wall_s": wall_s, "beside": beside})
    return samples


def agreement(runs: Sequence[Sequence[Mapping[str, Any]]], used: Sequence[str]) -> np.ndarray[Any, Any]:
    """Of every network and pair of processes, how far the two medians are apart, as a ratio less 1."""
    logs = [np.array([[np.log(sample["beside"][piece]) for piece in used] for sample in run]) for run in runs]
    base = np.quantile(np.concatenate(logs), REFERENCE_QUANTILE, axis=0) if used else np.zeros(0)
    factors = [np.exp((run - base).mean(axis=1)) if used else np.ones(len(run)) for run in logs]
    medians: dict[str, list[float]] = {name: [] for name in MODELS}
    for run, own in zip(runs, factors, strict=True):
        around = NEAREST // 2
        local = np.array([np.median(own[max(i - around, 0) : i + around + 2]) for i in range(len(own))])
        for name in MODELS:
            times = [s["wall_s"] / f for s, f in zip(run, local, strict=True) if s["model"] == name and f <= MAX_FACTOR]
            medians[name].append(float(np.median(times)))
    pairs = [(one, other) for found in medians.values() for one, other in itertools.combinations(found, 2)]
    return np.array([max(pair) / min(pair) - 1 for pair in pairs])


def main(arguments: Sequence[str] | None = None) -> None:
    """Time in processes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=24.0, help="of each process")
    parser.add_argument("--system-allocator", action="store_true", help="leave glibc's allocator as it is")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(time_once(options.seconds, not options.system_allocator)))
        return
    command = [sys.executable, __file__, "--once", "--seconds", str(options.seconds)]
    command += ["--system-allocator"] * options.system_allocator
    runs = []
    for number in range(options.processes):
        print(f"process {number + 1} of {options.processes}", file=sys.stderr)
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    console = Console(width=100)
    print_environment(console, environment())
    table = Table("factor", "median apart", "within 5 %", "within 10 %", **STYLE)
    for name, used in CANDIDATES.items():
        apart = agreement(runs, used)
        table.add_row(name, f"{np.median(apart):.1%}", f"{np.mean(apart < 0.05):.0%}", f"{np.mean(apart < 0.1):.0%}")
    console.print(table)


if __name__ == "__main__":
    main()
