"""`net.onnx` and `net.pt2`: an exported graph in place of a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roofline.errors import ModelError
from roofline.exported import Exported, is_onnx, load_exported
from roofline.loading.specs import is_spec


def exported(
    reference: str, *, batch: int, input_size: tuple[int, ...] | None, arguments: Mapping[str, Any], weights: bool
) -> Exported:
    """Read the file that a reference names.

    Args:
        reference: A path.
        batch: The first dimension of the first input. Where the file fixes it, 1 stands for what the file has.
        input_size: The other dimensions of the first input; as the file has them when not given.
        arguments: Sizes of open dimensions, by the names that the file gives them.
        weights: Whether it is to run as a module, which an ONNX file cannot: `roofline.measurement.onnx_runtime`.

    Raises:
        ModelError: An argument is no size; or the file cannot be read, cannot have these sizes, or not run.
    """
    check_arguments(reference, arguments)
    if weights and is_onnx(reference):
        raise ModelError(f"{reference} is run as it is, by onnxruntime, and is no module: name the code it is from")
    return load_exported(
        Path(reference),
        batch=None if batch == 1 else batch,
        input_size=input_size,
        dims=arguments,
        weights=weights,
    )


def check_arguments(reference: str, arguments: Mapping[str, Any]) -> None:
    """Refuse what a file cannot take.

    Raises:
        ModelError: An argument is no size of a dimension.
    """
    for name, size in arguments.items():
        if name == "act" and isinstance(size, str):
            raise ModelError(
                f"{reference} is an exported graph, in which activations are ops and no choice: name the code it is "
                "from, as in net.py:make_net"
            )
        if is_spec(size):
            raise ModelError(
                f"{reference} brings its inputs with it, and takes no other ({name}:{size}): --input-size says how "
                "large the first one is, and --arg NAME=N how large an open dimension"
            )
        if not isinstance(size, int) or isinstance(size, bool):
            raise ModelError(
                f"{reference} takes no argument {name!r} but sizes of its open dimensions, whole numbers (got {size!r})"
            )
