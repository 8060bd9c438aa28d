"""Calibrating: what is kept of networks, on small ones; nothing is said about how long they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from roofline.calibration import collect, session
from roofline.calibration.bench import CudaBench
from roofline.calibration.collect import Request, calibrate, extended
from roofline.calibration.data import Calibration
from roofline.calibration.inductor import KEPT_TERMS as COMPILED_TERMS
from roofline.calibration.inductor import compiled
from roofline.calibration.kernels import TERMS, kernels_of
from roofline.calibration.session import Progress, Session
from roofline.errors import BusyError, CalibrationError
from roofline.measurement.anchor import TorchAnchor
from roofline.measurement.clock import SystemClock, WallTimer
from roofline.measurement.environment import environment
from roofline.trace import trace
from tests.calibration.made import make_calibration
from tests.measurement.timed_ops import PaperGpu, StillClock

GROUPS = 2
LONG_S = 3600.0  # that a busy machine does not end before the groups do
MIN_BUDGET_S = collect.MIN_BUDGET_S


def small(seed: int, weights: object = None) -> tuple[nn.Module, tuple[int, ...]]:
    """As a network of the menu, in less than a millisecond: a convolution of as many channels as the seed says."""
    torch.manual_seed(seed)
    width = 8 + seed
    layers = nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 7)
    )
    return layers.eval(), (1, 3, 8, 8)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small networks, two groups of them, and a data directory of its own."""
    monkeypatch.setattr(session, "network", small)
    monkeypatch.setattr(session, "FIRST_ANCHORS", 2)
    monkeypatch.setattr(collect, "MIN_BUDGET_S", dict.fromkeys(collect.MODES, 0.0))
    monkeypatch.setattr("roofline.calibration.ceilings.FOOTPRINTS", (2**15, 2**16))
    monkeypatch.setattr("roofline.calibration.ceilings.GEMM_SIDES", (64,))
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *args, **kwargs: str(tmp_path / "data"))
    monkeypatch.setattr("roofline.measurement.allocator.keep_memory", lambda: None)
    for limit in ("MAX_FACTOR", "UNUSUAL_FACTOR"):
        monkeypatch.setattr(session, limit, 1e9)  # a busy machine is no reason for a test to fail


def stopping_after(groups: int) -> Callable[[Progress], None]:
    """Ctrl-C before the group after these."""
    seen = 0

    def tell(told: Progress) -> None:
        nonlocal seen
        if told.phase == "networks":
            seen += 1
            if seen > groups:
                raise KeyboardInterrupt

    return tell


def calibrated(groups: int = GROUPS, **how: Any) -> Calibration:
    base = how.pop("base", None)
    found, is_interrupted = calibrate(
        Request(quiet_wait_s=0, **{"budget_s": LONG_S, **how}), base=base, progress=stopping_after(groups)
    )
    assert is_interrupted
    return found


def calibrated_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch, base: Calibration | None = None) -> None:
    """That of one group, however long it takes here."""
    clock = SystemClock()
    monkeypatch.setattr(collect, "SystemClock", lambda: clock)

    def tell(told: Progress) -> None:
        if told.phase == "networks":
            monkeypatch.setattr(clock, "now_s", lambda: SystemClock().now_s() + LONG_S)

    calibrate(Request(quiet_wait_s=0, budget_s=LONG_S), base=base, progress=tell)


def test_each_kernel_call_is_there_once_with_its_terms() -> None:
    found = calibrated()
    assert found.wholes.network.tolist() == sorted(found.wholes.network.tolist(), key=lambda name: int(name[5:]))
    assert len(found.wholes) == GROUPS * session.GROUP
    module, shape = small(3)
    expected = kernels_of(trace(module, (torch.empty(shape, device="meta"),)))
    place = {key: row for row, key in enumerate(found.ops.key.tolist())}
    for row, key in enumerate(expected.key):
        assert found.ops.kernel[place[key]] == expected.kernel[row]
        assert np.array_equal(found.ops.terms[place[key]], expected.terms[row])
    assert found.terms == TERMS


def test_a_whole_is_its_ops_and_the_host() -> None:
    found = calibrated()
    assert (found.wholes.ops == 4).all()  # convolution, norm, relu, linear
    assert (found.wholes.views == 1).all()  # flatten
    assert (found.wholes.module_calls == 6).all()  # the sequence and its five
    macs = [36 * 27 * (8 + seed) + 7 * 36 * (8 + seed) for seed in range(len(found.wholes))]
    assert found.wholes.macs.tolist() == macs
    times = dict(zip(found.ops.key.tolist(), found.ops.time_s.tolist(), strict=True))
    module, shape = small(0)
    keys = kernels_of(trace(module, (torch.empty(shape, device="meta"),))).key
    assert found.wholes.ops_s[0] == pytest.approx(sum(times[key] for key in keys))  # each ran in this network alone


def test_the_samples_of_a_call_are_its_rounds() -> None:
    found = calibrated()
    assert set(found.ops.samples.tolist()) == {session.ROUNDS}
    assert found.total_samples == 2 * session.ROUNDS * len(found.wholes)  # as a whole, and op by op
    assert found.left_out == 0


def test_samples_of_a_busy_machine_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_FACTOR", 0.0)
    with pytest.raises(BusyError, match=r"of \d+ samples were taken while the machine was busy") as error:
        calibrated_until_the_time_is_up(monkeypatch)
    assert error.value.exit_code == 3


def test_a_session_that_met_another_machine_than_before_does_not_extend(monkeypatch: pytest.MonkeyPatch) -> None:
    base = calibrated()
    monkeypatch.setattr(session, "UNUSUAL_FACTOR", 1.35)
    quiet = replace(base, anchor={**base.anchor, "factor": {"median": 1e-3}})
    with pytest.raises(KeyboardInterrupt):  # by hand: there was not enough yet
        calibrated(base=quiet)
    with pytest.raises(BusyError, match="what is left is 0 networks"):
        calibrated_until_the_time_is_up(monkeypatch, base=quiet)


def test_a_machine_that_was_slow_most_of_the_time_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "UNUSUAL_FACTOR", 1.35)
    monkeypatch.setattr(session, "factor_of", lambda *given: 1.7)
    assert any("was 1.7 times as slow as at its reference state" in note for note in calibrated().notes)


def test_a_machine_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.measurement.conditions.wait_until_quiet", lambda *given, **how: False)
    told: list[Progress] = []
    with pytest.raises(BusyError, match="other processes used the cores for 60 s"):
        calibrate(Request(), progress=told.append)
    assert [(each.phase, each.left_s) for each in told] == [("waiting", 60)]  # who waits is told what for


def test_ctrl_c_too_early_leaves_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        calibrate(Request(quiet_wait_s=0), progress=stopping_after(0))


def test_after_ctrl_c_it_says_how_to_go_on_and_goes_on_from_there() -> None:
    first = calibrated()
    assert any("--extend adds to it" in note for note in first.notes)
    request = extended(first, Request(budget_s=30))
    assert (request.mode, request.dtype, request.threads) == (first.mode, first.dtype, first.threads)
    both = calibrated(1, base=first, seed=request.seed)
    names = both.wholes.network.tolist()
    assert len(set(names)) == len(names) == (GROUPS + 1) * session.GROUP
    assert set(first.ops.key.tolist()) < set(both.ops.key.tolist())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"versions": {"torch": "1.0"}}, "versions.torch is .* and 1.0 when it was calibrated"),
        ({"cpu": {"model": "Another"}}, "cpu.model is .* and Another when it was calibrated"),
        (None, "made by another version of roofline"),
    ],
)
def test_what_cannot_be_extended_is_told_before_the_work(
    changed: dict[str, Any] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "run", lambda *given: pytest.fail("it measures"))
    base = make_calibration(environment={**environment(), **(changed or {})})
    with pytest.raises(CalibrationError, match=f"^the calibration cannot be extended here: .*{message}"):
        calibrate(Request(quiet_wait_s=0), base=base)


def test_it_is_extended_on_the_device_that_it_is_of() -> None:
    base = make_calibration(environment={**environment(), "device": {"type": "cuda", "name": "A GPU"}})
    assert extended(base, Request()).device == "cuda"


def test_channels_last_has_kernels_of_its_own() -> None:
    eager, last = calibrated(), calibrated(mode="channels_last")
    assert last.mode == "channels_last"
    convolutions = {key for key in last.ops.key.tolist() if key.startswith("conv")}
    assert convolutions
    assert convolutions.isdisjoint(eager.ops.key.tolist())


def test_compiled_the_wholes_are_timed_apart_and_their_libraries_are_those_of_channels_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.compile", lambda module: module)  # how long it takes is nothing that is asked here
    monkeypatch.setattr("roofline.calibration.compiling.loops_share", lambda call: 0.25)
    monkeypatch.setattr(session, "COMPILING_SHARE", 1.0)
    told: list[str] = []

    def tell(progress: Progress) -> None:
        told.append(progress.phase)
        if told.count("networks") > GROUPS:
            raise KeyboardInterrupt

    found, _ = calibrate(Request(quiet_wait_s=0, mode="compile", budget_s=LONG_S), progress=tell)
    assert told.count("compiling") == len(found.wholes) == GROUPS * session.COMPILED_OF_GROUP
    assert found.composed is not None
    assert found.composed.network.tolist() == found.wholes.network.tolist()
    assert found.whole_terms == COMPILED_TERMS
    module, shape = small(0)
    plan = compiled(trace(module, (torch.empty(shape, device="meta"),)))
    assert found.composed.terms[0].tolist() == [*plan.whole.tolist(), 0.25 * found.wholes.time_s[0]]
    times = dict(zip(found.ops.key.tolist(), found.ops.time_s.tolist(), strict=True))
    own = [key for key, own in zip(plan.kernels.key, plan.is_library, strict=True) if own]
    assert [key.partition(" ")[0] for key in own] == ["conv_small_kxk/strided", "gemv"]
    assert found.wholes.ops_s[0] == pytest.approx(sum(times[key] for key in own))
    assert len(found.ops) > len(own)  # the others are timed, too


def test_groups_are_timed_without_compiling_where_compiling_has_taken_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.compile", lambda module: module)
    monkeypatch.setattr("roofline.calibration.compiling.loops_share", lambda call: 0.25)
    monkeypatch.setattr(session, "COMPILING_SHARE", 0.0)  # nothing has been compiled before the first group
    monkeypatch.setattr(session, "MIN_NETWORKS", session.COMPILED_OF_GROUP)
    found, _ = calibrate(Request(quiet_wait_s=0, mode="compile", budget_s=LONG_S), progress=stopping_after(GROUPS))
    assert len(found.wholes) == session.COMPILED_OF_GROUP
    assert len(set(found.ops.network.tolist())) > session.GROUP


def test_where_nothing_compiles_it_says_so_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_with(module: nn.Module) -> nn.Module:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand more")

    monkeypatch.setattr("torch.compile", compile_with)
    with pytest.raises(
        CalibrationError, match=r"^torch\.compile fails here: RuntimeError: InvalidCxxCompiler: No work"
    ):
        calibrate(Request(quiet_wait_s=0, mode="compile"), progress=stopping_after(GROUPS))


def test_on_cuda_the_host_is_timed_beside_the_whole() -> None:
    gpu, clock = PaperGpu(StillClock()), SystemClock()
    bench = CudaBench(gpu, clock, anchor=TorchAnchor(WallTimer(clock)))
    made = session.Session(Request(device="cuda"), clock, bench, stopping_after(GROUPS), None)
    with torch.inference_mode():
        assert made.run({"device": {"type": "cuda", "name": "paper"}})
    found = made.result({"device": {"type": "cuda", "name": "paper"}}, 1, is_interrupted=True)
    assert found.whole_terms == ("host_s",)
    assert found.composed is not None
    assert found.composed.terms.shape == (GROUPS * session.GROUP, 1)
    assert (found.composed.terms > 0).all()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"device": "tpu"}, "only cpu and cuda can be calibrated"),
        ({"mode": "cudagraph"}, "unknown mode 'cudagraph' of a calibration"),
        ({"mode": "compile", "device": "cuda"}, "mode compile is calibrated on a CPU alone"),
        ({"mode": "compile"}, "a budget of 120 s is too small to fit anything: 240 s at least, since compiling"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"budget_s": 5.0}, "a budget of 5 s is too small to fit anything: 10 s at least"),
        ({"budget_s": float("nan")}, "too small"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(
    how: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MIN_BUDGET_S", MIN_BUDGET_S)
    with pytest.raises(CalibrationError, match=message):
        calibrate(Request(**how))


def test_after_some_networks_those_that_promise_most_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "DRAWN_BLINDLY", session.GROUP)
    monkeypatch.setattr(
        "roofline.calibration.drawing.Drawing.value",
        lambda drawing, kernels, **how: kernels.terms[:, TERMS.index("macs")].sum(),  # the largest
    )
    found = calibrated()
    assert found.wholes.network.tolist() == [
        *(f"menu-{seed}" for seed in range(session.GROUP)),
        *(f"menu-{session.GROUP + session.CANDIDATES * number - 1}" for number in range(1, session.GROUP + 1)),
    ]
