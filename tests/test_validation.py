"""Predictions frozen, measured and joined: what is right, what is wrong, and what nobody can say."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roofline import RooflineError, load_profile, models
from roofline.errors import CalibrationError, MeasurementError
from roofline.measurement import api
from roofline.measurement.result import Failure, Run
from roofline.validation import Asked, Setup, environment_notes, family_of, joined, setup, validate, verdict_of
from roofline.validation_layers import kernel_rows, reason, worst_layers
from roofline.validation_predictions import Predictions, graph_of, is_intact, predict_models
from roofline.validation_rows import why_unfit
from tests.validations import (
    ESTIMATORS,
    HARDWARE,
    SHAPE,
    FakeEstimator,
    frozen,
    layered,
    made_validation,
    measured,
    pair,
    predicted,
    run_of,
    validation_of,
    with_everything,
)

DOC = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
NETS = """
import torch
from torch import nn
def small(channels=4):
    return nn.Sequential(nn.Conv2d(3, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3), nn.Flatten())
def broken():
    raise RuntimeError("no such net")
"""


@pytest.fixture
def nets(tmp_path: Path, user_modules: None) -> str:
    (tmp_path / "nets.py").write_text(NETS)
    return str(tmp_path / "nets.py")


@pytest.fixture
def asked_of(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is measured; each model takes 3 ms, and none is."""
    calls: list[dict[str, Any]] = []

    def measure(references: Sequence[str], **options: Any) -> Run:
        calls.append({"references": list(references), **options})
        size = options["input_size"] or (3, 224, 224)
        shapes = ((options["batch"], *size),)
        return run_of(
            [
                replace(measured(name, 3e-3), input_shapes=shapes, batch=options["batch"], mode=options["mode"])
                for name in references
            ]
        )

    monkeypatch.setattr(api, "measure_models", measure)
    return calls


# --- right, wrong, undecided ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted_s", "interval", "verdict"),
    [
        (1.0, (0.99, 1.01), "right"),
        (1.0, (1 / 1.1, 1 / 0.9), "right"),  # 10 % off at either end, and no more
        (1.0, (0.90, 1.0), "undecided"),  # 11 % off at one end
        (1.0, (1.0, 1.12), "undecided"),
        (1.0, (0.8, 1.3), "undecided"),  # wrong on both sides, right in the middle
        (1.0, (1.12, 1.3), "wrong"),
        (1.0, (0.5, 0.9), "wrong"),
    ],
)
def test_a_prediction_is_right_only_wherever_the_measurement_may_lie(
    predicted_s: float, interval: tuple[float, float], verdict: str
) -> None:
    assert verdict_of(predicted_s, interval) == verdict


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.0, 1.0))
def test_the_verdict_is_what_every_time_in_the_interval_says(
    predicted_s: float, one: float, other: float, at: float
) -> None:
    low, high = sorted((one, other))
    verdict, within = verdict_of(predicted_s, (low, high)), low + at * (high - low)
    off = abs(predicted_s / within - 1)
    if verdict == "right":
        assert off <= 0.1 + 1e-9
    if verdict == "wrong":
        assert off > 0.1 - 1e-9


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"between": 0.1}, ""),
        ({"between": 0.11}, "2 processes differ by 11 %"),
        ({"between": None}, "in one process, whose own noise"),
        ({"status": "contended"}, "not fit to measure it: contended"),
        ({"status": "throttled"}, "not fit to measure it: throttled"),
        ({"status": "noisy"}, ""),  # its interval says how much it knows
        ({"status": "capped"}, ""),
        ({"is_interrupted": True}, "interrupted"),
        ({"mode": "channels_last"}, "ran in mode channels_last"),
    ],
)
def test_what_cannot_be_judged_by(changed: dict[str, Any], why: str) -> None:
    found = why_unfit(measured("net", 1e-3, **changed), "eager")
    assert (why in found) if why else not found
    row = validation_of([pair("net", 0.0, **changed)]).of("learned")[0]
    assert (row.verdict, bool(row.reason)) == (("undecided", True) if why else ("right", False))


def test_undecided_is_not_right() -> None:
    data = made_validation().to_dict()
    summary = data["summary"]
    assert {key: summary[key] for key in ("n", "decided", "right", "wrong", "undecided")} == {
        "n": 8, "decided": 5, "right": 3, "wrong": 2, "undecided": 3,
    }  # fmt: skip
    reasons = {row["model"]: row["reason"] for row in data["rows"] if row["estimator"] == "learned" and row["reason"]}
    assert reasons == {
        "bb_large": "its measurement, 39.2 ms to 40.8 ms, is on both sides of 10 %",
        "cc_small": "2 processes differ by 30 %",
        "cc_xl": "the machine was not fit to measure it: contended",
    }


def test_the_figures_are_of_decided_rows_and_beside_them_of_all_that_are_fit() -> None:
    summary = made_validation().summary()
    decided = [0.02, 0.04, 0.25, 0.2, 0.045]
    assert summary["median_error"] == pytest.approx(0.045)
    assert summary["mape"] == pytest.approx(sum(decided) / 5)
    assert summary["within_10"] == summary["right"] / summary["decided"] == 0.6
    assert summary["steady"]["n"] == 6, "that on both sides of the limit is fit"
    assert summary["steady"]["within_10"] == pytest.approx(4 / 6)


def test_every_estimator_has_the_same_fit_rows() -> None:
    made = made_validation()
    assert made.estimators == ("roofline", "calibrated", "learned")
    summaries = made.to_dict()["summaries"]
    assert [summary["estimator"] for summary in summaries] == list(made.estimators)
    assert {summary["steady"]["n"] for summary in summaries} == {6}
    assert summaries[0]["decided"] != summaries[2]["decided"], "the roofline is on one side of the limit"
    assert summaries[0]["steady"]["coverage_90"] is None, "it has no intervals"


def test_the_noise_ceiling_is_of_all_models() -> None:
    ceiling = made_validation().to_dict()["summary"]["noise_ceiling"]
    assert (ceiling["n"], ceiling["within_10"]) == (8, 7 / 8)


def test_families_are_apart() -> None:
    groups = {group["family"]: group for group in made_validation().families()}
    assert next(iter(groups)) == "bb", "that of the largest median error is first"
    assert groups["bb"] == {
        "family": "bb", "n": 2, "right": 0, "wrong": 1, "undecided": 1, "worst_error": pytest.approx(0.25),
        "median_error": pytest.approx((0.25 + 0.095) / 2), "bias": pytest.approx(0.1569, abs=1e-3),
    }  # fmt: skip


def test_too_noisy_is_more_than_a_fifth_unfit() -> None:
    fit = [pair(f"net{i}", 0.0) for i in range(4)]
    assert not validation_of([*fit, pair("odd", 0.0, between=0.5)]).is_too_noisy
    assert validation_of([*fit[:3], pair("odd", 0.0, between=0.5)]).is_too_noisy
    assert not validation_of([pair("net", 0.095, half_width=0.02)]).is_too_noisy, "a close call is no noise"
    busy = (Failure(model="x", reason="too busy", left_out=20),)
    assert validation_of(fit[:3], failures=busy).is_too_noisy
    assert not validation_of(fit, failures=(Failure(model="x", reason="no such model"),)).is_too_noisy


# --- predicting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "family"),
    [
        ("mobilenetv4_conv_m", "mobilenetv4"),
        ("MNv4-Conv-S", "mobilenetv4"),
        ("rexnet_100", "rexnet"),
        ("timm:mobilenetv3_large_100", "mobilenet"),
        ("timm:vgg16_bn", "vgg"),
        ("timm:vit_tiny_patch16_224", "vit"),
        ("torchvision:resnet50", "resnet"),
        ("timm:levit_128", "levit"),
        ("timm:DLA34", "dla"),
        ("timm:3dnet", "3dnet"),
        ("benchmarks/networks/se_resnet.py:se_resnet18", "se_resnet"),
        ("my.package.nets:small", "nets"),
        ("exports/mobilenetv3.small.pt2", "mobilenet"),
        ("rexnet_100.onnx", "rexnet"),
    ],
)
def test_families_of_references(reference: str, family: str) -> None:
    assert family_of(reference) == family


def test_families_of_the_zoo_are_its_modules() -> None:
    assert {family_of(entry.name) for entry in models.entries()} == {entry.family for entry in models.entries()}


def test_every_estimator_predicts_and_the_best_is_judged(nets: str) -> None:
    found = predict_models([Asked(reference=f"{nets}:small", input_size=(3, 8, 8), batch=2)], ESTIMATORS)
    assert found.judged == "learned"
    (model,) = found.models
    assert [guess.estimator for guess in model.guesses] == ["roofline", "calibrated", "learned"]
    assert model.input_shapes == ((2, 3, 8, 8),)
    assert model.guesses[0].interval90_s is None, "NaN is no interval"
    assert model.guesses[2].latency_s == pytest.approx(3e-3), "two convolutions and a ReLU"
    assert model.layers == ()
    assert predict_models([Asked(reference="mobilenetv2_050")], ESTIMATORS, judged="roofline").judged == "roofline"


def test_layers_are_those_of_the_table(nets: str) -> None:
    (model,) = predict_models([Asked(reference=f"{nets}:small", input_size=(3, 8, 8))], ESTIMATORS, layers=True).models
    assert [(layer.name, layer.kind, layer.latency_s) for layer in model.layers] == [
        ("0", "pointwise_conv", 1e-3), ("1", "activation", 1e-3), ("2", "conv", 1e-3),
    ]  # fmt: skip
    assert model.layers[0].macs == 3 * 4 * 64
    assert model.layers[0].kernel == "conv_1x1"


def test_the_layout_and_the_dtype_are_those_in_which_it_runs(nets: str) -> None:
    _, graph = graph_of(Asked(reference=f"{nets}:small", input_size=(3, 8, 8), mode="channels_last", dtype="bf16"))
    assert {op.outputs[0].dtype for op in graph.ops} == {"bfloat16"}


def test_models_of_one_name_are_told_apart_by_their_inputs(nets: str) -> None:
    sizes = [(8, 1), (8, 2), (10, 1)]
    asked = [Asked(reference=f"{nets}:small", input_size=(3, side, side), batch=batch) for side, batch in sizes]
    names = [model.name for model in predict_models([*asked, Asked(reference="mobilenetv2_050")], ESTIMATORS).models]
    small = f"{nets}:small at"
    assert names == [f"{small} 1x3x8x8", f"{small} 2x3x8x8", f"{small} 1x3x10x10", "mobilenetv2_050"]


def test_a_model_that_cannot_be_predicted_does_not_take_the_others_along(nets: str) -> None:
    found = predict_models(
        [Asked(reference=f"{nets}:broken"), Asked(reference=f"{nets}:small"), Asked(reference="nope")], ESTIMATORS
    )
    assert [model.asked.reference for model in found.models] == [f"{nets}:small"]
    assert [failure.model for failure in found.failures] == [f"{nets}:broken", "nope"]
    with pytest.raises(RooflineError, match="unknown model 'nope'"):
        predict_models([Asked(reference="nope")], ESTIMATORS)
    with pytest.raises(RooflineError, match="no such net; unknown model"):
        predict_models([Asked(reference=f"{nets}:broken"), Asked(reference="nope")], ESTIMATORS)


@pytest.mark.parametrize("wrong", [0.0, float("nan"), float("inf"), -1.0])
def test_what_is_no_time_is_no_prediction(nets: str, wrong: float) -> None:
    with pytest.raises(RooflineError, match=r"the estimator learned predicts .* which is no time"):
        predict_models([Asked(reference=f"{nets}:small")], {"learned": FakeEstimator("learned", wrong)})


@pytest.mark.parametrize(
    ("name", "message"),
    [("lerned", "no estimator is called 'lerned'.*Did you mean 'learned'"), ("calibrated", "needs a calibration")],
)
def test_an_estimator_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        predict_models([Asked(reference="mobilenetv2_050")], {"roofline": FakeEstimator("roofline")}, judged=name)


# --- frozen -----------------------------------------------------------------------------------------------------------


def test_the_hash_is_of_what_is_kept(nets: str) -> None:
    found = predict_models([Asked(reference=f"{nets}:small", input_size=(3, 8, 8))], ESTIMATORS, layers=True)
    read_back = json.loads(json.dumps(found.to_dict()))
    text = json.dumps(read_back["record"], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == read_back["sha256"] == found.sha256
    assert is_intact(read_back)
    read_back["record"]["models"][0]["predictions"][2]["latency_s"] *= 1 + 1e-15
    assert not is_intact(read_back)


def test_what_is_judged_is_what_was_frozen() -> None:
    data = with_everything().to_dict()
    kept = {
        (model["name"], guess["estimator"]): guess["latency_s"]
        for model in data["frozen"]["record"]["models"]
        for guess in model["predictions"]
    }
    rows = {(row["model"], row["estimator"]): row["predicted_s"] for row in data["rows"]}
    del rows["layered", "composed"]
    assert rows == kept


def test_predictions_are_frozen_before_anything_is_measured(nets: str, asked_of: list[dict[str, Any]]) -> None:
    told: list[tuple[Predictions, int]] = []
    made = validate(
        [Asked(reference=f"{nets}:small", input_size=(3, 8, 8))], ESTIMATORS, HARDWARE,
        freeze=lambda predictions: told.append((predictions, len(asked_of))),
    )  # fmt: skip
    ((predictions, measured_before),) = told
    assert measured_before == 0
    assert made.predictions == predictions
    assert len(asked_of) == 1
    assert [row.verdict for row in made.of("learned")] == ["right"]


# --- measuring --------------------------------------------------------------------------------------------------------


def test_models_run_as_they_were_calibrated(nets: str, asked_of: list[dict[str, Any]]) -> None:
    how = Setup(mode="channels_last", dtype="fp32", threads=2, keep_memory=False, anchor_reference_s=(1e-3, 2e-3, 5e-4))
    validate([Asked(reference=f"{nets}:small", input_size=(3, 8, 8))], ESTIMATORS, HARDWARE, how=how, per_layer=True,
             rounds=5, quiet_wait_s=9)  # fmt: skip
    (call,) = asked_of
    assert call == {
        "references": [f"{nets}:small"], "processes": 2, "per_layer": True, "progress": None, "device": "cpu",
        "mode": "channels_last", "dtype": "fp32", "threads": 2, "keep_memory": False,
        "anchor_reference_s": (1e-3, 2e-3, 5e-4), "batch": 1, "input_size": (3, 8, 8), "arguments": {}, "rounds": 5,
        "quiet_wait_s": 9,
    }  # fmt: skip


def test_sizes_are_measured_apart_and_all_at_one_reference_state(nets: str, asked_of: list[dict[str, Any]]) -> None:
    asked = [Asked(reference=f"{nets}:small", input_size=(3, size, size), batch=batch)
             for size, batch in ((8, 1), (16, 1), (8, 2))]  # fmt: skip
    made = validate(asked, ESTIMATORS, HARDWARE)
    assert [(call["input_size"], call["batch"]) for call in asked_of] == [
        ((3, 8, 8), 1),
        ((3, 16, 16), 1),
        ((3, 8, 8), 2),
    ]
    assert [call["anchor_reference_s"] for call in asked_of] == [None, *[(1e-3, 2e-3, 5e-4)] * 2]
    assert [row.model.input_shape for row in made.of("learned")] == [[1, 3, 8, 8], [1, 3, 16, 16], [2, 3, 8, 8]]


def test_what_is_measured_is_handed_over_at_once(nets: str, asked_of: list[dict[str, Any]]) -> None:
    """So that a run of hours that is killed has lost no more than the models of one size."""
    asked = [Asked(reference=f"{nets}:small", input_size=(3, size, size)) for size in (8, 16)]
    seen: list[tuple[int, int]] = []
    validate(asked, ESTIMATORS, HARDWARE, take=lambda so_far: seen.append((len(asked_of), len(so_far.models))))
    assert seen == [(1, 1), (2, 2)]


def test_not_all_models_are_in_memory_at_once(asked_of: list[dict[str, Any]], nets: str) -> None:
    asked = [Asked(reference=f"{nets}:small", input_size=(3, 8, 8), family=str(i)) for i in range(20)]
    validate(asked, ESTIMATORS, HARDWARE)
    assert [len(call["references"]) for call in asked_of] == [16, 4]


def test_what_cannot_be_measured_is_left_out(nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(references: Sequence[str], **options: Any) -> Run:
        if options["batch"] == 2:
            raise MeasurementError("no memory")
        found = [replace(measured(name, 3e-3), input_shapes=((1, 3, 8, 8),)) for name in references]
        return run_of(found, failures=(Failure(model="x", reason="why"),))

    monkeypatch.setattr(api, "measure_models", measure)
    asked = [Asked(reference=f"{nets}:small", input_size=(3, 8, 8), batch=batch) for batch in (1, 2)]
    made = validate(asked, ESTIMATORS, HARDWARE)
    assert len(made.models) == 1
    assert [failure.reason for failure in made.failures] == ["no memory", "why"]
    with pytest.raises(RooflineError, match="no memory"):
        validate(asked[1:], ESTIMATORS, HARDWARE)


def test_after_ctrl_c_nothing_more_is_measured(nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measure(references: Sequence[str], **options: Any) -> Run:
        calls.append(references)
        return run_of([], is_interrupted=True)

    monkeypatch.setattr(api, "measure_models", measure)
    made = validate([Asked(reference=f"{nets}:small", batch=batch) for batch in (1, 2)], ESTIMATORS, HARDWARE)
    assert len(calls) == 1
    assert made.is_interrupted
    assert made.to_dict()["verdict"] == "Nothing was measured, so nothing is said of the predictions."


def test_ctrl_c_in_a_later_run_keeps_the_earlier(
    nets: str, asked_of: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = api.measure_models

    def measure(references: Sequence[str], **options: Any) -> Run:
        if options["batch"] == 2:
            raise KeyboardInterrupt
        return before(references, **options)

    monkeypatch.setattr(api, "measure_models", measure)
    asked = [Asked(reference=f"{nets}:small", input_size=(3, 8, 8), batch=batch) for batch in (1, 2, 3)]
    made = validate(asked, ESTIMATORS, HARDWARE)
    assert made.is_interrupted
    assert len(made.models) == 1
    with pytest.raises(KeyboardInterrupt):
        validate(asked[1:], ESTIMATORS, HARDWARE)


def test_a_run_at_another_reference_state_is_refused() -> None:
    with pytest.raises(CalibrationError, match="another reference state"):
        joined(frozen([predicted("net", 1e-3)]), [run_of([measured("net", 1e-3)])], hardware=HARDWARE,
               how=Setup(anchor_reference_s=(1.0, 1.0, 1.0)))  # fmt: skip


def test_one_reference_with_two_sets_of_arguments_is_two_models() -> None:
    """Each is judged by its own measurement: of 1 ms and 2 ms, both right."""
    widths = (1.0, 2.0)
    asked = [
        replace(predicted("net", width * 1e-3), asked=Asked(reference="net", arguments={"width_mult": width}))
        for width in widths
    ]
    runs = [run_of([measured("net", width * 1e-3)]) for width in widths]
    built_with = [{"width_mult": width} for width in widths]
    made = joined(frozen(asked), runs, arguments=built_with, hardware=HARDWARE)
    assert [row.measured_s for row in made.of("learned")] == [1e-3, 2e-3]
    only = joined(frozen(asked), runs[:1], arguments=built_with[:1], hardware=HARDWARE)  # the other was not measured
    assert [model.predicted.asked.arguments for model in only.models] == [{"width_mult": 1.0}]


def test_what_ran_otherwise_than_it_was_predicted_is_undecided() -> None:
    one, other = pair("net", 0.0)
    made = validation_of([(replace(one, asked=replace(one.asked, mode="compile")), other)])
    assert "the prediction is for compile" in made.of("learned")[0].reason


# --- how models run ---------------------------------------------------------------------------------------------------


def calibration(**changed: Any) -> Any:
    """As far as validating looks at one."""
    from roofline.measurement.environment import environment

    given = {
        "environment": environment(), "mode": "channels_last", "dtype": "fp32", "threads": torch.get_num_threads(),
        "anchor": {"names": ["a"], "reference_s": [1e-3]}, "made_at": "2026-11-27T09:00:00+00:00",
        "ops": SimpleNamespace(key=["a", "b"]), "wholes": SimpleNamespace(network=["n"]),
    }  # fmt: skip
    return SimpleNamespace(**{**given, **changed})


def test_without_a_calibration_what_is_asked_for_holds() -> None:
    assert setup(None, mode="compile", threads=3) == Setup(mode="compile", threads=3)


def test_a_calibration_says_how_models_run() -> None:
    how = setup(calibration(threads=2))
    assert (how.mode, how.dtype, how.threads, how.anchor_reference_s) == ("channels_last", "fp32", 2, (1e-3,))
    assert how.to_dict()["calibration"] == {"made_at": "2026-11-27T09:00:00+00:00", "ops": 2, "networks": 1}
    assert setup(calibration(threads=2), threads=2, mode="channels_last") == how


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"threads": 3}, "made with threads 2, and threads 3 is asked for: leave out --threads"),
        ({"mode": "eager"}, "made with mode channels_last"),
        ({"dtype": "bf16"}, "made with dtype fp32"),
        ({"device": "cuda"}, "made with device cpu"),
    ],
)
def test_a_calibration_of_something_else_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        setup(calibration(threads=2), **asked)


def test_another_environment_is_said() -> None:
    one = calibration()
    assert environment_notes(one, setup(one)) == []
    other = calibration(environment={**one.environment, "versions": {"torch": "0.1"}})
    (note,) = environment_notes(other, setup(other))
    assert "for another environment than this one: versions.torch is" in note


# --- layers -----------------------------------------------------------------------------------------------------------


def test_layers_are_scaled_to_the_reference_state() -> None:
    """The whole took 12 ms beside them and takes 10 ms at reference: 1.32 ms is 1.1 ms."""
    (model,) = validation_of([layered()]).models
    assert model.layers[0].measured_s == pytest.approx(1.1e-3)
    assert model.layers[0].error == pytest.approx(1 / 1.1 - 1)
    assert model.layers[-1].error is None
    assert model.layers[-1].to_dict()["measured_ci95_s"] is None


def test_what_its_ops_add_up_to_stands_beside_the_estimators() -> None:
    made = validation_of([layered()])
    (row,) = made.of("composed")
    assert row.error == pytest.approx(-0.04), "0.48 of 12 ms are unexplained"
    assert made.estimators[-1] == "composed"
    assert made.judged == "learned"


def test_kernel_classes_add_up() -> None:
    (model,) = validation_of([layered()]).models
    rows = {row["kernel"]: row for row in kernel_rows([model.layers])}
    assert rows["conv_depthwise"]["layers"] == 3
    assert rows["conv_depthwise"]["predicted_s"] == pytest.approx(1.5e-3)
    assert rows["conv_depthwise"]["measured_s"] == pytest.approx(2.7e-3)
    assert rows["conv_depthwise"]["error"] == pytest.approx(1.5 / 2.7 - 1)
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert next(iter(rows)) == "conv_depthwise", "that with most time is first"


def test_layers_add_up_to_what_all_of_them_took_together() -> None:
    """As medians of skewed times do not: here they come to 5 % less."""
    one, other = layered()
    assert other.layers is not None
    gap = {**other.layers["gap"], "layers_s": 1.05 * other.layers["gap"]["layers_s"]}
    (model,) = validation_of([(one, replace(other, layers={**other.layers, "gap": gap}))]).models
    total_s = sum(layer.measured_s or 0.0 for layer in model.layers)
    assert total_s == pytest.approx(gap["layers_s"] * 10 / 12)


def test_the_worst_layers_have_a_reason() -> None:
    (model,) = validation_of([layered()]).models
    worst = worst_layers([("net", model.layers)], kernel_rows([model.layers]))
    assert [row["layer"] for row in worst][:2] == ["b2.dw", "b0.dw"]
    reasons = {row["layer"]: row["reason"] for row in worst}
    assert reasons["b0.dw"] == "like its whole class, whose 3 layers are predicted 44 % too fast"
    assert reasons["b2.dw"].startswith("one of few in its class: it reaches 667 MMACs/s, predicted 3.33 GMACs/s")
    assert reasons["b2.dw"].endswith("; its input is not contiguous")
    assert "no kernel class of its own" in reasons["odd"]
    assert "act" not in reasons, "it is not off"


def test_a_layer_whose_time_nobody_knows_is_no_miss() -> None:
    (model,) = validation_of([layered()]).models
    layer = replace(model.layers[0], measured_ci95_s=(0.8e-3, 1.4e-3))
    assert reason(layer, {"layers": 1, "error": 0.5}) == "its own time is known to 27 % only, either way"


def test_without_timed_layers_there_are_none() -> None:
    one, other = layered()
    (model,) = validation_of([(one, replace(other, layers=None))]).models
    assert model.layers == ()
    cut = {**(other.layers or {}), "rows": []}
    assert validation_of([(one, replace(other, layers=cut))]).models[0].layers == (), "others ran than were traced"


# --- docs/json.md -----------------------------------------------------------------------------------------------------

DOCUMENTED: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "validation": lambda data: [data],
    "validated prediction": lambda data: data["rows"],
    "noise ceiling": lambda data: [data["summary"]["noise_ceiling"]],
    "validated family": lambda data: data["families"],
    "kernel class": lambda data: data["kernels"],
    "validated layer": lambda data: [row for model in data["layers"] for row in model["rows"]],
    "worst layer": lambda data: data["worst_layers"],
    "frozen record": lambda data: [data["frozen"]["record"]],
    "frozen model": lambda data: data["frozen"]["record"]["models"],
    "frozen prediction": lambda data: data["frozen"]["record"]["models"][0]["predictions"],
    "setup": lambda data: [data["setup"]],
}
ISSUED = "model family mode predicted_s interval90_s measured_s measured_ci95_s machine_factor error verdict estimator"


def documented(what: str) -> list[str]:
    section = re.search(rf"^\| of a {what} \|.*\n\| ---.*\n((?:\|.*\n)*)", DOC, re.MULTILINE)
    assert section is not None, what
    return [
        key
        for names in re.findall(r"^\| (`.*?`) \|", section[1], re.MULTILINE)
        for key in re.findall(r"`(\w+)`", names)
    ]


@pytest.mark.parametrize("what", DOCUMENTED)
def test_the_documented_keys_are_the_real_ones(what: str) -> None:
    found = DOCUMENTED[what](with_everything().to_dict())
    assert found
    for item in found:
        assert list(item) == documented(what)


def test_the_documented_figures_of_a_summary_are_the_real_ones() -> None:
    summary = with_everything().summary()
    steady = summary.pop("steady")
    assert [*summary, "steady"] == documented("summary")
    figures = [key for key in summary if key not in ("estimator", "decided", "right", "wrong", "undecided")]
    assert list(steady) == figures


def test_version_1_keeps_its_promised_keys() -> None:
    data = made_validation().to_dict()
    assert data["schema"] == "roofline/validation/1"
    assert set(ISSUED.split()) <= set(data["rows"][0])
    assert json.loads(made_validation().to_json()) == json.loads(json.dumps(data))


# --- together with the real parts -------------------------------------------------------------------------------------


def test_a_plain_profile_is_validated_too(asked_of: list[dict[str, Any]]) -> None:
    from roofline.validation import known_estimators

    hardware = load_profile("raspberrypi_5")
    found, estimators = known_estimators(hardware)
    assert found is None
    assert list(estimators) == ["roofline"]
    made = validate([Asked(reference="mobilenetv2_050", input_size=(3, 224, 224))], estimators, hardware)
    (row,) = made.rows
    assert row.guess.latency_s > 0
    assert made.to_dict()["rows"][0]["input_shape"] == [1, *SHAPE[1:2], 224, 224]


def test_a_calibrated_profile_is_validated_by_all_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nets: str
) -> None:
    """From the file of a calibration, by every real estimator and baseline, to verdicts and layers."""
    from roofline.calibration.file import save
    from roofline.calibration.profile import profile_of
    from roofline.measurement.environment import environment
    from roofline.validation import known_estimators
    from tests.calibration.known_laws import calibration as from_law

    here = environment()
    made = replace(from_law(noise=0.02), environment=here, threads=here["threads"]["intra_op"])
    save(made, tmp_path / "local.calibration.npz")
    (tmp_path / "local.yaml").write_text(profile_of(made, "local", file="local.calibration.npz"))
    hardware = load_profile(tmp_path / "local.yaml")
    found, estimators = known_estimators(hardware)
    assert found is not None
    assert list(estimators) == ["roofline", "macs", "three_constants", "calibrated", "learned"]
    how = setup(found)
    assert how.threads == made.threads

    def measure(references: Sequence[str], **options: Any) -> Run:
        anchor = {"reference_s": list(how.anchor_reference_s or (1.0,)), "factor": {"median": 1.0}}
        each = replace(measured(references[0], 1e-3), input_shapes=((1, 3, 32, 32),))
        return run_of([each], anchor=anchor)

    monkeypatch.setattr(api, "measure_models", measure)
    made_of = validate(
        [Asked(reference=f"{nets}:small", input_size=(3, 32, 32))], estimators, hardware, how=how, per_layer=True
    )
    assert made_of.judged == "learned"
    data = made_of.to_dict()
    assert [row["estimator"] for row in data["rows"]] == list(estimators)
    assert all(row["predicted_s"] > 0 for row in data["rows"])
    assert [row["interval90_s"] is None for row in data["rows"]] == [True, True, True, False, False]
    layers = data["frozen"]["record"]["models"][0]["layers"]
    assert all(layer["kernel"] and layer["latency_s"] > 0 for layer in layers), "no op is silently free"
