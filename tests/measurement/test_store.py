"""Measurements that are kept: by processes that write at once, through kills and migrations, and what is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from roofline.errors import RooflineError, StoreError
from roofline.measurement import store
from roofline.measurement.result import Measurement, Run, Summary
from roofline.measurement.store import Times, check, read, save

ROOT = Path(__file__).resolve().parents[2]
PARTS_S = {"sgemm": 0.5e-3, "conv": 2e-3, "copy": 1e-3}  # of an anchor; their geometric mean is 1 ms
ENVIRONMENT = {
    "device": {"type": "cpu", "name": "Some CPU"},
    "cpu": {"model": "Some CPU", "available": 2.0, "load": [0.1, 0.2, 0.3], "frequency_hz": 2.1e9},
    "threads": {"intra_op": 2, "inter_op": 1, "affinity": None},
    "versions": {"torch": "2.13.0", "roofline": "0.1.0"},
    "seed": 0,
}
LAYOUT_1 = """
CREATE TABLE environments (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY, environment_id INTEGER NOT NULL REFERENCES environments (id), measured_at TEXT NOT NULL,
    model TEXT NOT NULL, reference TEXT NOT NULL, device TEXT NOT NULL, mode TEXT NOT NULL, dtype TEXT NOT NULL,
    batch INTEGER NOT NULL, input_shape TEXT NOT NULL, threads INTEGER NOT NULL, latency_s REAL NOT NULL,
    latency_low_s REAL NOT NULL, latency_high_s REAL NOT NULL, reference_latency_s REAL NOT NULL,
    reference_latency_low_s REAL NOT NULL, reference_latency_high_s REAL NOT NULL, between_process REAL,
    status TEXT NOT NULL, flags TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX measurements_of_a_model ON measurements (model, measured_at);
INSERT INTO environments VALUES (1, 'abc', '{"versions":{"torch":"2.4.0"}}');
INSERT INTO measurements VALUES (7, 1, '2026-01-02T03:04:05.678+00:00', 'old_net', 'old', 'cpu', 'eager', 'fp32', 1,
    '1x3x32x32', 2, 0.03, 0.02, 0.04, 0.0125, 0.012, 0.013, 0.05, 'ok', '{"preempted":2}',
    '{"anchor":{"names":["sgemm","conv","copy"],"reference_s":[0.0005,0.002,0.001]},"environment":{}}');
INSERT INTO measurements VALUES (8, 1, '2026-01-03T03:04:05.678+00:00', 'old_net', 'old', 'cpu', 'eager', 'fp32', 1,
    '1x3x32x32', 2, 0.03, 0.02, 0.04, 0.0125, 0.012, 0.013, NULL, 'ok', '{}', '{"anchor":{},"environment":{}}');
PRAGMA application_id = 1383034726;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""  # as the first version laid it out
WRITER = """
    import sys
    from test_store import run
    from roofline.measurement.store import save

    path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    for number in range(count):
        save(run(f"{name}-{number}"), path)
        print(f"{name}-{number}", flush=True)
"""  # tells each measurement once it is kept


def summary(median: float) -> Summary:
    return Summary(
        median=median, ci95=(0.9 * median, 1.2 * median), p10=median, p90=median, min=median, iqr=0.1 * median, n=10
    )


def measurement(name: str = "net", **fields: Any) -> Measurement:
    given = {"reference": name, "input_shapes": ((1, 3, 32, 32),), "threads": 2, "latency_s": summary(0.02),
             "reference_latency_s": summary(0.01), "flags": {"preempted": 3}, **fields}  # fmt: skip
    return Measurement(name=name, **given)


def run(*names: str, environment: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A run as it is given to `save`."""
    anchor = {"names": list(PARTS_S), "reference_s": list(PARTS_S.values()), "reference_source": "this session"}
    measurements = tuple(measurement(name, **fields) for name in names)
    return Run(measurements=measurements, environment=environment or ENVIRONMENT, anchor=anchor).to_dict()


def rows(path: Path, query: str) -> list[Any]:
    """What plain SQLite finds."""
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def models(path: Path) -> list[str]:
    return [kept.model for kept in read(path)]


def process(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Another Python that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'measurement'}"}, **options,
    )  # fmt: skip


def finished(child: subprocess.Popen[str]) -> str:
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    return out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept.sqlite"


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_what_is_saved_is_read(path: Path) -> None:
    before = datetime.now(UTC)
    save(run("net", between_process=0.03, status="noisy"), path)
    (kept,) = read(path)
    assert before - timedelta(milliseconds=1) <= kept.measured_at <= datetime.now(UTC)
    assert (kept.model, kept.reference, kept.device, kept.mode, kept.dtype) == ("net", "net", "cpu", "eager", "fp32")
    assert (kept.batch, kept.input_shape, kept.threads) == (1, "1x3x32x32", 2)
    assert kept.latency_s == Times(0.02, 0.9 * 0.02, 1.2 * 0.02)
    assert kept.reference_latency_s == Times(0.01, 0.9 * 0.01, 1.2 * 0.01)
    assert (kept.between_process, kept.status, kept.flags) == (0.03, "noisy", {"preempted": 3})
    assert kept.anchor == "sgemm+conv+copy"
    assert kept.anchor_reference_s == pytest.approx(1e-3)
    assert kept.record == ""


def test_the_record_and_the_environment_hold_all_that_was_given(path: Path) -> None:
    given = run("net")
    save(given, path)
    (kept,) = read(path, records=True)
    record = json.loads(kept.record)
    momentary = record.pop("environment")
    assert record.pop("anchor") == given["anchor"]
    assert record == given["measurements"][0]
    assert momentary == {"cpu": {"load": [0.1, 0.2, 0.3], "frequency_hz": 2.1e9}}
    assert {**kept.environment, "cpu": {**kept.environment["cpu"], **momentary["cpu"]}} == ENVIRONMENT


def test_what_was_interrupted_is_kept_and_marked(path: Path) -> None:
    save(run("whole"), path)
    save(run("cut", is_interrupted=True), path)
    assert [(kept.model, kept.is_interrupted) for kept in read(path)] == [("whole", False), ("cut", True)]


def test_the_caller_keeps_what_it_gave(path: Path) -> None:
    given = run("net")
    before = json.dumps(given)
    save(given, path)
    assert json.dumps(given) == before


def test_one_measurement_is_kept_like_a_run_of_it(path: Path) -> None:
    whole = run("net")
    save(whole, path)
    save({**whole["measurements"][0], "environment": whole["environment"], "anchor": whole["anchor"]}, path)
    one, other = read(path, records=True)
    assert (one.record, one.environment) == (other.record, other.environment)


def test_it_is_kept_under_the_time_it_names(path: Path) -> None:
    save({**run("later"), "measured_at": "2026-03-01T02:00:00+02:00"}, path)
    save({**run("earlier"), "measured_at": "2026-02-28T23:59:59.5Z"}, path)
    assert [(kept.model, kept.measured_at.isoformat()) for kept in read(path)] == [
        ("earlier", "2026-02-28T23:59:59.500000+00:00"), ("later", "2026-03-01T00:00:00+00:00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shapes", "text"),
    [((), ""), (((1, 3, 224, 224),), "1x3x224x224"), (((1, 8), (1, 8, 16)), "1x8 1x8x16"), (((2,), ()), "2 scalar")],
)
def test_shapes_are_kept_as_people_write_them(path: Path, shapes: tuple[tuple[int, ...], ...], text: str) -> None:
    save(run("net", input_shapes=shapes), path)
    assert read(path)[0].input_shape == text


def test_environments_that_differ_by_the_moment_only_are_one_row(path: Path) -> None:
    cpu = ENVIRONMENT["cpu"]
    save(run("a", "b"), path)
    save(run("c", environment={**ENVIRONMENT, "cpu": {**cpu, "load": [9.0, 9.0, 9.0], "frequency_hz": 3e9}}), path)  # type: ignore[dict-item]
    save(run("d", environment={**ENVIRONMENT, "versions": {"torch": "2.14.0"}}), path)
    assert rows(path, "SELECT count(*) FROM environments") == [(2,)]
    assert rows(path, "SELECT model, environment_id FROM measurements") == [("a", 1), ("b", 1), ("c", 1), ("d", 2)]


def test_a_run_is_kept_wholly_or_not_at_all(path: Path) -> None:
    save(run("before"), path)
    bad = run("good", "bad")
    bad["measurements"][1]["latency_s"]["median"] = None
    with pytest.raises(StoreError, match="NOT NULL"):
        save(bad, path)
    assert models(path) == ["before"]


def test_a_name_that_is_no_text_of_any_encoding_is_kept(path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.py:net")
    save(run(name), path)
    (kept,) = read(path, records=True)
    assert kept.model == "caf?.py:net"
    assert json.loads(kept.record)["model"]["name"] == name


def test_without_an_anchor_there_is_no_reference_state(path: Path) -> None:
    save({**run("net"), "anchor": {}}, path)
    assert [(kept.anchor, kept.anchor_reference_s) for kept in read(path)] == [("", None)]


def test_they_are_kept_in_the_users_data_directory(data_directory: Path) -> None:
    with pytest.raises(StoreError, match=r"no measurements are kept yet: .*'roofline measure MODEL' keeps"):
        read()
    save(run("net"))
    assert models(data_directory / "measurements.sqlite") == [kept.model for kept in read()] == ["net"]


@pytest.mark.skipif(sys.platform != "linux", reason="another system has its own")
def test_the_data_directory_is_that_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # XDG base directory specification
    said = finished(process("from roofline.measurement.store import default_path; print(default_path())"))
    assert said == f"{tmp_path}/roofline/measurements.sqlite\n"


def test_the_file_is_one_of_ours_and_has_a_log(path: Path) -> None:
    check(path)
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA user_version") == [(3,)]
    assert rows(path, "PRAGMA application_id") == [(int.from_bytes(b"Roof", "big"),)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_nothing_heavy_is_imported() -> None:
    code = """
        import sys
        from roofline.measurement import history, store
        print(sorted({"torch", "numpy", "pandas", "psutil", "pickle"} & set(sys.modules)))
    """
    assert finished(process(code)) == "[]\n"


# --- at once ----------------------------------------------------------------------------------------------------------


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    children = [process(WRITER, path, name, 25) for name in "abcd"]
    told = [line for child in children for line in finished(child).split()]
    assert sorted(models(path)) == sorted(told) == sorted(f"{name}-{number}" for name in "abcd" for number in range(25))
    assert rows(path, "SELECT count(*) FROM environments") == [(1,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_processes_that_make_the_file_at_once_wait_for_each_other(path: Path) -> None:
    making = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    making.execute("BEGIN IMMEDIATE")  # as SQLite does to turn write-ahead logging on
    ending = threading.Timer(0.3, making.execute, ["COMMIT"])
    ending.start()
    save(run("net"), path)
    ending.join()
    making.close()
    assert models(path) == ["net"]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_reader_does_not_wait_for_a_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(run("net"), path)
    monkeypatch.setattr(store, "BUSY_S", 0.0)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM measurements")
    assert models(path) == ["net"]
    writer.close()


def test_a_reader_sees_one_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(run("net"), path)
    loads = json.loads

    def written_meanwhile(text: str) -> Any:
        monkeypatch.setattr(json, "loads", loads)
        save(run("meanwhile", environment={"versions": {"torch": "2.14.0"}}), path)
        return loads(text)

    monkeypatch.setattr(json, "loads", written_meanwhile)
    assert models(path) == ["net"]
    assert models(path) == ["net", "meanwhile"]


def test_a_writer_waits_for_another(path: Path) -> None:
    check(path)
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    ending = threading.Timer(0.3, writer.execute, ["COMMIT"])
    ending.start()
    save(run("net"), path)
    ending.join()
    writer.close()
    assert models(path) == ["net"]


def test_a_writer_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(run("net"), path)
    monkeypatch.setattr(store, "BUSY_S", 0.05)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"kept\.sqlite is in use: another process"):
        save(run("other"), path)
    writer.close()
    assert models(path) == ["net"]


# --- killed -----------------------------------------------------------------------------------------------------------


def test_a_kill_in_the_middle_loses_nothing_that_was_kept(path: Path) -> None:
    chance = random.Random(0)
    told: list[str] = []
    for life in range(4):
        with process(WRITER, path, f"life{life}", 10_000) as child:
            assert child.stdout is not None
            told += [child.stdout.readline().strip() for _ in range(chance.randrange(1, 40))]
            child.send_signal(signal.SIGKILL)
            told += child.stdout.read().split()  # what it still said before it died
        assert child.returncode == -signal.SIGKILL
        found = models(path)
        assert len(found) == len(set(found))
        assert set(told) <= set(found)
        assert len(found) <= len(told) + life + 1, "at most one a life was kept and not told any more"
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    save(run("after"), path)
    assert "after" in models(path)


def test_a_kill_within_a_transaction_leaves_no_trace_of_it(path: Path) -> None:
    save(run("kept"), path)
    code = """
        import sys, time
        from roofline.measurement import store
        from test_store import run

        def sleep(db, path):
            db.execute("PRAGMA cache_size = 2")  # pages: what is not committed goes to the log on the disk
            db.create_function("stay", 0, lambda: print("inside", flush=True) or time.sleep(60))
            return 3

        store._version = sleep
        store._INSERT = store._INSERT.replace(":record", "CASE :model WHEN 'last' THEN stay() ELSE :record END")
        store.save(run(*(f"lost{i}" for i in range(200)), "last"), sys.argv[1])
    """
    with process(code, path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "inside\n"
        assert path.with_name("kept.sqlite-wal").stat().st_size > 50_000
        child.kill()
    assert models(path) == ["kept"]
    save(run("after"), path)
    assert models(path) == ["kept", "after"]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


# --- older and newer layouts ------------------------------------------------------------------------------------------


@pytest.fixture
def old(path: Path) -> Path:
    db = sqlite3.connect(path)
    db.executescript(LAYOUT_1)
    db.close()
    return path


def test_an_older_layout_is_read_and_stays(old: Path) -> None:
    before = old.read_bytes()
    one, other = read(old, records=True)
    assert (one.id, one.model, one.reference_latency_s) == (7, "old_net", Times(0.0125, 0.012, 0.013))
    assert (one.anchor, one.between_process, one.environment) == (
        "sgemm+conv+copy", 0.05, {"versions": {"torch": "2.4.0"}},
    )  # fmt: skip
    assert one.anchor_reference_s == pytest.approx(1e-3)
    assert (other.anchor, other.anchor_reference_s) == ("", None)
    assert not one.is_interrupted
    assert old.read_bytes() == before


def test_an_older_layout_is_migrated_by_the_first_that_writes(old: Path) -> None:
    save(run("new"), old)
    assert rows(old, "PRAGMA user_version") == [(3,)]
    assert [(kept.id, kept.model, kept.anchor) for kept in read(old)] == [
        (7, "old_net", "sgemm+conv+copy"), (8, "old_net", ""), (9, "new", "sgemm+conv+copy"),
    ]  # fmt: skip


def test_a_migrated_layout_is_that_of_a_new_file(old: Path, tmp_path: Path) -> None:
    check(old)
    check(tmp_path / "new.sqlite")
    columns = "SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info('measurements')"
    assert rows(old, columns) == rows(tmp_path / "new.sqlite", columns)


def test_processes_that_come_at_once_migrate_once(old: Path) -> None:
    children = [process(WRITER, old, name, 3) for name in "abc"]
    for child in children:
        finished(child)
    assert len(models(old)) == 2 + 9
    assert rows(old, "PRAGMA user_version") == [(3,)]


def test_a_migration_that_fails_leaves_what_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(db: sqlite3.Connection) -> None:
        db.execute("DROP TABLE measurements")
        db.execute("SELECT absent")

    monkeypatch.setattr(store, "MIGRATIONS", (*store.MIGRATIONS, breaks))
    with pytest.raises(StoreError, match="no such column"):
        save(run("new"), old)
    monkeypatch.undo()
    assert rows(old, "PRAGMA user_version") == [(1,)]
    assert models(old) == ["old_net", "old_net"]


@pytest.mark.parametrize("use", [check, read, lambda path: save(run("net"), path)])
def test_a_newer_layout_is_left_alone(path: Path, use: Any) -> None:
    save(run("net"), path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 4")
    db.close()
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match="made by a newer roofline: its layout is version 4, and this one knows up to 3"
    ):
        use(path)
    assert path.read_bytes() == before


# --- refused ----------------------------------------------------------------------------------------------------------


def refused(path: Path, use: Any) -> str:
    """What is said, which is one line that names the file."""
    with pytest.raises(RooflineError) as refusal:
        use(path)
    message = str(refusal.value)
    assert isinstance(refusal.value, StoreError)
    assert "\n" not in message
    assert str(path) in message
    return message


USES = pytest.mark.parametrize("use", [check, read, lambda path: save(run("net"), path)], ids=["check", "read", "save"])


@USES
def test_a_file_that_is_no_database_is_left_alone(path: Path, use: Any) -> None:
    path.write_text("model,latency_ms\n" * 100)
    assert "is no database" in refused(path, use)
    assert path.read_text() == "model,latency_ms\n" * 100


@USES
def test_a_database_of_another_program_is_left_alone(path: Path, use: Any) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE bookmarks (url)")
    db.close()
    before = path.read_bytes()
    assert "database of another program" in refused(path, use)
    assert path.read_bytes() == before


@USES
def test_a_damaged_database_is_told(path: Path, use: Any) -> None:
    save(run(*map(str, range(200))), path)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    if use is not check:  # which reads no rows
        assert "is damaged" in refused(path, use)


def test_a_record_that_is_damaged_is_told(path: Path) -> None:
    save(run("net"), path)
    db = sqlite3.connect(path)
    db.execute("UPDATE environments SET record = '{'")
    db.commit()
    db.close()
    assert "is damaged" in refused(path, read)


@USES
def test_a_folder_is_no_database(tmp_path: Path, use: Any) -> None:
    assert "folder" in refused(tmp_path, use)


@USES
def test_a_pipe_is_not_waited_for(path: Path, use: Any) -> None:
    os.mkfifo(path)
    assert "no file" in refused(path, use)


@USES
def test_a_folder_that_is_missing_is_told(tmp_path: Path, use: Any) -> None:
    refused(tmp_path / "missing" / "kept.sqlite", use)
    assert not (tmp_path / "missing").exists()


def test_a_file_that_is_missing_is_told_and_not_made(path: Path) -> None:
    assert "no measurements are kept yet" in refused(path, read)
    assert not path.exists()


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    assert read(path) == []
    save(run("net"), path)
    assert models(path) == ["net"]


@pytest.mark.parametrize(
    "bad",
    [
        {"model": "net"},
        {**run("net"), "measured_at": "yesterday"},
        {**run("net"), "environment": {"load": float("nan")}},
        {**run("net"), "environment": {"path": Path("x")}},
        {**run("net"), "measurements": None},
    ],
    ids=["no measurement", "no time", "not a number", "no JSON", "nothing"],
)
def test_what_is_no_measurement_is_refused_before_anything_is_made(path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="what is no measurement"):
        save(bad, path)
    assert not path.exists()


def test_a_disk_that_is_full_loses_nothing_that_was_kept(path: Path) -> None:
    save(run("kept"), path)
    code = """
        import resource, signal, sys
        from roofline.errors import StoreError
        from roofline.measurement.store import save
        from test_store import run

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
        try:
            save(run(*(f"lost{i}" for i in range(200))), sys.argv[1])
        except StoreError as error:
            print(error)
    """
    assert finished(process(code, path)) == f"{path} cannot be read or written: the disk fails, or is full\n"
    assert models(path) == ["kept"]
    save(run("after"), path)
    assert models(path) == ["kept", "after"]


# --- without permission -----------------------------------------------------------------------------------------------

NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everyone can reach, unlike that of a test."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def without_permission(code: str, *arguments: object) -> str:
    """What `code` prints where permissions count, which they do not for root."""
    return finished(process(BECOME_NOBODY + code, *arguments))


BECOME_NOBODY = f"""
import os, sys
from pathlib import Path
import platformdirs
from roofline.errors import StoreError
from roofline.measurement.store import read, save
from test_store import run
if os.geteuid() == 0:  # after the imports: nobody need not be able to read this Python
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""
SAVES = """
try:
    save(run("new"), *map(Path, sys.argv[1:]))
except StoreError as error:
    print(error)
"""
READS = """
path = Path(sys.argv[1])
print([kept.model for kept in read(path)], sorted(file.name for file in path.parent.iterdir()))
"""


def test_a_read_only_folder_is_told_in_one_line(shared: Path) -> None:
    shared.chmod(0o555)
    path = shared / "kept.sqlite"
    assert without_permission(SAVES, path) == f"cannot write {path}: no permission to write in {shared}\n"


def test_a_read_only_file_is_told_in_one_line(shared: Path) -> None:
    path = shared / "kept.sqlite"
    save(run("net"), path)
    path.chmod(0o444)
    assert without_permission(SAVES, path) == f"cannot write {path}: no permission to write it\n"
    assert models(path) == ["net"]


def test_a_data_directory_that_cannot_be_made_is_told_in_one_line(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(shared / "share"))
    shared.chmod(0o555)
    said = without_permission(SAVES)
    assert said == f"cannot make the folder {shared / 'share' / 'roofline'}: Permission denied; name a file with --db\n"


@pytest.mark.parametrize("layout", [1, 2])
def test_what_may_not_be_written_can_be_read(shared: Path, layout: int) -> None:
    path = shared / "kept.sqlite"
    if layout == 1:
        db = sqlite3.connect(path)
        db.executescript(LAYOUT_1)
        db.close()
    else:
        save(run("net"), path)
    path.chmod(0o444)
    shared.chmod(0o555)
    expected = ["old_net", "old_net"] if layout == 1 else ["net"]
    assert without_permission(READS, path) == f"{expected} ['kept.sqlite']\n"


def test_what_a_kill_left_in_the_log_can_be_read_without_permission_to_write(shared: Path) -> None:
    path = shared / "kept.sqlite"
    code = """
        import os, sqlite3, sys
        from roofline.measurement.store import save
        from test_store import run

        save(run("whole"), sys.argv[1])
        reader = sqlite3.connect(sys.argv[1])  # while it is there, the log stays
        reader.execute("SELECT count(*) FROM measurements").fetchall()
        save(run("in the log"), sys.argv[1])
        os.kill(os.getpid(), 9)
    """
    process(code, path).communicate(timeout=60)
    assert path.with_name("kept.sqlite-wal").stat().st_size > 0
    path.chmod(0o444)
    shared.chmod(0o555)
    assert without_permission(READS, path).startswith("['whole', 'in the log']")
