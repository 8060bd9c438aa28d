"""ONNX files have the counts of the live model, or those of arithmetic; the rest is refused in one line."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from roofline.errors import ModelError
from roofline.exported import load_exported
from roofline.exported import onnx as exported_onnx
from roofline.layers import LayerTable, lower
from roofline.trace import trace
from tests.exported.networks import Block, Recurrent, Tied, as_onnx, with_numbers, zoo

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
from onnx import TensorProto, helper  # noqa: E402

OPSET = 20
MEMORY = 6 * 10**9  # bytes of address space; PyTorch itself maps half of that


def table_of(path: Path, fusion: str = "none", **sizes: Any) -> LayerTable:
    found = load_exported(path, **sizes)
    return lower(trace(found.network, found.inputs), fusion=fusion)


# --- what PyTorch exports ----------------------------------------------------------------------------------------


def sums(table: LayerTable) -> tuple[int, ...]:
    columns = (table.macs, table.vector_ops, table.weight_bytes, table.activation_bytes)
    return tuple(int(column.sum()) for column in columns)


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Tensor, Path]:
    """A network, an image for it, and its file, whose weights are in another beside it."""
    network, image = zoo("mobilenetv3_small_100"), torch.zeros(1, 3, 64, 64)
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    return network, image, as_onnx(network, (image,), path, opset_version=OPSET, external_data=True)


def test_a_convolutional_network_is_the_live_one_with_its_norms_folded(
    convolutional: tuple[nn.Module, Tensor, Path],
) -> None:
    network, image, path = convolutional
    live, found = (lower(trace(network, image), fusion="epilogue"), table_of(path, "epilogue"))
    for column in ("name", "macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes"):
        assert getattr(found, column).tolist() == getattr(live, column).tolist(), column
    # The exporter folds each batch norm into the convolution before it. Of its four numbers a channel (weight, bias,
    # and in buffers mean and variance) one is left, the convolution's bias: one parameter fewer.
    folded = sum(module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert live.params - found.params == folded
    # Unfused, the folded norms neither read nor write; everything else is as it was.
    unfused_live, unfused = lower(trace(network, image)), table_of(path)
    is_norm = unfused_live.is_in("norm")
    assert unfused.macs.sum() == unfused_live.macs.sum()
    assert unfused.activation_bytes.sum() == unfused_live.activation_bytes[~is_norm].sum()
    assert unfused.weight_bytes.sum() == unfused_live.weight_bytes[~is_norm].sum() + 4 * folded


@pytest.mark.parametrize("opset", [OPSET, 23], ids=["products and a softmax", "one node"])
def test_a_transformer_block_is_the_live_one(tmp_path: Path, opset: int) -> None:
    network, ids = with_numbers(Block()), torch.zeros(2, 9, dtype=torch.int64)
    path = as_onnx(network, (ids,), tmp_path / "net.onnx", opset_version=opset)
    live, found = lower(trace(network, ids), fusion="epilogue"), table_of(path, "epilogue")
    for column in ("name", "kind", "ops", "macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes"):
        assert getattr(found, column).tolist() == getattr(live, column).tolist(), column
    assert found.params == live.params


class Products(nn.Module):
    """Attention that the network writes as products itself: its scores are kept in memory, and stay."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ((q * 0.25) @ k.transpose(-2, -1)).softmax(-1) @ v


class Attend(nn.Module):
    """PyTorch's one op, with a mask if one is given."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, mask)


@pytest.mark.parametrize("dynamo", [True, False], ids=["torch.export", "TorchScript"])
@pytest.mark.parametrize(
    ("network", "masked", "kinds"),
    [
        (Attend(), False, ["attention"]),
        (Attend(), True, ["attention"]),
        (Products(), False, ["elementwise", "matmul", "softmax", "matmul"]),
    ],
    ids=["one op", "with a mask", "products"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_attention_of_both_exporters_is_as_the_network_has_it(
    tmp_path: Path, network: nn.Module, masked: bool, kinds: list[str], dynamo: bool
) -> None:
    inputs = (*(torch.zeros(2, 4, 9, 16) for _ in range(3)), *([torch.zeros(1, 1, 9, 9)] if masked else []))
    path = tmp_path / "net.onnx"
    if dynamo:
        as_onnx(network, inputs, path, opset_version=OPSET)
    else:
        torch.onnx.export(network.eval(), inputs, path, opset_version=OPSET, dynamo=False)
    live, found = lower(trace(network, inputs)), table_of(path)
    assert found.kind.tolist() == live.kind.tolist() == kinds
    assert found.macs.sum() == live.macs.sum() == 2 * (2 * 4 * 9 * 9 * 16)
    assert found.activation_bytes.tolist() == live.activation_bytes.tolist()


def test_recurrent_layers_are_nodes_of_their_own(tmp_path: Path) -> None:
    network, sequence = with_numbers(Recurrent()), torch.zeros(2, 7, 16)
    path = as_onnx(network, (sequence,), tmp_path / "net.onnx", opset_version=OPSET)
    live, found = lower(trace(network, sequence)), table_of(path)
    # 14 steps, 2 directions, 4 gates of 32, of 16 inputs (then 64) and 32 states; 64 to 5
    assert found.macs.tolist() == [14 * 2 * 128 * 48, 14 * 2 * 128 * 96, 2 * 64 * 5]
    assert found.macs.sum() == live.macs.sum()
    assert found.vector_ops.sum() == live.vector_ops.sum()
    states = 2 * (2 * 2 * 32) * 4  # zeros, which the file keeps as a constant that each layer reads twice
    assert found.weight_bytes.sum() == live.weight_bytes.sum() + 2 * states


def test_tied_weights_are_two_in_the_file(tmp_path: Path) -> None:
    network, ids = with_numbers(Tied()), torch.zeros(2, 5, dtype=torch.int64)
    path = as_onnx(network, (ids,), tmp_path / "net.onnx", opset_version=OPSET)
    live, found = lower(trace(network, ids)), table_of(path)
    assert found.macs.sum() == live.macs.sum()
    # the exporter stores the transposed weight again, and `scale` and `arange` beside it, 16 numbers each
    assert found.params == live.params + 50 * 16 + 2 * 16


def test_open_dimensions(tmp_path: Path) -> None:
    network = with_numbers(Block())
    dims = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("tokens", max=512)}
    ids = torch.zeros(2, 16, dtype=torch.int64)
    path = as_onnx(network, (ids,), tmp_path / "net.onnx", opset_version=23, dynamic_shapes=(dims,))
    wanted = torch.zeros(3, 40, dtype=torch.int64)
    live = lower(trace(network, wanted))
    assert sums(table_of(path, batch=3, dims={"tokens": 40})) == sums(live)
    assert sums(table_of(path, batch=3, input_size=(40,))) == sums(live)
    with pytest.raises(
        ModelError, match=r"net.onnx: the file leaves tokens \(dimension 1 of input 'ids'\) open: say how large"
    ):
        load_exported(path)
    with pytest.raises(ModelError, match=r"no dimension is called 'token': .* Did you mean 'tokens'"):
        load_exported(path, dims={"token": 40})
    with pytest.raises(ModelError, match=r"sizes are at least 1 \(got tokens=0\)"):
        load_exported(path, dims={"tokens": 0})


def test_counts_do_not_need_the_weights(convolutional: tuple[nn.Module, Tensor, Path], tmp_path: Path) -> None:
    path = convolutional[-1]
    alone = tmp_path / path.name
    alone.write_bytes(path.read_bytes())
    assert path.with_name("net.onnx.data").exists()
    assert sums(table_of(alone)) == sums(table_of(path))


# --- files made by hand ------------------------------------------------------------------------------------------


def value(name: str, shape: list[Any] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *shape: int) -> Any:
    """A weight without its numbers."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT)
    tensor.dims.extend(shape)
    return tensor


def integers(name: str, *numbers: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(numbers)], list(numbers))


def made(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[str],
    weights: list[Any],
    opset: int = OPSET,
    **more: Any,
) -> Path:
    graph = helper.make_graph(nodes, "made", inputs, [value(name, None) for name in outputs], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **more)
    path.write_bytes(model.SerializeToString())
    return path


def small_network(path: Path, batch: Any = 2) -> Path:
    """Convolutions of every kind, a norm, a pool, shape arithmetic and a linear layer; no weight has numbers."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "stem.weight", "stem.bias"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2], name="stem"),
        node("BatchNormalization", ["a", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b"], name="bn"),
        node("Clip", ["b", "zero", "six"], ["c"], name="act"),
        node("Conv", ["c", "dw.weight"], ["d"], group=16, pads=[0, 0, 2, 2], name="dw"),
        node("ConvTranspose", ["d", "up.weight"], ["e"], strides=[2, 2], name="up"),
        node("GlobalAveragePool", ["e"], ["f"], name="pool"),
        node("Shape", ["f"], ["shape"]),
        node("Gather", ["shape", "first"], ["batch"]),
        node("Concat", ["batch", "minus"], ["flat"], axis=0),
        node("Reshape", ["f", "flat"], ["g"]),
        node("MatMul", ["g", "fc.weight"], ["h"], name="fc"),
        node("Add", ["h", "fc.bias"], ["y"]),
    ]
    scalars = [helper.make_tensor(name, TensorProto.FLOAT, [], [number]) for name, number in (("zero", 0), ("six", 6))]
    weights = [
        weight("stem.weight", 16, 3, 3, 3), weight("stem.bias", 16), weight("dw.weight", 16, 1, 3, 3),
        *(weight(f"bn.{name}", 16) for name in ("scale", "bias", "mean", "var")),
        weight("up.weight", 16, 8, 2, 2), weight("fc.weight", 8, 10), weight("fc.bias", 10),
        integers("first", 0), integers("minus", -1), *scalars,
    ]  # fmt: skip
    return made(path, nodes, [value("x", [batch, 3, 32, 32])], ["y"], weights)


def test_a_file_without_weights_by_hand(tmp_path: Path) -> None:
    table = table_of(small_network(tmp_path / "net.onnx"), "epilogue")
    found = dict(zip(table.name, zip(table.ops, table.macs.tolist(), table.kind, strict=True), strict=True))
    assert found == {
        "stem": ("convolution+batch_norm+relu6", 2 * 16 * 16 * 16 * 27, "conv"),
        "dw.pad": ("pad", 0, "copy"),  # padding on one side is a copy of its own
        "dw": ("convolution", 2 * 16 * 16 * 16 * 9, "depthwise_conv"),
        "up": ("convolution", 2 * 16 * 16 * 16 * (8 * 4), "conv"),  # each input to 8 channels of 2 x 2
        "pool": ("adaptive_avg_pool2d", 0, "pool"),
        "y": ("linear", 2 * 8 * 10, "linear"),
    }
    assert table.params == 16 * 27 + 16 + 16 * 9 + 2 * 16 + 16 * 8 * 4 + 80 + 10
    # weights, of the norm nothing that the folded bias of the convolution is not
    assert table.weight_bytes.tolist() == [4 * (432 + 16), 0, 4 * 144, 4 * 512, 0, 4 * 90]
    image, half, grown = 3 * 32 * 32, 16 * 16 * 16, 8 * 32 * 32
    assert table.activation_bytes.tolist() == [
        8 * count for count in (image + half, half + 16 * 18 * 18, 16 * 18 * 18 + half, half + grown, grown + 8, 8 + 10)
    ]
    assert np.all(table_of(small_network(tmp_path / "b.onnx", "batch"), "epilogue", batch=2).macs == table.macs)
    assert load_exported(tmp_path / "b.onnx").inputs[0].shape == (1, 3, 32, 32)  # a batch is 1 unless given


SHAPE, HALVES = [2, 8, 6, 6], [2, 8]
# op, its attributes, shapes of its inputs, and the ATen op, MACs and vector ops that it is worth
OPS: list[tuple[str, dict[str, Any], list[list[int]], str, int]] = [
    ("Relu", {}, [SHAPE], "relu", 0),
    ("HardSigmoid", {"alpha": 1 / 6}, [SHAPE], "hardsigmoid", 0),
    ("PRelu", {}, [SHAPE, [8, 1, 1]], "prelu", 0),
    ("LeakyRelu", {}, [SHAPE], "leaky_relu", 0),
    ("Gelu", {"approximate": "tanh"}, [SHAPE], "gelu", 0),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [SHAPE], "max_pool2d", 0),
    ("AveragePool", {"kernel_shape": [2, 2], "auto_pad": "VALID"}, [SHAPE], "avg_pool2d", 0),
    ("ReduceMean", {}, [SHAPE], "mean", 0),
    ("ReduceL2", {}, [SHAPE], "linalg_vector_norm", 0),
    ("Softmax", {"axis": 1}, [SHAPE], "softmax", 0),
    ("LayerNormalization", {}, [[2, 8, 6], [6], [6]], "layer_norm", 0),
    ("InstanceNormalization", {}, [SHAPE, [8], [8]], "instance_norm", 0),
    ("MatMul", {}, [[4, 5, 6], [4, 6, 7]], "matmul", 4 * 5 * 6 * 7),
    ("Gemm", {"transA": 1, "transB": 1}, [[6, 5], [7, 6], [7]], "linear", 5 * 6 * 7),
    ("Gemm", {"alpha": 0.5}, [[5, 6], [6, 7], [5, 7]], "addmm", 5 * 6 * 7),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [SHAPE, [4, 8, 3, 3]], "pad convolution", 2 * 4 * 9 * 72),
    ("Conv", {"dilations": [2]}, [[2, 8, 9], [4, 8, 3]], "convolution", 2 * 4 * 5 * 24),
    ("Conv", {"group": 2}, [[1, 4, 5, 5, 5], [6, 2, 1, 1, 1]], "convolution", 6 * 125 * 2),
    ("Einsum", {"equation": "bij,bjk->bik"}, [[4, 5, 6], [4, 6, 7]], "bmm", 4 * 5 * 6 * 7),
    ("GRU", {"hidden_size": 3}, [[7, 2, 5], [1, 9, 5], [1, 9, 3]], "zeros gru", 14 * 9 * (5 + 3)),
    ("RNN", {"hidden_size": 3}, [[7, 2, 5], [1, 3, 5], [1, 3, 3]], "zeros rnn_tanh", 14 * 3 * (5 + 3)),
    ("Concat", {"axis": 1}, [SHAPE, SHAPE], "cat", 0),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, [SHAPE], "pixel_shuffle", 0),
    ("Transpose", {"perm": [0, 2, 3, 1]}, [SHAPE], "", 0),
    ("Flatten", {}, [SHAPE], "", 0),
    ("Flatten", {"axis": 0}, [SHAPE], "", 0),
    ("Flatten", {"axis": -1}, [SHAPE], "", 0),
    (
        "Attention",
        {},
        [[2, 4, 5, 8], [2, 2, 9, 8], [2, 2, 9, 8]],
        "scaled_dot_product_attention",
        2 * 2 * 4 * 5 * 9 * 8,
    ),
]


@pytest.mark.parametrize(("op", "attributes", "shapes", "names", "macs"), OPS, ids=lambda item: str(item)[:24])
def test_one_op(
    op: str, attributes: dict[str, Any], shapes: list[list[int]], names: str, macs: int, tmp_path: Path
) -> None:
    inputs = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node(op, inputs, ["y"], **attributes)
    opset = 23 if op == "Attention" else OPSET
    path = made(
        tmp_path / "op.onnx", [node], [value(*pair) for pair in zip(inputs, shapes, strict=True)], ["y"], [], opset
    )
    table = table_of(path)  # its shapes agree with ONNX's inference, or it is refused
    assert " ".join(table.ops) == names
    assert table.macs.sum() == macs


CONSTANT_INPUTS: list[tuple[str, dict[str, Any], list[tuple[int, ...]], str, tuple[int, ...]]] = [
    ("Slice", {}, [(1, 0), (5, 4), (1, 2), (1, 2)], "", (2, 4, 2, 6)),
    ("Slice", {}, [(-1,), (-9,), (1,), (-1,)], "flip", (2, 8, 6, 6)),
    ("Unsqueeze", {}, [(0, -1)], "", (1, 2, 8, 6, 6, 1)),
    ("Expand", {}, [(3, 2, 8, 6, 6)], "", (3, 2, 8, 6, 6)),
    ("Tile", {}, [(1, 2, 1, 1)], "repeat", (2, 16, 6, 6)),
    ("Pad", {}, [(0, 0, 1, 1, 0, 0, 2, 2)], "pad", (2, 8, 9, 9)),
    ("Pad", {"mode": "reflect"}, [(0, 0, 1, 1, 0, 0, 2, 2)], "pad", (2, 8, 9, 9)),
    ("Reshape", {}, [(0, -1, 6)], "", (2, 48, 6)),
    ("ReduceSum", {"keepdims": 0}, [(1, 3)], "sum", (2, 6)),
    ("Gather", {"axis": 1}, [(3, 1, 0)], "index", (2, 3, 6, 6)),
]


@pytest.mark.parametrize(("op", "attributes", "given", "names", "shape"), CONSTANT_INPUTS, ids=lambda i: str(i)[:24])
def test_ops_that_are_told_by_numbers(
    op: str,
    attributes: dict[str, Any],
    given: list[tuple[int, ...]],
    names: str,
    shape: tuple[int, ...],
    tmp_path: Path,
) -> None:
    numbers = [integers(f"n{i}", *each) for i, each in enumerate(given)]
    node = helper.make_node(op, ["x", *(tensor.name for tensor in numbers)], ["y"], **attributes)
    path = made(tmp_path / "op.onnx", [node], [value("x", SHAPE)], ["y"], numbers)
    found = load_exported(path)
    graph = trace(found.network, found.inputs)
    assert graph.outputs[0].shape == shape
    assert " ".join(lower(graph).ops) == names


def test_a_resize(tmp_path: Path) -> None:
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    table = table_of(made(tmp_path / "op.onnx", [node], [value("x", SHAPE)], ["y"], [scales]))
    assert table.ops.tolist() == ["upsample_bilinear2d"]
    assert table.output_shape.tolist() == [(2, 8, 12, 12)]


def test_quantised_files_are_counted_as_what_they_quantise(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        node("Conv", ["d", "v"], ["y"], name="conv"),
    ]
    kernel = TensorProto(name="w", data_type=TensorProto.INT8)
    kernel.dims.extend([4, 8, 3, 3])
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])
    zero = helper.make_tensor("z", TensorProto.INT8, [], [0])
    table = table_of(made(tmp_path / "op.onnx", nodes, [value("x", SHAPE)], ["y"], [kernel, scale, zero]))
    assert (table.ops.tolist(), table.macs.tolist()) == (["convolution"], [2 * 4 * 16 * 72])
    assert table.weight_bytes.tolist() == [4 * 4 * 72]  # at the dtype of the analysis, which is fp32 here


def test_nodes_of_an_older_exporter_have_the_path_of_their_module(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "onnx::Conv_9"], ["a"], name="/stages/stages.0/conv/Conv"),
        helper.make_node("Sigmoid", ["a"], ["b"], name="/stages/stages.0/act/Sigmoid"),
        helper.make_node("Mul", ["a", "b"], ["y"], name="/stages/stages.0/act/Mul"),
    ]
    path = made(tmp_path / "net.onnx", nodes, [value("x", SHAPE)], ["y"], [weight("onnx::Conv_9", 8, 8, 1, 1)])
    table = table_of(path)
    assert table.name.tolist() == ["stages.0.conv", "stages.0.act"]
    assert table.ops.tolist() == ["convolution", "silu"]


def test_a_pattern_with_another_reader_inside_stays_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["gate"]),
        helper.make_node("Mul", ["x", "gate"], ["y"]),
        helper.make_node("Add", ["y", "gate"], ["z"]),
    ]
    table = table_of(made(tmp_path / "net.onnx", nodes, [value("x", SHAPE)], ["z"], []))
    assert table.ops.tolist() == ["sigmoid", "mul", "add"]


def test_functions_are_what_they_are_made_of(tmp_path: Path) -> None:
    body = [helper.make_node("Sigmoid", ["a"], ["s"]), helper.make_node("Mul", ["a", "s"], ["b"])]
    function = helper.make_function("mine", "Silu", ["a"], ["b"], body, [helper.make_opsetid("", OPSET)])
    node = helper.make_node("Silu", ["x"], ["y"], domain="mine")
    graph = helper.make_graph([node], "made", [value("x", SHAPE)], [value("y", None)])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("mine", 1)]
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph, functions=[function], opset_imports=opsets).SerializeToString())
    assert table_of(path).ops.tolist() == ["silu"]


# --- what is refused ---------------------------------------------------------------------------------------------


def refused(path: Path, match: str, **sizes: Any) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load_exported(path, **sizes)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_a_file_that_is_cut_off_at_any_place(tmp_path: Path) -> None:
    whole = small_network(tmp_path / "whole.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        refused(cut, "no whole ONNX file|no ONNX graph|nothing")


def test_unknown_ops_are_named_with_domain_and_number(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], domain="com.example"),
        helper.make_node("Frobnicate", ["a"], ["b"], domain="com.example"),
        helper.make_node("NonZero", ["b"], ["y"]),
    ]
    path = made(tmp_path / "net.onnx", nodes, [value("x", SHAPE)], ["y"], [])
    refused(path, r"net.onnx: ops that are not known here, .*: com.example.Frobnicate \(2x\), NonZero \(1x\)")


def test_unset_dimensions(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = made(tmp_path / "net.onnx", [node], [value("x", ["N", 3, None, "width"])], ["y"], [])
    refused(
        path,
        r"the file leaves x\.2 \(dimension 2 of input 'x'\), width \(dimension 3 of input 'x'\) open: say how large, "
        r"--arg x\.2=N --arg width=N",
    )
    assert load_exported(path, input_size=(3, 8, 9)).inputs[0].shape == (1, 3, 8, 9)
    refused(path, r"dimension 1 of input 'x' is fixed at 3 in the file \(got 4\)", input_size=(4, 8, 9))
    ranked = made(tmp_path / "rank.onnx", [node], [value("x", None)], ["y"], [])
    refused(ranked, "input 'x' is no tensor with a known number of dimensions")


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "", "a/../../weights.bin", "link.bin"])
def test_external_data_outside_of_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    shape = TensorProto(name="shape", data_type=TensorProto.INT64, data_location=TensorProto.EXTERNAL)
    shape.dims.append(2)
    shape.external_data.add(key="location", value=location)
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    path = made(folder / "net.onnx", [node], [value("x", [2, 3])], ["y"], [shape])
    refused(path, r"'shape' is said to be in .*, which leaves the folder: refused")


def test_numbers_that_shapes_depend_on_may_be_external(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(8) + np.array([3, 2], dtype="<i8").tobytes())
    shape = TensorProto(name="shape", data_type=TensorProto.INT64, data_location=TensorProto.EXTERNAL)
    shape.dims.append(2)
    for key, text in (("location", "data.bin"), ("offset", "8"), ("length", "16")):
        shape.external_data.add(key=key, value=text)
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    path = made(tmp_path / "net.onnx", nodes, [value("x", [2, 3])], ["y"], [shape])
    assert table_of(path).output_shape.tolist() == [(3, 2)]
    (tmp_path / "data.bin").write_bytes(bytes(9))
    refused(path, "constant 'shape' is damaged")
    (tmp_path / "data.bin").unlink()
    refused(path, "its shape, 'shape', depends on data: only shapes are known")


def relu(tmp_path: Path, **more: Any) -> Path:
    return made(tmp_path / "net.onnx", [helper.make_node("Relu", ["x"], ["y"])], [value("x", SHAPE)], ["y"], [], **more)


def test_graphs_that_contradict_themselves(tmp_path: Path) -> None:
    path = made(tmp_path / "a.onnx", [helper.make_node("Relu", ["nothing"], ["y"])], [value("x", SHAPE)], ["y"], [])
    refused(path, "reads 'nothing', which nothing before it writes")
    path = made(tmp_path / "b.onnx", [helper.make_node("Relu", ["x"], ["z"])], [value("x", SHAPE)], ["y"], [])
    refused(path, "nothing writes its output 'y'")
    node = helper.make_node("MatMul", ["x", "x"], ["y"])
    refused(
        made(tmp_path / "c.onnx", [node], [value("x", [2, 3])], ["y"], []),
        "'y' .MatMul. cannot be followed on .* 2x3, 2x3",
    )
    refused(relu(tmp_path, opset=9999), r"of ONNX op set 9999; the onnx package .* upgrade it")


def test_what_is_decided_by_data(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs = [value("x", [2, 3]), value("shape", [2], TensorProto.INT64)]
    refused(made(tmp_path / "net.onnx", nodes, inputs, ["y"], []), "'y' .Reshape.: its shape, 'shape', depends on data")


def test_huge_tensors_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    refused(made(tmp_path / "a.onnx", [node], [value("x", [2**40, 2**40])], ["y"], []), r"2\^44 elements are allowed")
    shape = helper.make_node("ConstantOfShape", ["n"], ["y"])  # it would be 8 TB
    path = made(tmp_path / "b.onnx", [shape], [value("x", [1])], ["y"], [integers("n", 2**20, 2**20)])
    assert load_exported(path)
    monkeypatch.setattr(exported_onnx, "MAX_FILE_BYTES", 10)
    refused(relu(tmp_path), r"has [\d,]+ bytes, and ONNX files up to 10: save it with external data")


def scalar(name: str, number: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [], [number])


def ones(name: str, *shape: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, shape, [1] * math.prod(shape))


CAST = helper.make_node("Cast", ["v"], ["y"], to=TensorProto.INT32)
BOUNDS = [scalar("zero", 0), scalar("one", 1), scalar("many", 10**15)]
BOMBS: dict[str, tuple[list[Any], list[Any], tuple[int, ...]]] = {  # nodes, constants, the shape that comes of it
    "range": ([helper.make_node("Range", ["zero", "many", "one"], ["v"]), CAST], BOUNDS, (10**15,)),
    "range of a product": (
        [helper.make_node("Mul", ["m", "m"], ["mm"]), helper.make_node("Range", ["zero", "mm", "one"], ["v"]), CAST],
        [*BOUNDS, scalar("m", 30_000_000)], (9 * 10**14,),
    ),
    "pad": ([helper.make_node("Pad", ["a", "p"], ["v"]), CAST], [ones("a", 1), integers("p", 0, 3 * 10**8)],
            (3 * 10**8 + 1,)),
    "fill": ([helper.make_node("ConstantOfShape", ["n"], ["v"]), CAST], [integers("n", 10**15)], (10**15,)),
    "expand": ([helper.make_node("Expand", ["a", "n"], ["v"]), CAST], [ones("a", 1), integers("n", 10**15)], (10**15,)),
    "tile": ([helper.make_node("Tile", ["a", "n"], ["v"]), CAST], [ones("a", 1), integers("n", 10**15)], (10**15,)),
    "doubled 40 times": (
        [helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(40)]
        + [helper.make_node("Cast", ["c40"], ["y"], to=TensorProto.INT32)], [ones("c0", 2)], (2**41,),
    ),
    "broadcast": (
        [helper.make_node("Sum", ["a", "b", "c", "d"], ["v"]), CAST],
        [ones("a", 999, 1, 1, 1), ones("b", 1, 999, 1, 1), ones("c", 1, 1, 999, 1), ones("d", 1, 1, 1, 999)],
        (999, 999, 999, 999),
    ),
    "input": ([helper.make_node("Add", ["x", "x"], ["v"]), CAST], [], (3 * 10**8,)),
}  # fmt: skip


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The shape that each comes to, found in little memory by one process for all; what it said of those it did not."""
    folder = tmp_path_factory.mktemp("bombs")
    inputs = [value("x", [3 * 10**8], TensorProto.INT64)]
    for name, (nodes, constants, _) in BOMBS.items():
        graph = helper.make_graph(nodes, "bomb", inputs, [value("y", None, TensorProto.INT32)], constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]), folder / f"{name}.onnx")
    code = f"""
import resource
import traceback
from pathlib import Path

resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
from roofline.exported import load_exported

for name in {list(BOMBS)!r}:
    try:
        found = load_exported(Path({str(folder)!r}, f"{{name}}.onnx"))
        print(name, tuple(found.network(*found.inputs)[0].shape), sep="=", flush=True)
    except Exception:
        traceback.print_exc()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    found = dict(line.split("=") for line in result.stdout.splitlines())
    return dict.fromkeys(BOMBS, result.stderr) | found


@pytest.mark.parametrize("name", BOMBS)
def test_a_vector_of_any_length_is_a_shape_and_no_numbers(name: str, followed: dict[str, str]) -> None:
    """Each would take gigabytes, or all memory, if its values were computed, by us or by data propagation of onnx."""
    assert followed[name] == str(BOMBS[name][2])


def test_memory_that_is_short_is_no_contradiction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*given: Any, **how: Any) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", short)
    refused(relu(tmp_path), "its shapes cannot be inferred in the memory that there is$")
    monkeypatch.setattr(onnx, "load", short)
    refused(relu(tmp_path), "it does not fit into memory$")


def test_constants_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported_onnx, "MAX_KNOWN", 100)
    nodes = [helper.make_node("Identity", ["a"], ["b"]), helper.make_node("Identity", ["b"], ["y"])]
    path = made(tmp_path / "net.onnx", nodes, [value("x", [1])], ["y"], [ones("a", 60)])
    refused(path, "its nodes make more than 100 numbers of constants and shapes")


def test_pads_that_are_computed_as_a_matrix(tmp_path: Path) -> None:
    """As PyTorch's exporter of before turns the order of F.pad around, by a Slice that runs backwards over rows."""
    nodes = [
        helper.make_node("Reshape", ["flat", "pairs"], ["rows"]),
        helper.make_node("Slice", ["rows", "last", "first", "axis", "back"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["columns"], perm=[1, 0]),
        helper.make_node("Reshape", ["columns", "all"], ["pads"]),
        helper.make_node("Pad", ["x", "pads"], ["y"]),
    ]
    numbers = [
        integers("flat", 1, 2, 3, 4), integers("pairs", -1, 2), integers("last", -1), integers("first", -(2**63) + 1),
        integers("axis", 0), integers("back", -1), integers("all", -1),
    ]  # fmt: skip
    path = made(tmp_path / "net.onnx", nodes, [value("x", [10, 20])], ["y"], numbers)
    # rows (3, 4) and (1, 2): 3 before and 4 after the first axis, 1 and 2 at the second
    found = load_exported(path)
    assert found.network(*found.inputs)[0].shape == (17, 23)


def test_text_is_no_tensor(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    refused(
        made(tmp_path / "a.onnx", [node], [value("x", [1], TensorProto.STRING)], ["y"], []),
        "data type 8, which is text",
    )


def test_names_of_weights_are_only_names(tmp_path: Path) -> None:
    names = ["forward", "a..b", "x.__class__", "training"]
    nodes, before = [], "x"
    for position, name in enumerate(names):
        nodes.append(helper.make_node("Mul", [before, name], [f"v{position}"]))
        before = f"v{position}"
    path = made(tmp_path / "net.onnx", nodes, [value("x", SHAPE)], [before], [weight(name, 8, 1, 1) for name in names])
    assert table_of(path).params == 4 * 8


def test_the_package_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    refused(relu(tmp_path), r"needs the onnx package: pip install 'roofline-profiler\[onnx\]'")


def test_gelu_by_its_formula(tmp_path: Path) -> None:
    def scalar(name: str, number: float) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, [], [number])

    nodes = [
        helper.make_node("Div", ["x", "root"], ["a"]), helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]), helper.make_node("Mul", ["x", "c"], ["d"]),
        helper.make_node("Mul", ["half", "d"], ["y"]),
    ]  # fmt: skip
    numbers = [scalar("root", 2**0.5), scalar("one", 1), scalar("half", 0.5)]
    table = table_of(made(tmp_path / "net.onnx", nodes, [value("x", SHAPE)], ["y"], numbers))
    assert table.ops.tolist() == ["gelu"]
    assert table.params == 0


def test_names_that_are_no_text(tmp_path: Path) -> None:
    data = relu(tmp_path).read_bytes()
    path = tmp_path / "bytes.onnx"
    path.write_bytes(data.replace(b"Relu", b"Re\xff\x00"))
    refused(path, r"bytes\.onnx")


def test_an_op_with_a_hundred_operands_takes_no_time(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", *["s"] * 99], ["y"])]
    refused(made(tmp_path / "net.onnx", nodes, [value("x", SHAPE)], ["y"], []), "'y' .Mul.")


def calls(levels: int, times: int) -> Any:
    """A file whose function f1 calls f0 `times` times, f2 likewise f1, and so on."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("own", 1)]

    def function(name: str, op: str, domain: str, count: int) -> Any:
        names = ["x", *(f"t{index}" for index in range(1, count)), "y"]
        nodes = [helper.make_node(op, [a], [b], domain=domain) for a, b in itertools.pairwise(names)]
        return helper.make_function("own", name, ["x"], ["y"], nodes, opsets)

    functions = [function("f0", "Relu", "", 1)]
    functions += [function(f"f{level + 1}", f"f{level}", "own", times) for level in range(levels)]
    graph = helper.make_graph(
        [helper.make_node(f"f{levels}", ["x"], ["y"], domain="own")], "calls",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )  # fmt: skip
    return helper.make_model(graph, functions=functions, opset_imports=opsets)


def test_functions_that_unfold_beyond_measure_are_refused(tmp_path: Path) -> None:
    """3 levels of 4 calls are 64 nodes; 12 of 10, in a file of two kilobytes, would be 10^12."""
    onnx.save(calls(3, 4), tmp_path / "few.onnx")
    assert len(table_of(tmp_path / "few.onnx")) == 4**3
    onnx.save(calls(12, 10), tmp_path / "many.onnx")
    assert (tmp_path / "many.onnx").stat().st_size < 4096
    with pytest.raises(ModelError, match=r"many\.onnx: its functions, put in place of their calls, make more than"):
        load_exported(tmp_path / "many.onnx")
