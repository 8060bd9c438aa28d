"""Measurements as a stopwatch that always agrees with itself would give them, for what is built on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roofline.activation_comparison import ActivationComparison, compare_activations
from roofline.elementwise import Elementwise, Level, measure_elementwise
from roofline.measurement.result import Failure, Measurement, Run, Summary

RELU_S = 0.05
RATIOS: Mapping[str, float] = {"relu": 1.0, "silu": 1.2, "hardswish": 1.1, "se_relu": 1.5, "dynamic_shift_max": 2.5}
FACTOR = 1.25  # of the machine: the stopwatch had so many times what the reference state has
LEVELS = (
    Level(name="L1", footprint_bytes=2**14),
    Level(name="L2", footprint_bytes=2**17),
    Level(name="memory", footprint_bytes=2**21),
)


def summary(median_s: float, half_width: float = 0.01) -> Summary:
    return Summary(
        median=median_s, ci95=(median_s * (1 - half_width), median_s * (1 + half_width)), p10=median_s * 0.97,
        p90=median_s * 1.04, min=median_s * 0.95, iqr=median_s * 0.03, n=24,
    )  # fmt: skip


def measurement(name: str, stopwatch_s: float, **more: Any) -> Measurement:
    half_width = more.pop("half_width", 0.01)
    return Measurement(
        name=name, threads=2, latency_s=summary(stopwatch_s, half_width),
        reference_latency_s=summary(stopwatch_s / FACTOR, half_width), machine_factor=FACTOR, **more,
    )  # fmt: skip


def run_of(measurements: Sequence[Measurement], **more: Any) -> Run:
    record = {"device": {"type": "cpu", "name": "A Processor"}, "versions": {"torch": "2.0"}}
    return Run(measurements=tuple(measurements), environment=record, **more)


def measure(
    factories: Sequence[Any], request: Any, *, progress: Callable[..., None] | None = None, labels: Sequence[str] = ()
) -> Run:
    """In place of `roofline.measurement.api.measure_here`."""
    assert len(factories) == len(labels)
    return run_of([measurement(label, RELU_S * RATIOS.get(label, 1.3)) for label in labels])


def interrupted(factories: Sequence[Any], request: Any, *, progress: Any = None, labels: Sequence[str] = ()) -> Run:
    """Ctrl-C after the first."""
    return run_of(
        [measurement(labels[0], RELU_S, is_interrupted=True)],
        failures=tuple(Failure(model=label, reason="interrupted before it was timed") for label in labels[1:]),
        is_interrupted=True,
    )


def compared(**options: Any) -> ActivationComparison:
    """The probe, predicted and measured."""
    given: dict[str, Any] = {"hw": ["pixel6_tpu"], "device": "cpu", "measure": measure, **options}
    return compare_activations(**given)


# A call takes CALL_S and what its bytes take at its level, or its elements where that is longer.
CALL_S = 1e-6
BYTES_PER_S: Mapping[str, float] = {"one element": float("inf"), "L1": 2e11, "L2": 1e11, "memory": 1e10}
ELEMENTS_PER_S: Mapping[str, float] = {"silu": 1.1e9, "gelu": 1.1e9}


def measure_each(factories: Sequence[Any], request: Any, *, progress: Any = None, labels: Sequence[str] = ()) -> Run:
    assert request.threads == 1
    sizes = {level.name: level for level in LEVELS}
    found = []
    for label in labels:
        name, level, how = label.split(", ")
        elements = sizes[level].elements(how == "in place") if level in sizes else 0  # one element takes no time
        work_s = max(8 * elements / BYTES_PER_S[level], elements / ELEMENTS_PER_S.get(name, 1e12))
        found.append(measurement(label, FACTOR * (CALL_S + work_s)))
    return run_of(found)


def timed_each(acts: Sequence[str] = ("relu", "hardswish", "silu"), **options: Any) -> Elementwise:
    return measure_elementwise(acts, levels=LEVELS, **{"measure": measure_each, **options})
