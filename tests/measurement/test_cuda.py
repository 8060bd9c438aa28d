"""Timing on CUDA, on an accelerator that exists on paper; all times below are sums that can be done by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from roofline.errors import MeasurementError
from roofline.measurement import cuda
from roofline.measurement.cuda import CudaTimer, EventStopwatch, cuda_device, graphed
from tests.measurement.timed_ops import LAUNCH_S, PaperGpu, StillClock

US = 1e-6


@pytest.fixture
def gpu() -> PaperGpu:
    return PaperGpu(StillClock())


def kernels(gpu: PaperGpu, *durations_s: float) -> Callable[[], None]:
    def call() -> None:
        for duration_s in durations_s:
            gpu.launch(duration_s)

    return call


def timer(gpu: PaperGpu, **options: Any) -> CudaTimer:
    return CudaTimer(gpu, gpu.clock, **options)


# --- kernel and wall time ---------------------------------------------------------------------------------------------


def test_short_kernels_are_timed_without_the_gaps_between_them(gpu: PaperGpu) -> None:
    block = timer(gpu).block(kernels(gpu, 1 * US, 2 * US, 1 * US), 10)
    assert block.kernel_s == pytest.approx(4 * US)
    assert block.wall_s == pytest.approx(3 * LAUNCH_S + 1 * US)  # the first two are done while the next is launched


def test_long_kernels_hide_all_launches_but_the_first(gpu: PaperGpu) -> None:
    block = timer(gpu).block(kernels(gpu, 100 * US, 100 * US), 3)
    assert block.kernel_s == pytest.approx(200 * US)
    assert block.wall_s == pytest.approx(LAUNCH_S + 200 * US)


def test_a_call_that_does_nothing_takes_no_time(gpu: PaperGpu) -> None:
    block = timer(gpu).block(lambda: None, 5)
    assert (block.kernel_s, block.wall_s) == (0.0, 0.0)


def test_the_cpu_time_is_that_of_the_timed_span(gpu: PaperGpu) -> None:
    block = timer(gpu).block(kernels(gpu, 3 * US), 4)
    assert block.cpu_s == pytest.approx(LAUNCH_S + 3 * US)  # the paper host waits by spinning


def slow_to_launch(gpu: PaperGpu, host_s: float) -> Callable[[], None]:
    def call() -> None:
        gpu.launch(10 * US)
        gpu.clock.time_s += host_s
        gpu.launch(10 * US)

    return call


def test_the_spin_grows_until_the_host_is_ahead_and_stays_so(gpu: PaperGpu) -> None:
    made, call = timer(gpu), slow_to_launch(gpu, 3e-3)
    block = made.block(call, 1)
    assert block.kernel_s == pytest.approx(20 * US)
    assert [cycles / 1e9 for cycles in gpu.main_spins] == pytest.approx([0.5e-3, 1e-3, 2e-3, 4e-3])
    assert made.block(call, 1).kernel_s == pytest.approx(20 * US)
    assert len(gpu.main_spins) == 5
    assert not block.has_gaps


def test_a_queue_that_cannot_be_filled_is_counted_and_not_tried_again(gpu: PaperGpu) -> None:
    def synchronises() -> None:
        gpu.launch(10 * US)
        gpu.synchronise()
        gpu.clock.time_s += 7 * US
        gpu.launch(10 * US)

    made = timer(gpu)
    block = made.block(synchronises, 1)
    assert block.kernel_s == pytest.approx(10 * US + 7 * US + LAUNCH_S + 10 * US)  # with the gap, and counted as such
    assert block.has_gaps
    assert max(gpu.main_spins) / 1e9 <= cuda.LONGEST_SPIN_S
    tries = len(gpu.main_spins)
    assert made.block(synchronises, 1).has_gaps
    assert len(gpu.main_spins) == tries + 1
    assert gpu.main_spins[-1] / 1e9 == pytest.approx(cuda.FIRST_SPIN_S)


# --- the L2 cache -----------------------------------------------------------------------------------------------------


def test_the_cache_is_left_alone_or_flushed_before_each_call_outside_of_what_is_timed(gpu: PaperGpu) -> None:
    call = kernels(gpu, 20 * US, 20 * US)
    hot, cold = timer(gpu), timer(gpu, cache="cold")
    assert hot.block(call, 3).kernel_s == pytest.approx(40 * US)
    assert gpu.flushes == 0
    block = cold.block(call, 3)
    assert gpu.flushes == 2 * 3  # once for the events and once for the wall
    assert block.kernel_s == pytest.approx(40 * US)
    assert block.wall_s == pytest.approx(LAUNCH_S + 40 * US)


def test_a_cache_policy_that_is_unknown_or_impossible_is_an_error(gpu: PaperGpu) -> None:
    with pytest.raises(MeasurementError, match=r"^unknown cache policy 'warm': choose one of hot, cold$"):
        timer(gpu, cache="warm")
    gpu.l2_bytes = 0
    with pytest.raises(MeasurementError, match=r"^the size of the L2 cache of paper is unknown"):
        timer(gpu, cache="cold")


# --- the clock --------------------------------------------------------------------------------------------------------


def test_the_spin_tells_the_clock(gpu: PaperGpu) -> None:
    gpu.sm_hz = [0.9e9]
    assert timer(gpu).block(kernels(gpu, 1 * US), 1).frequency_hz == pytest.approx(0.9e9)


def test_a_block_below_three_quarters_of_the_default_clock_is_thrown_away_and_counted(gpu: PaperGpu) -> None:
    gpu.sm_hz = [0.74e9, 0.5e9, 0.75e9]
    made, calls = timer(gpu), list[int]()
    block = made.block(lambda: calls.append(1), 1)
    assert block.retries == 2
    assert gpu.clock.slept_s == [0.05, 0.05]
    assert block.frequency_hz == pytest.approx(0.75e9)  # the rule is "below"
    assert len(calls) == 3 + 1  # one with events each try, one by the host's clock


def test_the_pauses_grow_as_those_of_nvbench(gpu: PaperGpu) -> None:
    gpu.sm_hz = [0.5e9]
    made = timer(gpu)
    block = made.block(kernels(gpu, 1 * US), 1)
    assert gpu.clock.slept_s == pytest.approx([0.05, 0.05, 0.05, 0.125])  # 0.05 + min(1.5 * 0.05, 0.5)
    assert block.retries == 4
    assert block.frequency_hz == pytest.approx(0.5e9)  # the last try stands, and says so


def test_a_clock_that_stays_low_is_waited_for_once(gpu: PaperGpu) -> None:
    gpu.sm_hz = [0.5e9] * 6 + [1e9, 0.5e9, 1e9]
    made = timer(gpu)
    tries = [made.block(kernels(gpu, 1 * US), 1).retries for _ in range(4)]
    assert tries == [4, 0, 0, 1]  # five tries; low still, and taken as it is; back; low anew, then back


@pytest.mark.parametrize(("nvml_hz", "throttled"), [(0.7e9, 4), (0.8e9, 0), (None, 0)])
def test_nvml_tells_the_clock_where_the_spin_cannot(gpu: PaperGpu, nvml_hz: float | None, throttled: int) -> None:
    gpu.spins_in_cycles, gpu.nvml_hz = False, nvml_hz
    block = timer(gpu).block(kernels(gpu, 1 * US), 1)
    assert block.frequency_hz == nvml_hz
    assert block.retries == throttled


def test_without_a_default_clock_nothing_is_thrown_away(gpu: PaperGpu) -> None:
    gpu.default_clock_hz, gpu.sm_hz = None, [0.1e9]
    block = timer(gpu).block(kernels(gpu, 1 * US), 1)
    assert block.frequency_hz == pytest.approx(0.1e9)
    assert block.retries == 0


# --- spans and graphs -------------------------------------------------------------------------------------------------


def test_a_stopwatch_of_events_times_each_kernel(gpu: PaperGpu) -> None:
    stopwatch, marks = EventStopwatch(gpu), []
    stopwatch.start()
    for duration_s in (1 * US, 50 * US, 3 * US):
        start = stopwatch.mark()
        gpu.launch(duration_s)
        marks.append((start, stopwatch.mark()))
    assert stopwatch.spans_s(marks) == pytest.approx([1 * US, 50 * US, 3 * US])


def test_a_stopwatch_spins_longer_the_next_time(gpu: PaperGpu) -> None:
    stopwatch = EventStopwatch(gpu)
    for _ in range(3):
        stopwatch.start()
        gpu.clock.time_s += 1.5e-3
        stopwatch.spans_s([])
    assert [cycles / 1e9 for cycles in gpu.main_spins] == pytest.approx([0.5e-3, 1e-3, 2e-3])


def test_a_graph_is_captured_once_and_launches_in_one(gpu: PaperGpu) -> None:
    ran = []

    def call() -> None:
        ran.append(1)
        for _ in range(20):
            gpu.launch(2 * US)

    replay = graphed(call, gpu)
    assert ran == []
    replay()
    graph, eager = timer(gpu).block(replay, 5), timer(gpu).block(call, 5)
    assert graph.kernel_s == pytest.approx(eager.kernel_s) == pytest.approx(40 * US)
    assert graph.wall_s == pytest.approx(LAUNCH_S + 40 * US)
    assert eager.wall_s == pytest.approx(20 * LAUNCH_S + 2 * US)
    assert len(ran) == 1 + 2 * 5  # the capture, and what was timed without a graph


def test_a_call_that_cannot_be_captured_says_so_each_time() -> None:
    class Refuses(PaperGpu):
        def capture(self, call: Callable[[], object]) -> Callable[[], None]:
            raise MeasurementError("it cannot be captured as a CUDA graph: it synchronises")

    replay = graphed(lambda: None, Refuses(StillClock()))
    for _ in range(2):
        with pytest.raises(MeasurementError, match="cannot be captured"):
            replay()


# --- which device -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("built", "why"), [(None, "is built without CUDA"), ("12.8", "finds no GPU or no driver")])
def test_without_a_gpu_one_line_says_why(monkeypatch: pytest.MonkeyPatch, built: str | None, why: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(MeasurementError, match=why) as raised:
        cuda_device()
    assert "\n" not in str(raised.value)
    assert torch.__version__ in str(raised.value)


def test_a_number_beyond_the_last_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for index in (2, -1):
        with pytest.raises(MeasurementError, match=rf"^there is no cuda:{index}: this machine has 2, numbered from 0$"):
            cuda_device(index)


class NvmlError(Exception):
    """As `pynvml.NVMLError`."""


def torch_cuda(monkeypatch: pytest.MonkeyPatch, nvml: Any, **properties: Any) -> cuda.TorchCuda:
    given = SimpleNamespace(**{"name": "paper", "uuid": "12-34", **properties})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: given)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return cuda.TorchCuda(0)


def fake_nvml(asked: list[str]) -> Any:
    def by_uuid(uuid: str) -> str:
        asked.append(uuid)
        return "handle"

    def no_maximum(handle: str, clock: int) -> int:
        raise NvmlError

    return SimpleNamespace(
        NVMLError=NvmlError, NVML_CLOCK_SM=1, nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetClockInfo=lambda handle, clock: 1410, nvmlDeviceGetMaxClockInfo=no_maximum,
    )  # fmt: skip


def test_the_device_is_described_by_its_properties_and_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    device = torch_cuda(monkeypatch, fake_nvml(asked), L2_cache_size=50 * 2**20, clock_rate=1_980_000)
    assert (device.name, device.l2_bytes, device.default_clock_hz) == ("paper", 50 * 2**20, 1.98e9)  # given in kHz
    assert device.clock_hz() == 1.41e9  # given in MHz
    assert asked == ["GPU-12-34"]


def test_what_the_driver_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch_cuda(monkeypatch, fake_nvml([]))
    assert (device.l2_bytes, device.default_clock_hz) == (0, None)
    device = torch_cuda(monkeypatch, None, clock_rate=1_000_000)  # pynvml is not installed
    assert (device.default_clock_hz, device.clock_hz()) == (1e9, None)
