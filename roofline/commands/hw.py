"""`roofline hw`: the hardware profiles, and one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from roofline.commands.options import FORMAT, OUTPUT, Pages, complete_hardware, page_options
from roofline.commands.show import emit, format_of, show
from roofline.errors import OutputError, ProfileError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LISTING = "list"  # the command that is meant where the first word names none


class _Hardware(click.Group):
    """A group that lists profiles, unless the first word is one of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if args and args[0] in known else [LISTING, *args])

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] [PROFILE]...")
        indent = " " * len("Usage: ")
        for command in self._named():
            formatter.write(f"{indent}{ctx.command_path} {command.name} {USAGES[str(command.name)]}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[LISTING].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def _named(self) -> list[click.Command]:
        return [command for command in self.commands.values() if not command.hidden]


class _Listing(click.Command):
    """The command that is meant without being named; its help is that of the group."""

    def get_help(self, ctx: click.Context) -> str:
        return ctx.parent.get_help() if ctx.parent else super().get_help(ctx)


USAGES = {"check": "FILE...", "new": "[ID] [-o FILE] [--force]", "schema": "[-o FILE]"}


@click.group(cls=_Hardware)
def hw() -> None:
    """List the hardware profiles, or tell all of one.

    PROFILE is a bundled profile's name, a pattern of names ('nvidia_*') or a YAML
    file. One is told in full, with the source of each figure; several, or none
    for all that are bundled, are listed: peak, bandwidth, ridge point, and what
    the figures are.
    """


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of profiles; and of the commands, as the first word."""
    first = () if ctx.params.get(str(param.name)) else USAGES
    commands = [CompletionItem(name) for name in first if name.startswith(incomplete)]
    found = complete_hardware(ctx, param, incomplete)
    return commands if commands and found[0].type == "file" else [*found, *commands]


@hw.command(LISTING, cls=_Listing, hidden=True)
@click.argument("profiles", metavar="[PROFILE]...", nargs=-1, shell_complete=_complete)
@click.option(
    "--class",
    "classes",
    multiple=True,
    type=click.Choice(["cpu", "gpu", "dsp", "npu", "edgetpu", "abstract"]),
    help="Only devices of this class; may be given again.",
)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Only devices that have a peak at it, and that peak; each one's default if not given.",
)
@click.option(
    "--sort",
    type=click.Choice(["name", "ridge", "peak", "bandwidth"]),
    default="name",
    show_default=True,
    help="By class and name, or from large to small.",
)
@FORMAT
@OUTPUT
@page_options
def listing(
    profiles: tuple[str, ...],
    classes: tuple[str, ...],
    dtype: str | None,
    sort: str,
    format: str | None,
    output: Path | None,
    pages: Pages,
) -> None:
    """List profiles, or tell all of one."""
    output = _to(output)
    format = format_of(format, output)
    pages.check(output)
    from roofline.hardware_list import HardwareList, is_pattern

    try:
        listed = HardwareList.of(profiles, classes=classes, dtype=dtype, sort=sort)
    except ProfileError as error:
        meant = _command_like(profiles[0]) if profiles and "unknown hardware" in str(error) else ""
        raise ProfileError(f"{error}{meant}") from None
    if pages.wanted:
        pages.write(listed.to_dict())
    if format == "table":
        from roofline.reports.hardware_terminal import render_hardware, render_profile

        def draw(console: Console) -> RenderableType:
            if len(profiles) == 1 and not is_pattern(profiles[0]):
                return render_profile(listed.devices[0], width=console.width)
            return render_hardware(listed, sort=sort, width=console.width)

        show(draw, output)
    elif format == "json":
        emit(json.dumps([device.to_dict() for device in listed.devices], indent=2) + "\n", output)
    else:
        from roofline.reports.hardware_export import render_hardware_csv, render_hardware_markdown

        emit(render_hardware_csv(listed) if format == "csv" else render_hardware_markdown(listed), output)


def _command_like(word: str) -> str:
    """A hint at the command that a first word may mean, near to it or alike in three letters; else an empty string.

    >>> _command_like("cheque"), _command_like("shcema"), _command_like("pixel6_npu")
    (" Did you mean 'check'?", " Did you mean 'schema'?", '')
    """
    if near := did_you_mean(word, USAGES):
        return near
    alike = [name for name in USAGES if name.startswith(word[:3].lower()) and 3 <= len(word) <= len(name) + 2]
    return f" Did you mean {alike[0]!r}?" if alike else ""


@hw.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check profiles of your own.

    A line for each good FILE, and one for each figure that is implausible. Of a
    bad one, all that is wrong, a line each, and exit code 2.
    """
    from roofline.profile_check import check_profile
    from roofline.units import printable

    checked = [check_profile(file) for file in files]
    emit("".join(f"{printable(line)}\n" for one in checked for line in one.lines()), None)
    if any(one.hardware is None for one in checked):
        click.get_current_context().exit(2)


@hw.command()
@OUTPUT
def schema(output: Path | None) -> None:
    """Print the JSON Schema of a profile.

    An editor with YAML support completes and checks a profile by it whose first
    line is '# yaml-language-server: $schema=FILE'.
    """
    from roofline.profile_schema import json_schema

    emit(json.dumps(json_schema(), indent=2) + "\n", _to(output))


@hw.command()
@click.argument("profile_id", metavar="[ID]", required=False)
@OUTPUT
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
def new(profile_id: str | None, output: Path | None, force: bool) -> None:
    """Print a profile to fill in.

    It loads as it stands, and explains each field. Its id is ID; else, what FILE
    is called.
    """
    from roofline.profile_template import slug, template

    output = _to(output)
    if profile_id is None:
        profile_id = (slug(output.stem) if output else "") or "my_device"
    text = template(profile_id)
    if output is not None and output.is_file() and not force:
        raise OutputError(f"{output} is there already, and stays as it is; --force overwrites it")
    emit(text, output)


def _to(output: Path | None) -> Path | None:
    """Where ``-o -`` is the standard output."""
    return None if output == Path("-") else output
