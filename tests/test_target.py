"""A target latency is what people write, and what is none says what would be."""

from __future__ import annotations

import pytest

from roofline import RooflineError
from roofline.target import parse_target


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2ms", 2e-3),
        ("2 ms", 2e-3),
        (" 2MS ", 2e-3),
        ("500us", 5e-4),
        ("500µs", 5e-4),  # the micro sign, and the Greek letter
        ("500μs", 5e-4),
        ("750000ns", 7.5e-4),
        (".5s", 0.5),
        ("1.5e-3s", 1.5e-3),
        ("25fps", 0.04),
        ("25 FPS", 0.04),
        ("0.5fps", 2.0),
    ],
)
def test_durations_and_images_a_second(text: str, seconds: float) -> None:
    assert parse_target(text) == pytest.approx(seconds, rel=1e-15)


def test_a_pass_of_several_images_has_as_many_times_as_long() -> None:
    assert parse_target("30fps", batch=6) == pytest.approx(0.2)
    assert parse_target("2ms", batch=6) == 2e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0ms", r"more than 0 and finite \(got '0ms'\)"),
        ("0fps", r"more than 0 and finite"),
        ("1e-999s", r"more than 0 and finite"),
        ("1e999ms", r"more than 0 and finite"),
        ("1e-999fps", r"more than 0 and finite"),
        ("5", r"'5' has no unit: write a target as in 2ms, 500us, 0\.1s or 30fps"),
        ("-2ms", r"'-2ms' is no target latency, as in 2ms"),
        ("abc", r"'abc' is no target latency"),
        ("ms", r"'ms' is no target latency"),
        ("", r"'' is no target latency"),
        ("nan", r"no target latency"),
        ("infs", r"no target latency"),
        ("2 parsecs", r"no target latency"),
        ("2ms2ms", r"no target latency"),
        ("٢ms", r"no target latency"),
        ("2\nms\x1b[31m", r"no target latency"),
        ("9" * 10**6, r"no unit"),
    ],
)
def test_what_is_none_is_one_line(text: str, message: str) -> None:
    with pytest.raises(RooflineError, match=message) as error:
        parse_target(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 150
