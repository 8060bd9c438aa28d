"""The reference state of this machine, kept from one session to the next, so that all of them mean the same by it.

One small JSON file a machine and way of running (processor or accelerator, number of threads, version of torch, what
becomes of freed memory), in the user's data directory. It is written by the first session that
was quiet, and stays until it is asked to be taken anew. Results at two
reference states convert exactly: they differ by the anchor's factor between these, and each result carries its own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = "roofline/anchor/1"
KEYS = (
    "device.name",
    "threads.intra_op",
    "versions.torch",
    "flags.freed_memory",
)  # of the environment, that a state belongs to


def state_file(environment: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Where the state of this machine is kept.

    Args:
        environment: As `roofline.measurement.environment` records it.
        folder: The user's data directory if None.
    """
    if folder is None:
        import platformdirs

        folder = Path(platformdirs.user_data_dir("roofline")) / "anchors"
    key = json.dumps(_key(environment), sort_keys=True)
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


class State(NamedTuple):
    """A reference state.

    Attributes:
        reference_s: Seconds of each part of the anchor.
        taken_on: The day (UTC), as ``2026-01-31``.
    """

    reference_s: tuple[float, ...]
    taken_on: str


def load_state(path: Path, names: Sequence[str]) -> State | None:
    """The state of an anchor with parts of these names; None where none is kept that can be used."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["schema"] != SCHEMA or kept["names"] != list(names):
            return None
        state = State(tuple(float(time) for time in kept["reference_s"]), str(kept["taken_on"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    usable = len(state.reference_s) == len(names) and all(0 < time < math.inf for time in state.reference_s)
    return state if usable else None


def save_state(path: Path, names: Sequence[str], reference_s: Sequence[float], environment: Mapping[str, Any]) -> None:
    """Keep a state, taken today.

    Raises:
        OutputError: It cannot be written.
    """
    from roofline.errors import OutputError
    from roofline.output import write_text

    kept = {
        "schema": SCHEMA,
        "names": list(names),
        "reference_s": list(reference_s),
        "taken_on": f"{datetime.now(UTC):%Y-%m-%d}",
        "of": _key(environment),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    write_text(path, json.dumps(kept, indent=2) + "\n")


def _key(environment: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for path in KEYS:
        group, _, name = path.partition(".")
        found[path] = environment.get(group, {}).get(name)
    return found
