"""Runs of a small space, and what is in their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roofline.exploring.engines import local
from roofline.exploring.request import Request
from roofline.exploring.run import Progress, explore

TINY = Path(__file__).with_name("tiny.py")


def tiny(n: int = 200, **others: Any) -> Request:
    return Request(
        **{"space": f"{TINY}:Tiny", "n": n, "hw": ("pixel6_tpu", "apple_m1_gpu"), "ridge": (30.0,), **others}
    )


def parts(folder: Path) -> dict[str, bytes]:
    """The files of a dataset, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted((folder / "networks").iterdir())}


def rows(folder: Path) -> list[dict[str, Any]]:
    """All networks of a dataset."""
    from pyarrow import dataset

    found: list[dict[str, Any]] = dataset.dataset(folder / "networks", format="parquet").to_table().to_pylist()
    return found


def alone(request: Request, folder: Path, **others: Any) -> Progress:
    """The run in this process."""
    with local(1) as engine:
        return explore(request, folder, engine=engine, **others)
