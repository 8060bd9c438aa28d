"""Count many networks of a space: each form of part is traced a few times, and then known for every size.

Networks of a space are built of few forms of block, in many sizes. All a block costs, its MACs, bytes and parameters,
layer by layer, is a polynomial with whole coefficients in its sizes (channels, groups), of a degree in each that the
part states. Such a polynomial is told by its values on a grid: with nodes x_0, x_1, ... of each size, Newton's form

    f(x) = f[x_0] + f[x_0, x_1] (x - x_0) + f[x_0, x_1, x_2] (x - x_0) (x - x_1)

in each size in turn, has divided differences that are whole numbers, so that no rounding comes in. A part is traced on
the grid, and where it is asked for first, which has to agree with the polynomial, as do the layers, their kinds and
the tensors between them. What does not agree, and a part without sizes, is traced once for each configuration. A size
of 1 is a form of its own: a convolution of one group is dense, one of a channel a group depthwise.

What no trace of a part can show is whether a compiler fuses across its ends. `differences` compares with a trace of
the whole network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from roofline.curves import Curve
from roofline.engine import Floats, predict
from roofline.errors import RooflineError
from roofline.fuse import WEIGHTED
from roofline.graph import Graph, numel
from roofline.hardware import Hardware
from roofline.layers import COLUMNS, Flow, Ints, LayerTable, UncountedOp, chained, join, lower
from roofline.loading.building import build
from roofline.spaces.space import Config, Part, Space, as_pairs
from roofline.trace import trace

MOST_FORMS = 1024  # of parts that a counter keeps: of a block some 50 kB each, of a whole network 100
MOST_GRAPHS = 2048  # that are kept for other counters, which lower them otherwise; of a block some 15 kB each
NODE_STEP = 8  # nodes are multiples of it: blocks round widths to such
MAX_COUNT = 2.0**62

LAYER_NUMBERS = (
    "macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes", "external_bytes",
    "unfused_bytes", "given_bytes", "alive_bytes", "conv_outputs",
)  # fmt: skip


# --- a form of part, and what it costs --------------------------------------------------------------------------------


class _Form(NamedTuple):
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
    def of(cls, part: Part) -> tuple[_Form, tuple[int, ...]]:
        """The form of a part, and its sizes."""
        config = part.config + tuple((size.name, 1) for size in part.sizes if size.value == 1)
        varying = [size for size in part.sizes if size.value != 1]
        names = tuple((size.name, size.degree) for size in varying)
        return cls(part.make, config, part.input_shape, names), tuple(size.value for size in varying)

    def frozen(self, values: Sequence[int]) -> _Form:
        """The form of one part alone, with its sizes in the configuration."""
        config = (*self.config, *((name, value) for (name, _), value in zip(self.sizes, values, strict=True)))
        return self._replace(config=config, sizes=())


@dataclass(frozen=True, eq=False)
class _Costs:
    """What parts of one form cost.

    Attributes:
        pattern: The table of one of them: the layers and the tensors between them are the same for all.
        nodes: Of each size, as many as its degree and one more.
        differences: Divided differences of what `_numbers` gives; shape ``(terms, numbers)``.
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
        return _table(self.pattern, self.at(np.array([sizes], dtype=np.int64))[0])


def _grid(form: _Form) -> tuple[tuple[int, ...], ...]:
    """Nodes of each size: multiples of 8, which rise from one size to the next."""
    nodes, last = [], 0
    for _, degree in form.sizes:
        nodes.append(tuple(range(last + NODE_STEP, last + NODE_STEP * (degree + 2), NODE_STEP)))
        last = nodes[-1][-1]
    return tuple(nodes)


def _divided_differences(values: Ints, nodes: Sequence[Sequence[int]]) -> Ints | None:
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


def _flow(table: LayerTable) -> Flow:
    if table.flow is None:
        raise RooflineError("a part of a network must take one tensor and return one")
    return table.flow()


def _numbers(table: LayerTable) -> Ints:
    """All numbers of a table in one row: of the layers, of the whole, and of what passes between the layers."""
    flow = _flow(table)
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


def _params_at(table: LayerTable) -> int:
    """Where the parameters stand among the numbers of a table."""
    return len(table) * len(LAYER_NUMBERS)


def _structure(table: LayerTable) -> tuple[Any, ...]:
    """What must be the same in parts of one form."""
    flow = _flow(table)
    return (
        *(getattr(table, column).tolist() for column in ("name", "kind", "ops", "kernel")),
        [len(shape) for shape in (*table.input_shape, *table.output_shape)],
        *(getattr(flow, column).tolist() for column in ("layer", "tensor", "is_written", "is_external")),
        flow.output,
        [(op.name, op.calls) for op in table.uncounted_ops],
    )


def _table(pattern: LayerTable, numbers: Ints) -> LayerTable:
    """The table that `_numbers` made numbers of; the rest is that of the pattern."""
    flow, length, uncounted = _flow(pattern), len(pattern), len(pattern.uncounted_ops)
    ends = np.cumsum([_params_at(pattern), 1, uncounted, len(flow.layer)])
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


# --- counting ---------------------------------------------------------------------------------------------------------


_NAMES = ("kind", "ops", "kernel")  # what of a layer is no number
_PREDICTED = ("macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes")


@dataclass(frozen=True, eq=False)
class _Alike:
    """Parts of one form in many networks; the arrays have one entry a part.

    Attributes:
        costs: Theirs.
        numbers: What `_numbers` gives of each.
        network, place, repeats: In which network each stands, at which place of its chain, and how often.
    """

    costs: _Costs
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
        flows = [_flow(parts.costs.pattern) for parts in alike]
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
            flow = _flow(parts.costs.pattern)
            for name, found in moves.items():
                found.append(np.tile(getattr(flow, name), len(parts.place)))
            first = _params_at(parts.costs.pattern) + 1 + len(parts.costs.pattern.uncounted_ops)
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
        self._known: OrderedDict[_Form, _Costs | None] = OrderedDict()  # None: costs no such polynomial

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
            np.add.at(params, alike.network, alike.repeats * alike.numbers[:, _params_at(alike.costs.pattern)])

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
        alike: dict[int, tuple[_Costs, list[tuple[int, ...]], list[tuple[int, int, int]]]] = {}
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

    def _costs(self, part: Part) -> tuple[_Costs, tuple[int, ...]]:
        """What parts of this form cost, and the sizes of this one."""
        form, sizes = _Form.of(part)
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

    def _keep(self, form: _Form, costs: _Costs | None) -> None:
        self._known[form] = costs
        if len(self._known) > MOST_FORMS:
            self._known.popitem(last=False)

    def _learnt(self, form: _Form, sizes: tuple[int, ...]) -> _Costs | None:
        """What parts of a form cost, which is checked with one of these sizes; None where it is no polynomial."""
        here = self._traced(form, sizes)
        numbers, structure, nodes = _numbers(here), _structure(here), _grid(form)
        here = _table(here, numbers)  # which does not keep the graph
        if not sizes:
            return _Costs(here, (), numbers[np.newaxis])
        try:
            tables = [self._traced(form, node) for node in product(*nodes)]
        except RooflineError:
            return None  # there is no such part in all sizes
        if any(_structure(table) != structure for table in tables):
            return None
        values = np.array([_numbers(table) for table in tables]).reshape(*map(len, nodes), -1)
        differences = _divided_differences(values, nodes)
        if differences is None:
            return None
        costs = _Costs(here, nodes, differences)
        return costs if np.array_equal(costs.at(np.array([sizes]))[0], numbers) else None

    def _traced(self, form: _Form, sizes: Sequence[int]) -> LayerTable:
        """The layers of the part of a form that has these sizes, from a trace."""
        self.misses += 1
        return lower(_graph(form, tuple(sizes)), **self.choices)


@lru_cache(maxsize=MOST_GRAPHS)
def _graph(form: _Form, sizes: tuple[int, ...]) -> Graph:
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


# --- rows of a dataset ------------------------------------------------------------------------------------------------

TOTALS = (
    "macs", "params", "weight_bytes", "activation_bytes", "peak_activation_bytes", "activations", "layers",
)  # fmt: skip


def rows(
    space: Space,
    configs: Sequence[Config],
    indices: Sequence[int],
    counter: Counter,
    devices: Sequence[Hardware],
    ridges: Sequence[float] = (),
    batch: int = 1,
) -> dict[str, list[Any] | NDArray[Any]]:
    """What is to know of networks, as columns with one entry each.

    Args:
        space: Theirs.
        configs: One a network.
        indices: Numbers of their draws.
        counter: Counts them; its fusion and dtype are those of the predictions.
        devices: To predict their latencies on.
        ridges: Ridge points, MACs/byte, from 0; see `roofline.sweep`.
        batch: Images at once.

    Returns:
        ``index``; a column for each parameter of the space; `TOTALS`; for each device ``latency_s:<id>`` and
        ``compute_bound_share:<id>``; for each ridge point R ``latency_s:ridge=R`` (its unit is the time of one MAC at
        the peak, as in a sweep at fixed peak) and ``compute_bound_share:ridge=R``.

    Raises:
        RooflineError: A network cannot be counted, or a device has no peak for the dtype.
    """
    networks = [space.parts(config, batch) for config in configs]
    names = tuple(configs[0]) if configs else space.parameters()
    columns: dict[str, list[Any] | NDArray[Any]] = {"index": np.array(indices, dtype=np.int64)}
    columns |= {name: [_plain(config[name]) for config in configs] for name in names}
    counts = counter.counts(networks) if networks else None
    for name in TOTALS:
        columns[name] = counts.totals[name] if counts is not None else np.zeros(0, dtype=np.int64)
    latencies = _on_devices(counts, devices) if counts is not None else {}
    for device in devices:
        latency_s, share = latencies.get(device.id, np.zeros((2, 0)))
        columns |= {f"latency_s:{device.id}": latency_s, f"compute_bound_share:{device.id}": share}
    times = _at_ridges(counts, ridges) if counts is not None else np.zeros((2, len(ridges), 0))
    for ridge, latency, share in zip(ridges, *times, strict=True):
        columns |= {f"latency_s:ridge={ridge:g}": latency, f"compute_bound_share:ridge={ridge:g}": share}
    return columns


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _on_devices(counts: Counts, devices: Sequence[Hardware]) -> dict[str, tuple[Floats, Floats]]:
    """Latency of each network and its compute-bound share, by device.

    What a layer takes depends on its neighbours only where a device keeps tensors on the chip: there each network is
    predicted on its own, elsewhere all at once, and a repeated part once.
    """
    found: dict[str, tuple[Floats, Floats]] = {}
    for device in devices:
        if device.onchip_holds:
            continue
        prediction = predict(counts.layers, device)
        layers_s = prediction.layer_latency_s * counts.repeats
        total_s = np.add.reduceat(layers_s, counts.starts)
        compute_s = np.add.reduceat(np.where(prediction.memory_bound, 0.0, layers_s), counts.starts)
        share = np.divide(compute_s, total_s, out=np.zeros_like(total_s), where=total_s > 0)
        found[device.id] = total_s + prediction.inference_overhead_s, share
    chips = [device for device in devices if device.onchip_holds]
    if chips:
        predictions = []
        for layers in counts.each():
            prediction = predict(layers, chips)
            predictions.append((prediction.latency_s, prediction.compute_bound_share))
        for device, columns in zip(chips, np.array(predictions).transpose(2, 1, 0), strict=True):
            found[device.id] = columns[0], columns[1]
    return found


def _at_ridges(counts: Counts, ridges: Sequence[float]) -> Floats:
    """Time of each network and its compute-bound share at each ridge point; shape ``(2, ridge points, networks)``."""
    macs, mem_bytes = (column * counts.repeats for column in (counts.layers.macs, counts.layers.mem_bytes))
    found = np.zeros((2, len(ridges), len(counts.starts)))
    ends = np.append(counts.starts[1:], len(counts.layers))
    for network, (start, end) in enumerate(zip(counts.starts, ends, strict=True) if ridges else ()):
        curve = Curve.from_layers(macs[start:end], mem_bytes[start:end])
        found[:, :, network] = curve.time(ridges), 1 - curve.memory_bound_share(ridges)
    return found
