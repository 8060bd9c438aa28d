"""Hardware profiles in a terminal: a line each, or all figures of one with their sources; 80 columns."""

from __future__ import annotations

from typing import get_args

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from roofline import hardware_words as words
from roofline.hardware import DeviceClass, Hardware
from roofline.hardware_list import HardwareList, basis
from roofline.reports.terminal import _table
from roofline.units import printable, si, significant

ROOMY = 90  # columns from which on a line has room for class and dtypes
NONE = "-"


def render_hardware(listed: HardwareList, *, sort: str = "name", width: int = 80) -> RenderableType:
    """One line a device; by class as long as they are in the order of their names.

    Args:
        listed: What to show.
        sort: How it is sorted, as `HardwareList.sorted_by` takes it.
        width: Columns of the terminal.
    """
    grouped = sort == "name"
    header = ("Hardware", *(() if grouped else ("class",)), "dtype", "MAC/s", "B/s", "ridge", "figures")
    rows: list[tuple[str, ...]] = []
    headings = []
    for name in get_args(DeviceClass) if grouped else [""]:
        members = [device for device in listed.devices if name in ("", device.device_class)]
        if grouped and members:
            headings.append(len(rows))
            rows.append((f"{name} ({len(members)})", *[""] * (len(header) - 1)))
        rows += [_line(device, listed, grouped, width) for device in members]
    table = _table(header, rows, width=width)
    for at in headings:
        table.rows[at].style = "bold"
        if at:
            table.rows[at - 1].end_section = True
    about = (
        f"Peak (MAC/s) and ridge point (MACs/byte) at {listed.dtype or 'the first dtype, the default'}; B/s is the "
        "memory bandwidth. Figures: what a time on them stands on. From fitted or measured ones it is a prediction, "
        "from the others a bound, and from an estimate no better than that."
    )
    following = "'roofline hw NAME' tells all of one; --html FILE draws them; 'roofline hw new' starts one of yours."
    return Group(table, Text(), *(Text(printable(line), style="dim") for line in (listed.verdict(), about, following)))


def _line(device: Hardware, listed: HardwareList, grouped: bool, width: int) -> tuple[str, ...]:
    dtype = listed.dtype_of(device)
    others = [other for other in device.peak_macs_per_s if other != dtype]
    short = [f"+{len(others)}"] if others and not grouped and width < ROOMY else others
    return (
        device.id,
        *(() if grouped else (device.device_class,)),
        " ".join((dtype, *short)),
        si(device.peak(dtype)),
        si(device.bandwidth_bytes_per_s),
        significant(device.ridge_point(dtype)),
        basis(device, dtype) or NONE,
    )


def render_profile(device: Hardware, *, width: int = 80) -> RenderableType:
    """All figures of one device in their units, what they are and where they come from, and its notes."""
    default = device.default_dtype
    peaks = [
        (
            dtype, si(peak), significant(device.ridge_point(dtype)),
            words.kind(device.figures.get(f"peak_macs_per_s.{dtype}"), NONE), device.latency_kind(dtype),
        )
        for dtype, peak in device.peak_macs_per_s.items()
    ]  # fmt: skip
    others = [
        (words.name(path), words.value(path, number), words.kind(figure, NONE))
        for path, number, figure in words.figures(device)
        if not path.startswith("peak_macs_per_s.")
    ]
    table = _table(("Dtype", "peak MAC/s", "ridge MACs/B", "kind", "a time is a"), peaks, width=width)
    table.columns[-1].justify = "left"
    parts: list[RenderableType] = [
        Text.assemble((printable(device.id), "bold"), f"  {printable(device.name)}, {device.device_class}"),
        Text(words.worth(device, default)),
        Text(words.defaults(device)),
        Text(),
        table,
        Text(),
        _table(("Other figures", "value", "kind"), others, width=width),
        Text(),
        Text(words.formula(device)),
    ]
    if sources := _sources(device):
        parts += [Text(), Text("Sources", style="bold"), *map(_entry, sources)]
    if device.notes:
        parts += [Text(), Text("Notes", style="bold"), _entry(printable(device.notes))]
    return Group(*parts)


def _sources(device: Hardware) -> list[str]:
    """Each source once, after the figures that have it."""
    owners: dict[str, list[str]] = {}
    for path, _, figure in words.figures(device):
        if figure is not None:
            owners.setdefault(figure.source, []).append(words.name(path))
    return [f"{', '.join(names)}: {printable(source)}" for source, names in owners.items()]


def _entry(text: str) -> RenderableType:
    return Padding(Text(text), (0, 0, 0, 2), expand=False)
