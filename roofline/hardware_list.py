"""Devices side by side: which profiles there are, how they rank, and what their figures are worth.

A device has one ridge point a dtype. Unless one dtype is asked for, each device stands at its default one.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from roofline.errors import ProfileError, RooflineError, did_you_mean
from roofline.hardware import DTYPES, Figure, Hardware
from roofline.profiles import bundled, load_all, load_profile
from roofline.units import significant

SCHEMA: Final = "roofline/hardware-list/1"
SORTS: Final = ("name", "ridge", "peak", "bandwidth")
COLUMNS: Final = (
    "id", "name", "class", "dtype", "is_default_dtype", "peak_macs_per_s", "bandwidth_bytes_per_s",
    "ridge_point_macs_per_byte", "figures", "latency_kind",
)  # fmt: skip
WORTH: Final[Mapping[str, tuple[str, str]]] = {  # by `basis`, what a time is called, and on what it stands
    "fitted": ("prediction", ""),
    "measured": ("prediction", ""),
    "datasheet": ("bound", " on vendors' figures"),
    "derived": ("bound", " on vendors' figures"),
    "estimate": ("bound", " on estimates"),
    "": ("bound", " on figures without a source"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareList:
    """Some devices, in an order.

    Attributes:
        devices: Those that have a peak at `dtype`.
        dtype: At which each of them stands; None for its default.
    """

    devices: tuple[Hardware, ...]
    dtype: str | None = None

    @classmethod
    def of(
        cls, references: Iterable[str | Path] = (), *, classes: Sequence[str] = (), dtype: str | None = None,
        sort: str = "name",
    ) -> HardwareList:  # fmt: skip
        """Find devices, and put them in order.

        Args:
            references: Names or patterns (``nvidia_*``) of bundled profiles, and YAML files; all bundled ones if none.
            classes: Only devices of these classes; all if none.
            dtype: Only devices that have a peak at it.
            sort: ``name``, or from large to small by ``ridge``, ``peak`` or ``bandwidth``.

        Raises:
            ProfileError: Nothing of a name or pattern, a file that is no profile, or no device is left.
        """
        references = tuple(references)
        devices = find(references)
        left = [d for d in devices if d.device_class in (classes or [d.device_class])]
        able = [d for d in left if dtype is None or dtype in d.peak_macs_per_s]
        if not able:
            asked = [f"class {' or '.join(classes)}"] if classes else []
            asked += [f"dtype {dtype}"] if dtype else []
            among = ", ".join(map(str, references[:3])) + (", ..." if len(references) > 3 else "")
            listed = ", ".join(name for name in DTYPES if any(name in d.peak_macs_per_s for d in left))
            hint = f" ({'it lists' if len(left) == 1 else 'they list'}: {listed})" if left else ""
            raise ProfileError(f"no device of {' and '.join(asked)} among {among or 'the bundled profiles'}{hint}")
        return cls(devices=tuple(able), dtype=dtype).sorted_by(sort)

    def dtype_of(self, device: Hardware) -> str:
        """The dtype at which a device stands here."""
        return self.dtype or device.default_dtype

    def sorted_by(self, sort: str) -> HardwareList:
        """The same devices by ``name``, or from large to small by ``ridge``, ``peak`` or ``bandwidth``."""
        keys: dict[str, Callable[[Hardware], float]] = {
            "name": lambda d: 0.0,
            "ridge": lambda d: -d.ridge_point(self.dtype_of(d)),
            "peak": lambda d: -d.peak(self.dtype_of(d)),
            "bandwidth": lambda d: -d.bandwidth_bytes_per_s,
        }
        if sort not in keys:
            raise RooflineError(f"unknown sort {sort!r}: choose one of {', '.join(SORTS)}")
        return replace(self, devices=tuple(sorted(self.devices, key=lambda d: (keys[sort](d), d.id))))

    def rows(self) -> list[dict[str, Any]]:
        """One row a device and dtype, `COLUMNS` in SI base units; only `dtype` where one is asked for."""
        return [
            {
                "id": device.id,
                "name": device.name,
                "class": device.device_class,
                "dtype": dtype,
                "is_default_dtype": dtype == device.default_dtype,
                "peak_macs_per_s": peak,
                "bandwidth_bytes_per_s": device.bandwidth_bytes_per_s,
                "ridge_point_macs_per_byte": device.ridge_point(dtype),
                "figures": basis(device, dtype),
                "latency_kind": device.latency_kind(dtype),
            }
            for device in self.devices
            for dtype, peak in device.peak_macs_per_s.items()
            if self.dtype in (None, dtype)
        ]

    def verdict(self) -> str:
        """How many, from which ridge point to which, and what a time on them is worth."""
        points = sorted((d.ridge_point(self.dtype_of(d)), d.id, self.dtype_of(d)) for d in self.devices)
        (low, *lowest), (high, *highest) = points[0], points[-1]
        if len(points) == 1:
            return f"{lowest[0]} has a ridge point of {significant(low)} MACs/byte at {lowest[1]}."
        worth = Counter(WORTH[basis(d, self.dtype_of(d))] for d in self.devices)
        told = [
            f"{worth[what]} {what[0]}{'s' if worth[what] > 1 else ''}{what[1]}"
            for what in dict.fromkeys(WORTH.values())
            if worth[what]
        ]
        return (
            f"{len(points)} devices with ridge points from {significant(low)} MACs/byte ({', '.join(lowest)}) to "
            f"{significant(high)} ({', '.join(highest)}). Times on them: {', '.join(told)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, schema ``roofline/hardware-list/1``."""
        from roofline import __version__

        return {
            "schema": SCHEMA,
            "dtype": self.dtype,
            "profiles": [device.to_dict() for device in self.devices],
            "versions": {"roofline": __version__, "python": platform.python_version()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HardwareList:
        """The list that `to_dict` gave as plain data."""
        return cls(devices=tuple(map(_device, data["profiles"])), dtype=data.get("dtype"))


def find(references: Iterable[str | Path] = ()) -> tuple[Hardware, ...]:
    """Return the devices that references name, each once; all bundled ones if there is no reference.

    Raises:
        ProfileError: As `load_profile`, or a pattern that matches nothing.
    """
    given = list(references)
    if not given:
        return load_all()
    found: dict[Hardware, None] = {}
    for reference in given:
        if not is_pattern(reference):
            found[load_profile(reference)] = None
            continue
        names = [name for name in bundled() if fnmatchcase(name, _key(str(reference)))]
        if not names:
            near = did_you_mean(str(reference).strip("*?"), bundled())
            raise ProfileError(f"no bundled profile matches {str(reference)!r}.{near} 'roofline hw' lists all.")
        found.update(dict.fromkeys(map(load_profile, names)))
    return tuple(found)


def is_pattern(reference: str | Path) -> bool:
    """Whether a reference has wildcards of the shell, ``*``, ``?`` or ``[...]``, and is no file."""
    text = str(reference)
    if "/" in text or not any(wildcard in text for wildcard in "*?["):
        return False
    try:
        return not Path(text).exists()
    except OSError:  # a name that no file can have
        return True


def _key(pattern: str) -> str:
    """A pattern in the spelling of ids, as `load_profile` is free about them; a ``-`` in brackets means a range."""
    lower = pattern.lower().removesuffix(".yaml")
    return lower if "[" in lower else lower.replace("-", "_")


def basis(device: Hardware, dtype: str) -> str:
    """What a time at a dtype stands on: the kind among its figures that decides what the time is worth.

    ``fitted`` or ``measured``, by which the time is a prediction; else, of a bound, the weakest: ``estimate``,
    ``derived``, ``datasheet``; empty for a device that was made without sources.
    """
    kinds = {figure.kind for figure in device.figures_of_time(dtype).values()}
    order = ("fitted", "measured", "estimate", "derived", "datasheet")
    return next((kind for kind in order if kind in kinds), "")


def _device(data: Mapping[str, Any]) -> Hardware:
    """The device that `Hardware.to_dict` gave as plain data."""
    same = {field.name: data[field.name] for field in fields(Hardware) if field.name in data}
    return Hardware(
        **{
            **same,
            "device_class": data["class"],
            "fused_activations": frozenset(data["fused_activations"]),
            "onchip_holds": frozenset(data["onchip_holds"]),
            "figures": {path: Figure(**figure) for path, figure in data["figures"].items()},
        }
    )
