"""Networks of timm and torchvision, without weights and without the network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import roofline
from roofline.count import cost
from roofline.errors import ModelError
from roofline.loading import expand, load
from roofline.trace import trace

# --- torchvision, of which a stand-in has small networks --------------------------------------------------------------


@pytest.mark.usefixtures("torchvision_stand_in", "no_network")
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("smallnet", [(2, 3, 224, 224)]),
        ("inceptionish", [(2, 3, 299, 299)]),
        ("clips", [(2, 3, 16, 112, 112)]),
        ("detector", [(3, 800, 800), (3, 800, 800)]),
        ("flow", [(2, 3, 128, 128), (2, 3, 128, 128)]),
    ],
)
def test_the_input_is_what_the_default_weights_take(name: str, shapes: list[tuple[int, ...]]) -> None:
    """And no builder is asked for weights, nor for those of its backbone, which detectors download if not told."""
    loaded = load(f"torchvision:{name}", batch=2)
    assert [tuple(given.shape) for given in loaded.inputs] == shapes
    assert {parameter.device.type for parameter in loaded.module.parameters()} == {"meta"}
    assert any(op.name == "convolution" for op in trace(loaded.module, loaded.inputs).ops)


@pytest.mark.usefixtures("torchvision_stand_in")
def test_an_input_size_and_arguments_go_before() -> None:
    loaded = load("torchvision:smallnet", input_size=(1, 64, 64), arguments={"in_channels": 1})
    assert loaded.inputs[0].shape == (1, 1, 64, 64)
    assert loaded.name == "torchvision:smallnet(in_channels=1)"
    assert load("torchvision:flow", input_size=(3, 256, 256)).inputs[1].shape == (1, 3, 256, 256)


@pytest.mark.usefixtures("torchvision_stand_in")
def test_patterns_of_torchvision() -> None:
    assert expand("torchvision:*net") == ["torchvision:smallnet"]
    with pytest.raises(ModelError, match=r"no model of torchvision matches 'smalnet\*'\. Did you mean 'smallnet'\?"):
        expand("torchvision:smalnet*")


@pytest.mark.usefixtures("torchvision_stand_in")
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("smalnet", {}, r"torchvision has no model 'smalnet'\. Did you mean 'smallnet'\?"),
        ("smallnet", {"weights": "DEFAULT"}, "weights is about weights, which are neither needed nor downloaded"),
        ("detector", {"weights_backbone": "DEFAULT"}, "weights_backbone is about weights"),
        ("smallnet", {"width": 3}, "fails to build: .*unexpected keyword argument 'width'"),
    ],
)
def test_what_torchvision_does_not_have(name: str, arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        load(f"torchvision:{name}", arguments=arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_missing_says_how_to_install_it(
    library: str, torchvision_stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as if there were none
    with pytest.raises(ModelError, match=rf"^{library} is not installed: pip install {library}$"):
        load(f"{library}:resnet18")
    with pytest.raises(ModelError, match=f"pip install {library}"):
        expand(f"{library}:*")


# --- timm -------------------------------------------------------------------------------------------------------------

# As printed in results/benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv of huggingface/pytorch-image-models: pixels,
# millions of parameters, GMACs. fvcore counted them, which also counts 2 for each element of a batch norm.
PUBLISHED = [
    ("lcnet_050", 224, 1.88, 0.05),
    ("resnet18", 224, 11.69, 1.82),
    ("mobilenetv3_large_100", 224, 5.48, 0.23),
    ("mobilenetv3_large_100", 256, 5.48, 0.29),
    ("regnety_004", 224, 4.34, 0.41),
    ("mixnet_s", 224, 4.13, 0.25),
]


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(("name", "px", "millions", "gmacs"), PUBLISHED)
def test_counts_are_those_that_timm_prints(name: str, px: int, millions: float, gmacs: float) -> None:
    loaded = load(f"timm:{name}", input_size=None if px == 224 else (3, px, px))
    graph = trace(loaded.module, loaded.inputs)
    macs = sum(item.macs for item in map(cost, graph.ops) if item is not None)
    norms = sum(op.inputs[0].elements for op in graph.ops if op.name == "batch_norm")
    assert loaded.inputs[0].shape == (1, 3, px, px)
    assert round(graph.params / 1e6, 2) == millions
    assert round((macs + 2 * norms) / 1e9, 2) == gmacs


@pytest.mark.usefixtures("timm")
def test_a_network_of_timm_agrees_with_the_zoos() -> None:
    ours, theirs = (
        roofline.analyze(name, hw="pixel6_tpu") for name in ("mobilenetv3_large", "timm:mobilenetv3_large_100")
    )
    assert ours.layers.macs.sum() == theirs.layers.macs.sum()
    assert ours.graph.params == theirs.graph.params


BROKEN = {
    "missing": None,
    "a part that does not load": "raise ImportError('_C.so: undefined symbol')",
    "ops that are declared nowhere": "raise RuntimeError('operator torchvision::deform_conv2d does not exist')",
    "half of it": "import torchvision.ops\nfrom torchvision import nowhere",
}


@pytest.mark.usefixtures("fresh_timm")
@pytest.mark.parametrize("kind", BROKEN)
def test_timm_does_without_torchvision(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which its networks need nothing. Afterwards torchvision is as it was: missing, or broken."""
    code = BROKEN[kind]
    if code is None:
        monkeypatch.setitem(sys.modules, "torchvision", None)
    else:
        (tmp_path / "torchvision" / "ops").mkdir(parents=True)
        (tmp_path / "torchvision" / "__init__.py").write_text(code)
        (tmp_path / "torchvision" / "ops" / "__init__.py").write_text("def nms(boxes, scores, threshold): ...")
        monkeypatch.syspath_prepend(tmp_path)
    loaded = load("timm:resnet18")
    assert sum(parameter.numel() for parameter in loaded.module.parameters()) == 11_689_512
    with pytest.raises((ImportError, RuntimeError)):
        import torchvision  # noqa: F401
    with pytest.raises(
        ModelError, match=r"torchvision\.ops\.misc\.FrozenBatchNorm2d, and torchvision is not"
    ) as caught:
        load("timm:resnet18", arguments={"norm_layer": "frozenbatchnorm2d"})
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("timm", "torchvision_stand_in")
def test_timm_takes_a_torchvision_whose_compiled_part_does_not_load() -> None:
    assert load("timm:resnet18").inputs[0].shape == (1, 3, 224, 224)
    assert sys.modules["torchvision"].__doc__ is not None, "the stand-in's, which imports with its ops declared"


@pytest.mark.usefixtures("timm")
def test_timms_default_input() -> None:
    assert load("timm:efficientnet_b3").inputs[0].shape == (1, 3, 288, 288)
    assert load("timm:efficientnet_b3", input_size=(3, 128, 128)).inputs[0].shape == (1, 3, 128, 128)
    assert load("timm:vit_tiny_patch16_224", arguments={"img_size": 96, "in_chans": 1}).inputs[0].shape == (
        1,
        1,
        96,
        96,
    )
    assert load("timm:efficientnet_b3.ra2_in1k").input_source == "timm's default"


@pytest.mark.usefixtures("timm")
def test_the_activation_that_roofline_activations_asks_for() -> None:
    names = {op.name for op in _ops("timm:resnet18", act="hardswish")}
    assert "hardswish" in names
    assert "relu" not in names
    with pytest.raises(ModelError, match="timm knows no activation 'relux'"):
        load("timm:resnet18", arguments={"act": "relux"})


@pytest.mark.usefixtures("timm")
def test_patterns_of_timm() -> None:
    found = expand("timm:mobilenetv4_hybrid_*")
    assert "timm:mobilenetv4_hybrid_medium" in found
    assert all(name.startswith("timm:mobilenetv4_hybrid_") for name in found)
    with pytest.raises(ModelError, match=r"no model of timm matches '\*mobilenetv9\*'\. Did you mean .*mobilenet"):
        expand("timm:*mobilenetv9*")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("reference", "arguments", "expected"),
    [
        ("timm:resnet81", {}, r"timm has no model 'resnet81'\. Did you mean"),
        ("timm:hf-hub:timm/resnet18", {}, "timm has no model 'hf-hub:timm/resnet18'"),
        ("timm:local-dir:/tmp/x", {}, "timm has no model"),
        ("timm:resnet18.no_such_tag", {}, "fails to build: .*Invalid pretrained tag"),
        ("timm:resnet18", {"pretrained": True}, "pretrained is about weights"),
        ("timm:resnet18", {"checkpoint_path": "x.pth"}, "checkpoint_path is about weights"),
        ("timm:resnet18", {"width": 3}, "unexpected keyword argument 'width'"),
    ],
)
def test_what_timm_does_not_have(reference: str, arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        load(reference, arguments=arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("timm")
def test_a_library_that_reaches_for_the_network_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    import timm

    def create(*_: object, **__: object) -> None:
        with socket.socket() as open_socket:
            open_socket.connect(("127.0.0.1", 9))

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ModelError, match="ConnectionError: roofline downloads nothing"):
        load("timm:resnet18")


@pytest.mark.usefixtures("timm")
def test_every_command_takes_it(command) -> None:
    """Those that run it are tried in tests of their own on networks of the zoo; here, that the name reaches them."""
    hardware = ["--hw", "pixel6_tpu"]
    for words in (
        ["analyze", "timm:lcnet_035", *hardware],
        ["analyze", "timm:lcnet_035", "--cross-check"],
        ["explain", "timm:lcnet_035", "conv_stem", *hardware],
        ["sweep", "timm:lcnet_035", "timm:lcnet_05*"],
        ["compare", "timm:lcnet_035", "timm:lcnet_05*", *hardware],
        ["whatif", "timm:lcnet_035", *hardware],
        ["activations", "--model", "timm:resnet18", "--acts", "relu,silu", *hardware],
    ):
        done = command(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert "timm:" in done.stdout
    analysis = json.loads(command("analyze", "timm:lcnet_035", *hardware, "--format", "json").stdout)
    assert analysis["model"]["reference"] == "timm:lcnet_035"


def _ops(reference: str, **arguments: object):
    loaded = load(reference, arguments=arguments)
    return trace(loaded.module, loaded.inputs).ops
