"""ONNX files are run by ONNX Runtime as they are: it gives what numpy gives, and what cannot be is one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from roofline.errors import MeasurementError, ModelError, RooflineError  # noqa: E402
from roofline.measurement.api import measure  # noqa: E402
from roofline.measurement.clock import WallTimer  # noqa: E402
from roofline.measurement.environment import using_threads  # noqa: E402
from roofline.measurement.onnx_runtime import of_onnx  # noqa: E402
from roofline.measurement.subject import Subject, of_reference  # noqa: E402
from tests.measurement.fakes import FakeClock  # noqa: E402

TIMER = WallTimer(FakeClock())
WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def saved(path: Path, *, external: str = "", indices: bool = False, batch: Any = "N", op: str = "MatMul") -> Path:
    """A product with a weight of 4 x 3, or rows of it by index."""
    weight = numpy_helper.from_array(WEIGHT, "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", external
    if indices:
        node = helper.make_node("Gather", ["w", "x"], ["y"])
        given = helper.make_tensor_value_info("x", TensorProto.INT64, [batch, None])
    else:
        node = helper.make_node(op, ["x", "w"], ["y"])
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "net", [given], [result], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def subject(path: Path, **options: Any) -> Subject:
    return of_onnx(str(path), timer=TIMER, **options)


def given_out(made: Subject) -> np.ndarray[Any, Any]:
    (output,) = cast(list[Any], made.call())
    return np.asarray(output)


def test_it_computes_what_the_file_says(tmp_path: Path) -> None:
    made = subject(saved(tmp_path / "net.onnx"), batch=5)
    assert (made.mode, made.dtype, made.device, made.batch) == ("onnxruntime", "fp32", "cpu", 5)
    assert made.input_shapes == ((5, 4),)
    assert made.versions == {"onnxruntime": onnxruntime.__version__}
    output = given_out(made)
    np.testing.assert_allclose(output, made.inputs[0].numpy() @ WEIGHT, rtol=1e-5)


def test_open_dimensions_and_indices(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", indices=True)
    made = subject(path, batch=2, arguments={"x.1": 7})
    assert made.input_shapes == ((2, 7),)
    assert made.name == f"{path}(x.1=7)"
    output = given_out(made)
    np.testing.assert_array_equal(output, WEIGHT[made.inputs[0].numpy()])
    assert subject(path, input_size=(3,)).input_shapes == ((1, 3),)
    said = r"net\.onnx: the file leaves x\.1 \(dimension 1 of input 'x'\) open: say how large, --arg x\.1=N"
    with pytest.raises(ModelError, match=said):
        subject(path)
    with pytest.raises(ModelError, match=r"the batch of input 'x' is fixed at 2 in the file \(got 3\)"):
        subject(saved(tmp_path / "fixed.onnx", batch=2), batch=3)
    assert subject(tmp_path / "fixed.onnx").input_shapes == ((2, 4),)


def test_the_threads_are_those_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    made = onnxruntime.InferenceSession

    def session(path: str, options: Any, **others: Any) -> Any:
        asked.append((options.intra_op_num_threads, options.inter_op_num_threads, others))
        return made(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with using_threads(1):
        subject(saved(tmp_path / "net.onnx"))
    assert asked == [(1, 1, {"providers": ["CPUExecutionProvider"]})]


def test_weights_whose_file_is_missing_are_made_up(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", external="net.data")
    made = subject(path)
    assert made.notes == ["the file of 1 of its weights is missing, so these are random"]
    output = given_out(made)
    assert np.isfinite(output).all()
    assert np.ptp(output) > 0
    (tmp_path / "net.data").write_bytes(WEIGHT.tobytes())
    there = subject(path)
    output = given_out(there)
    np.testing.assert_allclose(output, there.inputs[0].numpy() @ WEIGHT, rtol=1e-5)
    assert there.notes == []
    with pytest.raises(ModelError, match="leaves the folder: refused"):
        subject(saved(tmp_path / "away.onnx", external="../net.data"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "compile"}, r"is run by onnxruntime, and not in mode compile: leave out the mode"),
        ({"mode": "channels_last"}, r"not in mode channels_last"),
        ({"device": "cuda"}, r"and that on the CPU alone: leave out cuda"),
        ({"dtype": "fp16"}, r"is fp32 as it was exported, and is run as it is: leave out fp16"),
        ({"arguments": {"act": "relu"}}, r"it has no activation function that relu could take the place of"),
        ({"arguments": {"x": "int64[1,3]"}}, r"takes no other \(x:int64\[1,3\]\): --input-size"),
        ({"arguments": {"M": 3}}, r"no dimension is called 'M': it has N"),
    ],
)  # fmt: skip
def test_what_it_cannot_be_asked_for(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RooflineError, match=said):
        subject(saved(tmp_path / "net.onnx"), **options)


def test_its_own_dtype_may_be_named(tmp_path: Path) -> None:
    assert subject(saved(tmp_path / "net.onnx"), dtype="fp32", mode="eager").mode == "onnxruntime"


def test_what_does_not_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx: no such file"):
        subject(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match=r"net\.onnx cannot be run by onnxruntime [\d.]+: .*NoSuchOp") as caught:
        subject(saved(tmp_path / "net.onnx", op="NoSuchOp"))
    assert "\n" not in str(caught.value)
    (tmp_path / "cut.onnx").write_bytes(saved(tmp_path / "net.onnx").read_bytes()[:40])
    with pytest.raises(ModelError, match=r"cut\.onnx (is no whole ONNX file|holds no ONNX graph|cannot be run)"):
        subject(tmp_path / "cut.onnx")


def test_without_onnxruntime_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MeasurementError, match=r"which is not there: pip install 'roofline-profiler\[onnxruntime\]'"):
        subject(saved(tmp_path / "net.onnx"))


def test_without_the_onnx_package_it_runs_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert subject(path).input_shapes == ((1, 4),)


def test_the_mode_is_for_nothing_else(tmp_path: Path) -> None:
    assert of_reference(str(saved(tmp_path / "net.onnx")), timer=TIMER).mode == "onnxruntime"
    with pytest.raises(MeasurementError, match=r"mode onnxruntime is how \.onnx files run, and Linear is none"):
        measure(torch.nn.Linear(2, 2), [torch.zeros(1, 2)], mode="onnxruntime")


def test_a_measurement_says_what_ran_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.measurement.stopping.WARM_CAP_S", 0.02)
    for place in ("conditions", "session"):
        monkeypatch.setattr(f"roofline.measurement.{place}.MAX_FACTOR", 1e9)  # a busy machine measures, too
    found = measure(str(saved(tmp_path / "net.onnx")), max_s=0.05, rounds=1, per_layer=True)
    assert (found.mode, found.params, found.subnormal_share) == ("onnxruntime", None, None)
    assert found.environment["versions"]["onnxruntime"] == onnxruntime.__version__
    assert "its layers are not timed: onnxruntime runs a graph of its own making" in found.notes
