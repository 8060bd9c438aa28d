"""A validation as sentences, on 80 columns, as text for others, and as a page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from roofline import RooflineError, validation_words
from roofline.reports.pages import page_of, render_page
from roofline.reports.validation_charts import DRAWN_KERNELS, DRAWN_LAYERS, MOST_TICKS, NAME_CHARACTERS, time_ticks
from roofline.reports.validation_export import COLUMNS, render_validation_csv, render_validation_markdown
from roofline.reports.validation_page import SHOWN_MODELS, leads_of
from roofline.reports.validation_terminal import render_validation
from roofline.units import parse_quantity
from tests.reports.drawn import table, traces
from tests.validations import layered, made_validation, pair, validation_of, with_everything

Golden = Callable[[str, str], None]
EVIL = "</script><script>alert(1)</script>\x1b[31m|`"


def terminal(data: dict[str, Any], width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    console.print(render_validation(data, width=width, **options))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return made_validation().to_dict()


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return with_everything().to_dict()


def evil(data: dict[str, Any]) -> dict[str, Any]:
    """Names of an author who means no good."""
    text = json.dumps(data)
    for name in ("aa_small", "aa", "layered", "stem", "conv_depthwise", "learned", "My box"):
        text = text.replace(json.dumps(name), json.dumps(EVIL + name))
    return json.loads(text)  # type: ignore[no-any-return]


def of_one(error: float, **of: Any) -> dict[str, Any]:
    return validation_of([pair("net", error, **of)]).to_dict()


# --- sentences --------------------------------------------------------------------------------------------------------


def test_the_verdict_counts_what_is_decided(plain: dict[str, Any]) -> None:
    assert plain["verdict"] == (
        "3 of 5 predictions (learned) are within 10 % of the measured time; 3 undecided. The median error is "
        "4.5 %; predictions are 2 % too slow in the median."
    )


@pytest.mark.parametrize(
    ("error", "of", "verdict"),
    [
        (0.03, {}, "1 of 1 prediction (learned) is within 10 % of the measured time. net: predicted 10.3 ms, measured "
                   "10 ms (+3.0 %)."),
        (-0.5, {}, "0 of 1 prediction (learned) is within 10 % of the measured time. net: predicted 5 ms, measured 10 "
                   "ms (-50.0 %)."),
        (0.0, {"between": 0.3}, "Nothing could be decided of 1 model: 2 processes differ by 30 %."),
    ],
)  # fmt: skip
def test_the_verdict_on_one_model(error: float, of: dict[str, Any], verdict: str) -> None:
    assert of_one(error, **of)["verdict"] == verdict


def test_a_bias_is_a_share_and_a_word() -> None:
    said = validation_of([pair(f"net{i}", -0.06) for i in range(3)]).to_dict()["verdict"]
    assert said.endswith("predictions are 6 % too fast in the median.")
    assert of_none_off().endswith("there is no bias.")


def of_none_off() -> str:
    return str(validation_of([pair("a", 0.0), pair("b", 0.004)]).to_dict()["verdict"])


def test_the_quality_of_the_judged(plain: dict[str, Any]) -> None:
    assert validation_words.quality(plain["summary"]) == (
        "Of 5 decided rows: 60 % within 5 %, 60 % within 10 % (95 % interval 23 % to 88 %), 80 % within 20 %; median "
        "error 4.5 %, mean 11.1 %, 90th percentile 23.0 %; bias +2.0 %; Spearman 1.000, Kendall 1.000."
    )
    assert validation_words.intervals(plain["summary"]) == (
        "The 90 % intervals hold 60 % of the measurements, and are 20 % of the prediction wide; the 80 % intervals "
        "60 % and 10 %."
    )
    assert validation_words.noise(plain).startswith("Noise ceiling: two measurements of a model differ by 2.0 %")
    assert validation_words.quality(of_one(0.0, between=0.5)["summary"]) == ""


def test_a_hash_that_does_not_fit_is_said(plain: dict[str, Any]) -> None:
    assert validation_words.frozen(plain).startswith("Predictions frozen at 2026-11-27T10:00:00Z, before anything")
    edited = json.loads(json.dumps(plain))
    edited["frozen"]["record"]["models"][0]["predictions"][0]["latency_s"] = 1.0
    assert "are not those that were frozen" in validation_words.frozen(edited)


def test_what_holds_of_all_models_is_said_once(everything: dict[str, Any]) -> None:
    said = list(validation_words.remarks(everything))
    assert said.count("Intervals of few networks.") == 1
    assert "cc_small: undecided, as 2 processes differ by 30 %." in said
    assert "two_inputs: odd." in said
    assert "Left out: unknown model 'nope'." in said
    assert said[0].startswith("The predictions are for another environment")
    many = validation_of([pair(f"net{i}", 0.0, notes=("hot",)) for i in range(5)] + [pair("cold", 0.0)]).to_dict()
    assert "5 models: hot." in validation_words.remarks(many)


def test_nothing_is_said_of_nothing() -> None:
    data = validation_of([]).to_dict()
    assert data["verdict"].startswith("Nothing was measured")
    assert "Nothing was measured" in terminal(data)
    assert len(render_validation_csv(data).splitlines()) == 1
    assert "Nothing was measured" in render_validation_markdown(data)
    assert "Nothing was measured" in render_page(data, plotlyjs="cdn")


# --- the terminal -----------------------------------------------------------------------------------------------------


def test_a_terminal_of_80_columns(plain: dict[str, Any], golden: Golden) -> None:
    text = terminal(plain)
    golden(text, "validation.txt")
    assert max(map(len, text.splitlines())) <= 80


def test_all_that_may_be_said_on_80_columns(everything: dict[str, Any], golden: Golden) -> None:
    text = terminal(everything)
    golden(text, "validation_everything.txt")
    assert max(map(len, text.splitlines())) <= 80


def test_a_wide_terminal_has_the_interval_of_the_measurement(everything: dict[str, Any]) -> None:
    assert "95 % interval" in next(line for line in terminal(everything, 120).splitlines() if "misses first" in line)
    assert "kernel classes" not in terminal(everything, top=0)
    assert "2 of 5 kernel classes" in terminal(everything, top=2)


def test_misses_come_first(plain: dict[str, Any]) -> None:
    assert [row["model"] for row in validation_words.worst_first(plain)] == [
        "bb_small", "cc_large", "bb_large", "cc_small", "cc_xl", "cc_xxl", "aa_large", "aa_small",
    ]  # fmt: skip


def test_names_cannot_steer_a_terminal(everything: dict[str, Any]) -> None:
    assert "\x1b" not in terminal(evil(everything))


# --- text for others --------------------------------------------------------------------------------------------------


def test_the_csv_has_a_line_a_model_and_estimator(everything: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(render_validation_csv(everything))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(everything["rows"])
    for row, each in zip(rows, everything["rows"], strict=True):
        assert (row["model"], row["estimator"], row["verdict"]) == (each["model"], each["estimator"], each["verdict"])
        assert float(row["predicted_s"]) == each["predicted_s"]
        assert float(row["measured_ci95_low_s"]) == each["measured_ci95_s"][0]
        assert (row["interval90_high_s"] == "") == (each["interval90_s"] is None)
    assert rows[-1]["input_shape"] == "1x3x8x8 1"


def test_markdown(everything: dict[str, Any], golden: Golden) -> None:
    golden(render_validation_markdown(everything), "validation.md.txt")
    assert "<script>" not in render_validation_markdown(evil(everything))


# --- the page ---------------------------------------------------------------------------------------------------------


def test_each_model_is_a_mark_and_a_row_of_the_same_number(plain: dict[str, Any]) -> None:
    page = page_of(plain)
    rows = validation_words.worst_first(plain)
    marks = traces(page, "scatter", "verdict")
    assert [mark.name for mark in marks] == ["right", "undecided", "wrong"]
    items = {item: (x, y) for mark in marks for item, x, y in zip(mark.customdata, mark.x, mark.y, strict=True)}
    assert items == {i: (row["measured_s"], row["predicted_s"]) for i, row in enumerate(rows)}
    assert [row[0].whole for row in table(page, "row").cells()] == [row["model"] for row in rows]
    assert table(page, "row").linked


def test_whiskers_end_where_the_intervals_do(plain: dict[str, Any]) -> None:
    rows = validation_words.worst_first(plain)
    for mark in traces(page_of(plain), "scatter", "verdict"):
        for i, item in enumerate(mark.customdata):
            assert mark.y[i] + mark.error_y.array[i] == pytest.approx(rows[item]["interval90_s"][1])
            assert mark.x[i] - mark.error_x.arrayminus[i] == pytest.approx(rows[item]["measured_ci95_s"][0])


def test_the_line_and_the_band(plain: dict[str, Any]) -> None:
    page = page_of(plain)
    figure = page.figures["scatter"]
    (line,) = traces(page, "scatter", "identity")
    assert list(line.x) == list(line.y)
    low, high = traces(page, "scatter", "band")
    assert [band.y[0] / band.x[0] for band in (low, high)] == pytest.approx([0.9, 1.1])
    assert high.fill == "tonexty"
    assert figure.layout.xaxis.range == figure.layout.yaxis.range, "so that the line is the diagonal"
    ends = [10**end for end in figure.layout.xaxis.range]
    for row in plain["rows"]:
        assert ends[0] < row["predicted_s"] < ends[1]
        assert ends[0] < row["measured_s"] < ends[1]


@pytest.mark.parametrize("ends_s", [(2e-4, 1.3e-3), (1.9e-3, 0.4), (3e-6, 2.0)])
def test_every_tick_of_a_time_has_its_unit(ends_s: tuple[float, float]) -> None:
    for width, ticks in time_ticks(ends_s).items():
        for value, text in zip(ticks["tickvals"], ticks["ticktext"], strict=True):
            assert float(parse_quantity(text, "duration")) == pytest.approx(value)
        shown = [value for value in ticks["tickvals"] if ends_s[0] <= value <= ends_s[1]]
        assert 2 <= len(shown) <= MOST_TICKS[width] + 1


def test_other_estimators_wait_in_the_legend(plain: dict[str, Any]) -> None:
    others = traces(page_of(plain), "scatter", "other")
    assert [(other.name, other.visible) for other in others] == [
        ("roofline", "legendonly"),
        ("calibrated", "legendonly"),
    ]
    assert list(others[0].y) == [row["predicted_s"] for row in plain["rows"] if row["estimator"] == "roofline"]


def test_each_family_has_a_line(plain: dict[str, Any]) -> None:
    page = page_of(plain)
    axis = page.figures["families"].layout.yaxis
    names = [group["family"] for group in plain["families"]]
    assert list(axis.ticktext) == names
    assert axis.range == (len(names) - 0.5, -0.5), "the first is at the top"
    rows = validation_words.worst_first(plain)
    for mark in traces(page, "families", "verdict"):
        for item, x, y in zip(mark.customdata, mark.x, mark.y, strict=True):
            assert (rows[item]["error"], rows[item]["family"]) == (x, names[y])


def test_errors_far_out_leave_room_for_the_others() -> None:
    """Of 43 models, 40 are within 8 %: the axis ends at three limits, and the others are told at its edge."""
    pairs = [pair(f"net{i}", 0.002 * i, family=f"family{i}") for i in range(40)]
    pairs += [pair("far", 1.4, family="odd"), pair("farther", 7.5, family="odd"), pair("fast", -0.6, family="odd")]
    page = page_of(validation_of(pairs).to_dict())
    axis = page.figures["families"].layout.xaxis
    assert axis.range == pytest.approx((-0.312, 0.312))
    (clipped,) = traces(page, "families", "clipped")
    assert dict(zip(clipped.customdata, clipped.x, strict=True)) == pytest.approx({0: 0.3, 1: 0.3, 2: -0.3})
    assert list(clipped.marker.symbol) == ["triangle-right", "triangle-right", "triangle-left"]
    (beyond,) = traces(page, "families", "beyond")
    minus = "\N{MINUS SIGN}"
    told = {" +140.0 %, +750.0 % ": 0.3, f" {minus}60.0 % ": -0.3}
    assert dict(zip(beyond.text, beyond.x, strict=True)) == pytest.approx(told)
    assert "A triangle" in render_page(validation_of(pairs).to_dict(), plotlyjs="cdn")
    shown = [name for trace in page.figures["families"].data if trace.showlegend is not False for name in [trace.name]]
    assert shown == ["right", "wrong"], "a verdict whose every model is at the edge has its place in the legend"


def test_errors_that_are_all_large_are_not_cut_off() -> None:
    data = validation_of([pair(f"net{i}", 1 + i / 10, family="odd") for i in range(6)]).to_dict()
    assert page_of(data).figures["families"].layout.xaxis.range is None
    assert "A triangle" not in render_page(data, plotlyjs="cdn")


def test_kernel_classes_have_bars_and_worst_layers_reasons(everything: dict[str, Any]) -> None:
    page = page_of(everything)
    bars, errors = page.figures["kernels"].data
    by_hand_s = {  # predicted less measured: 1.5 ms of three layers less 2.7 ms, and so on
        "conv_depthwise": -1.2e-3, "conv_depthwise/strided": -1.2e-3, "other": -0.3e-3, "conv_few_channels": -0.1e-3,
        "elementwise_cheap": 0.0,
    }  # fmt: skip
    names = page.figures["kernels"].layout.yaxis.ticktext
    assert dict(zip(names, bars.x, strict=True)) == pytest.approx(by_hand_s, abs=1e-12)
    assert list(map(abs, bars.x)) == sorted(map(abs, bars.x), reverse=True)
    assert bars.y == errors.y == tuple(range(len(by_hand_s)))
    shares = {"conv_depthwise": 1.5 / 2.7 - 1, "conv_depthwise/strided": 0.3 / 1.5 - 1, "other": 0.1 / 0.4 - 1}
    said = dict(zip(names, errors.text, strict=True))
    for name, share in shares.items():
        assert said[name] == f" \N{MINUS SIGN}{abs(100 * share):.1f} % "
    assert errors.textposition[0] == "middle right", "where the bar is not"
    assert [row[0].text for row in table(page, "kernel").cells()] == list(names)
    worst = table(page, "worst").cells()
    assert [row[0].text for row in worst] == [row["layer"] for row in everything["worst_layers"]]
    assert worst[0][1].text == "\N{MINUS SIGN}1.2 ms"
    assert worst[0][5].text == everything["worst_layers"][0]["reason"]


def test_classes_that_cost_little_are_folded_into_two_sums(everything: dict[str, Any]) -> None:
    kernels = [
        {"kernel": f"class{i}", "layers": 2, "measured_s": 1.0, "predicted_s": 1 + (-1) ** i * i / 100, "share": 1 / 40,
         "error": (-1) ** i * i / 100, "median_error": 0.1}
        for i in range(40)
    ]  # fmt: skip
    page = page_of({**everything, "kernels": kernels})
    bars, _ = page.figures["kernels"].data
    names = page.figures["kernels"].layout.yaxis.ticktext
    assert names[:2] == ("class39", "class38")
    assert names[DRAWN_KERNELS:] == ("12 others, slow", "13 others, fast")
    # 24 + 22 + ... + 2 and 23 + 21 + ... + 1 hundredths of a second; class 0 is not off
    assert bars.x[DRAWN_KERNELS:] == pytest.approx((1.56, -1.44))
    assert sum(bars.x) == pytest.approx(sum(row["predicted_s"] - row["measured_s"] for row in kernels))
    assert "at the bottom all but the 15 costliest in two sums" in render_page(
        {**everything, "kernels": kernels}, plotlyjs="cdn"
    )
    assert len(table(page, "kernel").rows) == 40


def test_each_layer_is_twice_under_the_roofline_and_joined(everything: dict[str, Any]) -> None:
    page = page_of(everything)
    ceiling, joint, predicted, measured = page.figures["roofline"].data
    rows = [row for row in everything["layers"][0]["rows"] if row["macs"] and row["measured_s"]]
    rows.sort(key=lambda row: -row["measured_s"])
    assert list(predicted.y) == pytest.approx([row["macs"] / row["predicted_s"] for row in rows])
    assert list(measured.y) == pytest.approx([row["macs"] / row["measured_s"] for row in rows])
    assert list(measured.x) == list(predicted.x) == pytest.approx([row["macs"] / row["mem_bytes"] for row in rows])
    assert list(joint.y)[:3] == [predicted.y[0], measured.y[0], None]
    assert max(ceiling.y) == everything["hardware"]["peak_macs_per_s"]
    assert ceiling.y[0] == pytest.approx(everything["hardware"]["bandwidth_bytes_per_s"] * ceiling.x[0])
    assert len(table(page, "layer").rows) == len(rows)


def test_every_layered_model_can_be_chosen() -> None:
    data = validation_of([layered("one", 0.3), layered("two", 0.01), pair("plain", 0.0)]).to_dict()
    page = page_of(data)
    assert page.context["layered"] == ["one", "two"], "that which is missed most comes first"
    assert len(page.data["rooflines"]) == 2
    assert page.data["rooflines"][0] == [trace.to_plotly_json() for trace in page.figures["roofline"].data]


def test_models_whose_layers_are_not_drawn_are_told() -> None:
    data = validation_of([layered(f"net{i}", 0.2) for i in range(SHOWN_MODELS + 1)]).to_dict()
    rule = f"Of a model the layers that do MACs, at most {DRAWN_LAYERS}: those that take longest."
    assert f"12 of 13 models, those that the predictions miss most. {rule}" in render_page(data, plotlyjs="cdn")
    few = validation_of([layered("one", 0.2), pair("plain", 0.0)]).to_dict()
    assert page_of(few).context["drawn"] == rule


def test_without_layers_there_are_no_such_figures(plain: dict[str, Any]) -> None:
    assert set(page_of(plain).figures) == {"scatter", "families"}
    text = render_page(plain, plotlyjs="cdn")
    assert "Under the roofline" not in text
    assert "Layers were not timed" in text


def test_everything_is_on_the_page(everything: dict[str, Any]) -> None:
    page = page_of(everything)
    assert set(page.figures) == {"scatter", "families", "kernels", "roofline"}
    text = render_page(everything, plotlyjs="cdn")
    for part in (everything["frozen"]["sha256"], "threads.affinity", "composed", "no kernel class of its own",
                 "roofline calibrate", "versions.torch is 3, and 2 before", "It was interrupted"):  # fmt: skip
        assert part in text, part
    for tile in ("right", "error", "bias", "ranks", "coverage", "undecided", "noise", "factor"):
        assert f'id="tile-{tile}"' in text


def test_long_names_are_short_on_a_phone() -> None:
    family = "a_family_with_a_very_long_name_that_does_not_end"
    names = page_of(validation_of([pair("net", 0.0, family=family)]).to_dict()).data["names"]["families"]
    assert {width: len(shown[0]) for width, shown in names.items()} == NAME_CHARACTERS


def test_names_that_begin_with_a_folder_show_their_ends() -> None:
    names = ["a_folder/nets/net.py:small at 1x3x8x8", "a_folder/nets/net.py:small at 2x3x8x8", "timm:tiny"]
    data = validation_of([pair(name, 0.3) for name in names]).to_dict()
    page = page_of(data)
    cells = {row[0].whole: row[0].text for row in table(page, "row").cells()}
    assert cells == {names[0]: "small at 1x3x8x8", names[1]: "small at 2x3x8x8", "timm:tiny": "tiny"}
    text = render_page(data, plotlyjs="cdn")
    assert f'title="{names[0]}"' in text
    assert '<span class="visually-hidden">a_folder/nets/net.py:</span>small at 1x3x8x8' in text


@pytest.mark.parametrize(
    ("names", "leads"),
    [
        (["timm:resnet50", "torchvision:resnet50", "timm:vgg11"], {"timm:vgg11": "timm:"}),
        (["mobilenetv2_100", "timm:mobilenetv2_100"], {}),  # the rest alone would not say which
        (["mobilenetv4_hybrid_medium:mhsa"], {}),  # of the zoo: what is before the colon is the network
        (["package.module:net", "hf:some/config.json"], {"package.module:net": "package.module:",
                                                         "hf:some/config.json": "hf:some/"}),
        (["a/net.onnx", "a/"], {"a/net.onnx": "a/"}),
    ],
)  # fmt: skip
def test_what_of_a_name_need_not_be_shown(names: list[str], leads: dict[str, str]) -> None:
    assert leads_of(names) == leads


def test_a_saved_validation_that_does_not_fit_is_one_line(everything: dict[str, Any]) -> None:
    broken = {**everything, "families": everything["families"][:1]}
    with pytest.raises(RooflineError, match="edited"):
        page_of(broken)


def test_names_cannot_become_markup(everything: dict[str, Any]) -> None:
    assert "<script>alert(1)" not in render_page(evil(everything), plotlyjs="cdn")


def test_errors_are_finite_on_the_page() -> None:
    """A layer that is predicted to cost nothing has no place on a logarithmic axis, and a reason."""
    one, other = layered()
    one = replace(one, layers=tuple(replace(layer, latency_s=0.0 if layer.name == "stem" else layer.latency_s)
                                    for layer in one.layers))  # fmt: skip
    data = validation_of([(one, other)]).to_dict()
    page = page_of(data)
    assert all(math.isfinite(y) for trace in page.figures["roofline"].data for y in trace.y if y is not None)
    assert {row["layer"]: row["reason"] for row in data["worst_layers"]}["stem"] == "it is predicted to cost nothing"
