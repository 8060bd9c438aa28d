"""How fast roofline counts a network that is already built, beside the counters that people use today.

    python benchmarks/count_speed.py [--rounds N] [--model NAME] [--json FILE]
    python benchmarks/count_speed.py --library [--rounds N]

Every counter runs in this one process on the same network, in rounds whose order is drawn anew each time; a counter
that is not installed or fails is listed with the reason. `--library` goes through networks of timm and torchvision, as
many of them as are installed, and says how ours compares with the fastest peer of each. See docs/speed.md.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import (
    STYLE,
    Target,
    Timing,
    environment,
    measure,
    print_environment,
    print_targets,
    reason,
    rounds_option,
)
from roofline import models
from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.layers import LayerTable, lower
from roofline.loading import load
from roofline.profiles import load_profile
from roofline.trace import trace

MODEL = "mobilenetv4_conv_medium"  # the targets are set for it
HARDWARE = load_profile("pixel6_tpu")
THREADS = 2
OURS, OURS_ON_CPU = "roofline", "roofline, CPU model"
LOAD, TRACE, LOWER, FORWARD = "load", "trace", "lower", "forward pass, CPU"

LIBRARY = (
    *(f"timm:{name}" for name in (
        "mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv4_conv_medium", "mobileone_s0", "efficientnet_b0",
        "efficientnet_lite0", "ghostnet_100", "mnasnet_100", "regnety_008", "rexnet_100", "resnet18", "resnet50",
        "resnext50_32x4d", "densenet121", "vgg16", "convnext_tiny", "hrnet_w18_small", "vit_tiny_patch16_224",
        "vit_base_patch16_224", "deit_small_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s16_224",
        "poolformer_s12", "mobilevit_s",
    )),
    *(f"torchvision:{name}" for name in (
        "shufflenet_v2_x1_0", "squeezenet1_1", "googlenet", "vit_b_16", "swin_t", "maxvit_t", "wide_resnet50_2",
    )),
)  # fmt: skip
LIBRARY_SHARE, LIBRARY_MODELS = 0.25, 25  # of the fastest peer's time, on so many of these

Count = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Case:
    """One network and one input, for all counters.

    Attributes:
        name: Its reference.
        macs: The exact count.
        model: With weights, on the CPU, in eval mode.
        x: Its input.
    """

    name: str
    macs: int
    model: nn.Module
    x: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input, batch included."""
        return tuple(self.x.shape)

    def fresh(self) -> nn.Module:
        """The network in modules of its own, over the same weights: some counters leave hooks and buffers behind."""
        weights = {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
        return copy.deepcopy(self.model, weights)


# --- the peers: called as their documentation does, printing and warm-up passes off; each returns MACs --------


def fvcore(case: Case) -> Count:
    from fvcore.nn import FlopCountAnalysis

    model = case.fresh()
    return lambda: int(FlopCountAnalysis(model, case.x).total())  # its "flop" is a MAC


def flop_counter(case: Case) -> Count:
    model = case.fresh()
    return lambda: _flop_counter(model, case.x)


def flop_counter_meta(case: Case) -> Count:
    loaded = load(case.name)
    model = loaded.module.eval()
    return lambda: _flop_counter(model, *loaded.inputs)


def _flop_counter(model: nn.Module, x: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(x)
    return int(counter.get_total_flops()) // 2  # it counts 2 FLOP a MAC


def ptflops(case: Case, *, backend: str) -> Count:
    from ptflops import get_model_complexity_info

    model = case.fresh()
    options = {"as_strings": False, "print_per_layer_stat": False, "backend": backend}
    return lambda: int(get_model_complexity_info(model, case.shape[1:], **options)[0])


def calflops(case: Case) -> Count:
    from calflops import calculate_flops

    model = case.fresh()
    options = {"input_shape": case.shape, "print_results": False, "output_as_string": False}
    return lambda: int(calculate_flops(model, **options)[1])


def thop(case: Case) -> Count:
    from thop import profile

    model = case.fresh()
    return lambda: int(profile(model, inputs=(case.x,), verbose=False)[0])


def torchinfo(case: Case) -> Count:
    from torchinfo import summary

    model = case.fresh()
    return lambda: int(summary(model, input_size=case.shape, verbose=0).total_mult_adds)


def deepspeed(case: Case) -> Count:
    from deepspeed.profiling.flops_profiler import get_model_profile

    model = case.fresh()
    options = {"input_shape": case.shape, "print_profile": False, "as_string": False, "warm_up": 0}
    return lambda: int(get_model_profile(model, **options)[1])


PEERS: dict[str, Callable[[Case], Count]] = {
    "fvcore": fvcore,
    "FlopCounterMode, CPU": flop_counter,
    "FlopCounterMode, meta": flop_counter_meta,
    "ptflops, pytorch": lambda case: ptflops(case, backend="pytorch"),
    "ptflops, aten": lambda case: ptflops(case, backend="aten"),
    "calflops": calflops,
    "thop": thop,
    "torchinfo": torchinfo,
    "DeepSpeed": deepspeed,
}
DISTRIBUTIONS = ("fvcore", "ptflops", "calflops", "thop", "torchinfo", "deepspeed")


# --- the run ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """What one run found.

    Attributes:
        case: What was counted.
        graph: As roofline traced it.
        timings: By contender, steps of roofline included.
        macs: What each counter counted.
        failures: Why a counter has no timing.
    """

    case: Case
    graph: Graph
    timings: dict[str, Timing]
    macs: dict[str, int]
    failures: dict[str, str]

    def targets(self) -> list[Target]:
        """The limits of docs/speed.md."""
        others = [name for name in PEERS if name in self.timings and name != "fvcore"]
        fastest = min(others, key=lambda name: self.timings[name].median_s, default=None)
        load_ms = self.timings[LOAD].median_s * 1e3 if LOAD in self.timings else None
        return [
            Target("at most 1/10 of fvcore's time", self._ratio("fvcore"), 0.1, "of it"),
            Target(
                f"at most 1/2 of the fastest other, {fastest or 'of which none ran'}",
                self._ratio(fastest),
                0.5,
                "of it",
            ),
            Target("building the model for analysis takes at most 50 ms", load_ms, 50.0, "ms"),
        ]

    def _ratio(self, peer: str | None) -> float | None:
        if peer not in self.timings or OURS not in self.timings:
            return None
        return self.timings[OURS].median_s / self.timings[peer].median_s


def run(name: str, *, rounds: int, grad: bool) -> Result:
    """Time all counters on one network, with autograd on, as a call is by default, or off."""
    torch.manual_seed(0)
    loaded = load(name)
    with_weights = load(name, weights=True)
    graph = trace(loaded.module, loaded.inputs)
    exact = models.find(name).macs if models.knows(name) else _flop_counter(loaded.module.eval(), *loaded.inputs)
    case = Case(name, exact, with_weights.module.eval(), torch.randn(*loaded.inputs[0].shape))
    own = case.fresh()
    macs: dict[str, int] = {}
    failures: dict[str, str] = {}
    calls: dict[str, Callable[[], object]] = {
        LOAD: lambda: load(name),
        TRACE: lambda: trace(loaded.module, loaded.inputs),
        LOWER: lambda: _lower(graph),
        FORWARD: lambda: case.model(case.x),
    }

    def add(contender: str, count: Count) -> None:
        def call() -> None:
            macs[contender] = count()

        calls[contender] = call

    add(OURS, lambda: int(_lower(trace(loaded.module, loaded.inputs)).macs.sum()))
    add(OURS_ON_CPU, lambda: int(_lower(trace(own, case.x)).macs.sum()))
    for peer, prepare in PEERS.items():
        try:
            add(peer, prepare(case))
        except Exception as error:
            failures[peer] = reason(error)
    gc.collect()
    gc.freeze()  # or every collection would walk through all that the peers import
    with torch.set_grad_enabled(grad):
        timings, failed = measure(calls, rounds=rounds)
    return Result(case, graph, timings, macs, {**failures, **failed})


def _lower(graph: Graph) -> LayerTable:
    """As ``roofline analyze --hw pixel6_tpu`` does."""
    return lower(
        graph,
        fusion=HARDWARE.default_fusion,
        dtype=HARDWARE.default_dtype,
        fused_activations=HARDWARE.fused_activations,
    )


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep the peers' prints, warnings and log records off the terminal."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


# --- the report ---------------------------------------------------------------------------------------------


def counters_table(result: Result) -> Table:
    """All counters, the fastest first."""
    case, timings = result.case, result.timings
    shape = "x".join(map(str, case.shape))
    table = Table(title=f"Counting {case.name}, {shape}; exact: {case.macs:,} MACs", **STYLE)
    table.add_column("counter", no_wrap=True)
    for column in ("ms", "quartiles", "x ours", "MACs", "error"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in sorted((name for name in timings if name in result.macs), key=lambda name: timings[name].median_s):
        ratio = f"{timings[name].median_s / timings[OURS].median_s:.2f}" if OURS in timings else ""
        counted = result.macs[name]
        error = "exact" if counted == case.macs else f"{counted / case.macs - 1:+.2%}"
        table.add_row(name, *_ms(timings[name]), ratio, f"{counted:,}", error)
    return table


def steps_table(result: Result) -> Table:
    """What roofline's time is made of, and one forward pass for scale."""
    views = sum(op.is_view for op in result.graph.ops)
    title = f"roofline's steps\n{len(result.graph.ops)} ops in the graph, {views} of them views"
    table = Table(title=title, **STYLE)
    table.add_column("step")
    for column in ("ms", "quartiles"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in (LOAD, TRACE, LOWER, FORWARD):
        if name in result.timings:
            table.add_row(name, *_ms(result.timings[name]))
    return table


def _ms(timing: Timing) -> tuple[str, str]:
    low, high = timing.quartiles_s
    digits = 1 if high < 0.1 else 0
    return f"{timing.median_s * 1e3:.{digits}f}", f"{low * 1e3:.{digits}f} - {high * 1e3:.{digits}f}"


def library(console: Console, rounds: int, *, grad: bool) -> None:
    """Ours beside the fastest peer of each network of `LIBRARY`."""
    table = Table(title="Trace and lower, beside the fastest other counter", **STYLE)
    table.add_column("network", no_wrap=True)
    for column in ("ours, ms", "peer, ms", "of it"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    table.add_column("peer")
    ratios = []
    for name in LIBRARY:
        try:
            with silenced():
                result = run(name, rounds=rounds, grad=grad)
        except RooflineError as error:
            console.print(f"{name} is left out: {error}", style="yellow")
            continue
        others = [peer for peer in PEERS if peer in result.timings]
        fastest = min(others, key=lambda peer: result.timings[peer].median_s)
        ours_s, peer_s = result.timings[OURS].median_s, result.timings[fastest].median_s
        ratios.append(ours_s / peer_s)
        table.add_row(name, f"{ours_s * 1e3:.1f}", f"{peer_s * 1e3:.1f}", f"{ratios[-1]:.2f}", fastest)
    console.print(table)
    met = sum(ratio <= LIBRARY_SHARE for ratio in ratios)
    console.print(
        f"At most {LIBRARY_SHARE:g} of the fastest peer on {met} of {len(ratios)} networks "
        f"(aimed at: {LIBRARY_MODELS} of {len(LIBRARY)})."
    )


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found = {}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def to_dict(result: Result, where: dict[str, str], rounds: int) -> dict[str, Any]:
    """The run as plain data, raw samples included."""
    return {
        "environment": {**where, "threads": torch.get_num_threads(), "peers": versions()},
        "model": {"name": result.case.name, "input_shape": list(result.case.shape), "macs": result.case.macs},
        "rounds": rounds,
        "graph_ops": len(result.graph.ops),
        "timings": {
            name: {**timing.to_dict(), **({"macs": result.macs[name]} if name in result.macs else {})}
            for name, timing in result.timings.items()
        },
        "failures": result.failures,
        "targets": [target.to_dict() for target in result.targets()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time roofline's trace and lower beside other counters.")
    rounds_option(parser, 15)
    parser.add_argument("--model", default=MODEL, help=f"a name from 'roofline models' (default: {MODEL})")
    parser.add_argument("--library", action="store_true", help="go through networks of timm and torchvision")
    parser.add_argument("--no-grad", action="store_true", help="run the peers without autograd, which is faster")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the run there, raw samples included")
    arguments = parser.parse_args()
    try:
        name = models.find(arguments.model).name
    except RooflineError as error:
        parser.error(str(error))

    console = Console(highlight=False)
    torch.set_num_threads(THREADS)
    where = environment()
    if arguments.library:
        library(console, arguments.rounds, grad=not arguments.no_grad)
        peers = ", ".join(f"{peer} {version}" for peer, version in versions().items())
        print_environment(console, where, f"Medians of {arguments.rounds} rounds, {THREADS} torch threads", peers)
        return
    with silenced():
        result = run(name, rounds=arguments.rounds, grad=not arguments.no_grad)
    console.print(counters_table(result))
    for counter, why in result.failures.items():
        console.print(f"{counter} is left out: {why}", style="yellow")
    console.print()
    console.print(steps_table(result))
    console.print()
    peers = ", ".join(f"{peer} {version}" for peer, version in versions().items())
    autograd = "off" if arguments.no_grad else "on"
    rounds = f"{arguments.rounds} interleaved rounds"
    method = f"Medians of {rounds} in one process, {THREADS} torch threads, autograd {autograd}"
    print_environment(console, where, method, peers)
    if name != MODEL:
        console.print(f"The targets are set for {MODEL}, not for this model.", style="yellow")
    print_targets(console, result.targets(), result.timings)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(to_dict(result, where, arguments.rounds), indent=2) + "\n")


if __name__ == "__main__":
    main()
