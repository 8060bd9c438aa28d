"""A ``.pt2`` archive of torch.export as a network to trace.

The archive lists ATen ops as they ran in the live model, one overload each, with the modules they ran in:
`torch.export` takes nothing apart unless asked. They are run again on meta tensors, so that counts are those of the
live model; or on numbers, so that times are. The numbers are those of the archive where they are plain numbers. Where
they are pickles, which are not opened, weights are made up; a constant that is no floating number is not, as it may be
an index.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roofline.errors import ModelError
from roofline.exported.archive import Json, Stored, read_archive, read_numbers
from roofline.exported.network import (
    DEVICE,
    MAX_DEPTH,
    Action,
    ExportedNetwork,
    Step,
    Values,
    letting_go,
    perform,
)
from roofline.exported.pt2_activations import UNCHANGED, Exchange, exchanged
from roofline.exported.pt2_schema import (
    STRIDED,
    Late,
    argument_of,
    base_name,
    dtype_of,
    filled,
    names_in,
    scopes_of,
    symbol_of,
    tagged,
    written_by,
)
from roofline.exported.sizes import Size, Wanted, check_elements, settle

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
HELD = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
CHECKS = frozenset({"_assert_scalar", "_assert_async", "_assert_tensor_metadata", "sym_constrain_range",
                    "sym_constrain_range_for_size"})  # fmt: skip
AUTOCAST = "wrap_with_autocast"
WRAPPERS = frozenset({"wrap_with_set_grad_enabled", AUTOCAST})  # of a part of the graph, run as it stands
POWERS = frozenset({"_operator.pow", "_operator.lshift"})
MAX_BITS = 63  # of a number that has to do with shapes
MAX_PARTS = 2**18  # of a tensor that is taken apart; the largest vocabularies have so many words
REACHES_OUT = frozenset({"from_file"})  # an op that opens files
OWN = frozenset({"aten", "prims", "quantized", "quantized_decomposed"})  # libraries of ops that are torch's own


def load_pt2(
    path: Path, wanted: Wanted, *, weights: bool = False, act: str | None = None
) -> tuple[ExportedNetwork, tuple[Tensor, ...], str]:
    """The network of an archive, inputs for it on the meta device, and where their sizes come from.

    Args:
        path: Of the archive.
        wanted: What the user says of the inputs.
        weights: Whether it is to run, and so needs numbers; else they are shapes.
        act: The activation function in place of those that the file has; its own if None.

    Raises:
        ModelError: The archive cannot be read, has ops that are not known here, or leaves a dimension open; or `act`
            cannot stand in it.
    """
    archive = read_archive(path)
    stored = {**archive.constants, **archive.weights} if weights else archive.weights
    numbers = None
    if weights:
        numbers = read_numbers(path, {each.member for each in stored.values() if not each.is_pickle})
    try:
        return _Reader(archive.program, stored, numbers).load(wanted, act)
    except MemoryError as error:
        raise ModelError(f"{path}: its weights do not fit into memory") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, RuntimeError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ModelError(f"{path} is no exported program as PyTorch writes it ({what})") from error


class _Reader:
    """Turns the JSON of a program into a network."""

    def __init__(self, program: Json, stored: Mapping[str, Stored], numbers: Mapping[str, Tensor] | None) -> None:
        module = program["graph_module"]
        self.graph: Json = module["graph"]
        self.signature: Json = module["signature"]
        self.modules = [str(entry["fqn"]) for entry in module.get("module_call_graph", [])]
        self.ranges: Json = program.get("range_constraints", {})
        self.stored, self.numbers = stored, numbers
        self.metas: Json = self.graph["tensor_values"]
        self.storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def load(self, wanted: Wanted, act: str | None) -> tuple[ExportedNetwork, tuple[Tensor, ...], str]:
        _refuse_unknown(self.graph)
        if self.numbers is not None:
            _refuse_others(self.graph)
        inputs: dict[str, list[Size]] = {}
        examples: dict[str, int] = {}
        constants: Values = {}
        for spec in self.signature["input_specs"]:
            kind, held = tagged(spec)
            if kind == "user_input":
                kind, held = tagged(held["arg"])
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
        instead = self._exchanged(network, outputs, act) if act is not None else UNCHANGED
        steps = list(_steps(self.graph, instead))
        unread = self._reads(instead.gone) - {name for step in steps for name in step.reads} - set(outputs)
        for spec in self.signature["input_specs"]:
            self._hold(network, *tagged(spec), unread)
        below = tuple(f"{path}." for path in instead.paths)
        modules = [path for path in self.modules if path.count(".") < MAX_DEPTH and not path.startswith(below)]
        network.follow(steps, modules)
        return network, tuple(self._input(name, sizes, settled) for name, sizes in inputs.items()), source

    def _input(self, name: str, sizes: Sequence[Size], settled: Mapping[str, int]) -> Tensor:
        shape = tuple(settled[size] if isinstance(size, str) else size for size in sizes)
        check_elements(name, shape)
        return torch.empty(shape, dtype=dtype_of(self.metas[name]["dtype"]), device="meta")

    def _size(self, size: Json, examples: dict[str, int]) -> Size:
        """A number, or the symbol that stands for it."""
        kind, held = tagged(size)
        if kind == "as_int":
            return int(held)
        expression = str(held["expr_str"])
        symbol = symbol_of(expression)
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

    def _exchanged(self, network: ExportedNetwork, outputs: Sequence[str], act: str) -> Exchange:
        """The network's activation functions, each with another in its place."""
        held = (tagged(spec) for spec in self.signature["input_specs"])
        fixed = {each["arg"]["name"] for kind, each in held if kind in HELD}
        return exchanged(network, self.graph, fixed, outputs, act, on_meta=self.numbers is None)

    def _reads(self, indices: Iterable[int]) -> set[str]:
        """The values that some nodes of the file read."""
        entries = (entry for index in indices for entry in self.graph["nodes"][index]["inputs"])
        return {name for entry in entries for name in names_in(argument_of(entry["arg"]))}

    def _hold(self, network: ExportedNetwork, kind: str, held: Json, unread: Collection[str]) -> None:
        if kind not in HELD:
            if kind in ("custom_obj", "token"):
                raise ModelError(f"an input of kind {kind}, which is no tensor, cannot be followed")
            return
        value, path = held["arg"]["name"], held[HELD[kind]]
        if value in unread:  # it went with the function that read it
            return
        tensor = self._weight(path, self.metas[value], is_parameter=kind == "parameter")
        if kind == "tensor_constant":
            network.keep({value: tensor})
        else:
            network.hold(value, path, tensor, is_parameter=kind == "parameter")

    def _weight(self, path: str, meta: Json, *, is_parameter: bool) -> Tensor:
        """A tensor on the memory of those that the archive keeps in the same file, or on its own."""
        stored = self.stored.get(path)
        shape, strides, offset, dtype = _layout(path, meta)
        in_file = stored is not None and meta.get("layout") == STRIDED
        if self.numbers is not None:
            if stored is None or stored.member not in self.numbers or stored.meta is None or not in_file:
                return _made_up(path, shape, strides, dtype, is_parameter=is_parameter)
            if _layout(path, stored.meta)[0] != shape:
                raise ModelError(f"{path!r} has one shape in the graph, and another where its numbers are")
            _, strides, offset, dtype = _layout(path, stored.meta)
        elif not in_file:
            return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
        assert stored is not None
        end = offset + 1 + sum(stride * (size - 1) for stride, size in zip(strides, shape, strict=True))
        return self._storage(path, stored.member, dtype, end).as_strided(shape, strides, offset)

    def _storage(self, path: str, member: str, dtype: torch.dtype, elements: int) -> Tensor:
        """The numbers of a file, or as many without memory."""
        storage = self.storages.get((member, dtype))
        if storage is None and self.numbers is not None:
            data = self.numbers[member]
            storage = data[: data.numel() // dtype.itemsize * dtype.itemsize].view(dtype)
        elif storage is None or (storage.is_meta and storage.numel() < elements):
            storage = torch.empty(elements, dtype=dtype, device="meta")
        if storage.numel() < elements:
            raise ModelError(f"{path!r} has {elements:,} numbers, and {member} only {storage.numel():,}")
        self.storages[member, dtype] = storage
        return storage

    def _output(self, spec: Json) -> Iterator[str]:
        kind, held = tagged(spec)
        if kind in ("user_output", "loss_output"):
            argument = held["arg"]
            kind, held = tagged(argument) if kind == "user_output" else ("as_tensor", argument)
            if kind == "as_tensor":
                yield held["name"]


def _layout(path: str, meta: Json) -> tuple[list[int], list[int], int, torch.dtype]:
    """Shape, strides, offset and dtype: schema ``TensorMeta``."""
    shape = [int(tagged(size)[1]) for size in meta["sizes"]]
    strides = [int(tagged(stride)[1]) for stride in meta["strides"]]
    offset = int(tagged(meta["storage_offset"])[1])
    check_elements(path, shape)
    check_elements(path, [1 + sum(stride * (size - 1) for stride, size in zip(strides, shape, strict=True) if size)])
    check_elements(path, [offset])
    return shape, strides, offset, dtype_of(meta["dtype"])


def _made_up(
    path: str, shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype, *, is_parameter: bool
) -> Tensor:
    """Numbers for a weight whose own cannot be read: N(0, 1 / fan in) of a matrix or kernel, so that nothing overflows
    or vanishes on the way through a network, and 1 of all else, as scales and variances are.
    """
    if not dtype.is_floating_point:
        raise ModelError(
            f"{path!r} holds {str(dtype).removeprefix('torch.')} numbers that are not in the file, or as a pickle, "
            "which is not opened; times may depend on them: name the code it is from, as in net.py:make_net"
        )
    tensor = torch.empty_strided(shape, strides, dtype=dtype)
    if is_parameter and len(shape) > 1:
        fan_in = max(math.prod(shape[1:]), 1)
        return tensor.copy_(torch.randn(*shape) / fan_in**0.5)
    return tensor.copy_(torch.ones(shape))


def _steps(graph: Json, instead: Exchange = UNCHANGED) -> Iterator[Step]:
    for index, node in enumerate(graph["nodes"]):
        if index in instead.gone:
            if index in instead.steps:
                yield instead.steps[index]
            continue
        run = _runner(node)
        if run is not None:
            scopes = scopes_of(node.get("metadata", {}).get("nn_module_stack", ""))
            reads = tuple(name for entry in node["inputs"] for name in names_in(argument_of(entry["arg"])))
            yield Step(scopes, run, reads, tuple(name for output in node["outputs"] for name in written_by(output)))


def _runner(node: Json) -> Action | None:
    """What a node does; None where it only checks."""
    target = node["target"]
    if base_name(target) in CHECKS:
        return None
    if target in NUMBER_OPS:
        function: Callable[..., Any] = partial(_number, target)
    elif base_name(target) in WRAPPERS:
        return _wrapped(node)
    elif target.startswith("torch.ops.aten.sym_"):
        function = _SIZES[base_name(target)]
    else:
        function = _overload(target)
    positional = [entry["arg"] for entry in node["inputs"] if entry.get("kind") != 2]
    keywords = {entry["name"]: entry["arg"] for entry in node["inputs"] if entry.get("kind") == 2}
    if isinstance(function, torch._ops.OpOverload) and all(entry.get("kind") is None for entry in node["inputs"]):
        only = {argument.name for argument in function._schema.arguments if argument.kwarg_only}
        positional = [entry["arg"] for entry in node["inputs"] if entry["name"] not in only]
        keywords = {entry["name"]: entry["arg"] for entry in node["inputs"] if entry["name"] in only}
    if any("as_tensors" in output for output in node["outputs"]):
        function = partial(_in_parts, target, function)
    return _call(function, [argument_of(arg) for arg in positional],
                 {name: argument_of(arg) for name, arg in keywords.items()}, _store(node["outputs"]))  # fmt: skip


def _call(
    function: Callable[..., Any], positional: list[Any], keywords: dict[str, Any], store: Callable[[Any, Values], None]
) -> Action:
    """Calls a function with what is known already, and with the values that come as the network runs."""
    late = [(place, arg) for place, arg in enumerate(positional) if names_in(arg)]
    late_keywords = [(name, arg) for name, arg in keywords.items() if names_in(arg)]

    def run(values: Values) -> Any:
        arguments = positional.copy()
        for place, arg in late:
            arguments[place] = values[arg.name] if type(arg) is Late else filled(arg, values)
        if late_keywords:
            named = {**keywords, **{name: filled(arg, values) for name, arg in late_keywords}}
            result = function(*arguments, **named)
        else:
            result = function(*arguments, **keywords)
        store(result, values)
        return result

    return run


def _number(target: str, *arguments: Any) -> Any:
    """A number from numbers; none outgrows what a size can be, so that a file cannot ask for one of a gigabyte."""
    if target in POWERS and abs(arguments[1]) > MAX_BITS:
        raise ModelError(f"{target} with {arguments[1]} is no arithmetic of shapes")
    result = NUMBER_OPS[target](*arguments)
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        raise ModelError(f"{target} gives a number of {result.bit_length()} bits; sizes have up to {MAX_BITS}")
    return result


def _in_parts(target: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What takes a tensor apart, into not too many parts."""
    if any(isinstance(x, Tensor) and max(x.shape, default=0) > MAX_PARTS for x in arguments):
        raise ModelError(f"{target} would take a tensor apart into more than {MAX_PARTS:,} parts")
    return function(*arguments, **keywords)


_SIZES: Mapping[str, Callable[..., Any]] = {
    "sym_size": lambda tensor, dim: tensor.shape[dim],
    "sym_stride": lambda tensor, dim: tensor.stride(dim),
    "sym_numel": lambda tensor: tensor.numel(),
    "sym_storage_offset": lambda tensor: tensor.storage_offset(),
}


def _wrapped(node: Json) -> Action:
    """A part of the graph under another mode of autograd, which changes nothing here, or of autocast."""
    arguments = [entry["arg"] for entry in node["inputs"]]
    where = next(index for index, argument in enumerate(arguments) if "as_graph" in argument)
    inner: Json = arguments[where]["as_graph"]["graph"]
    given = [argument_of(argument) for argument in arguments[where + 1 :]]
    names = [next(iter(tagged(argument)[1].values())) for argument in inner["inputs"]]
    results = [argument_of(argument) for argument in inner["outputs"]]
    actions = letting_go(tuple(_steps(inner)), names_in(results))
    store = _store(node["outputs"])
    casts = base_name(node["target"]) == AUTOCAST and _is_cast([argument_of(arg) for arg in arguments[:where]])

    def run(values: Values) -> Any:
        if casts and values[DEVICE].type != "meta":
            raise ModelError("it runs under torch.autocast in part, which is not repeated here")
        local = {DEVICE: values[DEVICE], **dict(zip(names, filled(given, values), strict=True))}
        perform(actions, local)
        found = filled(results, local)
        result = found[0] if len(found) == 1 else found
        store(result, values)
        return result

    return run


def _is_cast(arguments: Sequence[Any]) -> bool:
    """Whether autocast (device type, dtype, enabled, cache enabled) is on."""
    return len(arguments) < 3 or bool(arguments[2])


def _store(outputs: Sequence[Json]) -> Callable[[Any, Values], None]:
    """Keeps what a node gives under the names that it has in the file."""
    if len(outputs) == 1:
        return _store_one(outputs[0])
    stores = [_store_one(output) for output in outputs]

    def keep(result: Any, values: Values) -> None:
        for place, store in enumerate(stores):
            store(result[place], values)

    return keep


def _store_one(output: Json) -> Callable[[Any, Values], None]:
    kind, _ = tagged(output)
    names = written_by(output)

    def keep(result: Any, values: Values) -> None:
        if kind == "as_tensors":
            values.update((name, result[place]) for place, name in enumerate(names))
        elif names:
            if isinstance(result, list | tuple):
                (result,) = result
            values[names[0]] = result

    return keep


def _refuse_unknown(graph: Json) -> None:
    unknown = Counter(target for target in _targets(graph) if not _is_known(target))
    if unknown:
        listed = ", ".join(f"{name} ({count}x)" for name, count in unknown.most_common(8))
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise ModelError(
            f"ops that are not known here: {listed}{more}; a custom op is known once the module that registers it is "
            "imported, and control flow has to be exported as one branch"
        )


def _refuse_others(graph: Json) -> None:
    """On shapes an op of anybody's has nothing to do; on numbers a file is not to choose whose code runs."""
    others = Counter(
        target for target in _targets(graph) if target.startswith("torch.ops.") and target.split(".")[2] not in OWN
        and base_name(target) not in WRAPPERS
    )  # fmt: skip
    if others:
        listed = ", ".join(f"{name} ({count}x)" for name, count in others.most_common(8))
        raise ModelError(
            f"ops that are not torch's own, which can be counted but are not run for a file: {listed}; name the code "
            "it is from, as in net.py:make_net"
        )


def _targets(graph: Json) -> Iterator[str]:
    for node in graph["nodes"]:
        yield str(node["target"])
        if base_name(node["target"]) in WRAPPERS:
            for entry in node["inputs"]:
                if "as_graph" in entry["arg"]:
                    yield from _targets(entry["arg"]["as_graph"]["graph"])


def _is_known(target: str) -> bool:
    if target in NUMBER_OPS or base_name(target) in CHECKS or base_name(target) in WRAPPERS:
        return True
    if target.startswith("torch.ops.aten.sym_"):
        return base_name(target) in _SIZES
    try:
        _overload(target)
    except ModelError:
        return False
    return True


def _overload(target: str) -> torch._ops.OpOverload:
    """The overload of that name that the dispatcher has, and never anything else that hangs below `torch`.

    Operators of TorchScript alone hang there, too, and among them is ``aten::save``, which writes files.
    """
    prefix, _, rest = target.partition("torch.ops.")
    namespace, *name = rest.split(".")
    if not prefix and len(name) == 2 and namespace.isidentifier() and name[0] not in REACHES_OUT:
        packet = getattr(getattr(torch.ops, namespace), name[0], None)
        if isinstance(packet, torch._ops.OpOverloadPacket) and name[1] in {
            each or "default" for each in packet._overload_names
        }:
            found = getattr(packet, name[1])
            if isinstance(found, torch._ops.OpOverload) and _is_dispatched(found):
                return found
    raise ModelError(f"no op {target!r}")


def _is_dispatched(overload: torch._ops.OpOverload) -> bool:
    try:
        torch._C._dispatch_find_schema_or_throw(overload._schema.name, overload._schema.overload_name)
    except RuntimeError:
        return False
    return True
