"""Search a space: an optimiser proposes networks one after the other, and each is counted and predicted.

What is best is one of two:

- the least latency on a device, within the constraints;
- the largest reward ACC x (LAT / TAR)^w of MnasNet (Tan et al., CVPR 2019, arXiv:1807.11626, section 3.1), of an
  accuracy that the user knows: w is alpha where the network is within the target, and beta where it is not. Soft is
  alpha = beta = -0.07: a network that takes twice as long must be 5 % more accurate, relatively, to be as good
  (2^0.07 = 1.05). Hard is alpha = 0 and beta = -1.

The optimiser is Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), which takes a constraint as
how far a network is from it. An accuracy is a Python function of a network, or a table of networks. Those of a table
are judged one and all, and there is nothing to optimise.

What lies within the constraints becomes a dataset as `roofline.exploring.dataset` has it, each network once, with
`accuracy` and `reward` beside what is known of every network.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import OutputError, RooflineError, did_you_mean
from roofline.exploring.dataset import DESCRIPTION, NETWORKS, as_parquet, described, is_used
from roofline.exploring.networks import COUNTS, JUDGEMENTS, LATENCY
from roofline.exploring.run import too_few
from roofline.exploring.work import Job, Nearest, Tally, Worker, config_column, told_of
from roofline.output import write_bytes, write_text
from roofline.units import printable

if TYPE_CHECKING:
    import optuna
    import pyarrow as pa

    from roofline.spaces import Config

SOFT_W = -0.07  # alpha = beta; MnasNet, section 3.1
HARD_W = (0.0, -1.0)  # alpha, beta; ibid.
TRIALS = 500
INVALID_MISS = 1e3  # of what is no network: further from the constraints than any network is
CHECKED = 3  # networks, the best, that are traced whole

Row = Mapping[str, Any]
Accuracy = Callable[[Row], float]


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
            network is within the constraints.
    """
    known = [device.id for device in job.devices]
    if not known:
        raise RooflineError("a search needs a device whose latency counts: name one with --hw")
    if objective.device not in known:
        near = did_you_mean(objective.device, known) or f" It has: {', '.join(known)}."
        raise RooflineError(f"--hw does not name the device {objective.device!r} that is to be fast.{near}")
    if is_used(folder):
        raise OutputError(f"{folder} is not empty, and a search cannot be gone on with: name another folder")
    with redirect_stdout(sys.stderr):  # what the user's own files print is no part of the result
        judge = _Judge(job, objective)
        table = None if judge.table is None else list(judge.table.configs)
        if table is not None and trials is not None:
            raise RooflineError("each network of a table is judged once: leave out --trials")
        proposer: _Optimiser | _Listed = _Optimiser(job, objective) if table is None else _Listed(table)
        total = len(table) if table is not None else trials or TRIALS
        is_interrupted = False
        done = 0
        try:
            for number in range(total):
                proposer.tell(judge(number, proposer.propose(judge, number)))
                done = number + 1
                if tell is not None:
                    tell(judge.progress(done, total))
        except KeyboardInterrupt:
            is_interrupted = True
        if not judge.kept and not is_interrupted:
            raise too_few(job.request, 0, judge.tally)
        for number, config in judge.best(CHECKED):
            judge.worker.check(number, config)
            judge.tally += Tally(checked=1)
    found = Found(
        trials=done,
        tally=judge.tally,
        repeated=judge.repeated,
        networks=len(judge.kept),
        is_interrupted=is_interrupted,
    )
    if judge.kept:
        _write(folder, job, objective, judge, found)
    return found


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
        self.table: _Table | None = None
        self._accuracy: Accuracy | None = None
        if objective.accuracy is not None and objective.accuracy.lower().endswith(".csv"):
            self.table = _Table(Path(objective.accuracy), job)
            self._accuracy = self.table.accuracy
        elif objective.accuracy is not None:
            self._accuracy = _function(objective.accuracy)
        self.kept: dict[int, _Judged] = {}
        self.tally, self.repeated = Tally(), 0
        self._known: dict[Hashable, _Judged] = {}

    @property
    def sign(self) -> int:
        """1 where large is good, -1 where small is."""
        return 1 if self.objective.accuracy is not None else -1

    def __call__(self, number: int, config: Config) -> _Judged:
        """Judge a network, once."""
        key = _key(config)
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
        with told_of(space, number, config):
            why = space.why_invalid(config)
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


def _key(config: Config) -> Hashable:
    return tuple((name, tuple(value) if isinstance(value, list | tuple) else value) for name, value in config.items())


# --- who proposes -----------------------------------------------------------------------------------------------------


class _Optimiser:
    """Optuna's trials, as draws of the space."""

    def __init__(self, job: Job, objective: Objective) -> None:
        check_optuna()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.job = job
        sampler = optuna.samplers.TPESampler(seed=job.request.seed % 2**32, constant_liar=False)
        direction = "minimize" if objective.accuracy is None else "maximize"
        self._study = optuna.create_study(sampler=sampler, direction=direction)
        self._names = _Names()

    def propose(self, judge: _Judge, number: int) -> Config:
        """The next network."""
        from roofline.spaces import Fixed

        self._trial = self._study.ask()
        chooser = Fixed(_TrialChooser(self._trial, self._names), dict(self.job.request.settings))
        space = judge.worker.space
        with told_of(space, number):
            return space.draw(chooser)

    def tell(self, judged: _Judged) -> None:
        """What became of it."""
        import optuna

        for name, miss in ({"network": INVALID_MISS} if judged.value is None else judged.misses).items():
            self._trial.set_constraint(name, miss)
        if judged.value is None:
            self._study.tell(self._trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(self._trial, judged.value)


class _Names:
    """Optuna's names of parameters: of one, the options never change, and a number is in its logarithm or is not."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[Hashable]] = {}

    def of(self, name: str, kind: Hashable) -> str:
        """The name itself for the first kind of number or options that it is asked for, another for each other one."""
        kinds = self._kinds.setdefault(name, [])
        if kind not in kinds:
            kinds.append(kind)
        place = kinds.index(kind)
        return name if place == 0 else f"{name} ({place + 1})"


class _TrialChooser:
    """A `roofline.spaces.Chooser` whose numbers an optimiser chooses."""

    def __init__(self, trial: optuna.Trial, names: _Names) -> None:
        self._trial, self._names = trial, names

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """As `roofline.spaces.RandomChooser`: in the logarithm, rounded up to a step."""
        steps = (high - low) // step
        if not log:
            return int(self._trial.suggest_int(self._names.of(name, "integer"), low, low + step * steps, step=step))
        value = self.number(name, low - min(step, low / 2), low + step * steps, log=True)
        return low + step * max(0, math.ceil((value - low) / step))

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._trial.suggest_float(self._names.of(name, ("number", log)), low, high, log=log))

    def choice(self, name: str, options: Sequence[int | float | str]) -> Any:
        options = tuple(options)
        return self._trial.suggest_categorical(self._names.of(name, options), options)


class _Listed:
    """The networks of a table."""

    def __init__(self, configs: Sequence[Config]) -> None:
        self._configs = configs

    def propose(self, judge: _Judge, number: int) -> Config:
        """The next one."""
        return self._configs[number]

    def tell(self, judged: _Judged) -> None:
        """It does not matter."""


def check_optuna() -> None:
    """Find out before the work whether the optimiser is there.

    Raises:
        RooflineError: It is not installed.
    """
    if find_spec("optuna") is None:
        raise RooflineError("a search needs optuna: pip install 'roofline-profiler[search]'")


# --- accuracies -------------------------------------------------------------------------------------------------------


def _function(reference: str) -> Accuracy:
    """The user's function of a network.

    Raises:
        RooflineError: There is none.
    """
    if ":" not in reference:
        raise RooflineError(
            f"{printable(reference)!r} is no accuracy: FILE.csv, FILE.py:FUNCTION or MODULE:FUNCTION is"
        )
    from roofline.loading.building import where
    from roofline.loading.users import named

    function = named(reference)
    if not callable(function):
        raise RooflineError(f"{reference} is no function: one that takes a network and returns its accuracy is needed")

    def accuracy(network: Row) -> float:
        try:
            found = function(dict(network))
        except (Exception, SystemExit) as error:
            raise RooflineError(f"{reference} fails: {where(error)}") from error
        return _checked(found, reference)

    return accuracy


def _checked(accuracy: Any, source: str) -> float:
    try:
        number = float(accuracy)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise RooflineError(
            f"{source} gives an accuracy of {printable(str(accuracy))[:80]}: a number above 0 is needed"
        )
    return number


class _Table:
    """A CSV of networks: a column for each parameter of the space, lists with blanks between their items, and accuracy.

    What `roofline explore --format csv` prints is such a table, once it has its accuracies; its other columns are
    counted and predicted anew.
    """

    def __init__(self, path: Path, job: Job) -> None:
        """Read it.

        Raises:
            RooflineError: It cannot be read, or a row is no network.
        """
        if job.request.settings:
            raise RooflineError("a table of accuracies names whole networks: leave out --set")
        self._path = path
        self._accuracy: dict[Hashable, float] = {}
        self.configs: list[Config] = []
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                for line, row in self._rows(csv.DictReader(file, strict=True), job):
                    config = {name: self._value(row[name], job.parameters.field(name), line) for name in _names(job)}
                    accuracy = _checked(row["accuracy"], f"{path}:{line}")
                    if self._accuracy.setdefault(_key(config), accuracy) != accuracy:
                        raise RooflineError(f"{path}:{line}: this network has another accuracy further up")
                    self.configs.append(config)
        except OSError as error:
            raise RooflineError(f"cannot read {path}: {error.strerror}") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise RooflineError(f"{path} is no CSV: {error}") from error
        if not self.configs:
            raise RooflineError(f"{path} holds no networks")

    def accuracy(self, network: Row) -> float:
        """Of a network of the table."""
        return self._accuracy[_key({name: network[name] for name in self.configs[0]})]

    def _rows(self, reader: csv.DictReader[str], job: Job) -> Iterator[tuple[int, dict[str, str]]]:
        columns = reader.fieldnames or []
        missing = [name for name in (*_names(job), "accuracy") if name not in columns]
        if missing:
            raise RooflineError(
                f"{self._path} has no column {missing[0]!r}: a table of accuracies has {', '.join(_names(job))} and "
                "accuracy"
            )
        known = {*_names(job), "index", *COUNTS, *JUDGEMENTS}
        for name in columns:
            if name not in known and ":" not in name:
                raise RooflineError(f"{self._path}: {job.space} has no {name!r}.{did_you_mean(name, _names(job))}")
        for row in reader:
            if None in row or None in row.values():
                raise RooflineError(f"{self._path}:{reader.line_num} has not as many cells as there are columns")
            yield reader.line_num, row

    def _value(self, cell: str, field: pa.Field, line: int) -> Any:
        """A cell, as what the space draws."""
        import pyarrow.types as is_type

        kind, is_list = field.type, is_type.is_list(field.type)
        items = cell.split() if is_list else [cell.strip()]
        item_kind = kind.value_type if is_list else kind
        convert: Callable[[str], Any] = (
            int if is_type.is_integer(item_kind) else float if is_type.is_floating(item_kind)
            else _truth if is_type.is_boolean(item_kind) else str
        )  # fmt: skip
        try:
            values = tuple(convert(item) for item in items)
        except ValueError:
            raise RooflineError(f"{self._path}:{line}: {field.name} cannot be {printable(cell)[:80]!r}") from None
        return values if is_list else values[0]


def _names(job: Job) -> list[str]:
    return list(job.parameters.names)


def _truth(cell: str) -> bool:
    if cell not in ("True", "False"):
        raise ValueError(cell)
    return cell == "True"


# --- the folder -------------------------------------------------------------------------------------------------------


def _write(folder: Path, job: Job, objective: Objective, judge: _Judge, found: Found) -> None:
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
        "complete": not found.is_interrupted,
        "counts": {"networks": found.networks, "blocks": 1, **found.tally.to_dict()},
    }
    try:
        (folder / NETWORKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from error
    write_bytes(folder / NETWORKS / "part-00000.parquet", data)
    write_text(folder / DESCRIPTION, json.dumps(about, indent=2, allow_nan=False) + "\n")
