"""The command `roofline`. Each command parses, calls one function of the library, and draws the result."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from roofline.commands.activations import activations
from roofline.commands.analyze import analyze, explain
from roofline.commands.cache import cache
from roofline.commands.calibrate import calibrate
from roofline.commands.check import check
from roofline.commands.compare import compare
from roofline.commands.explore import explore
from roofline.commands.fit import fit
from roofline.commands.history import history
from roofline.commands.hw import hw
from roofline.commands.measure import measure
from roofline.commands.models import models
from roofline.commands.report import report
from roofline.commands.sweep import sweep
from roofline.commands.validate import validate
from roofline.commands.whatif import whatif
from roofline.errors import RooflineError


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from roofline import __version__

        click.echo(f"roofline {__version__}")
        ctx.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Show the version and exit.")  # fmt: skip
def cli() -> None:
    """How fast a neural network will run on a piece of hardware, why, and what to change.

    MODEL is a name of the zoo (see 'roofline models'), FILE.py:CALLABLE or MODULE:CALLABLE;
    a callable returns an nn.Module. Your own file is run as python would run it.
    """


for command in (
    analyze, explain, compare, sweep, explore, whatif, activations, fit, measure, history, calibrate, validate, check,
    report, models, hw, cache,
):  # fmt: skip
    cli.add_command(command)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    For bash: eval "$(roofline completion bash)"
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, "roofline", "_ROOFLINE_COMPLETE").source())


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
        return error.exit_code if isinstance(error, RooflineError) else 2
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
