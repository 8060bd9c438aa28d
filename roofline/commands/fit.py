"""`roofline fit`: a hardware profile from published latencies."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.options import Pages, page_options
from roofline.commands.show import emit, show
from roofline.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

CLASSES = ("cpu", "gpu", "dsp", "npu", "edgetpu")


class Words(click.ParamType):  # type: ignore[type-arg]
    """Names joined by commas; an empty text, or ``none``, names none."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names."""
        words = [word.strip() for word in str(value).split(",")]
        return () if words in ([""], ["none"]) else tuple(word for word in words if word)


@click.command()
@click.argument("latencies", metavar="LATENCIES.csv", type=click.Path(path_type=Path))
@click.option("--device", metavar="NAME", required=True, help="What the device is called.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.yaml", help="Write the profile to FILE.")
@click.option("--force", is_flag=True, help="Write over a FILE that is there.")
@click.option(
    "--terms",
    type=Words(),
    metavar="TERM,...",
    help="The terms to fit beside peak and bandwidth, or 'none'; chosen by leave-one-out error if not given.",
)
@click.option("--ops", type=click.Choice(["all", "conv_only"]), default="all", show_default=True,
              help="Which layers count: conv_only is the reading of Table 16 of arXiv:2404.10518.")  # fmt: skip
@click.option("--without", metavar="PATTERN", multiple=True, help="Models to leave out, as in 'fastvit_*'.")
@click.option("--dtype", type=click.Choice(["fp32", "fp16", "bf16", "int8"]), default="int8", show_default=True,
              help="Of rows that name none.")  # fmt: skip
@click.option("--fusion", type=click.Choice(["none", "epilogue"]), default="epilogue", show_default=True,
              help="Which ops the device runs as one layer.")  # fmt: skip
@click.option("--fused", type=Words(), default="relu,relu6", show_default=True, metavar="ACTIVATION,...",
              help="The activations that it fuses; 'all', or 'none'.")  # fmt: skip
@click.option("--class", "device_class", type=click.Choice(CLASSES), default="npu", show_default=True,
              help="What kind of device the profile says it is.")  # fmt: skip
@click.option("--format", "format", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True,
              help="What to print; yaml is the profile.")  # fmt: skip
@page_options
def fit(
    latencies: Path,
    device: str,
    output: Path | None,
    force: bool,
    terms: tuple[str, ...] | None,
    ops: str,
    without: tuple[str, ...],
    dtype: str,
    fusion: str,
    fused: tuple[str, ...],
    device_class: str,
    format: str,
    pages: Pages,
) -> None:
    """Infer a device from published latencies.

    LATENCIES.csv has the columns model and latency_ms, and optionally input_size (CxHxW), batch, dtype and note. The
    result is a profile of effective rates, with what the rows do not determine said so.
    """
    from roofline.fit_profile import slug, to_yaml

    slug(device)
    _check(output, force, ops, format, pages)
    from roofline.fit import fit as infer
    from roofline.hardware import ACTIVATIONS

    with redirect_stdout(sys.stderr), _progress() as progress:
        result = infer(
            latencies,
            device=device,
            terms=terms,
            dtype=dtype,
            fusion=fusion,
            fused_activations=ACTIVATIONS if fused == ("all",) else fused,
            ops=ops,
            without=without,
            progress=progress,
        )
    profile = to_yaml(result, device_class=device_class) if output is not None or format == "yaml" else ""
    if pages.wanted:
        pages.write(result.to_dict())
    if format == "json":
        emit(result.to_json() + "\n", None)
    elif format == "yaml":
        emit(profile, None)
    else:
        from roofline.reports.fit_terminal import render_fit

        def draw(console: Console) -> RenderableType:
            return render_fit(result, width=console.width)

        show(draw, None)
    if output is not None:
        from roofline.output import write_text

        write_text(output, profile)
        click.echo(f"Wrote {output}", err=True)


def _check(output: Path | None, force: bool, ops: str, format: str, pages: Pages) -> None:
    """Find out before the work what could not be written."""
    pages.check(output)
    if ops != "all" and (output is not None or format == "yaml"):
        raise click.UsageError("--ops conv_only gives no profile, which predicts all layers: leave out -o, or --ops")
    if output is None:
        return
    if output.suffix.lower() not in (".yaml", ".yml"):
        raise OutputError(f"a profile is YAML: name it {output.with_suffix('.yaml')} (--format json prints the fit)")
    from roofline.output import check_writable

    check_writable(output)
    if output.exists() and not force:
        raise OutputError(f"{output} is there already: --force writes over it")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Leaving out each row in turn", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
