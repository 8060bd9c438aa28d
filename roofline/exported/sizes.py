"""The sizes of an exported graph's inputs: those the file fixes, and those it leaves to whoever runs it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from roofline.errors import ModelError, did_you_mean

MAX_ELEMENTS = 2**44  # of an input: beyond any machine, and far from where sums of MACs leave 64 bits
BATCH = re.compile(r"n|b|bs|.*batch.*", re.IGNORECASE)  # of later inputs: first dimensions that are the batch, too

Size = int | str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user says of the inputs.

    Attributes:
        batch: The first dimension of the first input; None leaves it as the file has it, and takes 1 where it is open.
        input_size: The other dimensions of the first input.
        dims: Sizes of dimensions, by the names that the file gives them.
    """

    batch: int | None = None
    input_size: tuple[int, ...] | None = None
    dims: Mapping[str, int] = field(default_factory=dict)


def settle(
    inputs: Mapping[str, Sequence[Size]], wanted: Wanted, examples: Mapping[str, int] | None = None
) -> tuple[dict[str, int], str]:
    """A size for every dimension that the file names, and where the sizes come from.

    Args:
        inputs: Sizes of each input, in order; a dimension that may vary is its name.
        wanted: What the user says.
        examples: Sizes that the network was exported with, where the file tells.

    Raises:
        ModelError: A dimension without a size, a size that the file does not allow, or a name that it does not have.
    """
    names = list(dict.fromkeys(size for sizes in inputs.values() for size in sizes if isinstance(size, str)))
    given: dict[str, int] = {}
    for name, size in wanted.dims.items():
        if name not in names:
            known = f"it has {_placed(names, inputs)}" if names else "all of its dimensions are fixed"
            raise ModelError(f"no dimension is called {name!r}: {known}.{did_you_mean(name, names)}")
        given[name] = size
    first, sizes = next(iter(inputs.items()), ("", ()))
    if wanted.batch is not None and sizes:
        _bind(given, sizes[0], wanted.batch, f"the batch of input {first!r}")
    if wanted.input_size is not None:
        if len(wanted.input_size) != len(sizes) - 1:
            shape = "x".join(map(str, sizes))
            raise ModelError(f"input {first!r} is {shape}: its size without the batch has {len(sizes) - 1} numbers")
        for axis, size in enumerate(wanted.input_size, start=1):
            _bind(given, sizes[axis], size, f"dimension {axis} of input {first!r}")
    settled = {**(examples or {}), **given}
    for name, other in inputs.items():
        if other and isinstance(other[0], str) and other[0] not in given:
            if name == first:
                settled[other[0]] = 1
            elif BATCH.fullmatch(other[0]):
                settled.setdefault(other[0], 1)
    missing = [name for name in names if name not in settled]
    if missing:
        told = " ".join(f"--arg {name}=N" for name in missing)
        raise ModelError(f"the file leaves {_placed(missing, inputs)} open: say how large, {told}")
    wrong = [f"{name}={size}" for name, size in settled.items() if size < 1]
    if wrong:
        raise ModelError(f"sizes are at least 1 (got {', '.join(wrong)})")
    return settled, "given" if given and set(names) <= given.keys() else "the file's own"


def check_elements(name: str, shape: Sequence[int]) -> None:
    """Refuse what no machine could hold.

    Raises:
        ModelError: A negative size, or more than 2^44 elements.
    """
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        shown = "x".join(map(str, shape))
        raise ModelError(f"{name!r} is {shown[:60]}: sizes are not negative, and 2^44 elements are allowed")


def _placed(names: Sequence[str], inputs: Mapping[str, Sequence[Size]]) -> str:
    """Names of dimensions with where they are: what an exporter calls s53 is nothing that its user knows.

    >>> _placed(["batch", "s53"], {"ids": ["batch", "s53"], "mask": ["batch", 1]})
    "batch (dimension 0 of input 'ids' and of 'mask'), s53 (dimension 1 of input 'ids')"
    """
    told = []
    for name in names:
        places = [(axis, other) for other, sizes in inputs.items() for axis, size in enumerate(sizes) if size == name]
        by_axis = {axis: [repr(other) for at, other in places if at == axis] for axis, _ in places}
        shown = [f"dimension {axis} of input {' and of '.join(others[:3])}" for axis, others in by_axis.items()]
        told.append(f"{name} ({', '.join(shown[:3])})")
    return ", ".join(told)


def _bind(given: dict[str, int], size: Size, wanted: int, what: str) -> None:
    if isinstance(size, str):
        if given.setdefault(size, wanted) != wanted:
            raise ModelError(f"{what} is {size!r}, which is {given[size]} already (got {wanted})")
    elif size != wanted:
        raise ModelError(f"{what} is fixed at {size} in the file (got {wanted}): export it with that dimension dynamic")
