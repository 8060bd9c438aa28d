"""Measurements over time in a terminal: a line a series, or a line a measurement with its change; 80 columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from roofline.measurement.history import OF_A_FLEET, Change, History, Point, Series, change_text
from roofline.reports.terminal import _table, _time
from roofline.units import percent, printable, seconds, time_unit

STYLES = {"slower": "bold red", "faster": "bold green"}
USUAL = ("eager", "fp32")
ALWAYS_TOLD = ("device.name", "versions.torch")  # of the environment; the rest, only where it tells series apart


def render_overview(history: History) -> RenderableType:
    """One line a series, under the name of its model."""
    rows: list[tuple[str | Text, ...]] = []
    headings: list[int] = []
    for series in history.series:
        latest = series.latest
        if not headings or rows[headings[-1]][0] != latest.model:
            headings.append(len(rows))
            rows.append((latest.model, "", "", "", "", ""))
        point = series.points[-1]
        took = seconds(point.latency_s.median)
        runs, when = str(len(series.points)), f"{latest.measured_at:%Y-%m-%d}"
        rows.append((_conditions(series, unless=USUAL), runs, when, took, _change(point), _remark(point)))
    table = _table(("Measured", "runs", "latest", "took", "change", ""), rows)
    table.columns[0].no_wrap, table.columns[0].min_width = False, None
    table.columns[-1].justify = "left"
    for at in headings:
        table.rows[at].style = "bold"
        if at:
            table.rows[at - 1].end_section = True
    about = (
        "Took: the latest median, at the machine's reference state; change: from the one before. Eager and in fp32 "
        "where nothing else is said."
    )
    following = "Next: 'roofline history MODEL' tells all of one; --export csv|parquet writes all there is."
    return Group(
        table,
        Text(),
        Text(history.verdict(), style="bold"),
        *(Text(line, style="dim") for line in (about, following, printable(f"Kept in {history.database}."))),
    )


def render_history(history: History, *, width: int = 80) -> RenderableType:
    """All measurements of a model, by series, and what changed.

    Args:
        history: What to show.
        width: Columns of the terminal.
    """
    parts: list[RenderableType] = [Text(printable(history.verdict()), style="bold"), Text()]
    for series in history.series:
        parts += [_head(series), Text(printable(_where(series, history.series)), style="dim")]
        parts.append(_points(series, width))
        if series.overall is not None:
            parts.append(Text(f"From the first to the latest: {_overall(series.overall)}."))
        parts.append(Text())
    notes = (
        "These are measurements: medians with their 95 % intervals at the machine's reference state; raw: as the "
        "stopwatch had them.",
        "A change is beyond noise, and named, where the intervals do not overlap and it exceeds what processes differ "
        "by: as measured, else 10 % (30 % without an anchor). Contended and throttled ones are not compared.",
        printable(f"Kept in {history.database}."),
    )
    return Group(*parts, *(Text(note, style="dim") for note in notes))


def _head(series: Series) -> Text:
    latest = series.latest
    return Text.assemble((printable(latest.model), "bold"), f"  on {printable(_conditions(series))}")


def _conditions(series: Series, unless: Collection[str] = ()) -> str:
    """How it ran, less what goes without saying."""
    latest = series.latest
    threads = f"{latest.threads} thread{'s' if latest.threads > 1 else ''}"
    parts = (latest.device, series.environment[OF_A_FLEET], latest.mode, latest.dtype, latest.input_shape, threads)
    return ", ".join(part for part in parts if part and part not in unless)


def _where(series: Series, others: Sequence[Series]) -> str:
    """The machine and its torch, and in what else this series differs from others that are shown."""
    differing = [
        path
        for path, value in series.environment.items()
        if path not in (*ALWAYS_TOLD, OF_A_FLEET) and any(other.environment[path] != value for other in others)
    ]
    told = [f"torch {series.environment[path]}" if path == "versions.torch" else str(series.environment[path])
            for path in ALWAYS_TOLD if series.environment[path] is not None]  # fmt: skip
    return ", ".join((*told, *(f"{path} {series.environment[path]}" for path in differing)))


def _points(series: Series, width: int) -> RenderableType:
    unit = time_unit(max(point.latency_s.median for point in series.points))
    rows = [
        (
            f"{point.kept.measured_at:%Y-%m-%d %H:%M}",
            _time(point.latency_s.median, unit),
            f"{_time(point.latency_s.low, unit)}..{_time(point.latency_s.high, unit)}",
            _time(point.kept.latency_s.median, unit),
            _change(point),
            percent(point.change.noise) if point.change else "",
            _remark(point),
        )
        for point in series.points
    ]
    header = ("Measured (UTC)", unit[1], "95 % interval", "raw", "change", "noise", "")
    table = _table(header, rows, width=width)
    table.columns[-1].justify = "left"
    return table


def _change(point: Point) -> str:
    return f"{(point.change.ratio - 1) * 100:+.1f} %" if point.change else ""


def _remark(point: Point) -> Text:
    """The word for a change that is beyond noise, and the status of a measurement that is not quite well."""
    words = []
    if point.change is not None and point.change.is_beyond_noise:
        word = "slower" if point.change.ratio > 1 else "faster"
        words.append(Text(word, STYLES[word]))
    is_stopped = point.kept.is_interrupted  # by hand; that it is not known as well as was asked goes without saying
    if point.kept.status not in ("ok", *(["capped"] if is_stopped else [])):
        words.append(Text(printable(point.kept.status), "yellow"))
    if is_stopped:
        words.append(Text("stopped", "yellow"))
    return Text(", ").join(words)


def _overall(change: Change) -> str:
    noise = f"noise ({percent(change.noise)})"
    return f"{change_text(change)}, {'beyond' if change.is_beyond_noise else 'within'} {noise}"
