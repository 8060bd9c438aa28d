"""A measurement in a terminal: both latencies of each model, what they are worth, and how the machine was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline.measurement import words
from roofline.reports.terminal import _table, _time
from roofline.units import percent, printable, seconds, time_unit

Plain = Mapping[str, Any]

WIDE = 100  # columns
STATUS_STYLES = {"ok": "green", "capped": "yellow", "noisy": "yellow", "contended": "red", "throttled": "red"}


def render_measurement(run: Plain, *, top: int = 10, width: int = 80, failures: bool = True) -> RenderableType:
    """Verdict, a table of the models, their layers if timed, and remarks.

    Args:
        run: What `roofline.measurement.result.Run.to_dict` gives.
        top: Layers shown of each model; 0 for none.
        width: Columns of the terminal.
        failures: Whether to tell what could not be measured, which a command may do elsewhere.
    """
    parts: list[RenderableType] = [Text(printable(words.verdict(run)), style="bold"), Text(printable(words.where(run)))]
    if run["measurements"]:
        parts += [Text(), _models(run["measurements"], width), Text()]
    for each in run["measurements"]:
        if each["layers"] and top:
            parts += [_layers(each["layers"], top, width), Text(printable(words.gap(each["layers"]))), Text()]
    parts += [Text(printable(line)) for line in words.remarks(run, failures=failures)]
    if run["measurements"]:
        parts += [Text(line, style="dim") for line in (printable(words.machine(run)), words.TWO_LATENCIES) if line]
    return Group(*parts)


def _models(measurements: Sequence[Plain], width: int) -> Table:
    unit = time_unit(max(each["latency_s"]["median"] for each in measurements))
    has_kernels = any(each["kernel_latency_s"] for each in measurements)
    is_wide = width >= WIDE
    header = ["Model", "how", f"timed {unit[1]}", *(["kernels"] if has_kernels else []), "reference", "+/-",
              *(["p90"] if is_wide else []), "n", "status"]  # fmt: skip
    rows: list[Sequence[str | Text]] = []
    for each in measurements:
        kernel, share = each["kernel_latency_s"], words.half_width(each)
        rows.append(
            (
                words.name(each),
                each["dtype"] if each["mode"] == "eager" else f"{each['dtype']} {each['mode']}",
                _time(each["latency_s"]["median"], unit),
                *([_time(kernel["median"], unit) if kernel else "-"] if has_kernels else []),
                _time(each["reference_latency_s"]["median"], unit),
                "-" if share is None else f"{share * 100:.1f} %",
                *([_time(each["reference_latency_s"]["p90"], unit)] if is_wide else []),
                str(each["reference_latency_s"]["n"]),
                Text(each["status"], STATUS_STYLES.get(each["status"], "")),
            )
        )
    return _table(header, rows, width=width - len(header) + 1)  # it has two blanks between columns


def _layers(layers: Plain, top: int, width: int) -> Table:
    rows = [row for row in layers["rows"] if row["latency_s"] is not None]
    shown = sorted(rows, key=lambda row: -row["latency_s"])[:top]
    total_s = sum(row["latency_s"] for row in rows) or 1.0
    unit = time_unit(total_s)
    header = (f"Top {len(shown)} of {len(layers['rows'])} layers", "kind", f"timed {unit[1]}", "share")
    lines = [
        (row["name"], row["kind"], _time(row["latency_s"], unit), percent(row["latency_s"] / total_s)) for row in shown
    ]
    return _table(header, lines, width=width - len(header) + 1)


def progress_line(told: Any) -> str:
    """How far a session is, in a line: `roofline.measurement.session.Progress` in words."""
    parts = [told.model]
    if told.processes > 1:
        parts.append(f"process {told.process + 1} of {told.processes}")
    if told.phase == "warm-up":
        parts.append("warming up")
    elif told.phase == "layers":
        parts.append(f"layers, round {told.round + 1}")
    else:
        parts.append(f"round {told.round + 1}")
    if told.estimate_s is not None:
        width = "" if told.half_width is None else f" +/- {told.half_width * 100:.1f} %"
        parts.append(f"{seconds(told.estimate_s)}{width} of {told.samples}")
    parts.append(f"{told.done} of {told.models} done")
    parts.append(f"{told.left_s:.0f} s left at most")
    return printable(", ".join(parts))


def fleet_line(told: Any) -> str:
    """How far a fleet is, in a line: `roofline.measurement.fleet.Progress` in words."""
    parts = [f"{told.done} of {told.total} measured"]
    if told.failed:
        parts.append(f"{told.failed} failed")
    parts.append(f"{told.workers} worker{'' if told.workers == 1 else 's'}")
    if told.running:
        parts.append(f"at work: {', '.join(told.running)}")
    return printable(", ".join(parts))
