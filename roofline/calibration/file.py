"""The file of a calibration: one ``.npz``, with no pickle in it, that tells when it was cut short or changed.

The columns are its arrays, ``ops.time_s`` and so on; all else is JSON in the array ``about``. It ends in a stamp, the
SHA-256 of every byte before it, where a zip archive has its comment: `numpy.load` and any zip tool read the file as
they read others, and `load` looks at nothing within before the stamp agrees.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from roofline.calibration.data import Calibration, Ceilings, OpTimes, WholeTerms, WholeTimes
from roofline.errors import CalibrationError
from roofline.output import write_bytes
from roofline.units import printable

SCHEMA: Final = "roofline/calibration/4"
MAX_BYTES: Final = 50_000_000  # ten times what 5000 kernels may take
MAX_UNPACKED_BYTES: Final = 500_000_000
_MARK: Final = b"roofline sha256 "
_STAMP_BYTES: Final = len(_MARK) + 64
_PARTS: Final = {"ops": OpTimes, "wholes": WholeTimes, "ceilings": Ceilings, "composed": WholeTerms}
_OPTIONAL: Final = ("composed", "whole_terms")  # left out where there is nothing in them, as in eager mode on a CPU
_TUPLES: Final = ("notes", "terms", "whole_terms")
_PLAIN: Final = tuple(field.name for field in fields(Calibration) if field.name not in _PARTS)


def save(calibration: Calibration, path: Path) -> None:
    """Write a calibration, whole or not at all.

    Raises:
        OutputError: It cannot be written there; what was there before is untouched.
    """
    write_bytes(path, to_bytes(calibration))


def load(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        CalibrationError: There is none, it is damaged, or it is of another version; one line, with the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, ValueError):  # ValueError: a null byte
        raise CalibrationError(f"{path}: no such file; 'roofline calibrate' makes a calibration") from None
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return from_bytes(data)
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from None


def to_bytes(calibration: Calibration) -> bytes:
    """The content of the file; the same for the same calibration."""
    arrays: dict[str, Any] = {}
    about: dict[str, Any] = {"schema": SCHEMA} | {
        name: value for name in _PLAIN if (value := getattr(calibration, name)) or name not in _OPTIONAL
    }
    for part in _PARTS:
        record = getattr(calibration, part)
        if record is None:
            continue
        values = {f"{part}.{field.name}": getattr(record, field.name) for field in fields(record)}
        arrays |= {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        about |= {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
    arrays["about"] = np.frombuffer(json.dumps(about, default=_plain).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # of numbers and texts, so nothing is pickled
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = bytes(_STAMP_BYTES)
    content = buffer.getvalue()[:-_STAMP_BYTES]
    return content + _stamp(content)


def from_bytes(data: bytes) -> Calibration:
    """The calibration that `to_bytes` made into `data`.

    Raises:
        CalibrationError: It is none, it is damaged, or it is of another version.
    """
    content, stamp = data[:-_STAMP_BYTES], data[-_STAMP_BYTES:]
    if not data.startswith(b"PK"):  # as zip archives do
        raise CalibrationError("is no calibration, such as 'roofline calibrate' writes")
    if len(data) > MAX_BYTES:
        raise CalibrationError(f"is larger than {MAX_BYTES / 1e6:g} MB, which no calibration is")
    if not stamp.startswith(_MARK):
        raise CalibrationError("does not end as a calibration does: it was cut short or changed. Calibrate again")
    if stamp != _stamp(content):
        raise CalibrationError("was changed after it was written, by its SHA-256. Calibrate again")
    try:
        return _read(data)
    except CalibrationError:
        raise
    except Exception as error:  # anybody can stamp anything, so whatever a parser says of it
        told = printable(f"{type(error).__name__}: {error}")
        raise CalibrationError(f"is no calibration, though stamped as one ({told})") from error


def _read(data: bytes) -> Calibration:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
            raise CalibrationError(f"unpacks to more than {MAX_UNPACKED_BYTES / 1e6:g} MB, which no calibration does")
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        values: dict[str, Any] = {name: loaded[name] for name in loaded.files}
    about = json.loads(values.pop("about").tobytes())
    if about["schema"] != SCHEMA:
        told = f"this version of roofline reads {SCHEMA}"
        raise CalibrationError(f"has the schema {about['schema']!r}, and {told}: calibrate again, or with that version")
    values |= about
    record: dict[str, Any] = {
        part: kind(**{field.name: values[f"{part}.{field.name}"] for field in fields(kind)})
        for part, kind in _PARTS.items()
        if part not in _OPTIONAL or any(name.startswith(f"{part}.") for name in values)
    }
    record |= {
        name: tuple(values[name]) if name in _TUPLES else values[name]
        for name in _PLAIN
        if name not in _OPTIONAL or name in values
    }
    return Calibration(**record)


def _stamp(content: bytes) -> bytes:
    return _MARK + hashlib.sha256(content).hexdigest().encode()


def _plain(value: object) -> Any:
    """What json does not know how to write."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a calibration keeps plain data, and not {type(value).__name__}")
