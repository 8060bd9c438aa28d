"""`roofline analyze` and `roofline explain`: one model on one device, or many in a row each."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roofline.commands.cache import CACHE
from roofline.commands.many import analyze_many, expanded
from roofline.commands.options import (
    ESTIMATOR,
    FORMAT,
    MODEL,
    MODELS,
    ONE_DEVICE,
    OUTPUT,
    ModelOptions,
    Pages,
    model_options,
    page_options,
)
from roofline.commands.show import emit, format_of, show

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roofline.analysis import Analysis
    from roofline.crosscheck import CrossCheck


@click.command()
@MODELS
@ONE_DEVICE
@model_options
@FORMAT
@OUTPUT
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Layers in the table or Markdown."
)
@click.option("--sort", type=click.Choice(["time", "macs", "bytes", "order"]), default="time", show_default=True,
              help="Which layers come first in it.")  # fmt: skip
@click.option("--group", type=click.Choice(["kind", "stage"]), default="kind", show_default=True,
              help="What the table sums time over.")  # fmt: skip
@ESTIMATOR
@click.option("--present/--no-present", default=True,
              help="Of a calibrated profile: whether to time for 0.1 s how fast this machine is just now.")  # fmt: skip
@CACHE
@click.option("--cross-check", is_flag=True, help="Count with fvcore and FlopCounterMode too, say why; needs no --hw.")
@click.option("--jobs", type=click.IntRange(min=1), help="Of several models: processes; as cores if not given.")
@click.option("--restart", is_flag=True, help="Of several models: begin -o FILE anew, and do not go on with it.")
@page_options
def analyze(
    models: tuple[str, ...],
    hw: str | None,
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    top: int,
    sort: str,
    group: str,
    estimator: str | None,
    present: bool,
    cached: bool | None,
    cross_check: bool,
    jobs: int | None,
    restart: bool,
    pages: Pages,
) -> None:
    """Predict latency, layer by layer; of several models or patterns, 'timm:*efficientnet*', a row each.

    Of several, those that fail are left out and told of at the end, with exit code 1. -o FILE.csv or FILE.json (an
    object a line) grows row by row; given again, only what is missing in it is done.
    """
    output = None if output == Path("-") else output
    named = expanded(models)
    if named != models or len(models) > 1:
        analyze_many(named, hw, options, estimator, format, output, jobs, restart, cached)
        return
    if jobs is not None or restart:
        raise click.UsageError(f"{'--jobs' if jobs is not None else '--restart'} is for several models")
    (model,) = models
    format = format_of(format, output)
    if cross_check:
        from roofline.reports.terminal import render_cross_check

        if format not in ("table", "json"):
            raise click.UsageError(f"--cross-check prints a table or JSON, not {format}")
        if pages.wanted:
            raise click.UsageError("--cross-check has no report to draw: leave out --html, --png and --svg")
        check = _cross_check(model, hw, options)
        if format == "json":
            emit(json.dumps(check.to_dict(), indent=2) + "\n", output)
        else:
            show(lambda _: render_cross_check(check), output)
        return
    pages.check(output)
    analysis = _analysis(model, hw, options, estimator, cached)
    if present:
        analysis = analysis.at_present()
    if pages.wanted:
        pages.write(analysis.to_dict())
    if format == "table":
        from roofline.reports.terminal import render_analysis

        def draw(console: Console) -> RenderableType:
            return render_analysis(
                analysis, top=top, sort=sort, group=group, width=console.width,
                unicode=console.encoding.lower().startswith("utf"),
                options=["--hw", str(hw), *options.words(), *(["--estimator", estimator] if estimator else [])],
            )  # fmt: skip

        show(draw, output)
    elif format == "json":
        emit(analysis.to_json() + "\n", output)
    else:
        from roofline.reports.export import render_csv, render_markdown

        emit(render_csv(analysis) if format == "csv" else render_markdown(analysis, top=top, sort=sort), output)


@click.command()
@MODEL
@click.argument("layer", metavar="LAYER")
@ONE_DEVICE
@model_options
@ESTIMATOR
def explain(model: str, layer: str, hw: str | None, options: ModelOptions, estimator: str | None) -> None:
    """Write out the arithmetic of one LAYER.

    Its shapes, MACs, bytes and times, and the sources of the figures. On a calibrated profile also the law of its
    kernel, term by term, beside the bound of eq. 1.
    """
    from roofline.explain import explain as write_out
    from roofline.profiles import load_profile
    from roofline.reports.terminal import render_explanation

    is_calibrated = hw is not None and load_profile(hw).calibration is not None
    cached = None if is_calibrated else False  # a fit is kept; the graph is needed anyway
    sections = write_out(_analysis(model, hw, options, estimator, cached), layer)
    show(lambda _: render_explanation(sections), None)


def _analysis(
    model: str, hw: str | None, options: ModelOptions, estimator: str | None, cached: bool | None
) -> Analysis:
    """Run the pipeline."""
    if hw is None:
        raise click.UsageError("Missing option '--hw'; 'roofline hw' lists the profiles.")
    from roofline.analysis import analyze

    with redirect_stdout(sys.stderr):  # what the user's own file prints is no part of the result
        return analyze(model, hw=hw, estimator=estimator, cached=cached, **options.keywords())


def _cross_check(model: str, hw: str | None, options: ModelOptions) -> CrossCheck:
    """Count again with other counters; no hardware is needed."""
    from roofline.crosscheck import cross_check
    from roofline.loading import load
    from roofline.profiles import load_profile

    if hw is not None:
        load_profile(hw)  # it is not used, but what is wrong with it is said
    with redirect_stdout(sys.stderr):
        size, arguments = options.input_size, dict(options.arguments)
        return cross_check(load(model, batch=options.batch or 1, input_size=size, arguments=arguments))
