"""Columns of networks: their names and types, and of no networks at all. What is in them, tests of counting say."""

from __future__ import annotations

import numpy as np
import pytest

from roofline.errors import RooflineError
from roofline.exploring.rows import rows
from roofline.profiles import load_profile
from roofline.spaces import BUILT_IN, Config, RandomChooser
from roofline.spaces.counting import TOTALS, Counter

UIB = BUILT_IN["uib"]


def networks(count: int) -> list[Config]:
    return [UIB.draw(RandomChooser(0, index)) for index in range(count)]


def counter() -> Counter:
    return Counter(fusion="epilogue", dtype="int8")


def test_columns_of_rows() -> None:
    configs = networks(2)
    found = rows(UIB, configs, [4, 9], counter(), [load_profile("pixel6_tpu")], [30, 2.5])
    assert list(found) == [
        "index", *UIB.parameters(), *TOTALS, "latency_s:pixel6_tpu", "compute_bound_share:pixel6_tpu",
        "latency_s:ridge=30", "compute_bound_share:ridge=30", "latency_s:ridge=2.5", "compute_bound_share:ridge=2.5",
    ]  # fmt: skip
    assert list(found["index"]) == [4, 9]
    assert found["widths"] == [list(config["widths"]) for config in configs]  # type: ignore[arg-type]
    assert all(isinstance(found[name], np.ndarray) and found[name].dtype == np.int64 for name in TOTALS)  # type: ignore[union-attr]


def test_no_networks() -> None:
    devices = [load_profile(name) for name in ("pixel6_tpu", "coral_edgetpu_usb")]
    found = rows(UIB, [], [], counter(), devices, [30])
    full = rows(UIB, networks(1), [0], counter(), devices, [30])
    assert list(found) == list(full)
    assert all(len(column) == 0 for column in found.values())


def test_a_device_without_the_dtype() -> None:
    with pytest.raises(RooflineError, match="pixel6_tpu has no peak for dtype 'fp32'"):
        rows(UIB, networks(1), [0], Counter(), [load_profile("pixel6_tpu")])
