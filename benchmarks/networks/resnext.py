"""ResNeXt: ResNet's bottlenecks with 32 groups in the 3x3 convolution.

Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017, arXiv:1611.05431, Table 1: the
32x4d form has 32 groups of 4 channels in the first stage, and twice as many channels in each that follows.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

GROUPS = 32
BRANCH_SCALE = 0.2  # of a block's last norm: the sum over all blocks stays near 1


class Block(nn.Module):
    """1x1, grouped 3x3, 1x1, plus the input; (B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)."""

    def __init__(self, in_chans: int, width: int, out_chans: int, *, stride: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(in_chans, width, 1, act="relu")
        self.grouped = ConvNorm(width, width, 3, stride=stride, groups=GROUPS, act="relu")
        self.expand = ConvNorm(width, out_chans, 1)
        same = stride == 1 and in_chans == out_chans
        self.shortcut = nn.Identity() if same else ConvNorm(in_chans, out_chans, 1, stride=stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.expand(self.grouped(self.reduce(x))) + self.shortcut(x))
        return y


class ResNeXt(nn.Module):
    """7x7 stem and max pool -> four stages -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, depths: Sequence[int], group_width: int, *, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, stride=2, act="relu")
        self.stem_pool = nn.MaxPool2d(3, 2, 1)
        chans, blocks = 64, []
        for i, depth in enumerate(depths):
            width, out = (GROUPS * group_width) << i, 256 << i
            for j in range(depth):
                blocks.append(Block(chans, width, out, stride=2 if i and not j else 1))
                chans = out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for block in blocks:
            nn.init.constant_(block.expand.norm.get_parameter("weight"), BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem_pool(self.stem(x)))
        y: Tensor = self.classifier(self.pool(x).flatten(1))
        return y


def resnext26_32x4d() -> nn.Module:
    """Half as deep as the paper's smallest."""
    return ResNeXt((2, 2, 2, 2), 4)


def resnext50_32x4d() -> nn.Module:
    return ResNeXt((3, 4, 6, 3), 4)
