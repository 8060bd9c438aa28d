"""The catalogue: names, what they find, and that every figure in the two tables is that of the network."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from roofline import models
from roofline.errors import ModelError
from roofline.layers import lower
from roofline.loading import build_on_meta, load
from roofline.models import Entry, Published
from roofline.models.activations import DynamicShiftMax
from roofline.trace import trace
from tests.flops import Macs

ROOT = Path(__file__).parents[2]
CROSSCHECK = Path(__file__).with_name("crosscheck.csv")
FAMILIES = (
    "mobilenetv1", "mobilenetv2", "mobilenetv3", "mobilenetv4", "mobilenet_multi", "rexnet", "mobileone", "regnet",
    "micronet", "efficientvit", "fastvit", "convnext", "activation_probe",
)  # fmt: skip
FIGURES = [(entry, figures) for entry in models.entries() for figures in entry.published]


@cache
def meta_model(name: str) -> nn.Module:
    return build_on_meta(models.find(name).build).eval()


@cache
def counted(name: str, px: int) -> tuple[int, int, int]:
    """Parameters, MACs, and the MACs in products of activations, as PyTorch's own counter has them."""
    model = meta_model(name)
    with torch.no_grad(), Macs() as counter:
        assert model(torch.empty(1, 3, px, px, device="meta")).shape == (1, 1000)
    attention = counter.by_op[torch.ops.aten.bmm]
    return sum(p.numel() for p in model.parameters()), counter.by_op.total(), attention


def test_names_are_those_of_the_entries() -> None:
    assert models.names() == tuple(entry.name for entry in models.entries())
    assert tuple(dict.fromkeys(entry.family for entry in models.entries())) == FAMILIES


def test_the_variants_that_papers_argue_about_are_there() -> None:
    wanted = {
        *(f"mobilenetv1_{w}" for w in ("025", "050", "075", "100", "150")),
        *(f"mobilenetv2_{w}" for w in ("035", "050", "075", "100", "130", "140", "150", "200")),
        *(f"mobilenetv3_large_{w}" for w in ("050", "075", "100", "150")),
        *(f"mobilenetv3_small_{w}" for w in ("075", "100")),
        *(f"mobilenetv3_{size}_minimal_100" for size in ("large", "small")),
        *(f"mobilenetv4_conv_{size}" for size in ("small", "medium", "large")),
        *(f"mobilenetv4_hybrid_{size}{form}" for size in ("medium", "large") for form in ("", ":mhsa", ":kv1")),
        *(f"mobilenetv4_conv_large:{form}" for form in ("ib", "convnext", "extradw", "ffn", "fused_ib")),
        *(f"mobilenetv4_conv_large:{form}" for form in ("mqa3", "mhsa3")),
        *(f"mobilenet_multi_{kind}_{w}" for kind in ("max", "avg") for w in ("100", "150")),
        *(f"rexnet_{w}" for w in ("090", "100", "130", "150", "200", "220", "300")),
        *(f"rexnet_lite_{w}" for w in ("090", "100", "130", "150", "200")),
        "rexnet_plain_100",
        *(f"mobileone_s{i}{form}" for i in range(5) for form in ("", ":train")),
        *(f"regnet{x}_{g:03}" for x in "xy" for g in (2, 4, 6, 8, 16, 32, 40, 64, 80, 120, 160, 320)),
        "anynetx",
        *(f"micronet_m{i}" for i in range(4)),
        *(f"efficientvit_b{i}" for i in range(4)),
        *(f"fastvit_{s}{f}" for s in ("t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36") for f in ("", ":train")),
        *(f"convnext_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base")),
        "activation_probe",
    }
    assert wanted <= set(models.names())


def test_no_name_or_alias_stands_twice() -> None:
    counts = Counter(key for entry in models.entries() for key in (entry.name, *entry.aliases))
    assert [key for key, count in counts.items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z0-9_.]+(:[a-z0-9_]+)?", key) for key in counts)


@pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
def test_every_spelling_is_found(entry: Entry) -> None:
    for key in (entry.name, *entry.aliases):
        assert models.find(key) is entry
        assert models.find(key.upper().replace("_", "-")) is entry
        assert models.knows(key)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("mobilenetv4_conv_s", "mobilenetv4_conv_small"),
        ("mobilenetv4_conv_m", "mobilenetv4_conv_medium"),
        ("MNv4-Conv-L", "mobilenetv4_conv_large"),
        ("mnv4_hybrid_medium", "mobilenetv4_hybrid_medium"),
        (" MobileNetV4-Hybrid-L ", "mobilenetv4_hybrid_large"),
        ("mobilenetv4_hybrid_l:mhsa", "mobilenetv4_hybrid_large:mhsa"),
        ("MobileNetV1-1.5x", "mobilenetv1_150"),
        ("mobilenet_v2", "mobilenetv2_100"),
        ("mobilenetv3_large", "mobilenetv3_large_100"),
        ("rexnet", "rexnet_100"),
        ("ReXNet-lite", "rexnet_lite_100"),
        ("MultiHardware-MAX-1.5x", "mobilenet_multi_max_150"),
        ("MobileNetMultiAVG", "mobilenet_multi_avg_100"),
        ("MIT-EfficientViT-B1", "efficientvit_b1"),
        ("FastViT-SA12", "fastvit_sa12"),
        ("ConvNext-S", "convnext_small"),
        ("RegNetX-200MF", "regnetx_002"),
        ("regnet_y_1_6gf", "regnety_016"),
        ("RegNetY-32GF", "regnety_320"),
    ],
)
def test_aliases(alias: str, name: str) -> None:
    assert models.find(alias).name == name


def test_unknown_name_close_to_known_ones() -> None:
    with pytest.raises(ModelError) as error:
        models.find("MobileNetV4-Conv-Smal")
    message = str(error.value)
    assert message.startswith("unknown model 'MobileNetV4-Conv-Smal'. Did you mean 'mobilenetv4_conv_small'")
    assert message.endswith("? 'roofline models' lists all.")
    assert "\n" not in message


def test_unknown_name_close_to_nothing() -> None:
    with pytest.raises(ModelError, match=r"^unknown model 'xyz'\. 'roofline models' lists all\.$"):
        models.find("xyz")


def test_unknown_form() -> None:
    with pytest.raises(ModelError, match=r"^mobileone_s0 has no form 'trian'\. Did you mean 'train'\? It has train\.$"):
        models.find("mobileone_s0:trian")
    with pytest.raises(ModelError, match=r"^rexnet_100 has no form 'train'\. It has none\.$"):
        models.find("rexnet:train")


class TestPatterns:
    def test_they_match_names_and_aliases_in_the_order_of_the_catalogue(self) -> None:
        assert [e.name for e in models.match("mobilenetv*_100")] == [
            "mobilenetv1_100", "mobilenetv2_100", "mobilenetv3_small_minimal_100", "mobilenetv3_small_100",
            "mobilenetv3_large_minimal_100", "mobilenetv3_large_100",
        ]  # fmt: skip
        assert [e.name for e in models.match("MNv4-hybrid-?")] == [
            "mobilenetv4_hybrid_medium", "mobilenetv4_hybrid_large",
        ]  # fmt: skip
        assert [e.name for e in models.match("mobileone_s[0-1]")] == ["mobileone_s0", "mobileone_s1"]

    def test_a_name_matches_itself_alone(self) -> None:
        assert models.match("rexnet") == (models.find("rexnet_100"),)

    def test_forms_need_a_colon(self) -> None:
        assert not any(":" in entry.name for entry in models.match("*"))
        assert {entry.name for entry in models.match("mobileone*:*")} == {f"mobileone_s{i}:train" for i in range(5)}

    def test_nothing_matches(self) -> None:
        with pytest.raises(ModelError, match=r"^no model matches 'vgg\*'; 'roofline models' lists all$"):
            models.match("vgg*")


@pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
@pytest.mark.sampled(4)
def test_the_counts_are_those_of_the_network(entry: Entry) -> None:
    assert (entry.params, entry.macs, entry.attention_macs) == counted(entry.name, entry.input_size[1])


@pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
@pytest.mark.sampled(4)
def test_the_layer_table_has_the_counts(entry: Entry) -> None:
    loaded = load(entry.name)
    layers = lower(trace(loaded.module, loaded.inputs))
    assert (layers.params, layers.macs.sum()) == (entry.params, entry.macs)
    assert layers.uncounted_ops == ()


@pytest.mark.parametrize(("entry", "figures"), FIGURES, ids=lambda x: getattr(x, "name", None) or str(x.input_px))
@pytest.mark.sampled(3)
def test_published_rows_have_the_counts(entry: Entry, figures: Published) -> None:
    assert (figures.params, figures.macs) == counted(entry.name, figures.input_px)[:2]


@pytest.mark.parametrize(
    "row", list(csv.DictReader(CROSSCHECK.read_text().splitlines())), ids=lambda r: f"{r['model']}-{r['input_px']}"
)
def test_the_counts_are_those_of_other_peoples_code(row: dict[str, str]) -> None:
    # params and MACs in millions, counted with fvcore (attention's matrix products added)
    params, macs, _ = counted(row["model"], int(row["input_px"]))
    assert f"{params / 1e6:.6f}".rstrip("0").rstrip(".") == row["params_m"], row["source"]
    assert f"{macs / 1e6:.4f}".rstrip("0").rstrip(".") == row["macs_m"], row["source"]


@pytest.mark.parametrize(("entry", "figures"), FIGURES, ids=lambda x: getattr(x, "name", None) or str(x.input_px))
def test_what_is_printed_is_ours_or_the_row_says_why_not(entry: Entry, figures: Published) -> None:
    assert prints_ours(entry, figures) == (not figures.note)


def prints_ours(entry: Entry, figures: Published) -> bool:
    """Whether the printed figures are ours, rounded as printed, in the convention of the row."""
    model, convention = meta_model(entry.name), figures.convention
    params, macs = [figures.params], [figures.macs]
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    if "batch norm is left out" in convention:
        params = [figures.params - norms]
    if "left out or folded" in convention:
        params += [figures.params - norms // 2]
    if "one more for each bias" in convention:
        # all biases here are of 1x1 maps: the classifier's and those of squeeze-and-excitation
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        macs = [figures.macs + sum(layer.bias.numel() for layer in layers if layer.bias is not None)]
    if "Dynamic Shift-Max" in convention:
        macs = [figures.macs + shift_max_multiplies(model, figures.input_px)]
    rounding = ROUND_FLOOR if "MACs are cut" in convention else ROUND_HALF_EVEN
    text, shown = figures.published_params, figures.published_macs
    return (text is None or text in [printed(count, text, convention) for count in params]) and (
        shown is None or shown in [printed(count, shown, convention, rounding) for count in macs]
    )


def test_a_source_has_one_convention_for_a_family() -> None:
    conventions: dict[tuple[str, str], set[str]] = {}
    for entry, figures in FIGURES:
        # Table 6 prints the smallest MobileNetV4 in decimal units and the others in binary ones; in its hybrids alone
        # there is attention to count
        if entry.name != "mobilenetv4_conv_small":
            convention = figures.convention.removesuffix(" and the attention matmuls are in")
            conventions.setdefault((figures.source, entry.family), set()).add(convention)
    assert {key: found for key, found in conventions.items() if len(found) > 1} == {}


def shift_max_multiplies(model: nn.Module, px: int) -> int:
    """Multiplies of an input by a coefficient: two a branch and element."""
    multiplies = 0

    def add(module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> None:
        nonlocal multiplies
        assert isinstance(module, DynamicShiftMax)
        multiplies += 2 * len(module.init_a) * out.numel()

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, DynamicShiftMax)]
    with torch.no_grad():
        model(torch.empty(1, 3, px, px, device="meta"))
    for hook in hooks:
        hook.remove()
    return multiplies


def printed(count: int, like: str, convention: str, rounding: str = ROUND_HALF_EVEN) -> str:
    """The count, in the unit and with as many digits as `like`, by the convention of its row."""
    unit = {"M": 2**20, "G": 2**30}[like[-1]] if convention.startswith("binary") else {"M": 10**6, "G": 10**9}[like[-1]]
    last_digit = Decimal(1).scaleb(-len(like[:-1].partition(".")[2]))
    return f"{(Decimal(count) / unit).quantize(last_digit, rounding)}{like[-1]}"


@pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
def test_entry_is_complete(entry: Entry) -> None:
    assert 0 <= entry.attention_macs < entry.macs
    assert entry.top1 is None or 0 < entry.top1 < 100
    for figures in entry.published:
        for text in (figures.published_params, figures.published_macs):
            assert text is None or re.fullmatch(r"[0-9.]+[MG]", text)
        assert figures.source
        assert figures.convention.startswith(("decimal", "binary"))
        assert figures.confidence in ("verified-in-source", "from-secondary", "from-memory")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_of_a_family_tells_its_paper_and_its_rule(name: str) -> None:
    family = models.family(name)
    assert re.search(r'"[^"]+".*arXiv:\d{4}\.\d{4,5}', family.paper)
    assert family.summary.endswith(".")
    assert len(family.rule) > 200
    assert all(len(line) <= 80 for line in family.rule.splitlines() if line.startswith(" "))  # a terminal would wrap it


@pytest.mark.parametrize(
    ("name", "px", "params", "macs", "top1"),
    [
        ("mobilenetv4_conv_small", 224, "3.8M", "0.2G", 73.8),
        ("mobilenetv4_conv_medium", 256, "9.2M", "1.0G", 79.9),
        ("mobilenetv4_conv_large", 384, "31M", "5.9G", 82.9),
        ("mobilenetv4_hybrid_medium", 256, "10.5M", "1.2G", 80.7),
        ("mobilenetv4_hybrid_large", 384, "35.9M", "7.2G", 83.4),
    ],
)
def test_published_figures_of_mobilenetv4(name: str, px: int, params: str, macs: str, top1: float) -> None:
    entry = models.find(name)
    figures = entry.reference
    assert figures is not None
    assert figures.source == "arXiv:2404.10518v2 Table 6"
    assert entry.input_size == (3, px, px)
    assert (figures.published_params, figures.published_macs, figures.top1, entry.top1) == (params, macs, top1, top1)
    assert figures.convention.startswith("decimal" if name == "mobilenetv4_conv_small" else "binary")


class TestBuild:
    def test_passes_its_arguments_on(self) -> None:
        with torch.device("meta"):
            model = models.find("mnv4-conv-s").build(num_classes=3, in_chans=1)
            assert model(torch.empty(2, 1, 64, 64)).shape == (2, 3)

    def test_arguments_are_those_of_the_variant(self) -> None:
        assert models.find("rexnet_130").arguments()["width_mult"] == 1.3
        assert {"num_classes", "in_chans", "act"} <= set(models.find("regnetx_002").arguments())

    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            (
                "rexnet",
                {"widht_mult": 1},
                r"rexnet_100 takes no argument 'widht_mult'\. Did you mean 'width_mult'",
            ),
            (
                "rexnet",
                {"width_mult": 0},
                r"rexnet_100: width_mult must be a number above 0 \(got 0\)$",
            ),
            (
                "mobilenetv2",
                {"width_mult": -1.5},
                r"mobilenetv2_100: width_mult must be a number above 0 \(got -1\.5\)$",
            ),
            (
                "mobilenetv2",
                {"width_mult": 1e15},
                r"mobilenetv2_100: width_mult must be at most 1000 \(got 1000000000000000\.0\)$",
            ),
            ("rexnet", {"se_ratio": "x"}, r"rexnet_100: se_ratio must be from 0 \(none\) to 1 \(got 'x'\)$"),
            ("rexnet", {"se_ratio": float("nan")}, r"rexnet_100: se_ratio must be from 0 \(none\) to 1 \(got nan\)$"),
            (
                "regnetx",
                {"depth": 10**9},
                r"regnetx_002: depth must be at most 1000 \(got 1000000000\)",
            ),
            ("regnetx", {"wa": "x"}, r"regnetx_002: wa must be 0 or more"),
            (
                "anynetx",
                {"widths": "wide"},
                r"anynetx: widths\[0\] must be a whole number of at least 1 \(got 'wide'\)",
            ),
            ("mobileone_s0", {"inference": "no"}, r"mobileone_s0: inference must be True or False \(got 'no'\)$"),
            ("mobileone_s0", {"widths": 3}, r"mobileone_s0: widths is a list of one factor a stage"),
            ("mobilenetv3_large", {"se": "maybe"}, r"mobilenetv3_large_100: se must be True or False \(got 'maybe'\)$"),
            (
                "mnv4_conv_s",
                {"attention": "mhsa"},
                r"mobilenetv4_conv_small: attention and kv_stride are for the hybrids",
            ),
            ("mnv4_hybrid_m", {"uib": [1]}, r"mobilenetv4_hybrid_medium: uib is one of ib, convnext"),
            ("rexnet", {"act": ""}, r"rexnet_100: act '' is unknown"),
            (
                "rexnet",
                {"num_classes": 10**400},
                r"rexnet_100: num_classes must be at most 1000000 \(got a number of more than 30 digits\)",
            ),
            ("mobilenetv3_large", {"width_mult": "x"}, r"mobilenetv3_large_100: width_mult must be .* \(got 'x'\)$"),
            (
                "mobileone_s0",
                {"num_classes": 0},
                r"mobileone_s0: num_classes must be a whole number of at least 1",
            ),
            ("mobilenetv1", {"act": "rellu"}, r"mobilenetv1_100: act 'rellu' is unknown; there are relu, relu6, "),
            ("mnv4_conv_l", {"uib": "dw"}, r"mobilenetv4_conv_large: uib is one of ib, convnext, extradw, ffn, fused"),
        ],
    )
    def test_bad_arguments_are_one_line(self, name: str, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ModelError, match=f"^{message}") as error:
            models.find(name).build(**arguments)
        assert "\n" not in str(error.value)

    def test_a_group_width_that_does_not_divide(self) -> None:
        with pytest.raises(ModelError, match=r"^anynetx: .*group width 7.*"):
            models.find("anynetx").build(group_widths=[7, 7, 7, 7])


def test_entries_are_read_once_and_frozen() -> None:
    assert models.entries() is models.entries()
    with pytest.raises(FrozenInstanceError):
        models.entries()[0].params = 0  # type: ignore[misc]


def test_the_catalogue_needs_neither_torch_nor_pandas() -> None:
    code = "import sys; from roofline.models import find; find('mnv4-conv-m').to_dict(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas"} & set(run.stdout.split())
