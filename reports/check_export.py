"""A check as Markdown, for a comment on a pull request or the summary of a job. (JSON is its own `to_json`.)"""

from __future__ import annotations

from collections.abc import Sequence

from roofline import check_words as words
from roofline.check import Check
from roofline.reports.export import _escape

NAMES = ("", "kind")  # headings of columns whose cells are text and stand to the left


def render_check_markdown(check: Check, *, top: int = 3) -> str:
    """The verdict, the budgets, for each broken one its layers, and the notes.

    Whatever the model brought, such as the names of its layers, stands in it as it is spelt: nothing of it is markup,
    and a forge makes no link or mention of it.
    """
    name, where = words.subject(check.analysis)
    lines = [f"**{_plain(check.verdict())}**", "", f"{_code(name)} {_plain(where)}", "", *_table(words.budgets(check))]
    for _, rows in words.lines_of(check, top):
        lines += ["", *_table(rows, named=True)]
    lines += ["", *(f"{_plain(note)}  " for note in words.notes(check))]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: words.Rows, *, named: bool = False) -> list[str]:
    """A table; `named` ones have layers in their first column, but for the last row of what is left."""
    marks = ["---" if i == 0 or title in NAMES else "---:" for i, title in enumerate(rows.header)]
    body = []
    for first, *others in rows.rows:
        is_layer = named and bool(others[0])  # what has no kind is no layer
        body.append([_code(first) if is_layer else _plain(first), *(_cell(cell) for cell in others)])
    return [_line([_plain(title) for title in rows.header]), _line(marks), *map(_line, body)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return f"**{text}**" if text == "OVER" else _plain(text)


def _plain(text: str) -> str:
    """Text, of which nothing is markup."""
    return _escape(text).replace("&", "&amp;")


def _code(text: str) -> str:
    """The same, set as code; in HTML, as a name may have backticks."""
    return f"<code>{_plain(text)}</code>"
