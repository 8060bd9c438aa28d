"""The command `roofline`. Each command parses, calls one function of the library, and draws the result."""

from __future__ import annotations

import ast
import functools
import io
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
BESIDE = Path("FILE.html")  # a report beside the result it is drawn from


class InputSize(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``3x224x224``, or ``224`` for a square RGB image."""

    name = "CxHxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Channels, height, width."""
        sizes = str(value).lower().split("x")
        if len(sizes) not in (1, 3) or not all(re.fullmatch(r"0*[1-9]\d{0,8}", size) for size in sizes):
            self.fail(f"{value!r} is not CxHxW, as in 3x224x224 (or 224 for that)", param, ctx)
        return (3, int(sizes[0]), int(sizes[0])) if len(sizes) == 1 else tuple(int(size) for size in sizes)


class RidgeRange(click.ParamType):  # type: ignore[type-arg]
    """``LOW..HIGH``, in MACs/byte."""

    name = "LOW..HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """The two ends."""
        low, _, high = str(value).partition("..")
        try:
            return float(low), float(high)
        except ValueError:
            self.fail(f"{value!r} is not LOW..HIGH in MACs/byte, as in 0..500", param, ctx)


class Argument(click.ParamType):  # type: ignore[type-arg]
    """``NAME=VALUE``; the value is a Python literal, else a text."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The name, and the value."""
        name, equals, text = str(value).partition("=")
        if not equals or not name.isidentifier():
            self.fail(f"{value!r} is not NAME=VALUE, as in width_mult=0.5", param, ctx)
        try:
            return name, ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text.lower(), text))
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
MODELS = click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=_complete_model)
ONE_DEVICE = click.option("--hw", metavar="PROFILE", shell_complete=_complete_hardware,
                          help="Required: a profile's name (see 'roofline hw') or YAML file.")  # fmt: skip


def _options_of_a_model(dtype: str, fusion: str) -> tuple[Callable[..., Any], ...]:
    """The options that build and analyze a model, where these two are what is taken if not given."""
    return (
        click.option("--batch", type=click.IntRange(min=1), help="Images a pass; 1 if not given."),
        click.option("--input-size", type=InputSize(), metavar="CxHxW",
                     help="Input size; the published one if not given."),
        click.option("--arg", "arguments", type=Argument(), metavar="NAME=VALUE", multiple=True,
                     help="Argument for MODEL's constructor, as in width_mult=0.5; may be given again."),
        click.option("--dtype", type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
                     help=f"Width of the tensors; {dtype} if not given."),
        click.option("--fusion", type=click.Choice(["none", "epilogue"]),
                     help=f"Which ops run as one layer; {fusion} if not given."),
    )  # fmt: skip


MODEL_OPTIONS = _options_of_a_model("the profile's", "the profile's")
SWEEP_OPTIONS = _options_of_a_model("int8, whatever --hw says,", "epilogue")
PAGE_OPTIONS = (
    click.option("--html", type=click.Path(path_type=Path), metavar="FILE",
                 help="Also write a report to open in a browser."),
    click.option("--plotlyjs", type=click.Choice(["inline", "cdn", "directory"]), default="inline", show_default=True,
                 help="Where the report has plotly.js from: in it, the network, or a file beside it."),
    click.option("--png", type=click.Path(path_type=Path), metavar="FOLDER", help="Also write its figures as PNG."),
    click.option("--svg", type=click.Path(path_type=Path), metavar="FOLDER", help="Also write its figures as SVG."),
)  # fmt: skip
FORMAT = click.option("--format", "format", type=click.Choice(FORMATS), help="A table, or what the suffix of -o says.")
OUTPUT = click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What to draw of a result besides the answer."""

    html: Path | None
    plotlyjs: str
    png: Path | None
    svg: Path | None

    @property
    def wanted(self) -> bool:
        """Whether there is anything to draw."""
        return any(path is not None for path in (self.html, self.png, self.svg))

    def check(self, output: Path | None = None) -> None:
        """Find out before the work whether the report can be written, and is not the file of the answer too."""
        if self.html is not None and output is not None and self.html.resolve() == output.resolve():
            raise click.UsageError(f"--html and -o both name {output}")
        if self.html is not None:
            from roofline.output import check_writable

            check_writable(self.html)

    def write(self, data: Mapping[str, Any]) -> None:
        """Draw a result's plain data, and say on stderr where."""
        folders: tuple[tuple[Path | None, Literal["png", "svg"]], ...] = ((self.png, "png"), (self.svg, "svg"))
        for folder, format in folders:
            if folder is not None:
                from roofline.reports.pictures import write_pictures

                paths = write_pictures(folder, data, format=format)
                click.echo(f"Wrote {len(paths)} pictures to {folder}", err=True)
        if self.html is not None:
            from roofline.reports.pages import write_page

            command = shlex.join(["roofline", *sys.argv[1:]])
            write_page(self.html, data, command=command, plotlyjs=self.plotlyjs)
            click.echo(f"Wrote {self.html}", err=True)


def _page_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `PAGE_OPTIONS`, which reach it as one `Pages`."""
    return _with_options(command, PAGE_OPTIONS, Pages, "pages")


def _with_options(
    command: Callable[..., None], options: Sequence[Callable[..., Any]], record: type[Any], name: str
) -> Callable[..., None]:
    """Give a command some options, which reach it as one argument: the record that has a field for each."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        given[name] = record(**{field.name: given.pop(field.name) for field in fields(record)})
        command(**given)

    for option in reversed(options):
        run = option(run)
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How to build and analyze a model, as given."""

    batch: int | None
    input_size: tuple[int, ...] | None
    arguments: tuple[tuple[str, Any], ...]
    dtype: str | None
    fusion: str | None

    def keywords(self) -> dict[str, Any]:
        """As `roofline.analyze` takes them."""
        names = [name for name, _ in self.arguments]
        for name in names:
            if names.count(name) > 1:
                raise click.UsageError(f"--arg {name} is given more than once")
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"arguments": dict(self.arguments)}

    def given(self) -> dict[str, Any]:
        """Only those that were given."""
        return {name: value for name, value in self.keywords().items() if value not in (None, {})}

    def words(self) -> list[str]:
        """As they stood on the command line."""
        given = [
            ("--batch", self.batch),
            ("--input-size", self.input_size and "x".join(map(str, self.input_size))),
            *(("--arg", f"{name}={value}") for name, value in self.arguments),
            ("--dtype", self.dtype),
            ("--fusion", self.fusion),
        ]
        return [word for name, value in given if value is not None for word in (name, str(value))]


def _model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `MODEL_OPTIONS`, which reach it as one `ModelOptions`."""
    return _with_options(command, MODEL_OPTIONS, ModelOptions, "options")


def _sweep_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `SWEEP_OPTIONS`, which reach it as one `ModelOptions`."""
    return _with_options(command, SWEEP_OPTIONS, ModelOptions, "options")


def _analysis(model: str, hw: str | None, options: ModelOptions) -> Analysis:
    """Run the pipeline."""
    if hw is None:
        raise click.UsageError("Missing option '--hw'; 'roofline hw' lists the profiles.")
    from roofline.analysis import analyze

    with redirect_stdout(sys.stderr):  # what the user's own file prints is no part of the result
        return analyze(model, hw=hw, **options.keywords())


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
@ONE_DEVICE
@_model_options
@FORMAT
@OUTPUT
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Layers in the table or Markdown."
)
@click.option("--sort", type=click.Choice(["time", "macs", "bytes", "order"]), default="time", show_default=True,
              help="Which layers come first in it.")  # fmt: skip
@click.option("--group", type=click.Choice(["kind", "stage"]), default="kind", show_default=True,
              help="What the table sums time over.")  # fmt: skip
@click.option("--cross-check", is_flag=True, help="Count with fvcore and FlopCounterMode too, say why; needs no --hw.")
@_page_options
def analyze(
    model: str,
    hw: str | None,
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    top: int,
    sort: str,
    group: str,
    cross_check: bool,
    pages: Pages,
) -> None:
    """Predict latency, layer by layer."""
    output = None if output == Path("-") else output
    format = _format_of(format, output)
    if cross_check:
        from roofline.reports.terminal import render_cross_check

        if format not in ("table", "json"):
            raise click.UsageError(f"--cross-check prints a table or JSON, not {format}")
        if pages.wanted:
            raise click.UsageError("--cross-check has no report to draw: leave out --html, --png and --svg")
        check = _cross_check(model, hw, options)
        if format == "json":
            _emit(json.dumps(check.to_dict(), indent=2) + "\n", output)
        else:
            _show(lambda _: render_cross_check(check), output)
        return
    pages.check(output)
    analysis = _analysis(model, hw, options)
    if pages.wanted:
        pages.write(analysis.to_dict())
    if format == "table":
        from roofline.reports.terminal import render_analysis

        def draw(console: Console) -> RenderableType:
            return render_analysis(
                analysis, top=top, sort=sort, group=group, width=console.width,
                unicode=console.encoding.lower().startswith("utf"), options=["--hw", str(hw), *options.words()],
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
@ONE_DEVICE
@_model_options
def explain(model: str, layer: str, hw: str | None, options: ModelOptions) -> None:
    """Write out the arithmetic of one LAYER.

    Its shapes, MACs, bytes and times, and the sources of the figures.
    """
    from roofline.explain import explain as write_out
    from roofline.reports.terminal import render_explanation

    sections = write_out(_analysis(model, hw, options), layer)
    _show(lambda _: render_explanation(sections), None)


@cli.command()
@MODELS
@click.option(
    "--hw",
    "devices",
    metavar="PROFILE",
    multiple=True,
    shell_complete=_complete_hardware,
    help="A device to compare on: a profile's name or YAML file; may be given again.",
)
@_model_options
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
@_page_options
def compare(
    models: tuple[str, ...],
    devices: tuple[str, ...],
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    top: int | None,
    group: str,
    pages: Pages,
) -> None:
    """Compare models, or one model on several devices.

    The first MODEL on the first device is what the others are compared with. A MODEL may be a saved analysis,
    FILE.json, or a pattern of names, 'mobilenetv4_conv_*'.
    """
    output = None if output == Path("-") else output
    format = _format_of(format, output)
    pages.check(output)
    from roofline.comparison import compare_models
    from roofline.models import expand

    named = [name for model in models for name in expand(model)]
    with redirect_stdout(sys.stderr):
        comparison = compare_models(named, hw=devices, **options.keywords())
    if pages.wanted:
        pages.write(comparison.to_dict())
    if format == "table":
        from roofline.reports.comparison_terminal import render_comparison

        def draw(console: Console) -> RenderableType:
            return render_comparison(
                comparison, top=top, group=group, width=console.width,
                unicode=console.encoding.lower().startswith("utf"),
            )  # fmt: skip

        _show(draw, output)
    elif format == "json":
        _emit(comparison.to_json() + "\n", output)
    else:
        from roofline.reports.comparison_export import render_comparison_csv, render_comparison_markdown

        _emit(render_comparison_csv(comparison) if format == "csv" else render_comparison_markdown(comparison), output)


@cli.command()
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
    shell_complete=_complete_hardware,
    help="Devices whose ridge points are marked; all bundled ones if not given.",
)
@_sweep_options
@FORMAT
@OUTPUT
@_page_options
def sweep(
    models: tuple[str, ...],
    ridge: tuple[float, float] | None,
    points: int,
    scale: str,
    normalisation: str,
    devices: tuple[str, ...],
    options: ModelOptions,
    format: str | None,
    output: Path | None,
    pages: Pages,
) -> None:
    """Find out which model is the fastest at which ridge point.

    A MODEL may be a pattern of names, 'mobilenetv4_*' or 'mobilenetv*_100'. The ridge point of a device is its peak
    over its bandwidth; all devices with the same one rank models alike.
    """
    output = None if output == Path("-") else output
    format = _format_of(format, output)
    pages.check(output)
    from roofline.sweep import sweep as run

    with redirect_stdout(sys.stderr):
        result = run(
            models, ridge=ridge, points=points, scale=scale, normalisation=normalisation, hw=devices or None,
            **options.given(),
        )  # fmt: skip
    if pages.wanted:
        pages.write(result.to_dict())
    if format == "json":
        _emit(result.to_json() + "\n", output)
        return
    from roofline.reports.sweep_terminal import render_sweep, render_sweep_csv, render_sweep_markdown

    if format == "table":

        def draw(console: Console) -> RenderableType:
            return render_sweep(result, width=console.width, unicode=console.encoding.lower().startswith("utf"))

        _show(draw, output)
    else:
        _emit(render_sweep_csv(result) if format == "csv" else render_sweep_markdown(result), output)


@cli.command()
@click.argument("saved", metavar="FILE.json", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    is_flag=False,
    flag_value=BESIDE,
    help="The report; FILE.html beside the result if not given.",
)
@click.option(
    "--plotlyjs",
    type=click.Choice(["inline", "cdn", "directory"]),
    default="inline",
    show_default=True,
    help="Where the report has plotly.js from: in it, the network, or a file beside it.",
)
@click.option("--png", type=click.Path(path_type=Path), metavar="FOLDER", help="Write its figures as PNG.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FOLDER", help="Write its figures as SVG.")
def report(saved: Path, html: Path | None, plotlyjs: str, png: Path | None, svg: Path | None) -> None:
    """Draw a saved result again.

    FILE.json is what 'analyze', 'sweep' or 'compare' saved with -o or --format json.
    """
    from roofline.saved import load_saved

    if html == BESIDE or (html is None and png is None and svg is None):
        html = saved.with_suffix(".html")
    pages = Pages(html=html, plotlyjs=plotlyjs, png=png, svg=svg)
    pages.check(saved)
    pages.write(load_saved(saved))


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
