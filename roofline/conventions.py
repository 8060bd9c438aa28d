"""How the numbers of a result were counted, in sentences, so that a saved result says what it means."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from roofline.layers import DTYPE_BYTES
from roofline.units import si, significant

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
    add = terms.get("combine") == "add"
    which = "the sum of" if add else "the larger of" if len(times) == 2 else "the largest of"
    overhead = ", plus an overhead" if terms.get("layer_overhead_s") else ""
    overhead += " where it does MACs" if overhead and terms.get("overhead_layers") == "macs" else ""
    source = f"eq. 1 of arXiv:2404.10518{', which has the larger' if add else ''}"
    constant = " and one overhead of an inference" if terms.get("inference_overhead_s") else ""
    sentences = [
        f"Time of a layer: {which} {listed}{overhead} ({source}).",
        *(
            f"Layers of class {name} do their MACs at {significant(share)} times the peak."
            for name, share in terms.get("peak_share_by_class", {}).items()
        ),
        *_rates_of_memory(terms),
        *_on_the_chip(terms),
        f"Latency: the sum over layers{constant}.",
    ]
    return " ".join(sentences)


def _rates_of_memory(terms: Mapping[str, Any]) -> Iterator[str]:
    """Which bytes do not move at the memory bandwidth."""
    weights, of_classes = terms.get("weight_bandwidth_bytes_per_s"), terms.get("bandwidth_bytes_per_s_by_class", {})
    if weights is not None:
        yield f"Weight bytes move at {si(weights, 'B/s')}."
    for name, rate in of_classes.items():
        what = ", views that reorder the elements and here copy them," if name == "transpose" else ""
        yield f"All bytes of layers of class {name}{what} move at {si(rate, 'B/s')}."


def _on_the_chip(terms: Mapping[str, Any]) -> Iterator[str]:
    """What crosses no memory bus."""
    holds = terms.get("onchip_holds", ())
    size = f"{significant((terms.get('onchip_bytes') or 0) / 2**20)} MiB of on-chip memory"
    if "activations" in holds:
        yield f"Tensors that pass between layers whose inputs and outputs fit into the {size} stay there."
    if "weights" in holds:
        beside = "beside them" if "activations" in holds else f"into the {size}"
        yield f"The weights of the first layers that fit {beside} stay there from one inference to the next."
