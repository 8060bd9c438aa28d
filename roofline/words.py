"""The sentences that every report shares, so that a bound is called a bound everywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from roofline.hardware import terms_in_force
from roofline.units import percent, printable, seconds, shape, significant

if TYPE_CHECKING:
    from roofline.analysis import Analysis
    from roofline.calibration.estimators import Estimate
    from roofline.calibration.predicting import Estimates
    from roofline.measurement.present import Present
    from roofline.models import Entry


def basis(latency_kind: str, terms: Mapping[str, Any], kinds: Collection[str]) -> Basis:
    """What a latency stands on, and so how firm it is; from the plainest to the firmest.

    Args:
        latency_kind: ``bound`` or ``prediction``.
        terms: Of the device, as `Hardware.terms` has them; one that is not there is absent.
        kinds: Of the figures on which the latency depends.

    >>> basis("bound", {}, {"datasheet"}), basis("bound", {"onchip_bytes": 2**20}, {"derived"})
    ('ceilings', 'bus')
    """
    if latency_kind == "prediction":
        return "prediction"
    if not kinds or "estimate" in kinds:
        return "estimate"
    held = set(terms.get("onchip_holds") or ())
    if set(terms_in_force(terms)) - {"onchip_holds", "onchip_bytes"}:
        return "terms"
    return "bus" if terms.get("onchip_bytes") and held != {"weights", "activations"} else "ceilings"


def why(on: Basis, terms: Mapping[str, Any]) -> str:
    """What makes a latency what it is; to follow "a prediction: " or "a bound: "."""
    if on != "terms":
        return WHY[on]
    added = terms_in_force(terms)
    parts = [
        ("times that add up", "combine" in added),
        ("rates for single kinds of work", bool(added.keys() & RATES)),
        ("an overhead on top", bool(added.keys() & {"layer_overhead_s", "inference_overhead_s"})),
    ]
    return f"a roofline on the vendor's figures, with {' and '.join(part for part, there in parts if there)}"


Basis = Literal["prediction", "ceilings", "bus", "terms", "estimate"]
WHY: Mapping[str, str] = {
    "prediction": "a roofline whose figures are fitted to latencies or measured",
    "ceilings": "a roofline on the vendor's figures, which no run can beat",
    "bus": "a roofline on the vendor's figures, by the traffic of the memory bus; a run that keeps more in on-chip "
    "memory may be faster",
    "estimate": "a roofline on estimated figures, and as good as these",
}
RATES = frozenset(
    {"peak_share_by_class", "vector_ops_per_s", "weight_bandwidth_bytes_per_s", "bandwidth_bytes_per_s_by_class"}
)


def basis_of(analysis: Analysis) -> Basis:
    """What the latency of an analysis stands on."""
    hardware = analysis.hardware
    kinds = {figure.kind for figure in hardware.figures_of_time(analysis.layers.dtype).values()}
    return basis(analysis.latency_kind, hardware.terms(), kinds)


def verdict(analysis: Analysis) -> str:
    """Latency, what sets it, and where the network stands against the ridge point."""
    totals = analysis.totals()
    compute = totals["compute_bound_share"]
    lead = "Predicted latency" if analysis.latency_kind == "prediction" else "Latency bound: at least"
    if basis_of(analysis) == "estimate":
        lead = "Latency bound, on estimated figures:"
    overhead_s, layers_s = totals["inference_overhead_s"], float(analysis.prediction.layers_s)
    overhead = f"{seconds(overhead_s)} of it overhead of the inference, " if overhead_s else ""
    whose = "what the layers take" if overhead_s else "it"
    split = f"{percent(1 - compute)} of {whose} in memory-bound layers, {percent(compute)} in compute-bound ones"
    split = f"{overhead}{split}" if layers_s else "it does nothing"
    intensity, ridge = totals["operational_intensity_macs_per_byte"], analysis.ridge_point
    side = "below" if intensity < ridge else "at or above"
    return (
        f"{lead} {seconds(totals['latency_s'])}: {split}. "
        f"It does {significant(intensity)} MACs/byte, {side} the ridge point of {significant(ridge)}."
    )


def fusion(analysis: Analysis) -> str:
    """How the ops were grouped into layers."""
    return "unfused" if analysis.layers.fusion == "none" else f"{analysis.layers.fusion} fusion"


def outside_the_layers(analysis: Analysis) -> str:
    """What of the latency is in no layer, so that the shares of these add up to less; empty where there is nothing."""
    totals = analysis.totals()
    overhead_s = totals["inference_overhead_s"]
    if not overhead_s:
        return ""
    share = percent(overhead_s / totals["latency_s"])
    return f"In no layer: {seconds(overhead_s)}, {share} of the latency, which an inference takes whatever it runs."


def notes(analysis: Analysis) -> list[str]:
    """What a reader has to know of the numbers: what they are, what was chosen, what was not counted."""
    lines = [f"This is a {analysis.latency_kind}: {_ground(analysis)}."]
    if analysis.estimates is not None:
        lines += _estimates(analysis.estimates)
    if analysis.present is not None:
        lines.append(_present(analysis, analysis.present))
    if analysis.defaults:
        lines.append(f"Taken as defaults: {', '.join(analysis.defaults)}.")
    lines.append(uncounted(analysis))
    if analysis.entry is not None:
        lines += _published(analysis, analysis.entry)
    return lines


def _ground(analysis: Analysis) -> str:
    """What the latency stands on."""
    if analysis.estimates is None or analysis.estimates.chosen == "roofline":
        return why(basis_of(analysis), analysis.hardware.terms())
    return by_calibration(analysis.estimates.chosen)


def by_calibration(estimator: str) -> str:
    """What a prediction by an estimator of a calibrated profile stands on; to follow "a prediction: "."""
    return f"by the {estimator} estimator of this machine's calibration, at its reference state"


def _estimates(estimates: Estimates) -> list[str]:
    """The estimators side by side, how sure the chosen one is, and its caveats."""
    chosen = estimates.estimate
    each = ", ".join(f"{name} {seconds(found.latency_s)}" for name, found in estimates.each.items())
    lines = [f"By estimator: {each}."]
    if chosen.interval90_s[0] == chosen.interval90_s[0]:  # not NaN
        (low80, high80), (low90, high90) = chosen.interval80_s, chosen.interval90_s
        lines.append(
            f"In 80 % of cases {seconds(low80)} to {seconds(high80)}, in 90 % {seconds(low90)} to {seconds(high90)}; "
            f"{_beside_the_kernels(chosen)}; {percent(chosen.fallback_share)} of the ops' time is in kernels that were "
            "never measured."
        )
    return [*lines, *estimates.warnings, *(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in chosen.notes)]


def _beside_the_kernels(chosen: Estimate) -> str:
    """What a network takes beside its kernels as timed one by one: for calls, and as kernels follow each other."""
    longer_s = chosen.host.get("composition", 0.0)
    said = f"{seconds(chosen.host_s - longer_s)} of it is Python and dispatch"
    if not longer_s:
        return said
    more = "more" if longer_s > 0 else "less"
    return f"{said}, {seconds(abs(longer_s))} is what its kernels take {more} in sequence than timed one by one"


def _present(analysis: Analysis, present: Present) -> str:
    """How the machine is just now, and what the prediction comes to then."""
    factor = f"just now this machine takes {significant(present.factor)} times as long as at that state"
    if analysis.present_latency_s is None:
        return (
            f"{factor[0].upper()}{factor[1:]}: others keep its cores busy, and what the network would take among them "
            "does not follow from that."
        )
    low, high = map(significant, present.quartiles)
    return (
        f"{seconds(analysis.present_latency_s)} if it ran now: {factor} (the middle half of {present.samples} samples "
        f"of the anchor: {low} to {high}), which is a fair guess for a network, not exact."
    )


def _published(analysis: Analysis, entry: Entry) -> list[str]:
    """The figures printed for the size of the input, else for the network's own; at most one line."""
    sizes = {figures.input_px: (1, 3, figures.input_px, figures.input_px) for figures in entry.published}
    complete = [figures for figures in entry.published if figures.published_params and figures.published_macs]
    at_size = [figures for figures in complete if analysis.input_shapes == (sizes[figures.input_px],)]
    figures = next(iter(at_size or complete), None)
    if figures is None:
        return []
    of = "" if at_size else f" for one {shape((3, figures.input_px, figures.input_px))} image"
    why = "; ".join(text for text in (figures.convention, figures.note) if text)
    return [
        f"Published: {figures.published_params} params, {figures.published_macs} MACs{of} ({figures.source}); {why}."
    ]


def uncounted(analysis: Analysis) -> str:
    """Which ops no handler knows, with their share of the traffic."""
    ops = analysis.layers.uncounted_ops
    if not ops:
        return "Every op was counted."
    share = sum(op.mem_bytes for op in ops) / max(1, int(analysis.layers.mem_bytes.sum()))
    listed = ", ".join(f"{printable(op.name)} ({op.calls}x)" for op in ops)
    return f"Not counted, but for their bytes ({percent(share)} of the traffic): {listed}."
