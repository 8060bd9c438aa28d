"""Check the timers of `roofline measure --device cuda` on a real GPU: events, wall time, graphs, in under two minutes.

    python benchmarks/cuda_check.py [MODEL...] [--blocks N] [--json FILE]

It times a few networks in each way, and checks what has to hold whatever the GPU: twice the work takes twice the time,
nothing takes about nothing, kernels are no slower in a graph than without, the queue was filled, the clock that the
spinning kernel tells is the one of NVML, and the layers of a network sum up to its kernel time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import STYLE, Target, environment, print_environment, print_targets
from roofline.errors import RooflineError
from roofline.measurement.clock import Block, Clock, SystemClock
from roofline.measurement.cuda import CudaDevice, CudaTimer, cuda_device, graphed
from roofline.measurement.per_layer import LayerTimes, layer_times
from roofline.measurement.stopping import median
from roofline.measurement.subject import Subject, of_reference

MODELS = ("mobilenetv4_conv_small", "mobilenetv1_100", "mobilenetv4_conv_large", "regnetx_080")
BLOCKS = 30
WARM_UP_S = 1.0  # of calls: clocks rise, cuDNN chooses its kernels
GEMM_SIDE = 4096  # a millisecond or more in fp32
BUDGET_S = 120.0
WHERE = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network, timed in each way; medians of the blocks, a call.

    Attributes:
        model: Its reference.
        kernel_s: By events, with what the call before left in L2.
        cold_s: The same with L2 flushed before each call.
        wall_s: By the host, until all is done.
        graph_kernel_s, graph_wall_s: The same two of the replayed graph.
        clock_hz: Of the SMs, by the spinning kernel.
        gaps: Blocks whose queue could not be filled.
        throttled: Blocks that were thrown away since the clock was low.
    """

    model: str
    kernel_s: float
    cold_s: float
    wall_s: float
    graph_kernel_s: float
    graph_wall_s: float
    clock_hz: float
    gaps: int
    throttled: int


def timed(timer: CudaTimer, call: Callable[[], object], blocks: int) -> list[Block]:
    """Blocks of one call."""
    return [timer.block(call, 1) for _ in range(blocks)]


def kernel_s(blocks: Sequence[Block]) -> float:
    """The median by the device."""
    return median([block.kernel_s for block in blocks if block.kernel_s is not None])


def wall_s(blocks: Sequence[Block]) -> float:
    """The median by the host."""
    return median([block.wall_s for block in blocks])


def clock_hz(blocks: Sequence[Block]) -> float:
    """The median that the spins tell; 0 where they do not."""
    return median([block.frequency_hz for block in blocks if block.frequency_hz is not None] or [0.0])


def warm_up(device: CudaDevice, clock: Clock, call: Callable[[], object]) -> None:
    """Call for a while."""
    start_s = clock.now_s()
    while clock.now_s() - start_s < WARM_UP_S:
        call()
        device.synchronise()


def row_of(subject: Subject, device: CudaDevice, clock: Clock, blocks: int) -> Row:
    """One network in each way."""
    hot, cold, graph = CudaTimer(device, clock), CudaTimer(device, clock, cache="cold"), CudaTimer(device, clock)
    with subject.context():
        warm_up(device, clock, subject.call)
        as_called, flushed = timed(hot, subject.call, blocks), timed(cold, subject.call, blocks)
        replay = graphed(subject.call, device)
        replay()
        replayed = timed(graph, replay, blocks)
    everything = (*as_called, *flushed, *replayed)
    return Row(
        model=subject.label,
        kernel_s=kernel_s(as_called),
        cold_s=kernel_s(flushed),
        wall_s=wall_s(as_called),
        graph_kernel_s=kernel_s(replayed),
        graph_wall_s=wall_s(replayed),
        clock_hz=clock_hz(as_called),
        gaps=sum(block.has_gaps for block in everything),
        throttled=sum(block.retries for block in everything),
    )


def known_work(device: CudaDevice, clock: Clock, blocks: int) -> tuple[float, float, float]:
    """Kernel time of nothing, and of two matrix products over that of one; the clock by the spin over that by NVML."""
    left, right = (torch.randn(GEMM_SIDE, GEMM_SIDE, device=WHERE) for _ in range(2))
    product = torch.empty_like(left)

    def once() -> None:
        torch.mm(left, right, out=product)

    def twice() -> None:
        once()
        once()

    timer = CudaTimer(device, clock)
    warm_up(device, clock, once)
    one = timed(timer, once, blocks)
    nvml_hz = device.clock_hz()
    ratio = kernel_s(timed(timer, twice, blocks)) / kernel_s(one)
    nothing_s = kernel_s(timed(timer, lambda: None, blocks))
    return nothing_s, ratio, clock_hz(one) / nvml_hz if nvml_hz else float("nan")


def checks(
    rows: Sequence[Row], layers: LayerTimes | None, nothing_s: float, ratio: float, clocks: float, took_s: float
) -> list[Target]:
    """What has to hold."""
    slowest = max((row.graph_kernel_s / row.kernel_s for row in rows), default=None)
    hidden = max((row.kernel_s / row.wall_s for row in rows), default=None)
    found = [
        Target("a call that does nothing takes no time", nothing_s * 1e6, 5.0, "us"),
        Target("twice the work takes twice the time", abs(ratio / 2 - 1), 0.03, "off"),
        Target("kernels are no slower in a graph", slowest, 1.05, "of those without"),
        Target("kernels take no longer than the wall shows", hidden, 1.02, "of the wall"),
        Target("every queue was filled", float(sum(row.gaps for row in rows)), 0.0, "blocks were not"),
        Target("the spin tells the clock of NVML", abs(clocks - 1) if clocks == clocks else None, 0.05, "off"),
        Target("it is done in time", took_s, BUDGET_S, "s"),
    ]
    if layers is not None:
        sums = layers.gap.layers_s / rows[0].kernel_s
        found.append(Target(f"the layers of {rows[0].model} sum up to its kernels", abs(sums - 1), 0.15, "off"))
    return found


def table_of(rows: Sequence[Row]) -> Table:
    """The table, in ms and MHz."""
    table = Table(title="Milliseconds a call, medians", **STYLE)
    table.add_column("network", no_wrap=True)
    for column in ("kernels", "cold", "wall", "graph", "its wall", "MHz"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        ms = (row.kernel_s, row.cold_s, row.wall_s, row.graph_kernel_s, row.graph_wall_s)
        table.add_row(row.model, *(f"{1e3 * time_s:.3f}" for time_s in ms), f"{row.clock_hz / 1e6:.0f}")
    return table


def run(models: Sequence[str], blocks: int, console: Console) -> dict[str, Any]:
    """All of it; what was found, as plain data."""
    start_s = time.perf_counter()
    device, clock = cuda_device(), SystemClock()
    nothing_s, ratio, clocks = known_work(device, clock, blocks)
    rows: list[Row] = []
    layers = None
    for model in models:
        subject = of_reference(model, timer=CudaTimer(device, clock), device=WHERE)
        rows.append(row_of(subject, device, clock, blocks))
        if layers is None and subject.module is not None:
            layers = layer_times(subject.module, subject.inputs, clock=clock, rounds=10, profiled_rounds=2)
    targets = checks(rows, layers, nothing_s, ratio, clocks, time.perf_counter() - start_s)
    console.print(table_of(rows))
    console.print()
    for row in rows:
        if row.throttled:
            console.print(f"{row.model}: {row.throttled} blocks were thrown away for a low clock", style="yellow")
    if layers is not None:
        gap = {name: value for name, value in layers.gap.to_dict().items() if name.endswith("_s")}
        console.print(f"{rows[0].model}, layer by layer, in us:", {name: round(1e6 * s, 1) for name, s in gap.items()})
    default = "unknown" if device.default_clock_hz is None else f"{device.default_clock_hz / 1e6:.0f} MHz"
    what = f"{device.name}, L2 {device.l2_bytes / 2**20:.0f} MiB, default SM clock {default}"
    print_environment(
        console, environment(), what, f"CUDA {torch.version.cuda}, {blocks} blocks each way, fp32, batch 1"
    )
    print_targets(console, targets, {})
    return {
        "gpu": what,
        "environment": environment(),
        "rows": [asdict(row) for row in rows],
        "layers": None if layers is None else layers.to_dict(),
        "targets": [target.to_dict() for target in targets],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the CUDA timers on a real GPU.")
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help=f"blocks each way (default: {BLOCKS})")
    parser.add_argument("--json", type=Path, help="also write what was found here")
    arguments = parser.parse_args()
    if arguments.blocks < 1:
        parser.error("--blocks must be at least 1")
    try:
        found = run(arguments.models, arguments.blocks, Console(highlight=False))
    except RooflineError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
