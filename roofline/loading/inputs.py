"""What a module is called with: tensors without data, by position.

Everything after loading works on a tuple of tensors. A module that takes keywords, lists or a key/value cache gets a
forward that takes the tensors inside these one after another, and puts them back where they belong.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten

from roofline.errors import ModelError
from roofline.loading.specs import TensorSpec
from roofline.models import Entry

MAX_ELEMENTS = 2**44  # of an input: beyond any machine, and far from where sums of MACs leave 64 bits
DEFAULT_INPUT_SIZE = (3, 224, 224)  # of a reference that does not say; ImageNet's usual
META = torch.device("meta")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Example:
    """One call of a module.

    Attributes:
        args, kwargs: What forward is called with: nests of tensors on the meta device, and whatever else it takes.
        source: Why it is this.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    source: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Built:
    """A module, and how it is called if the user does not say.

    Attributes:
        module: The module.
        name: What the reference resolved to.
        example: From a batch, and an input size or None, to a call.
        entry: Its row in the zoo's catalogue, if it is from there.
    """

    module: nn.Module
    name: str
    example: Callable[[int, tuple[int, ...] | None], Example]
    entry: Entry | None = None


def image(module: nn.Module, batch: int, size: tuple[int, ...]) -> Tensor:
    """A batch of images of this size (channels, height, width), in the dtype of the module's weights.

    Raises:
        ModelError: No tensor can have that size, or no machine could hold it.
    """
    if any(length < 1 for length in size):
        raise ModelError(f"an input size needs positive lengths (got {'x'.join(map(str, size))})")
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    return empty((batch, *size), dtype)


def image_example(
    module: nn.Module, default: tuple[int, ...], source: str
) -> Callable[[int, tuple[int, ...] | None], Example]:
    """Calls with one image: of the size that is given, else of this one."""

    def example(batch: int, size: tuple[int, ...] | None) -> Example:
        return Example(args=(image(module, batch, size or default),), source="given" if size else source)

    return example


def given_example(specs: Mapping[str, TensorSpec], batch: int) -> Example:
    """The call with the tensors that the user wrote down, each an argument of forward."""
    sized = {name: spec.with_batch(batch) for name, spec in specs.items()}
    return Example(
        kwargs={name: empty(spec.shape, getattr(torch, spec.dtype)) for name, spec in sized.items()}, source="given"
    )


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor without data.

    Raises:
        ModelError: No machine could hold it.
    """
    if math.prod(shape) > MAX_ELEMENTS:
        written = "x".join(map(str, shape))
        raise ModelError(
            f"an input of {written[:60]} (batch, then size) is beyond any machine; 2^44 elements are allowed"
        )
    return torch.empty(shape, dtype=dtype, device=META)


def without_data(nest: Any) -> Any:
    """The same nest, with its tensors on the meta device."""
    return tree_map_only(Tensor, _without_data, nest)


def _without_data(tensor: Tensor) -> Tensor:
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.is_quantized:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


def by_position(module: nn.Module, example: Example) -> tuple[Tensor, ...]:
    """The tensors of a call; `module` then takes them by position, whatever it took before."""
    earlier = module.__dict__.get("forward")
    if isinstance(earlier, _ByPosition):  # a module that an importable file holds, and that was loaded before
        module.forward = earlier.forward
    leaves, layout = tree_flatten((example.args, dict(example.kwargs)))
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    if example.kwargs or not all(isinstance(given, Tensor) for given in example.args):
        module.forward = _ByPosition(module.forward, leaves, layout)
    return tensors


class _ByPosition:
    """A forward that takes the tensors of a nest of arguments one after another."""

    def __init__(self, forward: Callable[..., Any], leaves: list[Any], layout: TreeSpec) -> None:
        self.forward = forward
        self.leaves = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.is_tensor = [isinstance(leaf, Tensor) for leaf in leaves]
        self.layout = layout

    def __deepcopy__(self, memo: dict[int, Any]) -> _ByPosition:
        """A copied module's forward is its own; the layout is the same."""
        twin = copy.copy(self)
        twin.forward = copy.deepcopy(self.forward, memo)
        return twin

    def __call__(self, *tensors: Tensor) -> Any:
        remaining = iter(tensors)
        leaves = [
            next(remaining) if is_tensor else leaf for is_tensor, leaf in zip(self.is_tensor, self.leaves, strict=True)
        ]
        args, kwargs = tree_unflatten(leaves, self.layout)
        return self.forward(*args, **kwargs)
