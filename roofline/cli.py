"""The command `roofline`. Each command parses, calls one function of the library, and draws the result."""

from __future__ import annotations

import ast
import functools
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem, get_completion_class

from roofline.errors import OutputError, RooflineError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roofline.analysis import Analysis
    from roofline.crosscheck import CrossCheck

FORMATS = ("table", "json", "csv", "md")
FORMAT_OF_SUFFIX = {".txt": "table", ".json": "json", ".csv": "csv", ".md": "md"}
FILE_COLUMNS = 100  # of a table that goes to a file


class InputSize(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``3x224x224``, or ``224`` for a square RGB image."""

    name = "CxHxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Channels, height, width."""
        sizes = str(value).lower().split("x")
        if len(sizes) not in (1, 3) or not all(re.fullmatch(r"0*[1-9]\d{0,8}", size) for size in sizes):
            self.fail(f"{value!r} is not CxHxW, as in 3x224x224 (or 224 for that)", param, ctx)
        return (3, int(sizes[0]), int(sizes[0])) if len(sizes) == 1 else tuple(int(size) for size in sizes)


class Argument(click.ParamType):  # type: ignore[type-arg]
    """``NAME=VALUE``; the value is a Python literal, else a text."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The name, and the value."""
        name, equals, text = str(value).partition("=")
        if not equals or not name.isidentifier():
            self.fail(f"{value!r} is not NAME=VALUE, as in width_mult=0.5", param, ctx)
        try:
            return name, ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return name, text


def _complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from roofline.models import names

    items = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


def _complete_hardware(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from roofline.profiles import bundled

    items = [CompletionItem(name) for name in bundled() if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from roofline import __version__

        click.echo(f"roofline {__version__}")
        ctx.exit()


MODEL = click.argument("model", metavar="MODEL", shell_complete=_complete_model)
ANALYSIS_OPTIONS = (
    click.option("--hw", metavar="PROFILE", shell_complete=_complete_hardware,
                 help="Required: a profile's name (see 'roofline hw') or YAML file."),
    click.option("--batch", type=click.IntRange(min=1), help="Images a pass; 1 if not given."),
    click.option("--input-size", type=InputSize(), metavar="CxHxW", help="Input size; the published one if not given."),
    click.option("--arg", "arguments", type=Argument(), metavar="NAME=VALUE", multiple=True,
                 help="Argument for MODEL's constructor, as in width_mult=0.5; may be given again."),
    click.option("--dtype", type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
                 help="Width of the tensors; the profile's if not given."),
    click.option("--fusion", type=click.Choice(["none", "epilogue"]),
                 help="Which ops run as one layer; the profile's if not given."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """MODEL and how to analyze it, as given."""

    model: str
    hw: str | None
    batch: int | None
    input_size: tuple[int, ...] | None
    arguments: tuple[tuple[str, Any], ...]
    dtype: str | None
    fusion: str | None

    def analyze(self) -> Analysis:
        """Run the pipeline."""
        if self.hw is None:
            raise click.UsageError("Missing option '--hw'; 'roofline hw' lists the profiles.")
        from roofline.analysis import analyze

        with redirect_stdout(sys.stderr):  # what the user's own file prints is no part of the result
            return analyze(
                self.model,
                hw=self.hw,
                batch=self.batch,
                input_size=self.input_size,
                dtype=self.dtype,
                fusion=self.fusion,
                arguments=dict(self.arguments),
            )

    def cross_check(self) -> CrossCheck:
        """Count again with other counters; no hardware is needed."""
        from roofline.crosscheck import cross_check
        from roofline.loading import load
        from roofline.profiles import load_profile

        if self.hw is not None:
            load_profile(self.hw)  # it is not used, but what is wrong with it is said
        with redirect_stdout(sys.stderr):
            loaded = load(self.model, batch=self.batch or 1, input_size=self.input_size, arguments=dict(self.arguments))
            return cross_check(loaded)

    def options(self) -> list[str]:
        """The options as they were given."""
        given = [
            ("--hw", self.hw),
            ("--batch", self.batch),
            ("--input-size", self.input_size and "x".join(map(str, self.input_size))),
            *(("--arg", f"{name}={value}") for name, value in self.arguments),
            ("--dtype", self.dtype),
            ("--fusion", self.fusion),
        ]
        return [word for name, value in given if value is not None for word in (name, str(value))]


def _analysis_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above, which reach it as one `Request`."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        request = Request(**{field.name: options.pop(field.name) for field in fields(Request)})
        command(request, **options)

    for option in reversed(ANALYSIS_OPTIONS):
        run = option(run)
    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Show the version and exit.")  # fmt: skip
def cli() -> None:
    """How fast a neural network will run on a piece of hardware, why, and what to change.

    MODEL is a name of the zoo (see 'roofline models'), FILE.py:CALLABLE or MODULE:CALLABLE;
    a callable returns an nn.Module. Your own file is run as python would run it.
    """


@cli.command()
@MODEL
@_analysis_options
@click.option("--format", "format", type=click.Choice(FORMATS), help="A table, or what the suffix of -o says.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE.")
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Layers in the table or Markdown."
)
@click.option("--sort", type=click.Choice(["time", "macs", "bytes", "order"]), default="time", show_default=True,
              help="Which layers come first in it.")  # fmt: skip
@click.option("--group", type=click.Choice(["kind", "stage"]), default="kind", show_default=True,
              help="What the table sums time over.")  # fmt: skip
@click.option("--cross-check", is_flag=True, help="Count with fvcore and FlopCounterMode too, say why; needs no --hw.")
def analyze(
    request: Request,
    format: str | None,
    output: Path | None,
    top: int,
    sort: str,
    group: str,
    cross_check: bool,
) -> None:
    """Predict latency, layer by layer."""
    output = None if output == Path("-") else output
    format = _format_of(format, output)
    if cross_check:
        from roofline.reports.terminal import render_cross_check

        if format not in ("table", "json"):
            raise click.UsageError(f"--cross-check prints a table or JSON, not {format}")
        check = request.cross_check()
        if format == "json":
            _emit(json.dumps(check.to_dict(), indent=2) + "\n", output)
        else:
            _show(lambda _: render_cross_check(check), output)
        return
    analysis = request.analyze()
    if format == "table":
        from roofline.reports.terminal import render_analysis

        def draw(console: Console) -> RenderableType:
            return render_analysis(
                analysis, top=top, sort=sort, group=group, width=console.width,
                unicode=console.encoding.lower().startswith("utf"), options=request.options(),
            )  # fmt: skip

        _show(draw, output)
    elif format == "json":
        _emit(analysis.to_json() + "\n", output)
    else:
        from roofline.reports.export import render_csv, render_markdown

        _emit(render_csv(analysis) if format == "csv" else render_markdown(analysis, top=top, sort=sort), output)


@cli.command()
@MODEL
@click.argument("layer", metavar="LAYER")
@_analysis_options
def explain(request: Request, layer: str) -> None:
    """Write out the arithmetic of one LAYER.

    Its shapes, MACs, bytes and times, and the sources of the figures.
    """
    from roofline.explain import explain as write_out
    from roofline.reports.terminal import render_explanation

    sections = write_out(request.analyze(), layer)
    _show(lambda _: render_explanation(sections), None)


@cli.command()
@click.argument("pattern", required=False, metavar="[NAME]", shell_complete=_complete_model)
@click.option("--format", "format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def models(pattern: str | None, format: str) -> None:
    """List the model zoo, or describe the model NAME.

    Exact parameters and MACs, the published input size and accuracy. NAME may be a pattern, 'rexnet*'. For one
    model: what was published of it, its paper, the rule that generates it and the arguments it takes.
    """
    from roofline.models import entries, is_pattern, match

    found = entries() if pattern is None else match(pattern)
    if format == "json":
        _emit(json.dumps([entry.to_dict() for entry in found], indent=2) + "\n", None)
    elif pattern is None or is_pattern(pattern):
        from roofline.reports.terminal import render_models

        _show(lambda _: render_models(found), None)
    else:
        from roofline.reports.terminal import render_model

        _show(lambda _: render_model(found[0]), None)


@cli.command()
@click.option("--format", "format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def hw(format: str) -> None:
    """List the hardware profiles.

    Class, peak, bandwidth and ridge point, and where the figures come from.
    """
    from roofline.profiles import load_all

    if format == "json":
        _emit(json.dumps([device.to_dict() for device in load_all()], indent=2) + "\n", None)
    else:
        from roofline.reports.terminal import render_hardware

        _show(lambda _: render_hardware(load_all()), None)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    For bash: eval "$(roofline completion bash)"
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "roofline", "_ROOFLINE_COMPLETE").source())


def _format_of(format: str | None, output: Path | None) -> str:
    """The format asked for; else the one that the suffix of the output file names; else a table."""
    if output is None:
        return format or "table"
    from roofline.output import check_writable

    check_writable(output)
    suffix = output.suffix.lower()
    if format is None and suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise OutputError(f"cannot tell the format of {output} by its suffix: use one of {known}, or --format")
    return format or FORMAT_OF_SUFFIX[suffix]


def _show(draw: Callable[[Console], RenderableType], output: Path | None) -> None:
    """Draw for the terminal, or as plain text for a pipe or a file."""
    from rich.console import Console

    terminal = Console()  # knows the terminal's width, colours and encoding, and prints nothing
    text = io.StringIO()  # rich would handle a pipe that closes in its own way
    canvas = Console(
        file=text,
        highlight=False,
        width=terminal.width if output is None else FILE_COLUMNS,
        color_system=_COLORS.get(terminal.color_system or "") if output is None else None,
        force_terminal=terminal.is_terminal and output is None,
        no_color=terminal.no_color,
    )
    canvas.print(draw(terminal if output is None else canvas))
    _emit(text.getvalue() if canvas.is_terminal else _stripped(text.getvalue()), output)


_COLORS: dict[str, Literal["standard", "256", "truecolor", "windows"]] = {
    "standard": "standard",
    "256": "256",
    "truecolor": "truecolor",
    "windows": "windows",
}


def _stripped(text: str) -> str:
    """Without the blanks that fill up a terminal's lines."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _emit(text: str, output: Path | None) -> None:
    if output is not None:
        from roofline.output import write_text

        write_text(output, text)
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:  # a full disk behind a redirection
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered cannot be written
        raise OutputError(f"cannot write the output: {error.strerror or error}") from error


def main() -> None:
    """Run the command line; whatever a user got wrong is one line on stderr and exit code 2."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the program runs
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that the terminal's encoding lacks is no reason to fail
    with _ended_by_closed_pipes():
        sys.exit(_run())


def _run() -> int:
    try:
        code = cli.main(prog_name="roofline", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except (RooflineError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
            click.echo(message, err=True)
            return 2
        from roofline.units import printable

        print(f"roofline: {printable(message)}", file=sys.stderr)
        return 2
    return code if isinstance(code, int) else 0


@contextmanager
def _ended_by_closed_pipes() -> Iterator[None]:
    """A reader that has seen enough, such as `head`, ends the program quietly, as it ends any other."""
    if not hasattr(signal, "SIGPIPE"):
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)
