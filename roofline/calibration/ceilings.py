"""The ceilings of this machine, measured: the best rate of matrix products, and of moving memory.

A ceiling is what nothing runs faster than, so each is the best of several tries, as the stopwatch had it. Sizes grow
until a try takes too long for the time there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from roofline.calibration.data import Ceilings
from roofline.measurement.clock import Clock

GEMM_SIDES = (256, 384, 512, 768, 1024, 1536, 2048)
FOOTPRINTS = tuple(2**power for power in range(15, 29))  # bytes that a copy touches: 32 KiB to 256 MiB
SHORTEST_TRY_S = 1e-3  # ops are called in a loop until they take as long: reading the clock is then nothing
TRIES = 5
KNEE = 0.85  # where twice the footprint has less than this share of the rate, the footprint filled a cache ...
APART = 4  # ... and two knees closer than this are one that is worn


def measure_ceilings(clock: Clock, *, dtype: torch.dtype = torch.float32, budget_s: float = 10.0) -> Ceilings:
    """Measure the ceilings on the CPU, with as many threads as torch uses now.

    Args:
        clock: Tells the time.
        dtype: Of the matrices.
        budget_s: Seconds to take, about; half of it for the products.
    """
    with torch.inference_mode():
        gemm = _best_gemm(clock, dtype, budget_s / 2)
        rates = _bandwidths(clock, budget_s / 2)
    footprints = np.array(sorted(rates), dtype=np.int64)
    copies = np.array([rates[size][1] for size in footprints.tolist()])
    read, copy, triad = rates[int(footprints[-1])]
    return Ceilings(
        gemm_macs_per_s=gemm,
        read_bytes_per_s=read,
        copy_bytes_per_s=copy,
        triad_bytes_per_s=triad,
        footprints_bytes=footprints,
        copy_by_footprint_bytes_per_s=copies,
        caches_bytes=knees(footprints.tolist(), copies.tolist()),
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
