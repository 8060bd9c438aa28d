"""What if the network were run another way, at another dtype, batch, size or fusion, or its layers were smaller.

One graph is traced, and lowered again for another dtype or fusion; another batch or input size is traced again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.analysis import Analysis
from roofline.engine import Prediction, combined, predict, terms_of
from roofline.errors import RooflineError
from roofline.hardware import ACTIVATIONS, Hardware
from roofline.layers import DTYPE_BYTES, lower
from roofline.response import Times
from roofline.units import shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from roofline.graph import Graph

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SIZES = (1 / 2, 5 / 8, 3 / 4, 7 / 8, 1, 9 / 8, 5 / 4, 3 / 2)  # of the present height and width; 128 to 384 of 256
GROUPS = ("dtype", "batch", "input", "fusion")
REFUSED = {"batch": "the model does not run with so many images", "input": "the model does not run at this size"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another way to run the model on the device as it is.

    Attributes:
        group: One of `GROUPS`: what is changed.
        name: To what.
        is_present: Whether that is how it is run now.
        dtype, fusion, batch, input_shapes: As it would be run.
        skipped: Why it cannot be, in a few words; empty if it can. Then what follows `detail` is None.
        detail: What went wrong, in one line, where a model that is run so fails.
        latency_s: Of one pass, seconds.
        image_latency_s: For each image of the batch.
        ratio: That over the present one; None of a bound and a prediction, which are unlike numbers.
        latency_kind: ``bound`` or ``prediction``.
        scales: What changed: each of `SCALES` for one image, over the present one; None over 0. ``bus_bytes`` are those
            that cross the memory bus.
        top1: Published accuracy at this input size, percent; None where there is none, and of other groups.
    """

    group: str
    name: str
    is_present: bool
    dtype: str
    fusion: str
    batch: int
    input_shapes: tuple[tuple[int, ...], ...]
    skipped: str = ""
    detail: str = ""
    latency_s: float | None = None
    image_latency_s: float | None = None
    ratio: float | None = None
    latency_kind: str | None = None
    scales: Mapping[str, float | None] | None = None
    top1: float | None = None


SCALES = ("macs", "bus_bytes", "vector_ops", "overheads_s", "peak_macs_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSaving:
    """What smaller costs of one layer would save of the whole, seconds.

    Attributes:
        name, kind, latency_s: Of the layer.
        half_bytes_s: With half the bytes.
        half_macs_s: With half the MACs.
    """

    name: str
    kind: str
    latency_s: float
    half_bytes_s: float
    half_macs_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The model, to be traced again at another batch or size.

    Attributes:
        module: The model.
        image: Its example input, if it has one alone.
        step: What heights and widths are multiples of.
    """

    module: nn.Module
    image: Tensor | None
    step: int

    @classmethod
    def of(cls, model: str | nn.Module, inputs: Any, analysis: Analysis, options: Mapping[str, Any]) -> Network:
        """What `roofline.analyze` was given, and the analysis that it gave."""
        from torch import Tensor

        from roofline import models
        from roofline.loading import load

        if isinstance(model, str):
            size = options.get("input_size")
            loaded = load(
                model,
                batch=options.get("batch") or 1,
                input_size=tuple(size) if size else None,
                arguments=options.get("arguments"),
            )
            module, given = loaded.module, list(loaded.inputs)
        else:
            module, given = model, list(inputs) if isinstance(inputs, tuple | list) else [inputs]
        image = given[0] if len(given) == 1 and isinstance(given[0], Tensor) and given[0].dim() else None
        in_zoo = isinstance(model, str) and models.knows(model)
        return cls(module=module, image=image, step=_step(module, image, models.REDUCTION if in_zoo else None))

    def at(self, *, batch: int | None = None, size: tuple[int, int] | None = None) -> Graph:
        """The graph at another batch, or another height and width."""
        import torch

        from roofline.trace import trace

        assert self.image is not None, "what takes other inputs is not run in other ways"
        sizes = list(self.image.shape)
        if batch is not None:
            sizes[0] = batch
        if size is not None:
            sizes[2:] = size
        return trace(self.module, (torch.empty(sizes, dtype=self.image.dtype, device="meta"),))


def _step(module: nn.Module, image: Tensor | None, reduction: int | None) -> int:
    """By what heights and widths are divided: what the model says; else the most of 32, 16, ... that leaves a few."""
    stated = getattr(module, "reduction", reduction)
    if isinstance(stated, int) and stated > 0:
        return stated
    if image is None or image.dim() != 4:
        return 1
    return next(step for step in (32, 16, 8, 4, 2, 1) if step == 1 or 4 * step <= min(image.shape[2:]))


def alternatives(analysis: Analysis, network: Network) -> Iterator[Alternative]:
    """All of them, group by group; what cannot be run says why."""
    layers, hardware = analysis.layers, analysis.hardware
    own = {"dtype": layers.dtype, "fusion": layers.fusion}

    for dtype in DTYPE_BYTES:
        yield _tried(analysis, network, "dtype", dtype, own | {"dtype": dtype}, is_present=dtype == layers.dtype)
    for batch in sorted({*BATCHES, analysis.batch}):
        present = batch == analysis.batch
        yield _tried(analysis, network, "batch", str(batch), own, batch=batch, is_present=present)
    yield from _sizes(analysis, network, own)
    for fusion in ("none", "epilogue"):
        present = fusion == layers.fusion
        yield _tried(analysis, network, "fusion", fusion, own | {"fusion": fusion}, is_present=present)
    if not hardware.fused_activations >= set(ACTIVATIONS):
        fused = own | {"fusion": "epilogue", "fused_activations": frozenset(ACTIVATIONS)}
        yield _tried(analysis, network, "fusion", "all activations fused", fused)


def _sizes(analysis: Analysis, network: Network, own: Mapping[str, Any]) -> Iterator[Alternative]:
    """Other heights and widths, rounded to what the model divides them by."""
    image = network.image
    if image is None or image.dim() != 4:
        yield _skipped(analysis, "input", "other sizes", own, "its input is not one image")
        return
    height, width = image.shape[2:]
    found = {(height, width)}
    for part in SIZES:
        tall, wide = (max(1, round(part * length / network.step)) * network.step for length in (height, width))
        found.add((tall, wide))
    for size in sorted(found):
        present = size == (height, width)
        yield _tried(analysis, network, "input", shape(size), own, size=size, is_present=present)


def _tried(
    analysis: Analysis,
    network: Network,
    group: str,
    name: str,
    how: Mapping[str, Any],
    *,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    is_present: bool = False,
) -> Alternative:
    """The model run in another way; or why it cannot be."""
    hardware = analysis.hardware
    if is_present:
        prediction, graph = analysis.prediction, analysis.graph
    else:
        if network.image is None and group not in ("dtype", "fusion"):
            return _skipped(analysis, group, name, how, "it takes other inputs than one tensor")
        if how["dtype"] not in hardware.peak_macs_per_s:
            return _skipped(analysis, group, name, how, "the profile has no peak for it")
        try:
            graph = analysis.graph if group in ("dtype", "fusion") else network.at(batch=batch, size=size)
        except RooflineError as error:
            detail = " ".join(str(error).split())
            return _skipped(analysis, group, name, how, REFUSED[group], detail, batch=batch)
        choices = {"fused_activations": hardware.fused_activations, "transposes": hardware.copies_transposes, **how}
        prediction = predict(lower(graph, **choices), hardware)
    shapes = tuple(value.shape for value in graph.inputs)
    images = batch or analysis.batch
    latency_s = float(prediction.latency_s)
    before, after = _costs(analysis.prediction, analysis.batch), _costs(prediction, images)
    present_s = float(analysis.prediction.latency_s) / analysis.batch
    kind = hardware.latency_kind(how["dtype"])
    is_like = kind == analysis.latency_kind
    return Alternative(
        group=group,
        name=name,
        is_present=is_present,
        dtype=how["dtype"],
        fusion=how["fusion"],
        batch=images,
        input_shapes=shapes,
        latency_s=latency_s,
        image_latency_s=latency_s / images,
        ratio=latency_s / images / present_s if present_s and is_like else None,
        latency_kind=kind,
        scales={key: after[key] / before[key] if before[key] else None for key in SCALES},
        top1=_top1(analysis, shapes) if group == "input" else None,
    )


def _skipped(
    analysis: Analysis,
    group: str,
    name: str,
    how: Mapping[str, Any],
    why: str,
    detail: str = "",
    *,
    batch: int | None = None,
) -> Alternative:
    return Alternative(
        group=group, name=name, is_present=False, dtype=how["dtype"], fusion=how["fusion"],
        batch=batch or analysis.batch, input_shapes=(), skipped=why, detail=detail,
    )  # fmt: skip


def _costs(prediction: Prediction, images: int) -> dict[str, float]:
    """What a latency comes of, for one image."""
    layers, hardware = prediction.layers, prediction.hardware
    assert isinstance(hardware, Hardware)
    terms = terms_of(layers, hardware)
    return {
        "macs": int(layers.macs.sum()) / images,
        "bus_bytes": int(np.sum(terms["mem_bytes"]) + np.sum(terms["weight_bytes"])) / images,
        "vector_ops": int(layers.vector_ops.sum()) / images,
        "overheads_s": Times.of(prediction).overhead_s / images,
        "peak_macs_per_s": hardware.peak(layers.dtype),
    }


def _top1(analysis: Analysis, shapes: Sequence[tuple[int, ...]]) -> float | None:
    """What was published of the network of the zoo at an input size."""
    published = analysis.entry.published if analysis.entry is not None else ()
    at_size = (p.top1 for p in published if p.top1 is not None and shapes[0][1:] == (3, p.input_px, p.input_px))
    return next(at_size, None)


def savings(analysis: Analysis, times: Times) -> Iterator[LayerSaving]:
    """Of each layer, in the order of the analysis."""
    layers = analysis.layers
    now_s = combined(times.mac_s, times.vector_s, times.mem_s, times.add)
    fewer_bytes_s = combined(times.mac_s, times.vector_s, times.mem_s / 2, times.add)
    fewer_macs_s = combined(times.mac_s / 2, times.vector_s, times.mem_s, times.add)
    columns = (
        analysis.prediction.layer_latency_s.tolist(),
        (now_s - fewer_bytes_s).tolist(),
        (now_s - fewer_macs_s).tolist(),
    )
    for name, kind, latency_s, half_bytes_s, half_macs_s in zip(layers.name, layers.kind, *columns, strict=True):
        yield LayerSaving(name=name, kind=kind, latency_s=latency_s, half_bytes_s=half_bytes_s, half_macs_s=half_macs_s)
