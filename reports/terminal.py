"""The answer in a terminal: one screen, 80 columns, colour where there is any."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from roofline import words
from roofline.models import family
from roofline.units import percent, printable, shape, shape_list, si, significant, time_unit

if TYPE_CHECKING:
    from roofline.analysis import Analysis, GroupTotals
    from roofline.crosscheck import CrossCheck
    from roofline.models import Entry, Published

STYLES = {"compute": "dark_orange", "memory": "cyan"}
BAR_CELLS = 8
LEFT_COLUMNS = {"kind", "bound", "class", "dtype", "figures", "also called", "published by"}


def render_analysis(
    analysis: Analysis,
    *,
    top: int = 10,
    sort: str = "time",
    group: str = "kind",
    width: int = 80,
    unicode: bool = True,
    options: Sequence[str] | None = None,
) -> RenderableType:
    """Verdict, totals, where the time goes, the top layers, and the notes.

    Args:
        analysis: What to show.
        top: Layers in the table; 0 for none.
        sort: As `Analysis.sorted_rows` takes it.
        group: As `Analysis.by` takes it.
        width: Columns of the terminal.
        unicode: Whether bars may use block characters.
        options: Those of the command line, for the command that explains the slowest layer.
    """
    layers, hardware = analysis.layers, analysis.hardware
    shapes = shape_list(analysis.input_shapes)
    where = f"  {shapes}  on {hardware.id}, {layers.dtype}, {words.fusion(analysis)}"
    head = Text.assemble((printable(analysis.name), "bold"), where)
    parts: list[RenderableType] = [head, Text(words.verdict(analysis), style="bold"), *_totals(analysis, width), Text()]
    parts += [_where_time_goes(analysis, group, width, unicode)]
    if outside := words.outside_the_layers(analysis):
        parts.append(Text(outside))
    parts.append(Text())
    if top:
        parts += [_top_layers(analysis, top, sort, width, unicode), Text()]
    parts += [Text(note, style="dim") for note in words.notes(analysis)]
    if top and len(layers):
        slowest = max(analysis.rows(), key=lambda row: row["latency_s"])["name"]
        arguments = [analysis.reference, slowest, *(["--hw", hardware.id] if options is None else options)]
        parts.append(Text(printable(f"Next: roofline explain {shlex.join(arguments)}"), style="dim"))
    return Group(*parts)


def _totals(analysis: Analysis, width: int) -> list[Text]:
    """The totals in as many lines as they need; a figure stays with its label and its unit."""
    totals, hardware, dtype = analysis.totals(), analysis.hardware, analysis.layers.dtype
    cells = [
        ("MACs", si(totals["macs"])),
        ("params", si(analysis.layers.params)),
        ("weight traffic", si(totals["weight_bytes"], "B")),
        ("activation traffic", si(totals["activation_bytes"], "B")),
        ("activations alive at once", si(totals["peak_activation_bytes"], "B")),
        ("peak rate", si(hardware.peak(dtype), "MAC/s")),
        ("bandwidth", si(hardware.bandwidth_bytes_per_s, "B/s")),
    ]
    if totals["energy_j"] is not None:
        cells.append(("energy", f"{significant(totals['energy_j'] * 1e3)} mJ"))
    lines = [Text()]
    for label, value in cells:
        cell = Text.assemble((f"{label} ", "dim"), value)
        if lines[-1] and len(lines[-1]) + 2 + len(cell) > width:
            lines.append(Text())
        lines[-1].append("  " if lines[-1] else "").append_text(cell)
    return lines


def _where_time_goes(analysis: Analysis, group: str, width: int, unicode: bool) -> Table:
    total_s = analysis.totals()["latency_s"] or 1.0
    unit = time_unit(total_s)
    groups = analysis.by(group)
    longest_s = max((total.latency_s for total in groups), default=0.0) or 1.0
    lines = []
    for total in _first_and_rest(groups):
        compute_s = total.latency_s - total.memory_bound_s
        lines.append(
            (
                total.name,
                str(total.layers),
                si(total.macs),
                si(total.mem_bytes, "B"),
                _time(total.latency_s, unit),
                percent(total.latency_s / total_s),
                percent(total.memory_bound_s / total.latency_s if total.latency_s else 0),
                _bar(compute_s / longest_s, total.memory_bound_s / longest_s, unicode),
            )
        )
    header = (group.capitalize(), "layers", "MACs", "bytes", unit[1], "share", "mem-bound")
    return _table(header, lines, bar=True, width=width)


MAX_GROUPS = 12  # more would push the layers off the screen


def _first_and_rest(groups: Sequence[GroupTotals]) -> Sequence[GroupTotals]:
    """The groups, or the first of them and the sum of the others."""
    from roofline.analysis import GroupTotals

    if len(groups) <= MAX_GROUPS:
        return groups
    shown, others = groups[: MAX_GROUPS - 1], groups[MAX_GROUPS - 1 :]
    rest = GroupTotals(
        name=f"{len(others)} others",
        layers=sum(total.layers for total in others),
        macs=sum(total.macs for total in others),
        mem_bytes=sum(total.mem_bytes for total in others),
        latency_s=sum(total.latency_s for total in others),
        memory_bound_s=sum(total.memory_bound_s for total in others),
    )
    return [*shown, rest]


def _top_layers(analysis: Analysis, top: int, sort: str, width: int, unicode: bool) -> Table:
    rows = analysis.sorted_rows(sort)
    shown = rows[:top]
    total_s = analysis.totals()["latency_s"] or 1.0
    longest_s = max((row["latency_s"] for row in rows), default=0.0) or 1.0
    unit = time_unit(total_s)
    title = f"{'First' if sort == 'order' else 'Top'} {len(shown)} of {len(rows)} layers"
    lines = []
    for row in shown:
        size, part = row["weight_bytes"] + row["activation_bytes"], row["latency_s"] / longest_s
        lines.append(
            (
                row["name"], row["kind"], significant(row["macs"] / size) if size else "0",
                _time(row["latency_s"], unit), percent(row["latency_s"] / total_s),
                Text(row["bound"], STYLES[row["bound"]]),
                _bar(part, 0, unicode) if row["bound"] == "compute" else _bar(0, part, unicode),
            )
        )  # fmt: skip
    return _table((title, "kind", "MACs/B", unit[1], "share", "bound"), lines, bar=True, width=width)


def _bar(compute: float, memory: float, unicode: bool) -> Text:
    """A bar of two parts; a part that is not nothing shows at least one cell."""
    block = "\u2588" if unicode else "#"
    cells = [max(1, round(share * BAR_CELLS)) if share > 0.005 else 0 for share in (compute, memory)]
    return Text.assemble((block * cells[0], STYLES["compute"]), (block * cells[1], STYLES["memory"]))


def _time(value_s: float, unit: tuple[float, str]) -> str:
    """As many decimals as make a column line up, and more where that would be nothing."""
    step, name = unit
    decimals = 2 if name == "ms" else 1
    value = value_s / step
    return f"{value:,.{decimals}f}" if value >= 0.5 * 10**-decimals or not value else significant(value, 1)


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str | Text]], bar: bool = False, width: int | None = None
) -> Table:
    """Numbers are never cut: where `width` is too small, the first column loses its beginning."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    widths = [max([len(title), *(len(row[i]) for row in rows)]) for i, title in enumerate(header)]
    if width is not None:
        widths[0] = min(widths[0], max(len(header[0]), width - sum(widths[1:]) - len(widths) - bar * BAR_CELLS))
    for i, title in enumerate(header):
        justify: JustifyMethod = "left" if i == 0 or title in LEFT_COLUMNS else "right"
        table.add_column(title, justify=justify, no_wrap=True, min_width=widths[i])
    if bar:
        table.add_column("", min_width=BAR_CELLS)
    for first, *others in rows:
        name = printable(str(first))
        shown = name if len(name) <= widths[0] else f"..{name[2 - widths[0] :]}"
        table.add_row(Text(shown), *(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in others))
    return table


def render_models(entries: Sequence[Entry]) -> RenderableType:
    """The zoo by family: exact counts at the published input size, and the published accuracy."""
    header = ("Model", "params", "MACs", "px", "top-1", "also called")
    rows = [
        (
            entry.name, si(entry.params, digits=4), si(entry.macs, digits=4), str(entry.input_size[1]),
            f"{entry.top1:.1f}" if entry.top1 is not None else "",
            min((alias for alias in entry.aliases if len(alias) <= ALIAS_CELLS), key=len, default=""),
        )
        for entry in entries
    ]  # fmt: skip
    table = _table(header, rows)
    families = [entry.family for entry in entries]
    for i, row in enumerate(table.rows[:-1]):
        row.end_section = families[i] != families[i + 1]
    note = (
        "Counts are exact and decimal, for one image of px by px; top-1 is ImageNet-1k as published. What follows a "
        "colon names a form of a network. 'roofline models NAME' tells the paper, the rule and the arguments. "
        "Also: FILE.py:CALLABLE, MODULE:CALLABLE."
    )
    return Group(table, Text(), Text(note, style="dim"))


ALIAS_CELLS = 13


def render_model(entry: Entry) -> RenderableType:
    """One model of the zoo: our counts, what others print, the arguments it takes, its paper and its rule."""
    of = family(entry.family)
    title = entry.name if not entry.aliases else f"{entry.name}, also called {', '.join(entry.aliases)}"
    attention = f", {entry.attention_macs:,} of them in attention's matrix products" if entry.attention_macs else ""
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text(f"{entry.params:,} params, {entry.macs:,} MACs at {shape(entry.input_size)}{attention}"),
        Text(f"--arg: {', '.join(f'{name}={_literal(value)}' for name, value in entry.arguments().items())}"),
        Text(),
    ]
    if entry.published:
        header = ("px", "params", "MACs", "top-1", "our MACs", "published by")
        rows = [
            (
                str(figures.input_px), figures.published_params or "", figures.published_macs or "",
                "" if figures.top1 is None else f"{figures.top1:g}", si(figures.macs, digits=4), _source(figures),
            )
            for figures in entry.published
        ]  # fmt: skip
        table = _table(header, rows)
        source = table.columns[-1]
        source.no_wrap, source.min_width = False, None
        parts += [table, Text()]
    else:
        parts += [Text("No published figures."), Text()]
    parts += [Text(of.summary, style="bold"), Text(of.paper), Text(), *_paragraphs(of.rule)]
    return Group(*parts)


def _source(figures: Published) -> str:
    """Where figures stand, and how to read them where they are not simply ours, rounded."""
    said = [figures.source]
    if figures.confidence != "verified-in-source":
        said.append(figures.confidence)
    if figures.convention != "decimal":
        said.append(figures.convention)
    return "; ".join([*said, figures.note] if figures.note else said)


def _literal(value: object) -> str:
    """A default as one would type it after ``--arg``."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_literal, value))}]"
    return str(value)


def _paragraphs(text: str) -> list[RenderableType]:
    """Prose as wide as the terminal; what is indented stays as it is."""
    shown: list[RenderableType] = []
    for paragraph in text.split("\n\n"):
        indented = any(line.startswith(" ") for line in paragraph.splitlines())
        shown += [Text(paragraph if indented else " ".join(paragraph.split())), Text()]
    return shown[:-1]


def render_explanation(lines: Sequence[tuple[str, Sequence[str]]]) -> RenderableType:
    """Headed paragraphs, as `roofline.explain.explain` gives them."""
    parts: list[RenderableType] = []
    for heading, body in lines:
        parts.append(Text(printable(heading), style="bold"))
        parts += [Padding(Text(_printable_columns(line)), (0, 0, 0, 2), expand=False) for line in body]
    return Group(*parts)


def _printable_columns(line: str) -> str:
    """`printable`, but blanks stay, which line up columns."""
    return "".join(character if character.isprintable() else printable(f"x{character}")[1:] for character in line)


def render_cross_check(check: CrossCheck) -> RenderableType:
    """Three counts side by side, and why they differ."""
    header = ("Ops", "roofline MACs", "fvcore flops", "FlopCounter/2")
    table = _table(
        header,
        [
            (row.family, f"{row.macs:,}", _count(row.fvcore_flops), _count(row.flop_counter_macs))
            for row in (*check.differences, check.total)
        ],
    )
    reasons = [Text(printable(f"{row.family}: {row.reason}")) for row in check.differences if row.reason]
    agree = Text("All three agree.") if not reasons and not check.failures else Text("Why they differ", style="bold")
    failures = [Text(printable(line), style="yellow") for line in check.failures]
    return Group(Text(printable(check.name), style="bold"), table, Text(), agree, *reasons, *failures)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
