"""The activation functions of an ONNX file, with another function in their place.

The file itself is changed, in memory: in place of each (`roofline.exported.activation_sites`) come the nodes that
PyTorch's exporter writes for the other function, in the op set that the file has, under the name of what was there. So
what is counted, and what ONNX Runtime runs, is the file of a network that was built with that function. A function that
the op set lacks is written as its formula. Those that look at the whole map (SE-ReLU, Dynamic ReLU, Dynamic Shift-Max)
have layers of their own, and are not written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from roofline.errors import ModelError
from roofline.exported.activation_sites import RANKS, Site, check_channels, clip, find_sites
from roofline.exported.onnx_nodes import HARD_SIXTH, Node, op_key
from roofline.exported.onnx_ops import SMALL, dtype_of

SLOPE = 0.25  # of torch.nn.PReLU, before it has learned
FLOAT = 1  # onnx.TensorProto.DataType
CONSTANT = "Constant"
SAME = {"com.microsoft.Gelu": "Gelu"}  # ops of others that are one of ONNX's


def exchange(
    model: Any, nodes: Sequence[Node], known: Mapping[str, Tensor], weights: Collection[str], act: str
) -> None:
    """Change the activation functions of a file.

    Args:
        model: Its protobuf, functions inlined; changed in place.
        nodes: Of its nodes but constants, in order.
        known: Values of small constants.
        weights: Names of the values that do not depend on inputs.
        act: The name of the function in `roofline.models.activations`.

    Raises:
        ModelError: The file has no activation function, or the other one cannot be written into it.
    """
    if act not in WRITERS:
        raise ModelError(
            f"{act} looks at the whole map, which takes layers that are not written into ONNX files: name the code "
            "it is from, as in net.py:make_net"
        )
    outputs = [value.name for value in model.graph.output]
    numbers = {name: float(value) for name, value in known.items() if value.numel() == 1 and not value.is_complex()}
    plain = [_plain(node, numbers) for node in nodes]
    sites = find_sites(plain, outputs, numbers, {*weights, *known})
    if not sites:
        raise ModelError(f"it has no activation function that {act} could take the place of")
    own = [proto for proto in model.graph.node if op_key(proto.domain, proto.op_type) != CONSTANT]
    if act == "prelu":
        _infer(model, [site.source for site in sites])
    places = {site.last: site for site in sites}
    gone = {index for site in sites for index in site.nodes}
    made = [proto for proto in model.graph.node if op_key(proto.domain, proto.op_type) == CONSTANT]
    for index, proto in enumerate(own):
        if index not in gone:
            made.append(proto)
        elif index in places:
            made += _written(model, proto, places[index], act)
    made = [type(proto).FromString(proto.SerializeToString()) for proto in made]  # as the list they are in goes
    del model.graph.node[:]
    model.graph.node.extend(made)


def _plain(node: Node, numbers: Mapping[str, float]) -> Node:
    """A node by the names that sites are found by: which function a clip is, and what a hard sigmoid has by default."""
    op = SAME.get(node.op, node.op)
    if op == "Clip":
        given = [node.attributes.get("min"), node.attributes.get("max")]
        for place, name in enumerate(node.inputs[1:3]):
            given[place] = numbers.get(name, math.nan) if name else None
        op = clip(*given)
    inputs = node.inputs[:1] if op in ("Clip", "HardTanh", "Relu", "Relu6") else node.inputs
    return replace(node, op=op, inputs=inputs)


@dataclass(slots=True)
class _Writer:
    """Writes the nodes of one site.

    Attributes:
        model: Of the file, for its constants.
        last: The node that wrote the result of the site, whose place and name the new ones have.
        result: The value to write.
        version: Of the op set.
        nodes: What was written.
    """

    model: Any
    last: Any
    result: str
    version: int
    nodes: list[Any]

    def op(self, name: str, *inputs: str, **attributes: Any) -> str:
        """Write a node; its value, of a name of its own."""
        from onnx import helper

        value = f"{self.result}/{name}_{len(self.nodes)}"
        node = helper.make_node(name, inputs, [value], name=f"{self.last.name}/{name}_{len(self.nodes)}", **attributes)
        node.metadata_props.extend(self.last.metadata_props)
        self.nodes.append(node)
        return value

    def number(self, number: float) -> str:
        """A constant of the file's own precision."""
        return self.tensor(f"roofline/{number!r}", [], [number])

    def tensor(self, name: str, dims: Sequence[int], values: Sequence[float]) -> str:
        """A constant of that name, which is made once."""
        from onnx import helper

        graph = self.model.graph
        if not any(each.name == name for each in graph.initializer):
            graph.initializer.append(helper.make_tensor(name, _precision(self.model), dims, values))
        return name

    def done(self) -> list[Any]:
        """The nodes, the last of which writes the result under the name of the node before it."""
        self.nodes[-1].output[0], self.nodes[-1].name = self.result, self.last.name
        return self.nodes


def _written(model: Any, last: Any, site: Site, act: str) -> list[Any]:
    version = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    writer = _Writer(model, last, site.result, version, [])
    WRITERS[act](writer, site.source)
    return writer.done()


def _relu6(file: _Writer, x: str) -> None:
    if file.version >= 11:
        file.op("Clip", x, file.number(0.0), file.number(6.0))
    else:
        file.op("Clip", x, min=0.0, max=6.0)


def _hardswish(file: _Writer, x: str) -> None:
    if file.version >= 14:
        file.op("HardSwish", x)
    else:
        file.op("Mul", x, file.op("HardSigmoid", x, alpha=HARD_SIXTH, beta=0.5))


def _gelu(file: _Writer, x: str) -> None:
    if file.version >= 20:
        file.op("Gelu", x)
        return
    error = file.op("Erf", file.op("Div", x, file.number(math.sqrt(2))))
    file.op("Mul", x, file.op("Mul", file.number(0.5), file.op("Add", error, file.number(1.0))))


def _mish(file: _Writer, x: str) -> None:
    if file.version >= 18:
        file.op("Mish", x)
    else:
        file.op("Mul", x, file.op("Tanh", file.op("Softplus", x)))


def _prelu(file: _Writer, x: str) -> None:
    sizes = _sizes(file.model, x)
    if sizes is not None and len(sizes) not in RANKS["prelu"]:
        raise ModelError(f"prelu works on channels, and {x!r} is no map of them: it has {len(sizes)} dimensions")
    if sizes is None or not sizes[1]:
        raise ModelError(f"prelu has weights for each channel, and how many channels {x!r} has is not known")
    check_channels("prelu", x, sizes[1])
    shape = [sizes[1], *[1] * (len(sizes) - 2)]
    file.op("PRelu", x, file.tensor(f"{x}/slope", shape, [SLOPE] * sizes[1]))


# What PyTorch's exporter writes (onnxscript's torchlib), which runtimes know: a SiLU is a product in every op set.
WRITERS: Mapping[str, Callable[[_Writer, str], Any]] = {
    "relu": lambda file, x: file.op("Relu", x),
    "relu6": _relu6,
    "hardswish": _hardswish,
    "hardsigmoid": lambda file, x: file.op("HardSigmoid", x, alpha=HARD_SIXTH, beta=0.5),
    "silu": lambda file, x: file.op("Mul", x, file.op("Sigmoid", x)),
    "gelu": _gelu,
    "elu": lambda file, x: file.op("Elu", x, alpha=1.0),
    "mish": _mish,
    "prelu": _prelu,
    "leaky_relu": lambda file, x: file.op("LeakyRelu", x, alpha=0.01),
    "tanh": lambda file, x: file.op("Tanh", x),
    "sigmoid": lambda file, x: file.op("Sigmoid", x),
}


def _precision(model: Any) -> int:
    """The data type of the first floating weight of a file, or else of such an input."""
    kinds = [tensor.data_type for tensor in model.graph.initializer]
    kinds += [value.type.tensor_type.elem_type for value in model.graph.input]
    return next((int(kind) for kind in kinds if dtype_of(kind).is_floating_point), FLOAT)


def _sizes(model: Any, name: str) -> list[int] | None:
    """The sizes that a file has of a value, 0 where one is open; None where nothing is known of it."""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return None


def _infer(model: Any, names: Sequence[str]) -> None:
    """Add what the onnx package says of the shapes of all values, where the file does not say it of these.

    Without data propagation, for the sake of memory (`roofline.exported.onnx`): shapes that are computed stay open.
    """
    from onnx import shape_inference

    if any(_sizes(model, name) is None for name in names):
        light = type(model)()
        light.CopyFrom(model)
        for tensor in light.graph.initializer:
            if len(tensor.raw_data) > 8 * SMALL:
                tensor.ClearField("raw_data")  # shapes do not depend on weights
        del model.graph.value_info[:]
        model.graph.value_info.extend(shape_inference.infer_shapes(light).graph.value_info)
