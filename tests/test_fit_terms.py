"""The times of a form are the engine's, and its slopes are those of the times; rows are what their models are."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.errors import LatencyError
from roofline.fit_terms import FORMS, TERMS, Design, Form, load_rows
from roofline.hardware import LAYER_CLASSES, Hardware
from roofline.latencies import Latency
from roofline.layers import KINDS
from tests.fit_rows import EVERY_TERM, VALUES, device, network, on, timed, vector

laws = settings(deadline=None, max_examples=40)
TABLES = [*(network(seed) for seed in range(4)), *(network(seed, dtype="fp16") for seed in (4, 5, 6))]
ROWS = timed(TABLES, np.ones(len(TABLES)))
WITHOUT_OVERLAP = (*EVERY_TERM, "slow", "layer_overhead")


@st.composite
def forms(draw: st.DrawFn) -> Form:
    """Any terms that go together."""
    chosen = draw(st.sets(st.sampled_from(WITHOUT_OVERLAP)))
    if "slow" in chosen:
        chosen -= {"grouped", "depthwise_k7"}
    if "layer_overhead" in chosen:
        chosen.discard("mac_layer_overhead")
    return tuple(term for term in TERMS if term in chosen)


@st.composite
def devices(draw: st.DrawFn) -> tuple[Form, dict[str, float]]:
    """A form with values up to 30 times more or less than usual."""
    form = draw(forms())
    factors = draw(st.lists(st.floats(-1.5, 1.5), min_size=len(VALUES), max_size=len(VALUES)))
    return form, {name: value * 10**by for (name, value), by in zip(VALUES.items(), factors, strict=True)}


# --- against the engine -----------------------------------------------------------------------------------------------


@laws
@given(devices())
def test_times_are_what_the_engine_predicts(given: tuple[Form, dict[str, float]]) -> None:
    form, values = given
    design = Design(ROWS, form)
    assert design.times(vector(design, values))[0] == pytest.approx(on(device(form, values), TABLES), rel=1e-12)


@pytest.mark.parametrize("form", [(term,) for term in TERMS] + [EVERY_TERM, ("add", *EVERY_TERM)], ids=" ".join)
def test_each_term_changes_what_the_engine_predicts(form: Form) -> None:
    """So the tests above and below are about it, in both ways of combining times."""
    form = tuple(dict.fromkeys(form))
    for combine in ((), ("add",)):
        whole = tuple(dict.fromkeys((*combine, *form)))
        design = Design(ROWS, whole)
        assert design.times(vector(design, VALUES))[0] == pytest.approx(on(device(whole, VALUES), TABLES), rel=1e-12)
        if whole != combine:
            assert not np.allclose(on(device(whole, VALUES), TABLES), on(device(combine, VALUES), TABLES), rtol=1e-6)


def test_one_number_or_many_at_once_are_the_same() -> None:
    design = Design(ROWS, ("add", "inference_overhead", "depthwise", "weight_bandwidth", "softmax"))
    random = np.random.default_rng(0)
    points = vector(design, VALUES) * random.uniform(0.99, 1.01, (2, 3, len(design.names)))
    times, slopes = design.times(points)
    assert times.shape == (2, 3, len(TABLES))
    assert slopes.shape == (2, 3, len(design.names), len(TABLES))
    for place in itertools.product(range(2), range(3)):
        alone = design.times(points[place])
        assert (times[place] == alone[0]).all()
        assert (slopes[place] == alone[1]).all()


# --- slopes -----------------------------------------------------------------------------------------------------------


@laws
@given(devices())
def test_slopes_are_those_of_the_times(given: tuple[Form, dict[str, float]]) -> None:
    """By central differences; beside a kink, where a layer changes what bounds it, the slope is between both sides'."""
    form, values = given
    design = Design(ROWS, form)
    z = vector(design, values)
    total_s, slope = design.times(z)
    for place in range(len(z)):
        step = 1e-5 * np.where(design.is_overhead, values["inference_overhead"], 1.0) * (np.arange(len(z)) == place)
        below, above = design.times(z - step)[0], design.times(z + step)[0]
        one_sided = np.sort([(total_s - below) / step.sum(), (above - total_s) / step.sum()], axis=0)
        slack = 1e-4 * np.abs(slope[place]) + 1e-7 * total_s / step.sum() * 1e-2
        assert (slope[place] >= one_sided[0] - slack).all()
        assert (slope[place] <= one_sided[1] + slack).all()


def test_a_layer_has_the_slope_of_what_bounds_it() -> None:
    """By hand: halving the peak adds as much time as the compute-bound layers take, to first order of the logarithm."""
    rows = timed([network(0, only=["conv"])], [1.0])
    design = Design(rows, ())
    z = np.log([VALUES["peak.int8"] / 1e3, VALUES["bandwidth"]])  # all compute-bound
    total_s, slope = design.times(z)
    assert slope[:, 0].tolist() == pytest.approx([-total_s[0], 0.0])
    z = np.log([VALUES["peak.int8"] * 1e3, VALUES["bandwidth"]])  # all memory-bound
    total_s, slope = design.times(z)
    assert slope[:, 0].tolist() == pytest.approx([0.0, -total_s[0]])


# --- terms and forms --------------------------------------------------------------------------------------------------


def test_each_term_is_one_of_the_engine() -> None:
    for term in TERMS.values():
        assert term.field in Hardware.__dataclass_fields__
        assert set(term.classes) <= set(LAYER_CLASSES)


def test_forms_are_tried_once_each_and_the_plain_roofline_is_one() -> None:
    assert () in FORMS
    assert len(set(FORMS)) == len(FORMS)
    for form in FORMS:
        assert set(form) <= set(TERMS)
        classes = [name for term in form for name in TERMS[term].classes]
        assert len(set(classes)) == len(classes), "no layer has two rates"


def test_layers_that_cost_the_same_are_evaluated_once() -> None:
    twice = network(0)
    both = twice.take(np.repeat(np.arange(len(twice)), 2))
    one, two = (Design(timed([table], [1.0]), ("layer_overhead",)) for table in (twice, both))
    z = vector(one, VALUES)
    assert two.times(z)[0] == pytest.approx(2 * one.times(z)[0], rel=1e-12)
    assert len(two._macs) == len(one._macs)


# --- where a fit begins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [(), EVERY_TERM])
def test_starting_points_scale_with_the_latencies(form: Form) -> None:
    """A device a million times as slow is begun at a millionth of the rates."""
    design = Design(timed(TABLES, on(device(form, VALUES), TABLES)), form)
    log_s, every = np.log(design.rows.latency_s), np.arange(len(TABLES))
    usual, slow = (design.starting_points(log_s + shift, every, 8) for shift in (0, np.log(1e6)))
    by = np.where(design.is_share, 1.0, np.where(design.is_overhead, 1e6, 1e-6))
    assert design.values(slow) == pytest.approx(by * design.values(usual), rel=1e-9)


def test_starting_points_do_not_see_rows_that_do_not_count() -> None:
    design = Design(timed(TABLES, on(device(EVERY_TERM, VALUES), TABLES)), EVERY_TERM)
    log_s, keep = np.log(design.rows.latency_s), np.array([0, 2, 3, 4, 6])
    other = log_s.copy()
    other[[1, 5]] = 100.0
    assert (design.starting_points(log_s, keep, 8) == design.starting_points(other, keep, 8)).all()


# --- rows of a table --------------------------------------------------------------------------------------------------

NETS = """
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU())

def gelu():
    return nn.GELU()

def nothing():
    return nn.Identity()

def broken():
    raise RuntimeError("no such thing")
"""


def row(model: str, line: int = 2, **given: object) -> Latency:
    fields = {"line": line, "model": model, "latency_s": 1e-3, "input_size": (3, 16, 16), **given}
    return Latency(**fields)  # type: ignore[arg-type]


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)


@pytest.mark.usefixtures("nets")
def test_rows_have_the_batch_the_size_and_the_dtype_that_they_say() -> None:
    rows = load_rows(
        [
            row("nets.py:small"),
            row("nets.py:small", batch=2),
            row("nets.py:small", input_size=(3, 34, 16)),
            row("nets.py:small", dtype="fp16"),
        ]
    )
    macs = 14 * 14 * 8 * 27
    assert rows.macs.tolist() == [macs, 2 * macs, 32 * 14 * 8 * 27, macs]
    assert [table.dtype for table in rows.tables] == ["int8", "int8", "int8", "fp16"]
    assert rows.dtypes == ("int8", "fp16"), "the most frequent first"
    assert rows.names == ("nets.py:small",) * 4
    assert rows.tables[3].mem_bytes.sum() == 2 * rows.tables[0].mem_bytes.sum()


@pytest.mark.usefixtures("nets")
def test_convolutions_alone_are_left_if_asked_for() -> None:
    every, conv = (load_rows([row("nets.py:small")], ops=ops) for ops in ("all", "conv_only"))
    assert every.tables[0].kind.tolist() == ["conv", "activation"]
    assert conv.tables[0].kind.tolist() == ["conv"]
    assert set(conv.tables[0].kind) < set(KINDS)


@pytest.mark.usefixtures("nets")
def test_fused_activations_are_in_the_layer_before_them() -> None:
    (table,) = load_rows([row("nets.py:small")], fused_activations=["gelu"]).tables
    assert table.ops.tolist() == ["convolution+gelu"]


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("nets.py:small"), row("mobilenetv5", 7)], "t.csv:7: model: unknown model 'mobilenetv5'"),
        ([row("nets.py:broken", 3)], "t.csv:3: model: nets.py:broken"),
        (
            [row("mobilenetv2_100", input_size=None), row("mobilenet_v2", 4, input_size=(3, 224, 224), dtype="int8")],
            "t.csv:4: model: mobilenet_v2 is mobilenetv2_100, as is mobilenetv2_100 on line 2, of the same input and "
            "dtype: keep one of them",
        ),
        ([row("nets.py:nothing", 5)], "t.csv:5: model: nets.py:nothing has no layer that would take time"),
    ],
)
def test_a_row_that_is_no_model_or_another_row_is_named(rows: list[Latency], message: str) -> None:
    with pytest.raises(LatencyError) as caught:
        load_rows(rows, where="t.csv")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("nets")
def test_a_network_without_convolutions_has_nothing_in_their_reading() -> None:
    with pytest.raises(LatencyError, match=r"^t\.csv:2: model: nets\.py:gelu has no layer that would take time$"):
        load_rows([row("nets.py:gelu")], ops="conv_only", where="t.csv")
