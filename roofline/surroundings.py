"""What has to hold around a traced forward pass, and be as it was after it."""

from __future__ import annotations

import functools
import operator
import random
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from itertools import islice
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._device import _device_constructors

from roofline.meta_tensors import PLAIN

# Looked up by exact type, for 10,000 attributes a model.
TABLES = frozenset({dict, OrderedDict, defaultdict, list, set, deque})
SIMPLE: frozenset[type] = frozenset({*PLAIN, Tensor, nn.Parameter, torch.dtype, torch.device, torch.Size})
OF_TORCH = frozenset({"_parameters", "_buffers", "_modules"})  # tables that hold nothing to look into
LIBRARIES = sys.stdlib_module_names | {"torch", "numpy"}  # whose objects are not looked into: locks, pools, loggers
READS = {"numpy": "numpy", "tolist": "tolist", "__format__": "format"}
NESTED = 10_000  # containers and objects inside those of a model that are looked into at most


def named_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every path through the tree of modules, so a shared module once for each of its parents."""
    found: list[tuple[str, nn.Module]] = []
    _walk(found, "", model, ())
    return found


def _walk(found: list[tuple[str, nn.Module]], name: str, module: nn.Module, above: tuple[nn.Module, ...]) -> None:
    found.append((name, module))
    for key, child in module._modules.items():
        if child is not None and child not in above:
            inside = key == "_orig_mod"  # paths are as they are without torch.compile
            _walk(found, name if inside else f"{name}.{key}" if name else key, child, (*above, module))


@contextmanager
def unchanged(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back what the forward pass rebinds in modules and parameters, and adds to what they hold.

    That is lists, tables and hooks, and those inside them and inside plain objects, at any depth.
    """
    tensors = [
        (tensor, tensor.data if _has_memory(tensor) else None, tensor.requires_grad, tensor.grad)
        for module in modules
        for table in (module._parameters, module._buffers)
        for tensor in table.values()
        if tensor is not None
    ]
    filled: list[tuple[Any, Any]] = []
    nested: list[Any] = []
    empty: list[Any] = []  # nearly all of a module's tables of hooks
    for module in modules:
        filled.append((module.__dict__, module.__dict__.copy()))
        for key, held in module.__dict__.items():
            kind = type(held)
            if kind in SIMPLE:
                continue
            if kind not in TABLES:
                nested.append(held)
            elif not held:
                empty.append(held)
            elif key in OF_TORCH:
                filled.append((held, held.copy()))
            else:
                nested.append(held)
    filled += _contents(nested)
    try:
        yield
    finally:
        for held in empty:
            if held:
                held.clear()
        for held, before in filled:
            if isinstance(held, list):
                held[:] = before
            elif isinstance(held, deque):
                held.clear()
                held.extend(before)
            elif isinstance(held, set) or _is_rebound(held, before):
                held.clear()
                held.update(before)
        for tensor, data, requires_grad, grad in tensors:
            if data is not None and tensor.untyped_storage()._cdata != data.untyped_storage()._cdata:
                tensor.data = data
            if tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
            if tensor.grad is not grad:
                tensor.grad = grad


def _contents(nested: list[Any]) -> list[tuple[Any, Any]]:
    """The tables among some objects and inside them, those of attributes included, each with a copy."""
    found: list[tuple[Any, Any]] = []
    seen: set[int] = set()
    limit = len(nested) + NESTED
    for holder in nested:  # which grows
        kind = type(holder)
        is_tuple = issubclass(kind, tuple)
        table: Any = holder if is_tuple or kind in TABLES else holder.__dict__ if _is_plain(kind) else None
        if not is_tuple:
            if type(table) not in TABLES:
                continue
            found.append((table, table.copy()))
        inside = table.values() if isinstance(table, dict) else table
        if id(holder) not in seen and not SIMPLE.issuperset(map(type, inside)):
            seen.add(id(holder))
            deeper = (item for item in inside if type(item) not in SIMPLE)
            nested.extend(islice(deeper, limit - len(nested)))
    return found


def _is_plain(kind: type) -> bool:
    """Whether it is a class of objects with attributes that somebody wrote for a model."""
    if kind is types.SimpleNamespace:
        return True
    is_own = bool(kind.__dictoffset__) and str(kind.__module__).partition(".")[0] not in LIBRARIES
    return is_own and not issubclass(kind, nn.Module | Tensor | type | Enum)


def _has_memory(tensor: Tensor) -> bool:
    """Whether it is one block of memory: not a shape alone, nor the several tensors of a sparse one."""
    return not tensor.is_meta and tensor.layout is torch.strided


def _is_rebound(table: Mapping[Any, Any], before: Mapping[Any, Any]) -> bool:
    return table.keys() != before.keys() or any(map(operator.is_not, table.values(), before.values()))


def set_eval(modules: Iterable[nn.Module]) -> None:
    """Clear the flag itself, since `train()` may be overridden; `unchanged` puts it back module by module."""
    for module in modules:
        if module.training:
            module.__dict__["training"] = False  # not through Module.__setattr__, which is slow


@contextmanager
def without_mha_fast_path() -> Iterator[None]:
    """Attention and encoder layers run as their parts, not as one opaque op."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """What `torch.compile` made runs as it was written; Dynamo, a second's work, is not imported for that."""
    if "torch._dynamo" in sys.modules:
        with torch.compiler.set_stance("force_eager"):
            yield
        return

    compile_as_usual, is_over = torch.compile, False

    def compile_later(model: Any = None, **options: Any) -> Any:
        if model is None:
            return functools.partial(compile_later, **options)
        if isinstance(model, nn.Module):
            return model
        compiled: list[Any] = []

        @functools.wraps(model)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not is_over:
                return model(*args, **kwargs)
            if not compiled:  # it was kept beyond the pass
                compiled.append(compile_as_usual(model, **options))
            return compiled[0](*args, **kwargs)

        return call

    with mock.patch.object(torch, "compile", compile_later):
        try:
            yield
        finally:
            is_over = True


@contextmanager
def reads_noted(note: Callable[[BaseException, str], None]) -> Iterator[None]:
    """Tell of numbers that are read off a meta tensor by other ways than an op, and are not there."""

    def noting(name: str, what: str) -> Callable[..., Any]:
        original = getattr(Tensor, name)

        @functools.wraps(original)
        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(tensor, *args, **kwargs)
            except Exception as error:
                if tensor.is_meta and (what != "format" or not tensor.dim()):  # several numbers have no format anywhere
                    note(error, what)
                raise

        return read

    with ExitStack() as stack:
        for name, what in READS.items():
            stack.enter_context(mock.patch.object(Tensor, name, noting(name, what)))
        yield


@contextmanager
def random_numbers_unchanged() -> Iterator[None]:
    """The generators of torch, Python and numpy go on afterwards as if nothing had been drawn."""
    pythons, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that models draw from
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)  # noqa: NPY002


@contextmanager
def any_device() -> Iterator[None]:
    """What a model does with devices, where torch would refuse "meta", lose values on it, or miss an accelerator.

    ``torch.autocast(x.device.type)`` takes the CPU's, which casts no meta tensor; ``torch.tensor([2.0],
    device=x.device)`` keeps its values. ``x.cuda()`` and ``device="cuda"`` start that device up before any op is seen;
    where that fails, they go on, and the tracer has their tensors on meta.
    """

    def keeping_values(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(original)
        def make(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
            return original(*args, device=device if str(device).startswith("cpu") else None, **kwargs)

        return make

    def if_there_is_one(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def call(*args: Any) -> None:
            # torch was built without it; there is no driver, or no card
            with suppress(AssertionError, AttributeError, RuntimeError, TypeError):
                original(*args)

        return call

    _device_constructors()  # torch keeps the first answer, which must not have what is patched below
    original = torch.autocast.__init__

    @functools.wraps(original)
    def init(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        original(self, "cpu" if device_type == "meta" else device_type, *args, **kwargs)

    with (
        mock.patch.object(torch.autocast, "__init__", init),
        mock.patch.object(torch, "tensor", keeping_values(torch.tensor)),
        mock.patch.object(torch, "as_tensor", keeping_values(torch.as_tensor)),
        mock.patch.object(torch.cuda, "_lazy_init", if_there_is_one(torch.cuda._lazy_init)),
        mock.patch.object(torch.cuda, "synchronize", if_there_is_one(torch.cuda.synchronize)),
        mock.patch.object(torch.xpu, "_lazy_init", if_there_is_one(torch.xpu._lazy_init)),
    ):
        yield
