"""Synthetic networks to calibrate on: drawn at random from the parts that vision networks are built of.

A network is a few stages at one width and resolution after the other, as wide and deep as published ones are, so that
each op meets the caches as ops of real networks do. None is an architecture anyone published: what a calibration has
seen of a family of networks is its ops, and not the family. (In the trial that this follows, a calibration on synthetic
networks alone predicted unseen ones as well as one on real networks did.)

All of it is drawn from a seed, and any number of networks can be asked for.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roofline.calibration.menu_modules import (
    ChannelsLast,
    Concatenate,
    DownAndUp,
    Gate,
    Mean,
    NormLast,
    OnPhases,
    OnTokens,
    Recurrent,
    Residual,
    Shuffle,
    Slices,
    SqueezeExcite,
    StandardConv,
    Sum,
    TokenBlock,
    TokenConvolution,
    Windows,
)

MACS = (20e6, 1.5e9)  # of a network, log-uniform: 2 to 30 ms where a convolution reaches 50 GMAC/s
# Of what keeps its input's size: blocks find their buffers in the caches from the second on.
REPEATS = (2, 3, 3, 4, 6, 8)
MAX_DRAWS = 20  # of parts, of which those that would go beyond the MACs are not taken
KERNELS = (3, 3, 3, 5, 5, 7)
EXPANSIONS = (1, 2, 3, 4, 6)
GROUP_WIDTHS = (4, 8, 16, 24, 32, 64)
SIDES = (4, 5, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112, 128)
ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU, nn.ReLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardswish, nn.SiLU, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.ELU,
    nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Mish,
)  # fmt: skip
POWER_SHARE = 0.3  # of the widths are powers of two, as in networks; rows of 1024 numbers share the sets of a cache
IN_PLACE = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.LeakyReLU)


@dataclass(frozen=True, slots=True)
class Map:
    """The size of a feature map: batch, channels, side."""

    batch: int
    channels: int
    side: int

    @property
    def pixels(self) -> int:
        """Positions of all images."""
        return self.batch * self.side * self.side


Part = Callable[[random.Random, Map], tuple[nn.Module, Map]]  # draws a module, and says what map it makes of one


def network(seed: int, weights: Mapping[str, float] | None = None) -> tuple[nn.Module, tuple[int, ...]]:
    """One network, in eval mode and with random weights, and the shape of its input.

    Args:
        seed: What is drawn.
        weights: How often each of `PARTS` is drawn, relative to the others; as often as `PARTS` says if None.
    """
    rng = random.Random(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        which = rng.random()
        draw = _tokens if which < TOKEN_SHARE else _chain if which < TOKEN_SHARE + CHAIN_SHARE else _images
        return draw(rng, weights or PART_WEIGHTS)


def with_weights(outlined: nn.Module, noise: Tensor) -> nn.Module:
    """A network made on the meta device, given memory and weights: in a tenth of the time that torch takes.

    Args:
        outlined: The network; it is changed.
        noise: Normal numbers that the weights are cut from, one after another; (n,).
    """
    outlined.to_empty(device="cpu")
    for name, weight in outlined.named_parameters():
        if weight.dim() == 1 and name.endswith("weight"):  # of a norm
            nn.init.ones_(weight)
            continue
        flat = weight.detach().as_strided((weight.numel(),), (1,))  # whatever its layout
        for start in range(0, len(flat), len(noise)):
            part = flat[start : start + len(noise)]
            part.copy_(noise[: len(part)])
        flat.mul_(math.sqrt(len(weight) / len(flat)) if weight.dim() > 1 else 0.1)
    for name, buffer in outlined.named_buffers():
        buffer.fill_(1 if name.endswith("running_var") else 0)
    return outlined


TOKEN_SHARE = 0.22  # of the networks take tokens from beginning to end
# Of the networks, chains of many short ops on one map tell what the host takes: those of docs/accuracy.md have 164 ops
# in the median, and others of the menu 61, so that a cost an op is lost in that of its kernels.
CHAIN_SHARE = 0.12
CHAIN_SIDES = (4, 7, 7, 8, 10, 14, 14, 16, 20, 28)
CHAIN_LAYERS = (60, 100, 150, 200, 300)  # modules that hold no others
CHAIN_MACS = 4e6  # of a block at most: about 0.1 ms
RECURRENT_SHARE = 0.6  # of those have recurrent layers, if they are short
RECTIFIED_SHARE = 0.7  # of the max pools take what a ReLU left: they branch on what is larger, and zeros are equal
STATES = (64, 96, 128, 192, 256, 384, 512, 640)  # widths of the states of recurrent layers
MIXINGS = ("fused", "fused", "explicit", "explicit", "mixer", "mixer", "talking", "relative")  # of tokens with others
FLAT_SHARE, FLAT_WEIGHTS = 0.15, 80e6  # of the heads on small maps take them unpooled, with so many weights at most
VOCABULARY_SHARE, VOCABULARIES = 0.2, (4000, 8000, 16000, 32000)  # of the heads on tokens tell each token's next


def _images(rng: random.Random, weights: Mapping[str, float]) -> tuple[nn.Module, tuple[int, ...]]:
    budget = _budget(rng)
    parts: list[nn.Module] = []
    if rng.random() < 0.5:
        shape = Map(rng.choice((1, 1, 1, 2)), 3, rng.choice((96, 128, 160, 192, 224, 224, 256)))
        given = shape
        stem, shape = _stem(rng, shape)
        parts.append(stem)
    else:
        side = rng.choice(SIDES)
        shape = given = Map(rng.choice((1, 1, 1, 2, 4)), _channels(rng, side), side)
    macs = 0.0
    names = list(weights)
    for name in rng.choices(names, [weights[each] for each in names], k=MAX_DRAWS):
        made, after = PARTS[name](rng, shape)
        needed = _macs(made, shape)
        if macs + needed > budget:
            continue
        repeats = 1 if after != shape or name in ONCE else rng.choice(REPEATS)
        repeats = max(1, min(repeats, int((budget - macs) / max(needed, 1))))
        parts += [made, *(copy.deepcopy(made) for _ in range(repeats - 1))]
        macs, shape = macs + repeats * needed, after
        if rng.random() < 0.3 and shape.side >= 14:
            made, after = _downsample(rng, shape)
        elif rng.random() < 0.15:
            made, after = _rewidth(rng, shape)
        else:
            continue
        parts.append(made)
        macs, shape = macs + _macs(made, shape), after
    parts.append(_head(rng, shape))
    return nn.Sequential(*parts).eval(), (given.batch, given.channels, given.side, given.side)


def _chain(rng: random.Random, weights: Mapping[str, float]) -> tuple[nn.Module, tuple[int, ...]]:
    side = rng.choice(CHAIN_SIDES)
    shape = Map(1, 8 * rng.randint(1, 12), side)
    names, wanted = list(weights), rng.choice(CHAIN_LAYERS)
    blocks: list[nn.Module] = []
    layers = 0
    while layers < wanted:
        made, after = PARTS[rng.choices(names, [weights[each] for each in names])[0]](rng, shape)
        if after != shape or _macs(made, shape) > CHAIN_MACS:
            made = _conv(shape.channels, shape.channels, rng.choice((3, 3, 5)), rng, groups=shape.channels)
        for _ in range(rng.randint(0, 2)):  # modules that do nothing but call others
            made = nn.Sequential(made)
        repeats = rng.choice(REPEATS)
        blocks += [made, *(copy.deepcopy(made) for _ in range(repeats - 1))]
        layers += repeats * sum(not any(each.children()) for each in made.modules())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(shape.channels, 100))
    return nn.Sequential(*blocks, head).eval(), (1, shape.channels, side, side)


def _budget(rng: random.Random) -> float:
    return math.exp(rng.uniform(*map(math.log, MACS)))


def _tokens(rng: random.Random, weights: Mapping[str, float]) -> tuple[nn.Module, tuple[int, ...]]:
    width = rng.choice((64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 768, 1024))
    heads = width // rng.choice([head for head in (16, 32, 64) if width % head == 0])
    length = rng.choice((8, 16, 24, 32, 49, 64, 100, 128, 144, 196, 197, 256, 257, 400))
    batch = rng.choice((1, 1, 1, 2, 4))
    blocks: list[nn.Module] = []
    macs, budget = 0.0, _budget(rng)
    for _ in range(rng.randint(1, 3)):
        ratio, how, repeats = rng.choice((2, 3, 4)), rng.choice(MIXINGS), rng.choice(REPEATS)
        for _ in range(repeats):
            blocks.append(TokenBlock(width, heads, ratio, how, length))
            macs += _macs(blocks[-1], Map(batch, width, 1)) * length
            if macs > budget:
                break
        if macs > budget:
            break
    if rng.random() < RECURRENT_SHARE and length <= 150:
        for _ in range(rng.choice((1, 1, 2))):
            kind, layers, both = rng.choice((nn.GRU, nn.LSTM, nn.LSTM)), rng.choice((1, 1, 2)), rng.random() < 0.3
            blocks.append(Recurrent(kind, width, rng.choice(STATES), layers, both))
    if rng.random() < VOCABULARY_SHARE:
        words = [each for each in VOCABULARIES if each * width * length * batch <= MACS[1]]
        head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, rng.choice(words or [1000]), bias=False))
    else:
        head = nn.Sequential(nn.LayerNorm(width), Mean(1), nn.Linear(width, rng.choice((10, 100, 1000))))
    return nn.Sequential(*blocks, head).eval(), (batch, length, width)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _channels(rng: random.Random, side: int) -> int:
    """As wide as networks are at that side, mobile ones (24 at 56, 320 at 7) and others (256 at 56, 2048 at 7)."""
    middle = 3200 / side
    width = middle * math.exp(rng.uniform(-1.3, 1.3))
    if rng.random() < POWER_SHARE:
        return 1 << max(3, round(math.log2(width)))
    step = 8 if rng.random() < 0.85 else rng.choice((2, 3, 4))
    return max(8, step * round(width / step))


def _act(rng: random.Random, *, in_place: bool | None = None) -> nn.Module:
    kind = rng.choice(ACTIVATIONS)
    wanted = rng.random() < 0.5 if in_place is None else in_place
    return kind(inplace=True) if wanted and kind in IN_PLACE else kind()


def _norm(channels: int, rng: random.Random) -> nn.Module:
    if rng.random() < 0.95 or channels % 8:
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(rng.choice((1, 8)), channels)


def _conv(
    inputs: int, outputs: int, kernel: int, rng: random.Random, *, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Module:
    """A convolution, mostly normalised, with an activation or none."""
    normed = rng.random() < 0.9
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not normed or rng.random() < 0.1)
    ]
    if normed:
        layers.append(_norm(outputs, rng))
    if act:
        layers.append(_act(rng))
    return nn.Sequential(*layers)


def _macs(module: nn.Module, shape: Map) -> float:
    """About the MACs of a part: weights of convolutions and linear layers, once a position."""
    return float(sum(p.numel() for p in module.parameters() if p.dim() > 1)) * shape.pixels


# --- parts ------------------------------------------------------------------------------------------------------------


def _inverted(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """An inverted residual, with squeeze and excitation or not."""
    wide = max(8, shape.channels * rng.choice(EXPANSIONS))
    kernel = rng.choice(KERNELS)
    layers = [_conv(shape.channels, wide, 1, rng), _conv(wide, wide, kernel, rng, groups=wide)]
    if rng.random() < 0.4:
        layers.append(SqueezeExcite(wide, max(8, wide // rng.choice((4, 8, 16))), _act(rng)))
    layers.append(_conv(wide, shape.channels, 1, rng, act=False))
    return Residual(nn.Sequential(*layers)), shape


def _separable(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """A depthwise convolution, at times with a multiplier, and a pointwise one to a new width."""
    multiplier = rng.choice((2, 2, 3)) if rng.random() < 0.25 else 1
    wide = shape.channels * multiplier
    out = _channels(rng, shape.side)
    depthwise = _conv(shape.channels, wide, rng.choice(KERNELS), rng, groups=shape.channels)
    return nn.Sequential(depthwise, _conv(wide, out, 1, rng)), Map(shape.batch, out, shape.side)


def _basic(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Two 3x3 convolutions and a residual, or a plain one."""
    if rng.random() < 0.4:
        out = min(_channels(rng, shape.side), 2 * shape.channels)
        made = _conv(shape.channels, out, rng.choice((3, 3, 3, 5)), rng)
        return made, Map(shape.batch, out, shape.side)
    channels = shape.channels
    inner = nn.Sequential(_conv(channels, channels, 3, rng), _conv(channels, channels, 3, rng, act=False))
    return Residual(inner, _act(rng)), shape


def _bottleneck(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """1x1, 3x3 (dense or in groups), 1x1."""
    inner = max(8, int(shape.channels * rng.choice((0.25, 0.5, 1, 1)) / 8) * 8)
    widths = [width for width in GROUP_WIDTHS if inner % width == 0 and width < inner]
    groups = inner // rng.choice(widths) if widths and rng.random() < 0.4 else 1
    layers = nn.Sequential(
        _conv(shape.channels, inner, 1, rng),
        _conv(inner, inner, 3, rng, groups=groups),
        *([SqueezeExcite(inner, max(8, inner // 4), nn.ReLU())] if rng.random() < 0.3 else []),
        _conv(inner, shape.channels, 1, rng, act=False),
    )
    return Residual(layers, _act(rng)), shape


def _dense(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Layers that add their output to their input's channels, or branches side by side."""
    growth = rng.choice((8, 12, 16, 24, 32, 48))
    if rng.random() < 0.5:
        branches = nn.ModuleList(
            _conv(shape.channels, growth, kernel, rng) for kernel in (1, 3, 5)[: rng.randint(2, 3)]
        )
        if rng.random() < 0.4:
            return Sum(branches), Map(shape.batch, growth, shape.side)
        made = Concatenate(branches, keeps_input=False)
        return made, Map(shape.batch, growth * len(branches), shape.side)
    layer = nn.Sequential(
        nn.BatchNorm2d(shape.channels), _act(rng, in_place=False), nn.Conv2d(shape.channels, 4 * growth, 1, bias=False),
        nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
    )  # fmt: skip
    made = Concatenate(nn.ModuleList([layer]), keeps_input=True)
    return made, Map(shape.batch, shape.channels + growth, shape.side)


def _shuffle(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Half of the channels through a branch, and all shuffled."""
    half = shape.channels // 2
    if shape.channels % 4 or half < 8:
        return _separable(rng, shape)
    branch = nn.Sequential(
        _conv(half, half, 1, rng), _conv(half, half, 3, rng, groups=half, act=False), _conv(half, half, 1, rng)
    )
    return Shuffle(branch, rng.choice((2, 4))), shape


def _tokens_of_map(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Attention over the positions of a map, whole or in windows."""
    channels = shape.channels
    heads = next((channels // head for head in rng.sample((16, 32, 64, 8), 4) if channels % head == 0), 1)
    window = next((side for side in (7, 8, 4) if shape.side % side == 0 and shape.side > side), None)
    if window is not None and (shape.side > 20 or rng.random() < 0.5):
        return Windows(channels, heads, window, rng.random() < 0.5, rng.random() < 0.5), shape
    if shape.side > 28:
        return _last(rng, shape)
    how = rng.choice(MIXINGS)
    if shape.side % 2 == 0 and rng.random() < 0.3:
        return OnPhases(TokenBlock(channels, heads, rng.choice((2, 4)), how, shape.side**2 // 4)), shape
    return OnTokens(TokenBlock(channels, heads, rng.choice((2, 4)), how, shape.side**2)), shape


def _last(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """A depthwise convolution, and linear layers or pointwise convolutions over channels that stand last."""
    return ChannelsLast(shape.channels, rng.choice(KERNELS), rng.choice((2, 3, 4)), rng.random() < 0.4), shape


def _token_convolution(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Convolutions on tokens seen as a map: their channels stand last in memory."""
    channels = shape.channels
    wide = channels * rng.choice((1, 2, 4))
    kernel = rng.choice((1, 1, 3, 3, 5))
    groups = wide if kernel > 1 and rng.random() < 0.8 else 1
    return TokenConvolution(channels, wide, kernel, groups), shape


def _pools(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Pooling that keeps the size, beside the identity."""
    kernel = rng.choice((2, 3, 3, 3, 3, 5, 7))
    if shape.side < kernel:
        return _point(rng, shape)
    pool = _max_pool if rng.random() < 0.5 else _average_pool
    if kernel == 2:
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), pool(rng, 2, 1)), shape
    return Residual(pool(rng, kernel, 1, kernel // 2)), shape


def _max_pool(rng: random.Random, kernel: int, stride: int, padding: int = 0, *, ceil_mode: bool = False) -> nn.Module:
    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)
    return nn.Sequential(nn.ReLU(), pool) if rng.random() < RECTIFIED_SHARE else pool


def _average_pool(
    rng: random.Random, kernel: int, stride: int, padding: int = 0, *, ceil_mode: bool = False
) -> nn.Module:
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode)


def _point(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """A pointwise convolution to a new width, with activations behind it."""
    out = _channels(rng, shape.side)
    extra = [_act(rng) for _ in range(rng.randint(0, 2))]
    return nn.Sequential(_conv(shape.channels, out, 1, rng), *extra), Map(shape.batch, out, shape.side)


def _scale(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Down and up again, and a merge."""
    if shape.side % 2 or shape.side < 8:
        return _point(rng, shape)
    pool = _max_pool(rng, 2, 2)
    return DownAndUp(shape.channels, pool, rng.choice(("nearest", "bilinear", "transposed"))), shape


def _gates(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """Products, sums and scales element by element, by channel and by position."""
    return Gate(shape.channels, _act(rng, in_place=False)), shape


def _standard(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    """A bottleneck of convolutions with normalised weights, and no norms of activations."""
    inner = max(8, int(shape.channels * rng.choice((0.5, 1)) / 8) * 8)
    groups = rng.choice([each for each in (1, 1, inner // 8, inner) if inner % each == 0])
    layers = nn.Sequential(
        _act(rng), StandardConv(shape.channels, inner, 1),
        _act(rng), StandardConv(inner, inner, 3, padding=1, groups=groups),
        _act(rng), StandardConv(inner, shape.channels, 1),
    )  # fmt: skip
    return Residual(layers), shape


PARTS: Mapping[str, Part] = {
    "inverted": _inverted, "separable": _separable, "basic": _basic, "bottleneck": _bottleneck, "dense": _dense,
    "shuffle": _shuffle, "tokens": _tokens_of_map, "channels_last": _last, "token_convolution": _token_convolution,
    "pools": _pools, "point": _point, "scale": _scale, "gates": _gates, "standard": _standard,
}  # fmt: skip
PART_WEIGHTS: Mapping[str, float] = {
    "inverted": 4, "separable": 2, "basic": 6, "bottleneck": 3, "dense": 1.5, "shuffle": 0.7, "tokens": 2,
    "channels_last": 1.4, "token_convolution": 1, "pools": 0.7, "point": 1.5, "scale": 0.8, "gates": 0.4,
    "standard": 0.5,
}  # fmt: skip
ONCE = frozenset({"pools", "scale", "gates"})  # slow, and few networks are made of them block after block


def _stem(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    out = rng.choice((16, 24, 32, 32, 48, 64, 96))
    if rng.random() < 0.25:
        patch, out = rng.choice((4, 8, 16, 16, 32)), out * rng.choice((2, 4, 8))  # to the width of transformers
        return nn.Conv2d(3, out, patch, patch), Map(shape.batch, out, shape.side // patch)
    kernel = rng.choice((3, 3, 7))
    layers = [_conv(3, out, kernel, rng, stride=2)]
    side = shape.side // 2
    if rng.random() < 0.3:
        layers.append(_max_pool(rng, 3, 2, 1))
        side //= 2
    return nn.Sequential(*layers), Map(shape.batch, out, side)


def _downsample(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    side = (shape.side + 1) // 2
    out = max(shape.channels, _channels(rng, side))
    how = rng.choice(("conv", "conv", "depthwise", "pool", "patch", "slices"))
    if how == "depthwise":
        depthwise = _conv(shape.channels, shape.channels, rng.choice(KERNELS), rng, stride=2, groups=shape.channels)
        return nn.Sequential(depthwise, _conv(shape.channels, out, 1, rng, act=False)), Map(shape.batch, out, side)
    if how == "pool":
        kernel, kind = rng.choice(((3, _max_pool), (2, _average_pool), (2, _max_pool)))
        pool = kind(rng, kernel, 2, kernel // 2 if kernel > 2 else 0, ceil_mode=kernel == 2)
        return nn.Sequential(pool, _conv(shape.channels, out, 1, rng)), Map(shape.batch, out, side)
    if how == "patch" and shape.side % 2 == 0:
        patches: nn.Module = nn.Conv2d(shape.channels, out, 2, 2)
        if rng.random() < 0.5:
            patches = nn.Sequential(NormLast(shape.channels), patches)
        return patches, Map(shape.batch, out, side)
    if how == "slices" and shape.side % 2 == 0:
        return Slices(shape.channels, out, rng.random() < 0.6), Map(shape.batch, out, side)
    return _conv(shape.channels, out, rng.choice((1, 3, 3)), rng, stride=2), Map(shape.batch, out, side)


def _rewidth(rng: random.Random, shape: Map) -> tuple[nn.Module, Map]:
    out = _channels(rng, shape.side)
    return _conv(shape.channels, out, 1, rng, act=False), Map(shape.batch, out, shape.side)


def _head(rng: random.Random, shape: Map) -> nn.Module:
    layers: list[nn.Module] = []
    flat = shape.channels * shape.side**2
    if rng.random() < FLAT_SHARE and flat * 256 <= FLAT_WEIGHTS:
        wide = rng.choice([width for width in (256, 512, 1024, 2048, 4096) if flat * width <= FLAT_WEIGHTS][-2:])
        return nn.Sequential(nn.Flatten(1), nn.Linear(flat, wide), _act(rng), nn.Dropout(), nn.Linear(wide, wide))
    if shape.side <= 16 and rng.random() < 0.3:
        wide = rng.choice((512, 960, 1280, 2048))
        layers.append(_conv(shape.channels, wide, 1, rng))
        shape = Map(shape.batch, wide, shape.side)
    pool: nn.Module = nn.AdaptiveAvgPool2d(1) if rng.random() < 0.6 else Mean(2, 3, keepdim=True)
    layers += [pool, nn.Flatten(1)]
    if rng.random() < 0.3:
        wide = rng.choice((512, 1024, 1280, 4096))
        layers += [nn.Linear(shape.channels, wide), _act(rng), nn.Dropout(), nn.Linear(wide, 1000)]
    else:
        layers.append(nn.Linear(shape.channels, rng.choice((100, 1000))))
    return nn.Sequential(*layers)
