"""How the numbers of a result were counted, in sentences, so that a saved result says what it means."""

from __future__ import annotations

from collections.abc import Collection

from roofline.layers import DTYPE_BYTES

LEFT_OUT = (
    "Caches, on-chip memory and what stays in it from one layer to the next.",
    "The quality of the kernels, and any overlap of one layer with the next.",
    "Loading the model, and moving inputs and outputs between devices.",
)


def conventions(
    dtype: str,
    fusion: str,
    fused_activations: Collection[str],
    *,
    vector_rate: bool = False,
    layer_overhead: bool = False,
) -> list[str]:
    """What was counted and how, for one choice of dtype and fusion.

    Args:
        dtype: Of all floating tensors.
        fusion: ``"none"`` or ``"epilogue"``.
        fused_activations: Those that run inside the op before them, under epilogue fusion.
        vector_rate: Whether the device has a rate of vector ops.
        layer_overhead: Whether it has an overhead for each layer.

    >>> conventions("int8", "none", ())[3]
    'No fusion: each op is a layer that reads its operands from memory and writes its results there.'
    """
    width = DTYPE_BYTES[dtype]
    macs = "the largest of its MACs at the peak, its vector ops at their rate"
    ceilings = macs if vector_rate else "the larger of its MACs at the peak"
    overhead = ", plus an overhead" if layer_overhead else ""
    named = ", ".join(sorted(fused_activations)) or "none"
    return [
        f"Time of a layer: {ceilings} and its bytes at the memory bandwidth{overhead} (eq. 1 of "
        "arXiv:2404.10518). Latency: the sum over layers.",
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
