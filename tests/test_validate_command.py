"""`roofline validate` in this process: nothing is timed, the sessions are made up."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import roofline.validation
from roofline.measurement import api
from roofline.measurement.result import Failure, Run
from roofline.saved import load_saved
from roofline.validation import known_estimators
from roofline.validation_predictions import is_intact
from tests.validations import ESTIMATORS, measured, run_of

Command = Callable[..., subprocess.CompletedProcess[str]]
PROFILE = """\
schema: roofline/hardware/1
id: mybox
name: My box
class: cpu
default_dtype: int8
default_fusion: none
fused_activations: []
peak_gmacs_per_s:
  fp32: {value: 100, kind: measured, source: roofline calibrate}
  bf16: {value: 200, kind: measured, source: roofline calibrate}
  int8: {value: 400, kind: measured, source: roofline calibrate}
bandwidth_gb_per_s: {value: 20, kind: measured, source: roofline calibrate}
"""
NETS = """
from torch import nn
def small():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3))
def large():
    return nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(6)))
"""


@pytest.fixture
def hw(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    path = tmp_path / "mybox.yaml"
    path.write_text(PROFILE)
    return path


@pytest.fixture
def small(hw: Path) -> str:
    return f"{hw.parent / 'nets.py'}:small"


@pytest.fixture
def large(hw: Path) -> str:
    return f"{hw.parent / 'nets.py'}:large"


TIMES_S = {"small": 3.1e-3, "large": 8e-3}  # where small is predicted to take 3 ms, and large 6


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is measured; and estimators that say a millisecond an op."""
    calls: list[dict[str, Any]] = []

    def measure(references: Sequence[str], **options: Any) -> Run:
        calls.append({"references": list(references), **options})
        api._request({key: value for key, value in options.items() if key not in ("processes", "progress")})
        shapes = ((options["batch"], *(options["input_size"] or (3, 224, 224))),)
        return run_of(
            [
                replace(
                    measured(name, TIMES_S.get(name.rpartition(":")[2], 50e-3)),
                    input_shapes=shapes, batch=options["batch"], mode=options["mode"],
                )
                for name in references
            ]
        )  # fmt: skip

    monkeypatch.setattr(api, "measure_models", measure)
    monkeypatch.setattr(roofline.validation, "known_estimators", lambda hardware, dtype: (None, ESTIMATORS))
    return calls


def answering(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """Every measurement is changed so."""
    before = api.measure_models

    def measure(references: Sequence[str], **options: Any) -> Run:
        run = before(references, **options)
        return replace(run, measurements=tuple(replace(each, **changed) for each in run.measurements))

    monkeypatch.setattr(api, "measure_models", measure)


def test_a_table_with_the_misses_first(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str, large: str
) -> None:
    done = command("validate", small, large, "--hw", hw)
    assert done.returncode == 0
    assert "1 of 2 predictions (learned) are within 10 % of the measured time." in " ".join(done.stdout.split())
    assert done.stdout.index("nets.py:large") < done.stdout.index("nets.py:small")
    assert done.stderr.startswith("Predictions of 2 models frozen before measuring, SHA-256 ")
    assert len(done.stderr.splitlines()) == 1


def test_options_reach_the_harness(command: Command, asked: list[dict[str, Any]], hw: Path, small: str) -> None:
    done = command(
        "validate", small, small, "--hw", hw, "--threads", 2, "--dtype", "bf16", "--batch", 4, "--input-size", 64,
        "--mode", "channels_last", "--processes", 3, "--per-layer", "--rounds", 5, "--max-time", 2.5,
        "--target", "3%", "--seed", 9, "--quiet-wait", 20,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (call,) = asked
    del call["progress"]
    assert call == {
        "references": [small], "device": "cpu", "threads": 2, "dtype": "bf16", "batch": 4, "input_size": (3, 64, 64),
        "arguments": {}, "mode": "channels_last", "processes": 3, "per_layer": True, "rounds": 5, "max_s": 2.5,
        "target": 0.03, "seed": 9, "keep_memory": True, "quiet_wait_s": 20, "anchor_reference_s": None,
    }  # fmt: skip


def test_patterns_of_names(command: Command, asked: list[dict[str, Any]], hw: Path) -> None:
    command("validate", "mobilenetv4_conv_*", "mobilenetv4_conv_small", "--hw", hw)
    assert asked[0]["references"][0] == "mobilenetv4_conv_small"
    assert len(asked[0]["references"]) == len(set(asked[0]["references"])) > 2


def test_the_estimator_that_is_asked_for_is_judged(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str
) -> None:
    data = json.loads(command("validate", small, "--hw", hw, "--estimator", "roofline", "--format", "json").stdout)
    assert data["estimator"] == data["summary"]["estimator"] == "roofline"
    assert data["summary"]["wrong"] == 1
    assert data["estimators"] == ["roofline", "calibrated", "learned"]


def test_a_real_roofline_is_judged_on_a_plain_profile(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline.validation, "known_estimators", known_estimators)
    data = json.loads(command("validate", small, "--hw", hw, "--format", "json").stdout)
    assert data["estimators"] == ["roofline"]
    analysis = roofline.analyze(small, hw=hw, dtype="fp32", fusion="none")
    assert data["rows"][0]["predicted_s"] == pytest.approx(analysis.totals()["latency_s"]), "in the dtype that is timed"
    assert data["hardware"]["peak_macs_per_s"] == 100e9


# --- what is written --------------------------------------------------------------------------------------------------


def test_every_format(command: Command, asked: list[dict[str, Any]], hw: Path, small: str, tmp_path: Path) -> None:
    data = json.loads(command("validate", small, "--hw", hw, "--format", "json").stdout)
    assert data["schema"] == "roofline/validation/1"
    rows = list(csv.DictReader(io.StringIO(command("validate", small, "--hw", hw, "--format", "csv").stdout)))
    assert [row["estimator"] for row in rows] == ["roofline", "calibrated", "learned"]
    assert "| model | predicted, ms |" in command("validate", small, "--hw", hw, "--format", "md").stdout
    file = tmp_path / "check.json"
    command("validate", small, "--hw", hw, "-o", file)
    assert load_saved(file)["rows"][2]["verdict"] == "right"
    assert command("report", file).returncode == 0
    assert "predicted and measured" in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_the_page(command: Command, asked: list[dict[str, Any]], hw: Path, small: str, tmp_path: Path) -> None:
    done = command("validate", small, "--hw", hw, "--html", tmp_path / "check.html")
    assert done.returncode == 0
    assert "Predicted against measured" in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_predictions_are_written_before_anything_is_measured(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(references: Sequence[str], **options: Any) -> Run:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "measure_models", fail)
    done = command("validate", small, "--hw", hw, "--freeze", tmp_path / "frozen.json")
    assert done.returncode == 130
    kept = json.loads((tmp_path / "frozen.json").read_text())
    assert is_intact(kept)
    assert kept["sha256"] in done.stderr
    assert kept["record"]["models"][0]["predictions"][2]["latency_s"] == pytest.approx(3e-3)


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code"),
    [({}, 0), ({"status": "capped"}, 0), ({"status": "contended"}, 3), ({"between_process": 0.4}, 3)],
)
def test_what_is_too_noisy_to_judge_by_has_an_exit_code_of_its_own(
    changed: dict[str, Any], code: int, command: Command, asked: list[dict[str, Any]], hw: Path, small: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    answering(monkeypatch, **changed)
    done = command("validate", small, "--hw", hw)
    assert done.returncode == code
    assert "learned" in done.stdout, "the answer is there all the same"
    assert ("too noisy or too busy" in done.stderr) == (code == 3)


def test_a_model_that_fails_does_not_take_the_others_along(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str
) -> None:
    done = command("validate", small, "nope", "--hw", hw)
    assert done.returncode == 2
    assert "is within 10 %" in " ".join(done.stdout.split())
    assert "roofline: left out: unknown model 'nope'" in done.stderr


def test_ctrl_c_keeps_what_is_done(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = api.measure_models
    failure = Failure(model="other", reason="interrupted before it was timed")
    monkeypatch.setattr(
        api, "measure_models",
        lambda references, **options: replace(before(references, **options), is_interrupted=True, failures=(failure,)),
    )  # fmt: skip
    done = command("validate", small, "--hw", hw)
    assert done.returncode == 130
    assert "It was interrupted" in done.stdout


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--estimator", "lerned"), "no estimator is called 'lerned'"),
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--dtype", "int8"), "int8 cannot be measured"),
        (("--mode", "fast"), "unknown mode 'fast'"),
        (("--processes", "1"), "1"),
        (("--arg", "a=1", "--arg", "a=2"), "--arg a is given more than once"),
        (("--target", "0"), "'0' is no share"),
        (("-o", "x.png"), "cannot tell the format"),
        (("-o", "x.json", "--freeze", "x.json"), "--freeze and -o both name x.json"),
        (("--freeze", "no/such/folder/x.json"), "there is no folder"),
        (("--html", "x.json", "-o", "x.json"), "--html and -o both name"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    arguments: tuple[str, ...], message: str, command: Command, asked: list[dict[str, Any]], hw: Path, small: str
) -> None:
    done = command("validate", small, "--hw", hw, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert asked == []


def test_a_profile_is_needed_and_one_that_is_not_there_is_said(command: Command, small: str) -> None:
    done = command("validate", small)
    assert done.returncode == 2
    assert "'roofline calibrate -o local.yaml' makes one of this machine" in done.stderr
    done = command("validate", small, "--hw", "no_such_box")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_calibration_that_is_not_there_or_damaged_is_said(command: Command, hw: Path, small: str) -> None:
    hw.write_text(f"{hw.read_text()}calibration: mybox.npz\n")
    for content in (None, b"no archive"):
        if content is not None:
            (hw.parent / "mybox.npz").write_bytes(content)
        done = command("validate", small, "--hw", hw)
        assert done.returncode == 2
        assert "mybox.npz" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_calibration_of_another_environment_is_said_before_measuring(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = SimpleNamespace(
        environment={"device": {"type": "cpu", "name": "another"}}, mode="eager", dtype="fp32", threads=2,
        anchor={"names": ["sgemm", "blocks", "copy"], "reference_s": [1e-3, 2e-3, 5e-4]},
        made_at="2026-11-27T09:00:00+00:00",
        ops=SimpleNamespace(key=["a"]), wholes=SimpleNamespace(network=["n"]),
    )  # fmt: skip
    monkeypatch.setattr(roofline.validation, "known_estimators", lambda hardware, dtype: (calibration, ESTIMATORS))
    done = command("validate", small, "--hw", hw, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("roofline: The predictions are for another environment than this one: device.name")
    data = json.loads(done.stdout)
    assert "another environment" in data["notes"][0]
    assert asked[0]["anchor_reference_s"] == (1e-3, 2e-3, 5e-4)
    assert asked[0]["threads"] == 2
    done = command("validate", small, "--hw", hw, "--threads", 3)
    assert done.returncode == 2
    assert "made with threads 2" in done.stderr


def test_what_a_users_own_file_prints_is_no_part_of_the_answer(
    command: Command, asked: list[dict[str, Any]], hw: Path, small: str
) -> None:
    nets = hw.parent / "nets.py"
    nets.write_text(f"{NETS}\nprint('hello')\n")
    done = command("validate", small, "--hw", hw, "--format", "json")
    json.loads(done.stdout)
    assert "hello" in done.stderr
