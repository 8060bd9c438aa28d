"""An ONNX file as what is timed: run as it is by ONNX Runtime on the CPU, as those who deploy one run it.

ONNX Runtime fuses and lays out the graph as it likes, with every optimisation that it does by itself, and runs it in
threads of its own: as many within an op as torch has, and one op at a time. Nothing of the file is executed but its
ops. Weights whose file is missing are made up: N(0, 1 / fan in) of matrices and kernels, and 1 of all else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import MeasurementError, ModelError
from roofline.exported.sizes import Size, Wanted, check_elements, settle
from roofline.measurement.clock import Timer
from roofline.measurement.subject import DTYPES, ONNXRUNTIME, Subject, in_one_line, random_inputs

if TYPE_CHECKING:
    import torch

PROVIDER = "CPUExecutionProvider"
ERRORS_ALONE = 3  # of onnxruntime's levels of logging: what fails is told as an exception
TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(int16)": "int16", "tensor(int8)": "int8", "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}  # fmt: skip  # onnxruntime's names of what numpy has, and torch's
WIDTHS = {torch_name: name for name, torch_name in DTYPES.items()}


def of_onnx(
    reference: str,
    *,
    timer: Timer,
    device: str = "cpu",
    dtype: str | None = None,
    batch: int = 1,
    input_size: tuple[int, ...] | None = None,
    arguments: Mapping[str, Any] | None = None,
    mode: str = ONNXRUNTIME,
    seed: int = 0,
) -> Subject:
    """The subject of an ONNX file.

    Args:
        reference: Its path.
        timer: How blocks of it are timed.
        device: ``"cpu"``.
        dtype: The file's own, if given.
        batch: The first dimension of the first input; 1 stands for what the file has, where that is fixed.
        input_size: Its other dimensions; as the file has them if None.
        arguments: Sizes of open dimensions, by name, and `act`, as `sizes_and_act` takes them.
        mode: ``"onnxruntime"``, or ``"eager"``, which is what nobody chose.
        seed: Of the inputs.

    Raises:
        ModelError: There is no such file, it is damaged, or its inputs cannot have these sizes.
        MeasurementError: It cannot be measured so, or onnxruntime is missing.
    """
    from roofline.loading.exported import sizes_and_act
    from roofline.loading.model import with_arguments

    if mode not in (ONNXRUNTIME, "eager"):
        raise MeasurementError(f"{reference} is run by onnxruntime, and not in mode {mode}: leave out the mode")
    if device != "cpu":
        raise MeasurementError(f"{reference} is run by onnxruntime, and that on the CPU alone: leave out {device}")
    given = dict(arguments or {})
    sizes, act = sizes_and_act(reference, given)
    session, notes = _session(Path(reference), seed, act)
    wanted = Wanted(None if batch == 1 else batch, input_size, sizes)
    inputs = _inputs(reference, session.get_inputs(), wanted, seed)
    shapes = tuple(tuple(tensor.shape) for tensor in inputs.values())
    width = next((WIDTHS.get(_name(t), _name(t)) for t in inputs.values() if t.is_floating_point()), "fp32")
    if dtype not in (None, width):
        raise MeasurementError(f"{reference} is {width} as it was exported, and is run as it is: leave out {dtype}")
    return Subject(
        name=with_arguments(reference, given),
        call=partial(session.run, None, {name: tensor.numpy() for name, tensor in inputs.items()}),
        timer=timer,
        reference=reference,
        mode=ONNXRUNTIME,
        dtype=width,
        batch=shapes[0][0] if shapes and shapes[0] else 1,
        input_shapes=shapes,
        inputs=tuple(inputs.values()),
        notes=notes,
        versions={"onnxruntime": _version()},
    )


def _session(path: Path, seed: int, act: str | None = None) -> tuple[Any, list[str]]:
    """The file, with another activation function if one is given, ready to run; and sentences on what is unusual."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MeasurementError(
            f"{path} is run by onnxruntime, which is not there: pip install 'roofline-profiler[onnxruntime]'"
        ) from error
    import torch

    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ALONE
    notes = []
    made_up = _made_up(path, seed)
    if act is not None:
        from roofline.exported.onnx import with_activation

        model: str | bytes = with_activation(path, act, made_up)
    else:
        model = str(path)
    if made_up and act is None:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor.numpy()) for tensor in made_up.values()]
        options.add_external_initializers(list(made_up), values)
    if made_up:
        notes.append(f"the file of {len(made_up)} of its weights is missing, so these are random")
    try:
        return onnxruntime.InferenceSession(model, options, providers=[PROVIDER]), notes
    except Exception as error:  # onnxruntime has a class for each of its codes, and no common one
        raise ModelError(f"{path} cannot be run by onnxruntime {_version()}: {in_one_line(error)}") from error


def _made_up(path: Path, seed: int) -> dict[str, torch.Tensor]:
    """Weights in place of those whose file is missing; none where the onnx package is, which finds them."""
    try:
        from roofline.exported.onnx import missing_weights

        missing = missing_weights(path)
    except ImportError:
        return {}
    import torch

    made = torch.Generator().manual_seed(seed)
    found = {}
    for name, (shape, dtype) in missing.items():
        check_elements(name, shape)
        if not dtype.is_floating_point or dtype == torch.bfloat16:
            raise ModelError(f"{path}: the file of {name!r} is missing, and times may depend on its numbers")
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.0
        found[name] = (torch.randn(shape, generator=made) * scale + (scale == 0.0)).to(dtype)
    return found


def _inputs(reference: str, said: Any, wanted: Wanted, seed: int) -> dict[str, torch.Tensor]:
    """Random inputs of the sizes that are wanted, in the order of the file."""
    import torch

    sizes: dict[str, list[Size]] = {}
    for each in said:
        if each.type not in TYPES:
            raise MeasurementError(f"{reference}: its input {each.name!r} is a {each.type}, which cannot be made up")
        sizes[each.name] = [
            size if isinstance(size, int) and size > 0 else str(size or f"{each.name}.{axis}")
            for axis, size in enumerate(each.shape)
        ]
    try:
        settled, _ = settle(sizes, wanted)
        shapes = [[settled[size] if isinstance(size, str) else size for size in of] for of in sizes.values()]
        for name, shape in zip(sizes, shapes, strict=True):
            check_elements(name, shape)
    except ModelError as error:
        raise ModelError(f"{reference}: {error}") from error
    made = random_inputs(shapes, [getattr(torch, TYPES[each.type]) for each in said], seed=seed)
    return dict(zip(sizes, made, strict=True))


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
