"""The sentences about a comparison that every report shares; a bound is never called faster than a prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import compress
from string import ascii_uppercase
from typing import TYPE_CHECKING, get_args

from roofline import words
from roofline.hardware import is_of_time
from roofline.units import percent, seconds, si, significant

if TYPE_CHECKING:
    from roofline.comparison import Comparison, Contribution, Difference, Side

NEARLY = 1.1  # below, a percentage reads better than a factor


def verdict(comparison: Comparison) -> str:
    """Which is the faster, by how much, and what makes most of it; of more than two, which is the fastest where."""
    if len(comparison.differences) == 1:
        return of_two(comparison.differences[0])
    matrix = comparison.matrix()
    if len(matrix.devices) == 1 or len(matrix.models) == 1:
        return _of_many(comparison)
    return _by_device(comparison)


def of_two(difference: Difference) -> str:
    """A difference in one sentence, or two."""
    old, new = difference.baseline, difference.other
    on, called = _names(difference)
    if not difference.is_like:
        return on + _unlike_two(old, new, called)
    fast, slow = (new, old) if new.latency_s <= old.latency_s else (old, new)
    if fast.latency_s == slow.latency_s:
        changed = len(difference.changes())
        layers = f"though {changed} layers differ" if changed > 1 else "though a layer differs"
        return (
            f"{on}{called[old]} and {called[new]} have the same {_noun(old)}, {seconds(old.latency_s)}, "
            f"{layers if changed else 'and no layer differs'}."
        )
    times = " against ".join(_distinct_times(fast.latency_s, slow.latency_s))
    if difference.is_told_apart is False:
        lead = (
            f"Which is the faster, the predictions do not tell: {times} for {called[fast]} and {called[slow]}"
            f"{_by(fast, slow)}, is within their 90 % intervals."
        )
    elif old.latency_kind == "prediction":
        beyond = ", beyond their 90 % intervals" if difference.is_told_apart else ""
        lead = f"{called[fast]} is predicted to {_faster(fast, slow)} {called[slow]}: {times}{beyond}."
    else:
        lead = f"{called[fast]} has a lower latency bound than {called[slow]}: {times}{_by(fast, slow)}."
    return f"{on}{lead} {where(difference)}"


def _names(difference: Difference) -> tuple[str, dict[Side, str]]:
    """What is common to both, said first, and what the two are then called."""
    sides = (difference.baseline, difference.other)
    old, new = sides
    if old.device == new.device and old.label != old.model:
        return f"On {old.device}, ", {side: side.model for side in sides}
    if old.model == new.model and old.label != old.device:
        return f"For {old.model}, ", {side: side.device for side in sides}
    return "", {side: side.label for side in sides}


def where(difference: Difference) -> str:
    """Which kind of layer makes most of a difference that is not 0."""
    delta_s = difference.delta_s
    parts = difference.by("kind")
    part = max((part for part in parts if part.delta_s * delta_s > 0), key=lambda part: abs(part.delta_s))
    share_s, whole_s = abs(part.delta_s), abs(delta_s)
    if share_s == whole_s and not any(other.delta_s for other in parts if other is not part):
        return f"All of the difference is {_in(part)}."
    if share_s <= whole_s:
        return f"{seconds(share_s)} of the {seconds(whole_s)} difference is {_in(part)}."
    return (
        f"The difference {_in(part)} is larger, {seconds(share_s)}; the others take {seconds(share_s - whole_s)} of it "
        "back."
    )


def _in(part: Contribution) -> str:
    from roofline.comparison import OUTSIDE

    return part.name if part.name == OUTSIDE else f"in {part.name}"


def _unlike_two(old: Side, new: Side, called: Mapping[Side, str]) -> str:
    bound, predicted = (old, new) if old.latency_kind == "bound" else (new, old)
    lead = (
        f"{called[bound]} has a latency bound of {seconds(bound.latency_s)}, {called[predicted]} a predicted latency "
        f"of {seconds(predicted.latency_s)}: unlike numbers."
    )
    if bound.latency_s >= predicted.latency_s:
        return f"{lead} As even the bound is no shorter, {called[predicted]} is predicted to be the faster."
    return f"{lead} Which of the two is the faster, they do not say."


def _of_many(comparison: Comparison) -> str:
    """Models on one device, or one model on several."""
    from roofline.comparison import told_apart

    sides = comparison.sides
    if len({side.latency_kind for side in sides}) > 1:
        return f"{_listed([_time(side) for side in sides])}: bounds and predictions have no common order."
    ranked = sorted(sides, key=lambda side: side.latency_s)
    fast = ranked[0]
    to = sides[0] if sides[0] is not fast else ranked[1]
    if fast.latency_s == to.latency_s:
        names = _listed([side.label for side in ranked if side.latency_s == fast.latency_s])
        return f"{names} have the same {_noun(fast)}, {seconds(fast.latency_s)}, and none a lower one."
    near = [side.label for side in ranked[1:] if told_apart(fast, side) is False]
    leads = {"prediction": "is predicted to be the fastest", "bound": "has the lowest latency bound"}
    lead = "has the lowest predicted latency" if near else leads[fast.latency_kind]
    return (
        f"Of {len(sides)}, {fast.label} {lead}: {seconds(fast.latency_s)} against {seconds(to.latency_s)} of "
        f"{to.label}{_by(fast, to)}.{_not_told(fast.label, near)}"
    )


def _not_told(fast: str, near: Sequence[str]) -> str:
    """From which the fastest differs by no more than its prediction may be off."""
    return f" Their 90 % intervals do not tell {fast} from {_listed(near)}." if near else ""


def _by_device(comparison: Comparison) -> str:
    """The fastest model on each device that has several; devices with the same winner are named together."""
    from roofline.comparison import told_apart

    matrix = comparison.matrix()
    won: dict[tuple[str, str], list[str]] = {}
    unranked, near = [], []
    columns = zip(zip(*matrix.ranks, strict=True), zip(*matrix.sides, strict=True), strict=True)
    for device, (ranks, numbers) in zip(matrix.devices, columns, strict=True):
        sides = [comparison.sides[number] for number in numbers if number is not None]
        winners = list(compress(matrix.models, (rank == 1 for rank in ranks)))
        if len(sides) > 1 and winners:
            won.setdefault((sides[0].latency_kind, _listed(winners)), []).append(device)
            fast = min(sides, key=lambda side: side.latency_s)
            others = [side.model for side in sides if told_apart(fast, side) is False and side.model not in winners]
            if others:
                near.append(f"On {device}, the 90 % intervals do not tell {fast.model} from {_listed(others)}.")
        elif len(sides) > 1:
            unranked.append(device)
    if not won and not unranked:
        return _of_many(comparison)
    leads = {"prediction": "Predicted to be the fastest", "bound": "The lowest latency bound"}
    sentences = [
        f"{lead}: {'; '.join(f'{who} on {_listed(on)}' for (of, who), on in won.items() if of == kind)}."
        for kind, lead in leads.items()
        if any(of == kind for of, _ in won)
    ]
    if unranked:
        sentences.append(f"Bounds and predictions on {_listed(unranked)} have no common order.")
    return " ".join([*sentences, *near])


def letters(comparison: Comparison) -> dict[Side, str]:
    """A short name for each side: A to Z, then A1 to Z1 and so on."""
    names = (f"{letter}{number or ''}" for number in range(len(comparison.sides)) for letter in ascii_uppercase)
    return dict(zip(comparison.sides, names, strict=False))


def notes(comparison: Comparison, names: Sequence[str] | None = None) -> list[str]:
    """What a reader has to know: what the numbers are, what else differs between the sides, what was not counted.

    Args:
        comparison: Of what.
        names: What the sides are called, if not by their labels.
    """
    called = list(names or [side.label for side in comparison.sides])
    sides = comparison.sides
    lines = []
    on = [_basis(side) for side in sides]
    why = [
        words.why(kind, side.data["hardware"]) if side.estimator == "roofline" else words.by_calibration(side.estimator)
        for kind, side in zip(on, sides, strict=True)
    ]
    for kind, reason in sorted(dict.fromkeys(zip(on, why, strict=True)), key=lambda pair: BASES.index(pair[0])):
        who = [name for name, *own in zip(called, on, why, strict=True) if own == [kind, reason]]
        what = "prediction" if kind == "prediction" else "bound"
        if len(who) == len(sides):
            lines.append(f"The latencies are {what}s: each {reason}.")
        else:
            lines.append(f"{_listed(who)}: {f'a {what}' if len(who) == 1 else f'{what}s'}, {reason}.")
    intervals = [
        f"{name} {seconds(side.interval90_s[0])} to {seconds(side.interval90_s[1])}"
        for side, name in zip(sides, called, strict=True)
        if side.interval90_s is not None
    ]
    if intervals:
        lines.append(f"In 90 % of cases: {', '.join(intervals)}.")
    lines += dict.fromkeys(warning for side in sides for warning in side.data.get("warnings") or ())
    for what in dict.fromkeys(unlike.what for difference in comparison.differences for unlike in difference.unlike):
        if what not in ("latency_kind", "estimator", "uncounted_ops"):  # the first two are told above
            lines.append(f"Not alike in {UNLIKE[what]}: {_values(comparison, what, called)}.")
    lines += [_uncounted(side, name) for side, name in zip(sides, called, strict=True) if side.data["uncounted_ops"]]
    return lines


UNLIKE = {
    "estimator": "the estimator of the latency",
    "dtype": "dtype",
    "fusion": "fusion",
    "batch": "batch, and times are of a whole batch",
    "input": "input",
    "figures": "the figures of a device",
    "terms": "what a device adds to eq. 1",
    "roofline": "the version of roofline",
}


def _values(comparison: Comparison, what: str, called: Sequence[str]) -> str:
    """Each value with those that have it."""
    from roofline.comparison import traits

    holders: dict[str, list[str]] = {}
    for side, name in zip(comparison.sides, called, strict=True):
        value = traits(side.data)[what]
        if what == "figures":
            value = f"{si(value[0], 'MAC/s')} and {si(value[1], 'B/s')}"
        elif what == "terms":
            value = ", ".join(f"{name} {json.dumps(term)}" for name, term in value.items()) or "nothing"
        holders.setdefault(value if isinstance(value, str) else str(value), []).append(name)
    return ", ".join(f"{value} ({_listed(who)})" for value, who in holders.items())


def _uncounted(side: Side, name: str) -> str:
    ops = side.data["uncounted_ops"]
    share = sum(op["mem_bytes"] for op in ops) / max(1, side.totals()["mem_bytes"])
    listed = ", ".join(f"{op['name']} ({op['calls']}x)" for op in ops)
    return f"Not counted in {name}, but for their bytes ({percent(share)} of the traffic): {listed}."


BASES: Sequence[words.Basis] = get_args(words.Basis)  # in the order in which the notes tell of them


def _basis(side: Side) -> words.Basis:
    """What the latency of a side stands on."""
    hardware = side.data["hardware"]
    holds = bool(hardware.get("onchip_holds"))
    used = [path for path in hardware["figures"] if is_of_time(path, hardware["dtype"], holds=holds)]
    return words.basis(side.latency_kind, hardware, {hardware["figures"][path]["kind"] for path in used})


def _noun(side: Side) -> str:
    return "predicted latency" if side.latency_kind == "prediction" else "latency bound"


def _time(side: Side) -> str:
    return f"{side.label} has a {_noun(side)} of {seconds(side.latency_s)}"


def _faster(fast: Side, slow: Side) -> str:
    """``be 3.2x as fast as``; of times that are near each other, ``take 4 % less time than``."""
    if not fast.latency_s:
        return "take no time, unlike"
    return f"be {_factor(fast, slow)} as fast as" if _far(fast, slow) else f"take {_less(fast, slow)} time than"


def _by(fast: Side, slow: Side) -> str:
    """The same of numbers."""
    if not fast.latency_s:
        return ""
    return f", a factor of {_factor(fast, slow)[:-1]}" if _far(fast, slow) else f", {_less(fast, slow)}"


def _distinct_times(fast_s: float, slow_s: float) -> tuple[str, str]:
    """Two durations with as many digits as tell them apart.

    >>> _distinct_times(1.5, 3.0), _distinct_times(1.00012, 1.00031)
    (('1.5 s', '3 s'), ('1.0001 s', '1.0003 s'))
    """
    fast, slow = seconds(fast_s), seconds(slow_s)
    unit = slow.rpartition(" ")[2]
    step = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    for digits in range(4, 17):
        if fast != slow:
            break
        fast, slow = (f"{significant(value / step, digits)} {unit}" for value in (fast_s, slow_s))
    return fast, slow


def _far(fast: Side, slow: Side) -> bool:
    return slow.latency_s > fast.latency_s * NEARLY


def _factor(fast: Side, slow: Side) -> str:
    return f"{significant(slow.latency_s / fast.latency_s)}x"


def _less(fast: Side, slow: Side) -> str:
    return f"{significant(100 * (1 - fast.latency_s / slow.latency_s), 2)} % less"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
