"""A what-if in a terminal: what the latency answers to, what a target takes, other ways to run it; 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline import whatif_words as words
from roofline import words as shared
from roofline.reports.terminal import _table, _time
from roofline.units import printable, seconds, shape_list, si, time_unit
from roofline.whatif import Alternative, Elasticity, Way, WhatIf

STYLES = {"yes": "green", "possible": "cyan"}
MARKS = {"yes": "*", "possible": "?"}
NEXT = "Next: --html FILE draws the iso-latency curve, with the bundled profiles, for any target."
NEXT_TARGET = "Next: --target 5ms says which peak and bandwidth reach it; --html FILE draws all of it."


def render_whatif(whatif: WhatIf, *, top: int = 5, width: int = 80) -> RenderableType:
    """The verdict, the elasticities, the ways to the target, the alternatives, the layers, and the notes.

    Args:
        whatif: What to show.
        top: Layers in the table; 0 for none.
        width: Columns of the terminal.
    """
    analysis = whatif.analysis
    shapes = shape_list(analysis.input_shapes)
    where = f"  {shapes}  on {analysis.hardware.id}, {analysis.layers.dtype}, {shared.fusion(analysis)}"
    parts: list[RenderableType] = [
        Text.assemble((printable(analysis.name), "bold"), printable_keeping_blanks(where)),
        Text(printable(whatif.verdict()), style="bold"),
        Text(),
    ]
    if whatif.elasticities and whatif.latency_s:
        parts += [_elasticities(whatif, width), Text()]
    if whatif.target_s is not None and whatif.latency_s:
        if any(way.peak_factor is not None for way in whatif.ways):
            parts += [_ways(whatif, width)]
        parts += [*_profiles(whatif), Text()]
    parts += [*_alternatives(whatif), Text()]
    if top and whatif.best_layers(1):
        parts += [_layers(whatif, top, width), Text()]
    notes = [*words.notes(whatif), NEXT if whatif.target_s is not None else NEXT_TARGET]
    return Group(*parts, *(Text(printable(note), style="dim") for note in notes))


def printable_keeping_blanks(text: str) -> str:
    """`printable`, but the blanks that part the head of the page stay."""
    return "  ".join(map(printable, text.split("  ")))


def _elasticities(whatif: WhatIf, width: int) -> Table:
    header = ("The latency answers to", "now", "elasticity", "10 % better", "at best", "next knee")
    rows = [
        (
            words.FIGURES[item.quantity][0],
            _value(item),
            _elasticity(item),
            _step(whatif, item),
            seconds(item.limit_latency_s),
            _knee(item),
        )
        for item in whatif.elasticities
    ]
    return _fitted(header, rows, width, spare=("next knee", "at best", "now"))


def _value(item: Elasticity) -> str:
    return seconds(item.value) if item.quantity in words.OVERHEADS else si(item.value, words.FIGURES[item.quantity][1])


def _elasticity(item: Elasticity) -> str:
    """One number, or two where a layer is at its knee: as the figure improves, and as it gets worse."""
    better, worse = words.signed(item.better), words.signed(item.worse)
    return better if better == worse else f"{better} / {worse}"


def _step(whatif: WhatIf, item: Elasticity) -> str:
    off = words._off(whatif, item)
    return off if off == "0 %" else f"-{off}"


def _knee(item: Elasticity) -> str:
    return "-" if item.knee_factor is None else words.times(item.knee_factor)


def _ways(whatif: WhatIf, width: int) -> Table:
    assert whatif.target_s is not None
    header = (f"To {seconds(whatif.target_s)} by", "peak", "", "bandwidth", "")
    rows = [(words.WAYS[way.name], *_figures(way)) for way in whatif.ways]
    return _fitted(header, rows, width)


def _figures(way: Way) -> Sequence[str]:
    """Peak and bandwidth, each with its factor; rounded up, so that they are enough."""
    if way.peak_factor is None or way.bandwidth_factor is None:
        return ("-", "", "-", "")
    cells = []
    for factor, value, unit in (
        (way.peak_factor, way.peak_macs_per_s or 0.0, "MAC/s"),
        (way.bandwidth_factor, way.bandwidth_bytes_per_s or 0.0, "B/s"),
    ):
        if factor in (0, 1):
            cells += [si(value, unit) if factor else "any", ""]
        else:
            cells += [si(words.at_least(value), unit), words.times(words.at_least(factor))]
    return cells


def _profiles(whatif: WhatIf) -> Iterator[Text]:
    """How many of the bundled profiles are within the target."""
    if not whatif.profiles:
        return
    target_s = whatif.target_s or 0.0
    dtype, target = whatif.analysis.layers.dtype, seconds(target_s)
    found = [words.within(profile.latency_s, profile.latency_kind, target_s) for profile in whatif.profiles]
    yield Text(
        f"Of the {len(found)} other bundled profiles with a peak at {dtype}, {found.count('yes')} are predicted to be "
        f"within {target}, and the bounds of {found.count('possible')} leave it possible."
    )


def _alternatives(whatif: WhatIf) -> Iterator[RenderableType]:
    """Latencies an image, group by group; the present way is bold, what is within the target marked."""
    shown = words.rows(whatif)
    unit = time_unit(max((other.image_latency_s or 0.0 for _, other in shown), default=0.0))
    target_s = whatif.target_s or 0.0
    within = [words.within(other.latency_s, other.latency_kind, target_s) for _, other in shown]
    marks = {answer: mark for answer, mark in MARKS.items() if target_s and answer in within}
    with_top1 = any(other.top1 is not None for _, other in shown)
    header = ("Run it as", f"{unit[1]}/image{'  ' if marks else ''}", "ratio", "top-1", "for one image")
    columns = [i for i, title in enumerate(header) if with_top1 or title != "top-1"]
    rows = []
    for (name, other), answer in zip(shown, within, strict=True):
        mark = f" {marks.get(answer, ' ')}" if marks else ""
        row = (name, *_alternative(whatif, other, unit, mark, STYLES.get(answer, "") if marks else ""))
        rows.append([row[i] for i in columns])
    table = _table([header[i] for i in columns], rows)
    what = table.columns[-1]  # takes what the numbers leave, and more lines where that is too little
    what.justify, what.no_wrap, what.min_width = "left", False, None
    for i, ((_, other), (_, following)) in enumerate(pairwise(shown)):
        table.rows[i].end_section = other.group != following.group
    yield table
    target = seconds(target_s)
    legend = {"yes": f"* a pass is within {target}", "possible": f"? a bound within {target}: possible"}
    if marks:
        yield Text("; ".join(legend[answer] for answer in marks), style="dim")


def _alternative(
    whatif: WhatIf, other: Alternative, unit: tuple[float, str], mark: str, style: str
) -> tuple[str | Text, ...]:
    what = words.what_changes(whatif, other)
    if other.image_latency_s is None:
        return f"-{mark}", "-", "", what
    return (
        Text(f"{_time(other.image_latency_s, unit)}{mark}", "bold" if other.is_present else style),
        "-" if other.ratio is None else words.times(other.ratio),
        "" if other.top1 is None else f"{other.top1:.1f}",
        what,
    )


def _layers(whatif: WhatIf, top: int, width: int) -> Table:
    layers = whatif.best_layers(top)
    unit = time_unit(whatif.latency_s)
    title = f"{len(layers)} of {len(whatif.layers)} layers"
    header = (title, "kind", unit[1], "half its bytes", "half its MACs")
    rows = [
        (
            layer.name, layer.kind, _time(layer.latency_s, unit), _saved(layer.half_bytes_s, unit),
            _saved(layer.half_macs_s, unit),
        )
        for layer in layers
    ]  # fmt: skip
    return _fitted(header, rows, width)


def _saved(value_s: float, unit: tuple[float, str]) -> str:
    return f"-{_time(value_s, unit)}" if value_s > 0 else "0"


def _fitted(
    header: Sequence[str], rows: Sequence[Sequence[str | Text]], width: int, spare: Sequence[str] = ()
) -> Table:
    """Two blanks between columns, or one where that is too wide; columns of `spare` go, one by one, where both are."""
    widths = [max(len(title), *(len(row[i]) for row in rows)) for i, title in enumerate(header)]
    kept = list(range(len(header)))

    def total(blanks: int) -> int:
        return sum(widths[i] for i in kept) + blanks * (len(kept) - 1)

    for title in spare:
        if total(1) > width:
            kept.remove(header.index(title))
    is_wide = total(2) <= width
    shown = [[row[i] for i in kept] for row in rows]
    table = _table([header[i] for i in kept], shown, width=width - (len(kept) - 2) if is_wide else width + 1)
    if not is_wide:
        table.padding = 0
    return table
