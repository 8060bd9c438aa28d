"""What is timed: real tensors, the mode that was asked for, and one clear line where it cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from roofline.errors import MeasurementError, ModelError
from roofline.measurement.clock import WallTimer
from roofline.measurement.subject import (
    MAX_SUBNORMAL,
    Subject,
    check_request,
    in_one_line,
    of_callable,
    of_module,
    of_reference,
    random_inputs,
)
from tests.measurement.fakes import FakeClock

TIMER = WallTimer(FakeClock())


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def images(*sizes: int) -> torch.Tensor:
    return torch.randn(*(sizes or (2, 3, 16, 16)))


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_reference_is_built_with_weights() -> None:
    subject = of_reference("mobilenetv4_conv_s", timer=TIMER, input_size=(3, 64, 64), batch=2)
    assert subject.params == 3_774_024  # MobileNetV4-Conv-S
    assert subject.input_shapes == ((2, 3, 64, 64),)
    assert (subject.batch, subject.dtype, subject.label) == (2, "fp32", "mobilenetv4_conv_s")
    with subject.context():
        assert torch.is_inference_mode_enabled()
        output = subject.call()
    assert isinstance(output, torch.Tensor)
    assert output.shape == (2, 1000)
    assert output.isfinite().all()


def test_weights_and_inputs_are_those_of_the_seed_and_leave_the_users_alone() -> None:
    def first(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        subject = of_reference("mobilenetv4_conv_s", timer=TIMER, input_size=(3, 32, 32), seed=seed)
        assert subject.module is not None
        return next(subject.module.parameters()), subject.inputs[0]

    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, again, other = first(1), first(1), first(2)
    assert torch.rand(1) == before
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_module_is_put_into_eval_mode() -> None:
    module = net()
    subject = of_module(module, [images()], timer=TIMER)
    assert not any(each.training for each in module.modules())
    assert subject.name == "Sequential"
    assert subject.params == 3 * 8 * 9 + 8 + 16
    assert subject.batch == 2


@pytest.mark.parametrize(("dtype", "want"), [("fp16", torch.float16), ("bf16", torch.bfloat16), (None, torch.float32)])
def test_weights_and_floating_inputs_are_cast(dtype: str | None, want: torch.dtype) -> None:
    subject = of_module(nn.Linear(4, 4), [torch.randn(1, 4)], timer=TIMER, dtype=dtype)
    assert subject.inputs[0].dtype == want
    assert subject.dtype == (dtype or "fp32")
    output = subject.call()
    assert isinstance(output, torch.Tensor)
    assert output.dtype == want


def test_integer_inputs_are_not_cast() -> None:
    subject = of_module(nn.Embedding(10, 4), [torch.tensor([1, 2])], timer=TIMER, dtype="bf16")
    assert subject.inputs[0].dtype == torch.int64


def test_channels_last_lays_out_weights_and_inputs() -> None:
    subject = of_module(net(), [images()], timer=TIMER, mode="channels_last")
    assert subject.inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert next(subject.module.parameters()).is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]
    assert subject.mode == "channels_last"
    assert subject.fallback is None


def test_a_module_without_weights_cannot_run() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 2)
    with pytest.raises(MeasurementError, match="Linear is on the meta device and has no weights"):
        of_module(module, [torch.zeros(2)], timer=TIMER)


def test_a_file_of_ones_own(tmp_path: Path, user_modules: None) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from torch import nn\ndef make(width=4):\n    return nn.Conv2d(3, width, 1)\n")
    subject = of_reference(f"{file}:make", timer=TIMER, input_size=(3, 8, 8), arguments={"width": 6})
    assert subject.params == 3 * 6 + 6
    assert next(subject.module.parameters()).abs().sum() > 0  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="no such file"):
        of_reference(f"{tmp_path}/gone.py:make", timer=TIMER)


# --- functions --------------------------------------------------------------------------------------------------------


def test_a_function_is_called_with_its_inputs() -> None:
    def double(x: torch.Tensor, times: int) -> torch.Tensor:
        return x * times

    subject = of_callable(double, [torch.ones(3), 2], timer=TIMER, dtype="bf16")
    assert torch.equal(subject.call(), torch.full((3,), 2.0, dtype=torch.bfloat16))  # type: ignore[arg-type]
    assert subject.input_shapes == ((3,),)
    assert subject.name.endswith("double")
    assert (subject.params, subject.subnormal_share()) == (None, None)


def test_a_function_without_inputs_is_called_as_it_is() -> None:
    def nothing() -> None:
        pass

    assert of_callable(nothing, [], timer=TIMER).call is nothing


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_inputs_are_normal_and_indices_in_the_range_of_the_smallest_table() -> None:
    module = nn.ModuleList([nn.Embedding(50, 2), nn.Embedding(7, 2)])
    normal, indices, flags = random_inputs(
        [(100, 100), (1000,), (1000,)], [torch.float32, torch.int64, torch.bool], module=module
    )
    assert abs(float(normal.mean())) < 0.05
    assert abs(float(normal.std()) - 1) < 0.05
    assert set(indices.tolist()) == set(range(7))
    assert set(flags.tolist()) == {False, True}


class Fading(nn.Module):
    """Multiplies down to where half-precision-like subnormals begin in fp32."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        faded: torch.Tensor = self.inner(x * self.scale)
        return faded * 1e3


@pytest.mark.parametrize(("scale", "subnormal"), [(1.0, False), (1e-40, True)])
def test_subnormal_numbers_are_found_where_they_arise(scale: float, subnormal: bool) -> None:
    subject = of_module(Fading(scale), [torch.randn(1000)], timer=TIMER)
    share = subject.subnormal_share()
    assert share is not None
    assert (share > MAX_SUBNORMAL) is subnormal
    assert (share > 0.9) is subnormal
    assert subject.module is not None
    assert not any(each._forward_hooks for each in subject.module.modules())


# --- what may be asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("tpu", None, "eager"), "unknown device 'tpu': cpu or cuda can be measured"),
        (("cpu", "int8", "eager"), "int8 cannot be measured: it takes a model that was quantised"),
        (("cpu", "fp8", "eager"), "unknown dtype 'fp8' .known: fp32, fp16, bf16."),
        (("cpu", None, "compiled"), "unknown mode 'compiled' .*Did you mean 'compile'"),
        (("cpu", None, "cudagraph"), "mode cudagraph needs --device cuda"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(request_: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        check_request(*request_)


def test_cuda_without_a_gpu_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MeasurementError, match="there is no CUDA device"):
        check_request("cuda", None, "eager")


# --- what does not run ------------------------------------------------------------------------------------------------


def failing(error: Exception) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


def test_a_model_that_does_not_run_in_the_dtype_says_so() -> None:
    subject = Subject(
        name="net", timer=TIMER, dtype="fp16", call=failing(RuntimeError("\"x\" not implemented for 'Half'"))
    )
    with pytest.raises(MeasurementError, match=r"net does not run in fp16 on cpu: RuntimeError: .x. not implemented"):
        subject.first_call()


def test_an_error_is_told_in_one_line() -> None:
    assert in_one_line(ValueError("\n\n first\x1b[31m line \nsecond")) == "ValueError: first\\x1b[31m line"
    assert in_one_line(KeyError()) == "KeyError"
    assert len(in_one_line(ValueError("x" * 1000))) == 240


def test_compiling_goes_through_torch_compile_and_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(function: Callable[..., object]) -> Callable[..., object]:
        return failing(RuntimeError("Failed to find C++ compiler"))

    monkeypatch.setattr(torch, "compile", lambda function: lambda *inputs: no_compiler(function)())
    subject = of_module(nn.Linear(2, 2), [torch.randn(1, 2)], timer=TIMER, mode="compile")
    assert subject.mode == "compile"
    subject.first_call()
    assert subject.mode == "eager"
    assert subject.notes == ["compile failed, so it ran in eager mode: RuntimeError: Failed to find C++ compiler"]
    assert isinstance(subject.call(), torch.Tensor)
