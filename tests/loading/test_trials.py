"""What is lost without weights is made again with them, and parts that a call does not run are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import roofline
from roofline.errors import TraceError
from roofline.loading import load, trials
from roofline.loading.trials import parts_not_run
from roofline.trace import trace

HEAD = "import torch\nfrom torch import nn\n"
LOOP = HEAD + (
    "class Net(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        {holds}\n"
    "        self.layer = nn.Linear(224, 224)\n"
    "    def forward(self, x):\n"
    "        for _ in range(int({count})):\n"
    "            x = self.layer(x)\n"
    "        return x\n"
)
SPARSE = HEAD + (
    "class Net(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        with torch.sparse.check_sparse_tensor_invariants():\n"
    "            edges = torch.sparse_coo_tensor(torch.tensor([[0, 1, 2], [1, 0, 3]]), torch.ones(3), (4, 224))\n"
    "        self.register_buffer('edges', edges)\n"
    "    def forward(self, x):\n"
    "        return self.edges @ x[0, 0]\n"
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None) -> None:
    monkeypatch.chdir(tmp_path)


def macs(reference: str) -> int:
    return int(roofline.analyze(reference, hw="pixel6_tpu").layers.macs.sum())


def devices(module: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}


@pytest.mark.parametrize(
    ("holds", "count"),
    [
        ("self.register_buffer('n', torch.tensor(3))", "self.n"),
        ("self.n = torch.arange(4)", "self.n[-1]"),
        ("self.n = [torch.ones(1), torch.full((1,), 2.0)]", "sum(self.n)"),
    ],
    ids=["a buffer", "an attribute", "a list"],
)
def test_a_loop_over_a_constant_runs_as_often_as_it_says(holds: str, count: str) -> None:
    Path("net.py").write_text(LOOP.format(holds=holds, count=count))
    assert macs("net.py:Net") == 3 * (3 * 224) * 224 * 224, "3 times, each over 3 x 224 rows"


def test_no_random_numbers_are_drawn_for_it() -> None:
    Path("net.py").write_text(LOOP.format(holds="self.register_buffer('n', torch.tensor(3))", count="self.n"))
    state = torch.get_rng_state()
    load("net.py:Net")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sparse_buffer_has_its_entries() -> None:
    """3 entries of 224 columns each: a product of one row of x by each entry."""
    Path("net.py").write_text(SPARSE)
    loaded = load("net.py:Net")
    assert devices(loaded.module) == {"cpu"}
    assert loaded.module.get_buffer("edges")._nnz() == 3
    built = trace(loaded.module, loaded.inputs)
    assert [op.name for op in built.ops if "view" not in op.name][-1] in ("matmul", "mm", "_sparse_mm")
    assert macs("net.py:Net") == 3 * 224


def test_what_can_be_traced_without_stays_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is added decides nothing; and of torch's own layers none does, so that nothing is tried."""
    Path("net.py").write_text(
        LOOP.format(holds="self.register_buffer('table', torch.zeros(224))", count="3").replace("(x)\n", "(x) + 1\n")
        + "def plain():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\n"
    )
    assert devices(load("net.py:Net").module) == {"meta"}

    def never(*_: Any) -> None:
        raise AssertionError("it was tried")

    monkeypatch.setattr(trials, "trace", never)
    assert devices(load("net.py:plain").module) == {"meta"}


def test_what_depends_on_its_input_still_does() -> None:
    Path("net.py").write_text(LOOP.format(holds="self.register_buffer('n', torch.tensor(3))", count="x.sum() + self.n"))
    with pytest.raises(TraceError, match="depends on data values"):
        macs("net.py:Net")


def test_what_finds_no_room_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("net.py").write_text(LOOP.format(holds="self.register_buffer('n', torch.tensor(3))", count="self.n"))
    monkeypatch.setattr(trials, "free_bytes", lambda: 4 * 224 * 224)  # the matrix alone
    assert devices(load("net.py:Net").module) == {"meta"}


class Parts(nn.Module):
    """One of two branches runs; the head has the embedding's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.sight = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 4))
        self.both = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 3)})
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor, image: Tensor | None = None) -> Any:
        x = self.words(ids)
        return self.head(self.both["used"](x if image is None else x + self.sight(image)))


def test_parts_that_a_call_does_not_run() -> None:
    with torch.device("meta"):
        module, ids, image = Parts(), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3, 7)
    sight, used, unused = 7 * 5 + 5 + 5 * 4 + 4, 4 * 4 + 4, 4 * 3 + 3
    total = 10 * 4 + sight + used + unused
    assert parts_not_run(module, (ids,)) == (["sight", "both.unused"], (sight + unused) / total)
    assert parts_not_run(module, {"ids": ids, "image": image}) == (["both.unused"], unused / total)
