"""The whole pipeline in one call: load, trace, lower, predict."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import metadata
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.conventions import LEFT_OUT, conventions
from roofline.engine import Prediction, crossing_bytes, predict
from roofline.errors import ModelError, ProfileError, TraceError
from roofline.graph import Graph
from roofline.hardware import Hardware
from roofline.layers import DTYPE_BYTES, LayerTable, check_choice, lower
from roofline.loading.references import is_code
from roofline.loading.specs import is_spec
from roofline.lowering import entry_of, is_module, lower_reference
from roofline.profiles import load_profile

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from roofline.calibration.predicting import Estimates
    from roofline.measurement.anchor import Anchor
    from roofline.measurement.present import Present
    from roofline.models import Entry

SCHEMA = "roofline/analysis/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTotals:
    """Sums over some of the layers.

    Attributes:
        name: What they have in common.
        layers: How many they are.
        macs: Their multiply-accumulates.
        mem_bytes: Their traffic.
        latency_s: Their time.
        memory_bound_s: The part of it in memory-bound layers.
    """

    name: str
    layers: int
    macs: int
    mem_bytes: int
    latency_s: float
    memory_bound_s: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Analysis:
    """One model on one device, layer by layer.

    Attributes:
        reference: What the user asked for.
        name: What it resolved to.
        input_shapes: Of the example inputs, batch included.
        batch: The first dimension of the first input.
        prediction: The times, with the layer table and the hardware they come from.
        traced: Finds what was traced, `graph`. A function, as a table from the cache comes without.
        defaults: What was chosen for the user, as short phrases.
        entry: The model's row in the zoo's catalogue, if it is from there and was built without arguments.
        arguments: Those of its constructor that were given.
        estimates: What the estimators of a calibrated profile say; `prediction` then has the times of the chosen one.
        present: How the machine was when it was analysed, where the prediction is for its reference state and
            `at_present` was asked.
    """

    reference: str
    name: str
    input_shapes: tuple[tuple[int, ...], ...]
    batch: int
    prediction: Prediction
    traced: Callable[[], Graph]
    defaults: tuple[str, ...] = ()
    entry: Entry | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    estimates: Estimates | None = None
    present: Present | None = None

    def at_present(self, anchor: Anchor | None = None) -> Analysis:
        """The same analysis, with how the machine is just now beside a prediction for its reference state.

        It takes 0.1 s of timing, and that this is the machine and the environment of the profile's calibration. Where
        it is not, or the prediction is by the roofline, `present` stays None.

        Args:
            anchor: What is timed; that of `roofline.measurement.present.this_machine` if None.

        Raises:
            CalibrationError: The calibration cannot be read again.
        """
        if self.estimates is None or self.estimates.chosen == "roofline" or self.estimates.warnings:
            return self
        from roofline.calibration.predicting import calibration_of
        from roofline.measurement.present import present

        return replace(self, present=present(calibration_of(self.hardware), anchor))

    @property
    def present_latency_s(self) -> float | None:
        """What the prediction comes to just now, seconds; None where that is not known, or others keep it busy."""
        if self.present is None or self.present.is_contended:
            return None
        return float(self.prediction.latency_s) * self.present.factor

    @property
    def layers(self) -> LayerTable:
        """The layer table."""
        return self.prediction.layers

    @property
    def graph(self) -> Graph:
        """What was traced; where the table is from the cache, the model is built and traced for it now."""
        return self.traced()

    @property
    def hardware(self) -> Hardware:
        """The device."""
        assert isinstance(self.prediction.hardware, Hardware)
        return self.prediction.hardware

    @property
    def ridge_point(self) -> float:
        """Of the device at the table's dtype, MACs/byte."""
        return self.hardware.ridge_point(self.layers.dtype)

    @property
    def latency_kind(self) -> str:
        """``"bound"`` where the figures are a datasheet's, ``"prediction"`` where they are fitted or measured."""
        return self.hardware.latency_kind(self.layers.dtype)

    def totals(self) -> dict[str, Any]:
        """Sums over the layers, in SI base units; see docs/json.md."""
        layers, prediction, hardware = self.layers, self.prediction, self.hardware
        macs, mem_bytes = int(layers.macs.sum()), int(layers.mem_bytes.sum())
        energy_j = None
        if hardware.energy_per_mac_j is not None and hardware.energy_per_byte_j is not None:
            moved = sum(int(sizes.sum()) for sizes in crossing_bytes(layers, hardware))
            energy_j = macs * hardware.energy_per_mac_j + moved * hardware.energy_per_byte_j
        return {
            "macs": macs,
            "vector_ops": int(layers.vector_ops.sum()),
            "weight_bytes": int(layers.weight_bytes.sum()),
            "activation_bytes": int(layers.activation_bytes.sum()),
            "mac_time_s": float(prediction.mac_time_s.sum()),
            "mem_time_s": float(prediction.mem_time_s.sum()),
            "latency_s": float(prediction.latency_s),
            "inference_overhead_s": float(prediction.inference_overhead_s),
            "compute_bound_share": float(prediction.compute_bound_share),
            "operational_intensity_macs_per_byte": macs / mem_bytes if mem_bytes else 0.0,
            "peak_activation_bytes": layers.peak_activation_bytes,
            "energy_j": energy_j,
        }

    def rows(self) -> list[dict[str, Any]]:
        """One record a layer, in execution order: the columns of the JSON, the CSV and the frame."""
        table, times = self.layers, self.prediction
        columns = (
            table.name, table.kind, table.ops, table.input_shape, table.output_shape, table.macs.tolist(),
            table.vector_ops.tolist(), table.weight_bytes.tolist(), table.activation_bytes.tolist(),
            times.mac_time_s.tolist(), times.mem_time_s.tolist(), times.layer_latency_s.tolist(),
            np.where(times.memory_bound, "memory", "compute").tolist(), table.operational_intensity.tolist(),
            table.unfused_bytes.tolist(),
        )  # fmt: skip
        return [dict(zip(LAYER_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]

    def sorted_rows(self, sort: str) -> list[dict[str, Any]]:
        """`rows`, the costliest first by ``"time"``, ``"macs"`` or ``"bytes"``; ``"order"`` as they run.

        Raises:
            RooflineError: An unknown `sort`.
        """
        check_choice("sort", sort, SORTS)
        keys: dict[str, Callable[[dict[str, Any]], float]] = {
            "time": _LATENCY,
            "macs": itemgetter("macs"),
            "bytes": _row_bytes,
        }
        return self.rows() if sort == "order" else sorted(self.rows(), key=keys[sort], reverse=True)

    def by(self, group: str) -> list[GroupTotals]:
        """Sums over the layers of each ``"kind"`` or ``"stage"`` (see `stage_of`), the slowest first.

        Raises:
            RooflineError: An unknown `group`.
        """
        check_choice("group", group, GROUPS)
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows():
            groups.setdefault(row["kind"] if group == "kind" else stage_of(row["name"]), []).append(row)
        totals = [
            GroupTotals(
                name=name,
                layers=len(rows),
                macs=sum(row["macs"] for row in rows),
                mem_bytes=sum(map(_row_bytes, rows)),
                latency_s=sum(map(_LATENCY, rows)),
                memory_bound_s=sum(row["latency_s"] for row in rows if row["bound"] == "memory"),
            )
            for name, rows in groups.items()
        ]
        return sorted(totals, key=lambda total: -total.latency_s)

    def to_frame(self) -> pd.DataFrame:
        """The layers as a pandas DataFrame, one row a layer."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=list(LAYER_COLUMNS))

    def to_dict(self) -> dict[str, Any]:
        """The analysis as plain data, schema "roofline/analysis/1" (docs/json.md)."""
        from roofline import words

        hardware, dtype = self.hardware, self.layers.dtype
        return {
            "schema": SCHEMA,
            "verdict": words.verdict(self),
            "model": {
                "reference": self.reference,
                "name": self.name,
                "arguments": {name: _plain(value) for name, value in self.arguments.items()},
                "input_shape": [list(shape) for shape in self.input_shapes]
                if len(self.input_shapes) != 1
                else list(self.input_shapes[0]),
                "params": self.layers.params,
            },
            "hardware": {
                "id": hardware.id,
                "name": hardware.name,
                "dtype": dtype,
                "peak_macs_per_s": hardware.peak(dtype),
                "bandwidth_bytes_per_s": hardware.bandwidth_bytes_per_s,
                "ridge_point_macs_per_byte": self.ridge_point,
                "class": hardware.device_class,
                "peaks_macs_per_s": dict(hardware.peak_macs_per_s),
                **hardware.terms(),
                "notes": hardware.notes,
                "figures": {field: asdict(figure) for field, figure in hardware.figures.items()},
            },
            "fusion": self.layers.fusion,
            "batch": self.batch,
            "latency_kind": self.latency_kind,
            "totals": self.totals(),
            "layers": [
                {**row, "input_shape": list(row["input_shape"]), "output_shape": list(row["output_shape"])}
                for row in self.rows()
            ],
            "estimates": None if self.estimates is None else self.estimates.to_list(),
            "warnings": [] if self.estimates is None else list(self.estimates.warnings),
            "present": None
            if self.present is None
            else {**self.present.to_dict(), "latency_s": self.present_latency_s},
            "groups": {group: [asdict(total) for total in self.by(group)] for group in GROUPS},
            "uncounted_ops": [asdict(op) for op in self.layers.uncounted_ops],
            "defaults": list(self.defaults),
            "notes": words.notes(self),
            "conventions": conventions(
                dtype, self.layers.fusion, self.layers.fused_activations, terms=hardware.terms()
            ),
            "left_out": list(LEFT_OUT),
            "versions": versions(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def verdict(self) -> str:
        """The answer in one sentence."""
        from roofline.words import verdict

        return verdict(self)

    def _repr_html_(self) -> str:
        from roofline.reports.notebook import render_notebook

        return render_notebook(self)

    def __repr__(self) -> str:
        return f"<Analysis of {self.name}: {self.verdict()}>"


def _plain(value: object) -> object:
    """As JSON has it, or as it is written in Python."""
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


SORTS = ("time", "macs", "bytes", "order")
GROUPS = ("kind", "stage")
_LATENCY = itemgetter("latency_s")


def _row_bytes(row: dict[str, Any]) -> int:
    return int(row["weight_bytes"] + row["activation_bytes"])


def stage_of(name: str) -> str:
    """The top-level part of the network that a layer is in; in a numbered container, which one.

    >>> stage_of("stages.2.0.expand.conv"), stage_of("stem.conv"), stage_of("classifier"), stage_of("0#2")
    ('stages.2', 'stem', 'classifier', '0')
    """
    first, *rest = name.partition("#")[0].split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first


LAYER_COLUMNS = (
    "name", "kind", "ops", "input_shape", "output_shape", "macs", "vector_ops", "weight_bytes", "activation_bytes",
    "mac_time_s", "mem_time_s", "latency_s", "bound", "operational_intensity_macs_per_byte", "unfused_bytes",
)  # fmt: skip


def analyze(
    model: str | nn.Module,
    inputs: Any = None,
    *,
    hw: str | Path | Hardware,
    batch: int | None = None,
    input_size: Sequence[int] | None = None,
    dtype: str | None = None,
    fusion: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    estimator: str | None = None,
    cached: bool | None = None,
) -> Analysis:
    """Predict the latency of a model on a device, layer by layer.

    Args:
        model: A reference (``"mobilenetv4_conv_m"``, ``"net.py:make_net"``) or a module.
        inputs: Example inputs of a module, as `roofline.trace.trace` takes them: a tensor, a tuple of positional
            arguments, a mapping of keyword arguments. They carry their own batch. Not for a reference.
        hw: Name of a bundled profile, path of a YAML file, or a `Hardware`.
        batch: Images a pass, for a reference; 1 when not given.
        input_size: (C, H, W) for a reference; its published size when not given.
        dtype: fp32, fp16, bf16 or int8; the profile's default when not given.
        fusion: ``"none"`` or ``"epilogue"``; the profile's default when not given.
        arguments: For the constructor a reference names: ``{"width_mult": 1.7}``.
        estimator: ``"roofline"``, or of a calibrated profile ``"calibrated"`` or ``"learned"``; what knows most when
            not given.
        cached: Whether the layer table of a reference is taken from the user's cache and kept there (docs/cache.md):
            False for never, True for the user's own files too; for the zoo and for libraries when not given. With a
            calibrated profile, whose estimates are of the graph, it never is.

    Raises:
        RooflineError: Anything wrong with the model, the inputs or the profile, in one line.

    >>> analysis = analyze("mobilenetv4_conv_m", hw="pixel6_tpu")
    >>> analysis.totals()["macs"]
    1080244224
    """
    if not isinstance(hw, str | Path | Hardware):
        raise ProfileError(f"hw is a name, a path or a Hardware; this is {hw!r}")
    hardware = hw if isinstance(hw, Hardware) else load_profile(hw)
    check_choice("dtype", dtype or hardware.default_dtype, DTYPE_BYTES)
    choices: dict[str, Any] = {
        "fusion": fusion or hardware.default_fusion,
        "dtype": dtype or hardware.default_dtype,
        "fused_activations": hardware.fused_activations,
        "transposes": hardware.copies_transposes,
    }
    hardware.peak(choices["dtype"])  # a dtype that the device lacks fails before any work
    needs_graph = hardware.calibration is not None or estimator not in (None, "roofline")
    entry, defaults = None, list[str]()
    if isinstance(model, str):
        if inputs is not None:
            raise ModelError("a model reference brings its own inputs; give `input_size` and `batch`, not `inputs`")
        asked = {
            "batch": 1 if batch is None else batch,
            "input_size": tuple(input_size) if input_size else None,
            "arguments": dict(arguments or {}),
        }
        try:
            lowered, traced = lower_reference(
                model, asked=asked, **choices, arrange=_arrangement(hardware), cached=False if needs_graph else cached
            )
        except TraceError as error:
            if not is_code(model) or any(map(is_spec, (arguments or {}).values())):
                raise
            hint = "(other inputs than one image: --input NAME:DTYPE[SIZES], or an example_inputs beside it)"
            raise TraceError(f"{error} {hint}") from error
        name, shapes, layers = lowered.name, lowered.input_shapes, lowered.layers
        entry = entry_of(model, arguments)
        if not input_size:
            defaults.append(f"input {'x'.join(map(str, shapes[0][1:]))} ({lowered.input_source})")
        if batch is None:
            defaults.append(f"batch {shapes[0][0] if shapes and shapes[0] else 1}")
    elif is_module(model):
        if inputs is None:
            raise ModelError("a module needs example inputs: analyze(module, inputs, hw=...)")
        if batch is not None or input_size is not None:
            raise ModelError(
                "the inputs of a module carry their own batch and size; `batch` and `input_size` do not apply"
            )
        if arguments:
            raise ModelError("a module is built already; `arguments` are for a reference")
        from roofline.trace import trace

        graph = trace(model, inputs)
        name, layers = type(model).__name__, lower(graph, **choices)
        shapes = tuple(value.shape for value in graph.inputs)

        def traced() -> Graph:
            return graph
    else:
        kind = "a class" if isinstance(model, type) else f"a {type(model).__name__}"  # type: ignore[unreachable]
        raise ModelError(f"a model is a reference (text) or an nn.Module; this is {kind}: {model!r}")
    if dtype is None:
        defaults.append(f"dtype {choices['dtype']} (the profile's)")
    if fusion is None:
        defaults.append(f"fusion {choices['fusion']} (the profile's)")
    prediction, estimates = predict(layers, hardware), None
    if needs_graph:
        from roofline.calibration.predicting import estimate, predicted

        estimates = estimate(traced(), layers, hardware, estimator, cached=cached)
        prediction = predicted(prediction, estimates)
    return Analysis(
        reference=model if isinstance(model, str) else name,
        name=name,
        input_shapes=shapes,
        batch=shapes[0][0] if shapes and shapes[0] else 1,
        prediction=prediction,
        traced=traced,
        defaults=tuple(defaults),
        entry=entry,
        arguments=dict(arguments or {}),
        estimates=estimates,
    )


def _arrangement(hardware: Hardware) -> Callable[[nn.Module, Any], Any] | None:
    """How a calibrated device has its inputs laid out; None where that is not known."""
    if hardware.calibration is None:
        return None
    from roofline.calibration.predicting import in_layout_of

    return partial(in_layout_of, hardware)


def versions() -> dict[str, str]:
    """Versions of what made a result."""
    from roofline import __version__

    packages = {name: metadata.version(name) for name in ("torch", "numpy")}
    return {"roofline": __version__, "python": platform.python_version(), **packages}
