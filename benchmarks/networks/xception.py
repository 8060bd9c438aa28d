"""Xception: depthwise separable convolutions with residual adds, one norm after each pair.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, arXiv:1610.02357, Figure 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

BRANCH_SCALE = 0.3  # of a block's last norm: the sum over all blocks stays near 1


def _separable(in_chans: int, out_chans: int) -> nn.Module:
    """Depthwise 3x3, 1x1, batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_chans, in_chans, 3, padding=1, groups=in_chans, bias=False),
        nn.Conv2d(in_chans, out_chans, 1, bias=False),
        nn.BatchNorm2d(out_chans),
    )


class Block(nn.Module):
    """ReLU and separable convolution for each of `widths`, then a max pool where the stride is 2, plus the input."""

    def __init__(self, in_chans: int, widths: Sequence[int], *, stride: int, act_first: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((in_chans, *widths[:-1]), widths, strict=True):
            layers += [nn.ReLU(), _separable(before, after)]
        last = layers[-1]
        assert isinstance(last, nn.Sequential)
        nn.init.constant_(last[2].get_parameter("weight"), BRANCH_SCALE)
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.layers = nn.Sequential(*layers if act_first else layers[1:])
        same = stride == 1 and in_chans == widths[-1]
        self.shortcut = nn.Identity() if same else ConvNorm(in_chans, widths[-1], 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, widths[-1], H / stride, W / stride)."""
        y: Tensor = self.layers(x) + self.shortcut(x)
        return y


class Xception(nn.Module):
    """Two unpadded 3x3 -> twelve blocks, `middle` of them alike -> two separable -> pool -> classifier."""

    def __init__(self, middle: int, *, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        )
        self.blocks = nn.Sequential(
            Block(64, (128, 128), stride=2, act_first=False),
            Block(128, (256, 256), stride=2),
            Block(256, (728, 728), stride=2),
            *(Block(728, (728, 728, 728), stride=1) for _ in range(middle)),
            Block(728, (728, 1024), stride=2),
        )
        self.head = nn.Sequential(_separable(1024, 1536), nn.ReLU(), _separable(1536, 2048), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(2048, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_classes)."""
        y: Tensor = self.classifier(self.pool(self.head(self.blocks(self.stem(x)))).flatten(1))
        return y


def xception() -> nn.Module:
    return Xception(middle=8)
