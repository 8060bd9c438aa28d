"""A design space of networks so small that all they cost is a line of arithmetic; and that line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from roofline.spaces import Chooser, Config, Part, Size, Space

SIZE = 8  # pixels


class Tiny(Space):
    """A chain of convolutions of one width, each with a kernel of its own."""

    name = "tiny"
    summary = "a chain of convolutions"
    input_shape = (1, 3, SIZE, SIZE)

    def draw(self, choose: Chooser) -> Config:
        """A width, a depth, and as many kernels."""
        depth = choose.integer("depth", 1, 4)
        return {
            "width": choose.integer("width", 8, 64, step=8),
            "depth": depth,
            "kernels": tuple(choose.choice(f"kernels[{place}]", (1, 3)) for place in range(depth)),
            "act": choose.choice("act", ("relu", "silu")),
        }

    def why_invalid(self, config: Config) -> str:
        """The widest are not deep."""
        return "a width of 64 is for networks of one layer" if config["width"] == 64 and config["depth"] != 1 else ""

    def build(self, config: Config) -> nn.Module:
        """The network."""
        numbers: dict[str, Any] = dict(config)
        return network(**numbers)

    def parts(self, config: Config, batch: int) -> Sequence[Part]:
        """The layers."""
        numbers: dict[str, Any] = dict(config)
        width, found, channels = numbers["width"], [], 3
        for kernel in numbers["kernels"]:
            form = (("kernel", kernel), ("act", numbers["act"]))
            sizes = (Size("in_channels", channels), Size("out_channels", width))
            found.append(Part(layer, form, (batch, "in_channels", SIZE, SIZE), sizes))
            channels = width
        return found


def network(width: int, depth: int, kernels: tuple[int, ...], act: str) -> nn.Module:
    """A chain of layers."""
    channels = [3, *[width] * depth]
    return nn.Sequential(*(layer(c, width, kernel, act) for c, kernel in zip(channels, kernels, strict=False)))


def layer(in_channels: int, out_channels: int, kernel: int, act: str) -> nn.Module:
    """A convolution without a bias, and its activation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.ReLU() if act == "relu" else nn.SiLU())


def params(config: Mapping[str, Any]) -> int:
    """Parameters of a network: (channels in) x (channels out) x (kernel area), layer by layer."""
    channels = [3, *[config["width"]] * (config["depth"] - 1)]
    return sum(c * config["width"] * k * k for c, k in zip(channels, config["kernels"], strict=True))


def macs(config: Mapping[str, Any]) -> int:
    """MACs of a network: each weight is used once for each of the 8 x 8 places."""
    return SIZE * SIZE * params(config)
