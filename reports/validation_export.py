"""A validation as text for other programs: CSV and Markdown. (JSON is its own `to_json`.)"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from roofline import validation_words as words
from roofline.reports.export import _escape, _markdown_table
from roofline.reports.validation_terminal import share
from roofline.units import milliseconds, shape

Plain = Mapping[str, Any]

INTERVALS = ("interval80", "interval90", "measured_ci95")
SAME = ("model", "reference", "family", "batch", "mode", "dtype", "estimator", "predicted_s", "fallback_share",
        "outside_share", "measured_s", "timed_s", "machine_factor", "between_process", "status", "error", "verdict",
        "reason")  # fmt: skip
COLUMNS = (*SAME[:3], "input_shape", *SAME[3:], *(f"{name}_{end}_s" for name in INTERVALS for end in ("low", "high")))


def render_validation_csv(data: Plain) -> str:
    """One line a model and estimator; empty where a value is not known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in data["rows"]:
        line = {key: row[key] for key in SAME}
        sizes = row["input_shape"]
        several = sizes if not sizes or isinstance(sizes[0], list) else [sizes]
        line["input_shape"] = " ".join(shape(tuple(one)) for one in several)
        for name in INTERVALS:
            if row[f"{name}_s"] is not None:
                line[f"{name}_low_s"], line[f"{name}_high_s"] = row[f"{name}_s"]
        writer.writerow(line)
    return text.getvalue()


def render_validation_markdown(data: Plain) -> str:
    """The verdict, the models and the estimators, to paste into an issue or a pull request."""
    lines = [_escape(words.verdict(data)), "", _escape(words.where(data)), ""]
    if data["rows"]:
        header = [
            "model",
            "predicted, ms",
            "90 % interval, ms",
            "measured, ms",
            "95 % interval, ms",
            "error",
            "verdict",
        ]
        rows = [
            [
                row["model"],
                milliseconds(row["predicted_s"]),
                "-" if row["interval90_s"] is None else " to ".join(map(milliseconds, row["interval90_s"])),
                milliseconds(row["measured_s"]),
                " to ".join(map(milliseconds, row["measured_ci95_s"])),
                words.signed(row["error"]),
                row["verdict"],
            ]
            for row in words.worst_first(data)
        ]
        lines += [*_markdown_table(header, rows), "", *_estimators(data), ""]
    said = [words.quality(data["summary"]), words.intervals(data["summary"]), words.noise(data), words.machine(data),
            *words.remarks(data), words.frozen(data)]  # fmt: skip
    return "\n".join([*lines, *(f"- {_escape(line)}" for line in said if line)]) + "\n"


def _estimators(data: Plain) -> list[str]:
    header = ["estimator", "decided", "right", "median error", "within 5 %", "within 10 %", "within 20 %", "bias"]
    rows = []
    for summary in data["summaries"]:
        steady = summary["steady"]
        rows.append(
            [
                summary["estimator"],
                str(summary["decided"]),
                str(summary["right"]),
                words.tenth(steady["median_error"]),
                *(share(steady[f"within_{most}"]) for most in (5, 10, 20)),
                words.bias(steady["bias"]),
            ]
        )
    return _markdown_table(header, rows)
