"""Where numbers come from: streams of random numbers, and what a user fixes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from roofline.errors import RooflineError
from roofline.spaces import BUILT_IN, Config, Fixed, RandomChooser, check_fixed, why_not_held
from roofline.spaces.space import Chooser, Space

EVERY = pytest.mark.parametrize("space", BUILT_IN.values(), ids=list(BUILT_IN))


class Toy(Space):
    """One convolution, or several."""

    name = "toy"
    summary = "for these tests"

    def draw(self, choose: Chooser) -> Config:
        count = choose.integer("count", 1, 3)
        return {
            "count": count,
            "chans": tuple(choose.integer(f"chans[{i}]", 8, 64, step=8, log=True) for i in range(count)),
            "scale": choose.number("scale", 0.5, 2.0, log=True),
            "act": choose.choice("act", ("relu", "silu")),
            "kernel": choose.choice("kernel", (1, 3)),
        }

    def build(self, config: Config) -> nn.Module:
        return nn.Identity()


def drawn(values: Mapping[str, Any], seed: int = 0, index: int = 0) -> dict[str, Any]:
    return dict(Toy().draw(Fixed(RandomChooser(seed, index), values)))


# --- random numbers ---------------------------------------------------------------------------------------------------


@EVERY
def test_a_draw_is_the_same_whoever_draws_it_and_in_whatever_order(space: Space) -> None:
    forwards = [space.draw(RandomChooser(3, index)) for index in range(20)]
    backwards = [space.draw(RandomChooser(3, index)) for index in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len({repr(config) for config in forwards}) > 10
    assert forwards != [space.draw(RandomChooser(4, index)) for index in range(20)]


@EVERY
def test_a_configuration_is_plain_and_has_the_parameters_of_its_space(space: Space) -> None:
    for index in range(20):
        config = space.draw(RandomChooser(0, index))
        assert tuple(config) == space.parameters()
        for value in config.values():
            items = value if isinstance(value, tuple) else (value,)
            assert {type(item) for item in items} in ({int}, {float}, {str})


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(1, 40), st.integers(0, 60), st.integers(1, 9))
def test_whole_numbers_stay_in_their_range_and_on_their_steps(
    seed: int, index: int, low: int, steps: int, step: int
) -> None:
    high = low + steps * step + (step - 1) // 2  # perhaps no step itself
    for log in (False, True):
        value = RandomChooser(seed, index).integer("n", low, high, step=step, log=log)
        assert low <= value <= high
        assert (value - low) % step == 0


def test_both_ends_are_drawn() -> None:
    for log in (False, True):
        assert {RandomChooser(0, i).integer("n", 1, 4, log=log) for i in range(200)} == {1, 2, 3, 4}
    assert {RandomChooser(0, i).choice("n", "ab") for i in range(50)} == {"a", "b"}


def test_the_logarithm_is_uniform() -> None:
    """Depths of 1 to 16 lie in (0.5, 16], of whose logarithm each doubling is a fifth: 1, 2, 3-4, 5-8, 9-16."""
    draws = np.array([RandomChooser(0, i).integer("n", 1, 16, log=True) for i in range(5000)])
    found = np.histogram(draws, [1, 2, 3, 5, 9, 17])[0] / len(draws)
    assert found == pytest.approx([0.2] * 5, abs=4 * math.sqrt(0.2 * 0.8 / len(draws)))
    numbers = np.log([RandomChooser(1, i).number("x", 2.0, 32.0, log=True) for i in range(5000)])
    found = np.histogram(numbers, np.log([2, 4, 8, 16, 32]))[0] / len(numbers)
    assert found == pytest.approx([0.25] * 4, abs=4 * math.sqrt(0.25 * 0.75 / len(numbers)))


def test_neighbouring_streams_are_independent() -> None:
    firsts = np.array([RandomChooser(0, i).number("x", 0.0, 1.0) for i in range(4000)])
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 4 / math.sqrt(len(firsts))


def test_a_seed_is_a_number_of_64_bits() -> None:
    for seed in (-1, 2**64):
        with pytest.raises(RooflineError, match=r"a seed must be a whole number from 0 to 2\^64 - 1"):
            RandomChooser(seed, 0)


# --- fixed values -----------------------------------------------------------------------------------------------------


def test_what_is_fixed_is_not_drawn() -> None:
    config = drawn({"count": 2, "chans": (16, 32), "scale": 1.5, "act": "silu", "kernel": 3})
    assert config == {"count": 2, "chans": (16, 32), "scale": 1.5, "act": "silu", "kernel": 3}
    assert drawn({}) == dict(Toy().draw(RandomChooser(0, 0)))


def test_text_is_taken_for_what_is_asked_for() -> None:
    config = drawn({"count": "3", "chans": "16,32,8", "scale": "1.5", "act": "silu", "kernel": "3"})
    assert config == {"count": 3, "chans": (16, 32, 8), "scale": 1.5, "act": "silu", "kernel": 3}
    assert drawn({"count": 3, "chans": "24"})["chans"] == (24, 24, 24)
    assert drawn({"count": 3, "chans": 24})["chans"] == (24, 24, 24)


def test_one_place_of_a_list_can_be_fixed() -> None:
    assert all(drawn({"count": 2, "chans[1]": "40"}, index=i)["chans"][1] == 40 for i in range(10))
    assert len({drawn({"count": 2, "chans[1]": "40"}, index=i)["chans"][0] for i in range(10)}) > 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 4}, r"count must be a whole number from 1 to 3 \(got 4\)"),
        ({"count": "two"}, r"count must be a whole number from 1 to 3 \(got two\)"),
        ({"count": "nan"}, r"count must be a whole number from 1 to 3 \(got nan\)"),
        ({"count": "inf"}, r"count must be a whole number from 1 to 3 \(got inf\)"),
        ({"count": 1.5}, r"count must be a whole number from 1 to 3 \(got 1.5\)"),
        ({"count": 3, "chans": "8,12,8"}, r"chans\[1\] must be a whole number from 8 to 64 in steps of 8 \(got 12\)"),
        ({"count": 3, "chans": "8,16"}, r"chans needs one value, or more than 2"),
        ({"scale": 3}, r"scale must be a number from 0.5 to 2 \(got 3\)"),
        ({"scale": "nan"}, r"scale must be a number from 0.5 to 2 \(got nan\)"),
        ({"act": "gelu"}, r"act must be one of relu, silu \(got gelu\)"),
        ({"kernel": 5}, r"kernel must be one of 1, 3 \(got 5\)"),
        ({"acts": "relu"}, r"the space toy has no parameter 'acts'. Did you mean 'act'\?"),
        ({"zzz": "relu"}, r"no parameter 'zzz'. It has count, chans, scale, act, kernel\."),
    ],
)
def test_what_cannot_be_fixed(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        check_fixed(Toy(), values)


@pytest.mark.parametrize(
    ("space", "values", "message"),
    [
        ("uib", {"depths[3]": 2}, r"depths has 3 places at most, from depths\[0\] on \(got depths\[3\]=2\)"),
        ("uib", {"depths[x]": 2}, r"depths has 3 places at most"),
        ("uib", {"depths": "2,8,11,5"}, r"depths has 3 places at most, from depths\[0\] on \(got depths=2,8,11,5\)"),
        ("uib", {"stem[0]": 24}, r"stem is one value, and no list \(got stem\[0\]=24\)"),
        ("uib", {"starts[30]": 3}, r"starts has 30 places at most"),
        ("regnetx", {"wa": "36.444"}, r"wa cannot be 36.444: the space regnetx makes 36.44 of it"),
        ("anynetxd", {"widths": "512,256,64,8"}, r"widths cannot be 512,256,64,8: .* makes 8,64,256,512 of it"),
    ],
)
def test_what_would_be_ignored_or_changed_cannot_be_fixed(space: str, values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        check_fixed(BUILT_IN[space], values)


def test_what_is_made_of_others_cannot_be_fixed() -> None:
    class Doubled(Toy):
        def draw(self, choose: Chooser) -> Config:
            return {**super().draw(choose), "twice": 2}

    with pytest.raises(RooflineError, match="twice cannot be held: it is not drawn, but made of what is"):
        check_fixed(Doubled(), {"twice": 3})


@pytest.mark.parametrize(
    ("space", "values"),
    [
        ("uib", {"depths": 4, "depths[2]": 9}),
        ("uib", {"starts[20]": 5, "mids": 3}),
        ("anynetxd", {"widths": "8,64,256,512"}),
        ("anynetxe", {"depths[0]": 3}),
        ("rexnet", {"se_ratio": 0}),
        ("regnetx", {"depth": 13, "w0": "24", "wa": "36.44", "wm": 2.49, "group_width": 16}),
        ("mobilenetv3", {"nonlinearities": "relu,relu,hardswish,hardswish,hardswish", "kernels": (3, 3, 5, 5, 7)}),
    ],
)
def test_what_can_be_fixed_in_a_space(space: str, values: Mapping[str, Any]) -> None:
    check_fixed(BUILT_IN[space], values)


def test_a_held_value_that_moves_is_not_held() -> None:
    assert why_not_held({"chans": (8, 16), "count": 2}, {"chans[0]": 8, "count": "2"}) == ""
    assert why_not_held({"chans": (8, 16)}, {"chans[0]": "16"}) == "chans[0] would be 8, and is to be 16"
    assert why_not_held({"chans": (8, 16)}, {"chans": "8"}) == "chans would be 8,16, and is to be 8"
    assert why_not_held({"chans": (8, 16)}, {"chans": 8, "chans[1]": 16}) == ""


def test_what_nothing_can_be_drawn_from_is_told() -> None:
    choose = RandomChooser(0, 0)
    with pytest.raises(RooflineError, match="n is asked for from 64 to 8: the lower end comes first"):
        choose.integer("n", 64, 8)
    with pytest.raises(RooflineError, match="n is asked for by its logarithm, from 0: it must be above 0"):
        choose.integer("n", 0, 8, log=True)
    with pytest.raises(RooflineError, match="n is asked for in steps of 0"):
        choose.integer("n", 0, 8, step=0)
    with pytest.raises(RooflineError, match="x is asked for by its logarithm, from -1"):
        choose.number("x", -1.0, 8.0, log=True)
    with pytest.raises(RooflineError, match="c is asked for among no options"):
        choose.choice("c", ())


def test_what_can_be_fixed() -> None:
    check_fixed(Toy(), {"count": "2", "chans[1]": 16, "act": "relu"})
