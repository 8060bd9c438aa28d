"""A comparison of activations as text for other programs: CSV and Markdown. (JSON is its own `to_json`.)"""

from __future__ import annotations

import csv
import io
from typing import Any

from roofline import activation_words as words
from roofline.activation_comparison import ActivationComparison, Place, Row, interval_of
from roofline.reports.export import _escape, _markdown_table
from roofline.units import milliseconds, shape_list, si, significant

COLUMNS = (
    "activation", "where", "latency_kind", "params", "macs", "vector_ops", "mem_bytes", "latency_s", "ci95_low_s",
    "ci95_high_s", "ratio_to_relu", "ratio_ci95_low", "ratio_ci95_high", "status",
)  # fmt: skip


def render_activations_csv(comparison: ActivationComparison) -> str:
    """One line an activation and place, that of the measurement last; empty where there is nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for row in comparison.rows:
        costs = {key: getattr(row, key) for key in ("activation", "params", "macs", "vector_ops", "mem_bytes")}
        for place in comparison.places:
            item = row.predictions[place.id]
            writer.writerow(
                {
                    **costs,
                    "vector_ops": item.vector_ops,
                    "mem_bytes": item.mem_bytes,
                    "where": place.id,
                    "latency_kind": place.latency_kind,
                    "latency_s": item.latency_s,
                    "ratio_to_relu": comparison.ratio_predicted(row, place.id),
                }
            )
        if row.measurement is not None:
            writer.writerow({**_counted_eagerly(comparison, costs), **_measured_columns(comparison, row)})
    return text.getvalue()


def _counted_eagerly(comparison: ActivationComparison, costs: dict[str, Any]) -> dict[str, Any]:
    """Without the counts that are of another fusion and dtype than the one that was measured."""
    return {
        key: value for key, value in costs.items() if not comparison.places or key not in ("vector_ops", "mem_bytes")
    }


def _measured_columns(comparison: ActivationComparison, row: Row) -> dict[str, Any]:
    assert row.measurement is not None
    latency, ratio = row.measurement.latency_s, comparison.ratio_measured(row)
    low_s, high_s = interval_of(latency) or ("", "")
    low, high = (ratio and ratio.ci95) or ("", "")
    return {
        "where": comparison.device,
        "latency_kind": "measurement",
        "latency_s": latency.median,
        "ci95_low_s": low_s,
        "ci95_high_s": high_s,
        "ratio_to_relu": ratio.value if ratio else "",
        "ratio_ci95_low": low,
        "ratio_ci95_high": high,
        "status": row.measurement.status,
    }


def render_activations_markdown(comparison: ActivationComparison) -> str:
    """The verdict, a table, the reasons, and the notes."""
    shapes = shape_list(comparison.input_shapes)
    header = ["activation", "params", "MACs", "vector ops", "bytes"]
    for place in comparison.places:
        header += [f"{place.id}, ms ({place.latency_kind})", "x ReLU"]
    if comparison.device is not None:
        header += [f"this {comparison.device}, ms (measurement)", "x ReLU (95 %)"]
    rows = []
    for row in comparison.rows:
        cells = [
            row.label,
            si(row.params, digits=4),
            si(row.macs, digits=4),
            si(row.vector_ops),
            si(row.mem_bytes, "B"),
        ]
        for place in comparison.places:
            ratio = comparison.ratio_predicted(row, place.id)
            cells += [milliseconds(row.predictions[place.id].latency_s), "-" if ratio is None else significant(ratio)]
        if comparison.device is not None:
            cells += _measured(comparison, row)
        rows.append(cells)
    reasons = [line for place in comparison.places for line in _reasons(comparison, place)]
    told = words.published(comparison)
    return "\n".join(
        (
            f"**{_escape(comparison.name)}** ({shapes})", "", _escape(comparison.verdict()), "",
            *_markdown_table(header, rows), "",
            *(f"{_escape(line)}  " for line in [*reasons, *told, *words.notes(comparison)]), "",
        )
    )  # fmt: skip


def _reasons(comparison: ActivationComparison, place: Place) -> list[str]:
    """Each with its place; where all are equal, the verdict has it."""
    if comparison.are_equal(place.id):
        return []
    return [f"{place.id}: {line}" for line in words.reasons(comparison, place)]


def _measured(comparison: ActivationComparison, row: Row) -> list[str]:
    ratio = comparison.ratio_measured(row)
    if row.measurement is None:
        return ["-", "-"]
    limits_s = interval_of(row.measurement.latency_s)
    said = [" to ".join(map(milliseconds, limits_s))] if limits_s else []
    said += [] if row.measurement.status == "ok" else [row.measurement.status]
    latency = milliseconds(row.measurement.latency_s.median) + (f" ({', '.join(said)})" if said else "")
    if ratio is None:
        return [latency, "-"]
    limits = "" if row is comparison.baseline or not ratio.ci95 else f" ({' to '.join(map(significant, ratio.ci95))})"
    return [latency, f"{significant(ratio.value)}{limits}"]
