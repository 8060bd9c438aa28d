"""Networks that were exported to a file: ONNX and torch.export. No code from the file runs, and no pickle is opened.

net.onnx    `roofline.exported.onnx`
net.pt2     `roofline.exported.pt2`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from roofline.errors import ModelError
from roofline.exported.sizes import Wanted

if TYPE_CHECKING:
    from torch import Tensor

    from roofline.exported.network import ExportedNetwork

SUFFIXES = (".onnx", ".pt2")


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """An exported network, ready to be traced.

    Attributes:
        network: On the meta device, if not with weights; its forward repeats the file's graph.
        inputs: In the file's order, on the meta device.
        input_source: Where their sizes come from.
    """

    network: ExportedNetwork
    inputs: tuple[Tensor, ...]
    input_source: str


def is_exported(reference: str) -> bool:
    """Whether a model reference names an exported graph.

    >>> is_exported("net.onnx"), is_exported("nets/net.PT2"), is_exported("net.py:make")
    (True, True, False)
    """
    return reference.lower().endswith(SUFFIXES)


def is_onnx(reference: str) -> bool:
    """Whether a model reference names an ONNX file, which a runtime of its own runs.

    >>> is_onnx("nets/net.ONNX"), is_onnx("net.pt2")
    (True, False)
    """
    return reference.lower().endswith(".onnx")


def load_exported(
    path: Path,
    *,
    batch: int | None = None,
    input_size: tuple[int, ...] | None = None,
    dims: Mapping[str, int] | None = None,
    weights: bool = False,
    act: str | None = None,
) -> Exported:
    """Read an exported graph.

    Args:
        path: A ``.onnx`` or ``.pt2`` file.
        batch: The first dimension of the first input; as the file has it when not given.
        input_size: Its other dimensions; as the file has them when not given.
        dims: Sizes of the dimensions that the file leaves open, by name.
        weights: Whether the network is to run, for which a ``.pt2`` has numbers; else all of it is shapes.
        act: An activation function in place of those that the file has, by its name in `roofline.models.activations`;
            its own if None.

    Raises:
        ModelError: The file is missing, damaged, or holds what is not known here; or inputs cannot have these sizes, or
            activations not be `act`.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    wanted = Wanted(batch, input_size, dict(dims or {}))
    try:
        if path.suffix.lower() == ".pt2":
            from roofline.exported.pt2 import load_pt2

            return Exported(*load_pt2(path, wanted, weights=weights, act=act))
        from roofline.exported.onnx import load_onnx

        return Exported(*load_onnx(path, wanted, act=act))
    except ModelError as error:
        raise ModelError(printable(str(error))) from error


def printable(text: str) -> str:
    r"""One line that any terminal can show: files may put into their names what they like.

    >>> printable("no op 'aten.\nmul'")
    "no op 'aten.\\nmul'"
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
