"""A check in a terminal, a log and an assertion: what is over its budget, and the layers that did it."""

from __future__ import annotations

import io

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline import check_words as words
from roofline.check import Check
from roofline.reports.terminal import _table
from roofline.units import printable

TEXT_COLUMNS = 100  # of a check as plain text
OVER, WITHIN = "red", "green"


def render_check(check: Check, *, top: int = 3, width: int = 80) -> RenderableType:
    """The verdict, the budgets, for each broken one its layers, and the notes.

    Args:
        check: What to show.
        top: Layers shown of a broken budget; 0 for none.
        width: Columns of the terminal.
    """
    name, where = words.subject(check.analysis)
    parts: list[RenderableType] = [
        Text.assemble((printable(name), "bold"), f"  {printable(where)}"),
        Text(printable(check.verdict()), style=f"bold {WITHIN if check.is_met else OVER}"),
        Text(),
        _drawn(words.budgets(check), width),
        Text(),
    ]
    for _, rows in words.lines_of(check, top):
        parts += [_drawn(rows, width), Text()]
    return Group(*parts, *(Text(printable(note), style="dim") for note in words.notes(check)))


def check_text(check: Check, *, top: int = 3) -> str:
    """The same as plain text."""
    text = io.StringIO()
    console = Console(file=text, width=TEXT_COLUMNS, color_system=None, force_terminal=False, highlight=False)
    console.print(render_check(check, top=top, width=TEXT_COLUMNS))
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _drawn(rows: words.Rows, width: int) -> Table:
    cells: list[list[str | Text]] = [
        [Text(cell, OVER if cell == "OVER" else WITHIN if cell == "within" else "") if i else cell
         for i, cell in enumerate(row)]
        for row in rows.rows
    ]  # fmt: skip
    return _table(rows.header, cells, width=width - len(rows.header))
