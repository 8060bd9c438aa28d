"""ResNet: stages of equal blocks, each of which adds to its input.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, Table 1. As in torchvision, the
stride of a bottleneck is that of its 3x3 convolution. Wide ResNet-50-2 has twice the width within the bottlenecks:
Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

BRANCH_SCALE = 0.2  # of a block's last norm: the sum over all blocks stays near 1


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, plus the input; (B, in_chans, H, W) -> (B, chans, H / stride, W / stride)."""

    expansion = 1

    def __init__(self, in_chans: int, chans: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_chans, chans, 3, stride=stride, act="relu")
        self.conv2 = ConvNorm(chans, chans, 3)
        same = stride == 1 and in_chans == chans
        self.shortcut = nn.Identity() if same else ConvNorm(in_chans, chans, 1, stride=stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv2(self.conv1(x)) + self.shortcut(x))
        return y


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, plus the input; (B, in_chans, H, W) -> (B, 4 chans, H / stride, W / stride).

    The convolutions before the last have `widen` times `chans` channels.
    """

    expansion = 4

    def __init__(self, in_chans: int, chans: int, *, stride: int, widen: int = 1) -> None:
        super().__init__()
        width, out = chans * widen, chans * self.expansion
        self.conv1 = ConvNorm(in_chans, width, 1, act="relu")
        self.conv2 = ConvNorm(width, width, 3, stride=stride, act="relu")
        self.conv3 = ConvNorm(width, out, 1)
        same = stride == 1 and in_chans == out
        self.shortcut = nn.Identity() if same else ConvNorm(in_chans, out, 1, stride=stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))
        return y


class ResNet(nn.Module):
    """7x7 stem and max pool -> four stages -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(
        self, block: Callable[..., nn.Module], depths: Sequence[int], *, expansion: int, num_classes: int = 1000
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, stride=2, act="relu")
        self.stem_pool = nn.MaxPool2d(3, 2, 1)
        chans, stages = 64, []
        for i, depth in enumerate(depths):
            blocks = []
            for j in range(depth):
                blocks.append(block(chans, 64 << i, stride=2 if i and not j else 1))
                chans = (64 << i) * expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                last = module.conv2 if isinstance(module, BasicBlock) else module.conv3
                nn.init.constant_(last.norm.get_parameter("weight"), BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem_pool(self.stem(x)))
        y: Tensor = self.classifier(self.pool(x).flatten(1))
        return y


def resnet18() -> nn.Module:
    return ResNet(BasicBlock, (2, 2, 2, 2), expansion=1)


def resnet34() -> nn.Module:
    return ResNet(BasicBlock, (3, 4, 6, 3), expansion=1)


def resnet50() -> nn.Module:
    return ResNet(Bottleneck, (3, 4, 6, 3), expansion=4)


def resnet101() -> nn.Module:
    return ResNet(Bottleneck, (3, 4, 23, 3), expansion=4)


def wide_resnet50_2() -> nn.Module:
    return ResNet(partial(Bottleneck, widen=2), (3, 4, 6, 3), expansion=4)
