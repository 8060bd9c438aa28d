"""`roofline explore --search`: the options of a search, and how it is told of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from roofline.commands.options import _with_options
from roofline.commands.show import live_line
from roofline.units import printable, seconds

if TYPE_CHECKING:
    from roofline.exploring.request import Request
    from roofline.exploring.search import Found, Progress

INTERRUPTED = 130  # exit code, as shells have it of SIGINT
OF_A_SAMPLE = ("n", "max_draws", "workers", "engine", "scheduler")  # options that a search does not have


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``5ms``."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        from roofline.errors import RooflineError
        from roofline.units import parse_quantity

        try:
            return float(parse_quantity(str(value), "duration"))
        except RooflineError as error:
            self.fail(str(error), param, ctx)


SEARCH_OPTIONS = (
    click.option("--search", "is_wanted", is_flag=True, help="Search SPACE for the best network by --objective."),
    click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Networks to propose; 500 if not given."),
    click.option("--objective", type=click.Choice(["latency", "reward"]),
                 help="The least latency, or the largest accuracy x (latency / target)^w; reward with --accuracy."),
    click.option("--accuracy", metavar="SOURCE",
                 help="FILE.csv of networks with an accuracy, or FILE.py:FUNCTION of a network."),
    click.option("--target", type=Duration(), help="Of the reward: 5ms."),
    click.option("--device", metavar="ID", help="Of --hw: whose latency counts; the first if not given."),
    click.option("--w", type=float, metavar="W", help="Exponent of the reward, 0 or less; -0.07 if not given."),
    click.option("--hard", "is_hard", is_flag=True, help="Within the target w is 0, beyond it -1."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What to search for, as given."""

    is_wanted: bool
    trials: int | None
    objective: str | None
    accuracy: str | None
    target: float | None
    device: str | None
    w: float | None
    is_hard: bool

    def check(self) -> None:
        """Find out before the work which options do not go together."""
        given = {
            "--trials": self.trials is not None,
            "--objective": self.objective is not None,
            "--accuracy": self.accuracy is not None,
            "--target": self.target is not None,
            "--device": self.device is not None,
            "--w": self.w is not None,
            "--hard": self.is_hard,
        }
        if not self.is_wanted:
            for option in (option for option, is_given in given.items() if is_given):
                raise click.UsageError(f"{option} is of a search: give --search, too")
            return
        context = click.get_current_context()
        for name in OF_A_SAMPLE:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} is of a sample: a search has --trials, and runs in this process"
                )
        is_reward = self.objective == "reward" if self.objective is not None else self.accuracy is not None
        if is_reward and (self.accuracy is None or self.target is None):
            raise click.UsageError("a reward needs --accuracy and --target")
        of_reward = [option for option in ("--accuracy", "--target", "--w", "--hard") if given[option]]
        if not is_reward and of_reward:
            raise click.UsageError(f"{of_reward[0]} is of --objective reward")


def search_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `SEARCH_OPTIONS`, which reach it as one `SearchOptions`."""
    return _with_options(command, SEARCH_OPTIONS, SearchOptions, "searching")


def run_search(request: Request, folder: Path, options: SearchOptions, *, keeps: bool) -> None:
    """Do it, and tell on stderr how far it is; the device whose latency counts comes first in the dataset."""
    from roofline.errors import RooflineError
    from roofline.exploring.dataset import is_used
    from roofline.exploring.search import Objective, search
    from roofline.exploring.work import Job

    job = Job.of(request)
    device = options.device or (job.devices[0].id if job.devices else "")
    objective = Objective(
        device=device, accuracy=options.accuracy, target_s=options.target, w=options.w, is_hard=options.is_hard
    )
    names = [name for name, found in zip(request.hw, job.devices, strict=True) if found.id == device]
    if names and request.hw[0] != names[0]:
        others = tuple(name for name in request.hw if name != names[0])
        job = Job.of(replace(request, hw=(names[0], *others)))
    began_s, was_used = time.monotonic(), is_used(folder)
    try:
        with live_line(_progress) as tell:
            found = search(job, objective, folder, trials=options.trials, tell=tell)
    except RooflineError as error:
        if keeps and not was_used and is_used(folder):
            raise RooflineError(f"{error}; the networks judged before are in {folder}") from error
        raise
    if found.is_interrupted:
        kept = f"they are in {folder}" if keeps and found.networks else "none is kept"
        click.echo(f"Interrupted after {found.trials:,} trials: {found.networks:,} networks; {kept}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    click.echo(_done(found, folder if keeps else None, time.monotonic() - began_s), err=True)


def _progress(progress: Progress) -> str:
    """How far a search is, in a line."""
    best = "" if progress.best is None else f", the best has {progress.best:.4g}"
    return printable(f"{progress.trials:,} of {progress.total:,} trials, {progress.networks:,} networks{best}")


def _done(found: Found, folder: Path | None, elapsed_s: float) -> str:
    """What a search came to, in a line."""
    tally = found.tally
    where = "" if folder is None else f" in {folder}"
    return (
        f"{found.networks:,} networks{where} of {found.trials:,} trials in {seconds(elapsed_s, digits=2)}: "
        f"{found.repeated:,} were proposed before, {tally.invalid:,} are no network of the space and {tally.outside:,} "
        "outside of the constraints; the best were traced whole and agreed"
    )
