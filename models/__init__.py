"""The model zoo: what there is, what it costs, what was published of it, and how to build it.

One module an architecture family, in plain PyTorch; one row a variant in catalogue.csv; one row a published figure in
published.csv. Reading them imports neither torch nor pandas; only `Entry.build` needs torch.

A name with a colon is a form of the network before it: ``mobileone_s0:train``, ``mobilenetv4_hybrid_medium:mhsa``.

>>> entry = find("MNv4-Conv-S")
>>> entry.name, entry.input_size, entry.params, entry.macs
('mobilenetv4_conv_small', (3, 224, 224), 3774024, 186005568)
>>> [entry.name for entry in match("mobilenetv4_hybrid_*")]
['mobilenetv4_hybrid_medium', 'mobilenetv4_hybrid_large']
"""

from __future__ import annotations

import ast
import csv
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from roofline.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Entry",
    "Family",
    "Published",
    "entries",
    "expand",
    "family",
    "find",
    "is_pattern",
    "knows",
    "match",
    "names",
]

REDUCTION = 32  # every variant of the zoo halves its input five times; what arguments make of it may do otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one source prints of one variant, beside our exact count at the same input.

    Attributes:
        input_px: Height and width of the image.
        params, macs: Ours, exact, as in `Entry`.
        published_params, published_macs: As printed, e.g. ``"9.2M"`` and ``"1.0G"``; None if not printed.
        top1: ImageNet-1k top-1 accuracy in percent; None if not printed.
        convention: What the source counts, and in which units.
        source: Where the figures stand.
        confidence: ``"verified-in-source"``, or how the figures came here otherwise.
        note: Why a printed figure is not ours, where it is not: what else it counts, or that it is wrong.
    """

    input_px: int
    params: int
    macs: int
    published_params: str | None
    published_macs: str | None
    top1: float | None
    convention: str
    source: str
    confidence: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture family: the head of its module.

    Attributes:
        name: The module of `roofline.models`.
        summary: What it is, in a line.
        paper: Who published it, under which title, where.
        rule: How its networks are generated, what is assumed, and whose code the numbers are of; paragraphs.
    """

    name: str
    summary: str
    paper: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One variant of the zoo: a row of catalogue.csv, and what published.csv has of it. The counts are exact and ours.

    Attributes:
        name: Name of the variant.
        family: Module of `roofline.models` that builds it.
        aliases: Other names `find` accepts.
        input_size: Channels, height and width of the input it was published with.
        params: Parameters, those of the norms included.
        macs: Multiply-accumulates of one image of `input_size`: convolutions, linear layers and attention.
        attention_macs: The part of `macs` in attention's two matrix products, which some counters leave out.
        published: What sources print of it, the original paper or code first.
    """

    name: str
    family: str
    aliases: tuple[str, ...]
    input_size: tuple[int, int, int]
    params: int
    macs: int
    attention_macs: int
    published: tuple[Published, ...]

    @property
    def reference(self) -> Published | None:
        """The first source that prints figures at `input_size`."""
        return next((figures for figures in self.published if figures.input_px == self.input_size[1]), None)

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy in percent by the first source that prints one at `input_size`."""
        at_input = (figures.top1 for figures in self.published if figures.input_px == self.input_size[1])
        return next((top1 for top1 in at_input if top1 is not None), None)

    def build(self, **kwargs: Any) -> nn.Module:
        """Build the network, with random weights.

        Args:
            kwargs: For its constructor, in place of the variant's own: ``num_classes=10``; see `arguments`.

        Raises:
            ModelError: An argument that the network does not take, or that breaks one of its rules.
        """
        build = self._builder()
        known = self.arguments()
        for key in kwargs:
            if key not in known:
                raise ModelError(
                    f"{self.name} takes no argument {key!r}.{did_you_mean(key, known)} It takes {', '.join(known)}."
                )
        try:
            return build(**kwargs)
        except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]  # torch adds a trace of its own
            raise ModelError(f"{self.name}: {lines[0][:300]}") from error

    def arguments(self) -> dict[str, Any]:
        """The arguments `build` takes, and what this variant has for each. Imports torch."""
        return {
            name: parameter.default
            for name, parameter in inspect.signature(self._builder()).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain data, with the paper of its family."""
        return {**asdict(self), "top1": self.top1, "paper": family(self.family).paper}

    def _builder(self) -> Callable[..., nn.Module]:
        variants: Mapping[str, Callable[..., nn.Module]]
        variants = importlib.import_module(f"roofline.models.{self.family}").VARIANTS
        return variants[self.name]


@cache
def entries() -> tuple[Entry, ...]:
    """Return all variants, in the order of catalogue.csv: by family, then by size."""
    published: dict[str, list[Published]] = {}
    for row in _rows("published.csv"):
        published.setdefault(row["model"], []).append(_published(row))
    return tuple(_entry(row, tuple(published.get(row["model"], ()))) for row in _rows("catalogue.csv"))


def names() -> tuple[str, ...]:
    """Return the names of all variants, in the order of `entries`."""
    return tuple(entry.name for entry in entries())


def knows(name: str) -> bool:
    """Whether this is a name or an alias, or that of a network followed by a colon."""
    return _key(name).partition(":")[0] in _index()


def find(name: str) -> Entry:
    """Return the variant of this name or alias, whatever its case, with ``-`` as good as ``_``.

    Raises:
        ModelError: There is none; the message names the nearest.
    """
    known, (base, colon, form) = _index(), _key(name).partition(":")
    if base not in known:
        raise ModelError(f"unknown model {name!r}.{did_you_mean(base, known)} 'roofline models' lists all.")
    entry = known[base]
    if not colon:
        return entry
    forms = [key.removeprefix(f"{entry.name}:") for key in names() if key.startswith(f"{entry.name}:")]
    if form not in forms:
        there_are = f"It has {', '.join(forms)}." if forms else "It has none."
        raise ModelError(f"{entry.name} has no form {form!r}.{did_you_mean(form, forms)} {there_are}")
    return known[f"{entry.name}:{form}"]


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards of the shell: ``*``, ``?`` or ``[...]``."""
    return any(char in text for char in "*?[")


def match(pattern: str) -> tuple[Entry, ...]:
    """Return the variants whose name or alias matches a pattern of the shell, or the one of this very name.

    A form of a network (a name with a colon) matches only a pattern that has a colon too: ``*:*`` for all of them.

    Raises:
        ModelError: Nothing matches.
    """
    if not is_pattern(pattern):
        return (find(pattern),)
    key = _key(pattern)
    found = tuple(
        entry
        for entry in entries()
        if (":" in key or ":" not in entry.name) and any(fnmatchcase(n, key) for n in (entry.name, *entry.aliases))
    )
    if not found:
        raise ModelError(f"no model matches {pattern!r}; 'roofline models' lists all")
    return found


def expand(reference: str) -> tuple[str, ...]:
    """Return the names that a pattern matches; any other reference as it is.

    Raises:
        ModelError: A pattern that matches nothing.
    """
    if not is_pattern(reference) or ".py:" in reference or reference.lower().endswith(".json"):
        return (reference,)  # a folder's name may have brackets
    return tuple(entry.name for entry in match(reference))


@cache
def family(name: str) -> Family:
    """Return a family of the zoo, as the head of its module describes it."""
    head = ast.get_docstring(ast.parse(files("roofline.models").joinpath(f"{name}.py").read_text(encoding="utf-8")))
    assert head is not None
    summary, paper, rule = head.split("\n\n", 2)
    return Family(name=name, summary=" ".join(summary.split()), paper=" ".join(paper.split()), rule=rule)


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_")


@cache
def _index() -> dict[str, Entry]:
    return {key: entry for entry in entries() for key in (entry.name, *entry.aliases)}


def _rows(file: str) -> csv.DictReader[str]:
    text = files("roofline.models").joinpath(file).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines(), strict=True)


def _entry(row: dict[str, str], published: tuple[Published, ...]) -> Entry:
    px = int(row["input_px"])
    return Entry(
        name=row["model"],
        family=row["family"],
        aliases=tuple(row["aliases"].split()),
        input_size=(3, px, px),
        params=int(row["params"]),
        macs=int(row["macs"]),
        attention_macs=int(row["attention_macs"]),
        published=published,
    )


def _published(row: dict[str, str]) -> Published:
    return Published(
        input_px=int(row["input_px"]),
        params=int(row["params"]),
        macs=int(row["macs"]),
        published_params=row["published_params"] or None,
        published_macs=row["published_macs"] or None,
        top1=float(row["top1"]) if row["top1"] else None,
        convention=row["convention"],
        source=row["source"],
        confidence=row["confidence"],
        note=row["note"],
    )
