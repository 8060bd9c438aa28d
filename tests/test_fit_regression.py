"""The regression against scipy's, folds against brute force, and intervals against what made the latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import t

from roofline import fit_regression
from roofline.fit_regression import (
    AS_GOOD,
    BAND,
    LOSS_SCALE,
    SURELY_AS_GOOD,
    Folds,
    Likelihood,
    Parameter,
    Solution,
    parameters_of,
    ridge_point_of,
    settled,
    solve,
)
from roofline.fit_terms import FORMS, Design, Floats, Form, Rows
from tests.fit_rows import VALUES, known, network, timed, vector

TABLES = [network(seed) for seed in range(14)]
MEMORY_BOUND = [network(seed, only=["linear", "activation"]) for seed in range(8)]
COMPUTE_BOUND = [network(seed, only=["conv", "pointwise_conv"]) for seed in range(8)]
SOME_FORMS: Sequence[Form] = ((), ("add", "slow"), ("inference_overhead", "mac_layer_overhead", "depthwise"))


def found(design: Design, best: Solution) -> dict[str, float]:
    return dict(zip(design.names, design.values(best.z).tolist(), strict=True))


def without(rows: Rows, *numbers: int) -> Rows:
    """The same rows, as if these had never been."""
    kept = [number for number in range(len(rows)) if number not in numbers]
    return Rows(**{name: tuple(getattr(rows, name)[i] for i in kept) for name in ("latencies", "names", "tables")})


def with_latency(rows: Rows, number: int, factor: float) -> Rows:
    latencies = list(rows.latencies)
    latencies[number] = replace(latencies[number], latency_s=latencies[number].latency_s * factor)
    return replace(rows, latencies=tuple(latencies))


def scipys(design: Design, starts: Sequence[Floats]) -> float:
    """The least cost that scipy finds from these."""
    log_s = np.log(design.rows.latency_s)
    unit = np.where(design.is_overhead, np.median(design.rows.latency_s) / 10, 1.0)
    low, high = design.lowest / unit, design.highest / unit

    def residuals(u: Floats) -> Floats:
        return np.log(design.times(u * unit)[0]) - log_s

    def slopes(u: Floats) -> Floats:
        total_s, slope = design.times(u * unit)
        return np.asarray((slope / total_s).T * unit)

    ends = [
        least_squares(
            residuals,
            np.clip(start / unit, low + 1e-9, high - 1e-9),
            jac=slopes,
            bounds=(low, high),
            loss="soft_l1",
            f_scale=LOSS_SCALE,
            x_scale="jac",
        )
        for start in starts
    ]
    return min(float(end.cost) for end in ends)


# --- the minimum ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*SOME_FORMS, ("weight_bandwidth", "vector", "softmax", "transpose")], ids=" ".join)
@pytest.mark.parametrize("spread", [0.05, 0.5], ids=["good data", "bad data"])
def test_the_minimum_is_scipys_or_a_lower_one(form: Form, spread: float) -> None:
    """And hardly lower, so that it is no artefact of how the cost is computed."""
    rows = known(form, TABLES, noise=spread, seed=1)
    design = Design(rows, form)
    starts = design.starting_points(np.log(rows.latency_s), np.arange(len(rows)), 12)
    ours, theirs = solve(design).cost, scipys(design, [*starts, vector(design, VALUES)])
    assert ours <= theirs * 1.001
    assert ours >= theirs * 0.9


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_the_device_that_made_the_latencies_is_found(form: Form) -> None:
    design = Design(known(form, TABLES), form)
    best = solve(design)
    assert found(design, best) == pytest.approx({name: VALUES[name] for name in design.names}, rel=1e-6)
    assert best.cost == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("form", SOME_FORMS, ids=" ".join)
@pytest.mark.parametrize("factor", [0.02, 50.0])
def test_one_wild_row_barely_moves_the_others(form: Form, factor: float) -> None:
    design = Design(with_latency(known(form, TABLES), 4, factor), form)
    predicted_s = design.times(solve(design).z)[0]
    true_s = known(form, TABLES).latency_s
    others = np.arange(len(TABLES)) != 4
    assert np.abs(np.log(predicted_s / true_s))[others].max() < 0.08
    assert np.median(np.abs(np.log(predicted_s / true_s))) < 0.02


def test_an_overhead_that_is_not_there_is_none() -> None:
    """Exactly: what is as good as 0 must not look like a figure."""
    design = Design(known(("add",), TABLES, noise=0.01, seed=5), ("add", "inference_overhead"))
    rows = timed(TABLES, design.rows.latency_s - 0.3 * design.rows.latency_s.min())  # as if it were negative
    design = Design(rows, ("add", "inference_overhead"))
    assert found(design, solve(design))["inference_overhead"] == 0.0


def test_a_share_is_at_most_the_whole() -> None:
    """Though depthwise layers be faster than the peak: there is no rate beyond it."""
    values = {**VALUES, "peak.int8": VALUES["peak.int8"] / 100, "depthwise": 5.0}
    design = Design(timed(TABLES, [1.0] * len(TABLES)), ("depthwise",))
    rows = timed(TABLES, design.times(vector(design, values))[0])
    design = Design(rows, ("depthwise",))
    assert found(design, solve(design))["depthwise"] == pytest.approx(1.0)


def test_rows_that_do_not_count_change_nothing() -> None:
    """Not where the descents begin, not how they go, not a last digit."""
    form: Form = ("inference_overhead", "mac_layer_overhead", "depthwise")
    rows = known(form, TABLES, noise=0.1)
    for number in range(len(rows)):
        keep = np.array([other for other in range(len(rows)) if other != number])
        ends = {
            tuple(solve(Design(with_latency(rows, number, factor), form), keep=keep).z) for factor in (1.0, 1e-3, 1e3)
        }
        assert len(ends) == 1


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_device_so_many_times_as_slow_has_rates_so_much_lower(factor: float) -> None:
    form: Form = ("inference_overhead", "mac_layer_overhead", "depthwise")
    rows = known(form, TABLES, noise=0.1)
    slow = timed(TABLES, rows.latency_s * factor)
    here, there = (found(design, solve(design)) for design in (Design(rows, form), Design(slow, form)))
    for name, value in here.items():
        by = factor if name.endswith("_overhead") else 1.0 if name == "depthwise" else 1 / factor
        assert there[name] == pytest.approx(value * by, rel=1e-3), name


# --- folds ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folds() -> Folds:
    rows = known(("inference_overhead", "depthwise"), TABLES[:9], noise=0.08, seed=3)
    return Folds(rows, [form for form in FORMS if len(form) <= 2])


@pytest.mark.parametrize("left_out", [(4,), (0, 8)])
def test_a_fold_is_a_fit_to_the_rows_that_are_left(folds: Folds, left_out: tuple[int, ...]) -> None:
    """Of tables that never had the others."""
    form: Form = ("inference_overhead", "depthwise")
    alone = solve(Design(without(folds.rows, *left_out), form))
    expected_s = folds.designs[form].times(alone.z)[0]
    assert folds.predicted_s(form, left_out) == pytest.approx(expected_s, rel=2e-3)


def test_each_fold_is_fitted_once_in_whatever_order(folds: Folds, monkeypatch: pytest.MonkeyPatch) -> None:
    form: Form = ("add", "slow")
    first = folds.predicted_s(form, [3, 5])
    monkeypatch.setattr(fit_regression, "solve", None)
    assert folds.predicted_s(form, (5, 3)) is first


def test_errors_are_those_of_rows_left_out_one_at_a_time(folds: Folds) -> None:
    form: Form = ("add", "inference_overhead")
    rows = folds.rows
    errors = folds.errors(form, but=6)
    assert errors is not None
    assert sorted(errors) == [0, 1, 2, 3, 4, 5, 7, 8]
    for number, error in errors.items():
        predicted_s = folds.designs[form].times(solve(Design(without(rows, 6, number), form)).z)[0][number]
        assert error == pytest.approx(abs(math.log(predicted_s / rows.latency_s[number])), abs=2e-3)


def test_errors_end_where_they_are_sure_to_exceed_the_limit(folds: Folds) -> None:
    form: Form = ("inference_overhead",)
    errors = folds.errors(form)
    assert errors is not None
    mean = sum(errors.values()) / len(errors)
    assert folds.errors(form, limit=mean * 1.001) == errors
    assert folds.errors(form, limit=mean * 0.999) is None
    order = sorted(errors, key=errors.__getitem__)
    assert folds.errors(form, order=order, limit=mean * 1.001) == errors


@pytest.mark.parametrize("but", [None, 0, 5])
def test_the_choice_is_the_simplest_of_the_best_though_not_all_is_computed(folds: Folds, but: int | None) -> None:
    means = {}
    for form in folds.forms:
        errors = folds.errors(form, but)
        assert errors is not None
        means[form] = sum(errors.values()) / len(errors)
    least = min(means.values())
    good = [form for form, mean in means.items() if mean <= max(least * AS_GOOD, least + SURELY_AS_GOOD)]
    simplest = min(len([term for term in form if term != "add"]) for form in good)
    chosen = folds.choose(but)
    assert chosen in good
    assert len([term for term in chosen if term != "add"]) == simplest


@pytest.mark.parametrize("form", [(), ("add",), ("slow",), ("inference_overhead",)], ids=" ".join)
def test_of_exact_latencies_the_form_that_made_them_is_chosen(form: Form) -> None:
    """Though all forms that have its terms fit them as well."""
    folds = Folds(known(form, TABLES[:9]), [some for some in FORMS if len(some) <= 2])
    assert folds.choose() == form


def test_a_row_has_no_part_in_what_is_predicted_for_it() -> None:
    """Not in the form, not in the parameters: not a bit of the prediction changes with its latency."""
    rows = known(("inference_overhead", "depthwise"), TABLES[:7], noise=0.15, seed=2)
    forms = [form for form in FORMS if len(form) <= 1]
    predicted = set()
    for factor in (1.0, 1e-4, 1e4):
        folds = Folds(with_latency(rows, 1, factor), forms)
        form = folds.choose(but=1)
        predicted.add((form, folds.predicted_s(form, [1])[1]))
    assert len(predicted) == 1


# --- intervals --------------------------------------------------------------------------------------------------------


def parameters(rows: Rows, form: Form) -> dict[str, Parameter]:
    design = Design(rows, form)
    return {parameter.name: parameter for parameter in parameters_of(design, settled(design, solve(design)))}


def test_the_ends_of_an_interval_have_the_cost_that_students_t_allows() -> None:
    form: Form = ("inference_overhead", "mac_layer_overhead", "depthwise")
    design = Design(known(form, TABLES, noise=0.05, seed=4), form)
    best = solve(design)
    freedom = len(TABLES) - 5
    limit = best.cost * (1 + t.ppf(0.975, freedom) ** 2 / freedom)
    for place, parameter in enumerate(parameters_of(design, best)):
        for end in (parameter.low, parameter.high):
            if end:
                held = Likelihood(design, best).at(
                    (np.arange(5) == place).astype(float),
                    end if parameter.name.endswith("_overhead") else math.log(end),
                    best.z,
                )
                assert held.cost == pytest.approx(limit, rel=0.01)
                assert design.values(held.z)[place] == pytest.approx(end, rel=1e-9)


def test_held_at_a_level_the_others_are_scipys_minimum() -> None:
    form: Form = ("inference_overhead", "depthwise")
    design = Design(known(form, TABLES, noise=0.05, seed=4), form)
    best = solve(design)
    direction = np.array([1.0, -1.0, 0.0, 0.0])  # the ridge point
    level = float(direction @ best.z) + 0.7
    held = Likelihood(design, best).at(direction, level, best.z)
    assert float(direction @ held.z) == pytest.approx(level, rel=1e-12)

    def residuals(u: Floats) -> Floats:
        z = np.array([u[0] + level, u[0], u[1] / 1e3, u[2]])
        return np.log(design.times(z)[0]) - np.log(design.rows.latency_s)

    starts = [(best.z[1], best.z[2] * 1e3, best.z[3]), (held.z[1], held.z[2] * 1e3, held.z[3])]
    ends = [least_squares(residuals, start, loss="soft_l1", f_scale=LOSS_SCALE, x_scale="jac") for start in starts]
    assert held.cost == pytest.approx(min(end.cost for end in ends), rel=1e-3)


def test_what_made_the_latencies_is_in_nineteen_of_twenty_intervals() -> None:
    """With 5 % of noise. Over 40 seeds, 3 numbers of rows and 4 forms, each parameter was inside in 93 to 100 %."""
    inside = []
    for seed in range(3):
        for form in ((), ("inference_overhead", "depthwise")):
            for name, parameter in parameters(known(form, TABLES, noise=0.05, seed=seed), form).items():
                inside.append((parameter.low or 0.0) <= VALUES[name] <= (parameter.high or math.inf))
                assert (parameter.low or 0.0) <= parameter.value <= (parameter.high or math.inf), name
    assert sum(inside) >= 0.9 * len(inside)
    assert len(inside) == 3 * (2 + 4)


def test_memory_bound_rows_limit_the_peak_from_below_alone() -> None:
    rows = known((), MEMORY_BOUND, noise=0.05)
    peak, bandwidth = parameters(rows, ()).values()
    assert (peak.limited, bandwidth.limited) == ("below", "both")
    assert peak.low is not None
    design = Design(rows, ())
    ridge = ridge_point_of(design, settled(design, solve(design)), "int8")
    assert ridge.high is None
    assert ridge.low is not None
    intensities = np.concatenate([table.operational_intensity for table in MEMORY_BOUND])
    assert ridge.low <= intensities.max() * 1.01, "beyond the layers nothing changes"
    assert ridge.low <= ridge.value <= 1.5 * intensities.max(), "and the value taken is not far beyond"


def test_compute_bound_rows_limit_the_bandwidth_from_below_alone() -> None:
    rows = known((), COMPUTE_BOUND, noise=0.05)
    values = {**VALUES, "peak.int8": VALUES["peak.int8"] / 50}
    design = Design(rows, ())
    rows = timed(
        COMPUTE_BOUND, design.times(vector(design, values))[0] * rows.latency_s / known((), COMPUTE_BOUND).latency_s
    )
    peak, bandwidth = parameters(rows, ()).values()
    assert (peak.limited, bandwidth.limited) == ("both", "below")
    design = Design(rows, ())
    ridge = ridge_point_of(design, settled(design, solve(design)), "int8")
    assert ridge.low is None
    assert ridge.high is not None


def test_two_rates_that_run_away_are_both_brought_back() -> None:
    """Of two dtypes, neither peak told by memory-bound rows."""
    tables = [*MEMORY_BOUND[:4], *(network(seed, only=["linear", "activation"], dtype="fp16") for seed in range(4, 8))]
    design = Design(known((), tables, noise=0.05), ())
    far = solve(design)
    far = replace(far, z=far.z + np.array([8.0, 8.0, 0.0]))
    far = solve(design, starts=[far.z])
    near = settled(design, far)
    assert (near.z[:2] < far.z[:2] - 4).all()
    assert near.cost <= far.cost * 1.01**4 * 1.001


def test_an_overhead_has_an_end_whatever_it_is() -> None:
    """A latency is no shorter than it, and it is no less than nothing."""
    rows = timed(TABLES, np.full(len(TABLES), 0.01) * np.exp(0.02 * np.random.default_rng(0).standard_normal(14)))
    overhead = parameters(rows, ("inference_overhead",))["inference_overhead"]
    assert overhead.value == pytest.approx(0.01, rel=0.02)
    assert overhead.limited == "both"
    few = parameters(known((), TABLES, noise=0.05), ("mac_layer_overhead",))["mac_layer_overhead"]
    assert few.low == 0.0
    assert few.limited == "both"


def test_the_ridge_point_has_its_band_and_the_error_along_it() -> None:
    form: Form = ("inference_overhead",)
    design = Design(known(form, TABLES, noise=0.05, seed=6), form)
    best = solve(design)
    ridge = ridge_point_of(design, best, "int8")
    least = math.sqrt(2 * best.cost / len(TABLES))
    assert ridge.value == pytest.approx(found(design, best)["peak.int8"] / found(design, best)["bandwidth"])
    assert ridge.low is not None
    assert ridge.high is not None
    assert ridge.low < ridge.value < ridge.high
    assert [point for point, _ in ridge.curve] == sorted({point for point, _ in ridge.curve})
    for point, error in ridge.curve:
        within = ridge.low <= point <= ridge.high
        assert (error <= least * BAND * 1.001) == within, "inside the band, and nowhere else, the error is that small"
    assert min(error for _, error in ridge.curve) == pytest.approx(least, rel=1e-4)
    assert ridge.curve[0][0] == pytest.approx(ridge.value / 100)
    assert ridge.curve[-1][0] == pytest.approx(ridge.value * 100)


def test_as_the_peak_moves_shares_of_it_move_against_it() -> None:
    """Depthwise layers at their own rate do not tell the peak; the error stays flat however high that is held."""
    form: Form = ("depthwise",)
    tables = [network(seed, only=["depthwise_conv", "linear"]) for seed in range(8)]
    design = Design(known(form, tables, noise=0.03), form)
    best = solve(design)
    for far in (3.0, 6.0):
        held = Likelihood(design, best).at(np.array([1.0, 0.0, 0.0]), best.z[0] + far, best.z)
        assert held.cost == pytest.approx(best.cost, rel=1e-2)
        held = Likelihood(design, best).at(np.array([0.0, 0.0, 1.0]), best.z[2] - far, best.z)
        assert held.cost == pytest.approx(best.cost, rel=1e-2)
