"""What holds for every network of the zoo: it builds, runs, trains, and can be folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from roofline import models
from roofline.layers import lower
from roofline.loading import build_on_meta
from roofline.models import Entry
from roofline.models.blocks import ConvNorm, fold_norms
from roofline.models.mobilenetv4 import LayerScale
from roofline.trace import trace
from tests.flops import macs_of

EVERY = pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
MANY_PARAMS = 20_000_000  # larger ones have the same kinds of block


def lightest(entries: Iterable[Entry]) -> list[Entry]:
    """The smallest of each kind: names that differ in numbers alone have the same code at other widths and depths."""
    kinds: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.params):
        if entry.params < MANY_PARAMS:
            kinds.setdefault(re.sub(r"\d+", "", entry.name), entry)
    return list(kinds.values())


KINDS = pytest.mark.parametrize("entry", lightest(models.entries()), ids=lambda e: e.name)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@EVERY
@pytest.mark.sampled(4)
@pytest.mark.usefixtures("shapes_alone")
def test_it_ends_at_one_32nd_of_the_resolution(entry: Entry) -> None:
    model, sizes = build_on_meta(entry.build).eval(), []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, args, out: sizes.append(out.shape[-1]))
    model(torch.empty(1, 3, 320, 320, device="meta"))
    assert min(size for size in sizes if size > 1) >= 5  # keys and values may be at half of it
    assert 10 in sizes
    assert models.REDUCTION == 320 // 10


@EVERY
@pytest.mark.sampled(4)
@pytest.mark.usefixtures("shapes_alone")
def test_arguments_that_all_take(entry: Entry) -> None:
    model = build_on_meta(lambda: entry.build(num_classes=5, in_chans=1, act="silu")).eval()
    assert model(torch.empty(2, 1, 64, 96, device="meta")).shape == (2, 5)
    assert any(isinstance(module, nn.SiLU) for module in model.modules())
    assert not any(isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardswish | nn.GELU) for module in model.modules())


@EVERY
@pytest.mark.sampled(4)
def test_names_are_words_and_numbers(entry: Entry) -> None:
    for key in build_on_meta(entry.build).state_dict():
        assert re.fullmatch(r"[a-z]\w*(\.(\d+|[a-z]\w*))+", key), key


@KINDS
@pytest.mark.sampled(2)
def test_it_runs_and_takes_a_step(entry: Entry) -> None:
    model, x = entry.build(num_classes=7), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = model.eval()(x)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = [parameter.clone() for parameter in model.parameters()]
    logits = model.train()(x)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@KINDS
@pytest.mark.sampled(2)
def test_folding_the_norms_keeps_the_function(entry: Entry) -> None:
    model, x = entry.build(num_classes=7).double().eval(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    folded = fold_norms(model)
    assert not any(isinstance(m.norm, nn.BatchNorm2d) for m in folded.modules() if isinstance(m, ConvNorm))
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-9, atol=1e-9)


@KINDS
@pytest.mark.sampled(2)
def test_epilogue_fusion_reads_the_weights_of_the_folded_network(entry: Entry) -> None:
    model = build_on_meta(entry.build)
    layers = lower(trace(model, torch.empty(1, 3, 64, 64, device="meta")), fusion="epilogue", dtype="int8")
    folded = build_on_meta(lambda: fold_norms(model))
    statistics = [b for b in folded.buffers() if b.is_floating_point()]  # of norms that follow no convolution
    scales = [m.gamma for m in folded.modules() if isinstance(m, LayerScale)]  # a compiler folds them too
    assert layers.weight_bytes.sum() == elements([*folded.parameters(), *statistics]) - elements(scales)


@pytest.mark.parametrize("name", ["mobilenetv4_hybrid_medium", "micronet_m0", "fastvit_sa12:train", "efficientvit_b0"])
def test_the_counter_of_these_tests_counts_as_pytorchs_does(name: str) -> None:
    network = build_on_meta(models.find(name).build).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 96, 128, device="meta"))
    flops = {op: 2 * macs for op, macs in macs_of(network, 1, 3, 96, 128).items()}
    assert flops == counter.get_flop_counts()["Global"]


def elements(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
