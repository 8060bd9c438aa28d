"""Whether a network keeps within its budgets, and which layers broke one.

A budget is the most that a total of an analysis may be: a limit that is given, or what a saved analysis, the baseline,
has of it and a tolerance on top,

    value <= limit        limit = min(given, baseline * (1 + tolerance))

Limits are exact fractions, so that a whole number of bytes or MACs is never on the wrong side of one by rounding. A
latency is a sum of floats, whose last bits may differ from machine to machine; it may be above its limit by 1e-9 of it.

A network that broke a budget of the baseline is compared with it layer by layer, and so are the layers that changed
told of; else those that take the most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

from roofline.comparison import OUTSIDE, ROUNDING, Difference, Plain, compare
from roofline.errors import RooflineError, SavedError
from roofline.units import QuantityKind, parse_quantity

if TYPE_CHECKING:
    from torch import nn

    from roofline.analysis import Analysis
    from roofline.hardware import Hardware

SCHEMA = "roofline/check/1"
CONFIG = "config.json"
_INSTEAD = "nothing to compare with ('--update-baseline' writes a new one)"

Name = Literal["latency", "macs", "weights", "activations"]
Limit = str | int | float | Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What a budget can be of.

    Attributes:
        key: Its name among the totals, and the columns of the layers, of an analysis.
        kind: How people write it.
        unit: In which it is counted.
    """

    key: str
    kind: QuantityKind
    unit: str


QUANTITIES: Mapping[Name, Quantity] = {
    "latency": Quantity(key="latency_s", kind="duration", unit="s"),
    "macs": Quantity(key="macs", kind="count", unit="MACs"),
    "weights": Quantity(key="weight_bytes", kind="bytes", unit="B"),
    "activations": Quantity(key="activation_bytes", kind="bytes", unit="B"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one layer has of a total, or adds to it.

    Attributes:
        name: Of the layer, or `roofline.comparison.OUTSIDE`.
        kind: Of the layer.
        status: ``added``, ``removed`` or ``changed`` against the baseline; ``held`` where there is none.
        baseline: What it was in the baseline; None where that lacks it, or there is none.
        value: What it is; None of a removed one.
    """

    name: str
    kind: str
    status: Literal["added", "removed", "changed", "held"]
    baseline: float | None
    value: float | None

    @property
    def delta(self) -> float:
        """What it adds: to the baseline, where there is one."""
        return (self.value or 0) - (self.baseline or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One total beside the most that it may be.

    Attributes:
        name: Of what; a key of `QUANTITIES`.
        value: The total, in SI base units.
        most: The limit that was given; None if none was.
        baseline: What the baseline has; None if there is none.
        tolerance: By which share it may exceed the baseline.
        parts: Of a broken budget, the layers that did it: the most first.
    """

    name: Name
    value: float
    most: Fraction | None
    baseline: float | None
    tolerance: Fraction
    parts: tuple[Part, ...] = ()

    @property
    def quantity(self) -> Quantity:
        """What it is of."""
        return QUANTITIES[self.name]

    @property
    def allowed(self) -> Fraction | None:
        """The most by the baseline."""
        return None if self.baseline is None else Fraction(self.baseline) * (1 + self.tolerance)

    @property
    def limit(self) -> Fraction:
        """The most that the total may be, of both."""
        return min(limit for limit in (self.most, self.allowed) if limit is not None)

    @property
    def is_met(self) -> bool:
        """Whether the total is within."""
        return self._is_within(self.limit)

    @property
    def is_grown(self) -> bool:
        """Whether the total is more than the baseline allows."""
        return self.allowed is not None and not self._is_within(self.allowed)

    @property
    def change(self) -> float | None:
        """The total against the baseline's, as a share of it; None without a baseline, or of 0."""
        return self.value / self.baseline - 1 if self.baseline else None

    def to_dict(self) -> dict[str, Any]:
        """The budget as plain data."""
        return {
            "name": self.name,
            "unit": self.quantity.unit,
            "value": self.value,
            "limit": _number(self.limit),
            "given": None if self.most is None else _number(self.most),
            "baseline": self.baseline,
            "change": self.change,
            "is_met": self.is_met,
            "layers": [{**asdict(part), "delta": part.delta} for part in self.parts],
        }

    def _is_within(self, limit: Fraction) -> bool:
        slack = Fraction(ROUNDING) if self.name == "latency" else 0
        return Fraction(self.value) <= limit * (1 + slack)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Check:
    """An analysis and its budgets.

    Attributes:
        analysis: What is checked.
        budgets: In the order of `QUANTITIES`.
        difference: The analysis against the baseline; None without one.
    """

    analysis: Analysis
    budgets: tuple[Budget, ...]
    difference: Difference | None = None

    @property
    def is_met(self) -> bool:
        """Whether all budgets are."""
        return all(budget.is_met for budget in self.budgets)

    @property
    def broken(self) -> tuple[Budget, ...]:
        """The budgets that are not met."""
        return tuple(budget for budget in self.budgets if not budget.is_met)

    def verdict(self) -> str:
        """The answer in one sentence."""
        from roofline.check_words import verdict

        return verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """The check as plain data, schema "roofline/check/1" (docs/checking.md)."""
        from roofline.analysis import versions
        from roofline.check_words import notes

        data, tolerance = self.analysis.to_dict(), self.budgets[0].tolerance if self.budgets else Fraction(0)
        old = None if self.difference is None else self.difference.baseline.data
        return {
            "schema": SCHEMA,
            "verdict": self.verdict(),
            "is_met": self.is_met,
            "model": data["model"],
            "hardware": {key: data["hardware"][key] for key in ("id", "name", "dtype")},
            "fusion": data["fusion"],
            "batch": data["batch"],
            "latency_kind": data["latency_kind"],
            "budgets": [budget.to_dict() for budget in self.budgets],
            "baseline": None if old is None else {key: old[key] for key in ("model", "totals", "versions")},
            "tolerance": None if old is None else _number(tolerance),
            "notes": notes(self),
            "versions": versions(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        return f"<Check of {self.analysis.name}: {self.verdict()}>"


def check(
    model: str | nn.Module,
    inputs: Any = None,
    *,
    hw: str | Path | Hardware,
    latency: Limit | None = None,
    macs: Limit | None = None,
    weights: Limit | None = None,
    activations: Limit | None = None,
    baseline: str | Path | Plain | None = None,
    tolerance: Limit | None = None,
    **options: Any,
) -> Check:
    """Check a model against budgets.

    Args:
        model, inputs, hw: As `roofline.analyze` takes them.
        latency: The most it may take, as ``"5ms"`` or in seconds.
        macs: The most multiply-accumulates it may do, as ``"1G"`` or a number.
        weights: The most bytes of weights its layers may read, as ``"10MB"`` or a number.
        activations: The most bytes of activations its layers may read and write, likewise.
        baseline: A saved analysis, or one as plain data, than which no total may be more.
        tolerance: But for this share, as ``"2%"`` or ``0.02``; none when not given.
        options: As `roofline.analyze` takes them: `batch`, `input_size`, `dtype`, `fusion`, `arguments`, `estimator`.

    Raises:
        RooflineError: There is no budget, a limit that is no quantity, a baseline that cannot be read or is of
            something else, or whatever is wrong with the model or the profile; in one line.

    >>> check("mobilenetv4_conv_s", hw="pixel6_tpu", macs="200M", latency="0.1ms").verdict()
    'Over budget: predicted latency 0.192 ms, at most 0.1 ms.'
    """
    from roofline.analysis import analyze

    limits = parse_limits(latency=latency, macs=macs, weights=weights, activations=activations)
    if baseline is None and not limits:
        raise RooflineError(f"there is nothing to check: give a baseline, or the most of {', '.join(QUANTITIES)}")
    if baseline is None and tolerance is not None:
        raise RooflineError("a tolerance is of a baseline, and none is given")
    share = Fraction(0) if tolerance is None else _parse("tolerance", tolerance, "share")
    data = baseline if baseline is None or isinstance(baseline, Mapping) else load_baseline(baseline)
    label = str(baseline) if isinstance(baseline, str | Path) else "the baseline"
    return against(analyze(model, inputs, hw=hw, **options), limits, data, tolerance=share, label=label)


def parse_limits(**limits: Limit | None) -> dict[Name, Fraction]:
    """Those limits that are given, in SI base units.

    Raises:
        RooflineError: One is no such quantity.
    """
    return {
        name: _parse(name, limit, quantity.kind)
        for name, quantity in QUANTITIES.items()
        if (limit := limits.get(name)) is not None
    }


def against(
    analysis: Analysis,
    limits: Mapping[Name, Fraction],
    baseline: Plain | None = None,
    *,
    tolerance: Fraction = Fraction(0),
    label: str = "the baseline",
) -> Check:
    """Hold an analysis against budgets.

    Args:
        analysis: Of what.
        limits: The most of each total that is checked, in SI base units.
        baseline: An analysis as plain data, schema "roofline/analysis/1".
        tolerance: The share by which totals may exceed those of the baseline.
        label: What the baseline is called in an error.

    Raises:
        SavedError: The baseline is of another model, another device, or made in another way.
    """
    totals = analysis.totals()
    difference = None
    if baseline is not None:
        (difference,) = compare([baseline, analysis]).differences
        _check_comparable(difference, label)
    budgets = []
    for name, quantity in QUANTITIES.items():
        if name not in limits and baseline is None:
            continue
        budget = Budget(
            name=name,
            value=totals[quantity.key],
            most=limits.get(name),
            baseline=None if baseline is None else baseline["totals"][quantity.key],
            tolerance=tolerance,
        )
        budgets.append(budget if budget.is_met else _with_parts(budget, analysis, difference))
    return Check(analysis=analysis, budgets=tuple(budgets), difference=difference)


# --- baselines ------------------------------------------------------------------------------------------------------


def load_baseline(path: str | Path) -> dict[str, Any]:
    """Read a baseline.

    Raises:
        SavedError: There is none, or it is no saved analysis.
    """
    from roofline.saved import load_analysis

    if not Path(path).exists():
        raise SavedError(f"there is no baseline {path}: 'roofline check ... --update-baseline' writes one")
    return load_analysis(path)


def write_baseline(analysis: Analysis, path: Path) -> None:
    """Make an analysis the baseline: all of it or nothing is written.

    Raises:
        SavedError: There is a file of this name that is no saved analysis, and so may be precious.
        OutputError: It cannot be written.
    """
    from roofline.output import write_text

    check_replaceable(path)
    write_text(path, analysis.to_json() + "\n")


def check_replaceable(path: Path) -> None:
    """Find out before the work whether a baseline can be written there, as `write_baseline` would find out."""
    from roofline.output import check_writable
    from roofline.saved import load_analysis

    check_writable(path)
    if path.is_file() and path.stat().st_size:
        try:
            load_analysis(path)
        except SavedError as error:
            raise SavedError(f"{error}; as it is no baseline, it is left as it is: remove it first") from error


def _check_comparable(difference: Difference, label: str) -> None:
    old, new = difference.baseline.data, difference.other.data
    if _called(old["model"]) != _called(new["model"]):
        names = [str(data["model"]["name"])[:80] for data in (old, new)]
        raise SavedError(f"{label} has the model {names[0]}, and this is {names[1]}: {_INSTEAD}")
    aspects = {
        "profile": [data["hardware"]["id"] for data in (old, new)],
        "dtype": [data["hardware"]["dtype"] for data in (old, new)],
        "fusion": [data["fusion"] for data in (old, new)],
        "batch": [data["batch"] for data in (old, new)],
        "latency": [data["latency_kind"] for data in (old, new)],
    }
    for what, (before, now) in aspects.items():
        if before != now:
            raise SavedError(f"{label} has the {what} {str(before)[:80]}, and this is {str(now)[:80]}: {_INSTEAD}")


def _called(model: Plain) -> str:
    """What a model is called, wherever the file lies that it is from: a project is checked out in many places.

    >>> _called({"reference": "nets/net.py:make", "name": "nets/net.py:make(width=64)"})
    'net.py:make(width=64)'
    >>> _called({"reference": "hf:configs/gpt2/config.json", "name": "hf:configs/gpt2/config.json"})
    'gpt2'
    """
    reference, name = str(model.get("reference", "")), str(model["name"])
    path = PurePath(reference)
    if len(path.parts) < 2 or not name.startswith(reference):
        return name
    own = path.parent if path.name == CONFIG else path  # of transformers: all configs are called so
    return own.name + name.removeprefix(reference)


# --- who did it -----------------------------------------------------------------------------------------------------


def _with_parts(budget: Budget, analysis: Analysis, difference: Difference | None) -> Budget:
    """The budget with the layers that broke it."""
    key = budget.quantity.key
    if difference is not None and budget.is_grown:
        parts = _changes(difference, key)
    else:
        layers, totals = analysis.rows(), analysis.totals()
        parts = [
            Part(name=layer["name"], kind=layer["kind"], status="held", baseline=None, value=layer[key])
            for layer in layers
        ]
        outside = _outside({"layers": layers, "totals": totals}, key)
        parts.append(Part(name=OUTSIDE, kind="", status="held", baseline=None, value=outside))
    parts = sorted((part for part in parts if part.delta), key=lambda part: -part.delta)
    return replace(budget, parts=tuple(parts))


def _changes(difference: Difference, key: str) -> list[Part]:
    """What became of each layer; together exactly, or for times nearly, the difference of the totals."""
    before, after = difference.baseline, difference.other
    parts = []
    for layer in difference.layers:
        old = None if layer.baseline is None else before.layers[layer.baseline][key]
        new = None if layer.other is None else after.layers[layer.other][key]
        status = "changed" if layer.status == "same" else layer.status
        part = Part(name=layer.name, kind=layer.kind, status=status, baseline=old, value=new)
        if key != "latency_s" or abs(part.delta) > ROUNDING * max(old or 0, new or 0):
            parts.append(part)
    outside = [_outside(side.data, key) for side in (before, after)]
    if any(outside):
        parts.append(Part(name=OUTSIDE, kind="", status="changed", baseline=outside[0], value=outside[1]))
    return parts


def _outside(data: Plain, key: str) -> float:
    """What a total holds beside its layers: the overhead of an inference."""
    total = data["totals"][key]
    rest = total - math.fsum(layer[key] for layer in data["layers"])
    return float(rest) if abs(rest) > ROUNDING * total else 0.0


# --- numbers --------------------------------------------------------------------------------------------------------


def _parse(name: str, value: Limit, kind: QuantityKind) -> Fraction:
    """A limit as text or as a number in SI base units.

    Raises:
        RooflineError: It is neither, negative or not finite.
    """
    if isinstance(value, str):
        try:
            return parse_quantity(value, kind)
        except RooflineError as error:
            raise RooflineError(f"{name}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        raise RooflineError(f"{name}: a limit is text or a number (got a {type(value).__name__})")
    if not math.isfinite(value) or value < 0:
        raise RooflineError(f"{name}: a limit must be 0 or more and finite (got {value})")
    return Fraction(value)


def _number(value: Fraction) -> float:
    """As JSON has it: a whole number where it is one."""
    return value.numerator if value.denominator == 1 else float(value)
