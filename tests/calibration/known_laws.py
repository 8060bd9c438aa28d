"""Calibrations generated from known laws, to see whether fits find them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.data import Calibration, Ceilings, OpTimes, WholeTimes
from roofline.calibration.kernels import TERMS, Kernels, kernels_of
from roofline.graph import Graph

HOST = {"op": 1.0e-6, "module": 5.0e-6, "view": 0.5e-6}
LAW = {  # seconds a call, a MAC, a byte read, written and of weights
    "conv_1x1": (8e-6, 1 / 80e9, 1 / 20e9, 1 / 15e9, 1 / 10e9),
    "conv_kxk": (12e-6, 1 / 60e9, 1 / 20e9, 1 / 15e9, 1 / 10e9),
    "conv_depthwise": (10e-6, 1 / 6e9, 1 / 15e9, 1 / 10e9, 0.0),
    "gemm": (6e-6, 1 / 110e9, 1 / 30e9, 1 / 20e9, 1 / 15e9),
    "batch_norm": (9e-6, 0.0, 1 / 25e9, 1 / 20e9, 0.0),
    "elementwise_cheap": (3e-6, 0.0, 1 / 30e9, 1 / 22e9, 0.0),
}
Twist = Callable[[dict[str, float]], float]  # from the dimensions of a call to a factor on its time


@dataclass(frozen=True)
class Call:
    """One kernel call and its true time."""

    kernel: str
    terms: tuple[float, ...]
    time_s: float
    dims: tuple[tuple[str, float], ...]


def no_twist(dims: dict[str, float]) -> float:
    return 1.0


def few_pixels(dims: dict[str, float]) -> float:
    """Slow at few pixels and narrow outputs, which no sum of terms says."""
    return (1 + 30 / dims["pixels"]) * (1.4 if dims["outputs"] < 64 else 1.0)


def call(kernel: str, rng: np.random.Generator, twist: Twist = no_twist, scale: float = 1.0) -> Call:
    """One call of a class, of sizes that networks have."""
    side = int(rng.choice([7, 10, 14, 20, 28, 40, 56, 80]))
    pixels = side * side * scale
    inputs = float(rng.integers(16, 512) if side <= 28 else rng.integers(8, 128))
    outputs = float(rng.integers(16, 512) if side <= 28 else rng.integers(8, 128))
    if kernel in ("conv_depthwise", "batch_norm", "elementwise_cheap"):
        outputs = inputs
    window = {"conv_kxk": 9, "conv_depthwise": int(rng.choice([9, 25]))}.get(kernel, 1)
    weights = {"conv_1x1": inputs * outputs, "gemm": inputs * outputs, "conv_kxk": 9 * inputs * outputs}.get(
        kernel, inputs * window
    )
    macs = {"batch_norm": 0.0, "elementwise_cheap": 0.0}.get(kernel, weights * pixels)
    terms = dict.fromkeys(TERMS, 0.0) | {
        "calls": 1.0,
        "macs": macs,
        "elements": outputs * pixels,
        "read_bytes": 4 * inputs * pixels,
        "written_bytes": 4 * outputs * pixels,
        "weight_bytes": 0.0 if kernel == "elementwise_cheap" else 4 * weights,
    }
    known = [terms[name] for name in ("calls", "macs", "read_bytes", "written_bytes", "weight_bytes")]
    dims = {"pixels": pixels, "inputs": inputs, "outputs": outputs, "window": window}
    time_s = float(np.dot(LAW[kernel], known)) * twist(dims)
    return Call(kernel, tuple(terms[name] for name in TERMS), time_s, tuple(dims.items()))


def network(rng: np.random.Generator, ops: int, twist: Twist = no_twist, scale: float = 1.0) -> list[Call]:
    """The calls of a network, in which some classes are rarer than in others."""
    share = rng.dirichlet(np.ones(len(LAW)) * 3)
    return [call(str(kernel), rng, twist, scale) for kernel in rng.choice(list(LAW), size=ops, p=share)]


def whole_s(calls: list[Call], modules: int, views: int) -> float:
    """The true latency of a network."""
    ops_s = sum(one.time_s for one in calls)
    return ops_s + HOST["op"] * len(calls) + HOST["module"] * modules + HOST["view"] * views


def calibration(
    networks: int = 24,
    ops: int = 40,
    *,
    noise: float = 0.0,
    twist: Twist = no_twist,
    seed: int = 0,
    wholes: bool = True,
) -> Calibration:
    """What measuring such networks gives, with log-normal noise on each op and a quarter of that on each whole."""
    rng = np.random.default_rng(seed)
    rows: list[Call] = []
    names: list[str] = []
    whole: list[tuple[float, float, int, int, int, float, float]] = []
    for number in range(networks):
        calls = network(rng, int(rng.integers(ops // 2, ops * 3 // 2 + 1)), twist)
        modules, views = int(rng.integers(1, 2 * len(calls))), int(rng.integers(0, len(calls)))
        rows += calls
        names += [f"net{number}"] * len(calls)
        ops_s = sum(one.time_s for one in calls)
        measured_s = whole_s(calls, modules, views) * float(np.exp(rng.normal(0, noise / 4)))
        macs = sum(one.terms[TERMS.index("macs")] for one in calls)
        moved = sum(one.terms[TERMS.index("read_bytes")] + one.terms[TERMS.index("written_bytes")] for one in calls)
        whole.append((measured_s, ops_s, len(calls), modules, views, macs, moved))
    time_s = np.array([one.time_s for one in rows]) * np.exp(rng.normal(0, noise, len(rows)) - noise**2 / 2)
    time, ops_time, counts, module_calls, view_calls, macs_of, moved_of = (
        np.array(column) for column in zip(*whole, strict=True)
    )
    chosen = slice(None) if wholes else slice(0, 0)
    return Calibration(
        ops=OpTimes(
            kernel=np.array([one.kernel for one in rows]),
            key=np.array([f"{one.kernel} {number}" for number, one in enumerate(rows)]),
            terms=np.array([one.terms for one in rows]),
            time_s=time_s,
            raw_s=time_s * 1.1,
            samples=np.full(len(rows), 12, dtype=np.int64),
            network=np.array(names),
        ),
        wholes=WholeTimes(
            network=np.array([f"net{number}" for number in range(networks)])[chosen],
            time_s=time[chosen],
            raw_s=time[chosen] * 1.1,
            noise=np.zeros_like(time[chosen]),
            ops_s=ops_time[chosen],
            ops=counts[chosen],
            module_calls=module_calls[chosen],
            views=view_calls[chosen],
            macs=macs_of.astype(np.int64)[chosen],
            activation_bytes=moved_of.astype(np.int64)[chosen],
        ),
        ceilings=Ceilings(
            gemm_macs_per_s=120e9,
            read_bytes_per_s=40e9,
            copy_bytes_per_s=30e9,
            triad_bytes_per_s=32e9,
            footprints_bytes=np.array([1 << 16, 1 << 24], dtype=np.int64),
            copy_by_footprint_bytes_per_s=np.array([80e9, 30e9]),
            read_by_footprint_bytes_per_s=np.array([90e9, 40e9]),
            triad_by_footprint_bytes_per_s=np.array([85e9, 32e9]),
            caches_bytes=(1 << 20,),
            gemm_by_macs_per_s={},
        ),
        environment={},
        anchor={},
        mode="eager",
        dtype="fp32",
        threads=2,
        left_out=0,
        total_samples=12 * len(rows),
        made_at="2025-03-01T12:00:00+00:00",
        notes=(),
        terms=TERMS,
    )


def of_graphs(graphs: Mapping[str, Graph]) -> Calibration:
    """What measuring traced networks gives, where classes without a law of their own have that of a batch norm.

    For what is no op, a network takes the host terms alone; each op is timed without noise.
    """
    ops: dict[str, tuple[str, NDArray[np.float64], float, str]] = {}
    wholes = []
    for name, graph in graphs.items():
        ran = kernels_of(graph)
        laws = np.array([LAW.get(kernel.partition("/")[0], LAW["batch_norm"]) for kernel in ran.kernel.tolist()])
        known = [TERMS.index(term) for term in ("calls", "macs", "read_bytes", "written_bytes", "weight_bytes")]
        time_s = (laws * ran.terms[:, known]).sum(axis=1)
        for row, key in enumerate(ran.key):
            ops.setdefault(key, (str(ran.kernel[row]), ran.terms[row], float(time_s[row]), name))
        host_s = HOST["op"] * len(ran) + HOST["module"] * ran.module_calls + HOST["view"] * ran.views
        wholes.append((name, time_s.sum() + host_s, time_s.sum(), len(ran), ran.module_calls, ran.views))
    kernel, terms, op_s, network_of = (np.array(column) for column in zip(*ops.values(), strict=True))
    network_name, whole_time_s, ops_s, calls, modules, views = (
        np.array(column) for column in zip(*wholes, strict=True)
    )
    return replace(
        calibration(1, 4),
        ops=OpTimes(
            kernel=kernel,
            key=np.array(list(ops)),
            terms=terms,
            time_s=op_s,
            raw_s=op_s,
            samples=np.full(len(ops), 12, dtype=np.int64),
            network=network_of,
        ),
        wholes=WholeTimes(
            network=network_name,
            time_s=whole_time_s,
            raw_s=whole_time_s,
            noise=np.zeros(len(wholes)),
            ops_s=ops_s,
            ops=calls,
            module_calls=modules,
            views=views,
            macs=np.ones(len(wholes), dtype=np.int64),
            activation_bytes=np.ones(len(wholes), dtype=np.int64),
        ),
    )


def kernels(calls: list[Call], modules: int = 0, views: int = 0) -> Kernels:
    """The same calls as a traced network has them."""
    return Kernels(
        op=np.arange(len(calls), dtype=np.int64),
        kernel=np.array([one.kernel for one in calls], dtype=np.str_),
        key=tuple(f"{one.kernel} {number}" for number, one in enumerate(calls)),
        terms=np.array([one.terms for one in calls]).reshape(len(calls), len(TERMS)),
        views=views,
        module_calls=modules,
        flags=(),
    )
