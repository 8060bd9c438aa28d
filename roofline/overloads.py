"""What tracing needs to know of an op overload, read off its schema and its tags once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from roofline.count import RESERVATIONS, canonical_name, depends_on_arguments, is_counted
from roofline.shapes import RULES, Rule

DATA_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
DATA_OPS = {"item", "is_nonzero", "equal", "allclose"}  # composites that read data, which the tags do not say


@dataclass(frozen=True, slots=True)
class Overload:
    """One overload.

    Attributes:
        name: Its ATen name, or ``lib::op`` outside ATen.
        target: The overload in full, e.g. ``aten.conv2d.default``.
        canonical: Its canonical name, where that does not depend on the arguments; else empty.
        writes: Positions or keywords of the arguments it writes into.
        take_apart: Whether it is a composite that no handler counts.
        takes_device: Whether it can be told where to make its output.
        is_random: Whether it draws random numbers.
        keeps_constants: Whether running it on constants is safe and means something.
        needs_data: Whether its output, or the shape of it, depends on values.
        makes: What its output is, where that is more than a shape: ``"sparse"``, ``"quantised"``, or empty.
        rule: How to find its output without running it (see `roofline.shapes`); None where there is no rule.
    """

    name: str
    target: str
    canonical: str
    writes: tuple[int | str, ...]
    take_apart: bool
    takes_device: bool
    is_random: bool
    keeps_constants: bool
    needs_data: bool
    makes: Literal["", "sparse", "quantised"]
    rule: Rule | None


def overload_of(func: Any) -> Overload:
    """What there is to know of a ``torch._ops.OpOverload``."""
    known = _KNOWN.get(func)
    if known is None:
        known = _KNOWN[func] = _describe(func)
    return known


def _describe(func: Any) -> Overload:
    schema = func._schema
    name = schema.name.removeprefix("aten::")
    arguments = schema.arguments
    return Overload(
        name=name,
        target=str(func),
        canonical="" if depends_on_arguments(name) else canonical_name(name, (), {}),
        writes=tuple(
            argument.name if argument.kwarg_only else i
            for i, argument in enumerate(arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
            if torch.Tag.inplace_view not in func.tags  # squeeze_ and the like re-describe, they do not write
        ),
        take_apart=(
            torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
            and not func.is_view
            and not is_counted(name)
            and name not in DATA_OPS
        ),
        takes_device=any(argument.name == "device" for argument in arguments),
        is_random=torch.Tag.nondeterministic_seeded in func.tags,
        keeps_constants=(
            schema.name.startswith("aten::")
            and torch.Tag.nondeterministic_seeded not in func.tags
            and name not in RESERVATIONS  # whose values are whatever was there
            and not any(argument.alias_info is not None and argument.alias_info.is_write for argument in arguments)
        ),
        needs_data=bool(DATA_TAGS & set(func.tags)) or name in DATA_OPS,
        makes=(
            "sparse"
            if name.lstrip("_").startswith("to_sparse")
            else "quantised"
            if name.startswith(("quantize_per", "quantized::"))
            else ""
        ),
        rule=RULES.get(func),
    )


_KNOWN: dict[Any, Overload] = {}
