"""The sentences and the tables of a check that every report shares, and an assertion too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roofline import words
from roofline.units import seconds, shape_list, si, significant

if TYPE_CHECKING:
    from roofline.analysis import Analysis
    from roofline.check import Budget, Check, Part

MAX_DIGITS = 17  # that tell any two floats apart


@dataclass(frozen=True, slots=True)
class Rows:
    """A table as text: the first column names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def verdict(check: Check) -> str:
    """Whether all is within budget; else what is not, by how much."""
    told = check.broken or check.budgets
    lead = "Within budget" if check.is_met else "Over budget"
    held = any(_is_by_baseline(budget) for budget in told) and told[0].tolerance
    allowed = f" ({significant(float(told[0].tolerance) * 100)} % is allowed)" if held else ""
    return f"{lead}: {'; '.join(_clause(check, budget) for budget in told)}{allowed}."


def _clause(check: Check, budget: Budget) -> str:
    value, limit = _value_and_limit(budget)
    if not _is_by_baseline(budget):
        return f"{title(check, budget)} {value}, at most {limit}"
    of = "where the baseline has none" if budget.change is None else f"{change(budget.change)} on the baseline"
    return f"{title(check, budget)} {value}, {of}"


def _is_by_baseline(budget: Budget) -> bool:
    """Whether it is the baseline that sets the limit."""
    return budget.limit == budget.allowed and budget.limit != budget.most


def title(check: Check, budget: Budget) -> str:
    """What a budget is of."""
    if budget.name == "latency":
        return "predicted latency" if check.analysis.latency_kind == "prediction" else "latency bound"
    return {"macs": "MACs", "weights": "weight bytes", "activations": "activation bytes"}[budget.name]


def subject(analysis: Analysis) -> tuple[str, str]:
    """What was checked: the model, and the input, device, dtype and fusion."""
    shapes = shape_list(analysis.input_shapes)
    return analysis.name, f"{shapes} on {analysis.hardware.id}, {analysis.layers.dtype}, {words.fusion(analysis)}"


def budgets(check: Check) -> Rows:
    """One row a budget: value, limit, baseline, change, and whether it is met."""
    has_baseline = check.difference is not None
    header = ("Budget", "value", "limit", *(("baseline", "change") if has_baseline else ()), "")
    rows = []
    for budget in check.budgets:
        compared = (
            ("-" if budget.baseline is None else quantity(budget, budget.baseline), change(budget.change))
            if has_baseline
            else ()
        )
        rows.append((title(check, budget), *_value_and_limit(budget), *compared, "within" if budget.is_met else "OVER"))
    return Rows(header, tuple(rows))


def layers(check: Check, budget: Budget, top: int) -> Rows:
    """The layers that broke a budget, and in the last row what all the others add to it."""
    shown, others = budget.parts[:top], budget.parts[top:]
    of_all = f"{len(shown)} of {len(budget.parts)} layers"
    rest = sum(part.delta for part in others)
    if not budget.is_grown:
        rows = [
            (part.name, part.kind, quantity(budget, part.delta), _share(part.delta, budget.value)) for part in shown
        ]
        if others:
            rows.append((f"{len(others)} more", "", quantity(budget, rest), _share(rest, budget.value)))
        return Rows((of_all, "kind", title(check, budget), "share"), tuple(rows))
    whole = budget.baseline or 0
    changed = [
        (
            part.name, part.kind, _before(budget, part), _after(budget, part), _signed(budget, part.delta),
            change(part.delta / whole if whole else None),
        )
        for part in shown
    ]  # fmt: skip
    if others:
        sum_of = change(rest / whole if whole else None)
        changed.append((f"{len(others)} more", "", "", "", _signed(budget, rest), sum_of))
    header = (f"{of_all} changed", "kind", "before", "now", title(check, budget), "of all")
    return Rows(header, tuple(changed))


def notes(check: Check) -> list[str]:
    """What a reader has to know: what the latency is, what was not counted, what else differs from the baseline."""
    from roofline import comparison_words

    analysis = check.analysis
    lines = []
    if any(budget.name == "latency" for budget in check.budgets):
        lines.append(words.notes(analysis)[0])
        lines += () if analysis.estimates is None else analysis.estimates.warnings
        if analysis.latency_kind == "bound":
            lines.append("A bound within a budget says that the device may keep it, one over it that it cannot.")
    if analysis.layers.uncounted_ops:
        lines.append(words.uncounted(analysis))
    if check.difference is not None:
        for unlike in check.difference.unlike:
            if unlike.what in comparison_words.UNLIKE:
                lines.append(f"Not as in the baseline: {comparison_words.UNLIKE[unlike.what]}.")
    return lines


# --- numbers --------------------------------------------------------------------------------------------------------


def quantity(budget: Budget, value: float, digits: int = 3) -> str:
    """A value in the unit of a budget."""
    return _formatter(budget)(value, digits)


def _formatter(budget: Budget) -> Callable[[float, int], str]:
    if budget.name == "latency":
        return seconds
    unit = "" if budget.name == "macs" else "B"
    return lambda value, digits: si(value, unit, digits)


def _value_and_limit(budget: Budget) -> tuple[str, str]:
    """With as many digits as tell them apart where one is over the other."""
    value, limit = budget.value, float(budget.limit)
    for digits in range(3, MAX_DIGITS + 1):
        texts = quantity(budget, value, digits), quantity(budget, limit, digits)
        if budget.is_met or texts[0] != texts[1]:
            break
    return texts


def change(share: float | None) -> str:
    """A share with its sign; below 10 %, tenths count.

    >>> change(0.0213), change(-0.25), change(0.0001), change(0.0), change(None)
    ('+2.1 %', '-25 %', '+<0.1 %', '0 %', '-')
    """
    if share is None:
        return "-"
    value = abs(100 * share)
    shown = "<0.1" if 0 < value < 0.05 else f"{value:.{1 if value < 9.95 else 0}f}"
    return f"{'+' if share > 0 else '-'}{shown} %" if share else "0 %"


def _share(value: float, whole: float) -> str:
    from roofline.units import percent

    return percent(value / whole) if whole else "-"


def _signed(budget: Budget, value: float) -> str:
    return f"{'+' if value > 0 else ''}{quantity(budget, value)}"


def _before(budget: Budget, part: Part) -> str:
    return "added" if part.baseline is None else quantity(budget, part.baseline)


def _after(budget: Budget, part: Part) -> str:
    return "removed" if part.value is None else quantity(budget, part.value)


def lines_of(check: Check, top: int) -> Sequence[tuple[Budget, Rows]]:
    """The tables of layers: one for each broken budget."""
    return [(budget, layers(check, budget, top)) for budget in check.broken] if top else []
