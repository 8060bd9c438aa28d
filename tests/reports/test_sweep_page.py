"""The page of a sweep as text and figures; tests/browser/ opens it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from roofline.curves import Curve
from roofline.errors import RooflineError
from roofline.layers import KINDS
from roofline.profiles import load_all
from roofline.reports.pages import Page, draw, page_of, render_page
from roofline.reports.sweep_page import DRAWN_PX, MARK_ROWS
from roofline.sweep import OPERATIONS, Candidate, MarkedProfile, RidgeSweep, SavedLayers, sweep, sweep_layers
from tests.reports.drawn import traces

pytestmark = pytest.mark.usefixtures("traced_once")

ZOO = ("mobilenetv1_100", "mobilenetv1_150", "mobilenetv3_large_100", "mobilenetv4_conv_small", "mobilenetv4_hybrid_m")
EVIL = "</script><script>alert(1)</script>"


def random_models(count: int, layers: int) -> list[Candidate]:
    random = np.random.default_rng(0)
    return [
        Candidate(
            name=f"network_{number}",
            top1=60.0 + number,
            layers=SavedLayers(
                kind=random.choice(KINDS, layers).astype(object), macs=random.integers(0, 10**8, layers),
                mem_bytes=random.integers(10**4, 10**6, layers), fusion="none", dtype="int8",
                fused_activations=frozenset(),
            ),
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def mobile() -> RidgeSweep:
    return sweep(ZOO, points=11)


@pytest.fixture(scope="module")
def data(mobile: RidgeSweep) -> dict[str, Any]:
    return json.loads(mobile.to_json())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def page(data: dict[str, Any]) -> Page:
    return page_of(data)


def test_there_is_a_curve_a_dot_and_a_bar_for_each_model(page: Page, mobile: RidgeSweep) -> None:
    assert [trace.name for trace in traces(page, "latency", "curve")] == [model.name for model in mobile.models]
    dots = [item for role in ("dots", "aside") for trace in traces(page, "tradeoff", role) for item in trace.customdata]
    assert sorted(dots) == list(range(len(mobile.models)))
    assert [trace.meta["operation"] for trace in traces(page, "operations", "operation")] == list(OPERATIONS)
    assert all(len(trace.x) == len(mobile.models) for trace in traces(page, "operations", "operation"))


def test_what_has_no_top1_stands_aside_and_is_named(page: Page, mobile: RidgeSweep, data: dict[str, Any]) -> None:
    assert mobile.without_top1
    (aside,) = traces(page, "tradeoff", "aside")
    assert [mobile.models[item].name for item in aside.customdata] == list(mobile.without_top1)
    text = render_page(data, plotlyjs="cdn")
    assert f"{', '.join(mobile.without_top1)}, for which no top-1 at this input size was published" in text


def test_no_model_with_a_top1_is_said_too() -> None:
    text = render_page(sweep_layers([replace(one, top1=None) for one in random_models(2, 5)]).to_dict(), plotlyjs="cdn")
    assert "None of the models has a published top-1" in text
    assert "none can be placed" in text


def test_the_curves_are_those_of_the_engine(page: Page, mobile: RidgeSweep) -> None:
    points = np.array(traces(page, "latency", "curve")[0].x)
    times = np.array([model.curve.time(points) for model in mobile.models])
    for trace, row in zip(traces(page, "latency", "curve"), times / times.min(axis=0), strict=True):
        assert trace.y == pytest.approx(row, rel=1e-4)


def test_merged_layers_make_the_same_curve(page: Page, mobile: RidgeSweep) -> None:
    points = np.linspace(0, 600, 1000)
    for model, given in zip(mobile.models, page.data["models"], strict=True):
        parts = {name: Curve.from_layers(*np.array(part, dtype=np.int64)) for name, part in given["parts"].items()}
        for name, whole in model.by_operation().items():
            assert parts[name].time(points) == pytest.approx(whole.time(points), rel=1e-15)
            assert len(parts[name].intensities) == len(np.unique(whole.intensities))


def test_the_front_is_drawn_where_it_is(page: Page, mobile: RidgeSweep) -> None:
    (bars,) = traces(page, "front", "intervals")
    drawn = [
        (mobile.models[number].name, low, high)
        for number, low, high in zip(bars.customdata, bars.meta["low"], bars.meta["high"], strict=True)
    ]
    expected = [(name, *interval) for name, parts in mobile.pareto_intervals.items() for interval in parts]
    assert sorted(drawn) == sorted(expected)
    assert [left + width for left, width in zip(bars.base, bars.x, strict=True)] == list(bars.meta["high"])


def test_the_page_says_its_normalisation_and_why_it_does_not_matter() -> None:
    for normalisation, words in (("peak", "a peak of 1 MAC"), ("bandwidth", "a bandwidth of 1 byte")):
        result = sweep_layers(random_models(2, 5), normalisation=normalisation)
        text = render_page(result.to_dict(), plotlyjs="cdn")
        assert f"In these latencies {words} per unit of time is held" in text
        assert "does not matter for the ranking" in text


def test_the_footer_has_the_sources_conventions_and_what_was_left_out(data: dict[str, Any]) -> None:
    text = render_page(data, command="roofline sweep x", plotlyjs="cdn")
    assert "roofline sweep x" in text
    for mark in data["profiles"]:
        assert mark["id"] in text
        assert all(path in text for path in mark["figures"])
    assert "Epilogue fusion: batch norms" in text
    assert "a rate of vector ops or an overhead for each layer" in text


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_labels_of_many_profiles_do_not_overlap(scale: str) -> None:
    random = np.random.default_rng(1)
    marks = sorted(
        (
            MarkedProfile(id=f"some_device_{i}", name=f"Device {i}", dtype="int8", ridge_point=float(10**exponent))
            for i, exponent in enumerate(random.uniform(-1, 3.5, 60))
        ),
        key=lambda mark: mark.ridge_point,
    )
    page = page_of(sweep_layers(random_models(2, 20), scale=scale, profiles=marks).to_dict())
    figure = page.figures["latency"]
    inside = [mark for mark in marks if (0.5 if scale == "log" else 0) <= mark.ridge_point <= 500]
    assert len([line for line in figure.layout.shapes if line.name == "profile"]) == len(inside)
    labels = [label for label in figure.layout.annotations if label.name == "profile"]
    assert 10 < len(labels) < 60
    assert len({label.ay for label in labels}) <= MARK_ROWS
    low, high = figure.layout.xaxis.range
    boxes = []
    for label in labels:
        at, width = (label.x - low) / (high - low) * DRAWN_PX, 6 * len(label.text)
        boxes.append((label.ay, at if label.xanchor == "left" else at - width, width))
    for i, (row, left, width) in enumerate(boxes):
        assert left > -1
        assert left + width <= DRAWN_PX
        assert all(
            row != other or left + width <= start or start + wide <= left for other, start, wide in boxes[i + 1 :]
        )


def test_one_profile_sets_the_ridge_point_that_is_chosen_at_first() -> None:
    mark = MarkedProfile.of(load_all()[0], "int8")
    page = page_of(sweep_layers(random_models(2, 5), profiles=[mark]).to_dict())
    assert page.data["start"] == mark.ridge_point


def test_a_log_axis_never_starts_at_0_and_a_single_model_is_drawn() -> None:
    page = page_of(sweep_layers(random_models(1, 8), scale="log", ridge=(0.01, 10)).to_dict())
    assert page.figures["latency"].layout.xaxis.range == (-2, 1)
    assert page.context["headline"] == "network_0"


def test_networks_without_work_have_a_page() -> None:
    empty = random_models(2, 0)
    page = page_of(sweep_layers([*empty, replace(random_models(1, 5)[0], name="works")]).to_dict())
    assert all(np.isfinite(trace.y).all() for trace in traces(page, "latency", "curve"))
    assert render_page(sweep_layers(empty).to_dict(), plotlyjs="cdn")


def test_30_networks_of_300_layers_stay_below_a_megabyte() -> None:
    marks = [MarkedProfile.of(load_all()[0], "int8")] * 60
    result = sweep_layers(random_models(30, 300), profiles=marks)
    assert len(render_page(result.to_dict(), plotlyjs="cdn")) < 1_000_000


def test_names_are_text_everywhere() -> None:
    named = [replace(one, name=f"{EVIL}{i}") for i, one in enumerate(random_models(3, 9))]
    mark = MarkedProfile(id=EVIL, name=EVIL, dtype=EVIL, ridge_point=40.0, kind=EVIL)
    result = sweep_layers([named[0], replace(named[1], top1=None), named[2]], profiles=[mark])
    text = render_page(result.to_dict(), command=EVIL, plotlyjs="cdn")
    assert EVIL not in text
    assert len(re.findall(r"<script\b", text)) == 5
    for figure in draw(result.to_dict()).values():
        assert "<script>" not in figure.to_json().replace("\\u003c", "<")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("models", 0, "layers", "macs"), [1]),
        (("models", 0, "layers"), None),
        (("models", 0, "name"), None),
        (("normalisation",), "both"),
        (("crossings",), [{"a": 1}]),
        (("profiles",), [{}]),
        (("profiles",), 3),
    ],
)
def test_a_broken_file_is_one_line(data: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    broken = json.loads(json.dumps(data))
    at = broken
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(RooflineError) as error:
        render_page(broken, plotlyjs="cdn")
    assert "\n" not in str(error.value)


def test_a_file_from_before_the_optional_keys_is_drawn(data: dict[str, Any]) -> None:
    old = {key: value for key, value in data.items() if key not in ("verdict", "profiles", "conventions", "left_out")}
    text = render_page(old, plotlyjs="cdn")
    assert "The fastest from 0 to 500 MACs/byte" in text
    assert "Epilogue fusion: batch norms" in text
