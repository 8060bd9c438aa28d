"""A plain layer is recorded as the ordinary way would record it, and anything else takes that way."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from roofline import recorder
from roofline.errors import TraceError
from roofline.graph import Graph, Value
from roofline.plain_layers import PLAIN_LAYERS, plain_call
from roofline.trace import trace

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "pointwise": (lambda: nn.Conv2d(4, 6, 1, bias=False), (1, 4, 8, 8)),
    "pointwise with a bias": (lambda: nn.Conv2d(4, 6, 1), (1, 4, 8, 8)),
    "strided": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), (1, 4, 9, 8)),
    "depthwise": (lambda: nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4), (2, 4, 8, 8)),
    "dilated": (lambda: nn.Conv2d(4, 4, 3, dilation=2), (1, 4, 8, 8)),
    "padded to the same size": (lambda: nn.Conv2d(4, 4, 3, padding="same"), (1, 4, 8, 8)),
    "reflected": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), (1, 4, 8, 8)),
    "without a batch": (lambda: nn.Conv2d(4, 4, 3), (4, 8, 8)),
    "conv1d": (lambda: nn.Conv1d(4, 4, 3, padding=1), (1, 4, 8)),
    "conv3d": (lambda: nn.Conv3d(4, 4, 3, stride=(1, 2, 2)), (1, 4, 8, 8, 8)),
    "linear": (lambda: nn.Linear(8, 3), (2, 5, 8)),
    "linear without a bias": (lambda: nn.Linear(8, 3, bias=False), (8,)),
    "batch norm": (lambda: nn.BatchNorm2d(4), (1, 4, 8, 8)),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(4, eps=1e-3), (2, 4)),
    "batch norm of volumes": (lambda: nn.BatchNorm3d(4, momentum=None), (2, 4, 3, 3, 3)),
    "batch norm without weights": (lambda: nn.BatchNorm2d(4, affine=False), (1, 4, 8, 8)),
    "batch norm without statistics": (lambda: nn.BatchNorm2d(4, track_running_stats=False), (2, 4, 8, 8)),
    "layer norm": (lambda: nn.LayerNorm(8), (2, 5, 8)),
    "layer norm of an eps": (lambda: nn.LayerNorm(8, eps=1e-6), (2, 5, 8)),
    "layer norm without weights": (lambda: nn.LayerNorm(8, elementwise_affine=False), (2, 5, 8)),
    "layer norm without a bias": (lambda: nn.LayerNorm(8, bias=False), (2, 5, 8)),
    "layer norm of two axes": (lambda: nn.LayerNorm((5, 8)), (2, 5, 8)),
    "identity": (lambda: nn.Identity(3, much=4), (2, 5)),
    "dropout": (lambda: nn.Dropout(0.3), (2, 5)),
    "dropout of an integer": (lambda: nn.Dropout(0), (2, 5)),
    "dropout in place": (lambda: nn.Dropout(0.3, inplace=True), (2, 5)),
    "gelu": (nn.GELU, (2, 5)),
    "gelu by tanh": (lambda: nn.GELU("tanh"), (2, 5)),
    "sigmoid": (nn.Sigmoid, (2, 5)),
    "tanh": (nn.Tanh, (2, 5)),
    **{
        f"{kind.__name__}{' in place' if inplace else ''}": (partial(kind, inplace), (2, 5))
        for kind in (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Mish)
        for inplace in (False, True)
    },
}
INPUTS: dict[str, Callable[[tuple[int, ...]], Tensor]] = {
    "on meta": lambda shape: torch.empty(shape, device="meta"),
    "on the CPU": torch.zeros,
    "transposed": lambda shape: torch.empty(shape[::-1], device="meta").permute(*reversed(range(len(shape)))),
    "in half": lambda shape: torch.empty(shape, dtype=torch.float16, device="meta"),
}


class Twice(nn.Module):
    """A layer on its input, then on what a sum makes of both, which is read again."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        first = self.layer(x + 1)
        second = self.layer(x)
        return first + second, second


def described(graph: Graph) -> list[object]:
    """All that a graph says, as plain data; a value as the place where it first comes up."""
    numbers: dict[int, int] = {}

    def of(item: Any) -> object:
        if isinstance(item, tuple):
            return tuple(map(of, item))
        if not isinstance(item, Value):
            return type(item).__name__, item
        number = numbers.setdefault(id(item), len(numbers))
        base = None if item.base is None else of(item.base)
        return (
            number, item.shape, item.dtype, item.role, item.elements, item.storage, item.name, item.producer, base,
            item.extent, item.strides, item.is_sparse,
        )  # fmt: skip

    ops = [
        (
            op.name, op.target, of(op.args), {key: of(item) for key, item in op.kwargs.items()}, of(op.inputs),
            of(op.outputs), op.is_view, op.path, op.is_leaf, op.call,
        )
        for op in graph.ops
    ]  # fmt: skip
    return [ops, of(graph.inputs), of(graph.outputs), graph.params, dict(graph.storage_elements), graph.module_calls]


@contextmanager
def ordinarily() -> Iterator[None]:
    """Every layer runs."""
    with mock.patch.object(recorder, "plain_call", return_value=None):
        yield


def shortened(model: nn.Module, x: Any) -> tuple[Graph, int]:
    """The graph, and how many layers did not run."""
    original, found = recorder.Recorder.at_once, []

    def at_once(self: recorder.Recorder, module: nn.Module, given: Any) -> Any:
        out = original(self, module, given)
        found.append(out is not None)
        return out

    with mock.patch.object(recorder.Recorder, "at_once", at_once):
        graph = trace(model, x)
    return graph, sum(found)


@pytest.mark.parametrize("lie", INPUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_the_graph_is_that_of_the_ordinary_way(name: str, lie: str) -> None:
    build, shape = LAYERS[name]
    if lie == "transposed" and len(shape) < 2:
        pytest.skip("it has one axis")
    layer = build().half() if lie == "in half" else build()
    model, x = Twice(layer).eval(), INPUTS[lie](shape)
    with ordinarily():
        expected = described(trace(model, x))
    assert described(trace(model, x)) == expected
    layer.register_forward_hook(lambda *_: None)
    assert described(trace(model, x)) == expected, "a hook that does nothing"


def test_every_class_is_tried() -> None:
    assert {type(build()) for build, _ in LAYERS.values()} == set(PLAIN_LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_plain_layers_do_not_run(name: str) -> None:
    unusual = {
        "padded to the same size", "reflected", "without a batch", "batch norm without statistics",
        "layer norm of two axes", "dropout of an integer", "dropout in place", "gelu by tanh",
    }  # fmt: skip
    build, shape = LAYERS[name]
    _, calls = shortened(Twice(build()), torch.empty(shape, device="meta"))
    assert calls == (0 if name in unusual else 2)


# --- what has to run --------------------------------------------------------------------------------------------------


class Doubling(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out + out if func is torch.conv2d else out


class Adding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out + out if func is torch.ops.aten.conv2d.default else out


class Other(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input + input)


class Own(Tensor):
    """A tensor of the user's."""


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 1)


def with_forward() -> nn.Module:
    layer = conv()
    layer.__dict__["forward"] = lambda x: x + x
    return layer


def with_inner_forward() -> nn.Module:
    layer = conv()
    layer.__dict__["_conv_forward"] = lambda x, weight, bias: x + x
    return layer


def with_hook() -> nn.Module:
    layer = conv()
    layer.register_forward_hook(lambda module, args, out: out + out)
    return layer


def with_pre_hook() -> nn.Module:
    layer = conv()
    layer.register_forward_pre_hook(lambda module, args: (args[0] + args[0],))
    return layer


def with_parametrization() -> nn.Module:
    layer: nn.Module = parametrizations.weight_norm(conv())
    return layer


def with_a_weight_of_its_own() -> nn.Module:
    layer = conv()
    del layer.weight
    layer.weight = torch.zeros(3, 3, 1, 1)
    return layer


def with_a_tensor_of_the_users() -> nn.Module:
    layer = conv()
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Own))
    return layer


@pytest.mark.parametrize(
    "build",
    [
        with_forward, with_inner_forward, with_hook, with_pre_hook, with_parametrization, with_a_weight_of_its_own,
        with_a_tensor_of_the_users, lambda: Other(3, 3, 1),
    ],
)  # fmt: skip
def test_a_layer_that_is_not_plain_runs(build: Callable[[], nn.Module]) -> None:
    model, x = nn.Sequential(build()), torch.zeros(1, 3, 4, 4)
    with ordinarily():
        expected = described(trace(model, x))
    graph, calls = shortened(model, x)
    assert described(graph) == expected
    assert not calls


@contextmanager
def patched(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    with mock.patch.object(owner, name, function):
        yield


@contextmanager
def hooked() -> Iterator[None]:
    handle = register_module_forward_hook(lambda module, args, out: out + out)
    try:
        yield
    finally:
        handle.remove()


SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "a mode of functions": Doubling,
    "a mode of ops": Adding,
    "a global hook": hooked,
    "another function of torch": lambda: patched(F, "conv2d", lambda x, *_: x + x),
    "another forward": lambda: patched(nn.Conv2d, "forward", lambda self, x: x + x),
    "a device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_layer_runs_where_torch_does_more_than_usual(name: str, inside: bool) -> None:
    class Surrounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1, device="meta")

        def forward(self, x: Tensor) -> Any:
            if not inside:
                return self.layer(x)
            with SURROUNDINGS[name]():
                return self.layer(x)

    model, x = Surrounded(), torch.empty(1, 3, 4, 4, device="meta")
    if inside:
        with ordinarily():
            expected = described(trace(model, x))
        graph, calls = shortened(model, x)
    else:
        with SURROUNDINGS[name]():
            with ordinarily():
                expected = described(trace(model, x))
            graph, calls = shortened(model, x)
    assert described(graph) == expected
    assert not calls


def test_a_weight_that_was_written_to_is_read_as_it_stands() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            x = self.layer(x)
            self.layer.weight.mul_(2)
            return self.layer(x)

    model, x = Writes(), torch.zeros(1, 4)
    with ordinarily():
        expected = described(trace(model, x))
    assert described(trace(model, x)) == expected


def test_constants_keep_their_values() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()
            self.register_buffer("steps", torch.arange(-3.0, 4.0))

        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if self.relu(self.steps).sum() == 6 else x

    assert [op.name for op in trace(Decides(), torch.zeros(2)).ops][-1] == "add"


def test_an_error_is_that_of_torch() -> None:
    for model, x in ((nn.BatchNorm2d(3), torch.zeros(3, 4, 4)), (conv(), torch.zeros(1, 5, 4, 4))):
        messages = []
        for way in (ordinarily, torch.no_grad):
            with way(), pytest.raises(TraceError) as caught:
                trace(model, x)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def test_half_a_module_is_not_plain() -> None:
    layer = nn.ReLU.__new__(nn.ReLU)
    assert plain_call(layer, torch.zeros(1)) is None


def test_no_garbage_is_left() -> None:
    model, x = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU()), torch.zeros(1, 3, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace(model, x)
        gc.collect()
        gc.disable()
        try:
            graph = trace(model, x)
            assert not any(isinstance(item, recorder.Recorder | Tensor) for item in _unreachable())
        finally:
            gc.enable()
    assert graph.ops


def _unreachable() -> list[Any]:
    """What only a search for garbage frees."""
    before = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(before)
        gc.garbage.clear()
