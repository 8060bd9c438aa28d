"""Output shapes of the ops that fill most networks, so that tracing need not run torch's meta kernels for them.

A rule takes the op's own arguments (meta tensors) and returns its output, or None to leave the case to torch:
a layout other than contiguous or channels-last, a broadcast, an argument that is wrong. Torch's kernels are the
reference (tests compare every rule with them) and raise the errors; these only save their 20 to 600 us a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

aten = torch.ops.aten
Rule = Callable[..., Tensor | None]
RULES: dict[Any, Rule] = {}
META = torch.device("meta")
APPROXIMATIONS = ("none", "tanh")  # of gelu


def _rule(*overloads: Any) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(overloads, rule))
        return rule

    return register


def _contiguous(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A meta tensor of that shape; with strides `torch.empty_strided` takes half the time of `torch.empty`."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size or 1
    strides.reverse()
    return torch.empty_strided(shape, strides, dtype=dtype, device=META)


def _channels_last(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A meta tensor of that shape, whose channels are next to each other."""
    return torch.empty(shape, dtype=dtype, device=META, memory_format=torch.channels_last)


def _empty(shape: Sequence[int], like: Tensor) -> Tensor | None:
    """A meta tensor of that shape, in the dtype and the memory format of `like`; None for any other layout."""
    if like.is_contiguous():
        return _contiguous(shape, like.dtype)
    if like.dim() == 4 == len(shape) and like.is_contiguous(memory_format=torch.channels_last):
        return _channels_last(shape, like.dtype)
    return None


def _is_ambiguous(x: Tensor) -> bool:
    """Whether it is contiguous and, by strides of sizes of 1, channels-last too: of such, ops make either."""
    return x.is_contiguous() and _is_channels_last(x)


def _is_channels_last(x: Tensor) -> bool:
    """Whether torch takes it for channels-last, which goes by the strides of all sizes, and those of 1 too."""
    strides = x.stride()
    if len(strides) != 4 or strides[3] < strides[1] * x.shape[1]:  # the first that torch asks; most tensors end here
        return False
    return suggest_memory_format(x) is torch.channels_last


@_rule(
    aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.hardswish.default, aten.hardsigmoid.default,
    aten.silu.default, aten.gelu.default, aten.sigmoid.default, aten.tanh.default, aten.elu.default,
    aten.leaky_relu.default, aten.mish.default,
)  # fmt: skip
def _activation(x: Tensor, *_: Any, approximate: str = "none") -> Tensor | None:
    return _empty(x.shape, x) if x.is_floating_point() and approximate in APPROXIMATIONS else None


@_rule(
    aten.relu_.default, aten.hardtanh_.default, aten.hardswish_.default, aten.hardsigmoid_.default,
    aten.silu_.default, aten.gelu_.default, aten.sigmoid_.default, aten.elu_.default, aten.leaky_relu_.default,
    aten.mish_.default,
)  # fmt: skip
def _activation_in_place(x: Tensor, *_: Any, approximate: str = "none") -> Tensor | None:
    return x if x.is_floating_point() and approximate in APPROXIMATIONS else None


def _as_permuted(a: Tensor) -> Tensor | None:
    """The output of elementwise work whose first operand has that shape: its axes in the same order, without gaps."""
    strides, shape = a.stride(), a.shape
    if len(set(strides)) != len(strides) or 0 in strides or 0 in shape:  # another operand decides, or nothing does
        return None
    packed, step = [0] * len(strides), 1
    for axis in sorted(range(len(strides)), key=strides.__getitem__):
        packed[axis] = step
        step *= shape[axis]
    return torch.empty_strided(shape, packed, dtype=a.dtype, device=META)


@_rule(aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor, aten.div_.Tensor)
def _binary_in_place(a: Tensor, b: Any, **_: Any) -> Tensor | None:
    if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype or not a.is_floating_point():
        return None
    return a if a.is_contiguous() else None


@_rule(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
def _binary(a: Any, b: Any, **_: Any) -> Tensor | None:
    if not isinstance(a, Tensor) or not a.is_floating_point():
        return None
    if not isinstance(b, Tensor):
        if not isinstance(b, int | float) or _is_ambiguous(a):
            return None
        out = _empty(a.shape, a)
        return _as_permuted(a) if out is None else out
    if a.dtype != b.dtype:
        return None
    shape, other = a.shape, b.shape
    if shape != other:  # the common broadcasts: a per-channel scale, or a gate of shape (N, C, 1, 1), over a map
        if len(shape) < len(other):
            return None
        for full, size in zip(shape[len(shape) - len(other) :], other, strict=True):
            if size not in (1, full):
                return None
    if not a.is_contiguous():
        return _as_permuted(a)
    return _contiguous(shape, a.dtype) if b.is_contiguous() else None


@_rule(aten.dropout.default)
def _dropout(x: Tensor, p: float, train: bool) -> Tensor | None:
    return x if not train and 0 <= p <= 1 else None


def _have_size(vectors: Iterable[Tensor | None], size: int, dtype: torch.dtype) -> bool:
    """Whether each optional vector is left out, or has that size and that dtype."""
    for vector in vectors:
        if vector is not None and (vector.shape != (size,) or vector.dtype is not dtype):
            return False
    return True


@_rule(aten.batch_norm.default)
def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *_: Any) -> Tensor | None:
    if training or mean is None or var is None or x.dim() < 2:
        return None
    shape = x.shape
    return _empty(shape, x) if _have_size((weight, bias, mean, var), shape[1], x.dtype) else None


@_rule(aten.layer_norm.default)
def _layer_norm(x: Tensor, shape: list[int], weight: Any = None, bias: Any = None, *_: Any) -> Tensor | None:
    if len(shape) != 1 or not x.dim() or x.shape[-1] != shape[0]:
        return None
    if not _have_size((weight, bias), shape[0], x.dtype):
        return None
    return _contiguous(x.shape, x.dtype)  # contiguous whatever it is given


@_rule(aten.group_norm.default)
def _group_norm(x: Tensor, groups: int, weight: Any = None, bias: Any = None, *_: Any) -> Tensor | None:
    if x.dim() < 3 or groups < 1 or x.shape[1] % groups or 0 in x.shape or not x.is_floating_point():
        return None
    if not x.is_contiguous() or _is_ambiguous(x):
        return None
    return _empty(x.shape, x) if _have_size((weight, bias), x.shape[1], x.dtype) else None


@_rule(aten.softmax.int)
def _softmax(x: Tensor, dim: int, dtype: Any = None) -> Tensor | None:
    if dtype is not None or not x.is_floating_point() or not -x.dim() <= dim < x.dim():
        return None
    return _contiguous(x.shape, x.dtype)  # contiguous whatever it is given


def _per_axis(argument: Any, rank: int) -> Sequence[int]:
    """torch takes ``s``, ``[s]`` and ``[s, ...]`` alike."""
    if not isinstance(argument, list | tuple):
        return (argument,) * rank
    return argument * rank if len(argument) == 1 else argument


@_rule(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
def _conv(
    x: Tensor, w: Tensor, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor | None:
    given, kernel, dtype = x.shape, w.shape, x.dtype
    rank = len(kernel) - 2
    if len(given) != rank + 2 or groups < 1 or given[1] != kernel[1] * groups or dtype is not w.dtype:
        return None
    if kernel[0] % groups or not _have_size((b,), kernel[0], dtype):
        return None
    steps, pads, dilations = _per_axis(stride, rank), _per_axis(padding, rank), _per_axis(dilation, rank)
    if not len(steps) == len(pads) == len(dilations) == rank:
        return None
    shape = [given[0], kernel[0]]
    for axis in range(rank):
        step, pad, spread = steps[axis], pads[axis], dilations[axis]
        if step < 1 or pad < 0 or spread < 1:
            return None
        size = (given[axis + 2] + 2 * pad - spread * (kernel[axis + 2] - 1) - 1) // step + 1
        if size < 1:
            return None
        shape.append(size)
    if rank != 2:
        return _empty(shape, w if x.is_contiguous() else x)
    # Channels-last where either is by its strides alone, as torch has it: 1x1 and depthwise kernels are both formats.
    if _is_channels_last(x) or _is_channels_last(w):
        return _channels_last(shape, dtype)
    return _contiguous(shape, dtype)


@_rule(aten.linear.default)
def _linear(x: Tensor, w: Tensor, b: Any = None) -> Tensor | None:
    if w.dim() != 2 or not x.dim() or x.shape[-1] != w.shape[1] or x.dtype != w.dtype:
        return None
    if not _have_size((b,), w.shape[0], w.dtype):
        return None
    return _contiguous([*x.shape[:-1], w.shape[0]], x.dtype)


@_rule(aten.matmul.default)
def _matmul(a: Tensor, b: Tensor) -> Tensor | None:
    if a.dim() != b.dim() or a.dim() < 2 or a.shape[-1] != b.shape[-2] or a.dtype != b.dtype:
        return None
    batch = []
    for m, n in zip(a.shape[:-2], b.shape[:-2], strict=True):
        if m != n and 1 not in (m, n):
            return None
        batch.append(n if m == 1 else m)
    return _contiguous([*batch, a.shape[-2], b.shape[-1]], a.dtype)


@_rule(aten.adaptive_avg_pool2d.default)
def _adaptive_avg_pool(x: Tensor, size: Any) -> Tensor | None:
    rank = 2
    if x.dim() != rank + 2 or len(size) != rank or min(size) < 1 or 0 in x.shape:
        return None
    return _empty([*x.shape[:2], *size], x) if x.is_contiguous() and not _is_ambiguous(x) else None


@_rule(aten.mean.dim)
def _mean(x: Tensor, dim: Any, keepdim: bool = False, *, dtype: Any = None) -> Tensor | None:
    if not dim or dtype is not None or not x.is_floating_point() or not x.is_contiguous():
        return None
    if any(not -x.dim() <= d < x.dim() for d in dim):
        return None
    gone = {d % x.dim() for d in dim}
    if len(gone) != len(dim):
        return None
    sizes = [1 if i in gone else n for i, n in enumerate(x.shape) if keepdim or i not in gone]
    return _contiguous(sizes, x.dtype)


@_rule(aten.bmm.default)
def _bmm(a: Tensor, b: Tensor) -> Tensor | None:
    return _matmul(a, b) if a.dim() == 3 == b.dim() and a.shape[0] == b.shape[0] else None


@_rule(aten.scaled_dot_product_attention.default)
def _attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0, is_causal: bool = False, **_: Any
) -> Tensor | None:
    if not q.dim() == k.dim() == v.dim() == 4 or not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        return None
    if not q.shape[:2] == k.shape[:2] == v.shape[:2] or not q.shape[3] == k.shape[3] == v.shape[3]:
        return None  # heads that share keys, too
    if k.shape[2] != v.shape[2] or dropout or any(x.stride(3) != 1 or not x.numel() for x in (q, k, v)):
        return None
    if mask is not None and (is_causal or mask.dtype not in (q.dtype, torch.bool) or mask.dim() != 4):
        return None
    scores = (*q.shape[:3], k.shape[2])
    if mask is not None and any(size not in (1, full) for size, full in zip(mask.shape, scores, strict=True)):
        return None
    out = _as_permuted(q)  # fused attention lays its result out as the queries
    return torch.empty_like(q) if out is None else out


@_rule(aten.cat.default)
def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0] if tensors else None
    if first is None or not -first.dim() <= dim < first.dim():
        return None
    axis = dim % first.dim()
    for x in tensors:
        if x.dim() != first.dim() or x.dtype != first.dtype or not x.numel():
            return None
        if not x.is_contiguous() or _is_ambiguous(x):
            return None
        if any(size != other for i, (size, other) in enumerate(zip(x.shape, first.shape, strict=True)) if i != axis):
            return None
    sizes = list(first.shape)
    sizes[axis] = sum(x.shape[axis] for x in tensors)
    return _contiguous(sizes, first.dtype)


@_rule(aten.roll.default)
def _roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor | None:
    if not dims or len(shifts) != len(dims) or not x.numel() or any(not -x.dim() <= dim < x.dim() for dim in dims):
        return None
    return _contiguous(x.shape, x.dtype)


@_rule(aten.index.Tensor)
def _index(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor | None:
    """Rows of a table, whose shape hangs on that of the index alone."""
    index = indices[0] if len(indices) == 1 else None
    if index is None or index.dtype not in (torch.int64, torch.int32) or not x.dim() or not x.is_contiguous():
        return None
    return _contiguous([*index.shape, *x.shape[1:]], x.dtype) if x.numel() else None
