"""activation_probe: a plain network of 30 convolutions, to ask what an activation function costs.

Vasu et al., "MobileOne: An Improved One millisecond Mobile Backbone", CVPR 2023, arXiv:2206.04040.

That paper times seven activation functions on an iPhone 12 in one convolutional network of 30 layers, with nothing else
changed. Here each of the 30 convolutions is followed by a batch norm and the activation `act`, ReLU if none is given:

    roofline analyze activation_probe --hw pixel6_cpu --arg act=silu

We know of no public source that says how wide the layers of the paper's network are, what kernels they have or which
resolution they run at. So all of this is our choice, not the paper's: the input is 224 px; all kernels are 3x3; there
are six convolutions at each of the resolutions 1/2, 1/4, ... 1/32, the first with stride 2; there are 32 channels at
the first resolution and twice as many at each next, so that but for the strided ones all layers cost the same
115.6 M MACs; then come a global pool and a linear classifier. Nothing runs beside the chain, as in MobileOne.

The width is one at which 1.53 ms on that phone is plausible, the paper's time with ReLU (a figure that could not be
checked against it): 3.1 GMACs in that time are 2.0 TMACs/s, a bit over a third of what Apple states for the phone's
neural engine, 11 trillion operations/s. So compare activations with each other on this network; its times need not be
the paper's. `depth` and `width` are arguments; 30 and 32 give what is described here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from roofline.models.activations import Activation
from roofline.models.blocks import ConvNorm, check_counts, check_depths, init_weights

RESOLUTIONS = 5


class ActivationProbe(nn.Module):
    """stages -> pool -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is convolution j at resolution 1 / 2**(i + 1).

    Args:
        depth: Convolutions, at least one a resolution; as many at each, the lowest ones take what is over.
        width: Channels at the first resolution; each next has twice as many.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation after every convolution, ReLU by default.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        *,
        depth: int = 30,
        width: int = 32,
        num_classes: int = 1000,
        in_chans: int = 3,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_depths(depth=depth)
        check_counts(width=width, num_classes=num_classes, in_chans=in_chans)
        if depth < RESOLUTIONS:
            raise ValueError(f"depth must be at least {RESOLUTIONS}, one convolution a resolution (got {depth})")
        act = "relu" if act is None else act
        stages = []
        chans = in_chans
        for i in range(RESOLUTIONS):
            out = width * 2**i
            stage = []
            for j in range((depth + i) // RESOLUTIONS):
                stage.append(ConvNorm(chans, out, 3, stride=1 if j else 2, act=act))
                chans = out
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.pool(self.stages(x)).flatten(1))
        return logits


VARIANTS: Mapping[str, Callable[..., nn.Module]] = {"activation_probe": partial(ActivationProbe)}
