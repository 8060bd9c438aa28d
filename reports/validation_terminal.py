"""A validation in a terminal: what the stopwatch says of the predictions, the misses first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline import validation_words as words
from roofline.reports.terminal import _table, _time
from roofline.units import percent, printable, time_unit

Plain = Mapping[str, Any]

WIDE = 100  # columns
VERDICT_STYLES = {"right": "green", "wrong": "red", "undecided": "yellow"}


def render_validation(data: Plain, *, top: int = 10, width: int = 80) -> RenderableType:
    """Verdict, the models, the estimators side by side, families, kernel classes and layers, and remarks.

    Args:
        data: What `roofline.validation.Validation.to_dict` gives.
        top: Families, kernel classes and layers shown; 0 for none.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [
        Text(printable(words.verdict(data)), style="bold"),
        Text(printable(words.where(data))),
    ]
    if data["rows"]:
        parts += [Text(), _models(data, width), Text(), _estimators(data, width), Text()]
        if top:
            parts += [part for table in _details(data, top, width) for part in (table, Text())]
    said = [words.quality(data["summary"]), words.intervals(data["summary"]), words.noise(data), *words.remarks(data)]
    parts += [Text(printable(line)) for line in said if line]
    parts += [
        Text(printable(line), style="dim")
        for line in (words.SIDE_BY_SIDE, words.machine(data), words.frozen(data))
        if line
    ]
    return Group(*parts)


def _models(data: Plain, width: int) -> Table:
    rows = words.worst_first(data)
    unit = time_unit(max(max(row["predicted_s"], row["measured_s"]) for row in rows))
    is_wide = width >= WIDE
    header = ["Model, misses first", f"predicted {unit[1]}", "90 % interval", "measured",
              *(["95 % interval"] if is_wide else []), "error", "verdict"]  # fmt: skip
    lines = [
        (
            row["model"],
            _time(row["predicted_s"], unit),
            _range(row["interval90_s"], unit),
            _time(row["measured_s"], unit),
            *([_range(row["measured_ci95_s"], unit)] if is_wide else []),
            words.signed(row["error"]),
            Text(row["verdict"], VERDICT_STYLES.get(row["verdict"], "")),
        )
        for row in rows
    ]
    return _table(header, lines, width=width - len(header) + 1)


def _range(interval_s: Sequence[float] | None, unit: tuple[float, str]) -> str:
    return "-" if interval_s is None else "..".join(_time(end, unit) for end in interval_s)


def _estimators(data: Plain, width: int) -> Table:
    """Side by side; over the rows that are fit to judge by, as these are the same for all."""
    is_wide = width >= WIDE
    header = ["Estimator", "decided", "right", "median", *(["mean", "p90"] if is_wide else []), "<= 5 %", "<= 10 %",
              "<= 20 %", "bias", "rank"]  # fmt: skip
    rows = []
    for summary in data["summaries"]:
        steady = summary["steady"]
        rows.append(
            (
                f"{summary['estimator']}{' *' if summary['estimator'] == data['estimator'] else ''}",
                str(summary["decided"]),
                str(summary["right"]),
                words.tenth(steady["median_error"]),
                *((words.tenth(steady["mape"]), words.tenth(steady["p90_error"])) if is_wide else ()),
                *(share(steady[f"within_{most}"]) for most in (5, 10, 20)),
                words.bias(steady["bias"]),
                "-" if steady["spearman"] is None else f"{steady['spearman']:.3f}",
            )
        )
    return _table(header, rows, width=width - len(header) + 1)


def share(value: float | None) -> str:
    """A share, or a dash where there is none."""
    return "-" if value is None else percent(value)


def _details(data: Plain, top: int, width: int) -> Iterator[RenderableType]:
    rows: list[tuple[str, ...]]
    families, kernels, layers = data["families"], data["kernels"], data["worst_layers"]
    if len(families) > 1:
        header = [_of(top, families, "families, worst first"), "models", "right", "wrong", "median error", "bias"]
        rows = [
            (group["family"], str(group["n"]), str(group["right"]), str(group["wrong"]),
             words.tenth(group["median_error"]), words.bias(group["bias"]))
            for group in families[:top]
        ]  # fmt: skip
        yield _table(header, rows, width=width - len(header) + 1)
    if kernels:
        header = [_of(top, kernels, "kernel classes"), "layers", "share", "error", "median error"]
        rows = [
            (kernel["kernel"], str(kernel["layers"]), percent(kernel["share"]), words.signed(kernel["error"]),
             words.tenth(kernel["median_error"]))
            for kernel in kernels[:top]
        ]  # fmt: skip
        yield _table(header, rows, width=width - len(header) + 1)
    if layers:
        yield Text("The worst layers:", style="bold")
        yield Group(*(Text(printable(f"- {words.layer(row)}")) for row in layers[:top]))


def _of(top: int, items: Sequence[object], what: str) -> str:
    return f"{min(top, len(items))} of {len(items)} {what}" if len(items) > top else f"{len(items)} {what}"
