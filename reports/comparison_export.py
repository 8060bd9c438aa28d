"""A comparison as text for other programs: CSV and Markdown. (JSON is its own `to_json`.)"""

from __future__ import annotations

import csv
import io

from roofline import comparison_words as words
from roofline.comparison import COLUMNS, Comparison, Difference
from roofline.reports.export import _escape, _markdown_table
from roofline.units import milliseconds, percent, si, significant


def render_comparison_csv(comparison: Comparison) -> str:
    """One line for each layer of each difference: the columns of the frame; empty where a side lacks the layer."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(comparison.rows())
    return text.getvalue()


def render_comparison_markdown(comparison: Comparison, *, top: int = 10) -> str:
    """The verdict, the totals and what changed most, to paste into an issue or a pull request."""
    lines = [_escape(comparison.verdict()), "", *_totals(comparison), ""]
    for difference in comparison.differences:
        if len(comparison.differences) > 1:
            lines += [_escape(words.of_two(difference)), ""]
        if top and difference.changes():
            lines += [*_layers(difference, top), ""]
    return "\n".join([*lines, *(f"{_escape(note)}  " for note in words.notes(comparison)), ""])


def _totals(comparison: Comparison) -> list[str]:
    ratios = {difference.other: _ratio(difference) for difference in comparison.differences}
    rows = [
        (
            side.label, si(totals["macs"], digits=4), si(totals["params"], digits=4), si(totals["mem_bytes"], "B"),
            milliseconds(side.latency_s), side.latency_kind, percent(totals["compute_bound_share"]),
            ratios.get(side, ""),
        )
        for side, totals in ((side, side.totals()) for side in comparison.sides)
    ]  # fmt: skip
    return _markdown_table(["", "MACs", "params", "bytes", "ms", "is a", "compute-bound", "ratio"], rows)


def _ratio(difference: Difference) -> str:
    """Of a bound and a prediction, none."""
    ratio = difference.ratios()["latency_s"]
    return f"{significant(ratio)}x {difference.baseline.label}" if difference.is_like and ratio is not None else "-"


def _layers(difference: Difference, top: int) -> list[str]:
    changes = difference.changes()
    before, after = difference.baseline.layer_latency_s, difference.other.layer_latency_s
    rows = [
        (
            change.name, change.kind,
            "added" if change.baseline is None else milliseconds(before[change.baseline]),
            "removed" if change.other is None else milliseconds(after[change.other]),
            f"{'+' if change.delta_s > 0 else ''}{milliseconds(change.delta_s)}",
            "-" if change.share is None else f"{100 * change.share:+.1f} %",
        )
        for change in changes[:top]
    ]  # fmt: skip
    title = f"{len(rows)} of {len(changes)} changed layers"
    return _markdown_table([title, "kind", "ms before", "ms after", "change", "of all before"], rows)
