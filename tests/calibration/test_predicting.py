"""Analysing on a calibrated profile: the estimator that knows most, the others beside it, and what may not hold."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roofline.analysis import analyze
from roofline.calibration.file import save
from roofline.calibration.predicting import estimators_of
from roofline.calibration.profile import profile_of
from roofline.errors import CalibrationError
from roofline.hardware import Hardware
from roofline.measurement.environment import environment
from roofline.profiles import load_profile
from roofline.units import seconds
from roofline.words import notes
from tests.calibration.known_laws import calibration as from_law

MODEL = "mobilenetv4_conv_s"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile that was calibrated in this environment, as a known law would have it."""
    folder = tmp_path_factory.mktemp("calibrated")
    made = replace(from_law(noise=0.02), environment=environment(), threads=environment()["threads"]["intra_op"])
    save(made, folder / "local.calibration.npz")
    (folder / "local.yaml").write_text(profile_of(made, "local", file="local.calibration.npz"))
    return folder / "local.yaml"


@pytest.fixture(scope="module")
def hardware(local: Path) -> Hardware:
    return load_profile(local)


def test_all_estimators_stand_side_by_side_and_the_one_that_knows_most_counts(hardware: Hardware) -> None:
    found = analyze(MODEL, hw=hardware)
    assert found.estimates is not None
    assert list(found.estimates.each) == ["roofline", "calibrated", "learned"]
    assert found.estimates.chosen == "learned"
    assert found.totals()["latency_s"] == pytest.approx(found.estimates.estimate.latency_s)
    assert found.latency_kind == "prediction"


@pytest.mark.parametrize("name", ["roofline", "calibrated", "learned"])
def test_the_times_are_those_of_the_estimator_that_was_asked_for(name: str, hardware: Hardware) -> None:
    found = analyze(MODEL, hw=hardware, estimator=name)
    alone = estimators_of(hardware)[name].estimate(found.graph)
    assert found.totals()["latency_s"] == pytest.approx(alone.latency_s)
    assert sum(row["latency_s"] for row in found.rows()) == pytest.approx(alone.latency_s)
    assert min(row["latency_s"] for row in found.rows()) > 0  # no op is silently free


def test_the_roofline_is_eq_1_on_the_measured_ceilings(hardware: Hardware) -> None:
    plain = analyze(MODEL, hw=replace(hardware, calibration=None))
    assert plain.estimates is None
    found = analyze(MODEL, hw=hardware, estimator="roofline")
    assert np.array_equal(found.prediction.layer_latency_s, plain.prediction.layer_latency_s)


def test_it_is_told_in_words_and_in_json(hardware: Hardware) -> None:
    data = analyze(MODEL, hw=hardware).to_dict()
    said = " ".join(data["notes"])
    assert "by the learned estimator of this machine's calibration, at its reference state" in said
    assert "By estimator: roofline" in said
    assert "In 80 % of cases" in said
    by_name = {each["estimator"]: each for each in data["estimates"]}
    assert [name for name, each in by_name.items() if each["is_chosen"]] == ["learned"]
    assert by_name["roofline"]["interval90_s"] is None
    low, high = by_name["learned"]["interval90_s"]
    assert by_name["learned"]["latency_s"] == pytest.approx(data["totals"]["latency_s"])
    assert low < data["totals"]["latency_s"] < high


def test_another_environment_is_told(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    warned = analyze(MODEL, hw=local).to_dict()["notes"]
    assert any("threads.intra_op is 64" in note for note in warned)


def test_the_same_environment_is_not(hardware: Hardware) -> None:
    assert not any("another environment" in note for note in analyze(MODEL, hw=hardware).to_dict()["notes"])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"estimator": "oracle"}, "no estimator is called 'oracle'"),
        ({"dtype": "fp32", "fusion": "epilogue"}, "is of fp32 without fusion"),
    ],
)
def test_what_it_cannot_estimate_is_one_clear_line(how: dict[str, Any], message: str, hardware: Hardware) -> None:
    with pytest.raises(CalibrationError, match=message):
        analyze(MODEL, hw=hardware, **how)


def test_a_profile_without_calibration_has_but_the_roofline() -> None:
    assert analyze(MODEL, hw="pixel6_tpu", estimator="roofline").estimates is None
    with pytest.raises(CalibrationError, match="pixel6_tpu has no calibration to estimate with"):
        analyze(MODEL, hw="pixel6_tpu", estimator="learned")


def test_the_command_line(
    local: Path, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = command("analyze", MODEL, "--hw", local, "--estimator", "calibrated")
    assert done.returncode == 0
    assert "by the calibrated estimator" in " ".join(done.stdout.split())
    lost = tmp_path / "local.yaml"
    lost.write_text(local.read_text())
    done = command("analyze", MODEL, "--hw", lost)
    assert done.returncode == 2
    assert "no such file; 'roofline calibrate' makes a calibration" in done.stderr


# --- what is said of it -----------------------------------------------------------------------------------------------


def test_what_kernels_do_to_each_other_is_not_called_python(hardware: Hardware) -> None:
    found = analyze(MODEL, hw=hardware)
    assert found.estimates is not None
    host = {"op": 1e-3, "module": 2e-3, "view": 0.0, "composition": 5e-4}

    def said(**changed: float) -> str:
        assert found.estimates is not None
        parts = host | changed
        chosen = replace(found.estimates.estimate, host=parts, host_s=sum(parts.values()))
        estimates = replace(found.estimates, each={**found.estimates.each, chosen.estimator: chosen})
        (note,) = [note for note in notes(replace(found, estimates=estimates)) if "Python" in note]
        return note

    assert "3 ms of it is Python and dispatch, 0.5 ms is what its kernels take more in sequence" in said()
    assert "3 ms of it is Python and dispatch, 0.5 ms is what its kernels take less" in said(composition=-5e-4)
    assert "3 ms of it is Python and dispatch; " in said(composition=0.0)


def test_the_parts_of_the_host_are_in_the_json(hardware: Hardware) -> None:
    by_name = {each["estimator"]: each for each in analyze(MODEL, hw=hardware).to_dict()["estimates"]}
    learned = by_name["learned"]
    assert set(learned["host"]) == {"op", "module", "view", "composition"}
    assert sum(learned["host"].values()) == pytest.approx(learned["host_s"])
    assert by_name["roofline"]["host"] == {"inference": 0.0}


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", MODEL),
        ("analyze", MODEL, "mobilenetv2_100"),
        ("compare", MODEL, "mobilenetv2_100"),
        ("explain", MODEL, "stem.conv"),
        ("check", MODEL, "--max-latency", "1s"),
    ],
)
def test_another_environment_is_told_once_by_each_command(
    arguments: tuple[str, ...],
    local: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    done = command(*arguments, "--hw", local)
    assert done.returncode == 0
    said = " ".join((done.stdout + done.stderr).split())
    assert said.count("The calibration of local is of another environment") == 1
    assert said.count("threads.intra_op is 64") == 1


def test_rows_of_several_models_have_the_estimator_and_its_interval(
    local: Path, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = command("analyze", MODEL, "mobilenetv2_100", "--hw", local, "--format", "csv")
    rows = {row["model"]: row for row in csv.DictReader(done.stdout.splitlines())}
    for name, row in rows.items():
        found = analyze(name, hw=local)
        assert found.estimates is not None
        low_s, high_s = found.estimates.estimate.interval90_s
        assert row["estimator"] == "learned"
        assert (float(row["interval90_low_s"]), float(row["interval90_high_s"])) == (low_s, high_s)
        assert float(row["latency_s"]) == found.totals()["latency_s"]
    done = command("analyze", MODEL, "mobilenetv2_100", "--hw", local)
    header, first, *_ = done.stdout.splitlines()
    low_s, high_s = (float(rows[MODEL][f"interval90_{end}_s"]) for end in ("low", "high"))
    assert header.endswith("in 90 % of cases")
    assert first.endswith(f"learned {f'{seconds(low_s)} to {seconds(high_s)}':>18}")
    done = command("analyze", MODEL, "mobilenetv2_100", "--hw", local, "--estimator", "roofline", "--format", "json")
    row = json.loads(done.stdout.splitlines()[0])
    assert (row["estimator"], row["interval90_low_s"]) == ("roofline", None)


def test_a_file_of_rows_goes_on_with_the_same_estimator(
    local: Path, command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    asked = ("analyze", MODEL, "mobilenetv2_100", "--hw", local, "-o", file)
    assert command(*asked, "--estimator", "calibrated").returncode == 0
    done = command(*asked)
    assert done.returncode == 2
    assert "has the options --estimator calibrated" in done.stderr
