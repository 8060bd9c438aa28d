"""Count a model again with fvcore and with torch's FlopCounterMode, and say why they differ.

Both call one multiply-accumulate something else: fvcore a "flop" (1 MAC = 1), FlopCounterMode two FLOPs (1 MAC = 2,
halved here). fvcore also counts norms, pooling and interpolation as flops; here those are vector ops.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from roofline.count import cost
from roofline.loading import LoadedModel
from roofline.loading.building import free_bytes, weight_bytes
from roofline.meta_tensors import META
from roofline.trace import trace

# Which of our canonical names, fvcore's handlers and FlopCounterMode's ATen ops count the same work.
FAMILIES: Mapping[str, frozenset[str]] = {
    "convolution": frozenset({"convolution", "conv", "_convolution", "mkldnn_convolution"}),
    "matrix product": frozenset(
        (
            "linear matmul mm addmm bmm baddbmm addbmm mv dot inner outer ger einsum _scaled_mm _int_mm vdot addmv "
            "_trilinear bilinear addr _grouped_mm _scaled_grouped_mm transformers::grouped_mm_fallback"
        ).split()
    ),
    "attention": frozenset({"scaled_dot_product_attention", "attention"}),
    "recurrent": frozenset("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split()),
    "norm": frozenset(["batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"]),
    "pooling": frozenset(["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool2d"]),
    "interpolation": frozenset(["upsample_nearest2d", "upsample_bilinear2d", "grid_sampler"]),
}
PRODUCT_FAMILIES = ("matrix product", "attention", "recurrent")  # torch may run one as another
VECTOR_FAMILIES = ("norm", "pooling", "interpolation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One family of ops, counted three times.

    Attributes:
        family: One of `FAMILIES`, or the op's own name.
        macs: Ours.
        fvcore_flops: fvcore's; None where it could not run the model.
        flop_counter_macs: FlopCounterMode's FLOPs, halved; None where it could not run the model.
        reason: Why they differ; empty where they agree.
    """

    family: str
    macs: int
    fvcore_flops: int | None
    flop_counter_macs: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """Three counts of one model.

    Attributes:
        name: The model's.
        differences: By family of ops, where any of the three counts something.
        failures: Which counter could not count it, or counted shapes alone, and why.
    """

    name: str
    differences: tuple[Difference, ...]
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The check as plain data, schema "roofline/crosscheck/1": the fields above, and the total."""
        return {"schema": "roofline/crosscheck/1", **asdict(self), "total": asdict(self.total)}

    @property
    def total(self) -> Difference:
        """The sums over the families."""
        return Difference(
            family="total",
            macs=sum(row.macs for row in self.differences),
            fvcore_flops=_sum_of_known(row.fvcore_flops for row in self.differences),
            flop_counter_macs=_sum_of_known(row.flop_counter_macs for row in self.differences),
            reason="",
        )


def _sum_of_known(counts: Iterable[int | None]) -> int | None:
    listed = list(counts)
    return None if None in listed else sum(count for count in listed if count is not None)


def cross_check(loaded: LoadedModel) -> CrossCheck:
    """Count a loaded model with the two other counters and set their results beside ours.

    fvcore traces with TorchScript, which has no meta tensors, so a copy of the model is given zeros for weights and
    run once on the CPU. Where there is no room for them, fvcore is left out, and FlopCounterMode counts shapes alone.

    Raises:
        TraceError: The model's forward pass cannot be traced.
    """
    ours: Counter[str] = Counter()
    vector_ops: Counter[str] = Counter()
    for op in trace(loaded.module, loaded.inputs).ops:
        item = cost(op)
        if item is not None:
            ours[_family(op.name)] += item.macs
            vector_ops[_family(op.name)] += item.vector_ops
    failures = []
    theirs: dict[str, Counter[str]] = {}
    unsupported: Counter[str] = Counter()
    needed, free = weight_bytes(loaded.module), free_bytes()
    has_room = needed <= free
    counters = {"fvcore": _fvcore, "FlopCounterMode": _flop_counter}
    if not has_room:
        del counters["fvcore"]
        failures.append(
            f"fvcore is left out: it runs the model, whose weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            "of memory are free for them; FlopCounterMode counts shapes alone"
        )
    for name, count in counters.items():
        try:
            model = (_with_zeros if has_room else _on_meta)(loaded.module)
            device = "cpu" if has_room else META
            inputs = tree_map_only(torch.Tensor, partial(torch.zeros_like, device=device), loaded.inputs)
            theirs[name], missed = count(model, inputs)
            unsupported.update(missed)
        except Exception as error:
            failures.append(f"{name} could not count it: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    fast = (nn.TransformerEncoderLayer, nn.MultiheadAttention)
    has_fast_path = any(isinstance(module, fast) for module in loaded.module.modules())
    counted = {name for counts in (ours, *theirs.values()) for name in counts if counts[name]}
    families = [family for family in FAMILIES if family in counted] + sorted(counted - FAMILIES.keys())
    differences = [
        Difference(
            family=family,
            macs=ours[family],
            fvcore_flops=theirs["fvcore"][family] if "fvcore" in theirs else None,
            flop_counter_macs=theirs["FlopCounterMode"][family] if "FlopCounterMode" in theirs else None,
            reason="; ".join(
                why
                for why in (
                    _why_fvcore(family, ours, theirs.get("fvcore"), vector_ops[family], unsupported),
                    _why_flop_counter(family, ours, theirs.get("FlopCounterMode"), has_fast_path),
                )
                if why
            ),
        )
        for family in families
    ]
    return CrossCheck(name=loaded.name, differences=tuple(differences), failures=tuple(failures))


def _family(name: str) -> str:
    return next((family for family, names in FAMILIES.items() if name in names), name)


def _with_zeros(module: nn.Module) -> nn.Module:
    """A copy with weights, on the CPU."""
    model = copy.deepcopy(module).to_empty(device="cpu").eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    return model


def _on_meta(module: nn.Module) -> nn.Module:
    """A copy without weights."""
    return copy.deepcopy(module).to(META).eval()


class _TensorsOf(nn.Module):
    """A model that returns the tensors of what it returns: TorchScript's tracer takes no objects."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> Any:
        """The tensors, as a tuple."""
        return tuple(leaf for leaf in tree_leaves(self.model(*inputs)) if isinstance(leaf, torch.Tensor))


def _fvcore(model: nn.Module, inputs: Any) -> tuple[Counter[str], Mapping[str, int]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

        logging.getLogger("fvcore").setLevel(logging.ERROR)
        analysis = (
            FlopCountAnalysis(_TensorsOf(model), inputs)
            .unsupported_ops_warnings(False)
            .uncalled_modules_warnings(False)
        )
        counted: Counter[str] = Counter()
        for name, flops in analysis.by_operator().items():
            counted[_family(name)] += int(flops)
        return counted, {name.removeprefix("aten::"): calls for name, calls in analysis.unsupported_ops().items()}


def _flop_counter(model: nn.Module, inputs: Any) -> tuple[Counter[str], Mapping[str, int]]:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # it has no formula for what the CPU runs attention as, but for the products that this is made of
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(*inputs)
    counted: Counter[str] = Counter()
    for packet, flops in counter.get_flop_counts().get("Global", {}).items():
        name = packet.__name__
        counted["attention" if "scaled_dot_product" in name else _family(name)] += int(flops) // 2
    return counted, {}


def _why_fvcore(
    family: str,
    ours: Mapping[str, int],
    theirs: Mapping[str, int] | None,
    vector_ops: int,
    unsupported: Mapping[str, int],
) -> str:
    if theirs is None or theirs[family] == ours[family]:
        return ""
    if family in VECTOR_FAMILIES:
        return f"fvcore counts it as flops; it is no multiply-accumulate, here {vector_ops:,} vector ops"
    missed = sorted(name for name in unsupported if _family(name) == family)
    if missed:
        return f"fvcore has no formula for {', '.join(missed)}"
    return _moved("fvcore", family, ours, theirs) or "fvcore's formula comes to another number"


def _why_flop_counter(
    family: str, ours: Mapping[str, int], theirs: Mapping[str, int] | None, has_fast_path: bool
) -> str:
    if theirs is None or theirs[family] == ours[family]:
        return ""
    moved = _moved("FlopCounterMode", family, ours, theirs)
    if moved:
        return moved
    if has_fast_path and theirs[family] < ours[family]:
        return (
            "in eval mode torch runs encoder and attention layers as one op, for which FlopCounterMode has no formula"
        )
    if not theirs[family]:
        return "FlopCounterMode has no formula for it on CPU tensors"
    return "FlopCounterMode's formula comes to another number"


def _moved(counter: str, family: str, ours: Mapping[str, int], theirs: Mapping[str, int]) -> str:
    """Whether torch ran one kind of product as another, so that only the sum of the two is comparable."""
    moved = [name for name in PRODUCT_FAMILIES if ours[name] != theirs[name]]
    if family not in moved or sum(ours[name] for name in moved) != sum(theirs[name] for name in moved):
        return ""
    others = " and ".join(name for name in moved if name != family)
    return f"{counter} counts some of this under {others}, as torch ran it there; together they agree"
