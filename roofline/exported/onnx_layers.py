"""ONNX operators that compute: contractions, norms, pools and reductions (see `roofline.exported.onnx_ops`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from roofline.errors import ModelError
from roofline.exported.onnx_nodes import OWN_DOMAIN
from roofline.exported.onnx_ops import Call, Result, does

# --- contractions ------------------------------------------------------------------------------------------------


def _total_pads(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Padding before and after each spatial dimension, by the ``auto_pad`` of the node or its ``pads``."""
    rank = len(kernel)
    strides, dilations = _per_axis(call, "strides", rank), _per_axis(call, "dilations", rank)
    automatic = call.attribute("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = call.attribute("pads") or [0] * (2 * rank)
        return list(zip(pads[:rank], pads[rank:], strict=True))
    found = []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + dilation * (window - 1) + 1 - size)
        less, more = total // 2, total - total // 2
        found.append((0, 0) if automatic == "VALID" else (less, more) if automatic == "SAME_UPPER" else (more, less))
    return found


def _per_axis(call: Call, name: str, rank: int) -> list[int]:
    return list(call.attribute(name) or [1] * rank)


def _pad_apart(x: Tensor, pads: Sequence[tuple[int, int]], value: float, *, limit: Sequence[int] | None = None
               ) -> tuple[Tensor, list[int]]:  # fmt: skip
    """What is not the same on both sides (or more than PyTorch pads a window with) is padded before, as a copy."""
    too_much = limit is not None and any(before > most for (before, _), most in zip(pads, limit, strict=True))
    if all(before == after for before, after in pads) and not too_much:
        return x, [before for before, _ in pads]
    flat = [amount for pair in reversed(pads) for amount in pair]
    return F.pad(x, flat, value=value), [0] * len(pads)


@does("Conv")
def _conv(call: Call) -> Tensor:
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    rank = weight.dim() - 2
    x, padding = _pad_apart(x, _total_pads(call, x.shape[2:], weight.shape[2:]), 0.0)
    function = of_rank("conv", rank)
    strides, dilations = _per_axis(call, "strides", rank), _per_axis(call, "dilations", rank)
    return function(x, weight, bias, strides, padding, dilations, call.attribute("group", 1))


@does("ConvTranspose")
def _conv_transpose(call: Call) -> Tensor:
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    rank = weight.dim() - 2
    strides, dilations = _per_axis(call, "strides", rank), _per_axis(call, "dilations", rank)
    extra = list(call.attribute("output_padding") or [0] * rank)
    wanted, automatic = call.attribute("output_shape"), call.attribute("auto_pad", "NOTSET")
    if automatic.startswith("SAME") and wanted is None:
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted is None:
        pads = [(0, 0)] * rank if automatic == "VALID" else _total_pads(call, x.shape[2:], weight.shape[2:])
    else:
        pads = []
        for axis, size in enumerate(wanted[-rank:]):
            window = dilations[axis] * (weight.shape[2 + axis] - 1) + 1
            total = strides[axis] * (x.shape[2 + axis] - 1) + extra[axis] + window - size
            extra[axis] += max(0, -total) + max(0, total) % 2  # one more after than before is one less of output
            pads.append(((max(0, total) + max(0, total) % 2) // 2,) * 2)
    if any(before != after for before, after in pads):
        raise ModelError(f"pads that differ before and after ({pads}) are not known of a transposed convolution")
    groups = call.attribute("group", 1)
    return of_rank("conv_transpose", rank)(
        x, weight, bias, strides, [before for before, _ in pads], extra, groups, dilations
    )


def of_rank(name: str, rank: int) -> Callable[..., Tensor]:
    """PyTorch's function of that name for so many spatial dimensions.

    Raises:
        ModelError: There is none.
    """
    if not 1 <= rank <= 3:
        raise ModelError(f"of {rank} spatial dimensions; 1 to 3 are known")
    found: Callable[..., Tensor] = getattr(F, f"{name}{rank}d")
    return found


@does("Gemm")
def _gemm(call: Call) -> Tensor:
    a, b, c = call.tensor(0), call.tensor(1), call.optional(2)
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    a = a.t() if call.attribute("transA") else a
    if alpha == beta == 1 and (c is None or c.dim() == 1):
        return F.linear(a, b if call.attribute("transB") else b.t(), c)
    b = b.t() if call.attribute("transB") else b
    product: Tensor = torch.mm(a, b) * alpha if c is None else torch.addmm(c, a, b, alpha=alpha, beta=beta)
    return product


@does("MatMul")
def _matmul(call: Call) -> Tensor:
    return torch.matmul(call.tensor(0), call.tensor(1))


@does(f"{OWN_DOMAIN}.Linear")
def _linear(call: Call) -> Tensor:
    return F.linear(call.tensor(0), call.tensor(1).t(), call.tensor(2))


@does("Einsum")
def _einsum(call: Call) -> Tensor:
    return torch.einsum(call.attribute("equation"), *call.every())


@does("Attention")
def _attention(call: Call) -> Result:
    query, key, value, mask = call.tensor(0), call.tensor(1), call.tensor(2), call.optional(3)
    heads, key_heads = call.attribute("q_num_heads"), call.attribute("kv_num_heads")
    flat = query.dim() == 3
    if flat:
        query = torch.unflatten(query, -1, (heads, -1)).transpose(1, 2)
        key, value = (torch.unflatten(x, -1, (key_heads, -1)).transpose(1, 2) for x in (key, value))
    past_key, past_value = call.optional(4), call.optional(5)
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], dim=-2), torch.cat([past_value, value], dim=-2)
    out = F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=bool(call.attribute("is_causal", 0)) and mask is None,
        scale=call.attribute("scale"), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    if flat:
        out = out.transpose(1, 2).flatten(2)
    return (out, key, value)


@does(f"{OWN_DOMAIN}.Attention")
def _attention_of_products(call: Call) -> Tensor:
    query, key = call.tensor(0), call.tensor(1)
    key = key.reshape(*query.shape[:-2], *key.shape[-2:])  # a view: the exporter has batch and heads as one dimension
    return F.scaled_dot_product_attention(query, key, call.tensor(2), call.optional(3))


@does("LSTM", "GRU", "RNN")
def _recurrent(call: Call) -> Result:
    """One layer in one or both directions: weights are (directions, gates * hidden, in or hidden)."""
    x, w_in, w_hidden, bias = call.tensor(0), call.tensor(1), call.tensor(2), call.optional(3)
    if call.optional(7) is not None and call.node.op == "LSTM":
        raise ModelError("peepholes are not known")
    batch_first = call.attribute("layout", 0) == 1
    directions, hidden = w_hidden.shape[0], w_hidden.shape[2]
    if directions not in (1, 2):
        raise ModelError(f"of {directions} directions")
    weights = []
    for direction in range(directions):
        weights += [w_in[direction], w_hidden[direction]]
        if bias is not None:
            weights += list(bias[direction].chunk(2))
    batch = x.shape[0 if batch_first else 1]
    states = []
    for position in (5, 6)[: 2 if call.node.op == "LSTM" else 1]:
        given = call.optional(position)
        if given is None:
            given = torch.zeros(directions, batch, hidden, dtype=x.dtype, device=x.device)
        elif batch_first:
            given = given.transpose(0, 1)
        states.append(given)
    arguments = (weights, bias is not None, 1, 0.0, False, directions == 2, batch_first)
    if call.node.op == "LSTM":
        out, *last = torch.lstm(x, states, *arguments)
    else:
        is_relu = "Relu" in (call.attribute("activations") or ["Tanh"])
        function = torch.gru if call.node.op == "GRU" else torch.rnn_relu if is_relu else torch.rnn_tanh
        out, *last = function(x, states[0], *arguments)
    out = torch.unflatten(out, -1, (directions, hidden))
    out = out if batch_first else out.transpose(1, 2)
    return (out, *((state.transpose(0, 1) for state in last) if batch_first else last))


# --- norms, softmax, pools, reductions ---------------------------------------------------------------------------


@does("BatchNormalization")
def _batch_norm(call: Call) -> Tensor:
    if call.attribute("training_mode", 0):
        raise ModelError("it is in training mode: export the network after net.eval()")
    x, weight, bias, mean, variance = (call.tensor(position) for position in range(5))
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.1, call.attribute("epsilon", 1e-5))


@does("InstanceNormalization")
def _instance_norm(call: Call) -> Tensor:
    return F.instance_norm(call.tensor(0), weight=call.tensor(1), bias=call.tensor(2))


@does("LayerNormalization", f"{OWN_DOMAIN}.LayerNormalization")
def _layer_norm(call: Call) -> Tensor:
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    shape = tuple(x.shape[call.attribute("axis", -1) :])
    if tuple(weight.shape) == shape and (bias is None or tuple(bias.shape) == shape):
        return F.layer_norm(x, shape, weight, bias)
    out = F.layer_norm(x, shape) * weight
    return out if bias is None else out + bias


@does("RMSNormalization")
def _rms_norm(call: Call) -> Tensor:
    x, weight = call.tensor(0), call.tensor(1)
    return F.rms_norm(x, tuple(x.shape[call.attribute("axis", -1) :]), weight, call.attribute("epsilon", 1e-5))


@does("GroupNormalization")
def _group_norm(call: Call) -> Tensor:
    x, weight, bias = call.tensor(0), call.tensor(1), call.tensor(2)
    groups = call.attribute("num_groups")
    if weight.shape[0] != x.shape[1]:  # before op set 21 there was one scale a group
        weight, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (weight, bias))
    return F.group_norm(x, groups, weight, bias)


@does("LRN")
def _local_response_norm(call: Call) -> Tensor:
    return F.local_response_norm(call.tensor(0), call.attribute("size"))


@does("LpNormalization")
def _lp_normalisation(call: Call) -> Tensor:
    return F.normalize(call.tensor(0), float(call.attribute("p", 2)), call.attribute("axis", -1))


@does("Softmax", "LogSoftmax")
def _softmax(call: Call) -> Tensor:
    x, function = call.tensor(0), F.softmax if call.node.op == "Softmax" else F.log_softmax
    if call.node.version >= 13:
        return function(x, call.attribute("axis", -1))
    axis = call.attribute("axis", 1) % max(1, x.dim())  # older op sets: over all dimensions from the axis on
    return function(x, axis) if axis == x.dim() - 1 else function(x.flatten(axis), -1).reshape(x.shape)


@does("MaxPool")
def _max_pool(call: Call) -> Result:
    x, kernel = call.tensor(0), call.attribute("kernel_shape")
    rank = len(kernel)
    limit = [window // 2 for window in kernel]
    x, padding = _pad_apart(x, _total_pads(call, x.shape[2:], kernel), float("-inf"), limit=limit)
    return of_rank("max_pool", rank)(
        x, kernel, _per_axis(call, "strides", rank), padding, _per_axis(call, "dilations", rank),
        ceil_mode=bool(call.attribute("ceil_mode", 0)), return_indices=len(call.node.outputs) > 1,
    )  # fmt: skip


@does("AveragePool", "LpPool")
def _average_pool(call: Call) -> Tensor:
    x, kernel = call.tensor(0), call.attribute("kernel_shape")
    rank = len(kernel)
    if any(dilation != 1 for dilation in _per_axis(call, "dilations", rank)):
        raise ModelError("a dilated average pooling is not known")
    limit = [window // 2 for window in kernel]
    x, padding = _pad_apart(x, _total_pads(call, x.shape[2:], kernel), 0.0, limit=limit)
    return of_rank("avg_pool", rank)(
        x, kernel, _per_axis(call, "strides", rank), padding, bool(call.attribute("ceil_mode", 0)),
        bool(call.attribute("count_include_pad", 0)),
    )  # fmt: skip


@does("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(call: Call) -> Tensor:
    x = call.tensor(0)
    name = "adaptive_avg_pool" if call.node.op == "GlobalAveragePool" else "adaptive_max_pool"
    return of_rank(name, x.dim() - 2)(x, 1)


@does("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
      "ReduceLogSum", "ReduceLogSumExp")  # fmt: skip
def _reduce(call: Call) -> Tensor:
    x, axes = call.tensor(0), call.numbers("axes", 1)
    keep = bool(call.attribute("keepdims", 1))
    if not axes:
        if call.attribute("noop_with_empty_axes", 0):
            return x
        axes = list(range(x.dim()))
    match call.node.op.removeprefix("Reduce"):
        case "Mean":
            return x.mean(axes, keep)
        case "Max":
            return x.amax(axes, keep)
        case "Min":
            return x.amin(axes, keep)
        case "Prod":
            for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
                x = x.prod(axis, keep)
            return x
        case "L1" | "L2" as norm:
            length: Tensor = torch.linalg.vector_norm(x, int(norm[1]), axes, keep)
            return length
        case "SumSquare":
            return x.square().sum(axes, keep)
        case "LogSum":
            return x.sum(axes, keep).log()
        case "LogSumExp":
            return x.logsumexp(axes, keep)
    return x.sum(axes, keep)


@does("ArgMax", "ArgMin")
def _argument(call: Call) -> Tensor:
    function = torch.argmax if call.node.op == "ArgMax" else torch.argmin
    return function(call.tensor(0), call.attribute("axis", 0), bool(call.attribute("keepdims", 1)))


@does("TopK")
def _top_k(call: Call) -> Result:
    values, indices = torch.topk(call.tensor(0), int(call.number("k", 1)), call.attribute("axis", -1))
    return values, indices


@does("CumSum")
def _cumulative_sum(call: Call) -> Tensor:
    return torch.cumsum(call.tensor(0), int(call.number("axis", 1)))
