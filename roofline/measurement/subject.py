"""What is timed: a model or a function with real inputs, on a device, in a dtype, run in one of several modes.

Weights are initialised at random from a seed, as the model's own constructor does it, and never downloaded; exported
graphs have those of their file, as far as these are plain numbers. Floating
inputs are N(0, 1) and integer inputs uniform over the range that the embeddings take, from the same seed: zeros take
less power than other numbers, and constants can make layers degenerate. Models run in eval mode and under
`torch.inference_mode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from roofline.errors import MeasurementError, did_you_mean
from roofline.measurement.clock import Timer
from roofline.units import printable

if TYPE_CHECKING:
    import torch
    from torch import nn

DEVICES = ("cpu", "cuda")
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
MODES = ("eager", "channels_last", "compile", "cudagraph")
ONNXRUNTIME = "onnxruntime"  # how an ONNX file runs, and nothing else
DEFAULT_INPUT_SIZE = (3, 224, 224)
MAX_SUBNORMAL = 1e-4  # share of a layer's outputs beyond which it is said; one such operand slows a multiplication by
# a hundred cycles or more on some processors (pytorch#21734: a network 40 times slower)


@dataclass(slots=True, kw_only=True, eq=False)
class Subject:
    """One thing to time.

    Attributes:
        name: What it is called.
        call: One call; whatever it returns is dropped.
        timer: How blocks of it are timed.
        reference: The model reference; empty of a callable.
        device: One of `DEVICES`.
        mode: One of `MODES`, or `ONNXRUNTIME`: how it runs.
        dtype: One of `DTYPES`.
        batch: Images a call.
        input_shapes: Of each input.
        params: Number of parameters; None if not known.
        context: What has to hold around calls.
        fallback: What runs instead if the first call fails to compile.
        module: The module itself, uncompiled; None of a function.
        inputs: What it is called with.
        notes: Sentences on what is unusual.
        versions: Of what else than torch runs it, by name.
    """

    name: str
    call: Callable[[], object]
    timer: Timer
    reference: str = ""
    device: str = "cpu"
    mode: str = "eager"
    dtype: str = "fp32"
    batch: int = 1
    input_shapes: tuple[tuple[int, ...], ...] = ()
    params: int | None = None
    context: Callable[[], AbstractContextManager[object]] = nullcontext
    fallback: Callable[[], object] | None = None
    module: nn.Module | None = None
    inputs: tuple[Any, ...] = ()
    notes: list[str] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the user calls it."""
        return self.reference or self.name

    def first_call(self) -> None:
        """Call it once; where it does not compile or cannot be captured, it runs as `fallback` from then on.

        Raises:
            MeasurementError: It does not run.
        """
        try:
            self.call()
            return
        except Exception as error:
            if self.fallback is None:
                raise self._unable(error) from error
            failed = f"{self.mode} failed, so it ran in eager mode: {in_one_line(error)}"
        self.call, self.fallback, self.mode = self.fallback, None, "eager"
        self.notes.append(failed)
        self.first_call()

    def _unable(self, error: Exception) -> MeasurementError:
        return MeasurementError(f"{self.label} does not run in {self.dtype} on {self.device}: {in_one_line(error)}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """What has to hold around calls that follow a `first_call` which went well.

        Raises:
            MeasurementError: It does not run any more.
        """
        try:
            with self.context():
                yield
        except MeasurementError:
            raise
        except Exception as error:  # the model's own code may raise anything
            raise MeasurementError(f"{self.label} ran, and then failed: {in_one_line(error)}") from error

    def subnormal_share(self) -> float | None:
        """The largest share of subnormal numbers in the outputs of any of its modules, in one call; None of a function.

        It depends on values, so no shape tells it, and such numbers take many times as long on some processors.

        Raises:
            MeasurementError: It does not run any more, or gives out what cannot be looked at.
        """
        if self.module is None:
            return None
        import torch

        shares = [0.0]

        def look(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
                tiny = torch.finfo(output.dtype).tiny
                shares.append(float(((output.abs() < tiny) & (output != 0)).float().mean()))

        hooks = [module.register_forward_hook(look) for module in self.module.modules()]
        try:
            with self.running():
                self.module(*self.inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return max(shares)


def in_one_line(error: BaseException, longest: int = 240) -> str:
    """An error's type and the first line of what it says."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = printable(f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


# --- what may be asked for --------------------------------------------------------------------------------------------


def check_request(device: str, dtype: str | None, mode: str, *, is_here: bool = True) -> None:
    """Find out before the work what cannot be measured.

    Args:
        device: What to measure on.
        dtype: Of the model; its own if None.
        mode: How it runs.
        is_here: Whether this machine is the one to measure on, and has to have that device.

    Raises:
        MeasurementError: There is no such device, dtype or mode, or not here.
    """
    if device not in DEVICES:
        raise MeasurementError(
            f"unknown device {device!r}: {' or '.join(DEVICES)} can be measured.{did_you_mean(device, DEVICES)}"
        )
    if mode not in (*MODES, ONNXRUNTIME):
        raise MeasurementError(f"unknown mode {mode!r} (known: {', '.join(MODES)}).{did_you_mean(mode, MODES)}")
    if dtype == "int8":
        raise MeasurementError(
            "int8 cannot be measured: it takes a model that was quantised, and a floating model runs in "
            f"{', '.join(DTYPES)}"
        )
    if dtype is not None and dtype not in DTYPES:
        raise MeasurementError(f"unknown dtype {dtype!r} (known: {', '.join(DTYPES)})")
    if mode == ONNXRUNTIME and device != "cpu":
        raise MeasurementError("mode onnxruntime is measured on the CPU alone: leave out --device")
    if mode == "cudagraph" and device != "cuda":
        raise MeasurementError("mode cudagraph needs --device cuda: it replays what was launched on a CUDA device")
    if device == "cuda" and is_here:
        from roofline.measurement.cuda import cuda_device

        cuda_device()


# --- subjects of models and functions ---------------------------------------------------------------------------------


def of_reference(
    reference: str,
    *,
    timer: Timer,
    device: str = "cpu",
    dtype: str | None = None,
    batch: int = 1,
    input_size: tuple[int, ...] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = "eager",
    seed: int = 0,
) -> Subject:
    """The subject of a model reference; see `roofline.loading`. That of an ONNX file has no module.

    Raises:
        ModelError: It does not resolve, or cannot be built.
        MeasurementError: It cannot be measured so.
    """
    import torch

    from roofline.exported import is_exported, is_onnx
    from roofline.loading import load

    if is_onnx(reference):
        from roofline.measurement.onnx_runtime import of_onnx

        return of_onnx(
            reference, timer=timer, device=device, dtype=dtype, batch=batch, input_size=input_size, arguments=arguments,
            mode=mode, seed=seed,
        )  # fmt: skip
    check_request(device, dtype, mode)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = load(reference, batch=batch, input_size=input_size, arguments=arguments, weights=True)
    shapes = [tuple(given.shape) for given in loaded.inputs]
    inputs = random_inputs(shapes, [given.dtype for given in loaded.inputs], module=loaded.module, seed=seed)
    return of_module(
        loaded.module, inputs, timer=timer, device=device, dtype=dtype, mode=mode, name=loaded.name,
        reference=reference, batch=None if is_exported(reference) else batch,  # which a file may fix
    )  # fmt: skip


def of_module(
    module: nn.Module,
    inputs: Sequence[Any],
    *,
    timer: Timer,
    device: str = "cpu",
    dtype: str | None = None,
    mode: str = "eager",
    batch: int | None = None,
    name: str = "",
    reference: str = "",
) -> Subject:
    """The subject of a module, which is moved, cast and put into eval mode as it is, and called with `inputs`.

    Raises:
        MeasurementError: Its weights are on the meta device, or it cannot be moved or cast.
    """
    import torch

    name = name or type(module).__name__
    check_request(device, dtype, mode)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise MeasurementError(f"{name} is on the meta device and has no weights to run with: build it on the CPU")
    memory_format = torch.channels_last if mode == "channels_last" else torch.preserve_format
    try:
        module.eval()
        module.to(device=device, dtype=None if dtype is None else getattr(torch, DTYPES[dtype]))
        if mode == "channels_last":
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    except (RuntimeError, NotImplementedError, MemoryError) as error:
        raise MeasurementError(
            f"{name} cannot be put on {device} in {dtype or 'its dtype'}: {in_one_line(error)}"
        ) from None
    asked = torch.float32 if dtype is None else getattr(torch, DTYPES[dtype])
    width = next((given.dtype for given in module.parameters() if given.is_floating_point()), asked)
    placed = tuple(_placed(given, device, width, memory_format) for given in inputs)
    return _subject(
        module, placed, timer=timer, mode=mode, device=device, dtype=_name_of(width), batch=batch, name=name,
        reference=reference, module=module, params=sum(parameter.numel() for parameter in module.parameters()),
    )  # fmt: skip


def in_channels_last(module: nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Put the weights of a module into channels-last layout, and give its inputs in it; others than images stay."""
    import torch

    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return tuple(_placed(given, given.device.type, given.dtype, torch.channels_last) for given in inputs)


def of_callable(
    function: Callable[..., object],
    inputs: Sequence[Any],
    *,
    timer: Timer,
    device: str = "cpu",
    dtype: str | None = None,
    mode: str = "eager",
    batch: int | None = None,
    name: str = "",
) -> Subject:
    """The subject of a function, called with `inputs`.

    Raises:
        MeasurementError: It cannot be measured so.
    """
    import torch

    check_request(device, dtype, mode)
    memory_format = torch.channels_last if mode == "channels_last" else torch.preserve_format
    width = None if dtype is None else getattr(torch, DTYPES[dtype])
    placed = tuple(_placed(given, device, width, memory_format) for given in inputs)
    floating = (given.dtype for given in placed if isinstance(given, torch.Tensor) and given.is_floating_point())
    return _subject(
        function, placed, timer=timer, mode=mode, device=device, dtype=_name_of(next(floating, torch.float32)),
        batch=batch, name=name or getattr(function, "__qualname__", type(function).__name__),
    )  # fmt: skip


def _subject(
    function: Callable[..., object],
    inputs: tuple[Any, ...],
    *,
    timer: Timer,
    mode: str,
    device: str,
    batch: int | None,
    **of: Any,
) -> Subject:
    import torch

    if mode == ONNXRUNTIME:
        raise MeasurementError(f"mode {mode} is how .onnx files run, and {of['name']} is none: leave it out")
    eager = partial(function, *inputs) if inputs else function  # a function of Python's own would add its own call
    call = eager
    if mode == "compile":
        call = partial(torch.compile(_for_compilers(function)), *inputs)
    elif mode == "cudagraph":
        from roofline.measurement.cuda import graphed

        call = graphed(eager)
    shapes = tuple(tuple(given.shape) for given in inputs if isinstance(given, torch.Tensor))
    return Subject(
        call=call,
        fallback=eager if call is not eager and mode != "channels_last" else None,
        timer=timer,
        mode=mode,
        device=device,
        batch=batch or (shapes[0][0] if shapes and shapes[0] else 1),
        input_shapes=shapes,
        inputs=inputs,
        context=torch.inference_mode,
        **of,
    )


def _for_compilers(function: Callable[..., object]) -> Callable[..., object]:
    """An exported graph as one function: before each call Dynamo checks what it found in Python, module by module."""
    from roofline.exported.network import ExportedNetwork

    return function.flattened() if isinstance(function, ExportedNetwork) else function


def random_inputs(
    shapes: Iterable[Sequence[int]],
    dtypes: Iterable[torch.dtype],
    *,
    module: nn.Module | None = None,
    seed: int = 0,
) -> tuple[torch.Tensor, ...]:
    """Inputs of these shapes: N(0, 1), or uniform over the indices that the smallest embedding of `module` takes."""
    import torch
    from torch import nn

    made = torch.Generator().manual_seed(seed)
    tables = [each.num_embeddings for each in module.modules() if isinstance(each, nn.Embedding)] if module else []
    inputs = []
    for shape, dtype in zip(shapes, dtypes, strict=True):
        if dtype.is_floating_point:
            inputs.append(torch.randn(tuple(shape), generator=made, dtype=torch.float32).to(dtype))
        else:
            highest = 2 if dtype == torch.bool else min(tables, default=2)
            inputs.append(torch.randint(highest, tuple(shape), generator=made).to(dtype))
    return tuple(inputs)


def _placed(given: Any, device: str, dtype: torch.dtype | None, memory_format: torch.memory_format) -> Any:
    """An input where and as it is needed; what is no tensor stays."""
    import torch

    if not isinstance(given, torch.Tensor):
        return given
    moved = given.to(device=device, dtype=dtype if given.is_floating_point() else None)
    return (
        moved.contiguous(memory_format=memory_format)
        if moved.dim() == 4 and memory_format is torch.channels_last
        else moved
    )


def _name_of(dtype: torch.dtype) -> str:
    text = str(dtype).removeprefix("torch.")
    return next((name for name, known in DTYPES.items() if known == text), text)
