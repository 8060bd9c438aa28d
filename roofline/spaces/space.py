"""What a design space is: where its numbers come from, which networks it has, and in which parts these are counted.

A space draws a configuration, plain numbers and words, says why one is none of its own, and builds the network of it.
It draws from a `Chooser`: a random generator here, an optimiser's trial elsewhere. Network number `index` of a seed is
the same whoever draws it, and in whatever order.

A network is a chain of `Part`s, each of one tensor in and one out. Parts that are equal but for their sizes (channels,
groups) are counted from a few traces, for every size at once; see `roofline.spaces.counting`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import nn

from roofline.errors import RooflineError, did_you_mean

Plain = int | float | str
Config = Mapping[str, Plain | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]]


# --- where numbers come from ------------------------------------------------------------------------------------------


class Chooser(Protocol):
    """Where the numbers of a configuration come from.

    Names are those of the configuration; of a list, ``name[i]``.
    """

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number from `low` to `high`, both possible, in steps from `low`; uniform, or in its logarithm."""

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from `low` to `high`; uniform, or in its logarithm."""

    def choice(self, name: str, options: Sequence[Plain]) -> Any:
        """One of these, all equally likely."""


class RandomChooser:
    """Random numbers of draw `index` of a seed: a stream of its own for each, so that their order does not matter.

    Philox is counter-based: a key picks the stream (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
    SC 2011).
    """

    def __init__(self, seed: int, index: int) -> None:
        if not 0 <= seed < 2**64:
            raise RooflineError(f"a seed must be a whole number from 0 to 2^64 - 1 (got {seed})")
        stream = np.random.Philox(key=np.array([seed, index], dtype=np.uint64))
        self._share = np.random.Generator(stream).random  # the next number from 0 to 1, uniform, without the 1

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """See `Chooser`.

        In the logarithm: a number that is log-uniform, from a step below `low` or half of it, is rounded up to a step.
        So the lowest is not rarer than its neighbours (as in facebookresearch/pycls pycls/sweep/random.py).
        """
        steps = (high - low) // step
        if not log:
            return low + step * int(self._share() * (steps + 1))
        value = self.number(name, low - min(step, low / 2), low + step * steps, log=True)
        return low + step * max(0, math.ceil((value - low) / step))

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """See `Chooser`."""
        share = self._share()
        return min(max(low * (high / low) ** share, low), high) if log else low + (high - low) * share

    def choice(self, name: str, options: Sequence[Plain]) -> Any:
        """See `Chooser`."""
        return options[int(self._share() * len(options))]


class Fixed:
    """A chooser that does not choose what the user has fixed.

    Args:
        chooser: Chooses the rest.
        values: By name; of a list, one value for all of it, or as many as it has. Text is taken for what is asked for.
    """

    def __init__(self, chooser: Chooser, values: Mapping[str, Any]) -> None:
        self.chooser, self.values = chooser, values

    def integer(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The fixed value, or what the chooser says.

        Raises:
            RooflineError: The fixed value is outside of the range.
        """
        given = self._given(name)
        if given is None:
            return self.chooser.integer(name, low, high, step=step, log=log)
        value = _as_number(given)
        if value is None or not value.is_integer() or not low <= value <= high or (int(value) - low) % step:
            steps = f" in steps of {step}" if step > 1 else ""
            raise RooflineError(f"{name} must be a whole number from {low} to {high}{steps} (got {given})")
        return int(value)

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """The fixed value, or what the chooser says.

        Raises:
            RooflineError: The fixed value is outside of the range.
        """
        given = self._given(name)
        if given is None:
            return self.chooser.number(name, low, high, log=log)
        value = _as_number(given)
        if value is None or not low <= value <= high:
            raise RooflineError(f"{name} must be a number from {low:g} to {high:g} (got {given})")
        return value

    def choice(self, name: str, options: Sequence[Plain]) -> Any:
        """The fixed value, or what the chooser says.

        Raises:
            RooflineError: The fixed value is none of the options.
        """
        given = self._given(name)
        if given is None:
            return self.chooser.choice(name, options)
        for option in options:
            if str(option) == str(given) or (not isinstance(option, str) and _as_number(given) == option):
                return option
        raise RooflineError(f"{name} must be one of {', '.join(map(str, options))} (got {given})")

    def _given(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        whole, _, place = name.partition("[")
        if not place or whole not in self.values:
            return None
        given = self.values[whole]
        listed = given.split(",") if isinstance(given, str) else given
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            return listed
        index = int(place.rstrip("]"))
        if len(listed) == 1:
            return listed[0]
        if index >= len(listed):
            raise RooflineError(
                f"{whole} needs one value, or more than {len(listed)}: one for each place (got {given})"
            )
        return listed[index]


def _as_number(given: Any) -> float | None:
    try:
        return float(given)
    except (TypeError, ValueError):
        return None


# --- networks and their parts -----------------------------------------------------------------------------------------


class Size(NamedTuple):
    """An argument of a part in which all it costs is a polynomial: channels, groups.

    Attributes:
        name: Of the argument.
        value: At least 1.
        degree: The highest power in which anything the part costs holds it, however the others stand.
    """

    name: str
    value: int
    degree: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a network that is counted on its own: one tensor in, one out.

    A compiler must fuse nothing across its ends: it neither ends in what a following norm, addition or activation would
    join, nor starts with one of these.

    Attributes:
        make: Builds it, from the arguments of `config` and of `sizes`, under the meta device.
        config: Arguments that decide how it is made, as pairs of name and value.
        input_shape: Of its input, batch included: numbers, and names of sizes.
        sizes: Arguments that decide how large it is; where two must stand in an order, the smaller first.
        repeats: How often it stands in a row, each on the output of the one before.
    """

    make: Callable[..., nn.Module]
    config: tuple[tuple[str, Hashable], ...]
    input_shape: tuple[int | str, ...]
    sizes: tuple[Size, ...] = ()
    repeats: int = 1


class Space(ABC):
    """A set of networks, and how likely each is to be drawn.

    Attributes:
        name: What people call it.
        summary: What it is, in a line.
        input_shape: Of the input of a network; its first number is the batch, in whose place the one asked for comes.
    """

    name: str
    summary: str
    input_shape: tuple[int, ...] = (1, 3, 224, 224)

    @abstractmethod
    def draw(self, choose: Chooser) -> Config:
        """A configuration, perhaps one that `why_invalid` refuses."""

    def why_invalid(self, config: Config) -> str:
        """Why the space has no such network, in a sentence; empty where it has."""
        return ""

    @abstractmethod
    def build(self, config: Config) -> nn.Module:
        """The network of a configuration."""

    def parts(self, config: Config, batch: int) -> Iterable[Part]:
        """The parts of the network, in the order they run; by default one, all of it."""
        return (Part(make=_Built(self), config=as_pairs(config), input_shape=(batch, *self.input_shape[1:])),)

    def parameters(self) -> tuple[str, ...]:
        """Names of what a configuration holds, in its order."""
        return tuple(self.draw(RandomChooser(0, 0)))


@dataclass(frozen=True, slots=True)
class _Built:
    """The constructor of a space, called with a configuration as keyword arguments."""

    space: Space

    def __call__(self, **config: Any) -> nn.Module:
        return self.space.build(config)


def as_pairs(config: Config) -> tuple[tuple[str, Any], ...]:
    """A configuration as pairs of name and value, which can be keys; lists of a user's own space become tuples."""
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in config.items())


def check_fixed(space: Space, values: Mapping[str, Any]) -> None:
    """Refuse what cannot be fixed in a space.

    Raises:
        RooflineError: It has no such parameter, or not with such a value.
    """
    known = space.parameters()
    for name in values:
        if name.partition("[")[0] not in known:
            near = did_you_mean(name, known) or f" It has {', '.join(known)}."
            raise RooflineError(f"the space {space.name} has no parameter {name!r}.{near}")
    space.draw(Fixed(RandomChooser(0, 0), values))
