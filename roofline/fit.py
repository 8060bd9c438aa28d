r"""A device inferred from latencies: the parameters of `roofline.engine` that come nearest to a table of them.

For rows r with latency y_r and predicted T_r, the parameters minimise a robust sum of squares of ln(T_r / y_r), soft L1
with scale 0.1: an error of 10 % counts nearly whole, larger ones ever less. Rates are fitted as logarithms, so that
they stay positive; overheads are at least 0, shares of the peak at most 1.

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
from roofline.fit_terms import FORMS, LAYER_OVERHEADS, TERMS, Form, Rows, load_rows, parameter_names
from roofline.latencies import Latency, read_latencies
from roofline.units import printable, significant

SCHEMA = "roofline/fit/1"
FEWEST_ROWS = 4
FEWEST_EACH = 2  # rows of a dtype or class: one to learn from where the other is left out
FEWEST_TO_TRY = 3  # the same where a form is chosen, which leaves out two
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
        source: Name of the file of the latencies; empty if they came from Python.
        ops: ``"all"``, or ``"conv_only"`` where other layers than convolutions and linear ones were left out.
        fusion, fused_activations: As the models were lowered.
        terms: The form, of `TERMS`.
        chosen: Whether the form was chosen by the fit, and not by the caller.
        parameters: In the order of peaks, bandwidth, terms.
        ridge_points: One a dtype, the most frequent first.
        rows: In the order of the file.
        unseen_classes: Classes of `terms` of which no row has a layer: nothing is known of their rate.
        remarks: What a reader has to know besides: rows that are few, terms that were not tried, parameters that the
            rows do not tell.
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
    unseen_classes: tuple[str, ...]
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
            "unseen_classes": list(self.unseen_classes),
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
        latencies: A CSV file (`roofline.latencies`), or its rows.
        device: What the device is called, in one line.
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
    form = None if terms is None else form_of(terms)
    if isinstance(latencies, str | Path):
        where, listed = str(latencies), read_latencies(latencies)
    else:
        where, listed = "", tuple(latencies)
    file = f"{where}: " if where else ""
    for pattern in without:
        if not any(fnmatchcase(row.model, pattern) for row in listed):
            raise LatencyError(f"{file}no model is named {pattern!r}, which is to be left out")
    kept = [row for row in listed if not any(fnmatchcase(row.model, pattern) for pattern in without)]
    if len(kept) < FEWEST_ROWS:
        few = f"{len(kept)} row{'' if len(kept) == 1 else 's'}"
        raise LatencyError(f"{file}{few}, and a fit needs at least {FEWEST_ROWS}, better 8 to 10, of unlike models")
    rows = load_rows(
        kept,
        dtype=dtype,
        fusion=fusion,
        fused_activations=fused_activations,
        transposes="transpose" in (form or ()),
        ops=ops,
        where=where,
    )
    result = infer(rows, device=device, source=Path(where).name, terms=form, progress=progress)
    return replace(result, ops=ops, fusion=fusion, fused_activations=tuple(sorted(fused_activations)))


def infer(
    rows: Rows,
    *,
    device: str,
    source: str = "",
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
        remarks.insert(0, f"{len(rows)} rows are few: take the figures as a first guess, and add models.")
    unseen = tuple(name for term in form for name in TERMS[term].classes if not rows.exercising([name]))
    if unseen:
        remarks.append(
            f"No row has a layer of {' or '.join(unseen)}: its rate is unknown, and the profile gives it none."
        )
    return Fit(
        device=printable(device),
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
        unseen_classes=unseen,
        remarks=(*remarks, *_limits(parameters)),
    )


def _limits(parameters: Sequence[Parameter]) -> list[str]:
    """What the rows do not tell, in sentences."""
    said = [
        f"{parameter.name} comes out as 0, and is left out of the profile."
        for parameter in parameters
        if parameter.name.endswith("_overhead") and not parameter.value
    ]
    said += [
        f"The rows do not tell {parameter.name}: no value of it fits clearly worse."
        for parameter in parameters
        if parameter.limited == "none"
    ]
    open_sided = [parameter for parameter in parameters if parameter.limited in ("below", "above")]
    if open_sided:
        listed = ", ".join(parameter_limit(parameter) for parameter in open_sided)
        said.append(
            f"Limited from one side only: {listed}. Any value beyond fits about as well; the profile has the nearest."
        )
    return said


_SHOWN = {"MACs/s": (1e9, "GMAC/s"), "bytes/s": (1e9, "GB/s"), "ops/s": (1e9, "Gop/s"), "s": (1e-6, "us")}
_SHARE = (1.0, "of the peak")


def parameter_text(parameter: Parameter) -> str:
    """The value with its unit and interval, in one phrase.

    >>> parameter_text(Parameter(name="bandwidth", value=5e9, unit="bytes/s", low=4e9, high=6e9))
    '5 GB/s (4 to 6)'
    >>> parameter_text(Parameter(name="bandwidth", value=5e9, unit="bytes/s", low=4e9, high=None))
    '>= 4 GB/s (5 taken)'
    """
    value = _shown(parameter, parameter.value)
    scale, unit = _SHOWN.get(parameter.unit, _SHARE)
    if parameter.low is not None and parameter.high is not None:
        return f"{value} ({significant(parameter.low / scale)} to {significant(parameter.high / scale)})"
    if parameter.low is None and parameter.high is None:
        return f"not told by the rows ({value} taken)"
    end = parameter.high if parameter.low is None else parameter.low
    return (
        f"{'<=' if parameter.low is None else '>='} {_shown(parameter, end)} ({value.removesuffix(f' {unit}')} taken)"
    )


def parameter_limit(parameter: Parameter) -> str:
    """Of one that is limited from one side, that limit.

    >>> parameter_limit(Parameter(name="depthwise", value=0.01, unit="", low=None, high=0.05))
    'depthwise <= 0.05 of the peak'
    """
    end = parameter.high if parameter.low is None else parameter.low
    return f"{parameter.name} {'<=' if parameter.low is None else '>='} {_shown(parameter, end)}"


def _shown(parameter: Parameter, value: float | None) -> str:
    assert value is not None
    scale, unit = _SHOWN.get(parameter.unit, _SHARE)
    return f"{significant(value / scale)} {unit}"


def _forms(rows: Rows, terms: Sequence[str] | None) -> tuple[list[Form], list[str]]:
    """The forms to choose from, and what is said of those that are left out."""
    for dtype in rows.dtypes:
        of_it = [number for number, table in enumerate(rows.tables) if table.dtype == dtype]
        if len(of_it) < FEWEST_EACH:
            raise LatencyError(
                f"one row alone is {dtype} ({rows.latencies[of_it[0]].model}), and nothing else tells that peak: add a "
                "row, or leave this one out"
            )
    if terms is not None:
        form = form_of(terms)
        _check_told(rows, form)
        return [form], []
    few = len(rows) - 2  # as many rows a fold of a fold keeps
    idle = [term for term, what in TERMS.items() if what.classes and len(rows.exercising(what.classes)) < FEWEST_TO_TRY]
    most = min(few, max(1 + len(rows.dtypes), len(rows) // ROWS_A_PARAMETER))
    tried = [form for form in FORMS if not set(idle) & set(form) and len(parameter_names(rows.dtypes, form)) <= most]
    classes = {name for form in FORMS for term in form for name in TERMS[term].classes}
    missing = sorted(name for name in classes if len(rows.exercising([name])) < FEWEST_TO_TRY)
    said = [f"Fewer than three rows have a layer of {' or '.join(missing)}: no rate of its own was tried."]
    return tried or [()], said if missing else []


def form_of(terms: Sequence[str]) -> Form:
    """The form of these terms, in the order of `TERMS`.

    Raises:
        LatencyError: There is no such term, or two are about the same layers.
    """
    for term in terms:
        if term not in TERMS:
            hint = did_you_mean(term, TERMS) or f" The terms are {', '.join(TERMS)}."
            raise LatencyError(f"unknown term {term!r}.{hint}")
    for one, other in (("slow", "grouped"), ("slow", "depthwise_k7"), LAYER_OVERHEADS):
        if one in terms and other in terms:
            raise LatencyError(f"the terms {one!r} and {other!r} are about the same layers: leave out one of them")
    return tuple(term for term in TERMS if term in terms)


def _check_told(rows: Rows, form: Form) -> None:
    """Raise where the rows cannot tell a parameter of the form."""
    for term in (term for term in form if TERMS[term].classes):
        narrower = [other for other in form if term == "depthwise" and other in ("slow", "depthwise_k7")]
        found = rows.exercising(TERMS[term].classes, [name for other in narrower for name in TERMS[other].classes])
        if len(found) < FEWEST_EACH:
            what = " or ".join(TERMS[term].classes) + "".join(f" beside those of {other}" for other in narrower)
            who = f"only {rows.latencies[found[0]].model} has" if found else "no row has"
            raise LatencyError(
                f"{who} a layer of {what}, so the rows cannot tell the term {term!r}: add rows that do, or leave it out"
            )
    if "vector" in form and not rows.layers("vector_ops").any():
        raise LatencyError("no row has vector ops, so the rows cannot tell the term 'vector': leave it out")
    needed = len(parameter_names(rows.dtypes, form))
    if needed >= len(rows):
        raise LatencyError(f"{needed} parameters need more than {needed} rows; there are {len(rows)}")
