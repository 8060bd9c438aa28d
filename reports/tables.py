"""Tables of the HTML reports as plain values; `templates/macros.html.j2` draws them and `report.js` sorts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roofline.units import time_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: Its name in a copied CSV, with its unit: ``latency_s``.
        label: Its heading.
        unit: Shown small beside the heading.
        numeric: Whether it is set to the right, and sorted from large to small at first.
        wrap: Whether its cells may break into lines.
        filter: Whether a choice of its values is offered above the table.
    """

    key: str
    label: str
    unit: str = ""
    numeric: bool = False
    wrap: bool = False
    filter: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, and the value that it is sorted and copied by where that is not the text.

    Attributes:
        text: Shown.
        value: Unrounded, in SI base units.
        color: Of a mark before the text, as `roofline.reports.figures.color` gives it; none if empty.
        share: 0 to 1, drawn as a thin bar behind the text; none if None.
        lead: What the whole text begins with, where that is too long to show: a folder. It is searched, copied and read
            aloud with the text, and the whole is shown under the pointer.
    """

    text: str
    value: str | float | int | None = None
    color: str = ""
    share: float | None = None
    lead: str = ""

    @property
    def whole(self) -> str:
        """The text with its lead."""
        return self.lead + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: with a caption for those who cannot see what surrounds it.

    Attributes:
        id: Of the element; unique in the page.
        caption: What it lists.
        columns: From left to right; the first names the row.
        rows: One list of cells a row; a plain text is a cell too.
        sorted_by: Key of the column it is sorted by; empty: in an order of its own.
        ascending: Whether that column's smallest is first.
        searchable: Whether a search box, the choices of `Column.filter` and "Copy as CSV" stand above it.
        linked: Whether row i stands for item i of the figures, and they highlight each other.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | str]] = field(default=())
    sorted_by: str = ""
    ascending: bool = False
    searchable: bool = False
    linked: bool = False

    def cells(self) -> list[list[Cell]]:
        """The rows, each text in a cell."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]

    def choices(self, column: int) -> list[str]:
        """The values of a column, each once, in alphabetical order."""
        return sorted({row[column].whole for row in self.cells()})


def time_column(longest_s: float) -> tuple[float, str, int]:
    """Unit in seconds, its name, and decimals for a column of times of which this is the longest."""
    scale, unit = time_unit(longest_s)
    return scale, unit.replace("us", "\u00b5s"), min(3, max(1, 4 - len(str(int(longest_s / scale)))))


def layer_bytes(layer: Mapping[str, Any]) -> int:
    """All traffic of a layer of an analysis."""
    return int(layer["weight_bytes"] + layer["activation_bytes"])
