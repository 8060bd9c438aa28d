"""What the tests of pages look for: a table of a page, and the traces of a figure that have a role."""

from __future__ import annotations

from typing import Any

from roofline.reports.pages import Page
from roofline.reports.tables import Table


def table(page: Page, name: str) -> Table:
    """The table that the template knows by this name."""
    found = page.context[f"{name}_table"]
    assert isinstance(found, Table)
    return found


def traces(page: Page, figure: str, role: str) -> list[Any]:
    """In the order they are drawn."""
    return [trace for trace in page.figures[figure].data if (trace.meta or {}).get("role") == role]
