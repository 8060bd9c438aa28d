"""A fit for the terminal: what came out, how far it can be trusted, and the rows it misses most."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline.fit import Fit, parameter_text
from roofline.fit_profile import ridge_text
from roofline.fit_terms import TERMS
from roofline.units import milliseconds, printable


def render_fit(fit: Fit, *, width: int = 80) -> RenderableType:
    """The fit in `width` columns."""
    form = "peak and bandwidth" + "".join(f", {term}" for term in fit.terms)
    how = "chosen by leave-one-out error" if fit.chosen else "as given"
    lines = [
        Text(f"{printable(fit.device)}: fitted to {len(fit.rows)} latencies of {printable(fit.source)}", style="bold"),
        Text(f"Terms: {form} ({how})."),
        Text(_quality(fit)),
    ]
    return Group(*lines, Text(), _parameters(fit), Text(), *_remarks(fit), Text(), _rows(fit, width))


def _quality(fit: Fit) -> str:
    anew = ", terms chosen anew in each fold" if fit.chosen else ""
    ranks = f", rank correlation {fit.loo_spearman:.3f}" if fit.loo_spearman is not None else ""
    text = f"Rows it has not seen (leave-one-out{anew}): mean error {100 * fit.loo_mape:.1f} %, median "
    text += f"{100 * fit.loo_median:.1f} %{ranks}."
    if fit.spearman_roofline is not None and fit.spearman_macs is not None:
        text += f" Rank correlation in sample {fit.spearman_roofline:.3f}; of the MACs alone {fit.spearman_macs:.3f}."
    return text


def _parameters(fit: Fit) -> Table:
    table = Table("Parameter", "Value (95 % interval)", "", box=None, pad_edge=False, header_style="bold")
    for parameter in fit.parameters:
        what = TERMS[parameter.name].meaning if parameter.name in TERMS else ""
        table.add_row(parameter.name, parameter_text(parameter), what)
    return table


def _remarks(fit: Fit) -> list[Text]:
    ridge = [
        ridge_text(point) + (f" ({point.dtype})" if len(fit.ridge_points) > 1 else "") for point in fit.ridge_points
    ]
    said = [remark for remark in fit.remarks if not remark.startswith("Ridge point")]
    rates = "These are effective rates of the device with its runtime, not the peak and the bandwidth of the chip."
    return [Text(line) for line in (*ridge, *said, rates)]


def _rows(fit: Fit, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Model, worst first", overflow="fold", max_width=max(20, width - 48))
    for title in ("published ms", "predicted", "error", "unseen"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in sorted(fit.rows, key=lambda row: -abs(row.loo_error)):
        table.add_row(
            printable(row.name),
            milliseconds(row.latency_s),
            milliseconds(row.predicted_s),
            f"{100 * row.error:+.1f} %",
            f"{100 * row.loo_error:+.1f} %",
        )
    return table
