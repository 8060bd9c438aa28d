from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import roofline
from roofline import hwprofiles, profiles
from roofline.errors import ProfileError
from roofline.hardware import ACTIVATIONS, DTYPES, LAYER_CLASSES, NO_TERMS, Figure, Hardware
from roofline.profiles import MAC_CLASSES, SCHEMA, ProfileEntry, bundled, load_all, load_profile

PROFILE = """\
# the lines of this profile are numbered in the tests
schema: roofline/hardware/1
id: my_device
name: My Device
class: npu
peak_gmacs_per_s:
  fp16: {value: 2000, kind: derived, source: half of int8}
  int8:
    value: 4000
    kind: datasheet
    source: 8 TOPS
bandwidth_gb_per_s:
  value: 20
  kind: datasheet
  source: product brief
default_dtype: int8
default_fusion: epilogue
fused_activations: [relu, relu6]
"""

OPTIONAL = """\
combine: add
peak_share_by_class:
  depthwise_conv: {value: 0.125, kind: derived, source: f}
  depthwise_conv_k7: {value: 0.06, kind: fitted, source: g}
vector_gops_per_s: {value: 60, kind: estimate, source: a}
weight_bandwidth_gb_per_s: {value: 0.5, kind: datasheet, source: h}
bandwidth_gb_per_s_by_class:
  transpose: {value: 5, kind: fitted, source: i}
layer_overhead_us: {value: 3, kind: measured, source: b}
overhead_layers: macs
inference_overhead_us: {value: 400, kind: fitted, source: j}
onchip_mib: {value: 8, kind: datasheet, source: c}
onchip_holds: [activations, weights]
energy_pj_per_mac: {value: 0.6, kind: estimate, source: d}
energy_pj_per_byte: {value: 80, kind: fitted, source: e}
notes: >
  Two lines,
  one paragraph.
"""


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with PyYAML's parser in C and with the one in Python, which stands in where the former is absent."""
    if not hasattr(yaml, request.param):
        pytest.skip(f"PyYAML was built without {request.param}")
    monkeypatch.setattr(profiles, "_LOADER", getattr(yaml, request.param))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str | bytes) -> Hardware:
    Path("my.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load_profile("my.yaml")


def message(text: str | bytes) -> str:
    with pytest.raises(ProfileError) as caught:
        load(text)
    return str(caught.value)


# What a good profile becomes


def test_yaml_units_become_si_units() -> None:
    hardware = load(PROFILE + OPTIONAL)
    assert (hardware.id, hardware.name, hardware.device_class) == ("my_device", "My Device", "npu")
    assert hardware.peak_macs_per_s == {"fp16": 2e12, "int8": 4e12}
    assert hardware.bandwidth_bytes_per_s == 20e9
    assert hardware.ridge_point("int8") == 200
    assert (hardware.default_dtype, hardware.default_fusion) == ("int8", "epilogue")
    assert hardware.fused_activations == {"relu", "relu6"}
    assert hardware.combine == "add"
    assert hardware.peak_share_by_class == {"depthwise_conv": 0.125, "depthwise_conv_k7": 0.06}
    assert hardware.vector_ops_per_s == 60e9
    assert hardware.weight_bandwidth_bytes_per_s == 0.5e9
    assert hardware.bandwidth_bytes_per_s_by_class == {"transpose": 5e9}
    assert (hardware.layer_overhead_s, hardware.overhead_layers) == (3e-6, "macs")
    assert hardware.inference_overhead_s == 400e-6
    assert hardware.onchip_bytes == 8 * 1024 * 1024
    assert hardware.onchip_holds == {"weights", "activations"}
    assert hardware.energy_per_mac_j == 0.6e-12
    assert hardware.energy_per_byte_j == 80e-12
    assert hardware.notes == "Two lines, one paragraph."


def test_what_is_optional_is_absent() -> None:
    hardware = load(PROFILE)
    assert hardware.is_plain
    assert hardware.terms() == NO_TERMS
    assert (hardware.energy_per_mac_j, hardware.energy_per_byte_j) == (None, None)
    assert hardware.calibration is None
    assert hardware.notes == ""


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("local.npz", "lab/local.npz"),
        ("../2025/local.npz", "lab/../2025/local.npz"),
        ("/data/my local.npz", "/data/my local.npz"),
    ],
)
def test_a_calibration_is_found_from_where_the_profile_is(written: str, found: str) -> None:
    Path("lab").mkdir()
    Path("lab/my.yaml").write_text(f"{PROFILE}calibration: {written}\n")
    assert load_profile("lab/my.yaml").calibration == Path(found)
    assert load_profile(Path("lab/my.yaml").resolve()).calibration == Path.cwd() / found


def test_a_calibration_changes_no_figure_and_no_result() -> None:
    plain, calibrated = load(PROFILE), load(PROFILE + "calibration: local.npz\n")
    assert calibrated.calibration == Path("local.npz")
    assert calibrated.to_dict() == plain.to_dict()
    assert calibrated != plain
    assert hash(calibrated)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("''", r"calibration: must not be empty"),
        ("[a.npz]", r"calibration: .* \(got a list\)"),
        ("3", r"calibration: .* \(got 3\)"),
    ],
)
def test_what_is_no_path_of_a_calibration_is_refused(written: str, problem: str) -> None:
    assert re.fullmatch(rf"my\.yaml:\d+: {problem}.*", message(f"{PROFILE}calibration: {written}\n"))


def test_no_bundled_profile_has_a_calibration() -> None:
    """One would be of the machine on which somebody made it."""
    assert not any(hardware.calibration for hardware in load_all())


def test_every_number_keeps_its_kind_and_source() -> None:
    hardware = load(PROFILE + OPTIONAL)
    assert hardware.figures["peak_macs_per_s.fp16"] == Figure(value=2e12, kind="derived", source="half of int8")
    assert hardware.figures["layer_overhead_s"] == Figure(value=3e-6, kind="measured", source="b")
    assert set(hardware.figures) == {
        "peak_macs_per_s.fp16",
        "peak_macs_per_s.int8",
        "bandwidth_bytes_per_s",
        "peak_share_by_class.depthwise_conv",
        "peak_share_by_class.depthwise_conv_k7",
        "vector_ops_per_s",
        "weight_bandwidth_bytes_per_s",
        "bandwidth_bytes_per_s_by_class.transpose",
        "layer_overhead_s",
        "inference_overhead_s",
        "onchip_bytes",
        "energy_per_mac_j",
        "energy_per_byte_j",
    }
    assert hardware.figures["peak_share_by_class.depthwise_conv"].value == 0.125
    assert hardware.figures["bandwidth_bytes_per_s_by_class.transpose"].value == 5e9


def test_the_size_of_the_memory_may_stand_behind_what_it_holds() -> None:
    turned = PROFILE + "onchip_holds: [weights]\nonchip_mib: {value: 2, kind: datasheet, source: c}\n"
    assert load(turned).onchip_holds == {"weights"}
    assert load(PROFILE + "onchip_holds: []\npeak_share_by_class: {}\n").is_plain


def test_a_compiler_that_generates_code_fuses_all_activations() -> None:
    assert load(PROFILE.replace("[relu, relu6]", "all")).fused_activations == set(ACTIVATIONS)
    assert load(PROFILE.replace("[relu, relu6]", "[]")).fused_activations == set()


@pytest.mark.parametrize("value", ["4000", "4000.0", "4_000", "4.0e+3", "+4000", "04000"])
def test_a_number_may_be_written_in_any_decimal_way(value: str) -> None:
    assert load(PROFILE.replace("4000", value)).peak("int8") == 4e12


def test_a_date_is_a_fine_source() -> None:
    hardware = load(PROFILE.replace("source: 8 TOPS", "source: 2024-05-01"))
    assert hardware.figures["peak_macs_per_s.int8"].source == "2024-05-01"


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    assert load(b"\xef\xbb\xbf" + PROFILE.replace("\n", "\r\n").encode()) == load(PROFILE)


@given(peak=st.floats(1e-9, 1e9), bandwidth=st.floats(1e-9, 1e9), micros=st.floats(1e-6, 1e9), mib=st.floats(1, 1e6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_positive_figure_keeps_its_size_through_the_change_of_units(
    peak: float, bandwidth: float, micros: float, mib: float
) -> None:
    text = PROFILE.replace("value: 4000", f"value: {peak:.17e}").replace("value: 20\n", f"value: {bandwidth:.17e}\n")
    text += f"layer_overhead_us: {{value: {micros:.17e}, kind: fitted, source: x}}\n"
    text += f"onchip_mib: {{value: {mib:.17e}, kind: fitted, source: x}}\n"
    hardware = load(text)
    assert hardware.peak("int8") / 1e9 == pytest.approx(peak)
    assert hardware.bandwidth_bytes_per_s / 1e9 == pytest.approx(bandwidth)
    assert hardware.layer_overhead_s * 1e6 == pytest.approx(micros)
    assert hardware.onchip_bytes == pytest.approx(mib * 2**20, abs=0.5)
    assert hardware.ridge_point("int8") == pytest.approx(peak / bandwidth)


# What a bad one gets: one line, with file, line and field

LAST, FIGURE = "fused_activations: [relu, relu6]\n", "{value: 1, kind: fitted, source: x}"
BAD = [  # what stands in the profile above, what stands there instead, the whole message
    # not a profile at all
    (PROFILE, "", "my.yaml:1: a profile is a mapping that begins with 'schema: roofline/hardware/1' (got nothing)"),
    (
        PROFILE,
        "# only a comment\n",
        "my.yaml:1: a profile is a mapping that begins with 'schema: roofline/hardware/1' (got nothing)",
    ),
    (
        PROFILE,
        "- schema\n- id\n",
        "my.yaml:1: a profile is a mapping that begins with 'schema: roofline/hardware/1' (got a list)",
    ),
    (
        PROFILE,
        "\njust a sentence\n",
        "my.yaml:2: a profile is a mapping that begins with 'schema: roofline/hardware/1' (got 'just a sentence')",
    ),
    # the version
    (
        "roofline/hardware/1",
        "roofline/hardware/2",
        "my.yaml:2: schema: must be 'roofline/hardware/1', the version that this release reads "
        "(got 'roofline/hardware/2')",
    ),
    (
        "schema: roofline/hardware/1\n",
        "",
        "my.yaml:2: schema: must be 'roofline/hardware/1', the version that this release reads (it is missing)",
    ),
    # fields that are missing, misspelt, or given twice
    ("name: My Device\n", "", "my.yaml:2: name: required, but missing"),
    ("default_fusion: epilogue\n", "", "my.yaml:2: default_fusion: required, but missing"),
    ("  source: product brief\n", "", "my.yaml:12: bandwidth_gb_per_s.source: required, but missing"),
    (", source: half of int8", "", "my.yaml:7: peak_gmacs_per_s.fp16.source: required, but missing"),
    ("name: My", "nam: My", "my.yaml:4: nam: unknown field. Did you mean 'name'? (+1 more)"),
    (
        "bandwidth_gb_per_s",
        "bandwith_gb_per_s",
        "my.yaml:12: bandwith_gb_per_s: unknown field. Did you mean 'bandwidth_gb_per_s'? (+1 more)",
    ),
    ("class: npu", "class: npu\ndevice_class: npu", "my.yaml:6: device_class: unknown field"),
    (
        "  kind: datasheet\n  source: p",
        "  kinds: x\n  kind: datasheet\n  source: p",
        "my.yaml:14: bandwidth_gb_per_s.kinds: unknown field. Did you mean 'kind'?",
    ),
    ("name: My Device", "name: My Device\nname: Other", "my.yaml:5: name: given twice, first on line 4"),
    (
        "  value: 20\n",
        "  value: 20\n  value: 21\n",
        "my.yaml:14: bandwidth_gb_per_s.value: given twice, first on line 13",
    ),
    # numbers
    ("value: 20\n", "value: 0\n", "my.yaml:13: bandwidth_gb_per_s.value: must be greater than 0 (got 0)"),
    ("value: 20\n", "value: -3\n", "my.yaml:13: bandwidth_gb_per_s.value: must be greater than 0 (got -3)"),
    ("value: 2000,", "value: -0.5,", "my.yaml:7: peak_gmacs_per_s.fp16.value: must be greater than 0 (got -0.5)"),
    ("value: 20\n", "value: .nan\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a finite number (got nan)"),
    ("value: 20\n", "value: -.inf\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a finite number (got -inf)"),
    ("value: 20\n", f"value: {'9' * 400}\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a finite number (got inf)"),
    ("value: 20\n", "value: true\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a valid number (got true)"),
    ("value: 20\n", "value:\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a valid number (got nothing)"),
    ("value: 20\n", "value: [20]\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a valid number (got a list)"),
    (
        "value: 20\n",
        "value: '20'\n",
        "my.yaml:13: bandwidth_gb_per_s.value: must be a number (got the text '20'; write it without quotes)",
    ),
    (
        "value: 4000",
        "value: 4.7e12",
        "my.yaml:9: peak_gmacs_per_s.int8.value: must be a number "
        "(got the text '4.7e12'; YAML wants the exponent's sign: 4.7e+12)",
    ),
    (
        "value: 4000",
        "value: 1e+8",
        "my.yaml:9: peak_gmacs_per_s.int8.value: must be a number (got the text '1e+8'; YAML wants the point: 1.0e+8)",
    ),
    (
        "value: 4000",
        "value: 1E8",
        "my.yaml:9: peak_gmacs_per_s.int8.value: must be a number "
        "(got the text '1E8'; YAML wants the point and the exponent's sign: 1.0e+8)",
    ),
    (
        "value: 4000",
        "value: '4.0e+3'",
        "my.yaml:9: peak_gmacs_per_s.int8.value: must be a number (got the text '4.0e+3'; write it without quotes)",
    ),
    (
        "value: 4000",
        "value: 4.7e+12",
        "my.yaml:9: peak_gmacs_per_s.int8.value: must be at most 1e9 in the unit of the field's name "
        "(got 4700000000000)",
    ),
    (
        "value: 20\n",
        "value: 20 GB/s\n",
        "my.yaml:13: bandwidth_gb_per_s.value: must be a number (got the text '20 GB/s')",
    ),
    ("value: 20\n", "value: nan\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a number (got the text 'nan')"),
    ("value: 20\n", "value: 1:30\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a number (got the text '1:30')"),
    ("value: 20\n", "value: 0x14\n", "my.yaml:13: bandwidth_gb_per_s.value: must be a number (got the text '0x14')"),
    (
        "bandwidth_gb_per_s:\n  value: 20\n  kind: datasheet\n  source: product brief\n",
        "bandwidth_gb_per_s: 41\n",
        "my.yaml:12: bandwidth_gb_per_s: must be a figure, "
        "as in {value: 41, kind: datasheet, source: where it is printed} (got 41)",
    ),
    (
        "default_dtype",
        "onchip_mib: {value: -8, kind: estimate, source: x}\ndefault_dtype",
        "my.yaml:16: onchip_mib.value: must be greater than 0 (got -8)",
    ),
    # kinds and sources
    (
        "kind: derived",
        "kind: guess",
        "my.yaml:7: peak_gmacs_per_s.fp16.kind: must be 'datasheet', 'derived', 'fitted', 'measured' or 'estimate' "
        "(got 'guess')",
    ),
    ("source: half of int8", "source: ''", "my.yaml:7: peak_gmacs_per_s.fp16.source: must not be empty"),
    ("source: product brief", "source: '  '", "my.yaml:15: bandwidth_gb_per_s.source: must not be empty"),
    ("source: product brief", "source: 12", "my.yaml:15: bandwidth_gb_per_s.source: must be a valid string (got 12)"),
    ("source: product brief", "source:", "my.yaml:15: bandwidth_gb_per_s.source: must be a valid string (got nothing)"),
    (
        "source: product brief",
        'source: "\\e[31mred"',
        "my.yaml:15: bandwidth_gb_per_s.source: must not hold control characters (got '\\x1b[31mred')",
    ),
    # dtypes
    (
        "  fp16:",
        "  fp61:",
        "my.yaml:7: peak_gmacs_per_s.fp61: must be 'fp32', 'fp16', 'bf16' or 'int8' (got 'fp61')",
    ),
    (
        "default_dtype: int8",
        "default_dtype: i8",
        "my.yaml:16: default_dtype: must be 'fp32', 'fp16', 'bf16' or 'int8' (got 'i8')",
    ),
    (
        "default_dtype: int8",
        "default_dtype: fp32",
        "my.yaml:16: default_dtype: must be a dtype that peak_gmacs_per_s lists: fp16, int8 (got 'fp32')",
    ),
    (
        PROFILE[PROFILE.index("peak_") : PROFILE.index("bandwidth")],
        "peak_gmacs_per_s: 4000\n",
        "my.yaml:6: peak_gmacs_per_s: must list a figure by dtype, "
        "as in 'int8: {value: ..., kind: ..., source: ...}' (got 4000)",
    ),
    (
        PROFILE[PROFILE.index("peak_") : PROFILE.index("bandwidth")],
        "peak_gmacs_per_s: {}\n",
        "my.yaml:6: peak_gmacs_per_s: must list a figure by dtype, "
        "as in 'int8: {value: ..., kind: ..., source: ...}' (got a mapping)",
    ),
    # the other choices
    (
        "class: npu",
        "class: tpu",
        "my.yaml:5: class: must be 'cpu', 'gpu', 'dsp', 'npu', 'edgetpu' or 'abstract' (got 'tpu')",
    ),
    (
        "id: my_device",
        "id: My Device",
        "my.yaml:3: id: must be lower-case words and digits joined by '_', as in pixel6_tpu (got 'My Device')",
    ),
    ("fusion: epilogue", "fusion: all", "my.yaml:17: default_fusion: must be 'none' or 'epilogue' (got 'all')"),
    (
        "[relu, relu6]",
        "every",
        "my.yaml:18: fused_activations: must be 'all' or a list, as in [relu, relu6] (got 'every')",
    ),
    (
        "[relu, relu6]",
        "\n  - relu\n  - swish",
        "my.yaml:20: fused_activations: must be 'relu', 'relu6', 'hardswish', 'silu', 'gelu', 'sigmoid', "
        "'hardsigmoid', 'tanh', 'elu', 'leaky_relu', 'prelu' or 'mish' (got 'swish')",
    ),
    # the optional terms
    (LAST, f"{LAST}combine: sum\n", "my.yaml:19: combine: must be 'max' or 'add' (got 'sum')"),
    (LAST, f"{LAST}combine: [add]\n", "my.yaml:19: combine: must be 'max' or 'add' (got a list)"),
    (LAST, f"{LAST}combine:\n", "my.yaml:19: combine: must be 'max' or 'add' (got nothing)"),
    (LAST, f"{LAST}overhead_layers: conv\n", "my.yaml:19: overhead_layers: must be 'all' or 'macs' (got 'conv')"),
    (
        LAST,
        f"{LAST}peak_share_by_class:\n  depthwise_cnv: {FIGURE}\n",
        "my.yaml:20: peak_share_by_class.depthwise_cnv: no class of layers. Did you mean 'depthwise_conv' or "
        "'depthwise_conv_k7'? docs/profiles.md lists them",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{softmax: {FIGURE}}}\n",
        "my.yaml:19: peak_share_by_class.softmax: such layers do no MACs, so no share of the peak changes them; conv, "
        "depthwise_conv, depthwise_conv_k7, grouped_conv, pointwise_conv, linear, matmul, attention do",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{conv: {{value: 1, kind: conv, source: x}}}}\n",
        "my.yaml:19: peak_share_by_class.conv.kind: must be 'datasheet', 'derived', 'fitted', 'measured' or 'estimate' "
        "(got 'conv')",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{3: {FIGURE}}}\n",
        "my.yaml:19: peak_share_by_class.3: no class of layers. docs/profiles.md lists them",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: [conv]\n",
        "my.yaml:19: peak_share_by_class: must list a figure by class, "
        "as in 'grouped_conv: {value: ..., kind: ..., source: ...}' (got a list)",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: 0.5\n",
        "my.yaml:19: peak_share_by_class: must list a figure by class, "
        "as in 'grouped_conv: {value: ..., kind: ..., source: ...}' (got 0.5)",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{conv: 0.5}}\n",
        "my.yaml:19: peak_share_by_class.conv: must be a figure, "
        "as in {value: 41, kind: datasheet, source: where it is printed} (got 0.5)",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{conv: {{value: 0, kind: fitted, source: x}}}}\n",
        "my.yaml:19: peak_share_by_class.conv.value: must be greater than 0 (got 0)",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{conv: {{value: -1, kind: fitted, source: x}}}}\n",
        "my.yaml:19: peak_share_by_class.conv.value: must be greater than 0 (got -1)",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{conv: {{value: 50 %, kind: fitted, source: x}}}}\n",
        "my.yaml:19: peak_share_by_class.conv.value: must be a number (got the text '50 %')",
    ),
    (
        LAST,
        f"{LAST}peak_share_by_class: {{conv: {{value: 1, kind: fitted}}}}\n",
        "my.yaml:19: peak_share_by_class.conv.source: required, but missing",
    ),
    (
        LAST,
        f"{LAST}bandwidth_gb_per_s_by_class: {{transposes: {FIGURE}}}\n",
        "my.yaml:19: bandwidth_gb_per_s_by_class.transposes: no class of layers. Did you mean 'transpose'? "
        "docs/profiles.md lists them",
    ),
    (
        LAST,
        f"{LAST}bandwidth_gb_per_s_by_class: [transpose]\n",
        "my.yaml:19: bandwidth_gb_per_s_by_class: must list a figure by class, "
        "as in 'grouped_conv: {value: ..., kind: ..., source: ...}' (got a list)",
    ),
    (
        LAST,
        f"{LAST}bandwidth_gb_per_s_by_class: {{copy: {{value: 0, kind: fitted, source: x}}}}\n",
        "my.yaml:19: bandwidth_gb_per_s_by_class.copy.value: must be greater than 0 (got 0)",
    ),
    (
        LAST,
        f"{LAST}weight_bandwidth_gb_per_s: 12\n",
        "my.yaml:19: weight_bandwidth_gb_per_s: must be a figure, "
        "as in {value: 41, kind: datasheet, source: where it is printed} (got 12)",
    ),
    (
        LAST,
        f"{LAST}weight_bandwidth_gb_per_s: {{value: -1, kind: fitted, source: x}}\n",
        "my.yaml:19: weight_bandwidth_gb_per_s.value: must be greater than 0 (got -1)",
    ),
    (
        LAST,
        f"{LAST}weights_bandwidth_gb_per_s: {FIGURE}\n",
        "my.yaml:19: weights_bandwidth_gb_per_s: unknown field. Did you mean 'weight_bandwidth_gb_per_s'?",
    ),
    (
        LAST,
        f"{LAST}inference_overhead_us: {{value: 0, kind: fitted, source: x}}\n",
        "my.yaml:19: inference_overhead_us.value: must be greater than 0 (got 0)",
    ),
    (
        LAST,
        f"{LAST}inference_overhead_us: {{value: 5 us, kind: fitted, source: x}}\n",
        "my.yaml:19: inference_overhead_us.value: must be a number (got the text '5 us')",
    ),
    (
        LAST,
        f"{LAST}inference_overhead_ms: {FIGURE}\n",
        "my.yaml:19: inference_overhead_ms: unknown field. Did you mean 'inference_overhead_us'?",
    ),
    (
        LAST,
        f"{LAST}onchip_holds: [weights]\n",
        "my.yaml:19: onchip_holds: must be left out where there is no onchip_mib to hold it (got a list)",
    ),
    (
        LAST,
        f"{LAST}onchip_mib: {FIGURE}\nonchip_holds: [weight]\n",
        "my.yaml:20: onchip_holds: must be 'weights' or 'activations' (got 'weight')",
    ),
    (
        LAST,
        f"{LAST}onchip_mib: {FIGURE}\nonchip_holds: weights\n",
        "my.yaml:20: onchip_holds: must be a list, as in [weights, activations] (got 'weights')",
    ),
    (
        LAST,
        f"{LAST}onchip_mib: {FIGURE}\nonchip_holds: {{weights: true}}\n",
        "my.yaml:20: onchip_holds: must be a list, as in [weights, activations] (got a mapping)",
    ),
    # what YAML can do and a profile must not
    ("my_device\n", "&a my_device\n", "my.yaml:3: tags (!), anchors (&) and aliases (*) have no place in a profile"),
    ("My Device\n", "*a\n", "my.yaml:4: tags (!), anchors (&) and aliases (*) have no place in a profile"),
    (
        "value: 20\n",
        "value: !!int 20\n",
        "my.yaml:13: tags (!), anchors (&) and aliases (*) have no place in a profile",
    ),
    (
        "name: My Device",
        "name: !!python/object/apply:os.system [touch hacked]",
        "my.yaml:4: tags (!), anchors (&) and aliases (*) have no place in a profile",
    ),
    ("name: My Device", f"name: {'[' * 99}", "my.yaml:4: nested more than 8 deep, which no profile is"),
    ("name: My Device", "? [a]\n: b", "my.yaml:4: the name of a field must be a word"),
    ("name: My Device", "name: My\x07Device", "my.yaml:4: not YAML: holds the control character '\\x07'"),
]


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(("good", "bad", "expected"), BAD, ids=[re.sub(r"[^\w.,: -]", "", m)[:60] for _, _, m in BAD])
def test_a_bad_profile_gets_one_line_with_file_line_and_field(good: str, bad: str, expected: str) -> None:
    assert PROFILE.count(good) == 1
    assert message(PROFILE.replace(good, bad)) == expected
    assert not Path("hacked").exists()


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ("name: My Device", "name: My: Device", r"my\.yaml:4: not YAML: mapping values are not allowed"),
        ("[relu, relu6]", "[relu, relu6", r"my\.yaml:19: not YAML: while parsing a flow sequence: .*expect"),
        ("  kind: datasheet\n  so", "\tkind: datasheet\n  so", r"my\.yaml:14: not YAML: .*(tab|\\t)"),
        ("name: My Device", "name: 'My Device", r"my\.yaml:\d+: not YAML: "),
        ("name: My Device", "---\nname: My Device", r"my\.yaml:4: not YAML: .*but found another document"),
        ("name: My Device", 'name: "\\UFFFFFFFF"', r"my\.yaml.*: not YAML: "),
    ],
)
def test_what_is_not_yaml_gets_one_line_in_the_words_of_the_parser(good: str, bad: str, expected: str) -> None:
    said = message(PROFILE.replace(good, bad))
    assert re.match(expected, said)
    assert "\n" not in said


def test_of_several_problems_the_first_is_told_and_the_others_are_counted() -> None:
    text = PROFILE.replace("value: 2000", "value: 0").replace("value: 20\n", "value: 0\n").replace("npu", "tpu")
    assert message(text).startswith("my.yaml:5: class: must be ")
    assert message(text).endswith("(got 'tpu') (+2 more)")


def test_a_newer_version_is_told_before_what_it_may_have_brought() -> None:
    text = "constant_ms: {value: 1, kind: fitted, source: x}\n" + PROFILE.replace(SCHEMA, "roofline/hardware/2")
    assert message(text).startswith("my.yaml:3: schema: must be 'roofline/hardware/1'")


@pytest.mark.usefixtures("_either_parser")
def test_no_profile_can_run_code() -> None:
    for tag in ("!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system"):
        said = message(f"{tag} ['touch hacked']\n")
        assert said == "my.yaml:1: tags (!), anchors (&) and aliases (*) have no place in a profile"
        assert not Path("hacked").exists()


def test_an_alias_bomb_is_refused_before_it_is_built() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert message(bomb) == "my.yaml:1: tags (!), anchors (&) and aliases (*) have no place in a profile"


def test_a_file_beyond_1_mb_is_refused() -> None:
    assert message(PROFILE + "#" * 1_000_000) == "my.yaml: larger than 1 MB; a profile is a page of YAML"


def test_a_file_in_another_encoding_is_refused_with_the_line() -> None:
    assert message(PROFILE.replace("My Device", "Gerät").encode("latin-1")) == "my.yaml:4: not UTF-8 text"
    assert message(PROFILE.encode("utf-16")) == "my.yaml:1: not UTF-8 text"


@given(
    position=st.integers(0, len(PROFILE)),
    length=st.integers(0, 12),
    noise=st.text(st.sampled_from("\"'\\{}[]:,&*!|>%@#-? \n\t\0\x85\ufeff\ud7ff0.eé~UxFÿ"), max_size=12)
    | st.text(max_size=5),
)
@example(position=PROFILE.index("My"), length=0, noise='"\\ud800"#')
@example(position=PROFILE.index("name"), length=0, noise='"\\n":')
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@pytest.mark.usefixtures("_either_parser")
def test_whatever_is_in_the_file_it_is_a_device_or_one_line(position: int, length: int, noise: str) -> None:
    text = PROFILE[:position] + noise + PROFILE[position + length :]
    said = "my.yaml: a device"
    try:
        load(text.encode("utf-8", "surrogatepass"))
    except ProfileError as error:
        said = str(error)
    assert re.fullmatch(r"my\.yaml(:\d+)?: .+", said)


# What a reference names


@pytest.mark.parametrize(
    "reference",
    ["pixel6_tpu", "pixel6_tpu.yaml", "pixel6_tpu.yml", "Pixel6-TPU", "PIXEL6-TPU.YAML", Path("pixel6_tpu")],
)
def test_a_name_is_a_bundled_profile_however_it_is_spelt(reference: str | Path) -> None:
    assert load_profile(reference).id == "pixel6_tpu"


def test_a_file_here_comes_before_a_bundled_profile_of_its_name() -> None:
    Path("pixel6_tpu.yaml").write_text(PROFILE)
    assert load_profile("pixel6_tpu.yaml").id == "my_device"
    assert load_profile("./pixel6_tpu.yaml").id == "my_device"
    assert load_profile("pixel6_tpu").id == "pixel6_tpu"


def test_a_folder_here_does_not_hide_a_bundled_profile() -> None:
    Path("pixel6_tpu").mkdir()
    assert load_profile("pixel6_tpu").id == "pixel6_tpu"


def test_a_profile_need_not_be_called_yaml() -> None:
    Path("profile.txt").write_text(PROFILE)
    assert load_profile("profile.txt").id == "my_device"
    assert load_profile(Path("profile.txt").absolute()).id == "my_device"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("abacus", "unknown hardware 'abacus'. 'roofline hw' lists all."),
        (
            "abacus.yaml",
            "unknown hardware 'abacus.yaml': no such file, and no bundled profile of that name. "
            "'roofline hw' lists all.",
        ),
        ("", "unknown hardware ''. 'roofline hw' lists all."),
        ("a\0b", "unknown hardware 'a\\x00b'. 'roofline hw' lists all."),
        ("sub/pixel6_tpu.yaml", "sub/pixel6_tpu.yaml: no such file"),
        ("./pixel6_tpu.yaml", "pixel6_tpu.yaml: no such file"),
        ("folder", "folder: is a directory; a profile is a YAML file"),
        ("./folder/", "folder: is a directory; a profile is a YAML file"),
        ("file.txt/my.yaml", "file.txt/my.yaml: cannot be read: Not a directory"),
    ],
)
def test_a_reference_to_nothing_gets_one_line(reference: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(ProfileError) as caught:
        load_profile(reference)
    assert str(caught.value) == expected


@pytest.mark.parametrize("reference", ["pixel6tpu", "Pixel6 TPU", "pixel6-tpu-v1.yaml"])
def test_a_misspelt_name_gets_the_nearest_ones(reference: str) -> None:
    with pytest.raises(ProfileError, match=r" Did you mean 'pixel6_tpu'.*\? 'roofline hw' lists all\.$"):
        load_profile(reference)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_gets_one_line() -> None:
    Path("my.yaml").write_text(PROFILE)
    Path("my.yaml").chmod(0)
    with pytest.raises(ProfileError, match=r"^my\.yaml: cannot be read: Permission denied$"):
        load_profile("my.yaml")


def test_an_unreadable_file_never_gives_way_to_a_bundled_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ProfileError, match=r"^pixel6_tpu\.yaml: cannot be read: Permission denied$"):
        load_profile("pixel6_tpu.yaml")


# The bundled profiles


@cache
def library() -> dict[str, Hardware]:
    return {hardware.id: hardware for hardware in load_all()}


def predicting() -> set[str]:
    """The profiles whose times are predictions."""
    return {
        hardware.id for hardware in library().values() if hardware.latency_kind(hardware.default_dtype) == "prediction"
    }


NAMED = {  # what the library is to hold, by the beginning of the ids: the classes that are there
    "pixel4_": {"cpu", "gpu", "dsp"},
    "pixel6_": {"cpu", "gpu", "edgetpu"},
    "pixel7_": {"cpu", "gpu"},
    "pixel8_": {"cpu", "gpu", "edgetpu"},
    "galaxy_s23_": {"cpu"},
    "snapdragon_8gen2_": {"gpu"},  # that of the Galaxy S23
    "iphone12_": {"cpu", "gpu", "npu"},
    "iphone13_": {"cpu", "gpu", "npu"},
    "iphone14_": {"cpu", "gpu", "npu"},
    "iphone15_": {"cpu", "npu"},
    **{f"apple_{name}_": {"cpu", "gpu", "npu"} for name in ("m1", "m2", "m3", "m4")},
    "coral_": {"edgetpu"},
    "ethos_": {"npu"},
    **{name: {"cpu"} for name in ("raspberrypi_4", "raspberrypi_5", "xeon_", "epyc_")},
    **{f"jetson_{name}": {"gpu"} for name in ("nano", "xavier_nx", "orin_nano", "orin_nx", "agx_orin")},
    **{f"nvidia_{name}": {"gpu"} for name in "t4 v100 a10 a100 h100 h200 b200 l4 l40s rtx3090 rtx4090".split()},
    **{f"amd_{name}": {"gpu"} for name in ("mi250", "mi300x")},
    **{f"google_tpu_{name}": {"npu"} for name in "v2 v3 v4 v5e v5p v6e".split()},
    "abstract_": {"abstract"},
}
DOUBT = re.compile(  # how the source of an estimate says what is uncertain about it
    r"unverified|estimate|from memory|for teaching|not print|unpublished|assumes|is taken|about|quoted| has \d"
)


def test_the_library_is_there_in_order() -> None:
    assert len(bundled()) >= 60
    assert tuple(sorted(bundled())) == bundled() == tuple(library())
    names = [hardware.name for hardware in library().values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("prefix", NAMED)
def test_the_library_holds_the_devices_it_was_to_hold(prefix: str) -> None:
    classes = {hardware.device_class for hardware in library().values() if hardware.id.startswith(prefix)}
    assert classes >= NAMED[prefix]


def test_three_abstract_devices_differ_in_their_ridge_point_alone() -> None:
    devices = [hardware for hardware in library().values() if hardware.device_class == "abstract"]
    assert sorted(hardware.ridge_point("int8") for hardware in devices) == pytest.approx([10, 100, 500])
    assert len({hardware.bandwidth_bytes_per_s for hardware in devices}) == 1


@pytest.mark.parametrize("name", bundled())
def test_every_number_of_a_bundled_profile_has_its_source(name: str) -> None:
    hardware = library()[name]
    numbers = {
        path: getattr(hardware, path) for path in hardware.terms() if isinstance(getattr(hardware, path), float | int)
    }
    numbers |= {
        path: getattr(hardware, path) for path in ("bandwidth_bytes_per_s", "energy_per_mac_j", "energy_per_byte_j")
    }
    for field in ("peak_macs_per_s", "peak_share_by_class", "bandwidth_bytes_per_s_by_class"):
        numbers |= {f"{field}.{key}": value for key, value in getattr(hardware, field).items()}
    numbers = {path: value for path, value in numbers.items() if value}
    assert set(numbers) == set(hardware.figures)
    for path, figure in hardware.figures.items():
        assert figure.value == pytest.approx(numbers[path], rel=1e-6)  # a size in MiB is rounded to bytes
        assert len(figure.source) > 10, path
        assert "TODO" not in figure.source, path


@pytest.mark.parametrize("name", bundled())
def test_the_peaks_of_a_bundled_profile_are_plausible(name: str) -> None:
    hardware = library()[name]
    assert hardware.id == name
    for dtype in hardware.peak_macs_per_s:
        assert 0.05 <= hardware.ridge_point(dtype) <= 5000
    peaks = [hardware.peak_macs_per_s.get(dtype, 0.0) for dtype in DTYPES]
    fp32, fp16, bf16, int8 = peaks
    for wide, narrow, word in ((fp32, fp16, "fp16"), (fp32, bf16, "bf16"), (max(fp16, bf16), int8, "int8")):
        assert not narrow or narrow >= wide or word in hardware.notes, f"the notes say why {word} is slower"
    assert all(0 < share <= 1 for share in hardware.peak_share_by_class.values())


@pytest.mark.parametrize("name", bundled())
def test_an_estimate_says_what_is_uncertain_about_it(name: str) -> None:
    """In its source; or it is a multiple of another dtype's figure, which is an estimate that says so."""
    figures = library()[name].figures
    for path, figure in figures.items():
        if figure.kind == "estimate":
            on = [figures.get(f"peak_macs_per_s.{dtype}") for dtype in DTYPES if dtype in figure.source]
            told = [figure, *(other for other in on if other is not None and other.kind == "estimate")]
            assert any(DOUBT.search(said.source) for said in told), f"{path}: {figure.source}"


def test_what_is_fitted_is_a_prediction_and_all_others_are_bounds() -> None:
    assert {"galaxy_s23_cpu", "pixel4_dsp", "pixel6_cpu", "pixel6_tpu", "pixel8_tpu"} <= predicting()
    for hardware in library().values():
        kinds = {figure.kind for figure in hardware.figures_of_time(hardware.default_dtype).values()}
        assert bool(kinds & {"fitted", "measured"}) == (hardware.id in predicting()), hardware.id


@pytest.mark.parametrize("name", [name for name in bundled() if name.endswith("_peak")])
def test_a_peak_stands_beside_a_fitted_profile_that_stays_below_it(name: str) -> None:
    peak, fitted = library()[name], library()[name.removesuffix("_peak")]
    assert peak.id not in predicting()
    assert fitted.id in predicting()
    assert fitted.device_class == peak.device_class
    assert fitted.peak("int8") < peak.peak("int8")
    assert fitted.bandwidth_bytes_per_s < peak.bandwidth_bytes_per_s


@dataclass(frozen=True)
class Printed:
    """What a vendor prints of a device, in the vendor's units: dense operations a second, and bytes a second."""

    id: str
    dtype: str
    ops_per_s: float  # 2 a MAC
    bytes_per_s: float
    where: str


PRINTED = [
    Printed("nvidia_t4", "int8", 130e12, 320e9, "T4 datasheet: 130 TOPS, 320 GB/s"),
    Printed("nvidia_v100", "fp16", 125e12, 900e9, "V100 datasheet, SXM2: 125 TFLOPS of the tensor cores"),
    Printed("nvidia_a100", "bf16", 312e12, 2039e9, "A100 datasheet, 80 GB SXM: 624 with sparsity"),
    Printed("nvidia_a100_40gb", "int8", 624e12, 1555e9, "A100 datasheet, 40 GB: 1248 TOPS with sparsity"),
    Printed("nvidia_a10", "fp16", 125e12, 600e9, "A10 datasheet: 250 TFLOPS with sparsity"),
    Printed("nvidia_h100", "bf16", 1979e12 / 2, 3.35e12, "H100 datasheet, SXM: 1979 TFLOPS with sparsity"),
    Printed("nvidia_h200", "int8", 3958e12 / 2, 4.8e12, "H200 datasheet: 3958 TOPS with sparsity"),
    Printed("nvidia_l4", "fp16", 242e12 / 2, 300e9, "L4 datasheet: 242 TFLOPS with sparsity"),
    Printed("nvidia_l40s", "int8", 1466e12 / 2, 864e9, "L40S datasheet: 1466 TOPS with sparsity"),
    Printed("nvidia_rtx4090", "fp32", 16384 * 2 * 2.52e9, 1008e9, "16384 lanes x 2.52 GHz; 384 bits x 21 Gbit/s"),
    Printed("amd_mi250", "fp16", 208 * 1024 * 1.7e9, 2 * 4096 / 8 * 3.2e9, "208 CUs x 1024 FLOPs; 8192 bits of HBM2E"),
    Printed("amd_mi300x", "fp16", 304 * 2048 * 2.1e9, 5.3e12, "304 CUs x 2048 FLOPs x 2.1 GHz; 5.3 TB/s"),
    Printed("google_tpu_v4", "bf16", 275e12, 1200e9, "cloud.google.com/tpu/docs/v4"),
    Printed("google_tpu_v5e", "bf16", 197e12, 819e9, "cloud.google.com/tpu/docs/v5e"),
    Printed("google_tpu_v5p", "bf16", 459e12, 2765e9, "cloud.google.com/tpu/docs/v5p"),
    Printed("jetson_nano", "fp16", 472e9, 25.6e9, "Jetson Nano: 472 GFLOPS; LPDDR4-3200 x 64 bits"),
    Printed("jetson_agx_orin", "int8", 85e12, 6.4e9 * 32, "170 TOPS sparse of the GPU; LPDDR5-6400 x 256 bits"),
    Printed("apple_m1_ane", "fp16", 11e12, 4.266e9 * 16, "11 trillion operations; LPDDR4X-4266 x 128 bits"),
    Printed("apple_m1_gpu", "fp32", 2.6e12, 4.266e9 * 16, "2.6 teraflops; the same memory"),
    Printed("iphone13_ane", "fp16", 15.8e12, 4.266e9 * 8, "15.8 trillion operations; LPDDR4X-4266 x 64 bits"),
    Printed("coral_edgetpu_usb", "int8", 4e12, 0.5e9, "coral.ai: 4 TOPS; USB 3 at 5 Gbit/s, 8b/10b coded"),
    Printed("ethos_u55_256", "int8", 2 * 256 * 0.5e9, 4e9, "256 MACs a cycle x 500 MHz"),
    Printed("raspberrypi_5", "fp32", 4 * 16 * 2.4e9, 4.267e9 * 4, "4 cores x 2 FMLA of 4 lanes x 2.4 GHz; 32 bits"),
    Printed("raspberrypi_4", "int8", 4 * 16 * 1.5e9, 3.2e9 * 4, "4 cores x 16 MACs in 2 cycles; LPDDR4-3200 x 32 bits"),
    Printed("epyc_7763", "int8", 64 * 64 * 3.5e9, 8 * 25.6e9, "64 cores x 2 multiplies of 32 pairs for 32 MACs"),
    Printed("xeon_8180", "int8", 28 * 128 / 1.5 * 2.3e9, 6 * 2.6667e9 * 8, "64 MACs in 3 of 2 instructions a cycle"),
    Printed("iphone13_ane", "int8", 15.8e12, 4.266e9 * 8, "fp16's rate, whatever the weights are stored in"),
    Printed("epyc_7763", "fp32", 64 * 32 * 3.5e9, 8 * 25.6e9, "64 cores x 2 FMA of 8 lanes x 3.5 GHz; 8 x DDR4-3200"),
    Printed("xeon_8180", "fp32", 28 * 64 * 2.3e9, 6 * 2.6667e9 * 8, "28 cores x 2 FMA of 16 lanes; 6 x DDR4-2666"),
]


@pytest.mark.parametrize("printed", PRINTED, ids=lambda printed: f"{printed.id} {printed.dtype}")
def test_figures_are_the_vendors_in_macs_and_dense(printed: Printed) -> None:
    hardware = library()[printed.id]
    assert hardware.peak(printed.dtype) == pytest.approx(printed.ops_per_s / 2, rel=0.01), printed.where
    assert hardware.bandwidth_bytes_per_s == pytest.approx(printed.bytes_per_s, rel=0.01), printed.where


def test_fitted_ridge_points_order_as_those_of_the_mobilenetv4_paper() -> None:
    """Table 16 of arXiv:2404.10518, without terms: 31.2 and 39.7 MACs/byte on CPUs, 347.3 and 433.8 on the others."""
    cpus = [library()[name].ridge_point("int8") for name in ("pixel6_cpu", "galaxy_s23_cpu")]
    others = [library()[name].ridge_point("int8") for name in ("pixel4_dsp", "pixel8_tpu", "pixel6_tpu")]
    assert 20 < cpus[0] < cpus[1] < 60
    assert max(cpus) < min(others)


@pytest.mark.parametrize("name", ["pixel4_dsp", "pixel6_cpu", "pixel6_tpu", "pixel8_tpu", "galaxy_s23_cpu"])
def test_figures_fitted_to_published_latencies_say_so(name: str) -> None:
    hardware = library()[name]
    assert hardware.latency_kind("int8") == "prediction"
    assert all(figure.kind == "fitted" for figure in hardware.figures.values())
    assert "arXiv:2404.10518" in hardware.figures["peak_macs_per_s.int8"].source
    for figure in hardware.figures.values():
        assert "arXiv:2404.10518" in figure.source or "The same fit" in figure.source


def test_a_bundled_profile_is_called_what_its_file_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "your_device.yaml").write_text(PROFILE)
    monkeypatch.setattr("roofline.profiles.resources.files", lambda package: tmp_path)
    with pytest.raises(ProfileError) as caught:
        load_profile("your_device")
    assert str(caught.value) == (
        "your_device.yaml:3: id: must be 'your_device', as the file is named (got 'my_device')"
    )


def test_the_example_in_the_schema_is_a_valid_profile_and_has_every_field() -> None:
    assert hwprofiles.__doc__ is not None
    example = hwprofiles.__doc__.partition("::\n\n")[2].rpartition("\n\n")[0]
    hardware = load(example)
    assert hardware.ridge_point("int8") == pytest.approx(4000 / 34.1)
    assert hardware.onchip_bytes == 8 * 2**20
    fields = {field.alias or name for name, field in ProfileEntry.model_fields.items()}
    assert set(re.findall(r"^ {4}(\w+):", example, re.MULTILINE)) == fields
    assert not any(value == NO_TERMS[name] for name, value in hardware.terms().items())


def test_the_classes_with_a_share_of_the_peak_are_those_that_do_macs() -> None:
    """As in a network with convolutions of every sort, attention, norms, activations and pools."""
    layers = roofline.analyze("mobilenetv4_hybrid_m", hw="pixel6_tpu").layers
    assert {"conv", "depthwise_conv", "pointwise_conv", "linear"} <= set(layers.kind[layers.macs > 0])
    assert set(layers.kind[layers.macs > 0]) <= set(MAC_CLASSES) < set(LAYER_CLASSES)
    assert not set(layers.kind[layers.macs == 0]) & set(MAC_CLASSES)


def test_profiles_need_no_torch() -> None:
    code = "import sys; import roofline.profiles as p; p.load_all(); assert 'torch' not in sys.modules"
    root = Path(profiles.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
