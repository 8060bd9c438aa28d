"""`roofline analyze` of several models: a row each as they come, printed or kept in a file to go on with."""

from __future__ import annotations

import io
import shlex
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from roofline.commands.options import ModelOptions
from roofline.commands.show import emit, format_of, live_line
from roofline.units import printable, seconds

if TYPE_CHECKING:
    from roofline.many import FileFormat

OF_ONE = ("top", "sort", "group", "present", "cross_check", "html", "plotlyjs", "png", "svg")  # options of `analyze`
SOME_FAILED = 1  # exit code: not all were analysed


def expanded(models: tuple[str, ...]) -> tuple[str, ...]:
    """The names that patterns match, each once; a reference as it is."""
    from roofline.loading import expand
    from roofline.models import is_pattern

    if any(map(is_pattern, models)):
        models = tuple(name for model in models for name in expand(model))
    return tuple(dict.fromkeys(models))


def analyze_many(
    models: tuple[str, ...],
    hw: str | None,
    options: ModelOptions,
    estimator: str | None,
    format: str | None,
    output: Path | None,
    jobs: int | None,
    restart: bool,
    cached: bool | None,
) -> None:
    """Analyze several models, and exit with 1 where one failed."""
    file_format, format = _formats(hw, format, output, restart)
    from roofline.many import Failure, RowFile, header, line
    from roofline.many import analyze_many as rows_of
    from roofline.profiles import load_profile
    from roofline.reports.many_terminal import Lines, verdict

    assert hw is not None
    hardware = load_profile(hw)
    words = shlex.join([*options.words(), *(["--estimator", estimator] if estimator else [])])
    file = None
    if output is not None and file_format is not None:
        file = RowFile(output, file_format, hw=hardware, options=words, restart=restart)
    waiting = [model for model in models if file is None or model not in file.done]
    if hardware.calibration is not None:  # once, and not by each process
        from roofline.calibration.predicting import warnings_of

        for warning in warnings_of(hardware):
            click.echo(warning, err=True)
    found = rows_of(
        waiting, hw=hardware, jobs=jobs, words=words, estimator=estimator, cached=cached, **options.keywords()
    )
    table = Lines(models, markdown=format == "md", estimated=hardware.calibration is not None)
    text = io.StringIO()  # of a table that goes to a file, and so is written when it is whole

    def put(text_of_a_row: str) -> None:
        if output is None:
            emit(text_of_a_row, None)
        else:
            text.write(text_of_a_row)

    failures, began_s = [], time.monotonic()
    with file or nullcontext(), live_line(str) as tell:
        if file is None:
            put(header(file_format) if file_format else table.header())
        for number, row in enumerate(found, 1):
            if tell is not None:
                tell("")  # a row of the answer stands where the progress stood
            if isinstance(row, Failure):
                failures.append(row)
            elif file is not None:
                file.write(row)
            else:
                put(line(row, file_format) if file_format else table.row(row))
            if tell is not None:
                left = seconds((time.monotonic() - began_s) / number * (len(waiting) - number), digits=1)
                told = f"{number} of {len(waiting)} models, {len(failures)} failed, about {left} left"
                tell(f"{told}; last {printable(row.model)}")
    if output is not None and file is None:
        emit(text.getvalue(), output)
    click.echo(verdict(len(models), len(models) - len(waiting), failures), err=True)
    if failures:
        click.get_current_context().exit(SOME_FAILED)


def _formats(hw: str | None, format: str | None, output: Path | None, restart: bool) -> tuple[FileFormat | None, str]:
    """Find out before the work what is wrong with the options; the format if a file of it grows, and the format."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in OF_ONE and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{max(parameter.opts, key=len)} is for one model; of several there is a row each")
    if hw is None:
        raise click.UsageError("Missing option '--hw'; 'roofline hw' lists the profiles.")
    if format is None and output is not None and output.suffix.lower() == ".jsonl":
        format = "json"
    format = format_of(format, output)
    file_format: FileFormat | None = "csv" if format == "csv" else "json" if format == "json" else None
    if restart and (output is None or file_format is None):
        raise click.UsageError("--restart is for -o FILE.csv or FILE.json, which are gone on with else")
    return file_format, format
