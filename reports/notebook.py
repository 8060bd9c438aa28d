"""What a notebook shows of a result."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from roofline import words
from roofline.units import milliseconds, percent, shape_list, si

if TYPE_CHECKING:
    from roofline.analysis import Analysis

SHOWN_LAYERS = 20


def render_notebook(analysis: Analysis) -> str:
    """The verdict and the slowest layers as an HTML fragment, every string escaped."""
    from jinja2 import Environment

    environment = Environment(autoescape=True)
    environment.filters.update(si=si, milliseconds=milliseconds, percent=percent)
    source = files("roofline.reports").joinpath("templates/notebook.html.j2").read_text(encoding="utf-8")
    rows = analysis.sorted_rows("time")
    return environment.from_string(source).render(
        analysis=analysis,
        rows=rows[:SHOWN_LAYERS],
        hidden=max(0, len(rows) - SHOWN_LAYERS),
        totals=analysis.totals(),
        total_s=analysis.totals()["latency_s"] or 1.0,
        shapes=shape_list(analysis.input_shapes),
        fusion=words.fusion(analysis),
        notes=words.notes(analysis),
    )
