"""Timing on CUDA: events for what the kernels take, wall time with a synchronise for what a caller waits, graph replay.

*Kernel time* is what lies between two events on the accelerator's own timeline. That also counts gaps in which the
accelerator waits for the host, so a kernel that spins is put into the stream first, and all work is enqueued behind it
while it spins (nvbench blocks the stream for the same purpose). Whether that worked is checked: if the spinning had
ended before the host was done, it is made longer and the block is taken again.

*Wall time* is from the call to the end of what it started, launches and synchronising included, call by call: what one
waits who asks for one result. What it has beyond the kernel time is the host's; replaying a *graph* saves most of that.

The spinning kernel counts cycles of the SM clock, so its own duration says how fast that clock was just then. Below
75 % of the default clock a block is thrown away and taken again after a pause, and counted as throttled, as in nvbench.

Sources: NVIDIA/nvbench at 66212f1, nvbench/detail/measure_cold.cu and benchmark_base.cuh; pytorch/pytorch,
aten/src/ATen/cuda/Sleep.cu. How much launches and a hot L2 change: triton-lang/triton pull request 10149 (a product of
256 x 256 matrices reads 5.5 TFLOPS by events without a filled queue, and 15.0 in a graph without a flush).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from roofline.errors import MeasurementError
from roofline.measurement.clock import Block, Clock

THROTTLED_BELOW = 0.75  # of the default SM clock; nvbench's m_throttle_threshold
RECOVERY_S = 0.05  # pause before the next try; nvbench's m_throttle_recovery_delay
PATIENCE = 2  # throttled tries in a row after which the pause grows, as in nvbench ...
GROWTH, LARGEST_STEP_S = 1.5, 0.5  # ... by 1.5 times itself, or by half a second if that is less
# Then the last stands, with its clock, and no more are thrown away until the clock is back. nvbench goes on until its
# timeout; but a clock that a power limit holds down does not come back.
MAX_TRIES = 5

# Events resolve about 0.5 us (CUDA Runtime API, cudaEventElapsedTime) and a kernel takes a few to start, so this tells
# the clock to 1 %.
FIRST_SPIN_S = 500e-6
LONGEST_SPIN_S = 0.2
ASSUMED_CLOCK_HZ = 1.5e9  # only for the length of the first spin where the default clock is unknown
CACHES = ("hot", "cold")


class CudaDevice(Protocol):
    """What timing needs of an accelerator; its work runs in one stream, in order.

    Attributes:
        name: As the driver calls it.
        l2_bytes: Size of its L2 cache; 0 if unknown.
        default_clock_hz: Of its SMs, by the driver; None if unknown.
        spins_in_cycles: Whether `spin` counts cycles of that clock.
    """

    name: str
    l2_bytes: int
    default_clock_hz: float | None
    spins_in_cycles: bool

    def event(self) -> Any:
        """Put an event into the stream."""

    def is_reached(self, event: Any) -> bool:
        """Whether the stream has come to an event."""

    def elapsed_s(self, start: Any, end: Any) -> float:
        """Seconds between two events that were reached."""

    def synchronise(self) -> None:
        """Wait until the stream is empty."""

    def spin(self, cycles: int) -> None:
        """Put a kernel into the stream that does nothing for that many cycles."""

    def flush_l2(self) -> None:
        """Put a write into the stream that is as large as the L2 cache, and so replaces what is in it."""

    def capture(self, call: Callable[[], object]) -> Callable[[], None]:
        """Record the kernels that a call launches as a graph; what comes back launches them all at once."""

    def clock_hz(self) -> float | None:
        """The SM clock now, by NVML; None if unknown."""


class CudaTimer:
    """Times blocks of calls on CUDA; a `roofline.measurement.clock.Timer`.

    Args:
        device: The accelerator.
        clock: Of the host.
        cache: ``"hot"``: each call finds what the one before left in L2. ``"cold"``: L2 is overwritten before each
            call, which is not timed.

    A block says how often it was tried before because the SM clock was low, and whether its kernel time may hold waits
    for the host, since the queue could not be filled: a call that synchronises, or one that launches more kernels than
    the queue holds (about a thousand).
    """

    def __init__(self, device: CudaDevice, clock: Clock, *, cache: str = "hot") -> None:
        if cache not in CACHES:
            raise MeasurementError(f"unknown cache policy {cache!r}: choose one of {', '.join(CACHES)}")
        if cache == "cold" and not device.l2_bytes:
            raise MeasurementError(f"the size of the L2 cache of {device.name} is unknown: it cannot be flushed")
        self._device, self._clock = device, clock
        self._is_cold = cache == "cold"
        self._queue = _Queue(device)
        self._stays_low = False

    def block(self, call: Callable[[], object], calls: int) -> Block:
        """Time that many calls twice: by events with the queue filled, then by the host's clock."""
        pause_s, in_a_row = RECOVERY_S, 0
        while True:
            kernel_s, frequency_hz, is_filled = self._kernel(call, calls)
            is_low = self._is_low(frequency_hz)
            if not is_low or self._stays_low or in_a_row == MAX_TRIES - 1:
                break
            if in_a_row > PATIENCE:
                pause_s += min(pause_s * GROWTH, LARGEST_STEP_S)
            self._clock.sleep(pause_s)
            in_a_row += 1
        self._stays_low = is_low
        wall_s, cpu_s = self._wall(call, calls)
        return Block(
            wall_s=wall_s / calls, cpu_s=cpu_s / calls, kernel_s=kernel_s / calls, frequency_hz=frequency_hz,
            retries=in_a_row, has_gaps=not is_filled,
        )  # fmt: skip

    def _is_low(self, frequency_hz: float | None) -> bool:
        default_hz = self._device.default_clock_hz
        return bool(frequency_hz and default_hz and frequency_hz < THROTTLED_BELOW * default_hz)

    def _kernel(self, call: Callable[[], object], calls: int) -> tuple[float, float | None, bool]:
        """Seconds of all calls between events, the SM clock, and whether the host was ahead all the time."""
        device = self._device
        while True:
            self._queue.fill()
            spans = []
            for _ in range(calls if self._is_cold else 1):
                if self._is_cold:
                    device.flush_l2()
                start = device.event()
                for _ in range(1 if self._is_cold else calls):
                    call()
                spans.append((start, device.event()))
            is_filled = self._queue.is_filled()
            if is_filled or not self._queue.lengthen():
                break
        device.synchronise()
        return sum(device.elapsed_s(start, end) for start, end in spans), self._queue.clock_hz(), is_filled

    def _wall(self, call: Callable[[], object], calls: int) -> tuple[float, float]:
        """Seconds, and CPU seconds, of all calls, each until its end."""
        device, clock = self._device, self._clock
        wall_s = cpu_s = 0.0
        for _ in range(calls):
            if self._is_cold:
                device.flush_l2()
            device.synchronise()
            start_cpu_s, start_s = clock.process_s(), clock.now_s()
            call()
            device.synchronise()
            wall_s += clock.now_s() - start_s
            cpu_s += clock.process_s() - start_cpu_s
        return wall_s, cpu_s


class EventStopwatch:
    """Times spans by pairs of events; a `roofline.measurement.replay.Stopwatch`.

    Args:
        device: The accelerator.
    """

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._queue = _Queue(device)
        self.mark = device.event

    def start(self) -> None:
        """Fill the queue."""
        self._queue.fill()

    def spans_s(self, marks: Sequence[tuple[Any, Any]]) -> list[float]:
        """Seconds between the events of each pair; a spin that was too short is longer the next time."""
        if not self._queue.is_filled():
            self._queue.lengthen()
        self._device.synchronise()
        return [self._device.elapsed_s(start, end) for start, end in marks]


class _Queue:
    """Keeps the stream busy while the host enqueues, and tells the SM clock by how long that took."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._clock_hz = device.default_clock_hz or ASSUMED_CLOCK_HZ
        self._spin_s = FIRST_SPIN_S
        self._is_hopeless = False
        self._cycles = 0
        self._start: Any = None
        self._end: Any = None

    def fill(self) -> None:
        """Empty the stream, then put the spin into it."""
        self._device.synchronise()
        self._cycles = math.ceil(self._spin_s * self._clock_hz)
        self._device.spin(self._cycles // 10)  # so that what follows is enqueued before it is due
        self._start = self._device.event()
        self._device.spin(self._cycles)
        self._end = self._device.event()

    def is_filled(self) -> bool:
        """Whether it spins still: then all that was enqueued since follows without a gap."""
        return not self._device.is_reached(self._end)

    def lengthen(self) -> bool:
        """Spin twice as long from now on; False once the longest spin was too short, which ends the attempts."""
        if 2 * self._spin_s > LONGEST_SPIN_S:
            self._spin_s, self._is_hopeless = FIRST_SPIN_S, True
        elif not self._is_hopeless:
            self._spin_s *= 2
        return not self._is_hopeless

    def clock_hz(self) -> float | None:
        """The SM clock during the last spin; by NVML where the spin does not tell."""
        if not self._device.spins_in_cycles:
            return self._device.clock_hz()
        elapsed_s = self._device.elapsed_s(self._start, self._end)
        return self._cycles / elapsed_s if elapsed_s > 0 else None


def graphed(call: Callable[[], object], device: CudaDevice | None = None) -> Callable[[], object]:
    """A call that is captured as a CUDA graph the first time, and replayed from then on; its inputs stay as they are.

    Args:
        call: What to capture; under the contexts that hold at the first call.
        device: Captures it; torch's current one if None.
    """
    captured: list[Callable[[], None]] = []

    def launch() -> None:
        if not captured:
            captured.append((device or cuda_device()).capture(call))
        captured[0]()

    return launch


def cuda_device(index: int | None = None) -> TorchCuda:
    """The accelerator of that number, or torch's current one.

    Raises:
        MeasurementError: There is none, in one line that says why.
    """
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "finds no GPU or no driver" if built else "is built without CUDA"
        raise MeasurementError(f"there is no CUDA device: torch {torch.__version__} {why}; measure on the CPU")
    count = torch.cuda.device_count()
    if index is not None and not 0 <= index < count:
        raise MeasurementError(f"there is no cuda:{index}: this machine has {count}, numbered from 0")
    return TorchCuda(torch.cuda.current_device() if index is None else index)


class TorchCuda:
    """A `CudaDevice` by torch.cuda, in the current stream of that device.

    Args:
        index: Its number.
    """

    def __init__(self, index: int) -> None:
        import torch

        self._torch = torch
        self._device = torch.device("cuda", index)
        properties = torch.cuda.get_device_properties(self._device)
        self.name = properties.name
        self.l2_bytes = int(getattr(properties, "L2_cache_size", 0))
        self.spins_in_cycles = torch.version.hip is None  # some AMD GPUs count a clock of constant rate (Sleep.cu)
        self._nvml = _nvml_handle(properties)
        clock_khz = getattr(properties, "clock_rate", 0)  # cudaDevAttrClockRate, nvbench's default too
        self.default_clock_hz = clock_khz * 1e3 if clock_khz else self._nvml_clock_hz("nvmlDeviceGetMaxClockInfo")
        self._l2_buffer: torch.Tensor | None = None

    def event(self) -> Any:
        """Put an event into the stream."""
        event = self._torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._torch.cuda.current_stream(self._device))
        return event

    def is_reached(self, event: Any) -> bool:
        """Whether the stream has come to an event."""
        return bool(event.query())

    def elapsed_s(self, start: Any, end: Any) -> float:
        """Seconds between two events that were reached."""
        return float(start.elapsed_time(end)) / 1e3

    def synchronise(self) -> None:
        """Wait until all work on the device is done."""
        self._torch.cuda.synchronize(self._device)

    def spin(self, cycles: int) -> None:
        """Put a kernel into the stream that does nothing for that many cycles."""
        with self._torch.cuda.device(self._device):
            self._torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]

    def flush_l2(self) -> None:
        """Write zeros over a buffer as large as the L2 cache."""
        if self._l2_buffer is None:
            self._l2_buffer = self._torch.empty(self.l2_bytes, dtype=self._torch.uint8, device=self._device)
        self._l2_buffer.zero_()

    def capture(self, call: Callable[[], object]) -> Callable[[], None]:
        """Capture a call as a CUDA graph, after calls in a side stream that let libraries set themselves up.

        Raises:
            MeasurementError: It cannot be captured, as when it synchronises.
        """
        cuda = self._torch.cuda
        graph = cuda.CUDAGraph()
        try:
            with cuda.device(self._device):
                side = cuda.Stream(self._device)
                side.wait_stream(cuda.current_stream(self._device))
                with cuda.stream(side):
                    for _ in range(3):  # as torch's notes on CUDA graphs have it
                        call()
                cuda.current_stream(self._device).wait_stream(side)
                with cuda.graph(graph):
                    result = call()
        except Exception as error:
            from roofline.measurement.subject import in_one_line

            raise MeasurementError(f"it cannot be captured as a CUDA graph: {in_one_line(error)}") from error

        def launch(_kept: object = result) -> None:  # the graph writes into what the capture made
            graph.replay()

        return launch

    def clock_hz(self) -> float | None:
        """The SM clock now, by NVML; None where pynvml is not installed, or the driver does not tell."""
        return self._nvml_clock_hz("nvmlDeviceGetClockInfo")

    def _nvml_clock_hz(self, query: str) -> float | None:
        if self._nvml is None:
            return None
        nvml, handle = self._nvml
        try:
            return float(getattr(nvml, query)(handle, nvml.NVML_CLOCK_SM)) * 1e6  # MHz
        except nvml.NVMLError:
            return None


def _nvml_handle(properties: Any) -> tuple[Any, Any] | None:
    """NVML, and its handle of that device; by its UUID, since CUDA_VISIBLE_DEVICES renumbers for CUDA alone."""
    try:
        import pynvml  # type: ignore[import-not-found]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
    except (pynvml.NVMLError, AttributeError):
        return None
