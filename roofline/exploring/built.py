"""A network of a run, built again: from a row of its dataset to a module that can be analyzed, measured or trained.

network = built("regnets", 1270)
roofline.analyze(network, torch.zeros(1, 3, 224, 224), hw="pixel6_tpu")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from roofline import spaces
from roofline.errors import SavedError
from roofline.exploring.networks import Networks
from roofline.exploring.work import sha256_of, source_of, told_of


def built(folder: Path | str, index: int) -> nn.Module:
    """The network of a draw, with fresh weights.

    Args:
        folder: Where 'roofline explore -o' put the run.
        index: Number of the draw, as the column ``index`` has it.

    Raises:
        SavedError: There is no such run or draw, or the file of the space has changed since.
        RooflineError: The space cannot be loaded, or fails to build it.
    """
    networks = Networks.of(Path(folder))
    request = networks.description.get("request", {})
    reference = request.get("space")
    if not isinstance(reference, str):
        raise SavedError(f"{networks.folder} does not say of which space its networks are: it has no space.json")
    row = networks.rows([index]).get(index)
    if row is None:
        raise SavedError(f"{networks.folder} has no network {index}")
    space = spaces.load(reference)
    source = source_of(reference)
    if source is not None and sha256_of(source) != request.get("space_sha256"):
        raise SavedError(f"{reference} is no longer the space that {networks.folder} was drawn from: its file differs")
    config = _config(row, networks.parameters)
    with told_of(space, index, config):
        return space.build(config)


def _config(row: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What the space drew; lists were tuples."""
    return {name: tuple(row[name]) if isinstance(row[name], list) else row[name] for name in names}
