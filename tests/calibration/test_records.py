"""Records come back as they were, and nothing comes of what is no record."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from roofline.calibration.records import from_bytes, to_bytes

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Name:
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    floats: Floats
    ranges: Mapping[str, tuple[Floats, Floats]]
    counts: NDArray[np.int64]
    flags: NDArray[np.bool_]
    words: NDArray[np.str_]
    widths: Mapping[float, float]
    points: tuple[Point, ...]
    thing: Point | Name | None
    number: int = 3
    is_so: bool = True
    note: str | None = None


def made(**changes: Any) -> Record:
    given: dict[str, Any] = {
        "floats": np.array([[0.1, -0.0], [np.inf, 5e-324]]),
        "ranges": {"b": (np.zeros(2), np.ones(3)), "a": (np.zeros(0), np.ones((1, 1)))},
        "counts": np.array([2**62, -1]),
        "flags": np.array([True, False]),
        "words": np.array(["gemm", "conv_1x1/strided", ""]),
        "widths": {0.8: 1.5, 0.9: math.inf},
        "points": (Point(0.1, 2.0), Point(-0.0, 1e-300)),
        "thing": Name("ä\ud800"),
    }
    return Record(**(given | changes))


def content(value: Any) -> Any:
    """All of it, types, order of mappings and of memory included."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes("A"), value.flags.f_contiguous, value.flags.c_contiguous
    if isinstance(value, Record):
        return [content(getattr(value, name)) for name in Record.__slots__]
    if isinstance(value, Mapping):
        return [(content(key), content(item)) for key, item in value.items()]
    if isinstance(value, tuple):
        return [content(item) for item in value]
    return type(value), repr(value)


def test_a_record_comes_back_as_it_was() -> None:
    for thing in (None, Point(1.0, 2.0), Name("")):
        record = made(thing=thing, note="" if thing else None)
        assert content(from_bytes(Record, to_bytes(record))) == content(record)


@given(
    st.lists(st.floats(), max_size=5),
    st.dictionaries(st.floats(), st.floats(), max_size=3),
    st.text(),
    st.integers(),
)
def test_any_numbers_and_texts_come_back(
    floats: list[float], widths: dict[float, float], text: str, number: int
) -> None:
    record = made(floats=np.array(floats), widths=widths, thing=Name(text), number=number)
    assert content(from_bytes(Record, to_bytes(record))) == content(record)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_order_in_memory(order: Any) -> None:
    floats = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    again = from_bytes(Record, to_bytes(made(floats=floats))).floats
    assert again.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert again.flags.f_contiguous == (order == "F")


def test_numbers_of_numpy_become_plain_ones() -> None:
    again = from_bytes(Record, to_bytes(made(thing=Point(np.float64(0.1), 3))))
    assert content(again.thing) == content(Point(0.1, 3.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"floats": [1.0]}, {"floats": np.array([1])}, {"floats": np.array([None])}, {"thing": 3}, {"number": 1.0},
        {"number": True}, {"is_so": 1}, {"points": [Point(1.0, 2.0)]}, {"points": (Name(""),)},
        {"widths": {"a": 1.0}}, {"note": 3},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_as_declared_is_not_kept(changes: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        to_bytes(made(**changes))


def test_a_class_that_is_imported_for_type_checkers_alone_is_named() -> None:
    @dataclass(frozen=True)
    class Holder:
        held: Elsewhere  # type: ignore[name-defined]  # noqa: F821

    holder, names = Holder(Point(1.0, 2.0)), {"Elsewhere": Point}
    with pytest.raises(NameError):
        to_bytes(holder)
    assert from_bytes(Holder, to_bytes(holder, names), names) == holder


def forged(change: Any, **arrays: Any) -> bytes:
    """The bytes of a record with something else in its JSON."""
    with np.load(io.BytesIO(to_bytes(made()))) as loaded:
        held = {name: loaded[name] for name in loaded.files}
    about = json.loads(held["about"].tobytes())
    about = change(about) or about
    held["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **(held | arrays))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        forged(lambda about: [1]),
        forged(lambda about: about.pop("note")),
        forged(lambda about: about.update(more=1)),
        forged(lambda about: about.update(number="3")),
        forged(lambda about: about.update(number=True)),
        forged(lambda about: about.update(thing=[7, None])),
        forged(lambda about: about.update(floats=about["words"])),
        forged(lambda about: about["floats"].__setitem__(1, 10**6)),
        forged(lambda about: None, **{"<f8": np.array([print])}),
    ],
    ids=range(11),
)
def test_what_is_no_such_record_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError, LookupError, zipfile.BadZipFile)):
        from_bytes(Record, data)


def test_what_unpacks_beyond_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = to_bytes(made())
    monkeypatch.setattr("roofline.calibration.records.MAX_UNPACKED_BYTES", 100)
    with pytest.raises(ValueError, match="unpacks to more"):
        from_bytes(Record, data)
