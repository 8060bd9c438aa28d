"""How the fitted figures of the bundled profiles came about, and how far their predictions are from what they met.

    python benchmarks/fit_profiles.py

Source of all latencies: the MobileNetV4 paper, arXiv:2404.10518v2. Its design targets on the Pixel 6 EdgeTPU (App. A)
fix a peak and a bandwidth by least squares on the logarithm of predicted / target. For the other devices the ridge
point is the paper's own (App. F, Table 16); the scale is the geometric mean of latency over the MNv4 rows of Table 6.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.console import Console
from rich.table import Table

from roofline.engine import layer_times
from roofline.layers import LayerTable, lower
from roofline.loading import load
from roofline.trace import trace

S, M, L, HM, HL = (
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "mobilenetv4_conv_large",
    "mobilenetv4_hybrid_medium",
    "mobilenetv4_hybrid_large",
)
TARGETS_MS = {S: 0.2, M: 0.6, L: 2.3}  # App. A, at 224, 256, 384 px
PUBLISHED: Mapping[str, tuple[float, Mapping[str, float]]] = {  # Table 16's ridge point, Table 6's int8 milliseconds
    "pixel6_cpu": (31.2, {S: 2.4, M: 11.4, L: 59.9, HM: 14.3, HL: 87.6}),
    "galaxy_s23_cpu": (39.7, {S: 1.8, M: 8.6, L: 43.0, HM: 10.8, HL: 61.8}),
    "pixel4_dsp": (347.3, {S: 2.4, M: 7.3, L: 20.8}),  # the hybrids are not supported there
    "pixel8_tpu": (433.8, {S: 0.7, M: 1.1, L: 2.4, HM: 1.5, HL: 3.8}),
}


def layer_table(model: str) -> LayerTable:
    """The model as the paper's devices run it: int8, batch norm, ReLU and residual adds fused."""
    loaded = load(model)
    return lower(trace(loaded.module, loaded.inputs), fusion="epilogue", dtype="int8")


def predicted_ms(layers: LayerTable, peak: float, bandwidth: float) -> float:
    """ModelTime of eq. 1, for MACs/s and bytes/s."""
    *_, latency_s = layer_times(layers.macs, layers.mem_bytes, macs_per_s=peak, bytes_per_s=bandwidth)
    return float(latency_s.sum() * 1e3)


def fit_peak_and_bandwidth(tables: Mapping[str, LayerTable], latencies_ms: Mapping[str, float]) -> tuple[float, float]:
    """Least squares on log(predicted / published) over a grid of GMAC/s and GB/s, fine enough for three digits.

    With the bandwidth free, each peak has a best bandwidth in closed form for its ridge point, as in `fit_scale`, so
    only the ridge point is searched.
    """
    fits = [fit_scale(tables, latencies_ms, ridge_point) for ridge_point in np.geomspace(10, 1000, 4001)]
    bandwidth, ridge_point, _ = min(fits, key=lambda fit: fit[2])
    return bandwidth * ridge_point, bandwidth


def fit_scale(
    tables: Mapping[str, LayerTable], latencies_ms: Mapping[str, float], ridge_point: float
) -> tuple[float, float, float]:
    """The bandwidth that minimises the squared log error at a ridge point: ``(bandwidth, ridge_point, error)``."""
    logs = np.array(
        [np.log(predicted_ms(tables[model], ridge_point, 1.0) / latency) for model, latency in latencies_ms.items()]
    )
    return float(np.exp(logs.mean())), float(ridge_point), float(np.sum((logs - logs.mean()) ** 2))


def main() -> None:
    """Print the fits and their residuals."""
    tables = {model: layer_table(model) for model in (S, M, L, HM, HL)}
    peak, bandwidth = fit_peak_and_bandwidth(tables, TARGETS_MS)
    fits = {"pixel6_tpu": (peak, bandwidth, TARGETS_MS)}
    for device, (ridge_point, latencies_ms) in PUBLISHED.items():
        bandwidth, _, _ = fit_scale(tables, latencies_ms, ridge_point)
        fits[device] = (ridge_point * bandwidth, bandwidth, dict(latencies_ms))
    console = Console(width=100)
    for device, (peak, bandwidth, latencies_ms) in fits.items():
        title = f"{device}: {peak / 1e9:.4g} GMAC/s, {bandwidth / 1e9:.4g} GB/s, ridge point {peak / bandwidth:.4g}"
        table = Table("model", "published ms", "predicted ms", "error", title=title, title_justify="left")
        for model, latency in latencies_ms.items():
            predicted = predicted_ms(tables[model], peak, bandwidth)
            table.add_row(model, f"{latency:g}", f"{predicted:.3f}", f"{predicted / latency - 1:+.1%}")
        console.print(table)


if __name__ == "__main__":
    main()
