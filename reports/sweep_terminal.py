"""A sweep in a terminal: who is on the front where, how models rank, where they cross; and as CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roofline.reports.export import _escape, _markdown_table
from roofline.reports.terminal import _table
from roofline.sweep import OPERATIONS, Interval, RidgeSweep, SweptModel
from roofline.units import percent, printable, shape_list, si, significant

COLUMNS = ("model", "top1", "ridge_point", "latency", "memory_bound_share", *OPERATIONS)
TOLD_POINTS = 6
TOLD_CROSSINGS = 12
BAR_CELLS = 12

SCALE = (
    "Latencies are relative (eq. 1 of arXiv:2404.10518): at one ridge point all models share the factor between them "
    "and seconds, so ranks, crossings and fronts hold for every machine of that ridge point."
)
NEXT = "Next: --html FILE draws all of it; --format csv has the times by operation."


def render_sweep(
    sweep: RidgeSweep, *, top: int = TOLD_CROSSINGS, width: int = 80, unicode: bool = True
) -> RenderableType:
    """The verdict, the Pareto front, relative latencies at a few ridge points, crossings, profiles and notes.

    Args:
        sweep: What to show.
        top: Crossings in the table; 0 for none.
        width: Columns of the terminal.
        unicode: Whether bars may use block characters.
    """
    head = Text.assemble(
        (f"{len(sweep.models)} model{'s' if len(sweep.models) > 1 else ''}", "bold"), f"  {how(sweep)}"
    )
    parts: list[RenderableType] = [Text(printable(sweep.verdict()), style="bold"), Text()]
    parts += [_fronts(sweep, width, unicode), Text(), *_ranks(sweep, width), Text()]
    if top and sweep.crossings:
        parts += [_crossings(sweep, top, width), Text()]
    return Group(head, *parts, *(Text(printable(note), style="dim") for note in [*notes(sweep), NEXT]))


def how(sweep: RidgeSweep) -> str:
    """Range, inputs, dtype and fusion.

    Where models differ in the last two, they are left out.
    """
    low, high = (significant(end) for end in sweep.ridge_range)
    choices = {(m.layers.dtype, m.layers.fusion, m.layers.fused_activations) for m in sweep.models}
    inputs = dict.fromkeys(shape_list(model.candidate.input_shapes) for model in sweep.models)
    said = [f"{low} to {high} MACs/byte", f"input{'s' if len(inputs) > 1 else ''} {', '.join(inputs)}"]
    if len(choices) == 1:
        dtype, fusion, activations = next(iter(choices))
        fused = f" ({', '.join(sorted(activations))})" if activations and fusion != "none" else ""
        said += [dtype, "unfused" if fusion == "none" else f"{fusion} fusion{fused}"]
    return ", ".join(said)


def notes(sweep: RidgeSweep) -> list[str]:
    """What a reader has to know: the scale, the profiles that are marked, ties, and what was not counted."""
    lines = [SCALE]
    by_input: dict[str, list[str]] = {}
    for model in sweep.models:
        by_input.setdefault(shape_list(model.candidate.input_shapes), []).append(model.name)
    if len(by_input) > 1:
        groups = "; ".join(f"{', '.join(names)}: {of}" for of, names in by_input.items())
        lines.append(f"Not alike in input, which is the published size if not given: {groups}.")
    if sweep.profiles:
        marks = ", ".join(f"{mark.id} {significant(mark.ridge_point)}" for mark in sweep.profiles)
        lines.append(f"Ridge points of devices at {sweep.profiles[0].dtype}: {marks}.")
    if sweep.coincidences:
        ties = [f"{tie.a} and {tie.b} ({_span((tie.low, tie.high))})" for tie in sweep.coincidences[:4]]
        more = f" and {len(sweep.coincidences) - 4} more pairs" if len(sweep.coincidences) > 4 else ""
        lines.append(f"Of the same latency: {', '.join(ties)}{more}.")
    uncounted = [
        f"{op.name} of {model.name} ({percent(op.mem_bytes / max(1, model.mem_bytes))} of its bytes)"
        for model in sweep.models
        for op in model.layers.uncounted_ops
    ]
    lines.append(f"Not counted, but for their bytes: {', '.join(uncounted)}." if uncounted else "Every op was counted.")
    return lines


def by_accuracy(sweep: RidgeSweep) -> list[SweptModel]:
    """The models as a front runs: the least accurate first, those without a top-1 last."""
    return sorted(sweep.models, key=lambda model: math.inf if model.top1 is None else model.top1)


def told_points(sweep: RidgeSweep, most: int = TOLD_POINTS) -> list[float]:
    """A few round ridge points within the range; of a range without any, evenly spaced ones."""
    low, high = sweep.ridge_range
    start = max(low, high / 1e3)
    decades = range(math.floor(math.log10(start)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{step}e{decade}") for decade in decades for step in steps]
        found = [point for point in found if start <= point <= high]
        if 2 < len(found) <= most:
            return found
    if len(found) > most:
        return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]
    return [low + (high - low) * i / (most - 1) for i in range(most)]


def relative_latencies(sweep: RidgeSweep, points: Sequence[float]) -> list[list[float | None]]:
    """Of each model: MACs, latency at each point, and bytes, each divided by the least that takes time.

    These ends are the limits of a sweep: at ridge point 0 models rank by MACs, and by bytes as it grows.
    """
    columns = [
        [float(model.macs) for model in sweep.models],
        *([float(model.curve.time(point)) for model in sweep.models] for point in points),
        [float(model.mem_bytes) for model in sweep.models],
    ]
    fastest = [min((time for time in column if time > 0), default=0.0) for column in columns]
    return [
        [time / best if best else None for time, best in zip(row, fastest, strict=True)]
        for row in zip(*columns, strict=True)
    ]


def intervals(model: SweptModel, sweep: RidgeSweep) -> str:
    """Where a model is on the Pareto front, in words."""
    if model.top1 is None:
        return "no top-1"
    found = sweep.pareto_intervals[model.name]
    if found == (sweep.ridge_range,):
        return "throughout"
    return ", ".join(map(_span, found)) or "nowhere"


def _span(interval: Interval) -> str:
    low, high = interval
    return f"{significant(low)} to {significant(high)}"


def _fronts(sweep: RidgeSweep, width: int, unicode: bool) -> Table:
    """One line a model; the bar is the range of ridge points, filled where the model is on the front."""
    rows = [
        (
            model.name, "-" if model.top1 is None else f"{model.top1:g}", si(model.macs), si(model.mem_bytes, "B"),
            intervals(model, sweep), _bar(sweep, model, unicode),
        )
        for model in by_accuracy(sweep)
    ]  # fmt: skip
    axis = f"{significant(sweep.ridge_range[0])}{significant(sweep.ridge_range[1]):>{BAR_CELLS - 2}}"
    return _fitted(("Model", "top-1", "MACs", "bytes", "on the front", axis), rows, width)


def _bar(sweep: RidgeSweep, model: SweptModel, unicode: bool) -> Text:
    """A cell is on the front where its middle is."""
    low, high = sweep.ridge_range
    middles = [(i + 0.5) / BAR_CELLS for i in range(BAR_CELLS)]
    log = sweep.scale == "log"
    points = [low * (high / low) ** part if log else low + (high - low) * part for part in middles]
    found = sweep.pareto_intervals.get(model.name, ())
    on, off = ("\u2588", "\u00b7") if unicode else ("#", ".")
    return Text("".join(on if any(a <= point <= b for a, b in found) else off for point in points), style="cyan")


def _ranks(sweep: RidgeSweep, width: int) -> Iterator[RenderableType]:
    """Latencies relative to the fastest, at the limits and in between."""
    points = told_points(sweep)
    header = ["Relative latency at", "0", *map(significant, points), "inf"]
    latencies = dict(zip((model.name for model in sweep.models), relative_latencies(sweep, points), strict=True))
    rows = [(model.name, *map(_times, latencies[model.name])) for model in by_accuracy(sweep)]
    yield _fitted(header, rows, width)
    yield Text("1 is the fastest there. At 0 models rank by MACs, at inf by bytes.", style="dim")


def _times(ratio: float | None) -> str | Text:
    if ratio is None:
        return "-"
    return Text("1", style="bold") if ratio == 1 else f"{ratio:.2f}" if ratio < 9.995 else significant(ratio)


def _crossings(sweep: RidgeSweep, top: int, width: int) -> Table:
    shown = sweep.crossings[:top]
    of = f"{len(shown)} of {len(sweep.crossings)} crossings" if len(shown) < len(sweep.crossings) else "Crossings"
    rows = [(crossing.a, crossing.b, significant(crossing.ridge_point, 4)) for crossing in shown]
    return _fitted((f"{of}: faster below", "faster beyond", "MACs/byte"), rows, width)


def _fitted(header: Sequence[str], rows: Sequence[Sequence[str | Text]], width: int) -> Table:
    """Text to the left, numbers to the right; the first column loses its beginning where there is no room."""
    table = _table(header, rows, width=width - len(header) + 2)  # two blanks between columns
    for column in table.columns:
        if column.header in ("on the front", "faster beyond"):
            column.justify = "left"
    return table


def render_sweep_csv(sweep: RidgeSweep) -> str:
    """One line for each model and ridge point: the columns of the frame; empty where there is no top-1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for model in sweep.models:
        points = sweep.ridge_points
        parts = (part.time(points, normalisation=sweep.normalisation) for part in model.by_operation().values())
        columns = [points, model.latency, model.curve.memory_bound_share(points), *parts]
        top1 = "" if model.top1 is None else model.top1
        writer.writerows((model.name, top1, *row) for row in zip(*(column.tolist() for column in columns), strict=True))
    return text.getvalue()


def render_sweep_markdown(sweep: RidgeSweep, *, top: int = TOLD_CROSSINGS) -> str:
    """The verdict, the front, relative latencies and crossings, to paste into an issue or a pull request."""
    points = told_points(sweep)
    latencies = dict(zip((model.name for model in sweep.models), relative_latencies(sweep, points), strict=True))
    models = by_accuracy(sweep)
    fronts = [
        (
            model.name, shape_list(model.candidate.input_shapes),
            "" if model.top1 is None else f"{model.top1:g}", si(model.macs, digits=4), si(model.mem_bytes, "B"),
            intervals(model, sweep),
        )
        for model in models
    ]  # fmt: skip
    ranks = [(model.name, *(str(_times(ratio)) for ratio in latencies[model.name])) for model in models]
    crossings = [(c.a, c.b, significant(c.ridge_point, 4)) for c in sweep.crossings[:top]]
    of = f" ({len(crossings)} of {len(sweep.crossings)})" if len(crossings) < len(sweep.crossings) else ""
    count = len(sweep.models)
    return "\n".join(
        (
            f"**{count} model{'s' if count > 1 else ''}**, {_escape(how(sweep))}",
            "",
            _escape(sweep.verdict()),
            "",
            *_markdown_table(["model", "input", "top-1", "MACs", "bytes", "on the Pareto front"], fronts),
            "",
            "Latency relative to the fastest, at ridge points in MACs/byte:",
            "",
            *_markdown_table(["model", "0 (MACs)", *map(significant, points), "inf (bytes)"], ranks),
            "",
            *(_markdown_table([f"faster below{of}", "faster beyond", "MACs/byte"], crossings) if crossings else ()),
            *([""] if crossings else ()),
            *(f"{_escape(note)}  " for note in notes(sweep)),
            "",
        )
    )
