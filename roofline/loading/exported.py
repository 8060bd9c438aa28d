"""`net.onnx` and `net.pt2`: an exported graph in place of a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roofline.errors import ModelError
from roofline.exported import Exported, is_onnx, load_exported
from roofline.loading.specs import is_spec
from roofline.models.activations import name_of


def exported(
    reference: str, *, batch: int, input_size: tuple[int, ...] | None, arguments: Mapping[str, Any], weights: bool
) -> Exported:
    """Read the file that a reference names.

    Args:
        reference: A path.
        batch: The first dimension of the first input. Where the file fixes it, 1 stands for what the file has.
        input_size: The other dimensions of the first input; as the file has them when not given.
        arguments: As `sizes_and_act` takes them.
        weights: Whether it is to run as a module, which an ONNX file cannot: `roofline.measurement.onnx_runtime`.

    Raises:
        ModelError: An argument is no size; or the file cannot be read, cannot have these sizes, or not run.
    """
    sizes, act = sizes_and_act(reference, arguments)
    if weights and is_onnx(reference):
        raise ModelError(f"{reference} is run as it is, by onnxruntime, and is no module: name the code it is from")
    return load_exported(
        Path(reference),
        batch=None if batch == 1 else batch,
        input_size=input_size,
        dims=sizes,
        weights=weights,
        act=act,
    )


def sizes_and_act(reference: str, arguments: Mapping[str, Any]) -> tuple[dict[str, int], str | None]:
    """What the arguments of a file say.

    They are sizes of its open dimensions, by the names that the file gives them; and ``act``, an activation function in
    place of those that it has.

    Raises:
        ModelError: An argument is neither, or no activation is called so.
    """
    sizes = dict(arguments)
    act = sizes.pop("act") if isinstance(sizes.get("act"), str) and not is_spec(sizes["act"]) else None
    for name, size in sizes.items():
        if is_spec(size):
            raise ModelError(
                f"{reference} brings its inputs with it, and takes no other ({name}:{size}): --input-size says how "
                "large the first one is, and --arg NAME=N how large an open dimension"
            )
        if not isinstance(size, int) or isinstance(size, bool):
            raise ModelError(
                f"{reference} takes no argument {name!r} but sizes of its open dimensions, whole numbers, and act, the "
                f"name of an activation (got {size!r})"
            )
    try:
        return sizes, None if act is None else name_of(act)
    except ValueError as error:
        raise ModelError(f"{reference}: {error}") from None
