"""What was fitted to a calibration, kept in the user's cache directory: whoever predicts next fits nothing.

An entry is one `Fitted` (`roofline.calibration.records`), under the SHA-256 of all that it depends on: of everything
that the calibration holds, so that one that was extended, edited or is fitted without a part has an entry of its own,
of the source files that fit, and of the versions of what these call. Estimates by what was kept are those by what was
fitted just now, to the last bit, and neither scikit-learn nor SciPy is imported for them.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import roofline
from roofline.cache_folder import FITS, is_off, read, source_digest, was_used, write
from roofline.calibration import records
from roofline.calibration.clocks import TwoClocks
from roofline.calibration.compiled import CompiledLaw
from roofline.calibration.fitting import Fitted
from roofline.measurement.environment import installed_version

if TYPE_CHECKING:
    from roofline.calibration.data import Calibration

FITTED_BY = ("numpy", "scipy", "scikit-learn")  # their versions; the last may not be there, and then nothing is learned
_NAMES = {"TwoClocks": TwoClocks, "CompiledLaw": CompiledLaw}  # in annotations of `Fitted`


def kept(calibration: Calibration, fit: Callable[[Calibration], Fitted], wanted: bool | None = None) -> Fitted:
    """What `fit` makes of a calibration; from the cache where it has been made before.

    Args:
        calibration: What is fitted to.
        fit: How.
        wanted: False to read and keep nothing; None unless the environment has ROOFLINE_NO_CACHE.
    """
    if is_off(wanted):
        return fit(calibration)
    key = key_of(calibration)
    found = find(key)
    if found is None:
        found = fit(calibration)
        store(key, found)
    return found


def key_of(calibration: Calibration) -> str:
    """The name of a calibration's entry."""
    digest = hashlib.sha256()
    _add(digest, calibration)
    parts = (
        digest.hexdigest(), [(name, installed_version(name)) for name in FITTED_BY], platform.python_version(),
        roofline.__version__, _source_digest(),
    )  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def find(key: str) -> Fitted | None:
    """The entry of this key, which is then the last one used; None where there is none that is whole."""
    try:
        found = records.from_bytes(Fitted, read(FITS, key), _NAMES)
    except Exception:  # anybody can write such a file, so whatever a parser says of it
        return None
    was_used(FITS, key)
    return found


def store(key: str, fitted: Fitted) -> None:
    """Keep an entry. What goes wrong is no reason to fail."""
    with suppress(OSError, TypeError, NameError):
        write(FITS, key, records.to_bytes(fitted, _NAMES))


def _add(digest: Any, value: object) -> None:
    """Add all that a record holds to a digest, each part with what it is called or how long it is."""
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    elif is_dataclass(value):
        for field in fields(value):
            digest.update(f"{field.name}\n".encode())
            _add(digest, getattr(value, field.name))
    else:
        told = repr(value).encode("utf-8", errors="surrogatepass")
        digest.update(f"{len(told)}\n".encode() + told)


@cache
def _source_digest() -> str:
    """Of all that fits: of the source files beside this one."""
    return source_digest({"calibration": Path(__file__).parent})
