"""`roofline calibrate`: this machine, as a profile with a calibration beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roofline.commands.show import live_line
from roofline.errors import CalibrationError, OutputError

if TYPE_CHECKING:
    from roofline.calibration.data import Calibration
    from roofline.calibration.session import Progress


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``90``, ``90s``, ``2m`` or ``1h``."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no duration, as in 90s, 2m or 1h", param, ctx)
        return float(found[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


@click.command()
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="What to calibrate: cpu or cuda.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Threads within an op; those of torch if not given."
)
@click.option("--dtype", default="fp32", show_default=True, metavar="DTYPE", help="fp32, fp16 or bf16.")
@click.option("--mode", default="eager", show_default=True, metavar="MODE", help="eager, channels_last or compile.")
@click.option("--budget", type=Duration(), metavar="TIME",
              help="How long to measure: 30s, 5m; 2m if not given, and 10m compiled.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("local.yaml"), show_default=True,
              metavar="FILE.yaml", help="The profile; the calibration is written beside it.")  # fmt: skip
@click.option("--extend", is_flag=True, help="Add to the calibration that is there, in its way.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the networks drawn.")
@click.option("--quiet-wait", type=Duration(), default="60s", show_default=True, metavar="TIME",
              help="Wait at most until nobody else uses the cores, then give up; 0: do not look.")  # fmt: skip
@click.pass_context
def calibrate(
    ctx: click.Context,
    device: str,
    threads: int | None,
    dtype: str,
    mode: str,
    budget: float | None,
    output: Path,
    extend: bool,
    seed: int,
    quiet_wait: float,
) -> None:
    """Calibrate this machine.

    Measures ceilings, and the ops of synthetic networks as these run. What comes out is an ordinary profile, and beside
    it a calibration that `analyze --hw` predicts with and `validate` checks. Ctrl-C keeps what was measured, in
    NAME-stopped.yaml where there is a calibration already; --extend goes on from there. Exit code 3 says that the
    machine was too busy.
    """
    from roofline.output import check_writable
    from roofline.profile_template import slug

    if output.suffix.lower() not in (".yaml", ".yml"):
        raise OutputError(f"{output}: a profile is a YAML file: name it {output.with_suffix('.yaml').name}")
    if not slug(output.stem):
        raise OutputError(f"{output}: a profile needs a name with letters or digits, as in local.yaml")
    beside = _beside(output)
    for path in (output, beside):
        check_writable(path)
    for profile in (output, _stopped(output)):
        _check_is_calibrated(profile)
    from roofline.calibration import collect
    from roofline.calibration.file import load, save

    request = collect.Request(
        device=device, threads=threads, dtype=dtype, mode=mode, seed=seed, quiet_wait_s=quiet_wait
    )
    base = None
    if extend:
        given = ctx.get_parameter_source
        settled = ("device", "threads", "dtype", "mode", "seed")
        fixed = [name for name in settled if given(name) is click.core.ParameterSource.COMMANDLINE]
        if fixed:
            raise click.UsageError(f"--extend goes on as the calibration began: leave out --{fixed[0]}")
        if not beside.exists():
            raise CalibrationError(f"{beside}: there is no calibration to extend; leave out --extend to make one")
        base = load(beside)
        request = collect.extended(base, request)
    request = replace(request, budget_s=collect.usual_budget_s(request.mode) if budget is None else budget)
    try:
        with live_line(_told) as progress:
            calibration, is_interrupted = collect.calibrate(request, base=base, progress=progress)
    except KeyboardInterrupt:
        click.echo("roofline: stopped before there was enough to keep; what was there before is untouched", err=True)
        ctx.exit(130)
    from roofline.calibration.profile import profile_of
    from roofline.output import write_text

    if is_interrupted and base is None and (output.exists() or beside.exists()):
        click.echo(f"roofline: stopped, so {output} is left as it was, and this goes beside it", err=True)
        output = _stopped(output)
        beside = _beside(output)
    save(calibration, beside)
    write_text(output, profile_of(calibration, output.stem, file=beside.name))
    click.echo("\n".join(_summary(calibration, output, beside)))
    if is_interrupted:
        ctx.exit(130)


def _beside(profile: Path) -> Path:
    """The file of a profile's calibration."""
    return profile.with_suffix(".calibration.npz")


def _stopped(profile: Path) -> Path:
    """Where a calibration goes that was stopped by hand, and is not to replace a whole one."""
    return profile.with_stem(f"{profile.stem}-stopped")


def _check_is_calibrated(profile: Path) -> None:
    """Leave alone what no calibration made.

    Raises:
        OutputError: A file is there, and is no profile with a calibration.
    """
    from roofline.errors import ProfileError
    from roofline.profiles import load_profile

    if not profile.exists():
        return
    try:
        is_calibrated = load_profile(profile.absolute()).calibration is not None
    except ProfileError:
        is_calibrated = False
    if not is_calibrated:
        raise OutputError(
            f"{profile} is there, and no calibration made it: choose another name with -o, or move it away"
        )


def _summary(calibration: Calibration, output: Path, beside: Path) -> Iterator[str]:
    """What was measured, and what to do with it."""
    from roofline.units import percent, si

    ceilings = calibration.ceilings
    factor = calibration.anchor["factor"]
    device = calibration.environment["device"]["name"]
    yield f"{device}, {calibration.threads} threads, {calibration.dtype}, {calibration.mode}"
    yield (
        f"{si(ceilings.gemm_macs_per_s, 'MAC/s')} in matrix products; "
        f"{si(ceilings.copy_bytes_per_s, 'B/s')} copying, {si(ceilings.read_bytes_per_s, 'B/s')} reading"
    )
    if ceilings.caches_bytes:
        yield f"copies slow down beyond {', '.join(f'{size / 2**10:,.0f} KiB' for size in ceilings.caches_bytes)}"
    yield f"{len(calibration.ops):,} kernel calls in {len(calibration.wholes)} synthetic networks"
    yield (
        f"the machine was {factor['median']:.2f} times as slow as at its reference state (80 % of the time "
        f"{factor['p10']:.2f} to {factor['p90']:.2f}); {percent(calibration.left_out / calibration.total_samples)} of "
        "the samples were left out"
    )
    yield from (f"note: {note}" for note in calibration.all_notes)
    yield f"Wrote {output} and {beside}. Predict with: roofline analyze MODEL --hw {output}"
    yield f"Check it with: roofline validate MODEL... --hw {output}"


def _told(progress: Progress) -> str:
    if progress.phase == "waiting":
        return f"calibrating: waiting until no other process uses the cores, {progress.left_s:.0f} s at most"
    if progress.phase == "ceilings":
        return f"calibrating: ceilings, {progress.left_s:.0f} s left"
    doing = "compiling one, " if progress.phase == "compiling" else ""
    return (
        f"calibrating: {doing}{progress.networks} networks, {progress.kernels:,} kernel calls, machine "
        f"{progress.factor:.2f}x, {progress.left_s:.0f} s left"
    )
