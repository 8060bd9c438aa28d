"""The modules that the networks of the menu are built of, beside those of torch: what blocks of networks do.

`roofline.calibration.menu` draws which, how wide and how often.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """What a module makes, added to its input; then an activation, or none."""

    def __init__(self, inner: nn.Module, act: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.act = inner, act

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.inner(x)
        return y if self.act is None else self.act(y)


class SqueezeExcite(nn.Module):
    """Each channel scaled by what two pointwise convolutions make of the means of all."""

    def __init__(self, channels: int, squeezed: int, act: nn.Module) -> None:
        super().__init__()
        self.reduce, self.act, self.expand = nn.Conv2d(channels, squeezed, 1), act, nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * scale.sigmoid()


class Concatenate(nn.Module):
    """Branches side by side as channels, beside their input or not."""

    def __init__(self, branches: nn.ModuleList, *, keeps_input: bool) -> None:
        super().__init__()
        self.branches, self.keeps_input = branches, keeps_input

    def forward(self, x: Tensor) -> Tensor:
        made = [branch(x) for branch in self.branches]
        return torch.cat([x, *made] if self.keeps_input else made, 1)


class Sum(nn.Module):
    """Branches stacked, and summed with weights that are made of their mean."""

    def __init__(self, branches: nn.ModuleList) -> None:
        super().__init__()
        self.branches = branches

    def forward(self, x: Tensor) -> Tensor:
        made = torch.stack([branch(x) for branch in self.branches], 1)
        weights = made.sum(1).mean((2, 3), keepdim=True).unsqueeze(1).sigmoid()
        return (made * weights).sum(1)


class StandardConv(nn.Conv2d):
    """A convolution whose weights are normalised, filter by filter, as it runs."""

    def forward(self, x: Tensor) -> Tensor:
        filters = self.weight.reshape(1, len(self.weight), -1)
        weight = functional.batch_norm(filters, None, None, training=True, momentum=0.0).reshape_as(self.weight)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Shuffle(nn.Module):
    """Half of the channels through a branch; then all are dealt out by groups."""

    def __init__(self, branch: nn.Module, groups: int) -> None:
        super().__init__()
        self.branch, self.groups = branch, groups

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat((left, self.branch(right)), 1)
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class Mean(nn.Module):
    """The mean over some dimensions."""

    def __init__(self, *dims: int, keepdim: bool = False) -> None:
        super().__init__()
        self.dims, self.keepdim = dims, keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=self.keepdim)


class TokenBlock(nn.Module):
    """A block on (batch, length, width): a linear layer over the tokens, or attention, whose heads may talk to each
    other, or look at where two tokens lie from each other, by a linear layer over that.
    """

    def __init__(self, width: int, heads: int, ratio: int, how: str, length: int) -> None:
        super().__init__()
        self.heads, self.how = heads, how
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        if how == "mixer":
            self.mix = nn.Sequential(nn.Linear(length, 2 * length), nn.GELU(), nn.Linear(2 * length, length))
        else:
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if how == "relative":
            self.place = nn.Linear(3, heads)  # of two distances and their square
            self.register_buffer("distances", torch.zeros(1, length, length, 3))
        if how == "talking":
            self.before, self.after = nn.Linear(heads, heads), nn.Linear(heads, heads)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + (self.mix(y.transpose(1, 2)).transpose(1, 2) if self.how == "mixer" else self._attention(y))
        return x + self.mlp(self.norm2(x))

    def _attention(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.how == "fused":
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            if self.how == "talking":  # each pair of tokens mixes its heads, which stand first in memory
                scores = self.before(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
                y = self.after(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) @ v
            elif self.how == "relative":
                y = (scores + self.place(self.distances).permute(0, 3, 1, 2)).softmax(-1) @ v
            else:
                y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, length, width))


class Recurrent(nn.Module):
    """Recurrent layers over the tokens, one way or both, and back to the width of these."""

    def __init__(self, kind: Callable[..., nn.Module], width: int, state: int, layers: int, both: bool) -> None:
        super().__init__()
        self.inner = kind(width, state, layers, batch_first=True, bidirectional=both)
        self.out = nn.Linear(2 * state if both else state, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x)[0])


class OnTokens(nn.Module):
    """A block on the positions of a map as tokens."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return self.block(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(n, c, h, w)


class OnPhases(nn.Module):
    """A block on the tokens of every other row and column, four times: attention across patches."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n * c * (h // 2), 2, w // 2, 2).transpose(1, 2).reshape(n, c, -1, 4)
        y = self.block(y.transpose(1, 3).reshape(4 * n, -1, c))
        y = y.reshape(n, 4, -1, c).transpose(1, 3).reshape(n * c * (h // 2), w // 2, 2, 2)
        return y.transpose(1, 2).reshape(n, c, h, w)


class Slices(nn.Module):
    """Every other row and column, four times, side by side as channels, which stand first or last."""

    def __init__(self, channels: int, out: int, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        self.merge = (
            nn.Sequential(nn.LayerNorm(4 * channels), nn.Linear(4 * channels, out, bias=False)) if is_last
            else nn.Conv2d(4 * channels, out, 1)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_last:
            return self.merge(torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1))
        y = x.permute(0, 2, 3, 1).contiguous()
        y = self.merge(torch.cat([y[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1))
        return y.permute(0, 3, 1, 2)


class Windows(nn.Module):
    """Attention within windows, shifted or not, with a bias for each pair of positions."""

    def __init__(self, channels: int, heads: int, window: int, shifts: bool, is_fused: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shift, self.is_fused = heads, window, window // 2 if shifts else 0, is_fused
        self.norm, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        if not is_fused:
            self.bias = nn.Parameter(torch.randn(heads, window**2, window**2) / 10)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y, side = x.permute(0, 2, 3, 1), self.window
        z = self.norm(y)
        if self.shift:
            z = torch.roll(z, (-self.shift, -self.shift), (1, 2))
        z = z.view(n, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, c)
        q, k, v = self.qkv(z).reshape(len(z), side * side, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.is_fused:
            z = functional.scaled_dot_product_attention(q, k, v)
        else:
            z = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + self.bias).softmax(-1) @ v
        z = self.out(z.transpose(1, 2).reshape(-1, side * side, c))
        z = z.view(n, h // side, w // side, side, side, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        if self.shift:
            z = torch.roll(z, (self.shift, self.shift), (1, 2))
        y = y + z
        return (y + self.mlp(self.norm2(y))).permute(0, 3, 1, 2).contiguous()


class ChannelsLast(nn.Module):
    """A depthwise convolution, a norm over channels that stand last, and linear layers or pointwise convolutions."""

    def __init__(self, channels: int, kernel: int, ratio: int, convolves: bool) -> None:
        super().__init__()
        self.convolves, wide = convolves, ratio * channels
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm, self.scale = nn.LayerNorm(channels), nn.Parameter(torch.randn(channels, 1, 1) / 10)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, wide, 1) if convolves else nn.Linear(channels, wide),
            nn.GELU(),
            nn.Conv2d(wide, channels, 1) if convolves else nn.Linear(wide, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        if self.convolves:
            return x + self.mlp(y.permute(0, 3, 1, 2)) * self.scale
        return x + (self.mlp(y) * self.scale.flatten()).permute(0, 3, 1, 2)


class NormLast(nn.LayerNorm):
    """A norm over the channels of a map, which stand last in memory from then on."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TokenConvolution(nn.Module):
    """A convolution between linear layers, on tokens seen as a map."""

    def __init__(self, channels: int, wide: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.expand, self.reduce = nn.Linear(channels, wide), nn.Linear(wide, channels)
        self.conv = nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.expand(x.flatten(2).transpose(1, 2))
        y = self.conv(y.transpose(1, 2).view(n, -1, h, w)).flatten(2).transpose(1, 2)
        return self.reduce(functional.gelu(y)).transpose(1, 2).reshape(n, c, h, w)


class DownAndUp(nn.Module):
    """A map pooled, brought back to its size, and merged with itself."""

    def __init__(self, channels: int, pool: nn.Module, how: str) -> None:
        super().__init__()
        self.how = how
        self.pool, self.conv = pool, nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2) if how == "transposed" else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(x)
        if self.up is not None:
            y = self.up(y)
        else:
            corners = False if self.how == "bilinear" else None
            y = functional.interpolate(y, scale_factor=2.0, mode=self.how, align_corners=corners)
        return self.conv(torch.cat((x, y), 1))


class Gate(nn.Module):
    """Products, sums and scales element by element, by channel and by position."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__()
        self.act, self.scale = act, nn.Parameter(torch.randn(channels, 1, 1) / 10 + 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(x) * x
        y = y * self.scale + x.mean(1, keepdim=True)
        return (y - x).clamp(-3, 3)
