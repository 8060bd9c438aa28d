"""A what-if as text for other programs: CSV and Markdown. (JSON is its own `to_json`.)"""

from __future__ import annotations

import csv
import io

from roofline import whatif_words as words
from roofline.reports.export import _escape, _markdown_table
from roofline.units import milliseconds, seconds, shape_list, si, significant
from roofline.whatif import COLUMNS, Way, WhatIf


def render_whatif_csv(whatif: WhatIf) -> str:
    """One line an alternative; empty where it cannot be run. Shapes as 1x3x224x224."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in whatif.rows():
        writer.writerow({**row, "input_shapes": shape_list(map(tuple, row["input_shapes"]))})
    return text.getvalue()


def render_whatif_markdown(whatif: WhatIf, *, top: int = 5) -> str:
    """The verdict and the tables, to paste into an issue or a pull request."""
    lines = [_escape(whatif.verdict()), ""]
    if whatif.elasticities:
        header = ["the latency answers to", "elasticity", "10 % better, ms", "at best, ms", "next knee"]
        rows = [
            [
                words.FIGURES[item.quantity][0],
                significant(item.better),
                milliseconds(item.step_latency_s),
                milliseconds(item.limit_latency_s),
                "-" if item.knee_factor is None else words.times(item.knee_factor),
            ]
            for item in whatif.elasticities
        ]
        lines += [*_markdown_table(header, rows), ""]
    if whatif.target_s is not None:
        header = [f"to {seconds(whatif.target_s)} by", "peak", "bandwidth"]
        lines += [*_markdown_table(header, [[words.WAYS[way.name], *_rates(way)] for way in whatif.ways]), ""]
    lines += [*_alternatives(whatif), ""]
    layers = whatif.best_layers(top)
    if layers:
        header = ["layer", "kind", "ms", "ms saved by half its bytes", "ms saved by half its MACs"]
        savings = [
            [
                layer.name, layer.kind, milliseconds(layer.latency_s), milliseconds(layer.half_bytes_s),
                milliseconds(layer.half_macs_s),
            ]
            for layer in layers
        ]  # fmt: skip
        lines += [*_markdown_table(header, savings), ""]
    return "\n".join([*lines, *(f"{_escape(note)}  " for note in words.notes(whatif)), ""])


def _alternatives(whatif: WhatIf) -> list[str]:
    """The alternatives; a column is there where it has something to say."""
    target_s = whatif.target_s
    top1 = any(other.top1 is not None for other in whatif.alternatives)
    within = "" if target_s is None else f"within {seconds(target_s)}"
    header = ["run it as", "ms an image", "ratio", within, "top-1, %" if top1 else "", "for one image"]
    rows = [
        [
            name,
            "-" if other.image_latency_s is None else milliseconds(other.image_latency_s),
            "-" if other.ratio is None else words.times(other.ratio),
            words.within(other.latency_s, other.latency_kind, target_s or 0.0) or "-",
            "-" if other.top1 is None else f"{other.top1:.1f}",
            words.what_changes(whatif, other),
        ]
        for name, other in words.rows(whatif)
    ]
    shown = [i for i, title in enumerate(header) if title]
    return _markdown_table([header[i] for i in shown], [[row[i] for i in shown] for row in rows])


def _rates(way: Way) -> list[str]:
    """The two figures with their factors; rounded up, so that they are enough."""
    if way.peak_factor is None or way.bandwidth_factor is None:
        return ["-", "-"]
    return [
        "any"
        if not factor
        else si(value, unit)
        if factor == 1
        else f"{si(words.at_least(value), unit)} ({words.times(words.at_least(factor))})"
        for factor, value, unit in (
            (way.peak_factor, way.peak_macs_per_s or 0.0, "MAC/s"),
            (way.bandwidth_factor, way.bandwidth_bytes_per_s or 0.0, "B/s"),
        )
    ]
