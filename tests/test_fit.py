"""From latencies to a device, and what is said where the rows do not tell."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from roofline.errors import LatencyError
from roofline.fit import SCHEMA, Fit, fit, infer, parameter_limit, parameter_text
from roofline.fit_profile import ridge_text
from roofline.fit_regression import Folds, Parameter, RidgePoint, solve
from roofline.fit_terms import FORMS, TERMS, Design, Form, Rows, parameter_names
from roofline.latencies import Latency
from roofline.layers import LayerTable
from tests.fit_rows import VALUES, device, known, network, on, timed

DOC = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
TABLES = [network(seed) for seed in range(12)]
MEMORY = [network(seed, only=["linear", "activation"]) for seed in range(8)]


@cache
def chosen() -> Fit:
    return infer(
        known(("inference_overhead",), TABLES[:9], noise=0.05, seed=1), device="Some device", source="some.csv"
    )


@cache
def given() -> tuple[Fit, list[tuple[int, int]]]:
    """A fit in terms that are given, and what was told of its progress."""
    told: list[tuple[int, int]] = []
    device = " My\n\x1b[31mchip\t"
    fit = infer(known((), TABLES[:5]), device=device, terms=(), progress=lambda done, of: told.append((done, of)))
    return fit, told


@cache
def of_seven(number: int, factor: float) -> Fit:
    """To seven rows, the latency of one of them multiplied."""
    rows = known(("inference_overhead",), TABLES[:7], noise=0.15, seed=1)
    return infer(rows if factor == 1 else with_latency(rows, number, factor), device="d")


def with_latency(rows: Rows, number: int, factor: float) -> Rows:
    latencies = list(rows.latencies)
    latencies[number] = replace(latencies[number], latency_s=latencies[number].latency_s * factor)
    return replace(rows, latencies=tuple(latencies))


def without(rows: Rows, number: int) -> Rows:
    """The same rows, as if that one had never been."""
    kept = [other for other in range(len(rows)) if other != number]
    return Rows(**{name: tuple(getattr(rows, name)[i] for i in kept) for name in ("latencies", "names", "tables")})


# --- the result -------------------------------------------------------------------------------------------------------


def test_a_known_device_comes_back() -> None:
    form: Form = ("inference_overhead", "depthwise")
    result = infer(known(form, TABLES[:9]), device="d", terms=form)
    assert {parameter.name: parameter.value for parameter in result.parameters} == pytest.approx(
        {name: VALUES[name] for name in ("peak.int8", "bandwidth", *form)}, rel=1e-3
    )
    (ridge,) = result.ridge_points
    assert ridge.value == pytest.approx(VALUES["peak.int8"] / VALUES["bandwidth"], rel=1e-3)
    assert result.loo_mape < 1e-3
    assert result.remarks == ()


def test_the_form_is_chosen_where_none_is_given() -> None:
    result = chosen()
    assert result.chosen
    assert len(result.terms) == 1
    assert result.loo_mape < 0.1, "of latencies with 5 % of noise"
    assert not given()[0].chosen


def test_rows_are_predicted_with_and_without_themselves() -> None:
    result = chosen()
    rows = known(("inference_overhead",), TABLES[:9], noise=0.05, seed=1)
    design = Design(rows, result.terms)
    predicted_s = design.times(solve(design).z)[0]
    for number, row in enumerate(result.rows):
        assert row.predicted_s == pytest.approx(predicted_s[number], rel=0.02)
        assert row.error == pytest.approx(row.predicted_s / row.latency_s - 1)
        kept = np.array([other for other in range(len(rows)) if other != number])
        alone = Design(rows, row.loo_terms)
        unseen_s = alone.times(solve(alone, keep=kept).z)[0][number]
        assert row.loo_predicted_s == pytest.approx(unseen_s, rel=2e-3)
        assert row.loo_error == pytest.approx(row.loo_predicted_s / row.latency_s - 1)
    assert result.loo_mape == pytest.approx(np.mean([abs(row.loo_error) for row in result.rows]))
    assert result.loo_median == pytest.approx(np.median([abs(row.loo_error) for row in result.rows]))


def test_each_fold_chooses_its_own_form() -> None:
    """As one would who never had the row. (Ten rows are enough for what nine are.)"""
    rows = known(("inference_overhead",), TABLES[:10], noise=0.1, seed=6)
    result = infer(rows, device="d")
    assert {row.loo_terms for row in result.rows} > {result.terms}, "or this would test nothing"
    forms = [form for form in FORMS if len(parameter_names(rows.dtypes, form)) <= 3]
    others = [number for number, row in enumerate(result.rows) if row.loo_terms != result.terms]
    for number in {0, *others}:
        assert Folds(without(rows, number), forms).choose() == result.rows[number].loo_terms


def test_rank_correlations_are_scipys() -> None:
    result = chosen()
    latency_s = [row.latency_s for row in result.rows]
    for value, column in {
        result.loo_spearman: [row.loo_predicted_s for row in result.rows],
        result.spearman_roofline: [row.predicted_s for row in result.rows],
        result.spearman_macs: [row.macs for row in result.rows],
    }.items():
        assert value == pytest.approx(spearmanr(column, latency_s).statistic)


@pytest.mark.parametrize("number", [0, 5])
def test_what_is_predicted_for_an_unseen_row_does_not_depend_on_its_latency(number: int) -> None:
    """Bit for bit, through the choice of the form and all."""
    results = [of_seven(0, 1.0), *(of_seven(number, factor) for factor in (0.01, 100.0))]
    unseen = [(result.rows[number].loo_terms, result.rows[number].loo_predicted_s) for result in results]
    assert unseen[0] == unseen[1] == unseen[2]
    assert len({result.rows[(number + 1) % 7].loo_predicted_s for result in results}) == 3, "others do see it"


def test_one_wild_row_is_named_by_its_error_and_spoils_nothing_else() -> None:
    form: Form = ("inference_overhead",)
    rows = known(form, TABLES, noise=0.03, seed=1)
    clean, wild = (infer(some, device="d", terms=form) for some in (rows, with_latency(rows, 3, 30.0)))
    worst = max(wild.rows, key=lambda row: abs(math.log(1 + row.loo_error)))
    assert worst.model == "net3"
    assert worst.loo_error == pytest.approx(1 / 30 - 1, abs=0.01)
    for one, other in zip(clean.parameters, wild.parameters, strict=True):
        assert other.value == pytest.approx(one.value, rel=0.2)


def test_twice_the_latencies_is_half_the_rates() -> None:
    form: Form = ("inference_overhead", "depthwise")
    rows = known(form, TABLES[:9], noise=0.05, seed=1)
    one, two = (infer(some, device="d", terms=form) for some in (rows, timed(rows.tables, rows.latency_s * 2)))
    factors = {"peak.int8": 0.5, "bandwidth": 0.5, "inference_overhead": 2.0, "depthwise": 1.0}
    for here, there in zip(one.parameters, two.parameters, strict=True):
        assert there.value == pytest.approx(here.value * factors[here.name], rel=1e-3)
    assert two.loo_mape == pytest.approx(one.loo_mape, rel=1e-2)


def test_progress_is_told_row_by_row() -> None:
    assert given()[1] == [(number, 5) for number in range(5)]


# --- what the rows do not tell ----------------------------------------------------------------------------------------


def test_memory_bound_rows_give_no_peak_as_a_figure() -> None:
    result = infer(known((), MEMORY, noise=0.02), device="d", terms=())
    peak, bandwidth = result.parameters
    assert (peak.limited, bandwidth.limited) == ("below", "both")
    (ridge,) = result.ridge_points
    assert re.fullmatch(r"Ridge point >= [\d.]+ MACs/byte: the rows set no upper limit\.", ridge_text(ridge))
    assert re.fullmatch(r">= [\d.]+ GMAC/s \([\d.]+ taken\)", parameter_text(peak))
    assert re.fullmatch(
        r"Limited from one side only: peak\.int8 >= [\d.]+ GMAC/s\. Any value beyond fits about as well; the profile "
        r"has the nearest\.",
        result.remarks[-1],
    )


def test_compute_bound_rows_give_no_bandwidth_as_a_figure() -> None:
    tables = [network(seed, only=["conv", "pointwise_conv"]) for seed in range(8)]
    rows = timed(tables, on(device((), {**VALUES, "bandwidth": 1e13}), tables) * np.exp(0.02 * np.sin(range(8))))
    result = infer(rows, device="d", terms=())
    peak, bandwidth = result.parameters
    assert (peak.limited, bandwidth.limited) == ("both", "below")
    (ridge,) = result.ridge_points
    assert re.fullmatch(r"Ridge point <= [\d.]+ MACs/byte: the rows set no lower limit\.", ridge_text(ridge))


def test_latencies_that_are_all_overhead_tell_no_rate() -> None:
    rows = timed(TABLES[:8], 0.02 * np.exp(0.02 * np.sin(range(8))))
    result = infer(rows, device="d", terms=["inference_overhead"])
    peak, bandwidth, overhead = result.parameters
    assert (peak.limited, bandwidth.limited, overhead.limited) == ("below", "below", "both")
    assert overhead.value == pytest.approx(0.02, rel=0.02)
    (ridge,) = result.ridge_points
    assert (ridge.low, ridge.high) == (None, None)
    assert ridge_text(ridge) == "The rows do not tell the ridge point: no value of it fits clearly worse."


def test_one_network_at_four_batches_tells_what_it_can() -> None:
    tables = [network(1, scale=batch) for batch in (1.0, 2.0, 4.0, 8.0)]
    result = infer(known((), tables), device="d")
    assert result.terms == ()
    assert len(result.rows) == 4
    peak, bandwidth = result.parameters
    assert (peak.limited, bandwidth.limited) == ("below", "below"), "one may be had for the other"
    (ridge,) = result.ridge_points
    assert (ridge.low, ridge.high) == (None, None)
    assert result.remarks[0] == "4 rows are few: take the figures as a first guess, and add models."


def test_equal_latencies_have_no_ranks() -> None:
    rows = timed([network(1)] * 4, [0.01] * 4)
    result = infer(rows, device="d", terms=())
    assert (result.loo_spearman, result.spearman_roofline, result.spearman_macs) == (None, None, None)
    json.loads(result.to_json())


def test_an_overhead_that_comes_out_as_nothing_is_said_to() -> None:
    exact = known((), TABLES[:8]).latency_s
    rows = timed(TABLES[:8], exact - 0.4 * exact.min())
    result = infer(rows, device="d", terms=["inference_overhead"])
    assert result.parameters[2].value == 0.0
    assert "inference_overhead comes out as 0, and is left out of the profile." in result.remarks


def test_kinds_that_no_row_exercises_are_named() -> None:
    plain = [network(seed, only=["conv", "linear", "activation", "depthwise_conv"]) for seed in range(9)]
    small = [table.take(np.array([max(kernel, default=0) < 7 for kernel in table.kernel])) for table in plain]
    result = infer(known((), small, noise=0.05), device="d")
    assert result.remarks[0] == (
        "Fewer than three rows have a layer of depthwise_conv_k7 or grouped_conv: no rate of its own was tried."
    )
    assert not {"slow", "grouped", "depthwise_k7"} & {term for row in result.rows for term in row.loo_terms}


def test_a_class_of_a_term_that_no_row_has_is_named() -> None:
    """A rate for grouped convolutions and large kernels, and no row has the former."""
    tables = [network(seed, only=["conv", "linear", "depthwise_conv"]) for seed in range(9)]
    result = infer(known(("slow",), tables), device="d", terms=["slow"])
    assert result.unseen_classes == ("grouped_conv",)
    assert result.remarks[0] == (
        "No row has a layer of grouped_conv: its rate is unknown, and the profile gives it none."
    )


@pytest.mark.parametrize("rows", [5, 8, 9])
def test_no_more_is_fitted_than_the_rows_carry(rows: int) -> None:
    """Three rows a parameter, and in a fold of a fold, which lacks two rows, a row a parameter."""
    result = infer(known(("inference_overhead", "mac_layer_overhead", "depthwise"), TABLES[:rows]), device="d")
    for terms in (result.terms, *(row.loo_terms for row in result.rows)):
        assert 2 + len([term for term in terms if term != "add"]) <= max(2, rows // 3)


def test_two_dtypes_have_two_peaks_and_two_ridge_points() -> None:
    tables = [*TABLES[:5], *(network(seed, dtype="fp16") for seed in range(6, 10))]
    result = infer(known((), tables), device="d", terms=())
    assert {parameter.name: parameter.value for parameter in result.parameters} == pytest.approx(
        {name: VALUES[name] for name in ("peak.int8", "peak.fp16", "bandwidth")}, rel=1e-3
    )
    assert [ridge.dtype for ridge in result.ridge_points] == ["int8", "fp16"]
    assert result.to_dict()["ridge_point_macs_per_byte"] == result.to_dict()["ridge_points"][0]
    assert [row.dtype for row in result.rows] == ["int8"] * 5 + ["fp16"] * 4


# --- what cannot be fitted --------------------------------------------------------------------------------------------


def rows_of(tables: list[LayerTable]) -> Rows:
    return timed(tables, [1e-3] * len(tables))


PLAIN = [network(seed, only=["conv", "linear"]) for seed in range(6)]


@pytest.mark.parametrize(
    ("rows", "terms", "message"),
    [
        (
            rows_of(TABLES),
            ["inference_overheads"],
            "unknown term 'inference_overheads'. Did you mean 'inference_overhead'?",
        ),
        (
            rows_of(TABLES),
            ["xyz"],
            "unknown term 'xyz'. The terms are add, inference_overhead, layer_overhead, mac_layer_overhead, slow, "
            "depthwise, grouped, depthwise_k7, weight_bandwidth, vector, softmax, transpose.",
        ),
        (
            rows_of(TABLES),
            ["slow", "grouped"],
            "the terms 'slow' and 'grouped' are about the same layers: leave out one of them",
        ),
        (
            rows_of(TABLES),
            ["layer_overhead", "mac_layer_overhead"],
            "the terms 'layer_overhead' and 'mac_layer_overhead' are about the same layers: leave out one of them",
        ),
        (
            rows_of(PLAIN),
            ["depthwise"],
            "no row has a layer of depthwise_conv, so the rows cannot tell the term 'depthwise': add rows that do, or "
            "leave it out",
        ),
        (
            rows_of([*PLAIN, TABLES[0]]),
            ["slow"],
            "only net6 has a layer of grouped_conv or depthwise_conv_k7, so the rows cannot tell the term 'slow': add "
            "rows that do, or leave it out",
        ),
        (
            rows_of([*PLAIN, *(t.take(np.array([k != (3, 3) for k in t.kernel])) for t in TABLES[:3])]),
            ["depthwise", "depthwise_k7"],
            "no row has a layer of depthwise_conv beside those of depthwise_k7, so the rows cannot tell the term "
            "'depthwise': add rows that do, or leave it out",
        ),
        (
            rows_of([replace(table, vector_ops=np.zeros(len(table), np.int64)) for table in PLAIN]),
            ["vector"],
            "no row has vector ops, so the rows cannot tell the term 'vector': leave it out",
        ),
        (
            rows_of(TABLES[:4]),
            ["inference_overhead", "depthwise"],
            "4 parameters need more than 4 rows; there are 4",
        ),
        (
            rows_of([*TABLES[:4], network(9, dtype="fp16")]),
            None,
            "one row alone is fp16 (net4), and nothing else tells that peak: add a row, or leave this one out",
        ),
    ],
)
def test_what_the_rows_cannot_tell_is_refused(rows: Rows, terms: list[str] | None, message: str) -> None:
    with pytest.raises(LatencyError) as caught:
        infer(rows, device="d", terms=terms)
    assert str(caught.value) == message


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_than_four_rows_are_refused_before_a_model_is_loaded(count: int) -> None:
    rows = [Latency(line=number, model=f"no_such_model_{number}", latency_s=1.0) for number in range(count)]
    counted = "1 row" if count == 1 else f"{count} rows"
    with pytest.raises(LatencyError) as caught:
        fit(rows, device="d")
    assert str(caught.value) == f"{counted}, and a fit needs at least 4, better 8 to 10, of unlike models"


def test_the_file_is_named() -> None:
    with pytest.raises(LatencyError, match=r"^none\.csv: no such file$"):
        fit("none.csv", device="d")


def test_a_wrong_term_is_found_before_a_model_is_loaded() -> None:
    rows = [Latency(line=number, model=f"no_such_model_{number}", latency_s=1.0) for number in range(9)]
    with pytest.raises(LatencyError, match=r"^unknown term 'x'"):
        fit(rows, device="d", terms=["x"])


def test_models_are_left_out_by_a_pattern_which_must_name_some() -> None:
    rows = [Latency(line=number, model=f"{name}_{number}", latency_s=1.0) for number, name in enumerate("aabbbb")]
    with pytest.raises(LatencyError, match=r"^2 rows, and a fit needs"):
        fit(rows, device="d", without=["b*"])
    with pytest.raises(LatencyError, match=r"^no model is named 'c\*', which is to be left out$"):
        fit(rows, device="d", without=["b*", "c*"])


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (Parameter(name="peak.int8", value=2e12, unit="MACs/s", low=1e12, high=3e12), "2000 GMAC/s (1000 to 3000)"),
        (Parameter(name="peak.int8", value=2e12, unit="MACs/s", low=None, high=3e12), "<= 3000 GMAC/s (2000 taken)"),
        (Parameter(name="slow", value=0.02, unit="", low=0.01, high=1.0), "0.02 of the peak (0.01 to 1)"),
        (Parameter(name="slow", value=0.02, unit="", low=None, high=0.1), "<= 0.1 of the peak (0.02 taken)"),
        (
            Parameter(name="vector", value=6e9, unit="ops/s", low=None, high=None),
            "not told by the rows (6 Gop/s taken)",
        ),
        (Parameter(name="layer_overhead", value=0.0, unit="s", low=0.0, high=3e-6), "0 us (0 to 3)"),
    ],
)
def test_a_parameter_in_words(parameter: Parameter, text: str) -> None:
    assert parameter_text(parameter) == text


def test_the_limits_of_a_ridge_point_in_words() -> None:
    ridge = RidgePoint(dtype="int8", value=100.0, low=90.0, high=110.0, curve=())
    assert ridge_text(ridge) == "Ridge point 100 MACs/byte (90 to 110 within 10 % of the least error)."
    assert ridge_text(replace(ridge, high=None)) == "Ridge point >= 90 MACs/byte: the rows set no upper limit."
    assert ridge_text(replace(ridge, low=None)) == "Ridge point <= 110 MACs/byte: the rows set no lower limit."
    assert ridge_text(ridge, named=True).startswith("Ridge point (int8) 100 MACs/byte")
    assert parameter_limit(Parameter(name="bandwidth", value=2e9, unit="bytes/s", low=1e9, high=None)) == (
        "bandwidth >= 1 GB/s"
    )


# --- docs/json.md -----------------------------------------------------------------------------------------------------

DOCUMENTED: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "fit": lambda data: [data],
    "parameter": lambda data: data["parameters"],
    "ridge point": lambda data: [data["ridge_point_macs_per_byte"], *data["ridge_points"]],
    "row": lambda data: data["rows"],
}
ISSUED = "schema terms parameters ridge_point_macs_per_byte spearman_roofline spearman_macs loo_mape loo_spearman rows"


@pytest.mark.parametrize("what", DOCUMENTED)
def test_the_documented_keys_are_the_real_ones(what: str) -> None:
    section = re.search(rf"^\| of a {what} \|.*\n\| ---.*\n((?:\|.*\n)*)", DOC, re.MULTILINE)
    assert section is not None
    documented = re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)
    found = DOCUMENTED[what](chosen().to_dict())
    assert found
    assert all(list(item) == documented for item in found)


def test_version_1_keeps_its_promised_keys() -> None:
    data = chosen().to_dict()
    assert data["schema"] == SCHEMA == "roofline/fit/1"
    assert set(ISSUED.split()) <= set(data)


def test_json_is_the_data_and_reads_back() -> None:
    result = chosen()
    assert json.loads(result.to_json()) == json.loads(json.dumps(result.to_dict()))
    data = result.to_dict()
    assert [parameter["limited"] for parameter in data["parameters"]] == [p.limited for p in result.parameters]
    assert data["rows"][0]["input_size"] is None
    assert data["source"] == "some.csv"


def test_a_name_is_one_line() -> None:
    assert given()[0].device == r"My \x1b[31mchip"


def test_the_library_does_not_need_torch_to_say_that_a_table_is_wrong(tmp_path: Path) -> None:
    """And is quick to."""
    (tmp_path / "t.csv").write_text("model\n")
    program = (
        "import sys\nfrom roofline.latencies import read_latencies\n"
        "try: read_latencies('t.csv')\nexcept ValueError as error: print(error)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "t.csv:1: the column latency_ms is missing (found: model)\nFalse\n"


def test_the_page_has_every_term() -> None:
    page = (Path(__file__).parents[1] / "docs" / "fit.md").read_text(encoding="utf-8")
    section = re.search(r"^\| term \|.*\n\| ---.*\n((?:\|.*\n)*)", page, re.MULTILINE)
    assert section is not None
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section[1], re.MULTILINE))
    assert list(documented) == list(TERMS)
    for name, term in TERMS.items():
        unit = term.unit or ("none" if name == "add" else "share of the peak")
        assert documented[name] == unit
    assert f"the {len(FORMS)} combinations" in page
