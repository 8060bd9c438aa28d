"""What stands in the JSON of a ``.pt2`` archive, by schema 8 (torch/_export/serde/schema.py)."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from roofline.errors import ModelError
from roofline.exported.archive import Json
from roofline.exported.network import DEVICE, MAX_DEPTH, Values

# ScalarType, Layout and MemoryFormat
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


def written_by(output: Json) -> list[str]:
    """The names of the values that an output of a node is."""
    kind, held = tagged(output)
    if kind == "as_tensors":
        return [tensor["name"] for tensor in held]
    return [] if kind == "as_none" else [held["name"] if "name" in held else held["as_name"]]


@dataclass(frozen=True, slots=True)
class Late:
    """In place of an argument: the value of that name, as the network runs."""

    name: str


def names_in(argument: Any) -> list[str]:
    """The values that an argument stands for."""
    if isinstance(argument, list):
        return [name for item in argument for name in names_in(item)]
    return [argument.name] if isinstance(argument, Late) else []


def filled(argument: Any, values: Values) -> Any:
    """An argument with its values."""
    if isinstance(argument, list):
        return [filled(item, values) for item in argument]
    return values[argument.name] if isinstance(argument, Late) else argument


def argument_of(argument: Json) -> Any:
    """What an argument of a node is, or stands for: schema ``Argument`` of torch/_export/serde/schema.py."""
    kind, held = tagged(argument)
    match kind:
        case "as_none" | "as_graph":
            return None
        case "as_tensor":
            return Late(held["name"])
        case "as_tensors":
            return [Late(tensor["name"]) for tensor in held]
        case "as_nested_tensors":
            return [[Late(tensor["name"]) for tensor in inner] for inner in held]
        case "as_optional_tensor":
            return argument_of(held)
        case "as_optional_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
            return [_symbolic(item) for item in held]
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return _symbolic(held)
        case "as_float":
            return float(held)  # "Infinity" and "NaN" are text
        case "as_floats":
            return [float(number) for number in held]
        case "as_int" | "as_ints" | "as_int_lists" | "as_bool" | "as_bools" | "as_string" | "as_strings":
            return held
        case "as_scalar_type":
            return dtype_of(held)
        case "as_memory_format":
            return MEMORY_FORMATS[held]
        case "as_layout":
            return torch.strided
        case "as_device":
            return Late(DEVICE)
        case "as_complex":
            return complex(held["real"], held["imag"])
    raise ModelError(f"an argument of kind {kind.removeprefix('as_')} cannot be followed")


def _symbolic(item: Json) -> Any:
    kind, held = tagged(item)
    return Late(held) if kind == "as_name" else argument_of(item)


def base_name(target: str) -> str:
    """``conv2d`` of ``torch.ops.aten.conv2d.default``, ``cond`` of ``torch.ops.higher_order.cond``."""
    parts = target.split(".")
    return parts[3] if target.startswith("torch.ops.") and len(parts) > 3 else parts[-1]


def scopes_of(stack: str) -> tuple[str, ...]:
    """The paths in ``key,path,type;key,path,type``, the model's own left out."""
    paths = [entry.split(",")[1] for entry in stack.split(";") if entry.count(",") >= 2]
    return tuple(path for path in paths if path.strip("."))[:MAX_DEPTH]


def dtype_of(number: int) -> torch.dtype:
    """The dtype of a ``ScalarType``."""
    if number not in DTYPES:
        raise ModelError(f"a tensor of a dtype that is not known here (ScalarType {number})")
    return DTYPES[number]


def symbol_of(expression: str) -> str | None:
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


def tagged(union: Json) -> tuple[str, Any]:
    """The one entry of a tagged union: which kind it is, and what it holds."""
    ((kind, held),) = union.items()
    return kind, held
