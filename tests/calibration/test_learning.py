"""The learned correction: that it finds what physics lacks, and that it keeps still where there is nothing."""

import numpy as np
import pytest

from roofline.calibration.kernels import TERMS
from roofline.calibration.learning import CANDIDATES, Blend, Learners, features
from tests.calibration import known_laws


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3, n), rng


def test_the_correction_that_is_right_has_all_the_weight() -> None:
    wanted, rng = rows(300)
    corrections = np.column_stack([rng.normal(0, 0.3, 300), wanted, rng.normal(0, 0.3, 300)])
    blend = Blend.fit(np.full(300, "gemm"), corrections, wanted)
    assert blend.weights["gemm"] == pytest.approx([0, 1, 0], abs=0.02)
    assert blend.log_factor(np.array(["gemm", "bmm"]), corrections[:2]) == pytest.approx([wanted[0], 0], abs=0.02)


def test_a_correction_that_is_too_large_is_shrunk() -> None:
    wanted, _ = rows(300)
    corrections = np.column_stack([np.zeros(300), 2 * wanted, np.zeros(300)])
    assert Blend.fit(np.full(300, "gemm"), corrections, wanted).weights["gemm"] == pytest.approx([0, 0.5, 0], abs=0.01)


def test_weights_are_not_negative_and_sum_to_one_at_most() -> None:
    wanted, _ = rows(300)
    corrections = np.column_stack([wanted / 3, -wanted, wanted / 3])
    (weights,) = Blend.fit(np.full(300, "gemm"), corrections, wanted).weights.values()
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    assert weights[1] == 0


def test_noise_is_not_learned() -> None:
    taken = 0
    for seed in range(40):
        wanted, rng = rows(100, seed)
        corrections = rng.normal(0, 0.3, (100, len(CANDIDATES)))
        blend = Blend.fit(np.full(100, "gemm"), corrections, wanted)
        taken += bool(blend.weights)
        assert sum(weights.sum() for weights in blend.weights.values()) < 0.5
    assert taken < 20  # of 40; a gain of more than its standard error, of noise


def test_a_small_class_takes_the_weights_of_all() -> None:
    wanted, rng = rows(400)
    corrections = np.column_stack([wanted, rng.normal(0, 0.3, 400), np.zeros(400)])
    corrections[:5, 0] *= rng.normal(1, 0.2, 5)
    kernel = np.where(np.arange(400) < 5, "bmm", "gemm")
    assert Blend.fit(kernel, corrections, wanted).weights["bmm"] == pytest.approx([1, 0, 0], abs=0.15)


def test_sums_are_unbiased_where_logarithms_are_spread() -> None:
    rng = np.random.default_rng(0)
    correction = rng.normal(0, 0.5, 4000)
    wanted = correction + rng.normal(0, 0.2, 4000)
    corrections = np.column_stack([correction, np.zeros((4000, 2))])
    blend = Blend.fit(np.full(4000, "gemm"), corrections, wanted)
    factor = np.exp(blend.log_factor(np.full(4000, "gemm"), corrections))
    assert np.mean(np.exp(wanted) / factor) == pytest.approx(1, abs=0.01)
    assert blend.shift["gemm"] == pytest.approx(0.2**2 / 2, abs=0.005)  # the mean of a log-normal


def test_learners_find_what_physics_lacks_and_none_at_a_class_they_never_saw() -> None:
    pytest.importorskip("sklearn")
    ops = known_laws.calibration(12, 60).ops
    factor = np.where(ops.terms[:, 3] > np.median(ops.terms[:, 3]), 1.5, 0.8)
    learners = Learners.fit(TERMS, ops.kernel, ops.terms, ops.time_s, ops.time_s * factor)
    found = learners.corrections(ops.kernel, ops.terms, ops.time_s)
    for column, candidate in enumerate(CANDIDATES):
        assert np.corrcoef(found[:, column], np.log(factor))[0, 1] > 0.8, candidate
    unseen = learners.corrections(np.array(["softmax"]), ops.terms[:1], ops.time_s[:1])
    assert unseen[0, CANDIDATES.index("smooth")] == 0
    assert learners.corrections(ops.kernel[:0], ops.terms[:0], ops.time_s[:0]).shape == (0, 3)


def test_features_say_ratios_and_know_no_unit() -> None:
    names = ("calls", "macs", "elements", "weight_bytes")
    x = features(names, np.array(["gemm", "nothing"]), np.array([[1, 2**20, 2**10, 2**8]] * 2, dtype=float), np.ones(2))
    assert x.shape == (2, 2 + 2 * len(names) + 1)
    assert x[0, 7] == pytest.approx(10, abs=0.01)  # octaves of MACs an element
    assert x[0, -1] == pytest.approx(12, abs=0.01)  # and a byte of weights
    assert (x[0, 1:] == x[1, 1:]).all()
    assert x[1, 0] == -1
