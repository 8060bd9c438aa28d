"""What an exported graph becomes: a module that repeats, step by step, what the file says.

A file names its weights by the paths of the modules they were in, and often its nodes too. From these names a tree of
modules is made, as far as the file knows it, and each step runs inside a call of its own module. So a trace of the
network (`roofline.trace`) sees the ops, the weights and the paths that it would see in the live model; and where the
network has numbers and runs, it holds what the live model would hold, and no longer than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

MAX_DEPTH = 50  # of modules inside modules; far beyond any network, and far from Python's limit of recursion
CALL_MARK = "@"  # torch.export writes the second call of a module as path@1
DEVICE = "<device>"  # among the values of a run: where its inputs are
CPU = torch.device("cpu")

Values = dict[str, Any]
Action = Callable[[Values], Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the file.

    Attributes:
        scopes: Dotted paths of the modules that it runs in, the outermost first, the model itself left out.
        run: Adds its outputs to the values computed so far, and returns them.
        reads, writes: Names of the values that it takes, and of those that it adds.
    """

    scopes: tuple[str, ...]
    run: Action
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


class Part(nn.Module):
    """A module of the model that was exported: its weights, its parts and its place, and nothing of its code."""

    def forward(self, actions: Sequence[Action], values: Values) -> Any:
        """Do what the file has inside this module; its output is what the last of it gives."""
        return perform(actions, values)


class ExportedNetwork(nn.Module):
    """The network of a file; its forward takes the file's inputs in order and returns its outputs."""

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._actions: tuple[Action, ...] = ()
        self._constants: Values = {}
        self._weights: dict[str, tuple[dict[str, Any], str]] = {}  # of each value, the table of a part it is in
        self._parts: dict[str, nn.Module] = {"": self}
        self._placed: dict[str, nn.Module] = {}  # by path, those that are not the file's
        self._placed_names: dict[str, str] = {}  # of them, in what is flattened

    def hold(self, value: str, path: str, tensor: Tensor, *, is_parameter: bool) -> None:
        """Keep a weight under its dotted path, as the value of that name."""
        owner, _, name = path.strip(".").rpartition(".")
        part = self._part(owner)
        # Straight into the tables: a file may call a weight whatever it likes, "forward" too.
        table: dict[str, Any] = part._parameters if is_parameter else part._buffers
        table[name or value] = nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor
        self._weights[value] = (table, name or value)

    def keep(self, values: Mapping[str, Any]) -> None:
        """Keep what is known before the network runs, and is no weight of it."""
        self._constants.update(values)

    def place(self, path: str, module: nn.Module) -> nn.Module:
        """Put a module that the file does not have where it has one, or would; nothing of the file may be below it."""
        above, _, name = path.rpartition(".")
        self._parts[path] = self._part(above)._modules[name] = module
        self._placed[path] = module
        self._placed_names.setdefault(path, f"placed_{len(self._placed_names)}")
        return module

    def calling(self, path: str, source: str, writes: tuple[str, ...]) -> Action:
        """Calls a module that was put in on a value, and writes its result."""
        module, name = self._placed[path], self._placed_names[path]

        def run(values: Values) -> Any:
            given = values[source]
            if isinstance(given, fx.Proxy):
                result = given.tracer.create_proxy("call_module", name, (given,), {})
            else:
                result = module(given)
            values.update(dict.fromkeys(writes, result))
            return result

        return run

    def follow(self, steps: Iterable[Step], modules: Iterable[str] = ()) -> None:
        """Set what the network does; `modules` are the paths of those of which nothing else may tell."""
        steps = tuple(steps)
        for path in modules:
            self._part(path)
        for step in steps:
            for path in step.scopes:
                self._part(path.partition(CALL_MARK)[0])
        actions = letting_go(steps, self._outputs)
        self._actions = self._nested([(step.scopes, act) for step, act in zip(steps, actions, strict=True)], 0)

    def forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        """The outputs of the file, for its inputs."""
        values = {**self._constants, **dict(zip(self._inputs, inputs, strict=True))}
        values.update((value, table[name]) for value, (table, name) in self._weights.items())
        values[DEVICE] = next((given.device for given in inputs), CPU)
        perform(self._actions, values)
        return tuple(values[name] for name in self._outputs)

    def flattened(self) -> fx.GraphModule:
        """The same as one function, without the modules of the file, as `torch.export` has it too: for compilers.

        What is written into its code is names of our own, registered ops and numbers.
        """
        root, graph = nn.Module(), fx.Graph()
        for path, module in self._placed.items():
            root.add_module(self._placed_names[path], module)
        tracer = fx.proxy.GraphAppendingTracer(graph)
        inputs = [fx.Proxy(graph.placeholder(f"input_{number}"), tracer) for number in range(len(self._inputs))]
        held = {**self._constants, **{value: table[name] for value, (table, name) in self._weights.items()}}
        values: Values = dict(held)
        for number, (value, tensor) in enumerate(held.items()):
            if isinstance(tensor, Tensor):
                name = f"held_{number}"
                root.register_buffer(name, tensor)
                values[value] = fx.Proxy(graph.get_attr(name), tracer)
        values.update(zip(self._inputs, inputs, strict=True))
        device = next((tensor.device for tensor in held.values() if isinstance(tensor, Tensor)), CPU)
        # A proxy, so that what makes tensors of nothing is written down too, and not done once and for all.
        values[DEVICE] = fx.Proxy(graph.call_function(torch.device, (str(device),)), tracer)
        perform(self._actions, values)
        graph.output(tuple(getattr(values[name], "node", values[name]) for name in self._outputs))
        return fx.GraphModule(root, graph)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExportedNetwork:
        """Constants go where the weights go."""
        self._constants = tree_map_only(Tensor, fn, self._constants)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _nested(self, actions: Sequence[tuple[tuple[str, ...], Action]], depth: int) -> tuple[Action, ...]:
        """Actions that follow each other inside one module, as one call of it."""
        found: list[Action] = []
        for path, group in groupby(actions, key=lambda action: action[0][depth] if depth < len(action[0]) else ""):
            if path:
                part = self._parts[path.partition(CALL_MARK)[0]]
                found.append(partial(part, self._nested(list(group), depth + 1)))
            else:
                found += [act for _, act in group]
        return tuple(found)

    def _part(self, path: str) -> nn.Module:
        if path not in self._parts:
            above, _, name = path.rpartition(".")
            self._parts[path] = self._part(above)._modules[name] = Part()
        return self._parts[path]


def perform(actions: Sequence[Action], values: Values) -> Any:
    """Do some actions in order; the result of the last."""
    result = None
    for act in actions:
        result = act(values)
    return result


def letting_go(steps: Sequence[Step], outputs: Iterable[str]) -> list[Action]:
    """What each step does, the values that nothing reads after it let go of, as the live model's variables are."""
    kept = set(outputs)
    written = {name for step in steps for name in step.writes}
    actions: list[Action] = []
    for step in reversed(steps):
        last = tuple(dict.fromkeys(n for n in (*step.reads, *step.writes) if n in written and n not in kept))
        kept.update(last)
        actions.append(_then_dropping(step.run, last) if last else step.run)
    return actions[::-1]


def _then_dropping(run: Action, names: tuple[str, ...]) -> Action:
    def act(values: Values) -> Any:
        result = run(values)
        for name in names:
            values.pop(name, None)
        return result

    return act


def scopes_to(path: str) -> tuple[str, ...]:
    """The modules that lead to a path.

    >>> scopes_to("blocks.0.conv")
    ('blocks', 'blocks.0', 'blocks.0.conv')
    """
    names = [name for name in path.split(".") if name][:MAX_DEPTH]
    return tuple(".".join(names[: count + 1]) for count in range(len(names)))


def on_meta(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor without memory."""
    return torch.empty(tuple(shape), dtype=dtype, device="meta")
