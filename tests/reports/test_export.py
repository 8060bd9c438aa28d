"""CSV and Markdown: the numbers of the JSON, in forms that other programs read."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import roofline
from roofline import Analysis
from roofline.analysis import LAYER_COLUMNS
from roofline.reports.export import render_csv, render_markdown
from roofline.units import milliseconds, percent, si

CELLS = re.compile(r"(?<!\\)\|")


@pytest.fixture(scope="module")
def mobile() -> Analysis:
    return roofline.analyze("mobilenetv4_conv_m", hw="pixel6_tpu")


@pytest.fixture(scope="module")
def hostile() -> Analysis:
    names = [
        "a|b",
        "[red]x[/red]",
        "<script>alert(1)</script>",
        "*bold* _it_ `code`",
        "new\nline",
        'c,"d"',
        "\x1b[31mred",
    ]
    net = nn.Sequential(OrderedDict((name, nn.Conv2d(3, 3, 1)) for name in names))
    net.__class__ = type("<b>|net|</b>", (nn.Sequential,), {})
    return roofline.analyze(net, torch.zeros(1, 3, 8, 8), hw="pixel6_tpu")


@pytest.fixture(scope="module")
def nothing() -> Analysis:
    return roofline.analyze(nn.Identity(), torch.zeros(1, 3), hw="pixel6_tpu")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in CELLS.split(line.strip())[1:-1]]


def tables(markdown: str) -> list[list[list[str]]]:
    """Of each table its rows, header first, the line of dashes left out."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    return [[cells(line) for i, line in enumerate(block.splitlines()) if i != 1] for block in blocks]


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_has_the_columns_and_the_exact_numbers_of_the_json(mobile: Analysis) -> None:
    lines = list(csv.DictReader(io.StringIO(render_csv(mobile))))
    rows = mobile.rows()
    assert list(lines[0]) == list(LAYER_COLUMNS)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        for column, value in row.items():
            read: Any = line[column]
            if column.endswith("_shape"):
                read = tuple(int(size) for size in read.split("x"))
            assert type(value)(read) == value


def test_csv_sums_to_the_totals(mobile: Analysis) -> None:
    lines = list(csv.DictReader(io.StringIO(render_csv(mobile))))
    totals = mobile.totals()
    for column in ("macs", "vector_ops", "weight_bytes", "activation_bytes"):
        assert sum(int(line[column]) for line in lines) == totals[column]
    assert sum(float(line["latency_s"]) for line in lines) == pytest.approx(totals["latency_s"])


def test_csv_reads_back_as_the_frame(mobile: Analysis) -> None:
    import pandas as pd

    read = pd.read_csv(io.StringIO(render_csv(mobile)))
    frame = mobile.to_frame()
    for column in set(LAYER_COLUMNS) - {"input_shape", "output_shape"}:
        assert read[column].tolist() == frame[column].tolist()


def test_csv_quotes_what_names_may_hold(hostile: Analysis) -> None:
    text = render_csv(hostile)
    assert [line["name"] for line in csv.DictReader(io.StringIO(text, newline=""))] == hostile.layers.name.tolist()
    assert "\r" not in text
    assert text.endswith("\n")


def test_csv_of_nothing_is_a_header(nothing: Analysis) -> None:
    assert render_csv(nothing) == ",".join(LAYER_COLUMNS) + "\n"


# --- Markdown ---------------------------------------------------------------------------------------------------------


def test_markdown_of_mobilenetv4(
    command: Callable[..., subprocess.CompletedProcess[str]], golden: Callable[[str, str], None]
) -> None:
    run = command("analyze", "mobilenetv4_conv_m", "--hw", "pixel6_tpu", "--format", "md")
    assert (run.returncode, run.stderr) == (0, "")
    golden(run.stdout, "analyze_conv_m_pixel6_tpu_md.txt")


def test_markdown_has_the_totals_and_the_top_layers(mobile: Analysis) -> None:
    summary, layers = tables(render_markdown(mobile, top=5))
    totals = mobile.totals()
    assert dict(zip(*summary, strict=True)) == {
        "MACs": si(totals["macs"], digits=4),
        "params": si(mobile.layers.params, digits=4),
        "weight traffic": si(totals["weight_bytes"], "B"),
        "activation traffic": si(totals["activation_bytes"], "B"),
        "alive at once": si(totals["peak_activation_bytes"], "B"),
        "ridge point": "96.3 MACs/byte",
        "intensity": "42.2 MACs/byte",
        "latency": f"{milliseconds(totals['latency_s'])} ms (prediction)",
    }
    slowest = sorted(mobile.rows(), key=lambda row: -row["latency_s"])[:5]
    assert [line[0].replace("\\", "") for line in layers[1:]] == [row["name"] for row in slowest]
    for line, row in zip(layers[1:], slowest, strict=True):
        assert line[2:6] == [
            si(row["macs"]),
            si(row["weight_bytes"] + row["activation_bytes"], "B"),
            milliseconds(row["latency_s"]),
            percent(row["latency_s"] / totals["latency_s"]),
        ]
        assert line[6] == row["bound"]


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("time", lambda row: -row["latency_s"]),
        ("macs", lambda row: -row["macs"]),
        ("bytes", lambda row: -row["weight_bytes"] - row["activation_bytes"]),
        ("order", lambda row: 0),
    ],
)
def test_markdown_sorts_as_asked(mobile: Analysis, sort: str, key: Callable[[dict[str, Any]], float]) -> None:
    _, layers = tables(render_markdown(mobile, top=1000, sort=sort))
    expected = [row["name"] for row in sorted(mobile.rows(), key=key)]
    assert [line[0].replace("\\", "") for line in layers[1:]] == expected


def test_markdown_says_what_the_terminal_says(mobile: Analysis) -> None:
    text = render_markdown(mobile).replace("\\", "")
    assert mobile.verdict() in text
    assert "Taken as defaults: input 3x256x256 (the published size)" in text
    assert "Every op was counted." in text


def test_every_row_of_a_markdown_table_has_as_many_cells(hostile: Analysis) -> None:
    for table in tables(render_markdown(hostile)):
        assert len({len(row) for row in table}) == 1
    assert len(tables(render_markdown(hostile))[1]) == 1 + len(hostile.layers)


def test_markdown_shows_names_and_does_not_obey_them(hostile: Analysis) -> None:
    text = render_markdown(hostile)
    assert not re.search(r"(?<!\\)<", text), "HTML"
    assert not re.search(r"(?<!\\)\[", text), "a link"
    assert r"a\|b" in text
    assert r"\*bold\* \_it\_ \`code\`" in text
    assert re.search(r"^\*\*\\<b\\>\\\|net\\\|\\</b\\>\*\* \(1x3x8x8\) on ", text)


def test_markdown_has_no_control_characters(hostile: Analysis) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", render_markdown(hostile))


def test_markdown_of_nothing(nothing: Analysis) -> None:
    text = render_markdown(nothing)
    assert "it does nothing" in text
    assert tables(text)[1] == [["layer", "kind", "MACs", "bytes", "ms", "share", "bound"]]


def test_markdown_without_layers_has_no_empty_table(mobile: Analysis) -> None:
    assert len(tables(render_markdown(mobile, top=0))) == 1
