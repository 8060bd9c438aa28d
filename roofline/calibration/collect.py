"""Calibrate this machine: the request, and what comes of it. `roofline.calibration.session` does the measuring."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from roofline.calibration.bench import CpuBench, CudaBench
from roofline.calibration.data import Calibration, mismatch
from roofline.calibration.kernels import TERMS
from roofline.calibration.session import Progress, Session
from roofline.errors import BusyError, CalibrationError
from roofline.garbage import collection_paused
from roofline.measurement.clock import SystemClock
from roofline.measurement.subject import DTYPES

MIN_BUDGET_S: Mapping[str, float] = {
    "eager": 10.0,  # the ceilings and two groups on two cores; fewer networks fit no class of kernels
    "channels_last": 10.0,
    "compile": 240.0,  # ten compiled networks, below which no 90 % interval is measured; one takes 10 to 30 s
}
USUAL_BUDGET_S, USUAL_COMPILED_BUDGET_S = 120.0, 600.0
DEVICES, MODES = ("cpu", "cuda"), tuple(MIN_BUDGET_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How to calibrate; plain data.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        threads: Within an op; those torch has now if None.
        dtype: Of weights and inputs.
        mode: ``"eager"``, ``"channels_last"`` or, on a CPU, ``"compile"``.
        budget_s: Seconds to take, about.
        seed: Of the networks that are drawn.
        quiet_wait_s: Seconds to wait at most until no other process wants the cores; with 0 it is not looked at.
    """

    device: str = "cpu"
    threads: int | None = None
    dtype: str = "fp32"
    mode: str = "eager"
    budget_s: float = USUAL_BUDGET_S
    seed: int = 0
    quiet_wait_s: float = 60.0

    def check(self) -> None:
        """Find out before the work what is wrong.

        Raises:
            CalibrationError: Something is.
            MeasurementError: There is no such device here.
        """
        if self.device not in DEVICES:
            raise CalibrationError(f"only {' and '.join(DEVICES)} can be calibrated (got {self.device!r})")
        if self.mode not in MODES:
            raise CalibrationError(f"unknown mode {self.mode!r} of a calibration (known: {', '.join(MODES)})")
        if self.dtype not in DTYPES:
            raise CalibrationError(f"unknown dtype {self.dtype!r} (known: {', '.join(DTYPES)})")
        if self.device == "cuda" and self.mode == "compile":
            raise CalibrationError("mode compile is calibrated on a CPU alone; on CUDA: eager or channels_last")
        if not (least_s := MIN_BUDGET_S[self.mode]) <= self.budget_s < math.inf:
            why = ", since compiling a network takes 10 to 30 s" if self.mode == "compile" else ""
            raise CalibrationError(
                f"a budget of {self.budget_s:g} s is too small to fit anything: {least_s:g} s at least{why}"
            )
        if self.threads is not None and self.threads < 1:
            raise CalibrationError(f"threads must be at least 1 (got {self.threads})")
        if self.device == "cuda":
            from roofline.measurement.cuda import cuda_device

            cuda_device()


def calibrate(
    request: Request | None = None,
    *,
    base: Calibration | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Calibration, bool]:
    """Calibrate this machine; what came of it, and whether it was stopped by hand.

    After Ctrl-C, what was measured until then is the calibration, if it is enough to fit anything.

    Args:
        request: How.
        base: A calibration to extend; networks it has are not drawn again.
        progress: Called before it waits for a quiet machine, and before each group of networks.

    Raises:
        CalibrationError: The request makes no sense, or `base` is of another environment.
        MeasurementError: There is no such device here.
        BusyError: Others used the machine all the time.
        KeyboardInterrupt: It was stopped by hand too early.
    """
    from roofline.measurement.allocator import keep_memory
    from roofline.measurement.conditions import SystemProbe, wait_until_quiet
    from roofline.measurement.environment import environment, using_threads

    request = request or Request()
    request.check()
    keep_memory()
    clock = SystemClock()
    with using_threads(request.threads) as threads:
        if base is not None:
            _check_extends(base, environment(request.device))
        if progress is not None and request.quiet_wait_s:
            progress(Progress(phase="waiting", left_s=request.quiet_wait_s))
        if not wait_until_quiet(SystemProbe(), clock, threads=threads, at_most_s=request.quiet_wait_s):
            raise BusyError(
                f"other processes used the cores for {request.quiet_wait_s:g} s: calibrate when the machine is idle, "
                "with fewer threads, or with --quiet-wait 0 in spite of it"
            )
        record = environment(request.device, seed=request.seed)
        session = Session(request, clock, _bench(request.device, clock), progress, base)
        with _measuring():
            is_interrupted = session.run(record)
        return session.result(record, threads, is_interrupted), is_interrupted


def _check_extends(base: Calibration, environment: Mapping[str, Any]) -> None:
    """Find out before the work whether what is measured here goes together with a calibration.

    Raises:
        CalibrationError: It does not.
    """
    found = mismatch(base, environment)
    if base.terms != TERMS:
        found.append("kernels are described by other terms, as it was made by another version of roofline")
    if found:
        raise CalibrationError(
            f"the calibration cannot be extended here: {'; '.join(found)}. Leave out --extend, and make one anew"
        )


def usual_budget_s(mode: str) -> float:
    """Seconds that a calibration of a mode takes, where nobody says."""
    return USUAL_COMPILED_BUDGET_S if mode == "compile" else USUAL_BUDGET_S


def _bench(device: str, clock: SystemClock) -> CpuBench | CudaBench:
    if device == "cpu":
        return CpuBench(clock)
    from roofline.measurement.cuda import cuda_device

    return CudaBench(cuda_device(), clock, placed=torch.device("cuda"))


@contextmanager
def _measuring() -> Iterator[None]:
    """Without garbage collection and gradients, and without torch's fast path of attention layers, as traces see it."""
    from roofline.surroundings import without_mha_fast_path

    with collection_paused(), torch.inference_mode(), without_mha_fast_path():
        yield


def extended(calibration: Calibration, request: Request) -> Request:
    """The request that extends a calibration: in its way, with networks that it has not seen.

    Raises:
        CalibrationError: It was asked for otherwise.
    """
    seeds = [int(name.partition("-")[2]) for name in calibration.wholes.network.tolist()]
    return replace(
        request, device=calibration.environment.get("device", {}).get("type", "cpu"), mode=calibration.mode,
        dtype=calibration.dtype, threads=calibration.threads, seed=max(seeds, default=-1) + 1,
    )  # fmt: skip
