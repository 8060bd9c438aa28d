"""Example inputs in words: ``ids:int64[1,128]``, the argument of forward, the dtype and the sizes of a tensor.

Among the arguments of a reference such a text, ``{"ids": "int64[1,128]"}``, is what forward is called with, and not for
the constructor. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from roofline.errors import ModelError, did_you_mean

DTYPES = tuple(
    "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128".split()
)  # torch's names of what models take

_SPEC = re.compile(r"([a-z]+\d*)\[([0-9,\s]*)\]")


class TensorSpec(NamedTuple):
    """A tensor without data: ``int64[1,128]``."""

    dtype: str
    shape: tuple[int, ...]

    def with_batch(self, batch: int) -> TensorSpec:
        """As it stands, with a leading 1 as the batch; a single number has none.

        Raises:
            ModelError: It states another batch itself.
        """
        if batch == 1 or not self.shape:
            return self
        if self.shape[0] != 1:
            raise ModelError(f"{self} has a batch of its own: leave out the batch, or let it begin with 1")
        return TensorSpec(self.dtype, (batch, *self.shape[1:]))

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def parse_input(text: str) -> tuple[str, TensorSpec]:
    """The argument of forward and the tensor that ``NAME:DTYPE[SIZES]`` says.

    Raises:
        ModelError: It is not written so, or there is no such dtype.

    >>> name, spec = parse_input("ids:int64[1,128]")
    >>> name, spec.dtype, spec.shape
    ('ids', 'int64', (1, 128))
    """
    name, _, written = text.partition(":")
    if not name.isidentifier() or not is_spec(written):
        raise ModelError(f"{text!r} is not NAME:DTYPE[SIZES], as in ids:int64[1,128]")
    return name, parse_spec(written)


def is_spec(value: object) -> bool:
    """Whether an argument is written like a tensor: ``"int64[1,128]"``."""
    return isinstance(value, str) and _SPEC.fullmatch(value.strip()) is not None


def parse_spec(text: str) -> TensorSpec:
    """The tensor that ``DTYPE[SIZES]`` says; no sizes are a single number.

    Raises:
        ModelError: There is no such dtype, or a size is no whole number of at least 1.
    """
    found = _SPEC.fullmatch(text.strip())
    assert found is not None, "only what is_spec"
    dtype, inside = found[1], found[2].strip()
    if dtype not in DTYPES:
        raise ModelError(f"{text!r} has no dtype {dtype!r}.{did_you_mean(dtype, DTYPES)} Known: {', '.join(DTYPES)}")
    sizes = [size.strip() for size in inside.split(",")] if inside else []
    if not all(re.fullmatch(r"0*[1-9]\d{0,12}", size) for size in sizes):
        raise ModelError(f"{text!r} needs whole numbers of at least 1 as sizes, as in {dtype}[1,128]")
    return TensorSpec(dtype, tuple(map(int, sizes)))


def separated(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, TensorSpec]]:
    """The arguments for the constructor, and the example inputs among them."""
    inputs = {name: parse_spec(value) for name, value in arguments.items() if is_spec(value)}
    return {name: value for name, value in arguments.items() if name not in inputs}, inputs
