"""What is to know of networks of a space, counted by their parts and predicted: the columns of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.curves import Curve
from roofline.engine import Floats, predict
from roofline.hardware import Hardware
from roofline.spaces import Config, Space
from roofline.spaces.counting import TOTALS, Counter, Counts


def rows(
    space: Space,
    configs: Sequence[Config],
    indices: Sequence[int],
    counter: Counter,
    devices: Sequence[Hardware],
    ridges: Sequence[float] = (),
    batch: int = 1,
) -> dict[str, list[Any] | NDArray[Any]]:
    """What is to know of networks, as columns with one entry each.

    Args:
        space: Theirs.
        configs: One a network.
        indices: Numbers of their draws.
        counter: Counts them; its fusion and dtype are those of the predictions.
        devices: To predict their latencies on.
        ridges: Ridge points, MACs/byte, from 0; see `roofline.sweep`.
        batch: Images at once.

    Returns:
        ``index``; a column for each parameter of the space; `TOTALS`; for each device ``latency_s:<id>`` and
        ``compute_bound_share:<id>``; for each ridge point R ``latency_s:ridge=R`` (its unit is the time of one MAC at
        the peak, as in a sweep at fixed peak) and ``compute_bound_share:ridge=R``.

    Raises:
        RooflineError: A network cannot be counted, or a device has no peak for the dtype.
    """
    networks = [space.parts(config, batch) for config in configs]
    names = tuple(configs[0]) if configs else space.parameters()
    columns: dict[str, list[Any] | NDArray[Any]] = {"index": np.array(indices, dtype=np.int64)}
    columns |= {name: [_plain(config[name]) for config in configs] for name in names}
    counts = counter.counts(networks) if networks else None
    for name in TOTALS:
        columns[name] = counts.totals[name] if counts is not None else np.zeros(0, dtype=np.int64)
    latencies = _on_devices(counts, devices) if counts is not None else {}
    for device in devices:
        latency_s, share = latencies.get(device.id, np.zeros((2, 0)))
        columns |= {f"latency_s:{device.id}": latency_s, f"compute_bound_share:{device.id}": share}
    times = _at_ridges(counts, ridges) if counts is not None else np.zeros((2, len(ridges), 0))
    for ridge, latency, share in zip(ridges, *times, strict=True):
        columns |= {f"latency_s:ridge={ridge:g}": latency, f"compute_bound_share:ridge={ridge:g}": share}
    return columns


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _on_devices(counts: Counts, devices: Sequence[Hardware]) -> dict[str, tuple[Floats, Floats]]:
    """Latency of each network and its compute-bound share, by device.

    What a layer takes depends on its neighbours only where a device keeps tensors on the chip: there each network is
    predicted on its own, elsewhere all at once, and a repeated part once.
    """
    found: dict[str, tuple[Floats, Floats]] = {}
    for device in devices:
        if device.onchip_holds:
            continue
        prediction = predict(counts.layers, device)
        layers_s = prediction.layer_latency_s * counts.repeats
        total_s = np.add.reduceat(layers_s, counts.starts)
        compute_s = np.add.reduceat(np.where(prediction.memory_bound, 0.0, layers_s), counts.starts)
        share = np.divide(compute_s, total_s, out=np.zeros_like(total_s), where=total_s > 0)
        found[device.id] = total_s + prediction.inference_overhead_s, share
    chips = [device for device in devices if device.onchip_holds]
    if chips:
        predictions = []
        for layers in counts.each():
            prediction = predict(layers, chips)
            predictions.append((prediction.latency_s, prediction.compute_bound_share))
        for device, columns in zip(chips, np.array(predictions).transpose(2, 1, 0), strict=True):
            found[device.id] = columns[0], columns[1]
    return found


def _at_ridges(counts: Counts, ridges: Sequence[float]) -> Floats:
    """Time of each network and its compute-bound share at each ridge point; shape ``(2, ridge points, networks)``."""
    macs, mem_bytes = (column * counts.repeats for column in (counts.layers.macs, counts.layers.mem_bytes))
    found = np.zeros((2, len(ridges), len(counts.starts)))
    ends = np.append(counts.starts[1:], len(counts.layers))
    for network, (start, end) in enumerate(zip(counts.starts, ends, strict=True) if ridges else ()):
        curve = Curve.from_layers(macs[start:end], mem_bytes[start:end])
        found[:, :, network] = curve.time(ridges), 1 - curve.memory_bound_share(ridges)
    return found
