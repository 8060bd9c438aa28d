"""The present factor on a machine that exists on paper: what it says, and when it says nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roofline.analysis import Analysis, analyze
from roofline.calibration.data import Calibration
from roofline.calibration.file import save
from roofline.calibration.profile import profile_of
from roofline.measurement import present as module
from roofline.measurement.anchor import TorchAnchor
from roofline.measurement.environment import environment
from roofline.measurement.present import FEWEST_SAMPLES, SAMPLED_S, WARM_SAMPLES, Present, present
from tests.calibration import known_laws
from tests.measurement.fakes import ANCHOR_S, Machine, always

MODEL = "mobilenetv4_conv_s"
ANCHOR = {"names": ["sgemm", "blocks", "copy"], "weights": [0.4, 0.6, 0.0], "reference_s": list(ANCHOR_S)}


def calibration(**changes: Any) -> Calibration:
    """Of this machine, beside the anchor of `tests.measurement.fakes`."""
    here = environment()
    given: dict[str, Any] = {"anchor": ANCHOR, "environment": here, "threads": here["threads"]["intra_op"]}
    return replace(known_laws.calibration(noise=0.02), **(given | changes))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("present")
    made = calibration()
    save(made, folder / "local.calibration.npz")
    (folder / "local.yaml").write_text(profile_of(made, "local", file="local.calibration.npz"))
    return folder / "local.yaml"


@pytest.fixture(scope="module")
def predicted(local: Path) -> Analysis:
    return analyze(MODEL, hw=local)


@pytest.mark.parametrize("slowdown", [0.7, 1.0, 1.3, 2.0])
def test_it_is_how_many_times_as_slow_the_machine_is(slowdown: float) -> None:
    machine = Machine(slowdown=always(slowdown))
    found = present(calibration(), machine)
    assert found is not None
    assert found.factor == pytest.approx(slowdown)
    assert found.quartiles == pytest.approx((slowdown, slowdown))
    assert machine.anchors == WARM_SAMPLES + found.samples
    sampled_s = found.samples * slowdown * sum(ANCHOR_S)
    assert SAMPLED_S <= sampled_s < SAMPLED_S + slowdown * sum(ANCHOR_S)


def test_parts_count_as_when_it_was_calibrated() -> None:
    """A part that takes 16 times as long and weighs a quarter doubles the factor."""
    slow = replace_first(Machine(), 16.0)
    found = present(calibration(anchor={**ANCHOR, "weights": [0.25, 0.75, 0.0]}), slow)
    assert found is not None
    assert found.factor == pytest.approx(2.0)


def replace_first(machine: Machine, factor: float) -> Any:
    class Uneven:
        names, weights = machine.names, machine.weights

        def sample(self) -> tuple[float, ...]:
            first_s, *others_s = machine.sample()
            return factor * first_s, *others_s

    return Uneven()


def test_first_calls_do_not_count() -> None:
    machine = Machine()
    machine.slowdown = lambda at_s: 50.0 if machine.anchors <= WARM_SAMPLES else 1.1
    found = present(calibration(), machine)
    assert found is not None
    assert found.quartiles == pytest.approx((1.1, 1.1))


def test_a_machine_that_is_kept_busy_is_sampled_no_longer_than_needed() -> None:
    found = present(calibration(), Machine(slowdown=always(13.0)))
    assert found is not None
    assert (found.samples, found.is_contended) == (FEWEST_SAMPLES, True)


def test_a_quarter_of_disturbed_samples_moves_quartiles_and_not_the_factor() -> None:
    machine = Machine()
    machine.slowdown = lambda at_s: 4.0 if machine.anchors % 3 == 0 else 1.2
    found = present(calibration(), machine)
    assert found is not None
    assert found.factor == pytest.approx(1.2)
    assert found.quartiles == pytest.approx((1.2, 4.0))


@pytest.mark.parametrize(
    "anchor", [{}, {**ANCHOR, "names": ["sgemm", "conv", "copy"]}], ids=["without an anchor", "beside another one"]
)
def test_of_another_anchor_nothing_is_told(anchor: dict[str, Any]) -> None:
    machine = Machine()
    assert present(calibration(anchor=anchor), machine) is None
    assert machine.anchors == 0


def test_the_anchor_is_the_one_of_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    made = calibration()
    monkeypatch.setattr("roofline.measurement.allocator.keep_memory", lambda: None)
    monkeypatch.setattr("roofline.measurement.allocator.policy", lambda: "kept")
    flags = {**made.environment["flags"], "freed_memory": "kept"}
    assert isinstance(module.this_machine(replace(made, environment={**made.environment, "flags": flags})), TorchAnchor)


def test_where_freed_memory_goes_elsewhere_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The anchor would pay for page faults, or not pay for them, other than beside the calibration."""
    made = calibration()
    for wanted, here in (("kept", "preloaded"), ("system", "kept")):
        monkeypatch.setattr("roofline.measurement.allocator.keep_memory", lambda: None)
        monkeypatch.setattr("roofline.measurement.allocator.policy", lambda here=here: here)
        flags = {**made.environment["flags"], "freed_memory": wanted}
        assert present(replace(made, environment={**made.environment, "flags": flags})) is None


# --- beside a prediction ----------------------------------------------------------------------------------------------


def test_the_prediction_stays_for_the_reference_state_and_the_present_stands_beside_it(predicted: Analysis) -> None:
    now = predicted.at_present(Machine(slowdown=always(1.5)))
    assert now.totals() == predicted.totals()
    assert now.present_latency_s == pytest.approx(1.5 * predicted.totals()["latency_s"])
    data = json.loads(now.to_json())
    assert data["present"] == {
        "factor": pytest.approx(1.5), "quartiles": pytest.approx([1.5, 1.5]), "samples": 20,
        "latency_s": pytest.approx(1.5 * predicted.totals()["latency_s"]),
    }  # fmt: skip
    (said,) = (note for note in data["notes"] if "just now" in note)
    assert " if it ran now: just now this machine takes 1.5 times as long as at that state" in said
    assert predicted.to_dict()["present"] is None
    assert not any("just now" in note for note in predicted.to_dict()["notes"])


def test_among_others_no_latency_is_told(predicted: Analysis) -> None:
    now = predicted.at_present(Machine(slowdown=always(13.0)))
    data = now.to_dict()
    assert (data["present"]["factor"], data["present"]["latency_s"]) == (pytest.approx(13.0), None)
    assert any(note.startswith("Just now this machine takes 13 times as long") for note in data["notes"])


@pytest.mark.parametrize("how", ["roofline", "elsewhere", "uncalibrated"])
def test_only_a_prediction_for_this_machine_has_a_present(
    how: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    if how == "elsewhere":
        monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    found = analyze(
        MODEL, hw="pixel6_tpu" if how == "uncalibrated" else local, estimator="roofline" if how == "roofline" else None
    )
    assert found.at_present(machine).present is None
    assert machine.anchors == 0


def test_the_command_tells_it_unless_it_is_not_wanted(
    local: Path,
    tmp_path: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(slowdown=always(1.25))
    monkeypatch.setattr(module, "this_machine", lambda calibration: machine)
    page = tmp_path / "page.html"
    told = command("analyze", MODEL, "--hw", local, "--html", page)
    assert told.returncode == 0
    assert "just now this machine takes 1.25 times as long" in " ".join(told.stdout.split())
    assert "just now this machine takes 1.25 times as long" in page.read_text(encoding="utf-8")
    timed = machine.anchors
    plain = command("analyze", MODEL, "--hw", local, "--no-present", "--format", "json")
    assert json.loads(plain.stdout)["present"] is None
    assert machine.anchors == timed > 0


def test_a_present_is_its_figures() -> None:
    assert Present(factor=1.2, quartiles=(1.1, 1.3), samples=9).to_dict() == {
        "factor": 1.2, "quartiles": [1.1, 1.3], "samples": 9,
    }  # fmt: skip
