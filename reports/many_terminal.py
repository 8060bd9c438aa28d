"""Many models in a terminal or as Markdown: a line each, which can be printed before the next is known."""

from __future__ import annotations

from collections.abc import Sequence

from roofline.many import Failure, Summary
from roofline.reports.export import _escape
from roofline.units import percent, printable, seconds, si

HEADER = ("Model", "params", "MACs", "weights", "activations", "latency", "bound", "share")
WIDTHS = (7, 7, 8, 11, 9, 7, 6)  # of all but the first
MAX_NAME_COLUMNS = 60


class Lines:
    """The lines of a table whose rows come one by one.

    Args:
        models: All that may come, to know how wide the first column is.
        markdown: Whether it is one of Markdown.
    """

    def __init__(self, models: Sequence[str], *, markdown: bool = False) -> None:
        widest = max((len(printable(model)) for model in models), default=0)
        self._width, self._markdown = max(len(HEADER[0]), min(widest, MAX_NAME_COLUMNS)), markdown

    def header(self) -> str:
        """What stands above the rows."""
        if self._markdown:
            return f"| {' | '.join(HEADER)} |\n| --- |{' ---: |' * (len(HEADER) - 1)}\n"
        return self._aligned(HEADER)

    def row(self, row: Summary) -> str:
        """A line; the share is that of the time in layers of the bound that most of it is in."""
        cells = (
            printable(row.model),
            si(row.params),
            si(row.macs),
            si(row.weight_bytes, "B"),
            si(row.activation_bytes, "B"),
            seconds(row.latency_s),
            row.bound,
            percent(max(row.compute_bound_share, row.memory_bound_share)),
        )
        return f"| {' | '.join(map(_escape, cells))} |\n" if self._markdown else self._aligned(cells)

    def _aligned(self, cells: Sequence[str]) -> str:
        first, *others = cells
        return " ".join([first.ljust(self._width), *(c.rjust(n) for c, n in zip(others, WIDTHS, strict=True))]) + "\n"


def verdict(models: int, done: int, failures: Sequence[Failure]) -> str:
    """What became of them, and of each that failed why; lines.

    Args:
        models: All that were asked for.
        done: Those of them that were in the file before.
        failures: Those that failed.
    """
    already = f", {done} of them from before" if done else ""
    worked = models - len(failures)
    lines = [f"{worked} of {models} model{'s' if models != 1 else ''} analysed{already}; {len(failures)} failed."]
    return "\n".join([*lines, *(f"failed: {printable(each.model)}: {printable(each.reason)}" for each in failures)])
