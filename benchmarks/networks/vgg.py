"""VGG: 3x3 convolutions in five stages that end in a max pool each, and three linear layers.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, arXiv:1409.1556,
configurations A, B and D of its Table 1; `_bn` has a batch norm after every convolution, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from roofline.models.blocks import init_weights

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """features -> pool to 7x7 -> classifier; (B, 3, H, W) -> (B, num_classes), H and W at least 32."""

    def __init__(self, depths: Sequence[int], *, norm: bool = False, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        chans = 3
        for depth, out in zip(depths, WIDTHS, strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(chans, out, 3, padding=1), *([nn.BatchNorm2d(out)] if norm else []), nn.ReLU()]
                chans = out
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(chans * 7 * 7, 4096), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()),
            nn.Linear(4096, num_classes),
        )
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return y


def vgg11() -> nn.Module:
    return VGG((1, 1, 2, 2, 2))


def vgg11_bn() -> nn.Module:
    return VGG((1, 1, 2, 2, 2), norm=True)


def vgg13() -> nn.Module:
    return VGG((2, 2, 2, 2, 2))


def vgg16() -> nn.Module:
    return VGG((2, 2, 3, 3, 3))
