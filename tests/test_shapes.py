"""Each shape rule is a shortcut for torch's own meta kernel: it agrees with it or leaves the case to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from roofline.shapes import RULES

aten = torch.ops.aten
CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
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


def as_devices_lay_it_out(truth: Tensor, x: Tensor) -> Tensor | None:
    """A convolution's output in the format of its input; None where that is both formats at once.

    Torch's meta kernel always says contiguous; its CPU and CUDA kernels do not (`test_a_real_convolution_...`).
    """
    if x.dim() != 4 or not x.is_contiguous(memory_format=torch.channels_last):
        return truth
    return None if x.is_contiguous() else truth.contiguous(memory_format=torch.channels_last)


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
        laid_out = as_devices_lay_it_out(truth, args[0]) if overload in CONVOLUTIONS else truth
    assert kind(guess) == kind(truth)
    assert laid_out is None or strides(guess) == strides(laid_out)
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
ARGUMENTS: dict[Any, Callable[[], st.SearchStrategy[Arguments]]] = {
    **dict.fromkeys(ACTIVATIONS, unary),
    **dict.fromkeys(ARITHMETIC, binary),
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
        ]
        for overload in ARITHMETIC
    },
    aten.dropout.default: [[meta(TOKENS), 0.1, False]],
    aten.batch_norm.default: [[x, *[VECTOR] * 4, False, 0.1, 1e-5, True] for x in (meta(IMAGE), CHANNELS_LAST)],
    aten.layer_norm.default: [[meta(TOKENS), [8], VECTOR, VECTOR, 1e-5, True]],
    aten.softmax.int: [[meta((2, 4, 5, 5)), -1]],
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


@pytest.mark.parametrize("groups", [1, 8], ids=["dense", "depthwise"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_real_convolution_of_a_channels_last_input_is_channels_last_and_so_is_the_rule(
    groups: int, kernel: int
) -> None:
    x = torch.zeros(2, 8, 5, 7).to(memory_format=torch.channels_last)
    weight = torch.zeros(8, 8 // groups, kernel, kernel)
    arguments = [None, [1, 1], [1, 1], [1, 1], groups]
    guess = RULES[aten.conv2d.default](x.to("meta"), weight.to("meta"), *arguments)
    assert guess is not None
    assert strides(guess) == strides(aten.conv2d.default(x, weight, *arguments))
