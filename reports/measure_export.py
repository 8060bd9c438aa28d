"""A measurement as text for other programs: CSV and Markdown. (JSON is its own `to_json`.)"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from roofline.measurement import words
from roofline.reports.export import _escape, _markdown_table
from roofline.units import milliseconds, shape

Plain = Mapping[str, Any]

SUMMARY = ("median", "p10", "p90", "min", "iqr")
LATENCIES = ("latency_s", "reference_latency_s", "kernel_latency_s")
COLUMNS = (
    "model", "reference", "device", "mode", "dtype", "batch", "threads", "input_shape", "params",
    *(f"{latency.removesuffix('_s')}_{part}_s" for latency in LATENCIES for part in (*SUMMARY, "low", "high")),
    "samples", "left_out", "between_process", "machine_factor", "cores_used", "status", "flags", "tag", "worker",
)  # fmt: skip


def render_measurement_csv(run: Plain) -> str:
    """One line a model; empty where a value is not known. `low` and `high` are the ends of the 95 % interval."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in run["measurements"]:
        writer.writerow(_row(each))
    return text.getvalue()


def _row(each: Plain) -> dict[str, Any]:
    sizes = each["model"]["input_shape"]
    several = sizes if not sizes or isinstance(sizes[0], list) else [sizes]
    same = ("device", "mode", "dtype", "batch", "threads", "left_out", "between_process", "machine_factor",
            "cores_used", "status")  # fmt: skip
    row = {
        "model": each["model"]["name"],
        "reference": each["model"]["reference"],
        "input_shape": " ".join(shape(tuple(one)) for one in several),
        "params": each["model"]["params"],
        "samples": each["reference_latency_s"]["n"],
        "flags": " ".join(f"{flag}:{count}" for flag, count in each["flags"].items()),
        "tag": each.get("tag"),
        "worker": each.get("worker"),
        **{key: each[key] for key in same},
    }
    for latency in LATENCIES:
        summary, stem = each[latency], latency.removesuffix("_s")
        if summary is not None:
            row |= {f"{stem}_{part}_s": summary[part] for part in SUMMARY}
            row[f"{stem}_low_s"], row[f"{stem}_high_s"] = summary["ci95"]
    return row


def render_measurement_markdown(run: Plain) -> str:
    """The verdict and the table, to paste into an issue or a pull request."""
    lines = [_escape(words.verdict(run)), "", _escape(words.where(run)), ""]
    if run["measurements"]:
        header = ["model", "how", "as timed, ms", "at reference, ms", "95 % interval, ms", "n", "status"]
        rows = [
            [
                words.name(each),
                words.how(each),
                milliseconds(each["latency_s"]["median"]),
                milliseconds(each["reference_latency_s"]["median"]),
                " to ".join(map(milliseconds, each["reference_latency_s"]["ci95"])),
                str(each["reference_latency_s"]["n"]),
                each["status"],
            ]
            for each in run["measurements"]
        ]
        lines += [*_markdown_table(header, rows), ""]
    said = [*words.remarks(run), words.machine(run)]
    return "\n".join([*lines, *(f"- {_escape(line)}" for line in said if line)]) + "\n"
