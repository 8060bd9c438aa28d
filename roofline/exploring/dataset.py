"""A run's folder: the networks as Parquet, a file a block, and what the run is.

    OUT/networks/part-00000.parquet    one row a network, in the order of the draws; each file whole, or not there
    OUT/space.json                     what was asked, what has come of it so far, and whether that is all
    OUT/report.html                    the page of `roofline.reports.space_page`, once it is complete

A file appears under its name only when all of it is on the disk. So whatever ends a run, what stands there is right,
and the next run goes on behind the last file. What became of the draws of a block (`Tally`) stands in the metadata of
its file, under ``roofline``.

Blocks do not depend on how many networks are wanted, but that the last file is cut where there are enough. So a run may
be gone on with to more of them: the file that was cut is made again, whole, and those before it stay as they are.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import OutputError
from roofline.exploring.networks import SCHEMA
from roofline.exploring.request import span
from roofline.exploring.work import Block, Job, Tally
from roofline.output import write_text
from roofline.units import printable

if TYPE_CHECKING:
    import pyarrow as pa

NETWORKS, DESCRIPTION = "networks", "space.json"
METADATA = b"roofline"
UNFINISHED = ".unfinished"  # of a file's name, while it is being written


class Dataset:
    """The folder of one run, to go on with.

    Attributes:
        folder: It.
        blocks: How many are in it, from the first on.
        networks: How many networks are in these.
        tally: What became of all draws of these.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        """Make the folder, or find out how far an earlier run came.

        Raises:
            OutputError: It holds something else, or another run; or it cannot be read or written.
        """
        self.folder, self.job = folder, job
        self.blocks, self.networks, self.tally = 0, 0, Tally()
        self.about = described(job)
        try:
            if folder.exists() and not folder.is_dir():
                raise OutputError(f"cannot write {folder}: it is no folder")
            if is_used(folder):
                self._check()
            (folder / NETWORKS).mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"*{UNFINISHED}"):
                left.unlink()
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror}") from error
        self._go_on()
        self.describe()

    @property
    def is_complete(self) -> bool:
        """Whether all networks that were asked for are there."""
        return self.networks >= self.job.request.n

    def add(self, block: Block) -> None:
        """Write the next block, or as much of it as is still missing.

        Raises:
            OutputError: It cannot be written; what was written before stays.
        """
        assert block.number == self.blocks, "blocks come in order"
        table = block.table().slice(0, self.job.request.n - self.networks)
        self._write(self._path(block.number), as_parquet(table, block.tally))
        self.blocks, self.networks, self.tally = self.blocks + 1, self.networks + len(table), self.tally + block.tally
        self.describe()

    def describe(self) -> None:
        """Write down how far it is.

        Raises:
            OutputError: It cannot be written.
        """
        so_far = {
            "complete": self.is_complete,
            "counts": {"networks": self.networks, "blocks": self.blocks, **self.tally.to_dict()},
        }
        text = json.dumps({**self.about, **so_far}, indent=2, allow_nan=False)
        write_text(self.folder / DESCRIPTION, text + "\n")

    def _path(self, number: int) -> Path:
        return self.folder / NETWORKS / f"part-{number:05}.parquet"

    def _write(self, path: Path, data: bytes) -> None:
        temporary = self.folder / f"{path.name}{UNFINISHED}"
        try:
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}; the {self.networks} networks written before stay readable"
            ) from error

    def _check(self) -> None:
        """Refuse a folder of something else."""
        path = self.folder / DESCRIPTION
        if not path.is_file():
            raise OutputError(
                f"{self.folder} is not empty, and holds no run of 'roofline explore': name another folder"
            )
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            known = None
        asked = known.get("request") if isinstance(known, dict) and known.get("schema") == SCHEMA else None
        if not isinstance(asked, dict):
            raise OutputError(f"{path} does not describe a run of 'roofline explore': name another folder")
        if "search" in known:
            raise OutputError(f"{self.folder} holds a search: name another folder")
        now = self.about["request"]
        for name in dict.fromkeys((*now, *asked)):
            before = asked.get(name)
            if name == "n" and isinstance(before, int) and before <= self.job.request.n:
                continue
            if before != now.get(name):
                differs = _told(name, asked.get(name), now.get(name))
                raise OutputError(f"{self.folder} holds another run: {differs}; name another folder")

    def _go_on(self) -> None:
        """Count the blocks that are there, up to the first that is missing, was damaged since or cut too short."""
        while not self.is_complete:
            first, end = span(self.blocks)
            rows, tally = _read(self._path(self.blocks))
            found = tally.tried - tally.invalid - tally.outside
            if tally.tried != end - first or rows < min(found, self.job.request.n - self.networks):
                return
            self.blocks, self.networks, self.tally = self.blocks + 1, self.networks + rows, self.tally + tally


def described(job: Job) -> dict[str, Any]:
    """What `space.json` says of a job, whatever has come of it."""
    from roofline.analysis import versions

    return {
        "schema": SCHEMA,
        "space": {"name": job.space, "summary": job.summary, "parameters": list(job.parameters.names)},
        "request": job.identity,
        "devices": [
            {"id": device.id, "name": device.name, "latency_kind": device.latency_kind(_dtype(job, device))}
            for device in job.devices
        ],
        "ridge_points_macs_per_byte": list(job.request.ridge),
        "versions": versions(),
    }


def _dtype(job: Job, device: Any) -> str:
    return job.request.dtype or str(device.default_dtype)


def _told(name: str, before: Any, now: Any) -> str:
    """What differs, in words."""
    if name in ("space_sha256", "hw_sha256"):
        what = "the file of the space" if name == "space_sha256" else "a hardware profile"
        return f"{what} is no longer what it was"
    return f"its {name} was {printable(json.dumps(before))}, and is {printable(json.dumps(now))} now"


def is_used(folder: Path) -> bool:
    """Whether a folder is there and holds anything."""
    return folder.is_dir() and any(True for _ in folder.iterdir())


def as_parquet(table: pa.Table, tally: Tally) -> bytes:
    """A table as a Parquet file, with the tally of its draws in the metadata."""
    from pyarrow import parquet

    data = io.BytesIO()
    metadata: Mapping[bytes, bytes] = {METADATA: json.dumps(tally.to_dict()).encode()}
    parquet.write_table(table.replace_schema_metadata(metadata), data, compression="zstd")
    return data.getvalue()


def _read(path: Path) -> tuple[int, Tally]:
    """How many networks are in a file, and what became of its draws; of a missing or damaged one, there are none."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            metadata = file.metadata
            return metadata.num_rows, Tally.from_dict(json.loads((metadata.metadata or {})[METADATA]))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return 0, Tally()
