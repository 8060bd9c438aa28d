"""Predictions of models, frozen: written down, and their SHA-256 told, before anything is measured.

What is hashed is the JSON of `Predictions.record`, with sorted keys and without blanks (`canonical`), in UTF-8. It is
kept in the result, so that anyone can hash it again: a figure that was changed afterwards gives another hash.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roofline.errors import RooflineError
from roofline.exported import is_exported
from roofline.measurement.result import Failure
from roofline.units import shape_list
from roofline.validation_statistics import Interval

if TYPE_CHECKING:
    from roofline.calibration.estimators import Estimate, Estimator
    from roofline.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A model to predict and to measure, and how it is to run.

    Attributes:
        reference: See `roofline.loading`.
        family: The group it counts in; `family_of` the reference if empty.
        batch: Images a call.
        input_size: Channels, height, width; the model's own if None.
        arguments: For its constructor.
        mode: As `roofline.measure` takes it.
        dtype: Of weights and floating inputs; the model's own if None.
    """

    reference: str
    family: str = ""
    batch: int = 1
    input_size: tuple[int, ...] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    mode: str = "eager"
    dtype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What one estimator says of one model, at the machine's reference state.

    Attributes:
        estimator: Its name.
        latency_s: The prediction.
        interval80_s, interval90_s: Where the measurement is expected to lie; None of an estimator that does not say.
        fallback_share: Share of the time that comes from a rule for ops that were never calibrated.
        outside_share: Share of the time of ops beyond what was calibrated.
        notes: Sentences on what is unusual.
    """

    estimator: str
    latency_s: float
    interval80_s: Interval | None = None
    interval90_s: Interval | None = None
    fallback_share: float = 0.0
    outside_share: float = 0.0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, estimate: Estimate, name: str) -> Guess:
        """Without what is of single ops."""
        if not 0 < estimate.latency_s < math.inf:
            raise RooflineError(f"the estimator {name} predicts {estimate.latency_s:g} s, which is no time of a model")
        return cls(
            estimator=name,
            latency_s=float(estimate.latency_s),
            interval80_s=_interval(estimate.interval80_s),
            interval90_s=_interval(estimate.interval90_s),
            fallback_share=float(estimate.fallback_share),
            outside_share=float(estimate.outside_share),
            notes=tuple(estimate.notes),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "estimator": self.estimator,
            "latency_s": self.latency_s,
            "interval80_s": None if self.interval80_s is None else list(self.interval80_s),
            "interval90_s": None if self.interval90_s is None else list(self.interval90_s),
            "fallback_share": self.fallback_share,
            "outside_share": self.outside_share,
            "notes": list(self.notes),
        }


def _interval(ends: Sequence[float] | None) -> Interval | None:
    """An interval, if it is one: an estimator that gives none may say so by NaN, or by an end that is the other."""
    if ends is None or not all(map(math.isfinite, ends)) or not ends[0] < ends[1]:
        return None
    return float(ends[0]), float(ends[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLayer:
    """One row of the unfused layer table.

    Attributes:
        name, kind, ops: As in the table.
        kernel: Its kernel class, as `roofline.calibration.kernels` has it; empty where the estimator has none.
        macs: Multiply-accumulates.
        mem_bytes: Bytes read and written, weights included.
        latency_s: Of its op alone, without what the host takes beside it; None where the estimator says nothing.
    """

    name: str
    kind: str
    ops: str
    kernel: str
    macs: int
    mem_bytes: int
    latency_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedModel:
    """One model, by every estimator.

    Attributes:
        asked: What it is, and how it is to run.
        name: What the reference resolved to.
        family: The group it counts in.
        input_shapes: Of each input, batch included.
        guesses: One an estimator, in their order.
        layers: By the estimator that is judged; empty if not asked for.
        risks: Sentences on what depends on values, which no prediction sees.
    """

    asked: Asked
    name: str
    family: str
    input_shapes: tuple[tuple[int, ...], ...]
    guesses: tuple[Guess, ...]
    layers: tuple[PredictedLayer, ...] = ()
    risks: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        """Images a call: as asked, but of an exported file the first dimension that it has, which may be fixed."""
        sizes = next(iter(self.input_shapes), ())
        return sizes[0] if sizes and is_exported(self.asked.reference) else self.asked.batch

    @property
    def input_shape(self) -> list[Any]:
        """As the JSON of results has it: the sizes of one input, or a list of such."""
        shapes = [list(shape) for shape in self.input_shapes]
        return shapes[0] if len(shapes) == 1 else shapes

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "reference": self.asked.reference,
            "name": self.name,
            "family": self.family,
            "batch": self.batch,
            "input_shape": self.input_shape,
            "mode": self.asked.mode,
            "dtype": self.asked.dtype or "fp32",
            "predictions": [guess.to_dict() for guess in self.guesses],
            "layers": [layer.to_dict() for layer in self.layers],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Models, predicted at one moment.

    Attributes:
        judged: The estimator whose predictions are the ones to be judged; the others stand beside it.
        models: In the order in which they were asked for.
        frozen_at: When, ISO 8601 in UTC.
        failures: Models that could not be predicted.
    """

    judged: str
    models: tuple[PredictedModel, ...]
    frozen_at: str
    failures: tuple[Failure, ...] = ()

    def record(self) -> dict[str, Any]:
        """What is hashed, as plain data."""
        return {
            "frozen_at": self.frozen_at,
            "estimator": self.judged,
            "models": [model.to_dict() for model in self.models],
        }

    @property
    def sha256(self) -> str:
        """Of `record`, in hexadecimal."""
        return hash_of(self.record())

    def to_dict(self) -> dict[str, Any]:
        """The hash, and what it is of."""
        return {"sha256": self.sha256, "record": self.record()}


def canonical(record: Mapping[str, Any]) -> str:
    """The one JSON text of a record: sorted keys, no blanks, ASCII.

    >>> canonical({"b": 0.1, "a": [1, "µ"]})
    '{"a":[1,"\\\\u00b5"],"b":0.1}'
    """
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_of(record: Mapping[str, Any]) -> str:
    """The SHA-256 of a record's `canonical` text, in hexadecimal."""
    return hashlib.sha256(canonical(record).encode("ascii")).hexdigest()


def is_intact(frozen: Mapping[str, Any]) -> bool:
    """Whether what `Predictions.to_dict` gave, or what was read back of it, still has the hash that it says."""
    return hash_of(frozen["record"]) == str(frozen["sha256"])


def family_of(reference: str) -> str:
    """The family of architectures that a reference belongs to.

    Of the zoo and of code it is the module, since a module has one family; of a library, and of the file of an exported
    graph, it is the name up to the first digit or underscore, without the v of a version.

    >>> family_of("mobilenetv4_conv_m"), family_of("timm:mobilenetv3_large_100"), family_of("nets/se_resnet.py:small")
    ('mobilenetv4', 'mobilenet', 'se_resnet')
    """
    from roofline import models
    from roofline.exported import is_exported

    if models.knows(reference):
        return models.find(reference).family
    if is_exported(reference):
        reference = re.split(r"[\\/]", reference)[-1].rpartition(".")[0]
    place, _, name = reference.rpartition(":")
    if place.endswith(".py"):
        return re.split(r"[\\/]", place)[-1].removesuffix(".py")
    if "." in place:
        return place.rpartition(".")[2]
    found = re.match(r"([^\d_]+?)(?=v?\d|_|$)", name)
    return (found[1] if found else name).lower()


def judged_of(estimators: Mapping[str, Estimator], asked: str | None) -> str:
    """The estimator to be judged: the one asked for, else the one that knows most.

    Raises:
        CalibrationError: There is none of that name, or none at all.
    """
    from roofline.calibration.estimators import best, named

    if asked is None:
        return best(estimators).name
    named(estimators, asked)
    return asked


def predict_models(
    asked: Sequence[Asked],
    estimators: Mapping[str, Estimator],
    *,
    judged: str | None = None,
    layers: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Predictions:
    """Predict models by every estimator, and freeze what they say.

    A model that cannot be predicted is a `Failure`, and the others are.

    Args:
        asked: The models.
        estimators: By name.
        judged: The one to be judged; the one that knows most if None.
        layers: Whether to write down the layers, too.
        progress: Called with a reference, its number from 0, and how many there are.

    Raises:
        RooflineError: None can be, or there is no estimator `judged`.
    """
    best = judged_of(estimators, judged)
    models, failures = [], []
    for number, each in enumerate(asked):
        if progress is not None:
            progress(each.reference, number, len(asked))
        try:
            models.append(_predicted(each, estimators, best, layers))
        except RooflineError as error:
            if len(asked) == 1:
                raise
            failures.append(Failure(model=each.reference, reason=str(error)))
    if not models:
        raise RooflineError("; ".join(failure.reason for failure in failures) or "there is no model to predict")
    now = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return Predictions(judged=best, models=tuple(_told_apart(models)), frozen_at=now, failures=tuple(failures))


def _told_apart(models: Sequence[PredictedModel]) -> list[PredictedModel]:
    """With their inputs in the names that several of them have."""
    count = Counter(model.name for model in models)
    return [
        model if count[model.name] == 1 else replace(model, name=f"{model.name} at {shape_list(model.input_shapes)}")
        for model in models
    ]


def _predicted(asked: Asked, estimators: Mapping[str, Estimator], judged: str, layers: bool) -> PredictedModel:
    name, graph = graph_of(asked)
    estimates = {key: estimator.estimate(graph) for key, estimator in estimators.items()}
    of_judged = estimates[judged]
    risks = getattr(of_judged.kernels, "flags", ())
    return PredictedModel(
        asked=asked,
        name=name,
        family=asked.family or family_of(asked.reference),
        input_shapes=tuple(value.shape for value in graph.inputs),
        guesses=tuple(Guess.of(estimate, key) for key, estimate in estimates.items()),
        layers=_layers(graph, of_judged, asked.dtype or "fp32") if layers else (),
        risks=tuple(risks),
    )


def graph_of(asked: Asked) -> tuple[str, Graph]:
    """What a model is called, and what it runs: traced without weights, in the layout and dtype in which it will run.

    Raises:
        RooflineError: It cannot be built or traced.
    """
    import torch

    from roofline.loading import load
    from roofline.measurement.subject import DTYPES, in_channels_last
    from roofline.trace import trace

    loaded = load(asked.reference, batch=asked.batch, input_size=asked.input_size, arguments=asked.arguments)
    module, inputs = loaded.module, loaded.inputs
    if asked.dtype is not None:
        width = getattr(torch, DTYPES[asked.dtype])
        module.to(dtype=width)
        inputs = tuple(given.to(width) if given.is_floating_point() else given for given in inputs)
    if asked.mode == "channels_last":
        inputs = in_channels_last(module, inputs)
    return loaded.name, trace(module, inputs)


def _layers(graph: Graph, estimate: Estimate, dtype: str) -> tuple[PredictedLayer, ...]:
    """The unfused layer table beside the times of its ops: each op that costs something is a layer, in order."""
    from roofline.count import cost
    from roofline.layers import lower

    table = lower(graph, fusion="none", dtype=dtype)
    kernels = estimate.kernels
    row_of_op = {int(op): row for row, op in enumerate(kernels.op)}
    op_of_layer = [index for index, op in enumerate(graph.ops) if cost(op) is not None]
    assert len(op_of_layer) == len(table), "without fusion, each op that costs something is a layer"
    op_s: NDArray[np.float64] = np.asarray(estimate.op_s, dtype=np.float64)
    found = []
    for layer, op in enumerate(op_of_layer):
        row = row_of_op.get(op)
        found.append(
            PredictedLayer(
                name=str(table.name[layer]),
                kind=str(table.kind[layer]),
                ops=str(table.ops[layer]),
                kernel="" if row is None else str(kernels.kernel[row]),
                macs=int(table.macs[layer]),
                mem_bytes=int(table.mem_bytes[layer]),
                latency_s=None if row is None or not math.isfinite(op_s[row]) else float(op_s[row]),
            )
        )
    return tuple(found)
