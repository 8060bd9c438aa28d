"""The sentences of a what-if that every report shares; a bound that is within a target is never called meeting it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from roofline import words
from roofline.units import printable, seconds, si, significant

if TYPE_CHECKING:
    from roofline.whatif import Alternative, Elasticity, Way, WhatIf

FIGURES = {
    "peak": ("peak", "MAC/s"),
    "bandwidth": ("bandwidth", "B/s"),
    "weight_bandwidth": ("weight bandwidth", "B/s"),
    "vector_rate": ("vector rate", "op/s"),
    "layer_overhead": ("layer overhead", "s"),
    "inference_overhead": ("inference overhead", "s"),
}
OVERHEADS = ("layer_overhead", "inference_overhead")
WAYS = {
    "peak": "peak alone",
    "bandwidth": "bandwidth alone",
    "both": "both by one factor",
    "cheapest": "the least of both",
}
SCALES = {
    "macs": "MACs",
    "bus_bytes": "bytes",
    "vector_ops": "vector ops",
    "overheads_s": "overheads",
    "peak_macs_per_s": "peak",
}
OTHERS = {"dtype": "dtypes", "batch": "batches", "input": "sizes", "fusion": "fusions"}
FUSIONS = {"none": "no fusion", "epilogue": "epilogue fusion"}
SAME = 0.005  # relative; what changes less than this is not worth a word


def verdict(whatif: WhatIf) -> str:
    """The latency, how it stands to the target, and what would reach it; without a target, what it answers to most."""
    if not whatif.latency_s:
        return f"{_latency(whatif)}: it does nothing, whatever the device."
    if whatif.target_s is None:
        return f"{_latency(whatif)}. {_what_it_answers_to(whatif)}"
    target = seconds(whatif.target_s)
    if not whatif.is_met:
        lead = f"{_latency(whatif)}, {times(whatif.latency_s / whatif.target_s)} the target of {target}."
        basis = words.basis_of(whatif.analysis)
        if basis == "ceilings" or (basis == "bus" and _alone_is_too_long(whatif)):
            lead += " No run on this device reaches it."
        elif basis == "bus":
            lead += " On this device only a run that keeps more in on-chip memory could reach it."
        return f"{lead} {_what_would_do(whatif, 'It takes')}"
    spare = f"{significant(100 * (1 - whatif.latency_s / whatif.target_s), 2)} %"
    if whatif.analysis.latency_kind == "prediction":
        lead = f"{_latency(whatif)}, within the target of {target} with {spare} to spare."
    else:
        lead = f"{_latency(whatif)}; it leaves the target of {target} possible, with {spare} to spare."
    return f"{lead} {_what_would_do(whatif, 'So would')}"


def _latency(whatif: WhatIf) -> str:
    """The latency by its right name."""
    latency = seconds(whatif.latency_s)
    if whatif.analysis.latency_kind == "prediction":
        return f"Predicted latency {latency}"
    if words.basis_of(whatif.analysis) == "estimate":
        return f"Latency bound, on estimated figures: {latency}"
    return f"Latency bound: at least {latency}"


def _alone_is_too_long(whatif: WhatIf) -> bool:
    """Whether the target is not reached however few bytes cross the memory bus."""
    return any(way.name == "bandwidth" and way.limit_latency_s > (whatif.target_s or 0.0) for way in whatif.ways)


def _what_it_answers_to(whatif: WhatIf) -> str:
    ranked = sorted(
        (item for item in whatif.elasticities if item.quantity != "weight_bandwidth"),
        key=lambda item: item.step_latency_s,
    )
    telling = [item for item in ranked if item.step_latency_s < whatif.latency_s * (1 - 1e-4)][:3]
    if not telling:
        return "No figure of the device changes it by a hundredth of a per cent."
    first, *others = telling
    sentence = f"{_step(first)} takes {_off(whatif, first)} off it"
    if others:
        sentence += ", " + " and ".join(f"{_step(item)} {_off(whatif, item)}" for item in others)
    limits = " and ".join(
        f"with {_limit(item)} {'it would still take ' if item is first else ''}{seconds(item.limit_latency_s)}"
        for item in telling[:2]
    )
    return f"{sentence}. {limits[0].upper()}{limits[1:]}."


def _what_would_do(whatif: WhatIf, lead: str) -> str:
    """The smallest figures that reach the target, one after the other."""
    ways = {way.name: way for way in whatif.ways}
    found = [
        text
        for text in (
            _figure(ways["peak"], "peak") and f"a peak of {_figure(ways['peak'], 'peak')} at the present bandwidth",
            _figure(ways["bandwidth"], "bandwidth")
            and f"a bandwidth of {_figure(ways['bandwidth'], 'bandwidth')} at the present peak",
        )
        if text
    ]
    both = ways["both"].peak_factor
    if both and not whatif.is_met:
        found.append(f"{times(at_least(both))} of both")
    sentences = [f"{lead} {_or(found)}."] if found else []
    if both is None:
        sentences = [f"No peak and bandwidth are enough: {_what_stays(whatif, 'both')}."]
    else:
        sentences += [
            f"No {FIGURES[name][0]} is enough: {_what_stays(whatif, name)}."
            for name in ("peak", "bandwidth")
            if ways[name].peak_factor is None
        ]
    return " ".join(sentences)


def _figure(way: Way, which: str) -> str:
    """The figure that a way asks for, rounded up, and its factor; empty where there is none, or any will do."""
    factor = way.peak_factor if which == "peak" else way.bandwidth_factor
    value = way.peak_macs_per_s if which == "peak" else way.bandwidth_bytes_per_s
    if not factor or not value:
        return ""
    return f"{si(at_least(value), FIGURES[which][1])} ({times(at_least(factor))})"


def _what_stays(whatif: WhatIf, grown: str) -> str:
    """What a latency comes down to as a rate grows without end."""
    of = whatif.times
    parts = [
        ("MACs", grown == "bandwidth" and of.mac_s.any()),
        ("bytes", grown == "peak" and of.mem_s.any()),
        ("vector ops", of.vector_s.any()),
        ("overheads", of.overhead_s > 0),
    ]
    named = [name for name, there in parts if there]
    limit_s = next(way.limit_latency_s for way in whatif.ways if way.name == grown)
    alone = "alone " if len(named) == 1 else ""
    return f"{_and(named)} {alone}take {seconds(limit_s)}"


def answers(whatif: WhatIf) -> list[str]:
    """More of the answer, a sentence or two each: each figure, each way to the target, the network, the layers."""
    if not whatif.latency_s:
        return []
    lines = [elasticity(whatif, item) for item in whatif.elasticities]
    if whatif.target_s is not None:
        lines += [way(whatif, one) for one in whatif.ways]
        within = whatif.within()
        if within and not whatif.is_met:
            named = [f"{in_words(other.group, other.name)} ({seconds(other.latency_s or 0.0)})" for other in within]
            are = (
                "are within the target" if whatif.analysis.latency_kind == "prediction" else "leave the target possible"
            )
            lines.append(f"On the device as it is, these {are}: {', '.join(named)}.")
    best = next(iter(whatif.best_layers(1)), None)
    if best is not None and max(best.half_bytes_s, best.half_macs_s) > 0:
        what = "bytes" if best.half_bytes_s >= best.half_macs_s else "MACs"
        saved_s = max(best.half_bytes_s, best.half_macs_s)
        lines.append(
            f"Of all layers, {best.name} with half its {what} would save the most: {seconds(saved_s)}, "
            f"{_percent(saved_s / whatif.latency_s)}."
        )
    return lines


def elasticity(whatif: WhatIf, item: Elasticity) -> str:
    """What one figure does: a step, the elasticity, the limit, and how far that elasticity holds."""
    if item.quantity in OVERHEADS:
        share = _percent(item.better)
        return (
            f"{_step(item)} takes {_off(whatif, item)} off the latency: the elasticity is {significant(item.better)}, "
            f"for it is {share} of the latency. Without it, {seconds(item.limit_latency_s)} would be left."
        )
    name = FIGURES[item.quantity][0]
    if not item.better and not item.worse:
        return f"The {name} does not matter: nothing waits for it."
    one = f"the elasticity is {signed(item.better)}"
    if not math.isclose(item.better, item.worse, rel_tol=1e-9):
        one += f" as it grows and {signed(item.worse)} as it shrinks, for a layer is at its knee"
    holds = (
        "" if item.knee_factor is None else f", which holds until {times(item.knee_factor)}, where {item.knee_layer}"
    )
    turns = "" if item.knee_factor is None else " stops waiting for it"
    return (
        f"{_step(item)} takes {_off(whatif, item)} off the latency; {one}{holds}{turns}. "
        f"With {_limit(item)}, {seconds(item.limit_latency_s)} would be left."
    )


def way(whatif: WhatIf, one: Way) -> str:
    """What one way to the target, or to the present latency, asks for."""
    goal = "the present latency" if whatif.target_s is None else seconds(whatif.target_s)
    if one.peak_factor is None or one.bandwidth_factor is None:
        what = "peak and bandwidth are" if one.name in ("both", "cheapest") else f"{FIGURES[one.name][0]} is"
        return f"No {what} enough for {goal}: {_what_stays(whatif, one.name)}."
    if not one.peak_factor or not one.bandwidth_factor:
        return f"Any {'peak and bandwidth' if one.name == 'both' else one.name} is enough for {goal}."
    peak, bandwidth = _figure(one, "peak"), _figure(one, "bandwidth")
    if one.name == "peak":
        return f"At the present bandwidth, {goal} takes a peak of {peak}."
    if one.name == "bandwidth":
        return f"At the present peak, {goal} takes a bandwidth of {bandwidth}."
    if one.name == "both":
        return f"Grown by one factor, it takes {peak} and {bandwidth}."
    return f"The least product of the two factors is at {peak} and {bandwidth}: a doubling of either is worth the same."


def what_changes(whatif: WhatIf, other: Alternative) -> str:
    """What makes the latency of an alternative another, for one image; or why it cannot be run."""
    if other.skipped:
        return other.skipped
    if other.is_present:
        return "as it is"
    free = () if whatif.times.vector_s.any() else ("vector_ops",)
    scales = {key: value for key, value in (other.scales or {}).items() if value is not None and key not in free}
    changed = {key: scale for key, scale in scales.items() if abs(scale - 1) > SAME}
    parts = [
        f"{times(changed[key], 2 + (abs(changed[key] - 1) < 0.05))} {name}"
        for key, name in SCALES.items()
        if key in changed
    ]
    return ", ".join(parts) or "nothing that costs time"


def within(latency_s: float | None, latency_kind: str | None, target_s: float) -> str:
    """Whether a latency is within a target: ``yes``, ``no``, of a bound no more than ``possible``; empty without one.

    >>> within(1e-3, "prediction", 2e-3), within(1e-3, "bound", 2e-3), within(3e-3, "bound", 2e-3)
    ('yes', 'possible', 'no')
    """
    if latency_s is None:
        return ""
    return "no" if latency_s > target_s else "yes" if latency_kind == "prediction" else "possible"


def rows(whatif: WhatIf) -> list[tuple[str, Alternative]]:
    """The alternatives by group, with what they are called; those of a group that fail for one reason are one row."""
    found: list[tuple[str, Alternative]] = []
    for group, several in OTHERS.items():
        of_group = [other for other in whatif.alternatives if other.group == group]
        failing = [other for other in of_group if other.detail]
        for other in of_group:
            if len(failing) < 2 or other not in failing:
                found.append((in_words(group, other.name), other))
            elif other is failing[0]:
                found.append((f"{len(failing)} other {several}", other))
    return found


def in_words(group: str, name: str) -> str:
    """What an alternative is called outside its group.

    >>> in_words("batch", "8"), in_words("dtype", "fp16"), in_words("fusion", "none")
    ('batch 8', 'fp16', 'no fusion')
    """
    if group == "fusion":
        return FUSIONS.get(name, name)
    return f"{group} {name}" if group in ("batch", "input") else name


def notes(whatif: WhatIf) -> list[str]:
    """What a reader has to know: what the latencies are, what was taken, and what the figures leave out."""
    lines = words.notes(whatif.analysis)[: 2 + bool(whatif.analysis.defaults)]
    if whatif.set_aside is not None:
        lines.insert(
            1,
            f"By the roofline of the profile's figures, not by its calibration ({printable(whatif.set_aside.name)}): "
            "what kernels took on this machine tells nothing of another peak or bandwidth. 'roofline analyze' uses it.",
        )
    kinds = {other.name: other.latency_kind for other in whatif.alternatives if other.group == "dtype"}
    unlike = [name for name, kind in kinds.items() if kind not in (None, whatif.analysis.latency_kind)]
    if unlike:
        lines.append(f"At {_and(unlike)} the latency is a {kinds[unlike[0]]}, and so has no ratio to the others.")
    lines.append("Other dtypes and input sizes change the accuracy too, which is not in these numbers.")
    return lines


# --- pieces -----------------------------------------------------------------------------------------------------------


def _step(item: Elasticity) -> str:
    return f"10 % {'less' if item.quantity in OVERHEADS else 'more'} {FIGURES[item.quantity][0]}"


def _limit(item: Elasticity) -> str:
    name = FIGURES[item.quantity][0]
    return f"no {name}" if item.quantity in OVERHEADS else f"an infinite {name}"


def _off(whatif: WhatIf, item: Elasticity) -> str:
    return _percent(1 - item.step_latency_s / whatif.latency_s)


def _percent(share: float) -> str:
    """A share of 1, to two digits.

    >>> _percent(0.0789), _percent(0), _percent(0.00012)
    ('7.9 %', '0 %', '0.012 %')
    """
    return f"{significant(100 * share, 2)} %" if share > 1e-12 else "0 %"


def signed(value: float) -> str:
    """A number with its sign, to three digits.

    >>> signed(-0.871), signed(0.25), signed(0.0)
    ('-0.871', '0.25', '0')
    """
    return significant(value) if abs(value) > 1e-12 else "0"


def times(factor: float, digits: int = 3) -> str:
    """A factor.

    >>> times(2.348), times(0.5)
    ('2.35x', '0.5x')
    """
    return f"{significant(factor, digits)}x"


def at_least(value: float, digits: int = 3) -> float:
    """`value` rounded up, so that what is printed is enough.

    >>> at_least(860.4e9), at_least(2.0), at_least(1.2300000000000002)
    (861000000000.0, 2.0, 1.23)
    """
    if not 0 < value < math.inf:
        return value
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return float(f"{math.ceil(value / step * (1 - 1e-12)) * step:.{digits - 1}e}")


def _or(items: list[str]) -> str:
    return " or ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _and(items: list[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
