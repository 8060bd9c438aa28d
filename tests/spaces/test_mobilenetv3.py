from __future__ import annotations

from itertools import chain
from typing import Any

from roofline.loading import build_on_meta
from roofline.models.activations import SqueezeExcite
from roofline.models.mobilenetv2 import InvertedResidual
from roofline.spaces import RandomChooser
from roofline.spaces.counting import Counter, counted
from roofline.spaces.mobilenetv3 import MobileNetV3Space


def arithmetic(config: dict[str, Any], px: int = 224) -> tuple[int, int]:
    """Parameters and MACs of a network from its configuration, by the table of the paper: conv by conv."""
    params = macs = 0

    def conv(c_in: int, c_out: int, side: int, weights: int, after: int) -> None:
        nonlocal params, macs
        params += weights + after * c_out  # scale and shift of a norm, or a bias
        macs += weights * side * side

    side = px // 2
    conv(3, 16, side, 27 * 16, 2)
    conv(16, 16, side, 9 * 16, 2)
    conv(16, 16, side, 16 * 16, 2)
    chans = 16
    for i, stride in enumerate((2, 2, 2, 1, 2)):
        out, kernel, expand = (config[name][i] for name in ("widths", "kernels", "expansions"))
        for j in range(config["depths"][i]):
            width = chans * expand
            conv(chans, width, side, chans * width, 2)
            side //= stride if j == 0 else 1
            conv(width, width, side, kernel * kernel * width, 2)
            if config["squeeze_excite"][i]:
                squeeze = (width // 4 + 4) // 8 * 8
                squeeze += 8 * (squeeze < 0.9 * width / 4)
                conv(width, squeeze, 1, width * squeeze, 1)
                conv(squeeze, width, 1, squeeze * width, 1)
            conv(width, out, side, width * out, 2)
            chans = out
    conv(chans, 960, side, chans * 960, 2)
    conv(960, 1280, 1, 960 * 1280, 1)
    conv(1280, 1000, 1, 1280 * 1000, 1)
    return params, macs


def test_counts_agree_with_arithmetic() -> None:
    space, counter = MobileNetV3Space(), Counter(fusion="epilogue", dtype="int8")
    for index in range(8):
        config = space.draw(RandomChooser(0, index))
        layers = counted(space, config, counter)
        assert (layers.params, int(layers.macs.sum())) == arithmetic(dict(config))


def test_blocks_are_as_drawn() -> None:
    space = MobileNetV3Space()
    for index in range(5):
        config: dict[str, Any] = dict(space.draw(RandomChooser(0, index)))
        network = build_on_meta(lambda config=config: space.build(config))  # type: ignore[misc]
        _, *blocks = (block for block in network.modules() if isinstance(block, InvertedResidual))
        expected = chain.from_iterable(
            [(kernel, bool(se), act)] * depth
            for kernel, se, act, depth in zip(
                config["kernels"], config["squeeze_excite"], config["nonlinearities"], config["depths"], strict=True
            )
        )
        found = [
            (block.depthwise.conv.kernel_size[0], isinstance(block.se, SqueezeExcite), _name(block.depthwise.act))
            for block in blocks
        ]
        assert found == list(expected)


def _name(activation: object) -> str:
    return type(activation).__name__.lower()
