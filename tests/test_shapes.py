"""Each shape rule is a shortcut for torch's own meta kernel: it agrees with it or leaves the case to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.utils._python_dispatch import TorchDispatchMode

from roofline.loading import load
from roofline.overloads import overload_of
from roofline.shapes import RULES
from roofline.trace import trace

aten = torch.ops.aten
LAID_OUT_OTHERWISE = (
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.batch_norm.default,
    aten.scaled_dot_product_attention.default,
)  # fmt: skip
Arguments = tuple[list[Any], dict[str, Any]]
quick = settings(max_examples=40, deadline=None, derandomize=True)


# --- the comparison ----------------------------------------------------------------------------------------------


def kind(tensor: Tensor) -> tuple[object, ...]:
    return tuple(tensor.shape), tensor.dtype, tensor.device.type


def strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides of the axes that have two elements to tell apart: no op can see the others."""
    if not tensor.numel():
        return ()
    return tuple(step for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)


def as_devices_lay_it_out(overload: Any, args: list[Any]) -> Tensor:
    """The output as the CPU has it, of ops of which torch's meta kernel says another format than those that compute."""
    out: Tensor = overload(*(on_cpu(item) if isinstance(item, Tensor) else item for item in args))
    return out.to("meta")


def on_cpu(tensor: Tensor) -> Tensor:
    """Zeros with the same strides."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).zero_()


def assert_agrees(overload: Any, args: list[Any], kwargs: dict[str, Any] | None = None) -> bool:
    """Whether the rule answered; that torch answers the same, if it did."""
    kwargs = kwargs or {}
    with torch.inference_mode():
        guess = RULES[overload](*args, **kwargs)
        if guess is None:
            return False
        try:
            truth = overload(*args, **kwargs)
        except Exception as error:
            what = f"{overload} invented {tuple(guess.shape)} where torch raises {type(error).__name__}: {error}"
            raise AssertionError(what) from error
        laid_out = as_devices_lay_it_out(overload, args) if overload in LAID_OUT_OTHERWISE else truth
    assert kind(guess) == kind(truth)
    assert strides(guess) == strides(laid_out)
    assert suggest_memory_format(guess) == suggest_memory_format(laid_out)
    assert (guess is args[0]) == (truth is args[0]), "in place or not"
    return True


# --- arguments ---------------------------------------------------------------------------------------------------

FLOATS = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
DTYPES = st.one_of(FLOATS, st.sampled_from([torch.int64, torch.bool, torch.complex64]))
SIZES = st.one_of(st.integers(1, 6), st.sampled_from([0, 1, 1]))
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "expanded")


def shapes(min_dims: int = 0, max_dims: int = 5) -> st.SearchStrategy[list[int]]:
    return st.lists(SIZES, min_size=min_dims, max_size=max_dims)


def meta(shape: Any, dtype: torch.dtype = torch.float32, form: str = "contiguous") -> Tensor:
    """A meta tensor of that shape in one of `LAYOUTS`, or contiguous where that layout does not apply."""
    shape = list(shape)
    if form == "channels_last" and len(shape) == 4:
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=torch.channels_last)
    if form == "channels_last" and len(shape) == 5:
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=torch.channels_last_3d)
    if form == "transposed" and len(shape) >= 2:
        return torch.empty([*shape[:-2], shape[-1], shape[-2]], dtype=dtype, device="meta").transpose(-1, -2)
    if form == "sliced" and shape:
        return torch.empty([*shape[:-1], 2 * shape[-1]], dtype=dtype, device="meta")[..., ::2]
    if form == "expanded" and shape:
        return torch.empty([1, *shape[1:]], dtype=dtype, device="meta").expand(shape)
    return torch.empty(shape, dtype=dtype, device="meta")


@st.composite
def tensors(draw: st.DrawFn, min_dims: int = 0, max_dims: int = 5, dtypes: Any = DTYPES) -> Tensor:
    shape = draw(shapes(min_dims, max_dims))
    return meta(shape, draw(dtypes), draw(st.sampled_from(LAYOUTS)))


def vector_or_none(draw: st.DrawFn, size: int, dtype: torch.dtype) -> Tensor | None:
    """A bias, mostly of the right size and dtype."""
    return draw(
        st.sampled_from([None, None, meta([size], dtype), meta([size], dtype), meta([size + 1], dtype), meta([size])])
    )


@st.composite
def unary(draw: st.DrawFn) -> Arguments:
    return [draw(tensors())], {}


@st.composite
def binary(draw: st.DrawFn) -> Arguments:
    a = draw(tensors())
    second = draw(st.sampled_from(["number", "same", "broadcast", "free"]))
    if second == "number":
        return [a, draw(st.sampled_from([2, 0.5, True, 1j]))], {}
    if second == "same":
        return [a, meta(a.shape, draw(st.one_of(st.just(a.dtype), DTYPES)), draw(st.sampled_from(LAYOUTS)))], {}
    if second == "broadcast":
        sizes = [draw(st.sampled_from([1, size])) for size in a.shape]
        b = meta(sizes[draw(st.integers(0, len(sizes))) :], a.dtype, draw(st.sampled_from(LAYOUTS)))
        return ([a, b] if draw(st.booleans()) else [b, a]), {}
    return [a, draw(tensors())], {}


@st.composite
def dropout(draw: st.DrawFn) -> Arguments:
    return [draw(tensors()), 0.5, draw(st.booleans())], {}


@st.composite
def batch_norm(draw: st.DrawFn) -> Arguments:
    x = draw(tensors(1, 5, FLOATS).filter(lambda x: x.dim() < 2 or x.shape[1] > 0))
    channels = x.shape[1] if x.dim() > 1 else 3
    statistics = draw(st.booleans())
    mean = meta([draw(st.sampled_from([channels, channels, channels + 1]))], x.dtype) if statistics else None
    var = meta([channels], x.dtype) if statistics else None
    weight, bias = draw(st.sampled_from([(None, None), (meta([channels], x.dtype), meta([channels], x.dtype))]))
    training = draw(st.booleans()) if statistics else True
    return [x, weight, bias, mean, var, training, 0.1, 1e-5, False], {}


@st.composite
def layer_norm(draw: st.DrawFn) -> Arguments:
    x = draw(tensors(1, 5, FLOATS))
    count = draw(st.integers(1, x.dim()))
    shape = list(x.shape[x.dim() - count :])
    if draw(st.booleans()):
        shape = draw(st.sampled_from([shape, [*shape, 2], [size + 1 for size in shape]]))
    weight = draw(st.sampled_from([None, meta(shape, x.dtype)]))
    return [x, shape, weight, weight, 1e-5], {}


@st.composite
def group_norm(draw: st.DrawFn) -> Arguments:
    x = draw(tensors(2, 5, FLOATS))
    vector = draw(st.sampled_from([None, meta([x.shape[1]], x.dtype), meta([x.shape[1] + 1], x.dtype)]))
    return [x, draw(st.integers(1, 3)), vector, vector, 1e-5], {}


@st.composite
def attention(draw: st.DrawFn) -> Arguments:
    batch, heads, length, keys, width = (draw(st.integers(1, 4)) for _ in range(5))
    dtype, form = draw(FLOATS), st.sampled_from(LAYOUTS)
    key_heads = draw(st.sampled_from([heads, heads, heads, 1]))
    q = meta((batch, heads, length, width), dtype, draw(form))
    k = meta((batch, key_heads, keys, width), draw(st.sampled_from([dtype, dtype, torch.float32])), draw(form))
    v = meta((batch, key_heads, keys, draw(st.sampled_from([width, width, 3]))), dtype, draw(form))
    sizes = [draw(st.sampled_from([1, size])) for size in (batch, heads, length, keys)]
    mask = draw(st.sampled_from([None, meta(sizes, dtype), meta(sizes, torch.bool), meta([5, *sizes[1:]], dtype)]))
    return [q, k, v, mask, 0.0, draw(st.booleans())], {}


@st.composite
def cat(draw: st.DrawFn) -> Arguments:
    first = draw(tensors(1, 5))
    dim = draw(st.integers(-first.dim() - 1, first.dim()))
    others = []
    for _ in range(draw(st.integers(0, 2))):
        shape = list(first.shape)
        shape[draw(st.integers(0, first.dim() - 1))] = draw(SIZES)
        others.append(
            meta(
                shape, draw(st.sampled_from([first.dtype, first.dtype, torch.float32])), draw(st.sampled_from(LAYOUTS))
            )
        )
    return [[first, *others], dim], {}


@st.composite
def roll(draw: st.DrawFn) -> Arguments:
    x = draw(tensors())
    dims = draw(st.lists(st.integers(-x.dim() - 1, x.dim()), max_size=2))
    return [x, [draw(st.integers(-3, 3)) for _ in range(draw(st.sampled_from([len(dims), 1])))], dims], {}


@st.composite
def index(draw: st.DrawFn) -> Arguments:
    table = draw(tensors(1, 4))
    dtype = draw(st.sampled_from([torch.int64, torch.int32, torch.int64, torch.uint8, torch.float32]))
    rows = meta(draw(shapes(0, 3)), dtype, draw(st.sampled_from(LAYOUTS)))
    return [
        table,
        draw(st.sampled_from([[rows], [rows], [None, rows][: table.dim()], [rows, rows][: table.dim()]])),
    ], {}


@st.composite
def softmax(draw: st.DrawFn) -> Arguments:
    x = draw(tensors())
    return [x, draw(st.integers(-x.dim() - 1, x.dim()))], draw(st.sampled_from([{}, {"dtype": torch.float32}]))


def convolution(rank: int) -> Callable[[], st.SearchStrategy[Arguments]]:
    @st.composite
    def build(draw: st.DrawFn) -> Arguments:
        dtype = draw(FLOATS)
        groups = draw(st.integers(1, 3))
        per_group, out_per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        channels = groups * per_group + draw(st.sampled_from([0, 0, 0, 1]))
        spatial = draw(st.lists(st.integers(1, 9), min_size=rank, max_size=rank))
        x_shape = [draw(st.integers(0, 3)), channels, *spatial][draw(st.sampled_from([0, 0, 0, 1])) :]
        kernel = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
        x = meta(x_shape, draw(st.sampled_from([dtype, dtype, torch.float32])), draw(st.sampled_from(LAYOUTS[:3])))
        weight = meta([groups * out_per_group, per_group, *kernel], dtype, draw(st.sampled_from(LAYOUTS[:2])))

        def per_axis(low: int, high: int) -> list[int]:
            """One figure an axis, or one for all."""
            axes = draw(st.sampled_from([1, rank]))
            return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

        bias = vector_or_none(draw, weight.shape[0], dtype)
        return [x, weight, bias, per_axis(1, 3), per_axis(0, 2), per_axis(1, 2), groups], {}

    return build


@st.composite
def linear(draw: st.DrawFn) -> Arguments:
    x = draw(tensors(0, 4, FLOATS))
    features = x.shape[-1] if x.dim() else 3
    shape = draw(st.sampled_from([[4, features], [4, features], [4, features], [0, features], [features], [4, 7]]))
    weight = meta(shape, draw(st.sampled_from([x.dtype, x.dtype, torch.float32])), draw(st.sampled_from(LAYOUTS)))
    return [x, weight, vector_or_none(draw, shape[0], x.dtype)], {}


@st.composite
def matmul(draw: st.DrawFn) -> Arguments:
    rows, inner, columns = (draw(SIZES) for _ in range(3))
    batch = draw(shapes(0, 3))
    other = [draw(st.sampled_from([size, size, 1])) for size in batch]
    if draw(st.booleans()):
        batch, other = other, batch
    other = other[draw(st.sampled_from([0, 0, 0, len(other)])) :]
    dtype = draw(FLOATS)
    second_inner = draw(st.sampled_from([inner, inner, inner, inner + 1]))
    a = meta([*batch, rows, inner], dtype, draw(st.sampled_from(LAYOUTS)))
    b = meta([*other, second_inner, columns], draw(st.sampled_from([dtype, dtype, torch.float32])))
    return [a, b], {}


@st.composite
def adaptive_pool(draw: st.DrawFn) -> Arguments:
    return [draw(tensors(2, 5, FLOATS)), draw(st.lists(st.integers(0, 4), min_size=2, max_size=2))], {}


@st.composite
def mean(draw: st.DrawFn) -> Arguments:
    x = draw(tensors())
    dims = draw(st.none() | st.lists(st.integers(-x.dim() - 1, x.dim()), max_size=3))
    kwargs = draw(st.sampled_from([{}, {}, {"dtype": torch.float64}]))
    return [x, dims, *draw(st.sampled_from([[], [True], [False]]))], kwargs


ACTIVATIONS = [
    aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.hardswish.default, aten.hardsigmoid.default,
    aten.silu.default, aten.gelu.default, aten.sigmoid.default, aten.tanh.default, aten.elu.default,
    aten.leaky_relu.default, aten.mish.default,
    aten.relu_.default, aten.hardtanh_.default, aten.hardswish_.default, aten.hardsigmoid_.default,
    aten.silu_.default, aten.gelu_.default, aten.sigmoid_.default, aten.elu_.default, aten.leaky_relu_.default,
    aten.mish_.default,
]  # fmt: skip
ARITHMETIC = [aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor]
ARITHMETIC_IN_PLACE = [aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor, aten.div_.Tensor]
ARGUMENTS: dict[Any, Callable[[], st.SearchStrategy[Arguments]]] = {
    **dict.fromkeys(ACTIVATIONS, unary),
    **dict.fromkeys([*ARITHMETIC, *ARITHMETIC_IN_PLACE], binary),
    aten.group_norm.default: group_norm,
    aten.scaled_dot_product_attention.default: attention,
    aten.cat.default: cat,
    aten.roll.default: roll,
    aten.index.Tensor: index,
    aten.dropout.default: dropout,
    aten.batch_norm.default: batch_norm,
    aten.layer_norm.default: layer_norm,
    aten.softmax.int: softmax,
    aten.conv1d.default: convolution(1),
    aten.conv2d.default: convolution(2),
    aten.conv3d.default: convolution(3),
    aten.linear.default: linear,
    aten.matmul.default: matmul,
    aten.bmm.default: matmul,
    aten.adaptive_avg_pool2d.default: adaptive_pool,
    aten.mean.dim: mean,
}
IMAGE, CHANNELS_LAST, TOKENS, VECTOR = (2, 8, 5, 7), meta((2, 8, 5, 7), form="channels_last"), (2, 5, 8), meta([8])
COMMON: dict[Any, list[list[Any]]] = {  # the calls that networks are made of, which is what the rules are for
    **{overload: [[meta(IMAGE)], [CHANNELS_LAST], [meta(TOKENS, torch.float16)]] for overload in ACTIVATIONS},
    **{
        overload: [
            [meta(IMAGE), meta(IMAGE)],
            [meta(IMAGE), 0.5],
            [CHANNELS_LAST, 3],
            [meta(IMAGE), meta((2, 8, 1, 1))],
            [meta(TOKENS), VECTOR],
            [meta(TOKENS, form="transposed"), meta(TOKENS, form="transposed")],
            [meta(TOKENS, form="transposed"), meta(TOKENS)],
            [meta((2, 5, 7, 8)).permute(0, 3, 1, 2), meta((1, 8, 1, 1))],
            [meta((1, 5, 3, 4, 8)).permute(2, 0, 3, 1, 4)[0], 0.5],
        ]
        for overload in ARITHMETIC
    },
    **{overload: [[meta(IMAGE), meta(IMAGE)]] for overload in ARITHMETIC_IN_PLACE},
    aten.group_norm.default: [[meta(IMAGE), 1, VECTOR, VECTOR]],
    aten.scaled_dot_product_attention.default: [
        [meta((2, 5, 4, 8)).transpose(1, 2)] * 3,
        [meta((2, 4, 5, 8)), meta((2, 4, 7, 8)), meta((2, 4, 7, 8)), meta((2, 1, 5, 7), torch.bool)],
    ],
    aten.cat.default: [[[meta(IMAGE), meta((2, 3, 5, 7))], 1], [[meta(TOKENS), meta((2, 1, 8))], -2]],
    aten.roll.default: [[meta(TOKENS), [-3, 3], [0, 1]], [CHANNELS_LAST, [1], [2]]],
    aten.index.Tensor: [[meta((9, 4)), [meta((6, 6), torch.int64)]]],
    aten.dropout.default: [[meta(TOKENS), 0.1, False]],
    aten.batch_norm.default: [[x, *[VECTOR] * 4, False, 0.1, 1e-5, True] for x in (meta(IMAGE), CHANNELS_LAST)],
    aten.layer_norm.default: [
        [meta(TOKENS, form=form), [8], VECTOR, VECTOR, 1e-5, True] for form in ("contiguous", "transposed")
    ],
    aten.softmax.int: [[meta((2, 4, 5, 5)), -1], [CHANNELS_LAST, 1]],
    aten.conv1d.default: [[meta((2, 8, 9)), meta((16, 8, 3)), meta([16]), [2], [1], [1], 1]],
    aten.conv2d.default: [
        [meta(IMAGE), meta((16, 8, 3, 3)), None, [2, 2], [1, 1], [1, 1], 1],
        [CHANNELS_LAST, meta((8, 1, 3, 3)), VECTOR, [1, 1], [2, 2], [2, 2], 8],
        [meta(IMAGE), meta((16, 8, 1, 1))],
    ],
    aten.conv3d.default: [[meta((2, 8, 4, 5, 6)), meta((16, 8, 3, 3, 3)), None, [1], [1], [1], 1]],
    aten.linear.default: [[meta(TOKENS), meta((4, 8)), meta([4])], [meta((2, 8)), meta((4, 8))]],
    aten.bmm.default: [[meta((4, 5, 8)), meta((4, 8, 5))]],
    aten.matmul.default: [[meta((2, 4, 5, 8)), meta((2, 4, 8, 5))], [meta((5, 8)), meta((8, 3))]],
    aten.adaptive_avg_pool2d.default: [[meta(IMAGE), [1, 1]]],
    aten.mean.dim: [[meta(IMAGE), [2, 3], True], [meta(TOKENS), [1]], [meta(IMAGE), [-1, -2]]],
}


# --- the specification -------------------------------------------------------------------------------------------


def test_every_rule_is_tested_here() -> None:
    assert set(RULES) == set(ARGUMENTS) == set(COMMON)


@pytest.mark.parametrize("overload", COMMON, ids=str)
def test_a_rule_answers_the_common_calls(overload: Any) -> None:
    for args in COMMON[overload]:
        assert assert_agrees(overload, args), f"{overload} leaves {[getattr(a, 'shape', a) for a in args]} to torch"


@pytest.mark.parametrize("overload", ARGUMENTS, ids=str)
def test_a_rule_agrees_with_torch_or_leaves_the_case_to_it(overload: Any) -> None:
    @quick
    @given(ARGUMENTS[overload]())
    def compare(arguments: Arguments) -> None:
        assert_agrees(overload, *arguments)

    compare()


IMAGE_WEIGHT = meta((6, 4, 3, 3))
WRONG: dict[str, tuple[Any, list[Any]]] = {
    "conv: input smaller than the kernel": (aten.conv2d.default, [meta((1, 4, 2, 2)), IMAGE_WEIGHT]),
    "conv: channels do not match": (aten.conv2d.default, [meta((1, 5, 9, 9)), IMAGE_WEIGHT]),
    "conv: an axis is missing": (aten.conv2d.default, [meta((9, 9)), IMAGE_WEIGHT]),
    "conv: the dtypes differ": (aten.conv2d.default, [meta((1, 4, 9, 9), torch.float16), IMAGE_WEIGHT]),
    "conv: groups do not divide the outputs": (
        aten.conv2d.default,
        [meta((1, 16, 9, 9)), IMAGE_WEIGHT, None, [1, 1], [0, 0], [1, 1], 4],
    ),
    "conv: bias of the wrong size": (aten.conv2d.default, [meta((1, 4, 9, 9)), IMAGE_WEIGHT, meta([5])]),
    "conv: bias of another dtype": (
        aten.conv2d.default,
        [meta((1, 4, 9, 9), torch.float16), meta((6, 4, 3, 3), torch.float16), meta([6])],
    ),
    "conv: stride 0": (aten.conv2d.default, [meta((1, 4, 9, 9)), IMAGE_WEIGHT, None, [0, 0]]),
    "conv: dilation 0": (aten.conv2d.default, [meta((1, 4, 9, 9)), IMAGE_WEIGHT, None, [1, 1], [0, 0], [0, 0]]),
    "conv: negative padding": (aten.conv2d.default, [meta((1, 4, 9, 9)), IMAGE_WEIGHT, None, [1, 1], [-1, -1]]),
    "conv: three strides for two axes": (aten.conv2d.default, [meta((1, 4, 9, 9)), IMAGE_WEIGHT, None, [1, 1, 1]]),
    "linear: features do not match": (aten.linear.default, [meta((2, 7)), meta((4, 8))]),
    "linear: bias of the wrong size": (aten.linear.default, [meta((2, 8)), meta((4, 8)), meta([5])]),
    "linear: the dtypes differ": (aten.linear.default, [meta((2, 8)), meta((4, 8), torch.float16)]),
    "matmul: inner sizes differ": (aten.matmul.default, [meta((2, 3)), meta((4, 5))]),
    "matmul: batches do not broadcast": (aten.matmul.default, [meta((2, 3, 4)), meta((3, 4, 5))]),
    "batch_norm: statistics of other channels": (
        aten.batch_norm.default,
        [meta(IMAGE), None, None, meta([9]), meta([9]), False, 0.1, 1e-5, False],
    ),
    "batch_norm: weight of other channels": (
        aten.batch_norm.default,
        [meta(IMAGE), meta([9]), meta([8]), VECTOR, VECTOR, False, 0.1, 1e-5, False],
    ),
    "batch_norm: variance of other channels": (
        aten.batch_norm.default,
        [meta(IMAGE), None, None, VECTOR, meta([9]), False, 0.1, 1e-5, False],
    ),
    "layer_norm: over other sizes": (aten.layer_norm.default, [meta(TOKENS), [7]]),
    "layer_norm: over nothing": (aten.layer_norm.default, [meta(TOKENS), []]),
    "layer_norm: weight of another size": (aten.layer_norm.default, [meta(TOKENS), [8], meta([7])]),
    "softmax: no such axis": (aten.softmax.int, [meta(TOKENS), 3]),
    "mean: no such axis": (aten.mean.dim, [meta(TOKENS), [3]]),
    "mean: an axis twice": (aten.mean.dim, [meta(TOKENS), [1, -2]]),
    "mean of integers": (aten.mean.dim, [meta(TOKENS, torch.int64), [1]]),
    "add: shapes do not broadcast": (aten.add.Tensor, [meta((2, 3)), meta((2, 4))]),
    "pool: to fewer axes": (aten.adaptive_avg_pool2d.default, [meta(IMAGE), [1]]),
    "pool: to a negative size": (aten.adaptive_avg_pool2d.default, [meta(IMAGE), [-1, 1]]),
    "pool: of a flat tensor": (aten.adaptive_avg_pool2d.default, [meta((2, 8)), [1, 1]]),
    "dropout: certainly": (aten.dropout.default, [meta(TOKENS), 2.0, False]),
    "gelu: no such approximation": (aten.gelu.default, [meta(TOKENS)]),
    "hardswish of integers": (aten.hardswish.default, [meta(TOKENS, torch.int64)]),
    "sigmoid of integers makes floats": (aten.sigmoid.default, [meta(TOKENS, torch.int64)]),
    "relu_ into expanded memory": (aten.relu_.default, [meta(TOKENS, form="expanded")]),
}


@pytest.mark.parametrize(("overload", "args"), WRONG.values(), ids=WRONG)
def test_a_rule_leaves_wrong_arguments_to_torch_whose_error_it_is(overload: Any, args: list[Any]) -> None:
    kwargs = {"approximate": "guess"} if overload is aten.gelu.default else {}
    assert_agrees(overload, args, kwargs)


@quick
@given(batch=st.sampled_from([(0, 1), (1, 0), (1, 1), (0, 0), (3, 1), (1, 3)]))
@example(batch=(0, 1))
def test_an_empty_batch_broadcasts_to_an_empty_batch(batch: tuple[int, int]) -> None:
    a, b = batch
    assert_agrees(aten.matmul.default, [meta((a, 2, 3)), meta((b, 3, 4))])


@pytest.mark.parametrize("form", ["contiguous", "channels_last"])
def test_the_memory_format_is_handed_on_through_a_network(form: str) -> None:
    x = meta((2, 8, 6, 6), form=form)
    weight = meta((8, 8, 3, 3))
    calls: list[tuple[Any, list[Any]]] = [
        (aten.conv2d.default, [weight, None, [1, 1], [1, 1], [1, 1], 1]),
        (aten.batch_norm.default, [*[VECTOR] * 4, False, 0.1, 1e-5, False]),
        (aten.relu_.default, []),
        (aten.mul.Tensor, [2.0]),
        (aten.hardswish.default, []),
    ]
    for overload, rest in calls:
        assert assert_agrees(overload, [x, *rest])
        guess = RULES[overload](x, *rest)
        assert guess is not None
        x = guess
    assert x.is_contiguous(memory_format=torch.channels_last) == (form == "channels_last")


@quick
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    order=st.permutations(range(5)),
    gap=st.integers(1, 3),
    second=st.sampled_from(["number", "same", "contiguous", "broadcast"]),
    overload=st.sampled_from(ARITHMETIC),
)
def test_the_first_operand_of_elementwise_work_orders_the_axes(
    sizes: list[int], order: list[int], gap: int, second: str, overload: Any
) -> None:
    axes = [axis for axis in order if axis < len(sizes)]
    whole = meta([sizes[axis] for axis in axes[:-1]] + [gap * sizes[axes[-1]]])
    a = whole[..., : sizes[axes[-1]]].permute([axes.index(axis) for axis in range(len(sizes))])
    if 1 in sizes and a.is_contiguous():
        return  # strides of one element, which nothing orders
    others = {
        "number": 3.0,
        "same": a,
        "contiguous": meta(sizes),
        "broadcast": meta([size if i % 2 else 1 for i, size in enumerate(sizes)]),
    }
    answered = assert_agrees(overload, [a, others[second]])
    assert answered or len(set(a.stride())) < len(sizes) or 1 in sizes or a.is_contiguous()


KERNELS = [(1, 1), (1, 3), (8, 1), (8, 3), (2, 3)]  # groups of 8 channels, and the sides of the kernel
FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize(("groups", "kernel"), KERNELS)
@pytest.mark.parametrize("size", [(2, 8, 5, 7), (16, 8, 1, 1), (1, 8, 6, 6)], ids=str)
@pytest.mark.parametrize("of_weight", FORMATS, ids=str)
@pytest.mark.parametrize("of_input", FORMATS, ids=str)
def test_a_convolution_is_channels_last_where_a_real_one_is(
    of_input: torch.memory_format, of_weight: torch.memory_format, size: tuple[int, ...], groups: int, kernel: int
) -> None:
    """Where the strides of its input or its weight are: those of a 1x1 or a depthwise kernel are of both formats."""
    x = torch.zeros(size).to(memory_format=of_input)
    weight = torch.zeros(8, 8 // groups, kernel, kernel).to(memory_format=of_weight)
    arguments = [None, [1, 1], [kernel // 2] * 2, [1, 1], groups]
    guess = RULES[aten.conv2d.default](_as_meta(x), _as_meta(weight), *arguments)
    assert guess is not None
    assert guess.stride() == aten.conv2d.default(x, weight, *arguments).stride()


def _as_meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


# --- whole networks ------------------------------------------------------------------------------------------------


class Spy(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the ops of a run on numbers, taken apart as tracing does, and how their results lie in memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ran: list[tuple[object, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if overload_of(func).take_apart:
            with self:
                return func.decompose(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, tuple | list) else out
        self.ran.append((str(func), *lies(first.shape, first.stride())))
        return out


def lies(shape: Any, steps: Any) -> tuple[object, ...]:
    """What an op can see of how a tensor lies in memory."""
    tensor = torch.empty_strided(tuple(shape), tuple(steps), device="meta")
    return tuple(shape), strides(tensor), suggest_memory_format(tensor)


NETWORKS = (  # depthwise and 1x1 kernels, squeezing, shuffled channels, attention, windows of tokens
    "mobilenetv3_small_100", "mobilenetv4_conv_small", "micronet_m0", "efficientvit_b0", "convnext_atto",
    "benchmarks/networks/shufflenet_v2.py:shufflenet_v2_x0_5", "benchmarks/networks/densenet.py:densenet121",
)  # fmt: skip
ROOT = Path(__file__).parents[1]


def assert_traced_as_it_runs(module: nn.Module, images: Tensor, form: torch.memory_format) -> None:
    module, images = module.eval().to(memory_format=form), images.to(memory_format=form)  # type: ignore[call-overload]
    with torch.inference_mode(), Spy() as spy:
        module(images)
    graph = trace(module, images)
    for op, ran in zip(graph.ops, spy.ran, strict=True):
        assert (op.target, *lies(op.outputs[0].shape, op.outputs[0].strides)) == ran, op.path


@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("reference", NETWORKS)
def test_a_network_is_traced_with_the_strides_that_it_runs_with(
    reference: str, form: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    loaded = load(reference, input_size=(3, 64, 64))
    assert_traced_as_it_runs(loaded.module.to_empty(device="cpu"), torch.zeros(1, 3, 64, 64), form)


class Apply(nn.Module):
    """What is no module of its own, as one."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def shuffled(_: nn.Module, x: Tensor) -> Tensor:
    batch, channels, *sides = x.shape
    return x.reshape(batch, 2, channels // 2, *sides).transpose(1, 2).reshape(x.shape)


def attended(_: nn.Module, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    mixed: Tensor = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
    return mixed.transpose(1, 2).reshape(x.shape)


def half_changed(self: Any, x: Tensor) -> Tensor:
    kept, changed = x.chunk(2, 1)
    return torch.cat([kept, self.branch(changed)], 1)


PARTS: dict[str, Callable[[int], nn.Module]] = {  # of that many channels, which they keep
    "1x1": lambda c: nn.Conv2d(c, c, 1),
    "3x3": lambda c: nn.Conv2d(c, c, 3, padding=1, bias=False),
    "depthwise": lambda c: nn.Conv2d(c, c, 3, padding=1, groups=c),
    "grouped": lambda c: nn.Conv2d(c, c, 3, padding=1, stride=2, groups=2),
    "batch norm": nn.BatchNorm2d,
    "group norm": lambda c: nn.GroupNorm(1, c),
    "relu": lambda c: nn.ReLU(inplace=True),
    "hardswish": lambda c: nn.Hardswish(),
    "gelu": lambda c: nn.GELU(),
    "residual": lambda c: Apply(lambda self, x: x + self.conv(x), conv=nn.Conv2d(c, c, 1)),
    "squeeze": lambda c: Apply(lambda self, x: x * self.gate(self.pool(x)).sigmoid(),
                               gate=nn.Conv2d(c, c, 1), pool=nn.AdaptiveAvgPool2d(1)),
    "mean": lambda c: Apply(lambda self, x: x * self.gate(x.mean((2, 3), keepdim=True)), gate=nn.Conv2d(c, c, 1)),
    "scale": lambda c: Apply(lambda _, x: x.mul(0.5).add_(1)),
    "average": lambda c: nn.AvgPool2d(3, 2, 1),
    "largest": lambda c: nn.MaxPool2d(3, 2, 1),
    "to a point": lambda c: nn.AdaptiveAvgPool2d(1),
    "larger": lambda c: nn.Upsample(scale_factor=2),
    "shuffle": lambda c: Apply(shuffled),
    "softmax": lambda c: nn.Softmax(1),
    "attention": lambda c: Apply(attended),
    "half": lambda c: Apply(half_changed, branch=nn.Conv2d(c // 2, c // 2, 3, padding=1, groups=c // 2)),
    "layer norm": lambda c: Apply(lambda self, x: self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
                                  norm=nn.LayerNorm(c)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_any_chain_is_traced_with_the_strides_that_it_runs_with(form: torch.memory_format) -> None:
    @quick
    @given(
        names=st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=6),
        batch=st.integers(1, 2),
        channels=st.sampled_from([2, 4, 8]),
        side=st.integers(1, 7),
    )
    @example(names=["1x1", "shuffle", "depthwise", "relu", "1x1"], batch=1, channels=4, side=5)
    @example(names=["to a point", "1x1", "hardswish"], batch=1, channels=4, side=3)
    def compare(names: list[str], batch: int, channels: int, side: int) -> None:
        chain = nn.Sequential(*(PARTS[name](channels) for name in names))
        assert_traced_as_it_runs(chain, torch.zeros(batch, channels, side, side), form)

    compare()
