"""A comparison of activations in a terminal: what each costs, how long it takes where, and why; 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline import activation_words as words
from roofline.activation_comparison import ActivationComparison, Place, Row, interval_of
from roofline.reports.terminal import BAR_CELLS, _table, _time
from roofline.units import printable, shape_list, si, significant, time_unit

STYLES = {"prediction": "cyan", "bound": "magenta", "measurement": "green"}
NEXT = "Next: --acts names others, or all; --elementwise times each on its own; --html FILE draws this."


def render_activations(comparison: ActivationComparison, *, width: int = 80, unicode: bool = True) -> RenderableType:
    """The verdict, the costs, a table for each place and for what was measured, what is published, and the notes.

    Args:
        comparison: What to show.
        width: Columns of the terminal.
        unicode: Whether bars may use block characters.
    """
    shapes = shape_list(comparison.input_shapes)
    parts: list[RenderableType] = [
        Text.assemble((printable(comparison.name), "bold"), f"  {shapes}"),
        Text(printable(comparison.verdict()), style="bold"),
        Text(),
        _costs(comparison, width),
        Text(),
    ]
    for place in comparison.places:
        if not comparison.are_equal(place.id):  # else the verdict says why, and bars of one length say nothing
            parts += [_place(comparison, place, width, unicode), *_lines(words.reasons(comparison, place)), Text()]
    if any(row.measurement for row in comparison.rows):
        parts += [_measured(comparison, width, unicode), Text()]
    told = words.published(comparison)
    parts += [*_lines(told), *([Text()] if told else [])]
    return Group(*parts, *(Text(printable(note), style="dim") for note in [*words.notes(comparison), NEXT]))


def _lines(lines: Sequence[str]) -> Iterator[Text]:
    return (Text(printable(line)) for line in lines)


def _costs(comparison: ActivationComparison, width: int) -> Table:
    """Of ReLU the whole network, of the others what they add."""
    dtype, fusion = comparison.counted
    how = f"{dtype}, {'unfused' if fusion == 'none' else f'{fusion} fusion'}"
    header = (f"Costs ({how})", "params", "MACs", "vector ops", "bytes")
    relu = comparison.baseline
    rows = [
        (
            row.label,
            *(
                _cost(getattr(row, key), getattr(relu, key), unit, row is relu)
                for key, unit in (("params", ""), ("macs", ""), ("vector_ops", ""), ("mem_bytes", "B"))
            ),
        )
        for row in comparison.rows
    ]
    return _table(header, rows, width=width)


def _cost(value: int, of_relu: int, unit: str, is_relu: bool) -> str:
    if is_relu or value == of_relu:
        return si(value, unit) if is_relu else "+0"
    return f"{'-' if value < of_relu else '+'}{si(abs(value - of_relu), unit)}"


def _place(comparison: ActivationComparison, place: Place, width: int, unicode: bool) -> Table:
    predictions = [row.predictions[place.id] for row in comparison.rows]
    times_s = [time_s for item in predictions for time_s in (item.latency_s, *item.ways_s.values())]
    unit = time_unit(max(times_s))
    longest_s = max(item.latency_s for item in predictions) or 1.0
    kind = "Predicted" if place.latency_kind == "prediction" else "Bound"
    header = (f"{kind} on {printable(place.id)}", unit[1], "x ReLU", "unfused", "all fused")
    rows = [
        (
            row.label, _time(item.latency_s, unit), _ratio(comparison.ratio_predicted(row, place.id)),
            _time(item.ways_s["none"], unit), _time(item.ways_s["all"], unit),
            _bar(item.latency_s / longest_s, place.latency_kind, unicode),
        )
        for row, item in zip(comparison.rows, predictions, strict=True)
    ]  # fmt: skip
    return _table(header, rows, bar=True, width=width)


def _measured(comparison: ActivationComparison, width: int, unicode: bool) -> Table:
    found = [row.measurement.latency_s for row in comparison.rows if row.measurement is not None]
    unit = time_unit(max(item.median for item in found))
    longest_s = max(item.median for item in found) or 1.0
    header = (f"Measured on this {comparison.device}", unit[1], "95 %", "x ReLU", "95 % ", "")
    rows = [_measured_row(comparison, row, unit, longest_s, unicode) for row in comparison.rows]
    return _table(header, rows, bar=True, width=width)


def _measured_row(
    comparison: ActivationComparison, row: Row, unit: tuple[float, str], longest_s: float, unicode: bool
) -> tuple[str | Text, ...]:
    measured, ratio = row.measurement, comparison.ratio_measured(row)
    if measured is None:
        return (row.label, "-", "-", "-", "-", "", "")
    median = measured.latency_s.median
    return (
        row.label,
        _time(median, unit),
        _interval(interval_of(measured.latency_s), unit[0]),
        _ratio(ratio.value if ratio else None),
        "" if ratio is None or row is comparison.baseline else _interval(ratio.ci95),
        "" if measured.status == "ok" else Text(measured.status, "yellow"),
        _bar(median / longest_s, "measurement", unicode),
    )


def _interval(limits: tuple[float, float] | None, unit: float = 1.0) -> str:
    return "-" if limits is None else "..".join(significant(limit / unit) for limit in limits)


def _ratio(value: float | None) -> str:
    return "-" if value is None else significant(value)


def _bar(share: float, kind: str, unicode: bool) -> Text:
    """A bar; what is not nothing shows at least one cell."""
    cells = max(1, round(share * BAR_CELLS)) if share > 0 else 0
    return Text(("\u2588" if unicode else "#") * cells, STYLES[kind])
