"""Calibrate this machine: the times of kernels in context, of networks as wholes, and the ceilings.

Synthetic networks (`roofline.calibration.menu`) are timed in small groups: in each round, in an order drawn anew, each
is run once as a whole and once op by op (`roofline.measurement.replay`), with the anchor before and after. An op's time
is the median of its rounds over the anchor's factor beside them; samples under heavy contention are left out. A group
is a few networks, so that the rounds of one are some tenths of a second apart, and what disturbs one does not disturb
all. Groups follow until the time is up, so a longer budget has more networks, not longer ones.

Memory that is freed is kept (`roofline.measurement.allocator`): page faults are dealt by chance, and no op's own.
"""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roofline.calibration.ceilings import measure_ceilings
from roofline.calibration.data import Calibration, Ceilings, OpTimes, WholeTimes
from roofline.calibration.kernels import TERMS, Kernels, kernels_of
from roofline.calibration.menu import network
from roofline.errors import BusyError, CalibrationError, RooflineError
from roofline.layers import lower
from roofline.measurement.anchor import Anchor, TorchAnchor, factor_of, local_factor, reference_of
from roofline.measurement.clock import Clock, SystemClock, WallTimer
from roofline.measurement.conditions import MAX_FACTOR
from roofline.measurement.per_layer import align
from roofline.measurement.replay import ClockStopwatch, Recording, own_cost_s, record, replay, use_bindings
from roofline.measurement.stopping import MAX_LEFT_OUT
from roofline.measurement.subject import DTYPES, in_channels_last
from roofline.trace import trace

GROUP = 5  # networks that take turns
ROUNDS = 7  # of a group; the median of seven is off by a quarter of the spread of one
WARM_UP_ROUNDS = 2
CEILINGS_SHARE, LONGEST_CEILINGS_S = 0.1, 20.0  # of the budget
FIRST_ANCHORS = 30
MIN_BUDGET_S = 10.0  # the ceilings and two groups on two cores; fewer networks fit no class of kernels
MIN_NETWORKS = 4
DEVICES, MODES = ("cpu",), ("eager", "channels_last")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How to calibrate; plain data.

    Attributes:
        device: ``"cpu"``.
        threads: Within an op; those torch has now if None.
        dtype: Of weights and inputs.
        mode: ``"eager"`` or ``"channels_last"``.
        budget_s: Seconds to take, about.
        seed: Of the networks that are drawn.
        quiet_wait_s: Seconds to wait at most until no other process wants the cores; with 0 it is not looked at.
    """

    device: str = "cpu"
    threads: int | None = None
    dtype: str = "fp32"
    mode: str = "eager"
    budget_s: float = 120.0
    seed: int = 0
    quiet_wait_s: float = 60.0

    def check(self) -> None:
        """Find out before the work what is wrong.

        Raises:
            CalibrationError: Something is.
        """
        if self.device not in DEVICES:
            raise CalibrationError(f"only {' and '.join(DEVICES)} can be calibrated so far (got {self.device!r})")
        if self.mode not in MODES:
            raise CalibrationError(f"unknown mode {self.mode!r} of a calibration (known: {', '.join(MODES)})")
        if self.dtype not in DTYPES:
            raise CalibrationError(f"unknown dtype {self.dtype!r} (known: {', '.join(DTYPES)})")
        if not MIN_BUDGET_S <= self.budget_s < math.inf:
            raise CalibrationError(
                f"a budget of {self.budget_s:g} s is too small to fit anything: {MIN_BUDGET_S:g} s at least"
            )
        if self.threads is not None and self.threads < 1:
            raise CalibrationError(f"threads must be at least 1 (got {self.threads})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a calibration is.

    Attributes:
        phase: ``"ceilings"`` or ``"networks"``.
        networks: Done.
        kernels: Kernel calls that are known, each once.
        factor: How many times as slow as at the reference state the machine is now.
        left_s: Seconds left, about.
    """

    phase: str
    networks: int = 0
    kernels: int = 0
    factor: float = 1.0
    left_s: float = 0.0


def calibrate(
    request: Request | None = None,
    *,
    base: Calibration | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Calibration, bool]:
    """Calibrate this machine; what came of it, and whether it was stopped by hand.

    After Ctrl-C, what was measured until then is the calibration, if it is enough to fit anything.

    Args:
        request: How.
        base: A calibration to extend; networks it has are not drawn again.
        progress: Called before each group of networks.

    Raises:
        CalibrationError: The request makes no sense, or `base` is of another environment.
        BusyError: Others used the machine all the time.
        KeyboardInterrupt: It was stopped by hand too early.
    """
    from roofline.measurement.allocator import keep_memory
    from roofline.measurement.conditions import SystemProbe, wait_until_quiet
    from roofline.measurement.environment import environment, using_threads

    request = request or Request()
    request.check()
    keep_memory()
    clock = SystemClock()
    with using_threads(request.threads) as threads:
        if not wait_until_quiet(SystemProbe(), clock, threads=threads, at_most_s=request.quiet_wait_s):
            raise BusyError(
                f"other processes used the cores for {request.quiet_wait_s:g} s: calibrate when the machine is idle, "
                "with fewer threads, or with --quiet-wait 0 in spite of it"
            )
        record = environment(request.device, seed=request.seed)
        session = _Session(request, clock, TorchAnchor(WallTimer(clock)), progress, base)
        with _measuring():
            is_interrupted = session.run(record)
        return session.result(record, threads, is_interrupted), is_interrupted


@contextmanager
def _measuring() -> Iterator[None]:
    """Without garbage collection and gradients, and without torch's fast path of attention layers, as traces see it."""
    from roofline.surroundings import without_mha_fast_path

    collects = gc.isenabled()
    gc.disable()
    try:
        with torch.inference_mode(), without_mha_fast_path():
            yield
    finally:
        if collects:
            gc.enable()


@dataclass(slots=True, eq=False)
class _Network:
    """A network that is timed.

    Attributes:
        name: ``menu-`` and its seed.
        call: Runs it.
        recording: Its ops.
        kernels: What these run.
        steps: The step of each row of `kernels`; -1 where none ran.
        macs, activation_bytes: Of the whole.
        step_s: Seconds of each step, a list a round.
        whole_s: Seconds of the whole, one a round.
        step_at_s, whole_at_s: When that was.
    """

    name: str
    call: Callable[[], object]
    recording: Recording
    kernels: Kernels
    steps: NDArray[np.int64]
    macs: int
    activation_bytes: int
    step_s: list[list[float]] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    step_at_s: list[float] = field(default_factory=list)
    whole_at_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Seen:
    """What is known of one kernel call: samples of all networks it ran in."""

    kernel: str
    terms: Floats
    network: str
    time_s: list[float] = field(default_factory=list)
    raw_s: list[float] = field(default_factory=list)


class _Session:
    def __init__(
        self,
        request: Request,
        clock: Clock,
        anchor: Anchor,
        progress: Callable[[Progress], None] | None,
        base: Calibration | None,
    ) -> None:
        self.request, self.clock, self.anchor, self.progress, self.base = request, clock, anchor, progress, base
        self.rng = random.Random(request.seed)
        self.stopwatch = ClockStopwatch(clock)
        self.reference_s: Sequence[float] = ()
        self.anchor_at_s: list[float] = []
        self.factors: list[float] = []
        self.seen: dict[str, _Seen] = {}
        self.wholes: list[dict[str, Any]] = []
        self.ceilings: Ceilings | None = None
        self.left_out = self.total = 0
        self.skipped: list[str] = []

    def run(self, environment: Mapping[str, Any]) -> bool:
        """Measure until the time is up; whether it was stopped by hand."""
        from roofline.measurement.machine_state import load_state, save_state, state_file

        start_s = self.clock.now_s()
        until_s = start_s + self.request.budget_s
        try:
            first = [self.anchor.sample() for _ in range(FIRST_ANCHORS)]
            kept = load_state(state_file(environment), self.anchor.names)
            self.reference_s = reference_of(first) if kept is None else kept.reference_s
            if kept is None:
                save_state(state_file(environment), self.anchor.names, self.reference_s, environment)
            self._tell("ceilings", until_s)
            ceilings_s = min(CEILINGS_SHARE * self.request.budget_s, LONGEST_CEILINGS_S)
            self.ceilings = measure_ceilings(
                self.clock, dtype=getattr(torch, DTYPES[self.request.dtype]), budget_s=ceilings_s
            )
            self.own_cost_s = own_cost_s(self.stopwatch)
            known = set() if self.base is None else set(self.base.wholes.network.tolist())
            seed = self.request.seed
            group_s = 0.0
            while self.clock.now_s() + group_s < until_s:
                self._tell("networks", until_s)
                began_s = self.clock.now_s()
                group: list[_Network] = []
                while len(group) < GROUP:
                    if f"menu-{seed}" not in known and (made := self._made(seed)) is not None:
                        group.append(made)
                    seed += 1
                self._time(group)
                for each in group:
                    self._keep(each)
                del group
                gc.collect()
                group_s = self.clock.now_s() - began_s
        except KeyboardInterrupt:
            if self.ceilings is None or len(self.wholes) < MIN_NETWORKS:
                raise
            return True
        return False

    def _made(self, seed: int) -> _Network | None:
        """A network, recorded; None where it does not run as it was traced."""
        module, shape = network(seed)
        dtype = getattr(torch, DTYPES[self.request.dtype])
        given = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        module = module.to(dtype)
        if self.request.mode == "channels_last":
            (given,) = in_channels_last(module, [given])
        try:
            return _recorded(f"menu-{seed}", module, given, self.request.dtype)
        except (RooflineError, RuntimeError) as error:
            self.skipped.append(f"menu-{seed}: {error}")
            return None

    def _time(self, group: Sequence[_Network]) -> None:
        """All rounds of a group."""
        for each in group:
            for _ in range(WARM_UP_ROUNDS):
                each.call()
                replay(each.recording, self.stopwatch)
        self._sample_anchor()
        for number in range(ROUNDS):
            for each in self.rng.sample(list(group), len(group)):
                for part in (self._whole, self._steps) if number % 2 else (self._steps, self._whole):
                    part(each)
                    self._sample_anchor()

    def _whole(self, each: _Network) -> None:
        each.call()  # untimed: the anchor and the network before left their own data in the caches
        now_s = self.clock.now_s
        start_s = now_s()
        result = each.call()
        end_s = now_s()
        del result
        each.whole_s.append(end_s - start_s)
        each.whole_at_s.append((start_s + end_s) / 2)

    def _steps(self, each: _Network) -> None:
        each.call()
        start_s = self.clock.now_s()
        step_s = replay(each.recording, self.stopwatch, own_cost_s=self.own_cost_s).step_s
        each.step_s.append(step_s)
        each.step_at_s.append((start_s + self.clock.now_s()) / 2)

    def _sample_anchor(self) -> None:
        at_s = self.clock.now_s()
        sample = self.anchor.sample()
        self.anchor_at_s.append(at_s)
        self.factors.append(factor_of(sample, self.reference_s, self.anchor.weights))

    def _keep(self, each: _Network) -> None:
        """Reduce a network to what is kept of it."""
        step_s, step_factors = self._usable(np.array(each.step_s), each.step_at_s)
        whole_s, whole_factors = self._usable(np.array(each.whole_s)[:, None], each.whole_at_s)
        if not len(step_s) or not len(whole_s):
            return
        ran = each.steps >= 0
        raw_s = step_s[:, each.steps]
        at_reference = raw_s / step_factors[:, None]
        ops_s = 0.0
        for row, key in enumerate(each.kernels.key):
            if not ran[row]:
                continue
            seen = self.seen.setdefault(key, _Seen(str(each.kernels.kernel[row]), each.kernels.terms[row], each.name))
            seen.time_s += at_reference[:, row].tolist()
            seen.raw_s += raw_s[:, row].tolist()
            ops_s += float(np.median(at_reference[:, row]))
        self.wholes.append(
            {
                "network": each.name,
                "time_s": float(np.median(whole_s[:, 0] / whole_factors)),
                "raw_s": float(np.median(whole_s)),
                "ops_s": ops_s,
                "ops": len(each.kernels.key),
                "module_calls": each.kernels.module_calls,
                "views": each.kernels.views,
                "macs": each.macs,
                "activation_bytes": each.activation_bytes,
            }
        )

    def _usable(self, times_s: Floats, at_s: Sequence[float]) -> tuple[Floats, Floats]:
        """The rounds that were not under heavy contention, and the factors beside them."""
        factors = np.array([local_factor(at, self.anchor_at_s, self.factors) for at in at_s])
        usable = factors <= MAX_FACTOR
        self.total += len(usable)
        self.left_out += int((~usable).sum())
        return times_s[usable], factors[usable]

    def _tell(self, phase: str, until_s: float) -> None:
        if self.progress is not None:
            self.progress(
                Progress(
                    phase=phase,
                    networks=len(self.wholes),
                    kernels=len(self.seen),
                    factor=float(np.median(self.factors[-50:])) if self.factors else 1.0,
                    left_s=max(0.0, until_s - self.clock.now_s()),
                )
            )

    def result(self, environment: Mapping[str, Any], threads: int, is_interrupted: bool) -> Calibration:
        """The calibration, on top of the one that it extends.

        Raises:
            BusyError: Too few samples were left.
        """
        if len(self.wholes) < MIN_NETWORKS or self.ceilings is None:
            raise BusyError(
                f"{self.left_out} of {self.total} samples were taken while the machine was busy with other work, and "
                f"what is left is {len(self.wholes)} networks, of {MIN_NETWORKS} needed: calibrate when idle"
            )
        made = Calibration(
            ops=_table(OpTimes, [self._row(key, seen) for key, seen in self.seen.items()]),
            wholes=_table(WholeTimes, self.wholes),
            ceilings=self.ceilings,
            environment=environment,
            anchor={
                "names": list(self.anchor.names),
                "weights": list(self.anchor.weights),
                "reference_s": list(self.reference_s),
                "factor": {
                    "median": float(np.median(self.factors)),
                    "p10": float(np.quantile(self.factors, 0.1)),
                    "p90": float(np.quantile(self.factors, 0.9)),
                    "n": len(self.factors),
                },
            },
            mode=self.request.mode,
            dtype=self.request.dtype,
            threads=threads,
            left_out=self.left_out,
            total_samples=self.total,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            notes=tuple(self._notes(is_interrupted)),
            terms=TERMS,
        )
        return made if self.base is None else self.base.merged(made)

    def _row(self, key: str, seen: _Seen) -> dict[str, Any]:
        return {
            "kernel": seen.kernel,
            "key": key,
            "terms": seen.terms,
            "time_s": max(float(np.median(seen.time_s)), 1e-9),
            "raw_s": max(float(np.median(seen.raw_s)), 1e-9),
            "samples": len(seen.time_s),
            "network": seen.network,
        }

    def _notes(self, is_interrupted: bool) -> Iterator[str]:
        if self.total and self.left_out / self.total > MAX_LEFT_OUT:
            yield (
                f"{self.left_out} of {self.total} samples were left out, since the machine was busy with other work: "
                "calibrate again when it is idle"
            )
        if is_interrupted:
            yield "it was stopped by hand: --extend adds to it"
        if self.skipped:
            yield f"{len(self.skipped)} networks did not run as they were traced, the first: {self.skipped[0]}"


def _recorded(name: str, module: nn.Module, given: Tensor, dtype: str) -> _Network:
    graph = trace(module, (given,))
    kernels = kernels_of(graph)
    table = lower(graph, fusion="none", dtype=dtype)
    recording = record(lambda: module(given))
    recording.restore()
    use_bindings(recording)
    step_of = align([op.target for op in graph.ops], [step.target for step in recording.steps])
    steps = [step_of[int(op)] for op in kernels.op]
    return _Network(
        name=name,
        call=lambda: module(given),
        recording=recording,
        kernels=kernels,
        steps=np.array([-1 if step is None else step for step in steps], dtype=np.int64),
        macs=int(table.macs.sum()),
        activation_bytes=int(table.input_bytes.sum() + table.output_bytes.sum()),
    )


def _table(kind: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    return kind(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


def extended(calibration: Calibration, request: Request) -> Request:
    """The request that extends a calibration: in its way, with networks that it has not seen.

    Raises:
        CalibrationError: It was asked for otherwise.
    """
    seeds = [int(name.partition("-")[2]) for name in calibration.wholes.network.tolist()]
    return replace(
        request, mode=calibration.mode, dtype=calibration.dtype, threads=calibration.threads,
        seed=max(seeds, default=-1) + 1,
    )  # fmt: skip
