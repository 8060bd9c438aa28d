"""From rounds to times: what is kept adds up, and what was disturbed is left out; by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from roofline.calibration.kernels import TERMS, Kernels
from roofline.calibration.reducing import TimedNetwork, median_noise, op_times, whole_times


def kernels(keys: str) -> Kernels:
    n = len(keys)
    return Kernels(
        op=np.arange(n), kernel=np.array(["gemm"] * n), key=tuple(keys), terms=np.ones((n, len(TERMS))), views=1,
        module_calls=5,
    )  # fmt: skip


def timed(keys: str, rounds_s: list[list[float]], whole_s: list[float] | None = None, **how: Any) -> TimedNetwork:
    """A network that runs these calls, a letter each, timed in rounds."""
    factors = how.pop("factors", [1.0] * len(rounds_s))
    given: dict[str, Any] = {
        "name": "net", "kernels": kernels(keys), "ran": np.ones(len(keys), dtype=bool),
        "composes": np.ones(len(keys), dtype=bool), "op_s": np.array(rounds_s), "op_factors": np.array(factors),
        "whole_s": np.array(whole_s or []), "whole_factors": np.array(factors[: len(whole_s or [])]),
        "macs": 7, "activation_bytes": 8,
    }  # fmt: skip
    return TimedNetwork(**{**given, **how})


def times_of(*networks: TimedNetwork, most: float = math.inf) -> dict[str, float]:
    found = op_times(networks, most)
    return {} if found is None else dict(zip(found.key.tolist(), found.time_s.tolist(), strict=True))


def test_the_times_of_ops_add_up_to_what_a_round_of_all_of_them_takes() -> None:
    # medians 2, 2, 2 and 4 come to 10; rounds take 14, 16 and 12, so 14 in the median, at half the speed
    rounds = [[2.0, 6.0, 2.0, 4.0], [8.0, 2.0, 2.0, 4.0], [2.0, 2.0, 4.0, 4.0]]
    network = timed("abcd", rounds, [20.0, 22.0, 24.0], factors=[2.0, 2.0, 2.0])
    assert times_of(network) == pytest.approx({"a": 1.4, "b": 1.4, "c": 1.4, "d": 2.8})
    ops, found = op_times([network], math.inf), whole_times([network], math.inf)
    assert ops is not None
    assert ops.raw_s.tolist() == pytest.approx([2.8, 2.8, 2.8, 5.6])
    assert found is not None
    (wholes, terms) = found
    assert (wholes.ops_s.tolist(), wholes.time_s.tolist(), wholes.raw_s.tolist()) == ([pytest.approx(7)], [11], [22])
    assert (wholes.ops[0], wholes.views[0], wholes.module_calls[0], wholes.macs[0]) == (4, 1, 5, 7)
    assert terms is None


def test_so_do_those_of_a_call_that_runs_again_and_again() -> None:
    """The first of three is cold in every round: a median of all nine would be 1, and three of that 9 % short."""
    network = timed("aaab", [[1.3, 1.0, 1.0, 5.0]] * 3, [9.0] * 3)
    assert times_of(network) == pytest.approx({"a": 1.1, "b": 5.0})
    ops, found = op_times([network], math.inf), whole_times([network], math.inf)
    assert ops is not None
    assert dict(zip(ops.key.tolist(), ops.samples.tolist(), strict=True)) == {"a": 9, "b": 3}
    assert found is not None
    assert found[0].ops_s[0] == pytest.approx(8.3)


def test_what_several_networks_run_has_the_median_of_all_their_samples() -> None:
    networks = [timed("a", [[1.0], [1.2], [1.1]]), timed("a", [[3.0], [1.3], [1.4]], name="other")]
    found = op_times(networks, math.inf)
    assert found is not None
    assert (found.samples.tolist(), found.network.tolist()) == ([6], ["net"])
    assert found.time_s.tolist() == pytest.approx([1.25])


def test_rounds_under_contention_are_left_out_of_ops_and_of_wholes() -> None:
    network = timed("ab", [[1.0, 2.0], [1.1, 2.2], [9.0, 9.0]], [4.4, 4.8, 30.0], factors=[1.1, 1.2, 1.9])
    found = whole_times([network], 1.35)
    assert found is not None
    assert found[0].time_s.tolist() == pytest.approx([4.0])
    assert found[0].noise.tolist() == [0]  # two tell nothing of it
    assert times_of(network, most=1.35) == pytest.approx(
        {"a": (1 / 1.1 + 1.1 / 1.2) / 2, "b": (2 / 1.1 + 2.2 / 1.2) / 2}
    )
    assert whole_times([network], 1.0) is None
    assert op_times([network], 1.0) is None


def test_what_did_not_run_as_it_was_traced_has_no_time() -> None:
    network = timed("abc", [[1.0, 70.0, 2.0]] * 3, [4.0] * 3, ran=np.array([True, False, True]))
    assert times_of(network) == pytest.approx({"a": 1.0, "c": 2.0})
    found = whole_times([network], math.inf)
    assert found is not None
    assert found[0].ops_s.tolist() == [3.0]


def test_compiled_a_whole_is_its_libraries_and_loops() -> None:
    library = np.array([True, False, True])
    network = timed("abc", [[1.0, 4.0, 2.0]] * 3, [5.0] * 3, composes=library, composed=(3.0, 6.0), loops_share=0.3)
    alone = timed("d", [[1.0]] * 3)  # not compiled
    found = whole_times([network, alone], math.inf)
    assert found is not None
    wholes, terms = found
    assert wholes.ops_s.tolist() == [3.0]
    assert terms is not None
    assert terms.terms.tolist() == [[3.0, 6.0, pytest.approx(0.3 * 5.0)]]
    assert set(times_of(network, alone)) == set("abcd")  # the others are timed, too


@pytest.mark.parametrize("samples", [15, 101])
def test_the_noise_of_a_median_is_its_standard_error(samples: int) -> None:
    rng = np.random.default_rng(0)
    times_s = 3 * np.exp(rng.normal(0, 0.05, (2000, samples)))
    said = np.sqrt(np.mean([median_noise(each) ** 2 for each in times_s]))
    assert said == pytest.approx(np.log(np.median(times_s, axis=1)).std(), rel=0.15)
    times_s[:, 0] *= 10  # one of many that was disturbed moves neither
    assert np.sqrt(np.mean([median_noise(each) ** 2 for each in times_s])) == pytest.approx(said, rel=0.15)


@pytest.mark.parametrize("disturbed", [0.0, 0.15])
def test_of_three_times_it_says_no_more_than_it_is(disturbed: float) -> None:
    """Noise that is not there would be taken off intervals. Of times with long tails it says about half."""
    rng = np.random.default_rng(0)
    times_s = np.exp(
        rng.normal(0, 0.03, (4000, 3)) + (rng.random((4000, 3)) < disturbed) * rng.exponential(0.4, (4000, 3))
    )
    said = np.sqrt(np.mean([median_noise(each) ** 2 for each in times_s]))
    true = np.sqrt(np.mean((np.median(times_s, axis=1) - np.median(times_s)) ** 2))
    assert 0.4 * true <= said <= 1.05 * true


def test_one_time_or_two_tell_nothing_of_their_noise() -> None:
    assert median_noise(np.array([2.0])) == median_noise(np.array([2.0, 3.0])) == 0.0
