"""The errors a user can cause. Each message is one line: what is wrong, where, and what would be right.

RooflineError
 ├─ ModelError     a model reference that does not resolve, or a model that cannot be built
 ├─ TraceError     a forward pass that fails or cannot be followed
 ├─ ProfileError   a hardware profile that is missing, malformed, or lacks what was asked of it
 ├─ LatencyError   a table of latencies that is malformed, or that cannot tell what a fit asks of it
 ├─ MeasurementError  a device, a dtype or a model that cannot be measured here
 ├─ CalibrationError  a calibration that is damaged, of another machine, or too small
 ├─ SavedError     a saved result that cannot be read, or is none
 ├─ OutputError    a result that cannot be written
 └─ StoreError     a database of measurements that cannot be read or written
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RooflineError(ValueError):
    """Base of every error that the command line reports in one line, and ends with its exit code."""

    exit_code = 2


class ModelError(RooflineError):
    """A model reference that does not resolve, or a model that cannot be built."""


class TraceError(RooflineError):
    """A forward pass that fails, or that cannot be followed without data."""


class ProfileError(RooflineError):
    """A hardware profile that is missing or malformed, or that lacks the figure asked of it."""


class LatencyError(RooflineError):
    """A table of latencies that is missing or malformed, or that does not hold what a fit asks of it."""


class MeasurementError(RooflineError):
    """A device that is not there, or a model that cannot be measured as was asked."""


class BusyError(RooflineError):
    """A machine that others use so much that nothing can be measured on it: try again later."""

    exit_code = 3


class CalibrationError(RooflineError):
    """A calibration that cannot be read or made, or that is of another machine or environment than is asked of it."""


class SavedError(RooflineError):
    """A saved result that is missing, malformed, or of a schema that this version does not know."""


class OutputError(RooflineError):
    """A result that cannot be written where it was asked to go."""


class StoreError(RooflineError):
    """A database of measurements that cannot be read or written, or that does not hold what was asked of it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x' or 'y'?`` for the known names nearest to `name`, or an empty string."""
    as_written = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), as_written, n=3, cutoff=0.6)
    like = [difflib.SequenceMatcher(None, candidate, name.lower()).ratio() for candidate in near]
    named = [as_written[candidate] for candidate, ratio in zip(near, like, strict=True) if ratio > like[0] - 0.15]
    return f" Did you mean {' or '.join(repr(candidate) for candidate in named)}?" if named else ""
