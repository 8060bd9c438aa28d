"""A comparison of activations in words: what takes how many times the time of ReLU, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from roofline.activation_comparison import EQUAL, LABELS, TERMS, Agreement, Place, Predicted, Row, was_disturbed
from roofline.hardware import ACTIVATIONS as FUSIBLE
from roofline.units import seconds, si, significant

if TYPE_CHECKING:
    from roofline.activation_comparison import ActivationComparison

TERM_WORDS: Mapping[str, str] = {
    "macs": "MACs",
    "activation_bytes": "bytes of activations",
    "weight_bytes": "bytes of weights",
    "class_bytes": "bytes of ops at a bandwidth of their own",
    "vector_ops": "vector work",
    "layer_overhead": "overheads of layers",
}
TOLD = 0.05  # of a difference: a term below that is not told
CHANGED = 0.005  # of a time: a change below that is none
STATUS_WORDS: Mapping[str, str] = {
    "noisy": "its samples scatter widely",
    "contended": "other work disturbed it",
    "throttled": "the clock or the quota was lowered",
    "capped": "its time was up before its interval was narrow",
}


def listed(names: Sequence[str]) -> str:
    """Names as people list them.

    >>> listed(["ReLU"]), listed(["ReLU", "SiLU", "GELU"])
    ('ReLU', 'ReLU, SiLU and GELU')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def times(ratio: float) -> str:
    """A ratio.

    >>> times(1.2319), times(1)
    ('1.23x', '1x')
    """
    return f"{significant(ratio)}x"


def verdict(comparison: ActivationComparison) -> str:
    """What takes how many times the time of ReLU, at each place."""
    sentences = [_predicted(comparison, place) for place in comparison.places]
    if comparison.device is not None:
        sentences.append(_measured(comparison))
    return " ".join(sentences)


def _predicted(comparison: ActivationComparison, place: Place) -> str:
    baseline = comparison.baseline
    if comparison.are_equal(place.id):
        return equal(comparison, place)
    groups = [group for group in alike(comparison, place) if group[0] is not baseline]
    parts = []
    for group in groups:
        ratio, others = comparison.ratio_predicted(group[0], place.id), [row for row in group if row is not baseline]
        if others:
            parts.append(f"{listed([row.label for row in others])} {times(ratio) if ratio is not None else '-'}")
    same = [row.label for row in alike(comparison, place)[0][1:]]
    if same and comparison.is_equal(alike(comparison, place)[0][0], baseline, place.id):
        parts.insert(0, f"{listed(same)} 1x")
    lead = "Predicted" if place.latency_kind == "prediction" else "Bound"
    of = f"ReLU takes {'' if lead == 'Predicted' else 'at least '}{seconds(baseline.predictions[place.id].latency_s)}"
    return f"{lead} on {place.id}: {of}, {', '.join(parts)} that."


def _measured(comparison: ActivationComparison) -> str:
    where = f"Measured on this {'GPU' if comparison.device == 'cuda' else 'CPU'}"
    is_doubtful = comparison.run is not None and was_disturbed(comparison.run)
    doubt = " Other work disturbed it: measure again on an idle machine." if is_doubtful else ""
    baseline = comparison.baseline.measurement
    if baseline is None:
        return f"{where}: nothing to compare, ReLU was not measured.{doubt}"
    parts = [f"ReLU took {seconds(baseline.latency_s.median)}"]
    for row in comparison.rows:
        ratio = comparison.ratio_measured(row)
        if row is not comparison.baseline and ratio is not None:
            within = " to ".join(map(significant, ratio.ci95)) if ratio.ci95 else "too few samples for an interval"
            parts.append(f"{row.label} {times(ratio.value)} ({within})")
    return f"{where}: {', '.join(parts)}{' that' if len(parts) > 1 else ''}.{doubt}"


def alike(comparison: ActivationComparison, place: Place) -> list[list[Row]]:
    """The rows in groups of equal time, the fastest group first; ReLU leads its own."""
    ordered = sorted(
        comparison.rows, key=lambda row: (row.predictions[place.id].latency_s, row is not comparison.baseline)
    )
    groups: list[list[Row]] = []
    for row in ordered:
        if groups and comparison.is_equal(groups[-1][0], row, place.id):
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        group.sort(key=lambda row: row is not comparison.baseline)
    return groups


# --- why --------------------------------------------------------------------------------------------------------------


def equal(comparison: ActivationComparison, place: Place) -> str:
    """That all take the same time at a place, and why."""
    rows = comparison.rows
    lead = "Predicted" if place.latency_kind == "prediction" else "Bound"
    time = seconds(comparison.baseline.predictions[place.id].latency_s)
    at_least = "" if lead == "Predicted" else "at least "
    names = listed([row.label for row in rows])
    whose = f"{names} take the same, {at_least}{time}" if len(rows) > 1 else f"{names} takes {at_least}{time}"
    because = f": {_why_equal(place, rows)}" if len(rows) > 1 else ""
    return f"{lead} on {place.id}: {whose}{because}."


def _why_equal(place: Place, rows: Sequence[Row]) -> str:
    """Why these take the same time there."""
    device = place.hardware
    fused = {row.activation for row in rows} <= device.fused_activations
    if place.fusion == "none":
        bytes_ = "without fusion each of them reads and writes the same bytes"
    elif fused:
        bytes_ = "each runs inside the op before it and moves no bytes of its own"
    elif "activations" in device.onchip_holds:
        bytes_ = "what they read and write stays on the chip"
    else:
        bytes_ = "they move the same bytes"
    if device.vector_ops_per_s is None:
        return f"{bytes_}, and the profile has no rate of vector ops, so that what they compute costs nothing"
    return f"{bytes_}, and what they compute is done before the MACs or bytes of the layer are"


def reasons(comparison: ActivationComparison, place: Place) -> list[str]:
    """Which term makes the difference from ReLU, one sentence for those that are alike; and what fusion would do."""
    if comparison.are_equal(place.id):
        return [equal(comparison, place)]
    lines = []
    for group in alike(comparison, place):
        if comparison.is_equal(group[0], comparison.baseline, place.id):
            if len(group) > 1:
                names = listed([row.label for row in group])
                lines.append(f"{names} take the same: {_why_equal(place, group)}.")
            continue
        lines += _difference(comparison, place, group)
    lines += _of_fusion(comparison, place)
    return lines


def _difference(comparison: ActivationComparison, place: Place, group: Sequence[Row]) -> Iterator[str]:
    relu, ours = comparison.baseline.predictions[place.id], group[0].predictions[place.id]
    delta_s = ours.latency_s - relu.latency_s
    verb = "take" if len(group) > 1 else "takes"
    more = "more" if delta_s > 0 else "less"
    changes = {term: ours.parts_s[term] - relu.parts_s[term] for term in TERMS}
    told = sorted(
        (term for term in TERMS if abs(changes[term]) >= TOLD * abs(delta_s)), key=lambda term: -abs(changes[term])
    )
    parts = []
    for term in told:
        size = "all of it" if len(told) == 1 else f"{'' if changes[term] > 0 else '-'}{seconds(abs(changes[term]))}"
        parts.append(f"{size} {TERM_WORDS[term]}{_how_much(term, place, ours, relu)}")
    yield f"{listed([row.label for row in group])} {verb} {seconds(abs(delta_s))} {more} than ReLU: {'; '.join(parts)}."
    if len(group) > 1:
        yield f"{listed([row.label for row in group])} are alike there: {_why_equal(place, group)}."


def _how_much(term: str, place: Place, ours: Predicted, relu: Predicted) -> str:
    """By how much the quantity behind a term grows."""
    if term == "vector_ops" and place.hardware.vector_ops_per_s is not None:
        return f" ({_growth(ours.vector_ops, relu.vector_ops, 'ops')})"
    if term == "macs":
        return f" ({_growth(ours.macs, relu.macs, 'MACs')})"
    if term == "weight_bytes":
        return f" ({_growth(ours.weight_bytes, relu.weight_bytes, 'B')})"
    if term == "class_bytes":
        rates = place.hardware.bandwidth_bytes_per_s_by_class
        named = (f"{name} at {si(rates[name], 'B/s')}" for name in ours.classes)
        return f" ({', '.join(named)})"
    if term == "activation_bytes":
        ours_bytes, relus_bytes = (item.mem_bytes - item.weight_bytes for item in (ours, relu))
        return f" ({_growth(ours_bytes, relus_bytes, 'B')})"
    return ""


def _growth(ours: int, relus: int, unit: str) -> str:
    return f"{'+' if ours >= relus else '-'}{si(abs(ours - relus), unit)}"


def _of_fusion(comparison: ActivationComparison, place: Place) -> Iterator[str]:
    """What would be left of the difference with every activation fused, where that changes anything."""
    relu_s = comparison.baseline.predictions[place.id].ways_s["all"]
    same: list[str] = []
    other: list[str] = []
    for row in comparison.rows:
        item = row.predictions[place.id]
        if row is comparison.baseline or not relu_s or abs(item.ways_s["all"] / item.latency_s - 1) < CHANGED:
            continue
        ratio = item.ways_s["all"] / relu_s
        if math.isclose(ratio, 1, rel_tol=EQUAL):
            same.append(row.label)
        else:
            other.append(f"{row.label} {times(ratio)} that")
    if same:
        other.insert(0, f"{listed(same)} the same")
    if other:
        yield f"With every activation fused, ReLU would take {seconds(relu_s)}, {', '.join(other)}."


# --- the rest ---------------------------------------------------------------------------------------------------------


def agreement(item: Agreement) -> str:
    """How a published order stands to ours, in a sentence."""
    source, device, runtime = item.table
    pairs = item.agree + item.tied + len(item.reversed)
    return f"{source}, {device}, {runtime}: of {pairs} pair{'s' if pairs != 1 else ''}, {_order(item)}."


def _order(item: Agreement) -> str:
    is_measured = item.place == "measured"
    parts = [f"{item.agree} in the same order {'as measured here' if is_measured else f'on {item.place}'}"]
    if item.tied:
        parts.append(f"{item.tied} that cannot be told apart" if is_measured else f"{item.tied} equal there")
    if item.reversed:
        named = ", ".join(f"{LABELS[faster]} published before {LABELS[slower]}" for faster, slower in item.reversed)
        parts.append(f"{len(item.reversed)} the other way round ({named})")
    return ", ".join(parts)


def published(comparison: ActivationComparison) -> list[str]:
    """What is published of these activations, and how its order stands to ours: a sentence or two a table."""
    agreements = comparison.agreements()
    tables = dict.fromkeys(row.table for row in comparison.published())
    return [_table(comparison, table, [item for item in agreements if item.table == table]) for table in tables]


def _table(comparison: ActivationComparison, table: tuple[str, str, str], agreements: Sequence[Agreement]) -> str:
    source, device, runtime = table
    rows = [row for row in comparison.published() if row.table == table]
    ratios = [comparison.published_ratio(row) for row in rows]
    cells = [
        f"{LABELS[row.act]} {seconds(row.latency_s)}{'' if ratio in (None, 1) else f' ({times(ratio)})'}"
        for row, ratio in zip(rows, ratios, strict=True)
    ]
    how = CONFIDENCE.get(rows[0].confidence, rows[0].confidence)
    said = f"Published, {device}, {runtime}: {', '.join(cells)} ({source}; {how})."
    if not agreements:
        return said
    pairs = agreements[0].agree + agreements[0].tied + len(agreements[0].reversed)
    return f"{said} Of its {pairs} pair{'s' if pairs != 1 else ''}, {'; '.join(map(_order, agreements))}."


CONFIDENCE = {
    "from-memory": "quoted from memory, not checked against the paper; its network is not ours",
    "from-secondary": "read in a transcription of the paper",
    "verified-in-source": "checked",
}


def notes(comparison: ActivationComparison) -> list[str]:
    """What a reader has to know of the numbers."""
    lines = []
    for place in comparison.places:
        kind = "a prediction" if place.latency_kind == "prediction" else "a bound"
        fused = "without fusion" if place.fusion == "none" else f"{place.fusion} fusion"
        names = [LABELS.get(name, name) for name in sorted(place.hardware.fused_activations)]
        named = "every activation" if len(names) == len(FUSIBLE) else listed(names) or "no activation"
        which = f" of {named}" if place.fusion != "none" else ""
        lines.append(f"On {place.id} it is {kind}: {place.dtype}, {fused}{which}.")
    lines += _of_the_run(comparison)
    if comparison.defaults:
        lines.append(f"Taken as defaults: {', '.join(comparison.defaults)}.")
    return lines


def _of_the_run(comparison: ActivationComparison) -> Iterator[str]:
    run = comparison.run
    if run is None:
        return
    measured = [(row, row.measurement) for row in comparison.rows if row.measurement is not None]
    if measured:
        _, first = measured[0]
        yield (
            f"Measured: {first.dtype}, {first.mode}, {first.threads} thread{'s' if first.threads != 1 else ''}, batch "
            f"{first.batch}, all variants in turns in one session. Ratios are of times at the machine's reference "
            "state, so that its drift is not in them; intervals are of 95 %."
        )
    for row, item in measured:
        if item.status != "ok":
            why = STATUS_WORDS.get(item.status, "")
            left_out = f", {item.left_out} of its samples left out" if item.left_out else ""
            yield f"{row.label} is {item.status}: {why}{left_out}."
        yield from (f"{row.label}: {note}" for note in item.notes)
    for failure in run.failures:
        yield f"{LABELS.get(failure.model, failure.model)} was not measured: {failure.reason}."
    if run.is_interrupted:
        yield "The measurement was stopped by hand; what was done until then is shown."
