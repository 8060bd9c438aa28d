"""What is wrong with a profile, all of it, and what is only implausible.

A problem keeps a profile from being loaded. A warning does not: it names what is seldom meant, so that a slip of a
thousand, a peak with sparsity, a copied source or a term without effect is seen before a latency is. What it cannot
see: a figure that is wrong by less than devices of a class differ, such as operations counted as MACs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roofline.errors import ProfileError
from roofline.hardware import DeviceClass, Dtype, Hardware
from roofline.profiles import FigureEntry, NoFileError, ProfileEntry, bundled, examine, read_file
from roofline.units import significant

_Place = tuple[str, ...]  # of a field in a profile, such as ("peak_gmacs_per_s", "int8")

# MACs/byte, by class: those of the bundled profiles, of any dtype, and at least three times as far either way.
RIDGE_POINTS: Final[Mapping[DeviceClass, tuple[float, float]]] = {
    "cpu": (0.3, 2000), "gpu": (1, 2000), "dsp": (10, 1000), "npu": (0.3, 2000), "edgetpu": (10, 15_000),
    "abstract": (0.05, 15_000),
}  # fmt: skip
NARROWER: Final[tuple[tuple[Dtype, Dtype], ...]] = (  # in the second, vendors' peaks are at least those of the first
    ("fp32", "fp16"), ("fp32", "bf16"), ("fp16", "int8"), ("bf16", "int8"),
)  # fmt: skip
TWICE: Final = 2.1  # half the width is twice the lanes; what is beyond, and not rounded, are other units, or sparsity
LAYER_OVERHEAD_US: Final = 1e3  # launches take 1 to 100 us; of the bundled profiles, 4 and 26
INFERENCE_OVERHEAD_US: Final = 1e5  # the bundled profile that has one, 395 us
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
        entry, problems, lines = examine(read_file(Path(file)), str(file))
    except NoFileError as error:
        name = str(file).lower().replace("-", "_")
        ours = f"; a check takes files, and 'roofline hw {name}' tells the bundled profile" if name in bundled() else ""
        return Checked(file=str(file), hardware=None, problems=(f"{error}{ours}",))
    except ProfileError as error:
        return Checked(file=str(file), hardware=None, problems=(str(error),))
    if entry is None:
        return Checked(file=str(file), hardware=None, problems=tuple(f"{file}:{problem}" for problem in problems))
    found = sorted(
        (lines[places[0]], ", ".join(map(".".join, places)), what) for places, what in _implausible(entry, Path(file))
    )
    warnings = tuple(f"{file}:{line}: warning: {fields}: {what}" for line, fields, what in found)
    return Checked(file=str(file), hardware=entry.hardware(Path(file).parent), warnings=warnings)


def _implausible(entry: ProfileEntry, file: Path) -> Iterator[tuple[list[_Place], str]]:
    """Yield what each warning is about, and its text."""
    if entry.id != file.stem:
        yield [("id",)], f"is {entry.id}, and the file is named {file.stem}"
    if entry.calibration is not None and not (file.parent / entry.calibration).is_file():
        yield [("calibration",)], f"there is no file {file.parent / entry.calibration}"
    yield from _of_peaks(entry)
    yield from _of_terms(entry)
    figures = dict(_figures(entry))
    if estimates := [place for place, figure in figures.items() if figure.kind == "estimate"]:
        yield estimates, f"estimate{'s' if len(estimates) > 1 else ''}, and a result is no better than its figures"
    for source in dict.fromkeys(figure.source for figure in figures.values()):
        if _is_placeholder(source):
            of = [place for place, figure in figures.items() if figure.source == source]
            yield of, f"the source is {source[:40]!r}, which nobody can look up"


def _of_peaks(entry: ProfileEntry) -> Iterator[tuple[list[_Place], str]]:
    """Peaks against the bandwidth, against each other, and their sources."""
    peaks, bandwidth, (low, high) = entry.peak_gmacs_per_s, entry.bandwidth_gb_per_s, RIDGE_POINTS[entry.device_class]
    for dtype, peak in peaks.items():
        point = peak.value / bandwidth.value
        if not low <= point <= high:
            told = f"with this bandwidth the ridge point is {significant(point)} MACs/byte; devices of class "
            told += f"{entry.device_class} have {low:g} to {high:g}"
            yield [("peak_gmacs_per_s", dtype)], f"{told}: is each figure in units of 1e9?"
    same = [("peak_gmacs_per_s", dtype) for dtype, peak in peaks.items() if peak.source == bandwidth.source]
    if same and not _is_placeholder(bandwidth.source):
        told = "have the same source, word for word: does it print each of them? Say where, and the figure as printed"
        yield [*same, ("bandwidth_gb_per_s",)], told
    for wide, narrow in NARROWER:
        if wide not in peaks or narrow not in peaks or _is_named(narrow, entry.notes):
            continue
        ratio = peaks[narrow].value / peaks[wide].value
        if ratio < 1:
            yield [("peak_gmacs_per_s", narrow)], f"is below that of {wide}, and no notes on {narrow} say why"
        elif ratio > TWICE and _may_be_sparse(peaks[narrow]):
            yield (
                [("peak_gmacs_per_s", narrow)],
                f"is {significant(ratio)} times that of {wide}: with sparsity? If it is dense, the source or the notes "
                f"on {narrow} can say so",
            )


def _of_terms(entry: ProfileEntry) -> Iterator[tuple[list[_Place], str]]:
    """Terms that are larger than such terms are, or that change no time."""
    for name, share in entry.peak_share_by_class.items():
        if share.value > 1:
            yield [("peak_share_by_class", name)], f"is {significant(share.value)}, more than the whole peak"
    for field, of, largest_us in (
        ("layer_overhead_us", "a layer", LAYER_OVERHEAD_US),
        ("inference_overhead_us", "an inference", INFERENCE_OVERHEAD_US),
    ):
        figure: FigureEntry | None = getattr(entry, field)
        if figure is not None and figure.value > largest_us:
            yield [(field,)], f"{of} starts with {significant(figure.value / 1e3)} ms: is it in microseconds?"
    if entry.overhead_layers != "all" and entry.layer_overhead_us is None:
        yield [("overhead_layers",)], "changes nothing without layer_overhead_us"


def _is_named(dtype: Dtype, notes: str | None) -> bool:
    return notes is not None and re.search(rf"\b{dtype}\b", notes, re.IGNORECASE) is not None


def _may_be_sparse(peak: FigureEntry) -> bool:
    """Whether a peak may be one with sparsity: a vendor prints it, and its source does not say that it is dense.

    >>> said = ("624 TFLOPS, brief, p. 3", "312 TFLOPS dense, brief, p. 3")
    >>> [_may_be_sparse(FigureEntry(value=1.0, kind="datasheet", source=source)) for source in said]
    [True, False]
    """
    return peak.kind in ("datasheet", "estimate") and not re.search(r"\bdense\b", peak.source, re.IGNORECASE)


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
