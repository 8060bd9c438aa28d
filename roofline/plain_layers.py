"""Layers of torch.nn whose forward is one op: which op that is, and what it is called with.

Such a layer is recorded as it would have been, without its forward in Python, torch's dispatcher and the way back from
it to the recorder, which take most of the time. What is not certain to be the same runs: a subclass, a forward or a
function of torch that somebody replaced, hooks, a weight that is no plain tensor, arguments other than the usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as modules

from roofline.overloads import Overload, overload_of

aten = torch.ops.aten
Attributes = Mapping[str, Any]  # the `__dict__` of a layer
# An op, none where the layer hands its input on; what follows the input, less defaults at the end, as torch has it.
Call = tuple[Overload | None, tuple[Any, ...]]

INTEGERS, TUPLES = frozenset({int}), frozenset({tuple})
TENSOR_TYPES: frozenset[type] = frozenset({Tensor, nn.Parameter})
WEIGHTS = ("weight", "bias", "running_mean", "running_var")
CONTENTS = itemgetter("_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS = (
    modules._global_forward_hooks, modules._global_forward_pre_hooks,
    modules._global_backward_hooks, modules._global_backward_pre_hooks,
)  # fmt: skip


class PlainLayer(NamedTuple):
    """A class of layers.

    Attributes:
        call: The call that the layer of these attributes makes; None where it is an unusual one.
        owners, names, functions: What its forward runs: who has it, under which name, and what it was at first.
        own: Names that a layer must not have in its own `__dict__`, as they would come before those of the class.
        ranks: Of the inputs that it takes; empty where its op says so itself.
    """

    call: Callable[[Attributes], Call | None]
    owners: tuple[Any, ...]
    names: tuple[str, ...]
    functions: tuple[Any, ...]
    own: frozenset[str]
    ranks: tuple[int, ...]


PLAIN_LAYERS: dict[type[nn.Module], PlainLayer] = {}


def plain_call(module: nn.Module, given: Any) -> Call | None:
    """The one call that a layer makes on its input; None where it is not certain that this is all it does."""
    layer = PLAIN_LAYERS.get(module.__class__)
    if layer is None:
        return None
    attributes = module.__dict__
    try:
        if any(CONTENTS(attributes)) or not layer.own.isdisjoint(attributes):
            return None
        if tuple(map(getattr, layer.owners, layer.names)) != layer.functions:
            return None
        if layer.ranks and (type(given) not in TENSOR_TYPES or given.dim() not in layer.ranks):
            return None
        return layer.call(attributes)
    except KeyError:  # an attribute that is somewhere else, or nowhere
        return None


def runs_as_usual() -> bool:
    """Whether torch would hand an op to the recorder and to nothing else."""
    return (
        torch._C._len_torch_dispatch_stack() == 1
        and not torch._C._len_torch_function_stack()
        and torch.is_inference_mode_enabled()
        and not torch._C._is_any_autocast_enabled()
        and torch._C._get_tracing_state() is None
        and not any(GLOBAL_HOOKS)
    )


# --- the layers -------------------------------------------------------------------------------------------------------


def _convolution(func: Any, rank: int) -> Callable[[Attributes], Call | None]:
    overload = overload_of(func)
    defaults = ((1,) * rank, (0,) * rank, (1,) * rank, 1)

    def call(layer: Attributes) -> Call | None:
        weights = layer["_parameters"]
        options: tuple[Any, ...] = (layer["stride"], layer["padding"], layer["dilation"], layer["groups"])
        *sizes, groups = options
        if layer["padding_mode"] != "zeros" or set(map(type, sizes)) != TUPLES:
            return None
        if set(map(type, (*chain.from_iterable(sizes), groups))) != INTEGERS:
            return None
        while options and options[-1] == defaults[len(options) - 1]:
            options = options[:-1]
        weight, bias = weights["weight"], weights["bias"]
        if weight is None:
            return None
        return overload, (weight, bias, *options) if options or bias is not None else (weight,)

    return call


def _linear(layer: Attributes) -> Call | None:
    weights = layer["_parameters"]
    weight, bias = weights["weight"], weights["bias"]
    if weight is None:
        return None
    return LINEAR, (weight,) if bias is None else (weight, bias)


def _batch_norm(layer: Attributes) -> Call | None:
    weights, statistics = layer["_parameters"], layer["_buffers"]
    mean, var = statistics["running_mean"], statistics["running_var"]
    momentum, eps = layer["momentum"], layer["eps"]
    if layer["training"] or mean is None or var is None or eps.__class__ is not float:
        return None
    if momentum is None:
        momentum = 0.0
    elif momentum.__class__ is not float:
        return None
    is_cudnn = torch._C._get_cudnn_enabled()
    return BATCH_NORM, (weights["weight"], weights["bias"], mean, var, False, momentum, eps, is_cudnn)


def _layer_norm(layer: Attributes) -> Call | None:
    weights, shape, eps = layer["_parameters"], layer["normalized_shape"], layer["eps"]
    if shape.__class__ is not tuple or set(map(type, shape)) != INTEGERS or eps.__class__ is not float:
        return None
    weight, bias = weights["weight"], weights["bias"]
    if not torch._C._get_cudnn_enabled():
        return LAYER_NORM, (shape, weight, bias, eps, False)
    if eps != LAYER_NORM_EPS:
        return LAYER_NORM, (shape, weight, bias, eps)
    return LAYER_NORM, (shape, weight, bias) if bias is not None else (shape,) if weight is None else (shape, weight)


def _dropout(layer: Attributes) -> Call | None:
    p = layer["p"]
    return None if layer["training"] or layer["inplace"] or p.__class__ is not float else (DROPOUT, (p, False))


def _gelu(layer: Attributes) -> Call | None:
    return (GELU, ()) if layer["approximate"] == "none" else None


def _either(func: Any, in_place: Any, *args: Any) -> Callable[[Attributes], Call]:
    """Of an activation, the op in place or the other one."""
    calls = (overload_of(func), args), (overload_of(in_place), args)
    return lambda layer: calls[bool(layer["inplace"])]


def _always(func: Any) -> Callable[[Attributes], Call]:
    call = overload_of(func), ()
    return lambda layer: call


def _is_torchs_own(function: Any) -> bool:
    """Whether nobody replaced it before this module was imported; what is written in C cannot tell."""
    code = getattr(function, "__code__", None)
    return code is None or code.co_filename.startswith(torch.__path__[0])


def _plain(
    kind: type[nn.Module],
    call: Callable[[Attributes], Call | None],
    *functions: tuple[Any, str],
    ranks: tuple[int, ...] = (),
) -> None:
    """Enter a class whose layers run, beside their forward, these functions of it and of torch."""
    owners, names = zip((kind, "forward"), *functions, strict=True)
    originals = tuple(map(getattr, owners, names))
    own = frozenset((*WEIGHTS, *(name for owner, name in zip(owners, names, strict=True) if owner is kind)))
    if all(map(_is_torchs_own, originals)):
        PLAIN_LAYERS[kind] = PlainLayer(call, owners, names, originals, own, ranks)


LINEAR, BATCH_NORM, LAYER_NORM = map(
    overload_of, (aten.linear.default, aten.batch_norm.default, aten.layer_norm.default)
)
DROPOUT, GELU = map(overload_of, (aten.dropout.default, aten.gelu.default))
LAYER_NORM_EPS = 1e-5  # the default of its schema

_plain(nn.Conv1d, _convolution(aten.conv1d.default, 1), (nn.Conv1d, "_conv_forward"), (functional, "conv1d"))
_plain(nn.Conv2d, _convolution(aten.conv2d.default, 2), (nn.Conv2d, "_conv_forward"), (functional, "conv2d"))
_plain(nn.Conv3d, _convolution(aten.conv3d.default, 3), (nn.Conv3d, "_conv_forward"), (functional, "conv3d"))
for _kind, _ranks in ((nn.BatchNorm1d, (2, 3)), (nn.BatchNorm2d, (4,)), (nn.BatchNorm3d, (5,))):
    _functions = (_kind, "_check_input_dim"), (functional, "batch_norm"), (torch, "batch_norm")
    _plain(_kind, _batch_norm, *_functions, ranks=_ranks)
_plain(nn.Linear, _linear, (functional, "linear"))
_plain(nn.LayerNorm, _layer_norm, (functional, "layer_norm"), (torch, "layer_norm"))
_plain(nn.Identity, lambda layer: (None, ()))
_plain(nn.Dropout, _dropout, (functional, "dropout"))
_plain(nn.ReLU, _either(aten.relu.default, aten.relu_.default), (functional, "relu"), (torch, "relu"), (torch, "relu_"))
_plain(nn.ReLU6, _either(aten.hardtanh.default, aten.hardtanh_.default, 0.0, 6.0), (functional, "relu6"))
_plain(nn.Hardswish, _either(aten.hardswish.default, aten.hardswish_.default), (functional, "hardswish"))
_plain(nn.Hardsigmoid, _either(aten.hardsigmoid.default, aten.hardsigmoid_.default), (functional, "hardsigmoid"))
_plain(nn.SiLU, _either(aten.silu.default, aten.silu_.default), (functional, "silu"))
_plain(nn.Mish, _either(aten.mish.default, aten.mish_.default), (functional, "mish"))
_plain(nn.GELU, _gelu, (functional, "gelu"))
_plain(nn.Sigmoid, _always(aten.sigmoid.default), (torch, "sigmoid"))
_plain(nn.Tanh, _always(aten.tanh.default), (torch, "tanh"))
