"""Which measurements are compared, at what state of the machine, and which changes are more than noise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roofline.errors import StoreError
from roofline.measurement.environment import MATERIAL
from roofline.measurement.history import Change, History, Point, Series, compare, select, series_of
from roofline.measurement.store import Kept, Times

START = datetime(2026, 1, 1, tzinfo=UTC)
FILE = Path("kept.sqlite")
ENVIRONMENT = {"device": {"name": "Some CPU"}, "cpu": {"model": "Some CPU"}, "versions": {"torch": "2.13.0"}}


def kept(number: int, median_s: float, half_width: float = 0.01, **fields: Any) -> Kept:
    """Measured `number` hours after the start; `half_width` of the interval is a share of the median."""
    times = Times(median_s, median_s * (1 - half_width), median_s * (1 + half_width))
    given: dict[str, Any] = {
        "model": "net", "reference": "net", "device": "cpu", "mode": "eager", "dtype": "fp32", "batch": 1,
        "input_shape": "1x3x32x32", "threads": 2, "anchor": "sgemm+copy", "anchor_reference_s": 1e-3,
        "between_process": 0.02, "status": "ok", "flags": {}, "environment": ENVIRONMENT,
        "latency_s": times.times(1.5), "reference_latency_s": times,
    }  # fmt: skip
    return Kept(id=number, measured_at=START + timedelta(hours=number), **{**given, **fields})


def one_series(*measurements: Kept) -> Series:
    (series,) = series_of(measurements)
    return series


def change(*measurements: Kept) -> Change:
    """The last one."""
    found = one_series(*measurements).points[-1].change
    assert found is not None
    return found


# --- beyond noise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "is_beyond"),
    [
        (kept(1, 1.00, 0.01), kept(2, 1.10, 0.01), True),  # [0.99, 1.01] and [1.089, 1.111], 10 % against 2 %
        (kept(1, 1.00, 0.01), kept(2, 0.90, 0.01), True),
        (kept(1, 1.00, 0.06), kept(2, 1.10, 0.06), False),  # [0.94, 1.06] and [1.034, 1.166] overlap
        (kept(1, 1.00, 0.01), kept(2, 1.10, 0.10), False),  # one wide interval is enough
        (kept(1, 1.00, 0.01), kept(2, 1.10, 0.01, between_process=0.11), False),  # noise of 11 %
        (kept(1, 1.00, 0.01, between_process=0.11), kept(2, 1.10, 0.01), False),
        (kept(1, 1.00, 0.01, between_process=0.09), kept(2, 1.10, 0.01, between_process=0.09), True),
        (kept(1, 1.10, 0.0), kept(2, 1.00, 0.0, between_process=0.095), True),  # 1.10 / 1.00 whichever came first
        (kept(1, 1.00, 0.0, between_process=None), kept(2, 1.09, 0.0), False),  # of one process: 10 %
        (kept(1, 1.00, 0.0, between_process=None), kept(2, 1.11, 0.0), True),
        (kept(1, 1.00, 0.0), kept(2, 1.00, 0.0, between_process=0.0), False),
    ],
)  # fmt: skip
def test_a_change_is_beyond_noise_where_intervals_part_and_processes_differ_by_less(
    before: Kept, after: Kept, is_beyond: bool
) -> None:
    found = change(before, after)
    assert found.is_beyond_noise is is_beyond
    assert found.ratio == pytest.approx(after.reference_latency_s.median / before.reference_latency_s.median)
    assert found.before == 1


def test_without_an_anchor_it_takes_more() -> None:
    raw = {"anchor": "", "anchor_reference_s": None, "between_process": None}
    assert not change(kept(1, 1.0, 0, **raw), kept(2, 1.29, 0, **raw)).is_beyond_noise
    assert change(kept(1, 1.0, 0, **raw), kept(2, 1.31, 0, **raw)).is_beyond_noise


intervals = st.tuples(st.floats(0.5, 2), st.floats(0, 0.2), st.floats(0, 0.2))


@given(intervals, intervals, st.integers(-20, 20))
def test_what_is_beyond_noise_depends_on_no_unit_and_no_order(
    one: tuple[float, float, float], other: tuple[float, float, float], exponent: int
) -> None:
    def beyond(*measured: tuple[float, float, float], unit_s: float = 1.0) -> bool:
        medians = [kept(i, median * unit_s, width, between_process=spread)
                   for i, (median, width, spread) in enumerate(measured)]  # fmt: skip
        return change(*medians).is_beyond_noise

    ratio = max(one[0] / other[0], other[0] / one[0])
    assume(abs(ratio - 1 - max(one[2], other[2])) > 1e-9)  # else rounding decides
    assert beyond(one, other) == beyond(other, one) == beyond(one, other, unit_s=2.0**exponent)


def sessions(ratio: float, count: int = 4000, spread: float = 0.023) -> float:
    """The share of pairs of sessions that are told apart, of 3 processes each whose medians are lognormal."""
    chance = random.Random(0)

    def point(number: int, median_s: float) -> Point:
        low, middle, high = sorted(median_s * chance.lognormvariate(0, spread) for _ in range(3))
        one = kept(number, middle, 0.0, between_process=high / low - 1)
        return Point(kept=one, latency_s=one.reference_latency_s, change=None)

    changes = [compare(point(1, 1.0), point(2, ratio)) for _ in range(count)]
    return sum(change is not None and change.is_beyond_noise for change in changes) / count


def test_how_often_nothing_and_something_is_called_a_change() -> None:
    """Medians of processes that scatter by 2.3 %: two of them then differ by 0.954 x 2.3 % = 2.2 % in the median.

    That difference is what the trial behind the anchor found; 0.954 is 0.6745, the upper quartile of the normal
    distribution, times the square root of 2.
    """
    assert sessions(1.0) == pytest.approx(0.06, abs=0.01)
    assert sessions(1.05) == pytest.approx(0.50, abs=0.02)
    assert sessions(1.10) == pytest.approx(0.93, abs=0.01)


# --- what is compared with what ---------------------------------------------------------------------------------------


def test_each_is_compared_with_the_one_before_it() -> None:
    series = one_series(kept(1, 1.0), kept(2, 2.0), kept(3, 1.0))
    assert [point.change and (point.change.before, point.change.ratio) for point in series.points] == [
        None, (1, 2.0), (2, 0.5),
    ]  # fmt: skip


def test_they_are_sorted_by_time_whatever_their_order() -> None:
    series = one_series(kept(3, 3.0), kept(1, 1.0), kept(2, 2.0))
    assert [point.kept.id for point in series.points] == [1, 2, 3]


@pytest.mark.parametrize("status", ["contended", "throttled"])
def test_what_is_not_the_models_own_time_is_shown_and_not_compared(status: str) -> None:
    series = one_series(kept(1, 1.0), kept(2, 9.0, status=status), kept(3, 1.5))
    assert [point.kept.id for point in series.points] == [1, 2, 3]
    assert series.points[1].change is None
    assert series.points[2].change is not None
    assert (series.points[2].change.before, series.points[2].change.ratio) == (1, 1.5)


@pytest.mark.parametrize("status", ["noisy", "capped"])
def test_a_wide_interval_speaks_for_itself(status: str) -> None:
    assert change(kept(1, 1.0), kept(2, 1.5, status=status)).is_beyond_noise


def test_times_of_nothing_are_not_compared() -> None:
    series = one_series(kept(1, 0.0), kept(2, -1e-9), kept(3, 1e-3))
    assert [point.change for point in series.points] == [None, None, None]


def test_what_creeps_up_shows_from_the_first_to_the_latest() -> None:
    series = one_series(*(kept(number, 1.015**number) for number in range(6)))
    assert not any(point.change.is_beyond_noise for point in series.points if point.change)
    assert series.overall is not None
    assert series.overall.is_beyond_noise
    assert series.overall.ratio == pytest.approx(1.015**5)
    assert one_series(kept(1, 1.0), kept(2, 1.5)).overall is None, "which the one change says"


def test_sessions_at_two_reference_states_are_compared_at_one() -> None:
    """The second session called a state its own in which the anchor takes 1.25 times as long: 8 ms there are 6.4 ms."""
    series = one_series(kept(1, 8e-3, anchor_reference_s=1e-3), kept(2, 8e-3, anchor_reference_s=1.25e-3))
    assert [point.latency_s.median for point in series.points] == pytest.approx([8e-3, 6.4e-3])
    assert [point.latency_s.high for point in series.points] == pytest.approx([8.08e-3, 6.464e-3])
    assert series.points[1].change is not None
    assert series.points[1].change.ratio == pytest.approx(0.8)


@given(st.lists(st.floats(0.5e-3, 2e-3), min_size=2, max_size=5))
def test_it_does_not_matter_which_state_a_session_calls_its_own(references_s: Sequence[float]) -> None:
    """The same stopwatch and the same anchor give the same times, whatever each session divided by."""
    series = one_series(*(kept(i, 5.0 * s, anchor_reference_s=s) for i, s in enumerate(references_s)))
    assert [point.latency_s.median for point in series.points] == pytest.approx(
        [5.0 * min(references_s)] * len(references_s)
    )
    assert all(point.change is None or point.change.ratio == pytest.approx(1) for point in series.points)  # fmt: skip


@pytest.mark.parametrize(
    "differing",
    [
        {"model": "other"},
        {"device": "cuda"},
        {"mode": "compile"},
        {"dtype": "fp16"},
        {"batch": 8},
        {"input_shape": "1x3x64x64"},
        {"threads": 1},
        {"anchor": "sgemm+conv"},
        {"environment": {**ENVIRONMENT, "versions": {"torch": "2.14.0"}}},
        {"environment": {**ENVIRONMENT, "flags": {"flush_denormal": True}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_decides_a_latency_parts_the_series(differing: dict[str, Any]) -> None:
    found = series_of([kept(1, 1.0), kept(2, 1.5, **differing), kept(3, 1.0)])
    assert sorted([point.kept.id for point in series.points] for series in found) == [[1, 3], [2]]


def test_boards_of_one_kind_have_histories_of_their_own() -> None:
    """What a worker measures says for which tag it did; else two boards would be one that changes beyond noise."""
    environments = [{**ENVIRONMENT, "fleet": {"tag": tag}} for tag in ("shelf-1", "shelf-2")]
    found = series_of([kept(1, 1.0), *(kept(2, 1.0, environment=each) for each in environments)])
    assert [series.environment["fleet.tag"] for series in found] == [None, "shelf-1", "shelf-2"]


def test_every_material_part_of_an_environment_parts_the_series() -> None:
    for path in MATERIAL:
        group, _, key = path.partition(".")
        first, second = ({**ENVIRONMENT, group: {**ENVIRONMENT.get(group, {}), key: value}} for value in ("a", "b"))
        assert len(series_of([kept(1, 1.0, environment=first), kept(2, 1.0, environment=second)])) == 2, path


@pytest.mark.parametrize(("mode", "series"), [("onnxruntime", 2), ("eager", 1)])
def test_the_version_of_onnx_runtime_parts_what_it_ran_alone(mode: str, series: int) -> None:
    first, second = ({**ENVIRONMENT, "versions": {"torch": "2.13.0", "onnxruntime": each}} for each in ("1.31", "1.32"))
    measured = [kept(1, 1.0, mode=mode, environment=first), kept(2, 1.0, mode=mode, environment=second)]
    assert len(series_of(measured)) == series


def test_what_is_not_material_does_not() -> None:
    other = {**ENVIRONMENT, "variables": {"OMP_PROC_BIND": "true"}, "seed": 3}
    series = one_series(kept(1, 1.0), kept(2, 1.0, environment=other))
    assert series.environment["versions.torch"] == "2.13.0"
    assert set(series.environment) == {*MATERIAL, "fleet.tag"}


# --- which model ------------------------------------------------------------------------------------------------------

ZOO = [
    kept(1, 1.0, model="mobilenetv4_conv_medium", reference="mobilenetv4_conv_m"),
    kept(2, 1.0, model="mobilenetv2_100", reference="mobilenetv2_100", device="cuda"),
    kept(3, 1.0, model="my.net", reference="nets.py:my_net"),
    kept(4, 1.0, model="<lambda>", reference=""),
]


@pytest.mark.parametrize(
    ("model", "ids"),
    [
        (None, [1, 2, 3, 4]),
        ("mobilenetv4_conv_medium", [1]),
        ("mobilenetv4_conv_m", [1]),
        ("MNv4-Conv-M", [1]),  # a name of the zoo that was never written
        ("nets.py:my_net", [3]),
        ("my.net", [3]),
        ("mobilenet*", [1, 2]),
        ("nets.py:*", [3]),
        ("<lambda>", [4]),
    ],
)
def test_a_model_is_found_by_each_of_its_names(model: str | None, ids: list[int]) -> None:
    assert [one.id for one in select(ZOO, FILE, model=model)] == ids


def test_only_one_device() -> None:
    assert [one.id for one in select(ZOO, FILE, device="cuda")] == [2]
    assert [one.id for one in select(ZOO, FILE, model="mobilenet*", device="cpu")] == [1]


@pytest.mark.parametrize(
    ("measured", "options", "said"),
    [
        ([], {}, r"no measurements are kept yet in kept\.sqlite: 'roofline measure MODEL'"),
        (ZOO, {"model": "mobilenetv2_10"}, r"no measurement of mobilenetv2_10 .* Did you mean 'mobilenetv2_100'\?"),
        (ZOO, {"model": "rexnet*"}, r"no measurement of rexnet\* is kept in kept\.sqlite\. 'roofline history' lists"),
        (ZOO, {"model": "my.net", "device": "cuda"}, "no measurement of my.net on cuda is kept .*, only on cpu"),
        (ZOO[2:], {"device": "cuda"}, "no measurement of any model on cuda is kept"),
    ],
)
def test_what_is_not_there_is_told(measured: list[Kept], options: dict[str, str], said: str) -> None:
    with pytest.raises(StoreError, match=said):
        select(measured, FILE, **options)


# --- in words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ([kept(1, 1.0)], "Nothing to compare yet."),
        ([kept(1, 1.0), kept(2, 1.01)], "None of 1 change beyond noise."),
        ([kept(1, 1.0), kept(2, 1.25), kept(30, 1.25)],
         "1 of 2 changes beyond noise, the latest on 2026-01-01: net became 25.0 % slower."),
        ([kept(1, 1.0), kept(2, 1.25), kept(30, 1.0)],
         "2 of 2 changes beyond noise, the latest on 2026-01-02: net became 20.0 % faster."),
    ],
)  # fmt: skip
def test_the_verdict_says_what_changed_last(measured: list[Kept], said: str) -> None:
    assert History(database=FILE, series=series_of(measured)).verdict() == said
