"""AlexNet in one column: five convolutions, three of them before a max pool, and three linear layers.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, arXiv:1404.5997 (the one-GPU form
of Krizhevsky et al., NIPS 2012, which is also torchvision's).
"""

from __future__ import annotations

from torch import Tensor, nn

from roofline.models.blocks import init_weights


class AlexNet(nn.Module):
    """features -> pool to 6x6 -> classifier; (B, 3, H, W) -> (B, num_classes), H and W at least 63."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, num_classes),
        )
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return y


def alexnet() -> nn.Module:
    return AlexNet()
