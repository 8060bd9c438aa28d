"""A measurement as plain data: complete, and read back as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roofline.errors import OutputError, SavedError
from roofline.measurement.conditions import FLAGS
from roofline.measurement.result import SCHEMA, Measurement, Run, Sample, Summary
from roofline.measurement.samples import CONDITIONS, NUMBERS, check_name, load_samples, save_samples
from roofline.measurement.stopping import STATUSES
from roofline.saved import load_saved
from tests.measurement.fakes import Machine, always
from tests.measurement.runs import made_run, with_everything


def test_a_summary_by_hand() -> None:
    found = Summary.of([float(i) for i in range(1, 12)])  # 1 to 11
    assert (found.median, found.p10, found.p90, found.min, found.iqr, found.n) == (6.0, 2.0, 10.0, 1.0, 5.0, 11)
    assert found.ci95 == (2.0, 10.0)  # P(B < 2) of 11 is 12 / 2048 = 0.6 %, P(B < 3) 67 / 2048 = 3.3 %
    assert found.half_width == pytest.approx(4 / 6)
    assert Summary.of([0.0]).half_width == float("inf")


def test_the_reference_latency_is_that_of_each_sample_over_its_factor() -> None:
    run = made_run()
    for measurement in run.measurements:
        kept = [sample for sample in measurement.samples if not sample.is_left_out]
        want = np.median([sample.wall_s / sample.factor for sample in kept])
        assert measurement.reference_latency_s.median == pytest.approx(want)
        assert measurement.latency_s.median == pytest.approx(np.median([sample.wall_s for sample in kept]))


@pytest.mark.parametrize("run", [made_run(), with_everything()], ids=["plain", "everything"])
def test_what_is_written_is_read_back(run: Run, tmp_path: Path) -> None:
    data = json.loads(run.to_json(samples=True))
    back = Run.from_dict(data)
    assert back.to_dict(samples=True) == data
    assert back.measurements[0].samples == run.measurements[0].samples
    assert data["schema"] == SCHEMA
    file = tmp_path / "run.json"
    file.write_text(run.to_json())
    assert load_saved(file) == run.to_dict()
    assert "samples" not in load_saved(file)["measurements"][0]


def test_every_field_is_in_the_data() -> None:
    data = made_run().to_dict(samples=True)["measurements"][0]
    inside = {"name", "reference", "params", "input_shapes"}  # of `model`
    inside |= {"environment", "anchor", "tag", "worker"}  # of the run; of a fleet, of each row
    assert {field.name for field in fields(Measurement)} - inside <= set(data)
    assert {field.name for field in fields(Sample)} == set(data["samples"][0])


def test_the_layers_can_be_added() -> None:
    measurement = made_run().measurements[0]
    assert measurement.layers is None
    assert measurement.with_layers({"rows": []}).layers == {"rows": []}


# --- docs/json.md -----------------------------------------------------------------------------------------------------

DOC = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
DOCUMENTED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "run": lambda run: run,
    "anchor": lambda run: run["anchor"],
    "measured model": lambda run: run["measurements"][0],
    "sample": lambda run: run["measurements"][0]["samples"][0],
}


@pytest.mark.parametrize("what", DOCUMENTED)
def test_the_documented_keys_are_the_real_ones(what: str) -> None:
    section = re.search(rf"^\| of an? {what} \|.*\n\| ---.*\n((?:\|.*\n)*)", DOC, re.MULTILINE)
    assert section is not None
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section[1], re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert list(DOCUMENTED[what](with_everything().to_dict(samples=True))) == documented


def test_every_status_and_flag_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text(encoding="utf-8")
    section = text.split("## What a status means")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {*STATUSES, *FLAGS}


# --- samples in a file ------------------------------------------------------------------------------------------------


def test_samples_are_kept_as_plain_arrays(tmp_path: Path) -> None:
    run = with_everything()
    path = tmp_path / "samples.npz"
    save_samples(path, run)
    arrays = load_samples(path)
    count = sum(len(each.samples) for each in run.measurements)
    assert {len(array) for name, array in arrays.items() if name != "models"} == {count}
    assert set(arrays) == {"models", "measurement", "flags", "left_out", *NUMBERS, *CONDITIONS}
    assert list(arrays["models"]) == ["fast", "slow", "layered"]
    first = arrays["measurement"] == 0
    assert np.median(arrays["wall_s"][first] / arrays["factor"][first]) == pytest.approx(
        run.measurements[0].reference_latency_s.median
    )
    assert np.isnan(arrays["kernel_s"]).all()


def test_what_was_all_left_out_is_read_back_and_its_samples_are_kept(tmp_path: Path) -> None:
    run = made_run(Machine(slowdown=always(5.0)), "net")
    (failure,) = run.failures
    assert Run.from_dict(json.loads(run.to_json(samples=True))).failures == (failure,)
    assert Run.from_dict(json.loads(run.to_json())).failures == (replace(failure, samples=()),)
    (tmp_path / "run.json").write_text(run.to_json())
    assert load_saved(tmp_path / "run.json")["failures"][0]["left_out"] == failure.left_out > 0
    save_samples(tmp_path / "run.npz", run)
    arrays = load_samples(tmp_path / "run.npz")
    assert list(arrays["models"]) == ["net"]
    assert (len(arrays["wall_s"]), bool(arrays["left_out"].all())) == (failure.left_out, True)


def test_a_run_without_samples_is_a_file_all_the_same(tmp_path: Path) -> None:
    save_samples(tmp_path / "none.npz", replace(made_run(), measurements=()))
    assert len(load_samples(tmp_path / "none.npz")["wall_s"]) == 0


def test_nothing_of_a_file_of_samples_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, wall_s=np.array([object()], dtype=object))
    with pytest.raises(SavedError, match=r"evil.npz: Object arrays cannot be loaded"):
        load_samples(path)


def test_what_is_no_file_of_samples_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="No such file"):
        load_samples(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(SavedError, match="cannot read"):
        load_samples(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(SavedError, match="holds no samples of a measurement: it lacks at_s"):
        load_samples(tmp_path / "other.npz")
    with pytest.raises(OutputError, match=r"name the file .*x.npz"):
        check_name(tmp_path / "x.csv")
