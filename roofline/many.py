"""Many models on one device: one row each, as they come, in parallel over the cores; and a file of them to go on with.

A model that fails is told of and left out, also where it takes its process with it. Rows are appended to the file in
whole lines, so that whatever ends the run, what stands there is right, and the next run does only what is missing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, fields
from functools import cache, partial
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from roofline import interrupts
from roofline.errors import CalibrationError, OutputError, RooflineError
from roofline.output import write_bytes
from roofline.units import printable, shape

if TYPE_CHECKING:
    from roofline.analysis import Analysis
    from roofline.hardware import Hardware

SCHEMA = "roofline/summary/1"
DIGITS = 16  # of a SHA-256, which tell a profile from what it was before
UNUSED = ("name", "class", "notes", "figures", "energy_per_mac_j", "energy_per_byte_j")  # of a profile, by a row
MODELS_A_PROCESS = 8  # for fewer, importing torch into one more takes longer than it saves

FileFormat = Literal["csv", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One model on one device, in one row.

    Attributes:
        model: Its reference.
        hw: The id of the device's profile.
        options: How it was built and analysed, as on the command line; empty where nothing was asked for.
        dtype, fusion, batch: As it was analysed.
        input_shape: Of its inputs, as 1x3x224x224; of several, with blanks between them.
        params: Parameters.
        macs: Multiply-accumulates of a pass.
        weight_bytes, activation_bytes: Traffic of a pass.
        latency_s: Of a pass, seconds.
        latency_kind: ``bound`` or ``prediction``.
        estimator: Whose latency it is; ``roofline`` but for a calibrated profile.
        interval90_low_s, interval90_high_s: Where the latency is with 90 %, seconds; None of an estimator that does not
            say.
        bound: ``memory`` or ``compute``: in layers of which kind more of the time is.
        compute_bound_share, memory_bound_share: The shares of the layers' time in such layers.
        versions: What else the row depends on: of roofline, torch and the library that the model is from.
        hw_digest: And the figures of the profile and its calibration, as `digest_of` has them.
        made_from: And what the user's own model was made from, as JSON: ``files``, the SHA-256 of each, and
            ``versions`` of the installed packages among the rest (`roofline.cache.made_from`). Empty of other models.
    """

    model: str
    hw: str
    options: str
    dtype: str
    fusion: str
    batch: int
    input_shape: str
    params: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    latency_s: float
    latency_kind: str
    estimator: str
    interval90_low_s: float | None
    interval90_high_s: float | None
    bound: str
    compute_bound_share: float
    memory_bound_share: float
    versions: str
    hw_digest: str
    made_from: str

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(field.name for field in fields(Summary))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A model that could not be analysed.

    Attributes:
        model: Its reference.
        reason: Why, in one line.
    """

    model: str
    reason: str


def summary(analysis: Analysis, *, options: str = "") -> Summary:
    """An analysis in one row."""
    totals = analysis.totals()
    compute = totals["compute_bound_share"]
    low_s, high_s = (math.nan, math.nan) if analysis.estimates is None else analysis.estimates.estimate.interval90_s
    return Summary(
        model=analysis.reference,
        hw=analysis.hardware.id,
        options=options,
        dtype=analysis.layers.dtype,
        fusion=analysis.layers.fusion,
        batch=analysis.batch,
        input_shape=" ".join(shape(sizes) for sizes in analysis.input_shapes),
        params=analysis.layers.params,
        macs=totals["macs"],
        weight_bytes=totals["weight_bytes"],
        activation_bytes=totals["activation_bytes"],
        latency_s=totals["latency_s"],
        latency_kind=analysis.latency_kind,
        estimator="roofline" if analysis.estimates is None else analysis.estimates.chosen,
        interval90_low_s=None if math.isnan(low_s) else low_s,
        interval90_high_s=None if math.isnan(high_s) else high_s,
        bound="compute" if compute > 0.5 else "memory",
        compute_bound_share=compute,
        memory_bound_share=1.0 - compute,
        versions=versions_of(analysis.reference),
        hw_digest=digest_of(analysis.hardware),
        made_from=made_from(analysis.reference),
    )


def versions_of(reference: str) -> str:
    """Versions of roofline, torch and the library that a model is from.

    >>> versions_of("mobilenetv4_conv_s")  # doctest: +SKIP
    'roofline 0.1.0 torch 2.13.0'
    """
    from roofline.loading.references import library_of

    library = library_of(reference)
    return _versions(library[0] if library else "")


@cache
def _versions(library: str) -> str:
    import roofline

    found = {"roofline": roofline.__version__}
    for package in filter(None, ("torch", library)):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return " ".join(f"{name} {version}" for name, version in found.items())


def digest_of(hardware: Hardware) -> str:
    """The first digits of a SHA-256 over all of a profile that decides a row: its figures and its calibration.

    Of each figure also its kind, which says what is a bound; not energies, notes, or where a figure is from.

    Raises:
        CalibrationError: The calibration cannot be read.
    """
    values = {name: value for name, value in hardware.to_dict().items() if name not in UNUSED}
    kinds = {path: figure.kind for path, figure in hardware.figures.items() if path not in UNUSED}
    digest = hashlib.sha256(json.dumps([values, kinds], sort_keys=True).encode())
    if hardware.calibration is not None:
        try:
            digest.update(hardware.calibration.read_bytes())
        except (OSError, ValueError) as error:  # ValueError: a null byte
            reason = getattr(error, "strerror", None) or error
            raise CalibrationError(f"{hardware.calibration}: cannot be read: {reason}") from None
    return digest.hexdigest()[:DIGITS]


def made_from(reference: str) -> str:
    """What the user's own model was made from in this process, as JSON with paths from here; empty of other models."""
    from roofline import cache as tables

    if not tables.is_own(reference):
        return ""
    made = tables.made_from(reference)
    made["files"] = dict(sorted((_from_here(Path(file)), digest) for file, digest in made["files"].items()))
    return json.dumps(made)


def _from_here(file: Path) -> str:
    here, file = Path.cwd().resolve(), file.resolve()
    return (file.relative_to(here) if file.is_relative_to(here) else file).as_posix()


def _is_as_it_was(row: Mapping[str, Any]) -> bool:
    """Whether what the model of a row was made from has not changed since."""
    from roofline import cache as tables

    if not tables.is_own(row["model"]):
        return row.get("made_from") == ""
    with suppress(Exception):  # anybody can write such a file, so whatever there is to say of it
        made, file = json.loads(row["made_from"]), tables.own_file(row["model"]) or _module_file(row["model"])
        return (file is None or _from_here(file) in made["files"]) and tables.is_as_it_was(made)
    return False


def _module_file(reference: str) -> Path | None:
    """The first file that Python would run for ``package.module:make``; None for a package that is installed."""
    name = reference.partition(":")[0].partition(".")[0]
    spec = PathFinder.find_spec(name, [str(Path.cwd()), *sys.path])
    if spec is None or spec.origin is None or {"site-packages", "dist-packages"} & set(Path(spec.origin).parts):
        return None
    return Path(spec.origin)


def analyze_many(
    models: Sequence[str],
    *,
    hw: str | Path | Hardware,
    jobs: int | None = None,
    words: str = "",
    **options: Any,
) -> Iterator[Summary | Failure]:
    """Analyze models on one device, in the order in which they are done.

    Args:
        models: References, each once.
        hw: As `roofline.analyze` takes it.
        jobs: Processes; 1 is this one. Not given: as many as there are cores, but each has 8 models or more.
        words: What `Summary.options` says.
        options: As `roofline.analyze` takes them.

    Raises:
        RooflineError: The device, or a dtype that it has no rate for; before any model is built.

    >>> for row in analyze_many(["mobilenetv4_conv_s", "mobilenetv4_conv_x"], hw="pixel6_tpu"):
    ...     print(row.model, row.macs if isinstance(row, Summary) else row.reason[:15])
    mobilenetv4_conv_s 186005568
    mobilenetv4_conv_x unknown model '
    """
    from roofline.hardware import Hardware
    from roofline.profiles import load_profile

    hardware = hw if isinstance(hw, Hardware) else load_profile(hw)
    hardware.peak(options.get("dtype") or hardware.default_dtype)
    run = partial(_attempt, hardware=hardware, words=words, options=options)
    references = list(dict.fromkeys(models))
    jobs = min(jobs or _jobs(len(references)), len(references))
    return map(run, references) if jobs <= 1 else _in_processes(references, run, jobs)


def _jobs(models: int) -> int:
    most = math.ceil(models / MODELS_A_PROCESS)
    if most <= 1:
        return most
    from joblib import cpu_count  # type: ignore[import-untyped]

    return min(int(cpu_count()), most)


def _attempt(reference: str, *, hardware: Hardware, words: str, options: dict[str, Any]) -> Summary | Failure:
    """One model, whatever becomes of it."""
    from roofline.analysis import analyze

    try:
        with redirect_stdout(sys.stderr):  # what the user's own file prints is no part of the result
            return summary(analyze(reference, hw=hardware, **options), options=words)
    except RooflineError as error:
        return Failure(model=reference, reason=printable(str(error)))
    except (Exception, SystemExit) as error:  # the others are not to wait for a repair
        reason = printable(f"{type(error).__name__}: {error}")
        return Failure(model=reference, reason=f"a fault of roofline, please report it: {reason}")


# --- processes ------------------------------------------------------------------------------------------------------


def _in_processes(
    references: Sequence[str], run: Callable[[str], Summary | Failure], jobs: int
) -> Iterator[Summary | Failure]:
    """The same in several processes; each has one thread, and one that dies takes one model with it.

    Which model it was on, nobody tells: those that may have been are done again, each in a process of its own.
    """
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError  # type: ignore[import-untyped]

    def parallel(some: Sequence[str], processes: int) -> Iterator[Summary | Failure]:
        with parallel_config(backend="loky", inner_max_num_threads=1):  # not around `yield`: it would be the caller's
            workers = Parallel(
                n_jobs=processes, return_as="generator_unordered", batch_size=1, pre_dispatch=2 * processes
            )
        with interrupts.held_while_processes_start():
            results = workers(delayed(_in_worker)(run, reference) for reference in some)
        yield from results

    waiting = dict.fromkeys(references)
    while waiting:
        try:
            for result in parallel(list(waiting), jobs):
                del waiting[result.model]
                yield result
        except TerminatedWorkerError:
            for reference in list(waiting)[: 2 * jobs]:
                del waiting[reference]
                try:
                    yield from parallel([reference], 2)  # of one, joblib makes no process
                except TerminatedWorkerError:
                    reason = "its process ended: a crash, or more memory than there is"
                    yield Failure(model=reference, reason=reason)


def _in_worker(run: Callable[[str], Summary | Failure], reference: str) -> Summary | Failure:
    """One model in a process of its own."""
    interrupts.ignore()
    return run(reference)


# --- the file -------------------------------------------------------------------------------------------------------


class RowFile:
    """A file of summaries that grows by whole lines: CSV with a header, or JSON, one object a line.

    Attributes:
        done: References of the models that are in it already. A row of the user's own is let go of once a file that
            it was made from has changed, and is to be done again.
    """

    def __init__(self, path: Path, format: FileFormat, *, hw: Hardware, options: str, restart: bool = False) -> None:
        """Read what is there.

        Args:
            path: Of the file; it need not exist.
            format: ``"csv"`` or ``"json"``.
            hw: The device that all rows must be of.
            options: As `Summary.options`, likewise.
            restart: Whether to begin anew, whatever is there.

        Raises:
            OutputError: The file is no such file, or of another device, other figures of it, other options or other
                versions.
            CalibrationError: As `digest_of`.
        """
        self._path, self._format = path, format
        self._file: IO[bytes] | None = None
        data = b"" if restart or not path.is_file() else _read(path)
        begin = header("csv").encode() if format == "csv" else json.dumps({"schema": SCHEMA})[:-1].encode()
        if not data.startswith(begin[: len(data)]):
            raise _not_ours(path, format)
        self._kept = data[: data.rfind(b"\n") + 1]  # what an interrupted run left of a last line is no row
        done, stale = set(), set()
        for number, row in self._rows(hw, options):
            if _is_as_it_was(row):
                done.add(row["model"])
            else:
                stale.add(number)
        self.done, self._has_stale = frozenset(done), bool(stale)
        if stale:
            lines = self._kept.splitlines(keepends=True)
            self._kept = b"".join(line for number, line in enumerate(lines, 1) if number not in stale)

    def __enter__(self) -> Self:
        if self._has_stale:
            write_bytes(self._path, self._kept)  # all or nothing
        try:
            self._file = self._path.open("r+b" if self._kept else "wb", buffering=0)
            if self._kept:
                self._file.seek(len(self._kept))
                self._file.truncate()
            else:
                self._file.write(header(self._format).encode())
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

    def write(self, row: Summary) -> None:
        """Append a row, at once.

        Raises:
            OutputError: It cannot be written.
        """
        assert self._file is not None
        try:
            self._file.write(line(row, self._format).encode("utf-8", errors="replace"))
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error

    def _rows(self, hw: Hardware, options: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows with the numbers of their lines."""
        digest = digest_of(hw)
        for number, row in _parsed(self._kept, self._path, self._format):
            wanted = {"hw": hw.id, "options": options, "versions": versions_of(row["model"]), "hw_digest": digest}
            for what, known in wanted.items():
                if row.get(what) != known:
                    found = printable(str(row.get(what)))[:80] or "none"
                    told = f"has the {what} {found}, and this is {known or 'none'}"
                    if what == "hw_digest":
                        told = f"is from before the profile or the calibration of {hw.id} changed"
                    raise OutputError(
                        f"{self._path}:{number} {told}: choose another file, or --restart to begin this one anew"
                    )
            yield number, row


def line(row: Summary, format: FileFormat) -> str:
    """A row as a line of a file, with its end."""
    if format == "json":
        return json.dumps({"schema": SCHEMA, **row.to_dict()}, allow_nan=False) + "\n"
    return _csv_line(row.to_dict().values())


def header(format: FileFormat) -> str:
    """What stands before the first line; nothing of JSON, in which each line says what it is."""
    return _csv_line(COLUMNS) if format == "csv" else ""


def _csv_line(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        " ".join(cell.splitlines()) if isinstance(cell, str) else cell for cell in cells
    )
    return text.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"cannot read {path} to go on with it: {error.strerror}") from error


def _parsed(data: bytes, path: Path, format: FileFormat) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with the numbers of their lines.

    Raises:
        OutputError: They are no rows of ours.
    """
    if not data:
        return
    try:
        lines = data.decode("utf-8").splitlines()
        if format == "json":
            for number, text in enumerate(lines, 1):
                row = json.loads(text)
                if not isinstance(row, dict) or row.get("schema") != SCHEMA or not isinstance(row.get("model"), str):
                    raise _not_ours(path, format)
                yield number, row
            return
        reader = csv.reader(lines, strict=True)
        if tuple(next(reader)) != COLUMNS:
            raise _not_ours(path, format)
        for cells in reader:
            yield reader.line_num, dict(zip(COLUMNS, cells, strict=True))
    except (ValueError, RecursionError, csv.Error) as error:
        if isinstance(error, OutputError):
            raise
        raise _not_ours(path, format) from error


def _not_ours(path: Path, format: FileFormat) -> OutputError:
    return OutputError(
        f"{path} is there, and is no {format.upper()} of several models that could be gone on with: choose another "
        "file, or --restart to overwrite it"
    )
