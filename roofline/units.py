"""Numbers as people read them; SI prefixes are decimal."""

from __future__ import annotations

import math

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DURATIONS = ((1.0, "s"), (1e-4, "ms"), (1e-7, "us"), (1e-300, "ns"))


def si(value: float, unit: str = "", digits: int = 3) -> str:
    """`value` with `digits` significant ones and a decimal prefix.

    >>> si(1_080_244_224), si(9_715_512, "B"), si(0), si(41e9, "B/s")
    ('1.08 G', '9.72 MB', '0', '41 GB/s')
    """
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s * (1 - 0.5 * 10**-digits)), (1.0, ""))
    return f"{significant(value / scale, digits)} {prefix}{unit}".rstrip()


def seconds(value: float) -> str:
    """A duration; ms down to a tenth of one, as latencies are quoted.

    >>> seconds(0.000629), seconds(2.3), seconds(31.2e-6), seconds(0)
    ('0.629 ms', '2.3 s', '31.2 us', '0 s')
    """
    scale, unit = next(((s, u) for s, u in _DURATIONS if abs(value) >= s), (1.0, "s"))
    step = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    return f"{significant(value / step) if scale else 0} {unit}"


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


def printable(text: str) -> str:
    r"""Text of unknown origin for a terminal: one line, and characters that would steer the terminal are spelt out.

    >>> printable("a\tb\x1b[31m")
    'a b\\x1b[31m'
    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
