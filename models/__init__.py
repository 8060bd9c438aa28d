"""The model zoo: what there is, what it costs, what its paper says, and how to build it.

One module an architecture family, in plain PyTorch, and one row a variant in published.csv. Reading the catalogue
imports neither torch nor pandas; only `Entry.build` needs torch.

>>> entry = find("MNv4-Conv-S")
>>> entry.name, entry.input_size, entry.params, entry.macs
('mobilenetv4_conv_small', (3, 224, 224), 3774024, 186005568)
"""

from __future__ import annotations

import csv
import importlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from roofline.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Entry", "entries", "find", "names"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One variant of the zoo: a row of published.csv.

    The counts are exact and ours; what is called published stands as its source prints it. The two may use different
    units, or count different things: `convention` says how to compare them.

    Attributes:
        name: Name of the variant and of the function that builds it.
        family: Module of `roofline.models` that has this function.
        aliases: Other names `find` accepts.
        input_size: Channels, height and width of the input it was published with.
        params: Parameters, those of the norms included.
        macs: Multiply-accumulates of one image of `input_size`: convolutions, linear layers and attention.
        attention_macs: The part of `macs` in attention's two matrix products, which some counters leave out.
        published_params: As printed, e.g. ``"9.2M"``; None if not printed.
        published_macs: As printed, e.g. ``"1.0G"``; None if not printed.
        top1: Published ImageNet-1k top-1 accuracy in percent; None if not printed.
        convention: What the source counts, and in which units.
        source: Where the published figures stand.
        paper: Title and arXiv number of the paper of the architecture.
    """

    name: str
    family: str
    aliases: tuple[str, ...]
    input_size: tuple[int, int, int]
    params: int
    macs: int
    attention_macs: int
    published_params: str | None
    published_macs: str | None
    top1: float | None
    convention: str
    source: str
    paper: str

    def build(self, **kwargs: Any) -> nn.Module:
        """Build the network, with random weights; `kwargs` go to its function, e.g. ``num_classes=10``."""
        module = importlib.import_module(f"roofline.models.{self.family}")
        model: nn.Module = getattr(module, self.name)(**kwargs)
        return model


@cache
def entries() -> tuple[Entry, ...]:
    """Return all variants, in the order of published.csv: by family, then by size."""
    text = files("roofline.models").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(_entry(row) for row in csv.DictReader(text.splitlines(), strict=True))


def names() -> tuple[str, ...]:
    """Return the names of all variants, in the order of `entries`."""
    return tuple(entry.name for entry in entries())


def find(name: str) -> Entry:
    """Return the variant of this name or alias, whatever its case, with ``-`` as good as ``_``.

    Raises:
        ModelError: There is none; the message names the nearest.
    """
    known, key = _index(), name.strip().lower().replace("-", "_")
    if key not in known:
        raise ModelError(f"unknown model {name!r}.{did_you_mean(key, known)} 'roofline models' lists all.")
    return known[key]


@cache
def _index() -> dict[str, Entry]:
    return {key: entry for entry in entries() for key in (entry.name, *entry.aliases)}


def _entry(row: dict[str, str]) -> Entry:
    px = int(row["input_px"])
    return Entry(
        name=row["model"],
        family=row["family"],
        aliases=tuple(row["aliases"].split()),
        input_size=(3, px, px),
        params=int(row["params"]),
        macs=int(row["macs"]),
        attention_macs=int(row["attention_macs"]),
        published_params=row["published_params"] or None,
        published_macs=row["published_macs"] or None,
        top1=float(row["top1"]) if row["top1"] else None,
        convention=row["convention"],
        source=row["source"],
        paper=row["paper"],
    )
