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
LAYER_OVERHEADS = ("layer_overhead", "mac_layer_overhead")
SHARES, BANDWIDTHS = "peak_share_by_class", "bandwidth_bytes_per_s_by_class"  # fields of `Hardware`
WIDEST = 46.0  # of the logarithm of a rate: 1e-20 to 1e20, beyond any machine
CANDIDATES, SPREAD = 512, 30.0  # devices that a fit may begin from, and the factor by which they differ either way
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
    "mac_layer_overhead": Term(meaning="an overhead for each layer that does MACs", unit="s", field="layer_overhead_s"),
    "slow": Term(
        meaning="a share of the peak for grouped convolutions and depthwise ones of 7x7 and more",
        classes=("grouped_conv", "depthwise_conv_k7"),
        field=SHARES,
    ),
    "depthwise": Term(
        meaning="a share of the peak for depthwise convolutions",
        classes=("depthwise_conv",),
        field=SHARES,
    ),
    "grouped": Term(meaning="a share of the peak for grouped convolutions", classes=("grouped_conv",), field=SHARES),
    "depthwise_k7": Term(
        meaning="a share of the peak for depthwise convolutions of 7x7 and more",
        classes=("depthwise_conv_k7",),
        field=SHARES,
    ),
    "weight_bandwidth": Term(
        meaning="a bandwidth of its own for weights", unit="bytes/s", field="weight_bandwidth_bytes_per_s"
    ),
    "vector": Term(meaning="a rate of vector ops", unit="ops/s", field="vector_ops_per_s"),
    "softmax": Term(
        meaning="a bandwidth of its own for softmax",
        unit="bytes/s",
        classes=("softmax",),
        field=BANDWIDTHS,
    ),
    "transpose": Term(
        meaning="a bandwidth for transposes, which without it are free",
        unit="bytes/s",
        classes=("transpose",),
        field=BANDWIDTHS,
    ),
}
_COMBINATIONS = (
    ((), ("add",)),
    ((), ("inference_overhead",), ("mac_layer_overhead",), ("inference_overhead", "mac_layer_overhead")),
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

    def exercising(self, classes: Collection[str], but: Collection[str] = ()) -> list[int]:
        """The rows that have a layer of any of the classes, and of none of the others."""
        mask = self.is_in(classes) & ~self.is_in(but) if but else self.is_in(classes)
        return np.flatnonzero(np.logical_or.reduceat(mask, self.starts)).tolist()


def parameter_names(dtypes: Sequence[str], form: Form) -> tuple[str, ...]:
    """What a form has to find: a peak a dtype, a bandwidth, and the terms that have a parameter."""
    return (*(f"peak.{dtype}" for dtype in dtypes), "bandwidth", *(term for term in form if term != "add"))


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
            raise LatencyError(
                f"{place}{row.model} is {loaded.name}, as is {known.model} on line {known.line}, of the same input and "
                "dtype: keep one of them"
            )
        table = lower(graph, fusion=fusion, dtype=chosen, fused_activations=fused_activations, transposes=transposes)
        if ops == "conv_only":
            table = table.take(np.isin(table.kind, CONTRACTIONS))
        if not (table.macs.any() or table.mem_bytes.any()):
            raise LatencyError(f"{place}{loaded.name} has no layer that would take time")
        names.append(loaded.name)
        tables.append(table)
    return Rows(latencies=tuple(latencies), names=tuple(names), tables=tuple(tables))


# --- one form: parameters to latencies, and back --------------------------------------------------------------------


class Design:
    """One form on some rows: the parameters it has, and the latencies and slopes they give.

    The vector z has the logarithm of each rate and share, and each overhead in seconds.
    """

    def __init__(self, rows: Rows, form: Form) -> None:
        self.rows, self.form = rows, form
        self.names = parameter_names(rows.dtypes, form)
        self.place = {name: number for number, name in enumerate(self.names)}
        self.is_overhead = np.array([name.endswith("_overhead") for name in self.names])
        self.is_peak = np.array([name.startswith("peak.") for name in self.names])
        self.is_share = np.array([name in TERMS and TERMS[name].field == SHARES for name in self.names])
        self.lowest = np.where(self.is_overhead, 0.0, -WIDEST)
        self.highest = np.where(self.is_overhead, np.inf, np.where(self.is_share, 0.0, WIDEST))

        # Layers that cost the same, such as those of repeated blocks, are taken for one of all their costs.
        numbers = np.repeat(np.arange(len(rows)), [len(table) for table in rows.tables])
        dtypes = np.repeat([rows.dtypes.index(table.dtype) for table in rows.tables], [len(t) for t in rows.tables])
        masks = {term: rows.is_in(TERMS[term].classes) for term in form if TERMS[term].classes}
        columns = [numbers, dtypes, *(rows.layers(name) for name in _COSTS), *masks.values()]
        distinct, count = np.unique(np.array(columns, dtype=np.int64), axis=1, return_counts=True)
        self._macs, self._weights, self._bytes, self._vector_ops = distinct[2:6].astype(np.float64) * count
        self._count = count.astype(np.float64)
        self._starts = np.searchsorted(distinct[0], np.arange(len(rows)))
        self._started = {  # how many layers have the overhead
            name: self._count if name == "layer_overhead" else np.where(self._macs > 0, self._count, 0.0)
            for name in LAYER_OVERHEADS
            if name in form
        }
        self._masks = dict(zip(masks, distinct[6:].astype(bool), strict=True))
        self._peaks = [(self.place[f"peak.{dtype}"], distinct[1] == i) for i, dtype in enumerate(rows.dtypes)]
        self._shares = list(self._disjoint(SHARES))
        self._bandwidths = list(self._disjoint(BANDWIDTHS))
        of_class = np.logical_or.reduce(
            [np.zeros(len(self._macs), dtype=bool), *(mask for _, mask in self._bandwidths)]
        )
        self._apart = np.where(of_class, 0.0, self._weights) if "weight_bandwidth" in form else np.zeros(len(of_class))
        self._at_bandwidth = ~of_class

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
        return np.where(self.is_overhead, z, np.exp(np.where(self.is_overhead, 0.0, z)))

    def times(self, z: Floats) -> tuple[Floats, Floats]:
        """Latency of each row, and its derivative by z.

        Args:
            z: Shape ``(..., parameters)``.

        Returns:
            Seconds, shape ``(..., rows)``, and slopes, ``(..., parameters, rows)``.
        """
        value, at = self.values(z)[..., np.newaxis], self.place
        layers = (*z.shape[:-1], len(self._macs))
        rate = np.empty(layers)
        for place, mask in self._peaks:
            rate[..., mask] = value[..., place, :]
        for place, mask in self._shares:
            rate[..., mask] *= value[..., place, :]
        bandwidth = np.empty(layers)
        bandwidth[...] = value[..., at["bandwidth"], :]
        for place, mask in self._bandwidths:
            bandwidth[..., mask] = value[..., place, :]
        weight_bandwidth = value[..., at["weight_bandwidth"], :] if "weight_bandwidth" in at else np.inf
        mac_s, vector_s, mem_s, layer_s = layer_times(
            self._macs,
            self._bytes - self._apart,
            macs_per_s=rate,
            bytes_per_s=bandwidth,
            vector_ops=self._vector_ops,
            vector_ops_per_s=value[..., at["vector"], :] if "vector" in at else np.inf,
            weight_bytes=self._apart,
            weight_bytes_per_s=weight_bandwidth,
            overhead_s=sum(value[..., at[name], :] * started for name, started in self._started.items()),
            add="add" in self.form,
        )
        constant_s = value[..., at["inference_overhead"], :] if "inference_overhead" in at else 0.0
        total_s = self._summed(layer_s) + constant_s

        counts_mac: Any = 1.0  # whether that time is part of the layer's
        counts_vector = counts_mem = counts_mac
        if "add" not in self.form:
            counts_mem = mem_s > np.maximum(mac_s, vector_s)
            counts_vector = ~counts_mem & (vector_s > mac_s)
            counts_mac = ~counts_mem & ~counts_vector
        part = np.zeros((*z.shape, layers[-1]))  # dt/dz of each layer
        by_peak, by_memory, by_weights = -mac_s * counts_mac, -mem_s * counts_mem, -self._apart / weight_bandwidth
        for place, mask in (*self._peaks, *self._shares):
            part[..., place, :] = by_peak * mask
        part[..., at["bandwidth"], :] = (by_memory - by_weights * counts_mem) * self._at_bandwidth
        for place, mask in self._bandwidths:
            part[..., place, :] = by_memory * mask
        if "weight_bandwidth" in at:
            part[..., at["weight_bandwidth"], :] = by_weights * counts_mem
        if "vector" in at:
            part[..., at["vector"], :] = -vector_s * counts_vector
        for name, started in self._started.items():
            part[..., at[name], :] = started
        slope = self._summed(part)
        if "inference_overhead" in at:
            slope[..., at["inference_overhead"], :] = 1.0
        return total_s, slope

    def _summed(self, of_layers: Floats) -> Floats:
        """Sums over the layers of each row; ``(..., layers)`` to ``(..., rows)``."""
        return np.add.reduceat(of_layers, self._starts, axis=-1)

    # --- where to begin: of many unlike devices, those that come nearest --------------------------------------------

    def starting_points(self, log_measured: Floats, keep: NDArray[np.intp], count: int) -> Floats:
        """The candidates that are nearest to the rows that count, best first; shape ``(count, parameters)``.

        Args:
            log_measured: ln of the latency of each row, in seconds.
            keep: The rows that count; nothing that is returned depends on the others.
            count: How many.
        """
        points, log_s = self._candidates
        away = log_measured[keep] - log_s[:, keep]
        slower = np.median(away, axis=1, keepdims=True)
        nearest = np.argsort(np.abs(away - slower).sum(axis=1), kind="stable")[:count]
        points, slower = points[nearest], slower[nearest]
        of_time = np.where(self.is_share, 0.0, np.where(self.is_overhead, slower, -slower))
        return np.where(self.is_overhead, points * np.exp(of_time), points + of_time)

    @cached_property
    def _candidates(self) -> tuple[Floats, Floats]:
        """Devices of 1 byte/s, ``(candidates, parameters)``, and ln of the latencies there, ``(candidates, rows)``.

        Each parameter but the bandwidth is spread evenly, in its logarithm, over a `SPREAD` about what would be typical
        of the median model; in all dimensions at once (Halton, Numer. Math. 2, 1960, doi:10.1007/BF01386213).
        """
        from scipy.stats.qmc import Halton

        mem_bytes, macs, vector_ops, layers = (
            max(1.0, float(np.median(self._summed(column))))
            for column in (self._bytes, self._macs, self._vector_ops, self._count)
        )
        middle = {
            **{name: macs / mem_bytes for name in self.names if name.startswith("peak.")},
            **dict.fromkeys(("bandwidth", "weight_bandwidth", "softmax", "transpose"), 1.0),
            "vector": vector_ops / mem_bytes,
            "inference_overhead": mem_bytes / 20,
            **dict.fromkeys(LAYER_OVERHEADS, mem_bytes / 20 / layers),
        }
        middle |= {name: 1 / SPREAD for name, is_share in zip(self.names, self.is_share, strict=True) if is_share}
        count = len(self.names) - 1
        spread = np.insert(
            2 * Halton(count, scramble=False).random(CANDIDATES + 1)[1:] - 1, self.place["bandwidth"], 0, 1
        )
        points = np.log([middle[name] for name in self.names]) + math.log(SPREAD) * spread
        points = np.where(self.is_overhead, np.exp(points), points)
        return points, np.log(self.times(points)[0])
