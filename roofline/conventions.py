"""How the numbers of a result were counted, in sentences, so that a saved result says what it means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from roofline.layers import DTYPE_BYTES
from roofline.units import significant

LEFT_OUT = (
    "Caches, and on-chip memory but for what a profile says stays in it.",
    "The quality of the kernels, and any overlap of one layer with the next.",
    "Loading the model, and moving inputs and outputs between devices.",
)


def conventions(
    dtype: str, fusion: str, fused_activations: Collection[str], *, terms: Mapping[str, Any] | None = None
) -> list[str]:
    """What was counted and how, for one choice of dtype and fusion.

    Args:
        dtype: Of all floating tensors.
        fusion: ``"none"`` or ``"epilogue"``.
        fused_activations: Those that run inside the op before them, under epilogue fusion.
        terms: What the device adds to eq. 1, as `Hardware.terms` gives it; nothing if not given.

    >>> conventions("int8", "none", ())[3]
    'No fusion: each op is a layer that reads its operands from memory and writes its results there.'
    """
    width = DTYPE_BYTES[dtype]
    vector_rate = (terms or {}).get("vector_ops_per_s") is not None
    named = ", ".join(sorted(fused_activations)) or "none"
    return [
        _formula(terms or {}),
        "MAC: one multiply-accumulate of a convolution, matrix product, attention or recurrent gate; 1 MAC = 2 FLOPs. "
        "Biases, norms, activations and pooling are no MACs"
        + ("." if vector_rate else "; without a rate of vector ops they cost their bytes alone."),
        f"Bytes: each operand of a layer is read once, each result written once; floating tensors take {width} "
        f"byte{'s' if width > 1 else ''} an element ({dtype}), integers keep their width. Weight bytes are parameters "
        "and buffers, activation bytes all other tensors.",
        "No fusion: each op is a layer that reads its operands from memory and writes its results there."
        if fusion == "none"
        else "Epilogue fusion: batch norms and other affine constants fold into the layer before them; a residual add "
        f"and some activations ({named}) run inside it and move no bytes of their own.",
        "SI prefixes are decimal: 1 GB/s is 1e9 bytes/s.",
    ]


def _formula(terms: Mapping[str, Any]) -> str:
    """What the time of a layer is, and that of a model, with the terms that a device adds."""
    times = ["its MACs at the peak", "its bytes at the memory bandwidth"]
    if terms.get("vector_ops_per_s") is not None:
        times.insert(1, "its vector ops at their rate")
    listed = f"{', '.join(times[:-1])} and {times[-1]}"
    which = "the sum of" if terms.get("combine") == "add" else "the larger of" if len(times) == 2 else "the largest of"
    overhead = ", plus an overhead" if terms.get("layer_overhead_s") else ""
    sentences = [f"Time of a layer: {which} {listed}{overhead} (eq. 1 of arXiv:2404.10518)."]
    for name, share in terms.get("peak_share_by_class", {}).items():
        sentences.append(f"Layers of class {name} do their MACs at {significant(share)} times the peak.")
    if terms.get("weight_bandwidth_bytes_per_s") is not None:
        sentences.append("Weight bytes have a bandwidth of their own.")
    if by_class := terms.get("bandwidth_bytes_per_s_by_class"):
        sentences.append(f"So have the layers of these classes: {', '.join(by_class)}.")
    if holds := terms.get("onchip_holds"):
        sentences.append(f"What fits of the {' and '.join(holds)} stays in on-chip memory and moves no bytes.")
    constant = " and one overhead of an inference" if terms.get("inference_overhead_s") else ""
    return f"{' '.join(sentences)} Latency: the sum over layers{constant}."
