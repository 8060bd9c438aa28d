"""PyTorch's own formulas for the FLOPs of convolutions and products, on tensors that have shapes and no numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_NORMS = {
    torch.ops.aten.native_batch_norm.default,
    torch.ops.aten._native_batch_norm_legit_no_training.default,
    torch.ops.aten.cudnn_batch_norm.default,
}


class Macs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """MACs by op, of what runs under it: as `torch.utils.flop_counter.FlopCounterMode` has them, ten times as fast.

    That one looks at each module, and PyTorch finds the shape of each activation and each norm by a program of hundreds
    of lines. Here what works element by element has the broadcast shape of its operands, and a norm that of its input.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_op: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _NORMS:
            return (torch.empty_like(args[0]), *(args[0].new_empty(0) for _ in func._schema.returns[1:]))
        if torch.Tag.pointwise in func.tags:
            if func._schema.is_mutable:
                return args[0]
            shapes = [leaf.shape for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            shape: torch.Size = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
            return torch.empty(shape, device="meta")
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.by_op[func._overloadpacket] += formula(*args, **kwargs, out_val=out) // 2
        return out


def macs_of(network: nn.Module, *shape: int) -> Counter[Any]:
    """MACs by op of one run on the meta device, without gradients."""
    counter = Macs()
    with torch.no_grad(), counter:
        network(torch.empty(*shape, device="meta"))
    return counter.by_op
