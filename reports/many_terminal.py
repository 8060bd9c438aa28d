"""Many models in a terminal or as Markdown: a line each, which can be printed before the next is known."""

from __future__ import annotations

from collections.abc import Sequence

from roofline.many import Failure, Summary
from roofline.reports.export import _escape
from roofline.units import percent, printable, seconds, si

HEADER = ("Model", "params", "MACs", "weights", "activations", "latency", "bound", "share")
WIDTHS = (7, 7, 8, 11, 9, 7, 6)  # of all but the first
ESTIMATED, ESTIMATED_WIDTHS = ("by", "in 90 % of cases"), (10, 18)  # of a calibrated profile, beside these
MAX_NAME_COLUMNS = 60


class Lines:
    """The lines of a table whose rows come one by one.

    Args:
        models: All that may come, to know how wide the first column is.
        markdown: Whether it is one of Markdown.
        estimated: Whether the estimator and its interval are shown.
    """

    def __init__(self, models: Sequence[str], *, markdown: bool = False, estimated: bool = False) -> None:
        widest = max((len(printable(model)) for model in models), default=0)
        self._width, self._markdown = max(len(HEADER[0]), min(widest, MAX_NAME_COLUMNS)), markdown
        self._estimated = estimated
        self._header = (*HEADER, *ESTIMATED) if estimated else HEADER
        self._widths = (*WIDTHS, *ESTIMATED_WIDTHS) if estimated else WIDTHS

    def header(self) -> str:
        """What stands above the rows."""
        if self._markdown:
            return f"| {' | '.join(self._header)} |\n| --- |{' ---: |' * (len(self._header) - 1)}\n"
        return self._aligned(self._header)

    def row(self, row: Summary) -> str:
        """A line; the share is that of the time in layers of the bound that most of it is in."""
        cells = [
            printable(row.model),
            si(row.params),
            si(row.macs),
            si(row.weight_bytes, "B"),
            si(row.activation_bytes, "B"),
            seconds(row.latency_s),
            row.bound,
            percent(max(row.compute_bound_share, row.memory_bound_share)),
        ]
        if self._estimated:
            cells += [row.estimator, _interval(row)]
        return f"| {' | '.join(map(_escape, cells))} |\n" if self._markdown else self._aligned(cells)

    def _aligned(self, cells: Sequence[str]) -> str:
        first, *others = cells
        aligned = [cell.rjust(width) for cell, width in zip(others, self._widths, strict=True)]
        return " ".join([first.ljust(self._width), *aligned]) + "\n"


def _interval(row: Summary) -> str:
    if row.interval90_low_s is None or row.interval90_high_s is None:
        return "-"
    return f"{seconds(row.interval90_low_s)} to {seconds(row.interval90_high_s)}"


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
