"""Why the forward pass of a model could not be traced, in one line: which layer, on what shapes, what to do."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from roofline.errors import TraceError
from roofline.meta_tensors import with_tensors

NO_META_KERNEL = re.compile("no fake impl|not find the fake impl")  # in what torch raises, by the kind of the op
NEEDS_DATA = re.compile(  # in what torch raises where a number is read off a meta tensor
    r"meta tensor|register_meta|meta device type|unallocated storage|data is not allocated"
    r"|Tensor\.__format__|got \dD meta"
)
HIGHER_ORDER = "a higher-order op, such as torch.cond or flex_attention, cannot be followed"
CANNOT_FOLLOW = [  # what torch raises, and what it means here
    (re.compile("HigherOrderOperator|FlexAttention"), HIGHER_ORDER),
    (re.compile("NestedTensor|NestedInt"), "nested tensors cannot be followed; a padded one can"),
    (
        re.compile("does not require grad|doesn't require gradient"),
        "it takes gradients, and the forward is traced without autograd",
    ),
    (
        re.compile("_cuda_|CUDA (support|library|generator|driver)|CUDA GPUs|NVIDIA"),
        "it asks a CUDA device, and none is here",
    ),
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Where an exception came up first."""

    error: BaseException
    path: str
    module: nn.Module
    arguments: Any


@dataclass(frozen=True, slots=True)
class FailedOp:
    """An op that did not run, the module that ran it, and whether it was for want of values."""

    failure: Failure
    name: str
    needs_data: bool

    @property
    def is_the_tracers(self) -> bool:
        """Whether it would have run on numbers, as far as torch's words tell."""
        message = str(self.failure.error)
        patterns = (NEEDS_DATA, NO_META_KERNEL, *(pattern for pattern, _ in CANNOT_FOLLOW))
        return self.needs_data or any(pattern.search(message) for pattern in patterns)


def strayed(model: nn.Module, error: BaseException) -> str:
    """That a layer ran where its ops are not recorded."""
    return (
        f"the forward of {type(model).__name__} cannot be followed: {error}. Run it in the thread that calls the model."
    )


def failed(
    error: BaseException, model: nn.Module, arguments: Any, failure: Failure | None, *, op: str, needs_data: bool
) -> str:
    """Which layer failed, on what shapes, why, and what to do.

    Args:
        error: What was raised.
        model: What was traced.
        arguments: What it was called with.
        failure: The module call that it came from, where that is known.
        op: The op, where it was one that failed; else empty.
        needs_data: Whether it did so for want of values.
    """
    layer = failure if failure is not None and failure.path else None  # else it is the model itself
    message = " ".join(str(error).split())
    if needs_data or NEEDS_DATA.search(message):
        what = f"{op!r}" if op else "what it reads"
        where = f" in layer {layer.path!r} ({type(layer.module).__name__})" if layer is not None else ""
        return (
            f"the forward of {type(model).__name__} depends on data values: {what}{where} {_user_line(error)}"
            "needs numbers where only shapes are known. Decide by shapes or by a constructor argument, "
            "or skip the branch with `if x.is_meta`."
        )
    if NO_META_KERNEL.search(message):
        reason = f"{op!r} has no kernel for shapes alone; give it one with torch.library.register_fake"
    elif isinstance(error, TraceError):
        reason = message
    else:
        known = (why for pattern, why in CANNOT_FOLLOW if pattern.search(message))
        reason = next(known, f"{type(error).__name__}: {message}")
    where = ""
    if layer is not None:
        where = f"layer {layer.path!r}, {_one_line(layer.module)}, got {_shapes_in(layer.arguments)}: "
    return (
        f"{type(model).__name__} fails on input {_shapes_in(arguments)}: {where}{reason} {_user_line(error)}".rstrip()
    )


def _shapes_in(arguments: Any) -> str:
    tensors: list[Tensor] = []
    with_tensors(arguments, tensors.append)
    return ", ".join("x".join(map(str, t.shape)) or "scalar" for t in tensors) or "no tensors"


def _one_line(module: nn.Module | None) -> str:
    """``Conv2d(3, 32, kernel_size=(3, 3))`` of a leaf module, the class of any other."""
    return type(module).__name__ if module is None or module._modules else " ".join(repr(module).split())


def _user_line(error: BaseException) -> str:
    """``(net.py:12) `` of the innermost frame in the user's own code."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    return f"({frames[-1].filename}:{frames[-1].lineno}) " if frames else ""
