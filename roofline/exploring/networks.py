"""The networks of a saved run, read block by block from its Parquet files: one row a network.

Columns: ``index``, the configuration, the counts (`COUNTS`), what a search adds (`JUDGEMENTS`), and for each device D
``latency_s:D`` and ``compute_bound_share:D``; a ridge point R stands for the device ``ridge=R``. A reader never holds
more than a few blocks, so that a million networks take no more memory than ten thousand.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.errors import SavedError, did_you_mean
from roofline.exploring.statistics import Floats, Ints

if TYPE_CHECKING:
    import pyarrow as pa

COUNTS = ("macs", "params", "weight_bytes", "activation_bytes", "activations", "layers")
JUDGEMENTS = ("accuracy", "reward")  # of a search; to be large, unlike all others
LATENCY, SHARE, RIDGE = "latency_s:", "compute_bound_share:", "ridge="
BLOCK_ROWS = 16_384
SCHEMA = "roofline/space/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """A saved run.

    Attributes:
        folder: It lies there.
        parts: Its Parquet files, in order.
        columns: Of every one of them.
        description: Of the run, as ``space.json`` has it; empty if there is none.
    """

    folder: Path
    parts: tuple[Path, ...]
    columns: tuple[str, ...]
    description: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Networks:
        """Open a run.

        Raises:
            SavedError: There is none, it has no networks yet, or it cannot be read.
        """
        check_parquet()
        if not folder.is_dir():
            raise SavedError(f"there is no folder {folder}" if not folder.exists() else f"{folder} is no folder")
        parts = tuple(sorted(path for path in (folder / "networks").glob("*.parquet") if path.name[0] != "."))
        if not parts:
            raise SavedError(f"{folder} holds no networks/*.parquet, as 'roofline explore -o' writes them")
        columns = _columns(parts[0])
        missing = [name for name in ("index", "macs") if name not in columns]
        if missing or not any(name.startswith(LATENCY) for name in columns):
            lacks = missing[0] if missing else f"{LATENCY}DEVICE"
            raise SavedError(f"{parts[0]} is no dataset of 'roofline explore': it has no column {lacks!r}")
        return cls(folder=folder, parts=parts, columns=columns, description=_description(folder / "space.json"))

    @property
    def latencies(self) -> tuple[str, ...]:
        """Columns of latencies, in order."""
        return tuple(name for name in self.columns if name.startswith(LATENCY))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Columns of the configuration, in order."""
        known = {"index", *COUNTS, *JUDGEMENTS}
        return tuple(name for name in self.columns if name not in known and ":" not in name)

    def column(self, name: str) -> str:
        """A column by its name, or a latency by that of its device or ridge point alone.

        Raises:
            SavedError: There is none.
        """
        for column in (name, f"{LATENCY}{name}"):
            if column in self.columns:
                return column
        short = [column.removeprefix(LATENCY) for column in self.columns]
        near = did_you_mean(name, short) or f" It has: {', '.join(short)}."
        raise SavedError(f"{self.folder} has no column {name!r}.{near}")

    def blocks(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all networks, block by block.

        Raises:
            SavedError: A file cannot be read, or lacks a column.
        """
        for part in self.parts:
            yield from self._blocks(part, columns)

    def _blocks(self, part: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        from pyarrow import parquet

        with _readable(part), parquet.ParquetFile(part, pre_buffer=False) as file:
            missing = set(columns).difference(file.schema_arrow.names)
            if missing:
                raise SavedError(f"{part} has no column {min(missing)!r}, unlike {self.parts[0].name}")
            yield from file.iter_batches(BLOCK_ROWS, columns=list(columns), use_threads=False)

    def rows(self, wanted: Collection[int]) -> dict[int, dict[str, Any]]:
        """Whole rows, by index; of an index that is there twice, the first."""
        import pyarrow as pa

        sought = np.fromiter(wanted, dtype=np.int64)
        found: dict[int, dict[str, Any]] = {}
        for part in self.parts:
            if not any(np.isin(indices(block), sought).any() for block in self._blocks(part, ["index"])):
                continue
            for block in self._blocks(part, self.columns):
                mask = np.isin(indices(block), sought)
                for row in block.filter(pa.array(mask)).to_pylist():
                    found.setdefault(row["index"], row)
        return found


def numbers(block: pa.RecordBatch, name: str) -> Floats:
    """A column as floats; what is missing is NaN."""
    values = block.column(name).to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)


def indices(block: pa.RecordBatch) -> Ints:
    """The numbers of the draws."""
    return np.asarray(block.column("index").to_numpy(zero_copy_only=False), dtype=np.int64)


def check_parquet() -> None:
    """Find out before the work whether Parquet can be read.

    Raises:
        SavedError: What reads it is not installed.
    """
    if find_spec("pyarrow") is None:
        raise SavedError("networks are kept as Parquet, which needs pyarrow: pip install 'roofline-profiler[parquet]'")


def _columns(part: Path) -> tuple[str, ...]:
    from pyarrow import parquet

    with _readable(part):
        return tuple(parquet.read_schema(part).names)


@contextmanager
def _readable(part: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        if isinstance(error, SavedError):
            raise
        said = " ".join(str(error).split())
        raise SavedError(f"{part} cannot be read: {said or type(error).__name__}") from error


def _description(path: Path) -> Mapping[str, Any]:
    """What the run says of itself."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise SavedError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise SavedError(f"{path} does not say that it is {SCHEMA!r}: it was cut short, edited, or of another release")
    return data
