"""Calibrations: what they refuse, and how two become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.calibration.data import Calibration, mismatch
from roofline.errors import CalibrationError
from tests.calibration.made import (
    ANCHOR,
    ENVIRONMENT,
    content,
    make_calibration,
    make_ceilings,
    make_ops,
    make_wholes,
)

LATER = "2025-03-02T12:00:00+00:00"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: make_ops(["a", "b"], time_s=np.array([1e-6, 0.0])),
            r"ops: time_s must be positive and finite \(got 0",
        ),
        (lambda: make_ops(["a"], raw_s=np.array([np.inf])), r"ops: raw_s must be positive and finite \(got inf"),
        (lambda: make_ops(["a"], terms=np.array([[1.0, -1.0, 0.0]])), r"ops: terms must be finite, 0 or more \(got -1"),
        (lambda: make_ops(["a"], terms=np.ones(3)), r"ops: terms has the wrong shape: \(3,\)"),
        (lambda: make_ops(["a"], samples=np.array([0])), "ops: samples must be positive"),
        (lambda: make_ops(["a"], samples=np.array([1.5])), r"ops: samples must be of int64 \(got float64\)"),
        (lambda: make_ops(["a"], key=np.array([3])), r"ops: key must be of str \(got int64\)"),
        (lambda: make_ops(["a", "b"], time_s=np.array([1e-6])), "ops: columns must be equally long .*time_s 1"),
        (lambda: make_ops(["a", "b", "a"]), "ops: key 'a' is there more than once"),
        (lambda: make_wholes(["n", "n"]), "wholes: network 'n' is there more than once"),
        (lambda: make_wholes(["n"], macs=np.array([-1])), r"wholes: macs must be finite, 0 or more \(got -1\)"),
        (lambda: make_ceilings(gemm_macs_per_s=0.0), "ceilings: gemm_macs_per_s must be positive"),
        (lambda: make_ceilings(copy_bytes_per_s=float("nan")), "ceilings: copy_bytes_per_s must be positive"),
        (lambda: make_ceilings(footprints_bytes=np.array([1])), "ceilings: columns must be equally long"),
        (lambda: make_ceilings(caches_bytes=(0,)), "ceilings: caches_bytes must be positive"),
        (lambda: make_calibration(terms=("calls", "macs")), "3 columns of terms need as many names"),
        (lambda: make_calibration(terms=("calls", "macs", "macs")), "3 columns of terms need as many names"),
        (lambda: make_calibration(mode="lazy"), r"mode must be one of eager, channels_last, compile \(got 'lazy'\)"),
        (lambda: make_calibration(threads=0), "threads must be 1 or more"),
        (lambda: make_calibration(left_out=501), r"left_out must be a part of total_samples \(got 501 of 500\)"),
        (lambda: make_calibration(made_at="yesterday"), "made_at must be a time in UTC"),
        (lambda: make_calibration(made_at="2025-03-01T12:00:00"), "made_at must be a time in UTC"),
        (lambda: make_calibration(made_at="2025-03-01T12:00:00+02:00"), "made_at must be a time in UTC"),
        (lambda: make_calibration(anchor={**ANCHOR, "reference_s": [1e-3]}), "a positive time of each of its parts"),
        (lambda: make_calibration(anchor={**ANCHOR, "reference_s": [1.0, 0, 1]}), "a positive time of each"),
    ],
)
def test_what_no_measurement_can_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        make()


def test_columns_are_copies_that_nobody_can_change() -> None:
    times = np.array([1e-6, 2e-6])
    ops = make_ops(["a", "b"], time_s=times)
    times[0] = 7.0
    assert ops.time_s.tolist() == [1e-6, 2e-6]
    with pytest.raises(ValueError, match="read-only"):
        ops.time_s[0] = 7.0


def test_whole_numbers_may_be_times() -> None:
    assert make_ops(["a"], time_s=np.array([2])).time_s.dtype == np.float64


def test_nothing_measured_yet_is_a_calibration() -> None:
    calibration = make_calibration([], wholes=make_wholes([]), left_out=0, total_samples=0)
    assert (len(calibration.ops), len(calibration.wholes), calibration.left_out_share) == (0, 0, 0.0)


# --- two into one -----------------------------------------------------------------------------------------------------


def test_of_a_kernel_in_both_the_samples_count_together() -> None:
    one = make_calibration(ops=make_ops(["a", "b", "c"], samples=np.array([5, 9, 7])))
    ops = make_ops(["b", "c", "d"], samples=np.array([6, 7, 1]), time_s=np.array([10e-6, 12e-6, 30e-6]))
    merged = one.merged(make_calibration(ops=ops)).ops
    assert merged.key.tolist() == ["a", "b", "c", "d"]
    assert merged.samples.tolist() == [5, 15, 14, 1]
    assert merged.time_s.tolist() == pytest.approx([1e-6, (2**9 * 10**6) ** (1 / 15) * 1e-6, 6e-6, 30e-6])


@pytest.mark.parametrize("made_at", [LATER, "2025-03-01T12:00:00Z"])
def test_of_a_network_in_both_what_was_measured_later_stays(made_at: str) -> None:
    other = make_calibration(
        wholes=make_wholes(["net-0", "net-1"], time_s=np.array([5e-2, 6e-2])),
        made_at=made_at,
    )
    merged = make_calibration().merged(other)
    later = made_at == LATER
    assert merged.wholes.time_s.tolist() == [5e-2 if later else 1e-2, 6e-2]


def test_a_ceiling_is_the_best_that_either_saw() -> None:
    slower = make_ceilings(gemm_macs_per_s=90e9, copy_bytes_per_s=20e9, read_bytes_per_s=31e9)
    for one, other in ((make_ceilings(), slower), (slower, make_ceilings())):
        merged = make_calibration(["a"], ceilings=one).merged(make_calibration(["b"], ceilings=other, made_at=LATER))
        assert content(merged.ceilings) == content(make_ceilings())


def test_a_copy_that_never_left_the_caches_is_no_ceiling_of_memory() -> None:
    within = make_ceilings(
        gemm_macs_per_s=130e9, copy_bytes_per_s=90e9, footprints_bytes=np.array([2**15, 2**21]),
        copy_by_footprint_bytes_per_s=np.array([200e9, 90e9]), read_by_footprint_bytes_per_s=np.array([150e9, 60e9]),
        triad_by_footprint_bytes_per_s=np.array([180e9, 80e9]), caches_bytes=(),
    )  # fmt: skip
    for one, other in ((make_ceilings(), within), (within, make_ceilings())):
        assert content(one.best(other)) == content(make_ceilings(gemm_macs_per_s=130e9))


def test_a_copy_that_may_have_been_of_caches_is_said_until_a_larger_one_is_known() -> None:
    """A note of the ceilings that a calibration has, and not of a session that had no time for more."""
    short = make_ceilings(
        footprints_bytes=np.array([2**15, 2**21]), copy_by_footprint_bytes_per_s=np.array([200e9, 90e9]),
        read_by_footprint_bytes_per_s=np.array([150e9, 60e9]), triad_by_footprint_bytes_per_s=np.array([180e9, 80e9]),
    )  # fmt: skip
    small, large = make_calibration(["a"], ceilings=short, notes=()), make_calibration(["b"], notes=(), made_at=LATER)
    assert [note.partition(",")[0] for note in small.all_notes] == ["the bandwidth is that of 2 MiB"]
    assert large.all_notes == small.merged(large).all_notes == large.merged(small).all_notes == ()


def test_counts_add_up_and_notes_stand_once() -> None:
    merged = make_calibration().merged(make_calibration(left_out=2, total_samples=40, notes=("A note.", "Another.")))
    assert (merged.left_out, merged.total_samples, merged.notes) == (5, 540, ("A note.", "Another."))
    assert merged.left_out_share == 5 / 540


def test_times_of_another_reference_state_are_converted() -> None:
    """The blocks, which alone weigh, took 6 ms where ours took 3: all there took twice as long as at our reference."""
    other = make_calibration(
        ["b"],
        wholes=make_wholes(["net-1"]),
        anchor={**ANCHOR, "reference_s": [9.0, 6e-3, 9.0]},
        made_at=LATER,
    )
    merged = make_calibration(["a"]).merged(other)
    assert merged.anchor == {
        **ANCHOR,
        "factor": {"median": 2 * ANCHOR["factor"]["median"]},
    }  # met later, by our reference
    assert merged.ops.time_s.tolist() == pytest.approx([1e-6, 0.5e-6])
    assert merged.ops.raw_s.tolist() == pytest.approx([1.25e-6, 1.25e-6])
    assert merged.wholes.time_s.tolist() == pytest.approx([1e-2, 0.5e-2])
    assert merged.wholes.ops_s.tolist() == pytest.approx([9e-3, 4.5e-3])
    assert content(merged.ceilings) == content(other.ceilings)


def test_without_anchors_times_are_taken_as_they_are() -> None:
    merged = make_calibration(["a"], anchor={}).merged(make_calibration(["b"], anchor={}))
    assert merged.ops.time_s.tolist() == pytest.approx([1e-6, 1e-6])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "channels_last"}, "mode is eager in one and channels_last in the other"),
        ({"dtype": "bf16"}, "dtype is fp32 in one and bf16 in the other"),
        ({"threads": 4}, "threads is 2 in one and 4 in the other"),
        ({"terms": ("calls", "macs", "written_bytes")}, "different terms"),
        ({"anchor": {}}, "different parts"),
        ({"anchor": {**ANCHOR, "weights": [1.0, 1.0, 1.0]}}, "different parts"),
        (
            {"environment": {**ENVIRONMENT, "versions": {"torch": "2.8.0"}}},
            r"versions\.torch is 2\.9\.0 in one and 2\.8\.0 in the other",
        ),
        ({"environment": {**ENVIRONMENT, "device": {}}}, r"device\.name is Test CPU in one and unknown in the other"),
    ],
)
def test_what_was_measured_otherwise_does_not_extend(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CalibrationError, match=f"do not go together: .*{message}") as raised:
        make_calibration().merged(make_calibration(**changes))
    assert "\n" not in str(raised.value)


def test_the_version_of_roofline_is_not_material() -> None:
    versions = {**ENVIRONMENT["versions"], "roofline": "0.2.0"}
    merged = make_calibration().merged(make_calibration(environment={**ENVIRONMENT, "versions": versions}))
    assert merged.ops.key.tolist() == make_calibration().ops.key.tolist()


ROWS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 20), max_size=8)


def made_of(samples: dict[str, int], time_s: float, made_at: str) -> Calibration:
    """A calibration with these kernels, each with so many samples; `time_s` tells whose a row is."""
    ops = make_ops(
        list(samples),
        samples=np.array(list(samples.values()), dtype=np.int64),
        time_s=np.full(len(samples), time_s),
    )
    return make_calibration(ops=ops, made_at=made_at)


def rows_of(calibration: Calibration) -> dict[str, tuple[int, float]]:
    ops = calibration.ops
    return {key: (int(n), float(t)) for key, n, t in zip(ops.key, ops.samples, ops.time_s, strict=True)}


@given(ROWS, ROWS, ROWS)
def test_merging_loses_nothing_whatever_the_order(a: dict[str, int], b: dict[str, int], c: dict[str, int]) -> None:
    one, two, three = (
        made_of(a, 1.0, "2025-01-01T00:00:00Z"),
        made_of(b, 2.0, "2025-01-02T00:00:00Z"),
        made_of(c, 3.0, "2025-01-03T00:00:00Z"),
    )
    merged = rows_of(one.merged(two).merged(three))
    assert {key: samples for key, (samples, _) in merged.items()} == {
        key: sum(part.get(key, 0) for part in (a, b, c)) for key in a | b | c
    }
    for key, (samples, time_s) in merged.items():
        logs = [part[key] * np.log(took_s) for part, took_s in ((a, 1.0), (b, 2.0), (c, 3.0)) if key in part]
        assert time_s == pytest.approx(np.exp(sum(logs) / samples))
    for other in (one.merged(two.merged(three)), three.merged(one.merged(two))):
        again = rows_of(other)
        assert {key: n for key, (n, _) in again.items()} == {key: n for key, (n, _) in merged.items()}
        assert {key: s for key, (_, s) in again.items()} == pytest.approx({key: s for key, (_, s) in merged.items()})


# --- another environment ----------------------------------------------------------------------------------------------


def test_the_same_environment_has_no_mismatch() -> None:
    assert mismatch(make_calibration(), {**ENVIRONMENT, "seed": 3, "os": "another"}) == []


def test_a_mismatch_names_what_was_and_what_is() -> None:
    now = {**ENVIRONMENT, "threads": {"intra_op": 8, "inter_op": 1}, "cpu": {"model": "Other CPU", "available": 2.0}}
    assert mismatch(make_calibration(), now) == [
        "cpu.model is Other CPU, and Test CPU when it was calibrated",
        "threads.intra_op is 8, and 2 when it was calibrated",
    ]


def test_two_processors_of_one_name_are_told_apart_by_what_they_can_and_hold() -> None:
    """Clouds call several generations "AMD EPYC"."""
    had = {"model": "AMD EPYC", "available": 2.0, "capability": "AVX512",
           "caches": [{"level": 2, "kind": "unified", "bytes": 2**20}]}  # fmt: skip
    has = {**had, "capability": "AVX2", "caches": [{"level": 2, "kind": "unified", "bytes": 2**19}]}
    made = make_calibration(environment={**ENVIRONMENT, "cpu": had})
    now = {**ENVIRONMENT, "cpu": has, "versions": {**ENVIRONMENT["versions"], "onednn": "3.13.0"}}
    assert mismatch(made, now) == [
        "cpu.capability is AVX2, and AVX512 when it was calibrated",
        "cpu.caches is L2 unified 524288 B, and L2 unified 1048576 B when it was calibrated",
        "versions.onednn is 3.13.0, and unknown when it was calibrated",
    ]
