"""A latency to reach, as people write it: a duration, or images a second."""

from __future__ import annotations

import math
import re

from roofline.errors import RooflineError

_TARGET = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?\s*([a-zµμ]*)", re.ASCII)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


def parse_target(text: str, *, batch: int = 1) -> float:
    """A target latency in seconds a pass: a duration, or images a second, of which a pass does `batch`.

    Raises:
        RooflineError: It is neither, or not more than 0.

    >>> parse_target("2ms"), parse_target("500 us"), parse_target("25fps"), parse_target("25fps", batch=4)
    (0.002, 0.0005, 0.04, 0.16)
    """
    found = _TARGET.fullmatch(text.strip().lower())
    known = "as in 2ms, 500us, 0.1s or 30fps"
    if found is None or found[3] not in (*_SECONDS, "fps", ""):
        raise RooflineError(f"{text[:40]!r} is no target latency, {known}")
    number, unit = float(found[1] + (found[2] or "")), found[3]
    if not unit:
        raise RooflineError(f"{text[:40]!r} has no unit: write a target {known}")
    if not 0 < number < math.inf:
        raise RooflineError(f"a target must be more than 0 and finite (got {text[:40]!r})")
    target_s = batch / number if unit == "fps" else number * _SECONDS[unit]
    if not 0 < target_s < math.inf:
        raise RooflineError(f"a target must be more than 0 and finite (got {text[:40]!r})")
    return target_s
