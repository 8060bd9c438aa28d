"""Measuring on a fleet: a real Dask scheduler, with tagged workers that are processes of this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed")

from roofline.errors import MeasurementError
from roofline.measurement import fleet
from roofline.measurement.fleet import Progress, measure_on_fleet
from roofline.measurement.result import Failure, Measurement, Run
from roofline.measurement.samples import load_samples, save_samples
from roofline.measurement.session import NOT_TIMED
from roofline.measurement.store import read, save
from roofline.reports.measure_export import render_measurement_csv, render_measurement_markdown
from roofline.reports.measure_terminal import fleet_line
from roofline.reports.pages import render_page
from roofline.saved import load_saved
from tests.clusters import Cluster, bounded
from tests.measurement.runs import made_run

Command = Callable[..., subprocess.CompletedProcess[str]]

TINY: dict[str, Any] = {"rounds": 1, "max_s": 0.4, "threads": 1, "input_size": (3, 8, 8), "reference_state": "own"}
NET = """
import atexit, os, time
from pathlib import Path
from torch import nn
from roofline.measurement import conditions, session

conditions.MAX_FACTOR = session.MAX_FACTOR = float("inf")  # that others use the machine is no reason for a test to fail

HERE = Path(__file__).parent

def log(what):
    with (HERE / f"{os.getppid()}.log").open("a") as file:
        file.write(f"{what}\\n")

log("begin")
atexit.register(log, "end")

def net():
    return nn.Conv2d(3, 4, 3)

def trap():
    '''The same; but with TRAP it waits here until its worker is killed, while there is a file of that name.'''
    if "TRAP" in os.environ and (HERE / "TRAP").exists():
        worker = os.getppid()
        (HERE / "trapped").write_text(str(worker))
        while os.getppid() == worker:
            time.sleep(0.02)
        raise SystemExit("the worker is gone")
    return nn.Conv2d(3, 4, 3)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A worker has the tags `left` and `right`, another, under a nanny, `nannied`; two `twins` are to be killed."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        alone = ("--no-nanny", "--resources")
        made.add("both", "--nthreads", "2", *alone, "left=1,right=1", OMP_NUM_THREADS="1")
        made.add("child", "--nthreads", "1", "--nanny", "--resources", "nannied=1")
        for name in ("castor", "pollux"):
            made.add(name, "--nthreads", "1", *alone, "twins=1", OMP_NUM_THREADS="1", TRAP="1")
        made.wait_for(4)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the user's file."""
    made = tmp_path_factory.mktemp("nets")
    (made / "nets.py").write_text(NET)
    return made


@pytest.fixture(autouse=True)
def in_bounded_time() -> Iterator[None]:
    """Whatever these wait for."""
    with bounded():
        yield


# --- measured ---------------------------------------------------------------------------------------------------------


def test_each_model_is_measured_once_for_each_tag(cluster: Cluster, folder: Path, command: Command) -> None:
    done = command(
        "measure", f"{folder / 'nets.py'}:net", "--scheduler", cluster.address, "--tag", "right", "--tag", "nannied",
        "--tag", "left", "--rounds", 1, "--max-time", 0.4, "--threads", 1, "--input-size", 8, "--no-db",
        "-o", folder / "run.json",
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr  # 3: measured, on a machine that others use
    data = load_saved(folder / "run.json")
    assert data["schema"] == "roofline/measurement/1"
    rows = data["measurements"]
    assert [(row["tag"], row["worker"]) for row in rows] == [
        ("right", "both"), ("nannied", "child"), ("left", "both"),
    ]  # fmt: skip
    for row in rows:  # as it would be measured there: not with what a nanny adds to the environment of a worker
        assert row["environment"]["fleet"] == {"tag": row["tag"]}
        variables = row["environment"]["variables"]
        assert variables.get("OMP_NUM_THREADS") == ("1" if row["worker"] == "both" else None)
        assert "MALLOC_TRIM_THRESHOLD_" not in variables
        assert row["latency_s"]["median"] > 0
        assert row["anchor"]["factor"]["median"] > 0
    log = (folder / f"{cluster.processes['both'].pid}.log").read_text().split()
    assert log == ["begin", "end"] * (len(log) // 2)  # one at a time, even for two tags


def test_a_worker_that_dies_has_its_measurement_made_by_another_until_there_is_none(
    cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "GONE_S", 0.5)
    trap, trapped = folder / "TRAP", folder / "trapped"
    killed: list[int] = []

    def killing(told: Progress) -> None:
        if trapped.exists() and trapped.read_text() and int(trapped.read_text()) not in killed:
            assert f"{folder / 'nets.py'}:trap on twins" in told.running
            killed.append(int(trapped.read_text()))
            trap.unlink()
            os.kill(killed[-1], signal.SIGKILL)

    def measured(*tags: str) -> Run:
        trap.touch()
        return measure_on_fleet(
            [f"{folder / 'nets.py'}:trap"], scheduler=cluster.address, tags=tags, progress=killing, **TINY
        )

    run = measured("twins")
    assert len(killed) == 1
    assert run.failures == ()
    (measurement,) = run.measurements
    left = {cluster.processes[name].pid: name for name in ("castor", "pollux")}
    assert left.pop(killed[0]) != measurement.worker == left.popitem()[1]

    run = measured("twins", "left")
    assert len(killed) == 2
    assert [(failure.tag, failure.reason) for failure in run.failures] == [
        ("twins", "the last worker with this tag is gone, and none came within 0.5 s")
    ]
    assert [measurement.tag for measurement in run.measurements] == ["left"]


def test_a_model_that_cannot_be_measured_is_told_with_its_tag(cluster: Cluster, command: Command) -> None:
    done = command("measure", "no_such_net", "--scheduler", cluster.address, "--tag", "left", "--no-db")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("roofline: not measured: no_such_net on left: unknown model 'no_such_net'")


def test_ctrl_c_keeps_what_is_done_and_says_what_is_left(cluster: Cluster, folder: Path) -> None:
    def progress(told: Progress) -> None:
        if told.running:
            raise KeyboardInterrupt

    run = measure_on_fleet(
        [f"{folder / 'nets.py'}:net"], scheduler=cluster.address, tags=["left"], progress=progress, **TINY
    )
    assert (run.is_interrupted, run.measurements) == (True, ())
    assert [(failure.tag, failure.reason) for failure in run.failures] == [("left", NOT_TIMED)]


def test_a_model_that_some_tags_are_not_done_with_is_measured_again(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = Failure(model="net", tag="phone", reason=NOT_TIMED)
    run = replace(fleet_run(), failures=(left,), is_interrupted=True)
    monkeypatch.setattr(fleet, "measure_on_fleet", lambda *references, **options: run)
    done = command("measure", "net", "--scheduler", "tcp://head:8786", "--no-db")
    assert done.returncode == 130
    assert "To measure these: roofline measure net --scheduler tcp://head:8786 --no-db" in done.stderr


def test_what_is_done_is_given_at_once() -> None:
    """And not when all is: the head of a rack may be ended in the middle of the night."""
    from roofline.measurement.api import Request

    class Done:
        status = "finished"

        def __init__(self, asked: str) -> None:
            self.asked = json.loads(asked)

        def done(self) -> bool:
            return True

        def cancelled(self) -> bool:
            return False

        def result(self, timeout: float) -> str:
            return json.dumps(
                {"worker": "shelf-1", "run": made_run(None, self.asked["reference"]).to_dict(samples=True)}
            )

    def submit(_: object, asked: str, file: object, **__: object) -> Done:
        return Done(asked)

    known = {"workers": {"tcp://a:1": {"nthreads": 1, "resources": {"xeon": 1}}}}
    client: Any = SimpleNamespace(
        status="running", submit=submit, sync=lambda *_, **__: known, scheduler=SimpleNamespace(identity=None)
    )
    taken: list[Run] = []
    asked = fleet._Fleet(client, "tcp://head:8786", Request(), 1, [("xeon", "one"), ("xeon", "two")])

    def progress(told: Progress) -> None:
        assert told.done == len(taken)

    asked.run(progress, taken.append)
    assert [[(row.name, row.tag) for row in run.measurements] for run in taken] == [
        [("one", "xeon")],
        [("two", "xeon")],
    ]
    assert tuple(row for run in taken for row in run.measurements) == asked.result().measurements


def test_what_a_fleet_has_done_is_kept_whatever_becomes_of_the_rest(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def killed(*_: object, take: Callable[[Run], None], **__: object) -> Run:
        take(replace(fleet_run(), failures=()))
        raise MeasurementError("the end")

    monkeypatch.setattr(fleet, "measure_on_fleet", killed)
    done = command("measure", "net", "other", "--scheduler", "tcp://head:8786", "--db", tmp_path / "db")
    assert (done.returncode, done.stderr) == (2, "roofline: the end\n")
    assert [json.loads(each.record)["worker"] for each in read(tmp_path / "db", records=True)] == ["rack-1", "shelf-2"]


# --- the user's file --------------------------------------------------------------------------------------------------


def test_a_file_goes_along_to_workers_that_have_not_got_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers run elsewhere, where its relative path leads to nothing; what they say is of the path as given."""
    (tmp_path / "mine.py").write_text("from torch import nn\n\n\ndef net():\n    return nn.Conv2d(3, 4, 3)\n")
    monkeypatch.chdir(tmp_path)
    run = measure_on_fleet(["mine.py:net", "mine.py:other"], scheduler=cluster.address, tags=["left"], **TINY)
    assert [(each.reference, each.params) for each in run.measurements] == [("mine.py:net", 3 * 4 * 9 + 4)]
    assert [(each.model, each.reason) for each in run.failures] == [("mine.py:other", "mine.py has no 'other'.")]
    assert "roofline-" not in run.to_json()


def test_a_file_that_differs_there_is_not_taken_for_the_one_here(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("here")
    sent = fleet._File.of(f"{path}:net")
    assert sent is not None
    with sent.here() as place:
        assert place == str(path)  # the same, as on a shared disk, and its neighbours with it
    path.write_text("there")
    with sent.here() as place:
        assert (Path(place).name, Path(place).read_text()) == ("net.py", "here")
    assert not Path(place).exists()


def test_a_file_that_is_too_large_to_be_sent_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(bytes(3_000_000))
    monkeypatch.setattr(fleet, "SENT_BYTES", 1_000_000)
    sent = fleet._File.of(str(path))
    assert sent is not None
    with sent.here() as place:
        assert place == str(path)
    path.unlink()
    with pytest.raises(MeasurementError, match=r"net\.onnx has 3 MB, and no more than 1 MB are sent"), sent.here():
        pass


@pytest.mark.parametrize(
    "reference", ["mobilenet_v2", "timm:resnet50", "package.module:make", "no/such.py:net", "here"]
)
def test_other_references_name_no_file(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobilenet_v2").mkdir()
    (tmp_path / "here").write_text("no model")
    assert fleet._File.of(reference) is None


def test_the_config_of_a_language_model_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    sent = fleet._File.of(f"hf:{tmp_path / 'config.json'}")
    assert sent is not None
    assert sent.place == str(tmp_path / "config.json")


# --- what can be wrong before -----------------------------------------------------------------------------------------


def test_without_a_worker_of_a_tag_it_says_which_tags_there_are(cluster: Cluster, command: Command) -> None:
    done = command("measure", "mobilenet_v2", "--scheduler", cluster.address, "--tag", "rihgt", "--no-db")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"roofline: no worker at {re.escape(cluster.address)} has the tag 'rihgt' "
        r"\(there are: left, nannied, right(, twins)?\)\. "
        r"Did you mean 'right'\?\n",
        done.stderr,
    )


def test_a_scheduler_that_is_not_there_is_told_within_ten_seconds(command: Command) -> None:
    began_s = time.monotonic()
    done = command("measure", "mobilenet_v2", "--scheduler", "tcp://127.0.0.1:1", "--no-db")
    assert time.monotonic() - began_s < 10
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("roofline: no dask scheduler answers at tcp://127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ({}, "has no workers: start one that may measure with dask worker tcp://head:8786 --resources 'TAG=1'"),
        ({"tcp://a:1": frozenset[str]()}, "has 1 worker without a tag"),
    ],
)
def test_without_any_tag_it_says_how_a_worker_gets_one(workers: dict[str, frozenset[str]], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        fleet._tags(workers, (), "tcp://head:8786")


def test_all_tags_are_measured_for_if_none_is_named() -> None:
    workers = {"tcp://a:1": frozenset({"xeon"}), "tcp://b:1": frozenset({"pixel6", "xeon"})}
    assert fleet._tags(workers, (), "tcp://head:8786") == ["pixel6", "xeon"]
    assert fleet._tags(workers, ("xeon", "xeon"), "tcp://head:8786") == ["xeon"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tag", "xeon"), "--tag names workers of a cluster: give its --scheduler"),
        (("--scheduler", "tcp://head:8786", "--new-reference"), "run it there, without --scheduler"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], message: str, command: Command) -> None:
    done = command("measure", "mobilenet_v2", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_what_is_asked_for_is_checked_before_a_scheduler_is(command: Command) -> None:
    done = command("measure", "net", "--scheduler", "tcp://127.0.0.1:1", "--dtype", "int8", "--no-db")
    assert done.returncode == 2
    assert "int8 cannot be measured" in done.stderr


def test_a_cuda_device_need_not_be_here() -> None:
    """The head of a rack of GPUs has none."""
    from roofline.measurement import api

    assert api._request({"device": "cuda", "mode": "cudagraph", "l2": "cold"}, is_here=False).device == "cuda"


# --- results ----------------------------------------------------------------------------------------------------------


@cache
def fleet_run() -> Run:
    """Two machines, one of which is half as fast; and a failure."""
    run = made_run(None, "net")
    (row,) = run.measurements

    def on(tag: str, worker: str, cpu: str) -> Measurement:
        environment = {**run.environment, "device": {"type": "cpu", "name": cpu}}
        return replace(row, tag=tag, worker=worker, environment=environment, anchor=run.anchor)

    return Run(
        measurements=(on("xeon", "rack-1", "A big CPU"), on("board", "shelf-2", "A small CPU")),
        environment={"versions": {"roofline": "0.1.0"}},
        failures=(Failure(model="other", tag="board", reason="it does not run"),),
    )


def test_a_row_has_the_environment_and_the_anchor_of_its_worker_and_keeps_them() -> None:
    run = fleet_run()
    data = json.loads(run.to_json(samples=True))
    assert [row["environment"]["device"]["name"] for row in data["measurements"]] == ["A big CPU", "A small CPU"]
    assert data["failures"][0]["tag"] == "board"
    assert Run.from_dict(data) == run


def test_the_database_has_each_row_with_its_own_environment(tmp_path: Path) -> None:
    save(fleet_run().to_dict(), tmp_path / "db")
    kept = read(tmp_path / "db", records=True)
    assert [(each.environment["device"]["name"], json.loads(each.record)["tag"]) for each in kept] == [
        ("A big CPU", "xeon"), ("A small CPU", "board"),
    ]  # fmt: skip
    assert all(each.anchor for each in kept)


def test_a_fleet_in_words_and_on_a_page(command: Command, tmp_path: Path) -> None:
    data = fleet_run().to_dict(samples=True)
    text = render_measurement_markdown(data)
    assert "net on xeon" in text
    assert "xeon: A big CPU, 2 threads, torch 2.9.0; board: A small CPU, 2 threads, torch 2.9.0" in text
    assert "other on board: it does not run." in text
    assert "The machines were" in text
    assert render_measurement_csv(data).splitlines()[2].endswith(",board,shelf-2")
    page = render_page(data)
    assert "xeon (rack-1).device.name" in page
    save_samples(tmp_path / "run.npz", fleet_run())
    assert list(load_samples(tmp_path / "run.npz")["models"]) == ["net on xeon", "net on board"]


def test_how_far_a_fleet_is_in_a_line() -> None:
    told = Progress(done=3, failed=1, total=8, running=("net on xeon",), workers=2)
    assert fleet_line(told) == "3 of 8 measured, 1 failed, 2 workers, at work: net on xeon"


def test_a_scheduler_that_is_gone_ends_it_and_what_is_left_has_failed() -> None:
    from roofline.measurement.api import Request

    wanted = [("xeon", "net"), ("board", "net")]
    gone = fleet._Fleet(SimpleNamespace(status="closed"), "tcp://head:8786", Request(), 1, wanted)
    gone.run()
    assert [(failure.tag, failure.reason) for failure in gone.result().failures] == [
        ("xeon", "the scheduler at tcp://head:8786 is gone"), ("board", "the scheduler at tcp://head:8786 is gone"),
    ]  # fmt: skip


def test_an_answer_of_another_version_is_a_failure() -> None:
    for answer in ("no json", '{"run": {}}', "[]"):
        future = SimpleNamespace(status="finished", result=lambda timeout, answer=answer: answer)
        (failure,) = fleet._answer(future, "xeon", "net")
        assert isinstance(failure, Failure)
        assert "its worker answered what is no measurement" in failure.reason


def test_a_worker_without_roofline_is_a_failure() -> None:
    error = ModuleNotFoundError("No module named 'roofline'")
    future = SimpleNamespace(status="error", exception=lambda timeout: error)
    (failure,) = fleet._answer(future, "xeon", "net")
    assert isinstance(failure, Failure)
    assert failure.reason == (
        "its worker lacks this version of roofline, or what it needs: ModuleNotFoundError: No module named 'roofline'"
    )


def test_the_documented_keys_are_the_real_ones() -> None:
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    section = text.split("| of a row of a fleet |")[1].split("\n\n")[0]
    documented = re.findall(r"`(\w+)`", section)
    assert list(fleet_run().to_dict()["measurements"][0])[-4:] == documented
