"""The anchor: three fixed ops, timed beside every sample, that tell how fast the machine is just then.

On a shared machine the same work takes 20 to 30 % longer a minute later. What it takes longer by is nearly the same for
a matrix product, a convolution and a copy as for whole networks, so the time of a network over that factor is what it
takes at the machine's *reference state*, and two sessions agree on it. The factor of a sample of the anchor is the
geometric mean of its three times over those of the reference state; the factor of anything else is the median of those
of the samples nearest in time. (In a trial with 13 networks and 3 processes these three agreed better than one of them
alone, or four: 100 % of the medians within 10 %, against 28 % of raw medians.)

A minimum is never to be divided by such a factor: it was not taken when the anchors were.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import Protocol

from roofline.measurement.clock import Timer
from roofline.measurement.stopping import median, quantile

NEAREST = 7  # samples of the anchor, within about 0.2 s of what they judge
REFERENCE_QUANTILE = 0.1  # of each part's times in a session: a quiet moment, and no lucky one
GEMM_SIDE = 512
CONV_CHANNELS, CONV_SIDE, CONV_KERNEL = 64, 56, 3
COPY_BYTES = 8_000_000
CUDA_SCALE = 8  # sides of the product, of the convolution's images in all, and the copy: else launches are timed


class Anchor(Protocol):
    """Fixed work in parts."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the parts are called."""

    def sample(self) -> tuple[float, ...]:
        """The seconds that each part takes now."""


class TorchAnchor:
    """A product of 512 x 512 matrices, a 3x3 convolution of 64 channels at 56 x 56, and a copy of 8 MB, all in fp32.

    About 3 ms together on two cores. On an accelerator all three are larger.

    Args:
        timer: How they are timed.
        device: Where they run.
    """

    names = ("sgemm", "conv", "copy")

    def __init__(self, timer: Timer, device: str = "cpu") -> None:
        import torch
        from torch.nn import functional

        scale = 1 if device == "cpu" else CUDA_SCALE
        made = torch.Generator(device=device).manual_seed(0)

        def normal(*sizes: int) -> torch.Tensor:
            return torch.randn(*sizes, device=device, generator=made)

        side = GEMM_SIDE * scale
        left, right, product = normal(side, side), normal(side, side), torch.empty(side, side, device=device)
        images = normal(scale, CONV_CHANNELS, CONV_SIDE, CONV_SIDE)
        weight = normal(CONV_CHANNELS, CONV_CHANNELS, CONV_KERNEL, CONV_KERNEL)
        source = normal(COPY_BYTES * scale // 4)
        target = torch.empty_like(source)
        self._parts: tuple[Callable[[], object], ...] = (
            lambda: torch.mm(left, right, out=product),
            lambda: functional.conv2d(images, weight, padding=CONV_KERNEL // 2),
            lambda: target.copy_(source),
        )
        self._timer = timer
        self._no_grad = torch.inference_mode

    def sample(self) -> tuple[float, ...]:
        """The seconds that each part takes now."""
        with self._no_grad():
            return tuple(self._timer.block(part, 1).wall_s for part in self._parts)


def reference_of(samples: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The reference state that some samples of an anchor show: a low quantile of the times of each part."""
    return tuple(quantile(times, REFERENCE_QUANTILE) for times in zip(*samples, strict=True))


def factor_of(sample: Sequence[float], reference_s: Sequence[float]) -> float:
    """How many times as long as at the reference state the anchor took: the geometric mean of the ratios of its parts.

    >>> round(factor_of((2.0, 8.0, 1.0), (1.0, 1.0, 1.0)), 6)
    2.519842
    """
    logs = [math.log(time / at_best) for time, at_best in zip(sample, reference_s, strict=True)]
    return math.exp(sum(logs) / len(logs))


def local_factor(at_s: float, times_s: Sequence[float], factors: Sequence[float], nearest: int = NEAREST) -> float:
    """The median factor of the samples nearest in time.

    Args:
        at_s: When.
        times_s: Of the samples of the anchor, ascending.
        factors: Of these samples.
        nearest: How many of them.

    >>> local_factor(10.0, [0.0, 9.0, 10.5, 11.0, 50.0], [9.0, 1.0, 1.2, 1.1, 7.0], nearest=3)
    1.1
    """
    place = bisect(times_s, at_s)
    around = range(max(place - nearest, 0), min(place + nearest, len(times_s)))
    near = sorted(around, key=lambda i: abs(times_s[i] - at_s))[:nearest]
    return median([factors[i] for i in near]) if near else 1.0
