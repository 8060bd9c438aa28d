"""A ``.pt2`` archive of torch.export as a network to trace.

The archive lists ATen ops as they ran in the live model, one overload each, with the modules they ran in:
`torch.export` takes nothing apart unless asked. They are run again on meta tensors, so that counts are those of the
live model.
"""

from __future__ import annotations

import ast
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roofline.errors import ModelError
from roofline.exported.archive import Json, read_archive
from roofline.exported.network import MAX_DEPTH, ExportedNetwork, Step, Values
from roofline.exported.sizes import Size, Wanted, check_elements, settle

# ScalarType, Layout and MemoryFormat of torch/_export/serde/schema.py, schema 8
DTYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 9: torch.complex32, 10: torch.complex64, 11: torch.complex128, 12: torch.bool,
    13: torch.bfloat16, 28: torch.uint16, 29: torch.float8_e4m3fn, 30: torch.float8_e5m2,
    31: torch.float8_e4m3fnuz, 32: torch.float8_e5m2fnuz, 34: torch.uint32, 35: torch.uint64,
}  # fmt: skip
STRIDED = 7
MEMORY_FORMATS: Mapping[int, torch.memory_format] = {
    1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format,
}  # fmt: skip

# What torch.export writes between numbers that are no tensors (_SYM_OPS of torch/_export/serde/serialize.py).
NUMBER_OPS: Mapping[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in "eq ne le ge lt gt neg pos mul add sub floordiv mod pow truediv and_ or_ lshift rshift".split()
    },
    "math.trunc": math.trunc,
    "torch.sym_not": operator.not_,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_sqrt": math.sqrt,
    "torch.sym_ite": lambda condition, yes, no: yes if condition else no,
}
CHECKS = frozenset({"_assert_scalar", "_assert_async", "_assert_tensor_metadata", "sym_constrain_range",
                    "sym_constrain_range_for_size"})  # fmt: skip
WRAPPERS = frozenset({"wrap_with_set_grad_enabled", "wrap_with_autocast"})  # of a part of the graph, run as it stands
POWERS = frozenset({"_operator.pow", "_operator.lshift"})
MAX_BITS = 63  # of a number that has to do with shapes
MAX_PARTS = 2**18  # of a tensor that is taken apart; the largest vocabularies have so many words
REACHES_OUT = frozenset({"from_file"})  # an op that opens files


def load_pt2(path: Path, wanted: Wanted) -> tuple[ExportedNetwork, tuple[Tensor, ...], str]:
    """The network of an archive, inputs for it on the meta device, and where their sizes come from.

    Raises:
        ModelError: The archive cannot be read, has ops that are not known here, or leaves a dimension open.
    """
    archive = read_archive(path)
    try:
        return _Reader(archive.program, archive.weights).load(wanted)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, RuntimeError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ModelError(f"{path} is no exported program as PyTorch writes it ({what})") from error


class _Reader:
    """Turns the JSON of a program into a network."""

    def __init__(self, program: Json, weights: Json) -> None:
        module = program["graph_module"]
        self.graph: Json = module["graph"]
        self.signature: Json = module["signature"]
        self.modules = [str(entry["fqn"]) for entry in module.get("module_call_graph", [])]
        self.ranges: Json = program.get("range_constraints", {})
        self.weights = weights
        self.metas: Json = self.graph["tensor_values"]
        self.storages: dict[str, Tensor] = {}

    def load(self, wanted: Wanted) -> tuple[ExportedNetwork, tuple[Tensor, ...], str]:
        _refuse_unknown(self.graph)
        inputs: dict[str, list[Size]] = {}
        examples: dict[str, int] = {}
        constants: Values = {}
        for spec in self.signature["input_specs"]:
            kind, held = _only(spec)
            if kind == "user_input":
                kind, held = _only(held["arg"])
                if kind != "as_tensor":
                    raise ModelError(f"an input of kind {kind.removeprefix('as_')}: only tensors can be inputs")
                name = held["name"]
                inputs[name] = [self._size(size, examples) for size in self.metas[name]["sizes"]]
            elif kind == "constant_input":
                constants[held["name"]] = next(iter(held["value"].values()))
        settled, source = settle(inputs, wanted, examples)
        self._check_ranges(settled)

        outputs = [name for spec in self.signature["output_specs"] for name in self._output(spec)]
        network = ExportedNetwork(tuple(inputs), outputs)
        network.keep(constants)
        for spec in self.signature["input_specs"]:
            self._hold(network, *_only(spec))
        network.follow(_steps(self.graph), [path for path in self.modules if path.count(".") < MAX_DEPTH])
        return network, tuple(self._input(name, sizes, settled) for name, sizes in inputs.items()), source

    def _input(self, name: str, sizes: Sequence[Size], settled: Mapping[str, int]) -> Tensor:
        shape = tuple(settled[size] if isinstance(size, str) else size for size in sizes)
        check_elements(name, shape)
        return torch.empty(shape, dtype=_dtype(self.metas[name]["dtype"]), device="meta")

    def _size(self, size: Json, examples: dict[str, int]) -> Size:
        """A number, or the symbol that stands for it."""
        kind, held = _only(size)
        if kind == "as_int":
            return int(held)
        expression = str(held["expr_str"])
        symbol = _symbol(expression)
        if symbol is None:
            raise ModelError(
                f"a dimension that is computed from others ({expression[:80]}): export it as one of its own"
            )
        if isinstance(held.get("hint"), dict) and "as_int" in held["hint"]:
            examples[symbol] = int(held["hint"]["as_int"])
        return symbol

    def _check_ranges(self, settled: Mapping[str, int]) -> None:
        for name, size in settled.items():
            allowed = self.ranges.get(name) or {}
            low, high = allowed.get("min_val"), allowed.get("max_val")
            if (low is not None and size < low) or (high is not None and size > high):
                raise ModelError(f"{name}={size} is outside of what it was exported for: {low} to {high or 'any'}")

    def _hold(self, network: ExportedNetwork, kind: str, held: Json) -> None:
        names = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
        if kind not in names:
            if kind in ("custom_obj", "token"):
                raise ModelError(f"an input of kind {kind}, which is no tensor, cannot be followed")
            return
        value, path = held["arg"]["name"], held[names[kind]]
        tensor = self._weight(path, self.metas[value])
        if kind == "tensor_constant":
            network.keep({value: tensor})
        else:
            network.hold(value, path, tensor, is_parameter=kind == "parameter")

    def _weight(self, path: str, meta: Json) -> Tensor:
        """A tensor on the meta device, on the memory of those that the archive keeps in the same file."""
        shape = [int(_only(size)[1]) for size in meta["sizes"]]
        strides = [int(_only(stride)[1]) for stride in meta["strides"]]
        check_elements(path, shape)
        check_elements(
            path, [1 + sum(stride * (size - 1) for stride, size in zip(strides, shape, strict=True) if size)]
        )
        dtype = _dtype(meta["dtype"])
        file = self.weights.get(path, {}).get("path_name")
        if file is None or meta.get("layout") != STRIDED:
            return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
        offset = int(_only(meta["storage_offset"])[1])
        end = offset + 1 + sum(stride * (size - 1) for stride, size in zip(strides, shape, strict=True))
        storage = self.storages.get(f"{file} {dtype}")
        if storage is None or storage.numel() < end:
            storage = self.storages[f"{file} {dtype}"] = torch.empty(end, dtype=dtype, device="meta")
        return storage.as_strided(shape, strides, offset)

    def _output(self, spec: Json) -> Iterator[str]:
        kind, held = _only(spec)
        if kind in ("user_output", "loss_output"):
            argument = held["arg"]
            kind, held = _only(argument) if kind == "user_output" else ("as_tensor", argument)
            if kind == "as_tensor":
                yield held["name"]


def _steps(graph: Json) -> Iterator[Step]:
    for node in graph["nodes"]:
        run = _runner(node)
        if run is not None:
            yield Step(_scopes(node.get("metadata", {}).get("nn_module_stack", "")), run)


def _runner(node: Json) -> Callable[[Values], None] | None:
    """What a node does; None where it only checks."""
    target = node["target"]
    if _base_name(target) in CHECKS:
        return None
    if target in NUMBER_OPS:
        function: Callable[..., Any] = partial(_number, target)
    elif _base_name(target) in WRAPPERS:
        return partial(_run_wrapped, node)
    elif target.startswith("torch.ops.aten.sym_"):
        function = _SIZES[_base_name(target)]
    else:
        function = _overload(target)
    positional = [entry["arg"] for entry in node["inputs"] if entry.get("kind") != 2]
    keywords = {entry["name"]: entry["arg"] for entry in node["inputs"] if entry.get("kind") == 2}
    if isinstance(function, torch._ops.OpOverload) and all(entry.get("kind") is None for entry in node["inputs"]):
        only = {argument.name for argument in function._schema.arguments if argument.kwarg_only}
        positional = [entry["arg"] for entry in node["inputs"] if entry["name"] not in only]
        keywords = {entry["name"]: entry["arg"] for entry in node["inputs"] if entry["name"] in only}

    def run(values: Values) -> None:
        arguments = [_argument(argument, values) for argument in positional]
        if any("as_tensors" in output for output in node["outputs"]):
            _check_parts(target, arguments)
        result = function(*arguments, **{name: _argument(argument, values) for name, argument in keywords.items()})
        _store(node["outputs"], result, values)

    return run


def _number(target: str, *arguments: Any) -> Any:
    """A number from numbers; none outgrows what a size can be, so that a file cannot ask for one of a gigabyte."""
    if target in POWERS and abs(arguments[1]) > MAX_BITS:
        raise ModelError(f"{target} with {arguments[1]} is no arithmetic of shapes")
    result = NUMBER_OPS[target](*arguments)
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        raise ModelError(f"{target} gives a number of {result.bit_length()} bits; sizes have up to {MAX_BITS}")
    return result


def _check_parts(target: str, arguments: Sequence[Any]) -> None:
    if any(isinstance(x, Tensor) and max(x.shape, default=0) > MAX_PARTS for x in arguments):
        raise ModelError(f"{target} would take a tensor apart into more than {MAX_PARTS:,} parts")


_SIZES: Mapping[str, Callable[..., Any]] = {
    "sym_size": lambda tensor, dim: tensor.shape[dim],
    "sym_stride": lambda tensor, dim: tensor.stride(dim),
    "sym_numel": lambda tensor: tensor.numel(),
    "sym_storage_offset": lambda tensor: tensor.storage_offset(),
}


def _run_wrapped(node: Json, values: Values) -> None:
    """A part of the graph under another mode of autograd or autocast: what computes is the same."""
    arguments = [entry["arg"] for entry in node["inputs"]]
    where = next(index for index, argument in enumerate(arguments) if "as_graph" in argument)
    inner: Json = arguments[where]["as_graph"]["graph"]
    given = [_argument(argument, values) for argument in arguments[where + 1 :]]
    names = [next(iter(_only(argument)[1].values())) for argument in inner["inputs"]]
    local = dict(zip(names, given, strict=True))
    for step in _steps(inner):
        step.run(local)
    results = [_argument(argument, local) for argument in inner["outputs"]]
    _store(node["outputs"], results[0] if len(results) == 1 else results, values)


def _store(outputs: Sequence[Json], result: Any, values: Values) -> None:
    if len(outputs) == 1:
        _store_one(outputs[0], result, values)
    elif outputs:
        for output, part in zip(outputs, result, strict=True):
            _store_one(output, part, values)


def _store_one(output: Json, result: Any, values: Values) -> None:
    kind, held = _only(output)
    if kind == "as_tensors":
        values.update((tensor["name"], part) for tensor, part in zip(held, result, strict=True))
    elif kind != "as_none":
        if isinstance(result, list | tuple):
            (result,) = result
        values[held["name"] if "name" in held else held["as_name"]] = result


def _argument(argument: Json, values: Values) -> Any:
    """What an argument of a node stands for: schema ``Argument`` of torch/_export/serde/schema.py."""
    kind, held = _only(argument)
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return values[held["name"]]
        case "as_tensors":
            return [values[tensor["name"]] for tensor in held]
        case "as_nested_tensors":
            return [[values[tensor["name"]] for tensor in inner] for inner in held]
        case "as_optional_tensor":
            return _argument(held, values)
        case "as_optional_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
            return [_symbolic(item, values) for item in held]
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return _symbolic(held, values)
        case "as_float":
            return float(held)  # "Infinity" and "NaN" are text
        case "as_floats":
            return [float(number) for number in held]
        case "as_int" | "as_ints" | "as_int_lists" | "as_bool" | "as_bools" | "as_string" | "as_strings":
            return held
        case "as_scalar_type":
            return _dtype(held)
        case "as_memory_format":
            return MEMORY_FORMATS[held]
        case "as_layout":
            return torch.strided
        case "as_device":
            return torch.device("meta")
        case "as_complex":
            return complex(held["real"], held["imag"])
    raise ModelError(f"an argument of kind {kind.removeprefix('as_')} cannot be followed")


def _symbolic(item: Json, values: Values) -> Any:
    kind, held = _only(item)
    if kind == "as_name":
        return values[held]
    return _argument(item, values)


def _refuse_unknown(graph: Json) -> None:
    unknown = Counter(target for target in _targets(graph) if not _is_known(target))
    if unknown:
        listed = ", ".join(f"{name} ({count}x)" for name, count in unknown.most_common(8))
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise ModelError(
            f"ops that are not known here: {listed}{more}; a custom op is known once the module that registers it is "
            "imported, and control flow has to be exported as one branch"
        )


def _targets(graph: Json) -> Iterator[str]:
    for node in graph["nodes"]:
        yield str(node["target"])
        if _base_name(node["target"]) in WRAPPERS:
            for entry in node["inputs"]:
                if "as_graph" in entry["arg"]:
                    yield from _targets(entry["arg"]["as_graph"]["graph"])


def _is_known(target: str) -> bool:
    if target in NUMBER_OPS or _base_name(target) in CHECKS or _base_name(target) in WRAPPERS:
        return True
    if target.startswith("torch.ops.aten.sym_"):
        return _base_name(target) in _SIZES
    try:
        _overload(target)
    except ModelError:
        return False
    return True


def _overload(target: str) -> torch._ops.OpOverload:
    """The registered overload of that name, and never anything else that hangs below `torch`."""
    prefix, _, rest = target.partition("torch.ops.")
    namespace, *name = rest.split(".")
    if not prefix and len(name) == 2 and namespace.isidentifier() and name[0] not in REACHES_OUT:
        packet = getattr(getattr(torch.ops, namespace), name[0], None)
        if isinstance(packet, torch._ops.OpOverloadPacket) and name[1] in {
            each or "default" for each in packet._overload_names
        }:
            found = getattr(packet, name[1])
            assert isinstance(found, torch._ops.OpOverload)
            return found
    raise ModelError(f"no op {target!r}")


def _base_name(target: str) -> str:
    """``conv2d`` of ``torch.ops.aten.conv2d.default``, ``cond`` of ``torch.ops.higher_order.cond``."""
    parts = target.split(".")
    return parts[3] if target.startswith("torch.ops.") and len(parts) > 3 else parts[-1]


def _scopes(stack: str) -> tuple[str, ...]:
    """The paths in ``key,path,type;key,path,type``, the model's own left out."""
    paths = [entry.split(",")[1] for entry in stack.split(";") if entry.count(",") >= 2]
    return tuple(path for path in paths if path.strip("."))[:MAX_DEPTH]


def _dtype(number: int) -> torch.dtype:
    if number not in DTYPES:
        raise ModelError(f"a tensor of a dtype that is not known here (ScalarType {number})")
    return DTYPES[number]


def _symbol(expression: str) -> str | None:
    """``s0`` of ``Symbol('s0', positive=True, integer=True)``."""
    try:
        node = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError):
        return None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Symbol" and node.args:
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return name.value
    return None


def _only(union: Json) -> tuple[str, Any]:
    """The one entry of a tagged union: which kind it is, and what it holds."""
    ((kind, held),) = union.items()
    return kind, held
