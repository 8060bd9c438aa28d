"""Tracing: what ran, exactly once, on shapes alone; and not a mark left on the model, its inputs or torch."""

from __future__ import annotations

import collections
import dataclasses
import gc
import pickle
import re
import subprocess
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from roofline import surroundings
from roofline.errors import TraceError
from roofline.graph import Graph, Op, Value
from roofline.layers import lower
from roofline.trace import trace


@pytest.fixture(autouse=True)
def _no_mode_is_left_running() -> Iterator[None]:
    yield
    assert not _get_current_dispatch_mode_stack()


class Apply(nn.Module):
    """A model that is one function of its inputs: ``function(self, *inputs)``, with the given parts."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(self, *inputs, **named)


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def graph_of(function: Callable[..., Any], *inputs: Any, **parts: Any) -> Graph:
    return trace(Apply(function, **parts), inputs)


def names(graph: Graph) -> list[str]:
    """The ops that do something, in order."""
    return [op.name for op in graph.ops if not op.is_view]


def paths(graph: Graph) -> list[str]:
    return [op.path for op in graph.ops if not op.is_view]


def only(graph: Graph, name: str) -> Op:
    (found,) = (op for op in graph.ops if op.name == name)
    return found


def producer(graph: Graph, value: Value) -> str:
    """The op that wrote what `value` shows, or what the memory was before any did."""
    index = value.root.producer
    return graph.ops[index].name if index >= 0 else value.root.role


def described(graph: Graph) -> list[object]:
    """All that a graph says, as plain data that compares by value."""

    def value(v: Value) -> object:
        return v.shape, v.dtype, v.role, v.elements, v.storage, v.name, v.root.producer

    def argument(item: Any) -> object:
        if isinstance(item, Value):
            return value(item)
        return tuple(map(argument, item)) if isinstance(item, tuple) else item

    ops = [
        (
            op.name, op.target, op.path, op.is_leaf, op.call, op.is_view, argument(op.args),
            {key: argument(item) for key, item in op.kwargs.items()},
            *(tuple(map(value, values)) for values in (op.inputs, op.outputs)),
        )
        for op in graph.ops
    ]  # fmt: skip
    ends = [tuple(map(value, values)) for values in (graph.inputs, graph.outputs)]
    return [ops, ends, graph.params, dict(graph.storage_elements)]


# --- models to trace ---------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """Convolution, batch norm, an in-place activation, a residual, dropout, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.Hardswish())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 10))

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        return self.head(x + self.block(x))


class Tied(nn.Module):
    """A language model whose head is its embedding, with positions made in forward and a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.positions = nn.Embedding(32, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Any:
        length = tokens.shape[1]
        x = self.tokens(tokens) + self.positions(torch.arange(length, device=tokens.device))
        mask = torch.full((length, length), float("-inf"), device=tokens.device).triu(1)
        return self.head(self.layer(x, mask))


class Squared(torch.autograd.Function):
    """A custom autograd function."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * x * gradients[0]


def slices(self: Any, x: Tensor) -> Tensor:
    y = self.conv(x)
    y[:, :2] += x[:, :2]
    return Squared.apply(y.relu_())  # type: ignore[no-untyped-call, no-any-return]


ZOO: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "residual network": (Residual, lambda: zeros(2, 3, 8, 8)),
    "tied language model": (Tied, lambda: zeros(2, 5, dtype=torch.int64)),
    "lstm": (lambda: nn.LSTM(8, 6, 2, bidirectional=True, batch_first=True), lambda: zeros(2, 5, 8)),
    "in-place slices and a custom function": (
        lambda: Apply(slices, conv=nn.Conv2d(4, 4, 1)),
        lambda: zeros(2, 4, 6, 6),
    ),
    "weight norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), lambda: zeros(2, 8)),
}
every_model = pytest.mark.parametrize("name", ZOO)


def seeded(name: str) -> tuple[nn.Module, Any]:
    build, inputs = ZOO[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(), inputs()


# --- the model is left as it was ---------------------------------------------------------------------------------


def contents(item: Any) -> object:
    """What a container holds, by identity; a plain value as it is."""
    if isinstance(item, dict):
        return {key: id(value) for key, value in item.items()}
    if isinstance(item, list | set):
        return sorted(map(id, item))
    return item if isinstance(item, bool | int | float | str) else None


def state_of(model: nn.Module) -> dict[str, object]:
    """Everything a user could find changed: identities, places, flags, hooks, attributes."""
    state: dict[str, object] = {"__call__": nn.Module.__call__}
    for path, module in model.named_modules(remove_duplicate=False):
        for key, item in vars(module).items():
            state[f"{path}:{key}"] = id(item), contents(item)
        state[f"{path}:keys"] = tuple(vars(module))
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for path, item in tensors:
        state[f"{path}!"] = (
            id(item), item.device, item.dtype, item.shape, item.stride(), item.requires_grad, item.grad,
            item.is_inference(), item.untyped_storage()._cdata, item.untyped_storage().nbytes(),
        )  # fmt: skip
    return state


def data_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: item.clone() for key, item in model.state_dict().items()}


def assert_same_data(model: nn.Module, before: dict[str, Tensor]) -> None:
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(item, before[key]) for key, item in after.items())


def state_of_torch() -> list[object]:
    return [
        torch.get_rng_state().tolist(), torch.backends.mha.get_fastpath_enabled(), nn.Module.__call__,
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), len(_get_current_dispatch_mode_stack()),
        torch.get_default_dtype(), torch.get_default_device(), torch.is_autocast_enabled("cpu"),
        Tensor.numpy, Tensor.tolist, torch.autocast.__init__,
    ]  # fmt: skip


@every_model
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_bit_identical_afterwards(name: str, training: bool) -> None:
    model, inputs = seeded(name)
    model.train(training)
    before, data, torch_before = state_of(model), data_of(model), state_of_torch()
    trace(model, inputs)
    assert state_of(model) == before
    assert_same_data(model, data)
    assert state_of_torch() == torch_before


@every_model
def test_the_model_still_runs_and_trains_as_before(name: str) -> None:
    model, inputs = seeded(name)
    model.eval()
    want = model(inputs)
    trace(model, inputs)
    got = model(inputs)
    first = [item[0] if isinstance(item, tuple) else item for item in (want, got)]
    assert torch.equal(first[0], first[1])
    model.train()
    out = model(inputs)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_each_module_keeps_its_own_training_flag() -> None:
    model = Residual().train()
    model.stem[1].eval()
    model.block.eval()
    flags = [module.training for module in model.modules()]
    trace(model, zeros(1, 3, 8, 8))
    assert [module.training for module in model.modules()] == flags


def test_a_module_in_training_mode_is_analysed_as_in_eval_mode() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.BatchNorm1d(8))
    training, evaluated = (described(trace(model.train(mode), zeros(2, 8))) for mode in (True, False))
    assert training == evaluated
    assert only(trace(model, zeros(2, 8)), "batch_norm").arg(5, "training") is False


def test_an_overridden_train_is_neither_called_nor_needed() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(8)

        def train(self, mode: bool = True) -> Any:
            raise AssertionError("train() was called")

        def forward(self, x: Tensor) -> Any:
            return self.norm(x)

    model = Frozen()
    trace(model, zeros(2, 8))
    assert model.training
    assert model.norm.training


class Busy(nn.Module):
    """Its forward writes down all sorts of things on itself."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.ones(8))
        self.register_buffer("column", torch.ones(8))
        self.steps: Tensor
        self.average: Tensor
        self.column: Tensor
        self.calls = 0
        self.table = {"calls": 0}
        self.features: list[Tensor] = []
        self.seen: set[int] = set()

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        self.last = x
        self.linear.last = x
        self.steps += 1
        self.average.mul_(0.9).add_(x.mean(0))
        self.average = self.average * 2
        self.extra = nn.Linear(8, 8)
        self.gain = nn.Parameter(torch.ones(8))
        self.linear.weight = nn.Parameter(self.linear.weight * 2)
        return self.extra(self.linear(x)) * self.gain


def test_what_forward_writes_on_the_model_is_taken_back() -> None:
    model = Busy()
    before, data = state_of(model), data_of(model)
    trace(model, zeros(2, 8))
    assert state_of(model) == before
    assert_same_data(model, data)


def append(self: Any, x: Tensor) -> Tensor:
    self.features.append(x)
    self.table["calls"] += 1
    self.seen.add(1)
    return x


def register(self: Any, x: Tensor) -> Tensor:
    self.register_forward_hook(lambda *_: None)
    self.linear.register_forward_pre_hook(lambda *_: None)
    self.register_buffer("scratch", torch.zeros(1), persistent=False)
    return x


@pytest.mark.parametrize("forward", [append, register])
def test_what_forward_adds_to_the_lists_tables_and_hooks_of_the_model_is_taken_back(
    forward: Callable[..., Any],
) -> None:
    model = Busy()
    before = state_of(model)
    model.forward = forward.__get__(model)  # type: ignore[method-assign]
    trace(model, zeros(2, 8))
    del model.forward
    assert state_of(model) == before
    assert (model.features, model.table, model.seen) == ([], {"calls": 0}, set())


def in_a_dict_of_lists(self: Any, x: Tensor) -> None:
    self.memory["a"].append(x)
    self.memory["b"] = [x]


def in_a_list_of_an_object(self: Any, x: Tensor) -> None:
    self.store.seen.append(x)
    self.store.last = x


def in_a_tuple_of_a_list_of_an_object(self: Any, x: Tensor) -> None:
    self.store.parts[0][0]["deep"] = x
    self.store.parts[0][1].append(x)
    self.space.queue.append(x)


@pytest.mark.parametrize("fill", [in_a_dict_of_lists, in_a_list_of_an_object, in_a_tuple_of_a_list_of_an_object])
def test_what_forward_adds_to_what_is_nested_is_taken_back(fill: Callable[..., None]) -> None:
    class Store:
        def __init__(self) -> None:
            self.seen: list[Any] = ["kept"]
            self.last: Any = None
            self.parts: list[Any] = [({"deep": 1}, collections.deque([2], maxlen=3))]
            self.itself = self

    def forward(self: Any, x: Tensor) -> Tensor:
        fill(self, x)
        return x * 2

    model: Any = Apply(forward)
    model.memory = {"a": [], "c": 3}
    model.store, model.space = Store(), types.SimpleNamespace(queue=[])
    memory, seen = model.memory["a"], model.store.seen
    trace(model, X)
    assert model.memory == {"a": [], "c": 3}
    assert model.memory["a"] is memory
    assert vars(model.store) == {
        "seen": ["kept"], "last": None, "parts": [({"deep": 1}, collections.deque([2]))], "itself": model.store,
    }  # fmt: skip
    assert model.store.seen is seen
    assert model.space.queue == []


def test_only_so_much_of_what_is_nested_is_looked_into() -> None:
    """A table of a million lists takes no longer than one of some thousand: the rest is left as the forward has it."""
    model: Any = Apply(lambda self, x: (self.table[-1].append(1), x * 2)[1])
    model.table = [[] for _ in range(surroundings.NESTED + 1)]
    trace(model, X)
    assert model.table[-1] == [1]
    model.table = [[] for _ in range(surroundings.NESTED)]
    trace(model, X)
    assert model.table[-1] == []


def test_an_attribute_that_forward_renames_has_its_name_back() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.table["after"] = self.table.pop("before")
        del self.cache
        self.memory = None
        return x * 2

    model: Any = Apply(forward).eval()
    model.table = {"before": 1}
    model.cache = None
    trace(model, X)
    assert list(vars(model))[-2:] == ["table", "cache"]
    assert model.table == {"before": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda buffer: buffer.zero_(),
        lambda buffer: buffer[:4].fill_(3),
        lambda buffer: buffer.data.mul_(2),
        lambda buffer: buffer.masked_fill_(buffer > 0, 3.0),
        lambda buffer: buffer.__setitem__(buffer > 0, 3.0),
        lambda buffer: torch.add(buffer, 1, out=buffer),
        lambda buffer: nn.init.normal_(buffer),
        lambda buffer: buffer.unsqueeze_(0),
        lambda buffer: buffer.resize_(4),
    ],
    ids=["zero_", "slice", "data", "masked_fill_", "setitem", "out", "init", "unsqueeze_", "resize_"],
)
def test_in_place_changes_never_reach_the_real_buffers(change: Callable[[Tensor], object]) -> None:
    model = Busy()
    before, data = state_of(model), data_of(model)
    model.forward = lambda x: (change(model.column), x)[1]  # type: ignore[method-assign]
    trace(model, zeros(2, 8))
    del model.forward
    assert_same_data(model, data)
    assert state_of(model) == before


def rescale(self: Any, x: Tensor) -> Any:
    self.linear.weight.data = torch.renorm(self.linear.weight.data, 2, 0, 0.5)  # a max-norm constraint
    self.average.data = self.average.data * 2
    return self.linear(x) * self.average


def freeze(self: Any, x: Tensor) -> Any:
    self.linear.weight.requires_grad = False
    self.linear.bias.grad = torch.ones(8)
    return self.linear(x)


@pytest.mark.parametrize("forward", [rescale, freeze])
def test_what_forward_rebinds_inside_a_parameter_is_taken_back(forward: Callable[..., Any]) -> None:
    model = Busy()
    before, data = state_of(model), data_of(model)
    model.forward = forward.__get__(model)  # type: ignore[method-assign]
    assert "linear" in names(trace(model, X))
    del model.forward
    assert_same_data(model, data)
    assert state_of(model) == before


def test_the_inputs_are_left_as_they_were() -> None:
    x, y = torch.ones(2, 8), torch.ones(2, 4)
    inputs: dict[str, Any] = {"x": x, "rest": [y]}

    def forward(_: Any, x: Tensor, rest: list[Tensor]) -> Tensor:
        x.zero_()
        rest[0].add_(1)
        rest.append(x)
        return x

    trace(Apply(forward), inputs)
    assert torch.equal(x, torch.ones(2, 8))
    assert torch.equal(y, torch.ones(2, 4))
    assert len(inputs["rest"]) == 1


class Interrupt(BaseException):
    """What Ctrl-C does."""


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("no"), Interrupt()], ids=repr)
@pytest.mark.parametrize("fast_path", [True, False])
def test_all_is_put_back_even_when_forward_raises(error: BaseException, fast_path: bool) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        self.last = self.norm(x)
        torch.rand(3)
        raise error

    model = nn.Sequential(nn.BatchNorm1d(8), Apply(forward, norm=nn.BatchNorm1d(8)))
    torch.backends.mha.set_fastpath_enabled(fast_path)
    try:
        before, torch_before = state_of(model), state_of_torch()
        with pytest.raises(Interrupt if isinstance(error, Interrupt) else TraceError):
            trace(model, zeros(2, 8))
        assert state_of(model) == before
        assert state_of_torch() == torch_before
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_nothing_keeps_the_model_or_its_inputs_alive() -> None:
    model, x = Residual(), zeros(1, 3, 8, 8)
    references: list[weakref.ref[Any]] = [weakref.ref(item) for item in (model, x, model.stem[0].weight)]
    graph = trace(model, x)
    del model, x
    gc.collect()
    assert [reference() for reference in references] == [None] * 3
    assert graph.params


def test_a_graph_is_plain_data() -> None:
    graph = trace(Tied(), zeros(1, 5, dtype=torch.int64))
    assert b"torch" not in pickle.dumps([op.args for op in graph.ops])


# --- the same answer ---------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_graph_is_the_same_under_every_grad_mode(name: str, mode: Callable[[], Any]) -> None:
    model, inputs = seeded(name)
    want = described(trace(model, inputs))
    with mode():
        assert described(trace(model, inputs)) == want


@every_model
def test_tracing_twice_gives_the_same_graph(name: str) -> None:
    model, inputs = seeded(name)
    assert described(trace(model, inputs)) == described(trace(model, inputs))


@every_model
def test_a_model_built_on_meta_has_the_graph_of_one_with_weights(name: str) -> None:
    model, inputs = seeded(name)
    with torch.device("meta"):
        hollow = ZOO[name][0]()
    want = described(trace(model, inputs))
    assert described(trace(hollow, inputs)) == want
    assert described(trace(hollow, inputs.to("meta"))) == want
    assert described(trace(model, inputs.to("meta"))) == want
    assert all(p.is_meta for p in hollow.parameters())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tracing_inside_a_device_context(device: str) -> None:
    want = described(trace(Residual(), zeros(1, 3, 8, 8)))
    with torch.device(device):
        assert described(trace(Residual(), zeros(1, 3, 8, 8))) == want


def test_inputs_that_require_a_gradient() -> None:
    x = zeros(2, 8).requires_grad_()
    assert described(trace(nn.Linear(8, 8), x)) == described(trace(nn.Linear(8, 8), x.detach()))


@pytest.mark.parametrize("build", [lambda m: m, lambda m: m.half(), lambda m: m.to(torch.bfloat16)])
def test_a_narrow_model_has_the_same_ops(build: Callable[[nn.Module], nn.Module]) -> None:
    model = build(Residual())
    dtype = next(model.parameters()).dtype
    graph = trace(model, zeros(1, 3, 8, 8, dtype=dtype))
    assert names(graph) == names(trace(Residual(), zeros(1, 3, 8, 8)))
    assert {value.dtype for op in graph.ops for value in op.outputs} == {str(dtype).removeprefix("torch.")}


def test_a_custom_autograd_function_is_what_its_forward_does() -> None:
    graph = graph_of(lambda _, x: Squared.apply(x), zeros(2, 8))  # type: ignore[no-untyped-call]
    assert names(graph) == ["mul"]


# --- inputs ------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A named tuple of tensors."""

    x: Tensor
    y: Tensor


X, Y = zeros(2, 8), zeros(2, 8)
INPUTS: dict[str, tuple[Callable[..., Any], Any]] = {
    "one tensor": (lambda _, x: x + x, X),
    "tuple": (lambda _, x, y: x + y, (X, Y)),
    "list": (lambda _, x, y: x + y, [X, Y]),
    "named tuple of arguments": (lambda _, x, y: x + y, Pair(X, Y)),
    "dict of keywords": (lambda _, *, x, y: x + y, {"x": X, "y": Y}),
    "ordered dict": (lambda _, x, y: x + y, collections.OrderedDict(x=X, y=Y)),
    "any other mapping": (lambda _, x, y: x + y, collections.UserDict(x=X, y=Y)),
    "a dict as an argument": (lambda _, batch: batch["x"] + batch["y"], ({"x": X, "y": Y},)),
    "a list as an argument": (lambda _, items: items[0] + items[1], ([X, Y],)),
    "a named tuple as an argument": (lambda _, pair: pair.x + pair.y, (Pair(X, Y),)),
    "nested": (lambda _, tree: tree["a"][0]["b"] + tree["a"][1], ({"a": [{"b": X}, Y]},)),
    "numbers, flags and None": (lambda _, x, n, flag, mask: x + n if flag and mask is None else x, (X, 3, True, None)),
    "sizes": (lambda _, x, y, size: (x + y).view(size), (X, Y, torch.Size([16]))),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_may_be(kind: str) -> None:
    function, inputs = INPUTS[kind]
    graph = trace(Apply(function), inputs)
    assert names(graph) == ["add"]
    assert {value.shape for value in graph.inputs} == {(2, 8)}
    assert {value.role for value in only(graph, "add").inputs} == {"input"}


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.uint8, torch.float16])
def test_an_input_keeps_its_dtype(dtype: torch.dtype) -> None:
    graph = graph_of(lambda _, x: x.to(torch.float32), zeros(2, 3, dtype=dtype))
    assert graph.inputs[0].dtype == str(dtype).removeprefix("torch.")


def test_no_inputs_at_all() -> None:
    graph = trace(Apply(lambda self: self.w * 2, w=nn.Parameter(zeros(3))), ())
    assert names(graph) == ["mul"]
    assert graph.inputs == ()


def test_a_tensor_that_is_given_twice_is_one_input() -> None:
    graph = graph_of(lambda _, x, y: x + y, X, X)
    assert len({value.storage for value in graph.inputs}) == 1
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    inside = graph_of(lambda self, x: self.mha(x, x, x), zeros(1, 4, 8), mha=attention)
    x = zeros(1, 4, 8)
    assert names(trace(attention, (x, x, x))) == names(inside), "self-attention projects its input once"


def test_a_transposed_input_keeps_its_layout() -> None:
    assert names(graph_of(lambda _, x: x.t().contiguous(), zeros(4, 8).t())) == []
    assert names(graph_of(lambda _, x: x.contiguous(), zeros(4, 8).t())) == ["contiguous"]
    with pytest.raises(TraceError, match=r"Use .reshape"):
        graph_of(lambda _, x: x.view(-1), zeros(4, 8).t())


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_channels_last_network_hands_channels_last_on(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(True), nn.Conv2d(8, 8, 1), nn.Hardswish(),
        Apply(lambda _, x: x.permute(0, 2, 3, 1).contiguous()),
    )  # fmt: skip
    graph = trace(model.to(memory_format=layout), zeros(2, 3, 8, 8).to(memory_format=layout))
    assert ("contiguous" in names(graph)) == (not channels_last), "channels are innermost already"


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "every other column": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "some channels of channels last": lambda x: x.repeat(1, 2, 1, 1).to(memory_format=torch.channels_last)[:, :3],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_are_those_of_a_run_on_numbers(layout: str) -> None:
    ran: list[tuple[Any, ...]] = []

    class Spy(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            ran.append(out.stride())
            return out

    def tokens(_: nn.Module, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2).softmax(-1)[:, ::2].mul_(2)[:1].expand(2, -1, -1)

    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(2), nn.GroupNorm(1, 8), nn.Conv2d(8, 8, 1),
        Apply(tokens),
    ).eval()  # fmt: skip
    x = LAYOUTS[layout](torch.randn(2, 3, 12, 12))
    with torch.inference_mode(), Spy():  # type: ignore[no-untyped-call]
        model(x)
    graph = trace(model, x)
    assert [op.outputs[0].strides for op in graph.ops] == ran
    assert graph.inputs[0].strides == x.stride()
    assert graph.ops[0].inputs[1].strides == model.get_parameter("0.weight").stride()


def test_fused_attention_hands_tokens_on() -> None:
    """It lays its result out as the queries: to bring heads together that stand side by side is a view."""

    def attend(_: nn.Module, x: Tensor) -> Tensor:
        heads = x.view(2, 9, 4, 8).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).reshape(2, 9, 32)

    graph = graph_of(attend, zeros(2, 9, 32))
    assert [op.name for op in graph.ops if not op.is_view] == ["scaled_dot_product_attention"]
    out = F.scaled_dot_product_attention(*(torch.randn(2, 9, 4, 8).transpose(1, 2),) * 3)
    attention = next(op for op in graph.ops if not op.is_view)
    assert attention.outputs[0].strides == out.stride()


def test_module_calls_are_those_that_hooks_see() -> None:
    calls: list[nn.Module] = []
    relu = nn.ReLU()
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), relu), relu, nn.MultiheadAttention(6, 2).out_proj)
    with nn.modules.module.register_module_forward_pre_hook(lambda module, _: calls.append(module)):
        model(zeros(1, 3, 8, 8))
    assert trace(model, zeros(1, 3, 8, 8)).module_calls == len(calls) == 6
    assert graph_of(lambda _, x: x, X).module_calls == 1


# --- modules and their paths -------------------------------------------------------------------------------------


def test_an_op_knows_the_innermost_module_that_ran_it() -> None:
    graph = trace(Residual(), zeros(1, 3, 8, 8))
    assert paths(graph) == ["stem.0", "stem.1", "stem.2", "block.0", "block.1", "block.2", "", "head.0", "head.3"]
    assert [op.is_leaf for op in graph.ops if op.path in ("", "stem.0")] == [True, False]


def test_each_call_of_a_module_is_its_own() -> None:
    graph = graph_of(lambda self, x: self.linear(self.linear(x)), X, linear=nn.Linear(8, 8))
    assert paths(graph) == ["linear", "linear"]
    assert len({op.call for op in graph.ops}) == 2


def test_a_module_with_two_parents_goes_by_the_one_that_runs_it() -> None:
    shared = nn.Linear(8, 8)
    model = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared, nn.ReLU()))
    assert paths(trace(model, X)) == ["0.0", "1.0", "1.1"]


def test_a_module_that_the_model_and_its_child_share_goes_by_who_calls_it() -> None:
    shared = nn.Linear(8, 8)
    model = Apply(lambda self, x: self.tail(self.body(x)), body=nn.Sequential(shared), tail=shared)
    assert paths(trace(model, X)) == ["body.0", "tail"]


def test_a_shared_block_takes_its_children_along() -> None:
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    model = nn.ModuleDict({"a": nn.Sequential(block), "b": nn.Sequential(block)})
    graph = trace(Apply(lambda self, x: self.parts["b"](self.parts["a"](x)), parts=model), X)
    assert paths(graph) == ["parts.a.0.0", "parts.a.0.1", "parts.b.0.0", "parts.b.0.1"]


def test_lists_dicts_and_generators_of_modules() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        x = sum((branch(x) for branch in self.branches), start=x)
        for _, head in sorted(self.heads.items()):
            x = head(x)
        return x

    branches = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
    heads = nn.ModuleDict({"second": nn.ReLU(), "first": nn.Linear(8, 8)})
    graph = graph_of(forward, X, branches=branches, heads=heads)
    assert paths(graph) == ["branches.0", "", "branches.1", "", "heads.first", "heads.second"]


def test_a_module_made_in_forward_goes_by_its_class() -> None:
    graph = graph_of(lambda self, x: self.block(x), X, block=Apply(lambda _, x: nn.Linear(8, 4)(x)))
    assert paths(graph)[-1] == "block.Linear"
    assert names(graph)[-1] == "linear"
    assert graph.params == 0, "it is no parameter of the model"


def test_calling_forward_directly_belongs_to_the_caller() -> None:
    assert paths(graph_of(lambda self, x: self.linear.forward(x), X, linear=nn.Linear(8, 8))) == [""]


def test_the_hooks_of_the_user_run_once_and_take_effect() -> None:
    seen: list[str] = []

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append("before")
        return (args[0][:, :4],)

    def after(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        seen.append("after")
        return out.relu()

    model = nn.Sequential(nn.Linear(4, 8))
    model[0].register_forward_pre_hook(before)
    model[0].register_forward_hook(after)
    model[0].register_full_backward_hook(lambda *_: None)
    everywhere = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    try:
        graph = trace(model, X)
    finally:
        everywhere.remove()
    assert names(graph) == ["linear", "relu"]
    assert paths(graph) == ["0", "0"]
    assert sorted(seen) == ["Linear", "Sequential", "after", "before"]


@pytest.mark.filterwarnings("ignore")  # importing torch's compiler warns
def test_a_compiled_model_is_unwrapped_and_not_compiled() -> None:
    compiled: list[object] = []

    def backend(module: Any, _: Any) -> Any:
        compiled.append(module)
        return module.forward

    def compile_lazily(module: nn.Module) -> Any:
        return torch.compile(module, backend=backend)

    plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    inside = nn.Sequential(compile_lazily(nn.Linear(8, 8)), nn.ReLU())
    in_place = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    in_place.compile(backend=backend)
    for model in (compile_lazily(plain), inside, in_place):
        graph = trace(model, X)
        assert names(graph) == ["linear", "relu"]
        assert paths(graph)[0] == "0"
        weight = only(graph, "linear").inputs[1]
        assert (weight.role, weight.name) == ("parameter", "0.weight")
    assert compiled == []


def compiled_forward(backend: Any) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        @torch.compile(backend=backend)
        def forward(self, x: Tensor) -> Any:
            return self.linear(x).relu()

    return Net()


@pytest.mark.filterwarnings("ignore")  # importing torch's compiler warns
def test_functions_that_are_compiled_run_as_they_were_written() -> None:
    compiled: list[object] = []

    def backend(module: Any, _: Any) -> Any:
        compiled.append(module)
        return module.forward

    before = torch.compile(torch.relu, backend=backend)
    models = (
        compiled_forward(backend),
        Apply(lambda self, x: before(self.linear(x)), linear=nn.Linear(8, 8)),
        Apply(lambda self, x: torch.compile(torch.relu, backend=backend)(self.linear(x)), linear=nn.Linear(8, 8)),
    )
    for model in models:
        assert names(trace(model, X)) == ["linear", "relu"]
    assert compiled == []
    before(torch.ones(3))
    assert len(compiled) == 1, "afterwards it is compiled as ever"


def test_a_model_that_compiles_in_forward_is_traced_without_importing_the_compiler() -> None:
    program = """
import sys, torch
from roofline.trace import trace
kept = []

class Net(torch.nn.Linear):
    def forward(self, x):
        kept.append(torch.compile(torch.relu, backend="eager"))
        sigmoid = torch.compile(backend="eager")(torch.sigmoid)
        return torch.compile(torch.nn.Tanh(), backend="eager")(sigmoid(kept[0](super().forward(x))))

graph = trace(Net(8, 8), torch.zeros(2, 8))
assert [op.name for op in graph.ops] == ["linear", "relu", "sigmoid", "tanh"], graph.ops
assert "torch._dynamo" not in sys.modules
assert kept[0](torch.tensor([-1.0, 2.0])).tolist() == [0, 2]
assert "torch._dynamo" in sys.modules
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_what_compile_made_of_a_module_does_not_run_and_is_kept() -> None:
    def made(*_: Any) -> Any:
        raise AssertionError("it runs")

    part = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    part._compiled_call_impl = made
    in_no_table = Apply(lambda self, x: self.parts[0](x), parts=[part])
    for model in (part, nn.Sequential(part), in_no_table):
        assert names(trace(model, X)) == ["linear", "relu"]
        assert part._compiled_call_impl is made


def test_another_thread_runs_what_compile_made() -> None:
    elsewhere = nn.ReLU()
    elsewhere._compiled_call_impl = lambda _: "compiled"

    def forward(_: nn.Module, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(elsewhere, None).result() == "compiled"
        return x.relu()

    assert names(graph_of(forward, X)) == ["relu"]


@pytest.mark.filterwarnings("ignore")  # torch.jit and torch.export warn
@pytest.mark.parametrize(
    "convert",
    [
        torch.fx.symbolic_trace,
        torch.jit.script,
        lambda model: torch.jit.trace(model, X),  # type: ignore[no-untyped-call]
        lambda model: torch.export.export(model, (X,)).module(),
        nn.DataParallel,
    ],
    ids=["fx", "jit.script", "jit.trace", "export", "DataParallel"],
)
def test_a_converted_model_runs_the_same_ops(convert: Callable[[nn.Module], nn.Module]) -> None:
    layers = lower(trace(convert(nn.Sequential(nn.Linear(8, 8), nn.ReLU())), X))
    assert layers.ops.tolist() == ["linear", "relu"]
    assert layers.uncounted_ops == ()


# --- parameters --------------------------------------------------------------------------------------------------


def test_parameters_count_once_however_they_are_shared() -> None:
    shared = nn.Linear(8, 8)
    assert trace(nn.Sequential(shared, shared), X).params == 8 * 8 + 8
    tied = Tied()
    graph = trace(tied, zeros(1, 5, dtype=torch.int64))
    assert graph.params == sum(p.numel() for p in tied.parameters())
    table, head = graph.ops[0].inputs[0], graph.ops[-1].inputs[1]
    assert (table.name, head.name, table.storage) == ("tokens.weight", "tokens.weight", head.storage)


def tie_by_object(model: Any) -> None:
    model[1].weight = model[0].weight


def tie_by_data(model: Any) -> None:
    model[1].weight = nn.Parameter(model[0].weight.data)


@pytest.mark.parametrize("tie", [tie_by_object, tie_by_data])
def test_a_tied_weight_is_one_tensor_that_is_read_twice(tie: Callable[[Any], None]) -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    tie(model)
    graph = trace(model, X)
    assert graph.params == 64
    assert [op.inputs[1].storage for op in graph.ops] == [graph.ops[0].inputs[1].storage] * 2
    assert all(op.inputs[1].role == "parameter" for op in graph.ops)


def test_parameters_that_are_slices_of_one_flat_tensor_are_all_counted() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()
    nn.utils.vector_to_parameters(flat, model.parameters())
    graph = trace(model, X)
    assert graph.params == flat.numel() == 8 * 8 + 8 + 8 * 4 + 4
    read = [value.name for op in graph.ops for value in op.inputs if value.is_weight]
    assert read == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_what_is_read_is_known_for_what_it_is() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        return self.linear(x) * self.scale + self.plain + torch.ones(8)

    model = Apply(forward, linear=nn.Linear(8, 8), scale=zeros(8))
    model.plain = zeros(8)  # neither parameter nor buffer
    graph = trace(model, X)
    assert [(value.role, value.name) for value in only(graph, "linear").inputs] == [
        ("input", ""), ("parameter", "linear.weight"), ("parameter", "linear.bias"),
    ]  # fmt: skip
    assert [(value.role, value.name) for value in only(graph, "mul").inputs] == [
        ("activation", ""),
        ("buffer", "scale"),
    ]
    sums = [[value.role for value in op.inputs] for op in graph.ops if op.name == "add"]
    assert sums == [["activation", "constant"], ["activation", "activation"]]


@pytest.mark.parametrize("look", [lambda w: w.data, lambda w: w.detach(), lambda w: w.t().view(8, 8), lambda w: w[:4]])
def test_any_look_at_a_parameter_is_the_parameter(look: Callable[[Tensor], Tensor]) -> None:
    graph = graph_of(lambda self, x: x * look(self.w).sum(), X, w=nn.Parameter(zeros(8, 8)))
    read = only(graph, "sum").inputs[0]
    assert (read.role, read.name, read.root.producer) == ("parameter", "w", -1)
    assert read.is_weight


# --- values, views and versions ----------------------------------------------------------------------------------


def test_a_view_is_free_and_shows_what_its_base_holds() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        y = self.linear(x)
        return y.view(4, 4).t()[1:].unsqueeze(0).detach() * 2

    graph = graph_of(forward, X, linear=nn.Linear(8, 8))
    assert names(graph) == ["linear", "mul"]
    read = only(graph, "mul").inputs[0]
    assert producer(graph, read) == "linear"
    assert read.storage == only(graph, "linear").outputs[0].storage
    assert (read.shape, read.elements) == ((1, 3, 4), 12)


@pytest.mark.parametrize("look", [lambda y: y.data, lambda y: y.detach(), lambda y: y.view(-1).view(2, 8)])
def test_any_look_at_an_activation_has_its_producer(look: Callable[[Tensor], Tensor]) -> None:
    graph = graph_of(lambda self, x: look(self.linear(x)) * 2, X, linear=nn.Linear(8, 8))
    assert producer(graph, only(graph, "mul").inputs[0]) == "linear"


def test_an_expanded_dimension_counts_once() -> None:
    graph = graph_of(lambda _, x: x.expand(4, 2, 8) * x[:, :1].expand(2, 8), X)
    assert [value.elements for value in only(graph, "mul").inputs] == [16, 2]
    assert only(graph, "mul").outputs[0].elements == 64


def test_an_expanded_buffer_counts_once() -> None:
    graph = graph_of(lambda self, x: x + self.row, X, row=zeros(1, 8).expand(2, 8))
    assert [value.elements for value in only(graph, "add").inputs] == [16, 8]


def test_an_op_in_place_makes_a_new_version_of_the_same_memory() -> None:
    graph = graph_of(lambda self, x: self.linear(x).relu_().sigmoid(), X, linear=nn.Linear(8, 8))
    assert names(graph) == ["linear", "relu", "sigmoid"]
    relu, sigmoid = only(graph, "relu"), only(graph, "sigmoid")
    assert producer(graph, relu.inputs[0]) == "linear"
    assert producer(graph, sigmoid.inputs[0]) == "relu"
    assert relu.inputs[0].storage == relu.outputs[0].storage != sigmoid.outputs[0].storage


def test_a_view_taken_before_a_write_shows_what_was_written() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        y = self.linear(x)
        flat = y.view(-1)
        y.relu_()
        return flat * 2

    graph = graph_of(forward, X, linear=nn.Linear(8, 8))
    assert producer(graph, only(graph, "mul").inputs[0]) == "relu"


def test_the_base_shows_what_was_written_through_a_slice() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        y = self.linear(x)
        y[:, :4].add_(x[:, 4:])
        return y * 2

    graph = graph_of(forward, X, linear=nn.Linear(8, 8))
    add, mul = only(graph, "add"), only(graph, "mul")
    assert [producer(graph, value) for value in add.inputs] == ["linear", "input"]
    assert [(value.shape, value.elements) for value in add.outputs] == [((2, 4), 8)]
    assert producer(graph, mul.inputs[0]) == "add"
    assert mul.inputs[0].shape == (2, 8)


def test_an_augmented_assignment_to_a_slice() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        y = self.linear(x)
        y[:, :4] += x[:, 4:]
        return y * 2

    graph = graph_of(forward, X, linear=nn.Linear(8, 8))
    assert names(graph) == ["linear", "add", "mul"], "python assigns the sum to where it is already"
    assert producer(graph, only(graph, "mul").inputs[0]) == "add"


def test_an_assignment_to_a_slice_is_a_copy() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        y = self.linear(x)
        y[:, :4] = x[:, 4:]
        return y * 2

    graph = graph_of(forward, X, linear=nn.Linear(8, 8))
    assert names(graph) == ["linear", "copy", "mul"]
    assert only(graph, "copy").outputs[0].shape == (2, 4)
    assert producer(graph, only(graph, "mul").inputs[0]) == "copy"


def test_the_output_is_the_last_version() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        y = self.linear(x)
        view = y[:, 0]
        y.relu_()
        return {"y": y, "view": [view]}

    graph = graph_of(forward, X, linear=nn.Linear(8, 8))
    assert [producer(graph, value) for value in graph.outputs] == ["relu", "relu"]
    assert [value.shape for value in graph.outputs] == [(2, 8), (2,)]


@pytest.mark.parametrize(
    ("look", "is_free"),
    [
        (lambda x: x.contiguous(), True),
        (lambda x: x.t().contiguous(), False),
        (lambda x: x.reshape(16), True),
        (lambda x: x.t().reshape(16), False),
        (lambda x: x.to(torch.float32), True),
        (lambda x: x.to(torch.float16), False),
        (lambda x: x.float(), True),
        (lambda x: x.cpu(), True),
        (lambda x: F.dropout(x, 0.5, training=False), True),
        (lambda x: x.clone(), False),
        (lambda x: x.chunk(2, 1)[0], True),
        (lambda x: x.split([3, 5], 1)[1], True),
        (lambda x: x.unbind(1)[0], True),
        (lambda x: x.squeeze_(), True),
    ],
)
def test_what_moves_no_bytes_is_a_view(look: Callable[[Tensor], Tensor], is_free: bool) -> None:
    assert (names(graph_of(lambda _, x: look(x), X)) == []) == is_free


def test_an_op_outside_the_pass_of_autograd_has_the_same_name_in_place_or_not() -> None:
    graph = graph_of(lambda _, x: (x.add_(1), F.relu_(x), F.hardtanh_(x, 0, 6)), X)
    assert names(graph) == ["add", "relu", "relu6"]
    assert graph.ops[0].target == "aten.add_.Tensor"


def test_the_elements_of_each_block_of_memory() -> None:
    graph = graph_of(lambda self, x: self.linear(x).relu_(), X, linear=nn.Linear(8, 4))
    sizes = {value.name or value.role: graph.storage_elements[value.storage] for value in only(graph, "linear").inputs}
    assert sizes == {"input": 16, "linear.weight": 32, "linear.bias": 4}
    assert graph.storage_elements[graph.outputs[0].storage] == 8


# --- constants ---------------------------------------------------------------------------------------------------

CONSTANTS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "int of a buffer": (lambda self, x: x[:, : int(self.n)] * 2, {"n": torch.tensor(4)}),
    "item of a buffer": (lambda self, x: x[:, : self.n.item()] * 2, {"n": torch.tensor(4)}),
    "if on a buffer": (lambda self, x: x[:, :4] * 2 if self.n > 0 else x, {"n": torch.tensor(1.0)}),
    "if on a parameter": (lambda self, x: x[:, :4] * 2 if self.n.sum() > 0 else x, {"n": nn.Parameter(torch.ones(2))}),
    "a tensor made in forward": (lambda _, x: x[:, : int(torch.tensor([4, 1]).max())] * 2, {}),
    "an arange": (lambda _, x: x[:, : int(torch.arange(5)[-1])] * 2, {}),
    "a full on the input's device": (lambda _, x: x[:, : torch.full((), 4, device=x.device).item()] * 2, {}),
    "a tensor on the input's device": (lambda _, x: x[:, : int(torch.tensor(4, device=x.device))] * 2, {}),
    "arithmetic on constants": (lambda self, x: x[:, : int(self.n * 2 + torch.ones(()))] * 2, {"n": torch.tensor(1.5)}),
    "a loop over constants": (lambda self, x: next(x[:, : int(n)] for n in self.n) * 2, {"n": torch.tensor([4, 2])}),
    "the places of a constant": (lambda self, x: x[:, self.n.nonzero()[:, 0]] * 2, {"n": torch.tensor([1] * 4 + [0])}),
    "a constant moved to the input's device": (
        lambda self, x: x[:, : int(self.n.to(x.device, torch.int64).sum())] * 2,
        {"n": torch.ones(4)},
    ),
    "a list of a buffer": (lambda self, x: x[:, : self.n.tolist()[0]] * 2, {"n": torch.tensor([4])}),
    "an array of a buffer": (lambda self, x: x[:, : int(self.n.numpy()[0])] * 2, {"n": torch.tensor([4])}),
    "a list of a tensor made in forward": (lambda _, x: x[:, : torch.arange(5).tolist()[-1]] * 2, {}),
    "an array of a tensor made in forward": (lambda _, x: x[:, : int(torch.arange(5).numpy()[-1])] * 2, {}),
    "a mask of constants": (lambda self, x: x[:, self.n] * 2, {"n": torch.tensor([True] * 4 + [False] * 4)}),
    "cuts at constants": (lambda self, x: x.tensor_split(self.n, 1)[0] * 2, {"n": torch.tensor([4, 6])}),
    "repeats of constants": (lambda self, x: x[:, :2].repeat_interleave(self.n, 1) * 2, {"n": torch.tensor([1, 3])}),
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_control_flow_over_constants_is_followed(kind: str) -> None:
    function, parts = CONSTANTS[kind]
    graph = graph_of(function, X, **parts)
    assert names(graph)[-1] == "mul"
    assert graph.outputs[0].shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int64])
@pytest.mark.parametrize("kind", ["a mask of constants", "repeats of constants", "the places of a constant"])
def test_what_constants_pick_keeps_its_dtype(kind: str, dtype: torch.dtype) -> None:
    function, parts = CONSTANTS[kind]
    (output,) = graph_of(function, zeros(2, 8, dtype=dtype), **parts).outputs
    assert (output.shape, output.dtype) == ((2, 4), str(dtype).removeprefix("torch."))


@pytest.mark.parametrize("kind", ["a mask of constants", "repeats of constants", "the places of a constant"])
def test_no_activation_is_ever_allocated(kind: str) -> None:
    function, parts = CONSTANTS[kind]
    graph = graph_of(function, torch.empty(1 << 40, 8, device="meta"), **parts)
    assert graph.outputs[0].shape == (1 << 40, 4)


@pytest.mark.parametrize(
    "window",
    [
        lambda self, x: self.window,
        lambda self, x: torch.hann_window(16, device=x.device),
        lambda self, x: torch.hann_window(16),
    ],
    ids=["buffer", "made on the input's device", "made in forward"],
)
def test_constants_and_activations_meet_in_a_composite_op(window: Callable[..., Tensor]) -> None:
    graph = graph_of(
        lambda self, x: torch.stft(x, 16, window=window(self, x), return_complex=True),
        zeros(2, 64),
        window=torch.hann_window(16),
    )
    assert names(graph)[-1] == "_fft_r2c"
    assert graph.outputs[0].shape[:2] == (2, 9)


@pytest.mark.parametrize(
    "look",
    [
        lambda t: t,
        lambda t: t[0],
        lambda t: t[:, :8],
        lambda t: t.view(16)[8:],
        lambda t: t.detach()[1],
        lambda t: t.unbind(0)[0],
        lambda t: t.expand(3, 2, 8)[0],
        lambda t: t.data[0],
        lambda t: t.clone()[0].add_(1),
    ],
)
@pytest.mark.parametrize("is_attribute", [True, False])
def test_a_tensor_that_is_neither_parameter_nor_buffer_is_a_constant(
    look: Callable[[Tensor], Tensor], is_attribute: bool
) -> None:
    plain = torch.ones(2, 8)
    model = Apply(lambda self, x: x * look(self.plain if is_attribute else plain))
    model.plain = plain
    graph = trace(model, X)
    assert names(graph)[-1] == "mul"
    assert only(graph, "mul").inputs[1].root.role in ("constant", "activation")
    assert torch.equal(plain, torch.ones(2, 8))


def test_a_constant_that_was_written_to_is_not_taken_at_its_old_value() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        self.n.add_(x.sum())
        return x if self.n > 0 else x * 2

    with pytest.raises(TraceError, match="depends on data values"):
        graph_of(forward, X, n=torch.tensor(1.0))


def test_a_random_number_is_data() -> None:
    with pytest.raises(TraceError, match="depends on data values"):
        graph_of(lambda _, x: x if torch.rand(()) > 0.5 else x * 2, X)


RANDOM: dict[str, Callable[[Tensor], Any]] = {
    "rand": lambda x: torch.rand(3),
    "randn_like": lambda x: torch.randn_like(torch.ones(3)),
    "randint": lambda x: torch.randint(0, 3, (2,)),
    "randperm": lambda x: torch.randperm(4),
    "dropout": lambda x: F.dropout(x, training=True),
    "dropout of a constant": lambda x: F.dropout(torch.ones(8), training=True),
    "bernoulli": lambda x: torch.bernoulli(torch.full((3,), 0.5)),
    "normal_": lambda x: torch.empty(3).normal_(),
    "multinomial": lambda x: torch.multinomial(torch.ones(3), 1),
    "poisson": lambda x: torch.poisson(torch.ones(3)),
    "binomial": lambda x: torch.binomial(torch.ones(3), torch.full((3,), 0.5)),
    "dirichlet": lambda x: torch.distributions.Dirichlet(torch.ones(3)).sample(),
    "gumbel softmax": lambda x: F.gumbel_softmax(x),
    "rrelu": lambda x: F.rrelu(x, training=True),
    "a module that initialises itself": lambda x: nn.Linear(3, 3),
    "a generator of its own": lambda x: torch.rand(3, generator=torch.Generator()),
    "a seed": lambda x: torch.manual_seed(7),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_the_global_generator_stays_where_it_is(kind: str) -> None:
    before = torch.get_rng_state()
    graph_of(lambda _, x: (RANDOM[kind](x), x * 2)[1], X)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_custom_op_runs_on_shapes_only_even_when_all_it_reads_is_constant() -> None:
    ran = []

    @torch.library.custom_op("roofline_trace_tests::real", mutates_args=())
    def real(x: Tensor) -> Tensor:
        ran.append(x)
        raise RuntimeError("no kernel for this device")

    real.register_fake(torch.empty_like)
    graph = graph_of(lambda self, x: x * real(self.n), X, n=torch.ones(8))
    assert names(graph) == ["roofline_trace_tests::real", "mul"]
    assert ran == []


def test_an_op_that_makes_a_tensor_out_of_nothing() -> None:
    @torch.library.custom_op("roofline_trace_tests::make", mutates_args=())
    def make(size: int) -> Tensor:
        return torch.ones(size)

    make.register_fake(lambda size: torch.empty(size))
    graph = graph_of(lambda _, x: torch.hypot(make(8), x), X)
    assert names(graph) == ["roofline_trace_tests::make", "hypot"]


def test_a_forward_that_turns_autocast_off_on_its_inputs_device() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        with torch.autocast(device_type=x.device.type, enabled=False):
            return x * 2

    assert names(graph_of(forward, X)) == ["mul"]


# --- what cannot be traced ---------------------------------------------------------------------------------------


def message_of(model: nn.Module, *inputs: Any) -> str:
    with pytest.raises(TraceError) as caught:
        trace(model, inputs)
    message = str(caught.value)
    assert "\n" not in message, "one line"
    assert caught.value.__cause__ is not None
    return message


def assert_mentions(message: str, *parts: str) -> None:
    for part in parts:
        assert part in message


DATA: dict[str, Callable[[Tensor], Any]] = {
    "if": lambda x: 1 if x.sum() > 0 else 2,
    "item": lambda x: x.sum().item(),
    "int": lambda x: int(x.sum()),
    "float": lambda x: float(x.sum()),
    "range": lambda x: list(range(x.argmax())),
    "a slice up to data": lambda x: x[:, : x.argmax()],
    "assert": lambda x: torch._assert((x >= 0).all(), "negative"),  # type: ignore[no-untyped-call]
    "a mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "nonzero": lambda x: x.nonzero(),
    "where without choices": lambda x: torch.where(x > 0),
    "unique": lambda x: torch.unique_consecutive(x),
    "bincount": lambda x: x.argmax(1).bincount(),
    "equal": lambda x: torch.equal(x, x + 1),
    "allclose": lambda x: torch.allclose(x, x + 1),
    "max of two": lambda x: max(x.sum(), x.mean()),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.detach().cpu().numpy(),
    "asarray": lambda x: np.asarray(x),
    "a formatted number": lambda x: f"{x.sum():.2f}",
    "one_hot of unknown classes": lambda x: F.one_hot(x.argmax(1)),
    "repeats": lambda x: x.repeat_interleave(x.argmax(1), 0),
    "packed sequences": lambda x: nn.utils.rnn.pack_padded_sequence(x[None], x.argmax(1)[:1], batch_first=True),
}


@pytest.mark.parametrize("kind", DATA)
def test_a_decision_by_data_is_named_with_its_layer_and_line(kind: str) -> None:
    def forward(_: Any, x: Tensor) -> Any:
        return DATA[kind](x)

    message = message_of(nn.Sequential(nn.Linear(8, 8), Apply(forward)), X)
    assert "depends on data values" in message
    assert_mentions(message, "Sequential", "layer '1'")
    assert re.search(rf"\({re.escape(__file__)}:\d+\)", message)
    assert "Decide by shapes" in message, "how to proceed"


def decides(_: Any, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def test_the_line_is_the_one_that_decides() -> None:
    line = decides.__code__.co_firstlineno + 1
    assert f"({Path(__file__)}:{line})" in message_of(Apply(decides), X)


def test_a_wrong_input_names_the_layer_its_class_and_the_shapes() -> None:
    message = message_of(Residual(), zeros(1, 4, 8, 8))
    assert_mentions(message, "Residual fails", "input 1x4x8x8", "layer 'stem.0'", "Conv2d(3, 8", "RuntimeError: ")
    assert re.search(rf"\({re.escape(__file__)}:\d+\)", message)


def test_a_layer_far_from_the_input_names_its_own_shape_and_the_networks() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(100, 10))
    message = message_of(model, zeros(1, 3, 8, 8))
    assert_mentions(message, "input 1x3x8x8", "layer '2'", "Linear(in_features=100", "got 1x288", "RuntimeError: ")


def test_an_input_too_small_for_the_network() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 7))
    message = message_of(model, zeros(1, 3, 8, 8))
    assert_mentions(message, "input 1x3x8x8", "layer '1'", "Conv2d(8, 8", "got 1x8x6x6")


def test_an_error_of_the_models_own_names_its_line() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        raise ValueError("only\nfor   experts")

    message = message_of(nn.Sequential(Apply(forward)), X)
    assert_mentions(message, "layer '0'", "Apply", "2x8", "ValueError: only for experts")
    assert f"({__file__}:{forward.__code__.co_firstlineno + 1})" in message


def test_a_layer_with_parts_is_named_without_them() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        raise ValueError("no")

    block = Apply(forward, parts=nn.Sequential(*[nn.Linear(8, 8) for _ in range(50)]))
    assert len(message_of(nn.Sequential(block), X)) < 400


@pytest.mark.parametrize("text", ["metadata is missing", "not for the meta device", "no meta learning here"])
def test_an_error_that_speaks_of_meta_is_no_decision_by_data(text: str) -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        raise RuntimeError(text)

    message = message_of(nn.Sequential(Apply(forward)), X)
    assert_mentions(message, "layer '0'", f"RuntimeError: {text}")
    assert "depends on data" not in message


def test_missing_inputs_are_said_in_one_line() -> None:
    assert "missing 1 required positional argument: 'y'" in message_of(Apply(lambda _, x, y: x + y), X)


def test_a_lazy_module_that_was_never_run() -> None:
    with pytest.raises(TraceError, match=r"(?i)uninitialized parameter|lazy"):
        trace(nn.LazyLinear(8), X)


def test_a_model_may_swallow_an_exception() -> None:
    def forward(self: Any, x: Tensor) -> Any:
        try:
            return self.narrow(x)
        except RuntimeError:
            return self.wide(x)

    graph = graph_of(forward, X, narrow=nn.Linear(4, 4), wide=nn.Linear(8, 8))
    assert names(graph) == ["linear"]
    assert paths(graph) == ["wide"]


@pytest.mark.parametrize("attempt", [lambda self, x: self.narrow(x), lambda self, x: x.sum().item()])
def test_an_exception_that_the_model_swallowed_is_not_blamed_for_a_later_one(attempt: Callable[..., Any]) -> None:
    def forward(self: Any, x: Tensor) -> Any:
        with suppress(RuntimeError):
            attempt(self, x)
        return self.later(x)

    message = message_of(Apply(forward, narrow=nn.Linear(4, 4), later=nn.Linear(5, 5)), X)
    assert_mentions(message, "layer 'later'", "Linear(in_features=5", "2x8")
    assert "depends on data" not in message


def test_later_traces_know_nothing_of_an_earlier_failure() -> None:
    model = nn.Linear(8, 8)
    want = described(trace(model, X))
    message_of(model, zeros(2, 9))
    assert described(trace(model, X)) == want


def test_a_higher_order_op_is_named_as_what_cannot_be_followed() -> None:
    def forward(_: Any, x: Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x, (x,))

    with pytest.raises(TraceError, match=r"higher-order op, such as torch\.cond or flex_attention, cannot be followed"):
        graph_of(forward, X)


@dataclasses.dataclass
class Batch:
    image: Tensor
    label: str = "cat"


@pytest.mark.parametrize("wrap", [Batch, lambda x: types.SimpleNamespace(image=x)], ids=["dataclass", "namespace"])
def test_tensors_inside_objects_are_inputs_and_outputs(wrap: Callable[[Tensor], Any]) -> None:
    def forward(self: Any, batch: Any) -> Any:
        features = self.linear(batch.image)
        return wrap(features), features.relu()

    given = wrap(X)
    graph = trace(Apply(forward, linear=nn.Linear(8, 8)), (given,))
    assert [value.shape for value in graph.inputs] == [(2, 8)]
    assert [value.shape for value in graph.outputs] == [(2, 8), (2, 8)]
    assert given.image is X, "the object given is left alone"


def test_objects_may_hold_themselves() -> None:
    def forward(self: Any, batch: Any) -> Any:
        batch.features = self.linear(batch.image)
        return batch

    given = types.SimpleNamespace(image=X)
    given.this = [given]
    graph = trace(Apply(forward, linear=nn.Linear(8, 4)), (given,))
    assert [value.shape for value in graph.inputs] == [(2, 8)]
    assert (2, 4) in [value.shape for value in graph.outputs]


def test_a_failure_gives_the_shapes_inside_objects() -> None:
    model = Apply(lambda self, batch: self.linear(batch.image), linear=nn.Linear(5, 4))
    with pytest.raises(TraceError, match=r"fails on input 2x8: layer 'linear'"):
        trace(model, (Batch(X),))


def test_threads_take_turns() -> None:
    def slow(self: Any, x: Tensor) -> Any:
        time.sleep(0.01)
        return self.linear(x)

    models = [Apply(slow, linear=nn.Linear(8, 8)) for _ in range(4)]
    call = nn.Module.__call__
    with ThreadPoolExecutor(4) as pool:
        graphs = list(pool.map(lambda model: trace(model, X), models))
    assert [paths(graph) for graph in graphs] == [["linear"]] * 4
    assert nn.Module.__call__ is call
    assert torch.backends.mha.get_fastpath_enabled()


def test_two_parameters_in_one_block_of_memory_are_two() -> None:
    block = torch.zeros(2, 8)
    model = Apply(lambda self, x: x * self.a + self.b, a=nn.Parameter(block[0]), b=nn.Parameter(block[1]))
    assert trace(model, X).params == 16
