"""Meta tensors: what a tensor says of itself without its values, and how the results of torch's meta kernels lie."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.utils._pytree import tree_map, tree_map_only

from roofline.graph import Extent, numel

META = torch.device("meta")
SPARSE = frozenset({torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc})
PLAIN = (bool, int, float, str, type(None))


class _DtypeNames(dict[torch.dtype, str]):
    """torch's names without the prefix."""

    def __missing__(self, dtype: torch.dtype) -> str:
        name = self[dtype] = str(dtype).removeprefix("torch.")
        return name


DTYPE_NAMES = _DtypeNames()


def lie(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int, bool, int]:
    """How a tensor lies in memory, as a `Value` has it: shape, strides, elements, whether it is sparse; and where."""
    shape = tuple(tensor.shape)
    if tensor.layout is torch.strided:
        strides, elements = tensor.stride(), tensor.numel()
        if 0 in strides:  # expanded dimensions count once
            elements = numel([size for size, stride in zip(shape, strides, strict=True) if stride or not size])
        return shape, strides, elements, False, tensor.untyped_storage()._cdata
    if tensor.layout in SPARSE:
        entries = tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()
        return shape, (), entries.numel(), True, id(tensor)
    return shape, (), tensor.numel(), False, id(tensor)


def tensors_in(out: Any) -> Sequence[Tensor]:
    """The tensors that an op returned."""
    if isinstance(out, Tensor):
        return (out,)
    return [t for item in out for t in tensors_in(item)] if isinstance(out, list | tuple) else []


def extent_of(view: Tensor, base: Tensor) -> Extent:
    """What of its base a view shows."""
    if view.shape == base.shape and view.stride() == base.stride() and view.dtype is base.dtype:
        return "same" if view.storage_offset() == base.storage_offset() else "other"
    is_whole = view.numel() == base.numel() and view.dtype == base.dtype
    return "reshaped" if is_whole and view.is_contiguous() and base.is_contiguous() else "other"


def on_cpu(arguments: Any) -> Any:
    """The arguments, with the CPU for any device that they name."""
    return tree_map_only(torch.device, lambda _: torch.device("cpu"), arguments)


def on_meta(tensor: Tensor) -> Tensor:
    """A meta tensor that lies as this one does."""
    if tensor.layout is not torch.strided:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=META)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


def ones(tensor: Tensor) -> Tensor:
    """A tensor of ones on the CPU that lies as this one does."""
    return torch.ones_like(tensor, device="cpu")


def others(tensor: Tensor) -> Tensor:
    """One of numbers of both signs and sizes, the same each time; of zeros and ones where they may be indices."""
    generator = torch.Generator().manual_seed(0)
    if tensor.is_floating_point() or tensor.is_complex():
        dtype = torch.complex64 if tensor.is_complex() else torch.float32
        numbers = torch.randn(tensor.shape, generator=generator, dtype=dtype, device="cpu")
    else:
        numbers = torch.randint(2, tensor.shape, generator=generator, device="cpu")
    return torch.empty_like(tensor, device="cpu").copy_(numbers)


def address_of(tensor: Tensor) -> int:
    """Where its memory is; views of one block share it."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _as_image(out: Tensor, inputs: list[Tensor]) -> Tensor:
    """Channels-last where an operand is."""
    formats = [suggest_memory_format(tensor) for tensor in inputs[:2] if tensor.dim() == out.dim()]
    return out.contiguous(memory_format=torch.channels_last) if torch.channels_last in formats else out


def _as_queries(out: Tensor, inputs: list[Tensor]) -> Tensor:
    """Fused attention lays its result out as the queries, mostly as (batch, tokens, heads, width)."""
    q, k, v = inputs[:3]
    is_fused = out.dim() == 4 and q.shape[-1] == k.shape[-1] == v.shape[-1] and q.stride(-1) == 1
    return torch.empty_like(q) if is_fused and out.shape == q.shape else out


# Where torch's meta kernels say contiguous, and those that compute do not.
LAYOUTS: Mapping[str, Callable[[Tensor, list[Tensor]], Tensor]] = {
    "conv2d": _as_image,
    "group_norm": _as_image,
    "scaled_dot_product_attention": _as_queries,
}


def with_tensors(given: Any, replace: Callable[[Tensor], Any]) -> Any:
    """A copy of any nest of containers and plain objects, with each tensor replaced."""
    return tree_map(_Leaf(replace), given)


class _Leaf:
    """What a leaf of the nest is in the copy. No closure, which would hold itself until garbage is searched for."""

    def __init__(self, replace: Callable[[Tensor], Any]) -> None:
        self.replace = replace
        self.twins: dict[int, Any] = {}  # by identity: objects may be shared, or hold themselves

    def __call__(self, item: Any) -> Any:
        if isinstance(item, Tensor):
            return self.replace(item)
        if isinstance(item, (*PLAIN, nn.Module, type)) or not hasattr(item, "__dict__"):
            return item
        if id(item) not in self.twins:
            twin = self.twins[id(item)] = copy.copy(item)  # a dataclass, a namespace, a mapping of its own kind
            for name, value in vars(item).items():
                object.__setattr__(twin, name, tree_map(self, value))
        return self.twins[id(item)]
