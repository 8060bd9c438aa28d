"""FastViT: convolutions that merge into one where other networks add up, and attention at the last resolution.

Vasu et al., "FastViT: A Fast Hybrid Vision Transformer using Structural Reparameterization", ICCV 2023,
arXiv:2303.14189.

A stem of three convolutions (3x3, 3x3 depthwise, 1x1) divides the resolution by 4, and three patch embeddings (7x7
depthwise of stride 2 that doubles the channels, then 1x1) each by 2. Between them stand blocks of two halves: one
mixes space, the other channels.

    RepMixer     x + s (mixer(x) - norm(x)), where mixer is 3x3 depthwise
    attention    x + s MHSA(norm(x)) with heads of 32 channels
    ConvFFN      x + s ffn(x), where ffn is 7x7 depthwise, 1x1, GELU, 1x1

with a learned s for each channel. The first 1x1 widens to 3 times the channels in T networks and to 4 times in others.
Stage 4 of SA and MA networks attends; all else has RepMixer, which is linear: at inference, one convolution. Before a
stage that attends, a 7x7 depthwise convolution, added to its input, tells positions apart (conditional positional
encoding). Before the pool and the classifier come a 3x3 convolution to twice the channels, one group an input channel,
squeeze-and-excitation (to a 16th) and GELU.

In training the convolutions of the stem, the embeddings, the mixers and the head are sums of branches, as MobileOne's
are, with one branch of the full kernel; beside the 7x7 of an embedding stands a 3x3. `reparameterize()` merges them,
with the shortcuts of RepMixer and of the positional encoding. `fastvit_t8` is the inference form, which is timed and
whose cost is published; `fastvit_t8:train` is the form that is trained. Each norm and each s that is left in the
inference form follows a convolution, so that compilers fold it; only the norm before attention does not.

The numbers are those of apple/ml-fastvit models/fastvit.py; timm's fastvit_* agree. There, too, no activation follows
the 7x7 of an embedding: models/modules/replknet.py computes a GELU and drops it. Attention here keeps the layout
(B, C, H, W): queries, keys and values come from one 1x1 convolution, head after head, and every step to its two matrix
products is a view. There is no dropout or stochastic depth.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from roofline.models.activations import Activation, SqueezeExcite, make_activation
from roofline.models.blocks import (
    ConvNorm,
    check_counts,
    check_depths,
    check_flags,
    check_positive,
    depthwise,
    init_weights,
)
from roofline.models.mobilenetv4 import Attention, LayerScale
from roofline.models.mobileone import Branches, MobileOneBlock

STAGES = 4
HEAD_DIM = 32


def branches_or_conv(
    in_chans: int, out_chans: int, kernel: int, *, inference: bool, stride: int = 1, groups: int = 1, beside: int = 1
) -> nn.Module:
    """Return one convolution with bias, or in training the branches that merge into it.

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        kernel: Size of the kernel, odd.
        inference: Which of the two to build.
        stride: Of the convolution.
        groups: Of the convolution.
        beside: Kernel of the branch beside the full one.
    """
    if inference:
        return nn.Conv2d(in_chans, out_chans, kernel, stride, kernel // 2, groups=groups)
    branches = Branches(in_chans, out_chans, kernel, stride=stride, groups=groups, count=1)
    if beside > 1:
        branches.scale = ConvNorm(in_chans, out_chans, beside, stride=stride, groups=groups)
    return branches


def identity_depthwise(chans: int, kernel: int, like: Tensor) -> nn.Conv2d:
    """Return a depthwise convolution, without bias, that changes nothing; of the dtype and device of `like`."""
    conv = nn.Conv2d(chans, chans, kernel, padding=kernel // 2, groups=chans, bias=False).eval().to(like)
    nn.init.dirac_(conv.weight, chans)
    return conv


class RepMixerBranches(nn.Module):
    """RepMixer in training: x + scale (mixer(x) - norm(x)); (B, chans, H, W) -> the same shape.

    Args:
        chans: Channels of the input and the output.
        layer_scale: Initial factor of each channel.
    """

    def __init__(self, chans: int, layer_scale: float) -> None:
        super().__init__()
        self.mixer = Branches(chans, chans, 3, stride=1, groups=chans, count=1)
        self.norm = nn.BatchNorm2d(chans)
        # no LayerScale, which is one that follows a convolution and folds into it: this one follows a difference
        self.scale = nn.Parameter(torch.full((chans, 1, 1), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Mix space, channel by channel."""
        y: Tensor = x + self.scale * (self.mixer(x) - self.norm(x))
        return y

    @torch.no_grad()
    def merge(self) -> nn.Conv2d:
        """Return the one convolution that this is when the norms use their running averages."""
        mixer = self.mixer.merge()
        identity = identity_depthwise(len(self.scale), 3, mixer.weight)
        norm = fuse_conv_bn_eval(identity, copy.deepcopy(self.norm).eval())
        assert mixer.bias is not None
        assert norm.bias is not None
        mixer.weight.copy_(identity.weight + self.scale[..., None] * (mixer.weight - norm.weight))
        mixer.bias.copy_(self.scale.flatten() * (mixer.bias - norm.bias))
        return mixer


class PositionBranches(nn.Module):
    """Conditional positional encoding in training: x + conv(x), 7x7 depthwise; (B, chans, H, W) -> the same shape.

    Chu et al., "Conditional Positional Encodings for Vision Transformers", ICLR 2023, arXiv:2102.10882.
    """

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(chans, chans, 7, padding=3, groups=chans)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each position what is around it; the zeros of the padding tell where the borders are."""
        y: Tensor = x + self.conv(x)
        return y

    @torch.no_grad()
    def merge(self) -> nn.Conv2d:
        """Return the one convolution that this is."""
        merged = copy.deepcopy(self.conv)
        merged.weight.add_(identity_depthwise(merged.in_channels, 7, merged.weight).weight)
        return merged


class SelfAttention(nn.Module):
    """Multi-head self-attention: norm -> qkv -> attention -> project -> layer_scale, plus the input.

    (B, chans, H, W) -> the same shape. `qkv` puts its channels in the order (heads, 3, 32), so that the heads of all
    images line up as one batch without a copy (the original has the order (3, heads, 32)).
    """

    def __init__(self, chans: int, layer_scale: float) -> None:
        super().__init__()
        self.heads = chans // HEAD_DIM
        self.norm = nn.BatchNorm2d(chans)
        self.qkv = nn.Conv2d(chans, 3 * chans, 1, bias=False)
        self.attention = Attention(HEAD_DIM)
        self.project = nn.Conv2d(chans, chans, 1)
        self.layer_scale = LayerScale(chans, layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position look at every position."""
        batch, _, height, width = x.shape
        y = self.qkv(self.norm(x)).reshape(batch * self.heads, 3, HEAD_DIM, height * width)
        y = self.attention(*y.unbind(1)).reshape(x.shape)
        z: Tensor = x + self.layer_scale(self.project(y))
        return z


class ConvFFN(nn.Module):
    """7x7 depthwise -> expand -> act -> project; (B, chans, H, W) -> the same shape."""

    def __init__(self, chans: int, hidden: int, act: Activation) -> None:
        super().__init__()
        self.depthwise = depthwise(chans, 7)
        self.expand = nn.Conv2d(chans, hidden, 1)
        self.act = make_activation(act, hidden)
        self.project = nn.Conv2d(hidden, chans, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix space, then channels."""
        y: Tensor = self.project(self.act(self.expand(self.depthwise(x))))
        return y


class Block(nn.Module):
    """mixer, then x + layer_scale(ffn(x)); (B, chans, H, W) -> the same shape.

    Args:
        chans: Channels of the input and the output.
        attention: Whether the mixer is `SelfAttention`; else it is RepMixer.
        expand: Factor of the channels within `ffn`.
        layer_scale: Initial factor of each channel before a residual add.
        act: Activation within `ffn`.
        inference: Whether RepMixer is one convolution.
    """

    def __init__(
        self, chans: int, *, attention: bool, expand: int, layer_scale: float, act: Activation, inference: bool
    ) -> None:
        super().__init__()
        self.mixer: nn.Module
        if attention:
            self.mixer = SelfAttention(chans, layer_scale)
        elif inference:
            self.mixer = nn.Conv2d(chans, chans, 3, padding=1, groups=chans)
        else:
            self.mixer = RepMixerBranches(chans, layer_scale)
        self.ffn = ConvFFN(chans, expand * chans, act)
        self.layer_scale = LayerScale(chans, layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Mix space, then channels."""
        x = self.mixer(x)
        y: Tensor = x + self.layer_scale(self.ffn(x))
        return y


class FastViT(nn.Module):
    """stem -> stages -> conv_head -> pool -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>` has resolution 1 / 2**(i + 2). Its blocks are `0`, `1`, ...;
    before them stands `embed` in all but the first, and `position` where the blocks attend.

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage.
        expand: Factor of the channels within a block's `ffn`.
        attention: Whether the last stage has attention in place of RepMixer; its width is a multiple of 32 then.
        layer_scale: Initial factor of each channel before a residual add.
        inference: Build the inference form; else the one for training.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of GELU, and of the ReLU within squeeze-and-excitation.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        expand: int = 4,
        attention: bool = False,
        layer_scale: float = 1e-5,
        inference: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans, expand=expand)
        check_positive(layer_scale=layer_scale)
        check_flags(attention=attention, inference=inference)
        for name, values in {"depths": depths, "widths": widths}.items():
            if not isinstance(values, Sequence) or len(values) != STAGES:
                raise ValueError(f"{name} is a list of one number a stage, {STAGES} in all (got {values!r})")
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            check_depths(**{f"depths[{i}]": depth})
            check_counts(**{f"widths[{i}]": width})
        if attention and widths[-1] % HEAD_DIM:
            raise ValueError(f"widths[3] must be a multiple of {HEAD_DIM}, a head of attention (got {widths[-1]})")
        act, squeeze_act = ("gelu", "relu") if act is None else (act, act)
        rep = partial(MobileOneBlock, act=act, inference=inference)
        chans = widths[0]
        self.stem = nn.Sequential(
            OrderedDict(
                conv=rep(in_chans, chans, 3, stride=2),
                depthwise=rep(chans, chans, 3, stride=2, groups=chans),
                pointwise=rep(chans, chans, 1),
            )
        )
        stages = []
        for i, (depth, out) in enumerate(zip(depths, widths, strict=True)):
            attends = attention and i == STAGES - 1
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            if i:
                stage["embed"] = patch_embedding(chans, out, act=act, inference=inference)
            if attends:
                position = PositionBranches(out)
                stage["position"] = position.conv if inference else position
            for j in range(depth):
                stage[str(j)] = Block(
                    out, attention=attends, expand=expand, layer_scale=layer_scale, act=act, inference=inference
                )
            stages.append(nn.Sequential(stage))
            chans = out
        self.stages = nn.Sequential(*stages)
        head = 2 * chans
        self.conv_head = nn.Sequential(
            OrderedDict(
                conv=branches_or_conv(chans, head, 3, groups=chans, inference=inference),
                se=SqueezeExcite(head, max(1, head // 16), act=squeeze_act),
                act=make_activation(act, head),
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(head, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.conv_head(self.stages(self.stem(x))))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits

    def reparameterize(self) -> FastViT:
        """Return the same function in inference form, in eval mode; this network stays as it is.

        The same function as this network has in eval mode, up to rounding. The result has the structure and the state
        dict of a network built with `inference=True`, so that its weights can be loaded into one.
        """
        network = copy.deepcopy(self).eval()
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, Branches | RepMixerBranches | PositionBranches):
                    setattr(module, name, child.merge())
        return network


def patch_embedding(in_chans: int, out_chans: int, *, act: Activation, inference: bool) -> nn.Sequential:
    """Return what halves the resolution: 7x7, one group an input channel, then 1x1 with activation.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / 2), ceil(W / 2))
    """
    if out_chans % in_chans:
        raise ValueError(f"each of widths must be a multiple of the one before (got {in_chans}, then {out_chans})")
    large = branches_or_conv(in_chans, out_chans, 7, stride=2, groups=in_chans, beside=3, inference=inference)
    pointwise = MobileOneBlock(out_chans, out_chans, 1, act=act, inference=inference)
    return nn.Sequential(OrderedDict(depthwise=large, pointwise=pointwise))


# fmt: off
T8   = partial(FastViT, depths=(2, 2, 4, 2),  widths=(48, 96, 192, 384), expand=3)
T12  = partial(FastViT, depths=(2, 2, 6, 2),  widths=(64, 128, 256, 512), expand=3)
S12  = partial(FastViT, depths=(2, 2, 6, 2),  widths=(64, 128, 256, 512))
SA12 = partial(FastViT, depths=(2, 2, 6, 2),  widths=(64, 128, 256, 512), attention=True)
SA24 = partial(FastViT, depths=(4, 4, 12, 4), widths=(64, 128, 256, 512), attention=True)
SA36 = partial(FastViT, depths=(6, 6, 18, 6), widths=(64, 128, 256, 512), attention=True, layer_scale=1e-6)
MA36 = partial(FastViT, depths=(6, 6, 18, 6), widths=(76, 152, 304, 608), attention=True, layer_scale=1e-6)

VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "fastvit_t8":         partial(T8,   inference=True),
    "fastvit_t12":        partial(T12,  inference=True),
    "fastvit_s12":        partial(S12,  inference=True),
    "fastvit_sa12":       partial(SA12, inference=True),
    "fastvit_sa24":       partial(SA24, inference=True),
    "fastvit_sa36":       partial(SA36, inference=True),
    "fastvit_ma36":       partial(MA36, inference=True),
    # as trained, with all branches
    "fastvit_t8:train":   partial(T8,   inference=False),
    "fastvit_t12:train":  partial(T12,  inference=False),
    "fastvit_s12:train":  partial(S12,  inference=False),
    "fastvit_sa12:train": partial(SA12, inference=False),
    "fastvit_sa24:train": partial(SA24, inference=False),
    "fastvit_sa36:train": partial(SA36, inference=False),
    "fastvit_ma36:train": partial(MA36, inference=False),
}
# fmt: on
