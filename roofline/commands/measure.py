"""`roofline measure`: models timed on the local device, or on the workers of a cluster."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.options import (
    FORMAT,
    MODELS,
    OUTPUT,
    TOO_NOISY,
    Argument,
    InputSize,
    Pages,
    Share,
    _with_options,
    example_inputs,
    named_once,
    page_options,
)
from roofline.commands.show import emit, format_of, live_line, show
from roofline.errors import RooflineError, StoreError
from roofline.units import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roofline.measurement.fleet import Progress as FleetProgress
    from roofline.measurement.result import Run
    from roofline.measurement.session import Progress


HOW_OPTIONS = (
    click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="What to time on: cpu or cuda."),
    click.option(
        "--threads", type=click.IntRange(min=1), metavar="N", help="Threads within an op; those of torch if not given."
    ),
    click.option("--dtype", metavar="DTYPE", help="fp32, fp16 or bf16; the model's own if not given."),
    click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images a pass."),
    click.option("--input-size", type=InputSize(), metavar="CxHxW", help="Input size; the published one if not given."),
    click.option("--arg", "arguments", type=Argument(), metavar="NAME=VALUE", multiple=True,
                 help="Argument for the models' constructors, as in width_mult=0.5; may be given again."),
    example_inputs,
    click.option("--mode", default="eager", show_default=True, metavar="MODE",
                 help="eager, channels_last, compile, or cudagraph (CUDA alone); an ONNX file is run by ONNX Runtime."),
    click.option("--l2", default="hot", show_default=True, metavar="STATE",
                 help="hot, or cold: overwrite the L2 cache of a CUDA device before each call."),
    click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Repeat in N fresh processes, and report how far they differ."),
    click.option("--per-layer", is_flag=True, help="Also time each layer."),
    click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
                 help="Turns of each model at least."),
    click.option("--max-time", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
                  metavar="SECONDS", help="Of timing each model, at most."),
    click.option("--target", type=Share(), default="1.5%", show_default=True, metavar="SHARE",
                 help="Half of the 95 % interval of the median, over the median, to stop at."),
    click.option("--seed", type=int, default=0, show_default=True,
                 help="Of weights, inputs and the order of the models."),
    click.option("--quiet-wait", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS",
                 help="Wait so long at most until no other process wants the cores that are to be used."),
    click.option("--system-allocator", is_flag=True,
                 help="Leave glibc's allocator as it is: calls may then pay for page faults."),
)  # fmt: skip
KEEPING_OPTIONS = (
    click.option("--new-reference", is_flag=True, help="Take the machine's reference state anew from this session."),
    click.option("--samples", type=click.Path(path_type=Path), metavar="FILE.npz", help="Also write every sample."),
    click.option("--db", type=click.Path(path_type=Path), metavar="FILE",
                 help="Database to keep the results in; one in the user's data directory if not given."),
    click.option("--no-db", is_flag=True, help="Keep nothing: no result, and no reference state."),
)  # fmt: skip
FLEET_OPTIONS = (
    click.option("--scheduler", metavar="ADDRESS",
                 help="Measure on the workers of this Dask scheduler, as in tcp://head:8786."),
    click.option("--tag", "tags", multiple=True, metavar="TAG",
                 help="With --scheduler: measure on a worker with this resource; may be given again."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to measure, as given."""

    device: str
    threads: int | None
    dtype: str | None
    batch: int
    input_size: tuple[int, ...] | None
    arguments: tuple[tuple[str, Any], ...]
    mode: str
    l2: str
    processes: int
    per_layer: bool
    rounds: int
    max_time: float
    target: float
    seed: int
    quiet_wait: float
    system_allocator: bool

    def keywords(self) -> dict[str, Any]:
        """As `roofline.measurement.api.measure_models` takes them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["arguments"] = named_once(self.arguments)
        given["max_s"] = given.pop("max_time")
        given["quiet_wait_s"] = given.pop("quiet_wait")
        given["keep_memory"] = not given.pop("system_allocator")
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What to keep of it, as given."""

    new_reference: bool
    samples: Path | None
    db: Path | None
    no_db: bool

    def check(self) -> None:
        """Find out before the work which options do not go together, and what cannot be written."""
        if self.no_db and self.db is not None:
            raise click.UsageError("--db and --no-db exclude each other")
        if self.no_db and self.new_reference:
            raise click.UsageError("--new-reference keeps a reference state, and --no-db keeps nothing")
        if self.samples is not None:
            from roofline.measurement.samples import check_name

            check_name(self.samples)

    @property
    def reference_state(self) -> str:
        """Which one to measure at."""
        from roofline.measurement import api

        return api.ANEW if self.new_reference else api.READ if self.no_db else api.KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Which machines to measure on, as given."""

    scheduler: str | None
    tags: tuple[str, ...]

    def check(self, keeping: Keeping) -> None:
        """Find out before the work which options do not go together."""
        if self.tags and self.scheduler is None:
            raise click.UsageError("--tag names workers of a cluster: give its --scheduler")
        if self.scheduler is not None and keeping.new_reference:
            raise click.UsageError("--new-reference is for one machine: run it there, without --scheduler")


def _in_records(command: Callable[..., None]) -> Callable[..., None]:
    """The options reach a command as three records."""
    for options, record, name in (
        (FLEET_OPTIONS, Fleet, "fleet"),
        (KEEPING_OPTIONS, Keeping, "keeping"),
        (HOW_OPTIONS, How, "how"),
    ):
        command = _with_options(command, options, record, name)
    return command


@click.command()
@MODELS
@_in_records
@FORMAT
@OUTPUT
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Layers in the table of --per-layer."
)
@page_options
@click.pass_context
def measure(
    ctx: click.Context,
    models: tuple[str, ...],
    how: How,
    keeping: Keeping,
    fleet: Fleet,
    format: str | None,
    output: Path | None,
    top: int,
    pages: Pages,
) -> None:
    """Time models on this machine, or on those of a cluster.

    Models take turns in random order until the median of each is known, with an anchor timed beside every sample that
    tells how fast the machine is just then. Weights and inputs are random. Ctrl-C keeps what there is. Exit code 3 says
    that the machine was too noisy to judge by the figures. With --scheduler each model is measured once for each tag.
    """
    output = None if output == Path("-") else output
    format = format_of(format, output)
    pages.check(output)
    keeping.check()
    fleet.check(keeping)
    from roofline.loading import expand

    references = list(dict.fromkeys(name for model in models for name in expand(model)))
    keeps = not keeping.no_db and _can_keep(keeping.db)
    problems: dict[str, None] = {}  # each once, in order

    def keep(done: Run) -> None:
        if keeps and done.measurements:
            problems.update(dict.fromkeys(_kept(done, keeping.db)))

    words_of: Callable[[Any], str] = told if fleet.scheduler is None else fleet_told
    with (
        redirect_stdout(sys.stderr),  # what the user's own file prints is no part of it
        live_line(words_of) as progress,
    ):
        run = _measured(
            references, fleet, keep, progress=progress, reference_state=keeping.reference_state, **how.keywords()
        )
    if keeping.samples is not None:
        problems.update(dict.fromkeys(_written(run, keeping.samples)))
    _answer(run, format, output, top)
    if pages.wanted and run.measurements:
        pages.write(run.to_dict(samples=True))
    _tell_problems(run, problems, references)
    ctx.exit(_exit_code(run, is_kept=not problems and (keeps or keeping.no_db)))


def _tell_problems(run: Run, problems: Iterable[str], references: Sequence[str]) -> None:
    """What went wrong, on stderr."""
    from roofline.measurement import words
    from roofline.measurement.session import NOT_TIMED

    for problem in problems:
        click.echo(f"roofline: {problem}", err=True)
    for failure in run.failures:
        if not (run.is_interrupted and failure.reason == NOT_TIMED):  # which goes without saying
            click.echo(f"roofline: not measured: {printable(words.not_measured(failure.to_dict()))}", err=True)
    if run.is_interrupted:
        click.echo(_how_to_go_on(run, references), err=True)


def _exit_code(run: Run, *, is_kept: bool) -> int:
    """That of the command, for a run that is kept, or was not to be."""
    if run.is_interrupted:
        return 130
    if not is_kept or not all(failure.is_contention for failure in run.failures):
        return 2
    return TOO_NOISY if run.failures or any(each.is_doubtful for each in run.measurements) else 0


def _can_keep(db: Path | None) -> bool:
    """Whether results can be kept, found out before the work.

    Where they are kept by default that is no condition of measuring: it is told, and what is measured printed all the
    same.

    Raises:
        StoreError: Not where the user wants them.
    """
    from roofline.measurement.store import check

    try:
        check(db)
    except StoreError as error:
        if db is not None:
            raise
        click.echo(f"roofline: the results are not kept: {printable(str(error))}", err=True)
        return False
    return True


def _measured(
    references: Sequence[str],
    fleet: Fleet,
    keep: Callable[[Run], None],
    **options: Any,
) -> Run:
    """What was measured, and is kept; nothing, where Ctrl-C came before there was a sample.

    On one machine the models are done together, and on a fleet one after the other, for hours: what is done is kept at
    once, whatever becomes of the rest.
    """
    from roofline.measurement import api
    from roofline.measurement.result import Run

    try:
        if fleet.scheduler is not None:
            from roofline.measurement.fleet import measure_on_fleet

            return measure_on_fleet(references, scheduler=fleet.scheduler, tags=fleet.tags, take=keep, **options)
        run = api.measure_models(references, **options)
    except KeyboardInterrupt:
        return Run(measurements=(), is_interrupted=True)
    keep(run)
    return run


def _kept(run: Run, db: Path | None) -> list[str]:
    """Keep what was measured; what cannot be kept is told after the answer, not instead."""
    from roofline.measurement.store import save

    try:
        save(run.to_dict(), db)
    except RooflineError as error:
        return [f"the results are not kept: {error}"]
    return []


def _written(run: Run, samples: Path) -> list[str]:
    """Write every sample; why it cannot be is told after the answer, too."""
    from roofline.measurement.samples import save_samples

    try:
        save_samples(samples, run)
    except RooflineError as error:
        return [str(error)]
    click.echo(f"Wrote {samples}", err=True)
    return []


def _answer(run: Run, format: str, output: Path | None, top: int) -> None:
    if not run.measurements and format == "table":
        return  # why there are none is told on stderr
    if format == "json":
        emit(run.to_json() + "\n", output)
    elif format == "table":
        from roofline.reports.measure_terminal import render_measurement

        def draw(console: Console) -> RenderableType:
            told = output is None  # on stderr, beside it
            return render_measurement(run.to_dict(), top=top, width=console.width, failures=not told)

        show(draw, output)
    else:
        from roofline.reports.measure_export import render_measurement_csv, render_measurement_markdown

        emit((render_measurement_csv if format == "csv" else render_measurement_markdown)(run.to_dict()), output)


def _how_to_go_on(run: Run, references: Sequence[str]) -> str:
    """After Ctrl-C: what is done, and the command that measures the rest."""
    done = {each.reference for each in run.measurements if not each.is_interrupted}
    done -= {failure.model for failure in run.failures if failure.tag}  # of a fleet: not all tags are done with it
    left = [reference for reference in references if reference not in done]
    said = f"Interrupted: {len(done)} of {len(references)} models are done"
    if not left:
        return f"{said}."
    given = [word for word in sys.argv[2:] if word not in references]
    command = shlex.join(["roofline", "measure", *left, *given])
    if run.measurements:
        said += ", and what there is of the others is above"
    return f"{said}. To measure these: {command}"


def told(progress: Progress) -> str:
    """How far a session is, in a line."""
    from roofline.reports.measure_terminal import progress_line

    return progress_line(progress)


def fleet_told(progress: FleetProgress) -> str:
    """How far a fleet is, in a line."""
    from roofline.reports.measure_terminal import fleet_line

    return fleet_line(progress)
