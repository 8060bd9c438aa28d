"""A fit as a hardware profile: the YAML that `roofline.profiles` reads, with what the fit says in its sources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from roofline.errors import ProfileError
from roofline.fit import Fit, parameter_text
from roofline.fit_regression import Parameter, RidgePoint
from roofline.fit_terms import TERMS
from roofline.hardware import Hardware
from roofline.profiles import SCHEMA, parse_profile
from roofline.units import printable, significant

LEAST_OVERHEAD_S = 1e-13  # less is none; a profile has no figure below 1e-9 of its unit
DIGITS = 6  # of a figure; more than the data tell, so that the profile predicts what the fit does
_UNITS = {"MACs/s": 1e9, "bytes/s": 1e9, "ops/s": 1e9, "s": 1e-6, "": 1.0}
_FIELDS = {  # of `Hardware` -> of the YAML
    "inference_overhead_s": "inference_overhead_us",
    "layer_overhead_s": "layer_overhead_us",
    "weight_bandwidth_bytes_per_s": "weight_bandwidth_gb_per_s",
    "vector_ops_per_s": "vector_gops_per_s",
    "peak_share_by_class": "peak_share_by_class",
    "bandwidth_bytes_per_s_by_class": "bandwidth_gb_per_s_by_class",
}


def slug(device: str) -> str:
    """The id of a device of that name.

    Raises:
        ProfileError: Nothing of the name can stand in an id.

    >>> slug("New Chip 3 (NPU)")
    'new_chip_3_npu'
    """
    found = "_".join(re.findall(r"[a-z0-9]+", device.lower()))
    if not found:
        raise ProfileError(f"a device needs a name with letters or digits (got {device!r})")
    return found


def to_hardware(fit: Fit, *, device_class: str = "npu") -> Hardware:
    """The fitted device, as its profile says it."""
    return parse_profile(to_yaml(fit, device_class=device_class).encode(), f"{slug(fit.device)}.yaml")


def to_yaml(fit: Fit, *, device_class: str = "npu", id: str | None = None, remark: str = "") -> str:
    """The fit as a hardware profile.

    Args:
        fit: Of all ops; one of convolutions alone is no device.
        device_class: cpu, gpu, dsp, npu or edgetpu.
        id: Of the profile; made of the device's name if not given.
        remark: What the notes begin with.

    Raises:
        ProfileError: The fit left ops out, its name cannot be an id, or a figure is beyond any machine.
    """
    if fit.ops != "all":
        raise ProfileError("a fit of convolutions alone is no profile, which predicts all layers: leave out --ops")
    dtypes = {parameter.name.partition(".")[2]: parameter for parameter in _peaks(fit)}
    bandwidth = fit.parameter("bandwidth")
    assert bandwidth is not None
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "id": id or slug(fit.device),
        "name": printable(fit.device),
        "class": device_class,
        "peak_gmacs_per_s": {dtype: _figure(peak, _peak_source(fit, dtype)) for dtype, peak in dtypes.items()},
        "bandwidth_gb_per_s": _figure(bandwidth, f"The same fit. {_interval(bandwidth)}"),
        "default_dtype": next(iter(dtypes)),
        "default_fusion": fit.fusion,
        "fused_activations": list(fit.fused_activations),
    }
    if "add" in fit.terms:
        document["combine"] = "add"
    for term in fit.terms:
        parameter = fit.parameter(term)
        if parameter is None or (term.endswith("_overhead") and parameter.value < LEAST_OVERHEAD_S):
            continue
        figure = _figure(parameter, f"The same fit. {_interval(parameter)}")
        field = _FIELDS[TERMS[term].field]
        if TERMS[term].classes:
            told = [name for name in TERMS[term].classes if name not in fit.unseen_classes]
            document.setdefault(field, {}).update(dict.fromkeys(told, figure))
        else:
            document[field] = figure
    if "mac_layer_overhead" in fit.terms and "layer_overhead_us" in document:
        document["overhead_layers"] = "macs"
    document["notes"] = printable(f"{remark} {_notes(fit)}")
    heading = f"# {printable(fit.device)}: effective rates, fitted to latencies; no hardware peaks.\n"
    text = heading + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    parse_profile(text.encode(), f"{document['id']}.yaml")  # what is written can be read
    return text


class _Dumper(yaml.SafeDumper):
    """Writes figures that share a source twice, as a profile has no anchors, and long texts folded."""

    def ignore_aliases(self, data: object) -> bool:
        """Never an alias."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=">" if len(text) > 80 else None)


_Dumper.add_representer(str, _text)


def _peaks(fit: Fit) -> list[Parameter]:
    return [parameter for parameter in fit.parameters if parameter.name.startswith("peak.")]


def _figure(parameter: Parameter, source: str) -> Mapping[str, Any]:
    value = float(f"{parameter.value / _UNITS[parameter.unit]:.{DIGITS}g}")
    return {"value": value, "kind": "fitted", "source": source}


def _origin(fit: Fit) -> str:
    form = ", ".join(fit.terms) or "none"
    source = f" of {printable(fit.source)}" if fit.source else ""
    return (
        f"Robust least squares on ln(predicted / published) over {len(fit.rows)} latencies{source}, all "
        f"figures of this profile together (terms beside peak and bandwidth: {form})."
    )


def _interval(parameter: Parameter) -> str:
    return f"95 % interval: {parameter_text(parameter)}."


def _peak_source(fit: Fit, dtype: str) -> str:
    peak = fit.parameter(f"peak.{dtype}")
    ridge = next(ridge for ridge in fit.ridge_points if ridge.dtype == dtype)
    assert peak is not None
    return f"{_origin(fit)} {_quality(fit)} {ridge_text(ridge)} {_interval(peak)}"


def ridge_text(ridge: RidgePoint, *, named: bool = False) -> str:
    """The ridge point with its band, as a sentence; `named`: with its dtype."""
    of_dtype = f" ({ridge.dtype})" if named else ""
    if ridge.low is not None and ridge.high is not None:
        band = f"{significant(ridge.low)} to {significant(ridge.high)} within 10 % of the least error"
        return f"Ridge point{of_dtype} {significant(ridge.value)} MACs/byte ({band})."
    if ridge.low is not None:
        return f"Ridge point{of_dtype} >= {significant(ridge.low)} MACs/byte: the rows set no upper limit."
    if ridge.high is not None:
        return f"Ridge point{of_dtype} <= {significant(ridge.high)} MACs/byte: the rows set no lower limit."
    return f"The rows do not tell the ridge point{of_dtype}: no value of it fits clearly worse."


def _quality(fit: Fit) -> str:
    anew = ", terms chosen anew in each fold" if fit.chosen else ""
    ranks = "" if fit.loo_spearman is None else f", rank correlation {fit.loo_spearman:.3f}"
    return f"Leave-one-out{anew}: mean error {100 * fit.loo_mape:.1f} %, median {100 * fit.loo_median:.1f} %{ranks}."


def _notes(fit: Fit) -> str:
    rows = ", ".join(f"{row.name} {100 * row.error:+.1f}" for row in fit.rows)
    said = "".join(f"{remark} " for remark in fit.remarks)
    return (
        "Effective rates of the device with its runtime, at which predictions come nearest to latencies; no hardware "
        f"peaks. {said}Error of each row, % (the fit has seen them): {rows}."
    )
