"""Numbers as people read and write them; SI prefixes are decimal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Literal

from roofline.errors import RooflineError

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DURATIONS = ((1.0, "s"), (1e-4, "ms"), (1e-7, "us"), (1e-300, "ns"))


def si(value: float, unit: str = "", digits: int = 3) -> str:
    """`value` with `digits` significant ones and a decimal prefix.

    >>> si(1_080_244_224), si(9_715_512, "B"), si(0), si(41e9, "B/s")
    ('1.08 G', '9.72 MB', '0', '41 GB/s')
    """
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s * (1 - 0.5 * 10**-digits)), (1.0, ""))
    return f"{significant(value / scale, digits)} {prefix}{unit}".rstrip()


def seconds(value: float, digits: int = 3) -> str:
    """A duration with `digits` significant ones; ms down to a tenth of one, as latencies are quoted.

    >>> seconds(0.000629), seconds(2.3), seconds(31.2e-6), seconds(0)
    ('0.629 ms', '2.3 s', '31.2 us', '0 s')
    """
    scale, unit = next(((s, u) for s, u in _DURATIONS if abs(value) >= s), (1.0, "s"))
    step = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    return f"{significant(value / step, digits) if scale else 0} {unit}"


def milliseconds(value: float) -> str:
    """A duration in ms, without the unit.

    >>> milliseconds(0.000629), milliseconds(1e-7)
    ('0.629', '0.0001')
    """
    return significant(value * 1e3)


def time_unit(longest_s: float) -> tuple[float, str]:
    """The unit, in seconds, and its name for a column of durations of which `longest_s` is the longest.

    >>> time_unit(0.000629), time_unit(0.05)
    ((1e-06, 'us'), (0.001, 'ms'))
    """
    if longest_s < 1e-6:
        return 1e-9, "ns"
    return (1e-6, "us") if longest_s < 1e-2 else (1e-3, "ms")


def significant(value: float, digits: int = 3) -> str:
    """`value` rounded to that many significant digits, never in exponent form.

    >>> significant(1234.5), significant(0.012345), significant(2.0), significant(99.96)
    ('1234', '0.0123', '2', '100')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float) -> str:
    """A share of 1.

    >>> percent(0.051), percent(0.0004), percent(1), percent(0)
    ('5 %', '<1 %', '100 %', '0 %')
    """
    if 0 < share <= 0.005:
        return "<1 %"
    if 0.995 <= share < 1:
        return ">99 %"
    return f"{share * 100:.0f} %"


def shape(sizes: tuple[int, ...]) -> str:
    """Sizes joined by x.

    >>> shape((1, 3, 224, 224)), shape(())
    ('1x3x224x224', 'scalar')
    """
    return "x".join(map(str, sizes)) or "scalar"


def shape_list(each: Iterable[tuple[int, ...]]) -> str:
    """Several shapes, equal ones that follow each other once.

    >>> shape_list([(1, 128)] + 2 * [(1, 8, 512, 64)])
    '1x128 2 x (1x8x512x64)'
    """
    found = []
    for sizes, equal in groupby(each):
        count = len(list(equal))
        found.append(shape(sizes) if count == 1 else f"{count} x ({shape(sizes)})")
    return " ".join(found)


def printable(text: str) -> str:
    r"""Text of unknown origin for a terminal: one line, and characters that would steer the terminal are spelt out.

    >>> printable("a\tb\x1b[31m")
    'a b\\x1b[31m'
    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


# --- the same, read back ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How one kind of quantity is written: its name, the worth of each unit, and examples."""

    name: str
    units: Mapping[str, Fraction]
    examples: str


def _prefixed(unit: str, prefixes: str) -> dict[str, Fraction]:
    """The worth of a unit with each decimal prefix, in either case: nobody means a millibyte by mB."""
    worth = {prefix.lower(): Fraction(int(scale)) for scale, prefix in _PREFIXES} | {"": Fraction(1)}
    return {
        f"{written}{unit}": worth[prefix] for prefix in ["", *prefixes] for written in {prefix.lower(), prefix.upper()}
    }


_READINGS: Mapping[str, _Reading] = {
    "duration": _Reading(
        name="duration",
        units={
            "s": Fraction(1),
            "ms": Fraction(1, 10**3),
            **{f"{micro}s": Fraction(1, 10**6) for micro in ("u", "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}")},
            "ns": Fraction(1, 10**9),
        },
        examples="5ms, 500us or 0.1s",
    ),
    "bytes": _Reading(
        name="number of bytes",
        units={**_prefixed("B", "kmgtp"), "KiB": Fraction(2**10), "MiB": Fraction(2**20), "GiB": Fraction(2**30)},
        examples="10MB, 500kB or 8MiB",
    ),
    "count": _Reading(
        name="number of MACs", units=_prefixed("", "kmgtp"), examples="1G, 300M or 569740352 (1 MAC = 2 FLOPs)"
    ),
    "share": _Reading(name="share", units={"%": Fraction(1, 100), "": Fraction(1)}, examples="2% or 0.02"),
}
QuantityKind = Literal["duration", "bytes", "count", "share"]
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?\s*(\D*)", re.ASCII | re.IGNORECASE)
_MAX_QUANTITY_CHARACTERS = 40


def parse_quantity(text: str, kind: QuantityKind) -> Fraction:
    """A quantity as people write it, exactly, in SI base units: seconds, bytes, MACs, or a share of 1.

    Prefixes are decimal and of either case; a byte is a capital B, as a small b would be a bit.

    Raises:
        RooflineError: It is none, has no unit or an unknown one; a share of 100 % or more without its ``%``.

    >>> parse_quantity("5ms", "duration"), parse_quantity("10MB", "bytes"), parse_quantity("2%", "share")
    (Fraction(1, 200), Fraction(10000000, 1), Fraction(1, 50))
    >>> int(parse_quantity("1.5 G", "count")), int(parse_quantity("8MiB", "bytes"))
    (1500000000, 8388608)
    """
    reading = _READINGS[kind]
    shown, right = repr(printable(text[:_MAX_QUANTITY_CHARACTERS])), f"as in {reading.examples}"
    found = _QUANTITY.fullmatch(text.strip()) if len(text) <= _MAX_QUANTITY_CHARACTERS else None
    if found is None:
        raise RooflineError(f"{shown} is no {reading.name}, {right}")
    unit = found[3].lower() if kind == "duration" else found[3]
    if unit not in reading.units:
        wrong = f"has the unit {printable(unit)!r}" if unit else "has no unit"
        raise RooflineError(f"{shown} {wrong}, and a {reading.name} is written {right}")
    number = Fraction(found[1] + (found[2] or ""))
    if kind == "share" and not unit and number >= 1:
        raise RooflineError(f"{shown} would be {significant(float(number) * 100)} %: write a {reading.name} {right}")
    return number * reading.units[unit]
