"""`roofline activations`: what an activation function costs, predicted and measured."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.measure import _progress
from roofline.commands.options import (
    FORMAT,
    OUTPUT,
    ModelOptions,
    Pages,
    complete_hardware,
    complete_model,
    model_options,
    page_options,
)
from roofline.commands.show import emit, format_of, show
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
              help="The network, which takes act; activation_probe, 30 convolutions, if not given.")  # fmt: skip
@click.option("--acts", type=Acts(), metavar="NAME,...", help="Activations, or all; relu,silu,hardswish if not given.")
@click.option("--hw", "devices", metavar="PROFILE", multiple=True, shell_complete=complete_hardware,
              help="Predict on it: a profile's name or YAML file; may be given again.")  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Measure on this machine's CPU or GPU.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads within an op, where it is measured.")
@click.option("--mode", type=click.Choice(["eager", "channels_last", "compile", "cudagraph"]),
              help="How the network runs where it is measured; eager if not given.")  # fmt: skip
@click.option("--max-time", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Of timing each activation, at most; 10 if not given.")  # fmt: skip
@click.option("--keep-memory", is_flag=True, default=None,
              help="Have the allocator keep freed memory, so that no call pays for page faults (glibc).")  # fmt: skip
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
    keep_memory: bool | None,
    elementwise: bool,
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    pages: Pages,
) -> None:
    """Compare activation functions in one network.

    Predicted on each --hw, measured on --device; with neither, predicted on pixel6_tpu and measured on this CPU.
    The same network is built with each activation, so MODEL has to take one: all of the zoo does, and so does a
    callable of your own with an argument act.
    """
    output = None if output == Path("-") else output
    format = format_of(format, output)
    pages.check(output)
    measuring: dict[str, Any] = {"threads": threads, "mode": mode, "max_s": max_time, "keep_memory": keep_memory}
    how = {name: value for name, value in measuring.items() if value is not None}
    if elementwise:
        given = {"--model": model, "--hw": devices, "--threads": threads, "--mode": mode, **_named(options)}
        unfit = [name for name, value in given.items() if value]
        if unfit or device == "cuda":
            what = unfit[0] if unfit else "--device cuda"
            raise click.UsageError(f"--elementwise times functions in one thread of this CPU: leave out {what}")
        from roofline.elementwise import measure_elementwise

        with _progress() as progress:
            result = measure_elementwise(acts, progress=progress, **how)
        _write_elementwise(result, format, output, pages)
        _end(ctx, result.run)
        return
    if devices and device is None and how:
        raise click.UsageError("--threads, --mode, --max-time, --keep-memory are of a measurement: give --device too")
    from roofline.activation_comparison import ACTS, MODEL, compare_activations

    with redirect_stdout(sys.stderr), _progress() as progress:  # what the user's file prints is no part of the result
        comparison = compare_activations(
            model or MODEL,
            acts=acts or ACTS,
            hw=devices or None,
            device=device,
            progress=progress,
            **options.keywords(),
            **how,
        )
    _write(comparison, format, output, pages)
    _end(ctx, comparison.run)


def _named(options: ModelOptions) -> dict[str, Any]:
    """What was given of the options of a model, as it stands on the command line."""
    words = options.words()
    return dict(zip(words[::2], words[1::2], strict=True))


def _end(ctx: click.Context, run: Run | None) -> None:
    """Say on stderr what could not be measured, after the answer."""
    if run is None:
        return
    for failure in run.failures:
        click.echo(f"roofline: {failure.model} is not measured: {failure.reason}", err=True)
    if run.is_interrupted:
        ctx.exit(130)
    if run.failures:
        ctx.exit(2)


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
