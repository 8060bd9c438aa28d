"""One device, as the roofline sees it: peak MAC rates, one memory bandwidth, and where each figure comes from.

The ridge point of a device is the operational intensity, in MACs/byte, at which its two ceilings meet:

    ridge point = peak MACs per second / memory bandwidth in bytes per second

(Williams, Waterman & Patterson, CACM 52(4), 2009; section 3 of the MobileNetV4 paper, arXiv:2404.10518.) A layer of
lower intensity is memory-bound. Everything here is in SI base units; `roofline.profiles` reads the YAML files that
people write, in GMAC/s, GB/s and so on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from roofline.errors import ProfileError

Dtype = Literal["fp32", "fp16", "bf16", "int8"]
DeviceClass = Literal["cpu", "gpu", "dsp", "npu", "edgetpu", "abstract"]
Fusion = Literal["none", "epilogue"]
Activation = Literal[
    "relu",
    "relu6",
    "hardswish",
    "silu",
    "gelu",
    "sigmoid",
    "hardsigmoid",
    "tanh",
    "elu",
    "leaky_relu",
    "prelu",
    "mish",
]
LayerClass = Literal[  # the kinds of `roofline.layers`, some ops and sizes of them, and the activations
    "conv", "depthwise_conv", "depthwise_conv_k7", "grouped_conv", "pointwise_conv", "linear", "matmul", "attention",
    "norm", "activation", "pool", "elementwise", "reduce", "softmax", "embedding", "copy", "other", "transpose",
    Activation,
]  # fmt: skip
Combine = Literal["max", "add"]
OverheadLayers = Literal["all", "macs"]
OnChip = Literal["weights", "activations"]
FigureKind = Literal["datasheet", "derived", "fitted", "measured", "estimate"]

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
LAYER_CLASSES: tuple[LayerClass, ...] = get_args(LayerClass)


BY_CLASS = ("peak_share_by_class", "bandwidth_bytes_per_s_by_class")
# What `Hardware.terms` gives where a time is eq. 1 of the MobileNetV4 paper and no more.
NO_TERMS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "combine": "max",
        "peak_share_by_class": {},
        "vector_ops_per_s": None,
        "weight_bandwidth_bytes_per_s": None,
        "bandwidth_bytes_per_s_by_class": {},
        "layer_overhead_s": 0.0,
        "overhead_layers": "all",
        "inference_overhead_s": 0.0,
        "onchip_holds": [],
        "onchip_bytes": None,
    }
)


def terms_in_force(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a device's terms, as `Hardware.terms` gives them, that make a time other than eq. 1.

    >>> terms_in_force({**NO_TERMS, "layer_overhead_s": 1e-6, "onchip_bytes": 8})
    {'layer_overhead_s': 1e-06}
    """
    silent = set()
    if not terms.get("onchip_holds"):
        silent.add("onchip_bytes")  # the size of a memory that nothing is said to stay in
    if not terms.get("layer_overhead_s"):
        silent.add("overhead_layers")
    return {
        name: terms[name]
        for name, absent in NO_TERMS.items()
        if name not in silent and terms.get(name, absent) != absent
    }


def is_of_time(path: str, dtype: str, *, holds: bool = False) -> bool:
    """Whether the figure at that field path is one on which a time at `dtype` depends; not an energy, nor another peak.

    Args:
        path: Such as ``peak_macs_per_s.int8``.
        dtype: That of the time.
        holds: Whether something stays in the on-chip memory, so that its size counts.

    >>> is_of_time("peak_macs_per_s.int8", "int8"), is_of_time("peak_macs_per_s.int8", "fp16")
    (True, False)
    >>> is_of_time("onchip_bytes", "int8"), is_of_time("onchip_bytes", "int8", holds=True)
    (False, True)
    """
    if path.startswith("peak_macs_per_s."):
        return path == f"peak_macs_per_s.{dtype}"
    return holds if path == "onchip_bytes" else not path.startswith("energy_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a profile, and where it comes from.

    Attributes:
        value: The number, in the SI base unit that the name of its field says.
        kind: ``datasheet`` (a vendor printed it), ``derived`` (arithmetic on such figures), ``fitted`` (chosen so that
            predictions meet latencies), ``measured`` (on the device) or ``estimate`` (none of these).
        source: Where it comes from, or the arithmetic behind it.
    """

    value: float
    kind: FigureKind
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One device, in SI base units.

    Attributes:
        id: Slug; of a bundled profile, the stem of its file, e.g. ``pixel6_tpu``.
        name: What people call the device.
        device_class: cpu, gpu, dsp, npu, edgetpu, or abstract for a device that only teaches.
        peak_macs_per_s: Dense peak rate by dtype, in MACs/s (1 MAC = 2 FLOPs).
        bandwidth_bytes_per_s: Memory bandwidth, in bytes/s.
        default_dtype: The dtype of a prediction that does not name one.
        default_fusion: How the device's usual runtime fuses ops, ``none`` or ``epilogue``.
        fused_activations: The activations that epilogue fusion takes into the op before them.
        combine: Whether a layer takes the ``max`` of its times (arithmetic and memory overlap) or they ``add`` up.
        peak_share_by_class: Share of the peak at which layers of a class do their MACs; of the others it is 1. Classes
            are the kinds of layers, ``depthwise_conv_k7`` (a kernel of 7 or more), ``transpose`` and the activations.
        vector_ops_per_s: Rate of weighted elementwise operations; None: they cost nothing but their bytes.
        weight_bandwidth_bytes_per_s: Rate of weight bytes, where it is not that of all bytes.
        bandwidth_bytes_per_s_by_class: Rate of all bytes of layers of a class, weights too, in place of the other two.
            Where it names ``transpose``, views that reorder elements are layers that copy.
        layer_overhead_s: Cost of starting one layer, in seconds.
        overhead_layers: Which layers have that cost: ``all``, or those that do ``macs``.
        inference_overhead_s: Cost of one inference whatever the model, in seconds.
        onchip_bytes: On-chip memory, in bytes.
        onchip_holds: What stays in it where it fits, so that it does not cross the memory bus: ``weights`` (from one
            inference to the next), ``activations`` (from one layer to the next).
        energy_per_mac_j: Energy of one MAC, in joules.
        energy_per_byte_j: Energy of one byte to or from memory, in joules.
        figures: Provenance of the numbers above by field path, e.g. ``peak_macs_per_s.int8``.
        calibration: The file of what was measured on the device, as `roofline.calibration.file` reads it; None: there
            is none, or it is of other figures than these.
        notes: What a user of the figures has to know.

    Raises:
        ProfileError: A rate, share, size or energy is not positive and finite, an overhead is negative, something
            is to stay on a chip without memory, or `default_dtype` has no peak.
    """

    id: str
    name: str
    device_class: DeviceClass
    peak_macs_per_s: Mapping[str, float] = field(hash=False)
    bandwidth_bytes_per_s: float
    default_dtype: str
    default_fusion: Fusion
    fused_activations: frozenset[str]
    combine: Combine = "max"
    peak_share_by_class: Mapping[str, float] = field(default_factory=dict, hash=False)
    vector_ops_per_s: float | None = None
    weight_bandwidth_bytes_per_s: float | None = None
    bandwidth_bytes_per_s_by_class: Mapping[str, float] = field(default_factory=dict, hash=False)
    layer_overhead_s: float = 0.0
    overhead_layers: OverheadLayers = "all"
    inference_overhead_s: float = 0.0
    onchip_bytes: int | None = None
    onchip_holds: frozenset[OnChip] = frozenset()
    energy_per_mac_j: float | None = None
    energy_per_byte_j: float | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict, hash=False)
    calibration: Path | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        numbers: dict[str, float | None] = {
            "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s,
            "vector_ops_per_s": self.vector_ops_per_s,
            "weight_bandwidth_bytes_per_s": self.weight_bandwidth_bytes_per_s,
            "onchip_bytes": self.onchip_bytes,
            "energy_per_mac_j": self.energy_per_mac_j,
            "energy_per_byte_j": self.energy_per_byte_j,
        }
        for field_name in ("peak_macs_per_s", *BY_CLASS):
            numbers |= {f"{field_name}.{key}": value for key, value in getattr(self, field_name).items()}
        for path, value in numbers.items():
            if value is not None and not 0 < value < math.inf:
                raise ProfileError(f"{self.id}: {path} must be positive and finite (got {value})")
        for path in ("layer_overhead_s", "inference_overhead_s"):
            if not 0 <= getattr(self, path) < math.inf:
                raise ProfileError(f"{self.id}: {path} must be finite, 0 or more (got {getattr(self, path)})")
        for field_name in BY_CLASS:
            for name in getattr(self, field_name):
                if name not in LAYER_CLASSES:
                    raise ProfileError(f"{self.id}: {field_name} names {name!r}, which is no class of layers")
        if self.combine not in get_args(Combine):
            raise ProfileError(f"{self.id}: combine must be max or add (got {self.combine!r})")
        if self.overhead_layers not in get_args(OverheadLayers):
            raise ProfileError(f"{self.id}: overhead_layers must be all or macs (got {self.overhead_layers!r})")
        for held in self.onchip_holds:
            if held not in get_args(OnChip):
                raise ProfileError(f"{self.id}: onchip_holds must be of {', '.join(get_args(OnChip))} (got {held!r})")
        if self.onchip_holds and self.onchip_bytes is None:
            raise ProfileError(f"{self.id}: onchip_holds needs onchip_bytes, the size of the memory that holds it")
        self.peak(self.default_dtype)

    def peak(self, dtype: str) -> float:
        """Return the peak rate for `dtype`, in MACs/s.

        Raises:
            ProfileError: The profile lists no peak for `dtype`.
        """
        try:
            return self.peak_macs_per_s[dtype]
        except KeyError:
            known = ", ".join(self.peak_macs_per_s) or "none"
            raise ProfileError(
                f"{self.id} has no peak for dtype {dtype!r} (it lists: {known}). "
                f"Take one of those, or add 'peak_gmacs_per_s.{dtype}' to its profile."
            ) from None

    def ridge_point(self, dtype: str) -> float:
        """Return peak / bandwidth for `dtype`, in MACs/byte: layers of lower intensity are memory-bound.

        Raises:
            ProfileError: The profile lists no peak for `dtype`.
        """
        return self.peak(dtype) / self.bandwidth_bytes_per_s

    def latency_kind(self, dtype: str) -> Literal["bound", "prediction"]:
        """Return what a time computed from these figures may be called.

        A roofline on a vendor's peaks is a ``bound``; how firm, `roofline.words.basis` says. Once one of them was
        fitted to latencies, or measured, it is a ``prediction``. (What ran on a device is a measurement, and never
        comes from here.)
        """
        calibrated = any(figure.kind in ("fitted", "measured") for figure in self.figures_of_time(dtype).values())
        return "prediction" if calibrated else "bound"

    def figures_of_time(self, dtype: str) -> dict[str, Figure]:
        """The figures, by field path, on which a time at `dtype` depends."""
        used = (path for path in self.figures if is_of_time(path, dtype, holds=bool(self.onchip_holds)))
        return {path: self.figures[path] for path in used}

    @property
    def is_plain(self) -> bool:
        """Whether a time is eq. 1 of the MobileNetV4 paper and no more: none of the optional terms is there."""
        return not terms_in_force(self.terms())

    @property
    def copies_transposes(self) -> bool:
        """Whether a view that reorders elements is a layer of its own: the profile says how fast it is."""
        return "transpose" in self.bandwidth_bytes_per_s_by_class

    def terms(self) -> dict[str, Any]:
        """The optional terms of a time as plain data, in SI base units; `NO_TERMS` where there are none."""
        return {
            "combine": self.combine,
            "peak_share_by_class": dict(self.peak_share_by_class),
            "vector_ops_per_s": self.vector_ops_per_s,
            "weight_bandwidth_bytes_per_s": self.weight_bandwidth_bytes_per_s,
            "bandwidth_bytes_per_s_by_class": dict(self.bandwidth_bytes_per_s_by_class),
            "layer_overhead_s": self.layer_overhead_s,
            "overhead_layers": self.overhead_layers,
            "inference_overhead_s": self.inference_overhead_s,
            "onchip_holds": sorted(self.onchip_holds),
            "onchip_bytes": self.onchip_bytes,
        }

    def to_dict(self) -> dict[str, Any]:
        """The device as plain data, in SI base units, with its ridge points and the source of each figure."""
        return {
            "id": self.id,
            "name": self.name,
            "class": self.device_class,
            "peak_macs_per_s": dict(self.peak_macs_per_s),
            "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s,
            "ridge_point_macs_per_byte": {dtype: self.ridge_point(dtype) for dtype in self.peak_macs_per_s},
            "default_dtype": self.default_dtype,
            "default_fusion": self.default_fusion,
            "fused_activations": sorted(self.fused_activations),
            **self.terms(),
            "energy_per_mac_j": self.energy_per_mac_j,
            "energy_per_byte_j": self.energy_per_byte_j,
            "figures": {path: asdict(figure) for path, figure in self.figures.items()},
            "notes": self.notes,
        }
