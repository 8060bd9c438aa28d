"""`roofline history` as people type it: all models, one, other programs' formats, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from roofline.measurement.result import Measurement, Run, Summary
from roofline.measurement.store import read, save
from roofline.reports import history_export

Command = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = {"torch", "numpy", "pandas", "plotly", "scipy", "pyarrow"}
ANCHOR = {"names": ["sgemm", "conv", "copy"], "reference_s": [0.5e-3, 2e-3, 1e-3]}
DB = "kept.sqlite"


def summary(median: float, half_width: float = 0.01) -> Summary:
    low, high = median * (1 - half_width), median * (1 + half_width)
    return Summary(median=median, ci95=(low, high), p10=low, p90=high, min=low, iqr=high - low, n=20)


def keep(day: int, name: str, median_s: float, *, torch: str = "2.13.0", **fields: Any) -> None:
    """Measured on a day of January, when the stopwatch showed 1.25 times what it takes."""
    given = {"reference": name, "input_shapes": ((1, 3, 224, 224),), "threads": 2, "between_process": 0.03, **fields}
    measurement = Measurement(
        name=name, latency_s=summary(1.25 * median_s), reference_latency_s=summary(median_s), **given
    )
    environment = {
        "device": {"type": "cpu", "name": "Some CPU @ 2.00GHz"},
        "cpu": {"load": [float(day)]},
        "versions": {"torch": torch},
    }
    run = Run(measurements=(measurement,), environment=environment, anchor=ANCHOR).to_dict()
    save({**run, "measured_at": f"2026-01-{day:02}T10:20:30+00:00"}, DB)


@pytest.fixture(autouse=True)
def _database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month of two models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    keep(3, "mobilenetv4_conv_medium", 0.0200)
    keep(5, "mobilenetv4_conv_medium", 0.0202)
    keep(6, "mobilenetv4_conv_medium", 0.0350, status="contended", flags={"contended": 7})
    keep(8, "mobilenetv4_conv_medium", 0.0250)
    keep(9, "mobilenetv4_conv_medium", 0.0200, status="capped")
    keep(10, "mobilenetv4_conv_medium", 0.0150, torch="2.14.0")
    keep(4, "resnet50", 0.0012, device="cuda", mode="channels_last", dtype="fp16", between_process=None)
    keep(7, "resnet50", 0.0013, device="cuda", mode="channels_last", dtype="fp16", between_process=None)


def well(run: subprocess.CompletedProcess[str]) -> str:
    """What a command that went well printed."""
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    """What a command that was refused said: one line, exit code 2, and not a word on stdout."""
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(r"roofline: [^\n]+\n", run.stderr), run.stderr
    return run.stderr.removeprefix("roofline: ").removesuffix("\n")


# --- tables -----------------------------------------------------------------------------------------------------------


def test_all_models_look_as_they_were_meant_to(command: Command, golden: Callable[[str, str], None]) -> None:
    text = well(command("history", "--db", DB))
    assert max(map(len, text.splitlines())) <= 80
    golden(text, "history.txt")


def test_one_model_looks_as_it_was_meant_to(command: Command, golden: Callable[[str, str], None]) -> None:
    text = well(command("history", "mobilenetv4_conv_m", "--db", DB))
    assert max(map(len, text.splitlines())) <= 80
    golden(text, "history_of_a_model.txt")


def test_the_documents_show_what_it_prints() -> None:
    root = Path(__file__).resolve().parent
    printed = (root / "golden" / "history_of_a_model.txt").read_text(encoding="utf-8").split("\n\n")[:2]
    assert "\n\n".join(printed) in (root.parent / "docs" / "measuring.md").read_text(encoding="utf-8")


def test_a_pattern_tells_each_in_full(command: Command) -> None:
    text = well(command("history", "*", "--db", DB))
    assert re.findall(r"^(\w+)  on (\w+), ", text, re.M) == [
        ("mobilenetv4_conv_medium", "cpu"), ("mobilenetv4_conv_medium", "cpu"), ("resnet50", "cuda"),
    ]  # fmt: skip


def test_only_one_device(command: Command) -> None:
    assert "mobilenetv4" not in well(command("history", "--device", "cuda", "--db", DB))


def test_what_is_told_is_what_was_kept_whatever_its_characters(command: Command) -> None:
    keep(1, "evil\x1b[31m\nname", 0.01, reference="x")
    for arguments in ([], ["x"]):
        text = well(command("history", *arguments, "--db", DB))
        assert "\x1b" not in text
        assert r"evil\x1b[31m name" in text


def test_the_users_own_database_is_the_default(command: Command) -> None:
    assert "no measurements are kept yet" in one_line(command("history"))
    save({**json.loads(read(DB, records=True)[0].record), "anchor": ANCHOR})
    assert "mobilenetv4_conv_medium" in well(command("history"))


# --- other programs ---------------------------------------------------------------------------------------------------


def test_json_has_the_whole_history(command: Command) -> None:
    history = json.loads(well(command("history", "mobilenetv4_conv_m", "--db", DB, "--format", "json")))
    assert (history["schema"], history["database"]) == ("roofline/history/1", DB)
    first, second = history["series"]
    assert (first["environment"]["versions.torch"], second["environment"]["versions.torch"]) == ("2.13.0", "2.14.0")
    assert (first["model"], first["threads"], first["input_shape"]) == ("mobilenetv4_conv_medium", 2, "1x3x224x224")
    assert [one["measured_at"][:10] for one in first["measurements"]] == [f"2026-01-0{day}" for day in (3, 5, 6, 8, 9)]
    contended, slower = first["measurements"][2:4]
    assert (contended["status"], contended["flags"], contended["change"]) == ("contended", {"contended": 7}, None)
    assert slower["reference_latency_s"] == slower["series_latency_s"] == {"median": 0.025, "ci95": [0.02475, 0.02525]}
    assert slower["latency_s"]["median"] == pytest.approx(0.03125)
    assert slower["change"] == {"before": 2, "ratio": 0.025 / 0.0202, "noise": 0.03, "is_beyond_noise": True}
    assert first["overall_change"] == {"before": 1, "ratio": 1.0, "noise": 0.03, "is_beyond_noise": False}


def test_csv_has_a_line_a_measurement(command: Command) -> None:
    rows = list(csv.DictReader(io.StringIO(well(command("history", "--db", DB, "--format", "csv")))))
    assert len(rows) == 8
    assert [row["series"] for row in rows] == ["0"] * 5 + ["1"] + ["2"] * 2
    assert (rows[3]["status"], rows[3]["before"], rows[3]["is_beyond_noise"]) == ("ok", "2", "True")
    assert float(rows[3]["ratio"]) == 0.025 / 0.0202
    assert (rows[2]["ratio"], rows[2]["is_beyond_noise"]) == ("", "")


def test_the_suffix_says_the_format(command: Command) -> None:
    for name, begins in {"out.json": "{", "out.csv": "series,id", "out.txt": "Measured"}.items():
        well(command("history", "--db", DB, "-o", name))
        assert Path(name).read_text().startswith(begins)


def test_an_export_has_all_that_is_kept(command: Command) -> None:
    text = well(command("history", "resnet50", "--db", DB, "--export", "csv"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2
    kept = read(DB, records=True)
    for row, one in zip(rows, [one for one in kept if one.model == "resnet50"], strict=True):
        assert json.loads(row["record"]) == json.loads(one.record)
        assert json.loads(row["environment"]) == one.environment
        assert (float(row["latency_s"]), float(row["reference_latency_high_s"])) == (
            one.latency_s.median, one.reference_latency_s.high,
        )  # fmt: skip
        assert (row["measured_at"], row["between_process"]) == (one.measured_at.isoformat(timespec="milliseconds"), "")
    run = command("history", "--db", DB, "--export", "csv", "-o", "all.csv")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "Wrote 8 measurements to all.csv\n")
    assert len(list(csv.DictReader(io.StringIO(Path("all.csv").read_text())))) == 8


def test_every_format_says_what_was_interrupted(command: Command) -> None:
    conditions = {"device": "cuda", "mode": "channels_last", "dtype": "fp16"}
    keep(11, "resnet50", 0.03, **conditions, is_interrupted=True)
    of_resnet = ("history", "resnet50", "--db", DB)
    series = json.loads(well(command(*of_resnet, "--format", "json")))["series"]
    told = [point["is_interrupted"] for one in series for point in one["measurements"]]
    for form in ("--format", "--export"):
        rows = list(csv.DictReader(io.StringIO(well(command(*of_resnet, form, "csv")))))
        assert [row["is_interrupted"] for row in rows] == [str(one) for one in told]
    assert told == [False, False, True]


def test_parquet_holds_the_same(command: Command) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    run = command("history", "--db", DB, "--export", "parquet", "-o", "all.parquet")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "Wrote 8 measurements to all.parquet\n")
    frame = pd.read_parquet("all.parquet")
    expected = pd.read_csv(io.StringIO(well(command("history", "--db", DB, "--export", "csv"))))
    assert list(frame) == list(expected)
    assert str(frame["measured_at"].dtype) == "datetime64[ms, UTC]"
    assert frame["latency_s"].tolist() == expected["latency_s"].tolist()
    assert frame["is_interrupted"].tolist() == expected["is_interrupted"].tolist() == [False] * 8
    assert frame["between_process"].isna().tolist() == expected["between_process"].isna().tolist()
    assert [json.loads(text) for text in frame["record"]] == [json.loads(text) for text in expected["record"]]


def test_parquet_without_pyarrow_says_how_to_get_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_export, "find_spec", lambda name: None if name == "pyarrow" else find_spec(name))
    said = one_line(command("history", "--db", DB, "--export", "parquet", "-o", "all.parquet"))
    assert "pip install 'roofline-profiler[parquet]'" in said
    assert not Path("all.parquet").exists()


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("resnet5 --db kept.sqlite", r"no measurement of resnet5 is kept in kept.sqlite. Did you mean 'resnet50'"),
        ("resnet50 --device cpu --db kept.sqlite", "no measurement of resnet50 on cpu is kept in .*, only on cuda"),
        ("--db missing.sqlite", "there is no file missing.sqlite"),
        ("--db .", "folder"),
        ("--db text.sqlite", "text.sqlite is no database"),
        ("--db newer.sqlite", "newer.sqlite was made by a newer roofline"),
        ("--db other.sqlite", "other.sqlite is a database of another program"),
        ("--db kept.sqlite --device tpu", "'tpu' is not one of 'cpu', 'cuda'"),
        ("--db kept.sqlite --format md", "'md' is not one of"),
        ("--db kept.sqlite -o out.md", "no Markdown"),
        ("--db kept.sqlite -o out.parquet", "cannot tell the format of out.parquet"),
        ("--db kept.sqlite -o missing/out.csv", "there is no folder missing"),
        ("--db kept.sqlite --export csv -o missing/out.csv", "there is no folder missing"),
        ("--db kept.sqlite --export parquet", "-o measurements.parquet"),
        ("--db kept.sqlite --export csv --format json", "--export and --format both"),
        ("--db kept.sqlite --export csv -o ./kept.sqlite", "--db and -o both name kept.sqlite"),
        ("--db kept.sqlite --format csv -o kept.sqlite", "--db and -o both name kept.sqlite"),
        ("--db kept.sqlite --export parquet nothing -o out.parquet", "no measurement of nothing|pyarrow"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(command: Command, arguments: str, said: str) -> None:
    Path("text.sqlite").write_text("model,latency_ms\n" * 40)
    for name, statement in {"newer.sqlite": "PRAGMA user_version = 99", "other.sqlite": "CREATE TABLE t (x)"}.items():
        if name == "newer.sqlite":
            Path(name).write_bytes(Path(DB).read_bytes())
        db = sqlite3.connect(name)
        db.execute(statement)
        db.close()
    before = Path(DB).read_bytes()
    assert re.search(said, one_line(command("history", *shlex.split(arguments))))
    assert Path(DB).read_bytes() == before


@pytest.mark.parametrize(
    "arguments", ["history --help", f"history --db {DB}", f"history resnet50 --db {DB} --format json"]
)
def test_nothing_heavy_is_imported(arguments: str) -> None:
    code = (
        "import sys; from roofline.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    root = str(Path(__file__).resolve().parents[1])
    run = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}",
                          *shlex.split(arguments)], capture_output=True, text=True, check=True)  # fmt: skip
    assert run.stderr == "[]\n"
    assert run.stdout


def test_a_board_of_a_fleet_is_named_by_its_tag(command: Command) -> None:
    for tag in ("shelf-1", "[red]shelf\x1b-2"):
        environment = {"device": {"type": "cpu", "name": "A small CPU"}, "versions": {}, "fleet": {"tag": tag}}
        keep(12, "net", 0.01, tag=tag, worker="any", environment=environment, anchor=ANCHOR)
    overview = command("history", "--db", DB).stdout
    assert "cpu, shelf-1, 1x3x224x224" in overview
    assert "cpu, [red]shelf" in overview
    assert "\x1b" not in overview
    told = command("history", "net", "--db", DB).stdout
    assert "net  on cpu, shelf-1, eager, fp32, 1x3x224x224, 2 threads\nA small CPU\n" in told
