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

LOOKED_AT = 200  # draws that tell what a space draws
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
        _check_range(name, low, high, log=log)
        if step < 1:
            raise RooflineError(f"{name} is asked for in steps of {step}: 1 or more are needed")
        steps = (high - low) // step
        if not log:
            return low + step * int(self._share() * (steps + 1))
        value = self.number(name, low - min(step, low / 2), low + step * steps, log=True)
        return low + step * max(0, math.ceil((value - low) / step))

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """See `Chooser`."""
        _check_range(name, low, high, log=log)
        share = self._share()
        return min(max(low * (high / low) ** share, low), high) if log else low + (high - low) * share

    def choice(self, name: str, options: Sequence[Plain]) -> Any:
        """See `Chooser`."""
        if not options:
            raise RooflineError(f"{name} is asked for among no options")
        return options[int(self._share() * len(options))]


def _check_range(name: str, low: float, high: float, *, log: bool) -> None:
    """Refuse a range that nothing can be drawn from.

    Raises:
        RooflineError: It is upside down, or logarithmic and not above 0.
    """
    if not low <= high:
        raise RooflineError(f"{name} is asked for from {low:g} to {high:g}: the lower end comes first")
    if log and low <= 0:
        raise RooflineError(f"{name} is asked for by its logarithm, from {low:g}: it must be above 0")


class Fixed:
    """A chooser that does not choose what the user has fixed.

    Args:
        chooser: Chooses the rest.
        values: By name; of a list, one value for all of it, or as many as it has. Text is taken for what is asked for.

    Attributes:
        served: Which of the values were asked for so far: name, and place in a list of values, 0 of a single one.
    """

    def __init__(self, chooser: Chooser, values: Mapping[str, Any]) -> None:
        self.chooser, self.values = chooser, values
        self.served: set[tuple[str, int]] = set()

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
        whole, _, place = name.partition("[")
        if name in self.values:
            self.served.update((name, number) for number in range(len(_listed(self.values[name]))))
            self.served.add((whole, int(place.rstrip("]")) if place else 0))
            return self.values[name]
        if not place or whole not in self.values:
            return None
        listed = _listed(self.values[whole])
        index = int(place.rstrip("]")) if len(listed) > 1 else 0
        if index >= len(listed):
            raise RooflineError(
                f"{whole} needs one value, or more than {len(listed)}: one for each place (got {self.values[whole]})"
            )
        self.served.add((whole, index))
        return listed[index]


def _listed(given: Any) -> Sequence[Any]:
    """The values of a list that are held; of a single one, that one."""
    if isinstance(given, str):
        return given.split(",")
    return given if isinstance(given, Sequence) else (given,)


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
    """Refuse what cannot be fixed in a space, as its first draws tell.

    Raises:
        RooflineError: It has no such parameter or place in a list, or not with such a value.
    """
    known = space.parameters()
    for name in values:
        if name.partition("[")[0] not in known:
            near = did_you_mean(name, known) or f" It has {', '.join(known)}."
            raise RooflineError(f"the space {space.name} has no parameter {name!r}.{near}")
    if not values:
        return
    served: set[tuple[str, int]] = set()
    configs = []
    for index in range(LOOKED_AT):
        chooser = Fixed(RandomChooser(0, index), values)
        configs.append(space.draw(chooser))
        served |= chooser.served
    for name, given in values.items():
        if {(name, place) for place in range(len(_listed(given)))} - served:
            raise RooflineError(_never_asked(name, given, [config[name.partition("[")[0]] for config in configs]))
    for name in values:
        made = {_changed(config, name, values) for config in configs}
        if len(made) == 1 and None not in made:
            raise RooflineError(f"{name} cannot be {values[name]}: the space {space.name} makes {made.pop()} of it")


def why_not_held(config: Config, values: Mapping[str, Any]) -> str:
    """Why a configuration is none with these values fixed, in a sentence; empty where it is.

    A space may sort what it draws, or round it. A draw in which a value then stands elsewhere is one without it.
    """
    for name, given in values.items():
        changed = _changed(config, name, values)
        if changed is not None:
            return f"{name} would be {changed}, and is to be {given}"
    return ""


def _changed(config: Config, name: str, values: Mapping[str, Any]) -> str | None:
    """What a configuration has in place of a fixed value; None if it has that."""
    whole, _, place = name.partition("[")
    value, given = config[whole], values[name]
    if not isinstance(value, tuple | list):
        return None if _is(value, given) else str(value)
    if place:
        index = int(place.rstrip("]"))
        return None if index >= len(value) or _is(value[index], given) else str(value[index])
    wanted = _listed(given)
    wanted = wanted if len(wanted) > 1 else list(wanted) * len(value)
    pairs = enumerate(zip(value, wanted, strict=False))
    if all(_is(item, one) or f"{whole}[{index}]" in values for index, (item, one) in pairs):
        return None
    return ",".join(map(str, value))


def _is(value: Any, given: Any) -> bool:
    return str(value) == str(given) or (not isinstance(value, str) and _as_number(given) == value)


def _never_asked(name: str, given: Any, drawn: Sequence[Any]) -> str:
    """Why no draw asked for a fixed value."""
    whole, _, place = name.partition("[")
    lengths = [len(value) for value in drawn if isinstance(value, tuple | list)]
    if place and not lengths:
        return f"{whole} is one value, and no list (got {name}={given})"
    if place or len(_listed(given)) > 1:
        most = max(lengths, default=0)
        return f"{whole} has {most} place{'s' if most != 1 else ''} at most, from {whole}[0] on (got {name}={given})"
    return f"{name} cannot be held: it is not drawn, but made of what is"
