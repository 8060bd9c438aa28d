"""MobileOne: plain chains of convolutions at inference, made of many parallel branches while training.

Vasu et al., "MobileOne: An Improved One millisecond Mobile Backbone", CVPR 2023, arXiv:2206.04040.

After a 3x3 stem come four stages of 2, 8, 10 and 1 pairs, each a depthwise 3x3 block and a 1x1 block. The stem and the
first depthwise block of every stage halve the resolution. Widths are 64, 128, 256 and 512 times one factor a stage,
and the stem is as wide as the first stage, but at most 64. A block at inference is one convolution with a bias, then
ReLU; there are no residual adds, so no tensor outlives the next layer: that is what the short latency comes from.

In training the convolution of a block is the sum of branches, each with a batch norm: k equal convolutions, a 1x1
convolution beside any larger one, and the bare input where its shape is the output's. All are linear, so their sum is
one convolution: `reparameterize()` works it out. k is 4 in S0 and 1 in S1 to S4, and always 1 in the stem. S4 has
squeeze-and-excitation (squeezed to a 16th) before the ReLU of both blocks of a pair, in the last half of stage 3 and
in stage 4.

The numbers are those of apple/ml-mobileone mobileone.py; timm's mobileone_s* agree. `mobileone_s0` is the inference
form, the one that is timed and whose cost is published; `mobileone_s0:train` is the form that is trained. A
`width_mult` comes on top of the factors. There is no dropout.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from roofline.models.activations import Activation, SqueezeExcite, make_activation
from roofline.models.blocks import ConvNorm, check_counts, check_flags, check_positive, fold_norms, init_weights

DEPTHS = (2, 8, 10, 1)
WIDTHS = (64, 128, 256, 512)


class Branches(nn.Module):
    """A convolution as a sum of branches: `convs`, `scale` if the kernel is larger than 1x1, `skip` if shapes agree.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        kernel: Size of the kernel, odd.
        stride: The same for every branch.
        groups: The same for every branch.
        count: Convolutions of the full kernel size.
    """

    def __init__(self, in_chans: int, out_chans: int, kernel: int, *, stride: int, groups: int, count: int) -> None:
        super().__init__()
        self.plain = partial(nn.Conv2d, in_chans, out_chans, kernel, stride, (kernel - 1) // 2, groups=groups)
        conv = partial(ConvNorm, in_chans, out_chans, stride=stride, groups=groups)
        self.convs = nn.ModuleList(conv(kernel) for _ in range(count))
        self.scale = conv(1) if kernel > 1 else None
        self.skip = nn.BatchNorm2d(in_chans) if in_chans == out_chans and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Add up the branches."""
        branches = [*self.convs, self.scale, self.skip]
        first, *others = [branch(x) for branch in branches if branch is not None]
        y: Tensor = first
        for other in others:
            y = y + other
        return y

    @torch.no_grad()
    def merge(self) -> nn.Conv2d:
        """Return the one convolution, with bias, that is equal to the sum when the norms use their running averages."""
        convs = [branch.conv for branch in fold_norms(self).modules() if isinstance(branch, ConvNorm)]
        if self.skip is not None:
            through = self.plain(bias=False).eval().to(convs[0].weight)  # a convolution that changes nothing
            nn.init.dirac_(through.weight, through.groups)
            convs.append(fuse_conv_bn_eval(through, copy.deepcopy(self.skip).eval()))
        merged = self.plain().to(convs[0].weight)
        assert merged.bias is not None
        around = [(merged.kernel_size[0] - conv.kernel_size[0]) // 2 for conv in convs]  # zeros, of the 1x1 kernels
        weights = [F.pad(conv.weight, (zeros,) * 4) for conv, zeros in zip(convs, around, strict=True)]
        merged.weight.copy_(torch.stack(weights).sum(0))
        merged.bias.copy_(torch.stack([conv.bias for conv in convs if conv.bias is not None]).sum(0))
        return merged


class MobileOneBlock(nn.Module):
    """conv -> [se] -> act, where `conv` is one convolution at inference and `Branches` in training.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        kernel: Size of the kernel, odd.
        stride: Of the convolution.
        groups: Of the convolution.
        branches: Convolutions in parallel in the form for training.
        se: Whether squeeze-and-excitation comes before the activation.
        act: Activation at the end and within `se`.
        inference: Which of the two forms to build.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        branches: int = 1,
        se: bool = False,
        act: Activation = "relu",
        inference: bool = False,
    ) -> None:
        super().__init__()
        self.conv: nn.Module
        if inference:
            self.conv = nn.Conv2d(in_chans, out_chans, kernel, stride, (kernel - 1) // 2, groups=groups)
        else:
            self.conv = Branches(in_chans, out_chans, kernel, stride=stride, groups=groups, count=branches)
        self.se: nn.Module = SqueezeExcite(out_chans, max(1, out_chans // 16), act=act) if se else nn.Identity()
        self.act = make_activation(act, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, weigh the channels, activate."""
        y: Tensor = self.act(self.se(self.conv(x)))
        return y

    def reparameterize(self) -> None:
        """Turn the branches into one convolution, in place."""
        if isinstance(self.conv, Branches):
            self.conv = self.conv.merge()


class MobileOne(nn.Module):
    """stem -> stages -> pool -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is a pair, `depthwise` and `pointwise`, at resolution
    1 / 2**(i + 2).

    Args:
        widths: Factor of each stage's width.
        branches: Convolutions in parallel in each block but the stem; for training only.
        se: Whether the last half of stage 3 and stage 4 have squeeze-and-excitation.
        inference: Build the inference form; else the one for training.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        width_mult: Factor of all widths, on top of `widths`.
        act: Activation in place of ReLU.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        *,
        widths: Sequence[float],
        branches: int = 1,
        se: bool = False,
        inference: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
        width_mult: float = 1.0,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans, branches=branches)
        check_positive(width_mult=width_mult)
        check_flags(se=se, inference=inference)
        if not isinstance(widths, Sequence) or len(widths) != len(WIDTHS):
            raise ValueError(f"widths is a list of one factor a stage, {len(WIDTHS)} in all (got {widths!r})")
        for factor in widths:
            check_positive(widths=factor)
        act = "relu" if act is None else act
        stage_chans = [max(1, int(base * a * width_mult)) for base, a in zip(WIDTHS, widths, strict=True)]
        chans = min(64, stage_chans[0])
        self.stem = MobileOneBlock(in_chans, chans, 3, stride=2, act=act, inference=inference)
        stages = []
        for depth, out, with_se in zip(DEPTHS, stage_chans, (0, 0, DEPTHS[2] // 2, DEPTHS[3]), strict=True):
            stage: list[nn.Module] = []
            for j in range(depth):
                block = partial(
                    MobileOneBlock, branches=branches, se=se and j >= depth - with_se, act=act, inference=inference
                )
                depthwise = block(chans, chans, 3, stride=1 if j else 2, groups=chans)
                stage.append(nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=block(chans, out, 1))))
                chans = out
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.stages(self.stem(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits

    def reparameterize(self) -> MobileOne:
        """Return the same function in inference form, in eval mode; this network stays as it is.

        The same function as this network has in eval mode, up to rounding. The result has the structure and the state
        dict of a network built with `inference=True`, so that its weights can be loaded into one.
        """
        network = copy.deepcopy(self).eval()
        for block in list(network.modules()):
            if isinstance(block, MobileOneBlock):
                block.reparameterize()
        return network


# fmt: off
S0 = partial(MobileOne, widths=(0.75, 1.0, 1.0, 2.0), branches=4)
S1 = partial(MobileOne, widths=(1.5,  1.5, 2.0, 2.5))
S2 = partial(MobileOne, widths=(1.5,  2.0, 2.5, 4.0))
S3 = partial(MobileOne, widths=(2.0,  2.5, 3.0, 4.0))
S4 = partial(MobileOne, widths=(3.0,  3.5, 3.5, 4.0), se=True)

VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "mobileone_s0":       partial(S0, inference=True),
    "mobileone_s1":       partial(S1, inference=True),
    "mobileone_s2":       partial(S2, inference=True),
    "mobileone_s3":       partial(S3, inference=True),
    "mobileone_s4":       partial(S4, inference=True),
    # as trained, with all branches
    "mobileone_s0:train": partial(S0, inference=False),
    "mobileone_s1:train": partial(S1, inference=False),
    "mobileone_s2:train": partial(S2, inference=False),
    "mobileone_s3:train": partial(S3, inference=False),
    "mobileone_s4:train": partial(S4, inference=False),
}
# fmt: on
