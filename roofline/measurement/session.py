"""One session: models timed in turns, in an order drawn anew each round, with the anchor beside every sample.

Turns spread what drifts over all models alike, and a random order keeps any of them from always following the same
neighbour. A turn is a few blocks of one model. Before a block of short calls, a few go untimed (`lead_in`), since the
anchor and the model before left their own data in the caches: what is timed is a model that runs again and again.

Nothing is deleted: samples that were taken under heavy contention are marked, and left out of the medians. A model that
has no others is not measured, as no anchor can repair what they are.
"""

from __future__ import annotations

import gc
import math
import random
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from roofline.errors import MeasurementError
from roofline.garbage import collection_paused
from roofline.measurement import stopping
from roofline.measurement.anchor import Anchor, factor_of, local_factor, reference_of
from roofline.measurement.clock import MAX_CALLS, Block, Clock, least_block_s
from roofline.measurement.conditions import (
    MAX_FACTOR,
    Probe,
    Reading,
    between,
    flags_of,
    window,
)
from roofline.measurement.result import Failure, Measurement, Sample, Summary, WarmUp
from roofline.measurement.stopping import Limits, median
from roofline.measurement.subject import Subject
from roofline.units import significant

BLOCKS_A_TURN = 3
LEAD_IN_BELOW_S = 20e-3  # a cache of 2 MB refills in about 0.1 ms, which is nothing in a longer call
LEAD_IN_S = 2e-3  # of a product of 0.6 ms, the second after an anchor still took 4 to 10 % longer, the third no more
MAX_LEAD_IN = 1000  # calls
FIRST_ANCHORS = 30  # before the first turn: about 0.1 s
LONG_BLOCK_S = 50e-3  # beside a longer one the anchors of its neighbours are too far off in time ...
LONG_BLOCK_ANCHORS = 3  # ... so it has as many on each side as make most of `anchor.NEAREST`
NOT_TIMED = "interrupted before it was timed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a session is.

    Attributes:
        model: Whose turn it is.
        phase: ``"warm-up"``, ``"timing"`` or ``"layers"``.
        round: From 0.
        done: Models that need no more of this phase.
        models: Models in all.
        samples: Samples of this model so far.
        estimate_s: Its median so far, at the reference state; None before the first.
        half_width: Half of the interval over the median; None before there is one.
        left_s: Seconds left, at most or nearly so; of all processes.
        process: The process, from 0.
        processes: Processes in all.
    """

    model: str
    phase: str
    round: int
    done: int
    models: int
    samples: int
    estimate_s: float | None
    half_width: float | None
    left_s: float
    process: int = 0
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a session gave.

    Attributes:
        measurements: In the order of the subjects; those without a sample are not among them.
        anchor: As `Run.anchor`.
        failures: Subjects that have none, and why.
        is_interrupted: Whether it was stopped by hand.
    """

    measurements: tuple[Measurement, ...]
    anchor: Mapping[str, Any]
    failures: tuple[Failure, ...]
    is_interrupted: bool


@dataclass(slots=True)
class _Timed:
    """A block, and which of the session's readings are before and after it."""

    block: Block
    middle_s: float
    start_s: float
    calls: int
    round: int
    before: int
    after: int


@dataclass(slots=True)
class _Track:
    """A subject on its way through the session."""

    subject: Subject
    calls: int = 1
    call_s: float = 0.0
    warmup: WarmUp | None = None
    timed: list[_Timed] = field(default_factory=list)
    rounds: int = 0
    elapsed_s: float = 0.0
    is_done: bool = False
    is_known: bool = False
    kept_s: list[float] = field(default_factory=list)  # at the reference state, as far as that is known


def run(
    subjects: Sequence[Subject],
    *,
    clock: Clock,
    anchor: Anchor | None,
    probe: Probe,
    rng: random.Random | None = None,
    limits: Limits | None = None,
    threads: int = 1,
    reference_s: Sequence[float] | None = None,
    process: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Session:
    """Time some subjects.

    Args:
        subjects: What to time, all of it held in memory at once.
        clock: The clock.
        anchor: What drift is told by; without one all factors are 1.
        probe: Reads what else the machine does.
        rng: Draws the order of each round.
        limits: When to stop.
        threads: Threads within an op, which says how many cores are in use.
        reference_s: The reference state: seconds of each part of the anchor; that of this session if None.
        process: The number of this process.
        progress: Called before each turn.

    Returns:
        What was measured; after Ctrl-C, what was until then.
    """
    session = _Session(
        subjects, clock, anchor, probe, rng or random.Random(0), limits or Limits(), reference_s, progress
    )
    try:
        with collection_paused():
            session.run()
    except KeyboardInterrupt:
        session.is_interrupted = True
    return session.result(threads, process)


def lead_in(call_s: float) -> int:
    """How many calls go untimed before a block of calls that take so long.

    >>> lead_in(50e-3), lead_in(5e-3), lead_in(0.6e-3), lead_in(0.0)
    (0, 1, 4, 1000)
    """
    if call_s >= LEAD_IN_BELOW_S:
        return 0
    return math.ceil(LEAD_IN_S / call_s) if call_s > LEAD_IN_S / MAX_LEAD_IN else MAX_LEAD_IN


class _Session:
    def __init__(
        self,
        subjects: Sequence[Subject],
        clock: Clock,
        anchor: Anchor | None,
        probe: Probe,
        rng: random.Random,
        limits: Limits,
        reference_s: Sequence[float] | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.tracks = [_Track(subject) for subject in subjects]
        self.models = len(subjects)
        self.clock, self.anchor, self.probe, self.rng, self.limits = clock, anchor, probe, rng, limits
        self.given_reference_s = None if reference_s is None else tuple(reference_s)
        self.progress = progress
        self.least_s = least_block_s(clock)
        self.start_s = clock.now_s()
        self.anchor_times_s: list[float] = []
        self.anchor_samples: list[tuple[float, ...]] = []
        self.factors: list[float] = []  # of these, by the reference state as known so far
        self.reference_s: tuple[float, ...] | None = self.given_reference_s
        self.readings: list[Reading] = []
        self.failures: list[Failure] = []
        self.is_interrupted = False

    # --- the course of it -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Warm up, then take turns until each subject is done."""
        if self.anchor is not None:
            for _ in range(FIRST_ANCHORS):
                self._sample_anchor()
            if self.reference_s is None:
                self.reference_s = reference_of(self.anchor_samples)
                self.factors = [self._factor(sample) for sample in self.anchor_samples]
        for track in self.rng.sample(self.tracks, len(self.tracks)):
            self._tell(track, "warm-up", 0)
            self._unless_it_fails(track, partial(self._warm_up, track))
        number = 0
        while waiting := [track for track in self.tracks if not track.is_done]:
            gc.collect()
            for track in self.rng.sample(waiting, len(waiting)):
                self._tell(track, "timing", number)
                self._unless_it_fails(track, partial(self._turn, track, number))
            number += 1

    def _unless_it_fails(self, track: _Track, step: Callable[[], None]) -> None:
        """Take a step with a model; where it cannot, go on without it."""
        try:
            step()
        except MeasurementError as error:
            self.failures.append(Failure(model=track.subject.label, reason=str(error)))
            self.tracks.remove(track)

    def _warm_up(self, track: _Track) -> None:
        """Call until windows of medians agree, and find how many calls a block needs."""
        subject, clock = track.subject, self.clock
        start_s = clock.now_s()
        with subject.running():
            subject.first_call()
            first_call_s = clock.now_s() - start_s
            calls, all_calls = 1, 1
            began_s = clock.now_s()
            medians: list[float] = []
            times: list[float] = []
            while not medians or clock.now_s() - began_s < stopping.WARM_CAP_S:
                block = subject.timer.block(subject.call, calls)
                all_calls += calls
                if block.wall_s * calls < self.least_s and calls < MAX_CALLS:
                    needed = self.least_s / block.wall_s if block.wall_s > 0 else math.inf
                    calls = min(max(math.ceil(min(needed, 10 * calls)), calls + 1), MAX_CALLS)  # grow tenfold at most
                    times.clear()
                    continue
                times.append(block.wall_s)
                if len(times) == stopping.WARM_BLOCKS or clock.now_s() - began_s >= stopping.WARM_CAP_S:
                    medians.append(median(times))
                    times.clear()
                    if stopping.is_steady(medians):
                        break
        track.calls, track.call_s = calls, medians[-1]
        track.warmup = WarmUp(
            first_call_s=first_call_s,
            calls=all_calls,
            wall_s=clock.now_s() - start_s,
            is_steady=stopping.is_steady(medians),
        )

    def _turn(self, track: _Track, number: int) -> None:
        start_s = self.clock.now_s()
        spent_s = track.elapsed_s
        for _ in range(BLOCKS_A_TURN):
            block_s = self._block(track, number)
            for _ in range(LONG_BLOCK_ANCHORS if block_s > LONG_BLOCK_S else 1):
                self._sample_anchor()
            track.elapsed_s = spent_s + self.clock.now_s() - start_s
            if track.elapsed_s >= self.limits.cap_s:
                break
        track.rounds += 1
        track.kept_s = [time_s / factor for time_s, factor, at_least in self._at_reference(track)
                        if max(factor, at_least) <= MAX_FACTOR]  # fmt: skip
        track.is_known = stopping.is_known(track.kept_s, rounds=track.rounds, limits=self.limits)
        track.is_done = track.is_known or track.elapsed_s >= self.limits.cap_s

    def _block(self, track: _Track, number: int) -> float:
        """Time a block, and say how long it took."""
        subject = track.subject
        with subject.running():
            for _ in range(lead_in(track.call_s)):
                subject.call()
            before = self._read()
            start_s = self.clock.now_s()
            block = subject.timer.block(subject.call, track.calls)
            end_s = self.clock.now_s()
            after = self._read()
        track.timed.append(_Timed(
            block=block, start_s=start_s - self.start_s, middle_s=(start_s + end_s) / 2, calls=track.calls,
            round=number, before=before, after=after,
        ))  # fmt: skip
        return end_s - start_s

    def _read(self) -> int:
        self.readings.append(self.probe.read(self.clock.now_s()))
        return len(self.readings) - 1

    def _sample_anchor(self) -> None:
        if self.anchor is None:
            return
        at_s = self.clock.now_s()
        sample = self.anchor.sample()
        self.anchor_times_s.append(at_s)
        self.anchor_samples.append(sample)
        self.factors.append(self._factor(sample))

    def _factor(self, sample: Sequence[float]) -> float:
        if self.anchor is None or self.reference_s is None:
            return 1.0
        return factor_of(sample, self.reference_s, self.anchor.weights)

    def _at_reference(self, track: _Track) -> Iterator[tuple[float, float, float]]:
        """Seconds a call of each sample, the local factor, and the lower factor of the anchors right beside it."""
        times_s, factors = self.anchor_times_s, self.factors
        for timed in track.timed:
            place = bisect(times_s, timed.middle_s)
            beside = factors[max(place - 1, 0) : place + 1]
            yield timed.block.wall_s, local_factor(timed.middle_s, times_s, factors), min(beside, default=1.0)

    # --- how far it is ----------------------------------------------------------------------------------------------

    def _tell(self, track: _Track, phase: str, number: int) -> None:
        if self.progress is None:
            return
        kept = track.kept_s
        width = stopping.half_width(kept) if kept else math.inf
        self.progress(
            Progress(
                model=track.subject.label,
                phase=phase,
                round=number,
                done=self.models - sum(not other.is_done for other in self.tracks),
                models=self.models,
                samples=len(track.timed),
                estimate_s=median(kept) if kept else None,
                half_width=width if math.isfinite(width) else None,
                left_s=sum(map(self._left_s, self.tracks)),
            )
        )

    def _left_s(self, track: _Track) -> float:
        """What a subject still needs: an interval narrows with the root of the number of samples."""
        layers_s = self.limits.layers_s
        if track.is_done:
            return layers_s
        rest_s = max(0.0, self.limits.cap_s - track.elapsed_s)
        if not track.kept_s:
            return rest_s + (0.0 if track.warmup else stopping.WARM_CAP_S) + layers_s
        width = stopping.half_width(track.kept_s)
        n = len(track.kept_s)
        wanted = max(self.limits.min_blocks, n * (width / self.limits.target) ** 2 if math.isfinite(width) else 0)
        return min(rest_s, max(0.0, wanted - n) * track.elapsed_s / max(len(track.timed), 1)) + layers_s

    # --- what came of it --------------------------------------------------------------------------------------------

    def result(self, threads: int, process: int) -> Session:
        """Sum up; the reference state, if it was not given, is that of all samples of the anchor."""
        if self.anchor_samples and self.given_reference_s is None:
            self.reference_s = reference_of(self.anchor_samples)
        if self.reference_s is not None:
            self.factors = [self._factor(sample) for sample in self.anchor_samples]
        of_device = [hz for track in self.tracks for timed in track.timed if (hz := timed.block.frequency_hz)]
        top_hz = max(of_device or [hz for reading in self.readings if (hz := reading.frequency_hz)], default=None)
        measurements = []
        for track in self.tracks:
            samples = self._samples(track, threads, process, top_hz)
            if not all(sample.is_left_out for sample in samples):
                measurements.append(self._measurement(track, samples, threads))
            elif samples:
                self.failures.append(contended(track.subject.label, samples))
            else:
                self.failures.append(Failure(model=track.subject.label, reason=NOT_TIMED))
        return Session(
            measurements=tuple(measurements),
            anchor=self._anchor(),
            failures=tuple(self.failures),
            is_interrupted=self.is_interrupted,
        )

    def _samples(self, track: _Track, threads: int, process: int, top_hz: float | None) -> tuple[Sample, ...]:
        samples = []
        for timed, (wall_s, factor, at_least) in zip(track.timed, self._at_reference(track), strict=True):
            conditions = between(self.readings[timed.before], self.readings[timed.after])
            if timed.block.frequency_hz is not None:
                conditions = conditions.at_frequency(timed.block.frequency_hz)
            flags = flags_of(
                conditions,
                window(self.readings, timed.before, timed.after),
                factor=max(factor, at_least),
                threads=threads,
                cores=self.probe.cores,
                top_frequency_hz=top_hz,
            )
            samples.append(
                Sample(
                    wall_s=wall_s,
                    cpu_s=timed.block.cpu_s,
                    kernel_s=timed.block.kernel_s,
                    calls=timed.calls,
                    at_s=timed.start_s,
                    factor=factor,
                    conditions=conditions,
                    flags=flags,
                    round=timed.round,
                    process=process,
                )
            )
        return tuple(samples)

    def _measurement(self, track: _Track, samples: tuple[Sample, ...], threads: int) -> Measurement:
        subject = track.subject
        return summed_up(
            samples,
            rounds=track.rounds,
            limits=self.limits,
            name=subject.name,
            reference=subject.reference,
            device=subject.device,
            mode=subject.mode,
            dtype=subject.dtype,
            batch=subject.batch,
            input_shapes=subject.input_shapes,
            params=subject.params,
            threads=threads,
            warmup=track.warmup,
            is_interrupted=self.is_interrupted and not track.is_done,
            notes=(*subject.notes, *_of_accelerator([timed.block for timed in track.timed])),
        )

    def _anchor(self) -> dict[str, Any]:
        if self.anchor is None or self.reference_s is None:
            return {}
        return {
            "names": list(self.anchor.names),
            "weights": list(self.anchor.weights),
            "reference_s": list(self.reference_s),
            "reference_source": "this session" if self.given_reference_s is None else "given",
            "factor": {
                "median": median(self.factors),
                "p10": stopping.quantile(self.factors, 0.1),
                "p90": stopping.quantile(self.factors, 0.9),
                "n": len(self.factors),
            },
            "part_factors": [
                median(times) / at_best
                for times, at_best in zip(zip(*self.anchor_samples, strict=True), self.reference_s, strict=True)
            ],
        }


def _of_accelerator(blocks: Sequence[Block]) -> Iterator[str]:
    """What a reader has to know of how an accelerator timed them."""
    if gaps := sum(block.has_gaps for block in blocks):
        yield (
            f"in {gaps} of {len(blocks)} blocks the kernel time may hold waits for the host: a call synchronises, or "
            "launches more kernels than the queue holds"
        )
    if retries := sum(block.retries for block in blocks):
        yield f"{retries} blocks were thrown away and timed again, as the accelerator's clock was low"


def contended(model: str, samples: Sequence[Sample]) -> Failure:
    """That a model was timed, and none of its samples counts."""
    taken = f"all {len(samples)} samples were" if len(samples) > 1 else "the only sample was"
    slower = significant(median([sample.factor for sample in samples]))
    reason = f"{taken} taken under heavy contention, as the machine was {slower} times as slow as at reference"
    return Failure(model=model, reason=reason, left_out=len(samples), samples=tuple(samples))


def summed_up(samples: Sequence[Sample], *, rounds: int, limits: Limits, **of: Any) -> Measurement:
    """The measurement that some samples make, of which at least one counts.

    Args:
        samples: In the order of time, those left out too.
        rounds: Rounds in which the model took its turn.
        limits: What was asked for.
        **of: The other fields of `Measurement`.
    """
    kept = [sample for sample in samples if not sample.is_left_out]
    at_reference = [sample.reference_s for sample in kept]
    kernel_s = [sample.kernel_s for sample in kept if sample.kernel_s is not None]
    reference = Summary.of(at_reference)
    flags = {flag: sum(flag in sample.flags for sample in samples) for sample in samples for flag in sample.flags}
    total = len(samples)
    status = stopping.status_of(
        known=stopping.is_known(at_reference, rounds=rounds, limits=limits),
        left_out=(total - len(kept)) / total,
        crowded=flags.get("crowded", 0) / total,
        throttled=flags.get("throttled", 0) / total,
        spread=stopping.spread(at_reference),
        between_process=None,
    )
    return Measurement(
        latency_s=Summary.of([sample.wall_s for sample in kept]),
        reference_latency_s=reference,
        kernel_latency_s=Summary.of(kernel_s) if kernel_s else None,
        process_medians_s=(reference.median,),
        status=status,
        flags=flags,
        left_out=total - len(kept),
        machine_factor=median([sample.factor for sample in kept]),
        samples=tuple(samples),
        **of,
    )
