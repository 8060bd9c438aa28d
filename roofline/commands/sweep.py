"""`roofline sweep`: models along the ridge point."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roofline.commands.cache import CACHE
from roofline.commands.options import (
    FORMAT,
    MODELS,
    OUTPUT,
    ModelOptions,
    Pages,
    RidgeRange,
    complete_hardware,
    page_options,
    sweep_options,
)
from roofline.commands.show import emit, format_of, show

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


@click.command()
@MODELS
@click.option(
    "--ridge",
    type=RidgeRange(),
    metavar="LOW..HIGH",
    help="Range of ridge points, MACs/byte; 0..500 if not given, 0.5..500 on a log scale.",
)
@click.option("--points", type=int, default=501, show_default=True, help="Ridge points in the JSON, CSV and charts.")
@click.option(
    "--scale", type=click.Choice(["linear", "log"]), default="linear", show_default=True, help="How they are spaced."
)
@click.option(
    "--normalisation",
    type=click.Choice(["peak", "bandwidth"]),
    default="peak",
    show_default=True,
    help="What is held along the sweep; ranks are the same in both.",
)
@click.option(
    "--hw",
    "devices",
    metavar="PROFILE",
    multiple=True,
    shell_complete=complete_hardware,
    help="Devices whose ridge points are marked; the fitted ones of 'roofline hw' if not given.",
)
@sweep_options
@CACHE
@FORMAT
@OUTPUT
@page_options
def sweep(
    models: tuple[str, ...],
    ridge: tuple[float, float] | None,
    points: int,
    scale: str,
    normalisation: str,
    devices: tuple[str, ...],
    options: ModelOptions,
    cached: bool | None,
    format: str | None,
    output: Path | None,
    pages: Pages,
) -> None:
    """Find out which model is the fastest at which ridge point.

    A MODEL may be a pattern of names, 'mobilenetv4_*' or 'mobilenetv*_100'. The ridge point of a device is its peak
    over its bandwidth; all devices with the same one rank models alike.
    """
    output = None if output == Path("-") else output
    format = format_of(format, output)
    pages.check(output)
    from roofline.sweep import sweep as run

    with redirect_stdout(sys.stderr):
        result = run(
            models, ridge=ridge, points=points, scale=scale, normalisation=normalisation, hw=devices or None,
            cached=cached, **options.given(),
        )  # fmt: skip
    if pages.wanted:
        pages.write(result.to_dict())
    if format == "json":
        emit(result.to_json() + "\n", output)
        return
    from roofline.reports.sweep_terminal import render_sweep, render_sweep_csv, render_sweep_markdown

    if format == "table":

        def draw(console: Console) -> RenderableType:
            return render_sweep(result, width=console.width, unicode=console.encoding.lower().startswith("utf"))

        show(draw, output)
    else:
        emit(render_sweep_csv(result) if format == "csv" else render_sweep_markdown(result), output)
