"""A design space in a terminal, from a run of a small one; and its networks as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from roofline.exploring.analysis import Summary, pareto, summary, top
from roofline.reports.space_terminal import render_networks_csv, render_space, render_spaces
from roofline.spaces import BUILT_IN
from tests.exploring.runs import alone, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space") / "run"
    alone(tiny(40), folder)
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> Summary:
    return summary(run, best=5)


def text(drawn: RenderableType, width: int = 80) -> str:
    canvas = Console(file=io.StringIO(), width=width, color_system=None)
    with canvas.capture() as capture:
        canvas.print(drawn)
    return capture.get()


def test_latencies_of_devices_are_durations_and_those_of_ridge_points_are_macs(found: Summary) -> None:
    shown = {line.split()[0]: line for line in text(render_space(found, best=0)).splitlines() if line.strip()}
    assert " us" in shown["pixel6_tpu"] or " ns" in shown["pixel6_tpu"]
    assert "s " not in shown["ridge=30"].replace("%", "")
    assert "At" in shown  # a ridge point, latency is relative


def test_the_best_come_in_order_and_only_as_many_as_asked(found: Summary, run: Path) -> None:
    lines = text(render_space(found, best=3)).splitlines()
    begin = lines.index(next(line for line in lines if line.startswith("Best 3 by latency on pixel6_tpu")))
    assert [int(line.split()[0]) for line in lines[begin + 3 : begin + 6]] == [row["index"] for row in top(run, 3)]
    assert lines[begin + 6].strip() == ""
    assert "Best" not in text(render_space(found, best=0))


def test_the_first_of_the_best_is_told_as_set_takes_it(found: Summary, run: Path) -> None:
    shown = " ".join(text(render_space(found, best=3)).split())
    (best,) = top(run, 1)
    kernels = ",".join(map(str, best["kernels"]))
    assert (
        f"Draw {best['index']}: width={best['width']} depth={best['depth']} kernels={kernels} act={best['act']}"
        in shown
    )


def test_where_there_is_no_room_the_last_devices_are_left_out_and_no_number_is_cut(found: Summary) -> None:
    wide, narrow = (text(render_space(found, best=3, width=width), width=width).splitlines() for width in (80, 46))
    (begin,) = [number for number, line in enumerate(narrow) if line.startswith("Best 3")]
    assert max(map(len, narrow[begin:])) <= 46
    assert narrow[begin + 1].split()[-1] == "apple_m1_gpu"
    assert narrow[begin + 6].startswith("1 more of the devices and ridge points")
    assert not any("more of the devices" in line for line in wide)


def test_what_to_do_next_is_what_was_not_done(found: Summary, run: Path) -> None:
    def said(**given: Any) -> str:
        return " ".join(text(render_space(found, **given)).split("Next: ")[1].split())

    keep = "-o FOLDER keeps the dataset and its report"
    assert said() == f"--pareto lists the networks of most MACs in the least time, --top K the K best, {keep}."
    assert said(front=pareto(run), is_kept=True) == "--top K lists the K best."


def test_a_long_front_is_listed_evenly(found: Summary, run: Path) -> None:
    (row,) = top(run, 1)
    shown = text(render_space(found, best=0, front=[{**row, "index": number} for number in range(400)]))
    assert "Pareto front, 400 networks: 40 of them, evenly along it" in shown
    assert [number for number in (0, 399, 200) if f"\n{number} " in shown] == [0, 399]


def test_a_front_is_listed_whole(found: Summary, run: Path) -> None:
    front = pareto(run)
    shown = text(render_space(found, best=0, front=front))
    assert f"Pareto front, {len(front)} networks" in shown
    assert all(any(line.startswith(f"{row['index']} ") for line in shown.splitlines()) for row in front)


def test_eighty_columns_are_enough(found: Summary, run: Path) -> None:
    for drawn in (render_space(found, front=pareto(run)), render_spaces(list(BUILT_IN.values()))):
        assert max(map(len, text(drawn).splitlines())) <= 80


def test_csv_has_the_columns_of_the_dataset(run: Path) -> None:
    rows = top(run, 4)
    read = list(csv.DictReader(io.StringIO(render_networks_csv(rows))))
    assert list(read[0]) == list(rows[0])
    assert [row["kernels"] for row in read] == [" ".join(map(str, row["kernels"])) for row in rows]
    assert [float(row["latency_s:ridge=30"]) for row in read] == [row["latency_s:ridge=30"] for row in rows]
    assert render_networks_csv([]) == "\n"
