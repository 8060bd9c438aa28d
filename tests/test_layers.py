"""What networks must cost: bytes, names and memory worked out by hand, and laws that hold for any network.

The small networks work on maps of 4 x 4: eight channels of one image are 8 * 16 = 128 elements. At int8 an element is a
byte, so that elements can be read as bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.count import cost
from roofline.errors import RooflineError
from roofline.fuse import fuse
from roofline.graph import Graph
from roofline.hardware import ACTIVATIONS, LAYER_CLASSES
from roofline.layers import COLUMNS, DTYPE_BYTES, KINDS, LayerTable, UncountedOp, join, lower, main_op
from roofline.trace import trace

WIDTHS = [("fp32", 4), ("fp16", 2), ("bf16", 2), ("int8", 1)]
PIXELS = 4 * 4


class Net(nn.Module):
    """A network written in one line: what it does with its inputs, and its parts by name."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


def maps(channels: int, batch: int = 1) -> Tensor:
    """Maps of 4 x 4 without data."""
    return torch.empty(batch, channels, 4, 4, device="meta")


def vectors(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def indices(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64, device="meta")


def conv1x1(chans: int, out_chans: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(chans, out_chans, 1, bias=bias)


def ones(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape))


def table(model: nn.Module, *inputs: Tensor, fusion: str = "none", dtype: str = "int8", **options: Any) -> LayerTable:
    return lower(trace(model, inputs), fusion=fusion, dtype=dtype, **options)


def traffic(layers: LayerTable) -> list[tuple[str, int, int, int]]:
    """One tuple a layer: its ops, then weight, input and output bytes."""
    columns = (layers.ops, layers.weight_bytes, layers.input_bytes, layers.output_bytes)
    return [
        (str(ops), int(weight), int(read), int(written)) for ops, weight, read, written in zip(*columns, strict=True)
    ]


# --- bytes and MACs, by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "width"), WIDTHS)
def test_a_convolution_with_norm_and_relu(dtype: str, width: int) -> None:
    block = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    kernel, read, written = 4 * 8 * 3 * 3, 8 * PIXELS, 4 * PIXELS

    unfused = table(block, maps(8), dtype=dtype)
    assert traffic(unfused) == [
        ("convolution", kernel * width, read * width, written * width),
        ("batch_norm", 4 * 4 * width, written * width, written * width),  # scale, shift, mean, variance
        ("relu", 0, written * width, written * width),
    ]
    fused = table(block, maps(8), dtype=dtype, fusion="epilogue")
    assert traffic(fused) == [
        ("convolution+batch_norm+relu", (kernel + 4) * width, read * width, written * width),  # the norm leaves a bias
    ]
    assert unfused.macs.tolist() == [8 * 3 * 3 * written, 0, 0]
    assert fused.macs.tolist() == [8 * 3 * 3 * written]
    assert unfused.vector_ops.tolist() == [0, 2 * written, written]  # the norm a multiply and an add, ReLU a max
    assert fused.vector_ops.tolist() == [written]  # the norm is in the weights


def test_a_convolution_that_has_a_bias_gets_no_second_one_from_the_norm() -> None:
    block = nn.Sequential(conv1x1(8, 4, bias=True), nn.BatchNorm2d(4))
    assert table(block, maps(8)).weight_bytes.tolist() == [8 * 4 + 4, 4 * 4]
    assert table(block, maps(8), fusion="epilogue").weight_bytes.tolist() == [8 * 4 + 4]


def test_a_norm_without_scale_and_shift_reads_its_two_statistics() -> None:
    block = nn.Sequential(conv1x1(8, 4), nn.BatchNorm2d(4, affine=False))
    assert table(block, maps(8)).weight_bytes.tolist() == [8 * 4, 2 * 4]
    assert table(block, maps(8), fusion="epilogue").weight_bytes.tolist() == [8 * 4 + 4]


@pytest.mark.parametrize(("dtype", "width"), WIDTHS)
def test_a_linear_layer(dtype: str, width: int) -> None:
    for fusion in ("none", "epilogue"):
        layers = table(nn.Linear(8, 10), vectors(3, 8), dtype=dtype, fusion=fusion)
        assert traffic(layers) == [("linear", (8 * 10 + 10) * width, 3 * 8 * width, 3 * 10 * width)]
        assert layers.macs.tolist() == [3 * 8 * 10]  # where the accumulator starts is no MAC


@pytest.mark.parametrize(("dtype", "width"), WIDTHS)
def test_an_embedding_reads_one_row_an_index_and_an_index_keeps_its_eight_bytes(dtype: str, width: int) -> None:
    layers = table(nn.Embedding(1000, 16), indices(2, 5), dtype=dtype)
    assert traffic(layers) == [("embedding", 10 * 16 * width, 10 * 8, 10 * 16 * width)]
    assert layers.macs.tolist() == [0]


@pytest.mark.parametrize(("dtype", "width"), WIDTHS)
def test_only_floating_tensors_take_the_width_of_the_dtype(dtype: str, width: int) -> None:
    mask = torch.zeros(4, dtype=torch.bool)
    layers = table(Net(lambda _, x, mask: x.masked_fill(mask, 0.0)), vectors(4), mask, dtype=dtype)
    assert traffic(layers) == [("masked_fill", 0, 4 * width + 4, 4 * width)]

    counter = torch.zeros(4, dtype=torch.int32)
    assert traffic(table(Net(lambda _, n: n + 1), counter, dtype=dtype)) == [("add", 0, 4 * 4, 4 * 4)]
    double = torch.zeros(4, dtype=torch.float64)
    assert traffic(table(Net(lambda _, x: x + 1), double, dtype=dtype)) == [("add", 0, 4 * width, 4 * width)]


def test_pooling_that_returns_where_its_maxima_were_writes_eight_bytes_for_each() -> None:
    layers = table(nn.MaxPool2d(2, return_indices=True), maps(8))
    assert layers.output_bytes.tolist() == [8 * 4 + 8 * 4 * 8]
    assert table(nn.MaxPool2d(2), maps(8)).output_bytes.tolist() == [8 * 4]


def residual_block() -> Net:
    return Net(
        lambda net, x: F.relu(x + net.norm2(net.conv2(F.relu(net.norm1(net.conv1(x)))))),
        conv1=conv1x1(8, 8),
        norm1=nn.BatchNorm2d(8),
        conv2=conv1x1(8, 8),
        norm2=nn.BatchNorm2d(8),
    )


def test_a_residual_block() -> None:
    map_, kernel = 8 * PIXELS, 8 * 8
    assert traffic(table(residual_block(), maps(8))) == [
        ("convolution", kernel, map_, map_),
        ("batch_norm", 4 * 8, map_, map_),
        ("relu", 0, map_, map_),
        ("convolution", kernel, map_, map_),
        ("batch_norm", 4 * 8, map_, map_),
        ("add", 0, 2 * map_, map_),
        ("relu", 0, map_, map_),
    ]
    assert traffic(table(residual_block(), maps(8), fusion="epilogue")) == [
        ("convolution+batch_norm+relu", kernel + 8, map_, map_),
        ("convolution+batch_norm+add+relu", kernel + 8, 2 * map_, map_),  # the other branch is one more read
    ]


def test_a_residual_block_unfused() -> None:
    map_, kernel = 8 * PIXELS, 8 * 8
    graph = trace(residual_block(), maps(8))
    first = (kernel + 2 * map_) + (4 * 8 + 2 * map_) + 2 * map_  # convolution, norm, relu
    second = (kernel + 2 * map_) + (4 * 8 + 2 * map_) + 3 * map_ + 2 * map_  # and an add before the relu
    assert lower(graph, fusion="epilogue", dtype="int8").unfused_bytes.tolist() == [first, second]


def test_a_concat_reads_its_parts_and_writes_the_whole() -> None:
    net = Net(lambda net, x: torch.cat([x, net.conv(x)], 1), conv=conv1x1(8, 4))
    for fusion in ("none", "epilogue"):
        assert traffic(table(net, maps(8), fusion=fusion)) == [
            ("convolution", 8 * 4, 8 * PIXELS, 4 * PIXELS),
            ("cat", 0, (8 + 4) * PIXELS, (8 + 4) * PIXELS),
        ]


def test_a_tensor_that_two_layers_use_is_read_twice_and_stored_once() -> None:
    net = Net(
        lambda net, x: (lambda y: (net.left(y), net.right(y)))(net.trunk(x)),
        trunk=conv1x1(8, 4),
        left=conv1x1(4, 2),
        right=conv1x1(4, 6),
    )
    for fusion in ("none", "epilogue"):
        assert traffic(table(net, maps(8), fusion=fusion)) == [
            ("convolution", 8 * 4, 8 * PIXELS, 4 * PIXELS),
            ("convolution", 4 * 2, 4 * PIXELS, 2 * PIXELS),
            ("convolution", 4 * 6, 4 * PIXELS, 6 * PIXELS),
        ]


def test_a_tensor_that_one_op_uses_twice_is_read_twice() -> None:
    assert traffic(table(Net(lambda _, x: x + x), maps(8))) == [("add", 0, 2 * 8 * PIXELS, 8 * PIXELS)]
    net = Net(lambda net, x: net.conv(x) + x, conv=conv1x1(8, 8))
    assert traffic(table(net, maps(8), fusion="epilogue")) == [("convolution+add", 64, 2 * 8 * PIXELS, 8 * PIXELS)]


def test_a_module_that_is_called_again_works_again_and_its_parameters_count_once() -> None:
    layers = table(Net(lambda net, x: net.fc(net.fc(net.fc(x))), fc=nn.Linear(8, 8)), vectors(1, 8))
    assert layers.name.tolist() == ["fc", "fc#2", "fc#3"]
    assert layers.macs.tolist() == [64, 64, 64]
    assert layers.weight_bytes.tolist() == [72, 72, 72]  # read by each call
    assert layers.params == 72


def test_tied_weights_are_one_parameter_that_both_layers_read() -> None:
    embed, decode = nn.Embedding(50, 8), nn.Linear(8, 50)
    decode.weight = embed.weight
    layers = table(Net(lambda net, tokens: net.decode(net.embed(tokens)), embed=embed, decode=decode), indices(1, 3))
    assert layers.params == 50 * 8 + 50
    assert layers.weight_bytes.tolist() == [3 * 8, 50 * 8 + 50]


def test_an_expanded_tensor_is_read_at_the_size_it_has_in_memory() -> None:
    token = Net(lambda net, x: torch.cat([net.token.expand(4, -1, -1), x], 1), token=ones(1, 1, 8))
    assert traffic(table(token, vectors(4, 3, 8))) == [("cat", 8, 4 * 3 * 8, 4 * 4 * 8)]
    mean = Net(lambda _, x: torch.cat([x.mean(0, keepdim=True).expand(4, -1), x]))
    assert traffic(table(mean, vectors(4, 8))) == [("mean", 0, 32, 8), ("cat", 0, 8 + 32, 64)]


def test_half_of_a_tensor_is_half_the_bytes() -> None:
    net = Net(lambda _, x: torch.tanh(x[:, :4]))
    assert traffic(table(net, maps(8))) == [("tanh", 0, 4 * PIXELS, 4 * PIXELS)]


def test_attention_reads_query_key_and_value_and_keeps_its_scores_to_itself() -> None:
    net = Net(lambda _, q, k, v: F.scaled_dot_product_attention(q, k, v))
    layers = table(net, vectors(1, 2, 6, 4), vectors(1, 2, 10, 4), vectors(1, 2, 10, 5))
    assert traffic(layers) == [("scaled_dot_product_attention", 0, 2 * (6 * 4 + 10 * 4 + 10 * 5), 2 * 6 * 5)]
    assert layers.macs.tolist() == [2 * 6 * 10 * (4 + 5)]


@pytest.mark.parametrize("fusion", ["none", "epilogue"])
@pytest.mark.parametrize(
    "add",
    [lambda out, x: out[:, :4].add_(x), lambda out, x: out.__setitem__(np.s_[:, :4], out[:, :4].add_(x))],
    ids=["out[:, :4].add_(x)", "out[:, :4] += x"],
)
def test_a_partial_residual_moves_the_channels_it_adds_to(add: Callable[[Tensor, Tensor], Any], fusion: str) -> None:
    """ReXNet's ``out[:, :c] += x``. Python stores the sum back into the slice it came from, which copies nothing."""

    def forward(net: Any, x: Tensor) -> Tensor:
        out: Tensor = net.conv(x)
        add(out, x)
        return out

    assert traffic(table(Net(forward, conv=conv1x1(4, 8)), maps(4), fusion=fusion)) == [
        ("convolution", 4 * 8, 4 * PIXELS, 8 * PIXELS),
        ("add", 0, 2 * 4 * PIXELS, 4 * PIXELS),
    ]


def test_rows_that_are_overwritten_in_place_are_all_that_moves_else_the_rest_is_copied() -> None:
    in_place = Net(lambda _, x, rows, where: x.index_copy_(0, where, rows))
    assert traffic(table(in_place, vectors(10, 8), vectors(3, 8), indices(3))) == [("index_copy", 0, 24 + 3 * 8, 24)]
    out_of_place = Net(lambda _, x, rows, where: x.index_copy(0, where, rows))
    assert traffic(table(out_of_place, vectors(10, 8), vectors(3, 8), indices(3))) == [
        ("index_copy", 0, 80 + 24 + 3 * 8, 80)
    ]


def test_memory_that_is_only_reserved_costs_nothing() -> None:
    net = Net(lambda _, x: torch.empty_like(x).copy_(x))
    assert traffic(table(net, maps(8))) == [("copy", 0, 8 * PIXELS, 8 * PIXELS)]
    assert traffic(table(Net(lambda _, x: torch.zeros_like(x)), maps(8))) == [("zeros_like", 0, 0, 8 * PIXELS)]


def test_in_place_ops_move_what_the_others_do() -> None:
    def forward(in_place: bool) -> Net:
        return Net(lambda net, x: F.relu(net.conv(x), inplace=in_place), conv=conv1x1(8, 8))

    for fusion in ("none", "epilogue"):
        assert traffic(table(forward(True), maps(8), fusion=fusion)) == traffic(
            table(forward(False), maps(8), fusion=fusion)
        )


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.flatten(1),
        lambda x: x.transpose(1, 2),
        lambda x: x[:, 1:3, ::2],
        lambda x: x.chunk(2, 1),
        lambda x: x.unsqueeze(0).expand(5, -1, -1, -1, -1),
        lambda x: F.dropout(x, training=False),
        nn.Identity(),
    ],
)
def test_views_are_no_layers(view: Callable[[Tensor], Any]) -> None:
    for fusion in ("none", "epilogue"):
        layers = table(Net(lambda _, x: view(x)), maps(8), fusion=fusion)
        assert len(layers) == 0
        assert layers.mem_bytes.sum() == layers.macs.sum() == 0


def test_an_op_that_no_handler_knows_is_named_with_its_traffic() -> None:
    net = Net(lambda net, x: net.conv(torch.i0(torch.i0(x))), conv=conv1x1(8, 8))
    for fusion in ("none", "epilogue"):
        layers = table(net, maps(8), fusion=fusion)
        assert layers.kind.tolist() == ["other", "other", "pointwise_conv"]
        assert layers.mem_bytes.tolist()[:2] == [2 * 8 * PIXELS] * 2
        assert layers.uncounted_ops == (UncountedOp("i0", calls=2, mem_bytes=4 * 8 * PIXELS),)
    assert table(residual_block(), maps(8)).uncounted_ops == ()


# --- names, kinds, shapes -----------------------------------------------------------------------------------------


def test_layers_are_named_by_their_dotted_module_path() -> None:
    block = Net(lambda net, x: x + net.conv(x), conv=conv1x1(8, 8))
    model = nn.Sequential()
    model.add_module("stem", conv1x1(3, 8))
    model.add_module("block", block)
    model.add_module("tail", Net(lambda _, x: torch.cat([F.relu(x), F.relu(x.mean((2, 3), keepdim=True) + x)], 1)))
    assert table(model, maps(3)).name.tolist() == [
        "stem",
        "block.conv",
        "block.add",  # no module of its own: the module that did it, and the op
        "tail.relu",
        "tail.mean",
        "tail.add",
        "tail.relu#2",
        "tail.cat",
    ]
    fused = table(model, maps(3), fusion="epilogue")
    assert fused.name.tolist() == ["stem", "block.conv", "tail.relu", "tail.mean", "tail.add", "tail.cat"]


def test_a_model_that_is_one_op_is_named_by_it() -> None:
    assert table(conv1x1(8, 8), maps(8)).name.tolist() == ["convolution"]


def test_names_are_unique_even_where_a_module_is_called_like_a_second_call() -> None:
    net = Net(lambda net, x: net.get_submodule("fc#2")(net.fc(net.fc(x))), fc=nn.Linear(8, 8))
    net.add_module("fc#2", nn.Linear(8, 8))
    names = table(net, vectors(1, 8)).name.tolist()
    assert len(set(names)) == len(names) == 3


def test_a_functional_op_does_not_take_the_name_of_a_module() -> None:
    names = table(Net(lambda net, x: net.add(x) + x, add=conv1x1(8, 8)), maps(8)).name.tolist()
    assert names[0] == "add"
    assert len(set(names)) == 2


KIND_OF: list[tuple[str, nn.Module, tuple[Tensor, ...]]] = [
    ("conv", nn.Conv2d(8, 4, 3), (maps(8),)),
    ("conv", nn.Conv2d(1, 8, 3), (maps(1),)),  # one channel is no group
    ("conv", nn.Conv3d(8, 4, 3), (vectors(1, 8, 4, 4, 4),)),
    ("conv", nn.ConvTranspose2d(8, 4, 2, stride=2), (maps(8),)),
    ("depthwise_conv", nn.Conv2d(8, 8, 3, groups=8), (maps(8),)),
    ("depthwise_conv", nn.Conv2d(8, 16, 3, groups=8), (maps(8),)),
    ("depthwise_conv", nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8), (maps(8),)),
    ("grouped_conv", nn.Conv2d(8, 8, 3, groups=2), (maps(8),)),
    ("pointwise_conv", conv1x1(8, 4), (maps(8),)),
    ("pointwise_conv", nn.Conv1d(8, 4, 1), (vectors(1, 8, 5),)),
    ("linear", nn.Linear(8, 4), (vectors(2, 8),)),
    ("linear", Net(lambda net, x: x @ net.weight, weight=ones(8, 4)), (vectors(2, 8),)),
    ("matmul", Net(lambda _, a, b: a @ b), (vectors(2, 8), vectors(8, 4))),
    ("attention", Net(lambda _, x: F.scaled_dot_product_attention(x, x, x)), (vectors(1, 2, 4, 8),)),
    ("norm", nn.BatchNorm2d(8), (maps(8),)),
    ("norm", nn.LayerNorm(8), (vectors(2, 8),)),
    ("norm", nn.GroupNorm(2, 8), (maps(8),)),
    ("activation", nn.ReLU(), (maps(8),)),
    ("activation", nn.GELU(), (maps(8),)),
    ("activation", nn.Hardswish(inplace=True), (maps(8),)),
    ("pool", nn.MaxPool2d(2), (maps(8),)),
    ("pool", nn.AdaptiveAvgPool2d(1), (maps(8),)),
    ("elementwise", Net(lambda _, x: x + 1), (maps(8),)),
    ("elementwise", Net(lambda _, x: torch.maximum(x, x)), (maps(8),)),
    ("reduce", Net(lambda _, x: x.mean((2, 3))), (maps(8),)),
    ("reduce", Net(lambda _, x: x.amax(1)), (maps(8),)),
    ("softmax", nn.Softmax(-1), (vectors(2, 8),)),
    ("softmax", nn.LogSoftmax(-1), (vectors(2, 8),)),
    ("embedding", nn.Embedding(10, 4), (indices(3),)),
    ("copy", Net(lambda _, x: torch.cat([x, x])), (maps(8),)),
    ("copy", nn.ZeroPad2d(1), (maps(8),)),
    ("copy", Net(lambda _, x: x.transpose(2, 3).contiguous()), (maps(8),)),
    ("other", Net(lambda _, x: torch.i0(x)), (maps(8),)),
]


@pytest.mark.parametrize(("kind", "module", "inputs"), KIND_OF)
def test_kinds(kind: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert table(module, *inputs).kind.tolist() == [kind]


def test_every_kind_has_an_example_above() -> None:
    assert {kind for kind, _, _ in KIND_OF} == set(KINDS)


def test_kind_name_and_shapes_are_those_of_the_main_op() -> None:
    net = Net(
        lambda net, x: F.relu(net.norm(net.conv(x)) + x), conv=nn.Conv2d(8, 8, 3, padding=1), norm=nn.BatchNorm2d(8)
    )
    layers = table(net, maps(8), fusion="epilogue")
    assert layers.name.tolist() == layers.kind.tolist() == ["conv"]
    assert layers.ops.tolist() == ["convolution+batch_norm+add+relu"]
    assert layers.input_shape.tolist() == layers.output_shape.tolist() == [(1, 8, 4, 4)]
    embedding = table(nn.Embedding(10, 4), indices(2, 3))
    assert (embedding.input_shape.tolist(), embedding.output_shape.tolist()) == ([(2, 3)], [(2, 3, 4)])


KERNELS: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = [
    (nn.Conv2d(3, 4, (3, 5)), (1, 3, 8, 8), (3, 5)),
    (nn.Conv2d(3, 4, 1), (3, 8, 8), (1, 1)),
    (nn.Conv1d(3, 4, 7), (1, 3, 8), (7,)),
    (nn.Conv3d(3, 4, 3), (1, 3, 8, 8, 8), (3, 3, 3)),
    (nn.ConvTranspose2d(4, 2, 2), (1, 4, 8, 8), (2, 2)),
    (nn.MaxPool2d(3), (1, 3, 8, 8), (3, 3)),
    (nn.AvgPool2d((3, 2)), (1, 3, 8, 8), (3, 2)),
    (nn.AvgPool1d(2), (1, 3, 8), (2,)),
    (nn.AdaptiveAvgPool2d(2), (1, 3, 8, 8), ()),
    (nn.AdaptiveMaxPool2d(2), (1, 3, 8, 8), ()),
    (nn.Linear(3, 4), (1, 3), ()),
    (nn.GELU(), (1, 3), ()),
]


@pytest.mark.parametrize(("module", "shape", "kernel"), KERNELS, ids=lambda value: str(value)[:40])
def test_a_kernel_is_the_window_of_a_convolution_or_pooling(
    module: nn.Module, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    assert table(module, vectors(*shape)).kernel.tolist() == [kernel]


def test_a_fused_layer_has_the_kernel_of_its_main_op() -> None:
    block = nn.Sequential(nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    assert table(block, maps(8), fusion="epilogue").kernel.tolist() == [(7, 7), (2, 2)]


# --- classes ------------------------------------------------------------------------------------------------------


def test_classes_are_the_kinds_the_activations_and_a_few_more() -> None:
    assert set(LAYER_CLASSES) == {*KINDS, *ACTIVATIONS, "depthwise_conv_k7", "transpose"}
    assert len(LAYER_CLASSES) == len(set(LAYER_CLASSES))


@pytest.mark.parametrize(("kind", "module", "inputs"), KIND_OF)
def test_a_kind_is_a_class(kind: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    layers = table(module, *inputs)
    assert [name for name in KINDS if layers.is_in(name).any()] == [kind]


ACTIVATION_MODULES: dict[str, nn.Module] = {
    "relu": nn.ReLU(), "relu6": nn.ReLU6(), "hardswish": nn.Hardswish(), "silu": nn.SiLU(), "gelu": nn.GELU("tanh"),
    "sigmoid": nn.Sigmoid(), "hardsigmoid": nn.Hardsigmoid(), "tanh": nn.Tanh(), "elu": nn.ELU(),
    "leaky_relu": nn.LeakyReLU(), "prelu": nn.PReLU(), "mish": nn.Mish(),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_that_runs_alone_is_a_class(name: str) -> None:
    net = nn.Sequential(conv1x1(8, 8), ACTIVATION_MODULES[name])
    alone = table(net, maps(8), fusion="epilogue", fused_activations=())
    assert [found for found in ACTIVATIONS if alone.is_in(found).any()] == [name]
    assert alone.is_in(name).tolist() == [False, True]
    fused = table(net, maps(8), fusion="epilogue", fused_activations=[name])
    assert fused.is_in(name).tolist() == [False]


@pytest.mark.parametrize(("kernel", "large"), [(3, False), (6, False), (7, True), ((1, 7), True), (9, True)])
def test_a_depthwise_convolution_with_a_side_of_7_or_more_is_a_class(kernel: Any, large: bool) -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, kernel, padding=4, groups=8), nn.Conv2d(8, 8, kernel, padding=4))
    assert table(net, maps(8)).is_in("depthwise_conv_k7").tolist() == [large, False]


# --- the bytes of the model's own inputs and outputs --------------------------------------------------------------


def test_in_a_chain_the_first_layer_reads_the_input_and_the_last_writes_the_output() -> None:
    chain = nn.Sequential(conv1x1(8, 16), nn.Hardswish(), conv1x1(16, 4), nn.ReLU())
    assert table(chain, maps(8)).external_bytes.tolist() == [8 * PIXELS, 0, 0, 4 * PIXELS]
    assert table(chain, maps(8), fusion="epilogue").external_bytes.tolist() == [8 * PIXELS, 0, 4 * PIXELS]
    assert table(chain, maps(8), dtype="fp32").external_bytes.tolist() == [4 * 8 * PIXELS, 0, 0, 4 * 4 * PIXELS]


def test_an_input_is_read_from_outside_by_every_layer_that_reads_it_whatever_view_it_takes() -> None:
    net = Net(lambda net, x: net.a(x) + net.b(x[:, :4]) + x.flatten(1).sum(), a=conv1x1(8, 4), b=conv1x1(4, 4))
    layers = table(net, maps(8))
    assert layers.ops.tolist() == ["convolution", "convolution", "add", "sum", "add"]
    assert layers.external_bytes.tolist() == [8 * PIXELS, 4 * PIXELS, 0, 8 * PIXELS, 4 * PIXELS]
    assert layers.activation_bytes.tolist()[3] == 8 * PIXELS + 1


def test_an_output_may_be_any_tensor_of_the_network_and_several() -> None:
    net = Net(lambda net, x: (lambda y: (net.b(y), y.flatten(1), x))(net.a(x)), a=conv1x1(8, 4), b=conv1x1(4, 2))
    assert table(net, maps(8)).external_bytes.tolist() == [(8 + 4) * PIXELS, 2 * PIXELS]


def test_weights_and_constants_are_not_the_models_inputs() -> None:
    embed = Net(lambda net, tokens: net.embed(tokens) + torch.ones(16), embed=nn.Embedding(1000, 16))
    layers = table(embed, indices(2, 5))
    assert layers.ops.tolist()[0] == "embedding"
    assert layers.external_bytes.tolist() == [10 * 8, *([0] * (len(layers) - 2)), 10 * 16]


def test_an_input_that_is_overwritten_is_none_any_more() -> None:
    net = Net(lambda net, x: net.b(x.add_(net.a(x))), a=conv1x1(8, 8), b=conv1x1(8, 4))
    layers = table(net, maps(8))
    assert layers.ops.tolist() == ["convolution", "add", "convolution"]
    assert layers.external_bytes.tolist() == [8 * PIXELS, 8 * PIXELS, 4 * PIXELS]


# --- what can stay on the chip: the room that each tensor needs, and its bytes -------------------------------------


def reuse(model: nn.Module, *inputs: Tensor, **options: Any) -> list[tuple[tuple[int, int], ...]]:
    """In units of one channel."""
    find = table(model, *inputs, **options).reuse
    assert find is not None
    return [tuple((room // PIXELS, size // PIXELS) for room, size in pairs) for pairs in find()]


def test_a_tensor_stays_on_the_chip_if_both_the_layer_that_writes_it_and_the_one_that_reads_it_fit() -> None:
    """Layers of 2 + 12, 12 + 2 and 2 + 1 channels: where the last alone fits, its input was written to memory."""
    chain = nn.Sequential(conv1x1(2, 12), conv1x1(12, 2), conv1x1(2, 1))
    assert reuse(chain, maps(2)) == [((14, 12),), ((14, 12), (14, 2)), ((14, 2),)]
    chain = nn.Sequential(conv1x1(1, 2), conv1x1(2, 12), conv1x1(12, 1))  # 3, 14 and 13: the first alone fits
    assert reuse(chain, maps(1)) == [((14, 2),), ((14, 2), (14, 12)), ((14, 12),)]


def test_a_tensor_is_written_to_memory_once_for_the_one_reader_that_does_not_fit() -> None:
    net = Net(
        lambda net, x: (net.b(y := net.a(x)), net.c(y[:, :1])), a=conv1x1(1, 2), b=conv1x1(2, 20), c=conv1x1(1, 3)
    )
    assert reuse(net, maps(1)) == [((22, 2),), ((22, 2),), ((4, 1),)]  # the third reads a half of it, from the chip


def test_the_models_outputs_cross_but_may_be_read_from_the_chip() -> None:
    net = Net(lambda net, x: (lambda y: (net.b(y), y, x))(net.a(x)), a=conv1x1(8, 4), b=conv1x1(4, 2))
    assert reuse(net, maps(8)) == [(), ((12, 4),)]


def test_a_tensor_that_nothing_reads_stays_with_the_layer_that_writes_it() -> None:
    net = Net(lambda net, x: net.b(torch.split(net.a(x), [2, 2], 1)[0].relu()), a=conv1x1(1, 4), b=conv1x1(2, 1))
    assert reuse(net, maps(1)) == [((5, 4),), ((5, 2), (4, 2)), ((4, 2),)]
    unread = Net(lambda net, x: (net.a(x), net.b(x))[1], a=conv1x1(1, 4), b=conv1x1(1, 2))
    assert reuse(unread, maps(1)) == [((5, 4),), ()]


def test_what_is_written_into_a_part_of_a_tensor_is_of_that_tensor() -> None:
    """Of 8 channels, written by a layer of 1 + 8, an add in place reads and writes 2: 2 + 2 + 2 with its operand."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y, z = net.a(x), net.b(x)
        y[:, :2] += z
        result: Tensor = net.c(y)
        return result

    net = Net(forward, a=conv1x1(1, 8), b=conv1x1(1, 2), c=conv1x1(8, 1))
    assert reuse(net, maps(1)) == [((9, 8),), ((6, 2),), ((9, 2), (6, 2), (9, 2)), ((9, 8),)]


def test_what_a_fused_layer_keeps_inside_needs_no_room() -> None:
    chain = nn.Sequential(conv1x1(2, 4), nn.ReLU(), conv1x1(4, 1))
    assert reuse(chain, maps(2), fusion="epilogue") == [((6, 4),), ((6, 4),)]
    assert reuse(chain, maps(2)) == [((8, 4),), ((8, 4), (8, 4)), ((8, 4),)]


def test_chosen_layers_keep_the_room_that_their_tensors_need() -> None:
    layers = table(nn.Sequential(conv1x1(2, 12), nn.ReLU(), conv1x1(12, 2)), maps(2))
    find = layers.take(layers.is_in("pointwise_conv")).reuse
    assert find is not None
    assert [pairs[0][0] // PIXELS for pairs in find()] == [24, 24]


# --- peak activation memory, by hand ------------------------------------------------------------------------------
# A tensor is there from the layer that writes it to the last that reads it; an input from the start, an output to the
# end. What a fused layer keeps inside is never there. (One channel is 16 bytes at int8.)


def peak(model: nn.Module, *inputs: Tensor, fusion: str = "none", dtype: str = "int8") -> int:
    return table(model, *inputs, fusion=fusion, dtype=dtype).peak_activation_bytes


def test_peak_of_a_chain_is_the_largest_input_and_output_of_one_layer() -> None:
    chain = nn.Sequential(conv1x1(8, 16), conv1x1(16, 4), conv1x1(4, 12))
    assert peak(chain, maps(8)) == max(8 + 16, 16 + 4, 4 + 12) * PIXELS
    assert peak(chain, maps(8), fusion="epilogue") == (8 + 16) * PIXELS


def test_peak_is_a_size_and_takes_the_width_of_the_dtype_and_the_batch() -> None:
    chain = nn.Sequential(conv1x1(8, 16), conv1x1(16, 4))
    assert peak(chain, maps(8, batch=2)) == 2 * peak(chain, maps(8))
    assert peak(chain, maps(8), dtype="fp16") == 2 * peak(chain, maps(8))
    assert peak(chain, maps(8), dtype="fp32") == 4 * peak(chain, maps(8))
    words = nn.Sequential(nn.Embedding(10, 16), nn.Linear(16, 2))
    assert peak(words, indices(3)) == max(3 * 8 + 3 * 16, 3 * 16 + 3 * 2)


def test_peak_of_a_residual_keeps_the_other_branch() -> None:
    def net(skip: bool) -> Net:
        return Net(
            lambda net, x: net.narrow(net.wide(x)) + (x if skip else 1.0), wide=conv1x1(8, 16), narrow=conv1x1(16, 8)
        )

    assert peak(net(skip=False), maps(8)) == (8 + 16) * PIXELS
    assert peak(net(skip=True), maps(8)) == (8 + 16 + 8) * PIXELS  # while `narrow` runs
    assert peak(net(skip=True), maps(8), fusion="epilogue") == (8 + 16 + 8) * PIXELS


def test_peak_of_a_dense_block() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a = net.first(x)
        b = net.second(torch.cat([x, a], 1))
        return torch.cat([x, a, b], 1)

    net = Net(forward, first=conv1x1(8, 4), second=conv1x1(12, 4))
    first, cat, second, last = 8 + 4, 8 + 4 + 12, 8 + 4 + 12 + 4, 8 + 4 + 4 + 16
    assert peak(net, maps(8)) == max(first, cat, second, last) * PIXELS == 32 * PIXELS
    assert peak(net, maps(8), fusion="epilogue") == 32 * PIXELS


def test_peak_does_not_hold_what_nobody_will_read_again() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        torch.cat([x, x, x], 1)  # 24 channels, for nothing
        return torch.cat([x, x], 1)

    assert peak(Net(forward), maps(8)) == (8 + 24) * PIXELS


def test_peak_with_ops_in_place() -> None:
    def net(in_place: bool) -> nn.Module:
        return nn.Sequential(conv1x1(8, 16), nn.Hardswish(inplace=in_place), conv1x1(16, 4))

    assert peak(net(in_place=True), maps(8)) == (8 + 16) * PIXELS
    assert peak(net(in_place=False), maps(8)) == (16 + 16) * PIXELS
    assert peak(net(in_place=False), maps(8), fusion="epilogue") == (16 + 16) * PIXELS  # h-swish is not fused here

    def relu(in_place: bool) -> nn.Module:
        return nn.Sequential(conv1x1(8, 16), nn.ReLU(inplace=in_place), conv1x1(16, 4))

    assert peak(relu(in_place=False), maps(8), fusion="epilogue") == (8 + 16) * PIXELS
    assert peak(relu(in_place=True), maps(8), fusion="epilogue") == (8 + 16) * PIXELS


def test_peak_holds_a_tensor_until_its_last_reader_though_it_is_overwritten_then() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        y, z = net.a(x), net.b(x)
        x.add_(y)  # net.b has read x before: whoever lets net.a do this needs a second x
        return x + z

    net = Net(forward, a=conv1x1(8, 8), b=conv1x1(8, 8))
    assert peak(net, maps(8)) == (8 + 8 + 8) * PIXELS
    assert peak(net, maps(8), fusion="epilogue") == (8 + 8 + 8) * PIXELS


def test_peak_of_a_partial_residual_is_that_of_the_whole_tensor() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        out: Tensor = net.conv(x)
        out[:, :8].add_(x)
        return torch.tanh(out)

    net = Net(forward, conv=conv1x1(8, 12))
    assert peak(net, maps(8)) == (12 + 12) * PIXELS


def test_peak_counts_a_view_with_the_memory_that_it_keeps() -> None:
    net = Net(lambda net, x: (lambda y: net.b(net.a(x)) + y[:, :1])(torch.tanh(x)), a=conv1x1(8, 16), b=conv1x1(16, 4))
    # tanh: x, y; a: x, y, a; b: y, a, b; add: y, b, sum. One channel of y keeps all 8.
    assert peak(net, maps(8)) == max(8 + 8, 8 + 8 + 16, 8 + 16 + 4, 8 + 4 + 4) * PIXELS


@pytest.mark.parametrize(
    "also", [lambda x: x, lambda x: x.flatten(1), lambda x: x[:, :1]], ids=["input", "view", "slice"]
)
def test_peak_keeps_an_input_that_is_returned_to_the_end(also: Callable[[Tensor], Tensor]) -> None:
    parts = {"a": conv1x1(8, 8), "b": conv1x1(8, 12)}
    assert peak(Net(lambda net, x: net.b(net.a(x)), **parts), maps(8)) == (8 + 12) * PIXELS
    assert peak(Net(lambda net, x: (net.b(net.a(x)), also(x)), **parts), maps(8)) == (8 + 8 + 12) * PIXELS


def test_peak_of_a_model_that_returns_a_view_of_what_it_wrote() -> None:
    net = Net(lambda net, x: net.conv(x).flatten(1), conv=conv1x1(8, 4))
    assert peak(net, maps(8)) == (8 + 4) * PIXELS


def test_peak_of_a_model_without_layers_is_nothing() -> None:
    assert peak(nn.Identity(), maps(8)) == 0
    assert peak(nn.Flatten(), maps(8)) == 0


# --- the table itself ---------------------------------------------------------------------------------------------


def test_the_frame_has_one_row_a_layer_and_the_columns_of_the_table() -> None:
    layers = table(residual_block(), maps(8))
    frame = layers.to_frame()
    assert list(frame.columns) == [
        "name", "kind", "ops", "input_shape", "output_shape", "kernel",
        "macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes", "external_bytes",
    ]  # fmt: skip
    assert len(frame) == len(layers) == 7
    assert frame["macs"].sum() == layers.macs.sum() == 2 * 8 * 8 * PIXELS
    assert frame["input_shape"].tolist() == layers.input_shape.tolist()
    assert len(table(nn.Identity(), maps(8)).to_frame()) == 0


def test_the_table_cannot_be_changed_not_even_through_its_frame() -> None:
    layers = table(residual_block(), maps(8))
    before = layers.to_frame()
    with pytest.raises(FrozenInstanceError):
        layers.dtype = "fp32"  # type: ignore[misc]
    for column in before:
        with pytest.raises(ValueError, match="read-only"):
            getattr(layers, str(column))[0] = 0
    frame = layers.to_frame()
    frame.loc[0, "macs"] = 7
    assert layers.to_frame().equals(before)


def test_some_of_the_layers_are_a_table_too() -> None:
    layers = table(residual_block(), maps(8))
    convolutions = layers.take(layers.is_in("pointwise_conv"))
    assert convolutions.name.tolist() == ["conv1", "conv2"]
    assert convolutions.macs.sum() == layers.macs.sum()
    assert (
        convolutions.to_frame().reset_index(drop=True).equals(layers.to_frame()[layers.macs > 0].reset_index(drop=True))
    )
    assert (convolutions.params, convolutions.dtype) == (layers.params, layers.dtype)
    assert len(layers.take(layers.is_in("attention"))) == 0


def test_derived_columns_and_intensity() -> None:
    layers = table(residual_block(), maps(8), dtype="fp16")
    assert (layers.activation_bytes == layers.input_bytes + layers.output_bytes).all()
    assert (layers.mem_bytes == layers.weight_bytes + layers.activation_bytes).all()
    assert layers.operational_intensity[0] == 8 * 8 * PIXELS / (2 * (64 + 128 + 128))
    assert layers.operational_intensity[1] == 0  # a norm does no MAC
    assert (layers.fusion, layers.dtype) == ("none", "fp16")


def test_large_counts_do_not_overflow() -> None:
    model = nn.Linear(2**16, 2**16, device="meta")
    layers = table(model, vectors(2**16, 2**16), dtype="fp32")
    assert layers.macs.tolist() == [2**48]
    assert layers.mem_bytes.tolist() == [4 * (3 * 2**32 + 2**16)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "epilog"}, r"^unknown fusion 'epilog': choose one of none, epilogue$"),
        ({"dtype": "float32"}, r"^unknown dtype 'float32': choose one of fp32, fp16, bf16, int8$"),
        ({"fused_activations": {"swish"}}, r"^unknown fused activation 'swish': choose one of relu, relu6, .*silu"),
    ],
)
def test_a_choice_that_is_not_there_is_one_line_that_lists_those_that_are(
    options: dict[str, Any], message: str
) -> None:
    graph = trace(nn.Identity(), maps(8))
    with pytest.raises(RooflineError, match=message) as raised:
        lower(graph, **options)
    assert "\n" not in str(raised.value)


# --- laws for any network -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One thing that a random network does to the tensor at hand; `operand` is an earlier tensor, by number."""

    what: str
    module: nn.Module = field(default_factory=nn.Identity)
    operand: int = 0
    parameter: nn.Parameter = field(default_factory=lambda: ones(0))


class RandomNet(nn.Module):
    """A list of steps, run one after the other."""

    def __init__(self, steps: list[Step], outputs: list[int]) -> None:
        super().__init__()
        self.steps, self.outputs = steps, outputs
        for number, step in enumerate(steps):
            self.add_module(f"{step.what}{number}", step.module)
            self.register_parameter(f"parameter{number}", step.parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        seen = [x]
        for step in self.steps:
            seen.append(self.apply_step(step, seen[-1], seen[step.operand]))
        return tuple(seen[number] for number in self.outputs)

    def apply_step(self, step: Step, x: Tensor, other: Tensor) -> Tensor:
        match step.what:
            case "scale":
                return x * step.parameter
            case "halve":
                return x * 0.5
            case "shift":
                return x + step.parameter
            case "add":
                return x + other
            case "add_":
                return x.add_(other)
            case "partial_add":
                x[:, : other.shape[1]] += other
                return x
            case "cat":
                return torch.cat([x, other], 1)
            case "swap":
                return x.transpose(2, 3)
            case "shuffle":
                return x.reshape(x.shape[0], 2, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
            case _:
                result: Tensor = step.module(x)
                return result


class SqueezeExcite(nn.Module):
    def __init__(self, chans: int) -> None:
        super().__init__()
        self.conv = conv1x1(chans, chans, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x.mean((2, 3), keepdim=True)))


class Branches(nn.Module):
    """Two convolutions of one tensor, then what follows the first of them, then their sum."""

    def __init__(self, chans: int, late: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.late = conv1x1(chans, chans), conv1x1(chans, chans), late

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        total: Tensor = self.late(a) + b
        return total


def activations(draw: st.DrawFn) -> nn.Module:
    in_place = draw(st.booleans())
    return draw(
        st.sampled_from([nn.ReLU(in_place), nn.ReLU6(in_place), nn.Hardswish(in_place), nn.SiLU(in_place), nn.GELU()])
    )


@st.composite
def networks(draw: st.DrawFn, without: tuple[str, ...] = ()) -> RandomNet:
    """Convolutional networks of up to ten steps on 4 x 4 maps of four channels, `without` some kinds of step."""
    steps: list[Step] = []
    shapes = [(4, 4)]  # channels and size of every tensor so far
    kinds = ["conv", "norm", "act", "scale", "halve", "shift", "add", "add_", "partial_add", "cat", "swap"]
    kinds += ["pool", "gate", "branches", "shuffle"]
    possible = [what for what in kinds if what not in without]  # channels are even throughout
    for what in draw(st.lists(st.sampled_from(possible), min_size=1, max_size=10)):
        chans, size = shapes[-1]
        same = [i for i, shape in enumerate(shapes) if shape == (chans, size)]
        same_size = [i for i, shape in enumerate(shapes) if shape[1] == size]
        step, shape = Step(what), (chans, size)
        if what == "conv":
            out = draw(st.sampled_from([2, 4, chans]))
            groups = chans if out == chans and draw(st.booleans()) else 1
            kernel, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
            bias = draw(st.booleans())
            step = Step(what, nn.Conv2d(chans, out, kernel, stride, kernel // 2, groups=groups, bias=bias))
            shape = (out, (size + stride - 1) // stride)
        elif what == "norm":
            running = size == 1 or draw(st.booleans())  # statistics of one element are not defined
            step = Step(what, nn.BatchNorm2d(chans, affine=draw(st.booleans()), track_running_stats=running))
        elif what == "act":
            step = Step(what, activations(draw))
        elif what in ("scale", "shift"):
            step = Step(what, parameter=ones(*draw(st.sampled_from([(chans, 1, 1), (1, chans, size, size)]))))
        elif what in ("add", "add_"):
            step = Step(what, operand=draw(st.sampled_from(same)))
        elif what == "partial_add":
            step = Step(what, operand=draw(st.sampled_from([i for i in same_size if shapes[i][0] <= chans])))
        elif what == "cat":
            other = draw(st.sampled_from(same_size))
            step, shape = Step(what, operand=other), (chans + shapes[other][0], size)
        elif what == "pool":
            pool = draw(st.sampled_from([nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(1)]))
            step, shape = Step(what, pool), (chans, 1 if isinstance(pool, nn.AdaptiveAvgPool2d) else size)
        elif what == "gate":
            step = Step(what, SqueezeExcite(chans))
        elif what == "branches":
            step = Step(what, Branches(chans, draw(st.sampled_from([nn.ReLU(), nn.BatchNorm2d(chans), nn.Identity()]))))
        steps.append(step)
        shapes.append(shape)
    if draw(st.booleans()):
        chans, size = shapes[-1]
        steps.append(Step("head", nn.Sequential(nn.Flatten(), nn.Linear(chans * size * size, 3), nn.BatchNorm1d(3))))
    outputs = [len(steps), *draw(st.lists(st.integers(0, len(steps) - 1), max_size=1))]
    return RandomNet(steps, outputs)


laws = settings(deadline=None, max_examples=50)
FUSED = frozenset({"relu", "relu6", "hardswish"})


def both(net: nn.Module, batch: int = 1, dtype: str = "int8") -> tuple[LayerTable, LayerTable]:
    """Its layers, unfused and fused."""
    graph = trace(net, maps(4, batch))
    return lower(graph, dtype=dtype), lower(graph, fusion="epilogue", dtype=dtype, fused_activations=FUSED)


@laws
@given(networks())
def test_fusion_never_changes_macs_and_never_adds_traffic_or_work(net: RandomNet) -> None:
    unfused, fused = both(net)
    assert fused.macs.sum() == unfused.macs.sum()
    assert fused.mem_bytes.sum() <= unfused.mem_bytes.sum()
    assert fused.weight_bytes.sum() <= unfused.weight_bytes.sum()
    assert fused.input_bytes.sum() <= unfused.input_bytes.sum()
    assert fused.output_bytes.sum() <= unfused.output_bytes.sum()
    assert fused.vector_ops.sum() <= unfused.vector_ops.sum()
    assert len(fused) <= len(unfused)
    assert fused.params == unfused.params


@laws
@given(networks())
def test_a_layer_unfused_moves_what_its_ops_move_and_never_less_than_fused(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    eager, fused = (lower(graph, fusion=fusion) for fusion in ("none", "epilogue"))
    assert eager.unfused_bytes.tolist() == eager.mem_bytes.tolist()
    apart = fused.unfused_bytes
    assert (apart >= fused.mem_bytes).all()
    assert apart.sum() <= eager.mem_bytes.sum()  # what works on constants alone is in no layer of a compiled network
    assert all(
        own == moved
        for own, moved, ops in zip(apart.tolist(), fused.mem_bytes.tolist(), fused.ops, strict=True)
        if "+" not in ops
    )


@laws
@given(networks())
def test_fusing_more_activations_never_adds_traffic(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    few, more = (
        lower(graph, fusion="epilogue", fused_activations=fused)
        for fused in ((), ("relu", "relu6", "hardswish", "gelu"))
    )
    assert more.mem_bytes.sum() <= few.mem_bytes.sum()
    assert more.vector_ops.sum() == few.vector_ops.sum()  # a fused activation still has to be computed


@laws
@given(networks(without=("add_", "partial_add")))
def test_fusion_never_needs_more_memory(net: RandomNet) -> None:
    """Save for an add in place with an activation behind it: the fused layer holds two operands and a result."""
    unfused, fused = both(net)
    assert fused.peak_activation_bytes <= unfused.peak_activation_bytes


@laws
@given(networks())
def test_memory_holds_at_least_the_output_of_any_layer_and_the_input_and_output_of_the_model(net: RandomNet) -> None:
    for layers in both(net):
        assert layers.peak_activation_bytes >= max([*layers.output_bytes.tolist(), 4 * PIXELS if len(layers) else 0])


@laws
@given(networks())
def test_twice_the_batch_doubles_macs_and_activations_and_leaves_the_weights(net: RandomNet) -> None:
    for one, two in zip(both(net, batch=1), both(net, batch=2), strict=True):
        assert two.macs.tolist() == (2 * one.macs).tolist()
        assert two.vector_ops.tolist() == (2 * one.vector_ops).tolist()
        assert two.input_bytes.tolist() == (2 * one.input_bytes).tolist()
        assert two.output_bytes.tolist() == (2 * one.output_bytes).tolist()
        assert two.weight_bytes.tolist() == one.weight_bytes.tolist()
        assert two.peak_activation_bytes == 2 * one.peak_activation_bytes
        assert (two.ops == one.ops).all()


@laws
@given(networks())
def test_bytes_of_floats_are_in_proportion_to_the_width_of_the_dtype(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    for fusion in ("none", "epilogue"):
        narrow = lower(graph, fusion=fusion, dtype="int8")
        for dtype, width in DTYPE_BYTES.items():
            layers = lower(graph, fusion=fusion, dtype=dtype)
            for column in ("weight_bytes", "input_bytes", "output_bytes"):
                assert (getattr(layers, column) == width * getattr(narrow, column)).all()
            assert layers.peak_activation_bytes == width * narrow.peak_activation_bytes
            assert (layers.macs == narrow.macs).all()


@laws
@given(networks())
def test_counts_are_never_negative_and_no_layer_is_free(net: RandomNet) -> None:
    for layers in both(net):
        for column in ("macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes"):
            assert (getattr(layers, column) >= 0).all()
        assert (layers.output_bytes > 0).all()
        assert set(layers.kind) <= set(KINDS)
        assert layers.uncounted_ops == ()


@laws
@given(networks())
def test_the_models_own_bytes_are_among_those_of_each_layer(net: RandomNet) -> None:
    for layers in both(net):
        assert (layers.external_bytes >= 0).all()
        assert (layers.external_bytes <= layers.activation_bytes).all()


@laws
@given(networks())
def test_every_byte_that_is_not_the_models_own_can_stay_on_a_chip_that_has_room_for_the_largest_layer(
    net: RandomNet,
) -> None:
    for layers in both(net):
        assert layers.reuse is not None
        for pairs, external, active in zip(layers.reuse(), layers.external_bytes, layers.activation_bytes, strict=True):
            assert sum(size for _, size in pairs) + external == active
            assert all(active <= room <= layers.activation_bytes.max() for room, _ in pairs)


@laws
@given(networks(without=("partial_add",)), st.data())
def test_a_tensor_is_written_to_memory_exactly_where_a_layer_reads_it_from_there(
    net: RandomNet, data: st.DataObject
) -> None:
    """Op by op, on a chip of any size: who wrote what, who fits, what each so reads and writes."""
    graph = trace(net, maps(4))
    layers = lower(graph, dtype="int8")
    room = data.draw(st.sampled_from([0, *layers.activation_bytes.tolist()]))
    fits = (layers.activation_bytes <= room).tolist()
    assert layers.reuse is not None
    kept = [sum(size for need, size in pairs if need <= room) for pairs in layers.reuse()]

    running = [(op, item) for op in graph.ops if (item := cost(op)) is not None]
    layer_of = {id(out): layer for layer, (op, _) in enumerate(running) for out in op.outputs}
    given_, returned = ({id(value.root) for value in values} for values in (graph.inputs, graph.outputs))
    from_memory: dict[int, bool] = {}  # written value -> whether a layer reads it from memory
    crossing = layers.external_bytes.tolist()
    for layer, (op, item) in enumerate(running):
        for value, elements in item.reads or [(value, value.elements) for value in op.inputs]:
            if not value.is_weight and id(value.root) not in given_:
                crosses = not (fits[layer] and fits[layer_of[id(value.root)]])
                from_memory[id(value.root)] = from_memory.get(id(value.root), False) or crosses
                crossing[layer] += crosses * elements
    for layer, (op, item) in enumerate(running):
        for value, elements in item.writes or [(out, out.elements) for out in op.outputs]:
            if id(value) not in returned:
                crossing[layer] += from_memory.get(id(value), not fits[layer]) * elements
    assert [active - kept_ for active, kept_ in zip(layers.activation_bytes.tolist(), kept, strict=True)] == crossing


@laws
@given(networks())
def test_transposes_change_no_work_and_nothing_at_all_where_nothing_is_shuffled(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    for fusion in ("none", "epilogue"):
        options: dict[str, Any] = {"fusion": fusion, "dtype": "int8", "fused_activations": FUSED}
        views, copies = (lower(graph, **options, transposes=transposes) for transposes in (False, True))
        for column in ("macs", "vector_ops", "weight_bytes"):
            assert getattr(views, column).sum() == getattr(copies, column).sum()
        moving = [step for step in net.steps if step.what == "shuffle"]
        if not moving:
            assert views.to_frame().equals(copies.to_frame())
            assert views.peak_activation_bytes == copies.peak_activation_bytes
        assert copies.is_in("transpose").sum() <= len(moving)


@laws
@given(networks())
def test_fusion_keeps_its_laws_where_transposes_are_layers(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    eager, fused = (
        lower(graph, fusion=fusion, dtype="int8", fused_activations=FUSED, transposes=True)
        for fusion in ("none", "epilogue")
    )
    assert fused.macs.sum() == eager.macs.sum()
    assert fused.mem_bytes.sum() <= eager.mem_bytes.sum()
    assert fused.is_in("transpose").sum() == eager.is_in("transpose").sum()
    for layers in (eager, fused):
        assert (layers.external_bytes <= layers.activation_bytes).all()
        assert (layers.output_bytes > 0).all()
        assert len(set(layers.name)) == len(layers)
        assert layers.uncounted_ops == ()


@laws
@given(networks())
def test_names_are_unique(net: RandomNet) -> None:
    for layers in both(net):
        assert len(set(layers.name)) == len(layers)
        assert all(layers.name)


@laws
@given(networks())
def test_a_layers_bytes_are_the_sum_of_what_it_moves(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    for fusion in ("none", "epilogue"):
        layers = lower(graph, fusion=fusion, dtype="fp16")
        for index in range(len(layers)):
            op, moved = main_op(graph, layers, index)
            assert str(layers.ops[index]).split("+")[0] == op.name
            for role in ("weight", "input", "output"):
                expected = getattr(layers, f"{role}_bytes")[index]
                assert sum(transfer.bytes for transfer in moved if transfer.role == role) == expected


def grouped(graph: Graph) -> list[list[int]]:
    """The ops of each layer of a fused graph."""
    return [group.ops for group in fuse(graph, [cost(op) for op in graph.ops], "epilogue", FUSED)]


@laws
@given(networks())
def test_every_op_that_is_no_view_is_in_exactly_one_layer(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    layers = grouped(graph)
    ops = [index for index, op in enumerate(graph.ops) if not op.is_view]
    assert sorted(itertools.chain(*layers)) == ops
    assert all(layer == sorted(layer) for layer in layers)
    assert [layer[0] for layer in layers] == sorted(layer[0] for layer in layers)

    for table_ in both(net):
        assert sum(len(str(names).split("+")) for names in table_.ops) == len(ops)


@laws
@given(networks())
def test_no_layer_reads_what_a_later_layer_writes(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    layers = grouped(graph)
    layer_of = {index: number for number, layer in enumerate(layers) for index in layer}
    for number, layer in enumerate(layers):
        read = [value.root.producer for index in layer for value in graph.ops[index].inputs]
        assert all(layer_of[producer] <= number for producer in read if producer >= 0)


@laws
@given(networks())
def test_what_stays_inside_a_layer_has_no_reader_outside(net: RandomNet) -> None:
    graph = trace(net, maps(4))
    returned = {id(value.root) for value in graph.outputs}
    for layer in grouped(graph):
        inside = {id(value) for index in layer[:-1] for value in graph.ops[index].outputs}
        others = set(range(len(graph.ops))) - set(layer)
        elsewhere = {id(v.root) for i in others if not graph.ops[i].is_view for v in graph.ops[i].inputs}
        assert not inside & (elsewhere | returned)


# --- a chain of parts -------------------------------------------------------------------------------------------------


class Link(nn.Module):
    """A part of a chain: nothing fuses across convolutions at its ends. (B, 4, 4, 4) -> the same shape."""

    def __init__(self, net: RandomNet) -> None:
        super().__init__()
        net.steps = [step for step in net.steps if step.what != "head"]  # which leaves no map
        net.outputs = [len(net.steps)]  # the last tensor
        chans = trace(net, maps(4)).outputs[0].shape[1]
        self.first, self.net, self.last = conv1x1(4, 4), net, conv1x1(chans, 4)
        self.pool = nn.AdaptiveAvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        (x,) = self.net(self.first(x))
        x = self.last(self.pool(x))
        return x


@laws
@given(st.lists(networks(), min_size=1, max_size=3), st.sampled_from(["none", "epilogue"]), st.booleans())
def test_a_chain_costs_what_its_parts_do(nets: list[RandomNet], fusion: str, transposes: bool) -> None:
    """In every column but the names, and in all that is found when it is asked for."""
    links = [Link(net) for net in nets]
    *parts, whole = (
        lower(trace(net, maps(4)), fusion=fusion, dtype="int8", transposes=transposes)
        for net in (*links, nn.Sequential(*links))
    )
    joined = join(parts)
    for column in COLUMNS:
        if column != "name":
            assert getattr(joined, column).tolist() == getattr(whole, column).tolist(), column
    assert joined.reuse is not None
    assert whole.reuse is not None
    assert joined.reuse().tolist() == whole.reuse().tolist()
    assert joined.unfused_bytes.tolist() == whole.unfused_bytes.tolist()
    assert (joined.params, joined.peak_activation_bytes) == (whole.params, whole.peak_activation_bytes)
    assert len(set(joined.name)) == len(joined)


def test_a_chain_of_chains_is_the_same_chain() -> None:
    part = lower(trace(nn.Sequential(conv1x1(4, 8), conv1x1(8, 4)), maps(4)))
    flat, nested = join([part] * 3), join([part, join([part, part])])
    assert flat.reuse is not None
    assert nested.reuse is not None
    assert flat.reuse().tolist() == nested.reuse().tolist()
    assert flat.external_bytes.tolist() == nested.external_bytes.tolist() == [256, 0, 0, 0, 0, 256]


def test_uncounted_ops_of_parts_add_up() -> None:
    part = lower(trace(Net(lambda net, x: torch.special.bessel_j0(x)), maps(4)), dtype="int8")
    assert join([part, part]).uncounted_ops == (UncountedOp("special_bessel_j0", 2, 256),)


def test_what_cannot_be_joined() -> None:
    part = lower(trace(conv1x1(4, 4), maps(4)))
    two = lower(trace(Net(lambda net, x: (x + 1, x + 2)), maps(4)))
    with pytest.raises(RooflineError, match="a part of a network must take one tensor and return one"):
        join([part, two])
    with pytest.raises(RooflineError, match="the parts of a network must be lowered with the same fusion and dtype"):
        join([part, lower(trace(conv1x1(4, 4), maps(4)), dtype="int8")])
    with pytest.raises(RooflineError, match="a part of a network must take one tensor and return one"):
        join([part.take(np.array([True]))])
