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

from roofline.errors import CalibrationError
from roofline.measurement.subject import in_one_line


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

    Raises:
        CalibrationError: It does not compile, as where there is no C++ compiler.
    """
    try:
        call = partial(torch.compile(module), given)
        call()
    except Exception as error:  # a backend may raise anything
        raise CalibrationError(f"torch.compile fails here: {in_one_line(error)}") from error
    return call
