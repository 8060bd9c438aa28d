"""A table of latencies is read as it stands; whatever is wrong with it is one line with file, line and column."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.errors import LatencyError
from roofline.hardware import DTYPES
from roofline.latencies import COLUMNS, MAX_BYTES, Latency, read_latencies

COLUMNS_TEXT = "model, latency_ms, input_size, batch, dtype, note"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str | bytes) -> tuple[Latency, ...]:
    Path("t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_latencies("t.csv")


# --- what is read -----------------------------------------------------------------------------------------------------


def test_every_column() -> None:
    text = 'model,latency_ms,input_size,batch,dtype,note\nnet.py:f,11.4,3x256x192,8,fp16,"a, b"\n'
    assert read(text) == (
        Latency(
            line=2,
            model="net.py:f",
            latency_s=11.4 / 1e3,
            input_size=(3, 256, 192),
            batch=8,
            dtype="fp16",
            note="a, b",
        ),
    )


def test_two_columns_are_enough_and_the_others_may_be_empty() -> None:
    (short,), (long,) = (
        read("model,latency_ms\nnet,2\n"),
        read("model,latency_ms,input_size,batch,dtype,note\nnet,2,,,,\n"),
    )
    assert short == long == Latency(line=2, model="net", latency_s=0.002, batch=1)


@pytest.mark.parametrize(
    "text",
    [
        "latency_ms,model\n2,net\n",
        "\ufeffmodel,latency_ms\nnet,2\n",
        "model,latency_ms\r\nnet,2\r\n",
        "model,latency_ms\rnet,2\r",
        "model,latency_ms\nnet,2",
        " Model , LATENCY_MS \n net , 2 \n",
        "model,latency_ms\nnet,2.0\n\n , \n",
        "model,latency_ms\nnet,2\nnet,2e0\n",
        'model,latency_ms\n"net",".2E+1"\n',
    ],
    ids=["order", "BOM", "CRLF", "CR", "no end", "blanks", "empty lines", "twice the same", "quotes"],
)
def test_what_does_not_matter(text: str) -> None:
    assert read(text) == (Latency(line=2, model="net", latency_s=0.002),)


def test_empty_lines_may_come_first() -> None:
    assert read("\n\nmodel,latency_ms\n\nnet,2\n")[0].line == 5


def test_a_model_at_another_size_batch_or_dtype_is_another_row() -> None:
    text = "model,latency_ms,input_size,batch,dtype\nn,1,,,\nn,2,3x32x32,,\nn,3,,2,\nn,4,,,FP16\nn,5,3X64X64,,\n"
    rows = read(text)
    assert [row.latency_s for row in rows] == pytest.approx([0.001, 0.002, 0.003, 0.004, 0.005])
    assert [row.dtype for row in rows] == [None, None, None, "fp16", None]
    assert rows[4].input_size == (3, 64, 64)


def test_of_rows_that_say_the_same_the_first_counts() -> None:
    (row,) = read("model,latency_ms,note\nn,2,first\nn,2.0,second\n")
    assert (row.line, row.note) == (2, "first")


def test_lines_are_counted_as_an_editor_does_though_a_note_may_have_several() -> None:
    rows = read('model,latency_ms,note\na,1,"one\ntwo\nthree"\nb,2,x\n')
    assert [row.line for row in rows] == [2, 5]
    with pytest.raises(LatencyError, match=r"^t\.csv:5: latency_ms: "):
        read('model,latency_ms,note\na,1,"one\ntwo\nthree"\nb,x,x\n')


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
            st.floats(1e-9, 1e9),
            st.sampled_from(["", *DTYPES]),
            st.integers(1, 10**9 - 1),
        ),
        unique_by=lambda row: row[0].strip(),
    )
)
@settings(deadline=None, max_examples=50)
def test_what_python_writes_is_read_back(rows: list[tuple[str, float, str, int]]) -> None:
    with Path("w.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["note", "model", "latency_ms", "dtype", "batch"])
        writer.writerows(
            [note, f"m{number}", repr(ms), dtype, batch] for number, (note, ms, dtype, batch) in enumerate(rows)
        )
    found = read_latencies("w.csv")
    assert [(row.note, row.latency_s, row.dtype or "", row.batch) for row in found] == [
        (note.strip(), ms / 1e3, dtype, batch) for note, ms, dtype, batch in rows
    ]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"t.csv: is empty; its first line names the columns: {','.join(COLUMNS)}"),
        ("\n \n,\n", f"t.csv: is empty; its first line names the columns: {','.join(COLUMNS)}"),
        ("model\nn\n", "t.csv:1: the column latency_ms is missing (found: model)"),
        ("note,latency_ms\nn,1\n", "t.csv:1: the column model is missing (found: note, latency_ms)"),
        ("model,latency\n", "t.csv:1: unknown column 'latency'. Did you mean 'latency_ms'?"),
        ("model,latency_ms,\n", f"t.csv:1: unknown column ''. The columns are {COLUMNS_TEXT}."),
        ("model,latency_ms,model\n", "t.csv:1: the column model stands twice"),
        ("model;latency_ms\na;1\n", "t.csv:1: columns are separated by commas (got 'model;latency_ms')"),
        ("model\tlatency_ms\na\t1\n", r"t.csv:1: columns are separated by commas (got 'model\tlatency_ms')"),
        ("model,latency_ms\na,2,4\n", "t.csv:2: 3 values, and 2 columns: quote what has a comma"),
        ("model,latency_ms,note\na,2\n", "t.csv:2: 2 values, and 3 columns: an empty one keeps its comma"),
        ("model,latency_ms\n,2\n", "t.csv:2: model: must name a model (got '')"),
        ("model,latency_ms\na,\n", "t.csv:2: latency_ms: must be a number of milliseconds, as in 2.4 (got '')"),
        ("model,latency_ms\na,2 ms\n", "t.csv:2: latency_ms: must be a number of milliseconds, as in 2.4 (got '2 ms')"),
        ('model,latency_ms\na,"2,4"\n', "t.csv:2: latency_ms: must be a number of milliseconds, as in 2.4 (got '2,4')"),
        ("model,latency_ms\na,1_0\n", "t.csv:2: latency_ms: must be a number of milliseconds, as in 2.4 (got '1_0')"),
        ("model,latency_ms\na,nan\n", "t.csv:2: latency_ms: must be a number of milliseconds, as in 2.4 (got 'nan')"),
        ("model,latency_ms\na,-2.4\n", "t.csv:2: latency_ms: must be greater than 0, and finite (got '-2.4')"),
        ("model,latency_ms\na,0\n", "t.csv:2: latency_ms: must be greater than 0, and finite (got '0')"),
        ("model,latency_ms\na,1e999\n", "t.csv:2: latency_ms: must be greater than 0, and finite (got '1e999')"),
        ("model,latency_ms\na,2e9\n", "t.csv:2: latency_ms: must be in milliseconds, at most 1e9 (got '2e9')"),
        (
            "model,latency_ms,input_size\na,1,224\n",
            "t.csv:2: input_size: must be CxHxW, as in 3x224x224, or empty (got '224')",
        ),
        (
            "model,latency_ms,input_size\na,1,3x0x224\n",
            "t.csv:2: input_size: must be CxHxW, as in 3x224x224, or empty (got '3x0x224')",
        ),
        ("model,latency_ms,batch\na,1,0\n", "t.csv:2: batch: must be a whole number, at least 1, or empty (got '0')"),
        (
            "model,latency_ms,batch\na,1,1.0\n",
            "t.csv:2: batch: must be a whole number, at least 1, or empty (got '1.0')",
        ),
        (
            "model,latency_ms,dtype\na,1,fp8\n",
            "t.csv:2: dtype: must be one of fp32, fp16, bf16, int8, or empty (got 'fp8')",
        ),
        (
            "model,latency_ms\nb,1\na,1\na,2.5\n",
            "t.csv:4: latency_ms: 2.5 for a, and line 3 says 1 for the same: keep one of them",
        ),
        ('model,latency_ms\n"a,1\n', "t.csv:2: not CSV: unexpected end of data"),
        ('model,latency_ms\na,1\n"a"b,1\n', "t.csv:3: not CSV: ',' expected after '\"'"),
        (b"model,latency_ms\na,1\n\xff\xfe,2\n", "t.csv:3: not UTF-8 text"),
        ("model,latency_ms,note\na,1," + "x" * 200_000, "t.csv:2: not CSV: field larger than field limit (131072)"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str | bytes, message: str) -> None:
    with pytest.raises(LatencyError) as caught:
        read(text)
    assert str(caught.value) == message


def test_a_long_value_is_cut() -> None:
    with pytest.raises(LatencyError) as caught:
        read(f"model,latency_ms\na,{'9' * 100}x\n")
    assert str(caught.value).endswith(f"(got '{'9' * 40}')")


def test_a_file_that_cannot_be_read() -> None:
    Path("big.csv").write_bytes(b"x" * (MAX_BYTES + 1))
    for path, message in {
        "none.csv": "none.csv: no such file",
        ".": f".: cannot be read: {os.strerror(21)}",
        "a\0b": "a\0b: cannot be read: embedded null byte",
        "big.csv": "big.csv: larger than 10 MB; a table of latencies has a row a model",
    }.items():
        with pytest.raises(LatencyError) as caught:
            read_latencies(path)
        assert str(caught.value) == message
