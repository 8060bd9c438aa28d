"""EfficientViT: MobileNetV2's blocks, and attention without softmax whose cost grows only linearly with the resolution.

Cai et al., "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", ICCV 2023,
arXiv:2205.14756.

Not the network of the same name by Liu et al. (arXiv:2305.07027). Its attention weighs a value by relu(q) . relu(k) in
place of exp(q . k). Without an exponential the product can be taken in the other order: every head first sums k v^T
over all positions, a matrix of D x D whatever the resolution, and then multiplies it with each query. The weights are
normalised by one division, by their sum. That gives up softmax's sharp focus on few positions, so local information is
put in by convolutions: beside the queries, keys and values of a position, there is a second set that a 5x5 depthwise
and a grouped 1x1 convolution aggregate from around it, with heads of its own; and each attention block is followed by
an inverted residual in which a 3x3 depthwise convolution mixes neighbours.

A stem of one convolution and one depthwise separable block halves the resolution. Two stages of inverted residuals
follow, then two stages of one inverted residual with stride 2 and a number of pairs of attention and inverted residual.
The head has a 1x1 convolution, a global average pool, and two linear layers with a layer norm between them. Depths
count the pairs without the strided block; D is the size of a head:

         widths                    depths           D    head
    B0    8   16   32   64  128    1  2  2  2  2    16   1024  1280
    B1   16   32   64  128  256    1  2  3  3  4    16   1536  1600
    B2   24   48   96  192  384    1  3  4  4  6    32   2304  2560
    B3   32   64  128  256  512    1  4  6  6  9    32   2304  2560

Blocks expand fourfold. In the last two stages the expanding and the depthwise convolution have a bias in place of a
batch norm. The activation is h-swish, and `act` replaces it, but not the ReLU that keeps the weights of the attention
from being negative.

The numbers are those of mit-han-lab/efficientvit, efficientvit/models/nn/ops.py with backbone.py and cls.py beside it
in models/efficientvit; timm's efficientvit_b* agree. Where a map has no more positions than a head has dimensions (B1
at 128 pixels, B2 at 160), the authors' code multiplies in the order of ordinary attention, with the same result; here
the order is always the linear one, as in timm. There is no dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.models.activations import Activation, make_activation
from roofline.models.blocks import ConvNorm, check_counts, init_weights

EXPAND = 4


class InvertedResidual(nn.Module):
    """[expand] -> depthwise -> project, plus the input where the shapes agree.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        expand: The depthwise convolution has `in_chans * expand` channels; at 1 there is no `expand`.
        stride: Of the depthwise convolution.
        norms: Whether `expand` and `depthwise` have a batch norm; else a bias. `project` always has a norm.
        act: Activation after `expand` and `depthwise`; there is none after `project`.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        *,
        expand: int = EXPAND,
        stride: int = 1,
        norms: bool = True,
        act: Activation = "hardswish",
    ) -> None:
        super().__init__()
        width = in_chans * expand
        conv = ConvNorm if norms else partial(ConvNorm, norm=nn.Identity, bias=True)
        self.expand: nn.Module = nn.Identity() if expand == 1 else conv(in_chans, width, 1, act=act)
        self.depthwise = conv(width, width, 3, stride=stride, groups=width, act=act)
        self.project = ConvNorm(width, out_chans, 1)
        self.residual = stride == 1 and in_chans == out_chans

    def forward(self, x: Tensor) -> Tensor:
        """Expand, filter each channel, project."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class LinearAttention(nn.Module):
    """out_i = sum_j w_ij v_j / sum_j w_ij with w_ij = relu(q_i) . relu(k_j), of D dimensions and M positions, N times.

    As sum_j v_j relu(k_j)^T depends on no query, it is worked out once, of (D + 1) x D: the sum of the weights is a
    further row of it, that of a value that is 1 everywhere. So there are 2 M D (D + 1) MACs, and 2 M^2 D for softmax's
    attention. It has no weights: it is a module so that its two matrix products have a name of their own.
    """

    EPS = 1e-15  # as in mit-han-lab/efficientvit: where no weight is above 0, the output is 0

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Query, key and value, each (N, D, M) -> (N, D, M)."""
        query, key = F.relu(query), F.relu(key)
        value = F.pad(value, (0, 0, 0, 1), value=1.0)  # (N, D + 1, M)
        state = torch.bmm(value, key.transpose(1, 2))  # (N, D + 1, D)
        y = torch.bmm(state, query)  # (N, D + 1, M)
        return y[:, :-1] / (y[:, -1:] + self.EPS)


class LiteMLA(nn.Module):
    """Lightweight multi-scale linear attention: qkv, [qkv, aggregated qkv] -> attention -> project, plus the input.

    `aggregate` gives each position queries, keys and values of the 5x5 positions around it: a depthwise convolution,
    then a 1x1 one within each head's queries, keys or values. Both sets have `chans // key_dim` heads, and `project`
    mixes all of them. (B, chans, H, W) -> the same shape. Only `project` has a norm, and none has a bias.

    Args:
        chans: Channels of the input and the output.
        key_dim: Dimensions of a head's queries, keys and values, a divisor of `chans`.
    """

    def __init__(self, chans: int, *, key_dim: int) -> None:
        super().__init__()
        if chans % key_dim:
            raise ValueError(f"heads of {key_dim} dimensions do not divide {chans} channels")
        self.key_dim = key_dim
        qkv = 3 * chans
        self.qkv = nn.Conv2d(chans, qkv, 1, bias=False)
        self.aggregate = nn.Sequential(
            nn.Conv2d(qkv, qkv, 5, padding=2, groups=qkv, bias=False),
            nn.Conv2d(qkv, qkv, 1, groups=qkv // key_dim, bias=False),
        )
        self.attention = LinearAttention()
        self.project = ConvNorm(2 * chans, chans, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position look at every position."""
        batch, chans, height, width = x.shape
        qkv = self.qkv(x)
        both = torch.cat([qkv, self.aggregate(qkv)], dim=1)
        # the channels are in the order (set, head, q or k or v, dimension)
        query, key, value = both.reshape(-1, 3 * self.key_dim, height * width).chunk(3, dim=1)
        y: Tensor = self.project(self.attention(query, key, value).reshape(batch, 2 * chans, height, width))
        return x + y


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the networks.

    Attributes:
        widths: Channels at each resolution, 1/2 to 1/32 of the input's.
        depths: Blocks at each of them, and in the last two pairs of attention and inverted residual beside the first.
        key_dim: Dimensions of an attention head.
        head: Channels of the convolution before the pool, and of the linear layer after it.
    """

    widths: tuple[int, int, int, int, int]
    depths: tuple[int, int, int, int, int]
    key_dim: int
    head: tuple[int, int]


# fmt: off
B0 = Variant(widths=( 8, 16,  32,  64, 128), depths=(1, 2, 2, 2, 2), key_dim=16, head=(1024, 1280))
B1 = Variant(widths=(16, 32,  64, 128, 256), depths=(1, 2, 3, 3, 4), key_dim=16, head=(1536, 1600))
B2 = Variant(widths=(24, 48,  96, 192, 384), depths=(1, 3, 4, 4, 6), key_dim=32, head=(2304, 2560))
B3 = Variant(widths=(32, 64, 128, 256, 512), depths=(1, 4, 6, 6, 9), key_dim=32, head=(2304, 2560))
# fmt: on


class EfficientViT(nn.Module):
    """stem -> stages -> conv_head -> pool -> pre_logits, norm, act -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of resolution 1 / 2**(i + 2): an
    InvertedResidual, or in the last two stages, but for the first, a pair `attention` and `local`.

    Args:
        variant: Widths and depths.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of h-swish.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self, variant: Variant, *, num_classes: int = 1000, in_chans: int = 3, act: Activation | None = None
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans)
        act = "hardswish" if act is None else act
        chans = variant.widths[0]
        stem: list[nn.Module] = [ConvNorm(in_chans, chans, 3, stride=2, act=act)]
        stem += [InvertedResidual(chans, chans, expand=1, act=act) for _ in range(variant.depths[0])]
        self.stem = nn.Sequential(*stem)
        stages = []
        for i, (out, depth) in enumerate(zip(variant.widths[1:], variant.depths[1:], strict=True)):
            attends = i >= 2
            stage: list[nn.Module] = [InvertedResidual(chans, out, stride=2, norms=not attends, act=act)]
            if attends:
                stage += [AttentionBlock(out, key_dim=variant.key_dim, act=act) for _ in range(depth)]
            else:
                stage += [InvertedResidual(out, out, act=act) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*stage))
            chans = out
        self.stages = nn.Sequential(*stages)
        head, features = variant.head
        self.conv_head = ConvNorm(chans, head, 1, act=act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pre_logits = nn.Linear(head, features, bias=False)
        self.norm = nn.LayerNorm(features)
        self.act = make_activation(act, features)
        self.classifier = nn.Linear(features, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.conv_head(self.stages(self.stem(x))))
        x = self.norm(self.pre_logits(x.flatten(1)))
        x = self.act(x[:, :, None, None])  # a map of 1x1, for activations that look at one
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


class AttentionBlock(nn.Module):
    """`attention` across the map, then `local`, an inverted residual: (B, chans, H, W) -> the same shape."""

    def __init__(self, chans: int, *, key_dim: int, act: Activation) -> None:
        super().__init__()
        self.attention = LiteMLA(chans, key_dim=key_dim)
        self.local = InvertedResidual(chans, chans, norms=False, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """Mix globally, then locally."""
        y: Tensor = self.local(self.attention(x))
        return y


# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "efficientvit_b0": partial(EfficientViT, B0),
    "efficientvit_b1": partial(EfficientViT, B1),
    "efficientvit_b2": partial(EfficientViT, B2),
    "efficientvit_b3": partial(EfficientViT, B3),
}
# fmt: on
