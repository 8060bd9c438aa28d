"""What is asked of a design space: how many networks, of what size, on which devices. Plain data, checked at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.curves import MAX_RIDGE_POINT
from roofline.errors import RooflineError
from roofline.layers import DTYPE_BYTES, check_choice
from roofline.units import parse_quantity, printable, seconds, si

FIRST_BLOCK, LARGEST_BLOCK = 32, 1024  # draws
MAX_SEED = 2**64 - 1  # a key of the Philox generator
EXAMPLES = {"count": "180M..220M, ..5M or 1G..", "duration": "..5ms or 2ms..5ms"}


@dataclass(frozen=True, slots=True)
class Range:
    """Values from `low` to `high`, both ends included.

    Attributes:
        low, high: In SI base units, or a number; 0 and infinity where that end is open.
        kind: What the values are: a ``count``, or a ``duration`` in seconds.
    """

    low: float = 0.0
    high: float = math.inf
    kind: Literal["count", "duration"] = "count"

    @classmethod
    def parse(cls, text: str, kind: Literal["count", "duration"] = "count") -> Self:
        """A range as it is written.

        Raises:
            RooflineError: It is none, or nothing is in it.

        >>> Range.parse("180M..220M"), str(Range.parse("..5ms", "duration"))
        (Range(low=180000000.0, high=220000000.0, kind='count'), '..5 ms')
        """
        low, dots, high = (part.strip() for part in text.partition(".."))
        if not dots or not (low or high):
            raise RooflineError(f"{printable(text)!r} is no range, as in {EXAMPLES[kind]}")
        try:
            ends = float(parse_quantity(low, kind)) if low else 0.0, float(parse_quantity(high, kind)) if high else None
        except RooflineError as error:
            raise RooflineError(f"{printable(text)!r} is no range, as in {EXAMPLES[kind]}") from error
        found = cls(ends[0], math.inf if ends[1] is None else ends[1], kind)
        if found.low > found.high:
            raise RooflineError(f"nothing is in {found}: the lower end comes first")
        return found

    def holds(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Which of the values are in it; same shape."""
        values = np.asarray(values)
        return np.asarray((values >= self.low) & (values <= self.high))

    def miss(self, values: ArrayLike) -> NDArray[np.float64]:
        """How far the values are from it, as the logarithm of their ratio to the nearer end; 0 inside; same shape."""
        tiny = np.finfo(np.float64).tiny  # 0 is far from any range, and not infinitely far
        logarithms = np.log(np.maximum(np.asarray(values, dtype=np.float64), tiny))
        below = np.log(self.low or tiny) - logarithms
        above = logarithms - np.log(max(self.high, tiny))
        return np.asarray(np.maximum(np.maximum(below, above), 0.0))

    def words(self, value: float, digits: int = 3) -> str:
        """A value of this kind, as people read it, with so many significant digits."""
        return seconds(value, digits) if self.kind == "duration" else si(value, digits=digits)

    def to_list(self) -> list[float | None]:
        """The two ends as plain data, None where an end is open."""
        return [self.low or None, self.high if self.high < math.inf else None]

    def __str__(self) -> str:
        low = self.words(self.low) if self.low else ""
        return f"{low}..{self.words(self.high) if self.high < math.inf else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A sample of a design space, and what is to be known of it.

    Two equal requests give the same dataset, byte for byte, whoever does the work.

    Attributes:
        space: Reference of the space, as `roofline.spaces.load` takes it.
        n: How many networks are wanted.
        hw: Devices: names of profiles or their YAML files, each once.
        ridge: Ridge points, MACs/byte, each once.
        macs, params: Where the networks must lie; None: anywhere.
        latency: The same of latencies, as pairs of the id of a device and a range in seconds.
        settings: Parameters of the space that are held, as pairs of name and value.
        seed: Of the draws.
        batch: Images a pass.
        dtype, fusion: As the networks run; None: as each device's profile says, and for a device of which nothing is
            known but its ridge point, int8 and epilogue.

    Raises:
        RooflineError: A number out of range, something named twice, or nothing to predict on.
    """

    space: str
    n: int
    hw: tuple[str, ...] = ()
    ridge: tuple[float, ...] = ()
    macs: Range | None = None
    params: Range | None = None
    latency: tuple[tuple[str, Range], ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    seed: int = 0
    batch: int = 1
    dtype: str | None = None
    fusion: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise RooflineError(f"{self.n} networks are nothing to draw: ask for one or more")
        if not 0 <= self.seed <= MAX_SEED:
            raise RooflineError(f"the seed must be from 0 to {MAX_SEED} (got {self.seed})")
        if self.batch < 1:
            raise RooflineError(f"the batch must be 1 or more (got {self.batch})")
        if not self.hw and not self.ridge:
            raise RooflineError(
                "nothing to predict on: name devices with --hw ('roofline hw' lists them) or points with --ridge"
            )
        for point in self.ridge:
            if not 0 <= point <= MAX_RIDGE_POINT:
                raise RooflineError(f"a ridge point must be from 0 to {MAX_RIDGE_POINT:g} MACs/byte (got {point:g})")
        if self.dtype is not None:
            check_choice("dtype", self.dtype, DTYPE_BYTES)
        if self.fusion is not None:
            check_choice("fusion", self.fusion, ("none", "epilogue"))
        named: dict[str, Iterable[Any]] = {
            "the device": self.hw,
            "the ridge point": (f"{point:g}" for point in self.ridge),
            "a latency on": (device for device, _ in self.latency),
            "the parameter": (name for name, _ in self.settings),
        }
        for what, names in named.items():
            twice = _first_twice(names)
            if twice is not None:
                raise RooflineError(f"{what} {twice} is given twice")

    def to_dict(self) -> dict[str, Any]:
        """The request as plain data."""
        return {
            "space": self.space,
            "n": self.n,
            "hw": list(self.hw),
            "ridge": list(self.ridge),
            "macs": self.macs and self.macs.to_list(),
            "params": self.params and self.params.to_list(),
            "latency": {device: limits.to_list() for device, limits in self.latency},
            "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in self.settings},
            "seed": self.seed,
            "batch": self.batch,
            "dtype": self.dtype,
            "fusion": self.fusion,
        }

    def constraints(self) -> dict[str, Range]:
        """The columns of the dataset that must lie in a range, and in which."""
        found: Mapping[str, Range | None] = {"macs": self.macs, "params": self.params}
        latencies = {f"latency_s:{device}": limits for device, limits in self.latency}
        return {column: limits for column, limits in found.items() if limits is not None} | latencies


def span(block: int) -> tuple[int, int]:
    """The draws of a block, as first and last + 1: small blocks first, so that there is soon something to see.

    They double up to `LARGEST_BLOCK` draws and stay there, whatever is asked for, so that the work of a run is the
    same however many workers share it.

    >>> [span(block) for block in range(3)], span(5), span(6), span(7)
    ([(0, 32), (32, 96), (96, 224)], (992, 2016), (2016, 3040), (3040, 4064))
    """
    doublings = (LARGEST_BLOCK // FIRST_BLOCK).bit_length() - 1
    grown = FIRST_BLOCK * (2 ** min(block, doublings) - 1)
    first = grown + LARGEST_BLOCK * max(0, block - doublings)
    return first, first + min(LARGEST_BLOCK, FIRST_BLOCK * 2 ** min(block, doublings))


def _first_twice(names: Iterable[Any]) -> Any:
    seen = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
