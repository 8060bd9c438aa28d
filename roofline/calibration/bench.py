"""How a network is timed on a device: as a whole, and its ops in order, with the anchor beside.

A CPU has ended when the call returns. On CUDA, ops are timed by events on the device's own timeline while the queue is
kept full (`roofline.measurement.cuda`), so an op's time is the device's alone; a whole is timed by the wall clock from
the call until the device has ended, and beside it how long the host took to return from the call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from roofline.calibration.ceilings import measure_ceilings
from roofline.calibration.data import Ceilings
from roofline.measurement.anchor import Anchor, TorchAnchor
from roofline.measurement.clock import Clock, WallTimer
from roofline.measurement.cuda import CudaDevice, CudaTimer, EventStopwatch
from roofline.measurement.replay import ClockStopwatch, Stopwatch


class Bench(Protocol):
    """What a calibration times on."""

    @property
    def anchor(self) -> Anchor:
        """Fixed work beside each sample."""

    @property
    def stopwatch(self) -> Stopwatch:
        """Times the ops of a replay."""

    def place(self, module: nn.Module, given: Tensor) -> Tensor:
        """Move a module to the device, and give its input there."""

    def whole_s(self, call: Callable[[], object]) -> tuple[float, float]:
        """Seconds until all that a call started has ended, and until the call returned."""

    def ceilings(self, dtype: torch.dtype, budget_s: float) -> Ceilings:
        """The best rates."""


class CpuBench:
    """Times by the wall clock.

    Args:
        clock: Tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.anchor: Anchor = TorchAnchor(WallTimer(clock))
        self.stopwatch: Stopwatch = ClockStopwatch(clock)

    def place(self, module: nn.Module, given: Tensor) -> Tensor:
        """Both are there."""
        return given

    def whole_s(self, call: Callable[[], object]) -> tuple[float, float]:
        """Twice the same: a CPU has ended when the call returns."""
        now_s = self._clock.now_s
        start_s = now_s()
        result = call()
        took_s = now_s() - start_s
        del result
        return took_s, took_s

    def ceilings(self, dtype: torch.dtype, budget_s: float) -> Ceilings:
        """The best rates on the CPU."""
        return measure_ceilings(self._clock, dtype=dtype, budget_s=budget_s)


class CudaBench:
    """Times ops by events, and wholes by the wall clock.

    Args:
        device: The accelerator, or one on paper.
        clock: Of the host.
        anchor: Fixed work on it; torch's if None.
        placed: Where torch makes tensors that are to be on it; nowhere else if None.
    """

    def __init__(
        self, device: CudaDevice, clock: Clock, *, anchor: Anchor | None = None, placed: torch.device | None = None
    ) -> None:
        self._device, self._clock, self._placed = device, clock, placed
        self.anchor: Anchor = anchor or TorchAnchor(CudaTimer(device, clock), "cuda")
        self.stopwatch: Stopwatch = EventStopwatch(device)

    def place(self, module: nn.Module, given: Tensor) -> Tensor:
        """Move both."""
        module.to(self._placed)
        return given.to(self._placed)

    def whole_s(self, call: Callable[[], object]) -> tuple[float, float]:
        """From the call to the end of the device, and to the return of the call."""
        device, now_s = self._device, self._clock.now_s
        device.synchronise()
        start_s = now_s()
        result = call()
        returned_s = now_s() - start_s
        device.synchronise()
        took_s = now_s() - start_s
        del result
        return took_s, returned_s

    def ceilings(self, dtype: torch.dtype, budget_s: float) -> Ceilings:
        """The best rates on the device, by a clock that waits for it."""
        there: AbstractContextManager[object] = nullcontext() if self._placed is None else self._placed
        with there:
            clock = WaitingClock(self._device, self._clock)
            return measure_ceilings(clock, dtype=dtype, budget_s=budget_s, is_cpu=False)


class WaitingClock:
    """A clock that is read only once the device has ended what it was given.

    Args:
        device: The accelerator.
        clock: Of the host.
    """

    def __init__(self, device: CudaDevice, clock: Clock) -> None:
        self._device, self._clock = device, clock
        self.process_s, self.sleep = clock.process_s, clock.sleep

    @property
    def resolution_s(self) -> float:
        """That of the host's clock."""
        return self._clock.resolution_s

    def now_s(self) -> float:
        """Seconds, once the device has ended."""
        self._device.synchronise()
        return self._clock.now_s()
