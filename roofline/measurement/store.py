"""Measurements that are kept, in one SQLite file.

    environments   one row a distinct environment: its digest, its record
    measurements   one row a measurement: its environment, when, what, how long, and its record

The columns are what one searches and sorts by; the record is the whole measurement as JSON. What of an environment is
only so at one moment, such as the load, is part of the measurement's record, so that the environment of two runs on one
machine is one row.

Each save is one transaction: it is there wholly or not at all, whenever the process is killed. The file is in
write-ahead-log mode (https://www.sqlite.org/wal.html), in which readers never wait, and writers only for each other.
Nothing is ever pickled.

The layout has a version, `PRAGMA user_version`. `MIGRATIONS` are the steps from each version to the next; a new file is
version 0 and takes all of them, so that there is one way to every layout.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from roofline.errors import OutputError, StoreError
from roofline.measurement.anchor import factor_of
from roofline.output import check_writable

APPLICATION_ID = 0x526F6F66  # "Roof": tells our files from those of other programs (PRAGMA application_id)
BUSY_S = 30.0  # how long to wait for another writer; a save takes milliseconds
MOMENTARY = ("cpu.load", "cpu.frequency_hz")  # paths in an environment that differ from one minute to the next


class Times(NamedTuple):
    """A median and its 95 % confidence interval, in seconds."""

    median: float
    low: float
    high: float

    def times(self, factor: float) -> Times:
        """Each of the three, scaled."""
        return Times(self.median * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One measurement, as the database has it.

    Attributes:
        id: Of its row; counts up.
        measured_at: When it was saved, in UTC.
        model: What the reference resolved to.
        reference: What the user wrote.
        device: ``"cpu"`` or ``"cuda"``.
        mode, dtype, batch, threads: How it ran.
        input_shape: As ``1x3x224x224``; of several inputs, joined by blanks.
        latency_s: As the stopwatch had it.
        reference_latency_s: At the reference state of its session.
        anchor: The parts of the anchor that it was timed beside, as ``sgemm+blocks+copy``; empty without one.
        anchor_reference_s: What that state is: the weighted geometric mean of the times of those parts; None without.
        between_process: Largest over smallest median of its processes, less 1; None of one process.
        status: As in `roofline.measurement.result.Measurement`.
        flags: What made samples doubtful, and how many of them.
        is_interrupted: Whether it was stopped by hand before its median was known as well as was asked.
        environment: Where it was measured, less what `MOMENTARY` names.
        record: The measurement as JSON text, with the run's ``anchor`` and, under ``environment``, what is left out
            above; empty where records were not asked for.
    """

    id: int
    measured_at: datetime
    model: str
    reference: str
    device: str
    mode: str
    dtype: str
    batch: int
    input_shape: str
    threads: int
    latency_s: Times
    reference_latency_s: Times
    anchor: str
    anchor_reference_s: float | None
    between_process: float | None
    status: str
    flags: Mapping[str, int]
    is_interrupted: bool = False
    environment: Mapping[str, Any]
    record: str = ""


def default_path() -> Path:
    """Where measurements are kept if nobody says otherwise: in the user's data directory, as the system has it."""
    import platformdirs

    return Path(platformdirs.user_data_dir("roofline")) / "measurements.sqlite"


def save(run: Mapping[str, Any], path: str | Path | None = None) -> None:
    """Keep a run, in one transaction: all of its measurements or, where that fails, none.

    Args:
        run: What `roofline.measurement.result.Run.to_dict` gives; or one entry of its ``measurements`` with the run's
            ``environment`` and ``anchor`` beside its own keys. It is said to be measured now, unless it has
            ``measured_at``, an ISO 8601 time with its offset.
        path: The database, which is made if it is not there; `default_path` if not given.

    Raises:
        StoreError: It cannot be kept, and the database is what it was.
    """
    rows = _rows(run)
    with _opened_to_write(path) as db, _transaction(db):
        for environment, row in rows:
            db.execute("INSERT OR IGNORE INTO environments (digest, record) VALUES (:digest, :record)", environment)
            db.execute(_INSERT, {**row, "digest": environment["digest"]})


def check(path: str | Path | None = None) -> None:
    """Find out before the work whether measurements can be kept there; makes the database.

    Raises:
        StoreError: They cannot.
    """
    with _opened_to_write(path):
        pass


def read(path: str | Path | None = None, *, records: bool = False) -> list[Kept]:
    """All that is kept, in the order it was measured. Nothing is written: an older layout is read as it is migrated.

    Args:
        path: The database; `default_path` if not given.
        records: Whether to read the whole records, too, which may be large.

    Raises:
        StoreError: There is no such database, or it cannot be read.
    """
    with _opened_to_read(path) as db:
        db.execute("BEGIN")  # of both tables as they are at one moment, whatever is written meanwhile
        environments = {key: json.loads(record) for key, record in db.execute("SELECT id, record FROM environments")}
        columns = [*_COLUMNS, *(["record"] if records else [])]
        found = db.execute(
            f"SELECT id, environment_id, {', '.join(columns)} FROM measurements ORDER BY measured_at, id"
        )
        return [
            _kept(key, environments[environment], dict(zip(columns, values, strict=True)))
            for key, environment, *values in found
        ]


# --- rows -------------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "measured_at", "model", "reference", "device", "mode", "dtype", "batch", "input_shape", "threads",
    "latency_s", "latency_low_s", "latency_high_s",
    "reference_latency_s", "reference_latency_low_s", "reference_latency_high_s",
    "anchor", "anchor_reference_s", "between_process", "status", "flags", "is_interrupted",
)  # fmt: skip
_INSERT = (
    f"INSERT INTO measurements (environment_id, {', '.join(_COLUMNS)}, record) SELECT id, "
    f"{', '.join(f':{column}' for column in _COLUMNS)}, :record FROM environments WHERE digest = :digest"
)


def _rows(run: Mapping[str, Any]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """The environment and the measurement of each row to write."""
    try:
        beside = {key: run[key] for key in ("environment", "anchor") if key in run}
        at = datetime.fromisoformat(run["measured_at"]) if "measured_at" in run else datetime.now(UTC)
        return [_row({**beside, **measurement}, at) for measurement in run.get("measurements", [run])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a mistake of the caller's, whose result stands
        raise StoreError(f"cannot keep what is no measurement: {type(error).__name__}: {error}") from error


def _row(measurement: Mapping[str, Any], at: datetime) -> tuple[dict[str, str], dict[str, Any]]:
    lasting, momentary = _parted(measurement.get("environment", {}))
    environment = _json(lasting)
    record = {**measurement, "environment": momentary}
    model = measurement["model"]
    latency, reference = (_times(measurement[key]) for key in ("latency_s", "reference_latency_s"))
    row = {
        "measured_at": at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "model": model["name"],
        "reference": model["reference"],
        **{key: measurement[key] for key in ("device", "mode", "dtype", "batch", "threads", "status")},
        "input_shape": _shapes(model["input_shape"]),
        "latency_s": latency.median,
        "latency_low_s": latency.low,
        "latency_high_s": latency.high,
        "reference_latency_s": reference.median,
        "reference_latency_low_s": reference.low,
        "reference_latency_high_s": reference.high,
        **_anchor(measurement.get("anchor", {})),
        "between_process": measurement["between_process"],
        "flags": _json(measurement["flags"]),
        "is_interrupted": measurement["is_interrupted"],
        "record": _json(record),
    }
    digest = hashlib.sha256(environment.encode()).hexdigest()
    return {"digest": digest, "record": environment}, {key: _storable(value) for key, value in row.items()}


def _anchor(anchor: Mapping[str, Any]) -> dict[str, Any]:
    """The reference state of a session: what was timed, and the weighted geometric mean of the times in seconds.

    A factor of the anchor is that mean of the ratios of its parts to that state, so what two sessions measured at their
    own states is at one state once each is divided by its mean.

    >>> _anchor({"names": ["sgemm", "copy"], "reference_s": [0.5, 2.0]})
    {'anchor': 'sgemm+copy', 'anchor_reference_s': 1.0}
    """
    parts_s = anchor.get("reference_s") or ()
    return {
        "anchor": "+".join(anchor["names"]) if parts_s else "",
        "anchor_reference_s": factor_of(parts_s, [1.0] * len(parts_s), anchor.get("weights")) if parts_s else None,
    }


def _parted(environment: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What lasts of an environment, and what `MOMENTARY` names of it, both nested as it was."""
    lasting, momentary = dict(environment), dict[str, Any]()
    for path in MOMENTARY:
        group, _, key = path.partition(".")
        if isinstance(lasting.get(group), Mapping) and key in lasting[group]:
            lasting[group] = dict(lasting[group])
            momentary.setdefault(group, {})[key] = lasting[group].pop(key)
    return lasting, momentary


def _times(summary: Mapping[str, Any]) -> Times:
    low, high = summary["ci95"]
    return Times(summary["median"], low, high)


def _shapes(shape: Sequence[Any]) -> str:
    several = shape if not shape or isinstance(shape[0], Sequence) else [shape]
    return " ".join("x".join(map(str, sizes)) or "scalar" for sizes in several)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _storable(value: Any) -> Any:
    """Text that is no UTF-8, of a path, has no place in a database."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _kept(key: int, environment: Mapping[str, Any], row: dict[str, Any]) -> Kept:
    same = ("model", "reference", "device", "mode", "dtype", "batch", "input_shape", "threads", "anchor",
            "anchor_reference_s", "between_process", "status")  # fmt: skip
    latency, reference = (
        Times(row[name], row[name.replace("_s", "_low_s")], row[name.replace("_s", "_high_s")])
        for name in ("latency_s", "reference_latency_s")
    )
    return Kept(
        id=key,
        measured_at=datetime.fromisoformat(row["measured_at"]),
        latency_s=latency,
        reference_latency_s=reference,
        flags=json.loads(row["flags"]),
        is_interrupted=bool(row["is_interrupted"]),
        environment=environment,
        record=row.get("record", ""),
        **{name: row[name] for name in same},
    )


# --- the layout -------------------------------------------------------------------------------------------------------

_LAYOUT_1 = (
    """
    CREATE TABLE environments (
        id     INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,            -- SHA-256 of the record, in hex
        record TEXT NOT NULL                    -- JSON, keys sorted
    )
    """,
    """
    CREATE TABLE measurements (
        id                       INTEGER PRIMARY KEY,
        environment_id           INTEGER NOT NULL REFERENCES environments (id),
        measured_at              TEXT NOT NULL, -- ISO 8601, UTC, so that it sorts
        model                    TEXT NOT NULL,
        reference                TEXT NOT NULL,
        device                   TEXT NOT NULL,
        mode                     TEXT NOT NULL,
        dtype                    TEXT NOT NULL,
        batch                    INTEGER NOT NULL,
        input_shape              TEXT NOT NULL,
        threads                  INTEGER NOT NULL,
        latency_s                REAL NOT NULL, -- medians, and their 95 % confidence intervals
        latency_low_s            REAL NOT NULL,
        latency_high_s           REAL NOT NULL,
        reference_latency_s      REAL NOT NULL,
        reference_latency_low_s  REAL NOT NULL,
        reference_latency_high_s REAL NOT NULL,
        between_process          REAL,
        status                   TEXT NOT NULL,
        flags                    TEXT NOT NULL, -- JSON
        record                   TEXT NOT NULL  -- JSON
    )
    """,
    "CREATE INDEX measurements_of_a_model ON measurements (model, measured_at)",
    f"PRAGMA application_id = {APPLICATION_ID}",
)


def _lay_out(db: sqlite3.Connection) -> None:
    for statement in _LAYOUT_1:
        db.execute(statement)


def _add_anchor(db: sqlite3.Connection) -> None:
    """Layout 2: what the reference state of each session is, without which two sessions are not to be compared."""
    db.execute("ALTER TABLE measurements ADD COLUMN anchor TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE measurements ADD COLUMN anchor_reference_s REAL")
    for key, record in db.execute("SELECT id, record FROM measurements").fetchall():
        added = _anchor(json.loads(record).get("anchor", {}))
        db.execute(
            "UPDATE measurements SET anchor = :anchor, anchor_reference_s = :anchor_reference_s WHERE id = :id",
            {**added, "id": key},
        )


def _add_is_interrupted(db: sqlite3.Connection) -> None:
    """Layout 3: what was stopped by hand is kept, too; before, it was not."""
    db.execute("ALTER TABLE measurements ADD COLUMN is_interrupted INTEGER NOT NULL DEFAULT 0")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_lay_out, _add_anchor, _add_is_interrupted)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Take the steps that are missing, all or none; of two processes that come at once, the second finds them taken."""
    with _transaction(db):
        for version in range(_version(db, path), len(MIGRATIONS)):
            MIGRATIONS[version](db)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Of the layout: 0 of an empty file.

    Raises:
        StoreError: It is another program's, or newer than this one knows.
    """
    version, application, has_tables = db.execute(  # in one statement: another process may lay it out meanwhile
        "SELECT user_version, application_id, EXISTS (SELECT 1 FROM sqlite_master) "
        "FROM pragma_user_version, pragma_application_id"
    ).fetchone()
    is_empty = not (version or application or has_tables)
    if application != APPLICATION_ID and not is_empty:
        raise StoreError(f"{path} is a database of another program: name another file (--db FILE)")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was made by a newer roofline: its layout is version {version}, and this one knows up to "
            f"{len(MIGRATIONS)}; update roofline, or name another file (--db FILE)"
        )
    return int(version)


# --- the file ---------------------------------------------------------------------------------------------------------


@contextmanager
def _opened_to_write(path: str | Path | None) -> Iterator[sqlite3.Connection]:
    """The database in the newest layout; whatever is wrong with it is a `StoreError`."""
    file = _path(path)
    try:
        if path is None:
            file.parent.mkdir(parents=True, exist_ok=True)
        check_writable(file)
    except OSError as error:
        raise StoreError(f"cannot make the folder {file.parent}: {error.strerror}; name a file with --db") from error
    except OutputError as error:
        raise StoreError(str(error)) from error
    _check_file(file)
    with _worded(file), closing(sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)) as db:
        if _version(db, file) < len(MIGRATIONS):
            _write_ahead(db)
            _migrate(db, file)
        db.execute("PRAGMA foreign_keys = ON")
        yield db


@contextmanager
def _opened_to_read(path: str | Path | None) -> Iterator[sqlite3.Connection]:
    """The database, or a migrated copy of it in memory where its layout is older."""
    file = _path(path)
    _check_file(file)
    if not file.exists():
        advice = "" if path is not None else "; 'roofline measure MODEL' keeps its results there"
        raise StoreError(f"no measurements are kept yet: there is no file {file}{advice}")
    with _worded(file), closing(_connected_to_read(file)) as db:
        db.execute("PRAGMA query_only = ON")
        version = _version(db, file)
        if version == len(MIGRATIONS):
            yield db
            return
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            db.backup(copy)
            _migrate(copy, file)
            yield copy


def _connected_to_read(file: Path) -> sqlite3.Connection:
    """A connection to a file that may be read-only.

    To read a file in write-ahead-log mode SQLite makes two more beside it, and removes them. Where it may not, the file
    is declared immutable, which is true if nothing is left in its log.
    """
    log = Path(f"{file}-wal")
    may_write = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
    is_whole = not log.exists() or not log.stat().st_size
    mode = "immutable=1&mode=ro" if is_whole and not may_write else "mode=rw"
    return sqlite3.connect(f"{file.resolve().as_uri()}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None)


def _path(path: str | Path | None) -> Path:
    return default_path() if path is None else Path(path)


def _check_file(file: Path) -> None:
    """A device or a pipe would be waited for without end."""
    try:
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            raise StoreError(f"{file} is {'a folder' if file.is_dir() else 'no file'}, and no database of measurements")
    except (OSError, ValueError) as error:  # ValueError: a null character, until Python 3.12
        raise StoreError(f"cannot open {file}: {getattr(error, 'strerror', None) or error}") from error


def _write_ahead(db: sqlite3.Connection) -> None:
    """Turn write-ahead logging on, which stays so; a file system without shared memory keeps its own mode.

    It is the one statement that SQLite's own waiting does not cover: of processes that make a file at once, all but one
    are told at once that it is busy.
    """
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; the only writer, from the start."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite has rolled back by itself where the disk is full
            db.execute("ROLLBACK")
        raise


@contextmanager
def _worded(file: Path) -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except StoreError:
        raise
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        kind = next((kind for kind in _PROBLEMS if name.startswith(kind)), None)
        raise StoreError(f"{file} {_PROBLEMS[kind]}" if kind else f"cannot use {file}: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"{file} is damaged: what it keeps is no record of a measurement ({error})") from error


_PROBLEMS = {  # by the beginning of SQLite's name of an error, https://www.sqlite.org/rescode.html
    "SQLITE_NOTADB": "is no database: name another file (--db FILE)",
    "SQLITE_CORRUPT": "is damaged: move it away, or name another file (--db FILE)",
    "SQLITE_BUSY": f"is in use: another process has been writing to it for {BUSY_S:g} s",
    "SQLITE_FULL": "cannot be written: the disk is full",
    "SQLITE_IOERR": "cannot be read or written: the disk fails, or is full",
    "SQLITE_READONLY": "cannot be written: no permission to write it, or in its folder",
    "SQLITE_CANTOPEN": "cannot be opened: no permission to read it, or to write in its folder",
    "SQLITE_PERM": "cannot be opened: no permission",
}
