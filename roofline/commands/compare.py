"""`roofline compare`: models side by side, or one model on several devices."""

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
    complete_hardware,
    model_options,
    page_options,
)
from roofline.commands.show import emit, format_of, show

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


@click.command()
@MODELS
@click.option(
    "--hw",
    "devices",
    metavar="PROFILE",
    multiple=True,
    shell_complete=complete_hardware,
    help="A device to compare on: a profile's name or YAML file; may be given again.",
)
@model_options
@FORMAT
@OUTPUT
@click.option(
    "--top", type=click.IntRange(min=0), help="Layers shown of each pair; 10 of one pair, 3 of each of several."
)
@click.option(
    "--group",
    type=click.Choice(["kind", "stage"]),
    default="kind",
    show_default=True,
    help="What the difference is summed over.",
)
@CACHE
@page_options
def compare(
    models: tuple[str, ...],
    devices: tuple[str, ...],
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    top: int | None,
    group: str,
    cached: bool | None,
    pages: Pages,
) -> None:
    """Compare models, or one model on several devices.

    The first MODEL on the first device is what the others are compared with. A MODEL may be a saved analysis,
    FILE.json, or a pattern of names, 'mobilenetv4_conv_*'.
    """
    output = None if output == Path("-") else output
    format = format_of(format, output)
    pages.check(output)
    from roofline.comparison import compare_models
    from roofline.loading import expand

    named = [name for model in models for name in expand(model)]
    with redirect_stdout(sys.stderr):
        comparison = compare_models(named, hw=devices, cached=cached, **options.keywords())
    if pages.wanted:
        pages.write(comparison.to_dict())
    if format == "table":
        from roofline.reports.comparison_terminal import render_comparison

        def draw(console: Console) -> RenderableType:
            return render_comparison(
                comparison, top=top, group=group, width=console.width,
                unicode=console.encoding.lower().startswith("utf"),
            )  # fmt: skip

        show(draw, output)
    elif format == "json":
        emit(comparison.to_json() + "\n", output)
    else:
        from roofline.reports.comparison_export import render_comparison_csv, render_comparison_markdown

        emit(render_comparison_csv(comparison) if format == "csv" else render_comparison_markdown(comparison), output)
