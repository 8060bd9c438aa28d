"""Laws of kernel times: what is recovered from data of a known law, and what holds whatever the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.calibration.kernels import KERNELS, TERMS
from roofline.calibration.physics import (
    COMPOSITION,
    EVERYTHING,
    FEWEST_ROWS,
    Host,
    Hull,
    Physics,
    family_of,
    is_measured,
    nonnegative_fit,
    parent_of,
)
from tests.calibration import known_laws


def test_constants_of_a_known_law_are_recovered() -> None:
    rng = np.random.default_rng(0)
    columns = np.column_stack([np.ones(40), rng.lognormal(10, 2, (40, 3))])
    constants = np.array([5e-6, 1e-9, 0.0, 3e-10])
    assert nonnegative_fit(columns, columns @ constants) == pytest.approx(constants, rel=1e-6, abs=1e-16)


def test_a_constant_is_the_mean_of_ratios() -> None:
    # one column: the fit is unbiased where sum(t / fitted - 1) = 0, so the constant is the mean of t / x
    assert nonnegative_fit([[1.0], [10.0], [100.0]], [1.0, 12.0, 140.0]) == pytest.approx([(1.0 + 1.2 + 1.4) / 3])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0, 0.3))
def test_a_law_is_unbiased_and_never_negative(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    columns = np.column_stack([np.ones(200), rng.lognormal(3, 1.5, (200, 4))])
    time_s = columns @ rng.exponential(1.0, 5) * np.exp(rng.normal(0, noise, 200))
    constants = nonnegative_fit(columns, time_s, outlier=1e9)  # those that count less are of another test
    assert (constants >= 0).all()
    assert np.mean(time_s / (columns @ constants)) == pytest.approx(1, abs=1e-4)


def test_a_wild_time_moves_a_law_little() -> None:
    rng = np.random.default_rng(1)
    columns = np.column_stack([np.ones(50), rng.lognormal(3, 1, 50)])
    time_s = columns @ [1.0, 0.5]
    time_s[7] *= 100
    assert columns @ nonnegative_fit(columns, time_s) == pytest.approx(columns @ [1.0, 0.5], rel=0.01)


def test_terms_that_are_zero_throughout_and_units_do_not_matter() -> None:
    columns = np.array([[1.0, 0.0, 2e12], [1.0, 0.0, 5e12], [1.0, 0.0, 9e12]])
    assert nonnegative_fit(columns, [3e-3, 6e-3, 10e-3]) == pytest.approx([1e-3, 0.0, 1e-15])
    assert nonnegative_fit(np.zeros((2, 3)), [1.0, 1.0]).tolist() == [0, 0, 0]


def of_known_laws(noise: float = 0.0, **options: object) -> Physics:
    ops = known_laws.calibration(12, 40, noise=noise).ops
    return Physics.fit(ops.kernel, ops.terms, ops.time_s)


def test_unseen_calls_of_a_known_law_are_predicted() -> None:
    physics = of_known_laws()
    calls = known_laws.network(np.random.default_rng(5), 50)
    seen = known_laws.kernels(calls)
    assert physics.times(seen.kernel, seen.terms) == pytest.approx([call.time_s for call in calls], rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.sampled_from(KERNELS),
    terms=st.lists(st.floats(0, 1e12), min_size=len(TERMS), max_size=len(TERMS)),
    term=st.sampled_from(range(len(TERMS))),
)
def test_no_call_is_free_and_more_work_is_never_faster(kernel: str, terms: list[float], term: int) -> None:
    law = PHYSICS.law(kernel)
    more = list(terms)
    more[term] = more[term] * 2 + 1
    less_s, more_s = law.times(np.array([terms, more]))
    assert 0 < less_s <= more_s


PHYSICS = of_known_laws(noise=0.1)


def test_few_calls_of_a_strided_class_scale_the_law_of_the_contiguous_one() -> None:
    ops = known_laws.calibration(12, 40).ops
    rng = np.random.default_rng(3)
    strided = [known_laws.call("conv_depthwise", rng) for _ in range(FEWEST_ROWS - 2)]
    terms = np.array([call.terms for call in strided])
    times = np.array([4 * call.time_s for call in strided])  # as a depthwise convolution of tokens in the trial
    physics = Physics.fit(
        np.concatenate([ops.kernel, np.full(len(strided), "conv_depthwise/strided")]),
        np.vstack([ops.terms, terms]),
        np.concatenate([ops.time_s, times]),
    )
    pull = len(strided) / (len(strided) + 2)
    assert physics.law("conv_depthwise/strided").times(terms) == pytest.approx(times / 4 * 4**pull, rel=1e-3)
    assert physics.law("conv_depthwise").times(terms) == pytest.approx(times / 4, rel=1e-3)


def test_a_class_that_was_never_measured_borrows_from_its_family_and_that_from_everything() -> None:
    assert PHYSICS.law("conv_grouped/strided") is PHYSICS.laws["family convolution"]
    assert PHYSICS.law("bmm") is PHYSICS.laws["family matmul"]
    assert PHYSICS.law("pool_max") is PHYSICS.laws[EVERYTHING]
    assert PHYSICS.law("other") is PHYSICS.laws[EVERYTHING]
    assert PHYSICS.law("gemm/strided") is PHYSICS.laws["gemm"]


def test_every_class_borrows_in_the_end_from_everything() -> None:
    for kernel in KERNELS:
        chain = [kernel]
        while (above := parent_of(chain[-1])) is not None:
            chain.append(above)
        assert chain[-1] == EVERYTHING
        assert len(chain) <= 4


def test_only_what_is_unlike_all_others_has_no_family() -> None:
    assert {name for name in KERNELS if family_of(name) is None} == {"host", "host/strided", "other", "other/strided"}


def test_the_fallback_class_never_counts_as_measured() -> None:
    assert is_measured(np.array(["gemm", "other", "bmm"]), ["gemm", "other"]).tolist() == [True, False, False]


# The host


def test_host_terms_are_recovered() -> None:
    wholes = known_laws.calibration(20, 30).wholes
    calls = np.column_stack([wholes.ops, wholes.module_calls, wholes.views]).astype(float)
    host = Host.fit(wholes.time_s, wholes.ops_s * 0.97, calls)  # ops timed one by one came out 3 % short
    assert (host.op_s, host.module_s, host.view_s) == pytest.approx((1e-6, 5e-6, 0.5e-6), rel=1e-3)
    assert host.composition == pytest.approx(1 / 0.97, rel=1e-6)
    assert host.whole_s(wholes.ops_s * 0.97, calls) == pytest.approx(wholes.time_s, rel=1e-6)
    parts = host.parts_s(1e-3, 10, 4, 2)
    assert parts == pytest.approx({"op": 1e-5, "module": 2e-5, "view": 1e-6, "composition": 1e-3 * (1 / 0.97 - 1)})


def test_a_sum_of_ops_that_is_far_from_the_whole_is_not_scaled_away() -> None:
    wholes = known_laws.calibration(20, 30).wholes
    calls = np.column_stack([wholes.ops, wholes.module_calls, wholes.views]).astype(float)
    assert Host.fit(wholes.time_s, wholes.ops_s / 2, calls).composition == COMPOSITION[1]
    assert Host.fit(wholes.time_s, wholes.ops_s * 2, calls) == Host(0.0, 0.0, 0.0, COMPOSITION[0])


@pytest.mark.parametrize("networks", [0, 1, 2, 5])
def test_few_networks_are_not_scaled(networks: int) -> None:
    wholes = known_laws.calibration(8, 30).wholes
    calls = np.column_stack([wholes.ops, wholes.module_calls, wholes.views]).astype(float)
    host = Host.fit(wholes.time_s[:networks], wholes.ops_s[:networks], calls[:networks])
    assert host.composition == 1
    assert min(host.op_s, host.module_s, host.view_s) >= 0
    assert (max(host.op_s, host.module_s, host.view_s) > 0) == (networks > 0)


# The hull


def test_a_hull_reaches_a_factor_of_two_beyond_what_was_measured_of_the_class() -> None:
    terms = np.array([[1.0, 8.0, 0.0], [1.0, 32.0, 0.0], [1.0, 1e6, 5.0]])
    hull = Hull.of(np.array(["gemm", "gemm", "bmm"]), terms)
    tried = np.array([[1, 4, 0], [1, 64, 0], [1, 3.9, 0], [1, 65, 0], [1, 8, 1], [1, 2e6, 10], [1, 8, 0]], dtype=float)
    kernel = np.array(["gemm"] * 5 + ["bmm", "sdpa"])
    assert hull.contains(kernel, tried).tolist() == [True, True, False, False, False, True, False]


def test_what_loops_cost_is_not_extrapolated_far() -> None:
    """1 to 4 loops beside 5 us a call: a thousand loops are taken for the 8 that two times the most come to."""
    terms = np.zeros((40, len(TERMS)))
    terms[:, TERMS.index("calls")], terms[:, TERMS.index("rows")] = 1, np.tile([1, 2, 3, 4], 10)
    kernel, time_s = np.full(40, "cat/strided"), 5e-6 + 1e-6 * terms[:, TERMS.index("rows")]
    physics = Physics.fit(kernel, terms, time_s)
    assert physics.times(kernel, terms) == pytest.approx(time_s)
    for loops, wanted_s in ((8, 13e-6), (1000, 13e-6)):
        far = terms[:1].copy()
        far[:, TERMS.index("rows")] = loops
        assert physics.times(kernel[:1], far) == pytest.approx(wanted_s)
