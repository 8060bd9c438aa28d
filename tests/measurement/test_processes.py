"""Several processes: what they agree to say to each other, and what their results make together."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roofline.errors import MeasurementError
from roofline.measurement import api, worker
from roofline.measurement.api import Request
from roofline.measurement.processes import measure_in_processes, merged
from roofline.measurement.result import Failure, Run
from roofline.measurement.session import Progress
from tests.measurement.fakes import FakeClock, Machine, always
from tests.measurement.runs import made_run

REQUEST = Request()


def runs_of(*slowdowns: float) -> list[Run]:
    """Of processes that are that much slower by a luck that no anchor sees."""
    made = []
    for number, slowdown in enumerate(slowdowns):
        run = made_run(Machine(noise=0.03))
        run = replace(run, measurements=tuple(
            replace(
                each,
                samples=tuple(replace(s, wall_s=s.wall_s * slowdown, process=number) for s in each.samples),
                latency_s=replace(each.latency_s, median=each.latency_s.median * slowdown),
                reference_latency_s=replace(
                    each.reference_latency_s, median=each.reference_latency_s.median * slowdown),
            )
            for each in run.measurements
        ))  # fmt: skip
        made.append(run)
    return made


# --- together ---------------------------------------------------------------------------------------------------------


def test_the_headline_is_the_median_of_the_medians_of_the_processes() -> None:
    runs = runs_of(1.0, 1.2, 1.05)
    found = merged(runs, REQUEST, asked=3)
    for position, measurement in enumerate(found.measurements):
        medians = [run.measurements[position].reference_latency_s.median for run in runs]
        assert measurement.process_medians_s == tuple(medians)
        assert measurement.reference_latency_s.median == pytest.approx(np.median(medians))
        assert measurement.between_process == pytest.approx(0.2, rel=1e-6)
        assert measurement.status == "noisy"  # more than 10 % between processes
        low, high = measurement.reference_latency_s.ci95
        assert low <= min(medians)
        assert high >= max(medians)
        assert measurement.reference_latency_s.n == sum(len(run.measurements[position].samples) for run in runs)
        assert {sample.process for sample in measurement.samples} == {0, 1, 2}
    assert found.environment["processes"] == 3


def test_processes_that_agree_are_ok() -> None:
    found = merged(runs_of(1.0, 1.01, 1.02), REQUEST, asked=3)
    assert [each.status for each in found.measurements] == ["ok", "ok"]
    assert not found.is_interrupted


def test_processes_that_are_missing_after_ctrl_c_are_told() -> None:
    found = merged(runs_of(1.0, 1.01), REQUEST, asked=3, is_interrupted=True)
    assert found.is_interrupted
    assert all(each.is_interrupted for each in found.measurements)
    assert [each.status for each in found.measurements] == ["capped", "capped"]


def contended_run(*names: str, process: int = 0) -> Run:
    """Of a process during all of which the machine was busy."""
    run = made_run(Machine(slowdown=always(5.0)), *names)
    failures = tuple(
        replace(each, samples=tuple(replace(sample, process=process) for sample in each.samples))
        for each in run.failures
    )
    return replace(run, failures=failures)


def test_a_process_without_a_sample_that_counts_has_no_median() -> None:
    """It took three times as long, and its median would be the largest of three."""
    quiet, other = runs_of(1.0, 1.01)
    busy = contended_run("fast", "slow", process=1)
    assert busy.measurements == ()
    found = merged([quiet, busy, other], REQUEST, asked=3)
    assert found.failures == ()
    for position, each in enumerate(found.measurements):
        medians = [run.measurements[position].reference_latency_s.median for run in (quiet, other)]
        assert each.process_medians_s == tuple(medians)
        assert each.between_process == pytest.approx(0.01)
        left_out = busy.failures[position].left_out
        assert each.left_out == left_out
        assert each.reference_latency_s.n + each.left_out == len(each.samples)
        assert each.notes == (f"process 2 of 3 has no median, as all of its {left_out} samples were contended",)
        assert not each.is_interrupted


def test_a_result_is_as_contended_as_its_worst_process() -> None:
    """Two fifths of the samples of one process are left out: of all three, 13 %, which no status would tell."""
    runs = runs_of(1.0, 1.01, 1.02)
    (fast, slow) = runs[1].measurements
    many = 2 * len(fast.samples) // 5
    samples = tuple(
        replace(sample, flags=("contended",) if number < many else ()) for number, sample in enumerate(fast.samples)
    )
    runs[1] = replace(runs[1], measurements=(replace(fast, samples=samples, left_out=many), slow))
    found = merged(runs, REQUEST, asked=3)
    assert found.measurements[0].left_out / len(found.measurements[0].samples) < 0.2
    assert [each.status for each in found.measurements] == ["contended", "ok"]


def test_a_model_that_was_contended_in_all_processes_is_one_failure() -> None:
    busy = [contended_run("fast", process=number) for number in range(2)]
    found = merged(busy, REQUEST, asked=2)
    assert found.measurements == ()
    (failure,) = found.failures
    assert failure.left_out == len(failure.samples) == sum(run.failures[0].left_out for run in busy)
    assert failure.reason.startswith(f"all {failure.left_out} samples were taken under heavy contention")


def test_a_model_that_failed_in_some_processes_is_measured_and_told() -> None:
    runs = runs_of(1.0, 1.0, 1.0)
    fast, _ = runs[1].measurements
    runs[1] = replace(runs[1], measurements=(fast,), failures=(Failure(model="slow", reason="slow ran out"),))
    found = merged(runs, REQUEST, asked=3)
    assert [len(each.process_medians_s) for each in found.measurements] == [3, 2]
    assert found.failures == (Failure(model="slow", reason="in 1 of 3 processes: slow ran out"),)


def test_a_model_that_failed_in_all_processes_is_one_failure() -> None:
    failure = Failure(model="nope", reason="unknown")
    runs = [replace(run, failures=(failure,)) for run in runs_of(1.0, 1.0)]
    assert merged(runs, REQUEST, asked=2).failures == (failure,)


# --- one process ------------------------------------------------------------------------------------------------------


def test_the_worker_answers_in_lines_of_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run()

    def measured(factories: Any, request: Request, *, progress: Callable[[Progress], None], **of: Any) -> Run:
        print("what a user's own code prints")
        assert request == replace(REQUEST, input_size=(3, 8, 8), anchor_reference_s=(1.0, 2.0, 3.0))
        assert (of["labels"], of["process"], len(factories)) == (["fast", "slow"], 2, 2)
        progress(Progress(model="fast", phase="timing", round=0, done=0, models=2, samples=0, estimate_s=None,
                          half_width=None, left_s=3.0))  # fmt: skip
        return run

    monkeypatch.setattr(api, "measure_here", measured)
    request = replace(REQUEST, input_size=(3, 8, 8), anchor_reference_s=(1.0, 2.0, 3.0)).to_dict()
    asked = {"references": ["fast", "slow"], "request": request, "process": 2}
    answers = io.StringIO()
    worker.main(io.StringIO(json.dumps(asked)), answers)
    told, result = map(json.loads, answers.getvalue().splitlines())
    assert told["progress"]["model"] == "fast"
    assert Run.from_dict(result["run"]).to_dict(samples=True) == run.to_dict(samples=True)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "what a user's own code prints\n")


def test_what_a_user_got_wrong_is_told_in_the_answer() -> None:
    answers = io.StringIO()
    asked = {"references": ["nope"], "request": REQUEST.to_dict(), "process": 0}
    worker.main(io.StringIO(json.dumps(asked)), answers)
    assert "unknown model 'nope'" in json.loads(answers.getvalue())["error"]


# --- speaking to processes --------------------------------------------------------------------------------------------


def speaking(tmp_path: Path, body: str) -> list[str]:
    """A process that reads its request as `asked` and then does as `body` says."""
    script = tmp_path / "fake.py"
    script.write_text(f"import json, os, signal, sys, time\nasked = json.load(sys.stdin)\n{body}\n")
    return [sys.executable, "-S", str(script)]


def test_each_process_is_asked_for_the_same_at_the_state_of_the_first(tmp_path: Path) -> None:
    run = json.dumps({"run": made_run().to_dict(samples=True)})
    log = tmp_path / "log"
    body = f"""
with open({str(log)!r}, "a") as file:
    file.write(json.dumps(asked) + "\\n")
print(json.dumps({{"progress": {{"model": "fast", "phase": "timing", "round": 1, "done": 0, "models": 2, "samples": 3,
    "estimate_s": 0.01, "half_width": None, "left_s": 1.0}}}}))
print({run!r})
"""
    told: list[Progress] = []
    request = replace(REQUEST, per_layer=True, reference_state="own")
    found = measure_in_processes(
        ["fast", "slow"], request, processes=3, progress=told.append, command=speaking(tmp_path, body)
    )
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["process"] for each in asked] == [0, 1, 2]
    assert [each["request"]["per_layer"] for each in asked] == [True, False, False]
    assert [each["request"]["anchor_reference_s"] for each in asked] == [None, *[[1e-3, 2e-3, 0.5e-3]] * 2]
    assert [(each.process, each.processes) for each in told] == [(0, 3), (1, 3), (2, 3)]
    assert found.measurements[0].between_process == 0
    assert len(found.measurements[0].process_medians_s) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('print(json.dumps({"error": "unknown model \'x\'"}))', "^unknown model 'x'$"),
        ("sys.exit(3)", "^process 1 of 2: it ended with code 3 and gave no result; process 2 of 2: it ended with"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "it was ended by SIGKILL, as the system does where memory runs out,"),
        ('print("hello")', "answered what is no JSON"),
    ],
)
def test_a_process_that_ends_badly_is_one_clear_line(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=message):
        measure_in_processes(["x"], REQUEST, processes=2, command=speaking(tmp_path, body))


@pytest.mark.parametrize("dies", [0, 1, 2])
def test_when_a_process_dies_the_others_stand(dies: int, tmp_path: Path) -> None:
    run = json.dumps({"run": made_run().to_dict(samples=True)})
    body = f'if asked["process"] == {dies}: sys.exit(137)\nprint({run!r})'
    found = measure_in_processes(["fast", "slow"], REQUEST, processes=3, command=speaking(tmp_path, body))
    assert [len(each.process_medians_s) for each in found.measurements] == [2, 2]
    assert [each.status for each in found.measurements] == ["ok", "ok"]
    assert not found.is_interrupted
    assert not any(each.is_interrupted for each in found.measurements)
    reason = f"process {dies + 1} of 3: it ended with code 137 and gave no result"
    assert found.failures == (Failure(model="", reason=reason),)


def test_layers_are_timed_in_the_first_process_that_measures_anything(tmp_path: Path) -> None:
    busy = json.dumps({"run": contended_run("fast").to_dict(samples=True)})
    quiet = json.dumps({"run": made_run(None, "fast").to_dict(samples=True)})
    log = tmp_path / "log"
    body = f"""
with open({str(log)!r}, "a") as file:
    file.write(str(asked["request"]["per_layer"]) + " ")
if asked["process"] == 0: sys.exit(1)
print({busy!r} if asked["process"] == 1 else {quiet!r})
"""
    measure_in_processes(["fast"], replace(REQUEST, per_layer=True), processes=4, command=speaking(tmp_path, body))
    assert log.read_text() == "True True True False "


def test_what_is_left_is_that_of_all_processes(tmp_path: Path) -> None:
    """A process takes 10 s on this clock, and says half way that it has 5 s left."""
    clock = FakeClock()
    run = json.dumps({"run": made_run().to_dict(samples=True)})
    body = f"""
print(json.dumps({{"progress": {{"model": "fast", "phase": "timing", "round": 1, "done": 0, "models": 2, "samples": 3,
    "estimate_s": 0.01, "half_width": None, "left_s": 5.0}}}}))
print({run!r})
"""
    left: list[float] = []

    def tell(told: Progress) -> None:
        clock.sleep(5)  # before it has said so
        left.append(told.left_s)

    starts = [100.0, 105.0, 110.0]
    measure_in_processes(
        ["fast", "slow"], REQUEST, processes=3, progress=tell, command=speaking(tmp_path, body), clock=clock
    )
    spent = [start_s - 100.0 for start_s in starts]
    assert left == [5 + (at_s + 5) / (number + 1) * (2 - number) for number, at_s in enumerate(spent)]


def test_ctrl_c_before_a_process_has_begun_is_ctrl_c(tmp_path: Path) -> None:
    """It loads for a minute, and is not waited for."""
    flag = tmp_path / "running"
    body = f'open({str(flag)!r}, "w").close()\ntime.sleep(60)'

    def stop() -> None:
        while not flag.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        measure_in_processes(["x"], REQUEST, processes=2, command=speaking(tmp_path, body))


def test_a_process_that_was_interrupted_before_its_session_is_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        measure_in_processes(
            ["x"], REQUEST, processes=2, command=speaking(tmp_path, 'print(json.dumps({"interrupted": True}))')
        )


def test_a_worker_that_is_interrupted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*args: Any, **of: Any) -> Run:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "measure_here", measured)
    answers = io.StringIO()
    asked = {"references": ["fast"], "request": REQUEST.to_dict(), "process": 0}
    worker.main(io.StringIO(json.dumps(asked)), answers)
    assert json.loads(answers.getvalue()) == {"interrupted": True}


def test_ctrl_c_reaches_the_process_once_and_its_answer_is_kept(tmp_path: Path) -> None:
    run = json.dumps({"run": replace(made_run(), is_interrupted=True).to_dict(samples=True)})
    body = f"""
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print(json.dumps({{"progress": {{"model": "fast", "phase": "timing", "round": 1, "done": 0, "models": 2, "samples": 3,
    "estimate_s": 0.01, "half_width": None, "left_s": 1.0}}}}), flush=True)
while not got:
    time.sleep(0.01)
assert got == [1]
print({run!r})
"""

    def stop(told: Progress) -> None:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    found = measure_in_processes(
        ["fast", "slow"], REQUEST, processes=3, progress=stop, command=speaking(tmp_path, body)
    )
    assert found.is_interrupted
    assert [each.name for each in found.measurements] == ["fast", "slow"]


def test_a_slow_machine_in_one_process_changes_the_stopwatch_alone() -> None:
    """Drift that the anchor sees is no spread between processes."""
    runs = [made_run(Machine(slowdown=always(slow), noise=0.02)) for slow in (1.0, 1.3)]
    found = merged(runs, REQUEST, asked=2).measurements[0]
    assert found.between_process is not None
    assert found.between_process < 0.01
    timed = [run.measurements[0].latency_s.median for run in runs]
    assert max(timed) / min(timed) > 1.25
