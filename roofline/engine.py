"""The roofline: how long each layer must take, at least, and which ceiling sets it.

For layer i on a device with peak P (MACs/s, of the dtype) and memory bandwidth B (bytes/s):

    MACTime_i = MACs_i / P            MemTime_i = (WeightBytes_i + ActivationBytes_i) / B
    ModelTime = sum over i of max(MACTime_i, MemTime_i)

This is eq. 1 of the MobileNetV4 paper (arXiv:2404.10518, section 3), the roofline of Williams, Waterman and Patterson
(CACM 52(4), 2009, doi:10.1145/1498765.1498785) solved for time. A profile may add two terms, both absent by default,
and without them the result is eq. 1 bit for bit:

    VectorTime_i = VectorOps_i / V    joins the max: the vector unit is one more ceiling
    Overhead                          is added to every layer

Left out: caches, on-chip residency, the quality of the kernels, any overlap of one layer with the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.hardware import Hardware
from roofline.layers import LayerTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prediction:
    """The time of each layer on one device, or on several: every array then has a leading axis of devices.

    Attributes:
        layers: What was predicted.
        hardware: On what; one, or one for each row of the arrays.
        mac_time_s, vector_time_s, mem_time_s: The three ceilings, shape ``([devices,] layers)``, seconds.
        layer_latency_s: Their maximum, plus the overhead of starting a layer.
    """

    layers: LayerTable
    hardware: Hardware | tuple[Hardware, ...]
    mac_time_s: Floats
    vector_time_s: Floats
    mem_time_s: Floats
    layer_latency_s: Floats

    @property
    def memory_bound(self) -> NDArray[np.bool_]:
        """Which layers the memory ceiling sets; a layer on the ridge counts as compute-bound."""
        return self.mem_time_s > np.maximum(self.mac_time_s, self.vector_time_s)

    @property
    def latency_s(self) -> Floats:
        """ModelTime: the sum over layers, seconds; shape ``([devices],)``."""
        return np.asarray(self.layer_latency_s.sum(axis=-1))

    @property
    def compute_bound_share(self) -> Floats:
        """Share of the latency spent in layers that are not memory-bound; 0 for a model without work."""
        compute_s = np.where(self.memory_bound, 0.0, self.layer_latency_s).sum(axis=-1)
        total_s = self.latency_s
        return np.asarray(np.divide(compute_s, total_s, out=np.zeros_like(total_s), where=total_s > 0))


def layer_times(
    macs: ArrayLike,
    mem_bytes: ArrayLike,
    *,
    macs_per_s: ArrayLike,
    bytes_per_s: ArrayLike,
    vector_ops: ArrayLike = 0,
    vector_ops_per_s: ArrayLike = np.inf,
    overhead_s: ArrayLike = 0.0,
) -> tuple[Floats, Floats, Floats, Floats]:
    r"""MACTime, VectorTime, MemTime and latency of each layer; all arguments broadcast.

    .. math:: t_i = \max(M_i / P,\; V_i / R,\; Q_i / B) + o

    As a maximum of times, not work over attainable rate, it stays finite for a layer that does no arithmetic.

    Args:
        macs: M, multiply-accumulates.
        mem_bytes: Q, weight bytes + activation bytes.
        macs_per_s: P, peak rate.
        bytes_per_s: B, memory bandwidth.
        vector_ops, vector_ops_per_s: V and R; an infinite rate, the default, leaves the term out.
        overhead_s: o, seconds a layer.

    >>> *_, latency_s = layer_times([2e9, 0.0], [1e6, 5e6], macs_per_s=1e12, bytes_per_s=1e10)
    >>> latency_s.tolist()
    [0.002, 0.0005]
    """
    mac_time_s = np.asarray(macs) / np.asarray(macs_per_s, dtype=np.float64)
    vector_time_s = np.asarray(vector_ops) / np.asarray(vector_ops_per_s, dtype=np.float64)
    mem_time_s = np.asarray(mem_bytes) / np.asarray(bytes_per_s, dtype=np.float64)
    latency_s = np.maximum(np.maximum(mac_time_s, vector_time_s), mem_time_s) + np.asarray(overhead_s, dtype=np.float64)
    return mac_time_s, vector_time_s, mem_time_s, latency_s


def predict(layers: LayerTable, hardware: Hardware | Sequence[Hardware]) -> Prediction:
    """Predict the time of each layer on one device, or on several at once.

    Args:
        layers: From `roofline.layers.lower`; its dtype picks each device's peak.
        hardware: A device, or a sequence of D devices (the result's arrays then have shape ``(D, layers)``).

    Raises:
        ProfileError: A device has no peak for the table's dtype.
    """
    devices = (hardware,) if isinstance(hardware, Hardware) else tuple(hardware)
    shape = () if isinstance(hardware, Hardware) else (len(devices), 1)

    def column(values: list[float]) -> Floats:
        return np.array(values, dtype=np.float64).reshape(shape)

    times = layer_times(
        layers.macs,
        layers.mem_bytes,
        macs_per_s=column([device.peak(layers.dtype) for device in devices]),
        bytes_per_s=column([device.bandwidth_bytes_per_s for device in devices]),
        vector_ops=layers.vector_ops,
        vector_ops_per_s=column([device.vector_ops_per_s or np.inf for device in devices]),
        overhead_s=column([device.layer_overhead_s for device in devices]),
    )
    return Prediction(
        layers=layers,
        hardware=hardware if isinstance(hardware, Hardware) else devices,
        mac_time_s=times[0],
        vector_time_s=np.broadcast_to(times[1], times[3].shape),
        mem_time_s=times[2],
        layer_latency_s=times[3],
    )
