"""The time of each layer of a network on the device it is on, and what the layers leave unexplained of the whole.

Two ways that share nothing but the network:

- *Replay*: its ops are recorded once, with their real tensors, and run again in order, each under a timer
  (`roofline.measurement.replay`). What an op takes is the row's time.
- *Profile*: the network runs whole under `torch.profiler`, with a scope around each call of a module
  (`roofline.measurement.module_profile`), and its times are scaled by how much the profiler stretched the whole.

The whole is timed in turns with the replays. What it takes beyond its layers is the host's: handing ops over (views
too, which are no layers), and the Python of modules. Both are measured on a chain of short ops, run once as functions
and once as modules:

    whole = layers + free ops + ops * (cost of an op on the host) + module calls * (cost of one) + unexplained

There the cost of an op is what a chain of functions takes beyond the replay of its ops, and that of a module call what
a chain of modules takes beyond the chain of functions. (In a trial, such a sum, its costs fitted on 22 networks, came
within 10 % of the whole for 79 others but one.) An accelerator works while the host goes on, so on CUDA the cost of an
op is all the time that the host takes to launch it, and of ops and host the longer one counts.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roofline.errors import MeasurementError
from roofline.measurement.clock import Clock, SystemClock, WallTimer
from roofline.measurement.result import Summary
from roofline.measurement.stopping import median

if TYPE_CHECKING:
    import torch
    from torch import nn

    from roofline.graph import Graph
    from roofline.layers import LayerTable
    from roofline.measurement.module_profile import ModuleProfile
    from roofline.measurement.replay import Recording, Stopwatch

SCHEMA = "roofline/layer_times/1"
ROUNDS = 20
WARM_UP_ROUNDS = 3  # not counted: libraries choose kernels and allocate in the first
FEWEST_ROUNDS = 6  # for a 95 % interval by order statistics (`roofline.measurement.stopping.interval_ranks`)
CAP_S = 20.0  # of rounds, once there are the fewest
PROFILED_ROUNDS = 5
CHAIN_OPS = 32  # of the chain that tells the host's costs: 8 each of four ops that networks have ...
CHAIN_SHAPE = (1, 16, 32, 32)  # ... on 64 KiB of fp32: beyond L1, and below the 32,768 elements from which ATen forks
SHORT_OP_S = 50e-6  # below it, what a profiler costs is a large part of what it reads
DISAGREEMENT = 0.15  # of replay and profile, from which on a module is named: replays of six networks, in the trial
# above, came to 0.87 to 0.96 of them, so less than that says nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The whole, taken apart. Times are in seconds, and medians of the rounds.

    Attributes:
        whole_s: A call of the network.
        layers_s: The ops that are layers.
        free_ops: How many ops are none: views, memory reserved, numbers read on the host.
        free_ops_s: What these took.
        ops: How many ops there are in all.
        op_host_s: What handing over one costs the host, beyond its replay; on an accelerator, in all.
        module_calls: How many calls of modules.
        module_host_s: What calling a module costs, with the Python of a plain ``forward``.
        overlaps: Whether the host goes on while ops run.
    """

    whole_s: float
    layers_s: float
    free_ops: int
    free_ops_s: float
    ops: int
    op_host_s: float
    module_calls: int
    module_host_s: float
    overlaps: bool = False

    @property
    def dispatch_s(self) -> float:
        """Handing over all ops."""
        return self.ops * self.op_host_s

    @property
    def modules_s(self) -> float:
        """Calling all modules."""
        return self.module_calls * self.module_host_s

    @property
    def unexplained_s(self) -> float:
        """What is left of the whole; below 0 where its parts take longer than itself."""
        ops_s, host_s = self.layers_s + self.free_ops_s, self.dispatch_s + self.modules_s
        return self.whole_s - (max(ops_s, host_s) if self.overlaps else ops_s + host_s)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, what follows from it included."""
        return {
            **asdict(self),
            "dispatch_s": self.dispatch_s,
            "modules_s": self.modules_s,
            "unexplained_s": self.unexplained_s,
            "unexplained_share": self.unexplained_s / self.whole_s if self.whole_s > 0 else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTime:
    """The ops that ran in one module itself, not in its children, both ways.

    Attributes:
        path: Dotted; empty for the network itself.
        ops: How many the replay has.
        replay_s: The sum of their medians.
        profiled_ops: How many the profiler saw.
        profiled_s: What it read of them, in the median of its runs.
        scaled_s: That, times what the whole takes without the profiler over what it takes with it.
    """

    path: str
    ops: int
    replay_s: float
    profiled_ops: int
    profiled_s: float
    scaled_s: float

    @property
    def ratio(self) -> float | None:
        """The profile's time over the replay's; None where one has none."""
        return self.scaled_s / self.replay_s if self.replay_s > 0 and self.profiled_ops else None

    @property
    def agrees(self) -> bool | None:
        """Whether the two ways agree; None where the ops are too short for a profiler, or one way has none."""
        if self.ratio is None or self.profiled_s < SHORT_OP_S * self.profiled_ops:
            return None
        return abs(self.ratio - 1) <= DISAGREEMENT

    def to_dict(self) -> dict[str, Any]:
        """As plain data, what follows from it included."""
        return {**asdict(self), "ratio": self.ratio, "agrees": self.agrees}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerTimes:
    """The layers of one network, measured.

    Attributes:
        layers: The table, unfused: what eager PyTorch runs.
        latency_s: Median time of each row; NaN where its op did not run on the device as it was traced.
        low_s, high_s: The 95 % interval of that median.
        whole: The network as a whole.
        replayed: The sum of its layers, round by round; a bit more than the sum of their medians, as noise is skewed.
        gap: What is between the two.
        modules: Both ways, module by module in the order in which they first ran.
        profiled_whole_s: The network under the profiler; None if it was not profiled.
        device: Where it ran.
        rounds: How often.
        notes: Sentences on what is unusual.
    """

    layers: LayerTable
    latency_s: Floats
    low_s: Floats
    high_s: Floats
    whole: Summary
    replayed: Summary
    gap: Gap
    modules: tuple[ModuleTime, ...]
    profiled_whole_s: float | None
    device: str
    rounds: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for column in (self.latency_s, self.low_s, self.high_s):
            column.flags.writeable = False

    def disagreements(self) -> tuple[ModuleTime, ...]:
        """The modules of which replay and profile say different things, the largest difference first."""
        found = [module for module in self.modules if module.agrees is False]
        return tuple(sorted(found, key=lambda module: -abs(module.scaled_s - module.replay_s)))

    def rows(self) -> list[dict[str, Any]]:
        """One record a row of the layer table, in its order; None for a time that is not known."""
        table = self.layers
        columns = zip(table.name, table.kind, table.ops, self.latency_s, self.low_s, self.high_s, strict=True)
        return [
            {"name": name, "kind": kind, "ops": ops, "latency_s": _known(s), "ci95_s": [_known(low), _known(high)]}
            for name, kind, ops, s, low, high in columns
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain data of schema ``"roofline/layer_times/1"``."""
        return {
            "schema": SCHEMA,
            "device": self.device,
            "rounds": self.rounds,
            "rows": self.rows(),
            "whole_s": self.whole.to_dict(),
            "layers_s": self.replayed.to_dict(),
            "gap": self.gap.to_dict(),
            "profiled_whole_s": self.profiled_whole_s,
            "modules": [module.to_dict() for module in self.modules],
            "disagreements": [module.path for module in self.disagreements()],
            "notes": list(self.notes),
        }


def _known(time_s: float) -> float | None:
    return None if math.isnan(time_s) else float(time_s)


# --- the measurement --------------------------------------------------------------------------------------------------


def layer_times_of(
    reference: str,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    batch: int = 1,
    input_size: tuple[int, ...] | None = None,
    arguments: Mapping[str, Any] | None = None,
    seed: int = 0,
    clock: Clock | None = None,
    **options: Any,
) -> LayerTimes:
    """`layer_times` of a model reference, with random weights and inputs.

    Args:
        reference: See `roofline.loading`.
        device: ``"cpu"`` or ``"cuda"``.
        dtype: ``"fp32"``, ``"fp16"`` or ``"bf16"``; the model's own if None.
        batch: Images a call.
        input_size: (C, H, W); the model's own if None.
        arguments: For the constructor that the reference names.
        seed: Of weights and inputs.
        clock: The clock; that of the system if None.
        **options: As `layer_times` takes them.

    Raises:
        RooflineError: The reference does not resolve, or the model cannot be measured.
    """
    from roofline.measurement.subject import of_reference

    clock = clock or SystemClock()
    subject = of_reference(
        reference, timer=WallTimer(clock), device=device, dtype=dtype, batch=batch, input_size=input_size,
        arguments=arguments, seed=seed,
    )  # fmt: skip
    if subject.module is None:
        raise MeasurementError(f"{reference} has no layers to time: {subject.mode} runs a graph of its own making")
    return layer_times(subject.module, subject.inputs, clock=clock, **options)


def layer_times(
    module: nn.Module,
    inputs: Any,
    *,
    clock: Clock | None = None,
    stopwatch: Stopwatch | None = None,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP_ROUNDS,
    cap_s: float = CAP_S,
    profiled_rounds: int = PROFILED_ROUNDS,
    progress: Callable[[int, int], None] | None = None,
) -> LayerTimes:
    """Time each layer of a module in eager mode, on the device it is on.

    It runs in eval and inference mode, and without torch's fast path of attention layers, so that it does what the
    layer table says. Afterwards the module, its inputs and torch's random state are as they were.

    Args:
        module: Any module with weights.
        inputs: As `roofline.trace.trace` takes them, with data, on the module's device.
        clock: The clock; that of the system if None.
        stopwatch: Times the ops; if None, the clock on a CPU and events on CUDA.
        rounds: How often each op is timed, at most.
        warm_up: Rounds before these that do not count.
        cap_s: Seconds after which no round begins once there were six.
        profiled_rounds: Runs under the profiler; 0 for none.
        progress: Called before each round with its number and how many there are at most; the runs under the profiler
            are the last of them, and are told together.

    Raises:
        TraceError: The module cannot be traced.
        MeasurementError: It cannot run here, or the rounds make no sense.
    """
    from roofline.layers import lower
    from roofline.trace import trace

    if rounds < 1 or warm_up < 0 or profiled_rounds < 0:
        raise MeasurementError(
            f"layers are timed in at least 1 round (got {rounds}; {warm_up} to warm up, {profiled_rounds} profiled)"
        )
    clock = clock or SystemClock()
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    device = _device_of(module, inputs)
    graph = trace(module, inputs)
    layers = lower(graph, fusion="none", dtype=_dtype_of(module))
    profile = None
    with _unchanged(module):
        try:
            bench = _Bench(module, inputs, device, clock, stopwatch)
            with closing(bench):
                tell = None if progress is None else lambda number: progress(number, rounds + profiled_rounds)
                timed = bench.run(rounds, warm_up, cap_s, tell)
                if profiled_rounds:
                    from roofline.measurement.module_profile import profile_modules

                    if tell is not None:
                        tell(rounds)
                    profile = profile_modules(module, bench.whole_s, rounds=profiled_rounds, on_cuda=bench.overlaps)
        except (RuntimeError, NotImplementedError, MemoryError) as error:
            from roofline.measurement.subject import in_one_line

            raise MeasurementError(f"{type(module).__name__} does not run on {device}: {in_one_line(error)}") from error
    return _result(graph, layers, bench, timed, profile, str(device))


def _device_of(module: nn.Module, inputs: Any) -> torch.device:
    import torch
    from torch.utils._pytree import tree_leaves

    given = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    held = [*module.parameters(), *module.buffers()]
    if any(tensor.is_meta for tensor in (*held, *given)):
        raise MeasurementError(
            f"{type(module).__name__} or its input is on the meta device and has no data to run with: put it on the CPU"
        )
    return next((tensor.device for tensor in (*held, *given)), torch.device("cpu"))


def _dtype_of(module: nn.Module) -> str:
    """The width that the table counts bytes in, of which times do not depend; float64 has no name there."""
    names = {"torch.float16": "fp16", "torch.bfloat16": "bf16"}
    return next((names.get(str(p.dtype), "fp32") for p in module.parameters() if p.is_floating_point()), "fp32")


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """What has to hold around the runs; afterwards the module, torch and Python are as they were."""
    import torch

    from roofline.surroundings import named_modules, set_eval, unchanged, without_mha_fast_path

    modules = list({id(part): part for _, part in named_modules(module)}.values())
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    collects = gc.isenabled()
    with ExitStack() as stack:
        for context in (
            unchanged(modules),
            without_mha_fast_path(),
            torch.random.fork_rng(devices=devices),
            torch.inference_mode(),
        ):
            stack.enter_context(context)
        set_eval(modules)
        for part in modules:
            part.__dict__.pop("_compiled_call_impl", None)  # what Module.compile() sets
        gc.collect()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


class _Bench:
    """A network and two chains of the same short ops, to be run whole and replayed."""

    def __init__(
        self, module: nn.Module, inputs: Any, device: torch.device, clock: Clock, stopwatch: Stopwatch | None
    ) -> None:
        from roofline.measurement.replay import ClockStopwatch, own_cost_s, record, use_bindings

        self.clock = clock
        self.overlaps = device.type == "cuda"
        self.synchronise: Callable[[], object] = _nothing
        if self.overlaps:
            from roofline.measurement.cuda import EventStopwatch, cuda_device

            accelerator = cuda_device(device.index)
            self.synchronise = accelerator.synchronise
            stopwatch = stopwatch or EventStopwatch(accelerator)
        self.stopwatch = stopwatch or ClockStopwatch(clock)
        if isinstance(inputs, Mapping):
            self.call = partial(module, **inputs)
        else:
            self.call = partial(module, *(inputs if isinstance(inputs, tuple | list) else (inputs,)))
        self.functions, self.modules = _chains(device)
        self.recording, self.chain = record(self.call), record(self.functions)
        for recording in (self.recording, self.chain):
            recording.restore()
            use_bindings(recording)
        self.own_cost_s = own_cost_s(self.stopwatch)

    def close(self) -> None:
        """Put back what the network wrote into tensors that were there before."""
        self.recording.restore()

    def whole_s(self) -> float:
        """Seconds of the network, from the state in which it was recorded."""
        self.recording.restore()
        return self._wall_s(self.call)

    def _wall_s(self, call: Callable[[], object]) -> float:
        self.synchronise()
        start_s = self.clock.now_s()
        result = call()
        self.synchronise()
        elapsed_s = self.clock.now_s() - start_s
        del result  # not timed
        return elapsed_s

    def _steps_s(self, recording: Recording) -> list[float]:
        from roofline.measurement.replay import replay

        return replay(recording, self.stopwatch, own_cost_s=self.own_cost_s).step_s

    def run(self, rounds: int, warm_up: int, cap_s: float, progress: Callable[[int], None] | None) -> _Timed:
        """All rounds; the whole and its replay take turns in which comes first."""
        steps: list[list[float]] = []
        timed = _Timed(np.empty((0, 0)), [], [], [])
        start_s = self.clock.now_s()
        for number in range(-warm_up, rounds):
            if number >= FEWEST_ROUNDS and self.clock.now_s() - start_s > cap_s:
                break
            if progress is not None and number >= 0:
                progress(number)
            first_s = self.whole_s() if number % 2 else None
            step_s = self._steps_s(self.recording)
            whole_s = self.whole_s() if first_s is None else first_s
            functions_s = self._wall_s(self.functions)
            ops_s = 0.0 if self.overlaps else sum(self._steps_s(self.chain))
            modules_s = self._wall_s(self.modules)
            gc.collect(0)  # all that was made since the last
            if number >= 0:
                steps.append(step_s)
                timed.whole_s.append(whole_s)
                timed.op_host_s.append((functions_s - ops_s) / CHAIN_OPS)
                timed.module_host_s.append((modules_s - functions_s) / CHAIN_OPS)
        timed.step_s = np.array(steps, dtype=np.float64).reshape(len(steps), len(self.recording.steps))
        return timed


@dataclass(slots=True, eq=False)
class _Timed:
    """What the rounds took, in seconds.

    Attributes:
        step_s: Of each step; shape (rounds, steps).
        whole_s: Of the network.
        op_host_s, module_host_s: Of an op and of a module call in the chains, on the host.
    """

    step_s: Floats
    whole_s: list[float]
    op_host_s: list[float]
    module_host_s: list[float]


def _nothing() -> None:
    pass


def _chains(device: torch.device) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same ops as a chain of functions, in one module, and as a chain of modules."""
    import torch
    from torch import nn
    from torch.nn import functional

    channels = CHAIN_SHAPE[1]
    mean, var = torch.zeros(channels, device=device), torch.ones(channels, device=device)

    class Functions(nn.Module):
        """Short ops, one after the other."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(CHAIN_OPS // 4):
                x = functional.relu(x)
                x = functional.batch_norm(x, mean, var, var, mean)
                x = functional.hardswish(x)
                x = functional.sigmoid(x)
            return x

    four = (nn.ReLU, partial(nn.BatchNorm2d, channels), nn.Hardswish, nn.Sigmoid)
    modules = nn.Sequential(*(make() for _ in range(CHAIN_OPS // 4) for make in four))
    x = torch.ones(CHAIN_SHAPE, device=device)
    return partial(Functions(), x), partial(modules.eval().to(device), x)


# --- putting it together ----------------------------------------------------------------------------------------------


def _result(
    graph: Graph, layers: LayerTable, bench: _Bench, timed: _Timed, profile: ModuleProfile | None, device: str
) -> LayerTimes:
    from roofline.count import cost

    ran = bench.recording.steps
    step_of = align([op.target for op in graph.ops], [step.target for step in ran])
    step_of_row = [step_of[index] for index, op in enumerate(graph.ops) if cost(op) is not None]
    assert len(step_of_row) == len(layers), "without fusion, each op that costs something is a layer"
    latency_s, low_s, high_s = (np.full(len(layers), np.nan) for _ in range(3))
    is_layer = np.zeros(len(ran), dtype=bool)
    for row, step in enumerate(step_of_row):
        if step is not None:
            is_layer[step] = True
            summary = Summary.of(timed.step_s[:, step].tolist())
            latency_s[row], (low_s[row], high_s[row]) = summary.median, summary.ci95
    whole = Summary.of(timed.whole_s)
    replayed = Summary.of(timed.step_s[:, is_layer].sum(axis=1).tolist())
    gap = Gap(
        whole_s=whole.median,
        layers_s=replayed.median,
        free_ops=int((~is_layer).sum()),
        free_ops_s=median(timed.step_s[:, ~is_layer].sum(axis=1).tolist()),
        ops=len(ran),
        op_host_s=median(timed.op_host_s),
        module_calls=bench.recording.module_calls,
        module_host_s=median(timed.module_host_s),
        overlaps=bench.overlaps,
    )
    step_s = np.median(timed.step_s, axis=0)
    replay_s: dict[str, list[float]] = {}
    for op, step in zip(graph.ops, step_of, strict=True):
        if step is not None:
            replay_s.setdefault(op.path, []).append(float(step_s[step]))
    return LayerTimes(
        layers=layers,
        latency_s=latency_s,
        low_s=low_s,
        high_s=high_s,
        whole=whole,
        replayed=replayed,
        gap=gap,
        modules=both_ways(replay_s, profile, whole.median),
        profiled_whole_s=None if profile is None else profile.whole_s,
        device=device,
        rounds=whole.n,
        notes=_notes(layers, step_of, step_of_row, len(ran)),
    )


def align(traced: Sequence[str], ran: Sequence[str]) -> list[int | None]:
    """For each op that was traced, the position of the one that ran; None where none did.

    As a rule they are the same. They differ where a model, or a library, does on its device what it does not elsewhere.

    >>> align(["conv", "relu", "mean"], ["conv", "to", "relu"])
    [0, 2, None]
    """
    if list(traced) == list(ran):
        return list(range(len(ran)))
    found: list[int | None] = [None] * len(traced)
    for block in SequenceMatcher(a=traced, b=ran, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            found[block.a + offset] = block.b + offset
    return found


def both_ways(
    replay_s: Mapping[str, Sequence[float]], profile: ModuleProfile | None, whole_s: float
) -> tuple[ModuleTime, ...]:
    """Replay and profile side by side.

    Args:
        replay_s: Seconds of each op of a module itself, by its path.
        profile: What the profiler read.
        whole_s: Seconds of the network without it.
    """
    op_s = {} if profile is None else profile.op_s
    scale = whole_s / profile.whole_s if profile is not None and profile.whole_s > 0 else 1.0
    return tuple(
        ModuleTime(
            path=path,
            ops=len(replay_s.get(path, ())),
            replay_s=sum(replay_s.get(path, ())),
            profiled_ops=0 if profile is None else profile.ops.get(path, 0),
            profiled_s=op_s.get(path, 0.0),
            scaled_s=op_s.get(path, 0.0) * scale,
        )
        for path in dict.fromkeys((*replay_s, *op_s))
    )


def _notes(
    layers: LayerTable, step_of: Sequence[int | None], step_of_row: Sequence[int | None], ran: int
) -> tuple[str, ...]:
    notes = []
    missing = [str(name) for name, step in zip(layers.name, step_of_row, strict=True) if step is None]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        notes.append(f"{len(missing)} layers did not run here as they were traced, and have no time: {shown}")
    added = ran - sum(step is not None for step in step_of)
    if added:
        notes.append(f"{added} ops ran here that were not traced; their time is among that of the free ops")
    return tuple(notes)
