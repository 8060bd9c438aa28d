"""How tensors lie in memory, as far as it decides which kernel runs: all from shapes and strides.

Dimensions of size 1 have strides that mean nothing, and are left out throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from roofline.graph import Value, numel

Layout = Literal["contiguous", "channels_last", "other"]
Ints = tuple[int, ...]
CACHED = 1 << 14  # answers kept; a network has some hundred tensors


def layout_of(value: Value) -> Layout:
    """What torch calls the memory format; ``contiguous`` where the strides are not known."""
    return _layout(value.shape, value.strides)


@lru_cache(CACHED)
def _layout(shape: Ints, strides: Ints) -> Layout:
    if not strides or _is_packed(shape, strides, range(len(shape) - 1, -1, -1)):
        return "contiguous"
    return "channels_last" if _suggests_channels_last(shape, strides) else "other"


def suggests_channels_last(value: Value) -> bool:
    """Whether torch takes it for channels-last, be it by strides of dimensions of size 1, as those of a 1x1 kernel.

    torch's test (is_channels_last_strides of c10/core/MemoryFormat.h) wants the order of the strides, and not that the
    elements are dense: a slice of the channels passes, too.
    """
    return _suggests_channels_last(value.shape, value.strides)


@lru_cache(CACHED)
def _suggests_channels_last(shape: Ints, strides: Ints) -> bool:
    if len(strides) not in (4, 5) or strides[1] == 0:
        return False
    least = 0
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[axis] == 0 or strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * shape[axis]
    return True


def _is_packed(shape: Ints, strides: Ints, order: Sequence[int]) -> bool:
    """Whether its elements stand side by side, with the axes from the innermost on in that order."""
    expected = 1
    for axis in order:
        if shape[axis] != 1:
            if strides[axis] != expected:
                return False
            expected *= shape[axis]
    return True


def contiguous_strides(shape: Ints) -> Ints:
    """Those of a tensor whose elements stand side by side, the last dimension innermost.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(numel(shape[axis + 1 :]) for axis in range(len(shape)))


def inner_run(out: Value, operands: Sequence[Value]) -> tuple[int, bool]:
    """The innermost loop of an elementwise op: elements in a row, and whether all operands step by 1 or stand still.

    Dimensions fold into one, from the innermost of the output on, for as long as they do in every operand, as ATen's
    TensorIterator folds them; an operand is broadcast by strides of 0.
    """
    strides = tuple(_broadcast_strides(out.shape, value.shape, value.strides) for value in operands)
    return _inner_run(out.shape, out.strides, strides)


@lru_cache(CACHED)
def _inner_run(shape: Ints, out: Ints, operands: tuple[Ints, ...]) -> tuple[int, bool]:
    if len(out) != len(shape):
        return max(1, shape[-1] if shape else 1), True
    every = (out, *(strides for strides in operands if strides))
    axes = sorted((axis for axis in range(len(shape)) if shape[axis] != 1), key=lambda axis: (out[axis], -axis))
    if not axes:
        return 1, True
    inner = axes[0]
    run, is_unit = shape[inner], all(strides[inner] in (0, 1) for strides in every)
    for axis in axes[1:]:
        if any(strides[axis] != strides[inner] * shape[inner] for strides in every):
            break
        run *= shape[axis]
        inner = axis
    return max(1, run), is_unit


@lru_cache(CACHED)
def _broadcast_strides(shape: Ints, given: Ints, strides: Ints) -> Ints:
    """The strides of an operand over the shape of the result; empty for a number or where they are not known."""
    if not strides or len(given) > len(shape):
        return ()
    offset = len(shape) - len(given)
    return (0,) * offset + tuple(
        0 if size == 1 and full != 1 else stride
        for size, full, stride in zip(given, shape[offset:], strides, strict=True)
    )


def fits_blas(value: Value) -> bool:
    """Whether BLAS takes its last two dimensions as a matrix, transposed or not, with a leading dimension."""
    if len(value.strides) < 2:
        return True
    return _fits_blas(*value.shape[-2:], *value.strides[-2:])


def is_matrix(value: Value) -> bool:
    """Whether BLAS takes it as one matrix of its rows, all dimensions but the last folded, without a copy."""
    if len(value.strides) < 3:
        return fits_blas(value)
    if not folds(value.shape[:-1], value.strides[:-1]):
        return False
    wide = [stride for size, stride in zip(value.shape[:-1], value.strides[:-1], strict=True) if size != 1]
    return _fits_blas(
        numel(value.shape[:-1]), value.shape[-1], wide[-1] if wide else value.shape[-1], value.strides[-1]
    )


def _fits_blas(rows: int, columns: int, down: int, across: int) -> bool:
    as_it_is = (across == 1 or columns == 1) and (down >= columns or rows == 1)
    transposed = (down == 1 or rows == 1) and (across >= rows or columns == 1)
    return as_it_is or transposed


def folds(shape: Ints, strides: Ints) -> bool:
    """Whether these dimensions are one to a view, so that ``reshape`` need not copy."""
    wide = [(size, stride) for size, stride in zip(shape, strides, strict=False) if size != 1]
    return all(stride == size * inner for (_, stride), (size, inner) in pairwise(wide))
