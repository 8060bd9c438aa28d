"""What an activation function costs: the same network with nothing else changed.

    predicted    on each profile, by `roofline.engine`, fused as the profile says, without fusion, and with all fused
    measured     on this machine, all variants in turns in one session, by `roofline.measurement`

A prediction says of what its time is made (`time_by_term`), so that the difference from ReLU has a reason: the bytes of
activations that do not fuse, vector work, bytes at a bandwidth of their own, the MACs and weights of those that look at
the whole map first, overheads of layers. docs/activations.md compares both with what is published.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from roofline.engine import crossing_bytes, predict, terms_of
from roofline.errors import ModelError, ProfileError, RooflineError, did_you_mean
from roofline.fuse import FUSIONS
from roofline.hardware import ACTIVATIONS as FUSIBLE
from roofline.hardware import Hardware
from roofline.layers import DTYPE_BYTES, LayerTable, check_choice, lower
from roofline.profiles import load_profile

if TYPE_CHECKING:
    from roofline.graph import Graph
    from roofline.measurement.api import Request
    from roofline.measurement.clock import Timer
    from roofline.measurement.result import Measurement, Run, Summary
    from roofline.measurement.session import Progress
    from roofline.measurement.subject import Subject

SCHEMA = "roofline/activations/1"
BASELINE = "relu"
MODEL, ACTS, PROFILE, DEVICE = "activation_probe", ("relu", "silu", "hardswish"), "pixel6_tpu", "cpu"
WAYS = ("none", "epilogue", "all")  # no fusion, the profile's own list, every activation fused
TERMS = ("macs", "activation_bytes", "weight_bytes", "class_bytes", "vector_ops", "layer_overhead")
LEAST_SAMPLES = 6  # for an interval of 95 %: between the extremes of n the median lies with probability 1 - 2^(1 - n)
EQUAL = 1e-9  # relative; sums of the same times in another order differ by less
LABELS: Mapping[str, str] = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "hardswish": "h-swish",
    "hardsigmoid": "h-sigmoid",
    "silu": "SiLU",
    "gelu": "GELU",
    "elu": "ELU",
    "mish": "Mish",
    "prelu": "PReLU",
    "leaky_relu": "Leaky ReLU",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "se_relu": "SE-ReLU",
    "dynamic_relu_a": "Dynamic ReLU A",
    "dynamic_relu_b": "Dynamic ReLU B",
    "dynamic_shift_max": "Dynamic Shift-Max",
}


Limits = tuple[float, float]


class Measure(Protocol):
    """`roofline.measurement.api.measure_here`, or what stands in its place."""

    def __call__(
        self,
        factories: Sequence[Callable[[Timer], Subject]],
        request: Request,
        *,
        progress: Callable[[Progress], None] | None = None,
        labels: Sequence[str] = (),
    ) -> Run:
        """Time subjects in turns, in one session; each measurement has the name of its subject, its label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a prediction is made: a device, and how the network runs on it.

    Attributes:
        hardware: The device.
        dtype: Of all floating tensors.
        fusion: ``"none"`` or ``"epilogue"``.
    """

    hardware: Hardware
    dtype: str
    fusion: str

    @property
    def id(self) -> str:
        """Of the profile."""
        return self.hardware.id

    @property
    def latency_kind(self) -> str:
        """``"bound"`` or ``"prediction"``."""
        return self.hardware.latency_kind(self.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """One variant at one `Place`.

    Attributes:
        latency_s: As it runs there.
        ways_s: By `WAYS`: without fusion, with the profile's fused activations, and with all fused.
        parts_s: What `latency_s` is made of, by `TERMS`; the rest is the overhead of an inference.
        macs, vector_ops, mem_bytes, weight_bytes: Sums over the layers as they run there.
        classes: Those of its layers that have a bandwidth of their own there.
    """

    latency_s: float
    ways_s: Mapping[str, float]
    parts_s: Mapping[str, float]
    macs: int
    vector_ops: int
    mem_bytes: int
    weight_bytes: int
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The network with one activation.

    Attributes:
        activation: Its name in `roofline.models.activations`.
        params: Parameters of the network.
        macs, vector_ops, mem_bytes: Of a pass; as `ActivationComparison.counted` says.
        predictions: By the id of the profile.
        measurement: On this machine; None where it was not measured.
    """

    activation: str
    params: int
    macs: int
    vector_ops: int
    mem_bytes: int
    predictions: Mapping[str, Predicted] = field(default_factory=dict)
    measurement: Measurement | None = None

    @property
    def label(self) -> str:
        """What people call the activation."""
        return LABELS.get(self.activation, self.activation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A time over that of ReLU.

    Attributes:
        value: The ratio.
        ci95: Its 95 % confidence interval; None where one of the times has none.
    """

    value: float
    ci95: Limits | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLatency:
    """A row of models/activation_latency.csv.

    Attributes:
        model: The network of the zoo that is the published one, or nearest to it.
        act: The activation by our name; empty where the published variant is none of ours.
        activation: As the source calls it.
        device, runtime, dtype: On what it was timed; the dtype may not be known.
        latency_s: Published.
        source: Where it is printed.
        confidence: ``"verified-in-source"``, or how the figure came here otherwise.
        note: What to know of it.
    """

    model: str
    act: str
    activation: str
    device: str
    runtime: str
    dtype: str
    latency_s: float
    source: str
    confidence: str
    note: str

    @property
    def table(self) -> tuple[str, str, str]:
        """Rows that were timed alike have this in common."""
        return self.source, self.device, self.runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How the published order of activations stands to ours, pair by pair.

    Attributes:
        table: The published one: source, device, runtime.
        place: The id of a profile, or ``"measured"``.
        agree: Pairs in the same order.
        tied: Pairs that are equal here, or that the intervals cannot tell apart.
        reversed: Pairs in the other order: the activation that is published faster, then the other.
    """

    table: tuple[str, str, str]
    place: str
    agree: int
    tied: int
    reversed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class ActivationComparison:
    """One network with several activations, ReLU first.

    Attributes:
        reference: What the user asked for.
        name: What it resolved to.
        arguments: Those of its constructor that were given, without ``act``.
        input_shapes: Of the example inputs, batch included.
        batch: Images a pass.
        rows: One an activation, in the order asked for.
        counted: Dtype and fusion for which the `vector_ops` and `mem_bytes` of rows are: the first profile's; without
            one, those of what was measured, where no op fuses.
        places: Where it was predicted.
        device: Where it was measured; None if it was not.
        run: What was measured, with the environment.
        defaults: What was chosen for the user, as short phrases.
    """

    reference: str
    name: str
    arguments: Mapping[str, Any]
    input_shapes: tuple[tuple[int, ...], ...]
    batch: int
    rows: tuple[Row, ...]
    counted: tuple[str, str]
    places: tuple[Place, ...]
    device: str | None = None
    run: Run | None = None
    defaults: tuple[str, ...] = ()

    @property
    def baseline(self) -> Row:
        """The one with ReLU."""
        return next(row for row in self.rows if row.activation == BASELINE)

    def ratio_predicted(self, row: Row, place: str) -> float | None:
        """Its time over that of ReLU; None over 0."""
        of_relu_s = self.baseline.predictions[place].latency_s
        return row.predictions[place].latency_s / of_relu_s if of_relu_s > 0 else None

    def ratio_measured(self, row: Row) -> Ratio | None:
        """Its time over that of ReLU, both at the machine's reference state; None where either was not measured."""
        if row.measurement is None or self.baseline.measurement is None:
            return None
        if row is self.baseline:
            return Ratio(value=1.0, ci95=(1.0, 1.0))
        ours, relus = row.measurement.reference_latency_s, self.baseline.measurement.reference_latency_s
        return ratio_of(ours.median, interval_of(ours), relus.median, interval_of(relus))

    def run_to_keep(self) -> Run | None:
        """What was measured to its end, named as `roofline measure MODEL --arg act=...` names it."""
        if self.run is None:
            return None

        def named(item: Measurement) -> Measurement:
            arguments = ", ".join(f"{key}={value!r}" for key, value in {**self.arguments, "act": item.name}.items())
            return replace(item, name=f"{self.name}({arguments})", reference=self.reference)

        whole = (item for item in self.run.measurements if not item.is_interrupted)
        return replace(self.run, measurements=tuple(map(named, whole)))

    def is_equal(self, first: Row, second: Row, place: str) -> bool:
        """Whether two are predicted to take the same time."""
        times = [row.predictions[place].latency_s for row in (first, second)]
        return math.isclose(*times, rel_tol=EQUAL)

    def are_equal(self, place: str) -> bool:
        """Whether all are predicted to take the same time, so that there is nothing to draw."""
        return all(self.is_equal(row, self.baseline, place) for row in self.rows)

    def published(self) -> list[PublishedLatency]:
        """What is published of this network, or of the nearest, with these activations."""
        acts = {row.activation for row in self.rows}
        return [row for row in published() if row.model == self.name and row.act in acts and not self.arguments]

    def agreements(self) -> list[Agreement]:
        """How our orders stand to the published ones."""
        tables: dict[tuple[str, str, str], dict[str, float]] = {}
        for row in self.published():
            tables.setdefault(row.table, {})[row.act] = row.latency_s
        places = [place.id for place in self.places]
        places += ["measured"] if any(row.measurement for row in self.rows) else []
        return [
            self._agreement(table, latency_s, place)
            for table, latency_s in tables.items()
            if len(latency_s) > 1
            for place in places
        ]

    def _agreement(self, table: tuple[str, str, str], latency_s: Mapping[str, float], place: str) -> Agreement:
        agree, tied, reversed_ = 0, 0, []
        rows = {row.activation: row for row in self.rows}
        ordered = sorted(latency_s, key=lambda act: latency_s[act])
        for i, faster in enumerate(ordered):
            for slower in ordered[i + 1 :]:
                if latency_s[faster] == latency_s[slower]:
                    continue
                order = self._order(rows[faster], rows[slower], place)
                agree, tied = agree + (order > 0), tied + (order == 0)
                if order < 0:
                    reversed_.append((faster, slower))
        return Agreement(table=table, place=place, agree=agree, tied=tied, reversed=tuple(reversed_))

    def _order(self, first: Row, second: Row, place: str) -> int:
        """1 where the second takes longer, -1 where the first does, 0 where that cannot be told."""
        if place == "measured":
            if first.measurement is None or second.measurement is None:
                return 0
            one, other = (interval_of(item.reference_latency_s) for item in (first.measurement, second.measurement))
            return int(one[1] < other[0]) - int(other[1] < one[0]) if one and other else 0
        if self.is_equal(first, second, place):
            return 0
        return 1 if first.predictions[place].latency_s < second.predictions[place].latency_s else -1

    def verdict(self) -> str:
        """The answer in a sentence or two."""
        from roofline.activation_words import verdict

        return verdict(self)

    def to_rows(self) -> list[dict[str, Any]]:
        """One record an activation: the `rows` of the JSON."""
        return [self._row(row) for row in self.rows]

    def _row(self, row: Row) -> dict[str, Any]:
        measured, ratio = row.measurement, self.ratio_measured(row)
        times = (measured.latency_s, measured.reference_latency_s) if measured else (None, None)
        latency, reference = ((item.median, interval_of(item)) if item else (None, None) for item in times)
        return {
            "activation": row.activation,
            "label": row.label,
            "params": row.params,
            "macs": row.macs,
            "vector_ops": row.vector_ops,
            "mem_bytes": row.mem_bytes,
            "predicted_s": {place: item.latency_s for place, item in row.predictions.items()},
            "ratio_to_relu_predicted": {place: self.ratio_predicted(row, place) for place in row.predictions},
            "fusion_s": {place: dict(item.ways_s) for place, item in row.predictions.items()},
            "parts_s": {place: dict(item.parts_s) for place, item in row.predictions.items()},
            "measured_s": latency[0],
            "measured_ci95_s": _listed(latency[1]),
            "reference_s": reference[0],
            "reference_ci95_s": _listed(reference[1]),
            "ratio_to_relu_measured": ratio.value if ratio else None,
            "ratio_to_relu_measured_ci95": _listed(ratio.ci95) if ratio else None,
            "status": measured.status if measured else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data, schema "roofline/activations/1" (docs/json.md)."""
        from roofline import activation_words as words
        from roofline.analysis import versions

        dtype, fusion = self.counted
        return {
            "schema": SCHEMA,
            "verdict": self.verdict(),
            "model": {
                "reference": self.reference,
                "name": self.name,
                "arguments": {name: _plain(value) for name, value in self.arguments.items()},
                "input_shape": [list(shape) for shape in self.input_shapes]
                if len(self.input_shapes) != 1
                else list(self.input_shapes[0]),
            },
            "batch": self.batch,
            "counted": {"dtype": dtype, "fusion": fusion},
            "rows": self.to_rows(),
            "profiles": [
                {
                    "id": place.id,
                    "name": place.hardware.name,
                    "dtype": place.dtype,
                    "fusion": place.fusion,
                    "latency_kind": place.latency_kind,
                    "fused_activations": sorted(place.hardware.fused_activations),
                    **place.hardware.terms(),
                    "are_equal": self.are_equal(place.id),
                    "reasons": words.reasons(self, place),
                    "figures": {
                        path: asdict(figure) for path, figure in place.hardware.figures_of_time(place.dtype).items()
                    },
                }
                for place in self.places
            ],
            "measurement": self._measurement(),
            "published": [
                {**asdict(row), "label": LABELS.get(row.act, row.act), "ratio_to_relu": self.published_ratio(row)}
                for row in self.published()
            ],
            "agreements": [{**asdict(item), "meaning": words.agreement(item)} for item in self.agreements()],
            "defaults": list(self.defaults),
            "notes": words.notes(self),
            "versions": versions(),
        }

    def _measurement(self) -> dict[str, Any] | None:
        if self.run is None or self.device is None:
            return None
        data = self.run.to_dict()
        return {"device": self.device, **{key: data[key] for key in _OF_A_RUN}}

    def published_ratio(self, row: PublishedLatency) -> float | None:
        """Its time over that of ReLU in the same table; None where that is not among these."""
        alike = (other for other in self.published() if other.table == row.table and other.act == BASELINE)
        return next((row.latency_s / other.latency_s for other in alike), None)

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        return f"<ActivationComparison of {self.name}: {self.verdict()}>"


_OF_A_RUN = ("measurements", "failures", "is_interrupted", "anchor", "environment")


def compare_activations(
    model: str = MODEL,
    *,
    acts: Sequence[str] = ACTS,
    hw: Sequence[str | Path | Hardware] | None = None,
    device: str | None = None,
    batch: int | None = None,
    input_size: Sequence[int] | None = None,
    dtype: str | None = None,
    fusion: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    measure: Measure | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> ActivationComparison:
    """Compare activation functions in one network: predicted on profiles, measured on this machine, or both.

    Args:
        model: A reference whose constructor or callable takes ``act``, the name of an activation.
        acts: Names of activations; ReLU is added where it is not among them, for the others are compared with it.
        hw: Profiles, as `roofline.analyze` takes them.
        device: ``"cpu"`` or ``"cuda"``, to measure on it. With neither `hw` nor `device`: on the EdgeTPU of the
            Pixel 6, and on this CPU.
        batch, input_size, arguments: As `roofline.analyze` takes them, of both.
        dtype: Of both; each profile's default, and fp32 where it is measured, when not given.
        fusion: Of predictions; each profile's default when not given.
        measure: In place of `roofline.measurement.api.measure_here`.
        progress: Called with how far the measurement is.
        options: Of the measurement, as `roofline.measure` takes them: `threads`, `mode`, `target`, `max_s`, `seed`.

    Raises:
        RooflineError: Anything wrong with the model, an activation, a profile or the device, in one line.
    """
    acts, arguments = _acts(acts), dict(arguments or {})
    defaults: list[str] = []
    if hw is None and device is None:
        hw, device = [PROFILE], DEVICE
        defaults.append(f"predicted on {PROFILE}, measured on this {DEVICE}")
    if "act" in arguments:
        raise RooflineError("act is what is compared: name activations in acts, not among the arguments of the model")
    places = _places(hw or (), dtype, fusion)
    request = None
    if device is not None:
        if dtype == "int8":
            raise RooflineError("int8 can be predicted, not measured: name a profile, and no device")
        from roofline.measurement.api import Request

        size = tuple(input_size) if input_size else None
        request = Request(device=device, dtype=dtype, batch=batch or 1, input_size=size, arguments=arguments, **options)
        request.check()
    graphs = {act: _graph(model, act, batch=batch, input_size=input_size, arguments=arguments) for act in acts}
    if len(acts) > 1 and len({tuple(op.name for op in graph.ops) for graph, _ in graphs.values()}) == 1:
        raise ModelError(f"{model} is the same network whatever act is: its constructor has to use it")
    run = None
    if request is not None:
        from roofline.measurement.api import measure_here

        factories = [partial(_subject, model, act, request) for act in acts]
        run = (measure or measure_here)(factories, request, progress=progress, labels=acts)
    first, source = graphs[BASELINE]
    shapes = tuple(value.shape for value in first.inputs)
    if not input_size:
        defaults.append(f"input {'x'.join(map(str, shapes[0][1:]))} ({source})")
    if batch is None:
        defaults.append(f"batch {shapes[0][0] if shapes and shapes[0] else 1}")
    counted = (places[0].dtype, places[0].fusion) if places else (dtype or "fp32", "none")
    return ActivationComparison(
        reference=model,
        name=_name(model),
        arguments=arguments,
        input_shapes=shapes,
        batch=shapes[0][0] if shapes and shapes[0] else 1,
        rows=tuple(_row(act, graphs[act][0], places, run, counted) for act in acts),
        counted=counted,
        places=places,
        device=device,
        run=run,
        defaults=tuple(defaults),
    )


def _acts(acts: Sequence[str]) -> tuple[str, ...]:
    """Their own names, each once, ReLU among them."""
    if isinstance(acts, str):
        raise RooflineError(f"acts is a list of names, as in ['relu', 'silu'] (got the text {acts[:40]!r})")
    names = tuple(dict.fromkeys(canonical(act) for act in acts))
    if not names:
        raise RooflineError("no activation is named: write them as in relu,silu,hardswish, or all")
    return names if BASELINE in names else (BASELINE, *names)


def _places(hw: Sequence[str | Path | Hardware], dtype: str | None, fusion: str | None) -> tuple[Place, ...]:
    places: dict[str, Place] = {}
    for given in hw:
        device = given if isinstance(given, Hardware) else load_profile(given)
        place = Place(hardware=device, dtype=dtype or device.default_dtype, fusion=fusion or device.default_fusion)
        check_choice("dtype", place.dtype, DTYPE_BYTES)
        check_choice("fusion", place.fusion, FUSIONS)
        device.peak(place.dtype)
        if places.setdefault(device.id, place) != place:
            raise ProfileError(f"two profiles are called {device.id!r}; give one of them another id")
    return tuple(places.values())


def _graph(
    model: str, act: str, *, batch: int | None, input_size: Sequence[int] | None, arguments: Mapping[str, Any]
) -> tuple[Graph, str]:
    """The network with that activation, traced; and why its input has the size it has."""
    from roofline import models
    from roofline.loading import load
    from roofline.trace import trace

    if models.knows(model) and "act" not in models.find(model).arguments():
        raise ModelError(f"{model} has no choice of activation: its constructor takes no act")
    try:
        loaded = load(
            model,
            batch=1 if batch is None else batch,
            input_size=tuple(input_size) if input_size else None,
            arguments={**arguments, "act": act},
        )
    except ModelError as error:
        if "'act'" in str(error) and "argument" in str(error):
            raise ModelError(
                f"{model} takes no argument act: a callable is needed that takes the name of an activation, "
                "as in def make_net(act='relu')"
            ) from error
        raise
    return trace(loaded.module, loaded.inputs), loaded.input_source


def _name(model: str) -> str:
    from roofline import models

    return models.find(model).name if models.knows(model) else model


def _subject(model: str, act: str, request: Request, timer: Timer) -> Subject:
    """The network with that activation, called by its name."""
    from roofline.measurement.subject import of_reference

    made = of_reference(
        model,
        timer=timer,
        device=request.device,
        dtype=request.dtype,
        batch=request.batch,
        input_size=request.input_size,
        arguments={**request.arguments, "act": act},
        mode=request.mode,
        seed=request.seed,
    )
    made.name, made.reference = act, ""
    return made


def _row(act: str, graph: Graph, places: Sequence[Place], run: Run | None, counted: tuple[str, str]) -> Row:
    predictions = {place.id: _predicted(graph, place) for place in places}
    measured = None
    if run is not None:
        measured = next((found for found in run.measurements if found.name == act), None)
    dtype, fusion = counted
    costs: Predicted | LayerTable | None = next(iter(predictions.values()), None)
    if costs is None:
        costs = lower(graph, dtype=dtype, fusion=fusion)
    return Row(
        activation=act,
        params=graph.params,
        macs=int(np.sum(costs.macs)),
        vector_ops=int(np.sum(costs.vector_ops)),
        mem_bytes=int(np.sum(costs.mem_bytes)),
        predictions=predictions,
        measurement=measured,
    )


def _predicted(graph: Graph, place: Place) -> Predicted:
    device = place.hardware
    fused: Mapping[str, tuple[str, Collection[str]]] = {
        "none": ("none", device.fused_activations),
        "epilogue": ("epilogue", device.fused_activations),
        "all": ("epilogue", FUSIBLE),
    }
    tables = {
        way: lower(
            graph, dtype=place.dtype, fusion=fusion, fused_activations=activations, transposes=device.copies_transposes
        )
        for way, (fusion, activations) in fused.items()
    }
    layers = tables[place.fusion]
    ways_s = {way: float(predict(table, device).latency_s) for way, table in tables.items()}
    return Predicted(
        latency_s=ways_s[place.fusion],
        ways_s=ways_s,
        parts_s=time_by_term(layers, device),
        macs=int(layers.macs.sum()),
        vector_ops=int(layers.vector_ops.sum()),
        mem_bytes=int(layers.mem_bytes.sum()),
        weight_bytes=int(layers.weight_bytes.sum()),
        classes=tuple(name for name in device.bandwidth_bytes_per_s_by_class if layers.is_in(name).any()),
    )


def was_disturbed(run: Run) -> bool:
    """Whether other work kept some of it from being measured well, or at all."""
    return any(item.status == "contended" for item in run.measurements) or any(
        failure.is_contention for failure in run.failures
    )


def interval_of(summary: Summary) -> Limits | None:
    """The 95 % confidence interval of a median; None of so few samples that none of theirs reaches 95 %."""
    return summary.ci95 if summary.n >= LEAST_SAMPLES else None


def ratio_of(median: float, ci95: Limits | None, baseline: float, baseline_ci95: Limits | None) -> Ratio | None:
    """The ratio of two independent medians, and its interval from the intervals of the two; None over 0.

    On a logarithmic scale the distances from each estimate to its own limits add up in squares:

        ln U = ln (a / b) + sqrt(ln^2(u_a / a) + ln^2(b / l_b))

    and L likewise: the method of variance estimates recovery (MOVER) of Zou & Donner, Statistics in Medicine 27, 2008,
    1693-1702, for a ratio by logarithms. It takes intervals of any kind, here those of order statistics, which need
    not be symmetric.

    >>> ratio = ratio_of(2.0, (2.0, 2.0), 1.0, (0.9, 1.25))
    >>> ratio.value, [round(limit, 3) for limit in ratio.ci95]
    (2.0, [1.6, 2.222])
    """
    if baseline <= 0:
        return None
    value = median / baseline
    if ci95 is None or baseline_ci95 is None or min(value, ci95[0], baseline_ci95[0]) <= 0:
        return Ratio(value=value, ci95=None)
    down = math.hypot(math.log(median / ci95[0]), math.log(baseline_ci95[1] / baseline))
    up = math.hypot(math.log(ci95[1] / median), math.log(baseline / baseline_ci95[0]))
    return Ratio(value=value, ci95=(value * math.exp(-down), value * math.exp(up)))


def time_by_term(layers: LayerTable, hardware: Hardware) -> dict[str, float]:
    """What the time of the layers is made of, in seconds by `TERMS`; they add up to `Prediction.layers_s`.

    Where times overlap, a layer's bytes or MACs, whichever take longer, count whole, and vector work by what it adds to
    that: so an activation that hides behind its convolution costs nothing. Where times add up, each counts itself.
    ``class_bytes`` are all bytes of layers whose class has a bandwidth of its own, as an op that a device lacks may.
    """
    prediction, given = predict(layers, hardware), terms_of(layers, hardware)
    mac_s, vector_s, mem_s = prediction.mac_time_s, prediction.vector_time_s, prediction.mem_time_s
    activation_s = crossing_bytes(layers, hardware)[1] / given["bytes_per_s"]
    if not given["add"]:
        is_memory = mem_s > mac_s
        vector_s = np.maximum(vector_s - np.maximum(mac_s, mem_s), 0.0)
        mac_s, mem_s, activation_s = (
            np.where(counts, time_s, 0.0)
            for counts, time_s in ((~is_memory, mac_s), (is_memory, mem_s), (is_memory, activation_s))
        )
    is_apart = np.zeros(len(layers), dtype=bool)
    for name in hardware.bandwidth_bytes_per_s_by_class:
        is_apart |= layers.is_in(name)
    overhead_s = np.broadcast_to(given["overhead_s"], len(layers))
    return {
        "macs": float(mac_s.sum()),
        "activation_bytes": float(activation_s[~is_apart].sum()),
        "weight_bytes": float((mem_s - activation_s)[~is_apart].sum()),
        "class_bytes": float(mem_s[is_apart].sum()),
        "vector_ops": float(vector_s.sum()),
        "layer_overhead": float(overhead_s.sum()),
    }


def canonical(act: str) -> str:
    """The name of an activation in `roofline.models.activations`: ``h-swish`` is ``hardswish``.

    Raises:
        RooflineError: There is none.
    """
    from roofline.models.activations import _BY_LETTERS, ACTIVATIONS

    name = _BY_LETTERS.get(act.lower().replace("-", "").replace("_", "").replace(" ", ""))
    if name is None:
        meant = did_you_mean(act[:40], ACTIVATIONS)
        raise RooflineError(f"unknown activation {act[:40]!r}.{meant} Known: {', '.join(ACTIVATIONS)}, all")
    return name


def parse_acts(text: str) -> tuple[str, ...]:
    """Names parted by commas, or ``all``; each once.

    >>> parse_acts("ReLU, h-swish,relu")
    ('relu', 'hardswish')

    Raises:
        RooflineError: An unknown name, or none.
    """
    from roofline.models.activations import ACTIVATIONS

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise RooflineError("no activation is named: write them as in relu,silu,hardswish, or all")
    return tuple(
        dict.fromkeys(act for name in names for act in (ACTIVATIONS if name.lower() == "all" else [canonical(name)]))
    )


@cache
def published() -> tuple[PublishedLatency, ...]:
    """What is published of activations' latencies: models/activation_latency.csv."""
    text = files("roofline.models").joinpath("activation_latency.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedLatency(
            latency_s=float(Decimal(row["latency_ms"]).scaleb(-3)),
            **{key: row[key] for key in _TEXTS},
        )
        for row in csv.DictReader(text.splitlines(), strict=True)
    )


_TEXTS = ("model", "act", "activation", "device", "runtime", "dtype", "source", "confidence", "note")


def _listed(limits: Limits | None) -> list[float] | None:
    return None if limits is None else list(limits)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
