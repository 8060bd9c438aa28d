"""Deep layer aggregation: residual blocks as the leaves of trees, and 1x1 convolutions that join what they made.

Yu et al., "Deep Layer Aggregation", CVPR 2018, arXiv:1707.06484, Table 1: DLA-34.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

BRANCH_SCALE = 0.2  # of a block's last norm: the sum over all blocks stays near 1
TREES = ((1, 64), (2, 128), (2, 256), (1, 512))  # levels, channels


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, plus `shortcut`; (B, in_chans, H, W) -> (B, chans, H / stride, W / stride)."""

    def __init__(self, in_chans: int, chans: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_chans, chans, 3, stride=stride, act="relu")
        self.conv2 = ConvNorm(chans, chans, 3)
        self.act = nn.ReLU()

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv2(self.conv1(x)) + shortcut)
        return y


class Tree(nn.Module):
    """Two blocks and the root that joins them, or two trees of which the second also joins what the first made.

    (B, in_chans, H, W) -> (B, chans, H / stride, W / stride)

    Args:
        levels: 1 for two blocks, else the height.
        in_chans: Channels of the input.
        chans: Channels of the output.
        stride: Of the first block.
        joined: Channels of further maps that the last root joins.
    """

    def __init__(self, levels: int, in_chans: int, chans: int, *, stride: int = 1, joined: int = 0) -> None:
        super().__init__()
        self.is_leaf = levels == 1
        if self.is_leaf:
            self.first: nn.Module = BasicBlock(in_chans, chans, stride=stride)
            self.second: nn.Module = BasicBlock(chans, chans)
            self.pool = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
            self.shortcut = nn.Identity() if in_chans == chans else ConvNorm(in_chans, chans, 1)
            self.root = ConvNorm(2 * chans + joined, chans, 1, act="relu")
        else:
            self.first = Tree(levels - 1, in_chans, chans, stride=stride)
            self.second = Tree(levels - 1, chans, chans, joined=joined + chans)

    def forward(self, x: Tensor, children: tuple[Tensor, ...] = ()) -> Tensor:
        if self.is_leaf:
            once = self.first(x, self.shortcut(self.pool(x)))
            y: Tensor = self.root(torch.cat([self.second(once, once), once, *children], 1))
            return y
        once = self.first(x)
        z: Tensor = self.second(once, (*children, once))
        return z


class Level(nn.Module):
    """A tree that halves the resolution; with `keep`, its root also joins the pooled input."""

    def __init__(self, levels: int, in_chans: int, chans: int, *, keep: bool) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, 2) if keep else None
        self.tree = Tree(levels, in_chans, chans, stride=2, joined=in_chans if keep else 0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tree(x, () if self.pool is None else (self.pool(x),))
        return y


class DLA(nn.Module):
    """7x7, 3x3, 3x3 of stride 2 -> four trees -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        chans = 32
        layers: list[nn.Module] = [
            ConvNorm(3, 16, 7, act="relu"),
            ConvNorm(16, 16, 3, act="relu"),
            ConvNorm(16, chans, 3, stride=2, act="relu"),
        ]
        for i, (levels, out) in enumerate(TREES):
            layers.append(Level(levels, chans, out, keep=i > 0))
            chans = out
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for module in self.modules():
            if isinstance(module, BasicBlock):
                nn.init.constant_(module.conv2.norm.get_parameter("weight"), BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.layers(x)).flatten(1))
        return y


def dla34() -> nn.Module:
    return DLA()
