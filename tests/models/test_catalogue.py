from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch

from roofline import models
from roofline.errors import ModelError
from roofline.models import Entry

ROOT = Path(__file__).parents[2]


def test_names_are_those_of_the_entries() -> None:
    assert models.names() == tuple(entry.name for entry in models.entries())
    assert {
        "mobilenetv4_conv_small",
        "mobilenetv4_conv_medium",
        "mobilenetv4_conv_large",
        "mobilenetv4_hybrid_medium",
        "mobilenetv4_hybrid_large",
    } <= set(models.names())


def test_no_name_or_alias_stands_twice() -> None:
    counts = Counter(key for entry in models.entries() for key in (entry.name, *entry.aliases))
    assert [key for key, count in counts.items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z0-9_.]+", key) for key in counts)


@pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
def test_every_spelling_is_found(entry: Entry) -> None:
    for key in (entry.name, *entry.aliases):
        assert models.find(key) is entry
        assert models.find(key.upper().replace("_", "-")) is entry


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("mobilenetv4_conv_s", "mobilenetv4_conv_small"),
        ("mobilenetv4_conv_m", "mobilenetv4_conv_medium"),
        ("MNv4-Conv-L", "mobilenetv4_conv_large"),
        ("mnv4_hybrid_medium", "mobilenetv4_hybrid_medium"),
        (" MobileNetV4-Hybrid-L ", "mobilenetv4_hybrid_large"),
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


@pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
def test_entry_agrees_with_the_network(entry: Entry) -> None:
    with torch.device("meta"):
        model = entry.build()
        assert model.eval()(torch.empty(1, *entry.input_size)).shape == (1, 1000)
    assert sum(p.numel() for p in model.parameters()) == entry.params


@pytest.mark.parametrize("entry", models.entries(), ids=lambda e: e.name)
def test_entry_is_complete(entry: Entry) -> None:
    assert 0 <= entry.attention_macs < entry.macs
    assert entry.top1 is None or 0 < entry.top1 < 100
    for printed in (entry.published_params, entry.published_macs):
        assert printed is None or re.fullmatch(r"[0-9.]+[MG]", printed)
    assert entry.source
    assert entry.convention
    assert re.search(r"\(arXiv:\d{4}\.\d{4,5}\)$", entry.paper)


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
    assert entry.source == "arXiv:2404.10518v2 Table 6"
    assert entry.input_size == (3, px, px)
    assert (entry.published_params, entry.published_macs, entry.top1) == (params, macs, top1)
    assert entry.convention.startswith("decimal" if name == "mobilenetv4_conv_small" else "binary")


def test_build_passes_its_arguments_on() -> None:
    with torch.device("meta"):
        model = models.find("mnv4-conv-s").build(num_classes=3, in_chans=1)
        assert model(torch.empty(2, 1, 64, 64)).shape == (2, 3)


def test_entries_are_read_once_and_frozen() -> None:
    assert models.entries() is models.entries()
    with pytest.raises(FrozenInstanceError):
        models.entries()[0].params = 0  # type: ignore[misc]


def test_the_catalogue_needs_neither_torch_nor_pandas() -> None:
    code = "import sys; from roofline.models import find; find('mnv4-conv-m'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas"} & set(run.stdout.split())
