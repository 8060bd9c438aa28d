"""An ONNX file as a network to trace.

Every node becomes the ATen ops that do the same (`roofline.exported.onnx_ops`), on meta tensors; nothing is computed
but the arithmetic of shapes, which is done beforehand and costs nothing. Weights are shapes: what stands in the file is
not looked at, and a file of external data is not opened, but for small integers that shapes may depend on.

The graph goes through the onnx package's own shape inference (strict), which finds what contradicts itself; and what
the ops give here has to have the shapes that it says. It is told the values that shapes depend on. Its data
propagation, which finds them too, makes a record of every element of every vector, be it as long as a file of 100 bytes
likes.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roofline.errors import ModelError
from roofline.exported import onnx_layers  # noqa: F401  # which registers what it does
from roofline.exported.network import MAX_DEPTH, ExportedNetwork, Step, Values, on_meta, scopes_to
from roofline.exported.onnx_activations import exchange
from roofline.exported.onnx_nodes import Node, op_key, put_together
from roofline.exported.onnx_ops import OPERATIONS, SMALL, Call, dtype_of
from roofline.exported.onnx_shapes import FOLDABLE
from roofline.exported.sizes import Size, Wanted, check_elements, settle

MAX_FILE_BYTES = 2**31  # protobuf's own limit of a message
MAX_NODES = 2**20  # with functions inlined; a language model of 80 layers has some 10,000
MAX_KNOWN = 2**24  # numbers that nodes make of shapes; a language model of 80 layers has some 100,000
EXTERNAL, GRAPH, GRAPHS = 1, 5, 10  # onnx.TensorProto.DataLocation, onnx.AttributeProto.AttributeType
DATA_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
SCALES = 8  # real numbers that may be a Resize's scales, one a dimension, and no weights worth the name
FROM_SHAPES = frozenset({"Shape", "Size"})  # known whatever the values are
BROADCAST = frozenset(
    {"Clip", "Max", "Mean", "Min", "Sum", "Where"}
)  # make an element of any of three and more operands
OF_SHAPES = frozenset({torch.int32, torch.int64, torch.float32, torch.float64})  # what shapes are computed in
BY_WEIGHT = frozenset({"Conv", "ConvTranspose", "Gemm"})  # an exporter that folds a norm gives them the norm's path
NAME_SCOPES = "pkg.torch.onnx.name_scopes"  # where PyTorch's exporter writes the modules a node is from


def load_onnx(path: Path, wanted: Wanted, *, act: str | None = None) -> tuple[ExportedNetwork, tuple[Tensor, ...], str]:
    """The network of a file, inputs for it on the meta device, and where their sizes come from.

    Args:
        path: Of the file.
        wanted: What the user says of the inputs.
        act: The activation function in place of those that the file has; its own if None.

    Raises:
        ModelError: The onnx package is missing; or the file is damaged, has ops that are not known here, points out of
            its folder or leaves a dimension open; or `act` cannot stand in it.
    """
    model = _parse(path)
    try:
        graph = _read(model, path.parent, act)
        settled, source = settle(graph.inputs, wanted)
        shapes = {
            name: tuple(settled[size] if isinstance(size, str) else size for size in sizes)
            for name, sizes in graph.inputs.items()
        }
        for name, shape in shapes.items():
            check_elements(name, shape)
        inputs = {name: on_meta(shape, graph.dtypes[name]) for name, shape in shapes.items()}
        network, tensors, known = _network(graph, inputs)
        _compare(tensors, _infer_shapes(model, shapes, known))
        return network, tuple(inputs.values()), source
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ModelError(f"{path}: its graph does not fit into memory") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError, RuntimeError) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ModelError(f"{path} is no ONNX graph as exporters write it ({what})") from error


@dataclass(slots=True)
class _Graph:
    """What a file says.

    Attributes:
        inputs: Their sizes, names where they are open.
        dtypes: Of the inputs and the weights.
        weights: Shapes of the weights.
        known: Values of small constants.
        nodes: In order.
        outputs: Names.
    """

    inputs: dict[str, list[Size]] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    known: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def with_activation(path: Path, act: str, weights: Mapping[str, Tensor]) -> bytes:
    """A whole file, to be run, with another activation function in it.

    Args:
        path: Of the file.
        act: The function.
        weights: In place of those whose file is missing, by name.

    Raises:
        ModelError: As `load_onnx`; or with all of its weights in it, it is too large.
    """
    from onnx import external_data_helper, numpy_helper

    model = _parse(path)
    try:
        _read(model, path.parent, act)
        for tensor in model.graph.initializer:
            if tensor.name in weights:
                tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].numpy(), tensor.name))
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        whole: bytes = model.SerializeToString()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ModelError(f"{path}: with its weights it does not fit into memory") from error
    except Exception as error:  # onnx, protobuf and the file system have errors of their own
        why = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} cannot be written with {act} in it: {why}") from error
    return whole


def missing_weights(path: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of the weights that are said to be in another file, which is not there.

    Raises:
        ImportError: The onnx package is missing.
        ModelError: The file is damaged, or points out of its folder.
    """
    import onnx  # noqa: F401

    missing = {}
    for tensor in _parse(path).graph.initializer:
        if tensor.data_location == EXTERNAL:
            _check_location(tensor, path.parent)
            if not (path.parent / _external(tensor)["location"]).is_file():
                missing[tensor.name] = (tuple(map(int, tensor.dims)), dtype_of(tensor.data_type))
    return missing


# --- reading -----------------------------------------------------------------------------------------------------


def _parse(path: Path) -> Any:
    """The protobuf of a file, functions inlined; weights in other files stay there."""
    try:
        import onnx
        from onnx import defs, inliner
    except ImportError as error:
        raise ModelError(f"{path} needs the onnx package: pip install 'roofline-profiler[onnx]'") from error
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ModelError(
            f"{path} has {size:,} bytes, and ONNX files up to {MAX_FILE_BYTES:,}: save it with external data"
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
        if model.functions:
            _check_functions(model)
            model = inliner.inline_local_functions(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ModelError(f"{path}: it does not fit into memory") from error
    except Exception as error:  # protobuf and the inliner have errors of their own
        why = " ".join(str(error).split())
        raise ModelError(f"{path} is no whole ONNX file (damaged, or cut off): {why[:200]}") from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path} holds no ONNX graph: it is empty, damaged or cut off")
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > defs.onnx_opset_version():
            raise ModelError(
                f"{path} is of ONNX op set {opset.version}; the onnx package that is installed ({onnx.__version__}) "
                f"knows up to {defs.onnx_opset_version()}: upgrade it"
            )
    return model


def _check_functions(model: Any) -> None:
    """Refuse a file whose functions call each other so often that a few lines become more nodes than memory holds."""
    functions = {_function_key(function.name, function): function.node for function in model.functions}
    lengths: dict[tuple[str, ...], int] = {}  # of functions, all that they call inlined

    def length(nodes: Iterable[Any]) -> int:
        total = 0
        for node in nodes:
            key = _function_key(node.op_type, node)
            if key in functions and key not in lengths:
                lengths[key] = 0  # of a function that calls itself, the inliner tells
                lengths[key] = length(functions[key])
            graphs = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
            total += lengths.get(key, 1) + sum(length(graph.node) for graph in graphs)
        return total

    if length(model.graph.node) > MAX_NODES:
        raise ModelError(f"its functions, put in place of their calls, make more than {MAX_NODES:,} nodes")


def _function_key(name: str, proto: Any) -> tuple[str, ...]:
    return proto.domain, name, getattr(proto, "overload", "")  # which ONNX has since its version 1.16


def _read(model: Any, folder: Path, act: str | None = None) -> _Graph:
    """What a file says; if asked for, with another activation function, which is then in the protobuf too."""
    versions = {opset.domain: opset.version for opset in model.opset_import}
    graph = _Graph(outputs=[value.name for value in model.graph.output])
    if model.graph.sparse_initializer:
        raise ModelError("its weights are sparse tensors, which cannot be counted")
    for tensor in model.graph.initializer:
        _read_weight(graph, tensor.name, tensor, folder)
    for value in model.graph.input:
        if value.name not in graph.weights:  # old files list their weights among the inputs
            kind = value.type.tensor_type
            if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
                raise ModelError(f"input {value.name!r} is no tensor with a known number of dimensions")
            graph.dtypes[value.name] = dtype_of(kind.elem_type)
            graph.inputs[value.name] = [
                dim.dim_value
                if dim.HasField("dim_value") and dim.dim_value > 0
                else dim.dim_param or f"{value.name}.{i}"
                for i, dim in enumerate(kind.shape.dim)
            ]
    unknown: Counter[str] = Counter()
    for proto in model.graph.node:
        op = op_key(proto.domain, proto.op_type)
        if op == "Constant":
            _read_constant(graph, proto, folder)
            continue
        node = _read_node(proto, op, versions.get(proto.domain, versions.get("", 0)))
        if op not in OPERATIONS:
            unknown[op] += 1
        graph.nodes.append(node)
    if unknown:
        listed = ", ".join(f"{op} ({count}x)" for op, count in unknown.most_common(8))
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise ModelError(f"ops that are not known here, by domain and name: {listed}{more}")
    _check_values(graph)
    if act is not None:
        exchange(model, graph.nodes, graph.known, graph.weights, act)
        return _read(model, folder)
    return graph


def _read_weight(graph: _Graph, name: str, tensor: Any, folder: Path) -> None:
    shape = tuple(int(size) for size in tensor.dims)
    check_elements(name, shape)
    if tensor.data_location == EXTERNAL:
        _check_location(tensor, folder)
    graph.weights[name], graph.dtypes[name] = shape, dtype_of(tensor.data_type)
    is_real = graph.dtypes[name].is_floating_point or graph.dtypes[name].is_complex
    if math.prod(shape) <= (SCALES if is_real else SMALL):
        value = _value(name, tensor, folder)
        if value is not None:
            graph.known[name] = value


def _check_location(tensor: Any, folder: Path) -> None:
    """External data has to be beside the file, or below it."""
    location, inside = _external(tensor).get("location", ""), folder.resolve()
    is_inside = (inside / location).resolve().is_relative_to(inside) and not Path(location).is_absolute()
    if not location or not is_inside:
        raise ModelError(f"weight {tensor.name!r} is said to be in {location!r}, which leaves the folder: refused")


def _external(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _value(name: str, tensor: Any, folder: Path) -> Tensor | None:
    """The numbers of a small tensor, moved into the graph from its file; None where there are none."""
    from onnx import numpy_helper

    dtype = dtype_of(tensor.data_type)
    elements = math.prod(tensor.dims)
    if not elements:
        return torch.empty(tuple(tensor.dims), dtype=dtype)
    try:
        if tensor.data_location == EXTERNAL:
            place = folder / _external(tensor)["location"]
            if not place.is_file():
                return None
            with place.open("rb") as file:
                file.seek(int(_external(tensor).get("offset") or 0))
                numbers = file.read(elements * dtype.itemsize)
            tensor.CopyFrom(type(tensor)(dims=tensor.dims, data_type=tensor.data_type, name=name, raw_data=numbers))
        elif not any(len(getattr(tensor, field)) for field in DATA_FIELDS):
            return None
        array = numpy_helper.to_array(tensor)
        return torch.from_numpy(array.astype("float64" if dtype.is_floating_point else array.dtype)).to(dtype)
    except Exception as error:  # numpy, ml_dtypes, onnx and the file system have errors of their own
        raise ModelError(f"constant {name!r} is damaged: {' '.join(str(error).split())[:200]}") from error


def _read_constant(graph: _Graph, proto: Any, folder: Path) -> None:
    name = proto.output[0]
    for attribute in proto.attribute:
        match attribute.name:
            case "value":
                _read_weight(graph, name, attribute.t, folder)
                return
            case "value_float" | "value_floats":
                graph.known[name] = torch.tensor(
                    attribute.f if attribute.name == "value_float" else list(attribute.floats)
                )
            case "value_int" | "value_ints":
                graph.known[name] = torch.tensor(attribute.i if attribute.name == "value_int" else list(attribute.ints))
    if name not in graph.known:
        raise ModelError(f"constant {name!r} is text or sparse, which cannot be followed")
    graph.weights[name], graph.dtypes[name] = tuple(graph.known[name].shape), graph.known[name].dtype


def _read_node(proto: Any, op: str, version: int) -> Node:
    from onnx import helper

    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.type in (GRAPH, GRAPHS):
            continue  # If, Loop and Scan, which are not known
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            value = [item.decode(errors="replace") if isinstance(item, bytes) else item for item in value]
        attributes[attribute.name] = value
    inputs, outputs = list(proto.input), list(proto.output)
    while inputs and not inputs[-1]:
        inputs.pop()
    while outputs and not outputs[-1]:
        outputs.pop()
    return Node(op, proto.name, tuple(inputs), tuple(outputs), attributes, version, _scopes(proto))


def _scopes(proto: Any) -> tuple[str, ...]:
    """The modules a node is from: as PyTorch's exporter writes them, by its weight, or else a place of its own."""
    weight = proto.input[1] if len(proto.input) > 1 else ""
    of_weight = weight.rpartition(".")[0]
    if proto.op_type in BY_WEIGHT and of_weight and "/" not in weight:
        return scopes_to(of_weight)
    written = next((entry.value for entry in proto.metadata_props if entry.key == NAME_SCOPES), "")
    if written:
        try:
            names = ast.literal_eval(written)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            names = []
        if isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names):
            return tuple(name for name in names[:-1] if name.strip(".") and not name.startswith("_"))[:MAX_DEPTH]
    if "/" in proto.name:
        return scopes_to(_path_of(proto.name))
    return (proto.name or (proto.output[0] if proto.output else proto.op_type),)


def _path_of(name: str) -> str:
    """The module in ``/blocks/blocks.0/conv/Conv_1``, as exporters from before torch.export name a node.

    >>> _path_of("/blocks/blocks.0/conv/Conv_1"), _path_of("/Add")
    ('blocks.0.conv', '')
    """
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):  # what is in a list has the name of the list before its own
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def _check_values(graph: _Graph) -> None:
    """Every value that is read was written before, and none twice."""
    written = {*graph.inputs, *graph.weights}
    for node in graph.nodes:
        missing = [name for name in node.inputs if name and name not in written]
        if missing:
            raise ModelError(f"{_title(node)} reads {missing[0]!r}, which nothing before it writes")
        written.update(node.outputs)
    absent = [name for name in graph.outputs if name not in written]
    if absent:
        raise ModelError(f"nothing writes its output {absent[0]!r}")


def _infer_shapes(
    model: Any, shapes: Mapping[str, Sequence[int]], known: Mapping[str, Tensor]
) -> dict[str, tuple[int, ...]]:
    """What the onnx package says of every value, as far as it is all numbers, for inputs of these shapes.

    Args:
        model: The file, whose weights and declared shapes are taken out.
        shapes: Of the inputs.
        known: What nodes were found to give, where it is few numbers.
    """
    from onnx import numpy_helper, shape_inference

    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > 8 * SMALL:
            tensor.ClearField("raw_data")  # shapes do not depend on weights, and the inference would copy them
    for value in model.graph.input:
        if value.name in shapes:
            for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
                dim.Clear()
                dim.dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    model.graph.initializer.extend(numpy_helper.from_array(value.numpy(), name) for name, value in known.items())
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=False)
    except MemoryError as error:  # std::bad_alloc among them
        raise ModelError("its shapes cannot be inferred in the memory that there is") from error
    except Exception as error:  # onnx's own, and protobuf's for what is too large
        raise ModelError(f"its shapes contradict each other: {' '.join(str(error).split())[:300]}") from error
    found = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return found


# --- from nodes to steps -----------------------------------------------------------------------------------------


def _network(
    graph: _Graph, inputs: Mapping[str, Tensor]
) -> tuple[ExportedNetwork, Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The network, every value in it, and the numbers of those that its nodes make of shapes and constants.

    They are found in a rehearsal on these inputs, which does the arithmetic of shapes.
    """
    quantised = {node.inputs[0] for node in graph.nodes if node.op == "DequantizeLinear"}
    weights = {
        name: on_meta(shape, torch.float32 if name in quantised else graph.dtypes[name])
        for name, shape in graph.weights.items()
    }
    numbers = {
        name: float(value) for name, value in graph.known.items() if value.numel() == 1 and not value.is_complex()
    }
    ranks = {name: len(shape) for name, shape in graph.weights.items()}
    nodes = put_together(graph.nodes, graph.outputs, numbers, ranks)
    tensors, known, read = {**weights, **inputs}, dict(graph.known), set(graph.outputs)
    steps, kept = [], 0
    for node in nodes:
        if _run(node, tensors, known, read):
            steps.append(Step(node.scopes, partial(_repeat, node, known), node.inputs, node.outputs))
            continue
        kept += sum(known[name].numel() for name in node.outputs if name)
        if kept > MAX_KNOWN:
            raise ModelError(f"its nodes make more than {MAX_KNOWN:,} numbers of constants and shapes")
    network = ExportedNetwork(tuple(inputs), graph.outputs)
    statistics = {name for node in nodes if node.op == "BatchNormalization" for name in node.inputs[3:5]}
    for name, tensor in weights.items():
        if name in read:
            is_parameter = tensor.is_floating_point() and name not in statistics
            network.hold(name, name, tensor, is_parameter=is_parameter)
    network.keep({name: tensors[name] for name in known if name in read and name not in weights})
    network.follow(steps)
    made = {name: known[name] for name in known if name not in weights and known[name].dtype in OF_SHAPES}
    return network, tensors, made


def _compare(tensors: Mapping[str, Tensor], inferred: Mapping[str, tuple[int, ...]]) -> None:
    """Two ways to the shape of each value, which have to end at the same."""
    for name, shape in inferred.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            ours, theirs = ("x".join(map(str, sizes)) for sizes in (tensors[name].shape, shape))
            raise ModelError(f"{name!r} is {ours} by its ops, and {theirs} by ONNX's shape inference")


def _run(node: Node, tensors: dict[str, Tensor], known: dict[str, Tensor], read: set[str]) -> bool:
    """Run a node on shapes, or beforehand where it can be; whether it is left for the network to do."""
    try:
        if node.op in FROM_SHAPES or (node.op in FOLDABLE and _is_foldable(node, known)):
            of = tensors if node.op in FROM_SHAPES else known
            results = _results(node, Call(node, of, known))
            if all(result.numel() <= SMALL and not result.is_meta for result in results.values()):
                known.update(results)
                tensors.update((name, on_meta(result.shape, result.dtype)) for name, result in results.items())
                return False
        tensors.update(_results(node, Call(node, tensors, known, read)))
    except ModelError as error:
        raise ModelError(f"{_title(node)}: {error}") from error
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError) as error:
        shapes = ", ".join(
            "x".join(map(str, tensors[name].shape)) or "scalar" for name in node.inputs if name in tensors
        )
        why = str(error).strip().split("\n")[0][:200]
        raise ModelError(f"{_title(node)} cannot be followed on inputs of {shapes or 'nothing'}: {why}") from error
    return True


def _is_foldable(node: Node, known: Mapping[str, Tensor]) -> bool:
    """Whether all that a node reads is known, and it does not make much more of it."""
    given = [known.get(name) for name in node.inputs if name]
    if any(value is None for value in given):
        return False
    if node.op not in BROADCAST:
        return True
    shape: tuple[int, ...] = np.broadcast_shapes(*(tuple(value.shape) for value in given if value is not None))
    return math.prod(max(size, 1) for size in shape) <= SMALL


def _repeat(node: Node, known: Mapping[str, Tensor], values: Values) -> None:
    values.update(_results(node, Call(node, values, known)))


def _results(node: Node, call: Call) -> dict[str, Tensor]:
    made = OPERATIONS[node.op](call)
    several: Iterable[Tensor] = (made,) if isinstance(made, Tensor) else made
    return {name: tensor for name, tensor in zip(node.outputs, several, strict=False) if name}


def _title(node: Node) -> str:
    return f"node {node.name or ''.join(node.outputs[:1])!r} ({node.op})"
