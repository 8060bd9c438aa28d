"""`roofline explore`: a whole design space, drawn, counted, predicted on many devices, and looked at."""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from roofline.commands.options import Pages, _say_what_runs, complete_hardware, page_options
from roofline.commands.searching import SearchOptions, run_search, search_options
from roofline.commands.show import emit, live_line, show
from roofline.units import seconds, significant

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roofline.exploring.engines import Engine
    from roofline.exploring.request import Range, Request
    from roofline.exploring.run import Progress

INTERRUPTED = 130  # exit code, as shells have it of SIGINT
NETWORKS_A_PROCESS = 500  # for fewer, importing torch into one more takes longer than it saves
REPORT = "report.html"
IF_NONE = ("abstract_low_ridge", "abstract_middle_ridge", "abstract_high_ridge")  # devices, where none is named
LISTED, ON_THE_PAGE = 10, 20  # of the best networks, if nothing else is said


# --- options ----------------------------------------------------------------------------------------------------------


class Limits(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``180M..220M``, with either end left out."""

    name = "LOW..HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Range:
        """The range."""
        from roofline.errors import RooflineError
        from roofline.exploring.request import Range

        try:
            return Range.parse(str(value))
        except RooflineError as error:
            self.fail(str(error), param, ctx)


class LatencyLimits(click.ParamType):  # type: ignore[type-arg]
    """``DEVICE:..5ms``."""

    name = "DEVICE:LOW..HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Range]:
        """The device, and the range."""
        from roofline.errors import RooflineError
        from roofline.exploring.request import Range

        device, colon, limits = str(value).partition(":")
        if not device or not colon:
            self.fail(f"{value!r} is not DEVICE:LOW..HIGH, as in pixel6_tpu:..5ms", param, ctx)
        try:
            return device, Range.parse(limits, "duration")
        except RooflineError as error:
            self.fail(str(error), param, ctx)


class RidgePoints(click.ParamType):  # type: ignore[type-arg]
    """``10,30,100``, in MACs/byte."""

    name = "POINT[,POINT...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The points."""
        try:
            return tuple(float(point) for point in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of ridge points in MACs/byte, as in 10,30,100", param, ctx)


class Setting(click.ParamType):  # type: ignore[type-arg]
    """``NAME=VALUE``; of a list, also ``NAME[2]=VALUE``."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The parameter, and its value as it is written."""
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"{value!r} is not NAME=VALUE, as in depth=16", param, ctx)
        return name.strip(), text.strip()


def complete_space(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Built-in spaces that begin so; else files."""
    from roofline.spaces import BUILT_IN

    items = [CompletionItem(name) for name in BUILT_IN if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


# --- the command ------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("space", metavar="SPACE", required=False, shell_complete=complete_space, callback=_say_what_runs)
@click.option("--list", "lists", is_flag=True, help="Show the spaces there are, with their parameters, and exit.")
@click.option("--n", type=click.IntRange(min=1), default=1000, show_default=True, help="Networks.")
@click.option(
    "--hw",
    "devices",
    metavar="PROFILE",
    multiple=True,
    shell_complete=complete_hardware,
    help="A device to predict on: a profile's name or YAML file; may be given again; three abstract ones if not given.",
)
@click.option("--ridge", type=RidgePoints(), multiple=True, help="Ridge points to predict at, MACs/byte: 10,30,100.")
@click.option("--macs", type=Limits(), help="Only networks of so many MACs: 180M..220M.")
@click.option("--params", type=Limits(), help="Only networks of so many parameters: ..5M.")
@click.option("--latency", type=LatencyLimits(), multiple=True, help="Only networks so fast: pixel6_tpu:..5ms.")
@click.option("--set", "settings", type=Setting(), multiple=True, help="Hold a parameter of SPACE: depth=16.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws: the same gives the same networks.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images a pass.")
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Width of the tensors; each profile's own if not given.",
)
@click.option(
    "--fusion",
    type=click.Choice(["none", "epilogue"]),
    help="Which ops run as one layer; each profile's own if not given.",
)
@click.option(
    "--max-draws",
    type=click.IntRange(min=1),
    help="Stop after so many draws, found or not; after 100,000 in a row in vain if not given.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes on this machine; as cores if not given.")
@click.option("--engine", type=click.Choice(["local", "dask"]), help="Whose processes; local if not given.")
@click.option("--scheduler", metavar="ADDRESS", help="A running dask cluster's, tcp://HOST:8786; it does the work.")
@click.option("--top", type=click.IntRange(min=0), metavar="K", help="List the K best networks; 10 if not given.")
@click.option("--pareto", is_flag=True, help="List the networks of most MACs in the least time.")
@click.option(
    "--format",
    "format",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Of what is printed.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Keep the dataset and its report; given again, the run goes on, to a larger --n too.",
)
@search_options
@page_options
def explore(
    space: str | None,
    lists: bool,
    n: int,
    devices: tuple[str, ...],
    ridge: tuple[tuple[float, ...], ...],
    macs: Range | None,
    params: Range | None,
    latency: tuple[tuple[str, Range], ...],
    settings: tuple[tuple[str, str], ...],
    seed: int,
    batch: int,
    dtype: str | None,
    fusion: str | None,
    max_draws: int | None,
    workers: int | None,
    engine: str | None,
    scheduler: str | None,
    top: int | None,
    pareto: bool,
    format: str,
    output: Path | None,
    searching: SearchOptions,
    pages: Pages,
) -> None:
    """Draw networks of a design SPACE, and predict them on devices and ridge points.

    SPACE is one of 'roofline explore --list', or FILE.py:NAME of your own; its Python file is run as python would.
    What is kept with -o is Parquet, which pandas, DuckDB and Polars read; docs/spaces.md tells of it.
    """
    if lists:
        _list_spaces()
        return
    if space is None:
        raise click.UsageError("Missing argument 'SPACE'; 'roofline explore --list' lists them.")
    if format == "csv" and pareto and top is not None:
        raise click.UsageError("--top and --pareto are two tables, and --format csv is one: leave one of them out")
    searching.check()
    if not devices and not ridge and not searching.is_wanted:
        devices = IF_NONE
        click.echo(f"roofline: no --hw and no --ridge: predicting on {', '.join(devices)}", err=True)
    pages = _pages(pages, output)
    engine_of = _engine(engine, scheduler, workers, n, is_constrained=any((macs, params, latency)))
    from roofline.exploring.request import Request

    request = Request(
        space=space,
        n=n,
        hw=devices,
        ridge=tuple(point for points in ridge for point in points),
        macs=macs,
        params=params,
        latency=latency,
        settings=settings,
        seed=seed,
        batch=batch,
        dtype=dtype,
        fusion=fusion,
    )
    with _folder(output) as folder:
        if searching.is_wanted:
            run_search(request, folder, searching, keeps=output is not None)
        else:
            _run(request, folder, engine_of, max_draws, keeps=output is not None)
        _answer(folder, format, top, pareto, pages, is_kept=output is not None)


def _run(
    request: Request,
    folder: Path,
    engine_of: Callable[[], AbstractContextManager[Engine]],
    max_draws: int | None,
    *,
    keeps: bool,
) -> None:
    """Do the work, and tell on stderr how far it is."""
    from roofline.exploring.run import carry_out
    from roofline.exploring.work import Job

    so_far: list[Progress] = []
    began_s = time.monotonic()

    def told(progress: Progress) -> None:
        if not progress.workers and (not so_far or so_far[-1].workers):
            click.echo(f"roofline: the cluster has no workers{'' if so_far else ' yet'}; waiting for them", err=True)
        so_far.append(progress)
        del so_far[:-1]
        if tell is not None:
            tell(_progress(progress, time.monotonic() - began_s))

    job = Job.of(request)
    try:
        with live_line(str) as tell, engine_of() as engine:
            carry_out(job, folder, engine=engine, max_draws=max_draws, tell=told)
    except KeyboardInterrupt:
        done = so_far[-1].networks if so_far else 0
        kept = (
            f"they are in {folder}, and the same command goes on: {_command()}" if keeps else "without -o none is kept"
        )
        click.echo(f"Interrupted: {done:,} of {request.n:,} networks are done; {kept}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    if keeps:
        click.echo(_done(so_far[-1], folder, time.monotonic() - began_s), err=True)


def _answer(folder: Path, format: str, top: int | None, pareto: bool, pages: Pages, *, is_kept: bool) -> None:
    """Draw what was asked for of a run."""
    from roofline.exploring import analysis

    listed = (0 if pareto else LISTED) if top is None else top
    summary = analysis.summary(folder, best=ON_THE_PAGE if top is None else top)
    if pages.wanted:
        pages.write(summary.to_dict())
    if format == "json":
        emit(summary.to_json() + "\n", None)
    elif format == "csv":
        from roofline.reports.space_terminal import render_networks_csv

        emit(render_networks_csv(analysis.pareto(folder) if pareto else analysis.top(folder, listed)), None)
    else:
        from roofline.reports.space_terminal import render_space

        front = analysis.pareto(folder) if pareto else None

        def draw(console: Console) -> RenderableType:
            return render_space(summary, best=listed, front=front, is_kept=is_kept, width=console.width)

        show(draw, None)


def _list_spaces() -> None:
    from roofline import spaces
    from roofline.reports.space_terminal import render_spaces

    found = [spaces.load(name) for name in spaces.BUILT_IN]
    show(lambda console: render_spaces(found, width=console.width), None)


# --- what the options ask for -----------------------------------------------------------------------------------------


def _pages(pages: Pages, output: Path | None) -> Pages:
    """The report stands beside the dataset if nothing else is said; ``-`` is none."""
    if pages.html is None and output is not None:
        return replace(pages, html=output / REPORT)
    if pages.html == Path("-"):
        return replace(pages, html=None)
    if output is None or pages.html is None or pages.html.parent != output:  # a folder that the run will make
        pages.check()
    return pages


def _engine(
    engine: str | None, scheduler: str | None, workers: int | None, n: int, *, is_constrained: bool
) -> Callable[[], AbstractContextManager[Engine]]:
    """Who does the work, made when it is needed."""
    if scheduler is not None:
        if engine == "local":
            raise click.UsageError("--scheduler is of dask, and --engine local is not")
        if workers is not None:
            raise click.UsageError("--workers is for this machine; the cluster of --scheduler has its own")

    def made() -> AbstractContextManager[Engine]:
        from roofline.exploring import engines

        if scheduler is not None or engine == "dask":
            return engines.dask(scheduler, workers)
        useful = engines.cores() if is_constrained else max(1, min(engines.cores(), n // NETWORKS_A_PROCESS))
        return engines.local(workers or useful)

    return made


@contextmanager
def _folder(output: Path | None) -> Iterator[Path]:
    """Where the dataset goes; a folder that is removed afterwards where nobody wants to keep it."""
    if output is not None:
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="roofline-") as folder:
        yield Path(folder)


def _command() -> str:
    return shlex.join(["roofline", *sys.argv[1:]])


def _progress(progress: Progress, elapsed_s: float) -> str:
    """How far a run is, in a line."""
    new, missing = progress.networks - progress.resumed, progress.request.n - progress.networks
    said = f"{progress.networks:,} of {progress.request.n:,} networks, {progress.tally.tried:,} draws"
    if new:
        said += f", about {seconds(elapsed_s / new * missing, digits=1)} left"
    return f"{said}; {progress.workers} worker{'s' if progress.workers != 1 else ''}"


def _done(progress: Progress, folder: Path, elapsed_s: float) -> str:
    """What a run came to, in a line."""
    tally, new = progress.tally, progress.networks - progress.resumed
    before = f", {progress.resumed:,} of them from before" if progress.resumed else ""
    speed = f" in {seconds(elapsed_s, digits=2)}, {significant(new / elapsed_s)} a second" if new else ""
    return (
        f"{progress.networks:,} networks in {folder}{before}{speed}: {tally.tried:,} draws, {tally.invalid:,} of them "
        f"invalid and {tally.outside:,} outside of the constraints; {tally.checked} were traced whole and agreed"
    )
