"""The session of a calibration: the times of kernels in context, of networks as wholes, and the ceilings.

Synthetic networks (`roofline.calibration.menu`) are timed in small groups: in each round, in an order drawn anew, each
is run once untimed, as the anchor and the network before left their own data in the caches, once as a whole, and once
op by op (`roofline.measurement.replay`), with the anchor before and after; `roofline.calibration.reducing` makes times
of that.

A group is a few networks, so that the rounds of one are some tenths of a second apart, and what disturbs one does not
disturb all. Groups follow until the time is up, so a longer budget has more networks, not longer ones. After the first
sixty, networks are chosen by what they promise (`roofline.calibration.drawing`).

Samples under contention are left out: those beside which the anchor took twice its time at once, and at the end those
that met another machine than the rest did. A factor says what contention does to the anchor, and not to all else: in a
session with a tenth of the factors above 2, dense convolutions took the factor's power 0.48 (standard error 0.08), and
so came out too short.

Compiled, the ops of a group are timed alone, in the layout that the compiler chooses for convolutions, and then some of
its networks are compiled and timed as wholes, one after the other.

Memory that is freed is kept (`roofline.measurement.allocator`): page faults are dealt by chance, and no op's own.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roofline.calibration import compiling
from roofline.calibration.bench import Bench
from roofline.calibration.clocks import WHOLE_TERMS as CLOCK_TERMS
from roofline.calibration.data import STOPPED, Calibration, Ceilings
from roofline.calibration.drawing import Drawing
from roofline.calibration.inductor import KEPT_TERMS as COMPILED_TERMS
from roofline.calibration.inductor import Compiled, compiled, is_library
from roofline.calibration.kernels import TERMS, Kernels, kernels_of
from roofline.calibration.menu import network, with_weights
from roofline.calibration.reducing import TimedNetwork, op_times, whole_times
from roofline.errors import BusyError, CalibrationError, RooflineError
from roofline.graph import Graph
from roofline.layers import lower
from roofline.measurement.anchor import factor_of, local_factor, reference_of
from roofline.measurement.clock import Clock
from roofline.measurement.conditions import MAX_FACTOR
from roofline.measurement.per_layer import align
from roofline.measurement.replay import Recording, own_cost_s, record, replay, use_bindings
from roofline.measurement.stopping import MAX_LEFT_OUT
from roofline.measurement.subject import DTYPES, in_channels_last
from roofline.trace import trace

if TYPE_CHECKING:
    from roofline.calibration.collect import Request

GROUP = 5  # networks that take turns
ROUNDS = 3  # of a group: the least that has a median; a choice, for more networks
WARM_UP_ROUNDS = 1  # it has run once already, to be recorded
DRAWN_BLINDLY = 60  # networks, until there is a picture of where predictions are off
REDRAWN = 1.2  # times as many networks, after which the picture is made anew
CANDIDATES = 2  # networks that are looked at for each that is measured then
CANDIDATE_S = 0.12  # seconds that a network takes beside its runs on two cores: to be made, traced and recorded
NOISE = 1 << 20  # random numbers that weights are made of; drawing each anew takes longer than running the network
CEILINGS_SHARE, LONGEST_CEILINGS_S = 0.1, 20.0  # of the budget
FIRST_ANCHORS = 30
MIN_NETWORKS = 4
# Times the median of the session's factors, from which on a sample is left out at its end. Of three calibrations, one
# had been disturbed: without such samples 89 % of docs/accuracy.md's rows were within 10 %, and with them 78 %. The
# other two stayed as they were.
UNUSUAL_FACTOR = 1.35
COMPILED_OF_GROUP = 3  # networks of a group that are compiled: the smallest, since compiling takes longest
# Of the time, in groups that are compiled: the kernels of libraries are most of what compiled networks take, and a
# second measures dozens of them in networks that run as they are.
COMPILING_SHARE = 0.7
MOST_FAILURES = 2  # networks that do not compile, after which there is no compiler
COMPILED_ROUNDS = 15  # of one; they cost little beside compiling it

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a calibration is.

    Attributes:
        phase: ``"waiting"`` (for others to leave the cores alone), ``"ceilings"``, ``"networks"`` or ``"compiling"``.
        networks: Done, as wholes.
        kernels: Kernel calls that are known, each once.
        factor: How many times as slow as at the reference state the machine is now.
        left_s: Seconds left, about; of waiting, at most.
    """

    phase: str
    networks: int = 0
    kernels: int = 0
    factor: float = 1.0
    left_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Network:
    """A network that is timed.

    Attributes:
        seed: Of the menu.
        call: Runs it.
        recording: Its ops.
        kernels: What these run.
        steps: The step of each row of `kernels`; -1 where none ran.
        macs, activation_bytes: Of the whole.
        plan: What a compiler makes of it; None where it runs as it is.
        step_s: Seconds of each step, a list a round.
        whole_s: Seconds of the whole, one a round.
        loops_share: What of these a compiled one spends in generated loops.
        host_s: Of these, until the call returned.
        step_at_s, whole_at_s: When that was.
    """

    seed: int
    call: Callable[[], object]
    recording: Recording
    kernels: Kernels
    steps: NDArray[np.int64]
    macs: int
    activation_bytes: int
    plan: Compiled | None = None
    step_s: list[list[float]] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    loops_share: float = 0.0
    host_s: list[float] = field(default_factory=list)
    step_at_s: list[float] = field(default_factory=list)
    whole_at_s: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name in the calibration."""
        return f"menu-{self.seed}"


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A network that may be timed.

    Attributes:
        seed: Of the menu.
        module: Itself, without memory for its weights.
        shape: Of its input.
        graph: What it does.
        plan: What a compiler makes of it; None where it runs as it is.
        kernels: What it runs.
    """

    seed: int
    module: nn.Module
    shape: tuple[int, ...]
    graph: Graph
    plan: Compiled | None
    kernels: Kernels


class Session:
    """Times what a request asks for, and makes a calibration of it.

    Args:
        request: How.
        clock: Of the host.
        bench: What is timed on.
        progress: Called before each group of networks, and before each that is compiled.
        base: A calibration to extend.
    """

    def __init__(
        self,
        request: Request,
        clock: Clock,
        bench: Bench,
        progress: Callable[[Progress], None] | None,
        base: Calibration | None,
    ) -> None:
        self.request, self.clock, self.bench, self.progress, self.base = request, clock, bench, progress, base
        self.anchor, self.stopwatch = bench.anchor, bench.stopwatch
        self.rng = random.Random(request.seed)
        self.reference_s: Sequence[float] = ()
        self.anchor_at_s: list[float] = []
        self.factors: list[float] = []
        self.timed: list[TimedNetwork] = []
        self.keys: set[str] = set()  # of the kernel calls of these
        self.ceilings: Ceilings | None = None
        self.known_before: frozenset[str] = frozenset() if base is None else frozenset(base.ops.key.tolist())
        self.drawing: Drawing | None = None
        self.drawn_after = 0  # so many networks
        self.noise = torch.randn(NOISE, generator=torch.Generator().manual_seed(request.seed))
        self.left_out = self.total = 0
        self.usable_factors: list[float] = []  # of the rounds that were not left out at once
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
            self.ceilings = self.bench.ceilings(getattr(torch, DTYPES[self.request.dtype]), ceilings_s)
            self.own_cost_s = own_cost_s(self.stopwatch)
            seeds = self._seeds()
            longest_s = compiling_s = 0.0
            while self.clock.now_s() + longest_s < until_s:
                self._tell("networks", until_s)
                began_s = self.clock.now_s()
                group: list[_Network] = []
                self._look()
                while len(group) < GROUP:
                    if (made := self._made(self._chosen(seeds))) is not None:
                        group.append(made)
                if self.request.mode == "compile":
                    self._time(group, (self._steps,))
                    compiles = compiling_s <= COMPILING_SHARE * (began_s - start_s)
                    self._keep_compiled(group, until_s, most=COMPILED_OF_GROUP if compiles else 0)
                    compiling_s += (self.clock.now_s() - began_s) * compiles
                else:
                    self._time(group, (self._steps, self._whole))
                    for each in group:
                        self._keep(each)
                del group
                gc.collect()
                longest_s = max(longest_s, self.clock.now_s() - began_s)
        except KeyboardInterrupt:
            if self.ceilings is None or self._wholes < MIN_NETWORKS:
                raise
            return True
        return False

    @property
    def _wholes(self) -> int:
        """How many networks were timed as wholes."""
        return sum(len(each.whole_s) > 0 for each in self.timed)

    def _seeds(self) -> Iterator[int]:
        """Seeds of networks that were not measured yet."""
        known = set() if self.base is None else set(self.base.wholes.network.tolist())
        return (seed for seed in itertools.count(self.request.seed) if f"menu-{seed}" not in known)

    def _look(self) -> None:
        """See where predictions are off so far, once enough is known, and again when there is more."""
        before = 0 if self.base is None else len(self.base.wholes)
        networks = before + self._wholes
        ops = op_times(self.timed, math.inf)
        if ops is None or networks < max(DRAWN_BLINDLY, REDRAWN * self.drawn_after):
            return
        self.drawing = Drawing.of(ops if self.base is None else ops.and_others(self.base.ops))
        self.drawn_after = networks

    def _chosen(self, seeds: Iterator[int]) -> _Candidate:
        """The next network that can be traced, or the best of some."""
        drawing = self.drawing
        candidates: list[_Candidate] = []
        while len(candidates) < (1 if drawing is None else CANDIDATES):
            if (candidate := self._candidate(next(seeds))) is not None:
                candidates.append(candidate)
        if drawing is None:
            return candidates[0]
        runs = 1 + 2 * WARM_UP_ROUNDS + 3 * ROUNDS
        known = self.keys | self.known_before
        return max(
            candidates, key=lambda each: drawing.value(each.kernels, known=known, runs=runs, fixed_s=CANDIDATE_S)
        )

    def _outlined(self, seed: int) -> tuple[nn.Module, tuple[int, ...]]:
        """A network of the menu without memory for its weights, and the shape of its input."""
        with torch.device("meta"):
            module, shape = network(seed)
        return module.to(getattr(torch, DTYPES[self.request.dtype])), shape

    def _candidate(self, seed: int) -> _Candidate | None:
        """A network of the menu, traced; None where it cannot be."""
        module, shape = self._outlined(seed)
        given = torch.empty(shape, dtype=getattr(torch, DTYPES[self.request.dtype]), device="meta")
        try:
            plan = None
            graph = trace(module, (given,))
            if self.request.mode == "compile":
                plan = compiled(graph)
            if self.request.mode != "eager":  # a compiler lays out convolutions so, too
                graph = trace(module, in_channels_last(module, [given]))
        except RooflineError as error:
            self.skipped.append(f"menu-{seed}: {error}")
            return None
        return _Candidate(seed, module, shape, graph, plan, kernels_of(graph))

    def _placed(self, outlined: nn.Module, shape: tuple[int, ...], seed: int) -> tuple[nn.Module, Tensor]:
        """A network with memory and its input, where and as they run."""
        module = with_weights(outlined, self.noise)
        dtype = getattr(torch, DTYPES[self.request.dtype])
        given = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        return module, self.bench.place(module, given)

    def _made(self, candidate: _Candidate) -> _Network | None:
        """A network, recorded; None where it does not run as it was traced."""
        module, given = self._placed(candidate.module, candidate.shape, candidate.seed)
        if self.request.mode != "eager":
            (given,) = in_channels_last(module, [given])
        try:
            return _recorded(candidate, module, given, self.request.dtype)
        except (RooflineError, RuntimeError) as error:
            self.skipped.append(f"menu-{candidate.seed}: {error}")
            return None

    def _time(self, group: Sequence[_Network], parts: Sequence[Callable[[_Network], None]]) -> None:
        """All rounds of a group."""
        for each in group:
            for _ in range(WARM_UP_ROUNDS):
                each.call()
                replay(each.recording, self.stopwatch)
        self._sample_anchor()
        for number in range(ROUNDS):
            for each in self.rng.sample(list(group), len(group)):
                each.call()
                for part in reversed(parts) if number % 2 else parts:
                    part(each)
                self._sample_anchor()

    def _whole(self, each: _Network) -> None:
        start_s = self.clock.now_s()
        whole_s, host_s = self.bench.whole_s(each.call)
        each.whole_s.append(whole_s)
        each.host_s.append(host_s)
        each.whole_at_s.append((start_s + self.clock.now_s()) / 2)

    def _steps(self, each: _Network) -> None:
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
        """Take up what is kept of a network that was timed as a whole and op by op."""
        is_cuda = self.request.device == "cuda"
        self._take_up(each, composed=(float(np.median(each.host_s)),) if is_cuda else ())

    def _keep_compiled(self, group: Sequence[_Network], until_s: float, *, most: int) -> None:
        """The ops of a group, and of its smallest networks, so many at most, the compiled wholes."""
        by_size = sorted(group, key=lambda each: len(each.kernels))
        whole = [each for each in by_size if each.plan is not None and not each.plan.is_cut][:most]
        for each in by_size:
            if each in whole and each.plan is not None:
                self._tell("compiling", until_s)
                if self._time_compiled(each):
                    self._take_up(each, composed=tuple(each.plan.whole.tolist()), loops_share=each.loops_share)
                    continue
            self._take_up(each)

    def _time_compiled(self, each: _Network) -> bool:
        """Compile a network and time it; whether that went well."""
        with compiling.fresh():
            try:
                each.call = compiling.compiled_call(*self._placed(*self._outlined(each.seed), each.seed))
                each.loops_share = compiling.loops_share(each.call)
            except CalibrationError as error:
                if not self._wholes and len(self.skipped) >= MOST_FAILURES:
                    raise
                self.skipped.append(f"{each.name}: {error}")
                return False
            for _ in range(WARM_UP_ROUNDS):
                each.call()
            self._sample_anchor()
            for _ in range(COMPILED_ROUNDS):
                each.call()
                self._whole(each)
                self._sample_anchor()
        return True

    def _take_up(self, each: _Network, *, composed: tuple[float, ...] = (), loops_share: float | None = None) -> None:
        """Keep what a network took in the rounds that were not under heavy contention."""
        step_s, op_factors = self._usable(np.array(each.step_s), each.step_at_s)
        whole_s, whole_factors = self._usable(np.array(each.whole_s), each.whole_at_s)
        if not len(step_s):
            return
        kernels, composes = each.kernels, np.ones(len(each.kernels), dtype=bool)
        if self.request.mode == "compile":
            composes = is_library(kernels.kernel, kernels.terms)
        self.keys.update(kernels.key)
        self.timed.append(
            TimedNetwork(
                name=each.name, kernels=kernels, ran=each.steps >= 0, composes=composes,
                op_s=step_s[:, each.steps], op_factors=op_factors, whole_s=whole_s, whole_factors=whole_factors,
                macs=each.macs, activation_bytes=each.activation_bytes, composed=composed, loops_share=loops_share,
            )
        )  # fmt: skip

    def _usable(self, times_s: Floats, at_s: Sequence[float]) -> tuple[Floats, Floats]:
        """The rounds that were not under heavy contention, and the factors beside them."""
        factors = np.array([local_factor(at, self.anchor_at_s, self.factors) for at in at_s])
        usable = factors <= MAX_FACTOR
        self.total += len(usable)
        self.left_out += int((~usable).sum())
        self.usable_factors += factors[usable].tolist()
        return times_s[usable], factors[usable]

    def _tell(self, phase: str, until_s: float) -> None:
        if self.progress is not None:
            self.progress(
                Progress(
                    phase=phase,
                    networks=self._wholes,
                    kernels=len(self.keys),
                    factor=float(np.median(self.factors[-50:])) if self.factors else 1.0,
                    left_s=max(0.0, until_s - self.clock.now_s()),
                )
            )

    def result(self, environment: Mapping[str, Any], threads: int, is_interrupted: bool) -> Calibration:
        """The calibration, on top of the one that it extends.

        Raises:
            BusyError: Too few samples were left.
            CalibrationError: The time was up before anything was timed.
        """
        if not self.total:
            raise CalibrationError(
                f"the time was up before a group of networks was timed: {self.request.budget_s:g} s are too few for "
                "this machine as it is; give a larger --budget"
            )
        most = UNUSUAL_FACTOR * self._usual_factor()
        left_out = self.left_out + sum(factor > most for factor in self.usable_factors)
        ops, found = op_times(self.timed, most), whole_times(self.timed, most)
        if ops is None or found is None or len(found[0]) < MIN_NETWORKS or self.ceilings is None:
            if is_interrupted:
                raise KeyboardInterrupt
            raise BusyError(
                f"{left_out} of {self.total} samples were taken while the machine was busy with other work, and "
                f"what is left is {0 if found is None else len(found[0])} networks, of {MIN_NETWORKS} needed: "
                "calibrate when idle"
            )
        wholes, composed = found
        made = Calibration(
            ops=ops,
            wholes=wholes,
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
            left_out=left_out,
            total_samples=self.total,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            notes=tuple(self._notes(left_out, is_interrupted)),
            terms=TERMS,
            composed=composed,
            whole_terms=() if composed is None else COMPILED_TERMS if self.request.mode == "compile" else CLOCK_TERMS,
        )
        return made if self.base is None else self.base.merged(made)

    def _usual_factor(self) -> float:
        """The median of the anchor's factors, here or when the calibration to extend was made: the smaller one."""
        found = float(np.median(self.factors))
        if self.base is not None and (before := self.base.anchor.get("factor", {}).get("median")):
            weights = self.anchor.weights
            found = min(found, before * factor_of(self.base.anchor["reference_s"], self.reference_s, weights))
        return found

    def _notes(self, left_out: int, is_interrupted: bool) -> Iterator[str]:
        if left_out / self.total > MAX_LEFT_OUT:
            yield (
                f"{left_out} of {self.total} samples were left out, since the machine was busy with other work: "
                "calibrate again when it is idle"
            )
        if (slow := float(np.median(self.factors))) > UNUSUAL_FACTOR:
            yield (
                f"the machine was {slow:.2g} times as slow as at its reference state for most of the time, and what is "
                "divided by such a factor is known but about: calibrate again when it is idle"
            )
        if is_interrupted:
            yield STOPPED
        if self.skipped:
            yield f"{len(self.skipped)} networks did not run as they were traced, the first: {self.skipped[0]}"


def _recorded(candidate: _Candidate, module: nn.Module, given: Tensor, dtype: str) -> _Network:
    graph, kernels = candidate.graph, candidate.kernels
    table = lower(graph, fusion="none", dtype=dtype)
    recording = record(lambda: module(given))
    recording.restore()
    use_bindings(recording)
    step_of = align([op.target for op in graph.ops], [step.target for step in recording.steps])
    steps = [step_of[int(op)] for op in kernels.op]
    return _Network(
        seed=candidate.seed,
        plan=candidate.plan,
        call=lambda: module(given),
        recording=recording,
        kernels=kernels,
        steps=np.array([-1 if step is None else step for step in steps], dtype=np.int64),
        macs=int(table.macs.sum()),
        activation_bytes=int(table.input_bytes.sum() + table.output_bytes.sum()),
    )
