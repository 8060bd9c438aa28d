"""Compile a network as ``roofline measure --mode compile`` does, and forget it again.

torch keeps what it compiled by the code that ran, and gives up after some networks of the same code (its limit of
recompilations). So it forgets each network before the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import profiler_legacy  # unlike torch.profiler, it writes nothing to stderr
from torch.autograd.profiler import record_function

from roofline.errors import CalibrationError
from roofline.measurement.subject import in_one_line

WHOLE = "one call"
GENERATED = "cpp_fused"  # in the names of the functions that Inductor generates for a CPU
PROFILED_CALLS = 5


@contextmanager
def fresh() -> Iterator[None]:
    """With nothing compiled before, and nothing left behind."""
    torch._dynamo.reset()
    try:
        yield
    finally:
        torch._dynamo.reset()


def compiled_call(module: nn.Module, given: Tensor) -> Callable[[], object]:
    """Compile a module for an input, which takes 10 to 30 s, and give what runs it. Under inference mode.

    What is generated tells a profiler when it runs, which costs next to nothing where there is none.

    Raises:
        CalibrationError: It does not compile, as where there is no C++ compiler.
    """
    from torch._inductor import config

    try:
        with config.patch({"cpp.enable_kernel_profile": True}):
            call = partial(torch.compile(module), given)
            call()
    except Exception as error:  # a backend may raise anything
        raise CalibrationError(f"torch.compile fails here: {in_one_line(error)}") from error
    return call


def loops_share(call: Callable[[], object]) -> float:
    """What of the time of a compiled network is in generated loops.

    Raises:
        CalibrationError: The profiler sees none, though every network has some.
    """
    with profiler_legacy.profile() as seen:  # type: ignore[no-untyped-call]  # torch has no types there
        for _ in range(PROFILED_CALLS):
            with record_function(WHOLE):
                call()
    whole_s = sum(event.cpu_time_total for event in seen.function_events if event.name == WHOLE)
    loops_s = sum(event.cpu_time_total for event in seen.function_events if GENERATED in event.name)
    if not loops_s:
        raise CalibrationError("torch's profiler does not see the loops that torch.compile makes here")
    return float(loops_s / whole_s)
