"""What the profiler of torch says of each module: a scope around each call, and the ops inside it.

A profiler costs time itself, more beside short ops than beside long ones, so its times are to be scaled by how much it
stretched the whole, and not believed where an op takes less than about 50 us.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

from roofline.measurement.replay import on_module_calls
from roofline.measurement.stopping import median
from roofline.surroundings import named_modules

SILENT = "99"  # above the levels of libkineto's messages (LoggerOutputType in ILoggerObserver.h)
SCOPE = "roofline: "  # before the path of a module, in the name of its scope


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleProfile:
    """What the profiler read, as medians of its runs.

    Attributes:
        op_s: Seconds of the ops that ran in a module itself, not in its children, by its path.
        ops: How many these are.
        whole_s: Seconds of the network, profiler and all.
    """

    op_s: dict[str, float]
    ops: dict[str, int]
    whole_s: float


def profile_modules(
    module: nn.Module, run: Callable[[], float], *, rounds: int, on_cuda: bool = False
) -> ModuleProfile:
    """Profile some runs of a module.

    Args:
        module: Gives the paths.
        run: Runs it once and says how many seconds it took.
        rounds: How often, at least once.
        on_cuda: Whether to take the time of the kernels that an op launches in place of its own.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    op_s: dict[str, list[float]] = {}
    ops: dict[str, int] = {}
    wholes_s = []
    for _ in range(rounds):
        with _without_log(), module_scopes(module), profile(activities=activities) as profiler:
            wholes_s.append(run())
        by_scope = op_times_by_scope(profiler.events() or [], on_cuda=on_cuda)
        ops = {path: len(times_s) for path, times_s in by_scope.items()}
        for path, times_s in by_scope.items():
            op_s.setdefault(path, []).append(sum(times_s))
    return ModuleProfile(
        op_s={path: median(times_s) for path, times_s in op_s.items()}, ops=ops, whole_s=median(wholes_s)
    )


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep the profiler's library from writing to stderr; it asks once, when it is first used."""
    if "KINETO_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["KINETO_LOG_LEVEL"] = SILENT
    try:
        yield
    finally:
        del os.environ["KINETO_LOG_LEVEL"]


@contextmanager
def module_scopes(module: nn.Module) -> Iterator[None]:
    """A scope of the profiler around each call of a module, named by its path; the hooks are gone afterwards."""
    paths: dict[int, list[str]] = {}
    for path, part in named_modules(module):
        paths.setdefault(id(part), []).append(path)
    scopes: list[tuple[str, record_function]] = []

    def before(part: nn.Module, _: Any) -> None:
        path = _path_of(part, paths.get(id(part)), scopes[-1][0] if scopes else "")
        scope = record_function(SCOPE + path)
        scope.__enter__()  # type: ignore[no-untyped-call]
        scopes.append((path, scope))

    def after(*_: Any) -> None:
        scopes.pop()[1].__exit__(None, None, None)

    with on_module_calls(before, after):
        yield


def _path_of(part: nn.Module, known: Sequence[str] | None, parent: str) -> str:
    """As `roofline.trace` names it: a module with several parents goes by the one that runs."""
    if known is None:  # made during forward
        return f"{parent}.{type(part).__name__}".lstrip(".")
    inside = [path for path in known if not parent or path.startswith(f"{parent}.")]
    return min(inside or known, key=lambda path: path.count("."))


def op_times_by_scope(events: Sequence[Any], *, on_cuda: bool = False) -> dict[str, list[float]]:
    """Seconds of each op that no other op called, by the path of the innermost module around it.

    Args:
        events: ``torch.autograd.profiler_util.FunctionEvent`` of one run.
        on_cuda: Whether to take the time of its kernels in place of its own.
    """
    found: dict[str, list[float]] = {}
    for event in events:
        if not _is_op(event):
            continue
        above = event.cpu_parent
        while above is not None and not _is_op(above) and not above.name.startswith(SCOPE):
            above = above.cpu_parent
        if above is None or _is_op(above):  # outside of the network, or a part of another op
            continue
        time_us = event.device_time_total if on_cuda else event.time_range.elapsed_us()
        found.setdefault(above.name.removeprefix(SCOPE), []).append(time_us / 1e6)
    return found


def _is_op(event: Any) -> bool:
    return "::" in event.name and not event.name.startswith((SCOPE, "profiler::"))
