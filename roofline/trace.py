"""Run a model's forward pass once on meta tensors and record what it did.

The pass runs in eval mode under inference mode. Below autograd torch hands over ``conv2d``, ``matmul`` or
``scaled_dot_product_attention`` whole, the same on every device and under every grad mode. An op that
``count.py`` knows is recorded so; any other composite op is taken apart into what it is made of.

Parameters, buffers and inputs with data are stood in for by meta tensors, so nothing large is computed or copied. What
the forward makes out of small constants alone (an ``arange``, a registered buffer) keeps its values, so that control
flow over constants can be followed; control flow over data cannot, and raises `TraceError`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from roofline.errors import TraceError
from roofline.garbage import collection_paused
from roofline.graph import Graph
from roofline.meta_tensors import with_tensors
from roofline.module_calls import ModuleCalls
from roofline.recorder import Recorder
from roofline.surroundings import (
    any_device,
    named_modules,
    nothing_compiled,
    random_numbers_unchanged,
    reads_noted,
    set_eval,
    unchanged,
    without_mha_fast_path,
)
from roofline.trace_words import failed, strayed

_ONE_AT_A_TIME = threading.RLock()


def trace(model: nn.Module, inputs: Any) -> Graph:
    """Record the dataflow graph of ``model(inputs)``.

    Args:
        model: Any module, on any device; meta is cheapest. It is left as it was.
        inputs: A tensor, a tuple or list of positional arguments, or a mapping of keyword arguments.
            Tensors may be nested in them and on any device; only their shapes and dtypes are used.

    Returns:
        The graph: every ATen op in execution order, with its tensors and its module path.

    Raises:
        TraceError: The forward pass fails, or decides by data values; the message says where.
    """
    with _ONE_AT_A_TIME, collection_paused():  # it patches torch, for the whole process
        return _traced(getattr(model, "_orig_mod", model), inputs)  # not what torch.compile wraps around it


def _traced(model: nn.Module, inputs: Any) -> Graph:
    """The graph; all else is gone before the search for garbage goes on, which would look through it."""
    with ExitStack() as stack:
        named = named_modules(model)
        modules = list({id(module): module for _, module in named}.values())
        module_calls = ModuleCalls(model, named)
        recorder = Recorder(module_calls, named)
        around = (unchanged(modules), without_mha_fast_path(), any_device(), nothing_compiled())
        reads = reads_noted(recorder.note_unreadable)
        for context in (*around, reads, random_numbers_unchanged(), torch.inference_mode()):
            stack.enter_context(context)
        args, kwargs = _call_arguments(inputs, recorder.adopt_input)
        set_eval(modules)
        stack.enter_context(module_calls.following(recorder.at_once))
        try:
            with recorder:
                result = model(*args, **kwargs)
            if module_calls.strayed is not None:  # and the model went on without it
                raise module_calls.strayed
            if recorder.obstacle is not None:  # nor is it known what the model would have done with the numbers
                raise recorder.obstacle.failure.error
        except (Exception, SystemExit) as error:
            raise TraceError(_explained(error, model, (args, kwargs), module_calls, recorder)) from error
    return recorder.graph(result)


def _call_arguments(inputs: Any, adopt: Callable[[Tensor], Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), {key: with_tensors(value, adopt) for key, value in inputs.items()}
    positional = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return tuple(with_tensors(value, adopt) for value in positional), {}


def _explained(error: BaseException, model: nn.Module, arguments: Any, modules: ModuleCalls, recorder: Recorder) -> str:
    """One line: which layer failed, on what shapes, why, and what to do."""
    if modules.strayed is not None:
        return strayed(model, modules.strayed)
    failures = (recorder.failed_op, recorder.obstacle)
    failed_op = next((item for item in failures if item is not None and item.failure.error is error), None)
    failure = modules.failure if failed_op is None else failed_op.failure
    if failure is not None and failure.error is not error:
        failure = None
    op, needs_data = ("", False) if failed_op is None else (failed_op.name, failed_op.needs_data)
    return failed(error, model, arguments, failure, op=op, needs_data=needs_data)
