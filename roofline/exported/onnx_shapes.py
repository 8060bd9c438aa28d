"""ONNX operators that look at shapes, move elements or make them (see `roofline.exported.onnx_ops`)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from roofline.errors import ModelError
from roofline.exported.onnx_ops import BINARY, LOGICAL, SMALL, UNARY, Call, Result, does, dtype_of

MAX_RANK = 64  # PyTorch's own limit of dimensions


@does("Shape")
def _shape(call: Call) -> Tensor:
    shape = list(call.tensor(0).shape)
    return torch.tensor(shape[call.attribute("start", 0) : call.attribute("end")], dtype=torch.int64)


@does("Size")
def _size(call: Call) -> Tensor:
    return torch.tensor(call.tensor(0).numel(), dtype=torch.int64)


@does("Reshape")
def _reshape(call: Call) -> Tensor:
    x, shape = call.tensor(0), call.numbers("shape", 1) or []
    if not call.attribute("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


@does("Flatten")
def _flatten(call: Call) -> Tensor:
    x, axis = call.tensor(0), call.attribute("axis", 1)
    if axis == 1 and x.dim() > 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[: axis % (x.dim() + 1) if axis >= 0 else axis]), -1)


@does("Transpose")
def _transpose(call: Call) -> Tensor:
    x = call.tensor(0)
    return x.permute(call.attribute("perm") or list(reversed(range(x.dim()))))


@does("Squeeze")
def _squeeze(call: Call) -> Tensor:
    x, axes = call.tensor(0), call.numbers("axes", 1)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@does("Unsqueeze")
def _unsqueeze(call: Call) -> Tensor:
    x, axes = call.tensor(0), call.numbers("axes", 1) or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@does("Concat")
def _concat(call: Call) -> Tensor:
    return torch.cat(call.every(), call.attribute("axis"))


@does("Split")
def _split(call: Call) -> Result:
    x, axis = call.tensor(0), call.attribute("axis", 0)
    sizes = call.numbers("split", 1)
    if sizes is None:
        each = math.ceil(x.shape[axis] / len(call.node.outputs))
        sizes = [min(each, x.shape[axis] - start) for start in range(0, x.shape[axis], each)]
    return tuple(torch.split(x, sizes, axis))


@does("Slice")
def _slice(call: Call) -> Tensor:
    x = call.tensor(0)
    starts, ends = call.numbers("starts", 1) or [], call.numbers("ends", 2) or []
    axes, steps = call.numbers("axes", 3) or range(len(starts)), call.numbers("steps", 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        kept = range(x.shape[axis])[slice(start, end, step)]
        if step < 0:  # PyTorch has no views that run backwards
            x = x.flip(axis)
            kept = range(x.shape[axis] - 1 - kept.start, x.shape[axis] - 1 - kept.stop, -step)
        if kept != range(x.shape[axis]):
            x = torch.ops.aten.slice.Tensor(x, axis, kept.start, max(kept.stop, kept.start), kept.step)
    return x


@does("Gather")
def _gather(call: Call) -> Tensor:
    data, axis = call.tensor(0), call.attribute("axis", 0)
    known = call.known.get(call.name(1))
    if known is not None and known.dim() == 0:
        return data.select(axis, int(known))
    indices = call.tensor(1)
    if axis == 0 and data.dim() == 2 and data.is_floating_point() and indices.dtype in (torch.int64, torch.int32):
        return F.embedding(indices, data)
    return data[(slice(None),) * (axis % data.dim()) + (indices.long(),)]


@does("GatherElements")
def _gather_elements(call: Call) -> Tensor:
    return torch.gather(call.tensor(0), call.attribute("axis", 0), call.tensor(1))


@does("GatherND")
def _gather_nd(call: Call) -> Tensor:
    if call.attribute("batch_dims", 0):
        raise ModelError("batch dimensions are not known of it")
    return call.tensor(0)[_coordinates(call.tensor(1))]


def _coordinates(indices: Tensor) -> tuple[Tensor, ...]:
    """The last dimension of indices apart: one tensor a dimension of what they point into."""
    if indices.shape[-1] > MAX_RANK:
        raise ModelError(f"indices into {indices.shape[-1]} dimensions")
    return indices.unbind(-1)


@does("ScatterND")
def _scatter_nd(call: Call) -> Tensor:
    adds = call.attribute("reduction", "none") == "add"
    return torch.index_put(call.tensor(0), _coordinates(call.tensor(1)), call.tensor(2), adds)


@does("ScatterElements", "Scatter")
def _scatter(call: Call) -> Tensor:
    adds = call.attribute("reduction", "none") == "add"
    function = torch.scatter_add if adds else torch.scatter
    return function(call.tensor(0), call.attribute("axis", 0), call.tensor(1), call.tensor(2))


@does("Expand")
def _expand(call: Call) -> Tensor:
    x = call.tensor(0)
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(call.numbers("shape", 1) or ())))


@does("Tile")
def _tile(call: Call) -> Tensor:
    return call.tensor(0).repeat(call.numbers("repeats", 1) or [])


@does("Pad")
def _pad(call: Call) -> Tensor:
    x, pads = call.tensor(0), call.numbers("pads", 1) or []
    axes = [axis % x.dim() for axis in call.numbers("axes", 3) or range(x.dim())]
    of_axis = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    first = min((axis for axis, pair in of_axis.items() if any(pair)), default=x.dim())
    flat = [amount for axis in range(x.dim() - 1, first - 1, -1) for amount in of_axis.get(axis, (0, 0))]
    mode = {"edge": "replicate", "wrap": "circular"}.get(call.attribute("mode", "constant"), call.attribute("mode"))
    if not flat:
        return x
    if mode in (None, "constant"):
        return F.pad(x, flat)
    return F.pad(x, flat, mode=mode)


@does("DepthToSpace", "SpaceToDepth")
def _depth_and_space(call: Call) -> Tensor:
    x, block = call.tensor(0), call.attribute("blocksize")
    if call.node.op == "SpaceToDepth":
        return F.pixel_unshuffle(x, block)  # another order of channels, the same bytes
    return F.pixel_shuffle(x, block)


@does("ConstantOfShape")
def _constant_of_shape(call: Call) -> Tensor:
    shape, value = call.numbers("input", 0) or [], call.attribute("value")
    dtype = torch.float32 if value is None else dtype_of(value.data_type)
    return torch.zeros(shape, dtype=dtype, device=_place(math.prod(shape)))


@does("Range")
def _range(call: Call) -> Tensor:
    start, limit, step = (call.number("bound", position) for position in range(3))
    if None in (start, limit, step) or step == 0:
        raise ModelError("its bounds depend on data, or its step is 0")
    length = max(0, math.ceil((limit - start) / step))
    return torch.arange(start, limit, step, dtype=call.tensor(0).dtype, device=_place(length))


def _place(elements: int) -> torch.device:
    """Where a new tensor is made: its values are worth keeping only where it is small."""
    return torch.device("cpu" if elements <= SMALL else "meta")


@does("EyeLike")
def _eye(call: Call) -> Tensor:
    x = call.tensor(0)
    return torch.eye(*x.shape, dtype=x.dtype, device="meta")


@does("Trilu")
def _triangle(call: Call) -> Tensor:
    function = torch.triu if call.attribute("upper", 1) else torch.tril
    return function(call.tensor(0), int(call.number("k", 1, 0)))


@does("OneHot")
def _one_hot(call: Call) -> Tensor:
    indices, depth, values = call.tensor(0), int(call.number("depth", 1)), call.tensor(2)
    axis = call.attribute("axis", -1)
    shape = list(indices.shape)
    shape.insert(axis % (len(shape) + 1), depth)
    target = torch.zeros(shape, dtype=values.dtype, device=indices.device)
    return target.scatter(axis, indices.long().unsqueeze(axis), 1)


@does("Resize", "Upsample")
def _resize(call: Call) -> Tensor:
    x = call.tensor(0)
    is_old = call.node.op == "Upsample" or call.node.version < 11
    sizes = None if is_old else call.numbers("sizes", 3)
    axes = [axis % x.dim() for axis in call.attribute("axes") or range(x.dim())]
    wanted = list(x.shape)
    if sizes:
        for axis, size in zip(axes, sizes, strict=True):
            wanted[axis] = int(size)
    else:
        scales = call.numbers("scales", 1 if is_old else 2) or []
        for axis, scale in zip(axes, scales, strict=True):
            wanted[axis] = math.floor(x.shape[axis] * scale)
    if wanted[:2] != list(x.shape[:2]):
        raise ModelError("it scales the batch or the channels")
    mode = call.attribute("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic") or not 3 <= x.dim() <= 5:
        raise ModelError(f"mode {mode!r} of {x.dim()} dimensions is not known")
    if mode == "nearest":
        return F.interpolate(x, size=wanted[2:])
    name = {("linear", 3): "linear", ("linear", 4): "bilinear", ("linear", 5): "trilinear", ("cubic", 4): "bicubic"}
    corners = call.attribute("coordinate_transformation_mode") == "align_corners"
    smooth = bool(call.attribute("antialias", 0))
    return F.interpolate(x, size=wanted[2:], mode=name[mode, x.dim()], align_corners=corners, antialias=smooth)


@does("GridSample")
def _grid_sample(call: Call) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call.attribute("mode", "linear"), "bilinear")
    return F.grid_sample(call.tensor(0), call.tensor(1), mode, call.attribute("padding_mode", "zeros"), False)


@does("RandomNormalLike", "RandomUniformLike", "RandomNormal", "RandomUniform")
def _random(call: Call) -> Tensor:
    like = call.optional(0)
    shape = list(call.attribute("shape") or ()) if like is None else list(like.shape)
    return torch.randn(shape, device="meta")


# What is done beforehand where all inputs are known. None makes more than the product of what it is given.
FOLDABLE = frozenset(
    {*UNARY, *BINARY, *LOGICAL}
    | set(
        "Div Mod Min Max Sum Mean Where Clip Cast CastLike Identity Shape Size Reshape Flatten Transpose Squeeze "
        "Unsqueeze Concat Split Slice Gather GatherElements Expand ConstantOfShape Range ReduceMean ReduceSum "
        "ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare CumSum Trilu HardSigmoid LeakyRelu".split()
    )
)
