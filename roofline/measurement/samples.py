"""The samples of a run in a file beside its result: plain numpy arrays, one element a sample, and no pickle."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.errors import OutputError, SavedError
from roofline.measurement.result import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMBERS = ("wall_s", "cpu_s", "kernel_s", "calls", "at_s", "factor", "round", "process")
CONDITIONS = ("others_s", "steal_s", "involuntary_switches", "throttled_s", "frequency_hz", "load", "page_faults")


def check_name(path: Path) -> None:
    """Find out before the work whether samples can be written there.

    Raises:
        OutputError: They cannot.
    """
    from roofline.output import check_writable

    if path.suffix.lower() != ".npz":
        raise OutputError(f"samples are numpy arrays: name the file {path.with_suffix('.npz')}")
    check_writable(path)


def save_samples(path: Path, run: Run) -> None:
    """Write all samples of a run, those left out too.

    `models` has the names of the measurements (of a fleet, `NAME on TAG`), and then of models whose samples were all
    left out; every other array one element a sample: `measurement`, a position in `models`; the fields of `Sample` and
    of its conditions, NaN where unknown; `flags`, joined by blanks; `left_out`.

    Raises:
        OutputError: They cannot be written.
    """
    import numpy as np

    from roofline.output import write_bytes

    check_name(path)
    taken = [(_name(each.reference or each.name, each.tag), each.samples) for each in run.measurements]
    taken += [(_name(failure.model, failure.tag), failure.samples) for failure in run.failures if failure.samples]
    rows = [(number, sample) for number, (_, samples) in enumerate(taken) for sample in samples]

    def column(values: list[Any]) -> NDArray[Any]:
        return np.array([np.nan if value is None else value for value in values])

    arrays: dict[str, Any] = {
        "models": np.array([name for name, _ in taken], dtype=np.str_),
        "measurement": np.array([number for number, _ in rows], dtype=np.int64),
        **{name: column([getattr(sample, name) for _, sample in rows]) for name in NUMBERS},
        **{name: column([getattr(sample.conditions, name) for _, sample in rows]) for name in CONDITIONS},
        "flags": np.array([" ".join(sample.flags) for _, sample in rows], dtype=np.str_),
        "left_out": np.array([sample.is_left_out for _, sample in rows], dtype=np.bool_),
    }
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    write_bytes(path, data.getvalue())


def _name(model: str, tag: str) -> str:
    return f"{model} on {tag}" if tag else model


def load_samples(path: Path) -> dict[str, NDArray[Any]]:
    """What `save_samples` wrote.

    Raises:
        SavedError: It cannot be read, or is no such file.
    """
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SavedError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    missing = {"models", "measurement", *NUMBERS, "flags", "left_out"} - set(arrays)
    if missing:
        raise SavedError(f"{path} holds no samples of a measurement: it lacks {', '.join(sorted(missing))}")
    return arrays
