"""Devices on 80 columns: what stands there, that it is what the profiles say, and that no name can disturb it."""

from __future__ import annotations

import csv
import io
import re
from typing import Any, get_args

import pytest
from rich.console import Console, RenderableType

from roofline import hardware_words as words
from roofline.hardware import DTYPES, DeviceClass, Figure, FigureKind, Hardware
from roofline.hardware_list import COLUMNS, HardwareList
from roofline.profiles import bundled, load_all, load_profile
from roofline.reports.hardware_export import render_hardware_csv, render_hardware_markdown
from roofline.reports.hardware_terminal import render_hardware, render_profile
from roofline.units import si, significant

EVIL = "x\x1b[31m[red]<b>|`*_\u202e\n| a | b |"
KINDS = "|".join(get_args(FigureKind))
ALL = HardwareList.of()


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


def drawn(renderable: RenderableType, width: int = 80, encoding: str = "utf-8") -> str:
    """As it leaves through a pipe."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    Console(file=file, width=width, color_system=None, highlight=False).print(renderable)
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    text = file.buffer.getvalue().decode(encoding)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def rows(text: str) -> list[list[str]]:
    """The rows of the list, cut where columns end."""
    return [re.split(r" {2,}", line) for line in text.splitlines() if re.search(rf"  ({KINDS}|-)$", line)]


# --- the list ---------------------------------------------------------------------------------------------------------


def test_a_line_a_device_by_class_and_name() -> None:
    classes = get_args(DeviceClass)
    expected = sorted(load_all(), key=lambda device: (classes.index(device.device_class), device.id))
    shown = rows(drawn(render_hardware(ALL)))
    assert [row[0] for row in shown] == [device.id for device in expected]
    for row, device in zip(shown, expected, strict=True):
        dtype = device.default_dtype
        assert row[1].split() == [dtype, *(other for other in device.peak_macs_per_s if other != dtype)]
        assert row[2:5] == [
            si(device.peak(dtype)), si(device.bandwidth_bytes_per_s), significant(device.ridge_point(dtype)),
        ]  # fmt: skip
        assert (row[5] in ("fitted", "measured")) == (device.latency_kind(dtype) == "prediction")


def test_each_class_has_its_heading_and_its_count() -> None:
    text = drawn(render_hardware(ALL))
    headings = dict(re.findall(r"^(\w+) \((\d+)\)$", text, re.MULTILINE))
    present = [name for name in get_args(DeviceClass) if any(d.device_class == name for d in load_all())]
    assert list(headings) == present
    assert sum(map(int, headings.values())) == len(bundled())


@pytest.mark.parametrize("sort", ["name", "ridge", "peak", "bandwidth"])
@pytest.mark.parametrize("width", [80, 90, 200])
@pytest.mark.parametrize("dtype", [None, *DTYPES])
@pytest.mark.sampled(3)
def test_it_fits_any_terminal_and_no_number_is_cut(sort: str, width: int, dtype: str | None) -> None:
    listed = HardwareList.of(sort=sort, dtype=dtype)
    text = drawn(render_hardware(listed, sort=sort, width=width), width)
    assert max(map(len, text.splitlines())) <= width
    shown = rows(text)
    assert sorted(row[0] for row in shown) == sorted(device.id for device in listed.devices)
    for row in shown:
        device = load_profile(row[0])
        assert significant(device.ridge_point(listed.dtype_of(device))) in row[-2].split()


def test_sorted_by_a_number_the_class_is_a_column_and_other_dtypes_a_count_until_there_is_room() -> None:
    listed = HardwareList(devices=(toy(),))
    assert rows(drawn(render_hardware(listed, sort="peak")))[0][:3] == ["toy", "npu", "int8 +1"]
    wide = drawn(render_hardware(listed, sort="peak", width=100), 100)
    assert rows(wide)[0][:3] == ["toy", "npu", "int8 fp16"]


def test_the_verdict_stands_below() -> None:
    assert ALL.verdict() in " ".join(drawn(render_hardware(ALL)).split())


# --- one profile ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", load_all(), ids=lambda device: device.id)
def test_one_profile_has_every_figure_with_kind_and_source_in_80_columns(device: Hardware) -> None:
    text = drawn(render_profile(device))
    assert max(map(len, text.splitlines())) <= 80
    flowing = " ".join(text.split())
    for dtype, peak in device.peak_macs_per_s.items():
        kind = words.kind(device.figures[f"peak_macs_per_s.{dtype}"], "-")
        point = re.escape(significant(device.ridge_point(dtype)))
        row = rf"^{dtype} +{re.escape(si(peak))} +{point}  {kind} +{device.latency_kind(dtype)}$"
        assert re.search(row, text, re.MULTILINE)
    assert f"memory bandwidth {si(device.bandwidth_bytes_per_s, 'B/s')} " in flowing
    for figure in device.figures.values():
        assert " ".join(figure.source.split()) in flowing
    assert " ".join(device.notes.split()) in flowing


def test_a_source_of_several_figures_stands_once() -> None:
    same = Figure(value=1, kind="datasheet", source="One page of all.")
    paths = ("peak_macs_per_s.int8", "peak_macs_per_s.fp16", "bandwidth_bytes_per_s")
    text = drawn(render_profile(toy(figures=dict.fromkeys(paths, same))))
    assert "  peak at int8, peak at fp16, memory bandwidth: One page of all.\n" in text
    assert text.count("One page of all.") == 1


def test_a_device_made_in_python_has_dashes_for_kinds_and_no_sources() -> None:
    text = drawn(render_profile(toy()))
    assert re.search(r"^int8 +4 T +400  - +bound$", text, re.MULTILINE)
    assert "Times on it at int8 are bounds on figures without a source." in text
    assert "Sources" not in text
    assert "Notes" not in text
    assert rows(drawn(render_hardware(HardwareList(devices=(toy(),)))))[0][-1] == "-"


# --- text of unknown origin -------------------------------------------------------------------------------------------


def test_nobody_s_names_can_disturb_it() -> None:
    figure = Figure(value=1, kind="fitted", source=EVIL)
    evil = toy(id=EVIL, name=EVIL, notes=EVIL, figures={"bandwidth_bytes_per_s": figure})
    listed = HardwareList(devices=(evil,))
    for text in (drawn(render_hardware(listed)), drawn(render_profile(evil)), render_hardware_markdown(listed)):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert render_hardware_markdown(listed).count("\n| ") == 1 + 1 + 2  # header, rule, two dtypes
    (line, _) = csv.DictReader(io.StringIO(render_hardware_csv(listed)))
    assert line["id"] == line["name"] == EVIL


def test_in_ascii_everything_is_ascii() -> None:
    for renderable in (render_hardware(ALL), render_profile(load_profile("pixel6_tpu"))):
        assert drawn(renderable, encoding="ascii")


# --- exports ----------------------------------------------------------------------------------------------------------


def test_csv_reads_back() -> None:
    lines = list(csv.DictReader(io.StringIO(render_hardware_csv(ALL))))
    assert tuple(lines[0]) == COLUMNS
    assert [{**line} for line in lines] == [{key: str(value) for key, value in row.items()} for row in ALL.rows()]


def test_markdown_has_the_verdict_and_a_row_for_each_dtype() -> None:
    lines = render_hardware_markdown(HardwareList(devices=(toy(),))).splitlines()
    assert lines[0] == "toy has a ridge point of 400 MACs/byte at int8."
    assert lines[4:] == [
        "| toy | npu | int8 | 4 T | 10 G | 400 |  | bound |", "| toy | npu | fp16 | 1 T | 10 G | 100 |  | bound |",
    ]  # fmt: skip
