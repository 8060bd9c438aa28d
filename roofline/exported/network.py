"""What an exported graph becomes: a module that repeats, step by step, what the file says, on shapes alone.

A file names its weights by the paths of the modules they were in, and often its nodes too. From these names a tree of
modules is made, as far as the file knows it, and each step runs inside a call of its own module. So a trace of the
network (`roofline.trace`) sees the ops, the weights and the paths that it would see in the live model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

MAX_DEPTH = 50  # of modules inside modules; far beyond any network, and far from Python's limit of recursion
CALL_MARK = "@"  # torch.export writes the second call of a module as path@1

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the file.

    Attributes:
        scopes: Dotted paths of the modules that it runs in, the outermost first, the model itself left out.
        run: Adds its outputs to the values computed so far.
    """

    scopes: tuple[str, ...]
    run: Callable[[Values], None]


class Part(nn.Module):
    """A module of the model that was exported: its weights, its parts and its place, and nothing of its code."""

    def forward(self, run: Callable[[], None]) -> None:
        """Run what the file has inside this module."""
        run()


class ExportedNetwork(nn.Module):
    """The network of a file; its forward takes the file's inputs in order and returns its outputs."""

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._steps: tuple[Step, ...] = ()
        self._constants: Values = {}
        self._weights: dict[str, tuple[dict[str, Any], str]] = {}  # of each value, the table of a part it is in
        self._parts: dict[str, nn.Module] = {"": self}

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

    def follow(self, steps: Iterable[Step], modules: Iterable[str] = ()) -> None:
        """Set what the network does; `modules` are the paths of those of which nothing else may tell."""
        self._steps = tuple(steps)
        for path in modules:
            self._part(path)
        for step in self._steps:
            for path in step.scopes:
                self._part(path.partition(CALL_MARK)[0])

    def forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        """The outputs of the file, for its inputs."""
        values = {**self._constants, **dict(zip(self._inputs, inputs, strict=True))}
        values.update((value, table[name]) for value, (table, name) in self._weights.items())
        self._run(self._steps, values, 0)
        return tuple(values[name] for name in self._outputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExportedNetwork:
        """Constants go where the weights go."""
        self._constants = tree_map_only(Tensor, fn, self._constants)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _run(self, steps: Sequence[Step], values: Values, depth: int) -> None:
        for path, inside in groupby(steps, key=lambda step: step.scopes[depth] if depth < len(step.scopes) else ""):
            if path:
                self._parts[path.partition(CALL_MARK)[0]](partial(self._run, list(inside), values, depth + 1))
                continue
            for step in inside:
                step.run(values)

    def _part(self, path: str) -> nn.Module:
        if path not in self._parts:
            above, _, name = path.rpartition(".")
            self._parts[path] = self._part(above)._modules[name] = Part()
        return self._parts[path]


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
