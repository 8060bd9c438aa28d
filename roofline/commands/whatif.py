"""`roofline whatif`: how latency answers to the hardware and to the network."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.options import (
    FORMAT,
    MODEL,
    OUTPUT,
    ModelOptions,
    Pages,
    complete_hardware,
    model_options,
    page_options,
)
from roofline.commands.show import emit, format_of, show
from roofline.errors import RooflineError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Target(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``2ms``, ``500us``, ``0.1s``, or ``30fps``."""

    name = "LATENCY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, found to be a target."""
        from roofline.target import parse_target

        try:
            parse_target(str(value))
        except RooflineError as error:
            self.fail(str(error), param, ctx)
        return str(value)


@click.command()
@MODEL
@click.option("--hw", "devices", metavar="PROFILE", multiple=True, shell_complete=complete_hardware,
              help="Required: a profile's name (see 'roofline hw') or YAML file.")  # fmt: skip
@click.option(
    "--target", type=Target(), metavar="LATENCY", help="To reach: 2ms, 500us, 0.1s; or 30fps, images a second."
)
@model_options
@FORMAT
@OUTPUT
@click.option(
    "--top", type=click.IntRange(min=0), default=5, show_default=True, help="Layers in the table or Markdown."
)
@page_options
def whatif(
    model: str,
    devices: tuple[str, ...],
    target: str | None,
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    top: int,
    pages: Pages,
) -> None:
    """Say what another device, or another way to run it, would make of MODEL.

    What latency answers to: peak, bandwidth, overheads; which peak and bandwidth reach a target; other dtypes, batches,
    input sizes and fusion; and the layers in which there is most to save.
    """
    output = None if output == Path("-") else output
    format = format_of(format, output)
    pages.check(output)
    if not devices:
        raise click.UsageError("Missing option '--hw'; 'roofline hw' lists the profiles.")
    if len(devices) > 1:
        raise click.UsageError(f"whatif takes one --hw (got {len(devices)}: {', '.join(devices)})")
    from roofline.target import parse_target
    from roofline.whatif import whatif as ask

    target_s = None if target is None else parse_target(target, batch=options.batch or 1)
    with redirect_stdout(sys.stderr):  # what the user's own file prints is no part of the result
        result = ask(model, hw=devices[0], target_s=target_s, **options.keywords())
    if pages.wanted:
        pages.write(result.to_dict())
    if format == "table":
        from roofline.reports.whatif_terminal import render_whatif

        def draw(console: Console) -> RenderableType:
            return render_whatif(result, top=top, width=console.width)

        show(draw, output)
    elif format == "json":
        emit(result.to_json() + "\n", output)
    else:
        from roofline.reports.whatif_export import render_whatif_csv, render_whatif_markdown

        emit(render_whatif_csv(result) if format == "csv" else render_whatif_markdown(result, top=top), output)
