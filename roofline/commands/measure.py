"""`roofline measure`: models timed on the local device, or on the workers of a cluster."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
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


@click.command()
@MODELS
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="What to time on: cpu or cuda.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Threads within an op; those of torch if not given."
)
@click.option("--dtype", metavar="DTYPE", help="fp32, fp16 or bf16; the model's own if not given.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images a pass.")
@click.option("--input-size", type=InputSize(), metavar="CxHxW", help="Input size; the published one if not given.")
@click.option("--arg", "arguments", type=Argument(), metavar="NAME=VALUE", multiple=True,
              help="Argument for the models' constructors, as in width_mult=0.5; may be given again.")  # fmt: skip
@example_inputs
@click.option("--mode", default="eager", show_default=True, metavar="MODE",
              help="eager, channels_last, compile, or cudagraph (CUDA alone).")  # fmt: skip
@click.option("--l2", default="hot", show_default=True, metavar="STATE",
              help="hot, or cold: overwrite the L2 cache of a CUDA device before each call.")  # fmt: skip
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Repeat in N fresh processes, and report how far they differ.")  # fmt: skip
@click.option("--per-layer", is_flag=True, help="Also time each layer.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Turns of each model at least.")  # fmt: skip
@click.option("--max-time", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
              metavar="SECONDS", help="Of timing each model, at most.")  # fmt: skip
@click.option("--target", type=Share(), default="1.5%", show_default=True, metavar="SHARE",
              help="Half of the 95 % interval of the median, over the median, to stop at.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, inputs and the order of the models.")
@click.option("--quiet-wait", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS",
              help="Wait so long at most until no other process wants the cores that are to be used.")  # fmt: skip
@click.option("--system-allocator", is_flag=True,
              help="Leave glibc's allocator as it is: calls may then pay for page faults.")  # fmt: skip
@click.option("--new-reference", is_flag=True, help="Take the machine's reference state anew from this session.")
@click.option("--samples", type=click.Path(path_type=Path), metavar="FILE.npz", help="Also write every sample.")
@click.option("--db", type=click.Path(path_type=Path), metavar="FILE",
              help="Database to keep the results in; one in the user's data directory if not given.")  # fmt: skip
@click.option("--no-db", is_flag=True, help="Keep nothing: no result, and no reference state.")
@click.option("--scheduler", metavar="ADDRESS",
              help="Measure on the workers of this Dask scheduler, as in tcp://head:8786.")  # fmt: skip
@click.option("--tag", "tags", multiple=True, metavar="TAG",
              help="With --scheduler: measure on a worker with this resource; may be given again.")  # fmt: skip
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
    device: str,
    threads: int | None,
    dtype: str | None,
    batch: int,
    input_size: tuple[int, ...] | None,
    arguments: tuple[tuple[str, Any], ...],
    mode: str,
    l2: str,
    processes: int,
    per_layer: bool,
    rounds: int,
    max_time: float,
    target: float,
    seed: int,
    quiet_wait: float,
    system_allocator: bool,
    new_reference: bool,
    samples: Path | None,
    db: Path | None,
    no_db: bool,
    scheduler: str | None,
    tags: tuple[str, ...],
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
    if no_db and db is not None:
        raise click.UsageError("--db and --no-db exclude each other")
    if no_db and new_reference:
        raise click.UsageError("--new-reference keeps a reference state, and --no-db keeps nothing")
    if tags and scheduler is None:
        raise click.UsageError("--tag names workers of a cluster: give its --scheduler")
    if scheduler is not None and new_reference:
        raise click.UsageError("--new-reference is for one machine: run it there, without --scheduler")
    if samples is not None:
        from roofline.measurement.samples import check_name

        check_name(samples)
    from roofline.loading import expand
    from roofline.measurement import api, words
    from roofline.measurement.session import NOT_TIMED

    references = list(dict.fromkeys(name for model in models for name in expand(model)))
    keeps = not no_db and _can_keep(db)
    words_of: Callable[[Any], str] = told if scheduler is None else fleet_told
    with (
        redirect_stdout(sys.stderr),  # what the user's own file prints is no part of it
        live_line(words_of) as progress,
    ):
        run = _measured(
            references, scheduler, tags, device=device, threads=threads, dtype=dtype, batch=batch,
            input_size=input_size, arguments=named_once(arguments), mode=mode, l2=l2, processes=processes,
            per_layer=per_layer, rounds=rounds, max_s=max_time, target=target, seed=seed,
            keep_memory=not system_allocator, quiet_wait_s=quiet_wait, progress=progress,
            reference_state=api.ANEW if new_reference else api.READ if no_db else api.KEPT,
        )  # fmt: skip
    problems = _keep(run, db, keeps, samples)
    _answer(run, format, output, top)
    if pages.wanted and run.measurements:
        pages.write(run.to_dict(samples=True))
    for problem in problems:
        click.echo(f"roofline: {problem}", err=True)
    for failure in run.failures:
        if not (run.is_interrupted and failure.reason == NOT_TIMED):  # which goes without saying
            click.echo(f"roofline: not measured: {printable(words.not_measured(failure.to_dict()))}", err=True)
    if run.is_interrupted:
        click.echo(_how_to_go_on(run, references), err=True)
        ctx.exit(130)
    if problems or not (keeps or no_db) or not all(failure.is_contention for failure in run.failures):
        ctx.exit(2)
    if run.failures or any(each.is_doubtful for each in run.measurements):
        ctx.exit(TOO_NOISY)


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


def _measured(references: Sequence[str], scheduler: str | None, tags: Sequence[str], **options: Any) -> Run:
    """What was measured; nothing, where Ctrl-C came before there was a sample."""
    from roofline.measurement import api
    from roofline.measurement.result import Run

    try:
        if scheduler is not None:
            from roofline.measurement.fleet import measure_on_fleet

            return measure_on_fleet(references, scheduler=scheduler, tags=tags, **options)
        return api.measure_models(references, **options)
    except KeyboardInterrupt:
        return Run(measurements=(), is_interrupted=True)


def _keep(run: Run, db: Path | None, keeps: bool, samples: Path | None) -> list[str]:
    """Keep what was measured, where that was asked for; what cannot be kept is told after the answer, not instead."""
    problems = []
    if run.measurements and keeps:
        from roofline.measurement.store import save

        try:
            save(run.to_dict(), db)
        except RooflineError as error:
            problems.append(f"the results are not kept: {error}")
    if samples is not None:
        from roofline.measurement.samples import save_samples

        try:
            save_samples(samples, run)
            click.echo(f"Wrote {samples}", err=True)
        except RooflineError as error:
            problems.append(str(error))
    return problems


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
