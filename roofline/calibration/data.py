"""What a calibration knows of a machine: the times of kernels in context, those of whole networks, and the ceilings.

Times are at the machine's *reference state* (`roofline.measurement.anchor`) and, beside it, as the stopwatch said. Two
calibrations of one environment merge: reference states convert exactly, since they differ by the anchor's factor
between them.

Columns are read-only numpy arrays; names, counts and notes are plain data. `roofline.calibration.file` keeps all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from roofline.errors import CalibrationError
from roofline.measurement.anchor import factor_of
from roofline.measurement.environment import differences

Mode = Literal["eager", "channels_last", "compile"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
STOPPED: Final = "it was stopped by hand: --extend adds to it"  # a note, which an extension takes away
MOVES: Final = ("read", "copy", "triad")
LARGEST_FOOTPRINT: Final = 2**28  # bytes that the largest copy touches, where there is time for it
AT_REFERENCE: Final = ("loops_s",)  # of the terms of wholes, the times at the reference state
RATES: Final = ("gemm_macs_per_s", "read_bytes_per_s", "copy_bytes_per_s", "triad_bytes_per_s")
# Of a column, by its annotation: the type of its elements, and the kinds of types that become it without loss.
_TYPES: Final[Mapping[str, tuple[type[np.generic], str]]] = {
    "NDArray[np.str_]": (np.str_, "U"),
    "NDArray[np.int64]": (np.int64, "iu"),
    "NDArray[np.float64]": (np.float64, "fiu"),
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OpTimes:
    """Kernel calls, each once, as timed inside the networks that were replayed; n rows.

    Attributes:
        kernel: Kernel class, (n,), as `roofline.calibration.kernels.Kernels`.
        key: All that decides the time, (n,); unique.
        terms: Physics terms in base units, (n, terms); `Calibration.terms` names the columns.
        time_s: Median at the reference state, in seconds, (n,).
        raw_s: The same by the stopwatch, in seconds, (n,).
        samples: Times behind the medians, (n,).
        network: The synthetic network it ran in, (n,): the group in cross-validation.

    Raises:
        CalibrationError: Columns differ in length, a key is there twice, or a number is out of range.
    """

    kernel: NDArray[np.str_]
    key: NDArray[np.str_]
    terms: NDArray[np.float64]
    time_s: NDArray[np.float64]
    raw_s: NDArray[np.float64]
    samples: NDArray[np.int64]
    network: NDArray[np.str_]

    def __post_init__(self) -> None:
        _settle(self, "ops", unique="key", positive=("time_s", "raw_s", "samples"))

    def __len__(self) -> int:
        return len(self.key)

    def and_others(self, other: OpTimes) -> OpTimes:
        """These, and those of the other whose keys are not here."""
        return _joined(self, other, "key", lambda row, others: False)

    def pooled(self, other: OpTimes) -> OpTimes:
        """These and the others; a call in both has the geometric mean of its medians, weighted by their samples."""
        both = {
            each.name: np.concatenate([getattr(self, each.name), getattr(other, each.name)]) for each in fields(self)
        }
        _, first, call = np.unique(both["key"], return_index=True, return_inverse=True)
        order = np.argsort(first)  # as they came
        samples = np.bincount(call, weights=both["samples"])
        chosen = {name: column[first[order]] for name, column in both.items()}
        for name in ("time_s", "raw_s"):
            logs = np.bincount(call, weights=both["samples"] * np.log(both[name]))
            chosen[name] = np.exp(logs / samples)[order]
        return OpTimes(**{**chosen, "samples": samples[order].astype(np.int64)})

    def scaled(self, factor: float) -> OpTimes:
        """The same where everything runs `factor` times as fast; the stopwatch's times stay."""
        return replace(self, time_s=self.time_s / factor)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WholeTimes:
    """The synthetic networks as wholes: what their time has beyond that of their ops; m rows.

    Attributes:
        network: Name, (m,); unique.
        time_s: Median at the reference state, in seconds, (m,).
        raw_s: Median by the stopwatch, in seconds, (m,).
        noise: Standard error of `time_s`, as a share of it, (m,); 0 where nothing is known of it.
        ops_s: Sum of its ops in context at the reference state, in seconds, (m,).
        ops: Ops that are no view, (m,).
        module_calls: Calls of modules in a forward pass, (m,).
        views: Ops that are views, (m,).
        macs: Multiply-accumulates, (m,).
        activation_bytes: Bytes of tensors read and written, without weights, (m,).

    Raises:
        CalibrationError: Columns differ in length, a network is there twice, or a number is out of range.
    """

    network: NDArray[np.str_]
    time_s: NDArray[np.float64]
    raw_s: NDArray[np.float64]
    noise: NDArray[np.float64]
    ops_s: NDArray[np.float64]
    ops: NDArray[np.int64]
    module_calls: NDArray[np.int64]
    views: NDArray[np.int64]
    macs: NDArray[np.int64]
    activation_bytes: NDArray[np.int64]

    def __post_init__(self) -> None:
        _settle(self, "wholes", unique="network", positive=("time_s", "raw_s"))

    def __len__(self) -> int:
        return len(self.network)

    def scaled(self, factor: float) -> WholeTimes:
        """The same where everything runs `factor` times as fast; the stopwatch's times stay."""
        return replace(self, time_s=self.time_s / factor, ops_s=self.ops_s / factor)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WholeTerms:
    """What the time of a network as a whole depends on in a mode where that is more than its ops; m rows.

    Attributes:
        network: Name, (m,); unique, and one of `WholeTimes`.
        terms: Base units, (m, terms); `Calibration.whole_terms` names the columns.

    Raises:
        CalibrationError: Columns differ in length, a network is there twice, or a number is out of range.
    """

    network: NDArray[np.str_]
    terms: NDArray[np.float64]

    def __post_init__(self) -> None:
        _settle(self, "wholes", unique="network", positive=())

    def __len__(self) -> int:
        return len(self.network)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ceilings:
    """The best rates seen, by the stopwatch: a best is of a quiet moment, and needs no reference state.

    Attributes:
        gemm_macs_per_s: Of matrix products, in MACs/s.
        read_bytes_per_s: Of reading, in bytes/s; as the next two, at the largest footprint.
        copy_bytes_per_s: Of copying, read and written bytes together.
        triad_bytes_per_s: Of ``a = b + s * c``, read and written bytes together.
        footprints_bytes: Bytes that a copy touches, ascending, (f,).
        copy_by_footprint_bytes_per_s: Its rate there, (f,).
        read_by_footprint_bytes_per_s, triad_by_footprint_bytes_per_s: Of reading half of that, and of three tensors of
            half of that, (f,).
        caches_bytes: Effective capacities of the cache levels, from the knees between copies, ascending.
        gemm_by_macs_per_s: Of matrix products in other dtypes and with one thread, in MACs/s, by `gemm_key`.

    Raises:
        CalibrationError: A rate or a size is not positive and finite, or the arrays differ in length.
    """

    gemm_macs_per_s: float
    read_bytes_per_s: float
    copy_bytes_per_s: float
    triad_bytes_per_s: float
    footprints_bytes: NDArray[np.int64]
    copy_by_footprint_bytes_per_s: NDArray[np.float64]
    read_by_footprint_bytes_per_s: NDArray[np.float64]
    triad_by_footprint_bytes_per_s: NDArray[np.float64]
    caches_bytes: tuple[int, ...]
    gemm_by_macs_per_s: Mapping[str, float]

    def __post_init__(self) -> None:
        _settle(
            self, "ceilings", positive=("footprints_bytes", *(f"{each}_by_footprint_bytes_per_s" for each in MOVES))
        )
        object.__setattr__(self, "caches_bytes", tuple(int(size) for size in self.caches_bytes))
        for name in RATES:
            if not 0 < getattr(self, name) < math.inf:
                raise CalibrationError(f"ceilings: {name} must be positive and finite (got {getattr(self, name)})")
        for name, rate in self.gemm_by_macs_per_s.items():
            if not 0 < rate < math.inf:
                raise CalibrationError(f"ceilings: products of {name} must be positive and finite (got {rate})")
        if min(self.caches_bytes, default=1) <= 0:
            raise CalibrationError(f"ceilings: caches_bytes must be positive (got {self.caches_bytes})")

    @property
    def note(self) -> str | None:
        """What has to be said of them."""
        largest = int(self.footprints_bytes.max(initial=0))
        if largest >= LARGEST_FOOTPRINT:
            return None
        return (
            f"the bandwidth is that of {largest / 2**20:.3g} MiB, which caches may hold, as there was no time for "
            "more: calibrate with a larger --budget"
        )

    def best(self, other: Ceilings) -> Ceilings:
        """The faster products, and the memory of the two whose copies got further beyond the caches, or were faster."""
        memory = max((self, other), key=lambda each: (each.footprints_bytes.max(initial=0), each.copy_bytes_per_s))
        by = dict(self.gemm_by_macs_per_s)
        for name, rate in other.gemm_by_macs_per_s.items():
            by[name] = max(rate, by.get(name, 0.0))
        fastest = max(self.gemm_macs_per_s, other.gemm_macs_per_s)
        return replace(memory, gemm_macs_per_s=fastest, gemm_by_macs_per_s=by)


def gemm_key(dtype: str, threads: int) -> str:
    """What products of a dtype with so many threads are called.

    >>> gemm_key("bf16", 1), gemm_key("fp32", 2)
    ('bf16, 1 thread', 'fp32, 2 threads')
    """
    return f"{dtype}, {threads} thread{'s' if threads > 1 else ''}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """All that was measured of one machine in one environment.

    Attributes:
        ops: Times of kernels.
        wholes: Times of networks.
        ceilings: Rates.
        environment: Where it was made, as `roofline.measurement.environment.environment` records it.
        anchor: What the reference state is: ``names``, ``weights`` and ``reference_s`` of the anchor's parts, and the
            ``factor`` met. Empty without an anchor: then times at the reference state are those of the stopwatch.
        mode: How networks ran: ``eager``, ``channels_last`` or ``compile``.
        dtype: Of weights and inputs, such as ``fp32``.
        threads: Within an op.
        left_out: Samples dropped because something else kept the machine busy.
        total_samples: Samples taken, those included.
        made_at: When, in UTC, as ISO 8601: ``2025-03-01T12:00:00+00:00``.
        notes: What a user has to know of the sessions that made it, as sentences.
        terms: Names of the columns of `OpTimes.terms`.
        composed: What the times of the wholes depend on, in modes where that is more than their ops: compiled, and on
            CUDA; None elsewhere.
        whole_terms: Names of the columns of `WholeTerms.terms`.

    Raises:
        CalibrationError: The terms are not named one by one, or a field is out of range.
    """

    ops: OpTimes
    wholes: WholeTimes
    ceilings: Ceilings
    environment: Mapping[str, Any]
    anchor: Mapping[str, Any]
    mode: str
    dtype: str
    threads: int
    left_out: int
    total_samples: int
    made_at: str
    notes: tuple[str, ...]
    terms: tuple[str, ...]
    composed: WholeTerms | None = None
    whole_terms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.composed is not None:
            if self.composed.network.tolist() != self.wholes.network.tolist():
                raise CalibrationError("calibration: the networks and their terms are not of the same names")
            if self.composed.terms.shape[1] != len(self.whole_terms):
                raise CalibrationError(f"calibration: terms of wholes need as many names (got {self.whole_terms})")
        width = self.ops.terms.shape[1]
        if len(set(self.terms)) != len(self.terms) or len(self.terms) != width:
            raise CalibrationError(f"calibration: {width} columns of terms need as many names (got {self.terms})")
        if self.mode not in MODES:
            raise CalibrationError(f"calibration: mode must be one of {', '.join(MODES)} (got {self.mode!r})")
        if self.threads < 1:
            raise CalibrationError(f"calibration: threads must be 1 or more (got {self.threads})")
        if not 0 <= self.left_out <= self.total_samples:
            counts = f"{self.left_out} of {self.total_samples}"
            raise CalibrationError(f"calibration: left_out must be a part of total_samples (got {counts})")
        if not _is_utc(self.made_at):
            example = "2025-03-01T12:00:00+00:00"
            raise CalibrationError(f"calibration: made_at must be a time in UTC, as {example} (got {self.made_at!r})")
        names, reference_s = _listed(self.anchor, "names"), _listed(self.anchor, "reference_s")
        if len(names) != len(reference_s) or not all(0 < time < math.inf for time in reference_s):
            told = f"a positive time of each of its parts, {', '.join(names) or 'none'} (got {reference_s})"
            raise CalibrationError(f"calibration: the anchor's reference_s must be {told}")

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What a user of it has to know: its notes, and that of its ceilings."""
        return (*self.notes, *([self.ceilings.note] if self.ceilings.note else []))

    @property
    def left_out_share(self) -> float:
        """Share of the samples that were dropped, 0 to 1."""
        return self.left_out / self.total_samples if self.total_samples else 0.0

    def merged(self, other: Calibration) -> Calibration:
        """This calibration, extended by another one of the same environment.

        It has the kernels and networks of both, at the reference state of this one. Of a kernel in both, the samples
        count together; of a network, what was measured later. Ceilings are the best of both.

        Raises:
            CalibrationError: The other has another environment, mode, dtype or number of threads, other terms, or an
                anchor with other parts.
        """
        if obstacles := self._obstacles(other):
            raise CalibrationError(f"these calibrations do not go together: {'; '.join(obstacles)}")
        factor = _factor(other.anchor, self.anchor)
        ops, wholes = other.ops.scaled(factor), other.wholes.scaled(factor)
        composed = other.composed
        if composed is not None:
            per = np.array([factor if name in AT_REFERENCE else 1.0 for name in other.whole_terms])
            composed = replace(composed, terms=composed.terms / per)
        later = datetime.fromisoformat(other.made_at) > datetime.fromisoformat(self.made_at)

        return replace(
            self,
            ops=self.ops.pooled(ops),
            wholes=_joined(self.wholes, wholes, "network", lambda row, others: later),
            composed=self.composed
            and composed
            and _joined(self.composed, composed, "network", lambda row, others: later),
            ceilings=self.ceilings.best(other.ceilings),
            left_out=self.left_out + other.left_out,
            total_samples=self.total_samples + other.total_samples,
            made_at=other.made_at if later else self.made_at,
            anchor=self.anchor if not later else _as_met(self.anchor, other.anchor, factor),
            notes=tuple(dict.fromkeys(note for note in (*self.notes, *other.notes) if note != STOPPED))
            + ((STOPPED,) if STOPPED in (other if later else self).notes else ()),
        )

    def _obstacles(self, other: Calibration) -> list[str]:
        """Why another calibration cannot extend this one."""
        found = [
            f"{name} is {getattr(self, name)} in one and {getattr(other, name)} in the other"
            for name in ("mode", "dtype", "threads")
            if getattr(self, name) != getattr(other, name)
        ]
        found += [
            f"{path} is {_shown(self.environment, path)} in one and {_shown(other.environment, path)} in the other"
            for path in differences(self.environment, other.environment)
        ]
        if self.terms != other.terms or self.whole_terms != other.whole_terms:
            found.append("they count different terms of the kernels, as made by different versions of roofline")
        if any(_listed(self.anchor, part) != _listed(other.anchor, part) for part in ("names", "weights")):
            found.append("their anchors have different parts, so their reference states cannot be compared")
        return found


def mismatch(calibration: Calibration, environment: Mapping[str, Any]) -> list[str]:
    """What of an environment makes times there other than those of a calibration, a clause each; empty if nothing does.

    Args:
        calibration: Made in its own environment.
        environment: Of now, as `roofline.measurement.environment.environment` records it.
    """
    return [
        f"{path} is {_shown(environment, path)}, and {_shown(calibration.environment, path)} when it was calibrated"
        for path in differences(calibration.environment, environment)
    ]


_Table = TypeVar("_Table", OpTimes, WholeTimes, WholeTerms)


def _joined(one: _Table, other: _Table, key: str, takes_other: Callable[[int, int], bool]) -> _Table:
    """The rows of two tables; of those with the same key, the other's where `takes_other(row, row of the other)`."""
    chosen = {name: row for row, name in enumerate(getattr(one, key).tolist())}
    for row, name in enumerate(getattr(other, key).tolist()):
        if name not in chosen or takes_other(chosen[name], row):
            chosen[name] = len(one) + row
    rows = np.fromiter(chosen.values(), dtype=np.int64)
    names = [field.name for field in fields(one)]
    return type(one)(**{name: np.concatenate([getattr(one, name), getattr(other, name)])[rows] for name in names})


def _settle(
    record: OpTimes | WholeTimes | WholeTerms | Ceilings,
    called: str,
    *,
    positive: tuple[str, ...],
    unique: str | None = None,
) -> None:
    """Make the columns of a record read-only arrays of their types, equally long, and refuse what no stopwatch says."""
    columns = {field.name: _TYPES[str(field.type)] for field in fields(record) if field.type in _TYPES}
    for name, (scalar, kinds) in columns.items():
        given = np.asarray(getattr(record, name))
        if given.size and given.dtype.kind not in kinds:
            raise CalibrationError(f"{called}: {name} must be of {scalar.__name__.rstrip('_')} (got {given.dtype})")
        column = given.astype(scalar)  # a copy, that nobody else changes
        column.setflags(write=False)
        object.__setattr__(record, name, column)
        if column.ndim != (2 if name == "terms" else 1):
            raise CalibrationError(f"{called}: {name} has the wrong shape: {column.shape}")
        if scalar is np.str_:
            continue
        good = np.isfinite(column) & ((column > 0) if name in positive else (column >= 0))
        if not good.all():
            wanted = "positive and finite" if name in positive else "finite, 0 or more"
            raise CalibrationError(f"{called}: {name} must be {wanted} (got {column[~good].flat[0]})")
    lengths = {name: len(getattr(record, name)) for name in columns}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise CalibrationError(f"{called}: columns must be equally long (got {told})")
    if unique is not None:
        names, counts = np.unique(getattr(record, unique), return_counts=True)
        if (counts > 1).any():
            raise CalibrationError(f"{called}: {unique} {str(names[counts > 1][0])!r} is there more than once")


def _factor(anchor: Mapping[str, Any], reference: Mapping[str, Any]) -> float:
    """How many times as long as at a reference state everything takes at that of `anchor`."""
    if not reference.get("names"):
        return 1.0
    return factor_of(anchor["reference_s"], reference["reference_s"], reference.get("weights"))


def _as_met(anchor: Mapping[str, Any], later: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """An anchor with the state of the machine as it was met later, at another reference."""
    met = {name: value if name == "n" else value * factor for name, value in later.get("factor", {}).items()}
    return {**anchor, "factor": met or anchor.get("factor", {})} if anchor else {}


def _listed(anchor: Mapping[str, Any], part: str) -> list[Any]:
    return list(anchor.get(part, ()))  # a tuple where it was measured, a list where it was read


def _shown(environment: Mapping[str, Any], path: str) -> str:
    found: Any = environment
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    if path == "cpu.caches" and isinstance(found, list) and all(isinstance(cache, Mapping) for cache in found):
        return ", ".join(f"L{cache.get('level')} {cache.get('kind')} {cache.get('bytes')} B" for cache in found)
    return "unknown" if found is None else str(found)


def _is_utc(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        return False
