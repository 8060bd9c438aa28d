"""A run of `roofline explore` made by hand: networks whose latency has a known law, in the columns of a dataset."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from roofline.exploring.analysis import summary

DEVICES = ("fast_npu", "slow_cpu")
RIDGE_POINTS = (10.0,)
DESCRIPTION: dict[str, Any] = {
    "schema": "roofline/space/1",
    "complete": True,
    "space": {"name": "regnety", "summary": "Networks of one linear rule of widths.", "input_shape": [1, 3, 224, 224]},
    "request": {"space": "regnety", "n": 1000, "hw": list(DEVICES), "macs": {"low": None, "high": 4e9}, "seed": 0},
    "counts": {"tried": 1500, "invalid": 300, "outside": 200, "accepted": 1000},
    "devices": [
        {
            "id": "fast_npu",
            "name": "Fast NPU",
            "dtype": "int8",
            "latency_kind": "prediction",
            "figures": {"peak_macs_per_s.int8": {"value": 4e12, "kind": "fitted", "source": "a table"}},
        },
        {"id": "slow_cpu", "name": "Slow CPU", "dtype": "int8", "latency_kind": "bound", "figures": {}},
    ],
    "ridge_points_macs_per_byte": list(RIDGE_POINTS),
    "versions": {"roofline": "0.1.0", "torch": "2.9.0"},
}


def networks(count: int, *, seed: int = 0, first: int = 0, accuracy: bool = False) -> pa.Table:
    """Networks with numbers from `first` on.

    On ``fast_npu`` latency is set by the stem's width and the activation, whatever the MACs; on ``slow_cpu`` it is in
    proportion to the MACs, up to 10 %.
    """
    random = np.random.default_rng([seed, first])
    stages = random.integers(2, 5, count)
    widths = [sorted((8 * random.integers(3, 60, n)).tolist()) for n in stages]
    depths = [random.integers(1, 9, n).tolist() for n in stages]
    blocks = [random.choice(["conv", "mbconv"], n).tolist() for n in stages]
    stem = 8 * random.integers(2, 9, count)
    activation = random.choice(["relu", "silu", "hswish"], count)
    macs = np.array([4000 * int(np.dot(w, d)) * int(w[0]) for w, d in zip(widths, depths, strict=True)])
    fast = 1e-5 * stem * np.where(activation == "silu", 1.5, 1.0) * random.uniform(0.98, 1.02, count)
    slow = macs / 1e11 * random.uniform(0.95, 1.05, count)
    columns: dict[str, Any] = {
        "index": np.arange(first, first + count),
        "stem": stem,
        "widths": pa.array(widths, pa.list_(pa.int64())),
        "depths": pa.array(depths, pa.list_(pa.int64())),
        "blocks": pa.array(blocks, pa.list_(pa.string())),
        "activation": activation,
        "always": np.full(count, 3),
        "macs": macs,
        "params": macs // 200,
        "weight_bytes": macs // 200,
        "activation_bytes": macs // 90,
        "activations": macs // 100,
        "layers": np.array([3 * sum(d) for d in depths]),
        "latency_s:fast_npu": fast,
        "compute_bound_share:fast_npu": random.uniform(0, 1, count),
        "latency_s:slow_cpu": slow,
        "compute_bound_share:slow_cpu": np.full(count, 0.25),
        "latency_s:ridge=10": macs * random.uniform(1.0, 1.1, count),
        "compute_bound_share:ridge=10": np.full(count, 1.0),
    }
    if accuracy:
        columns["accuracy"] = 0.8 - 1e7 / (macs + 2e7) + random.normal(0, 0.01, count)
        columns["reward"] = columns["accuracy"] * (fast / 3e-4) ** -0.07
    return pa.table(columns)


def write_run(
    folder: Path, tables: list[pa.Table], *, description: dict[str, Any] | None = DESCRIPTION, **options: Any
) -> Path:
    """A run of one part a table."""
    (folder / "networks").mkdir(parents=True)
    for number, table in enumerate(tables):
        parquet.write_table(table, folder / "networks" / f"part-{number:05}.parquet", compression="zstd", **options)
    if description is not None:
        (folder / "space.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def summed_up(count: int) -> dict[str, Any]:
    """The summary of a run of so many networks, as plain data."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = json.loads(
            summary(write_run(Path(folder) / "out", [networks(count)]), best=5).to_json()
        )
    return found
