"""Records as bytes: nested frozen dataclasses of arrays, numbers, texts, tuples and mappings, by their declared types.

The arrays stand in an ``.npz`` that is read without pickle, those of one dtype end to end, since a hundred small files
take longer to read than one; all else is JSON in its array ``about``. What is read is made of the classes that fields
are declared to be of: the bytes name none, and what does not fit the declarations is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

Record = TypeVar("Record")
Hints = Callable[[Any], dict[str, Any]]  # the types of a class's fields, by name

ABOUT = "about"
PLAIN = (NoneType, bool, int, float, str)
MAX_UNPACKED_BYTES = 500_000_000  # what a fit to ten times the calls of a long calibration does not take


def to_bytes(record: object, names: Mapping[str, Any] | None = None) -> bytes:
    """A record as bytes.

    Args:
        record: A dataclass.
        names: Classes that annotations name and their modules import for type checkers alone.

    Raises:
        TypeError: A value is not of the type that it is declared to be of, or that type cannot be kept.
        NameError: An annotation names what is not known.
    """
    columns: dict[str, list[NDArray[Any]]] = {}
    about = _packed(record, type(record), _hints(names), columns)
    arrays: dict[str, Any] = {dtype: np.concatenate(parts) for dtype, parts in columns.items()}
    arrays[ABOUT] = np.frombuffer(json.dumps(about, separators=(",", ":")).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # none of objects, so nothing is pickled
    return buffer.getvalue()


def from_bytes(kind: type[Record], data: bytes, names: Mapping[str, Any] | None = None) -> Record:
    """The record of that class which `to_bytes` made into `data`.

    Raises:
        Exception: Whatever a parser says of bytes that are no such record.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
            raise ValueError("it unpacks to more than any record does")
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    about = json.loads(arrays.pop(ABOUT).tobytes())
    found = _unpacked(about, kind, _hints(names), arrays)
    assert isinstance(found, kind)
    return found


def _hints(names: Mapping[str, Any] | None) -> Hints:
    return cache(partial(get_type_hints, localns=dict(names or {})))


def _packed(value: Any, kind: Any, hints: Hints, columns: dict[str, list[NDArray[Any]]]) -> Any:
    """A value as JSON has it; arrays go to the end of their column, and their place is what JSON has."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is np.ndarray:
        return _packed_array(value, kind, columns)
    if origin in (Union, UnionType):
        for number, alternative in enumerate(arguments):
            if _is_of(value, alternative):
                return [number, _packed(value, alternative, hints, columns)]
    elif not _is_of(value, kind):
        pass
    elif is_dataclass(kind):
        types = hints(kind)
        return {
            field.name: _packed(getattr(value, field.name), types[field.name], hints, columns) for field in fields(kind)
        }
    elif origin is tuple:
        items = zip(value, _item_types(arguments, len(value)), strict=True)
        return [_packed(item, of, hints, columns) for item, of in items]
    elif origin is not None and issubclass(origin, Mapping):
        key_type, item_type = arguments
        return [
            [_packed(key, key_type, hints, columns), _packed(item, item_type, hints, columns)]
            for key, item in value.items()
        ]
    elif kind in PLAIN:
        return value if kind is NoneType else kind(value)
    raise TypeError(f"a {type(value).__name__} is not kept as {kind}")


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of a class, or of one that stands for it: an integer, or numpy's float, for a float."""
    kind = get_origin(kind) or kind
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    return isinstance(value, kind) if kind is not int else type(value) is int


def _item_types(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The types of a tuple's items."""
    return arguments[:1] * count if arguments[1:] == (...,) else arguments


def _scalar(kind: Any) -> type[np.generic]:
    """What ``NDArray[scalar]`` is an array of."""
    (scalar,) = get_args(get_args(kind)[1])
    assert isinstance(scalar, type)
    return scalar


def _packed_array(value: Any, kind: Any, columns: dict[str, list[NDArray[Any]]]) -> list[Any]:
    """Its dtype, its place in the column of that, its shape and its order in memory, on which sums may depend."""
    if not isinstance(value, np.ndarray) or value.dtype.hasobject or not np.issubdtype(value.dtype, _scalar(kind)):
        raise TypeError(f"a {type(value).__name__} is not kept as {kind}")
    order: Literal["C", "F"] = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    parts = columns.setdefault(value.dtype.str, [])
    start = sum(map(len, parts))
    parts.append(value.ravel(order))
    return [value.dtype.str, start, list(value.shape), order]


def _unpacked(data: Any, kind: Any, hints: Hints, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """What `_packed` made plain."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is np.ndarray:
        dtype, start, shape, order = data
        if not np.issubdtype(arrays[dtype].dtype, _scalar(kind)):
            raise TypeError(f"an array of {dtype} is none of {kind}")
        part = arrays[dtype][start : start + int(np.prod(shape))]
        return part.reshape(shape, order=order).copy(order="K")
    if origin in (Union, UnionType):
        number, data = data
        return _unpacked(data, arguments[number], hints, arrays)
    if isinstance(kind, type) and is_dataclass(kind):
        types = hints(kind)
        if list(data) != [field.name for field in fields(kind)]:
            raise TypeError(f"these are not the fields of {kind}")
        return kind(**{name: _unpacked(item, types[name], hints, arrays) for name, item in data.items()})
    if origin is tuple:
        items = zip(data, _item_types(arguments, len(data)), strict=True)
        return tuple(_unpacked(item, of, hints, arrays) for item, of in items)
    if origin is not None and issubclass(origin, Mapping):
        key_type, item_type = arguments
        return {
            _unpacked(key, key_type, hints, arrays): _unpacked(item, item_type, hints, arrays) for key, item in data
        }
    if kind not in PLAIN or type(data) is not kind:
        raise TypeError(f"a {type(data).__name__} is no {kind}")
    return data
