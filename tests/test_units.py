"""Numbers as people read them; and every example in every docstring of the package."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import roofline
from roofline.units import milliseconds, percent, seconds, shape, si, significant, time_unit

PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MODULES = sorted(module.name for module in pkgutil.walk_packages(roofline.__path__, "roofline."))


@pytest.mark.parametrize("name", ["roofline", *MODULES])
def test_the_examples_in_the_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_some_docstrings_have_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    with_examples = {name for name in MODULES if any(t.examples for t in finder.find(importlib.import_module(name)))}
    assert {"roofline.units", "roofline.engine", "roofline.analysis", "roofline.models"} <= with_examples


# --- what a reader would read back -----------------------------------------------------------------------------------


@given(st.floats(1, 9e17) | st.integers(1, 9 * 10**17))
@example(999.4)
@example(999.6)  # three digits of it are 1000, which is 1 k
@example(999_999_999)
def test_a_number_with_a_prefix_is_the_number_to_three_digits(value: float) -> None:
    number, _, prefix = si(value).partition(" ")
    assert float(number) * PREFIX[prefix] == pytest.approx(value, rel=0.0051)
    assert 1 <= float(number) < 1000 or prefix == "P"
    assert "e" not in number


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "B", "0 B"),
        (1, "", "1"),
        (999, "B", "999 B"),
        (1000, "B", "1 kB"),
        (999_999, "", "1 M"),
        (1_080_244_224, "", "1.08 G"),
        (4.005e12, "MAC/s", "4 TMAC/s"),
        (41.61e9, "B/s", "41.6 GB/s"),
        (2.5e-3, "J", "0.0025 J"),
        (-5e9, "", "-5 G"),
    ],
)
def test_prefixes_are_decimal_and_stand_before_the_unit(value: float, unit: str, text: str) -> None:
    assert si(value, unit) == text


def test_digits_are_the_callers_choice() -> None:
    assert [si(1_080_244_224, digits=digits) for digits in (1, 2, 4)] == ["1 G", "1.1 G", "1.08 G"]
    assert si(4.005e12, "MAC/s", 4) == "4.005 TMAC/s"


@given(st.floats(1e-9, 1e6))
@example(1e-4)
@example(0.0999999e-3)
@example(0.99999)
def test_a_duration_is_itself_to_three_digits(value: float) -> None:
    number, unit = seconds(value).split(" ")
    assert float(number) * SECONDS[unit] == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (2.3, "2.3 s"), (0.629e-3, "0.629 ms"), (0.1e-3, "0.1 ms"), (31.2e-6, "31.2 us"), (5e-9, "5 ns")],
)
def test_durations_are_quoted_as_latencies_are(value: float, text: str) -> None:
    assert seconds(value) == text


def test_a_bare_millisecond_figure_has_no_unit() -> None:
    assert [milliseconds(value) for value in (0.000626, 2.291e-3, 12e-3, 0)] == ["0.626", "2.29", "12", "0"]


def test_a_column_of_durations_has_one_unit() -> None:
    assert [time_unit(longest)[1] for longest in (0.0005, 0.00999, 0.01, 5)] == ["us", "us", "ms", "ms"]
    for longest in (0, 1e-6, 0.0005, 0.01):
        step, unit = time_unit(longest)
        assert SECONDS[unit] == step


@given(st.floats(1e-12, 1e15) | st.floats(-1e15, -1e-12))
def test_rounding_keeps_three_digits_and_never_writes_an_exponent(value: float) -> None:
    text = significant(value)
    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text)
    assert float(text) == pytest.approx(value, rel=0.0051)


def test_what_is_no_number_is_named() -> None:
    assert [significant(value) for value in (math.inf, -math.inf, math.nan)] == ["inf", "-inf", "nan"]


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
@example(0.005)
@example(0.995)
def test_a_share_is_0_or_100_percent_only_if_it_is_nothing_or_all(share: float) -> None:
    assert percent(share) not in ("0 %", "100 %")
    assert (percent(0), percent(1)) == ("0 %", "100 %")


@given(st.floats(0, 1))
def test_a_share_is_itself_to_a_percent(share: float) -> None:
    text = percent(share)
    if text[0] not in "<>":
        assert float(text.removesuffix(" %")) == pytest.approx(share * 100, abs=0.5)


def test_shapes() -> None:
    assert [shape(sizes) for sizes in ((), (7,), (1, 3, 224, 224), (0, 4))] == ["scalar", "7", "1x3x224x224", "0x4"]
