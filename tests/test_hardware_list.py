"""Devices side by side: which ones are meant, in which order, and what is said of them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from roofline import RooflineError
from roofline.errors import ProfileError
from roofline.hardware import Figure, Hardware
from roofline.hardware_list import COLUMNS, SCHEMA, HardwareList, basis, find, is_pattern
from roofline.hardware_words import defaults, figures, formula, kind, name, value
from roofline.profile_template import template
from roofline.profiles import bundled, load_all, load_profile


def toy(**fields: Any) -> Hardware:
    given: dict[str, Any] = {
        "id": "toy",
        "name": "Toy",
        "device_class": "npu",
        "peak_macs_per_s": {"int8": 4e12, "fp16": 1e12},
        "bandwidth_bytes_per_s": 1e10,
        "default_dtype": "int8",
        "default_fusion": "epilogue",
        "fused_activations": frozenset({"relu"}),
    }
    return Hardware(**{**given, **fields})


def ids(listed: HardwareList) -> list[str]:
    return [device.id for device in listed.devices]


# Which


def test_all_bundled_ones_if_none_is_named() -> None:
    assert find() == load_all()


def test_names_patterns_and_files_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(template("mine"))
    found = find(["NVIDIA_H1*", "nvidia-h100", "mine.yaml", Path("mine.yaml"), "pixel6_tpu"])
    assert [device.id for device in found] == ["nvidia_h100", "nvidia_h100_pcie", "mine", "pixel6_tpu"]


def test_a_file_with_wildcards_in_its_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine[1].yaml").write_text(template("mine"))
    assert not is_pattern("mine[1].yaml")
    assert find(["mine[1].yaml"])[0].id == "mine"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("pixel[46]_tpu", ["pixel6_tpu"]),
        ("Pixel?-TPU", ["pixel6_tpu", "pixel8_tpu"]),
        ("pixel[6-8]_tpu.yaml", ["pixel6_tpu", "pixel8_tpu"]),
    ],
)
def test_a_pattern_is_as_free_as_a_name(pattern: str, expected: list[str]) -> None:
    assert [device.id for device in find([pattern])] == expected


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("nvdia_a100*", "no bundled profile matches 'nvdia_a100*'. Did you mean 'nvidia_a100'"),
        ("*" * 5000, ""),
        ("zzz*", "no bundled profile matches 'zzz*'. 'roofline hw' lists all."),
        ("pixel6_npu", "unknown hardware 'pixel6_npu'. Did you mean "),
        ("sub/none*.yaml", "sub/none*.yaml: no such file"),
    ],
    ids=["near", "long", "far", "name", "path"],
)
def test_what_names_nothing_is_one_line(reference: str, told: str) -> None:
    if not told:
        assert find([reference]) == load_all()
        return
    with pytest.raises(ProfileError) as error:
        find([reference])
    assert str(error.value).startswith(told)


def test_classes_and_a_dtype_choose_among_them() -> None:
    chosen = HardwareList.of(classes=["dsp", "edgetpu"])
    assert {device.device_class for device in chosen.devices} == {"dsp", "edgetpu"}
    narrow = HardwareList.of(dtype="bf16", classes=["cpu"])
    assert narrow.devices
    assert all("bf16" in device.peak_macs_per_s for device in narrow.devices)


def test_when_nothing_is_left_it_is_said_what_was_asked_for() -> None:
    with pytest.raises(ProfileError, match=r"^no device of class cpu or gpu and dtype bf16 among pixel6_tpu$"):
        HardwareList.of(["pixel6_tpu"], classes=["cpu", "gpu"], dtype="bf16")
    with pytest.raises(
        ProfileError,
        match=r"fp32 among pixel6_tpu, pixel8_tpu, pixel4_dsp, \.\.\. \(they list: int8\)$",
    ):
        HardwareList.of(["pixel6_tpu", "pixel8_tpu", "pixel4_dsp", "pixel6_cpu"], dtype="fp32")
    with pytest.raises(ProfileError, match=r" among nvidia_v100, pixel6_tpu \(they list: fp32, fp16, int8\)$"):
        HardwareList.of(["nvidia_v100", "pixel6_tpu"], dtype="bf16")


# In which order


@pytest.mark.parametrize("dtype", [None, "int8", "fp16"])
def test_by_name_or_from_large_to_small(dtype: str | None) -> None:
    def at(device: Hardware) -> str:
        return dtype or device.default_dtype

    assert ids(HardwareList.of(dtype=dtype)) == [n for n in bundled() if at(d := load_profile(n)) in d.peak_macs_per_s]
    ridges = [d.ridge_point(at(d)) for d in HardwareList.of(dtype=dtype, sort="ridge").devices]
    peaks = [d.peak(at(d)) for d in HardwareList.of(dtype=dtype, sort="peak").devices]
    bandwidths = [d.bandwidth_bytes_per_s for d in HardwareList.of(dtype=dtype, sort="bandwidth").devices]
    for numbers in (ridges, peaks, bandwidths):
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) > 20


def test_equals_are_in_the_order_of_their_names() -> None:
    listed = HardwareList(devices=(toy(id="b"), toy(id="a"), toy(id="c", bandwidth_bytes_per_s=2e10)))
    assert ids(listed.sorted_by("ridge")) == ["a", "b", "c"]
    assert ids(listed.sorted_by("bandwidth")) == ["c", "a", "b"]


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(RooflineError, match="unknown sort 'size': choose one of name, ridge, peak, bandwidth"):
        HardwareList.of(sort="size")


# As data


def test_a_row_for_each_dtype_or_for_the_one_that_is_asked_for() -> None:
    listed = HardwareList(devices=(toy(),))
    assert [tuple(row) for row in listed.rows()] == [COLUMNS, COLUMNS]
    assert [(row["dtype"], row["is_default_dtype"], row["ridge_point_macs_per_byte"]) for row in listed.rows()] == [
        ("int8", True, 400), ("fp16", False, 100),
    ]  # fmt: skip
    assert [row["dtype"] for row in HardwareList(devices=(toy(),), dtype="fp16").rows()] == ["fp16"]


ALL_TERMS = toy(
    combine="add", peak_share_by_class={"linear": 0.5}, vector_ops_per_s=6e10, weight_bandwidth_bytes_per_s=4e9,
    bandwidth_bytes_per_s_by_class={"conv": 9e9}, layer_overhead_s=3e-6, overhead_layers="macs",
    inference_overhead_s=2.5e-4, onchip_bytes=2**23, onchip_holds=frozenset({"weights"}),
    energy_per_mac_j=6e-13, energy_per_byte_j=8e-11, notes="Only a toy.",
    figures={"peak_macs_per_s.int8": Figure(value=4e12, kind="fitted", source="a fit")},
)  # fmt: skip


@pytest.mark.parametrize("listed", [HardwareList.of(dtype="int8"), HardwareList(devices=(ALL_TERMS,))])
def test_as_plain_data_and_back_it_is_the_same(listed: HardwareList) -> None:
    data = json.loads(json.dumps(listed.to_dict()))
    assert data["schema"] == SCHEMA == "roofline/hardware-list/1"
    assert HardwareList.from_dict(data) == listed
    assert HardwareList.from_dict(data).to_dict() == data


def test_the_toy_has_every_term() -> None:
    """All but the file of a calibration, which changes no figure and is not in the plain data."""
    for field in dataclasses.fields(Hardware):
        if field.name == "calibration":
            continue
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING:
            assert getattr(ALL_TERMS, field.name) != getattr(toy(), field.name), field.name


# In words


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("datasheet", "datasheet"), "datasheet"),
        (("datasheet", "derived"), "derived"),
        (("estimate", "datasheet"), "estimate"),
        (("fitted", "estimate"), "fitted"),
        (("datasheet", "measured"), "measured"),
        ((), ""),
    ],
)
def test_a_time_is_worth_what_its_weakest_figure_is_or_is_a_prediction(kinds: tuple[Any, ...], expected: str) -> None:
    paths = ("peak_macs_per_s.int8", "bandwidth_bytes_per_s")
    given = {path: Figure(value=1, kind=kind, source="x") for path, kind in zip(paths, kinds, strict=False)}
    device = toy(figures={**given, "peak_macs_per_s.fp16": Figure(value=1, kind="measured", source="x")})
    assert basis(device, "int8") == expected
    assert (device.latency_kind("int8") == "prediction") == (expected in ("fitted", "measured"))


def test_the_verdict_names_both_ends_and_what_times_are_worth() -> None:
    listed = HardwareList.of(["pixel6_tpu", "coral_edgetpu_usb", "nvidia_a100"])
    assert listed.verdict() == (
        "3 devices with ridge points from 76.5 MACs/byte (nvidia_a100, fp16) to 4000 (coral_edgetpu_usb, int8). "
        "Times on them: 1 prediction, 1 bound on vendors' figures, 1 bound on estimates."
    )
    assert HardwareList.of(["pixel6_tpu"]).verdict() == "pixel6_tpu has a ridge point of 96.3 MACs/byte at int8."


def test_every_number_of_a_device_has_a_name_and_a_unit() -> None:
    told = {name(path): value(path, number) for path, number, _ in figures(ALL_TERMS)}
    assert told == {
        "peak at int8": "4 TMAC/s",
        "peak at fp16": "1 TMAC/s",
        "memory bandwidth": "10 GB/s",
        "share of the peak of linear": "50 %",
        "vector ops": "60 Gop/s",
        "bandwidth of weights": "4 GB/s",
        "bandwidth of conv": "9 GB/s",
        "overhead of a layer": "3 us",
        "overhead of an inference": "0.25 ms",
        "on-chip memory": "8 MiB",
        "energy of a MAC": "0.6 pJ",
        "energy of a byte": "80 pJ",
    }
    assert [path for path, *_ in figures(toy())] == [
        "peak_macs_per_s.int8", "peak_macs_per_s.fp16", "bandwidth_bytes_per_s",
    ]  # fmt: skip


@pytest.mark.parametrize("device", load_all(), ids=lambda device: device.id)
def test_no_figure_of_a_bundled_profile_is_left_untold(device: Hardware) -> None:
    told = {path: figure for path, _, figure in figures(device)}
    assert told == dict(device.figures)
    for path, number, figure in figures(device):
        assert figure is not None
        assert figure.value == pytest.approx(number, rel=1e-6), path


def test_a_vendor_s_figure_that_a_third_party_quotes_is_second_hand() -> None:
    of = {name: load_profile(name).figures for name in ("nvidia_a100_40gb", "google_tpu_v2", "coral_edgetpu_usb")}
    assert kind(of["nvidia_a100_40gb"]["bandwidth_bytes_per_s"], "-") == "datasheet, second-hand"
    assert kind(of["google_tpu_v2"]["peak_macs_per_s.bf16"], "-") == "datasheet"  # Google's own list
    assert kind(of["coral_edgetpu_usb"]["peak_macs_per_s.int8"], "-") == "datasheet"
    assert kind(Figure(value=1, kind="derived", source="8 TOPS / 2, as quoted by x"), "-") == "derived"
    assert kind(None, "-") == "-"


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, "A layer takes the longer of its MACs at the peak and its bytes at the memory bandwidth (eq. 1 of"),
        ({"combine": "add"}, "A layer takes the sum of its MACs at the peak and its bytes at the memory bandwidth."),
        ({"vector_ops_per_s": 1e9}, "the longest of its MACs at the peak, its vector ops at their rate and its bytes"),
        ({"peak_share_by_class": {"conv": 0.5}}, "its MACs at the peak or its class's share of it and its bytes"),
        ({"weight_bandwidth_bytes_per_s": 1e9}, "its bytes at the memory bandwidth or that of weights."),
        ({"bandwidth_bytes_per_s_by_class": {"conv": 1e9}}, "its bytes at the memory bandwidth or that of its class."),
        ({"layer_overhead_s": 1e-6}, "its bytes at the memory bandwidth, plus its overhead."),
        ({"layer_overhead_s": 1e-6, "overhead_layers": "macs"}, ", plus its overhead if it does MACs."),
        ({"inference_overhead_s": 1e-6}, "An inference takes its layers, plus its own overhead."),
        ({"onchip_bytes": 1, "onchip_holds": frozenset({"weights"})}, "What fits of the weights stays in on-chip mem"),
        ({"onchip_bytes": 1}, "Nothing is taken to stay in on-chip memory."),
    ],
)
def test_the_formula_is_told_with_the_terms_it_has(terms: dict[str, Any], expected: str) -> None:
    assert expected in formula(toy(**terms))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"default_fusion": "none"}, "int8, no fusion."),
        ({}, "int8, epilogue fusion, relu in the epilogue."),
        ({"fused_activations": frozenset()}, "int8, epilogue fusion, no activation in the epilogue."),
        (
            {"fused_activations": load_profile("nvidia_a100").fused_activations},
            "fusion, all activations in the epilogue.",
        ),
    ],
)
def test_the_defaults_are_told(fields: dict[str, Any], expected: str) -> None:
    assert defaults(toy(**fields)).endswith(expected)


def test_every_key_of_its_json_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
    section = text.partition("# The JSON of hardware profiles\n")[2].partition("\n# ")[0]
    rows = {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    listed = HardwareList(devices=(ALL_TERMS,)).to_dict()
    assert rows == {*listed, *listed["profiles"][0]}
