"""What the tests of `roofline fit` are made of: networks of every class of layers, and devices to time them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from roofline.engine import predict
from roofline.fit_terms import LAYER_OVERHEADS, TERMS, Design, Floats, Form, Rows
from roofline.hardware import Hardware
from roofline.latencies import Latency
from roofline.layers import LayerTable, lower
from roofline.trace import trace

EVERY_TERM = tuple(term for term in TERMS if term not in ("slow", "layer_overhead"))
VALUES: Mapping[str, float] = {  # of a device on which each of the layers below counts; SI base units
    "peak.int8": 2e12,
    "peak.fp16": 0.7e12,
    "bandwidth": 20e9,
    "inference_overhead": 300e-6,
    "layer_overhead": 8e-6,
    "mac_layer_overhead": 8e-6,
    "slow": 0.02,
    "depthwise": 0.06,
    "grouped": 0.2,
    "depthwise_k7": 0.01,
    "weight_bandwidth": 6e9,
    "vector": 60e9,
    "softmax": 2e9,
    "transpose": 9e9,
}
# kind, op, kernel, and how its costs compare with others: MACs, weight, input and output bytes, vector ops
LAYERS = (
    ("conv", "convolution", (3, 3), 400, 0.3, 1, 1, 1),
    ("pointwise_conv", "convolution", (1, 1), 100, 0.5, 1, 1, 0),
    ("depthwise_conv", "convolution", (3, 3), 8, 0.02, 1, 1, 1),
    ("depthwise_conv", "convolution", (7, 7), 25, 0.03, 0.5, 0.5, 0),
    ("grouped_conv", "convolution", (3, 3), 60, 0.1, 1, 1, 0),
    ("linear", "linear", (), 2, 2, 0.01, 0.01, 0),
    ("activation", "gelu", (), 0, 0, 1, 1, 12),
    ("softmax", "softmax", (), 0, 0, 0.2, 0.2, 3),
    ("copy", "permute", (), 0, 0.05, 0.4, 0.4, 0),
)


@cache
def _template() -> LayerTable:
    return lower(trace(nn.Identity(), torch.empty(1)), dtype="int8", fusion="epilogue")


def network(seed: int, *, dtype: str = "int8", only: Sequence[str] = (), scale: float = 1.0) -> LayerTable:
    """A network of 20 to 60 layers; two seeds differ in how much there is of each class.

    Args:
        seed: Of the numbers.
        dtype: What the table says; the bytes do not depend on it.
        only: Kinds of layers; all if empty.
        scale: What all costs are multiplied by.
    """
    random = np.random.default_rng(seed)
    kinds = [layer for layer in LAYERS if not only or layer[0] in only]
    layers = [
        kinds[i] for i in random.choice(len(kinds), random.integers(20, 60), p=random.dirichlet([2] * len(kinds)))
    ]
    layers += kinds  # at least one of each
    size = scale * 10 ** random.uniform(4.5, 6.2)
    sizes = size * 10 ** random.uniform(-0.5, 0.5, len(layers))

    def numbers(column: int) -> Any:
        return np.array([round(layer[column] * size) for layer, size in zip(layers, sizes, strict=True)], np.int64)

    def objects(items: Sequence[object]) -> Any:
        return np.fromiter(items, dtype=object)

    return replace(
        _template(),
        name=objects([f"layer{number}" for number in range(len(layers))]),
        kind=objects([layer[0] for layer in layers]),
        ops=objects([layer[1] for layer in layers]),
        kernel=objects([layer[2] for layer in layers]),
        input_shape=objects([(1,) for _ in layers]),
        output_shape=objects([(1,) for _ in layers]),
        macs=numbers(3),
        weight_bytes=numbers(4),
        input_bytes=numbers(5),
        output_bytes=numbers(6),
        external_bytes=np.zeros(len(layers), np.int64),
        vector_ops=numbers(7),
        dtype=dtype,
    )


def timed(tables: Sequence[LayerTable], latency_s: Sequence[float] | Floats) -> Rows:
    """Rows of these layers and latencies."""
    latencies = tuple(
        Latency(line=number + 2, model=f"net{number}", latency_s=float(value)) for number, value in enumerate(latency_s)
    )
    return Rows(latencies=latencies, names=tuple(row.model for row in latencies), tables=tuple(tables))


def device(form: Form, values: Mapping[str, float]) -> Hardware:
    """A device with the terms of a form, written down here apart from `roofline.fit_profile`."""
    by_class: dict[str, Any] = {"peak_share_by_class": {}, "bandwidth_bytes_per_s_by_class": {}}
    others: dict[str, Any] = {"combine": "add" if "add" in form else "max"}
    for term in form:
        if TERMS[term].classes:
            by_class[TERMS[term].field] |= dict.fromkeys(TERMS[term].classes, values[term])
        elif term != "add":
            others[TERMS[term].field] = values[term]
    if "mac_layer_overhead" in form:
        others["overhead_layers"] = "macs"
    return Hardware(
        id="made_up",
        name="Made up",
        device_class="npu",
        peak_macs_per_s={name[5:]: value for name, value in values.items() if name.startswith("peak.")},
        bandwidth_bytes_per_s=values["bandwidth"],
        default_dtype="int8",
        default_fusion="epilogue",
        fused_activations=frozenset(),
        **(by_class | others),
    )


def on(hardware: Hardware, tables: Sequence[LayerTable]) -> Floats:
    """What `roofline.engine` says of each table, seconds."""
    return np.array([float(predict(table, hardware).latency_s) for table in tables])


def vector(design: Design, values: Mapping[str, float]) -> Floats:
    """The z of a design at these values."""
    named = [values[name] for name in design.names]
    return np.where(design.is_overhead, named, np.log(named))


def known(form: Form, tables: Sequence[LayerTable], *, noise: float = 0.0, seed: int = 0) -> Rows:
    """Rows timed on a device of that form, each latency off by a random few per cent."""
    random = np.random.default_rng(seed)
    return timed(tables, on(device(form, VALUES), tables) * np.exp(noise * random.standard_normal(len(tables))))


assert LAYER_OVERHEADS[0] not in EVERY_TERM  # of two about the same layers, one
