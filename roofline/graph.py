"""What a forward pass did: a dataflow graph of ATen operations over tensor versions.

A `Value` is one version of one tensor. An operation that writes into a tensor (``relu_``, ``x[:, :c] += y``)
yields a new version; a view yields another Value with the same `root`. So "who wrote what this op reads" is
always ``value.root.producer``, through any number of views. The graph holds no torch object.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["input", "parameter", "buffer", "constant", "activation"]
Extent = Literal["same", "reshaped", "other"]
FLOATING = frozenset({"float64", "float32", "float16", "bfloat16"})


@dataclass(slots=True, eq=False)
class Value:
    """One version of one tensor.

    Attributes:
        shape: Its sizes.
        dtype: torch's name without the prefix, e.g. ``"float32"``.
        role: What the memory behind it is; a view has its base's. What is made of constants
            alone, and is no larger than they are, is a constant.
        elements: Distinct elements it spans: the product of `shape`, where expanded (stride 0) dimensions count once;
            of a sparse tensor, those that it holds.
        storage: Number of the block of memory it lives in; views and in-place versions share it.
        name: Dotted name of a parameter or buffer, else empty.
        producer: Index in ``Graph.ops`` of the op that wrote it; -1 for what existed before.
        base: The value of which this is a view; None if it is none.
        extent: Of a view, what of its base it shows: the ``same`` (shape and layout too), all elements in the same
            order ``reshaped``, or ``other``: a part, or another order.
        strides: Elements from one entry to the next along each dimension; empty for a scalar, for a tensor that has
            none (a sparse one), and where nothing ran that would tell.
        is_sparse: Whether it holds some of its entries alone, of which `elements` is the number.
    """

    shape: tuple[int, ...]
    dtype: str
    role: Role
    elements: int
    storage: int
    name: str = ""
    producer: int = -1
    base: Value | None = None
    extent: Extent = "same"
    strides: tuple[int, ...] = ()
    is_sparse: bool = False

    @property
    def root(self) -> Value:
        """The written (or given) value whose memory this is."""
        value = self
        while value.base is not None:
            value = value.base
        return value

    @property
    def extent_of_root(self) -> Extent:
        """What of its root it shows, through all views between."""
        extents = set()
        value = self
        while value.base is not None:
            extents.add(value.extent)
            value = value.base
        return "other" if "other" in extents else "reshaped" if "reshaped" in extents else "same"

    @property
    def is_weight(self) -> bool:
        """Whether it is a parameter or a buffer of the model, or a view of one."""
        return self.role in ("parameter", "buffer")

    @property
    def is_constant(self) -> bool:
        """Whether it is the same in every run: a weight, or a tensor from outside that is no input."""
        return self.role in ("parameter", "buffer", "constant")


@dataclass(slots=True, eq=False)
class Op:
    """One ATen operation as it ran.

    Attributes:
        name: Canonical name: ``convolution`` for every conv, no in-place underscore; ``lib::op`` outside ATen.
        target: The overload that ran, e.g. ``aten.conv2d.default``.
        args, kwargs: Its arguments, with Values in place of tensors.
        inputs: The tensors among them, in order.
        outputs: What it wrote; for a view, the view.
        is_view: Whether it only re-described memory (outputs alias inputs, nothing written).
        path: Dotted path of the innermost module that was running, empty for the model itself.
        is_leaf: Whether that module has no children.
        call: Serial number of that module call, unique in the graph.
    """

    name: str
    target: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    is_view: bool
    path: str
    is_leaf: bool
    call: int

    def arg(self, position: int, name: str, default: Any = None) -> Any:
        """The argument that the schema has at `position` under `name`."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The operations of one forward pass, in execution order.

    Attributes:
        ops: All of them, views included.
        inputs, outputs: The tensors given to the model and returned by it.
        params: Elements of the model's parameters; a shared or tied one counts once.
        storage_elements: Elements allocated for each storage number.
        module_calls: Calls of modules, the model's own and those of containers included.
    """

    ops: Sequence[Op]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    params: int
    storage_elements: Mapping[int, int] = field(default_factory=dict)
    module_calls: int = 0


def numel(shape: Sequence[int]) -> int:
    """Product of the sizes; 1 for a scalar."""
    return math.prod(shape)
