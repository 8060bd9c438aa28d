"""The networks of benchmarks/networks, against what their authors and others publish, and the rows made of them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from benchmarks.networks import TEST_ROWS, TIMM_ROWS, Row
from roofline import models
from roofline.calibration import menu, menu_modules
from roofline.calibration.menu import network
from roofline.layers import LayerTable, lower
from roofline.loading import load
from roofline.measurement.subject import random_inputs
from roofline.trace import trace

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "networks"
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


class Count(NamedTuple):
    params: int
    macs: int


@cache
def counted(name: str, *size: int, batch: int = 1) -> Count:
    module, table = lowered(f"benchmarks/networks/{name.replace('.', '.py:')}", size, batch)
    return Count(sum(p.numel() for p in module.parameters()), int(table.macs.sum()))


def lowered(reference: str, size: tuple[int, ...] | None, batch: int) -> tuple[nn.Module, LayerTable]:
    loaded = load(reference, batch=batch, input_size=size)
    return loaded.module, lower(trace(loaded.module, loaded.inputs), fusion="none")


# --- published figures ------------------------------------------------------------------------------------------------

# torchvision/models/*.py, "num_params" and "_ops" (there GFLOPs, with a multiply-accumulate as one) of IMAGENET1K_V1
TORCHVISION = [  # pixels, parameters, GMACs
    ("alexnet.alexnet", 224, 61_100_840, 0.714),
    ("vgg.vgg11", 224, 132_863_336, 7.609),
    ("resnet.resnet18", 224, 11_689_512, 1.814),
    ("resnext.resnext50_32x4d", 224, 25_028_904, 4.23),
    ("densenet.densenet121", 224, 7_978_856, 2.834),
    ("squeezenet.squeezenet1_0", 224, 1_248_424, 0.819),
    ("googlenet.googlenet", 224, 6_624_904, 1.498),
    ("shufflenet_v2.shufflenet_v2_x0_5", 224, 1_366_792, 0.04),
    ("shufflenet_v2.shufflenet_v2_x1_0", 224, 2_278_604, 0.145),
    ("shufflenet_v2.shufflenet_v2_x1_5", 224, 3_503_624, 0.296),
    ("shufflenet_v2.shufflenet_v2_x2_0", 224, 7_393_996, 0.583),
    ("mnasnet.mnasnet0_5", 224, 2_218_512, 0.104),
    ("efficientnet.efficientnet_b0", 224, 5_288_548, 0.386),
    ("vit.vit_base_32", 224, 88_224_232, 4.409),
    ("swin.swin_tiny", 224, 28_288_354, 4.491),
]


@pytest.mark.parametrize(("name", "px", "params", "gmacs"), TORCHVISION, ids=[row[0] for row in TORCHVISION])
def test_counts_are_those_of_torchvision(name: str, px: int, params: int, gmacs: float) -> None:
    count = counted(name, 3, px, px)
    assert (count.params, round(count.macs / 1e9, 3)) == (params, gmacs)


# huggingface/pytorch-image-models results/benchmark-infer-amp-nchw-pt*.csv: param_count (in millions) and infer_gmacs,
# both to two decimals. Its counter (fvcore) adds 2 an element of each norm, and pools, which are no MACs here: up to
# 4 % in the small networks.
TIMM = [  # pixels, millions of parameters, GMACs
    ("vgg.vgg13", 224, 133.05, 11.31),
    ("vgg.vgg16", 224, 138.36, 15.47),
    ("vgg.vgg11_bn", 224, 132.87, 7.62),
    ("resnet.resnet34", 224, 21.80, 3.67),
    ("resnet.resnet50", 224, 25.56, 4.11),
    ("resnet.resnet101", 224, 44.55, 7.83),
    ("resnet.wide_resnet50_2", 224, 68.88, 11.43),
    ("se_resnet.se_resnet18", 224, 11.78, 1.82),
    ("se_resnet.se_resnet50", 224, 28.09, 4.11),
    ("densenet.densenet169", 224, 14.15, 3.40),
    ("inception_v3.inception_v3", 299, 23.83, 5.73),
    ("mnasnet.mnasnet1_0", 224, 4.38, 0.33),
    ("mnasnet.mnasnet1_4", 224, 7.12, 0.60),
    ("efficientnet.efficientnet_b1", 224, 7.79, 0.59),
    ("efficientnet.efficientnet_b2", 256, 9.11, 0.89),
    ("efficientnet.efficientnet_lite0", 224, 4.65, 0.40),
    ("ghostnet.ghostnet", 224, 5.18, 0.15),
    ("xception.xception", 299, 22.86, 8.40),  # there legacy_xception
    ("vit.deit_tiny", 224, 5.72, 1.26),
    ("vit.deit_small", 224, 22.05, 4.61),
    ("vit.vit_small_32", 224, 22.88, 1.15),
    ("mlp_mixer.mixer_s32", 224, 19.10, 1.00),
    ("mlp_mixer.mixer_s16", 224, 18.53, 3.79),
    ("mlp_mixer.mixer_b32", 224, 60.29, 3.24),
    ("poolformer.poolformer_s12", 224, 11.92, 1.82),
    ("poolformer.poolformer_s24", 224, 21.39, 3.41),
    ("repvgg.repvgg_a0", 224, 8.31, 1.36),
    ("repvgg.repvgg_a0_train", 224, 9.11, 1.52),  # of the older files, whose networks keep their branches
    ("repvgg.repvgg_a1", 224, 12.79, 2.36),
    ("repvgg.repvgg_b0", 224, 14.34, 3.06),
    ("mobilevit.mobilevit_xxs", 256, 1.27, 0.42),
    ("mobilevit.mobilevit_xs", 256, 2.32, 1.05),
    ("mobilevit.mobilevit_s", 256, 5.58, 2.03),
    ("hrnet.hrnet_w18_small", 224, 13.19, 1.61),
    ("dla.dla34", 224, 15.74, 3.07),
    ("darknet.darknet53", 256, 41.61, 9.31),
]


@pytest.mark.parametrize(("name", "px", "millions", "gmacs"), TIMM, ids=[row[0] for row in TIMM])
def test_counts_are_those_of_timm(name: str, px: int, millions: float, gmacs: float) -> None:
    count = counted(name, 3, px, px)
    assert round(count.params / 1e6, 2) == millions
    assert count.macs / 1e9 <= gmacs + 0.005  # half a unit of its last digit
    assert 1.04 * count.macs / 1e9 >= gmacs - 0.005


def test_convmixer_by_hand() -> None:
    """timm prints 24.38 M and 5.55 GMACs; the MACs are those of the dense layers alone, of which this is the check."""
    places, chans, depth = 16 * 16, 1024, 20
    dense = places * chans * (3 * 14 * 14 + depth * chans) + 1000 * chans
    depthwise = places * chans * depth * 9 * 9
    count = counted("convmixer.convmixer_1024_20", 3, 224, 224)
    assert round(count.params / 1e6, 2) == 24.38
    assert count.macs == dense + depthwise
    assert dense / 1e9 == pytest.approx(5.55, rel=0.01)


def test_squeezenet_1_1_by_torchvision() -> None:
    """Of "num_params" alone."""
    assert counted("squeezenet.squeezenet1_1", 3, 224, 224).params == 1_235_496


def test_unet_by_hand() -> None:
    """Two 3x3 and two norms a level and side, a 2x2 up between, a 1x1 at the end; 31 M with 64 channels at the top."""
    widths = [64, 128, 256, 512, 1024]
    down = sum(9 * a * b + 9 * b * b + 4 * b for a, b in pairwise([3, *widths]))
    up = sum(4 * b * a + a + 9 * 2 * a * a + 9 * a * a + 4 * a for a, b in pairwise(widths))
    assert counted("unet.unet", 3, 32, 32).params == down + up + 2 * 64 + 2


def test_gpt2_has_the_parameters_of_its_smallest() -> None:
    """124 439 808 in transformers' GPT2LMHeadModel, which ties the table of tokens to the last layer, as here."""
    count = counted("gpt.gpt2", 1, 32, 768)
    assert count.params == 124_439_808
    layers = 32 * (12 * 12 * 768**2 + 50257 * 768)  # 12 width^2 a layer, then the scores
    assert count.macs == layers + 12 * 2 * 32 * 32 * 768  # and the products of attention


@pytest.mark.parametrize(("name", "width", "depth"), [("base", 768, 12), ("small", 512, 4), ("mini", 256, 4)])
def test_bert_has_the_published_parameters_less_the_table_of_tokens(name: str, width: int, depth: int) -> None:
    """110.1, 29.1 and 11.3 M of base, small and mini: Turc et al. (arXiv:1908.08962), Table 1."""
    millions = {"base": 110.1, "small": 29.1, "mini": 11.3}[name]
    table, classifier = 30_522 * width, 2 * width + 2
    count = counted(f"bert.bert_{name}", 1, 64, width)
    assert (count.params - classifier + table) / 1e6 == pytest.approx(millions, rel=0.02)
    if name == "base":
        assert count.params - classifier + table == 109_482_240  # transformers' BertModel, exactly
    products = depth * 2 * 64 * 64 * width
    assert count.macs == depth * 64 * 12 * width**2 + products + width**2 + 2 * width


def test_lstm_by_hand() -> None:
    """4 gates, each of input and state, with two biases; two directions; the second layer reads both."""
    width = 256
    weights = 2 * 4 * width * ((width + width) + (2 * width + width))
    count = counted("lstm.lstm_256", 1, 64, width)
    assert count.params == weights + 2 * 2 * 4 * width * 2 + 17 * (2 * width + 1)
    assert count.macs == 64 * (weights + 17 * 2 * width)


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_there_are_rows_enough_and_none_twice() -> None:
    assert len(TEST_ROWS) >= 110
    assert len(set(TEST_ROWS)) == len(TEST_ROWS)
    families = Counter(row.family for row in TEST_ROWS)
    assert len(families) >= 35
    assert max(families.values()) <= 0.1 * len(TEST_ROWS)  # no family decides the outcome
    assert {row.batch for row in TEST_ROWS} == {1, 2, 4}
    sides = {row.input_size[1] for row in TEST_ROWS if row.input_size is not None and row.input_size[0] == 3}
    assert min(sides) == 128
    assert max(sides) == 288
    assert len(sides) >= 6


def test_every_module_and_every_family_of_the_zoo_is_in_the_rows() -> None:
    probe = {"activation_probe"}  # no network, but a chain that times activations
    assert {row.family for row in TEST_ROWS} == {*MODULES, *(entry.family for entry in models.entries())} - probe


def test_a_family_is_that_of_its_reference() -> None:
    for row in TEST_ROWS:
        place, _, _ = row.reference.rpartition(":")
        own = place.endswith(".py")
        assert row.family == (Path(place).stem if own else models.find(row.reference).family)


def test_no_calibration_has_a_network_of_these_families() -> None:
    """What it runs is of the menu and of torch: no module of the zoo, of this folder, or of a library of models."""
    with torch.device("meta"):
        drawn = [network(seed)[0] for seed in range(60)]
    sources = {type(module).__module__ for each in drawn for module in each.modules()}
    assert {source for source in sources if not source.startswith("torch.nn.")} == {menu_modules.__name__}
    families = {row.family for row in (*TEST_ROWS, *TIMM_ROWS)}
    assert families.isdisjoint(name.lower() for name in (*vars(menu), *vars(menu_modules)))


def test_the_rows_of_timm_are_of_families_of_their_own() -> None:
    stems = {row.family.partition("_")[0].rstrip("0123456789") for row in TIMM_ROWS}
    assert len(stems) >= 35
    assert stems.isdisjoint(row.family.rstrip("0123456789") for row in TEST_ROWS)
    assert all(row.reference == f"timm:{row.family}" for row in TIMM_ROWS)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("row", TIMM_ROWS, ids=lambda row: row.family)
@pytest.mark.sampled(6)
def test_rows_of_timm_trace_and_are_of_a_size_to_measure(row: Row) -> None:
    _, table = lowered(row.reference, row.input_size, row.batch)
    assert 100e6 < int(table.macs.sum()) < 5e9


def test_no_network_of_the_folder_is_one_of_the_zoo() -> None:
    assert not {*MODULES} & {entry.family for entry in models.entries()}


@pytest.mark.parametrize("family", dict.fromkeys(row.family for row in TEST_ROWS))
@pytest.mark.sampled(3)
def test_rows_trace_whole_and_take_some_milliseconds(family: str) -> None:
    """By round numbers of a two-core server, 80 GMAC/s, 15 GB/s and 8 us an op, good for a factor of 2 at most.

    They only keep rows of a second out, and rows that are all overhead.
    """
    rows = [row for row in TEST_ROWS if row.family == family]
    for row in dict.fromkeys((rows[0], rows[-1])):  # all of them take half a minute
        _, table = lowered(row.reference, row.input_size, row.batch)
        moved = (table.weight_bytes + table.input_bytes + table.output_bytes).sum()
        milliseconds = 1e3 * (table.macs.sum() / 80e9 + moved / 15e9 + 8e-6 * len(table.macs))
        assert 1 <= milliseconds <= 150, row
        assert "other" not in set(table.to_frame().kind), row


# --- the weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", MODULES)
@pytest.mark.sampled(3)
def test_activations_neither_vanish_nor_explode(family: str) -> None:
    """Numbers that are subnormal, infinite or all the same would take another time than those of a trained network."""
    row = next(row for row in TEST_ROWS if row.family == family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loaded = load(row.reference, input_size=row.input_size, weights=True)
    inputs = random_inputs([given.shape for given in loaded.inputs], [torch.float32])
    spreads = dict(spread_of_outputs(loaded.module.eval(), inputs[0]))
    assert all(1e-4 < spread < 100 for spread in spreads.values()), spreads


def spread_of_outputs(module: nn.Module, given: Tensor) -> Iterator[tuple[str, float]]:
    """Name and standard deviation of the output of each module, none of which may hold a subnormal number."""
    found: list[tuple[str, Tensor]] = []
    for name, each in module.named_modules():

        def look(_: nn.Module, __: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor):
                found.append((name, output))

        each.register_forward_hook(look)
    with torch.inference_mode():
        module(given)
    for name, output in found:
        assert not bool(((output != 0) & (output.abs() < torch.finfo(output.dtype).tiny)).any()), name
        yield name, float(output.std())


def test_a_mask_leaves_no_subnormal_number_and_hides_what_it_should() -> None:
    """Swin's shifted windows: positions from the two sides of the image do not see each other, all others do."""
    loaded = load("benchmarks/networks/swin.py:swin_tiny_128", input_size=(3, 128, 128), weights=True)
    masks = [each for name, each in loaded.module.named_buffers() if name.endswith("mask")]
    assert masks
    for mask in masks:
        weights = torch.softmax(mask, -1)
        assert float(weights[weights > 0].min()) > torch.finfo(torch.float32).tiny
        assert torch.equal(mask, mask.transpose(-1, -2))
        assert not bool(mask.diagonal(dim1=-2, dim2=-1).any())
        assert not bool(mask[0].any())  # the first window lies wholly within the image
        assert set(mask[-1].flatten().tolist()) == {-30.0, 0.0}
        assert float((mask[-1] == 0).float().mean()) == 0.25  # four regions of equal size in the last
