"""The sweep of the ridge point: which model is the fastest on which kind of machine, exactly.

Eq. 1 of the MobileNetV4 paper (arXiv:2404.10518, section 3), ModelTime = sum of max(MACs_i / P, bytes_i / B), depends
on the device through its peak P and its bandwidth B. Their ratio, the ridge point RP = P / B in MACs/byte, decides how
models rank; the scale does not. So one curve a model (`roofline.curves`) tells all machines, and where two models
cross, and where one is on the Pareto front of accuracy and latency, is computed from the curves, not read off a grid.

Left out: the terms a profile may add to eq. 1 (a vector rate, an overhead a layer), and all `roofline.engine` leaves
out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import chain, combinations, count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from roofline.conventions import LEFT_OUT, conventions
from roofline.curves import MAX_RIDGE_POINT, NORMALISATIONS, Curve, Floats, Stretch, order
from roofline.errors import ModelError, RooflineError, TraceError
from roofline.fuse import FUSIONS
from roofline.hardware import Figure, Hardware
from roofline.layers import DTYPE_BYTES, Ints, LayerTable, UncountedOp, check_choice, lower
from roofline.lowering import entry_of, is_module, lower_reference
from roofline.units import significant

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from roofline.models import Entry

SCHEMA = "roofline/sweep/1"
RANGES = {"linear": (0.0, 500.0), "log": (0.5, 500.0)}  # the paper's; a log scale has no 0
MAX_POINTS = 1_000_000
OPERATIONS = {  # of Fig. 3 of the MobileNetV4 paper: the kinds of `roofline.layers` in each; the rest is "other"
    "conv": ("conv", "grouped_conv"),
    "depthwise": ("depthwise_conv",),
    "pointwise": ("pointwise_conv",),
    "fc": ("linear",),
    "attention": ("attention", "matmul", "softmax"),
    "other": (),
}
NOT_ON_THE_AXIS = "Terms that a profile may add to eq. 1, such as a rate of vector ops or an overhead for each layer."
_OPERATION_OF = {kind: operation for operation, kinds in OPERATIONS.items() for kind in kinds}

Record = TypeVar("Record")
Interval = tuple[float, float]


# --- many models ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SavedLayers:
    """What a saved sweep keeps of a `LayerTable`: as much as its curve and the parts of it need.

    Attributes:
        kind: One of `roofline.layers.KINDS` for each layer.
        macs, mem_bytes: Of each layer.
        fusion, dtype, fused_activations: The choices made.
        uncounted_ops: What no handler knew.
    """

    kind: NDArray[np.object_]
    macs: Ints
    mem_bytes: Ints
    fusion: str
    dtype: str
    fused_activations: frozenset[str]
    uncounted_ops: tuple[UncountedOp, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Candidate:
    """A model to sweep.

    Attributes:
        name: Unlike that of any other model of the sweep.
        layers: What it costs, from `roofline.layers.lower` or from a saved sweep.
        top1: Its ImageNet top-1 accuracy in percent, at the input that the layers are for; None if there is none.
        input_shapes: Of that input, batch included; empty if not known.
    """

    name: str
    layers: LayerTable | SavedLayers
    top1: float | None = None
    input_shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SweptModel:
    """One model of a sweep.

    Attributes:
        candidate: What was swept.
        curve: Its time, at any ridge point.
        latency: Its time at the ridge points of the sweep, in the unit of the sweep's normalisation.
    """

    candidate: Candidate
    curve: Curve
    latency: Floats

    @property
    def name(self) -> str:
        """Unlike that of any other model of the sweep."""
        return self.candidate.name

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy in percent; None if there is none for this input."""
        return self.candidate.top1

    @property
    def layers(self) -> LayerTable | SavedLayers:
        """What it costs, layer by layer."""
        return self.candidate.layers

    @property
    def macs(self) -> int:
        """Total MACs: how models rank at ridge point 0."""
        return self.curve.macs

    @property
    def mem_bytes(self) -> int:
        """Total bytes: how models rank as the ridge point grows."""
        return self.curve.mem_bytes

    def by_operation(self) -> dict[str, Curve]:
        """One curve for each of `OPERATIONS`, in their order; they add up to `curve` at every ridge point."""
        operation = np.array([_OPERATION_OF.get(kind, "other") for kind in self.layers.kind], dtype=np.str_)
        macs, mem_bytes = self.layers.macs, self.layers.mem_bytes
        return {name: Curve.from_layers(macs[operation == name], mem_bytes[operation == name]) for name in OPERATIONS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where the order of two models changes: `a` is the faster below, `b` beyond.

    Attributes:
        a, b: Names of the models.
        ridge_point: MACs/byte; where the two coincide between one order and the other, the first such point.
    """

    a: str
    b: str
    ridge_point: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coincidence:
    """Ridge points, in MACs/byte, from `low` to `high`, at which models `a` and `b` take the same time."""

    a: str
    b: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedProfile:
    """Where a device stands on the axis of ridge points.

    Attributes:
        id, name: Of its profile.
        dtype: Of the peak.
        ridge_point: Peak / bandwidth, MACs/byte.
        kind: What its peak and its bandwidth are: datasheet, derived, fitted, measured, estimate, or two of these;
            empty for a device made in Python without sources.
        figures: Provenance of these two, by their path in the profile.
    """

    id: str
    name: str
    dtype: str
    ridge_point: float
    kind: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, hardware: Hardware, dtype: str) -> MarkedProfile:
        """The mark of a device at a dtype.

        Raises:
            ProfileError: The profile lists no peak for `dtype`.
        """
        ridge_point = hardware.ridge_point(dtype)
        paths = (f"peak_macs_per_s.{dtype}", "bandwidth_bytes_per_s")
        figures = {path: hardware.figures[path] for path in paths if path in hardware.figures}
        kind = ", ".join(dict.fromkeys(figure.kind for figure in figures.values()))
        return cls(id=hardware.id, name=hardware.name, dtype=dtype, ridge_point=ridge_point, kind=kind, figures=figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One model at one ridge point.

    Attributes:
        name: Of the model.
        top1: Its top-1 accuracy in percent, if it has one.
        latency: Its time, in the unit of the sweep's normalisation.
        slope: Bytes of its memory-bound layers: what its time at a fixed peak gains for each MAC/byte more.
        memory_bound_share: Share of its time in these layers.
        on_front: Whether no model of the sweep is at least as accurate and as fast, and better in one of the two; None
            without a top-1.
    """

    name: str
    top1: float | None
    latency: float
    slope: int
    memory_bound_share: float
    on_front: bool | None


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RidgeSweep:
    """Models over a range of ridge points. What relates models to each other is computed when it is first asked for.

    Attributes:
        ridge_points: Where `SweptModel.latency` is given, ascending, MACs/byte; the first and the last are the range.
        scale: How they are spaced: ``"linear"`` or ``"log"``.
        normalisation: ``"peak"`` or ``"bandwidth"``; see `Curve.time`. It scales all models alike at a ridge point, so
            that ranks, crossings and fronts are the same in both.
        models: In the order they were given.
        profiles: Devices whose ridge points are marked; they do not change the curves.
    """

    ridge_points: Floats
    scale: str
    normalisation: str
    models: tuple[SweptModel, ...]
    profiles: tuple[MarkedProfile, ...] = ()

    @property
    def ridge_range(self) -> Interval:
        """The lowest and the highest ridge point, MACs/byte."""
        return float(self.ridge_points[0]), float(self.ridge_points[-1])

    @property
    def without_top1(self) -> tuple[str, ...]:
        """Names of the models that no Pareto front can place."""
        return tuple(model.name for model in self.models if model.top1 is None)

    @cached_property
    def crossings(self) -> tuple[Crossing, ...]:
        """Where any two models change their order within the range, ascending.

        A touch is no crossing, and neither is a tie at an end of the range, which has no order on its other side.
        """
        found = []
        for (one, other), stretches in self._orders.items():
            for before, after in pairwise(stretch for stretch in stretches if stretch.sign):
                if before.sign != after.sign:
                    a, b = (one, other) if before.sign < 0 else (other, one)
                    found.append(Crossing(a=self.models[a].name, b=self.models[b].name, ridge_point=before.high))
        return tuple(sorted(found, key=lambda crossing: crossing.ridge_point))

    @cached_property
    def coincidences(self) -> tuple[Coincidence, ...]:
        """Where any two models take the same time over an interval, in the order of the models."""
        return tuple(
            Coincidence(a=self.models[one].name, b=self.models[other].name, low=low, high=high)
            for (one, other), stretches in self._orders.items()
            for low, high, sign in stretches
            if sign == 0
        )

    @cached_property
    def pareto_intervals(self) -> dict[str, tuple[Interval, ...]]:
        """Where each model is on the Pareto front of (top-1, latency): closed intervals within the range, by name.

        A model is on the front where no other is at least as accurate and at least as fast and better in one of the
        two; of models that are alike in both, all are. At an end that is a crossing, the two take the same time, and
        the more accurate one has the point; a front of one point alone is left out, as no machine is that exact.
        Models without a top-1 are neither here nor counted against others.
        """
        return {model.name: self._front(number) for number, model in enumerate(self.models) if model.top1 is not None}

    @cached_property
    def fastest_intervals(self) -> dict[str, tuple[Interval, ...]]:
        """Where no other model is faster than this one, whatever their accuracies: closed intervals, by name."""
        low, high = self.ridge_range
        return {
            model.name: tuple(
                _gaps(sorted((low, high) for low, high, _, faster in self._rivals(i) if faster), low, high)
            )
            for i, model in enumerate(self.models)
        }

    def verdict(self) -> str:
        """Who is the fastest where, and who is on the Pareto front, in a few sentences."""
        low, high = (significant(end) for end in self.ridge_range)
        fastest = sorted((start, end, name) for name, parts in self.fastest_intervals.items() for start, end in parts)
        alike = len(fastest) > 1 and all(part[:2] == fastest[0][:2] for part in fastest)
        if len(fastest) == 1 or alike:
            names = _listed([name for *_, name in fastest])
            said = [f"The fastest from {low} to {high} MACs/byte {'are' if alike else 'is'} {names}."]
        else:
            parts = [f"{name} ({significant(start)} to {significant(end)})" for start, end, name in fastest]
            said = [f"The fastest at ridge points in MACs/byte: {_listed(parts)}."]
        fronts = self.pareto_intervals
        if len(fronts) > 1:
            throughout = [name for name, parts in fronts.items() if parts == (self.ridge_range,)]
            never = [name for name, parts in fronts.items() if not parts]
            partly = [
                f"{name} ({', '.join(f'{significant(start)} to {significant(end)}' for start, end in parts)})"
                for name, parts in fronts.items()
                if parts and parts != (self.ridge_range,)
            ]
            found = (("throughout", throughout), ("in part", partly), ("nowhere", never))
            said.append(
                "On the Pareto front of top-1 and latency "
                + "; ".join(f"{where}: {_listed(names)}" for where, names in found if names)
                + "."
            )
        if self.without_top1:
            said.append(f"Without a published top-1 at this input size: {_listed(self.without_top1)}.")
        return " ".join(said)

    def at(self, ridge_point: float) -> tuple[Standing, ...]:
        """All models at one ridge point, within the range or not, the fastest first; equals in the order of `models`.

        Raises:
            RooflineError: The ridge point is out of the range of `Curve.time`.
        """
        time = np.array([model.curve.time(ridge_point) for model in self.models])  # ranks at 0 too
        fronts = _on_front([model.top1 for model in self.models], time)
        ranked = [(self.models[number], fronts[number]) for number in np.argsort(time, kind="stable").tolist()]
        return tuple(
            Standing(
                name=model.name,
                top1=model.top1,
                latency=float(model.curve.time(ridge_point, normalisation=self.normalisation)),
                slope=int(model.curve.slope(ridge_point)),
                memory_bound_share=float(model.curve.memory_bound_share(ridge_point)),
                on_front=on_front,
            )
            for model, on_front in ranked
        )

    def to_frame(self) -> pd.DataFrame:
        """A long table: one row a model and ridge point.

        Its columns are model, top1, ridge_point, latency, memory_bound_share, and the part of the latency in each of
        `OPERATIONS`.
        """
        import pandas as pd

        points = self.ridge_points
        parts = [
            {
                "model": model.name,
                "top1": np.nan if model.top1 is None else model.top1,
                "ridge_point": points,
                "latency": model.latency,
                "memory_bound_share": model.curve.memory_bound_share(points),
                **{
                    operation: curve.time(points, normalisation=self.normalisation)
                    for operation, curve in model.by_operation().items()
                },
            }
            for model in self.models
        ]
        return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """The sweep as plain data, schema "roofline/sweep/1".

        A latency is null where it is infinite, and a model's pareto_intervals where it has no top-1. The layers of each
        model are enough to compute its curve, and those by kind, anew: `from_dict` does.
        """
        from roofline.analysis import versions

        return {
            "schema": SCHEMA,
            "normalisation": self.normalisation,
            "scale": self.scale,
            "verdict": self.verdict(),
            "ridge_range": list(self.ridge_range),
            "ridge_points": self.ridge_points.tolist(),
            "models": [
                _model_dict(model, self.pareto_intervals.get(model.name), self.fastest_intervals[model.name])
                for model in self.models
            ],
            "crossings": [asdict(crossing) for crossing in self.crossings],
            "coincidences": [asdict(coincidence) for coincidence in self.coincidences],
            "profiles": [asdict(profile) for profile in self.profiles],
            "conventions": self.conventions(),
            "left_out": [*LEFT_OUT, NOT_ON_THE_AXIS],
            "versions": versions(),
        }

    def conventions(self) -> list[str]:
        """How the layers were counted; where models differ in that, each way once."""
        choices = {(m.layers.dtype, m.layers.fusion, m.layers.fused_activations): None for m in self.models}
        return list(dict.fromkeys(line for choice in choices for line in conventions(*choice)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RidgeSweep:
        """The sweep that `to_dict` made plain data of; what it can compute anew, it does.

        `roofline.saved.load_saved` reads a file, and checks that it holds what is needed here.

        Raises:
            RooflineError: Counts that do not fit into 64 bits, a ridge point out of range, or two models of one name.
            KeyError, TypeError, ValueError: The data lack something, or have it in another form.
        """
        points = np.array(data["ridge_points"], dtype=np.float64)
        swept = _swept(map(_saved_candidate, data["models"]), points, data["normalisation"])
        profiles = tuple(
            _known(
                MarkedProfile, {**mark, "figures": {k: _known(Figure, figure) for k, figure in mark["figures"].items()}}
            )
            for mark in data.get("profiles", ())
        )
        return cls(
            ridge_points=points,
            scale=data["scale"],
            normalisation=data["normalisation"],
            models=swept,
            profiles=profiles,
        )

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        low, high = self.ridge_range
        models = f"{len(self.models)} model{'s' if len(self.models) > 1 else ''}"
        return f"<RidgeSweep of {models} at {len(self.ridge_points)} ridge points, {low:g} to {high:g} MACs/byte>"

    @cached_property
    def _orders(self) -> dict[tuple[int, int], tuple[Stretch, ...]]:
        low, high = self.ridge_range
        return {
            (one, other): order(self.models[one].curve, self.models[other].curve, low=low, high=high)
            for one, other in combinations(range(len(self.models)), 2)
        }

    def _front(self, number: int) -> tuple[Interval, ...]:
        """What no other model leaves to this one."""
        return tuple(_gaps(sorted(self._losses(number)), *self.ridge_range))

    def _losses(self, number: int) -> Iterator[Interval]:
        """Where another model is better than this one in accuracy or latency, and as good or better in the other."""
        top1 = self.models[number].top1
        assert top1 is not None
        for low, high, rival, is_faster in self._rivals(number):
            if rival.top1 is not None and (rival.top1 > top1 or (rival.top1 == top1 and is_faster)):
                yield low, high

    def _rivals(self, number: int) -> Iterator[tuple[float, float, SweptModel, bool]]:
        """Where another model is at least as fast as this one, and whether it is faster."""
        for rival, model in enumerate(self.models):
            if rival == number:
                continue
            rival_is_faster = -1 if rival < number else 1
            for low, high, sign in self._orders[min(rival, number), max(rival, number)]:
                if sign in (rival_is_faster, 0):
                    yield low, high, model, sign != 0


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Names joined by commas; of many, the first few and how many more."""
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return ", ".join(shown)


def _model_dict(
    model: SweptModel, pareto_intervals: Iterable[Interval] | None, fastest_intervals: Iterable[Interval]
) -> dict[str, Any]:
    layers = model.layers
    return {
        "name": model.name,
        "top1": model.top1,
        "macs": model.macs,
        "mem_bytes": model.mem_bytes,
        "input_shapes": [list(shape) for shape in model.candidate.input_shapes],
        "dtype": layers.dtype,
        "fusion": layers.fusion,
        "fused_activations": sorted(layers.fused_activations),
        "latency": [time if math.isfinite(time) else None for time in model.latency.tolist()],
        "pareto_intervals": None if pareto_intervals is None else [list(interval) for interval in pareto_intervals],
        "fastest_intervals": [list(interval) for interval in fastest_intervals],
        "layers": {
            "kind": layers.kind.tolist(),
            "macs": layers.macs.tolist(),
            "mem_bytes": layers.mem_bytes.tolist(),
        },
        "uncounted_ops": [asdict(op) for op in layers.uncounted_ops],
    }


def _known(record: type[Record], data: Mapping[str, Any]) -> Record:
    """A record of plain data, without the keys that a later release may have added."""
    return record(**{field.name: data[field.name] for field in fields(record) if field.name in data})  # type: ignore[arg-type]


def _saved_candidate(model: Mapping[str, Any]) -> Candidate:
    """What `_model_dict` made plain data of."""
    layers = model["layers"]
    try:
        macs, mem_bytes = (np.array(layers[column], dtype=np.int64) for column in ("macs", "mem_bytes"))
    except OverflowError:
        raise RooflineError("the MACs and bytes of the layers must add up within 64 bits") from None
    if not len(layers["kind"]) == len(macs) == len(mem_bytes):
        raise ValueError("the columns of its layers differ in length")
    saved = SavedLayers(
        kind=np.array(layers["kind"], dtype=object),
        macs=macs,
        mem_bytes=mem_bytes,
        fusion=model["fusion"],
        dtype=model["dtype"],
        fused_activations=frozenset(model.get("fused_activations", ())),
        uncounted_ops=tuple(_known(UncountedOp, op) for op in model["uncounted_ops"]),
    )
    shapes = tuple(tuple(shape) for shape in model["input_shapes"])
    return Candidate(name=model["name"], layers=saved, top1=model["top1"], input_shapes=shapes)


def _gaps(taken: Iterable[Interval], low: float, high: float) -> Iterator[Interval]:
    """What intervals, sorted by their lower ends, leave of the range."""
    free_from = low
    for start, end in taken:
        if start > free_from:
            yield free_from, start
        free_from = max(free_from, end)
    if free_from < high:
        yield free_from, high


def _on_front(top1: Sequence[float | None], time: Floats) -> list[bool | None]:
    """Whether each model is on the Pareto front, all at once; None for those without a top-1."""
    accuracy = np.array([-np.inf if percent is None else percent for percent in top1])  # which beats no other
    as_accurate, as_fast = accuracy[:, None] >= accuracy, time[:, None] <= time
    better = (accuracy[:, None] > accuracy) | (time[:, None] < time)
    beaten = np.any(as_accurate & as_fast & better, axis=0)
    return [None if percent is None else not lost for percent, lost in zip(top1, beaten, strict=True)]


# --- the two ways in ------------------------------------------------------------------------------------------------


def sweep_layers(
    candidates: Iterable[Candidate],
    *,
    ridge: tuple[float, float] | None = None,
    points: int = 501,
    scale: str = "linear",
    normalisation: str = "peak",
    profiles: Sequence[MarkedProfile] = (),
) -> RidgeSweep:
    """Sweep models whose layers are at hand.

    Args:
        candidates: At least one, no two of one name.
        ridge, points, scale, normalisation: As in `sweep`.
        profiles: Devices to mark.

    Raises:
        RooflineError: No model, two of one name, or anything wrong with the range, in one line.
    """
    check_choice("normalisation", normalisation, NORMALISATIONS)
    ridge_points = spaced(ridge, points=points, scale=scale)
    models = _swept(candidates, ridge_points, normalisation)
    return RidgeSweep(
        ridge_points=ridge_points,
        scale=scale,
        normalisation=normalisation,
        models=models,
        profiles=tuple(profiles),
    )


def _swept(candidates: Iterable[Candidate], ridge_points: Floats, normalisation: str) -> tuple[SweptModel, ...]:
    models: dict[str, SweptModel] = {}
    for candidate in candidates:
        if candidate.name in models:
            raise ModelError(f"two models of the sweep have the name {candidate.name!r}: name one of them anew")
        curve = Curve.from_layers(candidate.layers.macs, candidate.layers.mem_bytes)
        latency = curve.time(ridge_points, normalisation=normalisation)
        models[candidate.name] = SweptModel(candidate=candidate, curve=curve, latency=latency)
    if not models:
        raise ModelError("there is no model to sweep: name at least one")
    return tuple(models.values())


def sweep(
    models: str | nn.Module | Sequence[str | nn.Module],
    *,
    ridge: tuple[float, float] | None = None,
    points: int = 501,
    scale: str = "linear",
    normalisation: str = "peak",
    dtype: str = "int8",
    fusion: str = "epilogue",
    batch: int = 1,
    input_size: Sequence[int] | None = None,
    arguments: Mapping[str, Any] | None = None,
    hw: str | Path | Hardware | Sequence[str | Path | Hardware] | None = None,
    cached: bool | None = None,
) -> RidgeSweep:
    """Sweep models over the ridge point: which is the fastest on which kind of machine.

    Args:
        models: References, of which those to the zoo may be patterns (``"mobilenetv4_*"``), and modules that take one
            image. What several of them name is swept once.
        ridge: The lowest and the highest ridge point, MACs/byte; 0 to 500, the range of the MobileNetV4 paper, when not
            given, and 0.5 to 500 on a log scale, which has no 0.
        points: At how many ridge points latencies are given, the ends of the range included; crossings and Pareto
            intervals do not depend on it.
        scale: ``"linear"`` or ``"log"``: how these points are spaced.
        normalisation: ``"peak"`` or ``"bandwidth"``: which of the two is held while the other changes (`Curve.time`).
        dtype: fp32, fp16, bf16 or int8. A ridge point in MACs/byte means another machine at each.
        fusion: ``"none"`` or ``"epilogue"``, with ReLU and ReLU6 as the activations that fuse.
        batch: Images a pass.
        input_size: (C, H, W); each model's published size when not given, 3x224x224 where there is none. A model is
            swept without its published top-1 where that is for another size.
        arguments: For the constructor of every reference: ``{"act": "relu"}``. Their models have no top-1: what is
            published is of other networks.
        hw: Devices whose ridge points are marked: names of bundled profiles, paths or `Hardware`; when not given, the
            bundled ones that have the dtype and are fitted to latencies.
        cached: As in `roofline.analyze`: False for no cache of layer tables, True for the user's own files too.

    Raises:
        RooflineError: Anything wrong with a model or the range, in one line.

    >>> result = sweep("mobilenetv4_conv_small")
    >>> result, result.models[0].macs, result.at(0)[0].latency
    (<RidgeSweep of 1 model at 501 ridge points, 0 to 500 MACs/byte>, 186005568, 186005568.0)
    """
    check_choice("normalisation", normalisation, NORMALISATIONS)
    check_choice("dtype", dtype, DTYPE_BYTES)
    check_choice("fusion", fusion, FUSIONS)
    spaced(ridge, points=points, scale=scale)  # a wrong range fails before any work
    profiles = _marked(hw, dtype)
    candidates = _candidates(
        models, dtype=dtype, fusion=fusion, batch=batch, input_size=input_size, arguments=arguments, cached=cached
    )
    return sweep_layers(
        candidates, ridge=ridge, points=points, scale=scale, normalisation=normalisation, profiles=profiles
    )


def _marked(
    hw: str | Path | Hardware | Sequence[str | Path | Hardware] | None, dtype: str
) -> tuple[MarkedProfile, ...]:
    """Their ridge points, ascending."""
    from roofline.profiles import load_all, load_profile

    if hw is None:
        able = [hardware for hardware in load_all() if dtype in hardware.peak_macs_per_s]
        devices = [hardware for hardware in able if hardware.latency_kind(dtype) == "prediction"]
    else:
        given = [hw] if isinstance(hw, str | Path | Hardware) else hw
        devices = [item if isinstance(item, Hardware) else load_profile(item) for item in given]
    return tuple(sorted((MarkedProfile.of(hardware, dtype) for hardware in devices), key=lambda mark: mark.ridge_point))


def spaced(ridge: tuple[float, float] | None, *, points: int, scale: str) -> Floats:
    """That many ridge points from one end of a range to the other, both included.

    Raises:
        RooflineError: The range is negative, reversed, empty or endless, or starts at 0 on a log scale; fewer than 2
            points or more than `MAX_POINTS`; an unknown scale.

    >>> spaced((0, 500), points=3, scale="linear").tolist(), spaced((1, 4), points=3, scale="log").tolist()
    ([0.0, 250.0, 500.0], [1.0, 2.0, 4.0])
    """
    check_choice("scale", scale, RANGES)
    if not isinstance(points, int) or not 2 <= points <= MAX_POINTS:
        raise RooflineError(f"points must be a whole number from 2 to {MAX_POINTS} (got {points!r})")
    try:
        low, high = (float(end) for end in (RANGES[scale] if ridge is None else ridge))
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= low < high <= MAX_RIDGE_POINT:
        given = repr(ridge) if math.isnan(low + high) else f"{low:g}..{high:g}"
        raise RooflineError(
            f"a ridge range is two numbers of MACs/byte from 0 to {MAX_RIDGE_POINT:g}, the lower first (got {given})"
        )
    if scale == "linear":
        return np.linspace(low, high, points)
    if low == 0:
        raise RooflineError(f"a log scale needs a ridge range that starts above 0 (got {ridge!r}), such as 0.5 to 500")
    return np.geomspace(low, high, points)


def _candidates(
    models: str | nn.Module | Sequence[str | nn.Module],
    *,
    dtype: str,
    fusion: str,
    batch: int,
    input_size: Sequence[int] | None,
    arguments: Mapping[str, Any] | None,
    cached: bool | None,
) -> Iterator[Candidate]:
    """Load, trace and lower what is named, each model once."""
    names: set[str] = set()
    for model in dict.fromkeys(_expanded([models] if isinstance(models, str) or is_module(models) else models)):
        top1 = None
        if isinstance(model, str):
            asked = {
                "batch": batch,
                "input_size": tuple(input_size) if input_size else None,
                "arguments": dict(arguments or {}),
            }
            try:
                lowered, _ = lower_reference(model, asked=asked, dtype=dtype, fusion=fusion, cached=cached)
            except TraceError as error:
                raise TraceError(f"{model}: {error}") from error
            name, layers, shapes = lowered.name, lowered.layers, lowered.input_shapes
            if name in names:  # an alias of one before
                continue
            entry = entry_of(model, arguments)
            if entry is not None:
                top1 = _published_top1(entry, shapes[0][1:])
        elif arguments:
            raise ModelError("a module is built already; `arguments` are for a reference")
        else:
            name = _new_name(type(model).__name__, names)
            layers, shapes = _lowered(model, name, _image(model, batch, input_size), dtype=dtype, fusion=fusion)
        names.add(name)
        yield Candidate(name=name, layers=layers, top1=top1, input_shapes=shapes)


def _lowered(
    module: nn.Module, name: str, image: torch.Tensor, *, dtype: str, fusion: str
) -> tuple[LayerTable, tuple[tuple[int, ...], ...]]:
    """The layers of a module, and the shapes of its inputs."""
    from roofline.trace import trace

    try:
        graph = trace(module, (image,))
    except TraceError as error:
        raise TraceError(f"{name}: {error}") from error
    return lower(graph, dtype=dtype, fusion=fusion), tuple(value.shape for value in graph.inputs)


def _expanded(models: Iterable[str | nn.Module]) -> Iterator[str | nn.Module]:
    """The models with the names that patterns match in place of these."""
    from roofline.loading import expand

    for model in models:
        if isinstance(model, str):
            yield from expand(model)
        elif is_module(model):
            yield model
        else:
            raise ModelError(f"a model is a reference (text) or an nn.Module; not {' '.join(repr(model).split())[:80]}")


def _published_top1(entry: Entry, size: tuple[int, ...]) -> float | None:
    """What the first source prints for an image of this size."""
    channels = entry.input_size[0]
    at_size = (row.top1 for row in entry.published if (channels, row.input_px, row.input_px) == size)
    return next((top1 for top1 in at_size if top1 is not None), None)


def _new_name(name: str, known: Collection[str]) -> str:
    """`name`, or ``name#2`` and so on where that is taken."""
    numbered = (f"{name}#{number}" for number in count(2))
    return next(candidate for candidate in chain([name], numbered) if candidate not in known)


def _image(module: nn.Module, batch: int, input_size: Sequence[int] | None) -> torch.Tensor:
    """What a module that takes one image is given."""
    import torch

    from roofline.loading import DEFAULT_INPUT_SIZE

    shape = (batch, *(input_size or DEFAULT_INPUT_SIZE))
    if not all(isinstance(length, int) and length > 0 for length in shape):
        raise ModelError(f"batch and input_size are whole numbers of at least 1 (got {batch!r}, {input_size!r})")
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    return torch.empty(shape, dtype=dtype, device="meta")
