"""Search a space: an optimiser proposes networks one after the other, and each is counted and predicted.

What is best is one of two:

- the least latency on a device, within the constraints;
- the largest reward ACC x (LAT / TAR)^w of MnasNet (Tan et al., CVPR 2019, arXiv:1807.11626, section 3.1), of an
  accuracy that the user knows: w is alpha where the network is within the target, and beta where it is not. Soft is
  alpha = beta = -0.07: a network that takes twice as long must be 5 % more accurate, relatively, to be as good
  (2^0.07 = 1.05). Hard is alpha = 0 and beta = -1.

The optimiser is Optuna's (`roofline.exploring.optimiser`). An accuracy is a Python function of a network, or a table of
networks (`roofline.exploring.accuracy`). Those of a table are judged one and all, and there is nothing to optimise.

What lies within the constraints becomes a dataset as `roofline.exploring.dataset` has it, each network once, with
`accuracy` and `reward` beside what is known of every network.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import OutputError, RooflineError, did_you_mean
from roofline.exploring.accuracy import Accuracy, AccuracyTable, Row, accuracy_function, as_key
from roofline.exploring.dataset import DESCRIPTION, NETWORKS, as_parquet, described, is_used
from roofline.exploring.networks import JUDGEMENTS, LATENCY
from roofline.exploring.optimiser import Optimiser
from roofline.exploring.run import too_few
from roofline.exploring.work import Job, Nearest, Tally, Worker, config_column, why_invalid
from roofline.output import write_bytes, write_text

if TYPE_CHECKING:
    from roofline.spaces import Config

SOFT_W = -0.07  # alpha = beta; MnasNet, section 3.1
HARD_W = (0.0, -1.0)  # alpha, beta; ibid.
TRIALS = 500
CHECKED = 3  # networks, the best, that are traced whole
SAVE_EVERY_S = 60.0  # what was judged so far is written so often, should the process be killed


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is best.

    Attributes:
        device: Id of the device whose latency counts.
        accuracy: ``FILE.py:FUNCTION``, ``MODULE:FUNCTION`` or ``FILE.csv``; None for latency alone.
        target_s: TAR of the reward, seconds; None without an accuracy.
        w: Of a soft target; `SOFT_W` if None.
        is_hard: Whether a network within the target gains nothing by being faster, and one beyond loses in proportion.

    Raises:
        RooflineError: It makes no reward.
    """

    device: str
    accuracy: str | None = None
    target_s: float | None = None
    w: float | None = None
    is_hard: bool = False

    def __post_init__(self) -> None:
        if (self.accuracy is None) != (self.target_s is None):
            raise RooflineError("a reward needs both an accuracy and a target latency: give --accuracy and --target")
        if self.target_s is not None and not 0 < self.target_s < math.inf:
            raise RooflineError(f"the target latency must be above 0 (got {self.target_s:g} s)")
        if self.w is not None and self.is_hard:
            raise RooflineError("a hard target has exponents of its own, 0 and -1: give --w or --hard")
        if self.w is not None and not -math.inf < self.w <= 0:
            raise RooflineError(f"w must be 0 or less, so that a slower network is worth less (got {self.w:g})")

    @property
    def exponents(self) -> tuple[float, float]:
        """Alpha and beta: w within the target, and beyond it."""
        soft = SOFT_W if self.w is None else self.w
        return HARD_W if self.is_hard else (soft, soft)

    def reward(self, accuracy: float, latency_s: float) -> float:
        """MnasNet's, eq. 2 and 3.

        >>> round(Objective(device="d", accuracy="net.py:f", target_s=0.01).reward(0.75, 0.02), 4)
        0.7145
        """
        assert self.target_s is not None
        alpha, beta = self.exponents
        ratio = latency_s / self.target_s
        return float(accuracy * ratio ** (alpha if ratio <= 1 else beta))

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        if self.accuracy is None:
            return {"objective": "latency", "device": self.device}
        alpha, beta = self.exponents
        reward = {"accuracy": self.accuracy, "target_s": self.target_s, "alpha": alpha, "beta": beta}
        return {"objective": "reward", "device": self.device, **reward}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        trials: Networks that were proposed.
        total: How many are to be.
        networks: Different ones of them within the constraints.
        best: The best value so far, a reward or seconds; None before the first.
    """

    trials: int
    total: int
    networks: int
    best: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a search.

    Attributes:
        trials: Networks that were proposed.
        tally: What became of them; of a network that was proposed again, too.
        repeated: How many had been proposed before.
        networks: Those in the dataset.
        is_interrupted: Whether it was stopped by hand.
    """

    trials: int
    tally: Tally
    repeated: int
    networks: int
    is_interrupted: bool


def search(
    job: Job,
    objective: Objective,
    folder: Path,
    *,
    trials: int | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> Found:
    """Propose and judge networks, and write those within the constraints to a folder.

    Args:
        job: A request, looked up; how many networks it asks for does not matter.
        objective: What is best.
        folder: New or empty.
        trials: How many networks to propose; 500 if not given.
        tell: Called after each.

    Raises:
        RooflineError: A package is missing, the objective or the folder is none, the space or the accuracy fails, or no
            network is within the constraints. What was judged before a failure is in the folder.
    """
    known = [device.id for device in job.devices]
    if not known:
        raise RooflineError("a search needs a device whose latency counts: name one with --hw")
    if objective.device not in known:
        near = did_you_mean(objective.device, known) or f" It has: {', '.join(known)}."
        raise RooflineError(f"--hw does not name the device {objective.device!r} that is to be fast.{near}")
    if is_used(folder):
        raise OutputError(f"{folder} is not empty, and a search cannot be gone on with: name another folder")
    judge: _Judge
    done, is_interrupted = 0, False

    def found() -> Found:
        return Found(
            trials=done,
            tally=judge.tally,
            repeated=judge.repeated,
            networks=len(judge.kept),
            is_interrupted=is_interrupted,
        )

    with redirect_stdout(sys.stderr):  # what the user's own files print is no part of the result
        judge = _Judge(job, objective)
        listed = None if judge.table is None else judge.table.configs
        if listed is not None and trials is not None:
            raise RooflineError("each network of a table is judged once: leave out --trials")
        optimiser = None if listed is not None else Optimiser(job, "maximize" if judge.sign > 0 else "minimize")
        total = len(listed) if listed is not None else trials or TRIALS
        saved_s = time.monotonic()
        try:
            for number in range(total):
                if listed is not None:
                    judge(number, listed[number])
                elif optimiser is not None:
                    judged = judge(number, optimiser.propose(judge.worker.space, number))
                    optimiser.tell(judged.value, judged.misses)
                done = number + 1
                if tell is not None:
                    tell(judge.progress(done, total))
                if judge.kept and time.monotonic() - saved_s >= SAVE_EVERY_S:
                    _write(folder, job, objective, judge, found(), is_complete=False)
                    saved_s = time.monotonic()
        except KeyboardInterrupt:
            is_interrupted = True
        except RooflineError:
            if judge.kept:  # an accuracy may have taken hours of training
                _write(folder, job, objective, judge, found(), is_complete=False)
            raise
        if not judge.kept and not is_interrupted:
            raise too_few(job.request, 0, judge.tally, "networks were judged")
        for number, config in judge.best(CHECKED):
            judge.worker.check(number, config)
            judge.tally += Tally(checked=1)
    if judge.kept:
        _write(folder, job, objective, judge, found(), is_complete=not is_interrupted)
    return found()


# --- judging one network ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Judged:
    """What is known of a network.

    Attributes:
        config: Its configuration.
        row: Its columns; empty of what is no network.
        misses: How far it is from each constraint, 0 or less within.
        value: What is to be large, or small; None of what is no network.
    """

    config: Config
    row: Row
    misses: Mapping[str, float]
    value: float | None

    @property
    def is_within(self) -> bool:
        return self.value is not None and all(miss <= 0 for miss in self.misses.values())


class _Judge:
    """Counts and predicts networks, and keeps what is within the constraints."""

    def __init__(self, job: Job, objective: Objective) -> None:
        self.job, self.objective = job, objective
        self.worker = Worker(job)
        self.table: AccuracyTable | None = None
        self._accuracy: Accuracy | None = None
        if objective.accuracy is not None and objective.accuracy.lower().endswith(".csv"):
            self.table = AccuracyTable(Path(objective.accuracy), job)
            self._accuracy = self.table.accuracy
        elif objective.accuracy is not None:
            self._accuracy = accuracy_function(objective.accuracy)
        self.kept: dict[int, _Judged] = {}
        self.tally, self.repeated = Tally(), 0
        self._known: dict[Hashable, _Judged] = {}

    @property
    def sign(self) -> int:
        """1 where large is good, -1 where small is."""
        return 1 if self.objective.accuracy is not None else -1

    def __call__(self, number: int, config: Config) -> _Judged:
        """Judge a network, once."""
        key = as_key(config)
        if key in self._known:
            self.repeated += 1
            found = self._known[key]
        else:
            found = self._known[key] = self._judged(number, config)
            if found.is_within:
                self.kept[number] = found
        self.tally += self._tallied(number, found)
        return found

    def progress(self, trials: int, total: int) -> Progress:
        values = [found.value for found in self.kept.values() if found.value is not None]
        best = self.sign * max(self.sign * value for value in values) if values else None
        return Progress(trials=trials, total=total, networks=len(self.kept), best=best)

    def best(self, count: int) -> list[tuple[int, Config]]:
        """The best networks: number and configuration."""
        ranked = sorted(self.kept, key=lambda number: (-self.sign * (self.kept[number].value or 0.0), number))
        return [(number, self.kept[number].config) for number in ranked[:count]]

    def _judged(self, number: int, config: Config) -> _Judged:
        space = self.worker.space
        why = why_invalid(space, self.job.request, number, config)
        if why:
            self.tally = replace(self.tally, because=self.tally.because or why)
            return _Judged(config=config, row={}, misses={}, value=None)
        row = {name: column[0] for name, column in self.worker.rows({number: config}).items()}
        misses = {column: float(limits.miss(row[column])) for column, limits in self.job.request.constraints().items()}
        latency_s = float(row[f"{LATENCY}{self.objective.device}"])
        if self._accuracy is None:
            return _Judged(config=config, row=row, misses=misses, value=latency_s)
        accuracy = self._accuracy({**row, **config})
        reward = self.objective.reward(accuracy, latency_s)
        return _Judged(config=config, row={**row, "accuracy": accuracy, "reward": reward}, misses=misses, value=reward)

    def _tallied(self, number: int, found: _Judged) -> Tally:
        if found.value is None:
            return Tally(tried=1, invalid=1)
        if found.is_within:
            return Tally(tried=1)
        values = {column: float(found.row[column]) for column in found.misses}
        nearest = Nearest(miss=sum(max(0.0, miss) for miss in found.misses.values()), index=number, values=values)
        return Tally(tried=1, outside=1, nearest=nearest)


# --- the folder -------------------------------------------------------------------------------------------------------


def _write(folder: Path, job: Job, objective: Objective, judge: _Judge, found: Found, *, is_complete: bool) -> None:
    """The networks and what they are of; the description last, so that it is of what is there.

    Raises:
        OutputError: It cannot be written.
    """
    import pyarrow as pa

    judged = {number: judge.kept[number] for number in sorted(judge.kept)}
    judgements = [pa.field(name, pa.float64()) for name in JUDGEMENTS if objective.accuracy is not None]
    schema = pa.schema([*job.schema, *judgements])
    configs = [each.config for each in judged.values()]
    arrays = [
        config_column(judge.worker.space, column, configs) if column.name in job.parameters.names
        else pa.array([each.row[column.name] for each in judged.values()], column.type)
        for column in schema
    ]  # fmt: skip
    data = as_parquet(pa.table(arrays, schema=schema), found.tally)
    about = described(job)
    about = {
        **about,
        "request": {name: value for name, value in about["request"].items() if name != "n"},
        "search": {**objective.to_dict(), "trials": found.trials, "repeated": found.repeated},
        "complete": is_complete,
        "counts": {"networks": found.networks, "blocks": 1, **found.tally.to_dict()},
    }
    try:
        (folder / NETWORKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from error
    write_bytes(folder / NETWORKS / "part-00000.parquet", data)
    write_text(folder / DESCRIPTION, json.dumps(about, indent=2, allow_nan=False) + "\n")
