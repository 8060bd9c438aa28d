"""Explore a design space: draw networks until there are as many as were asked for, and keep them in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from roofline.errors import RooflineError
from roofline.exploring.dataset import Dataset
from roofline.exploring.engines import Engine, in_order
from roofline.exploring.request import Request
from roofline.exploring.work import Job, Nearest, Tally, explored

IN_VAIN = 100_000  # draws in a row without one network


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        request: What is asked.
        networks: How many there are, those of earlier runs too.
        resumed: How many of them were there when this run began.
        tally: What became of all draws.
        workers: How many work at once.
    """

    request: Request
    networks: int
    resumed: int
    tally: Tally
    workers: int


def explore(
    request: Request,
    folder: Path,
    *,
    engine: Engine,
    max_draws: int | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> Progress:
    """Have the networks drawn, counted and predicted, and written to a folder as they come.

    Args:
        request: What is asked.
        folder: New, empty, or of an earlier run of the same request, which is gone on with.
        engine: Who does it; from `roofline.exploring.engines`.
        max_draws: Where to stop, even if networks are still missing; blocks are done whole. Without it: after 100,000
            draws in a row without one.
        tell: Called when the run begins, after each block, and every few seconds while there is none.

    Raises:
        RooflineError: Something is wrong with the request or the folder, the space or a worker fails, or there are not
            as many networks as were asked for. What was written by then stays, and can be gone on with.
    """
    return carry_out(Job.of(request), folder, engine=engine, max_draws=max_draws, tell=tell)


def carry_out(
    job: Job,
    folder: Path,
    *,
    engine: Engine,
    max_draws: int | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> Progress:
    """The same for a job whose space and devices have been looked up."""
    dataset = Dataset(folder, job)
    resumed = dataset.networks

    def progress() -> Progress:
        return Progress(
            request=job.request,
            networks=dataset.networks,
            resumed=resumed,
            tally=dataset.tally,
            workers=engine.workers,
        )

    if tell is not None:
        tell(progress())
    in_vain = 0 if dataset.networks else dataset.tally.tried

    def idle() -> None:
        if tell is not None:
            tell(progress())

    blocks = in_order(engine, explored, job, count(dataset.blocks), idle=idle)
    while not dataset.is_complete:
        if in_vain >= IN_VAIN if max_draws is None else dataset.tally.tried >= max_draws:
            raise too_few(job.request, dataset.networks, dataset.tally)
        before, tried = dataset.networks, dataset.tally.tried
        dataset.add(next(blocks))
        in_vain = 0 if dataset.networks > before else in_vain + dataset.tally.tried - tried
        if tell is not None:
            tell(progress())
    return progress()


def too_few(request: Request, networks: int, tally: Tally, tries: str = "draws were tried") -> RooflineError:
    """What to say where there are not as many networks as were asked for, of so many tries."""
    wanted = " and ".join(f"{_column(name)} in {limits}" for name, limits in request.constraints().items())
    found = f"only {networks:,} of {request.n:,} networks" if networks else "no network"
    said = f"{found} of {request.space}{f' with {wanted}' if wanted else ''}: {tally.tried:,} {tries}"
    if tally.invalid:
        said += f", {tally.invalid:,} of them are no network of the space ({tally.because.rstrip('.')})"
    if tally.nearest is not None:
        said += f"; the nearest, draw {tally.nearest.index}, has {_values(request, tally.nearest)}"
    return RooflineError(said)


def _values(request: Request, nearest: Nearest) -> str:
    constraints = request.constraints()
    return " and ".join(
        f"{_column(name)} of {constraints[name].words(value, digits=5)}" for name, value in nearest.values.items()
    )


def _column(name: str) -> str:
    what, _, device = name.partition(":")
    return f"a latency on {device}" if what == "latency_s" else what
