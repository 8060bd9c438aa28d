"""MLP-Mixer: linear layers along the patches, then along the channels, and no attention.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, arXiv:2105.01601, Table 1. The layers
along the patches fix their number, so the size of the image is part of the network.
"""

from __future__ import annotations

from torch import Tensor, nn

from roofline.models.blocks import init_weights


def _mlp(chans: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(chans, width), nn.GELU(), nn.Linear(width, chans))


class Block(nn.Module):
    """Mixes patches, then channels; (B, patches, chans) -> the same shape."""

    def __init__(self, patches: int, chans: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(chans, eps=1e-6)
        self.tokens = _mlp(patches, chans // 2)
        self.norm2 = nn.LayerNorm(chans, eps=1e-6)
        self.channels = _mlp(chans, 4 * chans)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        y: Tensor = x + self.channels(self.norm2(x))
        return y


class Mixer(nn.Module):
    """Patches -> blocks -> norm -> mean -> classifier; (B, 3, image, image) -> (B, num_classes)."""

    def __init__(self, chans: int, depth: int, *, patch: int, image: int = 224, num_classes: int = 1000) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, chans, patch, patch)
        self.blocks = nn.Sequential(*(Block((image // patch) ** 2, chans) for _ in range(depth)))
        self.norm = nn.LayerNorm(chans, eps=1e-6)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        y: Tensor = self.classifier(self.norm(x).mean(1))
        return y


def mixer_s32() -> nn.Module:
    return Mixer(512, 8, patch=32)


def mixer_s16() -> nn.Module:
    return Mixer(512, 8, patch=16)


def mixer_s16_160() -> nn.Module:
    return Mixer(512, 8, patch=16, image=160)


def mixer_b32() -> nn.Module:
    return Mixer(768, 12, patch=32)
