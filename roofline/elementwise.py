"""Activation functions element by element: how fast each is on this machine, and so what it waits for.

Each function is timed on tensors that fit into each level of the caches and on one that fits into none, from one buffer
into another and in place, next to an op that moves the same bytes and computes next to nothing: a copy, or in place a
multiplication by 1. With t its time, t_0 that on one element (the call itself), and b the bytes it reads and writes,

    achieved = b / t                 speed = (t_ref - t_0,ref) / (t - t_0)

A function that is as fast as its reference waits for memory; one that is slower waits for arithmetic; and where the
call takes longer than the work, neither matters. This is the roofline again, for one op at a time, with both ceilings
found by experiment (Williams, Waterman & Patterson, CACM 52(4), 2009, doi:10.1145/1498765.1498785).

One thread runs, so that a tensor lies in the caches of one core. Buffers are used again and again, as in STREAM
(McCalpin, 1995), so that no time goes into new pages. Bytes are those that the program reads and writes: a cache that
fetches a line before it is overwritten moves half as many again, of the copy too; in place there is nothing to fetch.

In place a call works on what the one before left, and some kernels take their time by what they read: PyTorch's ELU
computes exponentials only for vectors that hold a negative number (ATen/native/cpu/Elu.h). So before each block of
calls the buffer is filled with N(0, 1) anew, untimed, and no function meets what another left.

Times are the stopwatch's. The anchor's factor is that of convolutions on all threads, which the bandwidth of one core
does not follow; it tells which samples were contended, and nothing else here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from roofline.activation_comparison import LABELS, Measure, canonical, was_disturbed
from roofline.errors import RooflineError
from roofline.vector_ops import ACTIVATIONS as VECTOR_OPS

if TYPE_CHECKING:
    from torch import Tensor

    from roofline.measurement.clock import Timer
    from roofline.measurement.result import Measurement, Run
    from roofline.measurement.session import Progress
    from roofline.measurement.subject import Subject

SCHEMA = "roofline/elementwise/1"
ELEMENT_BYTES = 4  # fp32
KEEPS_UP = 0.8  # of the speed of the reference: two ops that wait for the same memory differ by less
MOSTLY_CALL = 0.5  # of the time, on one element: beyond it the call is what is timed
LLC_MULTIPLE = 4  # of the last cache: the rule of STREAM for arrays that are in memory
MAX_FOOTPRINT_BYTES = 2**30
MEMORY_SHARE = 8  # of the memory that is free, a buffer takes one part
UNKNOWN_CACHES = (32 * 2**10, 512 * 2**10, 16 * 2**20)  # where the system does not tell: of a common core
TARGET, MAX_S = 0.03, 3.0  # of a hundred timings: a tenth is told apart from them, in minutes
TOLD_BY_NAME = 4  # timings that could not be made; of more, the number is told
COPY, SCALE = "copy", "scale"
BOUNDS = ("memory", "compute", "overhead")

# The kernel that PyTorch runs for each, in its form that writes to a given tensor; relu is a clamp in ATen too.
OPERATIONS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "relu": ("clamp_min", (0,)),
    "relu6": ("hardtanh", (0.0, 6.0)),
    "leaky_relu": ("leaky_relu", ()),
    "hardsigmoid": ("hardsigmoid", ()),
    "hardswish": ("hardswish", ()),
    "elu": ("elu", ()),
    "gelu": ("gelu", ()),
    "sigmoid": ("sigmoid", ()),
    "silu": ("silu", ()),
    "tanh": ("tanh", ()),
    "mish": ("mish", ()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A place in the hierarchy of memories.

    Attributes:
        name: ``L1``, ``L2``, ..., ``memory``; what is known to be in no one level is called by both.
        footprint_bytes: Of all buffers of an op.
    """

    name: str
    footprint_bytes: int

    def elements(self, in_place: bool) -> int:
        """Of a tensor, of which there are two unless the op works in place."""
        return max(1, self.footprint_bytes // ELEMENT_BYTES // (1 if in_place else 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One function at one level.

    Attributes:
        activation: Its name, or ``copy`` or ``scale``.
        level: Where its buffers are.
        footprint_bytes: Of them all.
        elements: Of a tensor.
        in_place: Whether it overwrites what it reads.
        latency_s: Of a call, the median of the stopwatch's.
        ci95_s: The 95 % confidence interval of that.
        overhead_s: Of a call on one element.
        speed: That of the reference is 1; None where the call is all that is timed.
        status: Of the measurement.
    """

    activation: str
    level: str
    footprint_bytes: int
    elements: int
    in_place: bool
    latency_s: float
    ci95_s: tuple[float, float]
    overhead_s: float
    speed: float | None
    status: str

    @property
    def label(self) -> str:
        """What people call the function."""
        return LABELS.get(self.activation, self.activation)

    @property
    def bytes_per_s(self) -> float:
        """Read and written."""
        return 2 * ELEMENT_BYTES * self.elements / self.latency_s

    @property
    def bound(self) -> str:
        """What it waits for: ``"memory"``, ``"compute"``, or ``"overhead"``, the call itself."""
        if self.speed is None or self.overhead_s > MOSTLY_CALL * self.latency_s:
            return "overhead"
        return "memory" if self.speed >= KEEPS_UP else "compute"

    @property
    def vector_ops_per_s(self) -> float | None:
        """The rate of vector ops, by the weights of `roofline.vector_ops`; None where it waits for something else."""
        ops = VECTOR_OPS.get(self.activation)
        if ops is None or self.bound != "compute":
            return None
        return ops * self.elements / (self.latency_s - self.overhead_s)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **asdict(self),
            "label": self.label,
            "ci95_s": list(self.ci95_s),
            "bytes_per_s": self.bytes_per_s,
            "bound": self.bound,
            "vector_ops_per_s": self.vector_ops_per_s,
        }


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Elementwise:
    """Functions at each level, in place and not.

    Attributes:
        levels: From the fastest memory to the slowest.
        timings: Of the references and the functions; what could not be measured is not among them.
        run: What was measured, with the environment.
    """

    levels: tuple[Level, ...]
    timings: tuple[Timing, ...]
    run: Run

    @property
    def activations(self) -> list[str]:
        """The functions, without the references."""
        return list(dict.fromkeys(t.activation for t in self.timings if t.activation not in (COPY, SCALE)))

    def find(self, activation: str, level: str, in_place: bool) -> Timing | None:
        """One timing."""
        wanted = (activation, level, in_place)
        return next((t for t in self.timings if (t.activation, t.level, t.in_place) == wanted), None)

    def verdict(self) -> str:
        """What sets the time of the functions at each level, out of place."""
        sentences = []
        for level in self.levels:
            found = [self.find(name, level.name, False) for name in self.activations]
            by_bound = {bound: [t.label for t in found if t is not None and t.bound == bound] for bound in BOUNDS}
            parts = [f"{_SETS[bound]} that of {_listed(names)}" for bound, names in by_bound.items() if names]
            if parts:
                sentences.append(f"In {level.name}, {', '.join(parts).replace(' that ', ' sets the time ', 1)}.")
        if was_disturbed(self.run):
            sentences.append("Other work disturbed it: measure again on an idle machine.")
        return " ".join(sentences) or "Nothing was measured."

    def notes(self) -> list[str]:
        """What a reader has to know of the numbers."""
        lines = [
            "fp32, one thread. Bytes are those read and written, times are the stopwatch's, subnormal numbers count as "
            "zeros.",
            "In place each block of calls starts from N(0, 1) and goes on with its own results.",
            f"Memory-bound: at least {KEEPS_UP:g} of the speed of a copy, or in place of a multiplication by 1, once "
            "what the call itself takes is off; compute-bound: slower; overhead: the call takes longer than the work.",
        ]
        doubtful = [t for t in self.timings if t.status != "ok"]
        if doubtful:
            statuses = {status: sum(t.status == status for t in doubtful) for status in {t.status for t in doubtful}}
            told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
            lines.append(f"Of {len(self.timings)} timings: {told}.")
        lost: dict[str, list[str]] = {}
        for failure in self.run.failures:
            lost.setdefault(failure.reason, []).append(failure.model)
        lines += [f"{_some(names)} not measured: {reason}." for reason, names in lost.items()]
        if self.run.is_interrupted:
            lines.append("The measurement was stopped by hand; what was done until then is shown.")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """As plain data, schema "roofline/elementwise/1" (docs/json.md)."""
        from roofline.analysis import versions

        return {
            "schema": SCHEMA,
            "verdict": self.verdict(),
            "device": "cpu",
            "dtype": "fp32",
            "threads": 1,
            "levels": [asdict(level) for level in self.levels],
            "rows": [timing.to_dict() for timing in self.timings],
            "is_interrupted": self.run.is_interrupted,
            "failures": [failure.to_dict() for failure in self.run.failures],
            "anchor": dict(self.run.anchor),
            "environment": dict(self.run.environment),
            "notes": self.notes(),
            "versions": versions(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        return f"<Elementwise: {self.verdict()}>"


_SETS = {"memory": "memory", "compute": "arithmetic", "overhead": "the call itself"}


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _some(names: Sequence[str]) -> str:
    """Names, or how many there are where nobody would read them."""
    if len(names) > TOLD_BY_NAME:
        return f"{len(names)} timings were"
    return f"{'; '.join(names)} {'were' if len(names) > 1 else 'was'}"


def measure_elementwise(
    acts: Sequence[str] | None = None,
    *,
    levels: Sequence[Level] | None = None,
    measure: Measure | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Elementwise:
    """Time activation functions element by element on this CPU.

    Args:
        acts: Their names; all of `OPERATIONS` if not given.
        levels: Where the tensors are; `levels_of` this machine if not given.
        measure: In place of `roofline.measurement.api.measure_here`.
        progress: Called with how far it is.
        options: Of the measurement, as `roofline.measure` takes them: `target`, `max_s`, `seed`.

    Raises:
        RooflineError: A function that is unknown, or does not work element by element.
    """
    names = _elementwise(tuple(OPERATIONS) if acts is None else acts)
    levels = tuple(levels if levels is not None else _levels_here())
    from roofline.measurement.api import Request, measure_here

    request = Request(device="cpu", threads=1, **{"max_s": MAX_S, "target": TARGET, **options})
    request.check()
    factories = dict(_factories(names, levels))
    with _flushing_subnormals():
        run = (measure or measure_here)(tuple(factories.values()), request, progress=progress, labels=tuple(factories))
    return Elementwise(levels=levels, timings=tuple(_timings(names, levels, run)), run=run)


def _elementwise(acts: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(canonical(act) for act in acts))
    for name in names:
        if name not in OPERATIONS:
            raise RooflineError(
                f"{LABELS.get(name, name)} does not work on each element alone, or has no kernel that does it without "
                f"new memory: leave it out of --elementwise, which knows {', '.join(OPERATIONS)}"
            )
    return names


# --- where the tensors are --------------------------------------------------------------------------------------------


def levels_of(cache_bytes: Sequence[int], free_bytes: int) -> tuple[Level, ...]:
    """Footprints that lie in each cache, and one that lies in none.

    In the first cache, half of it. In each further one, the geometric mean of it and the one before, but no more than
    half of it: well beyond the one, and well within the other. In memory, four times the last, which is STREAM's rule,
    but no more than 1 GiB or an eighth of what is free; then it may still be in the last cache, and is called so.

    Args:
        cache_bytes: Sizes of the caches that hold data, the first level first.
        free_bytes: Memory that is free.

    >>> [(level.name, level.footprint_bytes) for level in levels_of([2**15, 2**19], 2**33)]
    [('L1', 16384), ('L2', 131072), ('memory', 2097152)]
    """
    found = []
    for i, size in enumerate(cache_bytes):
        footprint = size // 2 if i == 0 else min(size // 2, math.isqrt(size * cache_bytes[i - 1]))
        found.append(Level(name=f"L{i + 1}", footprint_bytes=footprint))
    wanted = LLC_MULTIPLE * max(cache_bytes, default=2**28)
    footprint = min(wanted, MAX_FOOTPRINT_BYTES, free_bytes // MEMORY_SHARE)
    name = "memory" if footprint >= wanted or not found else f"{found[-1].name} or memory"
    return (*found, Level(name=name, footprint_bytes=footprint))


def _levels_here() -> tuple[Level, ...]:
    import psutil  # type: ignore[import-untyped]

    from roofline.measurement.environment import environment

    by_level: dict[int, int] = {}
    for cache in environment("cpu")["cpu"]["caches"]:
        if cache["kind"] != "instruction":
            by_level[cache["level"]] = cache["bytes"]
    sizes = [by_level[level] for level in sorted(by_level)] or UNKNOWN_CACHES
    return levels_of(sizes, int(psutil.virtual_memory().available))


# --- what is timed ----------------------------------------------------------------------------------------------------


def operation(name: str) -> Callable[[Tensor, Tensor], object]:
    """A function of `OPERATIONS`, or a reference, as one that reads one tensor and writes another, maybe the same."""
    import torch

    if name == COPY:
        return lambda x, out: out.copy_(x)
    if name == SCALE:
        return lambda x, out: torch.mul(x, 1.0, out=out)
    kernel, arguments = OPERATIONS[name]
    run = getattr(torch.ops.aten, kernel).out
    return lambda x, out: run(x, *arguments, out=out)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Buffers:
    """What the functions at one level read and write, one function at a time.

    Attributes:
        normal: N(0, 1), which is only read; as many elements as in place.
        scratch: As many, which are written.
    """

    normal: Tensor
    scratch: Tensor

    def call(self, name: str, level: Level, in_place: bool) -> Callable[[], object]:
        """A call of one function."""
        run, elements = operation(name), level.elements(in_place)
        out = self.scratch[:elements]
        x = out if in_place else self.normal[:elements]
        return lambda: run(x, out)

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Have the tensor that a function overwrites in place hold N(0, 1), whatever was done to it before."""
        import torch

        with torch.inference_mode():
            self.scratch.copy_(self.normal)
            yield


def _factories(names: Sequence[str], levels: Sequence[Level]) -> Iterator[tuple[str, Callable[[Timer], Subject]]]:
    """Each function at each level and on one element, in place and not, by its label."""
    import torch

    made = torch.Generator().manual_seed(0)
    one = Level(name=_ONE, footprint_bytes=ELEMENT_BYTES)
    for level in (one, *levels):
        normal = torch.randn(level.elements(in_place=True), generator=made)
        buffers = _Buffers(normal=normal, scratch=torch.empty_like(normal))
        for in_place in (False, True):
            for name in (SCALE if in_place else COPY, *names):
                label = _key(name, level.name, in_place)
                yield label, partial(_subject, label, buffers.call(name, level, in_place), buffers, in_place)


_ONE = "one element"


def _subject(label: str, call: Callable[[], object], buffers: _Buffers, in_place: bool, timer: Timer) -> Subject:
    from roofline.measurement.subject import of_callable

    made = of_callable(call, (), timer=timer, name=label)
    if in_place:
        made.context = buffers.filled
    return made


def _key(name: str, level: str, in_place: bool) -> str:
    return f"{name}, {level}, {'in place' if in_place else 'out of place'}"


@contextmanager
def _flushing_subnormals() -> Iterator[None]:
    """Have subnormal numbers count as zeros, to which SiLU and its like lead in place after about 130 calls.

    Each such call halves what is small and positive, and some processors take a hundred times as long for subnormals.
    It holds for this thread alone, as one thread is all that runs.
    """
    import torch

    smallest = torch.full((8,), torch.finfo(torch.float32).tiny)
    was_on = not bool((smallest * 0.5).any())
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


# --- what came of it --------------------------------------------------------------------------------------------------


def _timings(names: Sequence[str], levels: Sequence[Level], run: Run) -> Iterator[Timing]:
    found = {item.name: item for item in run.measurements}
    for level in levels:
        for in_place in (False, True):
            reference = SCALE if in_place else COPY
            reference_s = _work_s(found, reference, level.name, in_place)
            for name in (reference, *names):
                item = found.get(_key(name, level.name, in_place))
                if item is None or not item.latency_s.median > 0:
                    continue
                work_s = _work_s(found, name, level.name, in_place)
                yield Timing(
                    activation=name,
                    level=level.name,
                    footprint_bytes=level.footprint_bytes,
                    elements=level.elements(in_place),
                    in_place=in_place,
                    latency_s=item.latency_s.median,
                    ci95_s=item.latency_s.ci95,
                    overhead_s=_overhead_s(found, name, in_place),
                    speed=reference_s / work_s if reference_s and work_s else None,
                    status=item.status,
                )


def _overhead_s(found: Mapping[str, Measurement], name: str, in_place: bool) -> float:
    item = found.get(_key(name, _ONE, in_place))
    return item.latency_s.median if item is not None else 0.0


def _work_s(found: Mapping[str, Measurement], name: str, level: str, in_place: bool) -> float | None:
    """What a call takes beyond the call itself; None where that is nothing, or was not measured."""
    item = found.get(_key(name, level, in_place))
    if item is None:
        return None
    work_s = item.latency_s.median - _overhead_s(found, name, in_place)
    return work_s if work_s > 0 else None
