"""What ``torch.compile`` makes of a traced network on a CPU: kernels of libraries, and fused loops of all else.

TorchInductor hands convolutions, matrix products, attention and large windows to the libraries that eager mode calls,
too, and generates C++ loops for the rest. Its rules, as far as they decide what is read and written, are those of
PyTorch 2.13 (torch/_inductor: graph.py, lowering.py, scheduler.py, codegen/cpp.py) without freezing or autotuning:

- With a two-dimensional convolution in the graph, all of them run channels-last (``decide_layout_opt``). Weights are
  not packed ahead: each call reorders those of kernels above 1x1 in several channels, and an image that is given.
- An elementwise op runs in the loop of what it reads, where that loop has as many elements; where nobody else reads
  that, whatever its size. So do sums over the last axis in memory, and the norms and softmaxes made of them.
- A window (pooling, interpolation) starts a loop of its own, in which what reads a single tensor is computed anew for
  each position; one of more than 25 elements is a library's.
- ``cat`` has its inputs written into its place by the loops that make them, and copies the others.
- All loops between two kernels of libraries are one C++ function (a ``KernelGroup``): a *run*.

Left out: patterns that become attention (softmax between two products), how much of an expression is computed twice
rather than stored, and graphs that are cut in two, as recurrent layers cut them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.kernels import TERMS, Kernels, kernels_of
from roofline.calibration.layouts import contiguous_strides, suggests_channels_last
from roofline.calibration.work import FALLBACK, item_bytes
from roofline.graph import Graph, Op, Value, numel

Floats = NDArray[np.float64]

LOOP_TERMS = (
    "loops",  # 1
    "moved_bytes",  # read from outside of the loop and written for others, weights included
    "reordered_bytes",  # read and written from one layout to another
    "outer_sums",  # elements summed over other axes than the innermost, as over the positions of a channels-last map
    "vector_ops",
    "transcendentals",
)
# Of a network: its loops summed. Before each call Dynamo checks, module by module, that nothing changed.
WHOLE_TERMS = ("calls", "library_calls", "runs", "module_calls", *LOOP_TERMS)
KEPT_TERMS = (*WHOLE_TERMS, "loops_s")  # what a calibration keeps of each: how long its loops took, too
LIBRARY = frozenset("gemm gemm_skinny gemv bmm sdpa sdpa_math lstm recurrent".split()) | {
    FALLBACK
}  # and all convolutions
RECURRENT = frozenset({"lstm", "recurrent"})
LARGEST_WINDOW = 25  # elements; torch/_inductor/lowering.py, should_fallback_max_pool_with_indices and avg_pool2d
LOOP = "fused_loop"  # the class of kernels of an op that runs in one


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A network as it runs compiled.

    Attributes:
        kernels: One row an op that is no view, with the layouts that the compiler chooses.
        is_library: (n,) which of them are kernels of a library.
        loops: (g, len(LOOP_TERMS)) the loops that are generated.
        share: (n, g) sparse, as rows of (row, loop, share): what an op has of the time of a loop; (k, 3).
        runs: Calls of generated functions.
    """

    kernels: Kernels
    is_library: NDArray[np.bool_]
    loops: Floats
    share: Floats
    runs: int

    @property
    def whole(self) -> Floats:
        """The terms of the network; (len(WHOLE_TERMS),)."""
        return np.array([1.0, self.is_library.sum(), self.runs, self.kernels.module_calls, *self.loops.sum(axis=0)])

    @property
    def is_cut(self) -> bool:
        """Whether it has recurrent layers, which are left to eager mode and cut the graph."""
        return bool(
            np.isin(self.kernels.kernel, [f"{name}{end}" for name in RECURRENT for end in ("", "/strided")]).any()
        )

    def op_s(self, library_s: Floats, loop_s: Floats) -> Floats:
        """Seconds of each op: its own, where it is a library's, and its share of the loops; (n,)."""
        found = np.where(self.is_library, library_s, 0.0)
        np.add.at(found, self.share[:, 0].astype(np.intp), self.share[:, 2] * loop_s[self.share[:, 1].astype(np.intp)])
        return found


def is_library(kernel: NDArray[np.str_], terms: Floats) -> NDArray[np.bool_]:
    """Which of n calls, of such classes and terms, a compiler leaves to a library; (n,)."""
    taps, elements = terms[:, TERMS.index("taps")], terms[:, TERMS.index("elements")]
    base = np.array([name.partition("/")[0] for name in kernel.tolist()], dtype=np.str_)
    is_large = np.isin(base, ["pool_max", "pool_avg"]) & (taps > LARGEST_WINDOW * np.maximum(elements, 1))
    return np.asarray(np.char.startswith(base, "conv_") | np.isin(base, list(LIBRARY)) | is_large)


def compiled(graph: Graph) -> Compiled:
    """Cut a traced network into kernels of libraries and loops, in the order in which it was traced."""
    kernels = kernels_of(_in_compiled_layout(graph))
    library = is_library(kernels.kernel, kernels.terms)
    made = _Fusion(graph, kernels, library)
    loops = [loop for loop in made.units if isinstance(loop, _Loop) and loop.is_alive]
    terms = [loop.terms(made) for loop in loops]
    named = np.where(library, kernels.kernel, LOOP).astype(np.str_)
    share = [
        (row, number, part)
        for number, loop in enumerate(loops)
        for row, part in zip(loop.rows, loop.parts(kernels), strict=True)
    ]
    return Compiled(
        kernels=replace(kernels, kernel=named),
        is_library=library,
        loops=np.array(terms, np.float64).reshape(len(terms), len(LOOP_TERMS)),
        share=np.array(share, np.float64).reshape(len(share), 3),
        runs=made.runs(),
    )


# --- layouts ----------------------------------------------------------------------------------------------------------


def _in_compiled_layout(graph: Graph) -> Graph:
    """The graph with the inputs of convolutions channels-last, and those of linear layers contiguous."""
    return replace(graph, ops=[_relaid(op) for op in graph.ops])


def _relaid(op: Op) -> Op:
    if op.name == "convolution" and len(op.inputs[1].shape) == 4:
        chosen = {id(value): replace(value, strides=_channels_last(value.shape)) for value in op.inputs[:2]}
    elif op.name == "linear":
        chosen = {id(op.inputs[0]): replace(op.inputs[0], strides=contiguous_strides(op.inputs[0].shape))}
    else:
        return op

    def swap(arg: Any) -> Any:
        return chosen.get(id(arg), arg) if isinstance(arg, Value) else arg

    return replace(op, args=tuple(map(swap, op.args)), inputs=tuple(map(swap, op.inputs)))


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an image or a weight, with or without one of images before it."""
    channels, height, width = shape[-3:]
    return (height * width * channels, 1, width * channels, channels)[-len(shape) :]


# --- fusion -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Loop:
    """A loop while it grows.

    Attributes:
        rows: Of the kernels, that run in it.
        elements: Over which it runs; of a reduction, those that are read.
        kept: Elements of what its reductions gave; 0 without one.
        is_open: Whether further ops may join.
        outer_sums: Elements summed over other axes than the innermost.
        reads: What it reads from outside, by identity, with the elements of it.
        writes: What its ops write, by identity.
        pending: Reads of what it writes by ops outside of it.
        is_copy: Whether it only moves what it reads.
        is_reorder: Whether it does so from one layout to another.
        is_alive: Whether it was not merged into another.
    """

    rows: list[int]
    elements: int
    kept: int = 0
    outer_sums: int = 0
    is_open: bool = True
    reads: dict[int, tuple[Value, int]] = field(default_factory=dict)
    writes: dict[int, Value] = field(default_factory=dict)
    pending: int = 0
    is_copy: bool = False
    is_reorder: bool = False
    is_alive: bool = True

    def terms(self, fusion: _Fusion) -> tuple[float, ...]:
        """As `LOOP_TERMS`."""
        read = sum(elements * item_bytes(value) for value, elements in self.reads.values())
        if self.is_copy:
            moved, reordered = (0, 2 * read) if self.is_reorder else (2 * read, 0)
            return 1.0, moved, reordered, 0.0, 0.0, 0.0
        moved = read + sum(
            numel(value.shape) * item_bytes(value) for key, value in self.writes.items() if fusion.outside[key] > 0
        )
        rows = fusion.kernels.terms[self.rows]
        vector_ops, transcendentals = (
            float(rows[:, TERMS.index(name)].sum()) for name in ("vector_ops", "transcendentals")
        )
        return 1.0, moved, 0.0, self.outer_sums, vector_ops, transcendentals

    def parts(self, kernels: Kernels) -> Floats:
        """What each of its ops has of its time, by the bytes it moves; 1 in all."""
        columns = [TERMS.index("read_bytes"), TERMS.index("written_bytes")]
        moved = 1.0 + kernels.terms[self.rows][:, columns].sum(axis=1)
        return np.asarray(moved / moved.sum())


class _Fusion:
    """Goes through a graph once, and lets each op join a loop or start one."""

    def __init__(self, graph: Graph, kernels: Kernels, library: NDArray[np.bool_]) -> None:
        self.graph, self.kernels = graph, kernels
        self.has_convolution = any(op.name == "convolution" and len(op.inputs[1].shape) == 4 for op in graph.ops)
        self.units: list[_Loop | None] = []  # None: a kernel of a library
        self.unit_of: dict[int, int] = {}  # by identity of a written value
        self.outside = self._readers()
        for row, index in enumerate(kernels.op.tolist()):
            op = graph.ops[index]
            if library[row]:
                self._call(row, op)
            elif op.outputs:
                self._run(row, op)

    def _readers(self) -> dict[int, int]:
        """How many ops read each value that is written; the caller reads what the network returns."""
        found: dict[int, int] = {}
        for op in (self.graph.ops[index] for index in self.kernels.op.tolist()):
            for key in {id(value.root) for value in op.inputs}:
                found[key] = found.get(key, 0) + 1
        for value in self.graph.outputs:
            found[id(value.root)] = found.get(id(value.root), 0) + 1
        for op in self.graph.ops:
            for value in op.outputs:
                found.setdefault(id(value.root), 0)
        return found

    def runs(self) -> int:
        """Stretches of loops between kernels of libraries."""
        alive = [unit is not None for unit in self.units if unit is None or unit.is_alive]
        return sum(here and not before for before, here in zip([False, *alive], alive, strict=False))

    def _call(self, row: int, op: Op) -> None:
        for value in self._to_reorder(op):
            reads = {id(value.root): (value, value.elements)}
            self.units.append(_Loop([row], 0, is_open=False, reads=reads, is_copy=True, is_reorder=True))
        self.units.append(None)
        for value in op.outputs:
            self.unit_of[id(value.root)] = len(self.units) - 1

    def _to_reorder(self, op: Op) -> Iterator[Value]:
        """What is copied into channels-last order before a convolution: its weight, and an image from outside."""
        if op.name != "convolution" or len(op.inputs[1].shape) != 4:
            return
        x, weight = op.inputs[:2]
        if x.root.producer < 0 and x.shape[-3] > 1 and not suggests_channels_last(x):
            yield x
        if weight.shape[1] > 1 and numel(weight.shape[2:]) > 1 and not suggests_channels_last(weight):
            yield weight

    def _run(self, row: int, op: Op) -> None:
        roots = {id(value.root): value for value in op.inputs}
        out = op.outputs[0]
        if self._kind(row) == "cat":
            self._concatenate(row, op, roots)
            return
        home = self._home(row, op, roots)
        if home is None:
            self.units.append(_Loop([], 0))
            home = len(self.units) - 1
        loop = self.units[home]
        assert loop is not None
        for key in roots:
            other = self.unit_of.get(key)
            if other is not None and other != home:
                self._merge(other, home, row, roots)
        reduces = self._kind(row) in ("reduction", "trailing")
        size = max((numel(value.shape) for value in op.inputs), default=0) if reduces else 0
        loop.elements = max(loop.elements, size, numel(out.shape))
        if reduces:
            loop.kept = numel(out.shape)
            loop.is_open = self._kind(row) == "trailing"
            loop.outer_sums += 0 if loop.is_open else size
        loop.rows.append(row)
        for key, value in roots.items():
            if key in loop.writes:
                loop.pending -= 1
                self.outside[key] -= 1
            else:
                elements = max(value.elements, loop.reads.get(key, (value, 0))[1])
                loop.reads[key] = (value, elements)
        for value in op.outputs:
            key = id(value.root)
            loop.writes[key] = value
            loop.pending += self.outside[key]
            self.unit_of[key] = home

    def _kind(self, row: int) -> str:
        """How an op takes part in loops: ``pointwise``, ``window``, ``trailing``, ``reduction`` or ``cat``."""
        op = self.graph.ops[int(self.kernels.op[row])]
        base = str(self.kernels.kernel[row]).partition("/")[0]
        if base in ("pool_max", "pool_avg", "upsample"):
            return "window"
        if base == "cat":
            return "cat"
        if base in ("layer_norm", "softmax"):
            return "trailing"
        if base in ("pool_global", "reduce", "group_norm"):
            return "trailing" if base != "group_norm" and self._is_trailing(op) else "reduction"
        return "pointwise"

    def _is_trailing(self, op: Op) -> bool:
        """Whether it sums over the innermost axes in memory: the channels, where images are channels-last."""
        shape = op.inputs[0].shape
        dims = op.kwargs.get("dim", op.arg(1, "dim", None))
        if "pool" in op.name:
            axes = set(range(2, len(shape)))
        else:
            given = (dims,) if isinstance(dims, int) else dims if isinstance(dims, tuple) else range(len(shape))
            axes = {axis % max(len(shape), 1) for axis in given if isinstance(axis, int)}
        order = [0, 2, 3, 1] if self.has_convolution and len(shape) == 4 else list(range(len(shape)))
        return axes == set(order[len(order) - len(axes) :])

    def _home(self, row: int, op: Op, roots: dict[int, Value]) -> int | None:
        """The loop that an op joins: that of what it reads last, or else one that reads the same."""
        units = [self.unit_of[key] for key in roots if key in self.unit_of]
        latest = max(units, default=-1)
        if latest >= 0 and self._fits(latest, row, op, roots):
            return latest
        if latest >= 0 and self.units[latest] is not None:
            return None
        for number in range(len(self.units) - 1, latest, -1):
            loop = self.units[number]
            if loop is None:
                return None
            if any(key in loop.reads and not value.is_constant for key, value in roots.items()):
                return number if self._fits(number, row, op, roots) else None
        return None

    def _fits(self, number: int, row: int, op: Op, roots: dict[int, Value]) -> bool:
        loop, kind = self.units[number], self._kind(row)
        if loop is None or not loop.is_open or kind in ("window", "reduction"):
            return False
        if kind == "trailing":
            return max(numel(value.shape) for value in op.inputs) == loop.elements
        size = numel(op.outputs[0].shape)
        return size in (loop.elements, loop.kept) or (not loop.kept and self._is_sole_reader(loop, roots))

    def _is_sole_reader(self, loop: _Loop, roots: dict[int, Value]) -> bool:
        """Whether all that a loop writes is read by one op alone."""
        return 0 < loop.pending == sum(key in loop.writes for key in roots)

    def _merge(self, other: int, home: int, row: int, roots: dict[int, Value]) -> None:
        """Compute within a loop what the op that joins it reads alone; for a window, only what reads one tensor."""
        into, source = self.units[home], self.units[other]
        if into is None or source is None or not source.is_open or source.kept:
            return
        if not self._is_sole_reader(source, roots) or (self._kind(row) == "window" and len(source.reads) > 1):
            return
        source.is_alive = False
        into.rows += source.rows
        into.elements = max(into.elements, source.elements)
        for key, (value, elements) in source.reads.items():
            if key not in into.writes:
                into.reads[key] = (value, max(elements, into.reads.get(key, (value, 0))[1]))
        into.writes |= source.writes
        into.pending += source.pending
        for key in source.writes:
            into.reads.pop(key, None)
            self.unit_of[key] = home

    def _concatenate(self, row: int, op: Op, roots: dict[int, Value]) -> None:
        """Copies of what no loop can write into its place."""
        loop = _Loop([row], numel(op.outputs[0].shape), is_open=False, is_copy=True)
        for key, value in roots.items():
            made = self.units[self.unit_of[key]] if key in self.unit_of else None
            if made is None or made.is_copy:
                loop.reads[key] = (value, value.elements)
        self.units.append(loop)
        for written in op.outputs:
            self.unit_of[id(written.root)] = len(self.units) - 1
