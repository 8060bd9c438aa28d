from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from roofline.loading import build_on_meta
from roofline.models.mobilenetv4 import CONV_LARGE, CONV_MEDIUM, UIB, UniversalInvertedBottleneck, Variant
from roofline.spaces import Fixed, RandomChooser
from roofline.spaces.counting import Counter, counted
from roofline.spaces.uib import UIBSpace


def point(variant: Variant) -> dict[str, Any]:
    """A published network as values of the space."""
    (fused,), *stages = variant.stages
    blocks = [[row for row in rows for _ in range(row.times)] for rows in stages]
    every = [row for rows in blocks for row in rows if isinstance(row, UIB)]
    return {
        "stem": variant.stem,
        "fused": fused.out,
        "depths": tuple(map(len, blocks)),
        "widths": tuple(rows[0].out for rows in blocks),
        "starts": tuple(row.start for row in every),
        "mids": tuple(row.mid for row in every),
        "expansions": tuple(row.expand for row in every),
    }


@pytest.mark.parametrize(
    ("variant", "px", "params", "macs"),
    [  # tensorflow/models and timm count the released networks so
        (CONV_MEDIUM, 256, 9_715_512, 1_080_244_224),
        (CONV_LARGE, 384, 32_590_864, 6_376_220_672),
    ],
    ids=["medium", "large"],
)
def test_published_networks_are_points(variant: Variant, px: int, params: int, macs: int) -> None:
    space = UIBSpace()
    space.input_shape = (1, 3, px, px)
    config = space.draw(Fixed(RandomChooser(0, 0), point(variant)))
    assert config == point(variant)
    layers = counted(space, config, Counter(fusion="epilogue", dtype="int8"))
    assert (layers.params, int(layers.macs.sum())) == (params, macs)


def test_blocks_are_as_drawn() -> None:
    space = UIBSpace()
    forms = set()
    for index in range(6):
        config: dict[str, Any] = dict(space.draw(RandomChooser(0, index)))
        network = build_on_meta(lambda config=config: space.build(config))  # type: ignore[misc]
        blocks = [block for block in network.modules() if isinstance(block, UniversalInvertedBottleneck)]
        kernels = [tuple(_kernel(dw) for dw in (block.start_dw, block.mid_dw)) for block in blocks]
        assert kernels == list(zip(config["starts"], config["mids"], strict=True))
        widths = [block.expand.conv.out_channels / block.expand.conv.in_channels for block in blocks]
        assert widths == list(config["expansions"])
        assert [len(stage) for stage in network.stages][1:] == list(config["depths"])  # type: ignore[union-attr]
        forms |= set(kernels)
    assert len(forms) == 9  # inverted bottleneck, ConvNeXt-like, ExtraDW and FFN, with both kernels


def _kernel(module: nn.Module) -> int:
    return 0 if isinstance(module, nn.Identity) else int(module.conv.kernel_size[0])  # type: ignore[union-attr, index]
