"""What was measured of a model over time, and which changes are more than noise.

Measurements form a *series* where all that decides a latency agrees: model, device, mode, dtype, batch, input, threads,
the anchor, what of the environment is material (`roofline.measurement.environment.MATERIAL`), and of a fleet the tag:
two boards of one kind are two machines. Times are compared only within a series, and at one state of the machine: each
session's times are at that session's reference state, and the geometric mean of its anchor's times in that state
converts them to the best state of the series.

A change from one measurement to the next is *beyond noise* where both hold:

- their 95 % confidence intervals do not overlap, and
- the larger median over the smaller, less 1, exceeds the noise between processes: the larger `between_process` of the
  two measurements, where `UNKNOWN_NOISE` or `RAW_NOISE` stands in for one that ran in a single process and has none.

The first alone would call nearly all changes real: an interval says how well one process knows its median, and what a
process is dealt (page layout, placement of threads) stays the same in all of its samples. Measurements that were
contended or throttled are shown and not compared: the next one is compared with the last one before them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from roofline.errors import StoreError, did_you_mean
from roofline.measurement.environment import MATERIAL
from roofline.measurement.store import Kept, Times, default_path, read

SCHEMA = "roofline/history/1"
NOT_COMPARED = frozenset({"contended", "throttled"})  # statuses of a median that is not the model's own
UNKNOWN_NOISE = 0.10  # at the reference state 85 to 98 % of the medians of two processes agreed within it, of two sets
# of 13 networks (docs/measuring.md, "What the anchor is worth")
RUNTIME = "versions.onnxruntime"  # of what it ran alone
OF_A_FLEET = "fleet.tag"  # in the environment of what a worker measured: for what it did
RAW_NOISE = 0.30  # without an anchor: the median spread there of what the same work takes in 8 processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one measurement to a later one of its series.

    Attributes:
        before: Id of the earlier one.
        ratio: Later median over earlier, both at one state of the machine: above 1 is slower.
        noise: What `ratio` may be off 1, up or down, with nothing changed, as a share.
        is_beyond_noise: As the head of this module has it.
    """

    before: int
    ratio: float
    noise: float
    is_beyond_noise: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement of a series.

    Attributes:
        kept: As it is in the database.
        latency_s: At the state that all of the series are converted to.
        change: From the last one before that can be compared; None of the first, and of one that cannot.
    """

    kept: Kept
    latency_s: Times
    change: Change | None

    @property
    def is_compared(self) -> bool:
        """Whether its median can be set beside others."""
        return self.kept.status not in NOT_COMPARED

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        kept, change = self.kept, self.change
        return {
            "id": kept.id,
            "measured_at": kept.measured_at.isoformat(timespec="milliseconds"),
            "reference": kept.reference,
            "latency_s": _interval(kept.latency_s),
            "reference_latency_s": _interval(kept.reference_latency_s),
            "series_latency_s": _interval(self.latency_s),
            "between_process": kept.between_process,
            "status": kept.status,
            "flags": dict(kept.flags),
            "is_interrupted": kept.is_interrupted,
            "change": None if change is None else _change(change),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Measurements that may be compared, in the order they were made; at least one.

    Attributes:
        points: The measurements.
        environment: What of it is material: each path of `MATERIAL`, and the value there.
        overall: From the first to the latest that can be compared, which shows what creeps up in steps that are each
            within noise. None of fewer than three.
    """

    points: tuple[Point, ...]
    environment: Mapping[str, Any]
    overall: Change | None

    @property
    def latest(self) -> Kept:
        """The latest, which stands for what all of them have in common."""
        return self.points[-1].kept

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        latest = self.latest
        return {
            **{name: getattr(latest, name) for name in _CONDITIONS},
            "environment": dict(self.environment),
            "overall_change": None if self.overall is None else _change(self.overall),
            "measurements": [point.to_dict() for point in self.points],
        }


_CONDITIONS = ("model", "device", "mode", "dtype", "batch", "input_shape", "threads", "anchor")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The series of a database, or those of one model.

    Attributes:
        database: The file.
        series: By model and conditions; of the same ones, the most recent last.
    """

    database: Path
    series: tuple[Series, ...]

    @classmethod
    def of(cls, model: str | None = None, *, device: str | None = None, path: str | Path | None = None) -> History:
        """Read it.

        Args:
            model: A name as it was given or as it resolved, an alias of the zoo, or a pattern, ``mobilenet*``; all
                models if not given.
            device: ``"cpu"`` or ``"cuda"``; both if not given.
            path: The database; `roofline.measurement.store.default_path` if not given.

        Raises:
            StoreError: There is no such database, or nothing of the kind in it.
        """
        file = default_path() if path is None else Path(path)
        return cls(database=file, series=series_of(select(read(path), file, model=model, device=device)))

    def verdict(self) -> str:
        """How many changes there are, and how many of them beyond noise, in one sentence."""
        points = [(point, point.change) for series in self.series for point in series.points]
        compared = [(point, change) for point, change in points if change is not None]
        beyond = [(point, change) for point, change in compared if change.is_beyond_noise]
        if not compared:
            return "Nothing to compare yet."
        changes = f"{len(compared)} change{'s' if len(compared) > 1 else ''}"
        if not beyond:
            return f"None of {changes} beyond noise."
        point, change = max(beyond, key=lambda pair: pair[0].kept.measured_at)
        return (
            f"{len(beyond)} of {changes} beyond noise, the latest on {point.kept.measured_at:%Y-%m-%d}: "
            f"{point.kept.model} became {change_text(change)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data of schema ``"roofline/history/1"``."""
        return {
            "schema": SCHEMA,
            "database": str(self.database),
            "verdict": self.verdict(),
            "series": [series.to_dict() for series in self.series],
        }

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def change_text(change: Change) -> str:
    """A change in words.

    >>> change_text(Change(before=1, ratio=1.25, noise=0.1, is_beyond_noise=True))
    '25.0 % slower'
    """
    if abs(change.ratio - 1) < 0.0005:
        return "unchanged"
    return f"{abs(change.ratio - 1) * 100:.1f} % {'slower' if change.ratio > 1 else 'faster'}"


def select(kept: Sequence[Kept], file: Path, *, model: str | None = None, device: str | None = None) -> list[Kept]:
    """Those of a model and a device.

    Raises:
        StoreError: There are none.
    """
    if not kept:
        raise StoreError(f"no measurements are kept yet in {file}: 'roofline measure MODEL' keeps its results there")
    found = list(kept) if model is None else _of_model(kept, model)
    if not found:
        known = sorted({one.model for one in kept} | {one.reference for one in kept if one.reference})
        raise StoreError(
            f"no measurement of {model} is kept in {file}.{did_you_mean(str(model), known)} "
            "'roofline history' lists what is."
        )
    on_device = [one for one in found if device in (None, one.device)]
    if not on_device:
        others = ", ".join(sorted({one.device for one in found}))
        raise StoreError(f"no measurement of {model or 'any model'} on {device} is kept in {file}, only on {others}")
    return on_device


def _of_model(kept: Sequence[Kept], model: str) -> list[Kept]:
    from roofline.models import find, knows

    names = {model, find(model).name} if knows(model) else {model}
    exact = [one for one in kept if names & {one.model, one.reference}]
    return exact or [one for one in kept if any(fnmatchcase(name, model) for name in (one.model, one.reference))]


def series_of(kept: Sequence[Kept]) -> tuple[Series, ...]:
    """Sort measurements into series, and compare within each."""
    groups: dict[tuple[object, ...], list[Kept]] = {}
    for one in sorted(kept, key=lambda one: (one.measured_at, one.id)):
        conditions = tuple(getattr(one, name) for name in _CONDITIONS)
        groups.setdefault((*conditions, json.dumps(_material(one))), []).append(one)
    recent_last = sorted(groups, key=lambda key: (key[:-1], groups[key][-1].measured_at))
    return tuple(_series(groups[key]) for key in recent_last)


def _series(kept: Sequence[Kept]) -> Series:
    best_s = min((one.anchor_reference_s for one in kept if one.anchor_reference_s is not None), default=None)
    points: list[Point] = []
    for one in kept:
        factor = 1.0 if best_s is None or one.anchor_reference_s is None else best_s / one.anchor_reference_s
        point = Point(kept=one, latency_s=one.reference_latency_s.times(factor), change=None)
        before = next((earlier for earlier in reversed(points) if earlier.is_compared), None)
        if before is not None and point.is_compared:
            point = Point(kept=one, latency_s=point.latency_s, change=compare(before, point))
        points.append(point)
    compared = [point for point in points if point.is_compared]
    overall = compare(compared[0], compared[-1]) if len(compared) > 2 else None
    return Series(points=tuple(points), environment=_material(kept[-1]), overall=overall)


def compare(before: Point, after: Point) -> Change | None:
    """The change between two measurements of one series; None where one took no time that could be told from none."""
    one, other = before.latency_s, after.latency_s
    if one.median <= 0 or other.median <= 0:
        return None
    ratio = other.median / one.median
    noise = max(_noise(before.kept), _noise(after.kept))
    apart = one.high < other.low or other.high < one.low
    is_beyond = apart and max(ratio, 1 / ratio) - 1 > noise
    return Change(before=before.kept.id, ratio=ratio, noise=noise, is_beyond_noise=is_beyond)


def _noise(kept: Kept) -> float:
    if kept.between_process is not None:
        return kept.between_process
    return RAW_NOISE if kept.anchor_reference_s is None else UNKNOWN_NOISE


def _material(kept: Kept) -> dict[str, Any]:
    runtime = (RUNTIME,) if kept.mode == "onnxruntime" else ()  # which is in the record of what ran beside it, too
    return {path: _at(kept.environment, path) for path in (*MATERIAL, OF_A_FLEET, *runtime)}


def _at(environment: Mapping[str, Any], path: str) -> Any:
    found: Any = environment
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _interval(times: Times) -> dict[str, Any]:
    return {"median": times.median, "ci95": [times.low, times.high]}


def _change(change: Change) -> dict[str, Any]:
    return {
        "before": change.before,
        "ratio": change.ratio,
        "noise": change.noise,
        "is_beyond_noise": change.is_beyond_noise,
    }
