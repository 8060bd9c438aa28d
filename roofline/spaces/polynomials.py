"""What parts of one form cost, as a polynomial in their sizes; and a table of layers as numbers, and back.

All a block costs, its MACs, bytes and parameters, layer by layer, is a polynomial with whole coefficients in its sizes
(channels, groups), of a degree in each that the part states. Such a polynomial is told by its values on a grid: with
nodes x_0, x_1, ... of each size, Newton's form

    f(x) = f[x_0] + f[x_0, x_1] (x - x_0) + f[x_0, x_1, x_2] (x - x_0) (x - x_1)

in each size in turn, has divided differences that are whole numbers, so that no rounding comes in. A size of 1 is a
form of its own: a convolution of one group is dense, one of a channel a group depthwise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from roofline.errors import RooflineError
from roofline.fuse import WEIGHTED
from roofline.graph import numel
from roofline.layers import Flow, Ints, LayerTable, UncountedOp
from roofline.spaces.space import Part

NODE_STEP = 8  # nodes are multiples of it: blocks round widths to such
MAX_COUNT = 2.0**62

LAYER_NUMBERS = (
    "macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes", "external_bytes",
    "unfused_bytes", "given_bytes", "alive_bytes", "conv_outputs",
)  # fmt: skip


# --- a form of part, and what it costs --------------------------------------------------------------------------------


class Form(NamedTuple):
    """What parts that differ in nothing but their sizes have in common.

    Attributes:
        make, config, input_shape: As of a `Part`; sizes of 1 are in the configuration.
        sizes: Names of the others, and their degrees.
    """

    make: Callable[..., nn.Module]
    config: tuple[tuple[str, Hashable], ...]
    input_shape: tuple[int | str, ...]
    sizes: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, part: Part) -> tuple[Form, tuple[int, ...]]:
        """The form of a part, and its sizes."""
        config = part.config + tuple((size.name, 1) for size in part.sizes if size.value == 1)
        varying = [size for size in part.sizes if size.value != 1]
        names = tuple((size.name, size.degree) for size in varying)
        return cls(part.make, config, part.input_shape, names), tuple(size.value for size in varying)

    def frozen(self, values: Sequence[int]) -> Form:
        """The form of one part alone, with its sizes in the configuration."""
        config = (*self.config, *((name, value) for (name, _), value in zip(self.sizes, values, strict=True)))
        return self._replace(config=config, sizes=())


@dataclass(frozen=True, eq=False)
class Costs:
    """What parts of one form cost.

    Attributes:
        pattern: The table of one of them: the layers and the tensors between them are the same for all.
        nodes: Of each size, as many as its degree and one more.
        differences: Divided differences of what `as_numbers` gives; shape ``(terms, numbers)``.
    """

    pattern: LayerTable
    nodes: tuple[tuple[int, ...], ...]
    differences: Ints

    def at(self, sizes: Ints) -> Ints:
        """The numbers of parts of these sizes, shape ``(parts, sizes)``; the result's is ``(parts, numbers)``.

        Raises:
            RooflineError: They leave 64 bits.
        """
        most = np.abs(self._terms(sizes.astype(np.float64))) @ np.abs(self.differences).astype(np.float64)
        if most.max(initial=0.0) >= MAX_COUNT:
            raise RooflineError("the counts of a network of this space leave 64 bits: take a smaller input or batch")
        return np.asarray(self._terms(sizes) @ self.differences)

    def _terms(self, sizes: NDArray[Any]) -> NDArray[Any]:
        """Products of ``(x - x_0) (x - x_1) ...`` over the sizes, shape ``(parts, terms)``."""
        terms = np.ones((len(sizes), 1), dtype=sizes.dtype)
        for place, nodes in enumerate(self.nodes):
            factors = sizes[:, place, np.newaxis] - np.array(nodes[:-1], dtype=sizes.dtype)
            powers = np.concatenate([np.ones_like(terms[:, :1]), np.cumprod(factors, axis=1)], axis=1)
            terms = (terms[:, :, np.newaxis] * powers[:, np.newaxis, :]).reshape(len(sizes), -1)
        return terms

    def table(self, sizes: Sequence[int]) -> LayerTable:
        """The layers of the part of these sizes."""
        return as_table(self.pattern, self.at(np.array([sizes], dtype=np.int64))[0])


def grid(form: Form) -> tuple[tuple[int, ...], ...]:
    """Nodes of each size: multiples of 8, which rise from one size to the next."""
    nodes, last = [], 0
    for _, degree in form.sizes:
        nodes.append(tuple(range(last + NODE_STEP, last + NODE_STEP * (degree + 2), NODE_STEP)))
        last = nodes[-1][-1]
    return tuple(nodes)


def divided_differences(values: Ints, nodes: Sequence[Sequence[int]]) -> Ints | None:
    """Newton's divided differences of values on a grid, along all of its axes; None where one is no whole number.

    Args:
        values: Shape ``(nodes of the first size, ..., nodes of the last, numbers)``.
        nodes: Of each size.
    """
    found = values.copy()
    for axis, of_size in enumerate(nodes):
        moved = np.moveaxis(found, axis, 0)  # a view
        for order in range(1, len(of_size)):
            for place in range(len(of_size) - 1, order - 1, -1):
                step = of_size[place] - of_size[place - order]
                quotient, remainder = np.divmod(moved[place] - moved[place - 1], step)
                if remainder.any():
                    return None
                moved[place] = quotient
    return found.reshape(-1, values.shape[-1])


# --- tables as numbers ------------------------------------------------------------------------------------------------


def flow_of(table: LayerTable) -> Flow:
    """What passes between the layers of a part.

    Raises:
        RooflineError: It takes or returns more than one tensor.
    """
    if table.flow is None:
        raise RooflineError("a part of a network must take one tensor and return one")
    return table.flow()


def as_numbers(table: LayerTable) -> Ints:
    """All numbers of a table in one row: of the layers, of the whole, and of what passes between the layers."""
    flow = flow_of(table)
    conv_outputs = [
        numel(shape) if kind in WEIGHTED else 0 for kind, shape in zip(table.kind, table.output_shape, strict=True)
    ]
    columns: dict[str, Any] = {"given_bytes": flow.given_bytes, "alive_bytes": flow.alive_bytes}
    columns["conv_outputs"] = np.array(conv_outputs, dtype=np.int64)
    dims = [size for shape in (*table.input_shape, *table.output_shape) for size in shape]
    whole = [table.params, *(op.mem_bytes for op in table.uncounted_ops)]
    of_layers = (columns[name] if name in columns else getattr(table, name) for name in LAYER_NUMBERS)
    return np.concatenate(
        [*of_layers, np.array(whole, dtype=np.int64), flow.moved_bytes, np.array(dims, dtype=np.int64)]
    )


def params_at(table: LayerTable) -> int:
    """Where the parameters stand among the numbers of a table."""
    return len(table) * len(LAYER_NUMBERS)


def structure_of(table: LayerTable) -> tuple[Any, ...]:
    """What must be the same in parts of one form."""
    flow = flow_of(table)
    return (
        *(getattr(table, column).tolist() for column in ("name", "kind", "ops", "kernel")),
        [len(shape) for shape in (*table.input_shape, *table.output_shape)],
        *(getattr(flow, column).tolist() for column in ("layer", "tensor", "is_written", "is_external")),
        flow.output,
        [(op.name, op.calls) for op in table.uncounted_ops],
    )


def as_table(pattern: LayerTable, numbers: Ints) -> LayerTable:
    """The table that `as_numbers` made numbers of; the rest is that of the pattern."""
    flow, length, uncounted = flow_of(pattern), len(pattern), len(pattern.uncounted_ops)
    ends = np.cumsum([params_at(pattern), 1, uncounted, len(flow.layer)])
    of_layers, (params,), mem_bytes, moved_bytes, dims = np.split(numbers, ends)
    columns: dict[str, Any] = dict(zip(LAYER_NUMBERS, of_layers.reshape(len(LAYER_NUMBERS), length), strict=True))
    sizes = iter(dims.tolist())
    columns |= {
        column: _objects(tuple(next(sizes) for _ in shape) for shape in getattr(pattern, column))
        for column in ("input_shape", "output_shape")
    }
    flow = replace(
        flow,
        moved_bytes=moved_bytes,
        given_bytes=columns.pop("given_bytes"),
        alive_bytes=(alive_bytes := columns.pop("alive_bytes")),
    )
    unfused_bytes = columns.pop("unfused_bytes")
    del columns["conv_outputs"]
    activation_bytes = columns["input_bytes"] + columns["output_bytes"]
    ops = zip(pattern.uncounted_ops, mem_bytes.tolist(), strict=True)
    return replace(
        pattern,
        **columns,
        params=int(params),
        peak_activation_bytes=int(alive_bytes.max(initial=0)),
        uncounted_ops=tuple(UncountedOp(op.name, op.calls, size) for op, size in ops),
        reuse=lambda: flow.reuse(activation_bytes),
        unfused=lambda: unfused_bytes,
        flow=lambda: flow,
    )


def _objects(items: Iterable[Any]) -> NDArray[np.object_]:
    return np.fromiter(items, dtype=object)
