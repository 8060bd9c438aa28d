"""A fit as a profile: it can be read, predicts what the fit does, and says what is not known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.engine import predict
from roofline.errors import ProfileError
from roofline.fit import Fit, FittedRow, infer
from roofline.fit_profile import LEAST_OVERHEAD_S, slug, to_hardware, to_yaml
from roofline.fit_regression import Parameter, RidgePoint
from roofline.fit_terms import FORMS, Form
from roofline.layers import LayerTable
from roofline.profiles import load_profile, parse_profile
from tests.fit_rows import VALUES, known, network

TABLES = [network(seed) for seed in range(10)]
PAIR = [*TABLES[:6], *(network(seed, dtype="fp16") for seed in range(6, 10))]


def made(*parameters: Parameter, terms: Form = (), ridge: RidgePoint | None = None) -> Fit:
    """A fit of these parameters beside a peak and a bandwidth."""
    rates = (
        Parameter(name="peak.int8", value=2e12, unit="MACs/s", low=1.5e12, high=None),
        Parameter(name="bandwidth", value=2e10, unit="bytes/s", low=1.5e10, high=3e10),
    )
    return Fit(
        device="Some NPU",
        source="some.csv",
        ops="all",
        fusion="epilogue",
        fused_activations=("relu", "relu6"),
        terms=terms,
        chosen=True,
        parameters=(*rates, *parameters),
        ridge_points=(ridge or RidgePoint(dtype="int8", value=100.0, low=90.0, high=None, curve=((100.0, 0.1),)),),
        rows=_rows(),
        unseen_classes=(),
        remarks=("9 rows are few.",),
    )


@cache
def _rows() -> tuple[FittedRow, ...]:
    return infer(known((), TABLES[:5]), device="d", terms=()).rows


# --- what the profile predicts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "tables"),
    [
        ((), PAIR),
        (("add", "inference_overhead", "mac_layer_overhead", "grouped", "depthwise_k7"), TABLES),
        (("layer_overhead", "slow", "depthwise"), TABLES),
        (("weight_bandwidth", "vector", "softmax", "transpose"), TABLES),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else None,
)
def test_it_predicts_what_the_fit_does(form: Form, tables: Sequence[LayerTable]) -> None:
    """Through the file and the engine, every term, rounded to its digits."""
    rows = known(form, tables, noise=0.02)
    result = infer(rows, device="Made of everything", terms=form)
    hardware = to_hardware(result, device_class="dsp")
    assert (hardware.id, hardware.device_class, hardware.default_fusion) == ("made_of_everything", "dsp", "epilogue")
    assert hardware.combine == ("add" if "add" in form else "max")
    for row, table in zip(result.rows, rows.tables, strict=True):
        assert float(predict(table, hardware).latency_s) == pytest.approx(row.predicted_s, rel=1e-4), row.name


def test_it_is_read_like_any_other_profile(tmp_path: Path) -> None:
    path = tmp_path / "some_npu.yaml"
    path.write_text(to_yaml(made()), encoding="utf-8")
    hardware = load_profile(path)
    assert hardware == to_hardware(made())
    assert (hardware.default_dtype, hardware.fused_activations) == ("int8", frozenset({"relu", "relu6"}))
    assert hardware.ridge_point("int8") == pytest.approx(100)


def test_every_figure_is_called_fitted_and_a_time_a_prediction() -> None:
    term = Parameter(name="inference_overhead", value=2e-4, unit="s", low=1e-4, high=3e-4)
    hardware = to_hardware(made(term, terms=("inference_overhead",)))
    assert {figure.kind for figure in hardware.figures.values()} == {"fitted"}
    assert hardware.latency_kind("int8") == "prediction"


# --- what the profile says --------------------------------------------------------------------------------------------


def test_the_sources_state_intervals_ridge_point_errors_and_terms() -> None:
    share = Parameter(name="depthwise", value=0.02, unit="", low=None, high=0.06)
    fit = made(share, terms=("add", "depthwise"))
    figures = to_hardware(fit).figures
    assert figures["peak_macs_per_s.int8"].source == (
        f"Robust least squares on ln(predicted / published) over 5 latencies of some.csv, all figures of this profile "
        f"together (terms beside peak and bandwidth: add, depthwise). Leave-one-out, terms chosen anew in each fold: "
        f"mean error {100 * fit.loo_mape:.1f} %, median {100 * fit.loo_median:.1f} %, rank correlation 1.000. "
        f"Ridge point >= 90 MACs/byte: the rows set no upper limit. 95 % interval: >= 1500 GMAC/s (2000 taken)."
    )
    assert figures["bandwidth_bytes_per_s"].source == "The same fit. 95 % interval: 20 GB/s (15 to 30)."
    assert figures["peak_share_by_class.depthwise_conv"].source == (
        "The same fit. 95 % interval: <= 0.06 of the peak (0.02 taken)."
    )


def test_no_figure_is_presented_as_one_of_the_hardware() -> None:
    text = to_yaml(made())
    assert text.startswith("# Some NPU: effective rates, fitted to latencies; no hardware peaks.\n")
    notes = to_hardware(made()).notes
    assert notes.startswith(
        "Effective rates of the device with its runtime, at which predictions come nearest to latencies; no hardware "
        "peaks. 9 rows are few. Error of each row, % (the fit has seen them): "
    )
    assert re.findall(r"(net\d) [+-]\d+\.\d", notes) == ["net0", "net1", "net2", "net3", "net4"]


def test_a_remark_comes_first_and_an_id_may_be_given() -> None:
    hardware = to_hardware(made())
    named = parse_profile(to_yaml(made(), id="other", remark="Of 2024.").encode(), "x.yaml")
    assert (named.id, named.notes) == ("other", f"Of 2024. {hardware.notes}")


@pytest.mark.parametrize("value", [0.0, LEAST_OVERHEAD_S / 2])
def test_an_overhead_of_nothing_is_left_out(value: float) -> None:
    term = Parameter(name="mac_layer_overhead", value=value, unit="s", low=0.0, high=1e-6)
    text = to_yaml(made(term, terms=("mac_layer_overhead",)))
    assert "overhead_us" not in text
    assert "overhead_layers" not in text


def test_a_class_that_no_row_has_gets_no_rate() -> None:
    tables = [network(seed, only=["conv", "linear", "depthwise_conv"]) for seed in range(9)]
    result = infer(known(("slow",), tables), device="d", terms=["slow"])
    assert set(to_hardware(result).peak_share_by_class) == {"depthwise_conv_k7"}


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_every_form_that_is_tried_can_be_a_profile(form: Form) -> None:
    units = {"inference_overhead": "s", "mac_layer_overhead": "s"}
    parameters = [
        Parameter(name=term, value=VALUES[term], unit=units.get(term, ""), low=VALUES[term] / 2, high=None)
        for term in form
        if term != "add"
    ]
    hardware = to_hardware(made(*parameters, terms=form))
    told = {"slow": ["grouped_conv", "depthwise_conv_k7"], "depthwise": ["depthwise_conv"], "grouped": ["grouped_conv"]}
    told["depthwise_k7"] = ["depthwise_conv_k7"]
    assert hardware.peak_share_by_class == {name: VALUES[term] for term in form for name in told.get(term, ())}
    assert hardware.inference_overhead_s == (VALUES["inference_overhead"] if "inference_overhead" in form else 0.0)
    assert hardware.layer_overhead_s == (VALUES["mac_layer_overhead"] if "mac_layer_overhead" in form else 0.0)
    assert hardware.overhead_layers == ("macs" if "mac_layer_overhead" in form else "all")


# --- names and hostile text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("My DSP", "my_dsp"),
        ("New Chip 3 (NPU)", "new_chip_3_npu"),
        ("../../etc/passwd", "etc_passwd"),
        ("  A--B  ", "a_b"),
        ("Ünïcode 9", "n_code_9"),
    ],
)
def test_the_id_is_made_of_the_words_of_a_name(device: str, name: str) -> None:
    assert slug(device) == name


@pytest.mark.parametrize("device", ["", "!!", "日本", "\n"])
def test_a_name_without_any_is_refused(device: str) -> None:
    with pytest.raises(ProfileError, match=r"^a device needs a name with letters or digits \(got "):
        slug(device)


HOSTILE = (
    "x\nclass: cpu",
    "x: &a [1, 2]",
    "*x",
    "!!python/object:os.system x",
    "# x",
    "x #y",
    "'x",
    '"x',
    "- x",
    "{x}",
    "| x",
    "> x",
    "%x",
    "x\x00\x1b[31m\x85\u2028\ufeff",
    "null 1",
    "1e3",
    "2024-01-01",
    "yes no on",
    "\ud800x",
    "x" * 500,
    "x" * 90 + ": " + "y " * 90 + "#",
    "🙂 x",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_nothing_but_text(text: str) -> None:
    fit = made()
    rows = tuple(replace(row, name=text, model=text, note=text) for row in fit.rows)
    evil = replace(fit, device=text if re.search("[a-z0-9]", text) else "d", source=text, rows=rows, remarks=(text,))
    hardware = to_hardware(evil)
    assert hardware.device_class == "npu"
    assert hardware.peak_macs_per_s == {"int8": 2e12}
    said = " ".join(text.split())
    if said.isprintable():
        assert hardware.name == said
        assert said in hardware.notes
        assert said in hardware.figures["peak_macs_per_s.int8"].source
    document = yaml.safe_load(to_yaml(evil))
    assert list(document) == [
        "schema", "id", "name", "class", "peak_gmacs_per_s", "bandwidth_gb_per_s", "default_dtype", "default_fusion",
        "fused_activations", "notes",
    ]  # fmt: skip


@given(st.text(min_size=1))
@settings(deadline=None, max_examples=60)
def test_any_text_is_nothing_but_text(text: str) -> None:
    fit = made()
    rows = tuple(replace(row, name=text) for row in fit.rows)
    hardware = to_hardware(replace(fit, device=f"a {text}", source=text, rows=rows, remarks=(text,)))
    assert (hardware.device_class, hardware.peak("int8")) == ("npu", 2e12)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_fit_of_convolutions_alone_is_no_profile() -> None:
    with pytest.raises(ProfileError, match=r"^a fit of convolutions alone is no profile, which predicts all layers"):
        to_yaml(replace(made(), ops="conv_only"))


def test_a_rate_beyond_any_machine_is_no_profile() -> None:
    fit = made()
    slow = replace(fit, parameters=(replace(fit.parameters[0], value=1e-3), fit.parameters[1]))
    with pytest.raises(
        ProfileError, match=r"^some_npu\.yaml:\d+: peak_gmacs_per_s\.int8\.value: must be at least 1e-9"
    ):
        to_yaml(slow)
