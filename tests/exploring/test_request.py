"""What is asked: ranges as people write them, requests that cannot be, and blocks that tile the draws."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.errors import RooflineError
from roofline.exploring.request import FIRST_BLOCK, LARGEST_BLOCK, Range, Request, span


@pytest.mark.parametrize(
    ("text", "low", "high", "shown"),
    [
        ("180M..220M", 180e6, 220e6, "180 M..220 M"),
        ("..5M", 0, 5e6, "..5 M"),
        ("1.5G..", 1.5e9, math.inf, "1.5 G.."),
        ("569740352..569740352", 569740352, 569740352, "570 M..570 M"),
        (" 1k .. 2k ", 1e3, 2e3, "1 k..2 k"),
    ],
)
def test_a_range_is_read_as_it_is_written(text: str, low: float, high: float, shown: str) -> None:
    found = Range.parse(text)
    assert (found.low, found.high, str(found)) == (low, high, shown)


def test_a_range_of_times_has_units() -> None:
    found = Range.parse("500us..5ms", "duration")
    assert (Fraction(str(found.low)), Fraction(str(found.high))) == (Fraction(1, 2000), Fraction(1, 200))
    with pytest.raises(RooflineError, match=r"'\.\.5' is no range, as in \.\.5ms"):
        Range.parse("..5", "duration")


@pytest.mark.parametrize("text", ["", "..", "5M", "x..5M", "5M-6M", "-1..5", "nan..5", "1..2..3"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RooflineError, match=r"is no range, as in 180M\.\.220M"):
        Range.parse(text)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(RooflineError, match=r"nothing is in 220 M\.\.180 M"):
        Range.parse("220M..180M")


def test_a_range_holds_its_ends_and_a_miss_is_a_ratio() -> None:
    found = Range.parse("100..200")
    assert found.holds([99, 100, 150, 200, 201]).tolist() == [False, True, True, True, False]
    assert np.exp(found.miss([50, 100, 150, 200, 400])).tolist() == pytest.approx([2, 1, 1, 1, 2])
    assert np.isfinite(found.miss([0])).all()


@given(value=st.integers(min_value=1, max_value=10**12), low=st.integers(0, 10**9), width=st.integers(0, 10**9))
def test_a_miss_is_zero_exactly_inside(value: int, low: int, width: int) -> None:
    found = Range(low, low + width)
    assert bool(found.holds(value)) == (float(found.miss(value)) == 0) or value in (low - 1, low + width + 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 0}, "0 networks are nothing to draw"),
        ({"seed": -1}, "the seed must be from 0"),
        ({"seed": 2**64}, "the seed must be from 0"),
        ({"batch": 0}, "the batch must be 1 or more"),
        ({"hw": ()}, "nothing to predict on: name devices with --hw"),
        ({"hw": ("a", "a")}, "the device a is given twice"),
        ({"ridge": (30.0, 30.0)}, "the ridge point 30 is given twice"),
        ({"ridge": (-1.0,)}, "a ridge point must be from 0"),
        ({"ridge": (math.nan,)}, "a ridge point must be from 0"),
        ({"dtype": "int4"}, "unknown dtype 'int4'"),
        ({"fusion": "all"}, "unknown fusion 'all'"),
        ({"settings": (("depth", "1"), ("depth", "2"))}, "the parameter depth is given twice"),
        ({"latency": (("a", Range()), ("a", Range()))}, "a latency on a is given twice"),
    ],
)
def test_a_request_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        Request(**{"space": "tiny", "n": 1, "hw": ("a",), **given})


@given(st.integers(0, 2000))
def test_blocks_tile_the_draws(block: int) -> None:
    first, end = span(block)
    assert span(block + 1)[0] == end
    assert FIRST_BLOCK <= end - first <= LARGEST_BLOCK
    assert span(0)[0] == 0
