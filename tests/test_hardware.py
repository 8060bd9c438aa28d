from __future__ import annotations

import copy
import math
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.errors import ProfileError
from roofline.hardware import NO_TERMS, Figure, FigureKind, Hardware

POSITIVE = st.floats(min_value=1e-3, max_value=1e18)


def device(**changes: Any) -> Hardware:
    """A device of 4e12 int8 MACs/s, 2e12 fp16 MACs/s and 20 GB/s: ridge points of 200 and 100 MACs/byte."""
    given: dict[str, Any] = {
        "id": "my_device",
        "name": "My Device",
        "device_class": "npu",
        "peak_macs_per_s": {"fp16": 2e12, "int8": 4e12},
        "bandwidth_bytes_per_s": 20e9,
        "default_dtype": "int8",
        "default_fusion": "epilogue",
        "fused_activations": frozenset({"relu", "relu6"}),
    }
    return Hardware(**(given | changes))


def test_the_ridge_point_is_peak_over_bandwidth_in_macs_per_byte() -> None:
    assert device().ridge_point("int8") == 200
    assert device().ridge_point("fp16") == 100


@given(peak=POSITIVE, bandwidth=POSITIVE)
def test_at_the_ridge_point_both_ceilings_take_the_same_time(peak: float, bandwidth: float) -> None:
    hardware = device(peak_macs_per_s={"int8": peak}, bandwidth_bytes_per_s=bandwidth)
    mac_time_s, mem_time_s = hardware.ridge_point("int8") / peak, 1 / bandwidth  # of one byte at that intensity
    assert mac_time_s == pytest.approx(mem_time_s)


def test_a_dtype_without_a_peak_is_an_error_that_lists_those_with_one() -> None:
    with pytest.raises(ProfileError) as caught:
        device().peak("bf16")
    assert str(caught.value) == (
        "my_device has no peak for dtype 'bf16' (it lists: fp16, int8). "
        "Take one of those, or add 'peak_gmacs_per_s.bf16' to its profile."
    )
    with pytest.raises(ProfileError, match="bf16"):
        device().ridge_point("bf16")


def test_the_default_dtype_has_a_peak() -> None:
    with pytest.raises(ProfileError, match=r"^my_device has no peak for dtype 'fp32' \(it lists: fp16, int8\)"):
        device(default_dtype="fp32")
    with pytest.raises(ProfileError, match="it lists: none"):
        device(peak_macs_per_s={})


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
@pytest.mark.parametrize(
    "field",
    [
        "bandwidth_bytes_per_s",
        "vector_ops_per_s",
        "weight_bandwidth_bytes_per_s",
        "onchip_bytes",
        "energy_per_mac_j",
        "energy_per_byte_j",
    ],
)
def test_numbers_are_positive_and_finite(field: str, value: float) -> None:
    with pytest.raises(ProfileError, match=rf"^my_device: {field} must be positive and finite \(got {value}\)$"):
        device(**{field: value})


def test_peaks_are_positive_and_finite() -> None:
    with pytest.raises(ProfileError, match=r"^my_device: peak_macs_per_s\.fp16 must be positive and finite \(got 0\)$"):
        device(peak_macs_per_s={"int8": 1, "fp16": 0})


@pytest.mark.parametrize("value", [0, -0.5, math.inf, math.nan])
@pytest.mark.parametrize("field", ["peak_share_by_class", "bandwidth_bytes_per_s_by_class"])
def test_figures_of_a_class_are_positive_and_finite(field: str, value: float) -> None:
    with pytest.raises(ProfileError, match=rf"^my_device: {field}\.conv must be positive and finite \(got {value}\)$"):
        device(**{field: {"linear": 1.0, "conv": value}})


@pytest.mark.parametrize("field", ["peak_share_by_class", "bandwidth_bytes_per_s_by_class"])
def test_a_class_is_one_that_layers_have(field: str) -> None:
    with pytest.raises(ProfileError, match=rf"^my_device: {field} names 'convolution', which is no class of layers$"):
        device(**{field: {"convolution": 1.0}})


@pytest.mark.parametrize("field", ["layer_overhead_s", "inference_overhead_s"])
@pytest.mark.parametrize("value", [-1e-6, math.inf, math.nan])
def test_an_overhead_may_be_zero_but_not_negative(field: str, value: float) -> None:
    assert getattr(device(**{field: 0.0}), field) == 0
    with pytest.raises(ProfileError, match=rf"^my_device: {field} must be finite, 0 or more \(got {value}\)$"):
        device(**{field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"combine": "sum"}, "combine must be max or add (got 'sum')"),
        ({"overhead_layers": "conv"}, "overhead_layers must be all or macs (got 'conv')"),
        (
            {"onchip_holds": frozenset({"weights"})},
            "onchip_holds needs onchip_bytes, the size of the memory that holds it",
        ),
        (
            {"onchip_holds": frozenset({"weight"}), "onchip_bytes": 8},
            "onchip_holds must be of weights, activations (got 'weight')",
        ),
    ],
)
def test_a_choice_that_is_none_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        device(**changes)
    assert str(caught.value) == f"my_device: {message}"


ONE_TERM: list[dict[str, Any]] = [
    {"combine": "add"},
    {"peak_share_by_class": {"conv": 0.5}},
    {"vector_ops_per_s": 1e9},
    {"weight_bandwidth_bytes_per_s": 1e9},
    {"bandwidth_bytes_per_s_by_class": {"copy": 1e9}},
    {"layer_overhead_s": 1e-6},
    {"layer_overhead_s": 1e-6, "overhead_layers": "macs"},
    {"inference_overhead_s": 1e-6},
    {"onchip_holds": frozenset({"weights"}), "onchip_bytes": 8},
]


def test_a_device_is_plain_as_long_as_it_adds_nothing_to_eq_1() -> None:
    assert device().is_plain
    assert device().terms() == NO_TERMS
    assert device(overhead_layers="macs").is_plain, "which layers have an overhead of 0"
    assert device(onchip_bytes=8, energy_per_mac_j=1e-12, energy_per_byte_j=1e-12, notes="slow").is_plain
    for changes in ONE_TERM:
        assert not device(**changes).is_plain, changes
    assert {name for changes in ONE_TERM for name in changes} == set(NO_TERMS)


@pytest.mark.parametrize("changes", ONE_TERM, ids=lambda changes: " ".join(changes))
def test_terms_are_told_as_plain_data(changes: dict[str, Any]) -> None:
    plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in changes.items()}
    assert device(**changes).terms() == {**NO_TERMS, **plain}
    assert device(**changes).to_dict().items() >= plain.items()


def test_transposes_are_layers_where_the_profile_says_how_fast_they_are() -> None:
    assert not device(bandwidth_bytes_per_s_by_class={"copy": 1e9}).copies_transposes
    assert device(bandwidth_bytes_per_s_by_class={"transpose": 1e9}).copies_transposes


@pytest.mark.parametrize(
    ("peak", "bandwidth", "word"),
    [
        ("datasheet", "datasheet", "bound"),
        ("derived", "estimate", "bound"),
        ("fitted", "datasheet", "prediction"),
        ("datasheet", "measured", "prediction"),
        ("fitted", "fitted", "prediction"),
    ],
)
def test_a_time_from_fitted_or_measured_ceilings_is_a_prediction_and_else_a_bound(
    peak: FigureKind, bandwidth: FigureKind, word: str
) -> None:
    figures = {
        "peak_macs_per_s.int8": Figure(value=4e12, kind=peak, source="a test"),
        "bandwidth_bytes_per_s": Figure(value=20e9, kind=bandwidth, source="a test"),
    }
    assert device(figures=figures).latency_kind("int8") == word


def test_only_the_peak_of_the_dtype_in_question_decides() -> None:
    hardware = device(figures={"peak_macs_per_s.fp16": Figure(value=2e12, kind="fitted", source="a test")})
    assert hardware.latency_kind("fp16") == "prediction"
    assert hardware.latency_kind("int8") == "bound"


@pytest.mark.parametrize(
    "path",
    [
        "peak_share_by_class.conv",
        "vector_ops_per_s",
        "weight_bandwidth_bytes_per_s",
        "bandwidth_bytes_per_s_by_class.transpose",
        "layer_overhead_s",
        "inference_overhead_s",
    ],
)
def test_one_fitted_term_makes_a_prediction(path: str) -> None:
    hardware = device(figures={path: Figure(value=1.0, kind="fitted", source="a test")})
    assert hardware.latency_kind("int8") == "prediction"
    assert list(hardware.figures_of_time("int8")) == [path]


@pytest.mark.parametrize("path", ["energy_per_mac_j", "energy_per_byte_j"])
def test_an_energy_makes_no_difference_to_a_time(path: str) -> None:
    hardware = device(figures={path: Figure(value=1.0, kind="measured", source="a test")})
    assert hardware.latency_kind("int8") == "bound"


def test_the_size_of_on_chip_memory_makes_a_difference_where_it_holds_something() -> None:
    figures = {"onchip_bytes": Figure(value=8.0, kind="measured", source="a test")}
    assert device(onchip_bytes=8, figures=figures).latency_kind("int8") == "bound"
    holding = device(onchip_bytes=8, onchip_holds=frozenset({"weights"}), figures=figures)
    assert holding.latency_kind("int8") == "prediction"


def test_a_device_built_by_hand_without_sources_gives_bounds() -> None:
    assert device().latency_kind("int8") == "bound"


def test_a_device_is_a_value() -> None:
    hardware = device()
    assert hardware == device() == copy.deepcopy(hardware) == pickle.loads(pickle.dumps(hardware))
    assert len({hardware, device(), device(id="another")}) == 2
    assert replace(hardware, bandwidth_bytes_per_s=40e9).ridge_point("int8") == 100
    with pytest.raises(FrozenInstanceError):
        hardware.id = "another"  # type: ignore[misc]
