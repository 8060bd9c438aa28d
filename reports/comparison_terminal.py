"""A comparison in a terminal: which is the faster, by how much, and in which layers; 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline import comparison_words as words
from roofline.comparison import Comparison, Difference, LayerChange, Side
from roofline.reports.terminal import BAR_CELLS, STYLES, _bar, _table, _time
from roofline.units import printable, si, significant, time_unit

FASTER, SLOWER = "green", "red"
DETAILED = 4  # differences; of more, the layers are left to the page
LAYERS_OF_ONE, LAYERS_OF_MANY = 10, 3

NEXT = "Next: --html FILE draws all of it, every layer beside the rooflines."

Unit = tuple[float, str]


def render_comparison(
    comparison: Comparison,
    *,
    top: int | None = None,
    group: str = "kind",
    width: int = 80,
    unicode: bool = True,
) -> RenderableType:
    """The verdict, models by devices, the totals, what changed by kind, the layers that changed most, and the notes.

    Args:
        comparison: What to show.
        top: Layers for each difference; 0 for none. Not given: 10 of one difference, 3 of each of several.
        group: As `Difference.by` takes it.
        width: Columns of the terminal.
        unicode: Whether bars may use block characters.
    """
    sides, differences = comparison.sides, comparison.differences
    letters = words.letters(comparison)
    top = (LAYERS_OF_ONE if len(differences) == 1 else LAYERS_OF_MANY) if top is None else top
    parts: list[RenderableType] = [Text(printable(comparison.verdict()), style="bold"), Text()]
    matrix = comparison.matrix()
    if len(matrix.models) > 1 and len(matrix.devices) > 1:
        parts += _matrix(comparison, letters, width)
    parts += [_totals(comparison, letters, width, unicode), Text()]
    if len(differences) == 1:
        parts += [_groups_of_two(differences[0], group, letters, width, unicode), Text()]
    else:
        parts += _groups_of_many(comparison, group, letters, width)
    for difference in differences[:DETAILED]:
        if len(differences) > 1:
            parts.append(Text(printable(f"{_against(difference, letters)}. {words.of_two(difference)}")))
        if top:
            parts.append(_layers(difference, top, letters, width))
        parts.append(Text())
    notes = words.notes(comparison, [letters[side] for side in sides])
    return Group(*parts, *(Text(printable(note), style="dim") for note in [*notes, NEXT]))


def _against(difference: Difference, letters: dict[Side, str]) -> str:
    return f"{letters[difference.other]} against {letters[difference.baseline]}"


def _matrix(comparison: Comparison, letters: dict[Side, str], width: int) -> Iterator[RenderableType]:
    """Latencies, models by devices; the fastest on each device is bold."""
    matrix, unit = comparison.matrix(), _unit(comparison.sides)
    columns = [
        [
            Text("-") if number is None else _cell(comparison.sides[number], letters, unit, rank)
            for number, rank in zip(numbers, ranks, strict=True)
        ]
        for numbers, ranks in zip(zip(*matrix.sides, strict=True), zip(*matrix.ranks, strict=True), strict=True)
    ]
    yield from _wrapped([f"Latency, {unit[1]} (rank)", *matrix.devices], [matrix.models, *columns], width)


def _wrapped(header: Sequence[str], columns: Sequence[Sequence[str | Text]], width: int) -> Iterator[RenderableType]:
    """As many tables as the columns need, the first column in each."""
    header = [printable(title) for title in header]
    names, *others = (max(map(len, [title, *column])) for title, column in zip(header, columns, strict=True))
    room = width - max(len(header[0]), min(names, width // 3))
    start = 1
    while start < len(columns):
        end = start + 1
        while end < len(columns) and sum(others[start - 1 : end]) + end + 1 - start <= room:
            end += 1
        shown = [0, *range(start, end)]
        rows = [[columns[i][row] for i in shown] for row in range(len(columns[0]))]
        yield _fitted([header[i] for i in shown], rows, width)
        yield Text()
        start = end


def _cell(side: Side, letters: dict[Side, str], unit: Unit, rank: int | None) -> Text:
    shown = f"{letters[side]} {_time(side.latency_s, unit)}{'' if rank is None else f' ({rank})'}"
    return Text(shown, style="bold" if rank == 1 else "")


def _totals(comparison: Comparison, letters: dict[Side, str], width: int, unicode: bool) -> Table:
    """One line a side; the bar is its time, in compute-bound and memory-bound layers.

    Models by devices have their times above; there is room for the two names then.
    """
    sides, matrix = comparison.sides, comparison.matrix()
    unit, longest_s = _unit(sides), max(side.latency_s for side in sides) or 1.0
    by_both = len(matrix.models) > 1 and len(matrix.devices) > 1
    mixed = len({side.latency_kind for side in sides}) > 1
    baseline = {difference.other: difference for difference in comparison.differences}
    header = ["Model" if by_both else matrix.models[0] if len(matrix.models) == 1 else f"On {matrix.devices[0]}"]
    header += (
        ["on"] * by_both + ["", "MACs", "params", "bytes"] + [unit[1]] * (not by_both) + ["is a"] * mixed + ["ratio"]
    )
    rows = []
    for side in sides:
        totals, share = side.totals(), side.latency_s / longest_s
        row: list[str | Text] = [side.model, side.device] if by_both else [side.label]
        row += [letters[side], si(totals["macs"]), si(totals["params"]), si(totals["mem_bytes"], "B")]
        row += [_time(side.latency_s, unit)] * (not by_both) + [side.latency_kind] * mixed
        row.append(_ratio(baseline[side], letters) if side in baseline else "")
        if not by_both:
            compute = share * totals["compute_bound_share"]
            row.append(_bar(compute, share - compute, unicode))
        rows.append(row)
    return _fitted([printable(title) for title in header], rows, width, bar=not by_both)


def _ratio(difference: Difference, letters: dict[Side, str]) -> str:
    """Of a bound and a prediction, none."""
    ratio = difference.ratios()["latency_s"]
    return f"{significant(ratio)}x {letters[difference.baseline]}" if difference.is_like and ratio is not None else "-"


def _groups_of_two(difference: Difference, group: str, letters: dict[Side, str], width: int, unicode: bool) -> Table:
    parts = difference.by(group)
    old, new = letters[difference.baseline], letters[difference.other]
    unit = _unit([difference.baseline, difference.other])
    largest_s = max((abs(part.delta_s) for part in parts), default=0.0) or 1.0
    rows = [
        (
            part.name, str(part.baseline_layers), str(part.layers), _time(part.baseline_s, unit),
            _time(part.latency_s, unit), _signed(part.delta_s, unit), _percent(part.share),
            _delta_bar(part.delta_s / largest_s, unicode),
        )
        for part in parts
    ]  # fmt: skip
    header = (
        group.capitalize(),
        f"in {old}",
        f"in {new}",
        f"{old} {unit[1]}",
        f"{new} {unit[1]}",
        "change",
        f"of {old}",
    )
    return _fitted(header, rows, width, bar=True)


def _groups_of_many(
    comparison: Comparison, group: str, letters: dict[Side, str], width: int
) -> Iterator[RenderableType]:
    """Time by kind or stage, a column a side."""
    unit, groups = _unit(comparison.sides), comparison.by(group)
    times = zip(*groups.values(), strict=True)
    columns = [[_time(value_s, unit) if value_s else "-" for value_s in column] for column in times]
    header = [group.capitalize(), *(f"{letters[side]} {unit[1]}" for side in comparison.sides)]
    yield from _wrapped(header, [list(groups), *(columns or [[] for _ in comparison.sides])], width)


def _layers(difference: Difference, top: int, letters: dict[Side, str], width: int) -> RenderableType:
    changes = difference.changes()
    if not changes:
        return Text("No layer differs.")
    old, new = letters[difference.baseline], letters[difference.other]
    unit = _unit([difference.baseline, difference.other])
    rows = [_layer(difference, change, unit) for change in changes[:top]]
    title = f"{len(rows)} of {len(changes)} changed"
    return _fitted((title, "kind", f"{old} {unit[1]}", f"{new} {unit[1]}", "change", f"of {old}", "bound"), rows, width)


def _layer(difference: Difference, change: LayerChange, unit: Unit) -> tuple[str | Text, ...]:
    i, j = change.baseline, change.other
    before = None if i is None else difference.baseline.layers[i]
    after = None if j is None else difference.other.layers[j]
    shown = after or before
    assert shown is not None, "a pair has at least one layer"
    turned = before is not None and after is not None and before["bound"] != after["bound"]
    return (
        change.name,
        change.kind,
        "added" if i is None else _time(difference.baseline.layer_latency_s[i], unit),
        "removed" if j is None else _time(difference.other.layer_latency_s[j], unit),
        _signed(change.delta_s, unit),
        _percent(change.share),
        Text(f"{'to ' if turned else ''}{shown['bound']}", STYLES[shown["bound"]]),
    )


def _fitted(header: Sequence[str], rows: Sequence[Sequence[str | Text]], width: int, bar: bool = False) -> Table:
    """Two blanks between columns, so that the bar or the last column is whole."""
    return _table(header, rows, bar=bar, width=width - (len(header) - 2 + 2 * bar))


def _unit(sides: Sequence[Side]) -> Unit:
    return time_unit(max(side.latency_s for side in sides))


def _signed(value_s: float, unit: Unit) -> Text:
    if not value_s:
        return Text("0")
    return Text(f"{'+' if value_s > 0 else '-'}{_time(abs(value_s), unit)}", SLOWER if value_s > 0 else FASTER)


def _percent(share: float | None) -> str:
    """Signed; below 10 %, tenths count."""
    if share is None:
        return "-"
    value = abs(100 * share)
    shown = "<0.1" if 0 < value < 0.05 else f"{value:.{1 if value < 9.95 else 0}f}"
    return f"{'+' if share > 0 else '-'}{shown} %" if share else "0 %"


def _delta_bar(share: float, unicode: bool) -> Text:
    """As long as the change is large; a change that is not nothing shows at least one cell."""
    cells = max(1, round(abs(share) * BAR_CELLS)) if abs(share) > 0.005 else 0
    return Text(("\u2588" if unicode else "#") * cells, SLOWER if share > 0 else FASTER)
