"""`load`: the one function that every command calls, whatever the reference names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from roofline import models
from roofline.errors import ModelError
from roofline.exported import is_exported
from roofline.loading.building import build_on_meta
from roofline.loading.inputs import Built, Example, by_position, given_example, image_example
from roofline.loading.references import HUGGING_FACE, PASSES, is_code, library_of, no_pass, refuse_weights
from roofline.loading.specs import is_spec, separated


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedModel:
    """A module ready to be traced.

    Attributes:
        reference: What the user wrote.
        name: What the reference resolved to.
        module: The module, on the meta device where it could be built and traced there. It takes `inputs` by position,
            also what its class takes by keyword.
        inputs: Example inputs, on the meta device.
        input_source: Why the inputs have the size they have.
        entry: Its row in the zoo's catalogue, if it is from there and was built without arguments.
    """

    reference: str
    name: str
    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    input_source: str
    entry: models.Entry | None = None


def load(
    reference: str,
    *,
    batch: int = 1,
    input_size: tuple[int, ...] | None = None,
    arguments: Mapping[str, Any] | None = None,
    weights: bool = False,
) -> LoadedModel:
    """Resolve a model reference and build the model for analysis, or to run.

    Args:
        reference: See `roofline.loading`.
        batch: Images, or sequences, a pass; at least 1.
        input_size: Channels, height, width; the published size, or 3x224x224, when not given.
        arguments: For the constructor or callable, by name: ``{"width_mult": 1.7}``. A value that is written like a
            tensor, ``{"ids": "int64[1,128]"}``, is what forward is called with. ``prefill`` and ``decode`` of an hf
            reference are numbers of tokens.
        weights: Whether it is to run: its weights are then made, as its constructor initialises them.

    Raises:
        ModelError: The reference does not resolve, its code fails, it does not take the arguments, or `batch` or
            `input_size` make no sense.
    """
    if not isinstance(batch, int) or not all(isinstance(length, int) for length in input_size or ()):
        raise ModelError(f"batch and input_size are whole numbers (got {batch!r}, {input_size!r})")
    if batch < 1:
        raise ModelError(f"batch must be at least 1 (got {batch})")
    given = dict(arguments or {})
    if is_exported(reference):
        return _of_file(reference, batch=batch, input_size=input_size, arguments=given, weights=weights)
    for_constructor, specs = separated(given)
    if specs and input_size is not None:
        raise ModelError(f"an input size and the input {next(iter(specs))!r} exclude each other")
    built = _built(reference, for_constructor, weights)
    if specs:
        if built.entry is not None:
            raise ModelError(f"{built.name} takes an image: give its input size, not the input {next(iter(specs))!r}")
        example = given_example(specs, batch)
    else:
        example = built.example(batch, input_size)
    inputs = by_position(built.module, example)
    if is_code(reference) and not weights and _needs_values(built.module, inputs):
        with torch.random.fork_rng(devices=[]):
            return load(reference, batch=batch, input_size=input_size, arguments=arguments, weights=True)
    return LoadedModel(
        reference=reference,
        name=with_arguments(built.name, given),
        module=built.module,
        inputs=inputs,
        input_source=example.source,
        entry=None if given else built.entry,
    )


def _needs_values(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> bool:
    from roofline.loading.trials import needs_values

    return needs_values(module, inputs)


def with_arguments(name: str, given: Mapping[str, Any]) -> str:
    """The name of a network, and what it was built with."""
    said = (f"{key}={value if is_spec(value) else repr(value)}" for key, value in given.items())
    return f"{name}({', '.join(said)})" if given else name


def _of_file(reference: str, *, arguments: Mapping[str, Any], **how: Any) -> LoadedModel:
    from roofline.loading.exported import exported

    found = exported(reference, arguments=arguments, **how)
    return LoadedModel(
        reference=reference,
        name=with_arguments(reference, arguments),
        module=found.network,
        inputs=found.inputs,
        input_source=found.input_source,
    )


def _built(reference: str, arguments: Mapping[str, Any], weights: bool) -> Built:
    """The module that a reference names."""
    if reference.endswith(".py"):
        raise ModelError(f"{reference} is a file; name a callable in it that returns a module: {reference}:make_net")
    refuse_weights(reference)
    if ":" not in reference or models.knows(reference) or library_of(reference) is not None:
        for name in PASSES:
            if name in arguments:
                raise ModelError(f"{reference} {no_pass(name)}")
    if models.knows(reference) or ":" not in reference:
        return _of_zoo(reference, arguments, weights)
    if library_of(reference) is not None:
        from roofline.loading.libraries import built
    elif reference.startswith(f"{HUGGING_FACE}:"):
        from roofline.loading.huggingface import built
    else:
        from roofline.loading.users import built
    return built(reference, arguments, weights)


def _of_zoo(reference: str, arguments: Mapping[str, Any], weights: bool) -> Built:
    entry = models.find(reference)
    build = partial(entry.build, **arguments)
    module = build() if weights else build_on_meta(build)
    default = (arguments.get("in_chans", 3), *entry.input_size[1:])
    reduction = getattr(module, "reduction", models.REDUCTION)
    take = image_example(module, default, "the published size")

    def example(batch: int, size: tuple[int, ...] | None) -> Example:
        call = take(batch, size)
        if min((size or default)[1:]) < reduction:
            written = "x".join(map(str, size or default))
            raise ModelError(
                f"{entry.name} divides the size of its input by {reduction}: height and width must be at least that "
                f"(got {written})"
            )
        return call

    return Built(module=module, name=entry.name, example=example, entry=entry)
