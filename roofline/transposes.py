"""A network as a runtime whose tensors have no strides runs it: a view that reorders the elements is a copy there.

PyTorch re-describes memory where one calls ``permute`` or ``transpose``. TFLite and its like move the elements, unless
there is nothing to move. Of the axes that are left when those of size 1 are dropped, and neighbours that stay
neighbours are taken for one, the last two may swap for free: a matrix product takes either operand transposed, and
such a runtime keeps the channels of an image last, so that to bring them there or back is no way at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from roofline.graph import Graph, Op, Value

TRANSPOSES = ("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "numpy_T")
CARRIERS = frozenset("reshape flatten unflatten ravel contiguous clone _reshape_copy".split())


def with_copies(graph: Graph) -> Graph:
    """The graph in which each view that reorders writes a tensor of its own.

    What copied such a view only to have its elements in order is then a view itself, so that nothing is copied twice.
    """
    reordering = {index for index, op in enumerate(graph.ops) if reorders(op)}
    if not reordering:
        return graph
    storage_elements = dict(graph.storage_elements)
    twins: dict[int, Value] = {}  # id of a value of the graph -> the same, where it shows a copy
    copies: set[int] = set()  # numbers of their storages

    def twin(value: Value) -> Value:
        if id(value) not in twins and value.base is not None:
            base = twin(value.base)
            if base is not value.base:
                twins[id(value)] = replace(value, base=base, storage=base.storage)
        return twins.get(id(value), value)

    def with_twins(arg: Any) -> Any:
        if isinstance(arg, tuple):
            return tuple(map(with_twins, arg))
        return twin(arg) if isinstance(arg, Value) else arg

    def as_it_runs(index: int, op: Op) -> Op:
        inputs = tuple(map(twin, op.inputs))
        is_view = op.is_view
        if index in reordering:
            (view,) = op.outputs
            storage = len(storage_elements)
            storage_elements[storage] = view.elements
            copies.add(storage)
            twins[id(view)] = Value(view.shape, view.dtype, "activation", view.elements, storage, "", index)
            is_view = False
        elif op.name in CARRIERS and not is_view and inputs[0].root.storage in copies:
            (carried,) = op.outputs
            twins[id(carried)] = replace(carried, base=inputs[0], storage=inputs[0].storage, extent="reshaped")
            is_view = True
        elif inputs == op.inputs:  # values are equal where they are the same
            return op
        return replace(
            op,
            args=with_twins(op.args),
            kwargs={name: with_twins(arg) for name, arg in op.kwargs.items()},
            inputs=inputs,
            outputs=tuple(map(twin, op.outputs)),
            is_view=is_view,
        )

    ops = tuple(as_it_runs(index, op) for index, op in enumerate(graph.ops))
    return replace(graph, ops=ops, outputs=tuple(map(twin, graph.outputs)), storage_elements=storage_elements)


def reorders(op: Op) -> bool:
    """Whether the op is a view that a runtime without strides has to copy; one of a weight is made beforehand."""
    if op.name not in TRANSPOSES or not op.is_view or op.inputs[0].is_constant:
        return False
    shape = op.inputs[0].shape
    return moves(shape, _axes(op, len(shape)))


def moves(shape: Sequence[int], order: Sequence[int]) -> bool:
    """Whether elements move where the axes of a tensor come in another order: see the head of this module.

    >>> moves((1, 64, 4, 32), (0, 2, 1, 3)), moves((1, 64, 4, 32), (0, 1, 3, 2)), moves((1, 3, 8, 8), (0, 2, 3, 1))
    (True, False, False)
    """
    wide = [axis for axis in range(len(shape)) if shape[axis] != 1]
    places = [wide.index(axis) for axis in order if shape[axis] != 1]
    runs = [place for before, place in pairwise([-2, *places]) if place != before + 1]
    ascending = sorted(runs)
    return runs not in (ascending, [*ascending[:-2], *reversed(ascending[-2:])])


def _axes(op: Op, rank: int) -> tuple[int, ...]:
    """Which axis of its input each axis of the view is."""
    if op.name == "numpy_T":
        return tuple(reversed(range(rank)))
    if op.name == "permute":
        return tuple(axis % rank for axis in op.arg(1, "dims"))
    order = list(range(rank))
    if op.name in ("movedim", "moveaxis"):
        given = (op.arg(1, "source"), op.arg(2, "destination"))
        sources, destinations = ([axis % rank for axis in ((a,) if isinstance(a, int) else a)] for a in given)
        order = [axis for axis in order if axis not in sources]
        for destination, source in sorted(zip(destinations, sources, strict=True)):
            order.insert(destination, source)
        return tuple(order)
    names = ("axis0", "axis1") if op.name == "swapaxes" else ("dim0", "dim1")
    first, second = (op.arg(place, name) % rank for place, name in enumerate(names, start=1))
    order[first], order[second] = order[second], order[first]
    return tuple(order)
