"""Ceilings: knees on curves that are known, and rates on this machine that only have to be rates."""

from __future__ import annotations

import pytest
import torch

from roofline.calibration import ceilings
from roofline.calibration.ceilings import knees, measure_ceilings
from tests.measurement.fakes import FakeClock

KIB = 1024


def curve(*levels: tuple[int, float], beyond: float) -> tuple[list[int], list[float]]:
    """Footprints of powers of two from 32 KiB to 256 MiB, and the rate of the first level that holds each."""
    footprints = [2**power for power in range(15, 29)]
    return footprints, [next((rate for size, rate in levels if each <= size), beyond) for each in footprints]


@pytest.mark.parametrize(
    ("levels", "beyond", "found"),
    [
        ([(1024 * KIB, 80e9), (32768 * KIB, 60e9)], 20e9, (1024 * KIB, 32768 * KIB)),
        ([(1024 * KIB, 80e9)], 20e9, (1024 * KIB,)),
        ([], 20e9, ()),  # flat
        ([(1024 * KIB, 80e9)], 70e9, ()),  # 12 % slower is no level
    ],
)
def test_a_cache_ends_where_copies_slow_down(
    levels: list[tuple[int, float]], beyond: float, found: tuple[int, ...]
) -> None:
    assert knees(*curve(*levels, beyond=beyond)) == found


def test_a_worn_knee_is_one() -> None:
    footprints = [64, 128, 256, 512, 1024, 2048]
    assert knees(footprints, [100, 100, 80, 60, 59, 58]) == (128,)


def test_small_steps_up_and_down_are_noise() -> None:
    assert knees([64, 128, 256, 512], [100, 95, 104, 92]) == ()


class Ticking(FakeClock):
    """Each reading is a millisecond after the last."""

    def now_s(self) -> float:
        self.time_s += 1e-3
        return self.time_s


def test_rates_are_work_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "GEMM_SIDES", (16,))
    monkeypatch.setattr(ceilings, "FOOTPRINTS", (1024, 2048))
    found = measure_ceilings(Ticking(), budget_s=1.0)
    assert found.gemm_macs_per_s == pytest.approx(16**3 / 1e-3)  # a call a millisecond, by that clock
    assert found.read_bytes_per_s == pytest.approx(1024 / 1e-3)  # of a footprint of 2048, half is read
    assert found.copy_bytes_per_s == pytest.approx(2048 / 1e-3)
    assert found.triad_bytes_per_s == pytest.approx(3 * 1024 / 1e-3)
    assert found.footprints_bytes.tolist() == [1024, 2048]
    assert found.read_by_footprint_bytes_per_s == pytest.approx([512 / 1e-3, 1024 / 1e-3])
    assert found.triad_by_footprint_bytes_per_s == pytest.approx([3 * 512 / 1e-3, 3 * 1024 / 1e-3])


def test_products_are_timed_in_other_dtypes_and_with_one_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "GEMM_SIDES", (16,))
    monkeypatch.setattr(ceilings, "FOOTPRINTS", (1024,))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = measure_ceilings(Ticking(), dtype=torch.bfloat16, budget_s=1.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert found.gemm_by_macs_per_s == pytest.approx(
        dict.fromkeys(["fp32, 2 threads", "fp32, 1 thread", "bf16, 1 thread"], 16**3 / 1e-3)
    )
    assert measure_ceilings(Ticking(), budget_s=1.0, is_cpu=False).gemm_by_macs_per_s == {}


def test_sizes_stop_growing_when_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "GEMM_SIDES", (16,))
    monkeypatch.setattr(ceilings, "FOOTPRINTS", tuple(2**power for power in range(10, 20)))
    assert len(measure_ceilings(Ticking(), budget_s=0.01).footprints_bytes) == 1
