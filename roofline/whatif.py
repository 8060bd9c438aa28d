"""What if: how a model's latency answers to the device it runs on, and to how the model is run.

    elasticities     of the latency in the peak, the bandwidths, the vector rate and the overheads, exact
    target           the smallest peak and bandwidth that reach it, and the iso-latency curve between them
    alternatives     other dtypes, batches, input sizes and fusions on the device as it is
    layers           what half the bytes, or half the MACs, of each would save

One graph is traced, and lowered again for another dtype or fusion; another batch or input size is traced again. All of
it is exact: the latency of a device with another peak is the one that `roofline.analyze` would give on such a device.
docs/whatif.md has the formulas.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.analysis import Analysis, analyze, versions
from roofline.engine import Prediction, combined, predict, terms_of
from roofline.errors import RooflineError
from roofline.hardware import ACTIVATIONS, Figure, Hardware
from roofline.layers import DTYPE_BYTES, lower
from roofline.profiles import load_all
from roofline.response import IsoCurve, Rate, Times, iso_latency
from roofline.units import shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from roofline.graph import Graph

SCHEMA = "roofline/whatif/1"
STEP = 0.1  # how much better a figure is made
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SIZES = (1 / 2, 5 / 8, 3 / 4, 7 / 8, 1, 9 / 8, 5 / 4, 3 / 2)  # of the present height and width; 128 to 384 of 256
GROUPS = ("dtype", "batch", "input", "fusion")
REFUSED = {"batch": "the model does not run with so many images", "input": "the model does not run at this size"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """How the latency answers to one figure of the device: d ln T / d ln x, and what lies beyond the derivative.

    Attributes:
        quantity: ``peak``, ``bandwidth`` (of all bytes), ``weight_bandwidth``, ``vector_rate``, ``layer_overhead`` or
            ``inference_overhead``.
        value: The figure as it is: MACs/s, bytes/s, ops/s, or seconds.
        better: As the figure improves (a rate grows, an overhead shrinks); 0 and below of a rate, 0 and above of an
            overhead. Its size is the share of the latency that the figure sets.
        worse: As it gets worse; another only where layers are at a knee.
        step_latency_s: The latency with a rate 10 % larger, or an overhead 10 % smaller.
        limit_latency_s: That of an infinite rate, or of no overhead.
        knee_factor: By how much a rate has to grow until a layer changes sides; None if none does, and of an overhead.
        knee_layer: That layer.
    """

    quantity: str
    value: float
    better: float
    worse: float
    step_latency_s: float
    limit_latency_s: float
    knee_factor: float | None = None
    knee_layer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to a target latency: the smallest figures that reach it, and do not beat it.

    Attributes:
        name: ``peak`` (at the present bandwidth), ``bandwidth`` (at the present peak), ``both`` (by one factor) or
            ``cheapest`` (the least product of the two factors).
        peak_factor, bandwidth_factor: Of the present figures; None where no finite ones are enough. 0 where any are.
        peak_macs_per_s, bandwidth_bytes_per_s: What they come to.
        limit_latency_s: The latency to which it leads at the most.
    """

    name: str
    peak_factor: float | None
    bandwidth_factor: float | None
    peak_macs_per_s: float | None
    bandwidth_bytes_per_s: float | None
    limit_latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another way to run the model on the device as it is.

    Attributes:
        group: One of `GROUPS`: what is changed.
        name: To what.
        is_present: Whether that is how it is run now.
        dtype, fusion, batch, input_shapes: As it would be run.
        skipped: Why it cannot be, in a few words; empty if it can. Then what follows `detail` is None.
        detail: What went wrong, in one line, where a model that is run so fails.
        latency_s: Of one pass, seconds.
        image_latency_s: For each image of the batch.
        ratio: That over the present one; None of a bound and a prediction, which are unlike numbers.
        latency_kind: ``bound`` or ``prediction``.
        scales: What changed: each of `SCALES` for one image, over the present one; None over 0. ``bus_bytes`` are those
            that cross the memory bus.
        top1: Published accuracy at this input size, percent; None where there is none, and of other groups.
    """

    group: str
    name: str
    is_present: bool
    dtype: str
    fusion: str
    batch: int
    input_shapes: tuple[tuple[int, ...], ...]
    skipped: str = ""
    detail: str = ""
    latency_s: float | None = None
    image_latency_s: float | None = None
    ratio: float | None = None
    latency_kind: str | None = None
    scales: Mapping[str, float | None] | None = None
    top1: float | None = None


SCALES = ("macs", "bus_bytes", "vector_ops", "overheads_s", "peak_macs_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSaving:
    """What smaller costs of one layer would save of the whole, seconds.

    Attributes:
        name, kind, latency_s: Of the layer.
        half_bytes_s: With half the bytes.
        half_macs_s: With half the MACs.
    """

    name: str
    kind: str
    latency_s: float
    half_bytes_s: float
    half_macs_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A bundled profile beside the iso-latency curve.

    Attributes:
        id, name: Of the profile.
        peak_macs_per_s: At the dtype of the analysis.
        bandwidth_bytes_per_s: Its memory bandwidth.
        latency_s: Of the model on it, with all that its profile says, as `roofline.analyze` gives it.
        latency_kind: ``bound`` or ``prediction``.
    """

    id: str
    name: str
    peak_macs_per_s: float
    bandwidth_bytes_per_s: float
    latency_s: float
    latency_kind: str


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class WhatIf:
    """How one model's latency on one device answers to the one and to the other.

    Attributes:
        analysis: The model on the device, as it is.
        times: Its times, for any other peak and bandwidth.
        elasticities: In each figure that the latency depends on.
        target_s: The latency to reach, seconds a pass; None if none was given.
        ways: To that target; without one, to the present latency.
        iso: The iso-latency curve of the target, or of the present latency; None where no peak and bandwidth reach it,
            or one of the two does not matter.
        alternatives: Other ways to run it, by group.
        layers: In the order of the analysis.
        profiles: The bundled ones with a peak at this dtype, but for the device itself, those that only teach, and
            peaks of a device of which a fitted profile is there too.
    """

    analysis: Analysis
    times: Times
    elasticities: tuple[Elasticity, ...]
    target_s: float | None
    ways: tuple[Way, ...]
    iso: IsoCurve | None
    alternatives: tuple[Alternative, ...]
    layers: tuple[LayerSaving, ...]
    profiles: tuple[Placed, ...]

    @property
    def latency_s(self) -> float:
        """Of the model on the device as it is, seconds a pass."""
        return float(self.analysis.prediction.latency_s)

    @property
    def is_met(self) -> bool | None:
        """Whether the latency is within the target; None without one."""
        return None if self.target_s is None else self.latency_s <= self.target_s

    def best_layers(self, top: int = 5) -> list[LayerSaving]:
        """The layers of which half the bytes or half the MACs would save the most."""
        return sorted(self.layers, key=lambda layer: -max(layer.half_bytes_s, layer.half_macs_s))[:top]

    def within(self) -> list[Alternative]:
        """The alternatives of the same batch that are within the target; none without one."""
        if self.target_s is None:
            return []
        return [
            other
            for other in self.alternatives
            if not other.is_present and other.group != "batch" and (other.latency_s or math.inf) <= self.target_s
        ]

    def verdict(self) -> str:
        """The answer in a sentence or two."""
        from roofline.whatif_words import verdict

        return verdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """One record an alternative: the columns of the CSV."""
        return [
            {column: value for column, value in _row(other).items() if column in COLUMNS} for other in self.alternatives
        ]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, schema "roofline/whatif/1" (docs/json.md)."""
        from roofline import whatif_words as words

        return {
            "schema": SCHEMA,
            "verdict": self.verdict(),
            "answers": words.answers(self),
            "target_s": self.target_s,
            "elasticities": [{**asdict(item), "meaning": words.elasticity(self, item)} for item in self.elasticities],
            "ways": [{**asdict(way), "meaning": words.way(self, way)} for way in self.ways],
            "iso_latency": self._iso(),
            "alternatives": [
                {**_row(other), "what_changes": words.what_changes(self, other)} for other in self.alternatives
            ],
            "layers": [asdict(layer) for layer in self.layers],
            "profiles": [asdict(profile) for profile in self.profiles],
            "notes": words.notes(self),
            "analysis": self.analysis.to_dict(),
            "versions": versions(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def _iso(self) -> dict[str, Any] | None:
        if self.iso is None:
            return None
        peak, bandwidth = _figures(self.analysis)
        names = self.analysis.layers.name
        return {
            "latency_s": self.iso.target_s,
            "least_peak_macs_per_s": peak * self.iso.least_peak,
            "least_bandwidth_bytes_per_s": bandwidth * self.iso.least_bandwidth,
            "points": [
                {
                    "peak_macs_per_s": peak * point.peak,
                    "bandwidth_bytes_per_s": bandwidth * point.bandwidth,
                    "layers": [names[layer] for layer in point.layers],
                }
                for point in self.iso.points
            ],
        }

    def __repr__(self) -> str:
        return f"<WhatIf of {self.analysis.name}: {self.verdict()}>"


COLUMNS = (
    "group", "name", "is_present", "dtype", "fusion", "batch", "input_shapes", "latency_s", "image_latency_s", "ratio",
    "latency_kind", "top1", "skipped",
)  # fmt: skip


def _row(other: Alternative) -> dict[str, Any]:
    return {**asdict(other), "input_shapes": [list(sizes) for sizes in other.input_shapes]}


def whatif(
    model: str | nn.Module,
    inputs: Any = None,
    *,
    hw: str | Path | Hardware,
    target_s: float | None = None,
    **options: Any,
) -> WhatIf:
    """How the latency of a model on a device answers to the hardware and to how the network is run.

    Args:
        model, inputs, hw: As `roofline.analyze` takes them.
        target_s: A latency to reach, seconds a pass.
        options: As `roofline.analyze` takes them: `batch`, `input_size`, `dtype`, `fusion`, `arguments`.

    Raises:
        RooflineError: Anything wrong with the model, the device or the target, in one line.

    >>> result = whatif("mobilenetv4_conv_m", hw="pixel6_tpu", target_s=0.5e-3)
    >>> [(item.quantity, round(item.better, 3)) for item in result.elasticities]
    [('peak', -0.06), ('bandwidth', -0.94)]
    >>> [(way.name, way.peak_factor and round(way.bandwidth_factor, 2)) for way in result.ways]
    [('peak', None), ('bandwidth', 1.29), ('both', 1.25), ('cheapest', 1.49)]
    """
    if target_s is not None and not (isinstance(target_s, int | float) and 0 < target_s < math.inf):
        raise RooflineError(f"a target is a number of seconds, more than 0 (got {target_s!r})")
    analysis = analyze(model, inputs, hw=hw, **options)
    network = _Network.of(model, inputs, analysis, options)
    times = Times.of(analysis.prediction)
    goal_s = float(analysis.prediction.latency_s) if target_s is None else float(target_s)
    iso = iso_latency(times, goal_s)
    return WhatIf(
        analysis=analysis,
        times=times,
        elasticities=tuple(_elasticities(analysis, times)),
        target_s=None if target_s is None else goal_s,
        ways=tuple(_ways(analysis, times, goal_s, iso)),
        iso=iso,
        alternatives=tuple(_alternatives(analysis, network)),
        layers=tuple(_savings(analysis, times)),
        profiles=tuple(_placed(analysis, options.get("fusion"))),
    )


def scaled(
    hardware: Hardware,
    *,
    dtype: str,
    peak: float = 1.0,
    bandwidth: float = 1.0,
    weight_bandwidth: float = 1.0,
    vector_rate: float = 1.0,
) -> Hardware:
    """The device with figures so many times larger; those of one class of layers grow with the others.

    Args:
        hardware: As it is.
        dtype: Whose peak is meant.
        peak, bandwidth, weight_bandwidth, vector_rate: Factors; `bandwidth` is of all bytes, weights too.
    """

    def grown(value: float | None, factor: float) -> float | None:
        return None if value is None else value * factor

    factors = {
        f"peak_macs_per_s.{dtype}": peak,
        "bandwidth_bytes_per_s": bandwidth,
        "weight_bandwidth_bytes_per_s": bandwidth * weight_bandwidth,
        "vector_ops_per_s": vector_rate,
        **{f"bandwidth_bytes_per_s_by_class.{key}": bandwidth for key in hardware.bandwidth_bytes_per_s_by_class},
    }
    return replace(
        hardware,
        peak_macs_per_s={**hardware.peak_macs_per_s, dtype: hardware.peak(dtype) * peak},
        bandwidth_bytes_per_s=hardware.bandwidth_bytes_per_s * bandwidth,
        weight_bandwidth_bytes_per_s=grown(hardware.weight_bandwidth_bytes_per_s, bandwidth * weight_bandwidth),
        vector_ops_per_s=grown(hardware.vector_ops_per_s, vector_rate),
        bandwidth_bytes_per_s_by_class={
            key: value * bandwidth for key, value in hardware.bandwidth_bytes_per_s_by_class.items()
        },
        figures={path: _what_if(figure, factors.get(path, 1.0)) for path, figure in hardware.figures.items()},
    )


def _what_if(figure: Figure, factor: float) -> Figure:
    if factor == 1:
        return figure
    source = f"what if: {factor:g} times {figure.value:g} ({figure.source})"
    return Figure(value=figure.value * factor, kind=figure.kind, source=source)


# --- the hardware -----------------------------------------------------------------------------------------------------


def _figures(analysis: Analysis) -> tuple[float, float]:
    """Peak and bandwidth of the device."""
    hardware = analysis.hardware
    return hardware.peak(analysis.layers.dtype), hardware.bandwidth_bytes_per_s


def _elasticities(analysis: Analysis, times: Times) -> Iterator[Elasticity]:
    hardware = analysis.hardware
    peak, bandwidth = _figures(analysis)
    rates: list[tuple[str, Rate, float | None]] = [
        ("peak", "peak", peak),
        ("bandwidth", "bandwidth", bandwidth),
        ("weight_bandwidth", "weight_bandwidth", hardware.weight_bandwidth_bytes_per_s),
        ("vector_rate", "vector", hardware.vector_ops_per_s),
    ]
    for quantity, rate, value in rates:
        if value is None:
            continue
        response = times.response(rate)
        better, worse = response.elasticity()
        knee = response.next_knee()
        yield Elasticity(
            quantity=quantity,
            value=value,
            better=better,
            worse=worse,
            step_latency_s=float(response.latency_s(1 + STEP)),
            limit_latency_s=response.limit_s,
            knee_factor=knee and knee[0],
            knee_layer=knee and str(analysis.layers.name[knee[1]]),
        )
    latency_s = float(analysis.prediction.latency_s)
    overheads = [
        ("layer_overhead", hardware.layer_overhead_s, times.layers_overhead_s),
        ("inference_overhead", hardware.inference_overhead_s, times.inference_overhead_s),
    ]
    for quantity, value, part_s in overheads:
        if value:
            share = part_s / latency_s if latency_s else 0.0
            yield Elasticity(
                quantity=quantity,
                value=value,
                better=share,
                worse=share,
                step_latency_s=latency_s - STEP * part_s,
                limit_latency_s=latency_s - part_s,
            )


def _ways(analysis: Analysis, times: Times, target_s: float, iso: IsoCurve | None) -> Iterator[Way]:
    peak, bandwidth = _figures(analysis)

    def way(name: str, point: tuple[float | None, float | None], limit_s: float) -> Way:
        p, b = point if None not in point else (None, None)
        return Way(
            name=name,
            peak_factor=p,
            bandwidth_factor=b,
            peak_macs_per_s=None if p is None else p * peak,
            bandwidth_bytes_per_s=None if b is None else b * bandwidth,
            limit_latency_s=limit_s,
        )

    of_peak, of_bandwidth = times.response("peak"), times.response("bandwidth")
    of_both = times.response("peak", "bandwidth")
    both = of_both.factor_for(target_s)
    yield way("peak", (of_peak.factor_for(target_s), 1.0), of_peak.limit_s)
    yield way("bandwidth", (1.0, of_bandwidth.factor_for(target_s)), of_bandwidth.limit_s)
    yield way("both", (both, both), of_both.limit_s)
    if iso is not None:
        best = iso.cheapest(times)
        yield way("cheapest", (best.peak, best.bandwidth), of_both.limit_s)


def _placed(analysis: Analysis, fusion: str | None) -> Iterator[Placed]:
    """The model on each bundled profile with a peak at this dtype."""
    dtype = analysis.layers.dtype
    lowered: dict[Any, Any] = {}
    devices = [device for device in load_all() if dtype in device.peak_macs_per_s]
    fitted = {device.id for device in devices if device.latency_kind(dtype) == "prediction"}
    for device in devices:
        is_twin = device.id.endswith("_peak") and device.id.removesuffix("_peak") in fitted
        if device.id == analysis.hardware.id or device.device_class == "abstract" or is_twin:
            continue
        how = (fusion or device.default_fusion, device.fused_activations, device.copies_transposes)
        if how not in lowered:
            lowered[how] = lower(
                analysis.graph, fusion=how[0], dtype=dtype, fused_activations=how[1], transposes=how[2]
            )
        yield Placed(
            id=device.id,
            name=device.name,
            peak_macs_per_s=device.peak(dtype),
            bandwidth_bytes_per_s=device.bandwidth_bytes_per_s,
            latency_s=float(predict(lowered[how], device).latency_s),
            latency_kind=device.latency_kind(dtype),
        )


# --- the network ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """The model, to be traced again at another batch or size.

    Attributes:
        module: The model.
        image: Its example input, if it has one alone.
        step: What heights and widths are multiples of.
    """

    module: nn.Module
    image: Tensor | None
    step: int

    @classmethod
    def of(cls, model: str | nn.Module, inputs: Any, analysis: Analysis, options: Mapping[str, Any]) -> _Network:
        from torch import Tensor

        from roofline import models
        from roofline.loading import load

        if isinstance(model, str):
            size = options.get("input_size")
            loaded = load(
                model,
                batch=options.get("batch") or 1,
                input_size=tuple(size) if size else None,
                arguments=options.get("arguments"),
            )
            module, given = loaded.module, list(loaded.inputs)
        else:
            module, given = model, list(inputs) if isinstance(inputs, tuple | list) else [inputs]
        image = given[0] if len(given) == 1 and isinstance(given[0], Tensor) and given[0].dim() else None
        in_zoo = isinstance(model, str) and models.knows(model)
        return cls(module=module, image=image, step=_step(module, image, models.REDUCTION if in_zoo else None))

    def at(self, *, batch: int | None = None, size: tuple[int, int] | None = None) -> Graph:
        """The graph at another batch, or another height and width."""
        import torch

        from roofline.trace import trace

        assert self.image is not None, "what takes other inputs is not run in other ways"
        sizes = list(self.image.shape)
        if batch is not None:
            sizes[0] = batch
        if size is not None:
            sizes[2:] = size
        return trace(self.module, (torch.empty(sizes, dtype=self.image.dtype, device="meta"),))


def _step(module: nn.Module, image: Tensor | None, reduction: int | None) -> int:
    """By what heights and widths are divided: what the model says; else the most of 32, 16, ... that leaves a few."""
    stated = getattr(module, "reduction", reduction)
    if isinstance(stated, int) and stated > 0:
        return stated
    if image is None or image.dim() != 4:
        return 1
    return next(step for step in (32, 16, 8, 4, 2, 1) if step == 1 or 4 * step <= min(image.shape[2:]))


def _alternatives(analysis: Analysis, network: _Network) -> Iterator[Alternative]:
    """All of them, group by group; what cannot be run says why."""
    layers, hardware = analysis.layers, analysis.hardware
    own = {"dtype": layers.dtype, "fusion": layers.fusion}

    for dtype in DTYPE_BYTES:
        yield _tried(analysis, network, "dtype", dtype, own | {"dtype": dtype}, is_present=dtype == layers.dtype)
    for batch in sorted({*BATCHES, analysis.batch}):
        present = batch == analysis.batch
        yield _tried(analysis, network, "batch", str(batch), own, batch=batch, is_present=present)
    yield from _sizes(analysis, network, own)
    for fusion in ("none", "epilogue"):
        present = fusion == layers.fusion
        yield _tried(analysis, network, "fusion", fusion, own | {"fusion": fusion}, is_present=present)
    if not hardware.fused_activations >= set(ACTIVATIONS):
        fused = own | {"fusion": "epilogue", "fused_activations": frozenset(ACTIVATIONS)}
        yield _tried(analysis, network, "fusion", "all activations fused", fused)


def _sizes(analysis: Analysis, network: _Network, own: Mapping[str, Any]) -> Iterator[Alternative]:
    """Other heights and widths, rounded to what the model divides them by."""
    image = network.image
    if image is None or image.dim() != 4:
        yield _skipped(analysis, "input", "other sizes", own, "its input is not one image")
        return
    height, width = image.shape[2:]
    found = {(height, width)}
    for part in SIZES:
        tall, wide = (max(1, round(part * length / network.step)) * network.step for length in (height, width))
        found.add((tall, wide))
    for size in sorted(found):
        present = size == (height, width)
        yield _tried(analysis, network, "input", shape(size), own, size=size, is_present=present)


def _tried(
    analysis: Analysis,
    network: _Network,
    group: str,
    name: str,
    how: Mapping[str, Any],
    *,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    is_present: bool = False,
) -> Alternative:
    """The model run in another way; or why it cannot be."""
    hardware = analysis.hardware
    if is_present:
        prediction, graph = analysis.prediction, analysis.graph
    else:
        if network.image is None and group not in ("dtype", "fusion"):
            return _skipped(analysis, group, name, how, "it takes other inputs than one tensor")
        if how["dtype"] not in hardware.peak_macs_per_s:
            return _skipped(analysis, group, name, how, "the profile has no peak for it")
        try:
            graph = analysis.graph if group in ("dtype", "fusion") else network.at(batch=batch, size=size)
        except RooflineError as error:
            detail = " ".join(str(error).split())
            return _skipped(analysis, group, name, how, REFUSED[group], detail, batch=batch)
        choices = {"fused_activations": hardware.fused_activations, "transposes": hardware.copies_transposes, **how}
        prediction = predict(lower(graph, **choices), hardware)
    shapes = tuple(value.shape for value in graph.inputs)
    images = batch or analysis.batch
    latency_s = float(prediction.latency_s)
    before, after = _costs(analysis.prediction, analysis.batch), _costs(prediction, images)
    present_s = float(analysis.prediction.latency_s) / analysis.batch
    kind = hardware.latency_kind(how["dtype"])
    is_like = kind == analysis.latency_kind
    return Alternative(
        group=group,
        name=name,
        is_present=is_present,
        dtype=how["dtype"],
        fusion=how["fusion"],
        batch=images,
        input_shapes=shapes,
        latency_s=latency_s,
        image_latency_s=latency_s / images,
        ratio=latency_s / images / present_s if present_s and is_like else None,
        latency_kind=kind,
        scales={key: after[key] / before[key] if before[key] else None for key in SCALES},
        top1=_top1(analysis, shapes) if group == "input" else None,
    )


def _skipped(
    analysis: Analysis,
    group: str,
    name: str,
    how: Mapping[str, Any],
    why: str,
    detail: str = "",
    *,
    batch: int | None = None,
) -> Alternative:
    return Alternative(
        group=group, name=name, is_present=False, dtype=how["dtype"], fusion=how["fusion"],
        batch=batch or analysis.batch, input_shapes=(), skipped=why, detail=detail,
    )  # fmt: skip


def _costs(prediction: Prediction, images: int) -> dict[str, float]:
    """What a latency comes of, for one image."""
    layers, hardware = prediction.layers, prediction.hardware
    assert isinstance(hardware, Hardware)
    terms = terms_of(layers, hardware)
    return {
        "macs": int(layers.macs.sum()) / images,
        "bus_bytes": int(np.sum(terms["mem_bytes"]) + np.sum(terms["weight_bytes"])) / images,
        "vector_ops": int(layers.vector_ops.sum()) / images,
        "overheads_s": Times.of(prediction).overhead_s / images,
        "peak_macs_per_s": hardware.peak(layers.dtype),
    }


def _top1(analysis: Analysis, shapes: Sequence[tuple[int, ...]]) -> float | None:
    """What was published of the network of the zoo at an input size."""
    published = analysis.entry.published if analysis.entry is not None else ()
    at_size = (p.top1 for p in published if p.top1 is not None and shapes[0][1:] == (3, p.input_px, p.input_px))
    return next(at_size, None)


def _savings(analysis: Analysis, times: Times) -> Iterator[LayerSaving]:
    layers = analysis.layers
    now_s = combined(times.mac_s, times.vector_s, times.mem_s, times.add)
    fewer_bytes_s = combined(times.mac_s, times.vector_s, times.mem_s / 2, times.add)
    fewer_macs_s = combined(times.mac_s / 2, times.vector_s, times.mem_s, times.add)
    columns = (
        analysis.prediction.layer_latency_s.tolist(),
        (now_s - fewer_bytes_s).tolist(),
        (now_s - fewer_macs_s).tolist(),
    )
    for name, kind, latency_s, half_bytes_s, half_macs_s in zip(layers.name, layers.kind, *columns, strict=True):
        yield LayerSaving(name=name, kind=kind, latency_s=latency_s, half_bytes_s=half_bytes_s, half_macs_s=half_macs_s)
