"""The ceilings of this machine, measured: the best rate of matrix products, and of moving memory.

A ceiling is what nothing runs faster than, so each is the best of several tries, as the stopwatch had it. Sizes grow
until a try takes too long for the time there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from roofline.calibration.data import LARGEST_FOOTPRINT, Ceilings, gemm_key
from roofline.measurement.clock import Clock

GEMM_SIDES = (256, 384, 512, 768, 1024, 1536, 2048)
GEMM_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}  # in which CPUs have products of their own
FOOTPRINTS = tuple(
    2**power for power in range(15, LARGEST_FOOTPRINT.bit_length())
)  # bytes that a copy touches, from 32 KiB
SHORTEST_TRY_S = 1e-3  # ops are called in a loop until they take as long: reading the clock is then nothing
TRIES = 5
KNEE = 0.85  # where twice the footprint has less than this share of the rate, the footprint filled a cache ...
APART = 4  # ... and two knees closer than this are one that is worn


def measure_ceilings(
    clock: Clock, *, dtype: torch.dtype = torch.float32, budget_s: float = 10.0, is_cpu: bool = True
) -> Ceilings:
    """Measure the ceilings, with as many threads as torch uses now.

    Args:
        clock: Tells the time.
        dtype: Of the matrices.
        budget_s: Seconds to take, about; half of it for the products.
        is_cpu: Whether products in other dtypes and with one thread are timed, too: in a quarter of the time.
    """
    with torch.inference_mode():
        gemm = _best_gemm(clock, dtype, budget_s / 4 if is_cpu else budget_s / 2)
        others = _other_gemms(clock, dtype, budget_s / 4) if is_cpu else {}
        rates = _bandwidths(clock, budget_s / 2)
    footprints = sorted(rates)
    read, copy, triad = np.array([rates[size] for size in footprints]).T
    return Ceilings(
        gemm_macs_per_s=gemm,
        read_bytes_per_s=float(read[-1]),
        copy_bytes_per_s=float(copy[-1]),
        triad_bytes_per_s=float(triad[-1]),
        footprints_bytes=np.array(footprints, dtype=np.int64),
        read_by_footprint_bytes_per_s=read,
        copy_by_footprint_bytes_per_s=copy,
        triad_by_footprint_bytes_per_s=triad,
        caches_bytes=knees(footprints, copy.tolist()),
        gemm_by_macs_per_s=others,
    )


def knees(footprints: Sequence[int], rates: Sequence[float]) -> tuple[int, ...]:
    """The footprints that a cache just holds: twice as much is moved markedly slower.

    Args:
        footprints: In bytes, ascending, each about twice the one before.
        rates: Bytes a second there.

    >>> knees([32, 64, 128, 256, 512], [100, 99, 60, 58, 57])
    (64,)
    """
    found: list[int] = []
    for (size, rate), (_, after) in pairwise(zip(footprints, rates, strict=True)):
        if after < KNEE * rate:
            if found and size < APART * found[-1]:
                continue
            found.append(size)
    return tuple(found)


def _best_gemm(clock: Clock, dtype: torch.dtype, budget_s: float) -> float:
    """MACs a second of the fastest product."""
    until_s = clock.now_s() + budget_s
    best = 0.0
    for side in GEMM_SIDES:
        left, right = torch.randn(2, side, side).to(dtype)
        product = torch.empty_like(left)
        took_s = _least_s(clock, lambda left=left, right=right, out=product: torch.mm(left, right, out=out))  # type: ignore[misc]
        best = max(best, side**3 / took_s)
        if clock.now_s() + 8 * TRIES * took_s > until_s:  # of the next side
            break
    return best


def _other_gemms(clock: Clock, dtype: torch.dtype, budget_s: float) -> dict[str, float]:
    """MACs a second of the fastest product in each dtype, with all threads and with one, but for the one asked for."""
    threads = torch.get_num_threads()
    kinds = [
        (name, kind, count)
        for name, kind in GEMM_DTYPES.items()
        for count in dict.fromkeys((threads, 1))
        if (kind, count) != (dtype, threads)
    ]
    found = {}
    try:
        for name, kind, count in kinds:
            torch.set_num_threads(count)
            found[gemm_key(name, count)] = _best_gemm(clock, kind, budget_s / len(kinds))
    finally:
        torch.set_num_threads(threads)
    return found


def _bandwidths(clock: Clock, budget_s: float) -> dict[int, tuple[float, float, float]]:
    """Bytes a second of reading, copying and adding up, by the bytes that a copy touches."""
    until_s = clock.now_s() + budget_s
    found = {}
    for footprint in FOOTPRINTS:
        elements = footprint // 8
        source, other = torch.randn(elements), torch.randn(elements)
        target = torch.empty_like(source)
        bytes_each = 4 * elements
        read_s = _least_s(clock, source.sum)
        copy_s = _least_s(clock, lambda out=target, source=source: out.copy_(source))  # type: ignore[misc]
        triad_s = _least_s(
            clock,
            lambda source=source, other=other, out=target: torch.add(source, other, alpha=3.0, out=out),  # type: ignore[misc]
        )
        found[footprint] = (bytes_each / read_s, 2 * bytes_each / copy_s, 3 * bytes_each / triad_s)
        if clock.now_s() + 2 * TRIES * (read_s + copy_s + triad_s) > until_s:
            break
    return found


def _least_s(clock: Clock, call: Callable[[], object]) -> float:
    """Seconds of a call, the least of several tries."""
    call()
    calls = 1
    while True:
        start_s = clock.now_s()
        for _ in range(calls):
            call()
        took_s = clock.now_s() - start_s
        if took_s >= SHORTEST_TRY_S:
            break
        calls *= 2
    tries = [took_s]
    for _ in range(TRIES - 1):
        start_s = clock.now_s()
        for _ in range(calls):
            call()
        tries.append(clock.now_s() - start_s)
    return min(tries) / calls
