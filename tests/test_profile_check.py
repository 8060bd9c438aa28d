"""What a check says of a profile: all that is wrong with a bad one, and of a good one what is seldom meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from roofline.errors import ProfileError
from roofline.hardware import DeviceClass
from roofline.profile_check import RIDGE_POINTS, Checked, check_profile
from roofline.profiles import bundled, load_all, load_profile

PROFILES = Path(__file__).parents[1] / "hwprofiles"
GOOD = """\
schema: roofline/hardware/1
id: my_device
name: My Device
class: npu
peak_gmacs_per_s:
  fp16: {value: 2000, kind: derived, source: "half of int8, manual, p. 7"}
  int8: {value: 4000, kind: datasheet, source: "8 TOPS, brief, p. 3"}
bandwidth_gb_per_s: {value: 40, kind: datasheet, source: "brief, p. 4"}
default_dtype: int8
default_fusion: epilogue
fused_activations: [relu, relu6]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checked(*changes: tuple[str, str], file: str = "my_device.yaml") -> Checked:
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    Path(file).write_text(text, encoding="utf-8")
    return check_profile(file)


def warnings(*changes: tuple[str, str], file: str = "my_device.yaml") -> list[str]:
    one = checked(*changes, file=file)
    assert one.hardware is not None
    assert one.problems == ()
    return [warning.removeprefix(f"{file}:") for warning in one.warnings]


def problems(*changes: tuple[str, str]) -> list[str]:
    one = checked(*changes)
    assert one.hardware is None
    assert one.warnings == ()
    assert one.lines() == list(one.problems)
    return [problem.removeprefix("my_device.yaml:") for problem in one.problems]


def test_a_good_profile_is_told_in_one_line_with_its_ridge_points() -> None:
    """4000 GMAC/s over 40 GB/s are 100 MACs/byte."""
    assert checked().lines() == [
        "my_device.yaml: ok: my_device, npu, ridge point in MACs/byte: 50 at fp16, 100 at int8"
    ]
    assert checked().hardware == load_profile("my_device.yaml")


@pytest.mark.parametrize("name", bundled())
def test_bundled_profiles_are_good_and_warn_of_nothing_but_estimates(name: str) -> None:
    one = check_profile(PROFILES / f"{name}.yaml")
    assert one.hardware == load_profile(name)
    assert [warning for warning in one.warnings if not re.search(r": estimates?, and a result", warning)] == []


def test_a_calibration_that_is_not_there_is_told() -> None:
    added = ("[relu, relu6]", "[relu, relu6]\ncalibration: local.npz")
    assert warnings(added) == ["12: warning: calibration: there is no file local.npz"]
    Path("local.npz").touch()
    assert warnings(added) == []
    one = checked(added)
    assert one.hardware is not None
    assert one.hardware.calibration == Path("local.npz")


def test_of_a_bad_profile_all_problems_are_told_each_with_its_line() -> None:
    found = problems(
        ("class: npu", "class: tpu"),
        ("value: 2000", "value: 0"),
        ('"brief, p. 4"', "''"),
        ("fused_activations: [relu, relu6]\n", "fused_activation: [relu, relu6]\n"),
    )
    assert found == [
        "4: class: must be 'cpu', 'gpu', 'dsp', 'npu', 'edgetpu' or 'abstract' (got 'tpu')",
        "6: peak_gmacs_per_s.fp16.value: must be greater than 0 (got 0)",
        "8: bandwidth_gb_per_s.source: must not be empty",
        "11: fused_activation: unknown field. Did you mean 'fused_activations'?",
        "1: fused_activations: required, but missing",
    ]


def test_the_first_problem_is_the_one_that_loading_tells_and_the_rest_are_those_it_counts() -> None:
    one = checked(("class: npu", "class: tpu"), ("value: 40,", "value: -40,"))
    with pytest.raises(ProfileError) as told:
        load_profile("my_device.yaml")
    assert str(told.value) == f"{one.problems[0]} (+{len(one.problems) - 1} more)"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: a profile is a mapping that begins with 'schema: roofline/hardware/1' (got nothing)"),
        ("[1, 2]", "1: a profile is a mapping that begins with"),
        ("a: [1\n", "2: not YAML: "),
        ("a: !!int 3\n", "1: tags (!), anchors (&) and aliases (*) have no place in a profile"),
        ("a: 1\na: 2\n", "2: a: given twice, first on line 1"),
        ("a: \x07\n", "1: not YAML: holds the control character '\\x07'"),
    ],
)
def test_what_is_no_profile_at_all_is_one_problem(text: str, problem: str) -> None:
    Path("my_device.yaml").write_text(text)
    one = check_profile("my_device.yaml")
    assert len(one.problems) == 1
    assert one.problems[0].startswith(f"my_device.yaml:{problem}")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none.yaml", "none.yaml: no such file"),
        (  # bundled ones are ours to check
            "pixel6_tpu",
            "pixel6_tpu: no such file; a check takes files, and 'roofline hw pixel6_tpu' tells the bundled profile",
        ),
        ("folder", "folder: is a directory; a profile is a YAML file"),
        ("a\0b", "a\0b: no such file"),
        ("my_device.yaml/x", "my_device.yaml/x: cannot be read: Not a directory"),
        ("x" * 5000, f"{'x' * 5000}: cannot be read: File name too long"),
    ],
    ids=["missing", "bundled", "folder", "null", "below a file", "long"],
)
def test_a_file_that_cannot_be_read_is_a_problem_too(name: str, problem: str) -> None:
    Path("folder").mkdir()
    Path("my_device.yaml").touch()
    assert check_profile(name).problems == (problem,)


# What is implausible


def test_an_id_that_is_not_the_file_s_name() -> None:
    assert warnings(file="chip.yaml") == ["2: warning: id: is my_device, and the file is named chip"]


@pytest.mark.parametrize(
    ("peak", "bandwidth", "warned"),
    [(40, 100, []), (6, 20, []), (5.9, 20, ["int8"]), (40_000, 20, []), (40_001, 20, ["int8"]), (8, 30e6, ["int8"])],
)
def test_a_ridge_point_that_no_device_of_its_class_has(peak: float, bandwidth: float, warned: list[str]) -> None:
    """Of an NPU, from 0.3 to 2000 MACs/byte."""
    found = warnings(
        ('  fp16: {value: 2000, kind: derived, source: "half of int8, manual, p. 7"}\n', ""),
        ("value: 4000", f"value: {peak:.1f}"), ("value: 40,", f"value: {bandwidth:.1f},"),
    )  # fmt: skip
    assert [re.search(r"peak_gmacs_per_s\.(\w+): .*ridge point is ", line)[1] for line in found] == warned  # type: ignore[index]


def test_bytes_in_the_place_of_gigabytes_are_seen() -> None:
    """34.1e6 for 34.1: MB/s, written where GB/s belong."""
    (line, _) = warnings(("value: 40,", "value: 34100000,"))
    assert line == (
        "6: warning: peak_gmacs_per_s.fp16: with this bandwidth the ridge point is 0.0000587 MACs/byte; devices of "
        "class npu have 0.3 to 2000: is each figure in units of 1e9?"
    )


@pytest.mark.parametrize(
    ("wide", "narrow", "warned"), [("fp32", "fp16", True), ("fp16", "int8", True), ("bf16", "fp16", False)]
)
def test_a_narrower_dtype_that_is_slower_wants_a_note(wide: str, narrow: str, warned: bool) -> None:
    swapped = [
        ("  fp16: {value: 2000", f"  {narrow}: {{value: 2000"),
        ("  int8: {value: 4000", f"  {wide}: {{value: 4000"),
        ("default_dtype: int8", f"default_dtype: {narrow}"),
    ]
    told = f"warning: peak_gmacs_per_s.{narrow}: is below that of {wide}, and no notes on {narrow} say why"
    assert warnings(*swapped) == ([f"6: {told}"] if warned else [])
    for note, heard in ((f"It has no units for {narrow.upper()}.", True), ("It is a fine device.", False)):
        left = [f"7: {told}"] if warned and not heard else []
        assert warnings(*swapped, ("name: My Device\n", f"name: My Device\nnotes: {note}\n")) == left


def test_equal_peaks_are_common() -> None:
    assert warnings(("value: 2000", "value: 4000")) == []


def test_estimates_are_listed_in_one_line() -> None:
    found = warnings(("kind: derived", "kind: estimate"), ("value: 40, kind: datasheet", "value: 40, kind: estimate"))
    assert found == [
        "6: warning: peak_gmacs_per_s.fp16, bandwidth_gb_per_s: estimates, and a result is no better than its figures"
    ]


@pytest.mark.parametrize(
    "source", ["TODO", "todo: look it up", "tbd", "?", "...", "n/a", "unknown", "FIXME page 3", "-"]
)
def test_a_source_that_is_none(source: str) -> None:
    found = warnings(('"8 TOPS, brief, p. 3"', f'"{source}"'), ('"brief, p. 4"', f'"{source}"'))
    assert found == [
        f"7: warning: peak_gmacs_per_s.int8, bandwidth_gb_per_s: the source is {source!r}, which nobody can look up"
    ]


def test_one_document_may_be_the_source_of_all_figures_but_not_in_the_same_words() -> None:
    assert warnings(('"8 TOPS, brief, p. 3"', '"34.1 GB/s, brief, p. 4"')) == []
    assert warnings(('"8 TOPS, brief, p. 3"', '"brief, p. 4"')) == [
        "7: warning: peak_gmacs_per_s.int8, bandwidth_gb_per_s: have the same source, word for word: does it print "
        "each of them? Say where, and the figure as printed"
    ]


@pytest.mark.parametrize(
    ("peaks", "warned"),
    [
        ({"fp16": (156000, "312 TFLOPS"), "int8": (312000, "624 TOPS")}, []),
        ({"fp32": (9750, "19.5 TFLOPS"), "fp16": (312000, "624 TFLOPS")}, ["fp16 32 fp32"]),
        ({"fp32": (9750, "19.5 TFLOPS"), "fp16": (156000, "312 TFLOPS dense")}, []),
        ({"fp16": (156000, "312 TFLOPS dense"), "int8": (624000, "1248 TOPS")}, ["int8 4 fp16"]),
        ({"fp16": (60500, "121 TFLOPS dense"), "bf16": (121000, "242 TFLOPS"), "int8": (242000, "485 TOPS")},
         ["int8 4 fp16"]),
        ({"fp16": (100000, "200 TFLOPS"), "int8": (210000, "420 TOPS")}, []),
    ],
)  # fmt: skip
def test_a_peak_that_may_be_one_with_sparsity(peaks: dict[str, tuple[float, str]], warned: list[str]) -> None:
    """The A100 prints 19.5, 312 and 624; with sparsity 624 and 1248."""
    written = "".join(f'  {d}: {{value: {v}, kind: datasheet, source: "{s}, p. 1"}}\n' for d, (v, s) in peaks.items())
    both = GOOD[GOOD.index("  fp16:") : GOOD.index("bandwidth")]
    last = list(peaks)[-1]
    changes = [(both, written), ("value: 40,", "value: 2039,"), ("class: npu", "class: gpu"),
               ("default_dtype: int8", f"default_dtype: {last}")]  # fmt: skip
    found = [
        re.search(r"peak_gmacs_per_s\.(\w+): is (\S+) times that of (\w+): with sparsity\?", w)
        for w in warnings(*changes)
    ]
    assert [" ".join(match.groups()) for match in found if match] == warned
    noted = [*changes, ("name: My Device\n", f"name: My Device\nnotes: Its units for {last} are others.\n")]
    assert warnings(*noted) == []


def test_a_derived_peak_shows_whence_it_is_and_may_be_any_multiple() -> None:
    assert warnings(("value: 4000, kind: datasheet", "value: 8000, kind: derived")) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("layer_overhead_us: {value: 1000, kind: measured, source: x}", None),
        ("layer_overhead_us: {value: 4000, kind: measured, source: x}", "a layer starts with 4 ms: is it in micros"),
        ("inference_overhead_us: {value: 100000, kind: measured, source: x}", None),
        (
            "inference_overhead_us: {value: 250000, kind: fitted, source: x}",
            "an inference starts with 250 ms: is it",
        ),
        ("overhead_layers: macs", "changes nothing without layer_overhead_us"),
        ("overhead_layers: all", None),
    ],
)
def test_an_overhead_that_is_too_large_or_of_nothing(line: str, told: str | None) -> None:
    found = warnings(("name: My Device\n", f"name: My Device\n{line}\n"))
    assert [w.partition(f"{line.partition(':')[0]}: ")[2][: len(told or "")] for w in found] == ([told] if told else [])


def test_overheads_of_some_layers_need_an_overhead() -> None:
    both = "overhead_layers: macs\nlayer_overhead_us: {value: 4, kind: measured, source: x}\n"
    assert warnings(("name: My Device\n", f"name: My Device\n{both}")) == []


@pytest.mark.parametrize("device_class", get_args(DeviceClass))
def test_the_bundled_profiles_are_well_within_the_ridge_points_of_their_class(device_class: DeviceClass) -> None:
    devices = [device for device in load_all() if device.device_class == device_class]
    points = [device.ridge_point(dtype) for device in devices for dtype in device.peak_macs_per_s]
    low, high = RIDGE_POINTS[device_class]
    assert low <= min(points) / 3
    assert high >= max(points) * 3


def test_a_share_of_the_peak_beyond_all_of_it() -> None:
    line = 'peak_share_by_class: {linear: {value: 12.5, kind: derived, source: "per cent, p. 9"}}\n'
    assert warnings(("name: My Device\n", f"name: My Device\n{line}")) == [
        "4: warning: peak_share_by_class.linear: is 12.5, more than the whole peak"
    ]
