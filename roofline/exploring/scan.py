"""One pass over the networks of a run, block by block: what it keeps of them, whatever their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.errors import SavedError
from roofline.exploring.networks import JUDGEMENTS, SHARE, Networks, indices, numbers
from roofline.exploring.statistics import (
    Best,
    Distribution,
    Floats,
    Front,
    counts_at_most,
    distribution,
    grid,
    scattered,
)

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLED = 20_000  # networks from which correlations and a forest are
STEPS = 400  # values at which a distribution function is given


@dataclass(slots=True, kw_only=True)
class Scan:
    """What one pass over a run keeps.

    Attributes:
        value, by: Columns; see `Summary`.
        count: Networks.
        low, high: Of MACs and of each latency, by column.
        shares: Sum of the compute-bound shares, by column.
        fronts: By column of latency.
        best: By `by`.
        sample: Fair, of all columns.
    """

    value: str
    by: str
    fronts: dict[str, Front]
    best: Best
    sample: Sample
    count: int = 0
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, networks: Networks, best: int) -> Scan:
        """Read a run, for so many of the best.

        Raises:
            SavedError: It has no networks, or one has no latency above 0.
        """
        scan = cls(
            value=worth_of(networks),
            by=best_by(networks),
            fronts={name: Front() for name in networks.latencies},
            best=Best(best),
            sample=Sample(SAMPLED),
        )
        shares = [name for name in networks.columns if name.startswith(SHARE)]
        for block in networks.blocks(networks.columns):
            scan._add(networks, block, shares)
        if not scan.count:
            raise SavedError(f"{networks.folder} holds no networks: its files are there, and they have no rows")
        return scan

    def _add(self, networks: Networks, block: pa.RecordBatch, shares: Sequence[str]) -> None:
        if not len(block):
            return
        index = indices(block)
        self.count += len(index)
        self.sample.add(index, block)
        sign = -1.0 if self.by in JUDGEMENTS else 1.0
        self.best.add(index, sign * judged(networks, block, self.by), numbers(block, "macs"))
        value = judged(networks, block, self.value)
        for name in ("macs", *self.fronts):
            column = judged(networks, block, name)
            wrong = ~(np.isfinite(column) & (column > 0))
            if wrong.any():
                raise SavedError(
                    f"{networks.folder}: {name} of network {index[wrong][0]} must be a number above 0 "
                    f"(it is {column[wrong][0]:g})"
                )
            self.low[name] = min(self.low.get(name, math.inf), float(column.min()))
            self.high[name] = max(self.high.get(name, 0.0), float(column.max()))
            if name in self.fronts:
                self.fronts[name].add(index, column, value)
        for name in shares:
            self.shares[name] = self.shares.get(name, 0.0) + float(np.nansum(judged(networks, block, name)))

    def mean_share(self, id: str) -> float | None:
        """The mean compute-bound share at a place."""
        total = self.shares.get(f"{SHARE}{id}")
        return None if total is None else total / self.count


@dataclass(slots=True)
class Sample:
    """The rows whose indices `scattered` makes least, of blocks that come one by one."""

    most: int
    blocks: list[pa.RecordBatch] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    held: int = 0
    limit: int = 2**64 - 1

    def add(self, index: Any, block: pa.RecordBatch) -> None:
        """Take a block in."""
        import pyarrow as pa

        key = scattered(index)
        mask = key <= np.uint64(self.limit)
        self.blocks.append(block.filter(pa.array(mask)))
        self.keys.append(key[mask])
        self.held += int(mask.sum())
        if self.held > 2 * self.most:
            self.table()

    def table(self) -> pa.Table:
        """The sample so far, in an order without meaning."""
        import pyarrow as pa

        keys = np.concatenate(self.keys)
        order = np.argsort(keys, kind="stable")[: self.most]
        table = pa.Table.from_batches(self.blocks).take(pa.array(order)).combine_chunks()
        self.keys, self.blocks, self.held = [keys[order]], table.to_batches(), len(order)
        if len(order) == self.most:
            self.limit = int(keys[order[-1]])
        return table


def distributions_of(networks: Networks, scan: Scan, table: pa.Table) -> dict[str, Distribution]:
    """Of MACs and of each latency: counted in the sample if that is all, else in a second pass."""
    names = ("macs", *networks.latencies)
    grids = {name: grid(column_of(table, name), scan.low[name], scan.high[name], STEPS) for name in names}
    if len(table) == scan.count:
        return {name: distribution([column_of(table, name)], grids[name]) for name in names}
    counted = {name: np.zeros(len(values), dtype=np.int64) for name, values in grids.items()}
    for block in networks.blocks(names):
        for name, values in grids.items():
            counted[name] += counts_at_most(numbers(block, name), values)
    return {
        name: Distribution(
            count=scan.count,
            values=tuple(grids[name].tolist()),
            shares=tuple((counted[name] / scan.count).tolist()),
        )
        for name in names
    }


def best_by(networks: Networks) -> str:
    """The column by which the best of a run are the best: the reward, else the accuracy, else the first latency."""
    return next((name for name in reversed(JUDGEMENTS) if name in networks.columns), networks.latencies[0])


def worth_of(networks: Networks) -> str:
    """The column that is weighed against latency: the accuracy, else MACs."""
    return "accuracy" if "accuracy" in networks.columns else "macs"


def judged(networks: Networks, block: pa.RecordBatch, column: str) -> Floats:
    """A column to choose by.

    Raises:
        SavedError: It holds no numbers.
    """
    try:
        return numbers(block, column)
    except (TypeError, ValueError):
        raise SavedError(f"column {column!r} of {networks.folder} holds no numbers to choose by") from None


def column_of(table: pa.Table, name: str) -> Floats:
    """A column of a table as floats."""
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)
