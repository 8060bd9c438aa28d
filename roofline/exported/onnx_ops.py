"""ONNX operators as the ATen operations that do the same, on tensors that may have shapes alone.

What each operator does and which attributes it has is in https://onnx.ai/onnx/operators/. A function here gets a `Call`
and runs what PyTorch has for it, so that `roofline.count` needs no second set of rules. Attributes that decide neither
shapes nor work (an order of gates, a rounding) are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from roofline.errors import ModelError
from roofline.exported.onnx_nodes import OWN_DOMAIN, Node

# onnx.TensorProto.DataType; text, and numbers of less than a byte, have no dtype in PyTorch
DTYPES: Mapping[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.uint32, 13: torch.uint64, 14: torch.complex64,
    15: torch.complex128, 16: torch.bfloat16, 17: torch.float8_e4m3fn, 18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2, 20: torch.float8_e5m2fnuz,
}  # fmt: skip
SMALL = 1024  # elements of a tensor whose values are kept: shapes, axes and the like

Result = Tensor | tuple[Tensor, ...]
Operation = Callable[["Call"], Result]
OPERATIONS: dict[str, Operation] = {}


@dataclass(slots=True)
class Call:
    """One node with what it is given.

    Attributes:
        node: The node.
        tensors: By name of the value; those that are known have their numbers, all others are meta.
        known: The tensors whose values are known.
        read: Gathers the names of the tensors that were asked for.
    """

    node: Node
    tensors: Mapping[str, Tensor]
    known: Mapping[str, Tensor]
    read: set[str] = field(default_factory=set)

    def name(self, position: int) -> str:
        """The value at an input; empty where it is left out."""
        return self.node.inputs[position] if position < len(self.node.inputs) else ""

    def tensor(self, position: int) -> Tensor:
        """An input that has to be there."""
        name = self.name(position)
        if not name:
            raise ModelError(f"input {position} is missing")
        self.read.add(name)
        return self.tensors[name]

    def optional(self, position: int) -> Tensor | None:
        """An input that may be left out."""
        return self.tensor(position) if self.name(position) else None

    def every(self) -> list[Tensor]:
        """All inputs."""
        return [self.tensor(position) for position in range(len(self.node.inputs))]

    def operand(self, position: int) -> Any:
        """An input of arithmetic: as in PyTorch code, a single known number is a number and no tensor."""
        known = self.known.get(self.name(position))
        return known.item() if known is not None and known.numel() == 1 else self.tensor(position)

    def operands(self) -> list[Any]:
        """All inputs of arithmetic, at least one of them a tensor."""
        found = [self.operand(position) for position in range(len(self.node.inputs))]
        if not any(isinstance(item, Tensor) for item in found):
            found[0] = self.tensor(0)
        return found

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.node.attributes.get(name, default)

    def numbers(self, name: str, position: int | None = None) -> list[Any] | None:
        """What newer op sets have as an input and older ones as an attribute; None where there is neither."""
        if name in self.node.attributes:
            found = self.node.attributes[name]
            return list(found) if isinstance(found, Sequence) else [found]
        given = self.name(position) if position is not None else ""
        if not given:
            return None
        if given not in self.known:
            raise ModelError(f"its {name}, {given!r}, depends on data: only shapes are known")
        return list(self.known[given].flatten().tolist())

    def number(self, name: str, position: int | None = None, default: Any = None) -> Any:
        """The same, of a single number."""
        found = self.numbers(name, position)
        return default if not found else found[0]


def does(*ops: str) -> Callable[[Operation], Operation]:
    """Register what operators of these names do."""

    def register(operation: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(ops, operation))
        return operation

    return register


def dtype_of(number: int) -> torch.dtype:
    """The dtype of a number of ``onnx.TensorProto.DataType``.

    Raises:
        ModelError: Text, or a format that PyTorch does not have.
    """
    if number not in DTYPES:
        raise ModelError(f"a tensor of data type {number}, which is text or has less than a byte an element")
    return DTYPES[number]


# --- elementwise -------------------------------------------------------------------------------------------------

UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "HardSwish": F.hardswish, "Mish": F.mish,
    "Softplus": F.softplus, "Softsign": F.softsign, "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp,
    "Log": torch.log, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal, "Erf": torch.erf, "Floor": torch.floor,
    "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan,
    "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan, "Sinh": torch.sinh, "Cosh": torch.cosh,
    "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh, "Not": torch.logical_not,
    "BitwiseNot": torch.bitwise_not, "IsNaN": torch.isnan, "IsInf": torch.isinf, "Det": torch.linalg.det,
}  # fmt: skip
BINARY: Mapping[str, Callable[[Any, Any], Tensor]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Pow": torch.pow, "Equal": torch.eq, "Greater": torch.gt,
    "Less": torch.lt, "GreaterOrEqual": torch.ge, "LessOrEqual": torch.le,
}  # fmt: skip
LOGICAL: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor, "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor, "PRelu": F.prelu,
}  # fmt: skip


def _unary(function: Callable[[Tensor], Tensor], call: Call) -> Tensor:
    return function(call.tensor(0))


def _binary(function: Callable[[Any, Any], Tensor], call: Call) -> Tensor:
    a, b = call.operands()
    if not isinstance(a, Tensor) and function is not torch.pow:  # a number comes second in ATen, or is a full tensor
        swapped: Mapping[Any, Callable[[Any, Any], Tensor]] = {
            torch.add: torch.add, torch.mul: torch.mul, torch.sub: torch.rsub, torch.eq: torch.eq, torch.gt: torch.lt,
            torch.lt: torch.gt, torch.ge: torch.le, torch.le: torch.ge,
        }  # fmt: skip
        return swapped[function](b, a)
    return function(a, b)


def _two(function: Callable[[Tensor, Tensor], Tensor], call: Call) -> Tensor:
    return function(call.tensor(0), call.tensor(1))


for _name, _function in UNARY.items():
    OPERATIONS[_name] = partial(_unary, _function)
for _name, _pair in BINARY.items():
    OPERATIONS[_name] = partial(_binary, _pair)
for _name, _pair_of_tensors in LOGICAL.items():
    OPERATIONS[_name] = partial(_two, _pair_of_tensors)


@does("PRelu")
def _prelu(call: Call) -> Tensor:
    x, slope = call.tensor(0), call.tensor(1)
    channels = [size for size in slope.shape if size != 1]
    if len(channels) > 1 or (channels and (x.dim() < 2 or channels[0] != x.shape[1])):
        return torch.where(x < 0, x * slope, x)
    return F.prelu(x, slope.reshape(-1))


@does("Div")
def _div(call: Call) -> Tensor:
    a, b = call.operands()
    whole = all(not isinstance(item, float) and not (isinstance(item, Tensor) and item.is_floating_point())
                for item in (a, b))  # fmt: skip
    if not whole:
        quotient = a / b  # of a number by a tensor it is a reciprocal and a product, as in PyTorch code
        assert isinstance(quotient, Tensor)
        return quotient
    return torch.div(call.tensor(0), b, rounding_mode="trunc")


@does("Mod")
def _mod(call: Call) -> Tensor:
    return (torch.fmod if call.attribute("fmod") else torch.remainder)(call.tensor(0), call.operand(1))


@does("Min", "Max", "Sum", "Mean")
def _several(call: Call) -> Tensor:
    pair = {"Min": torch.minimum, "Max": torch.maximum}.get(call.node.op, torch.add)
    total = reduce(pair, call.every())
    return total / len(call.node.inputs) if call.node.op == "Mean" else total


@does("Where")
def _where(call: Call) -> Tensor:
    return torch.where(call.tensor(0), call.tensor(1), call.tensor(2))


@does("Clip")
def _clip(call: Call) -> Tensor:
    return torch.clamp(call.tensor(0), call.number("min", 1), call.number("max", 2))


@does("LeakyRelu")
def _leaky_relu(call: Call) -> Tensor:
    return F.leaky_relu(call.tensor(0), call.attribute("alpha", 0.01))


@does("Elu", "Selu", "Celu", "ThresholdedRelu", "Shrink")
def _with_alpha(call: Call) -> Tensor:
    x, alpha = call.tensor(0), call.attribute("alpha", 1.0)
    match call.node.op:
        case "Elu":
            return F.elu(x, alpha)
        case "Celu":
            return F.celu(x, alpha)
        case "ThresholdedRelu":
            return F.threshold(x, alpha, 0.0)
        case "Shrink":
            bias, limit = call.attribute("bias", 0.0), call.attribute("lambd", 0.5)
            return F.softshrink(x, limit) if bias else F.hardshrink(x, limit)
    return F.selu(x)


@does("HardSigmoid")
def _hard_sigmoid(call: Call) -> Tensor:
    x, alpha, beta = call.tensor(0), call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-3) and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0, 1)


@does("Gelu", "com.microsoft.Gelu", f"{OWN_DOMAIN}.Gelu")
def _gelu(call: Call) -> Tensor:
    return F.gelu(call.tensor(0), approximate=call.attribute("approximate", "none"))


@does("Swish", f"{OWN_DOMAIN}.Swish")
def _swish(call: Call) -> Tensor:
    x, alpha = call.tensor(0), call.attribute("alpha", 1.0)
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(x * alpha)


for _name in ("Mish", "HardSwish"):
    OPERATIONS[f"{OWN_DOMAIN}.{_name}"] = OPERATIONS[_name]


@does("Cast", "CastLike")
def _cast(call: Call) -> Tensor:
    to = call.tensor(1).dtype if call.node.op == "CastLike" else dtype_of(call.attribute("to"))
    return call.tensor(0).to(to)


@does("Identity", "Dropout", "QuantizeLinear")
def _as_it_is(call: Call) -> Tensor:
    """A dropout does nothing when a network runs; how wide a number is, the analysis says, not the file."""
    return call.tensor(0)


@does("DequantizeLinear")
def _dequantize(call: Call) -> Tensor:
    """Quantised weights are counted like any others, as floating numbers at the dtype of the analysis."""
    return call.tensor(0)
