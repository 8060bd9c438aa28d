"""Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), which proposes networks of a space.

It takes a constraint as how far a network is from it, and the space's draws as parameters of a trial.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from roofline.errors import RooflineError
from roofline.exploring.work import Job, check_config, told_of

if TYPE_CHECKING:
    import optuna

    from roofline.spaces import Config, Space

INVALID_MISS = 1e3  # of what is no network: further from the constraints than any network is


class Optimiser:
    """Optuna's trials, as draws of the space."""

    def __init__(self, job: Job, direction: str) -> None:
        check_optuna()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.job = job
        sampler = optuna.samplers.TPESampler(seed=job.request.seed % 2**32, constant_liar=False)
        self._study = optuna.create_study(sampler=sampler, direction=direction)
        self._names = _Names()

    def propose(self, space: Space, number: int) -> Config:
        """The next network."""
        from roofline.spaces import Fixed

        self._trial = self._study.ask()
        chooser = Fixed(_TrialChooser(self._trial, self._names), dict(self.job.request.settings))
        with told_of(space, number):
            config = space.draw(chooser)
            check_config(config, self.job.parameters.names)
            return config

    def tell(self, value: float | None, misses: Mapping[str, float]) -> None:
        """What became of it: its value, and how far it is from each constraint; no value of what is no network."""
        import optuna

        for name, miss in ({"network": INVALID_MISS} if value is None else misses).items():
            self._trial.set_constraint(name, miss)
        if value is None:
            self._study.tell(self._trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(self._trial, value)


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


def check_optuna() -> None:
    """Find out before the work whether the optimiser is there.

    Raises:
        RooflineError: It is not installed.
    """
    if find_spec("optuna") is None:
        raise RooflineError("a search needs optuna: pip install 'roofline-profiler[search]'")
