"""Activation functions element by element in a terminal, and as CSV and Markdown: bytes a second at each level."""

from __future__ import annotations

import csv
import io

from rich.console import Group, RenderableType
from rich.text import Text

from roofline.elementwise import COPY, SCALE, Elementwise, Timing
from roofline.reports.export import _escape, _markdown_table
from roofline.reports.terminal import _table
from roofline.units import printable, significant

MARKS = {"memory": "m", "compute": "c", "overhead": "o"}
STYLES = {"memory": "cyan", "compute": "dark_orange", "overhead": "dim"}
LEGEND = "m: memory-bound, c: compute-bound, o: the call takes longer than the work."
PLACES = ((False, "Out of place"), (True, "In place"))
COLUMNS = (
    "activation", "level", "in_place", "elements", "footprint_bytes", "latency_s", "ci95_low_s", "ci95_high_s",
    "overhead_s", "bytes_per_s", "speed", "bound", "vector_ops_per_s", "status",
)  # fmt: skip


def render_elementwise(result: Elementwise, *, width: int = 80) -> RenderableType:
    """The verdict, a table of GB/s out of place and one in place, and the notes."""
    parts: list[RenderableType] = [
        Text.assemble(("Activation functions", "bold"), "  element by element, fp32, one thread of this CPU"),
        Text(printable(result.verdict()), style="bold"),
        Text(),
    ]
    for in_place, title in PLACES:
        header = (f"{title}, GB/s", *(level.name for level in result.levels))
        parts += [_table(header, _rows(result, in_place), width=width), Text()]
    sizes = ", ".join(f"{level.name} {binary_size(level.footprint_bytes)}" for level in result.levels)
    notes = [LEGEND, f"Buffers: {sizes}.", *result.notes()]
    return Group(*parts, *(Text(printable(note), style="dim") for note in notes))


def _rows(result: Elementwise, in_place: bool) -> list[list[str | Text]]:
    names = [SCALE if in_place else COPY, *result.activations]
    found = [[result.find(name, level.name, in_place) for level in result.levels] for name in names]
    return [[label_of(name), *map(_cell, timings)] for name, timings in zip(names, found, strict=True)]


def label_of(name: str) -> str:
    """What a function, or a reference, is called."""
    from roofline.activation_comparison import LABELS

    return {COPY: "copy", SCALE: "times 1"}.get(name, LABELS.get(name, name))


def _cell(timing: Timing | None) -> str | Text:
    if timing is None:
        return "-"
    value = significant(timing.bytes_per_s / 1e9)
    if timing.activation in (COPY, SCALE):
        return f"{value}  "
    return Text.assemble(value, " ", (MARKS[timing.bound], STYLES[timing.bound]))


def binary_size(size: int) -> str:
    """A size of memory, in KiB, MiB or GiB.

    >>> binary_size(24 * 1024), binary_size(3 * 2**19)
    ('24 KiB', '1.5 MiB')
    """
    for scale, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= scale:
            return f"{significant(size / scale)} {unit}"
    return f"{size} B"


def render_elementwise_csv(result: Elementwise) -> str:
    """One line a timing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for timing in result.timings:
        low, high = timing.ci95_s
        writer.writerow({**timing.to_dict(), "ci95_low_s": low, "ci95_high_s": high})
    return text.getvalue()


def render_elementwise_markdown(result: Elementwise) -> str:
    """The verdict, the two tables, and the notes."""
    lines = [_escape(result.verdict()), ""]
    for in_place, title in PLACES:
        header = [f"{title.lower()}, GB/s", *(level.name for level in result.levels)]
        rows = [[str(cell).strip() for cell in row] for row in _rows(result, in_place)]
        lines += [*_markdown_table(header, rows), ""]
    return "\n".join([*lines, *(f"{_escape(note)}  " for note in [LEGEND, *result.notes()]), ""])
