"""A what-if in a terminal: what the latency answers to, what a target takes, other ways to run it; 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline import whatif_words as words
from roofline import words as shared
from roofline.reports.terminal import _table, _time
from roofline.units import printable, seconds, shape, si, time_unit
from roofline.whatif import GROUPS, Alternative, Elasticity, Way, WhatIf

WITHIN, BEYOND = "green", "red"
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
    shapes = " ".join(shape(sizes) for sizes in analysis.input_shapes)
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
    parts += [_alternatives(whatif), Text()]
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
    return _fitted(header, rows, width)


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
    within = [profile for profile in whatif.profiles if profile.latency_s <= target_s]
    dtype, count = whatif.analysis.layers.dtype, len(whatif.profiles)
    which = "All" if len(within) == count else f"{len(within)} of the" if within else "None of the"
    line = (
        f"{which} {count} other bundled profiles with a peak at {dtype} have a bound or a prediction within "
        f"{seconds(target_s)}"
    )
    if within:
        slowest = max(within, key=lambda profile: profile.latency_s)
        line += f"; the slowest of them is {slowest.id}, {seconds(slowest.latency_s)} ({slowest.latency_kind})"
    yield Text(printable(f"{line}."))


TITLES = {"dtype": "Dtype", "batch": "Batch", "input": "Input", "fusion": "Fusion"}


def _alternatives(whatif: WhatIf) -> Table:
    """Latencies an image, group by group; the present way is bold, what is within the target green."""
    shown = [other for other in whatif.alternatives if not other.skipped]
    unit = time_unit(max((other.image_latency_s or 0.0 for other in shown), default=0.0))
    header = ("Run it as", f"{unit[1]}/image", "ratio", "top-1", "for one image")
    with_top1 = any(other.top1 is not None for other in shown)
    rows = []
    for group in GROUPS:
        for other in (other for other in whatif.alternatives if other.group == group):
            rows.append(_alternative(whatif, other, unit, with_top1))
    columns = [i for i in range(len(header)) if with_top1 or header[i] != "top-1"]
    table = _table([header[i] for i in columns], [[row[i] for i in columns] for row in rows])
    what = table.columns[-1]  # takes what the numbers leave, and more lines where that is too little
    what.justify, what.no_wrap, what.min_width = "left", False, None
    groups = [other.group for group in GROUPS for other in whatif.alternatives if other.group == group]
    for i, row in enumerate(table.rows[:-1]):
        row.end_section = groups[i] != groups[i + 1]
    return table


def _alternative(whatif: WhatIf, other: Alternative, unit: tuple[float, str], with_top1: bool) -> list[str | Text]:
    what = words.what_changes(whatif, other)
    if other.image_latency_s is None:
        return [words.in_words(other.group, other.name), "-", "-", "", what]
    within = whatif.target_s is not None and (other.latency_s or 0.0) <= whatif.target_s
    style = "bold" if other.is_present else WITHIN if within else ""
    return [
        words.in_words(other.group, other.name),
        Text(_time(other.image_latency_s, unit), style),
        "-" if other.ratio is None else words.times(other.ratio),
        "" if other.top1 is None else f"{other.top1:.1f}",
        what,
    ]


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


def _fitted(header: Sequence[str], rows: Sequence[Sequence[str | Text]], width: int) -> Table:
    """Two blanks between columns, so that the last one is whole."""
    return _table(header, rows, width=width - (len(header) - 2))
