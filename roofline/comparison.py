"""Analyses side by side: which is the faster, by how much, and in which layers the difference is.

Works on plain data, schema "roofline/analysis/1", so that saved results and new ones are alike. The times of all layers
are rounded to one grid, a power of two near 2^-51 of the largest sum, on which sums and differences of floats are
exact. So the differences by layer, by kind and by stage each add up to that of the whole, to the last bit.

Every analysis is compared with one other, its baseline: the first that is on the same device, else the first of all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from roofline.analysis import GROUPS, Analysis, analyze, stage_of, versions
from roofline.errors import ModelError, ProfileError
from roofline.hardware import terms_in_force
from roofline.layers import check_choice
from roofline.matching import Pair, match
from roofline.units import shape

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from roofline.hardware import Hardware

SCHEMA = "roofline/comparison/1"
OUTSIDE = "outside the layers"
ROUNDING = 1e-9  # relative; a total that is further from the sum of its layers holds time that is in no layer

Plain = Mapping[str, Any]
Status = Literal["same", "changed", "added", "removed"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Side:
    """One of the analyses that are compared.

    Attributes:
        label: What it is called here; no two are called the same.
        model: The part of that which names the model.
        device: The part which names the device, with the dtype or fusion where these tell two of one device apart.
        data: The analysis, schema "roofline/analysis/1".
        layer_latency_s: Of its layers, seconds, on the grid of the comparison.
        outside_s: What its latency holds beside these.
    """

    label: str
    model: str
    device: str
    data: Plain
    layer_latency_s: tuple[float, ...]
    outside_s: float

    @property
    def latency_s(self) -> float:
        """Of the whole, on the grid of the comparison."""
        return sum(self.layer_latency_s, 0.0) + self.outside_s

    @property
    def latency_kind(self) -> str:
        """``"bound"`` or ``"prediction"``."""
        return str(self.data["latency_kind"])

    @property
    def estimator(self) -> str:
        """Whose times they are; ``"roofline"`` but for a calibrated profile."""
        return estimator_of(self.data)

    @property
    def interval90_s(self) -> tuple[float, float] | None:
        """Where the latency is with 90 %, from and to in seconds; None of an estimator that does not say."""
        found = _chosen(self.data).get("interval90_s")
        return None if found is None else (float(found[0]), float(found[1]))

    @property
    def layers(self) -> Sequence[Plain]:
        """Of the analysis."""
        rows: Sequence[Plain] = self.data["layers"]
        return rows

    def totals(self) -> dict[str, Any]:
        """What a table of the sides shows, in SI base units."""
        totals = self.data["totals"]
        return {
            "label": self.label,
            "model": self.model,
            "device": self.device,
            "latency_kind": self.latency_kind,
            "latency_s": totals["latency_s"],
            "estimator": self.estimator,
            "interval90_s": self.interval90_s and list(self.interval90_s),
            "macs": totals["macs"],
            "mem_bytes": totals["weight_bytes"] + totals["activation_bytes"],
            "params": self.data["model"]["params"],
            "compute_bound_share": totals["compute_bound_share"],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """What became of one layer.

    Attributes:
        status: ``same`` where nothing but its name may differ, ``changed``, ``added`` where only the other has it, or
            ``removed`` where only the baseline has it.
        name: In the other analysis; of a removed layer, in the baseline.
        kind: Likewise.
        baseline, other: Its positions in the layers of the two; None where it is not.
        delta_s: Its latency in the other less that in the baseline, seconds.
        share: `delta_s` as a share of the baseline's whole latency; None where that is 0.
    """

    status: Status
    name: str
    kind: str
    baseline: int | None
    other: int | None
    delta_s: float
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What the layers of one kind or stage add to the difference.

    Attributes:
        name: Of the kind or stage, or `OUTSIDE`.
        baseline_layers, layers: How many there are in the baseline, and in the other.
        baseline_s, latency_s: Their time in the two, seconds.
        delta_s: The latter less the former.
        share: `delta_s` as a share of the baseline's whole latency; None where that is 0.
    """

    name: str
    baseline_layers: int
    layers: int
    baseline_s: float
    latency_s: float
    delta_s: float
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """Something that differs beside what one would compare, so that the reader has to know.

    Attributes:
        what: A key of `traits`; ``latency_kind`` is a bound beside a prediction, ``estimator`` two of a calibration or
            one beside the roofline, ``figures`` a device of one name with two peaks or bandwidths, and ``terms`` one
            that adds two things to eq. 1.
        baseline, other: The two values.
    """

    what: str
    baseline: Any
    other: Any


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Difference:
    """One analysis against its baseline.

    Attributes:
        baseline, other: The two.
        layers: What became of each layer, in the order of the other's; a removed one stands behind the one that it
            followed.
        unlike: What the two differ in beside model and device.
    """

    baseline: Side
    other: Side
    layers: tuple[LayerChange, ...]
    unlike: tuple[Unlike, ...]

    @property
    def delta_s(self) -> float:
        """Latency of the other less that of the baseline, seconds; exactly the sum of its parts."""
        return self.other.latency_s - self.baseline.latency_s

    @property
    def is_like(self) -> bool:
        """Whether both latencies are bounds, or both predictions."""
        return self.baseline.latency_kind == self.other.latency_kind

    @property
    def is_told_apart(self) -> bool | None:
        """Whether it is larger than the two may be off, by their 90 % intervals; None where either has none."""
        return told_apart(self.baseline, self.other)

    def ratios(self) -> dict[str, float | None]:
        """Figures of the other over those of the baseline; None over 0."""
        before, after = self.baseline.totals(), self.other.totals()
        keys = ("latency_s", "macs", "mem_bytes", "params")
        return {key: after[key] / before[key] if before[key] else None for key in keys}

    def changes(self) -> list[LayerChange]:
        """The layers that are not the same, those that make most of a difference first."""
        return sorted((layer for layer in self.layers if layer.status != "same"), key=lambda layer: -abs(layer.delta_s))

    def by(self, group: str) -> list[Contribution]:
        """What each ``"kind"`` or ``"stage"`` of layers adds to the difference, the most first.

        Raises:
            RooflineError: An unknown `group`.
        """
        check_choice("group", group, GROUPS)
        before, after = (_grouped(side, group) for side in (self.baseline, self.other))
        total_s = self.baseline.latency_s
        parts = []
        for name in dict.fromkeys([*before, *after]):
            old, new = before.get(name, []), after.get(name, [])
            delta_s = sum(new, 0.0) - sum(old, 0.0)
            outside = name == OUTSIDE
            parts.append(
                Contribution(
                    name=name,
                    baseline_layers=0 if outside else len(old),
                    layers=0 if outside else len(new),
                    baseline_s=sum(old, 0.0),
                    latency_s=sum(new, 0.0),
                    delta_s=delta_s,
                    share=_share(delta_s, total_s),
                )
            )
        return sorted(parts, key=lambda part: -abs(part.delta_s))

    def rows(self) -> list[dict[str, Any]]:
        """One record a layer, in the order of `layers`: the columns of the CSV and the frame."""
        return [_row(self, layer) for layer in self.layers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Models by devices.

    Attributes:
        models: Labels of the rows.
        devices: Labels of the columns.
        sides: Positions of the analyses, a row a model and a column a device; None where there is none.
        latency_s: Their latencies, seconds.
        ranks: Of each model among those on the same device, 1 the fastest; equals share a rank. None where bounds and
            predictions share a column.
    """

    models: tuple[str, ...]
    devices: tuple[str, ...]
    sides: tuple[tuple[int | None, ...], ...]
    latency_s: tuple[tuple[float | None, ...], ...]
    ranks: tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Comparison:
    """Two analyses or more, and what tells them apart.

    Attributes:
        sides: The analyses, in the order they were given.
        differences: Each but the first against its baseline.
    """

    sides: tuple[Side, ...]
    differences: tuple[Difference, ...]

    def matrix(self) -> Matrix:
        """The latencies, models by devices."""
        models, devices = (tuple(dict.fromkeys(getattr(s, of) for s in self.sides)) for of in ("model", "device"))
        place = {(side.model, side.device): number for number, side in enumerate(self.sides)}
        sides = tuple(tuple(place.get((model, device)) for device in devices) for model in models)
        held = [[None if number is None else self.sides[number] for number in row] for row in sides]
        ranks = [_ranks(column) for column in zip(*held, strict=True)]
        return Matrix(
            models=models,
            devices=devices,
            sides=sides,
            latency_s=tuple(
                tuple(None if side is None else float(side.data["totals"]["latency_s"]) for side in row) for row in held
            ),
            ranks=tuple(zip(*ranks, strict=True)),
        )

    def by(self, group: str) -> dict[str, tuple[float, ...]]:
        """The time of each ``"kind"`` or ``"stage"`` of layers in each of `sides`, seconds; the slowest first.

        Raises:
            RooflineError: An unknown `group`.
        """
        check_choice("group", group, GROUPS)
        times = [_grouped(side, group) for side in self.sides]
        names = dict.fromkeys(name for groups in times for name in groups)
        found = {name: tuple(sum(groups.get(name, ()), 0.0) for groups in times) for name in names}
        return dict(sorted(found.items(), key=lambda item: -max(item[1])))

    def verdict(self) -> str:
        """The answer in one sentence or two."""
        from roofline.comparison_words import verdict

        return verdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """One record for each layer of each difference: the columns of the CSV and the frame."""
        return [row for difference in self.differences for row in difference.rows()]

    def to_frame(self) -> pd.DataFrame:
        """The layers of all differences as a pandas DataFrame, one row for each that was matched, added or removed."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=list(COLUMNS))

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data, schema "roofline/comparison/1" (docs/json.md)."""
        return {
            "schema": SCHEMA,
            "totals": [side.totals() for side in self.sides],
            "matrix": _plain(asdict(self.matrix())),
            "differences": [
                {
                    "baseline": self.sides.index(difference.baseline),
                    "other": self.sides.index(difference.other),
                    "delta_s": difference.delta_s,
                    "is_told_apart": difference.is_told_apart,
                    "ratios": difference.ratios(),
                    "unlike": [_plain(asdict(unlike)) for unlike in difference.unlike],
                    **{f"by_{group}": [asdict(part) for part in difference.by(group)] for group in GROUPS},
                    "layers": [asdict(layer) for layer in difference.layers],
                }
                for difference in self.differences
            ],
            "analyses": [dict(side.data) for side in self.sides],
            "versions": versions(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(side.label for side in self.sides)}: {self.verdict()}>"


COLUMNS = (
    "baseline", "other", "status", "name", "baseline_name", "kind", "baseline_kind", "baseline_latency_s", "latency_s",
    "delta_s", "share", "baseline_macs", "macs", "baseline_mem_bytes", "mem_bytes", "baseline_bound", "bound",
)  # fmt: skip


# --- the ways in ----------------------------------------------------------------------------------------------------


def compare(analyses: Sequence[Analysis | Plain], *, names: Sequence[str | None] | None = None) -> Comparison:
    """Compare analyses.

    Args:
        analyses: Two or more, as `roofline.analyze` returns them or as plain data (`roofline.saved.load_analysis`).
        names: A name for each, such as its file's, that tells it from others of the same model on the same device.

    Raises:
        ModelError: Fewer than two, or not as many names.

    >>> a, b = (analyze(name, hw="pixel6_tpu") for name in ("mobilenetv4_conv_medium", "mobilenetv4_conv_small"))
    >>> result = compare([a, b])
    >>> round(result.differences[0].ratios()["latency_s"], 3), len(result.differences[0].changes())
    (0.307, 83)
    """
    data = [item.to_dict() if isinstance(item, Analysis) else item for item in analyses]
    if len(data) < 2:
        raise ModelError("a comparison needs at least two: models, devices or saved analyses")
    if names is not None and len(names) != len(data):
        raise ModelError(f"{len(data)} analyses cannot have {len(names)} names")
    sides = _sides(data, _names(data, names or [None] * len(data)))
    pairs = [(sides[_baseline(number, sides)], side) for number, side in enumerate(sides) if number]
    return Comparison(
        sides=sides,
        differences=tuple(_difference(old, new, match(old.data, new.data)) for old, new in pairs),
    )


def compare_models(
    models: Sequence[str | Path | nn.Module | Analysis | Plain],
    *,
    hw: str | Path | Hardware | Sequence[str | Path | Hardware] = (),
    **options: Any,
) -> Comparison:
    """Compare models on one device or several: every model on every device.

    Args:
        models: As `roofline.analyze` takes them; or an analysis, or the path of a saved one (``.json``), which stands
            for itself and is not run on any device.
        hw: Devices, as `roofline.analyze` takes them.
        options: As `roofline.analyze` takes them: `inputs`, `batch`, `input_size`, `dtype`, `fusion`, `arguments`,
            `estimator`.

    Raises:
        RooflineError: Anything wrong with a model, a device or a file, or fewer than two to compare; in one line.
    """
    from roofline.saved import load_analysis

    devices = [hw] if not isinstance(hw, Sequence) or isinstance(hw, str) else list(hw)
    if devices and models and all(isinstance(model, Analysis | Mapping) or is_saved(model) for model in models):
        raise ProfileError("a saved analysis keeps the device it was made for, so there is nothing to run on another")
    analyses: list[Analysis | Plain] = []
    names: list[str | None] = []
    for model in models:
        if isinstance(model, Analysis | Mapping):
            analyses.append(model)
            names.append(None)
        elif is_saved(model):
            analyses.append(load_analysis(str(model)))
            names.append(Path(str(model)).stem)
        elif not devices:
            name = model if isinstance(model, str | Path) else type(model).__name__
            raise ProfileError(f"{name} needs a device to run on: name a hardware profile (--hw)")
        else:
            reference = str(model) if isinstance(model, Path) else model
            analyses += [analyze(reference, hw=device, **options) for device in devices]
            names += [None] * len(devices)
    return compare(analyses, names=names)


def is_saved(model: object) -> bool:
    """Whether a model is given as the path of a saved result, and not as a reference."""
    return isinstance(model, str | Path) and Path(model).suffix.lower() == ".json" and not str(model).startswith("hf:")


def from_dict(data: Plain) -> Comparison:
    """The comparison that `Comparison.to_dict` made plain, with its names and the layers matched as they were then."""
    names = [(totals["label"], totals["model"], totals["device"]) for totals in data["totals"]]
    sides = _sides(data["analyses"], names)
    return Comparison(
        sides=sides,
        differences=tuple(
            _difference(
                sides[difference["baseline"]],
                sides[difference["other"]],
                [(layer["baseline"], layer["other"]) for layer in difference["layers"]],
            )
            for difference in data["differences"]
        ),
    )


# --- sides ----------------------------------------------------------------------------------------------------------


def _sides(analyses: Sequence[Plain], names: Sequence[tuple[str, str, str]]) -> tuple[Side, ...]:
    """The analyses with their names, and with their times on one grid."""
    sums_s = [math.fsum(layer["latency_s"] for layer in data["layers"]) for data in analyses]
    outside_s = [data["totals"]["latency_s"] - sum_s for data, sum_s in zip(analyses, sums_s, strict=True)]
    step = _grid([sum_s + abs(rest_s) for sum_s, rest_s in zip(sums_s, outside_s, strict=True)])
    return tuple(
        Side(
            label=label,
            model=model,
            device=device,
            data=data,
            layer_latency_s=tuple(_on(step, layer["latency_s"]) for layer in data["layers"]),
            outside_s=_on(step, rest_s) if abs(rest_s) > ROUNDING * sum_s else 0.0,
        )
        for data, (label, model, device), sum_s, rest_s in zip(analyses, names, sums_s, outside_s, strict=True)
    )


def _grid(totals_s: Sequence[float]) -> float:
    """A power of two of which all times are rounded to multiples, so fine that no total could tell.

    Any sum or difference of parts of two totals is less than 2^53 steps, and so a float exactly. A step is at least the
    smallest normal float.
    """
    _, exponent = math.frexp(max(totals_s))
    return math.ldexp(1.0, max(exponent - 51, -1021))


def _on(step: float, value_s: float) -> float:
    return round(value_s / step) * step


def _names(analyses: Sequence[Plain], sources: Sequence[str | None]) -> list[tuple[str, str, str]]:
    """Label, model and device of each: as short as tells them apart."""
    devices = _told_apart([_device_parts(data) for data in analyses], [_device_key(data) for data in analyses])
    models = _model_names(analyses, devices, sources)
    one_model, one_device = len(set(models)) == 1, len(set(devices)) == 1
    return [
        (device if one_model and not one_device else model if one_device else f"{model} on {device}", model, device)
        for model, device in zip(models, devices, strict=True)
    ]


def _device_key(data: Plain) -> tuple[Any, ...]:
    hardware = data["hardware"]
    figures = (hardware["peak_macs_per_s"], hardware["bandwidth_bytes_per_s"])
    return (hardware["id"], hardware["dtype"], data["fusion"], *figures, json.dumps(_terms(data), sort_keys=True))


def _device_parts(data: Plain) -> list[str]:
    fusion = "unfused" if data["fusion"] == "none" else f"{data['fusion']} fusion"
    return [data["hardware"]["id"], data["hardware"]["dtype"], fusion]


def _model_names(analyses: Sequence[Plain], devices: Sequence[str], sources: Sequence[str | None]) -> list[str]:
    """A second result of one model on one device is another version of the model."""
    keys: list[tuple[Any, ...]] = []
    for data, device in zip(analyses, devices, strict=True):
        model = data["model"]
        what = (model["name"], model["params"], str(model["input_shape"]))
        keys.append(next(key for n in count() if (key := (device, *what, n)) not in keys))
    keys = [key[1:] for key in keys]  # the same on another device is the same model
    parts = [
        [data["model"]["name"], _input(data), f"batch {data['batch']}", source or ""]
        for data, source in zip(analyses, sources, strict=True)
    ]
    return _told_apart(parts, keys)


def _told_apart(parts: Sequence[Sequence[str]], keys: Sequence[tuple[Any, ...]]) -> list[str]:
    """A name for each key: its first part; where that is the name of another, with the next part too; else numbered."""
    of_key: dict[tuple[Any, ...], Sequence[str]] = {}
    for key, own in zip(keys, parts, strict=True):
        of_key.setdefault(key, own)
    names = {key: own[0] for key, own in of_key.items()}
    for position in range(1, max(map(len, parts))):
        for group in _namesakes(names):
            added = {key: of_key[key][position] for key in group}
            if len(set(added.values())) > 1:
                names |= {key: f"{names[key]} {part}".rstrip() for key, part in added.items()}
    for group in _namesakes(names):
        names |= {key: f"{names[key]}#{number}" for number, key in enumerate(group[1:], 2)}
    return [names[key] for key in keys]


def _namesakes(names: Mapping[tuple[Any, ...], str]) -> list[list[tuple[Any, ...]]]:
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for key, name in names.items():
        groups.setdefault(name, []).append(key)
    return [group for group in groups.values() if len(group) > 1]


def _input(data: Plain) -> str:
    """The shapes of the inputs without their batch."""
    shapes = data["model"]["input_shape"]
    several = shapes if any(isinstance(item, list) for item in shapes) else [shapes]
    return " ".join(shape(tuple(sizes[1:])) for sizes in several)


# --- differences ----------------------------------------------------------------------------------------------------


def _baseline(number: int, sides: Sequence[Side]) -> int:
    """The first on the same device; for that itself, the first of all."""
    first = next(i for i, side in enumerate(sides) if side.device == sides[number].device)
    return first if first != number else 0


def _difference(baseline: Side, other: Side, pairs: Sequence[Pair]) -> Difference:
    total_s = baseline.latency_s
    layers = []
    for i, j in pairs:
        old = None if i is None else baseline.layers[i]
        new = None if j is None else other.layers[j]
        before_s = 0.0 if i is None else baseline.layer_latency_s[i]
        after_s = 0.0 if j is None else other.layer_latency_s[j]
        shown = new or old
        assert shown is not None, "a pair has at least one layer"
        layers.append(
            LayerChange(
                status=_status(old, new),
                name=shown["name"],
                kind=shown["kind"],
                baseline=i,
                other=j,
                delta_s=after_s - before_s,
                share=_share(after_s - before_s, total_s),
            )
        )
    return Difference(
        baseline=baseline, other=other, layers=tuple(layers), unlike=tuple(_unlike(baseline.data, other.data))
    )


WHAT_CHANGES = (
    "kind", "ops", "input_shape", "output_shape", "macs", "vector_ops", "weight_bytes", "activation_bytes", "latency_s",
)  # fmt: skip


def _status(old: Plain | None, new: Plain | None) -> Status:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    return "same" if all(old[key] == new[key] for key in WHAT_CHANGES) else "changed"


def _share(delta_s: float, total_s: float) -> float | None:
    return delta_s / total_s if total_s else None


def _grouped(side: Side, group: str) -> dict[str, list[float]]:
    """The times of the layers of each kind or stage, and what is in no layer."""
    groups: dict[str, list[float]] = {}
    for layer, latency_s in zip(side.layers, side.layer_latency_s, strict=True):
        groups.setdefault(layer["kind"] if group == "kind" else stage_of(layer["name"]), []).append(latency_s)
    if side.outside_s:
        groups[OUTSIDE] = [side.outside_s]
    return groups


def _chosen(data: Plain) -> Plain:
    """What the estimator whose times an analysis has says; empty of a profile without a calibration."""
    estimates: Sequence[Plain] = data.get("estimates") or ()  # an older analysis lacks the key
    return next((each for each in estimates if each["is_chosen"]), {})


def estimator_of(data: Plain) -> str:
    """Whose times an analysis has."""
    return str(_chosen(data).get("estimator", "roofline"))


def told_apart(one: Side, other: Side) -> bool | None:
    """Whether two predictions differ by more than they may be off, by their 90 % intervals; None where either has none.

    The intervals are those of the logarithm of the latency. Of two that err independently the difference errs by the
    root of the sum of squares; what two networks on one machine have in common cancels in it, so that is on the safe
    side.
    """
    intervals = (one.interval90_s, other.interval90_s)
    latencies_s = (one.latency_s, other.latency_s)
    if None in intervals or min(latencies_s) <= 0:
        return None
    off = [math.log(bounds[1] / latency_s) for bounds, latency_s in zip(intervals, latencies_s, strict=True) if bounds]
    return abs(math.log(latencies_s[0] / latencies_s[1])) > math.hypot(*off)


def traits(data: Plain) -> dict[str, Any]:
    """What an analysis is of, beside its model and its device."""
    return {
        "latency_kind": data["latency_kind"],
        "estimator": estimator_of(data),
        "dtype": data["hardware"]["dtype"],
        "fusion": data["fusion"],
        "batch": data["batch"],
        "input": _input(data),
        "figures": [data["hardware"][key] for key in ("peak_macs_per_s", "bandwidth_bytes_per_s")],
        "terms": _terms(data),
        "uncounted_ops": sorted({op["name"] for op in data["uncounted_ops"]}),
        "roofline": data["versions"].get("roofline", "unknown"),
    }


def _unlike(baseline: Plain, other: Plain) -> list[Unlike]:
    old, new = traits(baseline), traits(other)
    found = [Unlike(what=what, baseline=old[what], other=new[what]) for what in old if old[what] != new[what]]
    same_device = baseline["hardware"]["id"] == other["hardware"]["id"] and old["dtype"] == new["dtype"]
    return [unlike for unlike in found if unlike.what not in ("figures", "terms") or same_device]


def _terms(data: Plain) -> dict[str, Any]:
    """What the device of an analysis adds to eq. 1; an older one may lack the keys."""
    return terms_in_force(data["hardware"])


def _row(difference: Difference, layer: LayerChange) -> dict[str, Any]:
    baseline, other = difference.baseline, difference.other
    old = None if layer.baseline is None else baseline.layers[layer.baseline]
    new = None if layer.other is None else other.layers[layer.other]

    def both(key: str) -> dict[str, Any]:
        return {f"baseline_{key}": old and old[key], key: new and new[key]}

    sizes = [row and row["weight_bytes"] + row["activation_bytes"] for row in (old, new)]
    row = {
        "baseline": baseline.label,
        "other": other.label,
        "status": layer.status,
        **both("name"),
        **both("kind"),
        **both("latency_s"),
        "delta_s": layer.delta_s,
        "share": layer.share,
        **both("macs"),
        "baseline_mem_bytes": sizes[0],
        "mem_bytes": sizes[1],
        **both("bound"),
    }
    return {column: row[column] for column in COLUMNS}


def _ranks(column: Sequence[Side | None]) -> list[int | None]:
    """Of each among those of a device; a bound and a prediction have no order."""
    sides = [side for side in column if side is not None]
    if len({side.latency_kind for side in sides}) > 1:
        return [None] * len(column)
    return [None if side is None else 1 + sum(other.latency_s < side.latency_s for other in sides) for side in column]


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
