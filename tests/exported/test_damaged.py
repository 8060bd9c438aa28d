"""A damaged ``.pt2`` is read all the same, or refused in one line; whatever was lost of it, or changed."""

from __future__ import annotations

import copy
import json
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roofline.errors import RooflineError
from roofline.exported import load_exported
from roofline.layers import lower
from roofline.models.activations import SEReLU
from roofline.trace import trace

FILES = 16  # of each case
ACTS = (None, "relu", "silu", "gelu", "prelu", "dynamic_shift_max")
JUNK: tuple[Any, ...] = (
    None, -1, 0, 7, 2**31, 2**62, 10**30, 1.5, float("nan"), True, "", "x", "a.b.c", "Infinity", "\ud800", [], {},
    [None], {"as_int": 3}, {"as_int": 2**40}, {"as_none": True}, {"as_tensor": {"name": "x"}},
)  # fmt: skip


class Net(nn.Module):
    """Activations as an op, in place, as a formula, as a module of several ops; a gate; a part without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act, self.se = (
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            SEReLU(8),
        )
        self.gate, self.prelu, self.head = nn.Conv2d(8, 8, 1), nn.PReLU(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.se(self.act(self.norm(self.conv(x))))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        y = self.gate(x)
        x = self.prelu(y * torch.sigmoid(y) + torch.clamp(x, 0, 6))
        first, second = x.chunk(2, 1)
        with torch.no_grad():
            x = torch.cat([first.tanh(), second], 1) + 1.0
        classes: Tensor = self.head(x.flatten(2).mean(2))
        return classes


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    batch = ({0: torch.export.Dim("batch", max=64)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter
        exported = torch.export.export(Net().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=batch)
        torch.export.save(exported, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every entry of a JSON, as what it is in and its key or index."""
    found = []
    for key, entry in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        found.append((tree, key))
        if isinstance(entry, dict | list):
            found += places(entry)
    return found


def damage(tree: Any, draw: random.Random) -> None:
    """Something less, something else, something twice, or what stands elsewhere."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        inside, key = draw.choice(places(tree) or [({"": 0}, "")])
        other, place = draw.choice(places(tree) or [({"": 0}, "")])
        match draw.randrange(5):
            case 0:
                del inside[key]
            case 1:
                inside[key] = copy.deepcopy(draw.choice(JUNK))
            case 2:
                inside[key] = copy.deepcopy(other[place])
            case 3 if isinstance(inside, list):
                inside.insert(key, copy.deepcopy(inside[key]))
            case 3:
                inside[str(draw.choice(JUNK))] = inside.pop(key)
            case _ if isinstance(inside[key], str):
                at = draw.randrange(len(inside[key]) + 1)
                inside[key] = inside[key][:at] + draw.choice("x;,._\n%{0") + inside[key][at + draw.randrange(3) :]
            case _ if isinstance(inside[key], int | float):
                inside[key] *= draw.choice((-1, 2, 1000, 10**9))


@pytest.mark.parametrize("part", ["nodes", "one node", "tensor_values", "signature", "program", "weights"])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.sampled(3)
def test_a_result_or_one_line(part: str, act: str | None, members: dict[str, bytes], tmp_path: Path) -> None:
    graph_name = next(name for name in members if name.endswith("models/model.json"))
    weights_name = next(name for name in members if name.endswith("weights_config.json"))
    path = tmp_path / "net.pt2"
    refusals = []
    for seed in range(FILES):
        draw = random.Random(f"{part} {act} {seed}")
        program, weights = json.loads(members[graph_name]), json.loads(members[weights_name])
        graph = program["graph_module"]["graph"]
        for node in graph["nodes"]:
            node["metadata"].pop("stack_trace", None)  # which nothing reads, and most of the file is
        damage(
            {
                "nodes": graph["nodes"], "one node": draw.choice(graph["nodes"]), "program": program,
                "tensor_values": graph["tensor_values"], "signature": program["graph_module"]["signature"],
                "weights": weights,
            }[part], draw,
        )  # fmt: skip
        changed: dict[str, str | bytes] = {
            **members,
            graph_name: json.dumps(program),
            weights_name: json.dumps(weights),
        }
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in changed.items():
                archive.writestr(name, text)
        try:
            found = load_exported(path, act=act, weights=part == "weights" or draw.random() < 0.2)
            lower(trace(found.network, found.inputs))
        except RooflineError as error:
            refusals.append(str(error))
    assert refusals, "nothing was damaged"
    assert [line for line in refusals if not line.isprintable()] == []
