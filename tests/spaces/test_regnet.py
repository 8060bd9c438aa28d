"""AnyNet and RegNet spaces, against the published networks and the constraints of the paper."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from roofline.loading import build_on_meta
from roofline.models.regnet import VARIANTS, Bottleneck
from roofline.spaces import BUILT_IN, Config, Fixed, RandomChooser, Space
from roofline.spaces.counting import Counter, counted

with (Path(__file__).parents[1] / "models" / "regnet_configs.csv").open(encoding="utf-8") as file:
    PUBLISHED = list(csv.DictReader(file))


def valid(space: Space, count: int) -> list[dict[str, Any]]:
    """The first configurations of a seed that are valid."""
    found: list[dict[str, Any]] = []
    index = 0
    while len(found) < count:
        config = space.draw(RandomChooser(0, index))
        found += [dict(config)] * (space.why_invalid(config) == "")
        index += 1
    return found


def widths(network: nn.Module) -> list[int]:
    """Of each stage, in which all blocks have one."""
    found = []
    for stage in network.stages:  # type: ignore[union-attr]
        (width,) = {block.project.conv.out_channels for block in stage}
        found.append(width)
    return found


# --- RegNet -----------------------------------------------------------------------------------------------------------


def point(row: dict[str, str]) -> tuple[Space, Config]:
    """The published network as a point of its space, if it is one."""
    space = BUILT_IN["regnety" if float(row["se_ratio"]) else "regnetx"]
    values = {name: float(row[name]) for name in ("w0", "wa", "wm", "group_width")}
    values["depth"] = sum(int(depth) for depth in row["depths"].split("|"))
    return space, space.draw(Fixed(RandomChooser(0, 0), values))


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["model"])
@pytest.mark.sampled(4)
def test_the_published_networks_are_points(row: dict[str, str]) -> None:
    """With the published widths; params, and outputs of convolutions and linear layers, as pycls has them."""
    space, config = point(row)
    assert {name: config[name] for name in ("w0", "wa", "wm")} == {k: float(row[k]) for k in ("w0", "wa", "wm")}
    assert space.why_invalid(config) == ""
    network = build_on_meta(lambda: space.build(config))
    assert widths(network) == [int(width) for width in row["widths"].split("|")]
    counts = Counter(fusion="epilogue").counts([space.parts(config, 1)])
    assert counts.totals["params"][0] == int(row["params_exact"])
    assert counts.totals["activations"][0] == int(row["acts_exact"])
    assert [len(stage) for stage in network.stages] == [int(depth) for depth in row["depths"].split("|")]  # type: ignore[union-attr]


def test_there_are_24() -> None:
    assert len(PUBLISHED) == 24
    assert len(VARIANTS) == 26


def test_macs_of_a_published_network() -> None:
    """RegNetX-200MF: 199.04 M, as dev/model_complexity.json of pycls has it, less the 1000 biases it counts."""
    space, config = point(PUBLISHED[0])
    assert int(counted(space, config, Counter()).macs.sum()) == 199_040_872 - 1000


@pytest.mark.parametrize("name", ["regnet", "regnetx", "regnety"])
def test_valid_draws_have_four_stages_of_rising_width(name: str) -> None:
    for config in valid(BUILT_IN[name], 12):
        network = build_on_meta(lambda config=config: BUILT_IN[name].build(config))  # type: ignore[misc]
        of_stages = widths(network)
        assert len(of_stages) == 4
        assert all(before <= after for before, after in pairwise(of_stages))
        assert sum(map(len, network.stages)) == config["depth"]  # type: ignore[arg-type]
        has_se = [not isinstance(block.se, nn.Identity) for block in network.modules() if isinstance(block, Bottleneck)]
        assert all(has_se) if name == "regnety" else not any(has_se)


def test_invalid_draws_are_those_without_four_stages() -> None:
    """The rule of pycls' sampler: as many widths as powers of wm up to the largest, and four of both."""
    space = BUILT_IN["regnet"]
    for index in range(300):
        config: dict[str, Any] = dict(space.draw(RandomChooser(1, index)))
        line = config["w0"] + config["wa"] * np.arange(config["depth"])
        powers = np.round(np.log(line / config["w0"]) / np.log(config["wm"]))
        stages = len(np.unique(np.round(config["w0"] * config["wm"] ** powers / 8)))
        assert (space.why_invalid(config) == "") == (stages == powers.max() + 1 == 4)


def test_regnetx_is_the_better_part_of_regnet() -> None:
    for config in valid(BUILT_IN["regnetx"], 100):
        assert config["bottleneck_ratio"] == 1
        assert 12 <= config["depth"] <= 28
        assert 2 <= config["wm"] <= 3
        assert config["w0"] % 8 == config["group_width"] % 8 == 0
    wide = valid(BUILT_IN["regnet"], 100)
    assert {config["bottleneck_ratio"] for config in wide} == {1, 2, 4}
    assert min(config["wm"] for config in wide) < 2
    assert max(config["depth"] for config in wide) > 28


# --- AnyNet -----------------------------------------------------------------------------------------------------------


def draws(letter: str, count: int = 300) -> list[dict[str, Any]]:
    return [dict(BUILT_IN[f"anynetx{letter}"].draw(RandomChooser(0, index))) for index in range(count)]


def rises(values: Sequence[int]) -> bool:
    return all(before <= after for before, after in pairwise(values))


@pytest.mark.parametrize("letter", list("abcde"))
def test_constraints_add_up(letter: str) -> None:
    configs = draws(letter)
    for config in configs:
        assert all(1 <= depth <= 16 for depth in config["depths"])
        assert all(8 <= width <= 1024 and width % 8 == 0 for width in config["widths"])
        ratios = config.get("bottleneck_ratios", (config.get("bottleneck_ratio"),))
        groups = config.get("group_widths", (config.get("group_width"),))
        assert set(ratios) <= {1, 2, 4}
        assert set(groups) <= {1, 2, 4, 8, 16, 32}
        assert (len(ratios), len(groups)) == (1 if letter >= "b" else 4, 1 if letter >= "c" else 4)
    assert all(rises(config["widths"]) for config in configs) == (letter >= "d")
    assert all(rises(config["depths"]) for config in configs) == (letter >= "e")


def test_a_has_ten_to_the_eighteenth_networks() -> None:
    """The paper's count: (16 depths, 128 widths, 3 ratios, 6 group widths) of each of four stages."""
    assert math.log10((16 * len(range(8, 1025, 8)) * 3 * 6) ** 4) == pytest.approx(18, abs=0.3)


@pytest.mark.parametrize("letter", list("abcde"))
def test_every_draw_can_be_built(letter: str) -> None:
    """Widths and groups are fitted to each other, and widths of D and E rise afterwards, too."""
    space = BUILT_IN[f"anynetx{letter}"]
    for config in draws(letter, 8):
        network = build_on_meta(lambda config=config: space.build(config))  # type: ignore[misc]
        assert rises(widths(network)) or letter < "d"
        assert [len(stage) for stage in network.stages] == list(config["depths"])  # type: ignore[union-attr]
    assert network(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 1000)
