"""A design space in a terminal: how fast its networks are, where, and which are worth a look; and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from roofline.exploring.statistics import along
from roofline.reports.terminal import _table
from roofline.units import percent, printable, seconds, si

if TYPE_CHECKING:
    from roofline.exploring.analysis import Place, Summary
    from roofline.spaces import Space

QUANTILES = (("least", 0.0), ("5 %", 0.05), ("median", 0.5), ("95 %", 0.95), ("most", 1.0))
LATENCY, RIDGE = "latency_s:", "ridge="
GAP = 2  # cells between two columns
MOST_PLACES = 4  # whose latencies stand beside each network, if there is room
MOST_OF_A_FRONT = 40  # networks that are listed
RELATIVE = "At a ridge point, latency is relative: in the time of one MAC at the peak, as in 'roofline sweep'."

Row = Mapping[str, Any]


def render_space(
    summary: Summary, *, best: int = 10, front: Sequence[Row] | None = None, is_kept: bool = False, width: int = 80
) -> RenderableType:
    """The verdict, latency by device, and the networks that were asked for.

    Args:
        summary: Of a run.
        best: How many of its best networks to list, at most as many as it has.
        front: Networks of a Pareto front, to be listed too.
        is_kept: Whether its folder stays.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [Text(printable(summary.verdict()), style="bold"), Text()]
    header = ("Latency", *(name for name, _ in QUANTILES), "compute")
    parts += [_table(header, [_place(place) for place in summary.places], width=width), Text()]
    by_index = {row["index"]: row for row in summary.rows}
    if best:
        rows = [by_index[index] for index in summary.best[:best]]
        parts += _listed(f"Best {len(rows)} by {_short(summary.by)}", rows, summary, width)
        if rows:
            parts += [Text(_configuration(rows[0], summary)), Text()]
    if front is not None:
        shown = [front[place] for place in along(len(front), MOST_OF_A_FRONT)]
        title = f"Pareto front, {len(front)} networks"
        if len(shown) < len(front):
            title += f": {len(shown)} of them, evenly along it; --format csv lists all"
        parts += _listed(title, shown, summary, width)
    notes = [RELATIVE] if any(place.ridge_point is not None for place in summary.places) else []
    notes.append(_next(summary, has_front=front is not None, is_kept=is_kept))
    return Group(*parts, *(Text(note, style="dim") for note in notes))


def _next(summary: Summary, *, has_front: bool, is_kept: bool) -> str:
    """What else there is to ask for."""
    worth = "of most MACs" if summary.value == "macs" else f"of the highest {summary.value}"
    hints = [] if has_front else [f"--pareto lists the networks {worth} in the least time"]
    hints.append("--top K the K best" if hints else "--top K lists the K best")
    if not is_kept:
        hints.append("-o FOLDER keeps the dataset and its report")
    return f"Next: {', '.join(hints)}."


def _configuration(row: Row, summary: Summary) -> str:
    """The parameters of a network, as --set takes them."""
    values = ((name, row.get(name)) for name in summary.parameters)
    told = (f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in values)
    return printable(f"Draw {row['index']}: {' '.join(told)}")


def render_spaces(spaces: Sequence[Space], *, width: int = 80) -> RenderableType:
    """The spaces there are, with what they are and their parameters."""
    parts: list[RenderableType] = []
    for space in spaces:
        parts.append(Text.assemble((space.name, "bold"), f"  {space.summary}"))
        parts.append(Text(f"  {', '.join(space.parameters())}", style="dim"))
    note = "One of your own: FILE.py:NAME; docs/spaces.md shows how. --set NAME=VALUE holds a parameter."
    return Group(*parts, Text(), Text(note, style="dim"))


def render_networks_csv(rows: Sequence[Row]) -> str:
    """One line a network, the columns of the dataset; lists with blanks between their items."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _place(place: Place) -> tuple[str, ...]:
    """One line: how latency is distributed on a device."""
    share = place.compute_bound_share
    return (
        place.id,
        *(_latency(place.id, place.latency_s.quantile(share)) for _, share in QUANTILES),
        "" if share is None else percent(share),
    )


def _listed(title: str, rows: Sequence[Row], summary: Summary, width: int) -> list[RenderableType]:
    """Networks, one a line: their size, and how fast they are."""
    judged = [name for name in ("accuracy", "reward") if name in rows[0]] if rows else []
    places = [place.id for place in summary.places]
    columns: list[tuple[str, ...]] = [
        ("Draw", *(str(row["index"]) for row in rows)),
        ("MACs", *(si(row["macs"]) for row in rows)),
        ("params", *(si(row["params"]) for row in rows)),
        *((name, *(f"{row[name]:.4g}" for row in rows)) for name in judged),
        *((place, *(_latency(place, row[f"{LATENCY}{place}"]) for row in rows)) for place in places[:MOST_PLACES]),
    ]
    fewest = len(columns) - len(places[:MOST_PLACES]) + 1
    while len(columns) > fewest and sum(max(map(len, column)) + GAP for column in columns) > width + GAP:
        columns.pop()
    header, *lines = zip(*columns, strict=True)
    left_out = len(places) - (len(columns) - fewest + 1)
    note = [Text(f"{left_out} more of the devices and ridge points: --format csv", style="dim")] if left_out else []
    return [Text(title, style="bold"), _table(header, lines, width=width), *note, Text()]


def _latency(place: str, value: float) -> str:
    return si(value) if place.startswith(RIDGE) else seconds(value)


def _short(column: str) -> str:
    return f"latency on {column.removeprefix(LATENCY)}" if column.startswith(LATENCY) else column
