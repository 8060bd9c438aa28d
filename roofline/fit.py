r"""A device inferred from latencies: the parameters of `roofline.engine` that come nearest to a table of them.

For rows r with latency y_r and predicted T_r, the parameters minimise a robust sum of squares of ln(T_r / y_r), soft L1
with scale 0.1: an error of 10 % counts whole, larger ones ever less (scipy.optimize.least_squares). Rates are fitted as
logarithms, so that they stay positive; overheads are bounded by 0.

Which terms of the engine are fitted is the *form*. If the caller does not name it, it is the one of the least
leave-one-out error, or a simpler one that is as good, and that choice is made again inside each fold. So the errors
that are reported are of rows that had no part in the choice or in the parameters (nested leave-one-out; Varma and
Simon, BMC Bioinformatics 7:91, 2006, doi:10.1186/1471-2105-7-91).

What the rows do not determine is said, not made up: each parameter has an interval from its profile likelihood (fixed
at a value, all others fitted again), and one that is open to a side is reported as a limit.

These are effective rates of a device with its runtime. They are no hardware peaks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from roofline.analysis import versions
from roofline.errors import LatencyError, did_you_mean
from roofline.fit_regression import Folds, Parameter, RidgePoint, parameters_of, ridge_point_of, settled
from roofline.fit_terms import FORMS, TERMS, Design, Form, Rows, load_rows
from roofline.latencies import Latency, read_latencies
from roofline.units import significant

SCHEMA = "roofline/fit/1"
FEWEST_ROWS = 4
FEW_ROWS = 6  # below it the choice of a form is hardly more than a guess
ROWS_A_PARAMETER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRow:
    """One row, and what the fit makes of it.

    Attributes:
        line: In the file.
        model: Its reference.
        name: What that resolved to.
        input_size: (C, H, W), or None for the model's own.
        batch: Images a pass.
        dtype: Of the model.
        note: Where the latency is from.
        macs: Of the model.
        latency_s: As published or measured, seconds.
        predicted_s: By the fit to all rows, seconds.
        error: `predicted_s` / `latency_s` - 1.
        loo_predicted_s: By a fit, form included, that did not see the row, seconds.
        loo_error: `loo_predicted_s` / `latency_s` - 1.
        loo_terms: Of that fit.
    """

    line: int
    model: str
    name: str
    input_size: tuple[int, ...] | None
    batch: int
    dtype: str
    note: str
    macs: int
    latency_s: float
    predicted_s: float
    error: float
    loo_predicted_s: float
    loo_error: float
    loo_terms: Form


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fit:
    """A device inferred from latencies.

    Attributes:
        device: Its name, as given.
        source: Name of the file of the latencies.
        ops: ``"all"``, or ``"conv_only"`` where other layers than convolutions and linear ones were left out.
        fusion, fused_activations: As the models were lowered.
        terms: The form, of `TERMS`.
        chosen: Whether the form was chosen by the fit, and not by the caller.
        parameters: In the order of peaks, bandwidth, terms.
        ridge_points: One a dtype, the most frequent first.
        rows: In the order of the file.
        remarks: What a reader has to know: rows that are few, terms that could not be tried, limits.
    """

    device: str
    source: str
    ops: str
    fusion: str
    fused_activations: tuple[str, ...]
    terms: Form
    chosen: bool
    parameters: tuple[Parameter, ...]
    ridge_points: tuple[RidgePoint, ...]
    rows: tuple[FittedRow, ...]
    remarks: tuple[str, ...]

    @property
    def loo_mape(self) -> float:
        """Mean of |error| of rows that were left out of form and parameters; 0.07 is 7 %."""
        return float(np.mean([abs(row.loo_error) for row in self.rows]))

    @property
    def loo_median(self) -> float:
        """Median of the same."""
        return float(np.median([abs(row.loo_error) for row in self.rows]))

    @property
    def loo_spearman(self) -> float | None:
        """Rank correlation of their predictions and the latencies; None where either are all equal."""
        return _spearman([row.loo_predicted_s for row in self.rows], self._latency_s)

    @property
    def spearman_roofline(self) -> float | None:
        """Rank correlation of the predictions by the fit to all rows."""
        return _spearman([row.predicted_s for row in self.rows], self._latency_s)

    @property
    def spearman_macs(self) -> float | None:
        """Rank correlation of the MACs and the latencies."""
        return _spearman([row.macs for row in self.rows], self._latency_s)

    @property
    def _latency_s(self) -> list[float]:
        return [row.latency_s for row in self.rows]

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name, if the form has it."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """The fit as plain data, schema "roofline/fit/1" (docs/json.md)."""
        ridge_points = [
            {**asdict(ridge), "curve": [list(point) for point in ridge.curve]} for ridge in self.ridge_points
        ]
        return {
            "schema": SCHEMA,
            "device": self.device,
            "source": self.source,
            "ops": self.ops,
            "fusion": self.fusion,
            "fused_activations": list(self.fused_activations),
            "terms": list(self.terms),
            "terms_chosen": self.chosen,
            "parameters": [{**asdict(parameter), "limited": parameter.limited} for parameter in self.parameters],
            "ridge_point_macs_per_byte": ridge_points[0],
            "ridge_points": ridge_points,
            "spearman_roofline": self.spearman_roofline,
            "spearman_macs": self.spearman_macs,
            "loo_mape": self.loo_mape,
            "loo_median": self.loo_median,
            "loo_spearman": self.loo_spearman,
            "rows": [
                {
                    **asdict(row),
                    "input_size": None if row.input_size is None else list(row.input_size),
                    "loo_terms": list(row.loo_terms),
                }
                for row in self.rows
            ],
            "remarks": list(self.remarks),
            "versions": versions(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def _spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(spearmanr(one, other).statistic)


def fit(
    latencies: str | Path | Sequence[Latency],
    *,
    device: str,
    terms: Sequence[str] | None = None,
    dtype: str = "int8",
    fusion: str = "epilogue",
    fused_activations: Collection[str] = ("relu", "relu6"),
    ops: str = "all",
    without: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Infer a device from latencies.

    Args:
        latencies: A CSV file (`roofline.latencies`), or rows.
        device: What the device is called.
        terms: The form, of `TERMS`; empty for peaks and bandwidth alone; chosen by the fit when not given.
        dtype: Of the rows that name none.
        fusion, fused_activations: How the device runs models; see `roofline.layers.lower`.
        ops: ``"all"``, or ``"conv_only"``; see `load_rows`.
        without: Patterns of models that are left out.
        progress: Called with how many rows have been left out so far, and how many there are.

    Raises:
        LatencyError: Anything wrong with the table, or rows that cannot tell what is asked; in one line.

    >>> from importlib.resources import files
    >>> result = fit(files("roofline.hwprofiles") / "pixel4_dsp.csv", device="dsp", terms=["inference_overhead"])
    >>> [parameter.name for parameter in result.parameters], len(result.rows)
    (['peak.int8', 'bandwidth', 'inference_overhead'], 13)
    """
    if isinstance(latencies, str | Path):
        where, listed = str(latencies), read_latencies(latencies)
    else:
        where, listed = "rows", tuple(latencies)
    kept = [row for row in listed if not any(fnmatchcase(row.model, pattern) for pattern in without)]
    if len(kept) < FEWEST_ROWS:
        few = f"{len(kept)} row{'' if len(kept) == 1 else 's'}"
        raise LatencyError(f"{where}: {few}, and a fit needs at least {FEWEST_ROWS}, better 8 to 10, of unlike models")
    rows = load_rows(
        kept,
        dtype=dtype,
        fusion=fusion,
        fused_activations=fused_activations,
        transposes="transpose" in (terms or ()),
        ops=ops,
        where=where,
    )
    result = infer(rows, device=device, source=Path(where).name, terms=terms, progress=progress)
    return replace(result, ops=ops, fusion=fusion, fused_activations=tuple(sorted(fused_activations)))


def infer(
    rows: Rows,
    *,
    device: str,
    source: str = "rows",
    terms: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """`fit` from layer tables on.

    Raises:
        LatencyError: The rows cannot tell what is asked.
    """
    forms, remarks = _forms(rows, terms)
    folds = Folds(rows, forms)
    form = folds.choose()
    chosen = []
    for number in range(len(rows)):
        if progress is not None:
            progress(number, len(rows))
        chosen.append(folds.choose(but=number))
    loo_s = [float(folds.predicted_s(each, [number])[number]) for number, each in enumerate(chosen)]
    design = folds.designs[form]
    best = settled(design, folds.whole[form])
    predicted_s = design.times(best.z)[0].tolist()
    parameters = parameters_of(design, best)
    ridge_points = tuple(ridge_point_of(design, best, dtype) for dtype in rows.dtypes)
    if len(rows) < FEW_ROWS:
        remarks.insert(0, f"{len(rows)} rows are few: take figures and form as a first guess, and add models.")
    return Fit(
        device=device,
        source=source,
        ops="all",
        fusion=rows.tables[0].fusion,
        fused_activations=tuple(sorted(rows.tables[0].fused_activations)),
        terms=form,
        chosen=terms is None,
        parameters=parameters,
        ridge_points=ridge_points,
        rows=tuple(
            FittedRow(
                line=row.line,
                model=row.model,
                name=name,
                input_size=row.input_size,
                batch=row.batch,
                dtype=table.dtype,
                note=row.note,
                macs=int(table.macs.sum()),
                latency_s=row.latency_s,
                predicted_s=predicted,
                error=predicted / row.latency_s - 1,
                loo_predicted_s=loo,
                loo_error=loo / row.latency_s - 1,
                loo_terms=terms_of_fold,
            )
            for row, name, table, predicted, loo, terms_of_fold in zip(
                rows.latencies, rows.names, rows.tables, predicted_s, loo_s, chosen, strict=True
            )
        ),
        remarks=(*remarks, *_limits(parameters, ridge_points)),
    )


def _limits(parameters: Sequence[Parameter], ridge_points: Sequence[RidgePoint]) -> list[str]:
    """What the rows do not determine, in sentences."""
    said = []
    for ridge in ridge_points:
        if ridge.low is None and ridge.high is None:
            said.append(f"The rows do not tell the ridge point ({ridge.dtype}): no value of it fits clearly worse.")
        elif ridge.high is None:
            said.append(f"Ridge point ({ridge.dtype}) >= {significant(ridge.low or 0)} MACs/byte; no upper limit.")
        elif ridge.low is None:
            said.append(f"Ridge point ({ridge.dtype}) <= {significant(ridge.high)} MACs/byte; no lower limit.")
    for parameter in parameters:
        shown = parameter_text(parameter)
        if parameter.name.endswith("_overhead") and not parameter.value:
            said.append(f"{parameter.name}: comes out as 0, and is left out of the profile.")
        elif parameter.limited == "below":
            said.append(f"{parameter.name} is limited from below only: {shown}.")
        elif parameter.limited == "above":
            said.append(f"{parameter.name} is limited from above only: {shown}.")
        elif parameter.limited == "none":
            said.append(f"The rows do not tell {parameter.name}: any value fits about as well.")
    return said


_SHOWN = {"MACs/s": (1e9, "GMAC/s"), "bytes/s": (1e9, "GB/s"), "ops/s": (1e9, "Gop/s"), "s": (1e-6, "us")}


def parameter_text(parameter: Parameter) -> str:
    """The value with its unit and interval, in one phrase.

    >>> parameter_text(Parameter(name="bandwidth", value=5e9, unit="bytes/s", low=4e9, high=None))
    '>= 4 GB/s (5 GB/s taken)'
    """
    scale, unit = _SHOWN.get(parameter.unit, (1.0, "of the peak"))

    def show(value: float) -> str:
        return f"{significant(value / scale)} {unit}"

    low, high = parameter.low, parameter.high
    if low is not None and high is not None:
        return f"{show(parameter.value)} ({significant(low / scale)} to {significant(high / scale)})"
    if low is None and high is None:
        return f"{show(parameter.value)} taken, and any other as good"
    limit = f">= {show(low)}" if low is not None else f"<= {show(high or 0.0)}"
    return f"{limit} ({show(parameter.value)} taken)"


def _forms(rows: Rows, terms: Sequence[str] | None) -> tuple[list[Form], list[str]]:
    """The forms to choose from, and what is said of those that are left out."""
    if terms is not None:
        for term in terms:
            if term not in TERMS:
                raise LatencyError(
                    f"unknown term {term!r}.{did_you_mean(term, TERMS)} The terms are {', '.join(TERMS)}"
                )
            if TERMS[term].classes and not rows.exercising(TERMS[term].classes):
                what = " or ".join(TERMS[term].classes)
                raise LatencyError(f"no row has a layer of {what}, so the rows say nothing of the term {term!r}")
        form = tuple(term for term in TERMS if term in terms)
        _check_overlap(form)
        needed = len(Design(rows, form).names)
        if needed >= len(rows):
            raise LatencyError(f"{needed} parameters need more than {needed} rows; there are {len(rows)}")
        return [form], []
    idle = [term for term, what in TERMS.items() if what.classes and rows.exercising(what.classes) < 2]
    most = max(1 + len(rows.dtypes), len(rows) // ROWS_A_PARAMETER)
    forms = [form for form in FORMS if not set(idle) & set(form) and len(Design(rows, form).names) <= most]
    missing = {name for term in idle for name in TERMS[term].classes if rows.exercising([name]) < 2}
    named = " or ".join(sorted(missing & {name for form in FORMS for term in form for name in TERMS[term].classes}))
    said = [f"Fewer than two rows have a layer of {named}: no rate of its own was tried."] if named else []
    return forms, said


def _check_overlap(form: Form) -> None:
    for one, other in (("slow", "grouped"), ("slow", "depthwise_k7")):
        if one in form and other in form:
            raise LatencyError(f"the terms {one!r} and {other!r} are about the same layers: leave out one of them")
