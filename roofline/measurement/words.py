"""A measurement in sentences, from its plain data, so that terminal, page and text say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from roofline.measurement import stopping
from roofline.measurement.conditions import FLAGS
from roofline.units import percent, seconds, shape, significant

Plain = Mapping[str, Any]

STATUSES = {
    "ok": "the interval of the median is as narrow as was asked",
    "noisy": (
        f"the samples spread by more than {percent(stopping.MAX_SPREAD)} of the median, or the processes by more than "
        f"{percent(stopping.MAX_BETWEEN_PROCESSES)}"
    ),
    "contended": (
        f"more than {percent(stopping.MAX_LEFT_OUT)} of the samples were left out for other work, or other processes "
        "wanted the same cores during most of them"
    ),
    "throttled": "the clock or the quota was lowered in the meantime",
    "capped": "time ran out before the interval was as narrow as was asked (--max-time allows more)",
}
TWO_LATENCIES = (
    "Timed is what the stopwatch had; reference is that over how much slower than at its reference state the machine "
    "was just then, by an anchor timed beside each sample. Compare the latter."
)


def verdict(run: Plain) -> str:
    """What was found, in a sentence."""
    found = run["measurements"]
    if not found:
        return "Nothing was measured."
    doubtful = [name(each) for each in found if each["status"] in ("contended", "throttled")]
    if doubtful:
        return (
            f"{_verdict(found)} But the machine was not fit to measure {', '.join(doubtful)}: do it again when it is."
        )
    return _verdict(found)


def _verdict(found: Sequence[Plain]) -> str:
    if len(found) == 1:
        return f"Measured: {_latencies(found[0])}."
    known = sorted(found, key=_reference_s)
    fastest, slowest = known[0], known[-1]
    ratio = _reference_s(slowest) / _reference_s(fastest) if _reference_s(fastest) > 0 else 1.0
    sentence = f"Measured at the reference state: {name(fastest)} is the fastest with {seconds(_reference_s(fastest))}"
    if _overlap(fastest, known[1]):
        sentence += f", though {name(known[1])} may be as fast: their intervals overlap"
    return f"{sentence}; {name(slowest)} takes {significant(ratio)} times that."


def _latencies(measurement: Plain) -> str:
    low, high = measurement["reference_latency_s"]["ci95"]
    at_reference, timed = _reference_s(measurement), measurement["latency_s"]["median"]
    parts = [
        f"{name(measurement)} takes {seconds(at_reference)} at the machine's reference state",
        f"({'95 % interval' if has_interval(measurement) else 'samples from'} {seconds(low)} to {seconds(high)})",
        f"and took {seconds(timed)} as timed",
    ]
    kernel = measurement["kernel_latency_s"]
    return " ".join(parts) + ("" if kernel is None else f", {seconds(kernel['median'])} of it in kernels")


def not_measured(failure: Plain) -> str:
    """Why a model was not measured, with its name."""
    model, reason = str(failure["model"]), str(failure["reason"])
    is_named = not failure.get("tag") and re.search(rf"(?<!\w){re.escape(model)}(?!\w)", reason)
    return reason if is_named else f"{_on(model, failure)}: {reason}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _reference_s(measurement: Plain) -> float:
    return float(measurement["reference_latency_s"]["median"])


def _overlap(one: Plain, other: Plain) -> bool:
    (low, high), (low_2, high_2) = (each["reference_latency_s"]["ci95"] for each in (one, other))
    return bool(low <= high_2 and low_2 <= high)


def name(measurement: Plain) -> str:
    """What a measured model is called; with the tag of the worker that measured it, if one did."""
    return _on(str(measurement["model"]["name"]), measurement)


def _on(model: str, row: Plain) -> str:
    return f"{model} on {row['tag']}" if row.get("tag") else model


def half_width(measurement: Plain) -> float | None:
    """Half of the interval at the reference state, over the median.

    None of too few samples for an interval, and of a median near 0, of which shares say nothing.
    """
    (low, high), median = measurement["reference_latency_s"]["ci95"], _reference_s(measurement)
    return float((high - low) / 2 / median) if median >= stopping.LEAST_S and has_interval(measurement) else None


def has_interval(measurement: Plain) -> bool:
    """Whether there are enough samples for a 95 % interval of the median; else there is only their range."""
    return bool(measurement["reference_latency_s"]["n"] >= stopping.LEAST_FOR_INTERVAL)


def where(run: Plain) -> str:
    """Device, threads and versions, in a line; of a fleet, those of each tag."""
    found = run["measurements"]
    if any(each.get("tag") for each in found):
        places: dict[str, str] = {}
        for each in found:
            places.setdefault(each.get("tag", ""), _where(each.get("environment", {}), each))
        return "; ".join(f"{tag}: {place}" for tag, place in places.items())
    return _where({**run["environment"], "versions": run["versions"]}, found[0] if found else None)


def _where(environment: Plain, measurement: Plain | None) -> str:
    device = environment.get("device", {}).get("name", "unknown device")
    versions = environment.get("versions", {})
    parts = [device]
    if measurement is not None and measurement["device"] == "cpu":
        threads = measurement["threads"]
        parts.append(f"{threads} thread{'s' if threads > 1 else ''}")
    if "torch" in versions:
        parts.append(f"torch {versions['torch']}")
    if environment.get("processes", 1) > 1:
        parts.append(f"{environment['processes']} processes")
    return ", ".join(parts)


def environments(run: Plain) -> Plain:
    """Where a run was measured, as its record has it; of a fleet, that of each worker under its tag and name."""
    rows = [each for each in run["measurements"] if each.get("tag") and "environment" in each]
    return {f"{row['tag']} ({row.get('worker', '')})": row["environment"] for row in rows} or run["environment"]


def how(measurement: Plain) -> str:
    """Input, dtype and mode of a measurement."""
    sizes = measurement["model"]["input_shape"]
    several = sizes if not sizes or isinstance(sizes[0], list) else [sizes]
    return ", ".join(filter(None, (" and ".join(shape(tuple(each)) for each in several), measurement["dtype"],
                                   measurement["mode"])))  # fmt: skip


def machine(run: Plain) -> str:
    """How the machine was, or those of a fleet were, against its reference state; empty without an anchor."""
    factors = [each["anchor"]["factor"]["median"] for each in run["measurements"] if each.get("anchor")]
    if factors:
        ends = dict.fromkeys((significant(min(factors)), significant(max(factors))))
        return (
            f"The machines were {' to '.join(ends)} times as slow as at their reference states, in the median of each."
        )
    anchor = run["anchor"]
    if not anchor:
        return ""
    factor = anchor["factor"]
    return (
        f"The machine was {significant(factor['median'])} times as slow as at its reference state (80 % of the time "
        f"{significant(factor['p10'])} to {significant(factor['p90'])}); that state is of {anchor['reference_source']}."
    )


def remarks(run: Plain, *, failures: bool = True) -> Iterator[str]:
    """What else is to be said of each measurement, one sentence each, and of what is not measured if that is wanted."""
    for each in run["measurements"]:
        if each["status"] != "ok" and not (each["status"] == "capped" and each["is_interrupted"]):
            yield f"{name(each)}: {each['status']}, as {STATUSES.get(each['status'], 'it says')}."
        if each["left_out"]:
            total = each["left_out"] + each["reference_latency_s"]["n"]
            yield f"{name(each)}: {each['left_out']} of {total} samples were left out, as they were contended."
        if each["between_process"] is not None:
            count = len(each["process_medians_s"])
            yield f"{name(each)}: the medians of {count} processes differ by {percent(each['between_process'])}."
        if each["is_interrupted"]:
            yield f"{name(each)} was interrupted: what is shown is what there was until then."
        yield from (_sentence(f"{name(each)}: {note}") for note in each["notes"])
    if failures:
        yield from (_sentence(f"Not measured: {not_measured(failure)}") for failure in run["failures"])


def flags(measurement: Plain) -> list[tuple[str, int, str]]:
    """The flags of a measurement: name, samples, meaning."""
    return [(flag, count, FLAGS.get(flag, "")) for flag, count in measurement["flags"].items()]


def gap(layers: Plain) -> str:
    """What is between the sum of the layers and the whole, in a sentence."""
    found = layers["gap"]
    whole_s = found["whole_s"] or 1.0
    parts = [
        f"{seconds(found['dispatch_s'])} to hand over {_counted(found['ops'], 'op')}",
        f"{seconds(found['modules_s'])} to call {_counted(found['module_calls'], 'module')}",
        f"{seconds(found['free_ops_s'])} in {_counted(found['free_ops'], 'view')} and the like",
    ]
    return (
        f"As timed, not at the reference state, the layers take {seconds(found['layers_s'])} of "
        f"{seconds(found['whole_s'])} ({percent(found['layers_s'] / whole_s)}); beside them {', '.join(parts)}; "
        f"{seconds(abs(found['unexplained_s']))} {'are unexplained' if found['unexplained_s'] >= 0 else 'too much'}."
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
