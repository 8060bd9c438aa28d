"""A run as a whole: the same whoever does it, and an end where there is nothing to find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roofline.errors import RooflineError
from roofline.exploring import run
from roofline.exploring.request import Range
from roofline.exploring.run import Progress
from tests.exploring.runs import alone, rows, tiny


def test_progress_is_told_from_the_beginning_to_the_end(tmp_path: Path) -> None:
    told: list[Progress] = []
    last = alone(tiny(60), tmp_path, tell=told.append)
    assert told[0].networks == told[0].tally.tried == 0
    assert [progress.networks for progress in told] == sorted(progress.networks for progress in told)
    assert told[-1] == last
    assert (last.networks, last.workers) == (60, 1)


def test_constraints_hold_for_every_network(tmp_path: Path) -> None:
    alone(tiny(60, macs=Range(1e6, 3e6), params=Range(0, 40e3)), tmp_path)
    found = rows(tmp_path)
    assert len(found) == 60
    assert all(1e6 <= row["macs"] <= 3e6 and row["params"] <= 40e3 for row in found)


def test_what_nothing_satisfies_ends_with_what_was_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest network of four 3 x 3 layers, of width 56, does 64 (3 + 3 x 56) 56 x 9 = 5.52 M MACs."""
    monkeypatch.setattr(run, "IN_VAIN", 500)
    with pytest.raises(RooflineError) as error:
        alone(tiny(macs=Range(10e6, 20e6)), tmp_path)
    said = str(error.value)
    assert "no network of" in said
    assert "with macs in 10 M..20 M: 992 draws were tried, " in said
    assert "of them are no network of the space (a width of 64 is for networks of one layer)" in said
    assert "; the nearest, draw " in said
    assert said.endswith("has macs of 5.5158 M")
    about = json.loads((tmp_path / "space.json").read_text())
    assert (about["complete"], about["counts"]["networks"], about["counts"]["tried"]) == (False, 0, 992)
    with pytest.raises(RooflineError, match="992 draws were tried"):  # not tried again
        alone(tiny(macs=Range(10e6, 20e6)), tmp_path)


def test_draws_may_be_limited_and_what_was_found_is_kept(tmp_path: Path) -> None:
    request = tiny(5000, macs=Range(5e6, 6e6))
    with pytest.raises(RooflineError, match=r"only \d+ of 5,000 networks of .* 224 draws were tried"):
        alone(request, tmp_path, max_draws=200)
    found = rows(tmp_path)
    assert found
    with pytest.raises(RooflineError, match=r"480 draws were tried"):
        alone(request, tmp_path, max_draws=300)
    assert rows(tmp_path)[: len(found)] == found


def test_a_latency_that_nothing_reaches_is_told_in_its_unit(tmp_path: Path) -> None:
    request = tiny(latency=(("pixel6_tpu", Range(0, 1e-12, "duration")),))
    with pytest.raises(
        RooflineError, match=r"with a latency on pixel6_tpu in \.\.0.001 ns: .* has a latency on pixel6_tpu of \S+ ns"
    ):
        alone(request, tmp_path, max_draws=32)
