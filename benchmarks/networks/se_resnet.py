"""SE-ResNet: ResNet's blocks, their output weighed channel by channel before it is added.

Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507: two linear layers (here 1x1 convolutions)
with a sixteenth of the channels between them. As in timm, the stem is one 7x7 convolution and the stride a 3x3's.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from roofline.models.activations import SqueezeExcite
from roofline.models.blocks import ConvNorm, init_weights

REDUCTION = 16
BRANCH_SCALE = 0.4  # of a block's last norm: the sum over all blocks stays near 1, as the gate halves the branch


class Block(nn.Module):
    """Convolutions, then the gate, plus the input.

    (B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride). With `width` equal to `out_chans` two 3x3, else
    1x1, 3x3, 1x1 with `width` channels in between.
    """

    def __init__(self, in_chans: int, width: int, out_chans: int, *, stride: int) -> None:
        super().__init__()
        self.last = ConvNorm(width, out_chans, 3 if width == out_chans else 1)
        before = (
            [ConvNorm(in_chans, width, 3, stride=stride, act="relu")]
            if width == out_chans
            else [ConvNorm(in_chans, width, 1, act="relu"), ConvNorm(width, width, 3, stride=stride, act="relu")]
        )
        self.before = nn.Sequential(*before)
        self.se = SqueezeExcite(out_chans, out_chans // REDUCTION)
        same = stride == 1 and in_chans == out_chans
        self.shortcut = nn.Identity() if same else ConvNorm(in_chans, out_chans, 1, stride=stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.se(self.last(self.before(x))) + self.shortcut(x))
        return y


class SEResNet(nn.Module):
    """7x7 stem and max pool -> four stages -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, depths: Sequence[int], *, expansion: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, stride=2, act="relu")
        self.stem_pool = nn.MaxPool2d(3, 2, 1)
        chans, blocks = 64, []
        for i, depth in enumerate(depths):
            width, out = 64 << i, (64 << i) * expansion
            for j in range(depth):
                blocks.append(Block(chans, width, out, stride=2 if i and not j else 1))
                chans = out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for block in blocks:
            nn.init.constant_(block.last.norm.get_parameter("weight"), BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem_pool(self.stem(x)))
        y: Tensor = self.classifier(self.pool(x).flatten(1))
        return y


def se_resnet18() -> nn.Module:
    return SEResNet((2, 2, 2, 2), expansion=1)


def se_resnet50() -> nn.Module:
    return SEResNet((3, 4, 6, 3), expansion=4)
