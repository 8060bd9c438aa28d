"""A clock that stands still unless told, an accelerator on paper, and ops that take as long as they are told.

Networks of such ops take times that can be added up by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

LAUNCH_S = 5e-6


@dataclass
class StillClock:
    """Moves by what ops take, by what is slept, and by `tick_s` each time it is read."""

    time_s: float = 0.0
    tick_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)
    resolution_s: float = 1e-9

    def now_s(self) -> float:
        self.time_s += self.tick_s
        return self.time_s

    def process_s(self) -> float:
        return self.time_s

    def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        self.time_s += duration_s

    def reset(self) -> StillClock:
        self.time_s, self.tick_s, self.slept_s = 0.0, 0.0, []
        return self


@dataclass
class PaperGpu:
    """An accelerator that exists on paper: its stream, its clock and its host are a few numbers.

    Launching a kernel takes the host `LAUNCH_S`, and nothing else takes it any time; a kernel begins when it was
    launched and the one before has ended. An event is the time at which the stream comes to it.
    """

    clock: StillClock
    sm_hz: list[float] = field(default_factory=lambda: [1e9])  # of each main spin; the last one stays
    name: str = "paper"
    l2_bytes: int = 1_000_000
    default_clock_hz: float | None = 1e9
    spins_in_cycles: bool = True
    nvml_hz: float | None = None
    busy_until_s: float = 0.0
    work_s: float = 0.0
    spins: list[int] = field(default_factory=list)
    flushes: int = 0

    def launch(self, kernel_s: float) -> None:
        self.clock.time_s += LAUNCH_S
        self.busy_until_s = max(self.busy_until_s, self.clock.time_s) + kernel_s
        self.work_s += kernel_s

    def event(self) -> float:
        return max(self.busy_until_s, self.clock.time_s)

    def is_reached(self, event: float) -> bool:
        return self.clock.time_s >= event

    def elapsed_s(self, start: float, end: float) -> float:
        return end - start

    def synchronise(self) -> None:
        self.clock.time_s = max(self.clock.time_s, self.busy_until_s)

    def spin(self, cycles: int) -> None:
        self.spins.append(cycles)
        lead_in = len(self.spins) % 2 == 1
        hz = self.sm_hz[0] if lead_in or len(self.sm_hz) == 1 else self.sm_hz.pop(0)
        self.launch(cycles / hz)

    def flush_l2(self) -> None:
        self.flushes += 1
        self.launch(40e-6)

    def capture(self, call: Callable[[], object]) -> Callable[[], None]:
        before_s = self.work_s
        call()
        kernels_s = self.work_s - before_s
        return lambda: self.launch(kernels_s)

    def clock_hz(self) -> float | None:
        return self.nvml_hz

    @property
    def main_spins(self) -> list[int]:
        return self.spins[1::2]


CLOCK = StillClock()  # of the ops below

_LIBRARY: Any = torch.library.Library("timed", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("work(Tensor x, float seconds) -> Tensor")
_LIBRARY.define("work_(Tensor(a!) x, float seconds) -> Tensor(a!)")
_LIBRARY.define("halves(Tensor x, float seconds) -> (Tensor, Tensor)")
_LIBRARY.define("no_kernel(Tensor x) -> Tensor")


def _work(x: Tensor, seconds: float) -> Tensor:
    CLOCK.time_s += seconds
    return x + 1


def _work_in_place(x: Tensor, seconds: float) -> Tensor:
    CLOCK.time_s += seconds
    return x.add_(1)


def _halves(x: Tensor, seconds: float) -> tuple[Tensor, Tensor]:
    CLOCK.time_s += seconds
    return x / 2, x / 2


def _shapes_of_halves(x: Tensor, seconds: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


_LIBRARY.impl("work", _work, "CPU")
_LIBRARY.impl("work", lambda x, seconds: torch.empty_like(x), "Meta")
_LIBRARY.impl("work_", _work_in_place, "CPU")
_LIBRARY.impl("work_", lambda x, seconds: x, "Meta")
_LIBRARY.impl("halves", _halves, "CPU")
_LIBRARY.impl("halves", _shapes_of_halves, "Meta")
_LIBRARY.impl("no_kernel", lambda x: torch.empty_like(x), "Meta")

work = torch.ops.timed.work
work_ = torch.ops.timed.work_
halves = torch.ops.timed.halves
no_kernel = torch.ops.timed.no_kernel


class Takes(nn.Module):
    """A layer that takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Any:
        return work(x, self.seconds)


class Net(nn.Module):
    """A network written in one line: what it does with its inputs, and its parts by name; tensors are buffers."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.run(self, *inputs, **named)
