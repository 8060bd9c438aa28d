"""Exported graphs as model references: what counts takes them, and what runs runs them."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from roofline.commands.validate import _runtime
from roofline.crosscheck import cross_check
from roofline.errors import CalibrationError, MeasurementError, ModelError
from roofline.loading import load
from roofline.measurement.clock import SystemClock, WallTimer
from roofline.measurement.per_layer import layer_times, layer_times_of
from roofline.measurement.subject import of_reference
from roofline.validation import validate
from roofline.validation_predictions import Asked
from tests.exported.networks import Block, with_numbers
from tests.validations import ESTIMATORS, HARDWARE, measured, run_of

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
    with pytest.raises(ModelError, match="takes no argument 'width' but sizes of its open dimensions, whole numbers"):
        load(str(block), arguments={"width": 0.5})


def test_sweep_and_compare(block: Path, command: Command) -> None:
    swept = command("sweep", block, "--format", "csv")
    assert swept.returncode == 0, swept.stderr
    assert str(products(1, 16)) in swept.stdout
    compared = command("compare", block, "mobilenetv3_small_100", "--hw", "pixel6_tpu", "--format", "json")
    assert compared.returncode == 0, compared.stderr


@pytest.mark.parametrize("dtype", [None, "bf16"])
def test_what_is_measured_is_the_live_model(block: Path, dtype: str | None) -> None:
    subject = of_reference(str(block), timer=WallTimer(SystemClock()), batch=2, dtype=dtype)
    assert subject.input_shapes == ((2, 16),)
    assert subject.dtype == (dtype or "fp32")
    live = with_numbers(Block()).to(torch.bfloat16 if dtype else torch.float32)
    assert subject.params == sum(parameter.numel() for parameter in live.parameters())
    with subject.context():
        torch.testing.assert_close(subject.call(), (live(*subject.inputs),))
    assert subject.subnormal_share() == 0


def test_its_layers_are_timed_by_name(block: Path) -> None:
    subject = of_reference(str(block), timer=WallTimer(SystemClock()))
    assert subject.module is not None
    times = layer_times(subject.module, subject.inputs, rounds=2, warm_up=1, profiled_rounds=0)
    live = layer_times(with_numbers(Block()), subject.inputs, rounds=1, warm_up=0, profiled_rounds=0)
    assert [row["name"] for row in times.rows()] == [row["name"] for row in live.rows()]
    assert all(row["latency_s"] > 0 for row in times.rows())
    assert times.gap.ops == live.gap.ops


def test_a_compiler_gets_it_as_one_function(block: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compiler(function: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    subject = of_reference(str(block), timer=WallTimer(SystemClock()), mode="compile", batch=2)
    (function,) = compiled
    assert isinstance(function, torch.fx.GraphModule)
    assert not list(function.children())
    with subject.context():
        assert subject.module is not None
        torch.testing.assert_close(subject.call(), subject.module(*subject.inputs))


def test_measure(block: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.measurement.stopping.WARM_CAP_S", 0.02)
    for place in ("conditions", "session"):
        monkeypatch.setattr(f"roofline.measurement.{place}.MAX_FACTOR", 1e9)  # a busy machine measures, too
    measured = command("measure", block, "--max-time", "0.05", "--rounds", "1", "--no-db", "--format", "json")
    assert measured.returncode in (0, 3), measured.stderr
    (found,) = json.loads(measured.stdout)["measurements"]
    assert (found["model"]["reference"], found["mode"]) == (str(block), "eager")
    assert found["model"]["input_shape"] == [1, 16]


@pytest.fixture(scope="module", params=["net.pt2", "net.onnx"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose batch is fixed at 4."""
    path: Path = tmp_path_factory.mktemp("exported") / request.param
    if path.suffix == ".pt2":
        torch.export.save(torch.export.export(nn.Linear(6, 2), (torch.zeros(4, 6),)), path)
        return path
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    shapes = {"x": [4, 6], "y": [4, 2]}
    given, result = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    numbers = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [6, 2], [0.5] * 12)
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "net", [given], [result], [numbers]))
    model.ir_version, model.opset_import[0].version = 8, 17
    path.write_bytes(model.SerializeToString())
    return path


def test_every_row_says_the_batch_that_there_was(pair: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed = command("analyze", pair, "--hw", "pixel6_tpu", "--format", "json")
    found = json.loads(analyzed.stdout)
    assert (found["batch"], found["model"]["input_shape"]) == (4, [4, 6])
    assert "batch 4" in found["defaults"]
    subject = of_reference(str(pair), timer=WallTimer(SystemClock()))
    assert (subject.batch, subject.input_shapes) == (4, ((4, 6),))

    def measure(references: list[str], **options: Any) -> Any:
        assert options["batch"] == 1  # which stands for the file's own
        timed = measured(
            references[0], 1e-3, reference=str(pair), batch=subject.batch, input_shapes=subject.input_shapes
        )
        return run_of([timed])

    monkeypatch.setattr("roofline.measurement.api.measure_models", measure)
    validation = validate([Asked(reference=str(pair))], ESTIMATORS, HARDWARE)
    data = validation.to_dict()
    assert {row["batch"] for row in data["rows"]} == {4}
    assert [model["batch"] for model in data["frozen"]["record"]["models"]] == [4]
    assert len(data["rows"]) == len(ESTIMATORS)


def test_layers_of_a_runtime_of_its_own_are_not_timed(pair: Path) -> None:
    if pair.suffix == ".pt2":
        assert layer_times_of(str(pair), rounds=1, warm_up=0, profiled_rounds=0).layers.macs.sum() == 4 * 6 * 2
        return
    with pytest.raises(MeasurementError, match=r"net\.onnx has no layers to time: onnxruntime runs a graph of its own"):
        layer_times_of(str(pair))


def test_what_its_inputs_are_is_said_by_their_sizes(block: Path, command: Command) -> None:
    result = command("analyze", block, "--input", "ids:int64[1,8]", "--hw", "pixel6_tpu")
    assert result.returncode == 2
    assert "takes no other (ids:int64[1,8]): --input-size says how large the first one is, and --arg NAME=N" in (
        result.stderr
    )


def test_an_onnx_file_is_no_module(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx is run as it is, by onnxruntime, and is no module"):
        load(str(tmp_path / "net.onnx"), weights=True)


def test_validate_of_an_onnx_file_is_of_its_runtime(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def stop(models: Any, estimators: Any, hardware: Any, *, how: Any, **options: Any) -> Any:
        asked.append(how)
        raise MeasurementError("enough")

    monkeypatch.setattr("roofline.validation.validate", stop)
    file = tmp_path / "net.onnx"
    assert command("validate", file, "--hw", "raspberrypi_4").stderr == "roofline: enough\n"
    assert [how.mode for how in asked] == ["onnxruntime"]
    for arguments, said in (
        ((file, "--mode", "compile"), "is run by onnxruntime, and not in mode compile: leave out the mode"),
        ((file, "mobilenetv3_small_100"), "is run by onnxruntime, and others are not: validate them one after"),
    ):
        result = command("validate", *arguments, "--hw", "raspberrypi_4")
        assert (result.returncode, said in result.stderr) == (2, True), result.stderr
    with pytest.raises(CalibrationError, match="the calibration is of PyTorch"):
        _runtime([str(file)], None, is_calibrated=True)
    assert _runtime(["net.pt2"], "compile", is_calibrated=True) is None


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
