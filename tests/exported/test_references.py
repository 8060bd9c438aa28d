"""Exported graphs as model references: what counts takes them, what runs says that it cannot."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from roofline.crosscheck import cross_check
from roofline.errors import ModelError
from roofline.loading import load
from tests.exported.networks import Block, with_numbers

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer block whose batch and number of tokens are open."""
    path = tmp_path_factory.mktemp("exported") / "block.pt2"
    dims = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("tokens", max=512)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = with_numbers(Block())
        ids = torch.zeros(2, 16, dtype=torch.int64)
        torch.export.save(torch.export.export(network, (ids,), dynamic_shapes=(dims,)), path)
    return path


def products(batch: int, tokens: int) -> int:
    """MACs of the block by hand: width 64, four projections of it and two of 4 x 64; scores and their use."""
    return batch * tokens * (4 * 64 * 64 + 2 * 64 * 256) + 2 * batch * tokens * tokens * 64


def test_analyze(block: Path, command: Command) -> None:
    result = command("analyze", block, "--hw", "pixel6_tpu", "--format", "json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["model"]["input_shape"] == [1, 16]
    assert found["totals"]["macs"] == products(1, 16)
    assert "batch 1" in found["defaults"]
    assert any(default.startswith("input 16 (") for default in found["defaults"])


def test_batch_and_open_dimensions(block: Path) -> None:
    symbols = {"tokens": load(str(block)).inputs[0].shape[1]}
    assert symbols == {"tokens": 16}
    loaded = load(str(block), batch=3, input_size=(40,))
    assert tuple(loaded.inputs[0].shape) == (3, 40)
    with pytest.raises(ModelError, match="no dimension is called 'depth'"):
        load(str(block), arguments={"depth": 8})
    with pytest.raises(ModelError, match="takes no argument 'act' but sizes of its open dimensions, whole numbers"):
        load(str(block), arguments={"act": "relu"})


def test_sweep_and_compare(block: Path, command: Command) -> None:
    swept = command("sweep", block, "--format", "csv")
    assert swept.returncode == 0, swept.stderr
    assert str(products(1, 16)) in swept.stdout
    compared = command("compare", block, "mobilenetv3_small_100", "--hw", "pixel6_tpu", "--format", "json")
    assert compared.returncode == 0, compared.stderr


def test_what_runs_a_model_says_that_it_cannot(block: Path, command: Command) -> None:
    result = command("measure", block)
    assert result.returncode == 2
    assert "is an exported graph, which is counted here and cannot be run" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_file(tmp_path: Path, command: Command) -> None:
    for name in ("net.onnx", "net.pt2"):
        result = command("analyze", tmp_path / name, "--hw", "pixel6_tpu")
        assert result.returncode == 2
        assert result.stderr == f"roofline: {tmp_path / name}: no such file\n"


def test_the_other_counters_agree(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 10))
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(network, (torch.zeros(2, 3, 8, 8),)), path)
    checked = cross_check(load(str(path)))
    assert checked.failures == ()
    macs = 2 * 36 * 8 * 27 + 2 * 288 * 10
    for counts in ([d.macs for d in checked.differences], [d.fvcore_flops for d in checked.differences],
                   [d.flop_counter_macs for d in checked.differences]):  # fmt: skip
        assert sum(count or 0 for count in counts) == macs
