"""From a row of a dataset back to the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import roofline
from roofline.errors import RooflineError, SavedError
from roofline.exploring.built import built
from tests.exploring.runs import TINY, alone, rows, tiny
from tests.exploring.tiny import SIZE


@pytest.mark.parametrize("space", [f"{TINY}:Tiny", "uib", "regnety", "mobilenetv3", "rexnet", "anynetxa"])
@pytest.mark.sampled(3)
def test_a_network_is_built_from_its_row(tmp_path: Path, space: str) -> None:
    alone(tiny(3, space=space), tmp_path / "run")
    row = rows(tmp_path / "run")[-1]
    network = built(tmp_path / "run", row["index"])
    assert sum(parameter.numel() for parameter in network.parameters()) == row["params"]


def test_it_takes_as_long_as_the_row_says(tmp_path: Path, whole: Callable[[int], Path]) -> None:
    row = rows(whole(200))[7]
    analysis = roofline.analyze(built(whole(200), row["index"]), torch.zeros(1, 3, SIZE, SIZE), hw="pixel6_tpu")
    assert analysis.totals()["latency_s"] == pytest.approx(row["latency_s:pixel6_tpu"], rel=1e-12)


def test_what_cannot_be_built_is_told(tmp_path: Path, user_modules: None) -> None:
    path = tmp_path / "mine.py"
    path.write_text(TINY.read_text())
    alone(tiny(5, space=f"{path}:Tiny"), tmp_path / "run")
    with pytest.raises(SavedError, match="has no network 123456"):
        built(tmp_path / "run", 123456)
    with pytest.raises(SavedError, match="there is no folder"):
        built(tmp_path / "none", 0)
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(SavedError, match=r"is no longer the space that .*run was drawn from: its file differs"):
        built(tmp_path / "run", rows(tmp_path / "run")[0]["index"])
    path.unlink()
    with pytest.raises(RooflineError, match="no such file"):
        built(tmp_path / "run", rows(tmp_path / "run")[0]["index"])
    (tmp_path / "run" / "space.json").unlink()
    with pytest.raises(SavedError, match=r"it has no space\.json"):
        built(tmp_path / "run", 0)
