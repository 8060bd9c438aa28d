"""What the commands have in common on the command line: arguments, options, and the records they become."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem

FORMATS = ("table", "json", "csv", "md")
BESIDE = Path("FILE.html")  # a report beside the result it is drawn from


class InputSize(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``3x224x224``, or ``224`` for a square RGB image."""

    name = "CxHxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Channels, height, width."""
        sizes = str(value).lower().split("x")
        if len(sizes) not in (1, 3) or not all(re.fullmatch(r"0*[1-9]\d{0,8}", size) for size in sizes):
            self.fail(
                f"{value!r} is not CxHxW, as in 3x224x224 (or 224 for that); another shape is written as in "
                "--input 'x:float32[1,3,8,32,32]'",
                param,
                ctx,
            )
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


class ExampleInput(click.ParamType):  # type: ignore[type-arg]
    """``NAME:DTYPE[SIZES]``; the value stays as it is written, as an argument of the reference."""

    name = "NAME:DTYPE[SIZES]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The argument of forward, and what it is given."""
        from roofline.errors import ModelError
        from roofline.loading.specs import parse_input

        try:
            name, spec = parse_input(str(value))
        except ModelError as error:
            self.fail(str(error), param, ctx)
        return name, str(spec)


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the zoo that begin so; else files."""
    from roofline.models import names

    items = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


def complete_hardware(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of bundled profiles that begin so; else files."""
    from roofline.profiles import bundled

    items = [CompletionItem(name) for name in bundled() if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


def _say_what_runs(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """A reference to the user's own code runs it: who sits at a terminal is told; a script reads errors there alone."""
    from roofline.loading.references import own_code

    references = (value,) if isinstance(value, str) else value or ()
    for place in dict.fromkeys(map(own_code, references)) if sys.stderr.isatty() else ():
        if place is not None:
            click.echo(f"roofline: running {place}, your own code, as python would.", err=True)
    return value


MODEL = click.argument("model", metavar="MODEL", shell_complete=complete_model, callback=_say_what_runs)
MODELS = click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_model, callback=_say_what_runs
)
ONE_DEVICE = click.option("--hw", metavar="PROFILE", shell_complete=complete_hardware,
                          help="Required: a profile's name (see 'roofline hw') or YAML file.")  # fmt: skip


TOO_NOISY = 3  # exit code: measured, and not to be judged by


class Share(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``1.5%`` or ``0.015``."""

    name = "SHARE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share of 1."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            self.fail(f"{value!r} is no share of the median, as in 1.5% or 0.015", param, ctx)
        return share


def named_once(arguments: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """What ``--arg``, ``--input``, ``--prefill`` and ``--decode`` gave, by name.

    Raises:
        click.UsageError: A name is there twice.
    """
    names = [name for name, _ in arguments]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"--arg {name} is given more than once")
    return dict(arguments)


INPUT_OPTIONS = (
    click.option("--input", "example_inputs", type=ExampleInput(), metavar="NAME:DTYPE[SIZES]", multiple=True,
                 help="Argument of MODEL's forward, as in ids:int64[1,128]; may be given again."),
    click.option("--prefill", type=click.IntRange(min=1), metavar="TOKENS",
                 help="Of a language model: a prompt of so many tokens."),
    click.option("--decode", type=click.IntRange(min=1), metavar="TOKENS",
                 help="Of a language model: one token, after so many in its key/value cache."),
)  # fmt: skip


def example_inputs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that has ``--arg`` the options `INPUT_OPTIONS`, which reach it among its `arguments`.

    So they come wherever arguments of a reference come; `roofline.loading.load` tells them apart.
    """

    @functools.wraps(command)
    def run(
        *,
        arguments: tuple[tuple[str, Any], ...],
        example_inputs: tuple[tuple[str, Any], ...],
        prefill: int | None,
        decode: int | None,
        **given: Any,
    ) -> None:
        if prefill is not None and decode is not None:
            raise click.UsageError("--prefill and --decode are two passes; give one of them")
        passes = [(name, value) for name, value in (("prefill", prefill), ("decode", decode)) if value is not None]
        command(arguments=(*arguments, *example_inputs, *passes), **given)

    for option in reversed(INPUT_OPTIONS):
        run = option(run)
    return run


ESTIMATOR = click.option(
    "--estimator", metavar="NAME",
    help="Of a calibrated profile: learned, calibrated or roofline; what knows most if not given.",
)  # fmt: skip


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
        """Find out before the work whether all can be written, and the report is not the file of the answer too."""
        if self.html is not None and output is not None and self.html.resolve() == output.resolve():
            raise click.UsageError(f"--html and -o both name {output}")
        if self.html is not None:
            from roofline.output import check_writable

            check_writable(self.html)
        for folder in filter(None, (self.png, self.svg)):
            from roofline.reports.pictures import check_pictures

            check_pictures(folder)

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


def page_options(command: Callable[..., None]) -> Callable[..., None]:
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
        arguments = named_once(self.arguments)
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"arguments": arguments}

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


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `MODEL_OPTIONS`, which reach it as one `ModelOptions`."""
    return example_inputs(_with_options(command, MODEL_OPTIONS, ModelOptions, "options"))


def sweep_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `SWEEP_OPTIONS`, which reach it as one `ModelOptions`."""
    return example_inputs(_with_options(command, SWEEP_OPTIONS, ModelOptions, "options"))
