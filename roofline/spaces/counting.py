"""Count many networks of a space: each form of part is traced a few times, and then known for every size.

Networks of a space are built of few forms of block, in many sizes, and all a block costs is a polynomial in these
(`roofline.spaces.polynomials`). A part is traced on a grid of sizes, and where it is asked for first, which has to
agree with the polynomial, as do the layers, their kinds and the tensors between them. What does not agree, and a part
without sizes, is traced once for each configuration.

What no trace of a part can show is whether a compiler fuses across its ends. `differences` compares with a trace of
the whole network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from roofline.errors import RooflineError
from roofline.graph import Graph
from roofline.layers import COLUMNS, Flow, Ints, LayerTable, chained, join, lower
from roofline.loading.building import build
from roofline.spaces.polynomials import (
    LAYER_NUMBERS,
    Costs,
    Form,
    as_numbers,
    as_table,
    divided_differences,
    flow_of,
    grid,
    params_at,
    structure_of,
)
from roofline.spaces.space import Config, Part, Space, as_pairs
from roofline.trace import trace

MOST_FORMS = 1024  # of parts that a counter keeps: of a block some 50 kB each, of a whole network 100
MOST_GRAPHS = 2048  # that are kept for other counters, which lower them otherwise; of a block some 15 kB each

TOTALS = (
    "macs", "params", "weight_bytes", "activation_bytes", "peak_activation_bytes", "activations", "layers",
)  # fmt: skip
_NAMES = ("kind", "ops", "kernel")  # what of a layer is no number
_PREDICTED = ("macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes")


@dataclass(frozen=True, eq=False)
class _Alike:
    """Parts of one form in many networks; the arrays have one entry a part.

    Attributes:
        costs: Theirs.
        numbers: What `as_numbers` gives of each.
        network, place, repeats: In which network each stands, at which place of its chain, and how often.
    """

    costs: Costs
    numbers: Ints
    network: Ints
    place: Ints
    repeats: Ints


class _Parts:
    """The parts of many networks, alike ones together."""

    def __init__(self, alike: Sequence[_Alike]) -> None:
        self.alike = alike
        self.network, self.place, self.repeats = (
            np.concatenate([getattr(parts, column) for parts in alike]) for column in ("network", "place", "repeats")
        )
        flows = [flow_of(parts.costs.pattern) for parts in alike]
        sizes = [
            (len(parts.costs.pattern), len(flow.layer), flow.tensors, flow.output)
            for parts, flow in zip(alike, flows, strict=True)
        ]
        of_parts = np.repeat(np.array(sizes, dtype=np.int64), [len(parts.place) for parts in alike], axis=0)
        self.layers, self.moves, self.tensors, self.outputs = of_parts.T
        self.in_order = np.lexsort((self.place, self.network))  # network by network, along its chain

    def columns(self, names: Iterable[str], order: Ints) -> dict[str, NDArray[Any]]:
        """Columns of the layers of these parts, one part after the other."""
        places = _ranges(self.layers, order)
        return {name: np.concatenate([_column(parts, name) for parts in self.alike])[places] for name in names}

    def flow(self, order: Ints) -> Flow:
        """What passes between the layers of these parts, which are whole chains."""
        moves: dict[str, list[NDArray[Any]]] = {name: [] for name in ("layer", "tensor", "is_written", "is_external")}
        moved_bytes = []
        for parts in self.alike:
            flow = flow_of(parts.costs.pattern)
            for name, found in moves.items():
                found.append(np.tile(getattr(flow, name), len(parts.place)))
            first = params_at(parts.costs.pattern) + 1 + len(parts.costs.pattern.uncounted_ops)
            moved_bytes.append(parts.numbers[:, first : first + len(flow.layer)].ravel())
        places = _ranges(self.moves, order)
        columns = {name: np.concatenate(found)[places] for name, found in moves.items()}
        unknown = np.zeros(self.layers[order].sum(), dtype=np.int64)
        return chained(
            Flow(
                **columns,
                moved_bytes=np.concatenate(moved_bytes)[places],
                output=0,
                given_bytes=unknown,
                alive_bytes=unknown,
            ),
            moves=self.moves[order],
            layers=self.layers[order],
            tensors=self.tensors[order],
            outputs=self.outputs[order],
            begins=np.diff(self.network[order], prepend=-1) != 0,
        )


def _column(parts: _Alike, name: str) -> NDArray[Any]:
    """A column of the layers of alike parts, one part after the other."""
    pattern = parts.costs.pattern
    if name in _NAMES:
        return np.tile(getattr(pattern, name), len(parts.place))
    first = LAYER_NUMBERS.index(name) * len(pattern)
    return parts.numbers[:, first : first + len(pattern)].ravel()


def _ranges(lengths: Ints, order: Ints) -> Ints:
    """Of pieces of these lengths, which stand one after the other, the places of what they hold, in another order.

    >>> _ranges(np.array([2, 3, 1]), np.array([1, 0, 1])).tolist()
    [2, 3, 4, 0, 1, 2, 3, 4]
    """
    taken = lengths[order]
    shifts = (np.cumsum(lengths) - lengths)[order] - (np.cumsum(taken) - taken)  # from where a piece comes to there
    places: Ints = np.arange(int(taken.sum())) + np.repeat(shifts, taken)
    return places


@dataclass(frozen=True, eq=False, kw_only=True)
class Counts:
    """Networks of a space, counted.

    Attributes:
        layers: Those of all networks, one network after the other, a repeated part once; as much of the table as
            `roofline.engine.predict` asks of devices that keep nothing on the chip. Names, shapes and external bytes
            are left out.
        repeats: How often each stands in its network.
        starts: Where the layers of each network begin.
        totals: By name, in the order of `TOTALS`, one number a network. ``activations`` are the output elements of
            convolutions and linear layers, as RegNet's paper counts them; the peak is that of the network, the others
            are sums over its layers.
    """

    layers: LayerTable
    repeats: Ints
    starts: Ints
    totals: Mapping[str, Ints]
    _parts: _Parts

    def each(self) -> Iterator[LayerTable]:
        """The layers of each network, repeated parts as often as they stand, and with what can stay on a chip.

        Names, shapes and external bytes are left out.
        """
        parts = self._parts
        order = np.repeat(parts.in_order, parts.repeats[parts.in_order])
        columns, flow = parts.columns((*_NAMES, *_PREDICTED), order), parts.flow(order)
        activation_bytes = columns["input_bytes"] + columns["output_bytes"]
        together = _nameless(columns, self.layers, reuse=cache(lambda: flow.reuse(activation_bytes)))
        network = np.repeat(parts.network[order], parts.layers[order])
        ends = np.searchsorted(network, np.arange(len(self.starts)), side="right")
        for start, end in pairwise([0, *ends.tolist()]):
            yield together.take(slice(start, end))


def _nameless(columns: Mapping[str, NDArray[Any]], choices: Any, reuse: Any = None) -> LayerTable:
    """A table of the layers of many networks, without names, shapes and external bytes."""
    no_name, no_shape = np.empty((2, len(columns["macs"])), dtype=object)
    no_name.fill("")
    no_shape.fill(())
    known: dict[str, Any] = {name: columns[name] for name in (*_NAMES, *_PREDICTED)}
    return LayerTable(
        **known,
        name=no_name,
        input_shape=no_shape,
        output_shape=no_shape,
        external_bytes=np.zeros_like(columns["macs"]),
        **{choice: getattr(choices, choice) for choice in ("fusion", "dtype", "fused_activations", "transposes")},
        params=0,
        peak_activation_bytes=0,
        reuse=reuse,
    )


class Counter:
    """Counts networks by their parts, and keeps what it knows of these.

    Args:
        fusion, dtype, fused_activations, transposes: As `roofline.layers.lower` takes them.

    Attributes:
        hits: Parts that were known when they were asked for.
        misses: Parts that were traced and lowered to know them, and all of their form.
    """

    def __init__(
        self,
        *,
        fusion: str = "none",
        dtype: str = "fp32",
        fused_activations: Collection[str] = frozenset({"relu", "relu6"}),
        transposes: bool = False,
    ) -> None:
        self.choices: dict[str, Any] = {
            "fusion": fusion,
            "dtype": dtype,
            "fused_activations": fused_activations,
            "transposes": transposes,
        }
        self.hits = self.misses = 0
        self._known: OrderedDict[Form, Costs | None] = OrderedDict()  # None: costs no such polynomial

    def table(self, parts: Iterable[Part]) -> LayerTable:
        """The layers of the network that is a chain of these parts.

        Raises:
            RooflineError: A part cannot be built or traced, or has more than one input or output.
        """
        found = []
        for part in parts:
            costs, sizes = self._costs(part)
            found += [costs.table(sizes)] * part.repeats
        return join(found)

    def counts(self, networks: Sequence[Iterable[Part]]) -> Counts:
        """Count networks, at least one, each a chain of parts, at once.

        Raises:
            RooflineError: As `table` does, or for a network without layers.
        """
        parts = self._evaluated(networks)
        order, names = parts.in_order, (*_NAMES, *_PREDICTED, "alive_bytes", "conv_outputs")
        columns = parts.columns(names, order)
        network, repeats = (np.repeat(column[order], parts.layers[order]) for column in (parts.network, parts.repeats))
        starts = np.searchsorted(network, np.arange(len(networks)))
        if len(np.unique(network)) < len(networks):
            raise RooflineError("a network of this space has no layers")
        params = np.zeros(len(networks), dtype=np.int64)
        for alike in parts.alike:
            np.add.at(params, alike.network, alike.repeats * alike.numbers[:, params_at(alike.costs.pattern)])

        def total(column: Ints) -> Ints:
            return np.add.reduceat(column * repeats, starts)

        totals = {
            "macs": total(columns["macs"]),
            "params": params,
            "weight_bytes": total(columns["weight_bytes"]),
            "activation_bytes": total(columns["input_bytes"] + columns["output_bytes"]),
            "peak_activation_bytes": np.maximum.reduceat(columns["alive_bytes"], starts),
            "activations": total(columns["conv_outputs"]),
            "layers": total(np.ones_like(repeats)),
        }
        layers = _nameless(columns, parts.alike[0].costs.pattern)
        return Counts(layers=layers, repeats=repeats, starts=starts, totals=totals, _parts=parts)

    def _evaluated(self, networks: Sequence[Iterable[Part]]) -> _Parts:
        """The parts of networks, and the numbers of each."""
        alike: dict[int, tuple[Costs, list[tuple[int, ...]], list[tuple[int, int, int]]]] = {}
        for number, parts in enumerate(networks):
            for place, part in enumerate(parts):
                costs, sizes = self._costs(part)
                _, of_size, standing = alike.setdefault(id(costs), (costs, [], []))
                of_size.append(sizes)
                standing.append((number, place, part.repeats))
        if not alike:
            raise RooflineError("a network of this space has no parts")
        found = []
        for costs, of_size, standing in alike.values():
            numbers = costs.at(np.array(of_size, dtype=np.int64).reshape(len(of_size), -1))
            found.append(_Alike(costs, numbers, *np.array(standing, dtype=np.int64).T))
        return _Parts(found)

    def _costs(self, part: Part) -> tuple[Costs, tuple[int, ...]]:
        """What parts of this form cost, and the sizes of this one."""
        form, sizes = Form.of(part)
        before = self.misses
        if form not in self._known:
            self._keep(form, self._learnt(form, sizes))
        costs = self._known[form]
        if costs is None:
            form, sizes = form.frozen(sizes), ()
            if form not in self._known:
                self._keep(form, self._learnt(form, ()))
            costs = self._known[form]
        assert costs is not None, "one part alone is a polynomial in no size"
        self._known.move_to_end(form)
        self.hits += self.misses == before
        return costs, sizes

    def _keep(self, form: Form, costs: Costs | None) -> None:
        self._known[form] = costs
        if len(self._known) > MOST_FORMS:
            self._known.popitem(last=False)

    def _learnt(self, form: Form, sizes: tuple[int, ...]) -> Costs | None:
        """What parts of a form cost, which is checked with one of these sizes; None where it is no polynomial."""
        here = self._traced(form, sizes)
        numbers, structure, nodes = as_numbers(here), structure_of(here), grid(form)
        here = as_table(here, numbers)  # which does not keep the graph
        if not sizes:
            return Costs(here, (), numbers[np.newaxis])
        try:
            tables = [self._traced(form, node) for node in product(*nodes)]
        except RooflineError:
            return None  # there is no such part in all sizes
        if any(structure_of(table) != structure for table in tables):
            return None
        values = np.array([as_numbers(table) for table in tables]).reshape(*map(len, nodes), -1)
        differences = divided_differences(values, nodes)
        if differences is None:
            return None
        costs = Costs(here, nodes, differences)
        return costs if np.array_equal(costs.at(np.array([sizes]))[0], numbers) else None

    def _traced(self, form: Form, sizes: Sequence[int]) -> LayerTable:
        """The layers of the part of a form that has these sizes, from a trace."""
        self.misses += 1
        return lower(_graph(form, tuple(sizes)), **self.choices)


@lru_cache(maxsize=MOST_GRAPHS)
def _graph(form: Form, sizes: tuple[int, ...]) -> Graph:
    """A trace of the part of a form that has these sizes."""
    of_size = dict(zip((name for name, _ in form.sizes), sizes, strict=True))
    arguments: dict[str, Any] = {**dict(form.config), **of_size}
    shape = [arguments[size] if isinstance(size, str) else size for size in form.input_shape]
    module = build(partial(form.make, **arguments), "a part of the space", weights=False)
    return trace(module, torch.empty(shape, device="meta"))


@lru_cache(maxsize=1)
def _whole_graph(space: Space, config: tuple[tuple[str, Any], ...], batch: int) -> Graph:
    """A trace of a whole network."""
    module = build(partial(space.build, dict(config)), f"the space {space.name}", weights=False)
    return trace(module, torch.empty((batch, *space.input_shape[1:]), device="meta"))


def counted(space: Space, config: Config, counter: Counter, batch: int = 1) -> LayerTable:
    """The layers of the network of a configuration, counted by its parts."""
    return counter.table(space.parts(config, batch))


def differences(space: Space, config: Config, counter: Counter, batch: int = 1) -> list[str]:
    """How the network of a configuration, counted by its parts, differs from a trace of all of it.

    Returns:
        A sentence a column; none where both are the same but for the names of the layers.
    """
    traced = lower(_whole_graph(space, as_pairs(config), batch), **counter.choices)
    by_parts = counted(space, config, counter, batch)
    if len(by_parts) != len(traced):
        return [f"its parts have {len(by_parts)} layers, a trace of the whole network has {len(traced)}"]
    found = []
    columns: list[tuple[str, Any, Any]] = [
        *((column, getattr(by_parts, column), getattr(traced, column)) for column in COLUMNS if column != "name"),
        ("unfused_bytes", by_parts.unfused_bytes, traced.unfused_bytes),
    ]
    if by_parts.reuse is not None and traced.reuse is not None:
        columns.append(("reuse", by_parts.reuse(), traced.reuse()))
    for what, ours, theirs in columns:
        differing = [place for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        if differing:
            place = differing[0]
            found.append(
                f"{what} of layer {traced.name[place]}: {ours[place]} by parts, {theirs[place]} in a trace of the "
                f"whole network ({len(differing)} layers differ)"
            )
    for what in ("params", "peak_activation_bytes", "uncounted_ops"):
        ours, theirs = getattr(by_parts, what), getattr(traced, what)
        if ours != theirs:
            found.append(f"{what}: {ours} by parts, {theirs} in a trace of the whole network")
    return found
