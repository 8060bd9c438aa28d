from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from roofline.loading import build_on_meta
from roofline.models.activations import SqueezeExcite
from roofline.models.mobileone import VARIANTS, Branches, MobileOne, MobileOneBlock
from tests.flops import macs_of

INFERENCE = [f"mobileone_s{i}" for i in range(5)]
TRAIN = [f"{name}:train" for name in INFERENCE]

COSTS = {  # parameters and MACs at 224 px: apple/ml-mobileone mobileone.py and timm's byobnet.py, counted with fvcore
    "mobileone_s0": (2_078_504, 275_110_400),  # paper: 2.1 M, 275 M
    "mobileone_s1": (4_764_840, 825_057_024),  # 4.8 M, 825 M
    "mobileone_s2": (7_808_168, 1_298_426_496),  # 7.8 M, 1299 M
    "mobileone_s3": (10_078_312, 1_895_790_592),  # 10.1 M, 1896 M
    "mobileone_s4": (14_838_352, 2_979_269_760),  # 14.8 M, 2978 M
    "mobileone_s0:train": (5_293_272, 1_051_935_232),
    "mobileone_s1:train": (4_825_192, 830_062_080),
    "mobileone_s2:train": (7_884_648, 1_304_027_392),
    "mobileone_s3:train": (10_170_600, 1_902_112_768),
    "mobileone_s4:train": (14_951_248, 2_986_802_432),
}
FACTORS = {  # of the stages' widths, from the same code
    "mobileone_s0": (0.75, 1.0, 1.0, 2.0),
    "mobileone_s1": (1.5, 1.5, 2.0, 2.5),
    "mobileone_s2": (1.5, 2.0, 2.5, 4.0),
    "mobileone_s3": (2.0, 2.5, 3.0, 4.0),
    "mobileone_s4": (3.0, 3.5, 3.5, 4.0),
}
CHANS = {  # stem; stages
    "mobileone_s0": (48, (48, 128, 256, 1024)),
    "mobileone_s1": (64, (96, 192, 512, 1280)),
    "mobileone_s2": (64, (96, 256, 640, 2048)),
    "mobileone_s3": (64, (128, 320, 768, 2048)),
    "mobileone_s4": (64, (192, 448, 896, 2048)),
}


@cache
def meta_model(name: str) -> MobileOne:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, MobileOne)
    return model.eval()


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(model: nn.Module, px: int) -> int:
    return macs_of(model, 1, 3, px, px).total()


@pytest.mark.parametrize("name", COSTS)
def test_exact_cost(name: str) -> None:
    model = meta_model(name)
    assert (param_count(model), macs(model, 224)) == COSTS[name]


def test_every_variant_has_a_cost() -> None:
    assert VARIANTS.keys() == COSTS.keys()


def closed_form(
    factors: Sequence[float], k: int, se: bool, width_mult: float, px: int, *, inference: bool
) -> tuple[int, int]:
    """Parameters and MACs, block by block from the description of the network."""
    params = macs = 0

    def block(c_in: int, c_out: int, kernel: int, stride: int, groups: int, k: int, se: bool) -> None:
        nonlocal params, macs, px
        px = math.ceil(px / stride)
        kernels = [kernel]
        if not inference:
            kernels = [kernel] * k + [1] * (kernel > 1)
            params += 2 * c_out * len(kernels) + 2 * c_out * (c_in == c_out and stride == 1)  # norms
        else:
            params += c_out  # bias
        for size in kernels:
            weights = size**2 * c_in // groups * c_out
            params, macs = params + weights, macs + weights * px**2
        if se:
            squeeze = c_out // 16
            params, macs = params + 2 * squeeze * c_out + squeeze + c_out, macs + 2 * squeeze * c_out

    widths = [int(base * a * width_mult) for base, a in zip((64, 128, 256, 512), factors, strict=True)]
    c = min(64, widths[0])
    block(3, c, 3, 2, 1, 1, False)
    for depth, width, plain in zip((2, 8, 10, 1), widths, (2, 8, 5, 0), strict=True):
        for j in range(depth):
            block(c, c, 3, 1 if j else 2, c, k, se and j >= plain)
            block(c, width, 1, 1, 1, k, se and j >= plain)
            c = width
    return params + 1000 * (c + 1), macs + 1000 * c


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(INFERENCE),
    k=st.integers(1, 3),
    se=st.booleans(),
    width_mult=st.floats(0.5, 1.5),
    px=st.integers(32, 256),
    inference=st.booleans(),
)
def test_cost_in_closed_form(name: str, k: int, se: bool, width_mult: float, px: int, inference: bool) -> None:
    arguments = {"branches": k, "se": se, "width_mult": width_mult, "inference": inference}
    model = build_on_meta(lambda: VARIANTS[name](**arguments)).eval()
    want = closed_form(FACTORS[name], k, se, width_mult, px, inference=inference)
    assert (param_count(model), macs(model, px)) == want


@pytest.mark.parametrize("name", [*INFERENCE, *TRAIN])
@pytest.mark.usefixtures("shapes_alone")
def test_a_stage_per_resolution(name: str) -> None:
    model = meta_model(name)
    stem, chans = CHANS[name.removesuffix(":train")]
    x = model.stem(torch.empty(1, 3, 224, 224, device="meta"))
    assert x.shape == (1, stem, 112, 112)
    for depth, width, px, stage in zip((2, 8, 10, 1), chans, (56, 28, 14, 7), model.stages, strict=True):
        assert isinstance(stage, nn.Sequential)
        assert len(stage) == depth
        x = stage(x)
        assert x.shape == (1, width, px, px)


@pytest.mark.parametrize("name", TRAIN)
def test_branches(name: str) -> None:
    k = 4 if name == "mobileone_s0:train" else 1
    modules = {key: m for key, m in meta_model(name).named_modules() if isinstance(m, Branches)}
    assert len(modules) == 1 + 2 * (2 + 8 + 10 + 1)
    for key, branches in modules.items():
        conv = branches.plain()
        first_of_stage = ".0.depthwise" in key
        assert len(branches.convs) == (1 if key == "stem.conv" else k)
        assert (branches.scale is not None) == (conv.kernel_size == (3, 3))
        assert (conv.stride == (2, 2)) == (key == "stem.conv" or first_of_stage)
        assert (branches.skip is not None) == (conv.stride == (1, 1) and conv.in_channels == conv.out_channels)


@pytest.mark.parametrize("name", [*INFERENCE, *TRAIN])
def test_squeeze_excite_in_s4_only(name: str) -> None:
    have = {key.removesuffix(".se") for key, m in meta_model(name).named_modules() if isinstance(m, SqueezeExcite)}
    positions = [(2, j) for j in range(5, 10)] + [(3, 0)] if "_s4" in name else []
    assert have == {f"stages.{i}.{j}.{part}" for i, j in positions for part in ("depthwise", "pointwise")}


def test_an_inference_network_is_a_chain_of_convolutions_with_bias() -> None:
    model = meta_model("mobileone_s1")
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 43
    assert all(conv.bias is not None for conv in convs)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


# reparameterize()


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Random weights, and norms that have seen data; scaled so that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            assert m.running_mean is not None
            assert m.running_var is not None
            m.reset_running_stats()
            m.running_mean.normal_(0, 0.2, generator=generator)
            m.running_var.uniform_(0.5, 4, generator=generator)
            nn.init.uniform_(m.weight, -1, 1, generator=generator)
            nn.init.normal_(m.bias, 0, 0.2, generator=generator)
        elif isinstance(m, nn.Conv2d | nn.Linear):
            nn.init.normal_(m.weight, 0, m.weight[0].numel() ** -0.5, generator=generator)
            if m.bias is not None:
                nn.init.normal_(m.bias, 0, 0.2, generator=generator)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", INFERENCE)
@pytest.mark.sampled(2)
def test_both_forms_compute_the_same(name: str) -> None:
    train = build_on_meta(partial(VARIANTS[f"{name}:train"], num_classes=10)).double().to_empty(device="cpu")
    assert isinstance(train, MobileOne)
    randomize(train)  # every tensor: what was never initialised is not left so
    before = {key: value.clone() for key, value in train.state_dict().items()}
    inference = train.reparameterize()

    assert train.training  # the network itself stays as it is
    assert train.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in train.state_dict().items())

    x = images(2, 3, 64, 64)
    with torch.no_grad():
        want, got = train.eval()(x), inference(x)
    assert want.std() > 1e-3
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10 * want.abs().max().item())

    # the structure, and so the state dict, of the network that is built in this form
    built = build_on_meta(partial(VARIANTS[name], num_classes=10)).double().to_empty(device="cpu").eval()
    assert [(key, type(m)) for key, m in inference.named_modules()] == [
        (key, type(m)) for key, m in built.named_modules()
    ]
    assert list(inference.state_dict()) == list(built.state_dict())
    built.load_state_dict(inference.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(built(x), got)


@pytest.mark.parametrize("se", [False, True])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("chans", "kernel", "groups"),
    [((32, 32), 3, 32), ((32, 32), 3, 1), ((32, 48), 1, 1), ((32, 32), 1, 1), ((3, 32), 3, 1), ((32, 64), 5, 4)],
)
def test_both_forms_of_a_block_compute_the_same(
    chans: tuple[int, int], kernel: int, groups: int, stride: int, k: int, se: bool
) -> None:
    block = MobileOneBlock(*chans, kernel, stride=stride, groups=groups, branches=k, se=se).double().eval()
    randomize(block)
    assert isinstance(block.conv, Branches)
    assert (block.conv.skip is not None) == (stride == 1 and chans[0] == chans[1])
    x = images(2, chans[0], 9, 12)
    with torch.no_grad():
        want = block(x)
        block.reparameterize()
        assert isinstance(block.conv, nn.Conv2d)
        got = block(x)
    assert want.shape == (2, chans[1], math.ceil(9 / stride), math.ceil(12 / stride))
    assert want.abs().max() > 0.1
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_skip_branch_alone_becomes_a_kernel_that_passes_the_input_on(groups: int) -> None:
    branches = Branches(4, 4, 3, stride=1, groups=groups, count=1).eval()
    for norm in (branches.convs[0].norm, branches.scale.norm if branches.scale else None):
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)
    merged = branches.merge()
    centre = merged.weight[:, :, 1, 1]
    want = torch.eye(4).reshape(4, groups, 4 // groups).sum(1) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(centre, want)
    assert merged.weight.sum().item() == pytest.approx(centre.sum().item())


def test_reparameterizing_twice_changes_nothing() -> None:
    once = VARIANTS["mobileone_s0"](num_classes=4)
    assert isinstance(once, MobileOne)
    twice = once.reparameterize()
    assert twice is not once
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))


def test_the_result_can_be_trained_and_is_independent() -> None:
    train = VARIANTS["mobileone_s0:train"](num_classes=4)
    assert isinstance(train, MobileOne)
    inference = train.reparameterize()
    inference(torch.randn(1, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in inference.parameters())
    assert all(p.grad is None for p in train.parameters())
    with torch.no_grad():
        inference.classifier.weight.zero_()
    assert train.classifier.weight.any()


# what every network has


@pytest.mark.parametrize("name", ["mobileone_s0", "mobileone_s0:train", "mobileone_s4:train"])
def test_forward_and_backward(name: str) -> None:
    torch.manual_seed(0)
    model, x = VARIANTS[name](num_classes=7), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(x)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    model.train()(x).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", ["mobileone_s2", "mobileone_s4", "mobileone_s4:train"])
def test_act_replaces_every_activation(name: str) -> None:
    count = sum(isinstance(m, nn.ReLU) for m in meta_model(name).modules())
    assert count == 43 + 12 * ("_s4" in name)  # within squeeze-and-excitation too
    model = build_on_meta(lambda: VARIANTS[name](act="hardswish"))
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    assert sum(isinstance(m, nn.Hardswish) for m in model.modules()) == count
    assert all(isinstance(m.gate, nn.Sigmoid) for m in model.modules() if isinstance(m, SqueezeExcite))


@pytest.mark.parametrize(("name", "convs"), [("mobileone_s1", 1), ("mobileone_s1:train", 1)])
@pytest.mark.usefixtures("shapes_alone")
def test_num_classes_and_in_chans(name: str, convs: int) -> None:
    model = build_on_meta(lambda: VARIANTS[name](num_classes=5, in_chans=1)).eval()
    assert model(torch.empty(2, 1, 65, 33, device="meta")).shape == (2, 5)
    weights = 9 + (1 if name.endswith("train") else 0)  # of the stem, per input and output channel
    assert param_count(meta_model(name)) - param_count(model) == 995 * 1281 + 2 * weights * 64


def test_layers_have_telling_names() -> None:
    inference, train = ({name for name, _ in meta_model(v).named_modules()} for v in ("mobileone_s4", TRAIN[4]))
    shared = ["stem.act", "stages.2.5.pointwise.se.reduce", "stages.3.0.depthwise.act", "pool", "classifier"]
    assert {*shared, "stem.conv", "stages.0.1.depthwise.conv"} < inference
    assert {*shared, "stem.conv.convs.0.conv", "stages.0.1.depthwise.conv.scale.norm"} < train
    assert "stages.0.1.depthwise.conv.skip" in train


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width_mult": 0}, "width_mult must be a number above 0"),
        ({"branches": 0}, "branches must be a whole number of at least 1"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"in_chans": -3}, "in_chans must be a whole number"),
        ({"widths": (1.0, 1.0)}, r"one factor a stage, 4 in all \(got "),
        ({"widths": (1.0, 1.0, -1.0, 1.0)}, "widths must be a number above 0"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["mobileone_s0"](**arguments)
