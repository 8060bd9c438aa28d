"""`roofline activations`: what an activation function costs, predicted and measured."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.measure import told
from roofline.commands.options import (
    FORMAT,
    OUTPUT,
    TOO_NOISY,
    ModelOptions,
    Pages,
    complete_hardware,
    complete_model,
    model_options,
    page_options,
)
from roofline.commands.show import emit, format_of, live_line, show
from roofline.errors import RooflineError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roofline.activation_comparison import ActivationComparison
    from roofline.elementwise import Elementwise
    from roofline.measurement.result import Run


class Acts(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``relu,silu,hardswish``, or ``all``."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Their own names, each once."""
        from roofline.activation_comparison import parse_acts

        try:
            return parse_acts(str(value))
        except RooflineError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--model", metavar="MODEL", shell_complete=complete_model,
              help="The network: one that takes act, or an exported graph; activation_probe if not given.")  # fmt: skip
@click.option("--acts", type=Acts(), metavar="NAME,...", help="Activations, or all; relu,silu,hardswish if not given.")
@click.option("--hw", "devices", metavar="PROFILE", multiple=True, shell_complete=complete_hardware,
              help="Predict on it: a profile's name or YAML file; may be given again.")  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Measure on this machine's CPU or GPU.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads within an op, where it is measured.")
@click.option("--mode", type=click.Choice(["eager", "channels_last", "compile", "cudagraph"]),
              help="How the network runs where it is measured; eager if not given.")  # fmt: skip
@click.option("--max-time", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Of timing each activation, at most; 10 if not given.")  # fmt: skip
@click.option("--system-allocator", is_flag=True,
              help="Leave glibc's allocator as it is: calls may then pay for page faults.")  # fmt: skip
@click.option("--db", type=click.Path(path_type=Path), metavar="FILE",
              help="Database to keep what is measured in; one in the user's data directory if not given.")  # fmt: skip
@click.option("--no-db", is_flag=True, help="Keep nothing: no result, and no reference state.")
@click.option("--elementwise", is_flag=True,
              help="Instead, time each on its own on this CPU: its bytes a second beside those of a copy.")  # fmt: skip
@model_options
@FORMAT
@OUTPUT
@page_options
@click.pass_context
def activations(
    ctx: click.Context,
    model: str | None,
    acts: tuple[str, ...] | None,
    devices: tuple[str, ...],
    device: str | None,
    threads: int | None,
    mode: str | None,
    max_time: float | None,
    system_allocator: bool,
    db: Path | None,
    no_db: bool,
    elementwise: bool,
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    pages: Pages,
) -> None:
    """Compare activation functions in one network.

    Predicted on each --hw, measured on --device; with neither, predicted on pixel6_tpu and measured on this CPU.
    The same network is built with each activation, so MODEL has to take one: all of the zoo does, and so does a
    callable of your own with an argument act; in an exported graph it takes the place of what is there. What is
    measured is kept as 'roofline measure' keeps it. Exit code 3 says that the machine was too noisy to judge by the
    figures.
    """
    output = None if output == Path("-") else output
    format = format_of(format, output)
    pages.check(output)
    if no_db and db is not None:
        raise click.UsageError("--db and --no-db exclude each other")
    keep_memory = False if system_allocator else None
    measuring = {"threads": threads, "mode": mode, "max_s": max_time, "keep_memory": keep_memory}
    how: dict[str, Any] = {name: value for name, value in measuring.items() if value is not None}
    if no_db:
        from roofline.measurement.api import READ

        how["reference_state"] = READ
    if elementwise:
        given = {"--model": model, "--hw": devices, "--threads": threads, "--mode": mode, "--db": db, **_named(options)}
        unfit = [name for name, value in given.items() if value]
        if unfit or device == "cuda":
            what = unfit[0] if unfit else "--device cuda"
            why = "and keeps no results" if what == "--db" else "in one thread of this CPU"
            raise click.UsageError(f"--elementwise times functions {why}: leave out {what}")
        from roofline.elementwise import measure_elementwise

        with live_line(told) as progress:
            result = measure_elementwise(acts, progress=progress, **how)
        _write_elementwise(result, format, output, pages)
        _end(ctx, result.run, is_told=_is_told(format, output))
        return
    if devices and device is None and (how or db):
        raise click.UsageError(
            "--threads, --mode, --max-time, --system-allocator, --db, --no-db are of a measurement: give --device too"
        )
    from roofline.activation_comparison import ACTS, MODEL, compare_activations

    keeps = not no_db and not (devices and device is None)
    if keeps and db is not None:
        from roofline.measurement.store import check

        check(db)
    with (
        redirect_stdout(sys.stderr),
        live_line(told) as progress,
    ):  # what the user's file prints is no part of the result
        comparison = compare_activations(
            model or MODEL,
            acts=acts or ACTS,
            hw=devices or None,
            device=device,
            progress=progress,
            **options.keywords(),
            **how,
        )
    problems = _keep(comparison, db) if keeps else []
    _write(comparison, format, output, pages)
    _end(ctx, comparison.run, problems, is_told=_is_told(format, output))


def _is_told(format: str, output: Path | None) -> bool:
    """Whether the answer itself tells the user what could not be measured."""
    return output is None and format in ("table", "md")


def _named(options: ModelOptions) -> dict[str, Any]:
    """What was given of the options of a model, as it stands on the command line."""
    words = options.words()
    return dict(zip(words[::2], words[1::2], strict=True))


def _keep(comparison: ActivationComparison, db: Path | None) -> list[str]:
    """Keep what was measured to its end; what cannot be kept is told after the answer, not instead."""
    run = comparison.run_to_keep()
    if run is None or not run.measurements:
        return []
    from roofline.measurement.store import save

    try:
        save(run.to_dict(), db)
    except RooflineError as error:
        return [f"the results are not kept: {error}"]
    return []


def _end(ctx: click.Context, run: Run | None, problems: Sequence[str] = (), *, is_told: bool) -> None:
    """Say on stderr what else is to be known, after the answer, and leave with the code of `roofline measure`."""
    for problem in problems:
        click.echo(f"roofline: {problem}", err=True)
    if run is None:
        return
    if run.is_interrupted:
        click.echo(_how_to_go_on(run), err=True)
        ctx.exit(130)
    for failure in run.failures:
        if not is_told:
            click.echo(f"roofline: {failure.model} is not measured: {failure.reason}", err=True)
    if problems or not all(failure.is_contention for failure in run.failures):
        ctx.exit(2)
    if run.failures or any(each.is_doubtful for each in run.measurements):
        ctx.exit(TOO_NOISY)


def _how_to_go_on(run: Run) -> str:
    """After Ctrl-C: how many are done, and the command that measures the rest."""
    from roofline.elementwise import COPY, SCALE

    done = [each.name for each in run.measurements if not each.is_interrupted]
    waiting = [each.name for each in run.measurements if each.is_interrupted] + [each.model for each in run.failures]
    said = f"Interrupted: {len(done)} of {len(done) + len(waiting)} are done"
    names = dict.fromkeys(name.partition(",")[0] for name in waiting)  # element by element: "silu, L1, in place"
    acts = [name for name in names if name not in (COPY, SCALE)]
    if not acts:
        return f"{said}."
    command = shlex.join(["roofline", "activations", "--acts", ",".join(acts), *_without_acts(sys.argv[2:])])
    return f"{said}, and what there is of the others is above. To measure these: {command}"


def _without_acts(given: Sequence[str]) -> list[str]:
    """The words of a command line without ``--acts`` and its value."""
    words = iter(given)
    kept = []
    for word in words:
        if word == "--acts":
            next(words, None)
        elif not word.startswith("--acts="):
            kept.append(word)
    return kept


def _write(comparison: ActivationComparison, format: str, output: Path | None, pages: Pages) -> None:
    if pages.wanted:
        pages.write(comparison.to_dict())
    if format == "table":
        from roofline.reports.activations_terminal import render_activations

        def draw(console: Console) -> RenderableType:
            return render_activations(
                comparison, width=console.width, unicode=console.encoding.lower().startswith("utf")
            )

        show(draw, output)
    elif format == "json":
        emit(comparison.to_json() + "\n", output)
    else:
        from roofline.reports.activations_export import render_activations_csv, render_activations_markdown

        emit((render_activations_csv if format == "csv" else render_activations_markdown)(comparison), output)


def _write_elementwise(result: Elementwise, format: str, output: Path | None, pages: Pages) -> None:
    if pages.wanted:
        pages.write(result.to_dict())
    if format == "table":
        from roofline.reports.elementwise_terminal import render_elementwise

        show(lambda console: render_elementwise(result, width=console.width), output)
    elif format == "json":
        emit(result.to_json() + "\n", output)
    else:
        from roofline.reports.elementwise_terminal import render_elementwise_csv, render_elementwise_markdown

        emit((render_elementwise_csv if format == "csv" else render_elementwise_markdown)(result), output)
