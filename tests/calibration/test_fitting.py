"""Fits of whole calibrations that were generated from known laws."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.calibration import fitting
from roofline.calibration.data import Calibration
from roofline.calibration.fitting import FEWEST_OPS, Fitted, fit, folds
from roofline.errors import CalibrationError
from tests.calibration import known_laws

ESTIMATORS = ("calibrated", "learned")


def log_errors(fitted: Fitted, twist: known_laws.Twist, networks: int = 12) -> dict[str, np.ndarray]:
    """ln(estimated / true) of ops of networks that no fit has seen, by estimator."""
    rng = np.random.default_rng(1234)
    calls = [call for _ in range(networks) for call in known_laws.network(rng, 40, twist)]
    seen, true_s = known_laws.kernels(calls), np.array([call.time_s for call in calls])
    return {name: np.log(fitted.estimate_ops(name, seen.kernel, seen.terms).op_s / true_s) for name in ESTIMATORS}


@pytest.fixture(scope="module")
def twisted() -> Fitted:
    """Of a law that is slow at few pixels and narrow outputs, which no sum of terms says; 10 % noise."""
    pytest.importorskip("sklearn")
    return fit(known_laws.calibration(noise=0.1, twist=known_laws.few_pixels))


@pytest.fixture(scope="module")
def plain() -> Fitted:
    """Of a law that physics has, with 10 % noise."""
    pytest.importorskip("sklearn")
    return fit(known_laws.calibration(noise=0.1))


def test_what_physics_lacks_is_learned(twisted: Fitted) -> None:
    error = log_errors(twisted, known_laws.few_pixels)
    calibrated, learned = (float(np.median(np.abs(error[name]))) for name in ESTIMATORS)
    assert learned < 0.8 * calibrated
    assert abs(error["learned"].mean()) < 0.03


def test_where_physics_lacks_nothing_little_is_learned(plain: Fitted) -> None:
    error = log_errors(plain, known_laws.no_twist)
    calibrated, learned = (float(np.sqrt(np.mean(error[name] ** 2))) for name in ESTIMATORS)
    assert calibrated < 0.03
    assert learned < calibrated + 0.02  # of noise of 0.1, in each op


@pytest.mark.parametrize("name", ["plain", "twisted"])
def test_the_gain_is_what_cross_validation_says(name: str, request: pytest.FixtureRequest) -> None:
    fitted, twist = request.getfixturevalue(name), known_laws.few_pixels if name == "twisted" else known_laws.no_twist
    time_s = known_laws.calibration(noise=0.1, twist=twist).ops.time_s
    calibrated, learned = (np.mean(np.log(fitted.left_out_s[each] / time_s) ** 2) for each in ESTIMATORS)
    seen = log_errors(fitted, twist)
    gain = np.mean(seen["calibrated"] ** 2) - np.mean(seen["learned"] ** 2)
    assert gain == pytest.approx(calibrated - learned, abs=0.004)


def test_beyond_what_was_measured_nothing_learned_applies(twisted: Fitted) -> None:
    rng = np.random.default_rng(8)
    seen = known_laws.kernels(known_laws.network(rng, 40) + known_laws.network(rng, 40, scale=400.0))
    calibrated, learned = (twisted.estimate_ops(name, seen.kernel, seen.terms) for name in ESTIMATORS)
    assert learned.is_outside[40:].sum() > 20
    assert learned.is_outside[:40].sum() < 10
    assert (learned.op_s == calibrated.op_s)[learned.is_outside].all()
    assert (learned.op_s != calibrated.op_s)[~learned.is_outside].any()


def test_a_class_that_was_never_measured_has_a_time_all_the_same(twisted: Fitted) -> None:
    calls = known_laws.network(np.random.default_rng(8), 10)
    terms = known_laws.kernels(calls).terms
    found = twisted.estimate_ops("learned", np.full(10, "softmax"), terms)
    assert found.is_fallback.all()
    assert not found.is_outside.any()
    assert (found.op_s > 0).all()


def test_a_fit_is_made_once_and_comes_out_the_same_again(twisted: Fitted) -> None:
    calibration = known_laws.calibration(noise=0.1, twist=known_laws.few_pixels)
    again = fit(calibration)
    assert fit(calibration) is again
    seen = known_laws.kernels(known_laws.network(np.random.default_rng(8), 40))
    first, second = (each.estimate_ops("learned", seen.kernel, seen.terms).op_s for each in (twisted, again))
    assert (first == second).all()
    assert again.intervals["learned"].widths == twisted.intervals["learned"].widths


def test_a_network_of_300_layers_takes_less_than_50_ms(twisted: Fitted) -> None:
    seen = known_laws.kernels(known_laws.network(np.random.default_rng(8), 300))
    taken_s = []
    for _ in range(10):
        start_s = time.perf_counter()
        twisted.estimate_ops("learned", seen.kernel, seen.terms)
        taken_s.append(time.perf_counter() - start_s)
    assert min(taken_s) < 0.050


# Small calibrations


def test_too_few_kernel_calls_are_refused() -> None:
    calibration = few(networks=1, calls=FEWEST_OPS - 1)
    with pytest.raises(
        CalibrationError, match=r"19 kernel calls, and a fit needs 20: calibrate with a larger --budget"
    ):
        fit(calibration)


def few(*, networks: int, calls: int, wholes: bool = True) -> Calibration:
    """A small calibration with as many kernel calls."""
    made = known_laws.calibration(networks, 3 * calls // networks + 2, noise=0.05, wholes=wholes)
    chosen = {name: getattr(made.ops, name)[:calls] for name in made.ops.__slots__}
    return replace(made, ops=replace(made.ops, **chosen))


@pytest.mark.parametrize("wholes", [True, False])
def test_one_network_is_enough_for_physics_and_too_little_to_learn_from(wholes: bool) -> None:
    fitted = fit(few(networks=1, calls=FEWEST_OPS, wholes=wholes))
    assert fitted.residual is None
    assert "needs 60 kernel calls of 3 networks (the calibration has 20 of 1)" in fitted.why_not_learned
    assert fitted.left_out_s == {}
    assert list(fitted.intervals) == ["calibrated"]
    assert (fitted.host.op_s > 0) == wholes
    seen = known_laws.kernels(known_laws.network(np.random.default_rng(8), 40))
    found = fitted.estimate_ops("calibrated", seen.kernel, seen.terms)
    sigma = fitted.intervals["calibrated"].sigma(seen.kernel, found.op_s, found.is_fallback | found.is_outside)
    low, high = fitted.intervals["calibrated"].around(1.0, sigma, 0.9)
    assert 0 < low < 1 < high < np.inf


def test_without_scikit_learn_nothing_is_learned_and_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    fitted = fit(known_laws.calibration(6, 40))
    assert fitted.residual is None
    assert "pip install 'roofline-profiler[learn]'" in fitted.why_not_learned
    assert set(fitted.intervals) == {"calibrated"}


def test_a_time_of_nothing_is_taken_for_the_shortest_that_a_call_can_take() -> None:
    made = known_laws.calibration(4, 20)
    time_s = made.ops.time_s.copy()
    time_s[made.ops.kernel == "elementwise_cheap"] = 1e-9  # less than what the timer itself takes
    fitted = fit(replace(made, ops=replace(made.ops, time_s=time_s)))
    rows = made.ops.kernel == "elementwise_cheap"
    found = fitted.estimate_ops("calibrated", made.ops.kernel[rows], made.ops.terms[rows])
    assert found.op_s == pytest.approx(np.full(rows.sum(), 2e-7), rel=0.5)


# Folds


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60))
def test_folds_part_networks_and_not_what_is_in_them(names: list[str]) -> None:
    found = folds(np.array(names))
    by_name = {name: {int(fold) for fold, other in zip(found, names, strict=True) if other == name} for name in names}
    assert all(len(numbers) == 1 for numbers in by_name.values())
    assert set(found.tolist()) == set(range(min(5, len(by_name))))
