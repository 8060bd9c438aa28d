"""What a traced network runs on a CPU in eager mode: the kernel of each op, and the quantities its time depends on.

Which kernel runs decides more than the arithmetic. So ops are first sorted into classes, each of one code path, and
what is left to fit is the time within a class, as a sum of few physical terms. A class is split where the layout of its
input has another kernel run: ``conv_depthwise/strided`` is the channels-last one, which also runs in a channels-first
network where a table of tokens is permuted to an image; ``conv_depthwise/copied`` makes its input contiguous first.
`roofline.calibration.work` does the sorting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.layouts import layout_of
from roofline.calibration.risks import risks
from roofline.calibration.work import BASES, CACHE_BYTES, FALLBACK, Work, item_bytes, work_of
from roofline.count import Cost, cost
from roofline.graph import Graph, Op, Value

__all__ = ["FALLBACK", "KERNELS", "TERMS", "Kernels", "kernels_of"]

TERMS: tuple[str, ...] = (
    "calls",  # 1
    "macs",
    "padded_macs",  # with the channels of each side rounded up to the block of 16 that the kernel computes
    "elements",  # results of elementwise work; of a reduction, what it reads
    "vector_ops",  # weighted as in `roofline.vector_ops`
    "transcendentals",  # results that took an exp, erf or tanh
    "read_bytes",  # of activations
    "written_bytes",
    "weight_bytes",  # of parameters, buffers, and whatever stands in their place
    "reorder_bytes",  # read and written to bring activations into another layout and back, within the op
    "ragged_bytes",  # of these, of tensors whose channels do not fill the blocks of the other layout
    "aliased_bytes",  # of weights that are reordered from rows that lie a multiple of `PAGE_BYTES` apart
    "scratch_bytes",  # written and read again within the op: unrolled windows, scores of an attention, state weights
    "taps",  # of windows: output positions times the kernel's size; of a pooling by channel
    "rows",  # independent runs of the inner loop: pixels, rows of a matrix or a norm, matrices of a batch, time steps
    "large_bytes",  # of the footprint, beyond `CACHE_BYTES`, and of what is read again each step
    "fresh_bytes",  # of outputs for which the allocator asks the operating system each time
)
KERNELS: tuple[str, ...] = tuple(
    f"{base}{split}" for base in BASES for split in ("", "/strided", "/copied") if split != "/copied" or "conv" in base
)

FRESH_BYTES = 32 << 20  # glibc's largest threshold for mmap on 64 bits: mallopt(3), M_MMAP_THRESHOLD


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """What a network runs, one row an op that is no view, in execution order.

    Attributes:
        op: (n,) its index in ``Graph.ops``.
        kernel: (n,) its class, one of `KERNELS`.
        key: (n,) all that decides its time: overload, shapes, dtypes, strides, arguments. Equal keys, same call.
        terms: (n, len(TERMS)), base units, none below 0.
        views: Ops that are views: they cost the host, and run nothing.
        module_calls: Calls of modules in the forward pass, containers included.
        flags: Sentences on cost that hangs on values, which shapes do not tell.
    """

    op: NDArray[np.int64]
    kernel: NDArray[np.str_]
    key: tuple[str, ...]
    terms: NDArray[np.float64]
    views: int
    module_calls: int
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for column in (self.op, self.kernel, self.terms):
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.op)


def kernels_of(graph: Graph) -> Kernels:
    """The kernels of a traced network, unfused: every op that is no view is one row, whatever it does."""
    rows = [index for index, op in enumerate(graph.ops) if not op.is_view]
    names, keys, terms = [], [], []
    for index in rows:
        op = graph.ops[index]
        item = cost(op)
        work = work_of(op, item)
        names.append(f"{work.kernel}/strided" if work.is_strided else work.kernel)
        keys.append(f"{names[-1]} {op.target}{_told((*op.args, *op.kwargs.items()))}")
        terms.append(_terms(op, item, work))
    return Kernels(
        op=np.array(rows, np.int64),
        kernel=np.array(names, np.str_),
        key=tuple(keys),
        terms=np.array(terms, np.float64).reshape(len(rows), len(TERMS)),
        views=len(graph.ops) - len(rows),
        module_calls=graph.module_calls,
        flags=risks(graph),
    )


def _terms(op: Op, item: Cost | None, work: Work) -> tuple[float, ...]:
    if item is None:
        return (1.0,) + (0.0,) * (len(TERMS) - 1)
    reads = [(value, value.elements) for value in op.inputs] if item.reads is None else item.reads
    writes = item.writes or [(value, value.elements) for value in op.outputs]
    read_bytes = written_bytes = weight_bytes = fresh_bytes = 0
    footprint: dict[int, int] = {}
    for value, elements in reads:
        moved = elements * item_bytes(value)
        if _is_weight(value, op, work):
            weight_bytes += moved
        else:
            read_bytes += moved
        footprint[value.storage] = max(moved, footprint.get(value.storage, 0))
    for value, elements in writes:
        moved = elements * item_bytes(value)
        written_bytes += moved
        if moved > FRESH_BYTES and value.storage not in footprint:
            fresh_bytes += moved
        footprint[value.storage] = max(moved, footprint.get(value.storage, 0))
    large_bytes = max(0, sum(footprint.values()) - CACHE_BYTES) + work.spilled_bytes
    return (
        1, item.macs, work.padded_macs or item.macs, work.elements, item.vector_ops, work.transcendentals,
        read_bytes, written_bytes, weight_bytes, work.reorder_bytes, work.ragged_bytes, work.aliased_bytes,
        work.scratch_bytes, work.taps, work.rows, large_bytes, fresh_bytes,
    )  # fmt: skip


def _is_weight(value: Value, op: Op, work: Work) -> bool:
    """Whether an operand is a weight to the kernel.

    A parameter is, but for the first operand where there are no others than parameters, as of a network that normalises
    its weights as it runs; and so is, of a convolution or a linear layer, whatever stands in the place of one.
    """
    is_first = value is op.inputs[0]
    if work.kernel.startswith("conv_") or op.name == "linear":
        return not is_first
    return value.is_weight and not (is_first and all(operand.is_weight for operand in op.inputs))


def _told(arg: Any) -> str:
    """An argument as it decides what runs."""
    if isinstance(arg, Value):
        layout = "" if layout_of(arg) == "contiguous" else f"@{_told(_meant(arg))}"
        return f"{'w:' if arg.is_weight else ''}{arg.dtype}{list(arg.shape)}{layout}"
    if isinstance(arg, tuple):
        return f"({', '.join(map(_told, arg))})" if any(isinstance(item, Value | tuple) for item in arg) else str(arg)
    return str(arg)


def _meant(value: Value) -> tuple[int, ...]:
    """Its strides, with 0 for those that mean nothing."""
    return tuple(0 if size == 1 else stride for size, stride in zip(value.shape, value.strides, strict=True))
