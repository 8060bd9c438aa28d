"""Kept measurements for other programs: CSV of the history, and all that is kept as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

from roofline.errors import OutputError
from roofline.measurement.history import History
from roofline.measurement.store import Kept

CONDITIONS = ("model", "reference", "device", "mode", "dtype", "batch", "input_shape", "threads")


def render_history_csv(history: History) -> str:
    """One line a measurement, series by series, with its change; in seconds."""
    return _csv(
        {
            "series": number,
            **_row(point.kept),
            "series_latency_s": point.latency_s.median,
            "series_latency_low_s": point.latency_s.low,
            "series_latency_high_s": point.latency_s.high,
            "before": point.change and point.change.before,
            "ratio": point.change and point.change.ratio,
            "noise": point.change and point.change.noise,
            "is_beyond_noise": point.change and point.change.is_beyond_noise,
        }
        for number, series in enumerate(history.series)
        for point in series.points
    )


def export_csv(kept: Sequence[Kept]) -> str:
    """All that is kept, one line a measurement; the environment and the whole record as JSON."""
    return _csv(map(_whole_row, kept))


def check_parquet() -> None:
    """Find out before the work whether Parquet can be written.

    Raises:
        OutputError: What writes it is not installed.
    """
    if find_spec("pyarrow") is None:
        raise OutputError(
            "Parquet is written by pyarrow, which is not installed: pip install 'roofline-profiler[parquet]' "
            "(--export csv needs nothing)"
        )


def export_parquet(kept: Sequence[Kept]) -> bytes:
    """The same columns as `export_csv`; the time is a timestamp in UTC.

    Raises:
        OutputError: What writes it is not installed.
    """
    check_parquet()
    import pandas as pd

    rows = [{**_whole_row(one), "measured_at": pd.Timestamp(one.measured_at).as_unit("ms")} for one in kept]
    frame = pd.DataFrame(rows).astype({"anchor_reference_s": "float64", "between_process": "float64"})
    file = io.BytesIO()
    frame.to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


def _row(kept: Kept) -> dict[str, Any]:
    return {
        "id": kept.id,
        "measured_at": kept.measured_at.isoformat(timespec="milliseconds"),
        **{name: getattr(kept, name) for name in CONDITIONS},
        "latency_s": kept.latency_s.median,
        "latency_low_s": kept.latency_s.low,
        "latency_high_s": kept.latency_s.high,
        "reference_latency_s": kept.reference_latency_s.median,
        "reference_latency_low_s": kept.reference_latency_s.low,
        "reference_latency_high_s": kept.reference_latency_s.high,
        "anchor": kept.anchor,
        "anchor_reference_s": kept.anchor_reference_s,
        "between_process": kept.between_process,
        "status": kept.status,
        "flags": json.dumps(dict(kept.flags)),
        "is_interrupted": kept.is_interrupted,
    }


def _whole_row(kept: Kept) -> dict[str, Any]:
    return {**_row(kept), "environment": json.dumps(dict(kept.environment)), "record": kept.record}


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()
