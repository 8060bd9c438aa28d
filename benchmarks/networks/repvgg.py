"""RepVGG: at inference 3x3 convolutions and ReLU alone; while training each is the sum of three branches.

Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021, arXiv:2101.03697, Tables 2 and 3. The stem has
one layer of stride 2 and so has the start of each of the four stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

BRANCH_SCALE = 3**-0.5  # of the norms of three branches that are added up


class Plain(nn.Module):
    """3x3 convolution with bias, ReLU; (B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, stride, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv(x))
        return y


class Branched(nn.Module):
    """ReLU of 3x3, 1x1 and, where the shapes agree, the input, each normalised; shapes as in `Plain`."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.three = ConvNorm(in_chans, out_chans, 3, stride=stride)
        self.one = ConvNorm(in_chans, out_chans, 1, stride=stride)
        self.skip = nn.BatchNorm2d(in_chans) if in_chans == out_chans and stride == 1 else None
        self.act = nn.ReLU()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        y = self.three(x) + self.one(x)
        z: Tensor = self.act(y if self.skip is None else y + self.skip(x))
        return z


class RepVGG(nn.Module):
    """Layers -> pool -> classifier; (B, 3, H, W) -> (B, num_classes).

    Args:
        depths: Layers of each stage.
        widen: Factor of the widths 64, 128 and 256 of the first three stages.
        widen_last: Factor of the 512 of the last.
        layer: `Plain` or `Branched`.
        num_classes: Outputs of the classifier.
    """

    def __init__(
        self,
        depths: Sequence[int],
        *,
        widen: float,
        widen_last: float,
        layer: Callable[[int, int, int], nn.Module] = Plain,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        widths = [int(64 * widen), int(128 * widen), int(256 * widen), int(512 * widen_last)]
        chans = min(64, widths[0])
        layers = [layer(3, chans, 2)]
        for depth, out in zip(depths, widths, strict=True):
            for j in range(depth):
                layers.append(layer(chans, out, 1 if j else 2))
                chans = out
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.layers(x)).flatten(1))
        return y


def repvgg_a0() -> nn.Module:
    return RepVGG((2, 4, 14, 1), widen=0.75, widen_last=2.5)


def repvgg_a0_train() -> nn.Module:
    return RepVGG((2, 4, 14, 1), widen=0.75, widen_last=2.5, layer=Branched)


def repvgg_a1() -> nn.Module:
    return RepVGG((2, 4, 14, 1), widen=1.0, widen_last=2.5)


def repvgg_b0() -> nn.Module:
    return RepVGG((4, 6, 16, 1), widen=1.0, widen_last=2.5)
