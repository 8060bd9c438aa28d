"""`roofline measure` in this process: nothing is timed, the sessions are those of a machine on paper."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roofline.errors import StoreError
from roofline.measurement import api
from roofline.measurement.result import Failure, Run
from roofline.measurement.samples import load_samples
from roofline.measurement.store import APPLICATION_ID, read
from roofline.saved import load_saved
from tests.measurement.fakes import Machine, always
from tests.measurement.runs import made_run

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *args, **kwargs: str(folder))
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is measured; each time in the same way."""
    calls: list[dict[str, Any]] = []

    def measure(references: list[str], **options: Any) -> Run:
        calls.append({"references": references, **options})
        api._request({key: value for key, value in options.items() if key not in ("processes", "progress")})
        return made_run(None, *references)

    monkeypatch.setattr(api, "measure_models", measure)
    return calls


def answering(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(api, "measure_models", lambda references, **options: run)


def test_a_table(command: Command, asked: list[dict[str, Any]]) -> None:
    done = command("measure", "fast", "slow")
    assert done.returncode == 0
    assert "fast is the fastest" in done.stdout
    assert done.stderr == ""


def test_options_reach_the_harness(command: Command, asked: list[dict[str, Any]]) -> None:
    command(
        "measure", "net", "--threads", 2, "--dtype", "bf16", "--batch", 4, "--input-size", 64,
        "--arg", "width_mult=0.5", "--mode", "channels_last",
        "--processes", 3, "--per-layer", "--rounds", 5, "--max-time", 2.5, "--target", "3%",
        "--seed", 9, "--system-allocator", "--quiet-wait", 20,
    )  # fmt: skip
    (call,) = asked
    del call["progress"]
    assert call == {
        "references": ["net"], "device": "cpu", "threads": 2, "dtype": "bf16", "batch": 4, "input_size": (3, 64, 64),
        "arguments": {"width_mult": 0.5}, "mode": "channels_last", "processes": 3, "per_layer": True, "rounds": 5,
        "max_s": 2.5, "target": 0.03, "seed": 9, "reference_state": "kept", "keep_memory": False,
        "quiet_wait_s": 20, "l2": "hot",
    }  # fmt: skip


def test_patterns_of_names_and_repetitions(command: Command, asked: list[dict[str, Any]]) -> None:
    command("measure", "mobilenetv4_conv_*", "mobilenetv4_conv_small")
    assert asked[0]["references"][0] == "mobilenetv4_conv_small"
    assert len(asked[0]["references"]) == len(set(asked[0]["references"])) > 2


@pytest.mark.parametrize(("options", "state"), [((), "kept"), (("--no-db",), "read"), (("--new-reference",), "anew")])
def test_which_reference_state(
    options: tuple[str, ...], state: str, command: Command, asked: list[dict[str, Any]]
) -> None:
    assert command("measure", "net", *options).returncode == 0
    assert asked[0]["reference_state"] == state


# --- what is written --------------------------------------------------------------------------------------------------


def test_every_format(command: Command, asked: list[dict[str, Any]], tmp_path: Path) -> None:
    data = json.loads(command("measure", "net", "--format", "json").stdout)
    assert data["schema"] == "roofline/measurement/1"
    assert "samples" not in data["measurements"][0]
    rows = list(csv.DictReader(io.StringIO(command("measure", "net", "--format", "csv").stdout)))
    assert rows[0]["model"] == "net"
    assert "| net |" in command("measure", "net", "--format", "md").stdout
    file = tmp_path / "run.json"
    command("measure", "net", "-o", file)
    assert load_saved(file)["measurements"][0]["model"]["name"] == "net"
    done = command("report", file)
    assert done.returncode == 0
    assert "net takes" in (tmp_path / "run.html").read_text(encoding="utf-8")


def test_the_page_and_the_samples(command: Command, asked: list[dict[str, Any]], tmp_path: Path) -> None:
    done = command("measure", "net", "--html", tmp_path / "run.html", "--samples", tmp_path / "run.npz")
    assert done.returncode == 0
    assert "Every sample" in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert len(load_samples(tmp_path / "run.npz")["wall_s"]) >= 10
    assert "run.npz" in done.stderr


def test_results_are_kept(command: Command, asked: list[dict[str, Any]], tmp_path: Path, data_directory: Path) -> None:
    command("measure", "net", "--db", tmp_path / "mine.sqlite")
    assert [kept.model for kept in read(tmp_path / "mine.sqlite")] == ["net"]
    assert not data_directory.exists()
    command("measure", "net", "--no-db")
    assert not data_directory.exists()
    command("measure", "net")
    assert [kept.model for kept in read()] == ["net"]


@pytest.mark.parametrize(
    ("status", "code"), [("ok", 0), ("capped", 0), ("noisy", 3), ("contended", 3), ("throttled", 3)]
)
def test_what_is_too_noisy_to_judge_by_has_an_exit_code_of_its_own(
    status: str, code: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(None, "net")
    answering(monkeypatch, replace(run, measurements=(replace(run.measurements[0], status=status),)))
    done = command("measure", "net", "--no-db")
    assert done.returncode == code
    assert "net takes" in done.stdout  # the answer is there all the same


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--dtype", "int8"), "int8 cannot be measured"),
        (("--mode", "cudagraph"), "needs --device cuda"),
        (("--per-layer", "--mode", "compile"), "layers are timed op by op"),
        (("--l2", "cold"), "only the L2 cache of a CUDA device"),
        (("--l2", "warm"), "unknown state of the L2 cache 'warm'"),
        (("--samples", "x.csv"), "name the file x.npz"),
        (("--samples", "no/such/folder/x.npz"), "there is no folder"),
        (("--db", "x", "--no-db"), "--db and --no-db exclude each other"),
        (("--no-db", "--new-reference"), "--no-db keeps nothing"),
        (("--arg", "a=1", "--arg", "a=2"), "--arg a is given more than once"),
        (("--target", "0"), "'0' is no share of the median"),
        (("--target", "much"), "'much' is no share of the median"),
        (("--max-time", "0"), "0"),
        (("--threads", "0"), "0"),
        (("-o", "x.png"), "cannot tell the format"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    arguments: tuple[str, ...], message: str, command: Command, asked: list[dict[str, Any]]
) -> None:
    done = command("measure", "net", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_model_that_fails_does_not_take_the_others_along(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(model="nope", reason="unknown model 'nope'")
    answering(monkeypatch, replace(made_run(), failures=(failure,)))
    done = command("measure", "fast", "slow", "nope")
    assert done.returncode == 2
    assert "fast is the fastest" in done.stdout
    assert done.stderr == "roofline: not measured: unknown model 'nope'\n"


def _of_another_program(path: Path) -> None:
    path.write_text("no database")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_of_another_program, "is no database"),
        (_newer, "was made by a newer roofline"),
        (Path.mkdir, "it is a folder"),
    ],
)
def test_a_database_that_is_none_is_found_out_before_the_work(
    make: Callable[[Path], None], message: str, command: Command, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    make(tmp_path / "db")
    done = command("measure", "net", "--db", tmp_path / "db")
    assert (done.returncode, done.stdout, asked) == (2, "", [])
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_data_directory_that_cannot_be_used_is_told_and_loses_nothing(
    command: Command, asked: list[dict[str, Any]], data_directory: Path
) -> None:
    data_directory.write_text("a file")
    done = command("measure", "net")
    assert done.returncode == 2
    assert "net takes" in done.stdout
    assert done.stderr.startswith("roofline: the results are not kept: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_database_that_fails_in_the_end_loses_nothing(
    command: Command, asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("roofline.measurement.store.save", full)
    done = command("measure", "net", "--db", tmp_path / "db")
    assert done.returncode == 2
    assert "net takes" in done.stdout
    assert done.stderr == "roofline: the results are not kept: the disk is full\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_is_read_only_loses_nothing(
    command: Command, asked: list[dict[str, Any]], data_directory: Path
) -> None:
    data_directory.mkdir()
    data_directory.chmod(0o555)
    done = command("measure", "net")
    assert "net takes" in done.stdout
    assert "not kept" in done.stderr


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = made_run(None, "a", "b")
    done, partly = run.measurements
    failure = Failure(model="c", reason="interrupted before it was timed")
    answering(monkeypatch, replace(run, measurements=(done, replace(partly, is_interrupted=True)), failures=(failure,),
                                   is_interrupted=True))  # fmt: skip
    found = command("measure", "a", "b", "c", "--threads", 2, "--db", tmp_path / "db")
    assert found.returncode == 130
    assert "b was interrupted" in found.stdout
    assert "Interrupted: 1 of 3 models are done" in found.stderr
    assert f"roofline measure b c --threads 2 --db {tmp_path / 'db'}" in found.stderr
    assert [(kept.model, kept.is_interrupted) for kept in read(tmp_path / "db")] == [("a", False), ("b", True)]
    assert command("history", "b", "--db", tmp_path / "db").stdout.count("stopped") == 1


def test_ctrl_c_before_there_is_a_sample_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(references: list[str], **options: Any) -> Run:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "measure_models", measure)
    done = command("measure", "a", "b", "--processes", 2)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == (
        "Interrupted: 0 of 2 models are done. To measure these: roofline measure a b --processes 2\n"
    )


def test_ctrl_c_in_the_warm_up_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = (
        Failure(model="a", reason="interrupted before it was timed"),
        Failure(model="b", reason="all 3 samples were taken under heavy contention", left_out=3),
    )
    answering(monkeypatch, Run(measurements=(), failures=failures, is_interrupted=True))
    done = command("measure", "a", "b")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == (
        "roofline: not measured: b: all 3 samples were taken under heavy contention\n"
        "Interrupted: 0 of 2 models are done. To measure these: roofline measure a b\n"
    )


def test_a_single_model_that_fails_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(model="net", reason="net does not run in fp32 on cpu: RuntimeError: no")
    answering(monkeypatch, replace(made_run(), measurements=(), failures=(failure,)))
    done = command("measure", "net")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "roofline: not measured: net does not run in fp32 on cpu: RuntimeError: no\n"
    assert json.loads(command("measure", "net", "--format", "json").stdout)["failures"] == [failure.to_dict()]


def test_a_machine_that_was_busy_throughout_gives_no_figure_and_exit_code_3(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No median is made of samples that are all left out; the samples are kept all the same."""
    run = made_run(Machine(slowdown=always(5.0)), "net")
    answering(monkeypatch, run)
    done = command("measure", "net", "--samples", tmp_path / "net.npz")
    taken = run.failures[0].left_out
    assert (done.returncode, done.stdout) == (3, "")
    assert f"roofline: not measured: net: all {taken} samples were taken under heavy contention" in done.stderr
    samples = load_samples(tmp_path / "net.npz")
    assert list(samples["models"]) == ["net"]
    assert len(samples["wall_s"]) == taken
    assert samples["left_out"].all()
    data = json.loads(command("measure", "net", "--format", "json").stdout)
    assert (data["measurements"], data["failures"][0]["left_out"]) == ([], taken)


def test_what_failed_is_told_once_in_a_terminal_and_also_in_a_file(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failure = Failure(model="nope", reason="nope does not run")
    answering(monkeypatch, replace(made_run(), failures=(failure,)))
    assert "nope" not in command("measure", "fast", "slow", "nope").stdout
    command("measure", "fast", "slow", "nope", "--format", "table", "-o", tmp_path / "run.txt")
    assert "Not measured: nope does not run." in (tmp_path / "run.txt").read_text(encoding="utf-8")


def test_what_a_users_own_file_prints_is_no_part_of_the_answer(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(references: list[str], **options: Any) -> Run:
        print("hello")
        return made_run(None, *references)

    monkeypatch.setattr(api, "measure_models", measure)
    done = command("measure", "net", "--format", "json")
    json.loads(done.stdout)
    assert done.stderr == "hello\n"
