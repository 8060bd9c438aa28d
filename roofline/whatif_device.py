"""What if the device were another: elasticities, the ways to a target, and the bundled profiles beside it.

docs/whatif.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from roofline.analysis import Analysis
from roofline.engine import predict
from roofline.hardware import Figure, Hardware
from roofline.layers import lower
from roofline.profiles import load_all
from roofline.response import IsoCurve, Rate, Times

STEP = 0.1  # how much better a figure is made


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

    It has no calibration, whose times are those of the device as it is.

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
        calibration=None,
    )


def _what_if(figure: Figure, factor: float) -> Figure:
    if factor == 1:
        return figure
    source = f"what if: {factor:g} times {figure.value:g} ({figure.source})"
    return Figure(value=figure.value * factor, kind=figure.kind, source=source)


def figures_of(analysis: Analysis) -> tuple[float, float]:
    """Peak and bandwidth of the device."""
    hardware = analysis.hardware
    return hardware.peak(analysis.layers.dtype), hardware.bandwidth_bytes_per_s


def elasticities(analysis: Analysis, times: Times) -> Iterator[Elasticity]:
    """Of each figure that the device has."""
    hardware = analysis.hardware
    peak, bandwidth = figures_of(analysis)
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


def ways(analysis: Analysis, times: Times, target_s: float, iso: IsoCurve | None) -> Iterator[Way]:
    """By the peak, the bandwidth, both, and, where there is an iso-latency curve, what is least of both."""
    peak, bandwidth = figures_of(analysis)

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


def placed(analysis: Analysis, fusion: str | None) -> Iterator[Placed]:
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
