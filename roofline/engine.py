"""The roofline: how long each layer must take, at least, and which ceiling sets it.

For layer i on a device with peak P (MACs/s, of the dtype) and memory bandwidth B (bytes/s):

    MACTime_i = MACs_i / P            MemTime_i = (WeightBytes_i + ActivationBytes_i) / B
    ModelTime = sum over i of max(MACTime_i, MemTime_i)

This is eq. 1 of the MobileNetV4 paper (arXiv:2404.10518, section 3), the roofline of Williams, Waterman and Patterson
(CACM 52(4), 2009, doi:10.1145/1498765.1498785) solved for time. A profile may add terms, all absent by default, and
without them the result is eq. 1 bit for bit. With all of them

    MACTime_i = MACs_i / (P s_i)      VectorTime_i = VectorOps_i / R      MemTime_i = W_i / B_w + A_i / B_a
    Time_i    = max(MACTime_i, VectorTime_i, MemTime_i) + o               or their sum, where the profile says add
    ModelTime = c + sum over i of Time_i

with s the share of the peak that a layer's class reaches, R a rate of vector ops, B_w and B_a bandwidths of weights W
and activations A (a class may have one of its own for both), o an overhead of a layer, perhaps only of those that do
MACs, and c one of an inference. What stays in on-chip memory (`crossing_bytes`) is left out of W and A.
docs/profiles.md has the source of each term.

Left out: caches, the quality of the kernels, any overlap of one layer with the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.hardware import Hardware
from roofline.layers import KINDS, Ints, LayerTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prediction:
    """The time of each layer on one device, or on several: every array then has a leading axis of devices.

    Attributes:
        layers: What was predicted.
        hardware: On what; one, or one for each row of the arrays.
        mac_time_s, vector_time_s, mem_time_s: The three ceilings, shape ``([devices,] layers)``, seconds.
        layer_latency_s: Their maximum, or sum, plus the overhead of starting a layer.
        inference_overhead_s: What an inference takes beside its layers, seconds; shape ``([devices,])``.
    """

    layers: LayerTable
    hardware: Hardware | tuple[Hardware, ...]
    mac_time_s: Floats
    vector_time_s: Floats
    mem_time_s: Floats
    layer_latency_s: Floats
    inference_overhead_s: Floats

    @property
    def memory_bound(self) -> NDArray[np.bool_]:
        """Which layers the memory ceiling sets; a layer on the ridge counts as compute-bound."""
        return self.mem_time_s > np.maximum(self.mac_time_s, self.vector_time_s)

    @property
    def layers_s(self) -> Floats:
        """The sum over layers, seconds; shape ``([devices],)``."""
        return np.asarray(self.layer_latency_s.sum(axis=-1))

    @property
    def latency_s(self) -> Floats:
        """ModelTime: the sum over layers and the overhead of an inference, seconds; shape ``([devices],)``."""
        return np.asarray(self.layers_s + self.inference_overhead_s)

    @property
    def compute_bound_share(self) -> Floats:
        """Share of the time of the layers that is in those not memory-bound; 0 for a model without work."""
        compute_s = np.where(self.memory_bound, 0.0, self.layer_latency_s).sum(axis=-1)
        total_s = self.layers_s
        return np.asarray(np.divide(compute_s, total_s, out=np.zeros_like(total_s), where=total_s > 0))


def combined(mac_time_s: Floats, vector_time_s: Floats, mem_time_s: Floats, add: ArrayLike = False) -> Floats:
    """The time of layers without overhead: the longest of the three, or their sum where `add`; all broadcast."""
    longest_s = np.maximum(np.maximum(mac_time_s, vector_time_s), mem_time_s)
    return np.where(add, mac_time_s + vector_time_s + mem_time_s, longest_s) if np.any(add) else longest_s


def layer_times(
    macs: ArrayLike,
    mem_bytes: ArrayLike,
    *,
    macs_per_s: ArrayLike,
    bytes_per_s: ArrayLike,
    vector_ops: ArrayLike = 0,
    vector_ops_per_s: ArrayLike = np.inf,
    weight_bytes: ArrayLike = 0,
    weight_bytes_per_s: ArrayLike = np.inf,
    overhead_s: ArrayLike = 0.0,
    add: ArrayLike = False,
) -> tuple[Floats, Floats, Floats, Floats]:
    r"""MACTime, VectorTime, MemTime and latency of each layer; all arguments broadcast.

    .. math:: t_i = \max(M_i / P,\; V_i / R,\; Q_i / B + W_i / B_w) + o

    As a maximum of times, not work over attainable rate, it stays finite for a layer that does no arithmetic.

    Args:
        macs: M, multiply-accumulates.
        mem_bytes: Q, weight bytes + activation bytes; without the weight bytes where these have a rate of their own.
        macs_per_s: P, peak rate.
        bytes_per_s: B, memory bandwidth.
        vector_ops, vector_ops_per_s: V and R; an infinite rate, the default, leaves the term out.
        weight_bytes, weight_bytes_per_s: W and B_w; an infinite rate, the default, leaves the term out.
        overhead_s: o, seconds a layer.
        add: Where the times add up instead of the largest counting alone.

    >>> *_, latency_s = layer_times([2e9, 0.0], [1e6, 5e6], macs_per_s=1e12, bytes_per_s=1e10)
    >>> latency_s.tolist()
    [0.002, 0.0005]
    """
    mac_time_s = np.asarray(macs) / np.asarray(macs_per_s, dtype=np.float64)
    vector_time_s = np.asarray(vector_ops) / np.asarray(vector_ops_per_s, dtype=np.float64)
    mem_time_s = np.asarray(mem_bytes) / np.asarray(bytes_per_s, dtype=np.float64)
    mem_time_s = mem_time_s + np.asarray(weight_bytes) / np.asarray(weight_bytes_per_s, dtype=np.float64)
    latency_s = combined(mac_time_s, vector_time_s, mem_time_s, add) + np.asarray(overhead_s, dtype=np.float64)
    return mac_time_s, vector_time_s, mem_time_s, latency_s


def predict(layers: LayerTable, hardware: Hardware | Sequence[Hardware]) -> Prediction:
    """Predict the time of each layer on one device, or on several at once.

    Args:
        layers: From `roofline.layers.lower`; its dtype picks each device's peak.
        hardware: A device, or a sequence of D devices (the result's arrays then have shape ``(D, layers)``).

    Raises:
        ProfileError: A device has no peak for the table's dtype.
    """
    if isinstance(hardware, Hardware):
        given = terms_of(layers, hardware)
        overhead_s = np.asarray(hardware.inference_overhead_s)
    else:
        hardware = tuple(hardware)
        terms = [terms_of(layers, device) for device in hardware]
        given = {name: _stacked([term[name] for term in terms], len(layers)) for name in TERMS}
        overhead_s = np.array([device.inference_overhead_s for device in hardware])
    mac_time_s, vector_time_s, mem_time_s, layer_latency_s = layer_times(
        layers.macs, vector_ops=layers.vector_ops, **given
    )
    return Prediction(
        layers=layers,
        hardware=hardware,
        mac_time_s=mac_time_s,
        vector_time_s=vector_time_s,
        mem_time_s=mem_time_s,
        layer_latency_s=layer_latency_s,
        inference_overhead_s=overhead_s,
    )


TERMS = (
    "mem_bytes", "macs_per_s", "bytes_per_s", "vector_ops_per_s", "weight_bytes", "weight_bytes_per_s", "overhead_s",
    "add",
)  # fmt: skip


def _stacked(values: Sequence[Any], layers: int) -> NDArray[Any]:
    """One term of several devices: shape ``(devices, layers)``; ``(devices, 1)`` where it is one number a device."""
    if values and not any(getattr(value, "ndim", 0) for value in values):
        return np.array(values)[:, np.newaxis]
    return np.array([np.broadcast_to(value, layers) for value in values]).reshape(len(values), layers)


def terms_of(layers: LayerTable, device: Hardware) -> dict[str, Any]:
    """What `layer_times` takes of one device beside the layers' work, by `TERMS`: each a number, or one a layer."""
    weight_bytes, activation_bytes = crossing_bytes(layers, device)
    of_classes = device.bandwidth_bytes_per_s_by_class
    is_apart = by_class(layers, dict.fromkeys(of_classes, False), device.weight_bandwidth_bytes_per_s is not None)
    weights_apart = np.where(is_apart, weight_bytes, 0) if np.any(is_apart) else 0
    overhead_s = device.layer_overhead_s
    return {
        "mem_bytes": activation_bytes + weight_bytes - weights_apart,
        "macs_per_s": device.peak(layers.dtype) * by_class(layers, device.peak_share_by_class, 1.0),
        "bytes_per_s": by_class(layers, of_classes, device.bandwidth_bytes_per_s),
        "vector_ops_per_s": device.vector_ops_per_s or np.inf,
        "weight_bytes": weights_apart,
        "weight_bytes_per_s": device.weight_bandwidth_bytes_per_s or np.inf,
        "overhead_s": np.where(layers.macs > 0, overhead_s, 0.0) if device.overhead_layers == "macs" else overhead_s,
        "add": device.combine == "add",
    }


def by_class(layers: LayerTable, values: Mapping[str, Any], default: Any) -> Any:
    """One value a layer, that of its class, or the default; where no class has one, the default alone.

    A single op or size comes before the kind it is of.
    """
    if not values:
        return default
    found = np.full(len(layers), default)
    for name in sorted(values, key=lambda name: name not in KINDS):
        found[layers.is_in(name)] = values[name]
    return found


def crossing_bytes(layers: LayerTable, device: Hardware) -> tuple[Ints, Ints]:
    """Weight and activation bytes of each layer that cross the memory bus.

    What the chip holds does not: tensors that pass between layers whose inputs and outputs fit, by the rule of
    `LayerTable.reuse`, and from one inference to the next the weights of the first layers, each whole. Where both may
    stay, they part the memory such that the fewest bytes cross, so that with more of it never more do. The Edge TPU's
    compiler, too, caches what fits of the parameters beside what a network needs to run
    (coral.ai/docs/edgetpu/compiler, "Parameter data caching"); which of them it picks is unverified. Tensors that wait
    for a later layer take no room here: the rule errs to the fast side.
    """
    weight_bytes, activation_bytes = layers.weight_bytes, layers.activation_bytes
    size, holds = device.onchip_bytes or 0, device.onchip_holds
    room, saved, layer = _reused(layers, size) if "activations" in holds else np.zeros((3, 0), dtype=np.int64)
    room, staying = np.append(0, room), np.append(0, np.cumsum(saved))  # of the first tensors, by the room they need
    if "weights" in holds:
        first = np.append(0, np.cumsum(weight_bytes))  # the weights of the first layers
        fitting = np.searchsorted(first, size - room, side="right") - 1
        best = int(np.argmax(staying + first[fitting]))
        weight_bytes = np.where(np.arange(len(layers)) < fitting[best], 0, weight_bytes)
    else:
        best = len(saved)
    kept = np.zeros_like(activation_bytes)
    np.add.at(kept, layer[:best], saved[:best])
    return weight_bytes, activation_bytes - kept


def _reused(layers: LayerTable, size: int) -> Ints:
    """The room, bytes and layer of each tensor that can stay in so much memory, by room; shape (3, tensors)."""
    pairs = layers.reuse() if layers.reuse is not None else ()
    found = sorted(
        (room, saved, layer) for layer, tensors in enumerate(pairs) for room, saved in tensors if room <= size
    )
    return np.array(found, dtype=np.int64).reshape(-1, 3).T
