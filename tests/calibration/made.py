"""Calibrations as tests need them: small, and of no machine."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from roofline.calibration.data import Calibration, Ceilings, OpTimes, WholeTimes

TERMS = ("calls", "macs", "read_bytes")
ENVIRONMENT: dict[str, Any] = {
    "device": {"type": "cpu", "name": "Test CPU"},
    "cpu": {"model": "Test CPU", "available": 2.0, "architecture": "x86_64"},
    "threads": {"intra_op": 2, "inter_op": 1},
    "flags": {"keep_memory": True, "l2": "hot"},
    "versions": {"torch": "2.9.0", "roofline": "0.1.0"},
}
ANCHOR: dict[str, Any] = {
    "names": ["sgemm", "blocks", "copy"], "weights": [0.0, 1.0, 0.0], "reference_s": [2e-4, 3e-3, 8e-4],
    "factor": {"median": 1.1},
}  # fmt: skip


def make_ops(keys: list[str], **columns: Any) -> OpTimes:
    """Kernels of these keys; the i-th takes i + 1 us."""
    rows = np.arange(len(keys))
    given = {
        "kernel": np.array(["gemm"] * len(keys), dtype=np.str_),
        "key": np.array(keys, dtype=np.str_),
        "terms": np.column_stack([np.ones(len(keys)), rows * 1e6, rows * 1e3]),
        "time_s": (rows + 1) * 1e-6,
        "raw_s": (rows + 1) * 1.25e-6,
        "samples": np.full(len(keys), 12),
        "network": np.array(["net-0"] * len(keys), dtype=np.str_),
    }
    return OpTimes(**(given | columns))


def make_wholes(networks: list[str], **columns: Any) -> WholeTimes:
    """Networks of these names; each takes 10 ms, its ops 9."""
    ones = np.ones(len(networks), dtype=np.int64)
    given = {
        "network": np.array(networks, dtype=np.str_), "time_s": ones * 1e-2, "raw_s": ones * 1.2e-2,
        "noise": ones * 0.01, "ops_s": ones * 9e-3, "ops": ones * 80, "module_calls": ones * 60, "views": ones * 7,
        "macs": ones * 300_000_000, "activation_bytes": ones * 40_000_000,
    }  # fmt: skip
    return WholeTimes(**(given | columns))


def make_ceilings(**changes: Any) -> Ceilings:
    """120 GMAC/s, and a copy at 44 GB/s."""
    given: dict[str, Any] = {
        "gemm_macs_per_s": 120e9, "read_bytes_per_s": 30e9, "copy_bytes_per_s": 44e9, "triad_bytes_per_s": 40e9,
        "footprints_bytes": np.array([2**15, 2**21, 2**28]),
        "copy_by_footprint_bytes_per_s": np.array([200e9, 90e9, 44e9]),
        "read_by_footprint_bytes_per_s": np.array([150e9, 60e9, 30e9]),
        "triad_by_footprint_bytes_per_s": np.array([180e9, 80e9, 40e9]),
        "caches_bytes": (48 * 2**10, 2 * 2**20),
        "gemm_by_macs_per_s": {"fp32, 1 thread": 61e9, "bf16, 2 threads": 230e9, "bf16, 1 thread": 118e9},
    }  # fmt: skip
    return Ceilings(**(given | changes))


def make_calibration(keys: list[str] | None = None, **changes: Any) -> Calibration:
    """A calibration with these kernels."""
    given: dict[str, Any] = {
        "ops": make_ops(["gemm 1x2x3", "gemm 4x5x6"] if keys is None else keys),
        "wholes": make_wholes(["net-0"]),
        "ceilings": make_ceilings(),
        "environment": ENVIRONMENT, "anchor": ANCHOR, "mode": "eager", "dtype": "fp32", "threads": 2, "left_out": 3,
        "total_samples": 500, "made_at": "2025-03-01T12:00:00+00:00", "notes": ("A note.",), "terms": TERMS,
    }  # fmt: skip
    return Calibration(**(given | changes))


def content(record: object) -> Any:
    """All that is in a record, as what ``==`` compares."""
    if isinstance(record, np.ndarray):
        return record.dtype.kind, record.tolist()
    if isinstance(record, OpTimes | WholeTimes | Ceilings | Calibration):
        return {field.name: content(getattr(record, field.name)) for field in fields(record)}
    return record
