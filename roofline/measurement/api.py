"""`roofline.measure` and `measure_models`: from models to measurements."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from roofline.errors import MeasurementError, OutputError, RooflineError
from roofline.measurement import session, subject
from roofline.measurement.cuda import CACHES
from roofline.measurement.result import Failure, Measurement, Run
from roofline.measurement.session import Progress, Session
from roofline.measurement.stopping import CAP_S, MIN_ROUNDS, TARGET, Limits
from roofline.measurement.subject import MAX_SUBNORMAL, Subject

if TYPE_CHECKING:
    from torch import nn

    from roofline.measurement.clock import Clock, Timer

KEPT, READ, ANEW, OWN = "kept", "read", "anew", "own"  # which reference state
REFERENCE_STATES = (KEPT, READ, ANEW, OWN)
STALE_BELOW = 0.8  # of the anchor's factor: no session should be that much faster than a quiet moment
UNFIT = frozenset({"contended", "throttled"})  # statuses of a session whose state is that of no quiet moment
MANY_PAGE_FAULTS = 256  # a call: 1 MB in pages of 4 kB, at about 1 us each to map and to clear


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How to measure; `measure` says what each of these means. All of it is plain data."""

    device: str = "cpu"
    threads: int | None = None
    dtype: str | None = None
    batch: int = 1
    input_size: tuple[int, ...] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "eager"
    l2: str = "hot"
    per_layer: bool = False
    target: float = TARGET
    max_s: float = CAP_S
    rounds: int = MIN_ROUNDS
    seed: int = 0
    keep_memory: bool = True
    quiet_wait_s: float = 0.0
    reference_state: str = KEPT
    anchor_reference_s: tuple[float, ...] | None = None

    def check(self, *, is_here: bool = True) -> None:
        """Find out before the work what is wrong.

        Args:
            is_here: Whether this machine is the one to measure on.

        Raises:
            MeasurementError: Something is.
        """
        subject.check_request(self.device, self.dtype, self.mode, is_here=is_here)
        if self.l2 not in CACHES:
            raise MeasurementError(f"unknown state of the L2 cache {self.l2!r} (known: {', '.join(CACHES)})")
        if self.l2 != "hot" and self.device != "cuda":
            raise MeasurementError("only the L2 cache of a CUDA device is overwritten between calls: leave out l2")
        if not isinstance(self.batch, int) or self.batch < 1:
            raise MeasurementError(f"batch must be at least 1 (got {self.batch!r})")
        if self.threads is not None and self.threads < 1:
            raise MeasurementError(f"threads must be at least 1 (got {self.threads})")
        if not 0 < self.target < 1:
            raise MeasurementError(
                f"target is a share of the median, between 0 and 1, as in 0.015 (got {self.target:g})"
            )
        if not 0 < self.max_s < float("inf"):
            raise MeasurementError(f"max_s must be more than 0 and finite (got {self.max_s:g})")
        if not 0 <= self.quiet_wait_s < float("inf"):
            raise MeasurementError(f"quiet_wait_s must be 0 or more and finite (got {self.quiet_wait_s:g})")
        if self.rounds < 1:
            raise MeasurementError(f"rounds must be at least 1 (got {self.rounds})")
        if self.per_layer and self.mode in ("compile", "cudagraph"):
            raise MeasurementError(
                f"layers are timed op by op, as eager mode runs them: leave out per-layer, or mode {self.mode}"
            )
        if self.reference_state not in REFERENCE_STATES:
            raise MeasurementError(
                f"unknown reference state {self.reference_state!r} (known: {', '.join(REFERENCE_STATES)})"
            )

    @property
    def limits(self) -> Limits:
        """When to stop."""
        layers_s = self.max_s if self.per_layer else 0.0
        return Limits(target=self.target, min_rounds=self.rounds, cap_s=self.max_s, layers_s=layers_s)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Request:
        """What `to_dict` gave, or what became of it in JSON."""
        size, anchor = data["input_size"], data["anchor_reference_s"]
        tuples = {"input_size": size and tuple(size), "anchor_reference_s": anchor and tuple(anchor)}
        return cls(**{**data, **tuples})


def measure(
    model: str | nn.Module | Callable[..., object],
    inputs: Sequence[Any] | None = None,
    *,
    processes: int = 1,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Measurement:
    """Time one model, or one function.

    >>> measurement = roofline.measure("mobilenetv4_conv_s", threads=2)  # doctest: +SKIP
    >>> measurement.latency_s.median, measurement.reference_latency_s.median  # doctest: +SKIP
    (0.0213, 0.0187)

    Args:
        model: A model reference, a module, or a function. A module is moved, cast and put into eval mode as it is.
        inputs: What a module or function is called with; without it, a module gets N(0, 1) of `input_size`, and a
            function nothing.
        processes: Fresh processes to repeat it in, which a model reference is needed for; with 1 it is timed in this
            one.
        progress: Called with how far it is.
        device: ``"cpu"`` or ``"cuda"``.
        threads: Threads within an op; those torch has now, or fewer where fewer CPUs may be used, if None.
        dtype: ``"fp32"``, ``"fp16"`` or ``"bf16"``; the model's own if None.
        batch: Images a call.
        input_size: Channels, height, width; the published size, or 3x224x224, if None.
        arguments: For the model's constructor, by name.
        mode: ``"eager"``, ``"channels_last"``, ``"compile"`` or ``"cudagraph"``. An ONNX file is run by ONNX Runtime,
            in mode ``"onnxruntime"``, whether that is given or not.
        l2: ``"hot"``: a call finds in the L2 cache of a CUDA device what the one before left; ``"cold"``: it is
            overwritten before each call.
        per_layer: Whether to time each layer, too; needs a model reference or a module.
        target: Half-width of the confidence interval of the median, over the median, to stop at.
        max_s: Seconds to time it at most.
        rounds: Rounds at least.
        seed: Of weights, inputs and the order of models.
        quiet_wait_s: Seconds to wait at most until no other process wants the cores that are to be used.
        keep_memory: Whether this process is to keep the memory that it frees, from here on and for good, so that no
            call pays for page faults; see `roofline.measurement.allocator`.
        reference_state: ``"kept"``: that which the first session on this machine kept in the user's data directory,
            and which this one keeps if it is the first; ``"read"``: the same, but this one keeps nothing; ``"anew"``:
            this session's, kept in its place; ``"own"``: this session's, and nothing is read or kept.
        anchor_reference_s: The reference state itself, seconds of each part of the anchor.

    Raises:
        RooflineError: It cannot be measured.
        KeyboardInterrupt: It was stopped by hand before there was a sample.
    """
    request = _request(options)
    if isinstance(model, str):
        if inputs is not None:
            raise MeasurementError("a model reference has inputs of its own: leave them out, or give a module")
        run = measure_models([model], processes=processes, progress=progress, **options)
    elif processes != 1:
        raise MeasurementError("only a model reference can be measured in other processes: give one, or processes=1")
    else:
        run = measure_here([partial(_subject, model, inputs, request)], request, progress=progress)
    if run.failures:
        if run.is_interrupted:
            raise KeyboardInterrupt
        raise MeasurementError(run.failures[0].reason)
    return run.measurements[0]


def measure_models(
    references: Sequence[str],
    *,
    processes: int = 1,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Run:
    """Time some models in turns; see `measure` for the options.

    A model that cannot be measured is a `Failure` of the run, and the others are measured.

    Raises:
        RooflineError: None can be.
    """
    request = _request(options)
    if processes < 1:
        raise MeasurementError(f"processes must be at least 1 (got {processes})")
    if not references:
        raise MeasurementError("there is no model to measure")
    if processes > 1:
        from roofline.measurement.processes import measure_in_processes

        return measure_in_processes(references, request, processes=processes, progress=progress)
    return measure_here(
        [partial(_of_reference, reference, request) for reference in references],
        request,
        progress=progress,
        labels=references,
    )


def _request(options: Mapping[str, Any], *, is_here: bool = True) -> Request:
    """The request of some options, checked.

    Args:
        options: As `measure` has them.
        is_here: Whether this machine is the one to measure on.

    Raises:
        MeasurementError: Something is wrong with it.
        TypeError: There is no such option.
    """
    try:
        request = Request(**options)
    except TypeError as error:  # an unknown option
        raise TypeError(str(error).replace("Request.__init__()", "measure()")) from None
    request = replace(request, arguments=dict(request.arguments or {}))
    request.check(is_here=is_here)
    return request


def measure_here(
    factories: Sequence[Callable[[Timer], Subject]],
    request: Request,
    *,
    progress: Callable[[Progress], None] | None = None,
    labels: Sequence[str] = (),
    process: int = 0,
) -> Run:
    """Time subjects in this process.

    Args:
        factories: Each makes a subject, given the timer of the device.
        request: How to measure.
        progress: Called with how far it is.
        labels: What the subjects are called, for failures.
        process: The number of this process.

    Raises:
        RooflineError: No subject can be made.
    """
    from roofline.measurement.anchor import TorchAnchor
    from roofline.measurement.clock import SystemClock
    from roofline.measurement.conditions import SystemProbe, wait_until_quiet
    from roofline.measurement.environment import environment, threads_warning, using_threads

    request.check()
    if request.keep_memory:
        from roofline.measurement.allocator import keep_memory

        keep_memory()
    clock = SystemClock()
    timer = timer_for(request.device, clock, request.l2)
    with using_threads(request.threads) as threads:
        subjects, failures = _made(factories, timer, labels)
        record = environment(request.device, seed=request.seed, l2=request.l2)
        for each in subjects:
            record["versions"].update(each.versions)
        anchor = TorchAnchor(timer, request.device)
        reference_s, source = _reference_state(request, anchor.names, record)
        probe = SystemProbe()
        is_quiet = wait_until_quiet(probe, clock, threads=threads, at_most_s=request.quiet_wait_s)
        timed = session.run(
            subjects,
            clock=clock,
            anchor=anchor,
            probe=probe,
            rng=random.Random(request.seed + process),
            limits=request.limits,
            threads=threads,
            reference_s=reference_s,
            process=process,
            progress=progress,
        )
        warnings = [note for note in (threads_warning(threads),) if note and request.device == "cpu"]
        if not is_quiet:
            warnings.append(f"after {request.quiet_wait_s:g} s of waiting others still wanted the cores that were used")
        if reference_s is None and not timed.is_interrupted and timed.anchor:
            source = _keep_state(request, anchor.names, timed, record)
        elif timed.anchor and timed.anchor["factor"]["median"] < STALE_BELOW:
            source += "; the machine is faster now: --new-reference is due"
        measurements, is_interrupted = _looked_into_each(timed, subjects, record, warnings, request, progress)
    return Run(
        measurements=tuple(measurements),
        environment=record,
        anchor={**timed.anchor, "reference_source": source} if timed.anchor else {},
        failures=(*failures, *timed.failures),
        is_interrupted=is_interrupted,
    )


def timer_for(device: str, clock: Clock, l2: str = "hot") -> Timer:
    """How blocks are timed on a device."""
    if device == "cuda":
        from roofline.measurement.cuda import CudaTimer, cuda_device

        return CudaTimer(cuda_device(), clock, cache=l2)
    from roofline.measurement.clock import WallTimer

    return WallTimer(clock)


def _made(
    factories: Sequence[Callable[[Timer], Subject]], timer: Timer, labels: Sequence[str]
) -> tuple[list[Subject], list[Failure]]:
    """The subjects, and those that cannot be made; if there is but one, or none can, that is an error."""
    subjects, failures = [], []
    for number, factory in enumerate(factories):
        try:
            subjects.append(factory(timer))
        except RooflineError as error:
            if len(factories) == 1:
                raise
            failures.append(Failure(model=labels[number] if labels else "", reason=str(error)))
    if not subjects:
        raise MeasurementError("; ".join(failure.reason for failure in failures))
    return subjects, failures


def _of_reference(reference: str, request: Request, timer: Timer) -> Subject:
    return subject.of_reference(
        reference,
        timer=timer,
        device=request.device,
        dtype=request.dtype,
        batch=request.batch,
        input_size=request.input_size,
        arguments=request.arguments,
        mode=request.mode,
        seed=request.seed,
    )


def _subject(
    model: nn.Module | Callable[..., object], inputs: Sequence[Any] | None, request: Request, timer: Timer
) -> Subject:
    import torch
    from torch import nn

    same: dict[str, Any] = {"timer": timer, "device": request.device, "dtype": request.dtype, "mode": request.mode}
    if not isinstance(model, nn.Module):
        if not callable(model):
            raise MeasurementError(f"a model reference, a module or a function is needed, not a {type(model).__name__}")
        if request.per_layer:
            raise MeasurementError("a function has no layers to time: give a module")
        return subject.of_callable(model, inputs or (), **same)
    if inputs is None:
        shape = (request.batch, *(request.input_size or subject.DEFAULT_INPUT_SIZE))
        inputs = subject.random_inputs([shape], [torch.float32], seed=request.seed)
    return subject.of_module(model, inputs, **same)


def _looked_into_each(
    timed: Session,
    subjects: Sequence[Subject],
    record: Mapping[str, Any],
    warnings: Sequence[str],
    request: Request,
    progress: Callable[[Progress], None] | None,
) -> tuple[list[Measurement], bool]:
    """What was measured, with where and how; and whether it was stopped by hand, meanwhile or before.

    Args:
        timed: What was measured.
        subjects: Of what.
        record: The environment.
        warnings: Of all of them.
        request: How.
        progress: Called with how far it is.
    """
    by_label = {each.label: each for each in subjects}
    measurements = []
    is_interrupted = timed.is_interrupted
    for number, measurement in enumerate(timed.measurements):
        one = by_label[measurement.reference or measurement.name]
        measurement = replace(measurement, environment=record, notes=(*measurement.notes, *warnings))
        if not is_interrupted:
            try:
                measurement = _looked_into(
                    measurement, one, request, progress=progress, done=number, models=len(timed.measurements)
                )
            except KeyboardInterrupt:
                is_interrupted = True
        measurements.append(measurement)
    return measurements, is_interrupted


def _looked_into(
    measurement: Measurement,
    timed: Subject,
    request: Request,
    *,
    progress: Callable[[Progress], None] | None = None,
    done: int = 0,
    models: int = 1,
) -> Measurement:
    """With what is found out after timing, so that it cannot disturb it; whatever fails here, what was measured stands.

    Args:
        measurement: What was measured.
        timed: Of what.
        request: How.
        progress: Called with how far it is.
        done: Models that were looked into before.
        models: Models in all.
    """
    share = None
    try:
        share = timed.subnormal_share()
    except MeasurementError as error:
        note = f"its outputs could not be looked at for subnormal numbers: {error}"
        measurement = replace(measurement, notes=(*measurement.notes, note))
    if share is not None and share > MAX_SUBNORMAL:
        note = (
            f"up to {share:.2%} of a layer's outputs are subnormal numbers, which many processors are slow at: other "
            "weights or inputs may take less time (torch.set_flush_denormal avoids them)"
        )
        measurement = replace(measurement, notes=(*measurement.notes, note))
    measurement = replace(measurement, subnormal_share=share)
    faults = measurement.page_faults or 0
    if faults >= MANY_PAGE_FAULTS:
        note = (
            f"{faults:,.0f} page faults a call: the allocator gives memory back to the system and asks for it anew in "
            "each call, which can take half of the time (without --system-allocator it keeps it, as jemalloc does)"
        )
        measurement = replace(measurement, notes=(*measurement.notes, note))
    if request.per_layer and timed.module is None:
        note = f"its layers are not timed: {timed.mode} runs a graph of its own making"
        measurement = replace(measurement, notes=(*measurement.notes, note))
    elif request.per_layer and timed.module is not None:

        def tell(round: int, rounds: int) -> None:
            if progress is not None:
                progress(
                    Progress(
                        model=timed.label,
                        phase="layers",
                        round=round,
                        done=done,
                        models=models,
                        samples=measurement.reference_latency_s.n,
                        estimate_s=measurement.reference_latency_s.median,
                        half_width=None,
                        left_s=request.max_s * (models - done - round / rounds),
                    )
                )

        measurement = _with_layers(measurement, timed, request, tell)
    return measurement


def _with_layers(
    measurement: Measurement, timed: Subject, request: Request, tell: Callable[[int, int], None]
) -> Measurement:
    from roofline.measurement.per_layer import PROFILED_ROUNDS, ROUNDS, layer_times

    assert timed.module is not None
    tell(0, ROUNDS + PROFILED_ROUNDS)  # before it is traced
    try:
        found = layer_times(timed.module, timed.inputs, cap_s=request.max_s, progress=tell)
    except RooflineError as error:
        why = str(error)
    except Exception as error:  # the model's own code may raise anything
        why = subject.in_one_line(error)
    else:
        return measurement.with_layers(found.to_dict())
    return replace(measurement, notes=(*measurement.notes, f"the layers could not be timed: {why}"))


# --- the reference state ----------------------------------------------------------------------------------------------


def _reference_state(
    request: Request, names: Sequence[str], record: Mapping[str, Any]
) -> tuple[tuple[float, ...] | None, str]:
    """The reference state to measure at, and where it is from; None for that of this session."""
    from roofline.measurement.machine_state import load_state, state_file

    if request.anchor_reference_s is not None:
        if len(request.anchor_reference_s) != len(names) or min(request.anchor_reference_s) <= 0:
            raise MeasurementError(f"anchor_reference_s needs a positive time of each of {', '.join(names)}")
        return request.anchor_reference_s, "given"
    if request.reference_state in (KEPT, READ):
        kept = load_state(state_file(record), names)
        if kept is not None:
            return kept.reference_s, f"an earlier session, of {kept.taken_on}"
    return None, "this session"


def _keep_state(request: Request, names: Sequence[str], timed: Session, record: Mapping[str, Any]) -> str:
    """Keep the state of this session for later ones, if that was asked for; where it is from, in words."""
    if request.reference_state in (READ, OWN):
        return "this session"
    is_unfit = any(measurement.status in UNFIT for measurement in timed.measurements)
    if is_unfit or any(failure.is_contention for failure in timed.failures):
        return "this session, and not kept: the machine was busy"
    from roofline.measurement.machine_state import save_state, state_file

    try:
        save_state(state_file(record), names, timed.anchor["reference_s"], record)
    except OutputError as error:  # a data directory that cannot be written is no reason to lose a measurement
        return f"this session, and not kept: {error}"
    return "this session, and kept for later ones"
