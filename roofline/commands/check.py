"""`roofline check`: budgets of a network, for the CI of the project that it is of."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.cache import CACHE
from roofline.commands.options import ESTIMATOR, MODEL, ONE_DEVICE, OUTPUT, ModelOptions, model_options
from roofline.commands.show import emit, format_of, show
from roofline.errors import RooflineError
from roofline.units import QuantityKind, parse_quantity

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roofline.check import Check, Name

BROKEN = 1  # exit code: checked, and over budget


class Quantity(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """A quantity with its unit: ``5ms``, ``10MB``, ``1G``, ``2%``."""

    name = "LIMIT"

    def __init__(self, kind: QuantityKind) -> None:
        self.kind: QuantityKind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """The quantity in SI base units."""
        try:
            return value if isinstance(value, Fraction) else parse_quantity(str(value), self.kind)
        except RooflineError as error:
            self.fail(str(error), param, ctx)


@click.command()
@MODEL
@ONE_DEVICE
@click.option("--max-latency", type=Quantity("duration"), metavar="TIME", help="The most it may take: 5ms, 500us.")
@click.option("--max-macs", type=Quantity("count"), metavar="MACS", help="The most MACs it may do: 1G, 300M.")
@click.option("--max-weights", type=Quantity("bytes"), metavar="BYTES", help="The most weight bytes it may read: 10MB.")
@click.option("--max-activations", type=Quantity("bytes"), metavar="BYTES",
              help="The most activation bytes it may read and write: 20MB.")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE.json",
              help="A saved analysis, than which no total may be more.")  # fmt: skip
@click.option("--tolerance", type=Quantity("share"), metavar="SHARE", help="But for this share: 2%; 0 if not given.")
@click.option("--update-baseline", is_flag=True, help="Write --baseline anew in place of comparing with it.")
@model_options
@ESTIMATOR
@CACHE
@click.option("--format", "format", type=click.Choice(["table", "json", "md", "markdown"]),
              help="A table, or what the suffix of -o says.")  # fmt: skip
@OUTPUT
@click.option("--top", type=click.IntRange(min=0), default=3, show_default=True, help="Layers of each broken budget.")
def check(
    model: str,
    hw: str | None,
    max_latency: Fraction | None,
    max_macs: Fraction | None,
    max_weights: Fraction | None,
    max_activations: Fraction | None,
    baseline: Path | None,
    tolerance: Fraction | None,
    update_baseline: bool,
    options: ModelOptions,
    estimator: str | None,
    cached: bool | None,
    format: str | None,
    output: Path | None,
    top: int,
) -> None:
    """Check budgets of MODEL, as CI does.

    Exit code 0 says that all are met; 1 that one is broken, and then the layers that did it are told of; 2 that
    something was asked wrongly.
    """
    output = None if output == Path("-") else output
    format = format_of("md" if format == "markdown" else format, output)
    if format == "csv":
        raise click.UsageError("a check is a table, JSON or Markdown, not CSV")
    given = {"latency": max_latency, "macs": max_macs, "weights": max_weights, "activations": max_activations}
    limits: dict[Name, Fraction] = {name: limit for name, limit in given.items() if limit is not None}  # type: ignore[misc]
    _check_options(hw, limits, baseline, tolerance, update_baseline, output)
    from roofline.analysis import analyze
    from roofline.check import against, check_replaceable, load_baseline, write_baseline

    data = None
    if baseline is not None and update_baseline:
        check_replaceable(baseline)
    elif baseline is not None:
        data = load_baseline(baseline)
    assert hw is not None
    with redirect_stdout(sys.stderr):  # what the user's own file prints is no part of the result
        analysis = analyze(model, hw=hw, estimator=estimator, cached=cached, **options.keywords())
    result = against(analysis, limits, data, tolerance=tolerance or Fraction(0), label=str(baseline))
    if baseline is not None and update_baseline:
        write_baseline(analysis, baseline)
        click.echo(f"Wrote {baseline}", err=True)
    if result.budgets:
        _answer(result, format, output, top)
    if not result.is_met:
        click.get_current_context().exit(BROKEN)


def _check_options(
    hw: str | None,
    limits: dict[Name, Fraction],
    baseline: Path | None,
    tolerance: Fraction | None,
    update_baseline: bool,
    output: Path | None,
) -> None:
    """Find out before the work what is wrong with the options."""
    if hw is None:
        raise click.UsageError("Missing option '--hw'; 'roofline hw' lists the profiles.")
    if baseline is None and (tolerance is not None or update_baseline):
        option = "--update-baseline" if update_baseline else "--tolerance"
        raise click.UsageError(f"{option} needs --baseline FILE.json")
    if tolerance is not None and update_baseline:
        raise click.UsageError("--tolerance is for a comparison, and --update-baseline makes none")
    if baseline is None and not limits:
        raise click.UsageError("nothing to check: give --max-latency, --max-macs, --max-weights, --max-activations or "
                               "--baseline")  # fmt: skip
    if baseline is not None and output is not None and baseline.resolve() == output.resolve():
        raise click.UsageError(f"--baseline and -o both name {output}")


def _answer(check: Check, format: str, output: Path | None, top: int) -> None:
    if format == "table":
        from roofline.reports.check_terminal import render_check

        def draw(console: Console) -> RenderableType:
            return render_check(check, top=top, width=console.width)

        show(draw, output)
    elif format == "json":
        emit(check.to_json() + "\n", output)
    else:
        from roofline.reports.check_export import render_check_markdown

        emit(render_check_markdown(check, top=top), output)
