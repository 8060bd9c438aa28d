"""Another activation function in an ONNX file gives the file that PyTorch exports of a network built with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline import models
from roofline.errors import ModelError
from roofline.exported import load_exported
from roofline.exported.onnx_activations import WRITERS
from roofline.graph import Graph
from roofline.layers import COLUMNS, LayerTable, lower
from roofline.measurement.clock import SystemClock, WallTimer
from roofline.measurement.subject import of_reference
from roofline.models.activations import ACTIVATIONS, make_activation
from roofline.trace import trace
from tests.exported.networks import as_onnx, with_numbers

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

Command = Callable[..., subprocess.CompletedProcess[str]]

IMAGE = torch.zeros(1, 3, 64, 64)
OPSETS = (9, 10, 13, 17, 18, 20)  # with all that came in between: Clip's inputs, HardSwish, Mish, Gelu


def exported(network: nn.Module, path: Path, opset: int = 18) -> Path:
    return as_onnx(network.eval(), (IMAGE,), path, opset_version=opset)


def graph_of(path: Path, **how: Any) -> Graph:
    found = load_exported(path, **how)
    return trace(found.network, found.inputs)


def table_of(path: Path, fusion: str = "none", **how: Any) -> LayerTable:
    return lower(graph_of(path, **how), fusion=fusion)


def zoo(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return models.find(name).build(**arguments).eval()


def assert_same(ours: LayerTable, theirs: LayerTable) -> None:
    for column in COLUMNS:
        assert getattr(ours, column).tolist() == getattr(theirs, column).tolist(), column
    assert ours.params == theirs.params


class Small(nn.Module):
    """Three activations, one of them in squeeze-and-excitation, whose gate stays."""

    def __init__(self, act: str) -> None:
        super().__init__()
        self.stem, self.act1 = nn.Conv2d(3, 8, 3), make_activation(act, 8)
        self.reduce, self.act2, self.expand = nn.Conv2d(8, 4, 1), make_activation(act, 4), nn.Conv2d(4, 8, 1)
        self.conv, self.act3, self.head = nn.Conv2d(8, 8, 3), make_activation(act, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.stem(x))
        gate = self.expand(self.act2(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()
        x = self.act3(self.conv(x * gate))
        y: Tensor = self.head(x.mean((2, 3)))
        return y


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(with_numbers(Small("relu")), tmp_path_factory.mktemp("exported") / "small.onnx")


@pytest.mark.parametrize("act", WRITERS)
@pytest.mark.sampled(4)
def test_it_is_the_file_of_a_network_built_with_it(act: str, small: Path, tmp_path: Path) -> None:
    ours, built = graph_of(small, act=act), graph_of(exported(with_numbers(Small(act)), tmp_path / "net.onnx"))
    for fusion in ("none", "epilogue"):
        assert_same(lower(ours, fusion=fusion), lower(built, fusion=fusion))


@pytest.mark.parametrize("was", WRITERS)
@pytest.mark.sampled(4)
def test_whatever_was_there(was: str, small: Path, tmp_path: Path) -> None:
    path = exported(
        with_numbers(Small(was)), tmp_path / "net.onnx", opset=20
    )  # where some are one node that were a formula before
    assert_same(table_of(path, act="relu"), table_of(small))


NETWORKS: list[tuple[str, dict[str, Any]]] = [  # shallow where they may be: their blocks are all alike
    ("mobilenetv3_small_100", {}),
    ("efficientvit_b0", {}),
    ("convnext_atto", {"depths": (1, 1, 1, 1)}),
    ("rexnet_100", {"depth_mult": 0.2}),
]


@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=[name for name, _ in NETWORKS])
@pytest.mark.sampled(2)
def test_each_network_is_as_if_built_with_it(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    path = exported(zoo(name, **arguments), tmp_path / "net.onnx")
    built = exported(zoo(name, **arguments, act="silu"), tmp_path / "silu.onnx")
    assert_same(table_of(path, "epilogue", act="silu"), table_of(built, "epilogue"))


# --- run --------------------------------------------------------------------------------------------------------------


def two_convolutions(path: Path, opset: int, *, external: str = "") -> tuple[Path, list[Tensor]]:
    """By hand, as exporters other than PyTorch's write it: no names, and no shapes in between."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(4, 3, 1, 1, generator=generator), torch.randn(2, 4, 1, 1, generator=generator)]
    initializers = [numpy_helper.from_array(weight.numpy(), f"w{i}") for i, weight in enumerate(weights)]
    if external:
        (path.parent / external).write_bytes(initializers[0].raw_data)
        initializers[0].ClearField("raw_data")
        initializers[0].data_location = TensorProto.EXTERNAL
        entry = initializers[0].external_data.add()
        entry.key, entry.value = "location", external
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["y"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 5, 5])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [given], [result], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path, weights


def given_out(path: Path, act: str) -> tuple[Tensor, Tensor]:
    """What ONNX Runtime gives, and for which input."""
    pytest.importorskip("onnxruntime")
    made = of_reference(str(path), timer=WallTimer(SystemClock()), arguments={"act": act}, batch=2)
    assert (made.mode, made.name) == ("onnxruntime", f"{path}(act={act!r})")
    (output,) = cast(list[Any], made.call())
    return torch.from_numpy(np.asarray(output)), made.inputs[0]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("act", WRITERS)
@pytest.mark.sampled(3)
def test_onnx_runtime_computes_the_function(act: str, opset: int, tmp_path: Path) -> None:
    path, (first, second) = two_convolutions(tmp_path / "net.onnx", opset)
    ours, x = given_out(path, act)
    torch.testing.assert_close(ours, F.conv2d(make_activation(act, 4)(F.conv2d(x, first)), second).detach())
    table = table_of(path, act=act)
    assert table.macs.sum() == 25 * (3 * 4 + 4 * 2)
    assert table.params == 3 * 4 + 4 * 2 + 4 * (act == "prelu")


@pytest.mark.parametrize("there", [True, False])
def test_weights_in_another_file_come_along(there: bool, tmp_path: Path) -> None:
    path, (first, second) = two_convolutions(tmp_path / "net.onnx", 18, external="net.data")
    if not there:
        (tmp_path / "net.data").unlink()
    ours, x = given_out(path, "silu")
    theirs = F.conv2d(F.silu(F.conv2d(x, first)), second)
    assert torch.allclose(ours, theirs, atol=1e-5) == there


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", sorted(ACTIVATIONS.keys() - WRITERS.keys()))
def test_what_looks_at_the_whole_map_is_refused(act: str, small: Path) -> None:
    with pytest.raises(ModelError, match=rf"small.onnx: {act} looks at the whole map"):
        load_exported(small, act=act)


def test_a_file_without_an_activation_function(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    given, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([node], "net", [given], [result])).SerializeToString())
    with pytest.raises(ModelError, match=r"net.onnx: it has no activation function that silu could take the place of"):
        load_exported(path, act="silu")


def test_the_command(small: Path, command: Command) -> None:
    result = command("activations", "--model", small, "--acts", "relu,silu", "--hw", "pixel6_tpu", "--format", "json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["rows"][1]["ratio_to_relu_predicted"]["pixel6_tpu"] > 1
    refused = command("activations", "--model", small, "--acts", "se_relu", "--hw", "pixel6_tpu")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "se_relu looks at the whole map" in refused.stderr


def test_sizes_that_no_network_has_are_not_believed(tmp_path: Path) -> None:
    path, _ = two_convolutions(tmp_path / "net.onnx", 18)
    model = onnx.load(path)
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 2**40, 5, 5]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        ModelError, match=r"prelu has weights for each channel, and 'a' is said to have 1,099,511,627,776"
    ):
        load_exported(path, act="prelu")
