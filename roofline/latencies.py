"""Latencies that somebody measured, read from a CSV file: what `roofline.fit` infers a device from.

The first line names the columns, in any order; the first two are needed::

    model,latency_ms,input_size,batch,dtype,note
    mobilenetv4_conv_s,2.4,,,,"MNv4-Conv-S, arXiv:2404.10518v2 Table 6"
    my_net.py:make_net,11.4,3x256x256,1,int8,measured 2024-05-01

``model`` is any model reference; ``input_size`` CxHxW, the model's own where it is empty; ``batch`` 1 where it is
empty; ``dtype`` the one that the fit is told. Every problem is a `LatencyError` of one line with file, line and column.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from roofline.errors import LatencyError, did_you_mean
from roofline.hardware import DTYPES

COLUMNS = ("model", "latency_ms", "input_size", "batch", "dtype", "note")
REQUIRED = ("model", "latency_ms")
MAX_BYTES = 10_000_000
LONGEST_MS = 1e9  # beyond any inference; catches other units
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One row: a model, and how long it took.

    Attributes:
        line: Where it stands in the file.
        model: Its reference.
        latency_s: Seconds.
        input_size: (C, H, W), or None for the model's own.
        batch: Images a pass.
        dtype: fp32, fp16, bf16 or int8, or None where the file does not say.
        note: Where it was published or measured; may be empty.
    """

    line: int
    model: str
    latency_s: float
    input_size: tuple[int, ...] | None = None
    batch: int = 1
    dtype: str | None = None
    note: str = ""


def read_latencies(path: str | Path) -> tuple[Latency, ...]:
    """Read a CSV file of latencies, in its order.

    Rows that say the same twice count once.

    Raises:
        LatencyError: The file is missing, is no CSV, lacks a column, or holds a value that makes no sense.
    """
    reader = csv.reader(io.StringIO(_text(Path(path)), newline=""), strict=True)
    rows = (row for row in _records(reader, path) if any(cell.strip() for cell in row[1]))
    first = next(rows, None)
    if first is None:
        raise LatencyError(f"{path}: is empty; its first line names the columns: {','.join(COLUMNS)}")
    line, names = first
    columns = _columns(names, f"{path}:{line}")
    found: dict[tuple[object, ...], Latency] = {}
    for line, cells in rows:
        if len(cells) != len(columns):
            hint = "quote what has a comma" if len(cells) > len(columns) else "an empty one keeps its comma"
            raise LatencyError(f"{path}:{line}: {len(cells)} values, and {len(columns)} columns: {hint}")
        row = _row(dict(zip(columns, (cell.strip() for cell in cells), strict=True)), line, path)
        known = found.setdefault((row.model, row.input_size, row.batch, row.dtype), row)
        if known.latency_s != row.latency_s:
            raise LatencyError(
                f"{path}:{line}: latency_ms: {row.latency_s * 1e3:g} for {row.model}, and line {known.line} says "
                f"{known.latency_s * 1e3:g} for the same: keep one of them"
            )
    return tuple(found.values())


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise LatencyError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise LatencyError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise LatencyError(f"{path}: larger than {MAX_BYTES // 10**6} MB; a table of latencies has a row a model")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LatencyError(f"{path}:{line}: not UTF-8 text") from None


def _records(reader: Iterator[list[str]], path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """The records, each with the line it begins on."""
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1  # type: ignore[attr-defined]  # csv.reader is more than an iterator
    except csv.Error as error:
        raise LatencyError(f"{path}:{line}: not CSV: {error}") from None


def _columns(names: list[str], where: str) -> list[str]:
    columns = [name.strip().lower() for name in names]
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        raise LatencyError(f"{where}: columns are separated by commas (got {columns[0][:40]!r})")
    for name in columns:
        if name not in COLUMNS:
            hint = did_you_mean(name, COLUMNS) or f" The columns are {', '.join(COLUMNS)}."
            raise LatencyError(f"{where}: unknown column {name[:40]!r}.{hint}")
        if columns.count(name) > 1:
            raise LatencyError(f"{where}: the column {name} stands twice")
    for name in REQUIRED:
        if name not in columns:
            raise LatencyError(f"{where}: the column {name} is missing (found: {', '.join(columns)})")
    return columns


def _row(cells: dict[str, str], line: int, path: str | Path) -> Latency:
    def wrong(column: str, what: str) -> NoReturn:
        raise LatencyError(f"{path}:{line}: {column}: {what} (got {cells[column][:40]!r})")

    if not cells["model"]:
        wrong("model", "must name a model")
    if not _NUMBER.fullmatch(cells["latency_ms"]):
        wrong("latency_ms", "must be a number of milliseconds, as in 2.4")
    latency_ms = float(cells["latency_ms"])
    if not 0 < latency_ms < math.inf:
        wrong("latency_ms", "must be greater than 0, and finite")
    if latency_ms > LONGEST_MS:
        wrong("latency_ms", "must be in milliseconds, at most 1e9")
    size, batch, dtype = (cells.get(name, "").lower() for name in ("input_size", "batch", "dtype"))
    if size and not re.fullmatch(r"[1-9]\d{0,8}x[1-9]\d{0,8}x[1-9]\d{0,8}", size):
        wrong("input_size", "must be CxHxW, as in 3x224x224, or empty")
    if batch and not re.fullmatch(r"[1-9]\d{0,8}", batch):
        wrong("batch", "must be a whole number, at least 1, or empty")
    if dtype and dtype not in DTYPES:
        wrong("dtype", f"must be one of {', '.join(DTYPES)}, or empty")
    return Latency(
        line=line,
        model=cells["model"],
        latency_s=latency_ms / 1e3,
        input_size=tuple(int(length) for length in size.split("x")) if size else None,
        batch=int(batch or 1),
        dtype=dtype or None,
        note=cells.get("note", ""),
    )
