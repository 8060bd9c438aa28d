"""`roofline validate`: predictions, frozen, against the stopwatch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.measure import told
from roofline.commands.options import (
    ESTIMATOR,
    FORMAT,
    MODELS,
    ONE_DEVICE,
    OUTPUT,
    TOO_NOISY,
    Argument,
    InputSize,
    Pages,
    Share,
    example_inputs,
    named_once,
    page_options,
)
from roofline.commands.show import CLEAR_LINE, emit, format_of, live_line, show
from roofline.errors import CalibrationError, MeasurementError
from roofline.units import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from roofline.validation import Validation
    from roofline.validation_predictions import Predictions

PROGRESS_COLUMNS = 79


@click.command()
@MODELS
@ONE_DEVICE
@ESTIMATOR
@click.option("--device", metavar="DEVICE", help="What to time on, cpu or cuda; as calibrated, or cpu, if not given.")
@click.option("--mode", metavar="MODE", help="How models run; as they were calibrated, or eager, if not given.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N",
              help="Threads within an op; as calibrated, or those of torch, if not given.")  # fmt: skip
@click.option("--dtype", metavar="DTYPE", help="fp32, fp16 or bf16; as calibrated, or the model's, if not given.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images a pass.")
@click.option("--input-size", type=InputSize(), metavar="CxHxW", help="Input size; the published one if not given.")
@click.option("--arg", "arguments", type=Argument(), metavar="NAME=VALUE", multiple=True,
              help="Argument for the models' constructors, as in width_mult=0.5; may be given again.")  # fmt: skip
@example_inputs
@click.option("--processes", type=click.IntRange(min=2), default=2, show_default=True, metavar="N",
              help="Fresh processes to measure in; where they disagree, nothing is decided.")  # fmt: skip
@click.option("--per-layer", is_flag=True, help="Also predict and time each layer.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Turns of each model at least.")  # fmt: skip
@click.option("--max-time", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
              metavar="SECONDS", help="Of timing each model in each process, at most.")  # fmt: skip
@click.option("--target", type=Share(), default="1.5%", show_default=True, metavar="SHARE",
              help="Half of the 95 % interval of the median, over the median, to stop at.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, inputs and the order of the models.")
@click.option("--quiet-wait", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="SECONDS",
              help="Wait so long at most until no other process wants the cores that are to be used.")  # fmt: skip
@click.option("--freeze", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Also write the predictions, with their hash, before anything is measured.")  # fmt: skip
@FORMAT
@OUTPUT
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True,
              help="Layers and families in the tables.")  # fmt: skip
@page_options
@click.pass_context
def validate(
    ctx: click.Context,
    models: tuple[str, ...],
    hw: str | None,
    estimator: str | None,
    device: str | None,
    mode: str | None,
    threads: int | None,
    dtype: str | None,
    batch: int,
    input_size: tuple[int, ...] | None,
    arguments: tuple[tuple[str, Any], ...],
    processes: int,
    per_layer: bool,
    rounds: int,
    max_time: float,
    target: float,
    seed: int,
    quiet_wait: float,
    freeze: Path | None,
    format: str | None,
    output: Path | None,
    top: int,
    pages: Pages,
) -> None:
    """Judge predictions by the stopwatch.

    Predictions of the models are frozen, with a hash, before anything is measured. Then the models are timed, in turns
    and in two fresh processes, and the two are joined: which predictions are within 10 %, and which the machine was too
    noisy to decide. 'roofline calibrate' makes a profile of this machine. Exit code 3 says that the machine was too
    noisy to judge by.
    """
    output = None if output == Path("-") else output
    format = format_of(format, output)
    pages.check(output)
    _check(hw, freeze, output, arguments)
    from roofline.loading import expand
    from roofline.measurement.subject import check_request
    from roofline.measurement.words import not_measured
    from roofline.profiles import load_profile
    from roofline.validation import Asked, environment_notes, known_estimators, setup
    from roofline.validation import validate as judge

    assert hw is not None
    hardware = load_profile(hw)
    calibration, estimators = known_estimators(hardware, dtype)
    references = list(dict.fromkeys(name for model in models for name in expand(model)))
    mode = _runtime(references, mode, is_calibrated=calibration is not None) or mode
    how = setup(calibration, device=device, mode=mode, dtype=dtype, threads=threads)
    check_request(how.device, how.dtype, how.mode)
    asked = [
        Asked(reference=reference, batch=batch, input_size=input_size, arguments=dict(arguments))
        for reference in references
    ]
    notes = [] if calibration is None else environment_notes(calibration, how)
    for note in notes:
        click.echo(f"roofline: {note}.", err=True)
    with redirect_stdout(sys.stderr), live_line(told) as progress:  # what the user's own file prints is no part of it
        validation = judge(
            asked, estimators, hardware, how=how, judged=estimator, processes=processes, per_layer=per_layer,
            freeze=lambda predictions: _freeze(predictions, freeze), notes=notes,
            predicting=_tell_predicting if sys.stderr.isatty() else None, progress=progress,
            rounds=rounds, max_s=max_time, target=target, seed=seed, quiet_wait_s=quiet_wait,
        )  # fmt: skip
    _answer(validation, format, output, top)
    if pages.wanted:
        pages.write(validation.to_dict())
    for failure in validation.failures:
        click.echo(f"roofline: left out: {printable(not_measured(failure.to_dict()))}", err=True)
    if validation.is_interrupted:
        ctx.exit(130)
    if not all(failure.is_contention for failure in validation.failures):
        ctx.exit(2)
    if validation.is_too_noisy:
        click.echo("roofline: the machine was too noisy or too busy to judge by: try again when it is quiet", err=True)
        ctx.exit(TOO_NOISY)


def _check(hw: str | None, freeze: Path | None, output: Path | None, arguments: tuple[tuple[str, Any], ...]) -> None:
    """Find out before the work what is wrong with the options."""
    if hw is None:
        raise click.UsageError("Missing option '--hw'; 'roofline calibrate -o local.yaml' makes one of this machine.")
    named_once(arguments)
    if freeze is not None:
        from roofline.output import check_writable

        if output is not None and freeze.resolve() == output.resolve():
            raise click.UsageError(f"--freeze and -o both name {output}")
        check_writable(freeze)


def _runtime(references: Sequence[str], mode: str | None, *, is_calibrated: bool) -> str | None:
    """The mode in which ONNX files run; None where there are none among the models.

    Raises:
        CalibrationError: The profile is of a calibration, which is of PyTorch.
        MeasurementError: Another mode is asked for, or the others are no ONNX files.
    """
    from roofline.exported import is_onnx
    from roofline.measurement.subject import ONNXRUNTIME

    files = [reference for reference in references if is_onnx(reference)]
    if not files:
        return None
    if is_calibrated:
        raise CalibrationError(
            f"{files[0]} is run by onnxruntime, and the calibration is of PyTorch, so that it predicts another time: "
            "name the code it is from, a .pt2 of it, or a profile without a calibration"
        )
    if mode not in (None, ONNXRUNTIME):
        raise MeasurementError(f"{files[0]} is run by onnxruntime, and not in mode {mode}: leave out the mode")
    if len(files) < len(references):
        raise MeasurementError(
            f"{files[0]} is run by onnxruntime, and others are not: validate them one after the other"
        )
    return ONNXRUNTIME


def _tell_predicting(reference: str, number: int, models: int) -> None:
    """A line of progress, which the next one replaces."""
    line = printable(f"predicting {number + 1} of {models}, {reference}")
    click.echo(f"{CLEAR_LINE}{line[:PROGRESS_COLUMNS]}", nl=False, err=True)


def _freeze(predictions: Predictions, file: Path | None) -> None:
    """Tell the hash, and write what it is of, before anything is measured."""
    count = len(predictions.models)
    told = f"Predictions of {count} model{'s' if count != 1 else ''} frozen before measuring, SHA-256 "
    click.echo(f"{CLEAR_LINE if sys.stderr.isatty() else ''}{told}{predictions.sha256}", err=True)
    if file is not None:
        import json

        from roofline.output import write_text

        write_text(file, json.dumps(predictions.to_dict(), indent=2, allow_nan=False) + "\n")
        click.echo(f"Wrote {file}", err=True)


def _answer(validation: Validation, format: str, output: Path | None, top: int) -> None:
    if format == "json":
        emit(validation.to_json() + "\n", output)
        return
    data = validation.to_dict()
    if format == "table":
        from roofline.reports.validation_terminal import render_validation

        def draw(console: Console) -> RenderableType:
            return render_validation(data, top=top, width=console.width)

        show(draw, output)
    else:
        from roofline.reports.validation_export import render_validation_csv, render_validation_markdown

        emit(render_validation_csv(data) if format == "csv" else render_validation_markdown(data), output)
