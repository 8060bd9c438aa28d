"""A sweep as text: in a terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from roofline.layers import UncountedOp
from roofline.profiles import load_profile
from roofline.reports.sweep_terminal import (
    COLUMNS,
    relative_latencies,
    render_sweep,
    render_sweep_csv,
    render_sweep_markdown,
    told_points,
)
from roofline.sweep import Candidate, MarkedProfile, RidgeSweep, SavedLayers, sweep, sweep_layers

pytestmark = pytest.mark.usefixtures("traced_once")

ZOO = (
    "mobilenetv1_100",
    "mobilenetv1_150",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_m",
)
EVIL = "[red]<b>|x|\x1b[31m"


@pytest.fixture(scope="module")
def mobile() -> RidgeSweep:
    return sweep(ZOO, points=11)


def model(name: str, layers: list[tuple[int, int]], top1: float | None = None, ops: int = 0) -> Candidate:
    macs, mem_bytes = np.array(layers, dtype=np.int64).reshape(-1, 2).T
    uncounted = tuple(UncountedOp(name=f"op{i}", calls=1, mem_bytes=1) for i in range(ops))
    saved = SavedLayers(
        kind=np.full(len(macs), "conv", dtype=object), macs=macs, mem_bytes=mem_bytes, fusion="none", dtype="int8",
        fused_activations=frozenset(), uncounted_ops=uncounted,
    )  # fmt: skip
    return Candidate(name=name, layers=saved, top1=top1)


def shown(result: RidgeSweep, *, width: int = 80, unicode: bool = True, top: int = 12) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render_sweep(result, width=width, unicode=unicode, top=top))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def lines_of(text: str, name: str) -> list[list[str]]:
    tables = text[text.index("\nModel ") :]
    return [line.split() for line in tables.splitlines() if line.startswith(name)]


def test_it_fits_80_columns_and_cuts_no_number(mobile: RidgeSweep) -> None:
    text = shown(mobile)
    assert max(map(len, text.splitlines())) <= 80
    for swept in mobile.models:
        front, ranks = lines_of(text, swept.name)[:2]
        assert front[1] == ("-" if swept.top1 is None else f"{swept.top1:g}")
        assert len(ranks) == 1 + 2 + len(told_points(mobile))


def test_relative_latencies_are_those_of_the_curves_and_of_the_limits(mobile: RidgeSweep) -> None:
    points = told_points(mobile)
    rows = relative_latencies(mobile, points)
    assert [min(column) for column in zip(*rows, strict=True)] == [1.0] * (len(points) + 2)
    least = min(swept.macs for swept in mobile.models), min(swept.mem_bytes for swept in mobile.models)
    for swept, row in zip(mobile.models, rows, strict=True):
        assert (row[0], row[-1]) == (swept.macs / least[0], swept.mem_bytes / least[1])
    standings = {standing.name: standing.latency for standing in mobile.at(points[2])}
    for swept, row in zip(mobile.models, rows, strict=True):
        assert row[3] == standings[swept.name] / min(standings.values())


@pytest.mark.parametrize(
    ("ridge", "scale"), [((0, 500), "linear"), ((0.5, 500), "log"), ((3, 4), "linear"), ((0, 1e-9), "linear")]
)
def test_told_points_are_within_the_range(ridge: tuple[float, float], scale: str) -> None:
    points = told_points(sweep_layers([model("A", [(1, 1)])], ridge=ridge, scale=scale))
    assert 2 < len(points) <= 6
    assert points == sorted(points)
    assert ridge[0] <= points[0] < points[-1] <= ridge[1]


def test_the_bar_is_where_a_model_is_on_the_front() -> None:
    fast_below, fast_beyond = model("below", [(60, 30)], 70.0), model("beyond", [(110, 20)], 70.0)  # meet at 110 / 30
    text = shown(sweep_layers([fast_below, fast_beyond], ridge=(0, 8)))
    below, beyond = lines_of(text, "below")[0], lines_of(text, "beyond")[0]
    assert below[-4:-1] == ["0", "to", "3.67"]
    assert beyond[-4:-1] == ["3.67", "to", "8"]
    assert re.fullmatch("\u2588+\u00b7+", below[-1])
    assert re.fullmatch("\u00b7+\u2588+", beyond[-1])
    plain = shown(sweep_layers([fast_below, fast_beyond], ridge=(0, 8)), unicode=False)
    assert plain.replace("\u2500", "-").isascii()
    assert re.fullmatch("#+[.]+", lines_of(plain, "below")[0][-1])


def test_crossings_are_listed_up_to_a_number(mobile: RidgeSweep) -> None:
    assert mobile.crossings
    text = shown(mobile, top=1)
    assert f"1 of {len(mobile.crossings)} crossings: faster below" in text
    first = mobile.crossings[0]
    assert f"{first.ridge_point:.4g}" in next(
        line for line in text.splitlines() if first.a in line and first.b in line and "fastest" not in line
    )
    assert "faster beyond" not in shown(mobile, top=0)


def test_notes_say_profiles_ties_and_what_was_not_counted() -> None:
    result = sweep_layers([model("A", [(9, 3)], ops=1), model("B", [(9, 3)])], ridge=(0, 8))
    mark = MarkedProfile.of(load_profile("pixel6_cpu"), "int8")
    text = " ".join(shown(replace(result, profiles=(mark,))).split())
    assert "Ridge points of devices at int8: pixel6_cpu 25.3." in text
    assert "Of the same latency: A and B (0 to 8)." in text
    assert "Not counted, but for their bytes: op0 of A (33 % of its bytes)." in text


def test_one_model_without_layers_is_shown() -> None:
    text = shown(sweep_layers([model("nothing", [])]))
    assert lines_of(text, "nothing")[1][1:] == ["-"] * (len(lines_of(text, "nothing")[1]) - 1)


def test_names_cannot_steer_a_terminal_or_a_table() -> None:
    result = sweep_layers([model(EVIL, [(9, 3)], 70.0), model("B", [(3, 9)], 60.0)], ridge=(0, 8))
    text = shown(result)
    assert "\x1b" not in text
    assert "[red]<b>|x|" in text
    markdown = render_sweep_markdown(result)
    assert "\x1b" not in markdown
    assert "\\[red\\]\\<b\\>\\|x\\|" in markdown
    assert next(csv.DictReader(io.StringIO(render_sweep_csv(result))))["model"] == EVIL


@pytest.mark.parametrize("normalisation", ["peak", "bandwidth"])
def test_the_csv_is_the_frame(normalisation: str) -> None:
    result = sweep(["mobilenetv1_025", "mobilenetv1_150"], points=3, normalisation=normalisation)
    rows = list(csv.DictReader(io.StringIO(render_sweep_csv(result))))
    frame = result.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert [row["model"] for row in rows] == frame["model"].tolist()
    for column in COLUMNS[1:]:
        assert [float(row[column] or "nan") for row in rows] == pytest.approx(frame[column].tolist(), nan_ok=True)


def test_markdown_has_a_table_of_models_of_ranks_and_of_crossings(mobile: RidgeSweep) -> None:
    text = render_sweep_markdown(mobile)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    rows, columns = len(mobile.models), len(told_points(mobile)) + 3
    assert [table.count("\n") - 2 for table in tables] == [rows, rows, len(mobile.crossings)]
    assert all(line.count("|") == columns + 1 for line in tables[1].splitlines())
    assert mobile.verdict().replace("_", "\\_") in text
