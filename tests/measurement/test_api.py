"""From a model to a measurement; where real ops are timed here, nothing is said about how long they take."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import roofline
from roofline.errors import MeasurementError, ModelError
from roofline.measurement import api, environment, session
from roofline.measurement.anchor import TorchAnchor
from roofline.measurement.api import Request, measure, measure_models
from roofline.measurement.machine_state import load_state, save_state, state_file
from roofline.measurement.result import Failure
from roofline.measurement.session import Progress, Session
from tests.measurement.fakes import ANCHOR_S, Machine, always
from tests.measurement.runs import made_run

QUICK: dict[str, Any] = {"max_s": 0.05, "rounds": 1, "input_size": (3, 32, 32)}


@pytest.fixture(autouse=True)
def quick_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.measurement.stopping.WARM_CAP_S", 0.02)


@pytest.fixture(autouse=True)
def however_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others do on the machine is no reason for a test to fail."""
    for place in ("conditions", "session"):
        monkeypatch.setattr(f"roofline.measurement.{place}.MAX_FACTOR", 1e9)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a session is asked for; it answers at once."""
    calls: list[dict[str, Any]] = []

    def run(subjects: Any, **options: Any) -> Session:
        calls.append({"subjects": subjects, **options})
        made = made_run(None, *(each.label for each in subjects))
        anchor = {**made.anchor, "reference_s": list(options["reference_s"] or ANCHOR_S)}
        return Session(measurements=made.measurements, anchor=anchor, failures=(), is_interrupted=False)

    monkeypatch.setattr(session, "run", run)
    return calls


# --- real ops ---------------------------------------------------------------------------------------------------------


def test_a_model_is_measured() -> None:
    found = roofline.measure("mobilenetv4_conv_s", **QUICK)
    assert found.latency_s.n >= 1
    assert found.latency_s.median > 0
    assert found.params == 3_774_024
    assert found.input_shapes == ((1, 3, 32, 32),)
    assert found.subnormal_share == 0
    assert found.environment["threads"]["intra_op"] == found.threads == torch.get_num_threads()
    json.dumps(found.to_dict(samples=True), allow_nan=False)


def test_a_module_and_a_function_are_measured() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert measure(module, **QUICK).input_shapes == ((1, 3, 32, 32),)
    assert measure(module, [torch.randn(2, 3, 8, 8)], max_s=0.05, rounds=1).batch == 2
    assert measure(lambda: None, max_s=0.05, rounds=1).latency_s.median < 1e-4


def test_a_model_that_does_not_run_in_the_dtype() -> None:
    class Unable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.float16:
                raise RuntimeError("not implemented for 'Half'")
            return x

    with pytest.raises(MeasurementError, match=r"Unable does not run in fp16 on cpu: RuntimeError: not implemented"):
        measure(Unable(), [torch.randn(3)], dtype="fp16")


# --- what a session is asked for --------------------------------------------------------------------------------------


def test_options_reach_the_session(asked: list[dict[str, Any]]) -> None:
    before = torch.get_num_threads()
    found = measure_models(
        ["mobilenetv4_conv_s", "mobilenet_v2"],
        threads=before + 1,
        target=0.05,
        max_s=3,
        rounds=7,
        seed=4,
        input_size=(3, 32, 32),
    )
    (call,) = asked
    assert [each.label for each in call["subjects"]] == ["mobilenetv4_conv_s", "mobilenet_v2"]
    limits = call["limits"]
    assert (limits.target, limits.cap_s, limits.min_rounds) == (0.05, 3, 7)
    assert call["threads"] == before + 1
    assert torch.get_num_threads() == before  # as it was
    assert found.environment["seed"] == 4
    assert found.environment["threads"]["intra_op"] == before + 1


def test_more_threads_than_there_are_cpus_are_warned_of(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "available_cpus", lambda: 1.0)
    found = measure("mobilenetv4_conv_s", threads=2, input_size=(3, 32, 32))
    assert "2 threads share the 1 CPUs" in found.notes[-1]
    assert not measure("mobilenetv4_conv_s", threads=1, input_size=(3, 32, 32)).notes


def test_without_a_number_no_more_threads_are_used_than_there_are_cpus(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "available_cpus", lambda: 1.5)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        measure(lambda: None)
        assert asked[0]["threads"] == 1
    finally:
        torch.set_num_threads(before)


def test_a_model_that_cannot_be_built_stops_no_other(asked: list[dict[str, Any]]) -> None:
    found = measure_models(["nope", "mobilenetv4_conv_s"], input_size=(3, 32, 32))
    assert [each.name for each in found.measurements] == ["mobilenetv4_conv_s"]
    assert [failure.model for failure in found.failures] == ["nope"]
    with pytest.raises(ModelError, match="unknown model 'nope'"):
        measure_models(["nope"])
    with pytest.raises(MeasurementError, match=r"unknown model 'nope'.*unknown model 'nada'"):
        measure_models(["nope", "nada"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 0}, "target is a share"),
        ({"max_s": 0}, "max_s must be more than 0"),
        ({"max_s": float("nan")}, "max_s must be more than 0"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"reference_state": "mine"}, "unknown reference state 'mine'"),
        ({"per_layer": True, "mode": "compile"}, "layers are timed op by op"),
        ({"anchor_reference_s": (1.0,)}, "needs a positive time of each of sgemm_256, blocks_56_28_14, copy_8mb"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        measure_models(["mobilenetv4_conv_s"], **{"input_size": (3, 32, 32), **options})


def test_what_goes_with_what() -> None:
    with pytest.raises(MeasurementError, match="only a model reference can be measured in other processes"):
        measure(lambda: None, processes=2)
    with pytest.raises(MeasurementError, match="a model reference has inputs of its own"):
        measure("mobilenetv4_conv_s", [torch.zeros(1)])
    with pytest.raises(MeasurementError, match="a function has no layers"):
        measure(lambda: None, per_layer=True)
    with pytest.raises(MeasurementError, match="not a int"):
        measure(3)  # type: ignore[arg-type]
    with pytest.raises(MeasurementError, match="no model to measure"):
        measure_models([])
    with pytest.raises(TypeError, match=r"measure\(\) got an unexpected keyword argument 'speed'"):
        measure("mobilenetv4_conv_s", speed=3)


def test_a_request_is_plain_data() -> None:
    request = Request(input_size=(3, 8, 8), arguments={"width_mult": 0.5}, anchor_reference_s=(1.0, 2.0, 3.0))
    assert Request.from_dict(json.loads(json.dumps(request.to_dict()))) == request


def test_ctrl_c_before_the_first_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(subjects: Any, **options: Any) -> Session:
        failures = tuple(Failure(model=each.label, reason="interrupted") for each in subjects)
        return Session(measurements=(), anchor={}, failures=failures, is_interrupted=True)

    monkeypatch.setattr(session, "run", run)
    with pytest.raises(KeyboardInterrupt):
        measure(lambda: None)


# --- what is looked into afterwards -----------------------------------------------------------------------------------


class Failing(nn.Module):
    """Runs until it is told to fail."""

    fails = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fails:
            raise KeyError("weights")
        return x + 1


def looked_into(module: nn.Module, request: Request, **options: Any) -> Any:
    from roofline.measurement.clock import SystemClock, WallTimer
    from roofline.measurement.subject import of_module

    (found,) = made_run(None, "net").measurements
    timed = of_module(module, [torch.zeros(2, 3)], timer=WallTimer(SystemClock()), name="net")
    return found, api._looked_into(found, timed, request, **options)


def test_what_fails_afterwards_leaves_what_was_measured() -> None:
    module = Failing()
    module.fails = True
    found, told = looked_into(module, Request(per_layer=True))
    assert told.reference_latency_s == found.reference_latency_s
    assert told.subnormal_share is None
    assert told.layers is None
    subnormal, layers = told.notes
    assert subnormal.startswith("its outputs could not be looked at for subnormal numbers: net ran, and then failed: ")
    assert layers.startswith("the layers could not be timed: ")
    assert "KeyError" in layers


def test_whatever_layers_fail_with_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def layer_times(*_: Any, **__: Any) -> None:
        raise TypeError("no such thing\nand a long story")

    monkeypatch.setattr("roofline.measurement.per_layer.layer_times", layer_times)
    _, told = looked_into(Failing(), Request(per_layer=True))
    assert told.notes == ("the layers could not be timed: TypeError: no such thing",)


def test_layers_have_the_time_of_a_model_and_tell_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def layer_times(*_: Any, cap_s: float, progress: Any, **__: Any) -> None:
        asked.append(cap_s)
        progress(5, 20)
        raise MeasurementError("enough")

    monkeypatch.setattr("roofline.measurement.per_layer.layer_times", layer_times)
    told: list[Progress] = []
    looked_into(Failing(), Request(per_layer=True, max_s=4), progress=told.append, done=1, models=3)
    assert asked == [4]
    assert [(each.model, each.phase, each.round, each.done, each.models) for each in told] == [
        ("net", "layers", 0, 1, 3), ("net", "layers", 5, 1, 3),
    ]  # fmt: skip
    assert [each.left_s for each in told] == [8, 7]  # 4 s each of this one and of the next; a quarter of this is done
    assert Request(per_layer=True, max_s=4).limits.layers_s == 4
    assert Request(max_s=4).limits.layers_s == 0


@pytest.mark.parametrize(("faults", "is_told"), [(255, False), (256, True)])
def test_many_page_faults_are_told(faults: int, is_told: bool) -> None:
    (found,) = made_run(Machine(faults_a_call=faults), "net").measurements
    assert found.page_faults == faults
    told = api._looked_into(found, Machine().subject("net"), Request())
    assert any(f"{faults} page faults a call" in note for note in told.notes) == is_told


# --- the reference state ----------------------------------------------------------------------------------------------


def state() -> tuple[float, ...] | None:
    kept = load_state(state_file(environment.environment()), TorchAnchor.names)
    return None if kept is None else kept.reference_s


def test_the_first_session_keeps_its_state_and_later_ones_use_it(asked: list[dict[str, Any]]) -> None:
    assert state() is None
    run = api.measure_here([lambda timer: _nothing(timer)], Request())
    assert asked[0]["reference_s"] is None
    assert run.anchor["reference_source"] == "this session, and kept for later ones"
    assert state() == ANCHOR_S
    run = api.measure_here([lambda timer: _nothing(timer)], Request())
    assert asked[1]["reference_s"] == ANCHOR_S
    assert re.fullmatch(r"an earlier session, of \d{4}-\d\d-\d\d", run.anchor["reference_source"])


@pytest.mark.parametrize("status", ["contended", "throttled"])
def test_a_busy_session_is_no_reference_for_others(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(subjects: Any, **options: Any) -> Session:
        made = made_run(None, *(each.label for each in subjects))
        measurements = tuple(replace(each, status=status) for each in made.measurements)
        return Session(measurements=measurements, anchor=made.anchor, failures=(), is_interrupted=False)

    monkeypatch.setattr(session, "run", run)
    found = api.measure_here([lambda timer: _nothing(timer)], Request())
    assert found.anchor["reference_source"] == "this session, and not kept: the machine was busy"
    assert state() is None


@pytest.mark.parametrize(("slowdown", "is_due"), [(1.2, False), (0.85, False), (0.7, True)])
def test_a_state_that_was_no_quiet_moment_is_found_out(
    slowdown: float, is_due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(subjects: Any, **options: Any) -> Session:
        made = made_run(Machine(slowdown=always(slowdown)), *(each.label for each in subjects))
        return Session(measurements=made.measurements, anchor=made.anchor, failures=(), is_interrupted=False)

    monkeypatch.setattr(session, "run", run)
    here = environment.environment()
    save_state(state_file(here), TorchAnchor.names, ANCHOR_S, here)
    found = api.measure_here([lambda timer: _nothing(timer)], Request())
    assert found.anchor["reference_source"].endswith("--new-reference is due") == is_due


def _nothing(timer: Any) -> Any:
    from roofline.measurement.subject import of_callable

    return of_callable(lambda: None, [], timer=timer, name="nothing")


@pytest.mark.parametrize(
    ("how", "used", "kept"),
    [("kept", (9.0, 9.0, 9.0), (9.0, 9.0, 9.0)), ("read", (9.0, 9.0, 9.0), (9.0, 9.0, 9.0)),
     ("own", None, (9.0, 9.0, 9.0)), ("anew", None, ANCHOR_S)],
)  # fmt: skip
def test_which_state_is_used_and_which_is_kept(
    how: str, used: tuple[float, ...] | None, kept: tuple[float, ...], asked: list[dict[str, Any]]
) -> None:
    here = environment.environment()
    save_state(state_file(here), TorchAnchor.names, (9.0, 9.0, 9.0), here)
    measure(lambda: None, reference_state=how)
    assert asked[0]["reference_s"] == used
    assert state() == kept


@pytest.mark.parametrize("how", ["read", "own"])
def test_nothing_is_kept_if_that_was_asked_for(how: str, asked: list[dict[str, Any]], data_directory: Path) -> None:
    measure(lambda: None, reference_state=how)
    assert not data_directory.exists()


def test_a_data_directory_that_cannot_be_written_loses_no_measurement(
    asked: list[dict[str, Any]], data_directory: Path
) -> None:
    data_directory.write_text("a file")
    run = api.measure_here([lambda timer: _nothing(timer)], Request())
    assert len(run.measurements) == 1
    assert run.anchor["reference_source"].startswith("this session, and not kept: cannot write ")
