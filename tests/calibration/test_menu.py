"""Synthetic networks: drawn from a seed, of a size that was asked for, and of all that networks are built of."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from roofline.calibration.kernels import TERMS, kernels_of
from roofline.calibration.menu import (
    CHAIN_MACS,
    MACS,
    PART_WEIGHTS,
    PARTS,
    _chain,
    network,
    with_weights,
)
from roofline.calibration.menu_modules import Recurrent, TokenBlock
from roofline.graph import Graph
from roofline.layers import lower
from roofline.trace import trace

SEEDS = range(24)


def outlined(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A network without memory for its weights, and the shape of its input."""
    with torch.device("meta"):
        return network(seed)


SMALL = (1, 3, 4, 7, 8, 10, 11, 12, 13)  # of the first 14 seeds, those whose network takes little time to run


@pytest.fixture(scope="module")
def outlines() -> list[tuple[nn.Module, tuple[int, ...]]]:
    """What `outlined` gives for each of the seeds, to look at."""
    return [outlined(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def graphs(outlines: list[tuple[nn.Module, tuple[int, ...]]]) -> list[Graph]:
    """What networks of some seeds do."""
    return [trace(module, (torch.empty(shape, device="meta"),)) for module, shape in outlines]


def state(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_seed_draws_one_network(seed: int) -> None:
    (one, shape), (other, again) = network(seed), network(seed)
    assert shape == again
    assert str(one) == str(other)
    assert all(torch.equal(a, b) for a, b in zip(state(one), state(other), strict=True))
    assert not one.training


def test_seeds_draw_different_networks(outlines: list[tuple[nn.Module, tuple[int, ...]]]) -> None:
    assert len({str(module) for module, _ in outlines}) == len(SEEDS)


def test_some_are_of_small_images(outlines: list[tuple[nn.Module, tuple[int, ...]]]) -> None:
    """Those that `test_outputs_are_numbers` runs, without building any where its seeds are listed."""
    assert tuple(seed for seed in SEEDS[:14] if math.prod(outlines[seed][1][2:]) <= 64 * 64) == SMALL


def test_drawing_leaves_the_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    network(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_none_is_larger_than_was_asked_for(graphs: list[Graph]) -> None:
    macs = [int(lower(graph, fusion="none", dtype="fp32").macs.sum()) for graph in graphs]
    assert max(macs) < 5 * MACS[1]  # a stem, a change of width and a head are not counted beforehand
    assert 0.1 * MACS[0] < min(macs)
    assert math.log(max(macs) / min(macs)) > 2  # and they differ


def test_they_have_the_kernels_that_networks_are_built_of(graphs: list[Graph]) -> None:
    seen = {str(kernel) for graph in graphs for kernel in kernels_of(graph).kernel}
    bases = {kernel.partition("/")[0] for kernel in seen}
    wanted = {
        "conv_1x1", "conv_kxk", "conv_depthwise", "conv_grouped", "conv_few_channels", "gemm", "bmm", "sdpa",
        "batch_norm", "layer_norm", "elementwise_cheap", "elementwise_binary", "activation_silu", "pool_max",
        "pool_global", "cat", "softmax", "copy", "reduce", "batch_norm_training",
    }  # fmt: skip
    assert wanted <= bases
    assert "other" not in bases


def test_weights_say_how_often_a_part_is_drawn(outlines: list[tuple[nn.Module, tuple[int, ...]]]) -> None:
    weights = dict.fromkeys(PARTS, 0.0) | {"pools": 1.0}
    kinds = (nn.MaxPool2d, nn.AvgPool2d)
    with torch.device("meta"):
        weighted = [network(seed, weights)[0] for seed in SEEDS]
    drawn = (weighted, [module for module, _ in outlines])
    pools, usual = (sum(isinstance(part, kinds) for made in each for part in made.modules()) for each in drawn)
    assert pools > 4 * usual


def test_chains_are_of_many_short_ops_and_differ_in_modules_and_views() -> None:
    with torch.device("meta"):
        drawn = [_chain(random.Random(seed), PART_WEIGHTS) for seed in SEEDS[:10]]
    found = [kernels_of(trace(module, (torch.empty(shape, device="meta"),))) for module, shape in drawn]
    assert all(50 <= len(each) <= 600 for each in found)  # as many as published networks have
    macs = np.concatenate([each.terms[:, TERMS.index("macs")] for each in found])
    assert macs.max() <= CHAIN_MACS
    modules = np.array([each.module_calls / len(each) for each in found])
    views = np.array([each.views / len(each) for each in found])
    assert modules.max() > 1.5 * modules.min()
    assert views.max() > 0.2 > views.min()


def test_heads_that_talk_multiply_every_pair_of_tokens_by_a_matrix_as_small_as_they_are_many() -> None:
    with torch.device("meta"):
        block = TokenBlock(64, 4, 2, "talking", 49)
    found = kernels_of(trace(block, (torch.empty(1, 49, 64, device="meta"),)))
    mixing = found.terms[found.kernel == "gemm_skinny/strided"]
    assert mixing[:, TERMS.index("macs")].tolist() == [49 * 49 * 4 * 4] * 2


def test_where_tokens_lie_from_each_other_goes_through_a_layer_of_three_inputs() -> None:
    with torch.device("meta"):
        block = TokenBlock(64, 4, 2, "relative", 49)
    found = kernels_of(trace(block, (torch.empty(2, 49, 64, device="meta"),)))
    placing = found.terms[found.kernel == "gemm_skinny"]
    assert placing[:, TERMS.index("macs")].tolist() == [49 * 49 * 3 * 4]


def test_a_recurrent_part_gives_the_width_it_took() -> None:
    with torch.device("meta"):
        part = Recurrent(nn.LSTM, 48, 96, 2, both=True)
    assert part(torch.empty(2, 5, 48, device="meta")).shape == (2, 5, 48)


@pytest.mark.parametrize("seed", SMALL)
def test_outputs_are_numbers(seed: int) -> None:
    """Subnormal or infinite ones would be slow, or fast, for a reason that no network has."""
    module, shape = outlined(seed)
    noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        out = with_weights(module, noise)(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    assert out.isfinite().all()
    assert 1e-6 < out.abs().max() < 1e6


def test_weights_are_of_the_size_that_keeps_what_goes_through_them() -> None:
    with torch.device("meta"):
        linear, norm = nn.Linear(400, 300), nn.BatchNorm1d(300)
    with_weights(nn.Sequential(linear, norm), torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    assert linear.weight.std().item() == pytest.approx(1 / 20, rel=0.1)  # 1 / sqrt(400): 400 inputs each
    assert linear.weight.flatten()[:10].tolist() == linear.weight.flatten()[1000:1010].tolist()  # noise of 1000
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert torch.equal(norm.weight, torch.ones(300))
    assert torch.equal(norm.running_var, torch.ones(300))
    assert torch.equal(norm.running_mean, torch.zeros(300))
