"""MnasNet-B1: inverted residuals whose kernels and widths a search chose by accuracy and latency on a phone.

Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019, arXiv:1807.11626, Figure 7 less
its squeeze-and-excitation. A depth multiplier rounds channels to multiples of 8.
"""

from __future__ import annotations

from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, depthwise, init_weights, make_divisible

STAGES = (  # expansion, channels, repeats, stride, kernel
    (3, 24, 3, 2, 3),
    (3, 40, 3, 2, 5),
    (6, 80, 3, 2, 5),
    (6, 96, 2, 1, 3),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
PROJECT_SCALE = 0.5  # of norms that no activation follows: the sum over all blocks stays near 1


class InvertedResidual(nn.Module):
    """1x1 to `expand` times the channels, depthwise, 1x1.

    (B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)
    """

    def __init__(self, in_chans: int, out_chans: int, *, expand: int, stride: int, kernel: int) -> None:
        super().__init__()
        width = in_chans * expand
        self.layers = nn.Sequential(
            ConvNorm(in_chans, width, 1, act="relu"),
            depthwise(width, kernel, stride=stride, act="relu"),
            ConvNorm(width, out_chans, 1),
        )
        self.residual = stride == 1 and in_chans == out_chans

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MnasNet(nn.Module):
    """3x3 stem -> depthwise and 1x1 -> six stages -> 1x1 -> mean -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, width_mult: float, *, num_classes: int = 1000) -> None:
        super().__init__()
        chans, out = make_divisible(32 * width_mult), make_divisible(16 * width_mult)
        blocks: list[nn.Module] = [
            ConvNorm(3, chans, 3, stride=2, act="relu"),
            depthwise(chans, 3, act="relu"),
            ConvNorm(chans, out, 1),
        ]
        chans = out
        for expand, width, depth, stride, kernel in STAGES:
            out = make_divisible(width * width_mult)
            for j in range(depth):
                first = 1 if j else stride
                blocks.append(InvertedResidual(chans, out, expand=expand, stride=first, kernel=kernel))
                chans = out
        self.blocks = nn.Sequential(*blocks, ConvNorm(chans, 1280, 1, act="relu"))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))
        init_weights(self)
        for module in self.modules():
            if isinstance(module, ConvNorm):
                nn.init.kaiming_normal_(module.conv.weight)
                if isinstance(module.act, nn.Identity):
                    nn.init.constant_(module.norm.get_parameter("weight"), PROJECT_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.blocks(x).mean((2, 3)))
        return y


def mnasnet0_5() -> nn.Module:
    return MnasNet(0.5)


def mnasnet1_0() -> nn.Module:
    return MnasNet(1.0)


def mnasnet1_4() -> nn.Module:
    return MnasNet(1.4)
