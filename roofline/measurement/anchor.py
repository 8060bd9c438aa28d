"""The anchor: three fixed pieces of work, timed beside every sample, that tell how fast the machine is just then.

On a shared machine the same network takes 20 to 40 % longer a minute later. By how much differs: networks of many
small ops slow down as a short chain of convolutions does, and those of large matrix products and dense convolutions by
a third to two thirds of that. Something between a product and the chain is a fair guess for all, so the time of a
network over that factor is what it takes at the machine's *reference state*, and two sessions agree on it. The factor
of a sample is the weighted geometric mean of the two; the factor of anything else is the median of those of the samples
nearest in time.

The chain has three inverted residuals, as MobileNetV2 has them at 56 x 56, 28 x 28 and 14 x 14. That it is a chain is
what matters: its ops hand their results to each other, from core to core, as those of a network do. A matrix product,
one convolution and a copy, in equal parts, told nothing on the machine this was tried on (docs/measuring.md, "What the
anchor is worth"): where the host laid two virtual cores further apart, small networks took 1.4 times as long, the
convolution 1.1 times, and the copy 0.7 times, since it then had the memory of two core complexes. So the copy is kept
beside each sample, where it tells what kind of drift it was, and weighs nothing.

A minimum is never to be divided by such a factor: it was not taken when the anchors were.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from roofline.measurement.clock import Timer
from roofline.measurement.stopping import median, quantile

if TYPE_CHECKING:
    import torch
    from torch import nn

NEAREST = 7  # samples of the anchor, within about 0.2 s of what they judge
REFERENCE_QUANTILE = 0.1  # of each part's times in a session: a quiet moment, and no lucky one
GEMM_SIDE = 256
BLOCKS = ((24, 56), (32, 28), (96, 14))  # channels and sides: MobileNetV2's (arXiv 1801.04381, table 2)
EXPANSION, KERNEL = 6, 3  # of these
COPY_BYTES = 8_000_000
CUDA_SCALE = 8  # sides of the product, images, and the copy: else launches are timed


class Anchor(Protocol):
    """Fixed work in parts."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the parts are called."""

    @property
    def weights(self) -> tuple[float, ...]:
        """What each part counts in the factor; 1 in all."""

    def sample(self) -> tuple[float, ...]:
        """The seconds that each part takes now."""


class TorchAnchor:
    """A product of 256 x 256 matrices, three inverted residuals, and a copy of 8 MB, all in fp32.

    About 4 ms together on two cores, of which the residuals are 3. On an accelerator all three are larger.

    Args:
        timer: How they are timed.
        device: Where they run.
    """

    names = ("sgemm_256", "blocks_56_28_14", "copy_8mb")  # they tell what was timed: another anchor has other names
    weights = (0.4, 0.6, 0.0)  # the best for light and dense networks together: docs/measuring.md

    def __init__(self, timer: Timer, device: str = "cpu") -> None:
        import torch

        scale = 1 if device == "cpu" else CUDA_SCALE
        made = torch.Generator(device=device).manual_seed(0)

        def normal(*sizes: int) -> torch.Tensor:
            return torch.randn(*sizes, device=device, generator=made)

        side = GEMM_SIDE * scale
        left, right, product = normal(side, side), normal(side, side), torch.empty(side, side, device=device)
        blocks = [
            (inverted_residual(channels, normal).to(device), normal(scale, channels, size, size))
            for channels, size in BLOCKS
        ]
        source = normal(COPY_BYTES * scale // 4)
        target = torch.empty_like(source)
        self._parts: tuple[Callable[[], object], ...] = (
            lambda: torch.mm(left, right, out=product),
            lambda: [block(images) for block, images in blocks],
            lambda: target.copy_(source),
        )
        self._timer = timer
        self._no_grad = torch.inference_mode

    def sample(self) -> tuple[float, ...]:
        """The seconds that each part takes now."""
        with self._no_grad():
            return tuple(self._timer.block(part, 1).wall_s for part in self._parts)


def inverted_residual(channels: int, normal: Callable[..., torch.Tensor]) -> nn.Module:
    """A 1x1 convolution, a depthwise one, and a 1x1 one back, each normalised, with ReLU6 between them."""
    from torch import nn

    wide = channels * EXPANSION
    block = nn.Sequential(
        nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
        nn.Conv2d(wide, wide, KERNEL, padding=KERNEL // 2, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
        nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
    )  # fmt: skip
    for layer in block:
        if isinstance(layer, nn.Conv2d):
            layer.weight = nn.Parameter(normal(*layer.weight.shape), requires_grad=False)
    return block.eval()


def reference_of(samples: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The reference state that some samples of an anchor show: a low quantile of the times of each part."""
    return tuple(quantile(times, REFERENCE_QUANTILE) for times in zip(*samples, strict=True))


def factor_of(sample: Sequence[float], reference_s: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """How many times as long as at the reference state the anchor took: weighted geometric mean of its parts.

    Args:
        sample: Seconds of each part.
        reference_s: Of each part at the reference state.
        weights: What each part counts; the same if None.

    >>> round(factor_of((2.0, 8.0, 1.0), (1.0, 1.0, 1.0)), 6)
    2.519842
    >>> factor_of((2.0, 8.0, 1.0), (1.0, 1.0, 1.0), weights=(1, 0, 0))
    2.0
    """
    weights = weights or [1.0] * len(reference_s)
    logs = [math.log(time / at_best) for time, at_best in zip(sample, reference_s, strict=True)]
    return math.exp(sum(w * ratio for w, ratio in zip(weights, logs, strict=True)) / sum(weights))


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
