"""What is wrong with a profile, all of it, and what is only implausible.

A problem keeps a profile from being loaded. A warning does not: it names what is seldom meant, so that a slip of a
thousand, of a sparse peak or of a copied source is seen before a latency is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roofline.errors import ProfileError
from roofline.hardware import Dtype, Hardware
from roofline.profiles import _MAX_BYTES, FigureEntry, ProfileEntry, _read, _validated
from roofline.units import significant

_Place = tuple[str, ...]  # of a field in a profile, such as ("peak_gmacs_per_s", "int8")

RIDGE_POINTS: Final = (0.05, 5000.0)  # MACs/byte; of the bundled profiles they lie between 1.2 and 4000
NARROWER: Final[tuple[tuple[Dtype, Dtype], ...]] = (  # in the second, vendors' peaks are at least those of the first
    ("fp32", "fp16"), ("fp32", "bf16"), ("fp16", "int8"), ("bf16", "int8"),
)  # fmt: skip
_STANDS_FOR_A_SOURCE = re.compile(
    r"(todo|tbd|fixme|xxx)\b.*|(source|unknown|none|n/?a|internet|where it is printed)?\W*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One file, checked.

    Attributes:
        file: Its path, as given.
        hardware: The device; None if there are problems.
        problems: What keeps it from being loaded, each as ``file:line: field: what is wrong and what would be right``.
        warnings: What is implausible, each as ``file:line: warning: field: what and why``.
    """

    file: str
    hardware: Hardware | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What was found, a line each: the problems; or that it is a device, and the warnings."""
        if self.hardware is None:
            return list(self.problems)
        device = self.hardware
        points = [f"{significant(device.ridge_point(dtype))} at {dtype}" for dtype in device.peak_macs_per_s]
        found = f"{self.file}: ok: {device.id}, {device.device_class}, ridge point in MACs/byte: {', '.join(points)}"
        return [found, *self.warnings]


def check_profile(file: str | Path) -> Checked:
    """Check a YAML file against the schema, and its figures against what devices are like."""
    try:
        document, lines = _read(_contents(Path(file)), str(file))
    except ProfileError as error:
        return Checked(file=str(file), hardware=None, problems=(str(error),))
    entry, problems = _validated(document, lines)
    if entry is None:
        return Checked(file=str(file), hardware=None, problems=tuple(f"{file}:{problem}" for problem in problems))
    found = sorted(
        (lines[places[0]], ", ".join(map(".".join, places)), what)
        for places, what in _implausible(entry, Path(file).stem)
    )
    warnings = tuple(f"{file}:{line}: warning: {fields}: {what}" for line, fields, what in found)
    return Checked(file=str(file), hardware=entry.hardware(), warnings=warnings)


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(_MAX_BYTES + 1)
    except (FileNotFoundError, ValueError):  # ValueError: a null byte
        raise ProfileError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ProfileError(f"{path}: is a directory; a profile is a YAML file") from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None


def _implausible(entry: ProfileEntry, stem: str) -> Iterator[tuple[list[_Place], str]]:
    """Yield what each warning is about, and its text."""
    if entry.id != stem:
        yield [("id",)], f"is {entry.id}, and the file is named {stem}"
    peaks, (low, high) = entry.peak_gmacs_per_s, RIDGE_POINTS
    for dtype, peak in peaks.items():
        point = peak.value / entry.bandwidth_gb_per_s.value
        if not low <= point <= high:
            told = (
                f"with this bandwidth the ridge point is {significant(point)} MACs/byte; devices have {low} to {high:g}"
            )
            yield [("peak_gmacs_per_s", dtype)], f"{told}: is each figure in units of 1e9?"
    for wide, narrow in NARROWER if entry.notes is None else ():
        if wide in peaks and narrow in peaks and peaks[narrow].value < peaks[wide].value:
            yield [("peak_gmacs_per_s", narrow)], f"is below that of {wide}, and no notes say why"
    for name, share in entry.peak_share_by_class.items():
        if share.value > 1:
            yield [("peak_share_by_class", name)], f"is {significant(share.value)}, more than the whole peak"
    figures = dict(_figures(entry))
    if estimates := [place for place, figure in figures.items() if figure.kind == "estimate"]:
        yield estimates, f"estimate{'s' if len(estimates) > 1 else ''}, and a result is no better than its figures"
    for source in dict.fromkeys(figure.source for figure in figures.values()):
        if _is_placeholder(source):
            of = [place for place, figure in figures.items() if figure.source == source]
            yield of, f"the source is {source[:40]!r}, which nobody can look up"


def _figures(entry: ProfileEntry) -> Iterator[tuple[_Place, FigureEntry]]:
    """Yield each figure of a profile with its place in the file."""
    for name in ProfileEntry.model_fields:
        value = getattr(entry, name)
        if isinstance(value, FigureEntry):
            yield (name,), value
        elif isinstance(value, dict):
            for key, figure in value.items():
                yield (name, key), figure


def _is_placeholder(source: str) -> bool:
    """Whether a source stands for one that is still to come.

    >>> [_is_placeholder(text) for text in ("TODO: datasheet", "?", "n/a", "product brief, p. 3", "Todorov 2021")]
    [True, True, True, False, False]
    """
    return _STANDS_FOR_A_SOURCE.fullmatch(source) is not None
