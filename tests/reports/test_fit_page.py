"""The page of a fit as text and figures; tests/browser/ opens it."""

from __future__ import annotations

import copy
import json
import math
import re
from functools import cache
from typing import Any

import pytest

from roofline import RooflineError
from roofline.fit import infer
from roofline.reports.fit_page import NAME_CHARACTERS, TENTH, shortened
from roofline.reports.pages import page_of, render_page
from tests.fit_rows import known, network
from tests.reports.drawn import table, traces

EVIL = "</script><script>alert(1)</script>"


@cache
def _data() -> dict[str, Any]:
    rows = known(("inference_overhead",), [network(seed) for seed in range(9)], noise=0.08, seed=1)
    result = infer(rows, device="Some NPU", source="some.csv", terms=["inference_overhead"])
    data: dict[str, Any] = json.loads(result.to_json())
    value = data["ridge_points"][0]["value"]
    data["ridge_points"][0] |= {"low": value / 1.2, "high": value * 1.3}
    return data


@pytest.fixture
def data() -> dict[str, Any]:
    return copy.deepcopy(_data())


# --- what the figures show --------------------------------------------------------------------------------------------


def test_each_row_has_two_marks_over_its_published_latency(data: dict[str, Any]) -> None:
    page = page_of(data)
    rows = sorted(data["rows"], key=lambda row: -abs(row["loo_error"]))
    for key in ("predicted_s", "loo_predicted_s"):
        (marks,) = traces(page, "scatter", key)
        assert list(marks.x) == [row["latency_s"] for row in rows]
        assert list(marks.y) == [row[key] for row in rows]
        assert list(marks.customdata) == list(range(9))
    assert [row[0].text for row in table(page, "row").cells()] == [row["name"] for row in rows], "and is that table row"


def test_the_lines_are_no_error_and_ten_percent(data: dict[str, Any]) -> None:
    figure = page_of(data).figures["scatter"]
    lines = [trace for trace in figure.data if trace.meta["role"] == "error"]
    assert [line.y[0] / line.x[0] for line in lines] == pytest.approx([1, 1.1, 0.9])
    assert [line.meta["factor"] for line in lines] == [1, 1 + TENTH, 1 - TENTH]
    assert figure.layout.xaxis.range == figure.layout.yaxis.range, "so that the line is the diagonal"
    low, high = (10**end for end in figure.layout.xaxis.range)
    for row in data["rows"]:
        assert low < min(row["latency_s"], row["predicted_s"], row["loo_predicted_s"])
        assert high > max(row["latency_s"], row["predicted_s"], row["loo_predicted_s"])
    assert lines[0].x[0] < low
    assert lines[0].x[1] > high


@pytest.mark.parametrize(("decades", "ticks"), [(1, "D2"), (4, 1)])
def test_axes_of_few_decades_have_more_ticks(data: dict[str, Any], decades: int, ticks: object) -> None:
    for number, row in enumerate(data["rows"]):
        row["latency_s"] = row["predicted_s"] = row["loo_predicted_s"] = 1e-3 * 10 ** (decades * number / 8)
    assert page_of(data).figures["scatter"].layout.xaxis.dtick == ticks


def test_what_is_missed_is_sorted_by_what_is_missed_unseen(data: dict[str, Any]) -> None:
    page = page_of(data)
    ((bars,), (rings,)) = (traces(page, "residuals", role) for role in ("error", "loo_error"))
    assert [abs(error) for error in rings.x] == sorted((abs(error) for error in rings.x), reverse=True)
    by_unseen = {row["loo_error"]: row["error"] for row in data["rows"]}
    assert list(bars.x) == [by_unseen[error] for error in rings.x]
    axis = page.figures["residuals"].layout.yaxis
    assert axis.autorange == "reversed", "the first is at the top"
    assert list(axis.ticktext) == page.data["names"]["wide"]


def test_the_curve_over_the_ridge_point_has_its_band(data: dict[str, Any]) -> None:
    page = page_of(data)
    (curve,), (limit,) = (traces(page, "ridge", role) for role in ("curve", "limit"))
    ridge = data["ridge_points"][0]
    assert [list(point) for point in zip(curve.x, curve.y, strict=True)] == ridge["curve"]
    assert set(limit.y) == {1.1 * min(error for _, error in ridge["curve"])}
    (band,) = page.figures["ridge"].layout.shapes
    assert (band.x0, band.x1) == (ridge["low"], ridge["high"])
    (note,) = page.figures["ridge"].layout.annotations
    assert 10**note.x == pytest.approx(ridge["value"])
    assert len(table(page, "curve").rows) == len(ridge["curve"])


@pytest.mark.parametrize(
    ("low", "high", "tile", "sentence"),
    [
        (None, 150.0, "\u2264 150", "Ridge point <= 150 MACs/byte: the rows set no lower limit."),
        (80.0, None, "\u2265 80", "Ridge point >= 80 MACs/byte: the rows set no upper limit."),
        (None, None, "\u2013", "The rows do not tell the ridge point: no value of it fits clearly worse."),
    ],
)
def test_without_a_limit_no_ridge_point_is_a_figure(
    data: dict[str, Any], low: float | None, high: float | None, tile: str, sentence: str
) -> None:
    ridge = data["ridge_points"][0]
    ridge |= {"low": low, "high": high}
    page = page_of(data)
    (band,) = page.figures["ridge"].layout.shapes
    assert (band.x0, band.x1) == (low or ridge["curve"][0][0], high or ridge["curve"][-1][0]), "up to the edge"
    assert page.figures["ridge"].layout.annotations == ()
    (shown,) = (item["value"] for item in page.context["tiles"] if item["id"] == "ridge")
    assert shown == tile
    assert page.context["verdict"].endswith(sentence)


def test_of_two_dtypes_each_has_a_curve_and_a_name(data: dict[str, Any]) -> None:
    data["ridge_points"].append({**data["ridge_points"][0], "dtype": "fp16", "value": 40.0})
    page = page_of(data)
    assert [curve.name for curve in traces(page, "ridge", "curve")] == ["int8", "fp16"]
    assert page.figures["ridge"].layout.showlegend
    assert "Ridge point (fp16) 40 MACs/byte" in page.context["verdict"]


# --- what the tables and sentences say --------------------------------------------------------------------------------


def test_parameters_have_intervals_in_words_and_values_as_numbers(data: dict[str, Any]) -> None:
    data["parameters"][0] |= {"value": 2e12, "low": 1e12, "high": None, "limited": "below"}
    cells = table(page_of(data), "parameter").cells()
    assert [cell.text for cell in cells[0]] == [
        "peak.int8", ">= 1000 GMAC/s (2000 taken)", "below", "dense rate of MACs"
    ]  # fmt: skip
    assert cells[0][1].value == 2e12
    assert re.fullmatch(r"[\d.]+ \u00b5s \([\d.]+ to [\d.]+\)", cells[2][1].text)
    assert cells[2][3].text == "a constant for each inference"


def test_columns_that_would_say_the_same_of_every_row_are_left_out(data: dict[str, Any]) -> None:
    usual = [column.key for column in table(page_of(data), "row").columns]
    assert usual == [
        "model", "macs", "latency_s", "predicted_s", "error", "loo_predicted_s", "loo_error", "loo_terms",
    ]  # fmt: skip
    data["rows"][3] |= {"input_size": [3, 64, 32], "batch": 4, "dtype": "fp16", "note": "Table 3"}
    columns = [column.key for column in table(page_of(data), "row").columns]
    assert [key for key in columns if key not in usual] == ["input_size", "batch", "dtype", "note"]
    (row,) = (row for row in table(page_of(data), "row").cells() if row[0].text == "net3")
    shown = {column: cell.text for column, cell in zip(columns, row, strict=True)}
    assert (shown["input_size"], shown["batch"], shown["dtype"]) == ("3\u00d764\u00d732", "4", "fp16")
    assert shown["note"] == "Table 3"


def test_the_words_are_prediction_and_published(data: dict[str, Any]) -> None:
    text = render_page(data, plotlyjs="cdn")
    visible = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert "Predictions against published latencies" in visible
    assert "Effective rates of the device with its runtime; no hardware peaks." in visible
    assert not re.search(r"\bmeasure(d|ment)|\bbound\b", re.sub(r"<[^>]*>", "", visible))


def test_remarks_and_the_source_are_there(data: dict[str, Any]) -> None:
    data["remarks"] = ["9 rows are few."]
    text = render_page(data, plotlyjs="cdn")
    assert '<ul id="remarks"><li>9 rows are few.</li></ul>' in text
    assert "Fitted to 9 latencies of some.csv; peak and bandwidth, inference_overhead (as given)" in text


def test_what_is_not_the_usual_is_said(data: dict[str, Any]) -> None:
    data |= {"ops": "conv_only", "terms_chosen": True, "source": "", "fusion": "none", "loo_spearman": None}
    page = page_of(data)
    assert page.context["subtitle"] == (
        "Fitted to 9 latencies; peak and bandwidth, inference_overhead (chosen by leave-one-out error); convolutions "
        "and linear layers alone"
    )
    assert "terms chosen anew each time" in page.context["verdict"]
    assert any(line.startswith("No fusion") for line in page.conventions)
    (ranks,) = (item for item in page.context["tiles"] if item["id"] == "ranks")
    assert ranks["value"] == "\u2013"


# --- odd results ------------------------------------------------------------------------------------------------------


def test_hostile_names_are_text(data: dict[str, Any]) -> None:
    data |= {"device": EVIL, "source": EVIL, "remarks": [EVIL], "terms": [EVIL], "fused_activations": [EVIL]}
    for row in data["rows"]:
        row |= {"name": EVIL, "note": EVIL, "dtype": EVIL, "loo_terms": [EVIL]}
    data["parameters"][0]["name"] = EVIL
    data["ridge_points"][0]["dtype"] = EVIL
    text = render_page(data, plotlyjs="cdn")
    assert "<script>alert" not in text
    assert "</script><script>alert" not in text


def test_no_error_at_all_can_be_drawn(data: dict[str, Any]) -> None:
    for row in data["rows"]:
        row |= {"error": 0.0, "loo_error": 0.0, "predicted_s": row["latency_s"], "loo_predicted_s": row["latency_s"]}
    data["ridge_points"][0]["curve"] = [[100.0, 0.0]]
    page = page_of(data)
    low, high = page.figures["ridge"].layout.xaxis.range
    assert low < math.log10(100) < high
    assert page.figures["ridge"].layout.yaxis.range[1] > 0
    render_page(data, plotlyjs="cdn")


def test_one_row_can_be_drawn(data: dict[str, Any]) -> None:
    data["rows"] = data["rows"][:1]
    assert "Fitted to 1 latencies" not in render_page(data, plotlyjs="cdn")


def test_what_is_missing_is_said(data: dict[str, Any]) -> None:
    del data["ridge_points"]
    with pytest.raises(RooflineError, match="it lacks 'ridge_points'"):
        page_of(data)


@pytest.mark.parametrize(
    ("name", "most", "shown"),
    [("short", 16, "short"), ("mobilenetv4_conv_medium", 16, "mobilen\u2026v_medium"), ("<b>", 16, "&lt;b&gt;")],
)
def test_a_name_is_cut_in_its_middle(name: str, most: int, shown: str) -> None:
    assert shortened(name, most) == shown
    assert NAME_CHARACTERS["narrow"] == 16
