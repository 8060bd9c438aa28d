"""The terms that a fit may choose from, and the arithmetic from parameters to latencies and back.

A *form* is a choice of `TERMS` on top of one peak a dtype and one bandwidth. A `Design` evaluates a form on rows, with
the slopes that a minimiser needs; the times themselves are `roofline.engine`'s.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.engine import layer_times
from roofline.errors import LatencyError, RooflineError
from roofline.latencies import Latency
from roofline.layers import DTYPE_BYTES, LayerTable, check_choice, lower

Floats = NDArray[np.float64]
Form = tuple[str, ...]

OPS = ("all", "conv_only")
WIDEST = 46.0  # of the logarithm of a rate or share: 1e-20 to 1e20, beyond any machine
_COSTS = ("macs", "weight_bytes", "mem_bytes", "vector_ops")
CONTRACTIONS = ("conv", "depthwise_conv", "grouped_conv", "pointwise_conv", "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A term that a form may add to one peak a dtype and one bandwidth.

    Attributes:
        meaning: What it is.
        unit: Of its parameter in SI base units; empty for a share of the peak, and where there is no parameter.
        classes: Of the layers it is about; all if empty.
        field: Of `roofline.hardware.Hardware`, which holds it.
    """

    meaning: str
    unit: str = ""
    classes: tuple[str, ...] = ()
    field: str


TERMS: Mapping[str, Term] = {
    "add": Term(meaning="arithmetic and memory time add up", field="combine"),
    "inference_overhead": Term(meaning="a constant for each inference", unit="s", field="inference_overhead_s"),
    "layer_overhead": Term(meaning="an overhead for each layer", unit="s", field="layer_overhead_s"),
    "slow": Term(
        meaning="a share of the peak for grouped convolutions and depthwise ones of 7x7 and more",
        classes=("grouped_conv", "depthwise_conv_k7"),
        field="peak_share_by_class",
    ),
    "depthwise": Term(
        meaning="a share of the peak for depthwise convolutions",
        classes=("depthwise_conv",),
        field="peak_share_by_class",
    ),
    "grouped": Term(
        meaning="a share of the peak for grouped convolutions", classes=("grouped_conv",), field="peak_share_by_class"
    ),
    "depthwise_k7": Term(
        meaning="a share of the peak for depthwise convolutions of 7x7 and more",
        classes=("depthwise_conv_k7",),
        field="peak_share_by_class",
    ),
    "weight_bandwidth": Term(
        meaning="a bandwidth of its own for weights", unit="bytes/s", field="weight_bandwidth_bytes_per_s"
    ),
    "vector": Term(meaning="a rate of vector ops", unit="ops/s", field="vector_ops_per_s"),
    "softmax": Term(
        meaning="a bandwidth of its own for softmax",
        unit="bytes/s",
        classes=("softmax",),
        field="bandwidth_bytes_per_s_by_class",
    ),
    "transpose": Term(
        meaning="a bandwidth for transposes, which without it are free",
        unit="bytes/s",
        classes=("transpose",),
        field="bandwidth_bytes_per_s_by_class",
    ),
}
_COMBINATIONS = (
    ((), ("add",)),
    ((), ("inference_overhead",), ("layer_overhead",), ("inference_overhead", "layer_overhead")),
    ((), ("slow",), ("depthwise",), ("grouped", "depthwise_k7")),
)
FORMS: tuple[Form, ...] = tuple(tuple(chain(*parts)) for parts in product(*_COMBINATIONS))  # what is tried


# --- what a fit is of -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """Latencies, and the layers of their models.

    Attributes:
        latencies: One a row.
        names: What their references resolved to.
        tables: Their layers; each carries its dtype.
    """

    latencies: tuple[Latency, ...]
    names: tuple[str, ...]
    tables: tuple[LayerTable, ...]

    def __len__(self) -> int:
        return len(self.latencies)

    @cached_property
    def latency_s(self) -> Floats:
        """As published or measured, seconds; shape ``(rows,)``."""
        return np.array([row.latency_s for row in self.latencies])

    @cached_property
    def macs(self) -> Floats:
        """Of each model."""
        return np.array([float(table.macs.sum()) for table in self.tables])

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where the layers of each row begin among those of all."""
        return np.cumsum([0, *(len(table) for table in self.tables)])[:-1]

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """Those of the tables, the most frequent first."""
        found = [table.dtype for table in self.tables]
        return tuple(sorted(set(found), key=lambda dtype: (-found.count(dtype), dtype)))

    def layers(self, column: str) -> NDArray[Any]:
        """A column of the layer tables, end to end; shape ``(layers of all rows,)``."""
        return np.concatenate([getattr(table, column) for table in self.tables])

    def is_in(self, classes: Collection[str]) -> NDArray[np.bool_]:
        """Which of these layers are of any of the classes."""
        return np.concatenate([np.logical_or.reduce([t.is_in(name) for name in classes]) for t in self.tables])

    def exercising(self, classes: Collection[str]) -> int:
        """How many rows have a layer of any of the classes."""
        return int(np.logical_or.reduceat(self.is_in(classes), self.starts).sum())


def load_rows(
    latencies: Sequence[Latency],
    *,
    dtype: str = "int8",
    fusion: str = "epilogue",
    fused_activations: Collection[str] = ("relu", "relu6"),
    transposes: bool = False,
    ops: str = "all",
    where: str = "",
) -> Rows:
    """Trace the models of a table and lower them to layers.

    Args:
        latencies: From `roofline.latencies.read_latencies`.
        dtype: Of the rows that name none.
        fusion, fused_activations, transposes: As the device runs models; see `roofline.layers.lower`.
        ops: ``"all"``, or ``"conv_only"``: convolutions and linear layers alone, as the ridge points of Table 16 of the
            MobileNetV4 paper are best reproduced.
        where: Name of the file, for messages.

    Raises:
        LatencyError: A model that cannot be loaded or traced, with its line; rows that are one model and disagree.
    """

    from roofline.loading import load
    from roofline.trace import trace

    check_choice("ops", ops, OPS)
    check_choice("dtype", dtype, DTYPE_BYTES)
    names, tables = [], []
    seen: dict[tuple[object, ...], Latency] = {}
    for row in latencies:
        place = f"{where}:{row.line}: model: " if where else ""
        try:
            loaded = load(row.model, batch=row.batch, input_size=row.input_size)
            graph = trace(loaded.module, loaded.inputs)
        except RooflineError as error:
            raise LatencyError(f"{place}{error}") from error
        chosen = row.dtype or dtype
        known = seen.setdefault((loaded.name, tuple(loaded.inputs[0].shape), chosen), row)
        if known is not row:
            raise LatencyError(f"{place}{row.model} is {loaded.name}, as is {known.model} on line {known.line}")
        table = lower(graph, fusion=fusion, dtype=chosen, fused_activations=fused_activations, transposes=transposes)
        if ops == "conv_only":
            table = table.take(np.isin(table.kind, CONTRACTIONS))
        if not len(table):
            raise LatencyError(f"{place}{loaded.name} has no layer that would take time")
        names.append(loaded.name)
        tables.append(table)
    return Rows(latencies=tuple(latencies), names=tuple(names), tables=tuple(tables))


# --- one form: parameters to latencies, and back --------------------------------------------------------------------


class Design:
    """One form on some rows: the parameters it has, and the latencies and slopes they give.

    The vector z has the logarithm of each rate and share, and each overhead in units of `scale`.
    """

    def __init__(self, rows: Rows, form: Form) -> None:
        self.rows, self.form = rows, form
        self.names: tuple[str, ...] = (
            *(f"peak.{dtype}" for dtype in rows.dtypes),
            "bandwidth",
            *(term for term in form if term != "add"),
        )
        self.place = {name: number for number, name in enumerate(self.names)}
        self.is_overhead = np.array([name.endswith("_overhead") for name in self.names])
        median_s = float(np.median(rows.latency_s))
        per_layer = {"layer_overhead": median_s / 100, "inference_overhead": median_s}
        self.scale = np.array([per_layer.get(name, 1.0) for name in self.names])
        lowest, highest = np.full((2, len(self.names)), [[-WIDEST], [WIDEST]])
        self.lowest = np.where(self.is_overhead, 0.0, lowest)
        self.highest = np.where(self.is_overhead, np.inf, highest)

        # Layers that cost the same in every form, such as those of repeated blocks, are evaluated once.
        numbers = np.repeat(np.arange(len(rows)), [len(table) for table in rows.tables])
        dtypes = np.repeat([rows.dtypes.index(table.dtype) for table in rows.tables], [len(t) for t in rows.tables])
        masks = {term: rows.is_in(TERMS[term].classes) for term in form if TERMS[term].classes}
        columns = [numbers, dtypes, *(rows.layers(name) for name in _COSTS), *masks.values()]
        distinct, self._count = np.unique(np.array(columns, dtype=np.int64), axis=1, return_counts=True)
        self._macs, self._weights, self._bytes, self._vector_ops = distinct[2:6].astype(np.float64)
        self._starts = np.searchsorted(distinct[0], np.arange(len(rows)))
        self._layers_a_row = np.add.reduceat(self._count, self._starts).astype(np.float64)
        self._masks = dict(zip(masks, distinct[6:].astype(bool), strict=True))
        self._peaks = [(self.place[f"peak.{dtype}"], distinct[1] == i) for i, dtype in enumerate(rows.dtypes)]
        self._shares = list(self._disjoint("peak_share_by_class"))
        self._bandwidths = list(self._disjoint("bandwidth_bytes_per_s_by_class"))

    def _disjoint(self, field: str) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """The parameters of a field by class, with the layers of each: those of its class, but of no narrower one."""
        terms = [name for name in self.form if TERMS[name].field == field]
        taken = np.zeros(len(self._macs), dtype=bool)
        for name in sorted(terms, key=lambda name: "depthwise_conv" in TERMS[name].classes):  # the widest comes last
            mask = self._masks[name] & ~taken
            taken |= mask
            yield self.place[name], mask

    def values(self, z: Floats) -> Floats:
        """The parameters in SI base units."""
        return np.where(self.is_overhead, z * self.scale, np.exp(np.where(self.is_overhead, 0.0, z)))

    def times(self, z: Floats) -> tuple[Floats, Floats]:
        """Latency of each row, and its derivative by z; shapes ``(rows,)`` and ``(rows, parameters)``."""
        value, at, layers = self.values(z), self.place, len(self._macs)
        rate = np.empty(layers)
        for place, mask in self._peaks:
            rate[mask] = value[place]
        for place, mask in self._shares:
            rate[mask] *= value[place]
        bandwidth = np.full(layers, value[at["bandwidth"]])
        for place, mask in self._bandwidths:
            bandwidth[mask] = value[place]
        weights_apart = "weight_bandwidth" in at
        own = self._weights if weights_apart else np.zeros(layers)
        mac_s, vector_s, mem_s, layer_s = layer_times(
            self._macs,
            self._bytes - own,
            macs_per_s=rate,
            bytes_per_s=bandwidth,
            vector_ops=self._vector_ops,
            vector_ops_per_s=value[at["vector"]] if "vector" in at else np.inf,
            weight_bytes=own,
            weight_bytes_per_s=value[at["weight_bandwidth"]] if weights_apart else np.inf,
            overhead_s=value[at["layer_overhead"]] if "layer_overhead" in at else 0.0,
            add="add" in self.form,
        )
        constant_s = value[at["inference_overhead"]] if "inference_overhead" in at else 0.0
        total_s = np.add.reduceat(layer_s * self._count, self._starts) + constant_s

        counts_mac = counts_vector = counts_mem = np.ones(layers)  # whether that time is part of the layer's
        if "add" not in self.form:
            counts_mem = (mem_s > np.maximum(mac_s, vector_s)).astype(np.float64)
            counts_vector = (1 - counts_mem) * (vector_s > mac_s)
            counts_mac = 1 - counts_mem - counts_vector
        part = np.zeros((len(self.names), layers))  # -dt/dz of each layer
        for place, mask in (*self._peaks, *self._shares):
            part[place] = np.where(mask, mac_s * counts_mac, 0.0)
        apart_s = own / value[at["weight_bandwidth"]] if weights_apart else 0.0
        of_class = np.zeros(layers, dtype=bool)
        for place, mask in self._bandwidths:
            part[place] = np.where(mask, mem_s * counts_mem, 0.0)
            of_class |= mask
        part[at["bandwidth"]] = np.where(of_class, 0.0, (mem_s - apart_s) * counts_mem)
        if weights_apart:
            part[at["weight_bandwidth"]] = apart_s * counts_mem
        if "vector" in at:
            part[at["vector"]] = vector_s * counts_vector
        slope = -np.add.reduceat(part * self._count, self._starts, axis=1).T
        if "layer_overhead" in at:
            slope[:, at["layer_overhead"]] = self._layers_a_row * self.scale[at["layer_overhead"]]
        if "inference_overhead" in at:
            slope[:, at["inference_overhead"]] = self.scale[at["inference_overhead"]]
        return total_s, slope

    def starting_points(self) -> list[Floats]:
        """Where to begin: rates at which the median row is all arithmetic or all memory, and four times as fast."""
        rows = self.rows
        mem_bytes = np.add.reduceat(self._bytes * self._count, self._starts)
        rates = {
            **{name: float(np.median(rows.macs / rows.latency_s)) for name in self.names if name.startswith("peak.")},
            "bandwidth": float(np.median(mem_bytes / rows.latency_s)),
        }
        rates["weight_bandwidth"] = rates["softmax"] = rates["transpose"] = rates["bandwidth"]
        rates["vector"] = rates["bandwidth"]
        shares = [name for name in self.names if TERMS.get(name) and TERMS[name].field == "peak_share_by_class"]
        points = []
        for faster, more, share in product((1.0, 4.0), (1.0, 4.0), (0.01, 0.3) if shares else (1.0,)):
            given = {**rates, **dict.fromkeys(shares, share), "bandwidth": rates["bandwidth"] * more}
            given |= {name: rates[name] * faster for name in self.names if name.startswith("peak.")}
            overhead = {"layer_overhead": 0.1, "inference_overhead": 0.1}
            points.append(np.array([overhead[n] if n in overhead else math.log(given[n]) for n in self.names]))
        return points
