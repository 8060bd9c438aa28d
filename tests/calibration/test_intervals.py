"""Intervals: conformal quantiles, the spread of a network by hand, and coverage of generated networks."""

from dataclasses import replace

import numpy as np
import pytest

from roofline.calibration import fitting
from roofline.calibration.fitting import fit
from roofline.calibration.intervals import LEAST_OWN, Intervals, conformal_quantile, own_rms
from tests.calibration import known_laws


@pytest.mark.parametrize(
    ("m", "level", "rank"),
    [(19, 0.90, 18), (9, 0.90, 9), (9, 0.80, 8), (4, 0.80, 4), (99, 0.90, 90), (100, 0.90, 91), (3, 0.90, 3)],
)
def test_quantiles_are_those_of_split_conformal_prediction(m: int, level: float, rank: int) -> None:
    # ceil((m + 1) level), as Lei et al. 2018 have it; the largest where that is more than m
    assert conformal_quantile(np.random.default_rng(0).permutation(np.arange(1.0, m + 1)), level) == rank


def test_a_further_score_is_covered_as_often_as_is_said() -> None:
    rng = np.random.default_rng(0)
    for level in (0.8, 0.9):
        covered = [
            scores[0] <= conformal_quantile(scores[1:], level) for scores in np.abs(rng.standard_t(3, (4000, 30)))
        ]
        assert level - 0.02 <= np.mean(covered) <= level + 1 / 30 + 0.02


def intervals(**spread: float) -> Intervals:
    return Intervals(spread=spread, any_spread=0.2, widths={0.8: 1.0, 0.9: 2.0}, networks=30)


def sigma(spread: Intervals, classes: str, op_s: list[float], unmeasured: str = "", key: str = "") -> float:
    known = np.array([index in map(int, unmeasured) for index in range(len(op_s))])
    return spread.sigma(np.array(classes.split()), np.array(op_s), known, list(key) or None)


def test_the_spread_of_a_network_by_hand() -> None:
    known = intervals(gemm=0.1, bmm=0.3)
    assert sigma(known, "gemm", [5.0]) == pytest.approx(0.1)
    # calls err independently, of one class or of two
    assert sigma(known, "gemm gemm", [1, 1]) == pytest.approx(np.hypot(0.05, 0.05))
    assert sigma(known, "gemm bmm", [3, 1]) == pytest.approx(np.hypot(0.075, 0.075))
    # and so does what puts them together
    assert sigma(replace(known, composing=0.1), "gemm gemm", [1, 1]) == pytest.approx(np.sqrt(2 * 0.05**2 + 0.1**2))
    # equal calls err as one
    assert sigma(known, "gemm gemm", [1, 1], key="aa") == pytest.approx(0.1)
    assert sigma(known, "gemm gemm", [1, 1], key="ab") == sigma(known, "gemm gemm", [1, 1])
    # a class without a spread has that of all
    assert sigma(known, "sdpa", [1]) == pytest.approx(0.2)
    assert known.sigma(np.zeros(0, np.str_), np.zeros(0), np.zeros(0, bool)) == 0.2


def test_what_was_not_measured_widens() -> None:
    known = intervals(gemm=0.1, bmm=0.3)
    assert sigma(known, "gemm", [1], unmeasured="0") == pytest.approx(2 * 0.2)  # at least twice that of all
    assert sigma(known, "bmm", [1], unmeasured="0") == pytest.approx(2 * 0.3)
    widths = [sigma(known, "gemm gemm gemm", [1, 1, 1], unmeasured=rows) for rows in ("", "0", "01", "012")]
    assert widths == sorted(set(widths))


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
def test_the_noise_of_the_networks_is_no_part_of_an_interval(noise: float) -> None:
    """Estimates are off by 6 % (root mean square), whatever is added to that by timing networks three times."""
    rng, m = np.random.default_rng(0), 4000
    own = rng.normal(0, 0.06, m)
    timed = own + rng.normal(0, noise, m)
    known = Intervals.of(
        np.array(["gemm"] * m), timed, groups=np.arange(m), op_s=np.ones(m), whole_log_error=timed,
        is_unmeasured=np.zeros(m, bool), noise=noise,
    )  # fmt: skip
    spread = known.sigma(np.array(["gemm"]), np.ones(1), np.zeros(1, bool))
    for level in (0.8, 0.9):
        assert np.mean(np.abs(own) <= known.widths[level] * spread) == pytest.approx(level, abs=0.025)


def test_however_much_noise_there_may_be_intervals_keep_their_least_width() -> None:
    rng, m = np.random.default_rng(0), 2000
    errors = rng.normal(0, 0.06, m)
    q90 = [
        Intervals.of(
            np.array(["gemm"] * m), errors, groups=np.arange(m), op_s=np.ones(m), whole_log_error=errors,
            is_unmeasured=np.zeros(m, bool), noise=noise,
        ).widths[0.9]
        for noise in (0.0, 0.03, 0.06, 0.2, 2.0)
    ]  # fmt: skip
    assert q90 == sorted(q90, reverse=True)
    assert q90[-1] == pytest.approx(np.sqrt(LEAST_OWN) * q90[0], rel=0.02)


def test_noise_never_explains_all_of_the_errors() -> None:
    errors = np.array([0.03, -0.04])  # root mean square 0.0354
    assert own_rms(errors, 0.0) == pytest.approx(np.sqrt(0.00125))
    assert own_rms(errors, 0.02) == pytest.approx(np.sqrt(0.00125 - 0.0004))
    assert own_rms(errors, 0.2) == pytest.approx(np.sqrt(LEAST_OWN * 0.00125))


def test_an_interval_is_a_factor_either_way() -> None:
    low, high = intervals().around(2.0, 0.05, 0.9)
    assert (low, high) == pytest.approx((2 / np.exp(0.1), 2 * np.exp(0.1)))


@pytest.mark.parametrize(
    ("networks", "said"),
    [(30, None), (20, None), (8, "approximate: they rest on 8 networks"), (3, "an estimate: 3 networks")],
)
def test_few_networks_are_said(networks: int, said: str | None) -> None:
    note = replace(intervals(), networks=networks).note
    assert note is None if said is None else said in str(note)


def test_intervals_cover_generated_networks_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)  # physics alone, so that many calibrations are quick
    covered: dict[float, list[bool]] = {0.8: [], 0.9: []}
    for seed in range(12):
        noise = 0.04  # of an op; a noisier one left out is seen less well than it is predicted
        fitted = fit(known_laws.calibration(30, 30, noise=noise, twist=known_laws.few_pixels, seed=seed))
        known, rng = fitted.intervals["calibrated"], np.random.default_rng(1000 + seed)
        for _ in range(30):
            calls = known_laws.network(rng, 30, known_laws.few_pixels)
            seen = known_laws.kernels(calls)
            found = fitted.estimate_ops("calibrated", seen.kernel, seen.terms)
            ops_s = float(found.op_s.sum())
            latency_s = ops_s + sum(fitted.host.parts_s(ops_s, len(calls), 30, 10).values())
            true_s = known_laws.whole_s(calls, 30, 10) * np.exp(rng.normal(0, noise / 4))
            spread = known.sigma(seen.kernel, found.op_s, found.is_fallback | found.is_outside)
            for level, hits in covered.items():
                low, high = known.around(latency_s, spread, level)
                hits.append(low <= true_s <= high)
    for level, hits in covered.items():
        assert level - 0.06 < np.mean(hits) < min(level + 0.12, 0.99), (level, np.mean(hits))
