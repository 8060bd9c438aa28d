"""What only a trial tells of a module that was built without weights: one pass of it on meta tensors.

Values that its constructor made, as of a buffer that says how often to loop, are lost on the meta device; and of a
network of several parts a call may run but one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from roofline.errors import TraceError
from roofline.loading.building import free_bytes, weight_bytes
from roofline.meta_tensors import SPARSE
from roofline.trace import trace


def needs_values(module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether a module has to be built once more, with memory: as it cannot be traced without, and there is room.

    Only where it holds tensors of its own beside parameters; those of torch's layers (the statistics of a batch norm)
    decide nothing. A sparse one has no entries without memory.
    """
    own = [tensor for tensor in _own_tensors(module) if tensor.is_meta]
    if not own or weight_bytes(module) > free_bytes():
        return False
    return any(tensor.layout in SPARSE for tensor in own) or not can_be_traced(module, inputs)


def _own_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Buffers, and tensors that are attributes or in lists of them, but for those of torch's own layers."""
    for part in module.modules():
        if type(part).__module__.startswith("torch.nn."):
            continue
        for value in (*part._buffers.values(), *vars(part).values()):
            for item in value if isinstance(value, list | tuple) else (value,):
                if isinstance(item, Tensor):
                    yield item


def can_be_traced(module: nn.Module, inputs: Any) -> bool:
    """Whether a call of it succeeds on meta tensors."""
    try:
        trace(module, inputs)
    except TraceError:
        return False
    return True


def parts_not_run(module: nn.Module, inputs: Any) -> tuple[list[str], float]:
    """The largest parts of a module of whose parameters a call reads none, and their share of all parameters.

    Args:
        module: The module.
        inputs: What it is called with, as `roofline.trace.trace` takes it.

    Raises:
        TraceError: The call fails.
    """
    graph = trace(module, inputs)
    read = {value.root.name or value.name for op in graph.ops for value in op.inputs}
    tied: dict[int, list[str]] = {}  # the names of a parameter
    for name, parameter in module.named_parameters(remove_duplicate=False):
        tied.setdefault(id(parameter), []).append(name)
    unread = {name for names in tied.values() if read.isdisjoint(names) for name in names}
    parameters = dict(module.named_parameters())
    total = sum(parameter.numel() for parameter in parameters.values())
    lost = sum(parameter.numel() for name, parameter in parameters.items() if name in unread)
    return list(_whole_parts("", module, unread)), lost / total if total else 0.0


def _whole_parts(path: str, module: nn.Module, unread: set[str]) -> Iterator[str]:
    """The outermost modules all of whose parameters are among `unread`."""
    inside = f"{path}." if path else ""
    names = {f"{inside}{name}" for name, _ in module.named_parameters(remove_duplicate=False)}
    if names and names <= unread:
        yield path
        return
    for name, child in module.named_children():
        yield from _whole_parts(f"{inside}{name}", child, unread)
