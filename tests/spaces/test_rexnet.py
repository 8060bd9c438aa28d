from __future__ import annotations

import pytest

from roofline.models import find
from roofline.spaces import Fixed, RandomChooser
from roofline.spaces.counting import Counter, counted
from roofline.spaces.rexnet import ReXNetSpace


@pytest.mark.parametrize("width", ["090", "100", "130", "150", "200", "300"])
def test_published_networks_are_points(width: str) -> None:
    """Their counts are those of clovaai/rexnet, and timm's."""
    space, entry = ReXNetSpace(), find(f"rexnet_{width}")
    fixed = {"width_mult": int(width) / 100, "depth_mult": 1, "se_ratio": 1 / 12}
    config = space.draw(Fixed(RandomChooser(0, 0), fixed))
    layers = counted(space, config, Counter(fusion="epilogue"))
    assert (layers.params, int(layers.macs.sum())) == (entry.params, entry.macs)


def test_draws_hold_the_ranges() -> None:
    configs = [ReXNetSpace().draw(RandomChooser(0, index)) for index in range(300)]
    for config in configs:
        assert 0.5 <= float(config["width_mult"]) <= 3  # type: ignore[arg-type]
        assert 1 <= float(config["depth_mult"]) <= 2  # type: ignore[arg-type]
    assert len({config["se_ratio"] for config in configs}) == 5
