"""`net.onnx` and `net.pt2`: an exported graph in place of a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roofline.errors import ModelError
from roofline.exported import Exported, load_exported


def exported(
    reference: str, *, batch: int, input_size: tuple[int, ...] | None, arguments: Mapping[str, Any], weights: bool
) -> Exported:
    """Read the file that a reference names.

    Args:
        reference: A path.
        batch: The first dimension of the first input. Where the file fixes it, 1 stands for what the file has.
        input_size: The other dimensions of the first input; as the file has them when not given.
        arguments: Sizes of open dimensions, by the names that the file gives them.
        weights: Whether it is to run.

    Raises:
        ModelError: It is to run; an argument is no size; or the file cannot be read or cannot have these sizes.
    """
    if weights:
        raise ModelError(
            f"{reference} is an exported graph, which is counted here and cannot be run: name the code it is from, "
            "as in net.py:make_net"
        )
    for name, size in arguments.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise ModelError(
                f"{reference} takes no argument {name!r} but sizes of its open dimensions, whole numbers (got {size!r})"
            )
    return load_exported(Path(reference), batch=None if batch == 1 else batch, input_size=input_size, dims=arguments)
