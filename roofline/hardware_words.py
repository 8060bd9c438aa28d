"""The words and units in which every report tells the figures of a device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from roofline.hardware import ACTIVATIONS, BY_CLASS, Figure, Hardware
from roofline.hardware_list import WORTH, basis
from roofline.units import seconds, si, significant

_NAMES: Final = {
    "peak_macs_per_s": "peak",
    "bandwidth_bytes_per_s": "memory bandwidth",
    "peak_share_by_class": "share of the peak",
    "vector_ops_per_s": "vector ops",
    "weight_bandwidth_bytes_per_s": "bandwidth of weights",
    "bandwidth_bytes_per_s_by_class": "bandwidth",
    "layer_overhead_s": "overhead of a layer",
    "inference_overhead_s": "overhead of an inference",
    "onchip_bytes": "on-chip memory",
    "energy_per_mac_j": "energy of a MAC",
    "energy_per_byte_j": "energy of a byte",
}


def figures(device: Hardware) -> Iterator[tuple[str, float, Figure | None]]:
    """Yield each number that a device has: its field path, its value in SI base units, and its provenance if known."""
    for field in _NAMES:
        value = getattr(device, field)
        by_key = field in ("peak_macs_per_s", *BY_CLASS)
        for path, number in {f"{field}.{key}": n for key, n in value.items()}.items() if by_key else [(field, value)]:
            if number is not None and (number or path in device.figures):
                yield path, number, device.figures.get(path)


def name(path: str) -> str:
    """What a figure is called.

    >>> name("peak_macs_per_s.int8"), name("bandwidth_bytes_per_s_by_class.grouped_conv"), name("onchip_bytes")
    ('peak at int8', 'bandwidth of grouped_conv', 'on-chip memory')
    """
    field, _, key = path.partition(".")
    told = _NAMES.get(field, field)
    return f"{told} {'at' if field == 'peak_macs_per_s' else 'of'} {key}" if key else told


def value(path: str, number: float) -> str:
    """A figure in the unit that it is told in.

    >>> value("peak_macs_per_s.int8", 4e12), value("layer_overhead_s", 3e-6), value("onchip_bytes", 2**23)
    ('4 TMAC/s', '3 us', '8 MiB')
    >>> value("peak_share_by_class.linear", 0.125), value("energy_per_mac_j", 6e-13)
    ('12.5 %', '0.6 pJ')
    """
    match path.partition(".")[0]:
        case "peak_macs_per_s":
            return si(number, "MAC/s")
        case "vector_ops_per_s":
            return si(number, "op/s")
        case "peak_share_by_class":
            return f"{significant(100 * number)} %"
        case "onchip_bytes":
            return f"{significant(number / 2**20)} MiB"
        case "energy_per_mac_j" | "energy_per_byte_j":
            return f"{significant(number * 1e12)} pJ"
        case "layer_overhead_s" | "inference_overhead_s":
            return seconds(number)
        case _:
            return si(number, "B/s")


def is_second_hand(figure: Figure) -> bool:
    """Whether a vendor's figure was read at a third party, which the source of such a figure says in these words.

    >>> sources = ("8 TOPS (brief, p. 3)", "8 TOPS (brief, as quoted by example.com)", "8 TOPS, as listed in a table")
    >>> [is_second_hand(Figure(value=4e12, kind="datasheet", source=source)) for source in sources]
    [False, True, True]
    """
    return figure.kind == "datasheet" and re.search(r"\bas (quoted|listed)\b", figure.source, re.IGNORECASE) is not None


def kind(figure: Figure | None, absent: str) -> str:
    """What kind of number a figure is, and whether it comes at second hand; `absent` where that is not known."""
    if figure is None:
        return absent
    return f"{figure.kind}, second-hand" if is_second_hand(figure) else figure.kind


def worth(device: Hardware, dtype: str) -> str:
    """What a time on a device at a dtype is."""
    called, stands = WORTH[basis(device, dtype)]
    return f"Times on it at {dtype} are {called}s{stands}."


def defaults(device: Hardware) -> str:
    """What is taken where nobody says."""
    if device.default_fusion == "none":
        how = "no fusion"
    elif device.fused_activations >= set(ACTIVATIONS):
        how = "epilogue fusion, all activations in the epilogue"
    else:
        taken = [activation for activation in ACTIVATIONS if activation in device.fused_activations]
        how = f"epilogue fusion, {', '.join(taken) or 'no activation'} in the epilogue"
    return f"Where nothing else is asked for: {device.default_dtype}, {how}."


def formula(device: Hardware) -> str:
    """What the time of a layer is, with the terms that this device adds to eq. 1 of the MobileNetV4 paper."""
    times = ["its MACs at the peak" + (" or its class's share of it" if device.peak_share_by_class else "")]
    if device.vector_ops_per_s is not None:
        times.append("its vector ops at their rate")
    own = [device.weight_bandwidth_bytes_per_s is not None, bool(device.bandwidth_bytes_per_s_by_class)]
    others = " and ".join(what for what, has in zip(("weights", "its class"), own, strict=True) if has)
    times.append("its bytes at the memory bandwidth" + (f" or that of {others}" if others else ""))
    which = "the sum of" if device.combine == "add" else "the longer of" if len(times) == 2 else "the longest of"
    sentences = [f"A layer takes {which} {', '.join(times[:-1])} and {times[-1]}"]
    if device.layer_overhead_s:
        sentences[0] += ", plus its overhead" + (" if it does MACs" if device.overhead_layers == "macs" else "")
    sentences[0] += " (eq. 1 of arXiv:2404.10518)." if device.is_plain else "."
    if device.inference_overhead_s:
        sentences.append("An inference takes its layers, plus its own overhead.")
    if device.onchip_holds:
        sentences.append(f"What fits of the {' and '.join(sorted(device.onchip_holds))} stays in on-chip memory.")
    elif device.onchip_bytes is not None:
        sentences.append("Nothing is taken to stay in on-chip memory.")
    return " ".join(sentences)
