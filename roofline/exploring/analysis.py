"""What a saved run tells: how latency is distributed, what explains it, and which networks are worth a look.

`summary` reads a dataset block by block, twice at most, and keeps distribution functions (exact, at 400 values), the
Pareto front of each device (exact, of all networks) and a fair sample, from which correlations, a forest and the dots
of a figure are. `top` and `pareto` choose whole rows.

Where a run knows no accuracies, MACs stand in for what a network is worth: the front is of the networks that do the
most MACs within a latency. That is a matter of speed alone; which of them learns best, only training tells.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.exploring.networks import (
    COUNTS,
    JUDGEMENTS,
    LATENCY,
    RIDGE,
    Networks,
    indices,
    numbers,
)
from roofline.exploring.parameters import Importance, features, has_forest, importance
from roofline.exploring.scan import Scan, best_by, column_of, distributions_of, judged, worth_of
from roofline.exploring.statistics import (
    Best,
    Distribution,
    Floats,
    Front,
    along,
    band95,
    on_front,
    rank_correlation,
)
from roofline.units import seconds, significant

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Place", "Summary", "on_front", "pareto", "summary", "top"]

SCHEMA = "roofline/exploration/1"
DOTS = 2_000  # networks in a figure, of the sample
LISTED = 60  # networks of a front that are listed, evenly along it where there are more
DRAWN = 1_000  # that are drawn, likewise: where MACs alone set latency, nearly all networks are on the front
Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Place:
    """The latencies of all networks on one device, or at one ridge point.

    Attributes:
        id: Of the profile, or ``ridge=R``.
        name: What people call it.
        latency_kind: ``"bound"`` or ``"prediction"``; empty if the run does not say.
        ridge_point: In MACs/byte; None of a device.
        latency_s: How they are distributed.
        compute_bound_share: Mean share of latency in compute-bound layers; None if the run does not say.
        by_count: Rank correlation of latency with each of `COUNTS`.
        by_feature: With each feature of the parameters.
        explained: Share of the variance of log latency that a forest explains in networks unknown to it; None of none.
        lost: How much of that is lost when a parameter is shuffled, by parameter.
        front: Networks that none beats, the fastest first; see `roofline.exploring.statistics.Front`.
    """

    id: str
    name: str
    latency_kind: str
    ridge_point: float | None
    latency_s: Distribution
    compute_bound_share: float | None
    by_count: Mapping[str, float]
    by_feature: Mapping[str, float]
    explained: float | None
    lost: Mapping[str, float]
    front: Front

    @property
    def column(self) -> str:
        """Of the dataset."""
        return f"{LATENCY}{self.id}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Summary:
    """What a run tells.

    Attributes:
        run: What it says of itself: the space, the request, counts of draws, devices, versions.
        count: Networks in it.
        value: What the fronts weigh against latency: ``"accuracy"``, or ``"macs"`` where none is known.
        by: The column by which the best are the best.
        macs: How they are distributed.
        places: Devices, then ridge points, in the order of the run.
        parameters: Names, in order.
        of_feature: The parameter of each feature.
        sampled: Networks from which correlations are.
        forest: Networks that it learned from, and that it was judged by; None if none was grown.
        sample: Columns of a fair sample, for a figure: ``index``, ``macs``, `value` and one by the id of each place.
        best: Indices of the best, the best first.
        rows: Whole rows of the best and of the fronts, the fastest on the first place first.
    """

    run: Plain
    count: int
    value: str
    by: str
    macs: Distribution
    places: Sequence[Place]
    parameters: Sequence[str]
    of_feature: Mapping[str, str]
    sampled: int
    forest: tuple[int, int] | None
    sample: Mapping[str, Sequence[float | None]]
    best: Sequence[int]
    rows: Sequence[Plain] = field(repr=False)

    @property
    def on_every_front(self) -> list[int]:
        """Indices of the networks that are on the front of every device and ridge point, ascending."""
        common: list[int] = functools.reduce(np.intersect1d, (place.front.index for place in self.places)).tolist()
        return common

    @property
    def on_a_front(self) -> int:
        """How many networks are on the front of any."""
        return len(np.unique(np.concatenate([place.front.index for place in self.places])))

    def verdict(self) -> str:
        """How fast the networks are, how well MACs tell it, and how many are on the fronts; in a few sentences."""
        drawn = self.run.get("counts", {}).get("tried")
        of = f" of {name}" if (name := self.run.get("space", {}).get("name")) else ""
        networks = f"{self.count:,} network{'s' if self.count != 1 else ''}{of}"
        how = "proposed" if "search" in self.run else "drawn"
        first = f"{networks}, of {drawn:,} that were {how}." if drawn else f"{networks}."
        said = [] if self.run.get("complete", True) else ["The run is not complete; this is what it has so far."]
        return " ".join([first, *said, *self._speeds(), *self._ranking(), self._fronts()])

    def _speeds(self) -> Iterator[str]:
        devices = [place for place in self.places if place.ridge_point is None]
        for place in devices[:1]:
            low, middle, high = (seconds(place.latency_s.quantile(share)) for share in (0, 0.5, 1))
            if self.count == 1:
                yield f"On {place.name} it takes {low}."
            else:
                yield f"On {place.name} they take {low} to {high}, half of them at most {middle}."

    def _ranking(self) -> Iterator[str]:
        ranked = sorted(self.places, key=lambda place: -place.by_count["macs"])
        best, worst = ranked[0], ranked[-1]
        if self.count < 3:
            return
        if len(ranked) == 1:
            yield f"MACs rank latency on {best.name} with a correlation of {best.by_count['macs']:.2f}."
        elif f"{best.by_count['macs']:.2f}" == f"{worst.by_count['macs']:.2f}":
            yield f"MACs rank latency as well on each as on any other (rank correlation {best.by_count['macs']:.2f})."
        else:
            yield (
                f"MACs rank latency best on {best.name} (rank correlation {best.by_count['macs']:.2f}) and worst on "
                f"{worst.name} ({worst.by_count['macs']:.2f})."
            )

    def _fronts(self) -> str:
        what = "the most MACs" if self.value == "macs" else f"the highest {self.value}"
        if len(self.places) == 1:
            found = len(self.places[0].front.index)
            return f"{found:,} of them {'is' if found == 1 else 'are'} on the Pareto front of {what} in the least time."
        common, places = len(self.on_every_front), len(self.places)
        which = "None is" if not common else "One is" if common == 1 else f"{common:,} are"
        all_of_them = "both" if places == 2 else f"all {places}"
        return f"{which} on {all_of_them} Pareto fronts, of {what} in the least time on each device or ridge point."

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what a report is drawn from."""
        return {
            "schema": SCHEMA,
            **{key: self.run[key] for key in RUN_KEYS if key in self.run},
            "verdict": self.verdict(),
            "networks": self.count,
            "band95": band95(self.count),
            "value": self.value,
            "by": self.by,
            "macs": self.macs.to_dict(),
            "places": [_place_dict(place) for place in self.places],
            "parameters": list(self.parameters),
            "of_feature": dict(self.of_feature),
            "sampled": self.sampled,
            "forest": self.forest and {"seen": self.forest[0], "unseen": self.forest[1]},
            "sample": {name: list(column) for name, column in self.sample.items()},
            "on_a_front": self.on_a_front,
            "on_every_front": len(self.on_every_front),
            "best": list(self.best),
            "rows": list(self.rows),
            "on_fronts": self._on_fronts(),
        }

    def _on_fronts(self) -> list[list[str]]:
        """On the fronts of which places each of the rows is."""
        index = np.array([row["index"] for row in self.rows], dtype=np.int64)
        on = {place.id: np.isin(index, place.front.index) for place in self.places}
        return [[id for id, mask in on.items() if mask[number]] for number in range(len(index))]

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


RUN_KEYS = (
    "complete",
    "space",
    "request",
    "search",
    "counts",
    "devices",
    "ridge_points_macs_per_byte",
    "versions",
)  # of what a run says of itself, those that its summary repeats; "search" is there if it was one


def summary(folder: Path, *, best: int = 20) -> Summary:
    """Sum up a run that was saved.

    Args:
        folder: Where 'roofline explore -o' put it.
        best: How many of the best networks to list.

    Raises:
        SavedError: It holds no networks, or cannot be read.
    """
    networks = Networks.of(folder)
    scan = Scan.of(networks, best)
    table = scan.sample.table()
    latencies = np.column_stack([column_of(table, name) for name in networks.latencies])
    distributions = distributions_of(networks, scan, table)
    found = features(table, networks.parameters)
    grown = importance(found, latencies) if has_forest() else None
    by_count = _correlations({name: column_of(table, name) for name in COUNTS if name in networks.columns}, latencies)
    by_feature = _correlations({feature.name: feature.values for feature in found}, latencies)
    described = {device.get("id"): device for device in networks.description.get("devices", ())}
    places = [
        Place(
            id=(id := name.removeprefix(LATENCY)),
            name=described.get(id, {}).get("name") or _place_name(id),
            latency_kind=described.get(id, {}).get("latency_kind", ""),
            ridge_point=_ridge_point(id),
            latency_s=distributions[name],
            compute_bound_share=scan.mean_share(id),
            by_count={count: values[number] for count, values in by_count.items()},
            by_feature={feature: values[number] for feature, values in by_feature.items()},
            explained=None if grown is None else float(grown.explained[number]),
            lost=_lost(grown, number),
            front=scan.fronts[name],
        )
        for number, name in enumerate(networks.latencies)
    ]
    listed = set(scan.best.index.tolist())
    for front in scan.fronts.values():
        listed.update(front.index[along(len(front.index), LISTED)].tolist())
    rows = networks.rows(listed)
    return Summary(
        run=networks.description,
        count=scan.count,
        value=scan.value,
        by=scan.by,
        macs=distributions["macs"],
        places=places,
        parameters=networks.parameters,
        of_feature={feature.name: feature.parameter for feature in found},
        sampled=len(table),
        forest=None if grown is None else (grown.seen, grown.unseen),
        sample=_dots(table, scan.value, networks.latencies),
        best=scan.best.index.tolist(),
        rows=[_plain(row) for row in sorted(rows.values(), key=lambda row: (row[networks.latencies[0]], row["index"]))],
    )


def top(folder: Path, count: int, by: str = "", *, largest: bool | None = None) -> list[dict[str, Any]]:
    """The best networks of a run, whole rows, the best first; of equal ones, those that were drawn first.

    Networks that are as good as each other and have as many MACs are one, drawn again: the first of them is listed.

    Args:
        folder: Where 'roofline explore -o' put it.
        count: How many.
        by: A column, or a device's id for its latency. If not given: the reward, else the accuracy, else the latency
            on the first device.
        largest: Whether large is good. If not given: of a reward or an accuracy it is, of all else it is not.

    Raises:
        SavedError: There is no such column, it holds no numbers, or the run cannot be read.
    """
    networks = Networks.of(folder)
    column = networks.column(by) if by else best_by(networks)
    sign = -1.0 if (column in JUDGEMENTS if largest is None else largest) else 1.0
    best = Best(count)
    size = "macs" if column != "macs" else networks.latencies[0]
    for block in networks.blocks(list(dict.fromkeys(["index", size, column]))):
        best.add(indices(block), sign * judged(networks, block, column), numbers(block, size))
    rows = networks.rows(best.index.tolist())
    return [_plain(rows[index]) for index in best.index.tolist()]


def pareto(folder: Path, cost: str = "", value: str = "") -> list[dict[str, Any]]:
    """The networks that no other beats: none costs as little and is worth as much; whole rows, the cheapest first.

    Of networks that are equal in both, the one that was drawn first.

    Args:
        folder: Where 'roofline explore -o' put it.
        cost: A column to be small, or a device's id for its latency; the latency on the first device if not given.
        value: A column to be large; the accuracy if there is one, else MACs, if not given.

    Raises:
        SavedError: As of `top`.
    """
    networks = Networks.of(folder)
    costs = networks.column(cost) if cost else networks.latencies[0]
    values = networks.column(value) if value else worth_of(networks)
    front = Front()
    for block in networks.blocks(list(dict.fromkeys(["index", costs, values]))):
        front.add(indices(block), judged(networks, block, costs), judged(networks, block, values))
    rows = networks.rows(front.index.tolist())
    return [_plain(rows[index]) for index in front.index.tolist()]


def _plain(row: Plain) -> dict[str, Any]:
    """A row as JSON has it: what is no number is None."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


# --- what is made of it -----------------------------------------------------------------------------------------------


def _correlations(columns: Mapping[str, Floats], latencies: Floats) -> dict[str, list[float]]:
    """Rank correlation of each column with each latency."""
    if not columns:
        return {}
    found = rank_correlation(np.column_stack(list(columns.values())), latencies)
    return {name: row.tolist() for name, row in zip(columns, found, strict=True)}


def _lost(grown: Importance | None, number: int) -> dict[str, float]:
    if grown is None:
        return {}
    return {name: float(row[number]) for name, row in zip(grown.parameters, grown.lost, strict=True)}


def _dots(table: pa.Table, value: str, latencies: Sequence[str]) -> dict[str, list[float | None]]:
    """The first networks of the sample, which is in an order without meaning, and so fair too."""
    some = table.slice(0, DOTS)
    names = {"index": "index", "macs": "macs", value: value, **{name.removeprefix(LATENCY): name for name in latencies}}
    plain = {short: some.column(name).to_pylist() for short, name in names.items()}
    return {
        short: [None if isinstance(item, float) and not math.isfinite(item) else item for item in column]
        for short, column in plain.items()
    }


def _ridge_point(id: str) -> float | None:
    if not id.startswith(RIDGE):
        return None
    try:
        return float(id.removeprefix(RIDGE))
    except ValueError:
        return None


def _place_name(id: str) -> str:
    ridge = _ridge_point(id)
    return id if ridge is None else f"ridge point {significant(ridge)} MACs/byte"


def _place_dict(place: Place) -> dict[str, Any]:
    front, drawn = place.front, along(len(place.front.index), DRAWN)
    return {
        "id": place.id,
        "name": place.name,
        "latency_kind": place.latency_kind,
        "ridge_point_macs_per_byte": place.ridge_point,
        "latency_s": place.latency_s.to_dict(),
        "compute_bound_share": place.compute_bound_share,
        "rank_correlation": {"counts": dict(place.by_count), "features": dict(place.by_feature)},
        "forest_r2": place.explained,
        "importance": dict(place.lost),
        "front": {
            "count": len(front.index),
            "index": front.index[drawn].tolist(),
            "latency_s": front.cost[drawn].tolist(),
            "value": front.value[drawn].tolist(),
        },
    }
