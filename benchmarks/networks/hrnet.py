"""HRNet: up to four resolutions side by side all the way, which exchange their maps after each stage.

Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020, arXiv:1908.07919, with
the classification head of its section on ImageNet; W18-Small is the authors' cls_hrnet_w18_small_v1
(github.com/HRNet/HRNet-Image-Classification).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

WIDTHS = (16, 32, 64, 128)
HEAD_WIDTHS = (32, 64, 128, 256)
BLOCKS = 2  # a branch and stage
BRANCH_SCALE = 0.2  # of a block's last norm: the sum over all blocks stays near 1


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, plus the input; (B, chans, H, W) -> the same shape."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.conv1, self.last = ConvNorm(chans, chans, 3, act="relu"), ConvNorm(chans, chans, 3)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.last(self.conv1(x)) + x)
        return y


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, plus the input; (B, in_chans, H, W) -> (B, 4 width, H, W)."""

    def __init__(self, in_chans: int, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(in_chans, width, 1, act="relu"), ConvNorm(width, width, 3, act="relu")
        self.last = ConvNorm(width, 4 * width, 1)
        self.shortcut = nn.Identity() if in_chans == 4 * width else ConvNorm(in_chans, 4 * width, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.last(self.conv2(self.conv1(x))) + self.shortcut(x))
        return y


class Exchange(nn.Module):
    """The sum of all branches at the resolution of each, with ReLU; a list of maps -> a list of the same shapes."""

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.ModuleList(self._path(source, target) for source in range(branches)) for target in range(branches)
        )
        self.act = nn.ReLU()

    @staticmethod
    def _path(source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        chans, out = WIDTHS[source], WIDTHS[target]
        if source > target:
            return nn.Sequential(ConvNorm(chans, out, 1), nn.Upsample(scale_factor=2 ** (source - target)))
        halvings = [ConvNorm(chans, chans, 3, stride=2, act="relu") for _ in range(target - source - 1)]
        return nn.Sequential(*halvings, ConvNorm(chans, out, 3, stride=2))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        summed = []
        for paths in self.paths:
            assert isinstance(paths, nn.ModuleList)
            first, *others = (path(x) for path, x in zip(paths, maps, strict=True))
            for other in others:
                first = first + other
            summed.append(self.act(first))
        return summed


class Stage(nn.Module):
    """Blocks on each branch, then an exchange; of one map fewer, it makes the last by halving the one before."""

    def __init__(self, branches: int, in_chans: int | None = None) -> None:
        super().__init__()
        self.enter: nn.Module | None = None if in_chans is None else ConvNorm(in_chans, WIDTHS[0], 3, act="relu")
        before = WIDTHS[branches - 2] if in_chans is None else in_chans
        self.halve = ConvNorm(before, WIDTHS[branches - 1], 3, stride=2, act="relu")
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(WIDTHS[i]) for _ in range(BLOCKS))) for i in range(branches)
        )
        self.exchange = Exchange(branches)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        added = self.halve(maps[-1])
        maps = [*(maps if self.enter is None else [self.enter(maps[0])]), added]
        y: list[Tensor] = self.exchange([branch(x) for branch, x in zip(self.branches, maps, strict=True)])
        return y


class HRNet(nn.Module):
    """Two 3x3 of stride 2 -> a bottleneck -> three stages -> head -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNorm(3, 64, 3, stride=2, act="relu"), ConvNorm(64, 64, 3, stride=2, act="relu"), Bottleneck(64, 32)
        )
        self.stages = nn.Sequential(Stage(2, 128), Stage(3), Stage(4))
        self.widen = nn.ModuleList(Bottleneck(a, b) for a, b in zip(WIDTHS, HEAD_WIDTHS, strict=True))
        self.halve = nn.ModuleList(
            ConvNorm(4 * a, 4 * b, 3, stride=2, act="relu", bias=True) for a, b in pairwise(HEAD_WIDTHS)
        )
        self.head = ConvNorm(4 * HEAD_WIDTHS[-1], 2048, 1, act="relu", bias=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(2048, num_classes)
        init_weights(self)
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                nn.init.constant_(module.last.norm.get_parameter("weight"), BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        maps = [widen(x) for widen, x in zip(self.widen, self.stages([self.stem(x)]), strict=True)]
        y = maps[0]
        for halve, smaller in zip(self.halve, maps[1:], strict=True):
            y = halve(y) + smaller
        z: Tensor = self.classifier(self.pool(self.head(y)).flatten(1))
        return z


def hrnet_w18_small() -> nn.Module:
    return HRNet()
