"""What to divide times by: candidates for the anchor, timed beside networks in several processes.

    python benchmarks/anchor.py [--networks mobile|all] [--processes N] [--seconds S] [--system-allocator]

Each process times the networks in turns, and every candidate beside each sample. A network's time in a process is then
the median of its samples over the candidate's local factor; of all pairs of processes, the share whose times agree is
what a candidate is worth. Of each network it also says which share of the chain's drift it has: the slope of its log
time over that of the chain, all processes together. The tables of docs/measuring.md are of this. Let nothing else run
meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import statistics
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
from roofline.measurement.anchor import BLOCKS, NEAREST, REFERENCE_QUANTILE, inverted_residual
from roofline.measurement.conditions import MAX_FACTOR

ROOT = Path(__file__).resolve().parents[1]
MOBILE = (
    "mobilenetv1_050", "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_m", "mobileone_s0", "regnetx_002", "regnety_004", "rexnet_100", "micronet_m2", "convnext_atto",
    "efficientvit_b0",
)  # fmt: skip
_FOLDER = "benchmarks/networks"
OF_ALL_KINDS = {  # batch and pixels a side
    "mobilenetv2_100": (1, 224), "mobilenetv3_small_100": (4, 224), "rexnet_100": (1, 224), "regnetx_032": (1, 192),
    "mobileone_s1": (2, 160), "convnext_nano": (1, 192), f"{_FOLDER}/resnet.py:resnet18": (1, 224),
    f"{_FOLDER}/resnet.py:resnet50": (1, 160), f"{_FOLDER}/vgg.py:vgg11": (1, 160),
    f"{_FOLDER}/vit.py:deit_tiny": (1, 224), f"{_FOLDER}/mlp_mixer.py:mixer_s16": (1, 224),
    f"{_FOLDER}/densenet.py:densenet121": (1, 160), f"{_FOLDER}/squeezenet.py:squeezenet1_1": (2, 224),
}  # fmt: skip
CHAIN = ("block 56", "block 28", "block 14")
# A candidate's factor is the geometric mean of those of these pieces of work.
CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "product, convolution and copy": ("product", "convolution", "copy"),
    "product": ("product",),
    "convolution": ("convolution",),
    "copy": ("copy",),
    "block at 56": ("block 56",),
    "blocks at 28 and 14": ("block 28", "block 14"),
    "the chain: blocks at 56, 28 and 14": CHAIN,
    "the chain 0.6, the product 0.4": (*CHAIN, "product", "product"),
}


def pieces() -> dict[str, Callable[[], object]]:
    """The work that candidates are made of."""
    import torch
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
        block = inverted_residual(channels, torch.randn)
        given = torch.randn(1, channels, side, side)
        found[f"block {side}"] = lambda block=block, given=given: block(given)  # type: ignore[misc]
    return found


def networks_of(kind: str) -> dict[str, tuple[Any, Any]]:
    """Module and input of each network of a set, by reference."""
    import torch

    from roofline.loading import load

    found = {}
    for name in MOBILE if kind == "mobile" else OF_ALL_KINDS:
        batch, side = OF_ALL_KINDS[name] if kind == "all" else (1, None)
        made = load(name, batch=batch, input_size=(3, side, side) if side else None, weights=True)
        found[name] = (made.module.eval(), torch.randn(batch, 3, *made.inputs[0].shape[2:]))
    return found


def time_once(kind: str, seconds: float, keep_memory: bool) -> list[dict[str, Any]]:
    """The samples of one process: model, seconds, and seconds of each piece just before."""
    import torch

    from roofline.measurement.allocator import keep_memory as keep

    if keep_memory:
        keep()
    rng = random.Random()
    networks = networks_of(kind)
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
            for name in rng.sample(list(networks), len(networks)):
                module, images = networks[name]
                for _ in range(2):
                    beside = {piece: timed(call) for piece, call in work.items()}
                    module(images)
                    wall_s = timed(lambda module=module, images=images: module(images))  # type: ignore[misc]
                    samples.append({"model": name, "wall_s": wall_s, "beside": beside})
    return samples


def local_logs(runs: Sequence[Sequence[Mapping[str, Any]]], used: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """Of each run, the logarithm of a candidate's factor near each sample."""
    if not used:
        return [np.zeros(len(run)) for run in runs]
    logs = [np.array([[np.log(sample["beside"][piece]) for piece in used] for sample in run]) for run in runs]
    base = np.quantile(np.concatenate(logs), REFERENCE_QUANTILE, axis=0)
    around = NEAREST // 2
    own = [(run - base).mean(axis=1) for run in logs]
    return [np.array([np.median(run[max(i - around, 0) : i + around + 2]) for i in range(len(run))]) for run in own]


def agreement(runs: Sequence[Sequence[Mapping[str, Any]]], used: Sequence[str]) -> np.ndarray[Any, Any]:
    """Of every network and pair of processes, how far the two medians are apart, as a ratio less 1."""
    medians: dict[str, list[float]] = {sample["model"]: [] for sample in runs[0]}
    for run, logs in zip(runs, local_logs(runs, used), strict=True):
        factors = np.exp(logs)
        for name, found in medians.items():
            times = [
                s["wall_s"] / f for s, f in zip(run, factors, strict=True) if s["model"] == name and f <= MAX_FACTOR
            ]
            found.append(float(np.median(times)))
    pairs = [(one, other) for found in medians.values() for one, other in itertools.combinations(found, 2)]
    return np.array([max(pair) / min(pair) - 1 for pair in pairs])


def slopes(runs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Of each network, the slope of its log time over that of the chain, in all processes together."""
    points: dict[str, list[tuple[float, float]]] = {}
    for run, logs in zip(runs, local_logs(runs, CHAIN), strict=True):
        for sample, log in zip(run, logs, strict=True):
            points.setdefault(sample["model"], []).append((log, float(np.log(sample["wall_s"]))))
    return {name: statistics.linear_regression(*zip(*found, strict=True)).slope for name, found in points.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Time in processes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", choices=("mobile", "all"), default="mobile", help="which set of networks")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=24.0, help="of each process")
    parser.add_argument("--system-allocator", action="store_true", help="leave glibc's allocator as it is")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(time_once(options.networks, options.seconds, not options.system_allocator)))
        return
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--once",
        "--networks",
        options.networks,
        "--seconds",
        str(options.seconds),
    ]
    command += ["--system-allocator"] * options.system_allocator
    runs = []
    for number in range(options.processes):
        print(f"process {number + 1} of {options.processes}", file=sys.stderr)
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout))
    console = Console(width=100)
    print_environment(console, environment())
    table = Table("factor", "median apart", "within 5 %", "within 10 %", **STYLE)
    for name, used in CANDIDATES.items():
        apart = agreement(runs, used)
        table.add_row(name, f"{np.median(apart):.1%}", f"{np.mean(apart < 0.05):.0%}", f"{np.mean(apart < 0.1):.0%}")
    console.print(table)
    told = ", ".join(f"{name.rpartition(':')[2]} {slope:.2f}" for name, slope in slopes(runs).items())
    console.print(f"Share of the chain's drift: {told}")


if __name__ == "__main__":
    main()
