"""ConvNeXt: a ResNet brought up to date step by step, until it is as good as a vision transformer of its size.

Liu et al., "A ConvNet for the 2020s", CVPR 2022, arXiv:2201.03545.

A 4x4 convolution of stride 4 is the stem; before each further stage a 2x2 convolution of stride 2 halves the resolution
and doubles the channels. None of these overlap, so an image should be a multiple of 32 high and wide. Between them
stand equal blocks,

    x + s project(gelu(expand(norm(depthwise(x)))))

with a 7x7 depthwise convolution, a layer norm over the channels of each position, 1x1 convolutions to 4 times the
channels and back, and a learned factor s for each channel. A layer norm also follows the stem, precedes each
convolution that halves the resolution, and stands between the pool and the classifier: norms of this kind need the
image at hand, so they fold into nothing, and read and write memory of their own.

The numbers are those of facebookresearch/ConvNeXt models/convnext.py; timm's convnext_* agree, and atto, femto, pico
and nano are timm's own. The original has a linear layer in place of each 1x1 convolution, on a tensor it permutes to
(B, H, W, C) and back; the products are the same. Here they are convolutions on (B, C, H, W), and only the norm looks at
the tensor the other way, through a view. That is the choice which says what an NHWC deployment does: nothing is
transposed, s folds into `project`, and the residual add runs in its epilogue. There is no stochastic depth.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from roofline.models.activations import Activation, make_activation
from roofline.models.blocks import check_counts, check_depths, check_positive, init_weights
from roofline.models.mobilenetv4 import LayerScale

STAGES = 4
EPS = 1e-6  # of the norms, in the original's code


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position; (B, chans, H, W) -> the same shape."""

    def __init__(self, chans: int) -> None:
        super().__init__(chans, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position on its own."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """depthwise -> norm -> expand -> act -> project -> layer_scale, plus the input.

    (B, chans, H, W) -> the same shape.

    Args:
        chans: Channels of the input and the output.
        expand: Factor of the channels between the two 1x1 convolutions.
        act: Activation there.
        layer_scale: Initial factor of each channel before the residual add.
    """

    def __init__(self, chans: int, *, expand: int, act: Activation, layer_scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(chans, chans, 7, padding=3, groups=chans)
        self.norm = ChannelNorm(chans)
        self.expand = nn.Conv2d(chans, expand * chans, 1)
        self.act = make_activation(act, expand * chans)
        self.project = nn.Conv2d(expand * chans, chans, 1)
        self.layer_scale = LayerScale(chans, layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Mix space, then channels."""
        y = self.project(self.act(self.expand(self.norm(self.depthwise(x)))))
        z: Tensor = x + self.layer_scale(y)
        return z


class ConvNeXt(nn.Module):
    """stem -> stages -> pool -> norm -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>` has resolution 1 / 2**(i + 2), rounded down: its blocks `0`,
    `1`, ..., before them `downsample` in all but the first.

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage.
        expand: Factor of the channels within a block.
        layer_scale: Initial factor of each channel before a residual add.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of GELU.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        expand: int = 4,
        layer_scale: float = 1e-6,
        num_classes: int = 1000,
        in_chans: int = 3,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans, expand=expand)
        check_positive(layer_scale=layer_scale)
        for name, values in {"depths": depths, "widths": widths}.items():
            if not isinstance(values, Sequence) or len(values) != STAGES:
                raise ValueError(f"{name} is a list of one number a stage, {STAGES} in all (got {values!r})")
        act = "gelu" if act is None else act
        stages = []
        chans = in_chans
        for i, (depth, out) in enumerate(zip(depths, widths, strict=True)):
            check_depths(**{f"depths[{i}]": depth})
            check_counts(**{f"widths[{i}]": out})
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            if i == 0:
                conv = nn.Conv2d(in_chans, out, 4, 4)
                self.stem = nn.Sequential(OrderedDict(conv=conv, norm=ChannelNorm(out)))
            else:
                conv = nn.Conv2d(chans, out, 2, 2)
                stage["downsample"] = nn.Sequential(OrderedDict(norm=ChannelNorm(chans), conv=conv))
            for j in range(depth):
                stage[str(j)] = Block(out, expand=expand, act=act, layer_scale=layer_scale)
            stages.append(nn.Sequential(stage))
            chans = out
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.norm = ChannelNorm(chans)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.norm(self.pool(self.stages(self.stem(x))))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    # timm's
    "convnext_atto":  partial(ConvNeXt, depths=(2, 2, 6, 2),  widths=(40, 80, 160, 320)),
    "convnext_femto": partial(ConvNeXt, depths=(2, 2, 6, 2),  widths=(48, 96, 192, 384)),
    "convnext_pico":  partial(ConvNeXt, depths=(2, 2, 6, 2),  widths=(64, 128, 256, 512)),
    "convnext_nano":  partial(ConvNeXt, depths=(2, 2, 8, 2),  widths=(80, 160, 320, 640)),
    # the paper's
    "convnext_tiny":  partial(ConvNeXt, depths=(3, 3, 9, 3),  widths=(96, 192, 384, 768)),
    "convnext_small": partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(96, 192, 384, 768)),
    "convnext_base":  partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024)),
}
# fmt: on
