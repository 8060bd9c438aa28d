"""From a model reference to its layers: load, trace and lower what it names, or find them in the cache.

What is in the cache (`roofline.cache`) costs no import of torch. Its graph is not kept: it is traced when asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from roofline import models
from roofline.cache import LoweredModel, find, key_of, store
from roofline.graph import Graph
from roofline.layers import lower

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import TypeIs  # of typing from Python 3.13 on

    from roofline.loading import LoadedModel
    from roofline.models import Entry

Arrange = Callable[["nn.Module", Any], Any]


def lower_reference(
    reference: str,
    *,
    asked: Mapping[str, Any],
    fusion: str,
    dtype: str,
    fused_activations: Collection[str] = frozenset({"relu", "relu6"}),
    transposes: bool = False,
    arrange: Arrange | None = None,
    cached: bool | None = None,
) -> tuple[LoweredModel, Callable[[], Graph]]:
    """The layers of a reference, and how to have the graph that they are of.

    Args:
        reference: See `roofline.loading`.
        asked: How to build it and its inputs, as `roofline.loading.load` takes it.
        fusion, dtype, fused_activations, transposes: As `roofline.layers.lower` takes them.
        arrange: Puts the inputs into the layout that a device runs them in; its tables are not cached.
        cached: Whether tables are taken from the cache and kept there: False for none, True for those of the user's own
            files too, None for those of the zoo and of libraries.

    Raises:
        RooflineError: Anything wrong with the model or its inputs, in one line.
    """
    how: dict[str, Any] = {
        "fusion": fusion,
        "dtype": dtype,
        "fused_activations": fused_activations,
        "transposes": transposes,
    }
    key = None if arrange is not None else key_of(reference, asked=asked, how=how, wanted=cached)
    if key is not None and (known := find(key)) is not None:
        return known, cache(lambda: _traced(reference, asked, None)[1])
    loaded, graph = _traced(reference, asked, arrange)
    model = LoweredModel(
        name=loaded.name,
        input_shapes=tuple(value.shape for value in graph.inputs),
        input_source=loaded.input_source,
        layers=lower(graph, **how),
    )
    if key is not None:
        store(key, reference, model)
    return model, lambda: graph


def _traced(reference: str, asked: Mapping[str, Any], arrange: Arrange | None) -> tuple[LoadedModel, Graph]:
    from roofline.loading import load
    from roofline.trace import trace

    loaded = load(reference, **asked)
    inputs = loaded.inputs if arrange is None else arrange(loaded.module, loaded.inputs)
    return loaded, trace(loaded.module, inputs)


def entry_of(reference: str, arguments: Mapping[str, Any] | None) -> Entry | None:
    """Its row in the zoo's catalogue, if it is from there and built without arguments."""
    return None if arguments or not models.knows(reference) else models.find(reference)


def is_module(model: object) -> TypeIs[nn.Module]:
    """Whether it is an nn.Module; where torch is not imported, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)
