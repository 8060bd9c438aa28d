"""A comparison on 80 columns: what stands on it, that it adds up, and that nobody's names can disturb it."""

from __future__ import annotations

import copy
import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console, RenderableType
from rich.segment import Segment

import roofline
from roofline.comparison import COLUMNS, Comparison, compare, compare_models
from roofline.comparison_words import letters
from roofline.reports.comparison_export import render_comparison_csv, render_comparison_markdown
from roofline.reports.comparison_terminal import DETAILED, FASTER, SLOWER, render_comparison
from roofline.reports.terminal import STYLES

pytestmark = pytest.mark.usefixtures("traced_once")

Golden = Callable[[str, str], None]
EVIL = "x\x1b[31m[red]<b>|`*_\u202e\n| a | b |"


@pytest.fixture(scope="module")
def models() -> Comparison:
    return compare_models(["mobilenetv4_conv_medium", "mobilenetv4_conv_small"], hw="pixel6_tpu")


@pytest.fixture(scope="module")
def devices() -> Comparison:
    return compare_models(["mobilenetv4_hybrid_medium"], hw=["pixel6_cpu", "pixel6_tpu", "galaxy_s23_cpu"])


@pytest.fixture(scope="module")
def both() -> Comparison:
    return compare_models(
        ["mobilenetv4_conv_medium", "mobilenetv4_conv_small", "mobilenetv3_large_100"], hw=["pixel6_tpu", "pixel6_cpu"]
    )


def drawn(renderable: RenderableType, width: int = 80, encoding: str = "utf-8") -> str:
    """As it leaves through a pipe."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    Console(file=file, width=width, color_system=None, highlight=False).print(renderable)
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding)


def painted(renderable: RenderableType) -> list[Segment]:
    console = Console(width=200, color_system="truecolor", force_terminal=True, file=io.StringIO())
    return list(console.render(renderable))


def colour(segment: Segment) -> str | None:
    return segment.style.color.name if segment.style and segment.style.color else None


def table(text: str, title: str) -> list[list[str]]:
    """The rows below a heading, cut where its columns end."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title))
    return [re.split(r" {2,}", line.strip()) for line in lines[start + 2 : lines.index("", start)]]


def number(text: str) -> float:
    return float(text.replace(",", "").replace(" %", ""))


def renamed(comparison: Comparison, name: str) -> Comparison:
    """The same, with all that a user may name called this."""
    analyses = [copy.deepcopy(dict(side.data)) for side in comparison.sides]
    for i, data in enumerate(analyses):
        data["model"]["name"] = f"{name}{i}"
        data["hardware"]["id"] = data["hardware"]["name"] = name
        data["uncounted_ops"] = [{"name": name, "calls": 1, "mem_bytes": 1}]
        for layer in data["layers"]:
            layer["name"] = f"{name}{layer['name']}"
    return compare(analyses)


# --- golden files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["models", "devices", "both"])
def test_the_screen_is_as_it_was(what: str, request: pytest.FixtureRequest, golden: Golden) -> None:
    golden(drawn(render_comparison(request.getfixturevalue(what))), f"compare_{what}.txt")


def test_the_markdown_is_as_it_was(models: Comparison, golden: Golden) -> None:
    golden(render_comparison_markdown(models), "compare_models_md.txt")


# --- what stands on it ----------------------------------------------------------------------------------------------


def test_the_verdict_comes_first(models: Comparison) -> None:
    assert " ".join(drawn(render_comparison(models), width=500).split("\n\n")[0].split()) == models.verdict()


def test_one_difference_fits_a_screen(models: Comparison) -> None:
    assert len(drawn(render_comparison(models)).splitlines()) <= 40


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("what", ["models", "devices", "both"])
def test_no_line_is_longer_than_the_terminal(what: str, width: int, request: pytest.FixtureRequest) -> None:
    text = drawn(render_comparison(request.getfixturevalue(what), width=width), width=width)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("what", ["models", "devices", "both"])
def test_no_cell_is_cut_on_80_columns(what: str, request: pytest.FixtureRequest) -> None:
    """Names lose their beginning, and say so; all else is the same as on a wide terminal."""
    comparison = request.getfixturevalue(what)
    narrow, wide = (drawn(render_comparison(comparison, width=width), width=width) for width in (80, 300))
    bounds = re.compile(r"(?<![\w-])(?:to )?(?:compute|memory)\s*$", re.M)
    assert len(bounds.findall(narrow)) == len(bounds.findall(wide)) >= 6
    assert "…" not in narrow


def test_the_changes_by_kind_add_up(models: Comparison) -> None:
    rows = table(drawn(render_comparison(models)), "Kind")
    assert [row[0] for row in rows] == [part.name for part in models.differences[0].by("kind")]
    before, after, change, share = zip(*([number(cell) for cell in row[3:7]] for row in rows), strict=True)
    difference = models.differences[0]
    assert sum(before) == pytest.approx(1e6 * difference.baseline.latency_s, abs=0.5)
    assert sum(after) == pytest.approx(1e6 * difference.other.latency_s, abs=0.5)
    assert sum(change) == pytest.approx(1e6 * difference.delta_s, abs=0.5)
    assert sum(share) == pytest.approx(100 * difference.delta_s / difference.baseline.latency_s, abs=1.5)


def test_the_layers_are_those_that_changed_most(models: Comparison) -> None:
    difference = models.differences[0]
    rows = table(drawn(render_comparison(models, top=7, width=120), width=120), "7 of ")
    assert [row[0] for row in rows] == [change.name for change in difference.changes()[:7]]
    for row, change in zip(rows, difference.changes(), strict=False):
        assert (row[2] == "added") == (change.status == "added")
        assert (row[3] == "removed") == (change.status == "removed")
        assert number(row[4]) == pytest.approx(1e6 * change.delta_s, abs=0.06)


def test_how_many_layers_can_be_said(models: Comparison, devices: Comparison) -> None:
    assert "changed  " not in drawn(render_comparison(models, top=0))
    assert drawn(render_comparison(devices)).count("3 of 162 changed") == 2
    assert drawn(render_comparison(devices, top=5)).count("5 of 162 changed") == 2


def test_parts_of_the_network_in_place_of_kinds(models: Comparison, devices: Comparison) -> None:
    rows = table(drawn(render_comparison(models, group="stage")), "Stage")
    assert [row[0] for row in rows] == [part.name for part in models.differences[0].by("stage")]
    assert [row[0] for row in table(drawn(render_comparison(devices, group="stage")), "Stage")] == list(
        devices.by("stage")
    )
    with pytest.raises(roofline.RooflineError, match="unknown group"):
        render_comparison(models, group="size")


def test_each_side_has_a_letter(both: Comparison) -> None:
    assert list(letters(both).values()) == list("ABCDEF")
    many = compare([both.sides[0].data] * 30)
    assert list(letters(many).values())[24:29] == ["Y", "Z", "A1", "B1", "C1"]


def test_the_matrix_ranks_models_on_each_device(both: Comparison) -> None:
    rows = table(drawn(render_comparison(both)), "Latency, ms (rank)")
    assert rows == [
        ["mobilenetv4_conv_medium", "A 0.63 (3)", "B 11.84 (3)"],
        ["mobilenetv4_conv_small", "C 0.19 (1)", "D 2.66 (1)"],
        ["mobilenetv3_large_100", "E 0.47 (2)", "F 4.90 (2)"],
    ]


def test_more_devices_than_fit_make_more_tables(both: Comparison) -> None:
    analyses = []
    for i in range(9):
        for side in both.sides[::2]:
            data = copy.deepcopy(dict(side.data))
            data["hardware"]["id"] = f"a_device_with_a_name_{i}"
            analyses.append(data)
    text = drawn(render_comparison(compare(analyses)))
    assert text.count("Latency, us (rank)") == 5
    assert all(f"a_device_with_a_name_{i}" in text for i in range(9))
    assert max(map(len, text.splitlines())) <= 80


def test_only_some_differences_are_drawn_in_full(both: Comparison) -> None:
    assert len(both.differences) > DETAILED
    assert len(re.findall(r"^[B-F] against [A-F]\.", drawn(render_comparison(both)), re.M)) == DETAILED


def test_a_hole_in_the_matrix_is_a_dash(both: Comparison) -> None:
    data = [both.sides[i].data for i in (0, 3)]
    rows = table(drawn(render_comparison(compare(data))), "Latency")
    assert rows == [["mobilenetv4_conv_medium", "A 626.2 (1)", "-"], ["mobilenetv4_conv_small", "-", "B 2,658.0 (1)"]]


def test_nothing_changed_is_said(models: Comparison) -> None:
    text = drawn(render_comparison(compare([models.sides[0].data] * 2)))
    assert "and no layer differs." in " ".join(text.split())
    assert "\nNo layer differs.\n" in text


def test_a_bound_beside_a_prediction_has_no_ratio(models: Comparison) -> None:
    data = [copy.deepcopy(dict(side.data)) for side in models.sides]
    data[1]["latency_kind"] = "bound"
    text = drawn(render_comparison(compare(data)))
    rows = table(text, "On pixel6_tpu")
    assert [row[6] for row in rows] == ["prediction", "bound"]
    assert rows[1][7] == "-"
    assert "unlike numbers" in text


def test_models_without_layers_are_drawn(models: Comparison) -> None:
    data = copy.deepcopy(dict(models.sides[0].data))
    data["layers"] = []
    for key in ("latency_s", "macs", "weight_bytes", "activation_bytes", "compute_bound_share"):
        data["totals"][key] = 0
    for analyses in ([data, data], [data] * 3, [data, models.sides[1].data]):
        assert drawn(render_comparison(compare(analyses)))


# --- colours and characters -----------------------------------------------------------------------------------------


def test_faster_and_slower_have_a_colour_and_a_sign(models: Comparison) -> None:
    for segment in painted(render_comparison(models)):
        sign = segment.text.strip()[:1]
        if colour(segment) in (FASTER, SLOWER) and sign and sign in "+-":
            assert sign == ("-" if colour(segment) == FASTER else "+")
    texts = {colour(segment) for segment in painted(render_comparison(models)) if segment.text.strip()}
    assert {FASTER, SLOWER, STYLES["memory"], STYLES["compute"]} <= texts


def test_the_fastest_on_a_device_is_bold(both: Comparison) -> None:
    bold = [s.text.strip() for s in painted(render_comparison(both)) if s.style and s.style.bold]
    assert {"C 0.19 (1)", "D 2.66 (1)"} <= set(bold)
    assert not {"A 0.63 (3)", "E 0.47 (2)"} & set(bold)


def test_a_terminal_without_blocks_gets_signs(models: Comparison) -> None:
    text = drawn(render_comparison(models, unicode=False), encoding="ascii")
    assert "###" in text


def test_names_cannot_steer_the_terminal(both: Comparison, models: Comparison) -> None:
    for comparison in (renamed(models, EVIL), renamed(both, EVIL)):
        text = drawn(render_comparison(comparison))
        assert not [c for c in text if c != "\n" and not c.isprintable()]
        assert "\\x1b[31m[red]" in text
        assert max(map(len, text.splitlines())) <= 80


# --- CSV and Markdown -----------------------------------------------------------------------------------------------


def test_the_csv_is_the_frame(both: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(render_comparison_csv(both))))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == len(both.rows())
    for row, expected in zip(rows, both.rows(), strict=True):
        assert {key: "" if value is None else str(value) for key, value in expected.items()} == row


def test_the_markdown_has_a_table_for_each_difference(both: Comparison) -> None:
    text = render_comparison_markdown(both, top=2)
    assert text.count("| 2 of ") == len(both.differences)
    assert "| 2 of " not in render_comparison_markdown(both, top=0)
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_names_cannot_break_the_markdown(models: Comparison) -> None:
    text = render_comparison_markdown(renamed(models, EVIL))
    cells = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert cells == {9, 7}
    assert "<b>" not in text.replace("\\<b\\>", "")


def test_the_markdown_says_what_its_numbers_are(models: Comparison) -> None:
    data: list[Any] = [copy.deepcopy(dict(side.data)) for side in models.sides]
    data[1]["latency_kind"] = "bound"
    text = render_comparison_markdown(compare(data))
    assert "| prediction |" in text
    assert "| bound |" in text
    assert text.splitlines()[5].endswith("| - |")
