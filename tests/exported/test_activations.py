"""Another activation function in an exported graph gives the graph of a live network that was built with it."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline import models
from roofline.activation_comparison import compare_activations
from roofline.errors import ModelError
from roofline.exported import load_exported
from roofline.exported.activation_sites import find_sites
from roofline.exported.onnx_nodes import Node
from roofline.graph import Graph
from roofline.layers import COLUMNS, LayerTable, lower
from roofline.loading import load
from roofline.measurement.clock import SystemClock, WallTimer
from roofline.measurement.subject import of_reference
from roofline.models.activations import ACTIVATIONS, make_activation
from roofline.trace import trace
from tests.exported.networks import with_numbers

Command = Callable[..., subprocess.CompletedProcess[str]]

IMAGE = torch.zeros(1, 3, 64, 64)


def saved(network: nn.Module, path: Path, inputs: tuple[Tensor, ...] = (IMAGE,)) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter: it is what it writes that is tested
        torch.export.save(torch.export.export(network.eval(), inputs), path)
    return path


def graph_of(path: Path, **how: Any) -> Graph:
    found = load_exported(path, **how)
    return trace(found.network, found.inputs)


def table_of(path: Path, **how: Any) -> LayerTable:
    return lower(graph_of(path, **how))


def assert_same(exported: LayerTable, live: LayerTable) -> None:
    for column in COLUMNS:
        assert getattr(exported, column).tolist() == getattr(live, column).tolist(), column
    assert exported.params == live.params


def zoo(name: str, **arguments: Any) -> nn.Module:
    return models.find(name).build(**arguments).eval()


# --- the same as live -------------------------------------------------------------------------------------------------


PROBE = {"depth": 5, "width": 8}


@pytest.fixture(scope="module")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The file of a network of the zoo, made once for all that only read it."""

    @cache
    def made(name: str, **arguments: Any) -> Path:
        return saved(zoo(name, **arguments), tmp_path_factory.mktemp(name) / "net.pt2")

    return made


@pytest.fixture(scope="module")
def probe(file_of: Callable[..., Path]) -> Path:
    return file_of("activation_probe", act="relu", **PROBE)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.sampled(4)
def test_each_function_is_as_if_built_with_it(probe: Path, act: str) -> None:
    exported, live = graph_of(probe, act=act), trace(zoo("activation_probe", act=act, **PROBE), IMAGE)
    for fusion in ("none", "epilogue"):
        assert_same(lower(exported, fusion=fusion), lower(live, fusion=fusion))


# Of each family, with what it has: ReLU and h-swish with squeeze-excite and its hard sigmoid; GELU; h-swish, and the
# ReLU of linear attention, which stays; SiLU, ReLU6 and ReLU with squeeze-excite and its sigmoid; Dynamic Shift-Max.
# Shallow where they may be: their blocks are all alike.
SHALLOW_REGNET = {"depth": 5}
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mobilenetv3_small_100", {}),
    ("convnext_atto", {"depths": (1, 1, 1, 1)}),
    ("efficientvit_b0", {}),
    ("rexnet_100", {"depth_mult": 0.2}),
    ("regnety_004", SHALLOW_REGNET),
    ("mobilenetv4_hybrid_medium", {}),
    ("micronet_m1", {}),
    ("fastvit_t8", {}),
    ("mobileone_s4", {}),
]


@pytest.mark.parametrize(("name", "arguments"), NETWORKS, ids=[name for name, _ in NETWORKS])
@pytest.mark.sampled(3)
def test_each_network_is_as_if_built_with_it(
    name: str, arguments: dict[str, Any], file_of: Callable[..., Path]
) -> None:
    for act in ("silu", "prelu"):
        assert_same(table_of(file_of(name, **arguments), act=act), lower(trace(zoo(name, act=act, **arguments), IMAGE)))


@pytest.mark.parametrize("was", [act for act in ACTIVATIONS if act not in ("relu", "relu6", "silu", "hardswish")])
@pytest.mark.sampled(3)
def test_whatever_was_there(was: str, tmp_path: Path) -> None:
    """What may be a gate is none here; weights go with the function that had them; several ops are one function."""
    path = saved(zoo("regnety_004", act=was, **SHALLOW_REGNET), tmp_path / "net.pt2")
    live = zoo("regnety_004", act="relu", **SHALLOW_REGNET)
    assert_same(table_of(path, act="relu"), lower(trace(live, IMAGE)))


def test_its_own_function_changes_nothing(probe: Path) -> None:
    assert_same(table_of(probe, act="relu"), table_of(probe))


class Formulas(nn.Module):
    """One function after the other, as code from before PyTorch had an op for them writes it."""

    def __init__(self, act: str | None = None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(7))
        self.acts = nn.ModuleList(make_activation(act, 3) if act else nn.Identity() for _ in range(6))
        self.is_formula = act is None

    def forward(self, x: Tensor) -> Tensor:
        functions: list[Callable[[Tensor], Tensor]] = [
            lambda x: x * torch.sigmoid(x),
            lambda x: x * F.relu6(x + 3) / 6,
            lambda x: x * (F.relu6(x + 3.0) / 6.0),
            lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
            lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
            lambda x: x * torch.tanh(F.softplus(x)),
        ]
        for conv, function, act in zip(self.convs, functions, self.acts, strict=False):
            x = act(conv(x))
            x = function(x) if self.is_formula else x
        gate = F.relu6(x.mean((2, 3), keepdim=True) + 3) / 6  # a hard sigmoid, which stays
        y: Tensor = self.convs[-1](x * gate)
        return y


def test_a_formula_is_one_function(tmp_path: Path) -> None:
    found, live = table_of(saved(Formulas(), tmp_path / "net.pt2"), act="mish"), lower(trace(Formulas("mish"), IMAGE))
    for column in ("kind", "ops", "macs", "vector_ops", "input_bytes", "output_bytes"):
        assert getattr(found, column).tolist() == getattr(live, column).tolist(), column


# --- what is no activation --------------------------------------------------------------------------------------------


def functions(*nodes: Node, outputs: tuple[str, ...] = ("out",), weights: tuple[str, ...] = ("w",)) -> list[str]:
    return [site.function for site in find_sites(nodes, outputs, {"=1": 1.0}, weights)]


def node(op: str, result: str, *inputs: str) -> Node:
    return Node(op, "", inputs, (result,))


def test_gates_and_answers_are_no_activations() -> None:
    conv, then = node("Conv", "x", "in", "w"), node("Conv", "out", "y", "w")
    assert functions(conv, node("Sigmoid", "y", "x"), then) == ["sigmoid"]
    assert functions(conv, node("Sigmoid", "g", "x"), node("Mul", "y", "g", "in"), then) == []
    # z h + (1 - z) n of a GRU
    cell = [
        node("Sub", "z1", "=1", "g"),
        node("Mul", "a", "z1", "in"),
        node("Mul", "b", "g", "x"),
        node("Add", "y", "a", "b"),
    ]
    assert functions(conv, node("Sigmoid", "g", "x"), *cell, then) == []
    assert functions(conv, node("Sigmoid", "out", "x")) == []
    assert functions(conv, node("Relu", "out", "x")) == ["relu"]
    # pooled for squeeze-and-excitation and gated by it, as the activation before it is
    gated = [node("GlobalAveragePool", "p", "y"), node("Sigmoid", "g", "p"), node("Mul", "out", "y", "g")]
    assert functions(conv, node("Sigmoid", "y", "x"), *gated) == ["sigmoid"]
    # by a scale of its own it is no gate
    assert functions(conv, node("Tanh", "t", "x"), node("Mul", "y", "t", "w"), then) == ["tanh"]


def test_what_attends_is_no_activation() -> None:
    conv = node("Conv", "x", "in", "w")
    turned = [node("Relu", "q", "x"), node("Transpose", "k", "q"), node("Add", "k1", "k", "=1")]
    assert functions(conv, *turned, node("MatMul", "out", "in", "k1")) == []
    assert functions(conv, *turned, node("Transpose", "v", "w"), node("MatMul", "out", "k1", "v")) == ["relu"]
    assert functions(node("Sigmoid", "g", "w"), node("Conv", "out", "in", "g")) == []


# --- in place ---------------------------------------------------------------------------------------------------------


class InPlace(nn.Module):
    def __init__(self, act: nn.Module, view: bool = False) -> None:
        super().__init__()
        self.first, self.act, self.second, self.view = nn.Conv2d(3, 4, 1), act, nn.Conv2d(4, 5, 1), view

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = x.flatten(2) if self.view else x
        self.act(y)
        z: Tensor = self.second(x)
        return z


@pytest.mark.parametrize("act", ["silu", "gelu"])
def test_what_works_in_place_is_read_by_its_old_name(act: str, tmp_path: Path) -> None:
    network: Any = with_numbers(InPlace(nn.ReLU(inplace=True)))
    found = load_exported(saved(network, tmp_path / "net.pt2"), act=act, weights=True).network
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        (ours,) = found(x)
        torch.testing.assert_close(ours, network.second(make_activation(act, 4)(network.first(x))), rtol=0, atol=0)


def test_what_is_seen_by_another_name_too_is_left_to_those_that_work_in_place(tmp_path: Path) -> None:
    network: Any = with_numbers(InPlace(nn.ReLU(inplace=True), view=True))
    path = saved(network, tmp_path / "net.pt2")
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        (ours,) = load_exported(path, act="silu", weights=True).network(x)
        torch.testing.assert_close(ours, network.second(F.silu(network.first(x))), rtol=0, atol=0)
    with pytest.raises(
        ModelError, match=r"net.pt2: 'act' works in place on what is read elsewhere, too, and gelu cannot"
    ):
        load_exported(path, act="gelu")


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize("act", ["hardswish", "prelu", "dynamic_shift_max"])
def test_it_computes_what_the_live_network_does(
    act: str, mode: str, file_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    path = file_of("mobilenetv3_small_100")
    subject = of_reference(str(path), timer=WallTimer(SystemClock()), arguments={"act": act}, mode=mode)
    live = zoo("mobilenetv3_small_100", act=act)
    assert subject.module is not None
    live.load_state_dict(subject.module.state_dict())  # of the same names, all of them
    assert subject.name == f"{path}(act={act!r})"
    assert subject.params == sum(parameter.numel() for parameter in live.parameters())
    with subject.context():
        (ours,) = cast(tuple[Tensor, ...], subject.call())
        torch.testing.assert_close(ours, live(*subject.inputs), rtol=0, atol=0)


# --- the comparison ---------------------------------------------------------------------------------------------------


def test_the_rows_are_those_of_the_live_network(probe: Path) -> None:
    how: dict[str, Any] = {
        "acts": ["silu", "prelu", "se_relu"],
        "hw": ["pixel6_tpu", "pixel6_cpu"],
        "input_size": (3, 64, 64),
    }
    exported = compare_activations(str(probe), **how)
    live = compare_activations("activation_probe", arguments=PROBE, **how)
    assert exported.to_rows() == live.to_rows()
    assert exported.verdict() == live.verdict()


def test_the_command(probe: Path, command: Command) -> None:
    result = command("activations", "--model", probe, "--acts", "relu,silu", "--hw", "pixel6_tpu", "--format", "json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [row["activation"] for row in found["rows"]] == ["relu", "silu"]
    assert found["rows"][1]["ratio_to_relu_predicted"]["pixel6_tpu"] > 1
    analyzed = command("analyze", probe, "--arg", "act=silu", "--hw", "pixel6_tpu", "--format", "json")
    assert json.loads(analyzed.stdout)["totals"]["latency_s"] == found["rows"][1]["predicted_s"]["pixel6_tpu"]


@pytest.mark.parametrize(
    ("network", "act", "said"),
    [
        (nn.Conv2d(3, 4, 1), "silu", "it has no activation function that silu could take the place of"),
        (nn.Sequential(nn.Flatten(2), nn.ReLU()), "prelu", "prelu works on channels, and what '1' sees is no map"),
        (nn.ReLU(), "swosh", "act 'swosh' is unknown; there are relu, relu6"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(network: nn.Module, act: str, said: str, tmp_path: Path) -> None:
    path = saved(network, tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=rf"net.pt2: {said}") as error:
        load(str(path), arguments={"act": act})
    assert "\n" not in str(error.value)
