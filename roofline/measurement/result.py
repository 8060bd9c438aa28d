"""What a measurement is: samples, what they sum up to, and under which conditions they were taken.

Each latency is given twice. `latency_s` is what the stopwatch had. `reference_latency_s` is each sample divided by how
much slower than at its reference state the machine was beside it, as an anchor tells (`roofline.measurement.anchor`):
that is what two sessions agree on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from roofline.measurement.conditions import LEFT_OUT, Conditions
from roofline.measurement.stopping import median, median_interval, quantile

SCHEMA = "roofline/measurement/1"
DOUBTFUL = frozenset({"noisy", "contended", "throttled"})  # statuses; a capped median is known, if not as well as asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One block of calls.

    Attributes:
        wall_s: Seconds a call, the loop's own cost taken off.
        cpu_s: CPU time of this process a call, all threads.
        kernel_s: Seconds a call on the accelerator's own timeline; None on a CPU.
        calls: Calls of the block.
        at_s: When the block began, from the start of the session.
        factor: How many times as long as at the reference state the anchor took, near this block.
        conditions: What else happened during the block.
        flags: What makes it doubtful, as keys of `roofline.measurement.conditions.FLAGS`.
        round: The round, from 0.
        process: The process, from 0.
    """

    wall_s: float
    cpu_s: float
    kernel_s: float | None = None
    calls: int = 1
    at_s: float = 0.0
    factor: float = 1.0
    conditions: Conditions
    flags: tuple[str, ...] = ()
    round: int = 0
    process: int = 0

    @property
    def reference_s(self) -> float:
        """Seconds a call at the machine's reference state."""
        return self.wall_s / self.factor

    @property
    def is_left_out(self) -> bool:
        """Whether it is kept, but not in the median."""
        return not LEFT_OUT.isdisjoint(self.flags)

    @property
    def page_faults(self) -> float | None:
        """Of a call; None where unknown."""
        faults = self.conditions.page_faults
        return None if faults is None else faults / self.calls

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "kernel_s": self.kernel_s,
            "calls": self.calls,
            "at_s": self.at_s,
            "factor": self.factor,
            "conditions": self.conditions.to_dict(),
            "flags": list(self.flags),
            "round": self.round,
            "process": self.process,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sample:
        """What `to_dict` gave."""
        given = {**data, "conditions": Conditions(**data["conditions"]), "flags": tuple(data["flags"])}
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Some times, summed up, in seconds.

    Attributes:
        median: The middle.
        ci95: The 95 % confidence interval of the median, by order statistics.
        p10: The 10th percentile.
        p90: The 90th percentile.
        min: The smallest: a lower envelope, and no estimate.
        iqr: The interquartile range.
        n: How many there were.
    """

    median: float
    ci95: tuple[float, float]
    p10: float
    p90: float
    min: float
    iqr: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Sum up some times, of which there is at least one."""
        return cls(
            median=median(values),
            ci95=median_interval(values),
            p10=quantile(values, 0.1),
            p90=quantile(values, 0.9),
            min=min(values),
            iqr=quantile(values, 0.75) - quantile(values, 0.25),
            n=len(values),
        )

    @property
    def half_width(self) -> float:
        """Half of the confidence interval, over the median; infinite of a median of 0."""
        return (self.ci95[1] - self.ci95[0]) / 2 / self.median if self.median > 0 else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "median": self.median,
            "ci95": list(self.ci95),
            "p10": self.p10,
            "p90": self.p90,
            "min": self.min,
            "iqr": self.iqr,
            "n": self.n,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Summary:
        """What `to_dict` gave."""
        return cls(**{**data, "ci95": tuple(data["ci95"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """How a model was warmed up.

    Attributes:
        first_call_s: Of the very first call: lazy initialisation, and compilation if that was asked for.
        calls: All calls before the first sample.
        wall_s: Seconds that they took.
        is_steady: Whether the last windows agreed before its time was up.
    """

    first_call_s: float
    calls: int
    wall_s: float
    is_steady: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "first_call_s": self.first_call_s,
            "calls": self.calls,
            "wall_s": self.wall_s,
            "is_steady": self.is_steady,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One model, measured.

    Attributes:
        name: What the model reference resolved to.
        reference: What the user wrote; empty of a callable.
        device: ``"cpu"`` or ``"cuda"``.
        mode: How it ran: ``"eager"``, ``"channels_last"``, ``"compile"`` or ``"cudagraph"``.
        dtype: Of weights and floating inputs: ``"fp32"``, ``"fp16"`` or ``"bf16"``.
        batch: Images a call.
        input_shapes: Of each input, batch included; empty if not known.
        params: Number of parameters; None if not known.
        threads: Threads within an op.
        latency_s: As the stopwatch had it, of a call.
        reference_latency_s: At the machine's reference state.
        kernel_latency_s: On the accelerator's own timeline; None on a CPU.
        between_process: Largest over smallest median of the processes, less 1, at the reference state; None of one
            process.
        process_medians_s: Median of each process, at the reference state.
        status: ``"ok"``, ``"noisy"``, ``"contended"``, ``"throttled"`` or ``"capped"``.
        flags: What made samples doubtful, and how many of them.
        left_out: Samples that are not in the medians; together with those that are (``n``), all there were.
        machine_factor: Median of the anchor's local factors: how much slower the machine was than at its reference
            state.
        warmup: How it was warmed up, in the first process.
        subnormal_share: Largest share of subnormal numbers in the outputs of a module; None if not looked at.
        is_interrupted: Whether it was stopped by hand.
        notes: Sentences on what is unusual.
        layers: The time of each layer, as `roofline.measurement.per_layer` gives it; None if not asked for.
        samples: All samples, those left out too.
        environment: Where it was measured.
        tag: The tag of the worker that measured it; empty where that was this machine.
        worker: The name of that worker.
        anchor: The anchor there, as `Run.anchor` has it of a run on this machine.
    """

    name: str
    reference: str = ""
    device: str = "cpu"
    mode: str = "eager"
    dtype: str = "fp32"
    batch: int = 1
    input_shapes: tuple[tuple[int, ...], ...] = ()
    params: int | None = None
    threads: int = 1
    latency_s: Summary
    reference_latency_s: Summary
    kernel_latency_s: Summary | None = None
    between_process: float | None = None
    process_medians_s: tuple[float, ...] = ()
    status: str = "ok"
    flags: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    machine_factor: float = 1.0
    warmup: WarmUp | None = None
    subnormal_share: float | None = None
    is_interrupted: bool = False
    notes: tuple[str, ...] = ()
    layers: Mapping[str, Any] | None = None
    samples: tuple[Sample, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ""
    worker: str = ""
    anchor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_doubtful(self) -> bool:
        """Whether the machine was too noisy, too busy or too slow to judge anything by it."""
        return self.status in DOUBTFUL

    @property
    def cores_used(self) -> float:
        """CPU time over time: how many cores were busy, in the median."""
        return median([sample.cpu_s / sample.wall_s if sample.wall_s > 0 else 0.0 for sample in self.samples] or [0.0])

    @property
    def page_faults(self) -> float | None:
        """Of a call, in the median of the samples; None where unknown."""
        known = [faults for sample in self.samples if (faults := sample.page_faults) is not None]
        return median(known) if known else None

    def to_dict(self, *, samples: bool = False) -> dict[str, Any]:
        """As plain data, an entry of `measurements`; with every sample if asked for.

        Its environment is that of the run, and not in it, except of a worker, which has one of its own, and an anchor.
        """
        shapes = [list(shape) for shape in self.input_shapes]
        data: dict[str, Any] = {
            "model": {
                "reference": self.reference,
                "name": self.name,
                "input_shape": shapes[0] if len(shapes) == 1 else shapes,
                "params": self.params,
            },
            "device": self.device,
            "mode": self.mode,
            "dtype": self.dtype,
            "batch": self.batch,
            "threads": self.threads,
            "latency_s": self.latency_s.to_dict(),
            "reference_latency_s": self.reference_latency_s.to_dict(),
            "kernel_latency_s": None if self.kernel_latency_s is None else self.kernel_latency_s.to_dict(),
            "between_process": self.between_process,
            "process_medians_s": list(self.process_medians_s),
            "status": self.status,
            "flags": dict(self.flags),
            "left_out": self.left_out,
            "machine_factor": self.machine_factor,
            "cores_used": self.cores_used,
            "page_faults": self.page_faults,
            "warmup": None if self.warmup is None else self.warmup.to_dict(),
            "subnormal_share": self.subnormal_share,
            "is_interrupted": self.is_interrupted,
            "notes": list(self.notes),
            "layers": None if self.layers is None else dict(self.layers),
        }
        if samples:
            data["samples"] = [sample.to_dict() for sample in self.samples]
        if self.tag:  # each row of a fleet is of a machine of its own
            data |= {"tag": self.tag, "worker": self.worker}
            data |= {"anchor": dict(self.anchor), "environment": dict(self.environment)}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], environment: Mapping[str, Any] | None = None) -> Measurement:
        """What `to_dict` gave; without samples if they were not asked for."""
        model, kernel, warmup = data["model"], data["kernel_latency_s"], data["warmup"]
        shapes = model["input_shape"]
        several = shapes if not shapes or isinstance(shapes[0], list) else [shapes]
        same = ("device", "mode", "dtype", "batch", "threads", "between_process", "status", "left_out",
                "machine_factor", "subnormal_share", "is_interrupted", "layers")  # fmt: skip
        return cls(
            name=model["name"],
            reference=model["reference"],
            input_shapes=tuple(tuple(shape) for shape in several),
            params=model["params"],
            latency_s=Summary.from_dict(data["latency_s"]),
            reference_latency_s=Summary.from_dict(data["reference_latency_s"]),
            kernel_latency_s=None if kernel is None else Summary.from_dict(kernel),
            process_medians_s=tuple(data["process_medians_s"]),
            flags=dict(data["flags"]),
            warmup=None if warmup is None else WarmUp(**warmup),
            notes=tuple(data["notes"]),
            samples=tuple(Sample.from_dict(sample) for sample in data.get("samples", ())),
            environment=data.get("environment", environment or {}),
            tag=data.get("tag", ""),
            worker=data.get("worker", ""),
            anchor=data.get("anchor", {}),
            **{key: data[key] for key in same},
        )

    def with_layers(self, layers: Mapping[str, Any]) -> Measurement:
        """The same, with the time of each layer."""
        return replace(self, layers=layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A model that could not be measured.

    Attributes:
        model: Its reference; empty where a whole process gave nothing.
        reason: Why, in one line.
        left_out: Samples that were taken of it, if all of them under heavy contention; else 0.
        samples: These.
        tag: The tag of the worker that could not measure it; empty where that was this machine.
    """

    model: str
    reason: str
    left_out: int = 0
    samples: tuple[Sample, ...] = ()
    tag: str = ""

    @property
    def is_contention(self) -> bool:
        """Whether the machine was too busy, and the model may well be measured another time."""
        return self.left_out > 0

    def to_dict(self, *, samples: bool = False) -> dict[str, Any]:
        """As plain data; with every sample if asked for."""
        data: dict[str, Any] = {"model": self.model, "reason": self.reason, "left_out": self.left_out}
        if samples:
            data["samples"] = [sample.to_dict() for sample in self.samples]
        if self.tag:
            data["tag"] = self.tag
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Failure:
        """What `to_dict` gave."""
        return cls(
            model=data["model"],
            reason=data["reason"],
            left_out=data.get("left_out", 0),
            tag=data.get("tag", ""),
            samples=tuple(Sample.from_dict(sample) for sample in data.get("samples", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Models measured together, in turns; or on a fleet, each by a worker with an environment and an anchor of its own.

    Attributes:
        measurements: One a model, in the order they were given; of a fleet, one a model and tag.
        environment: Where, as `roofline.measurement.environment` records it; of a fleet, only the versions here.
        anchor: The anchor: ``names``, ``reference_s`` of each part, ``reference_source``, and ``factor`` (``median``,
            ``p10``, ``p90``, ``n`` over the run); empty without one.
        failures: Models that could not be measured.
        is_interrupted: Whether it was stopped by hand.
    """

    measurements: tuple[Measurement, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
    anchor: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    is_interrupted: bool = False

    def to_dict(self, *, samples: bool = False) -> dict[str, Any]:
        """As plain data of schema ``"roofline/measurement/1"``; with every sample if asked for."""
        return {
            "schema": SCHEMA,
            "measurements": [measurement.to_dict(samples=samples) for measurement in self.measurements],
            "failures": [failure.to_dict(samples=samples) for failure in self.failures],
            "is_interrupted": self.is_interrupted,
            "anchor": dict(self.anchor),
            "environment": dict(self.environment),
            "versions": dict(self.environment.get("versions", {})),
        }

    def to_json(self, *, samples: bool = False) -> str:
        """As JSON text."""
        import json

        return json.dumps(self.to_dict(samples=samples), indent=2, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Run:
        """What `to_dict` gave."""
        environment = data["environment"]
        return cls(
            measurements=tuple(Measurement.from_dict(entry, environment) for entry in data["measurements"]),
            environment=environment,
            anchor=data["anchor"],
            failures=tuple(Failure.from_dict(failure) for failure in data["failures"]),
            is_interrupted=data["is_interrupted"],
        )
