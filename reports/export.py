"""Results as text for other programs: CSV and Markdown. (JSON is the result's own `to_json`.)"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from roofline import words
from roofline.units import milliseconds, percent, printable, shape, shape_list, si, significant

if TYPE_CHECKING:
    from roofline.analysis import Analysis


def render_csv(analysis: Analysis) -> str:
    """One line a layer, the columns of the JSON; shapes as 1x3x224x224."""
    from roofline.analysis import LAYER_COLUMNS

    text = io.StringIO()
    writer = csv.DictWriter(text, LAYER_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in analysis.rows():
        writer.writerow({**row, "input_shape": shape(row["input_shape"]), "output_shape": shape(row["output_shape"])})
    return text.getvalue()


def render_markdown(analysis: Analysis, *, top: int = 10, sort: str = "time") -> str:
    """The verdict, the totals and the top layers, to paste into an issue or a pull request."""
    totals, hardware = analysis.totals(), analysis.hardware
    layers = analysis.layers
    total_s = totals["latency_s"] or 1.0
    shapes = shape_list(analysis.input_shapes)
    rows = [
        (
            row["name"], row["kind"], si(row["macs"]), si(row["weight_bytes"] + row["activation_bytes"], "B"),
            milliseconds(row["latency_s"]), percent(row["latency_s"] / total_s), row["bound"],
        )
        for row in analysis.sorted_rows(sort)[:top]
    ]  # fmt: skip
    summary = (
        ("MACs", si(totals["macs"], digits=4)),
        ("params", si(layers.params, digits=4)),
        ("weight traffic", si(totals["weight_bytes"], "B")),
        ("activation traffic", si(totals["activation_bytes"], "B")),
        ("alive at once", si(totals["peak_activation_bytes"], "B")),
        ("intensity", f"{significant(totals['operational_intensity_macs_per_byte'])} MACs/byte"),
        ("ridge point", f"{significant(analysis.ridge_point)} MACs/byte"),
        ("latency", f"{milliseconds(totals['latency_s'])} ms ({analysis.latency_kind})"),
    )
    return "\n".join(
        (
            f"**{_escape(analysis.name)}** ({shapes}) on {_escape(hardware.name)}, {layers.dtype}, "
            f"{words.fusion(analysis)}",
            "",
            _escape(words.verdict(analysis)),
            "",
            *_markdown_table([name for name, _ in summary], [[value for _, value in summary]]),
            "",
            *(_markdown_table(["layer", "kind", "MACs", "bytes", "ms", "share", "bound"], rows) if top else ()),
            *([""] if top else ()),
            *(f"{_escape(note)}  " for note in words.notes(analysis)),
            "",
        )
    )


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(_escape(str(cell)) for cell in line)} |" for line in lines]


def _escape(text: str) -> str:
    text = printable(text)
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
