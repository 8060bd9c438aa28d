"""A fit for the terminal: what came out, how far it can be trusted, and the rows it misses most."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline.fit import Fit, parameter_text
from roofline.fit_profile import ridge_text
from roofline.fit_terms import TERMS
from roofline.units import milliseconds, printable

ROOM_FOR_MEANINGS = 110  # columns


def render_fit(fit: Fit, *, width: int = 80) -> RenderableType:
    """The fit in `width` columns."""
    source = f" of {printable(fit.source)}" if fit.source else ""
    lines = [
        Text(f"{printable(fit.device)}: fitted to {len(fit.rows)} latencies{source}", style="bold"),
        *map(Text, [terms_text(fit), *quality_texts(fit)]),
    ]
    return Group(*lines, Text(), _parameters(fit, width), Text(), *map(Text, _remarks(fit)), Text(), _rows(fit, width))


def terms_text(fit: Fit) -> str:
    """What was fitted, and who chose it, in a sentence."""
    form = "peak and bandwidth" + "".join(f", {term}" for term in fit.terms)
    text = f"Terms: {form} ({'chosen by leave-one-out error' if fit.chosen else 'as given'})."
    return text if fit.ops == "all" else f"{text} Convolutions and linear layers alone count (--ops conv_only)."


def quality_texts(fit: Fit) -> list[str]:
    """How well rows are predicted, in sentences."""
    anew = ", terms chosen anew in each fold" if fit.chosen else ""
    ranks = f", rank correlation {fit.loo_spearman:.3f}" if fit.loo_spearman is not None else ""
    said = [
        f"Rows it has not seen (leave-one-out{anew}): mean error {100 * fit.loo_mape:.1f} %, median "
        f"{100 * fit.loo_median:.1f} %{ranks}."
    ]
    if fit.spearman_roofline is not None and fit.spearman_macs is not None:
        said.append(
            f"Rank correlation in sample {fit.spearman_roofline:.3f}; of the MACs alone {fit.spearman_macs:.3f}."
        )
    return said


def signed_percent(share: float) -> str:
    """An error; none is +0.0.

    >>> signed_percent(-0.00001), signed_percent(0.1234)
    ('+0.0 %', '+12.3 %')
    """
    return f"{round(100 * share, 1) + 0.0:+.1f} %"


def _parameters(fit: Fit, width: int) -> Table:
    meanings = ["meaning"] if width >= ROOM_FOR_MEANINGS else []
    table = Table("Parameter", "Value (95 % interval)", *meanings, box=None, pad_edge=False, header_style="bold")
    for parameter in fit.parameters:
        what = TERMS[parameter.name].meaning if parameter.name in TERMS else ""
        table.add_row(parameter.name, parameter_text(parameter), *([what] if meanings else []))
    return table


def _remarks(fit: Fit) -> list[str]:
    ridges = [ridge_text(ridge, named=len(fit.ridge_points) > 1) for ridge in fit.ridge_points]
    rates = "These are effective rates of the device with its runtime, not the peak and the bandwidth of the chip."
    return [*ridges, *map(printable, fit.remarks), rates]


def _rows(fit: Fit, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Model, worst first", overflow="fold", max_width=max(20, width - 48))
    for title in ("published ms", "predicted", "error", "unseen"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in sorted(fit.rows, key=lambda row: -abs(row.loo_error)):
        table.add_row(
            Text(printable(row.name)),
            milliseconds(row.latency_s),
            milliseconds(row.predicted_s),
            signed_percent(row.error),
            signed_percent(row.loo_error),
        )
    return table
