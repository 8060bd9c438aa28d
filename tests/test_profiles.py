from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from roofline import profiles
from roofline.errors import ProfileError
from roofline.hardware import ACTIVATIONS, Figure, Hardware
from roofline.profiles import SCHEMA, bundled, load_all, load_profile

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
vector_gops_per_s: {value: 60, kind: estimate, source: a}
layer_overhead_us: {value: 3, kind: measured, source: b}
onchip_mib: {value: 8, kind: datasheet, source: c}
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
    assert hardware.vector_ops_per_s == 60e9
    assert hardware.layer_overhead_s == 3e-6
    assert hardware.onchip_bytes == 8 * 1024 * 1024
    assert hardware.energy_per_mac_j == 0.6e-12
    assert hardware.energy_per_byte_j == 80e-12
    assert hardware.notes == "Two lines, one paragraph."


def test_what_is_optional_is_absent() -> None:
    hardware = load(PROFILE)
    assert hardware.layer_overhead_s == 0
    assert (hardware.vector_ops_per_s, hardware.onchip_bytes) == (None, None)
    assert (hardware.energy_per_mac_j, hardware.energy_per_byte_j) == (None, None)
    assert hardware.notes == ""


def test_every_number_keeps_its_kind_and_source() -> None:
    hardware = load(PROFILE + OPTIONAL)
    assert hardware.figures["peak_macs_per_s.fp16"] == Figure(value=2e12, kind="derived", source="half of int8")
    assert hardware.figures["layer_overhead_s"] == Figure(value=3e-6, kind="measured", source="b")
    assert set(hardware.figures) == {
        "peak_macs_per_s.fp16",
        "peak_macs_per_s.int8",
        "bandwidth_bytes_per_s",
        "vector_ops_per_s",
        "layer_overhead_s",
        "onchip_bytes",
        "energy_per_mac_j",
        "energy_per_byte_j",
    }


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
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        "(got the text '4.7e12'; YAML wants 4.7e+12 or 4700, not 4.7e12)",
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


def test_the_first_profiles_are_there_in_order() -> None:
    assert {"galaxy_s23_cpu", "pixel4_dsp", "pixel6_cpu", "pixel6_tpu", "pixel8_tpu"} <= set(bundled())
    assert tuple(sorted(bundled())) == bundled()
    assert tuple(hardware.id for hardware in load_all()) == bundled()


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_profile_has_sources_and_a_sane_ridge_point(name: str) -> None:
    hardware = load_profile(name)
    assert hardware.id == name
    for dtype, peak in hardware.peak_macs_per_s.items():
        assert 0.05 <= hardware.ridge_point(dtype) <= 5000
        assert hardware.figures[f"peak_macs_per_s.{dtype}"].value == peak
    assert hardware.figures["bandwidth_bytes_per_s"].value == hardware.bandwidth_bytes_per_s
    for path, figure in hardware.figures.items():
        assert len(figure.source) > 10, path


@pytest.mark.parametrize(
    ("name", "macs_per_byte"),
    [("pixel6_cpu", 31.2), ("galaxy_s23_cpu", 39.7), ("pixel4_dsp", 347.3), ("pixel8_tpu", 433.8)],
)
def test_ridge_points_are_those_of_the_mobilenetv4_paper(name: str, macs_per_byte: float) -> None:
    """Table 16 of arXiv:2404.10518, to its printed digits."""
    assert round(load_profile(name).ridge_point("int8"), 1) == macs_per_byte


@pytest.mark.parametrize("name", ["pixel4_dsp", "pixel6_cpu", "pixel6_tpu", "pixel8_tpu", "galaxy_s23_cpu"])
def test_figures_fitted_to_published_latencies_say_so(name: str) -> None:
    hardware = load_profile(name)
    assert hardware.latency_kind("int8") == "prediction"
    assert all("arXiv:2404.10518" in figure.source for figure in hardware.figures.values())


def test_a_bundled_profile_is_called_what_its_file_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "your_device.yaml").write_text(PROFILE)
    monkeypatch.setattr("roofline.profiles.resources.files", lambda package: tmp_path)
    with pytest.raises(ProfileError) as caught:
        load_profile("your_device")
    assert str(caught.value) == (
        "your_device.yaml:3: id: must be 'your_device', as the file is named (got 'my_device')"
    )


def test_the_example_in_the_schema_is_a_valid_profile() -> None:
    from roofline import hwprofiles

    assert hwprofiles.__doc__ is not None
    example = hwprofiles.__doc__.partition("::\n\n")[2].rpartition("\n\n")[0]
    hardware = load(example)
    assert hardware.ridge_point("int8") == pytest.approx(4000 / 34.1)
    assert hardware.onchip_bytes == 8 * 2**20


def test_profiles_need_no_torch() -> None:
    code = "import sys; import roofline.profiles as p; p.load_all(); assert 'torch' not in sys.modules"
    root = Path(profiles.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
