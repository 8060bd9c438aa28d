"""A validation in sentences, from its plain data, so that terminal, page and text say the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from roofline.measurement.words import not_measured
from roofline.units import percent, seconds, significant
from roofline.validation_predictions import is_intact

Plain = Mapping[str, Any]

NAMED = 3  # models at most of whom a remark says the same by name

MEANINGS: Mapping[str, str] = {
    "roofline": "eq. 1 on the figures of the profile",
    "macs": "MACs times a constant, fitted to the networks of the calibration",
    "three_constants": "constants for MACs, activation bytes and ops, fitted to the same",
    "calibrated": "a law of physics for each kernel class, fitted on this machine, and the host's costs",
    "learned": "that, times what was learned of its errors on this machine",
    "composed": "the measured times of its ops and of the host, put together: no prediction, but the best that one of "
    "all its parts could do",
}
SIDE_BY_SIDE = (
    "Decided and right: of each estimator's own rows, since which are decided depends on its predictions. All other "
    "figures are of the rows whose measurement is fit to judge by, which are the same for all estimators."
)


def verdict(data: Plain) -> str:
    """What the stopwatch says of the predictions, in a sentence or two."""
    summary = data["summary"]
    if not summary["n"]:
        return "Nothing was measured, so nothing is said of the predictions."
    judged, of = summary["estimator"], counted(summary["n"], "model")
    if not summary["decided"]:
        return f"Nothing could be decided of {of}: {_undecided(data)}."
    left = f"; {summary['undecided']} undecided" if summary["undecided"] else ""
    told = (
        f"{summary['right']} of {counted(summary['decided'], 'prediction')} ({judged}) "
        f"{'is' if summary['decided'] == 1 else 'are'} within {percent(data['limit'])} of the measured time{left}."
    )
    if summary["n"] == 1:
        return f"{told} {_one(judged_rows(data)[0])}"
    return f"{told} The median error is {tenth(summary['median_error'])}; {_leaning(summary['bias'])}."


def _undecided(data: Plain) -> str:
    reasons = [row["reason"] for row in judged_rows(data)]
    most = max(dict.fromkeys(reasons), key=reasons.count)
    return most if len(reasons) == 1 else f"of {reasons.count(most)}, {most}"


def _one(row: Plain) -> str:
    return (
        f"{row['model']}: predicted {seconds(row['predicted_s'])}, measured {seconds(row['measured_s'])} "
        f"({signed(row['error'])})."
    )


def _leaning(bias: float) -> str:
    """A median log ratio, as a share and a word."""
    share = math.expm1(bias)
    if abs(share) < 0.005:
        return "there is no bias"
    return f"predictions are {percent(abs(share))} too {'slow' if share > 0 else 'fast'} in the median"


def signed(share: float) -> str:
    """An error with its sign.

    >>> signed(0.031), signed(-0.2), signed(0)
    ('+3.1 %', '-20.0 %', '+0.0 %')
    """
    return f"{round(100 * share, 1) + 0.0:+.1f} %"


def tenth(share: float | None) -> str:
    """A share to a tenth of a per cent; a dash if there is none.

    >>> tenth(0.0312), tenth(None)
    ('3.1 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def bias(value: float | None) -> str:
    """A median log ratio as a share with its sign; a dash if there is none.

    >>> bias(0.0), bias(-0.05), bias(None)
    ('+0.0 %', '-4.9 %', '-')
    """
    return "-" if value is None else signed(math.expm1(value))


def layer(row: Plain) -> str:
    """One of the worst layers, in a sentence."""
    return (
        f"{row['layer']} of {row['model']} ({row['kernel'] or row['kind']}): predicted {seconds(row['predicted_s'])}, "
        f"measured {seconds(row['measured_s'])}, {signed(row['error'])}: {row['reason']}."
    )


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "model"), counted(3, "layer")
    ('1 model', '3 layers')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def judged_rows(data: Plain) -> list[Plain]:
    """The rows of the judged estimator, in the order of the models."""
    return [row for row in data["rows"] if row["estimator"] == data["estimator"]]


def worst_first(data: Plain) -> list[Plain]:
    """The same: the wrong first, then the undecided, then the right; of each, the largest error first."""
    order = ("wrong", "undecided", "right")
    return sorted(judged_rows(data), key=lambda row: (order.index(row["verdict"]), -abs(row["error"])))


def where(data: Plain) -> str:
    """Device, profile, mode, dtype, threads and processes, in a line."""
    setup, environment = data["setup"], data["environment"]
    device = environment.get("device", {}).get("name", "unknown device")
    threads = setup["threads"] or environment.get("threads", {}).get("intra_op")
    parts = [device, f"profile {data['hardware']['id']}", setup["mode"], setup["dtype"]]
    if threads:
        parts.append(counted(threads, "thread"))
    if environment.get("processes", 1) > 1:
        parts.append(f"{environment['processes']} processes")
    if "torch" in data["versions"]:
        parts.append(f"torch {data['versions']['torch']}")
    return ", ".join(parts)


def frozen(data: Plain) -> str:
    """When the predictions were frozen, and their hash."""
    at, sha256 = data["frozen"]["record"]["frozen_at"], data["frozen"]["sha256"]
    if not is_intact(data["frozen"]):
        return f"The predictions are not those that were frozen at {at}: their SHA-256 is not {sha256}."
    return f"Predictions frozen at {at}, before anything was measured: SHA-256 {sha256}."


def noise(data: Plain) -> str:
    """How well measurements agree with themselves, in a sentence; empty if nothing tells."""
    ceiling = data["summary"]["noise_ceiling"]
    if not ceiling["n"]:
        return ""
    return (
        f"Noise ceiling: two measurements of a model differ by {tenth(ceiling['median_difference'])} in the median; "
        f"{percent(ceiling['within_10'])} of {ceiling['n']} agree within 10 %, {percent(ceiling['within_5'])} within "
        "5 %."
    )


def machine(data: Plain) -> str:
    """How the machine was, against the reference state that predictions are at; empty without an anchor."""
    if not data["anchor"]:
        return ""
    factor = data["anchor"]["factor"]["median"]
    return (
        "Predictions and measurements are at the machine's reference state; while it was measured, all took "
        f"{significant(factor)} times as long."
    )


def quality(summary: Plain) -> str:
    """The figures of one estimator over its decided rows, in a sentence; empty if there are none."""
    if not summary["decided"]:
        return ""
    low, high = summary["within_10_ci95"]
    parts = [
        f"{percent(summary['within_5'])} within 5 %, {percent(summary['within_10'])} within 10 % (95 % interval "
        f"{percent(low)} to {percent(high)}), {percent(summary['within_20'])} within 20 %",
        f"median error {tenth(summary['median_error'])}, mean {tenth(summary['mape'])}, 90th percentile "
        f"{tenth(summary['p90_error'])}",
        f"bias {bias(summary['bias'])}",
    ]
    if summary["spearman"] is not None:
        parts.append(f"Spearman {summary['spearman']:.3f}, Kendall {summary['kendall']:.3f}")
    return f"Of {counted(summary['decided'], 'decided row')}: {'; '.join(parts)}."


def intervals(summary: Plain) -> str:
    """Whether the intervals of predictions hold what they promise, in a sentence; empty without intervals."""
    if summary["coverage_90"] is None:
        return ""
    return (
        f"The 90 % intervals hold {percent(summary['coverage_90'])} of the measurements, and are "
        f"{percent(summary['width_90'])} of the prediction wide; the 80 % intervals {percent(summary['coverage_80'])} "
        f"and {percent(summary['width_80'])}."
    )


def remarks(data: Plain) -> Iterator[str]:
    """What else is to be said, one sentence each; what holds of many models is said once."""
    yield from (_sentence(note) for note in data["notes"])
    rows = judged_rows(data)
    models_of: dict[str, list[str]] = {}
    for row in rows:
        said = [f"undecided, as {row['reason']}"] if row["verdict"] == "undecided" else []
        for note in (*said, *row["notes"]):
            models_of.setdefault(note, []).append(row["model"])
    for note, models in models_of.items():
        if len(models) == len(rows) > 1:
            yield _sentence(note)
        else:
            named = ", ".join(models) if len(models) <= NAMED else f"{len(models)} models"
            yield _sentence(f"{named}: {note}")
    for failure in data["failures"]:
        yield _sentence(f"Left out: {not_measured(failure)}")
    if data["is_interrupted"]:
        yield "It was interrupted: what is shown is what there was until then."


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].rstrip('.')}." if ": " not in note else f"{note.rstrip('.')}."


def meanings(data: Plain) -> Sequence[tuple[str, str]]:
    """Each estimator that is there, and what it is."""
    return [(name, MEANINGS.get(name, "")) for name in data["estimators"]]
