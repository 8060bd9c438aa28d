"""Numbers as people read them; and every example in every docstring of the package."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import re
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import roofline
from roofline.errors import RooflineError
from roofline.units import (
    QuantityKind,
    milliseconds,
    parse_quantity,
    percent,
    seconds,
    shape,
    si,
    significant,
    time_unit,
)

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


# --- what a user writes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("duration", "5ms", Fraction(5, 1000)),
        ("duration", " 500 us ", Fraction(5, 10**4)),
        ("duration", "500\u00b5s", Fraction(5, 10**4)),  # the micro sign, and the Greek letter
        ("duration", "500\u03bcs", Fraction(5, 10**4)),
        ("duration", "0.1S", Fraction(1, 10)),
        ("duration", "7e-3s", Fraction(7, 1000)),
        ("bytes", "10MB", 10**7),
        ("bytes", "10mB", 10**7),
        ("bytes", "1.5 kB", 1500),
        ("bytes", "1GB", 10**9),
        ("bytes", "12B", 12),
        ("bytes", "8MiB", 8 * 1024**2),
        ("bytes", "64KiB", 64 * 1024),
        ("count", "1G", 10**9),
        ("count", "300m", 3 * 10**8),
        ("count", "569740352", 569_740_352),
        ("count", "1e9", 10**9),
        ("count", "0", 0),
        ("share", "2%", Fraction(1, 50)),
        ("share", "0.02", Fraction(1, 50)),
        ("share", "150 %", Fraction(3, 2)),
        ("share", "0", 0),
    ],
)
def test_a_quantity_is_read_exactly(kind: QuantityKind, text: str, value: Fraction | int) -> None:
    assert parse_quantity(text, kind) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("duration", "5", r"'5' has no unit, and a duration is written as in 5ms, 500us or 0\.1s"),
        ("duration", "5MB", r"'5MB' has the unit 'mb'"),
        ("duration", "5m", r"'5m' has the unit 'm'"),  # minutes or milliseconds?
        ("duration", "-5ms", r"'-5ms' is no duration"),
        ("duration", "ms", r"'ms' is no duration"),
        ("duration", "", r"'' is no duration"),
        ("duration", "1ms 2us", r"is no duration"),
        ("duration", "\x1b[31m", r"'\\\\x1b\[31m' is no duration"),
        ("bytes", "10", r"'10' has no unit, and a number of bytes is written as in 10MB"),
        ("bytes", "10Mb", r"'10Mb' has the unit 'Mb'"),  # megabits
        ("bytes", "10M", r"'10M' has the unit 'M'"),
        ("count", "1GB", r"'1GB' has the unit 'GB', and a number of MACs is written as in .*1 MAC = 2 FLOPs"),
        ("count", "1GFLOPs", r"1 MAC = 2 FLOPs"),
        ("count", "inf", r"'inf' is no number of MACs"),
        ("count", "1e999", r"'1e999' has the unit '9'|is no number of MACs"),
        ("count", "9" * 5000, r"is no number of MACs"),
        ("share", "2", r"'2' would be 200 %: write a share as in 2% or 0\.02"),
        ("share", "two", r"'two' is no share"),
    ],
)
def test_what_is_no_quantity_is_said_with_what_would_be(kind: QuantityKind, text: str, message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        parse_quantity(text, kind)


@given(st.integers(1, 10**6), st.sampled_from(["k", "M", "G", "T", ""]))
def test_what_is_shown_can_be_read_back(number: int, prefix: str) -> None:
    value = number * int(PREFIX[prefix])
    assert float(parse_quantity(si(value, "B", digits=7), "bytes")) == pytest.approx(value, rel=1e-6)
