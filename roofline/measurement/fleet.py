"""Measurements on other machines, through a Dask cluster: each model once by a worker of each tag.

A worker says what it measures for as a resource of Dask's: ``dask worker tcp://head:8786 --resources "pixel6=1"``. It
gets one model at a time, and measures it in a fresh process as `roofline measure` would on its machine, at the
reference state that is kept there. What it answers is the JSON of a run. A model whose worker dies goes to another of
the tag.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from roofline.cluster import ANSWER_S, UnreachableError, check_versions, connected, workers_of
from roofline.errors import MeasurementError, RooflineError, did_you_mean
from roofline.loading.references import HUGGING_FACE
from roofline.measurement import api, subject
from roofline.measurement.environment import versions
from roofline.measurement.processes import measure_in_processes
from roofline.measurement.result import Failure, Measurement, Run
from roofline.measurement.session import NOT_TIMED
from roofline.units import printable

if TYPE_CHECKING:
    from distributed import Client, Future

POLL_S = 0.5  # how often the workers are counted anew
GONE_S = 30.0  # for how long a tag may be without a worker: Dask's nanny starts one that died anew within seconds
LOST_S = 10.0  # for how long the scheduler may not answer
SENT_BYTES = 10_000_000  # of a file that goes along with each measurement; dask warns of larger ones
_ALONE = threading.Lock()  # of a worker: a machine with two tags, or several threads, still measures one at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a fleet is.

    Attributes:
        done: Measurements that are made.
        failed: Those that could not be.
        total: Models times tags.
        running: What is being measured, as ``model on tag``.
        workers: Workers with one of the tags.
    """

    done: int
    failed: int
    total: int
    running: tuple[str, ...]
    workers: int


def measure_on_fleet(
    references: Sequence[str],
    *,
    scheduler: str,
    tags: Sequence[str] = (),
    processes: int = 1,
    progress: Callable[[Progress], None] | None = None,
    take: Callable[[Run], None] | None = None,
    **options: Any,
) -> Run:
    """Time some models on the workers of a Dask cluster, each model once for each tag.

    A measurement that fails is a `Failure` of the run, and the others are made.

    Args:
        references: Model references. A file that one names is sent to workers that have not got it at that path.
        scheduler: The address of Dask's scheduler, as in ``tcp://head:8786``.
        tags: Resources of the workers that are to measure; all that there are if not given.
        processes: Fresh processes to repeat each measurement in.
        progress: Called with how far it is.
        take: Called with each measurement as soon as it is made, as a run of its own.
        options: As `roofline.measurement.api.measure` has them.

    Returns:
        One measurement a model and tag, tag by tag in the order given, each with the environment of its worker.

    Raises:
        RooflineError: The scheduler cannot be reached, no worker has a tag, or one that has lacks this roofline.
    """
    request = api._request(options, is_here=False)
    if request.reference_state == api.ANEW:
        raise MeasurementError("a reference state is taken anew on its own machine: leave that out for a fleet")
    if processes < 1:
        raise MeasurementError(f"processes must be at least 1 (got {processes})")
    if not references:
        raise MeasurementError("there is no model to measure")
    with connected(scheduler) as client:
        workers = _workers(client, scheduler)
        tags = _tags(workers, tags, scheduler)
        check_versions(client, scheduler, [worker for worker, has in workers.items() if not has.isdisjoint(tags)])
        wanted = [(tag, model) for tag in tags for model in dict.fromkeys(references)]
        fleet = _Fleet(client, scheduler, request, processes, wanted)
        fleet.run(progress, take)
    return fleet.result()


def _tags(workers: Mapping[str, frozenset[str]], asked: Sequence[str], scheduler: str) -> list[str]:
    """The tags to measure for, each once.

    Raises:
        MeasurementError: No worker has one of them.
    """
    known = sorted(frozenset().union(*workers.values()))
    if not known:
        there = f"{len(workers)} worker{'s' if len(workers) > 1 else ''} without a tag" if workers else "no workers"
        raise MeasurementError(
            f"the scheduler at {scheduler} has {there}: start one that may measure with "
            f"dask worker {scheduler} --resources 'TAG=1' --nthreads 1"
        )
    for tag in asked:
        if tag not in known:
            raise MeasurementError(
                f"no worker at {scheduler} has the tag {tag!r} (there are: {', '.join(known)})."
                f"{did_you_mean(tag, known)}"
            )
    return list(dict.fromkeys(asked)) or known


def _workers(client: Client, scheduler: str) -> dict[str, frozenset[str]]:
    """The tags of each worker, by its address.

    Raises:
        UnreachableError: The scheduler does not answer.
    """
    return {
        address: frozenset(name for name, amount in worker["resources"].items() if amount >= 1)
        for address, worker in workers_of(client, scheduler).items()
    }


class _Fleet:
    """Measurements that wait, run and are done; a tag never has more under way than it has workers."""

    def __init__(
        self,
        client: Client,
        scheduler: str,
        request: api.Request,
        processes: int,
        wanted: Sequence[tuple[str, str]],
    ) -> None:
        """Nothing is begun yet.

        Args:
            client: Of the scheduler.
            scheduler: Its address.
            request: How to measure.
            processes: Fresh processes for each.
            wanted: The tag and the reference of each.
        """
        self._client, self._scheduler = client, scheduler
        self._request, self._processes = request, processes
        self._files = {reference: _File.of(reference) for _, reference in wanted}
        self._wanted = tuple(wanted)
        self._waiting = deque(wanted)
        self._running: dict[Future, tuple[str, str]] = {}
        self._done: dict[tuple[str, str], list[Measurement | Failure]] = {}
        self._is_interrupted = False

    def run(
        self, progress: Callable[[Progress], None] | None = None, take: Callable[[Run], None] | None = None
    ) -> None:
        """Until all are done, or Ctrl-C."""
        seen_s = dict.fromkeys((tag for tag, _ in self._wanted), time.monotonic())  # when a tag last had a worker
        answered_s = time.monotonic()
        try:
            while self._waiting or self._running:
                workers: dict[str, frozenset[str]] = {}
                try:
                    if self._client.status != "running":
                        raise UnreachableError(f"the scheduler at {self._scheduler} is gone")
                    workers, answered_s = _workers(self._client, self._scheduler), time.monotonic()
                except UnreachableError as error:  # it may come back
                    if self._client.status == "closed" or time.monotonic() > answered_s + LOST_S:
                        self._give_up(str(error))
                        return
                for tag in seen_s:
                    if any(tag in tags for tags in workers.values()):
                        seen_s[tag] = time.monotonic()
                    elif time.monotonic() > seen_s[tag] + GONE_S:
                        self._give_up(f"the last worker with this tag is gone, and none came within {GONE_S:g} s", tag)
                self._submit(workers)
                if progress is not None:
                    progress(self._progress(workers))
                for done in self._collected():
                    if take is not None and done.measurements:
                        take(done)
        except KeyboardInterrupt:
            self._is_interrupted = True
            self._give_up(NOT_TIMED)

    def _submit(self, workers: Mapping[str, frozenset[str]]) -> None:
        """Hand out as many as there are workers for."""
        free = {tag: sum(tag in tags for tags in workers.values()) for tag, _ in self._wanted}
        for tag, _ in self._running.values():
            free[tag] -= 1
        for _ in range(len(self._waiting)):
            tag, reference = self._waiting.popleft()
            if free[tag] > 0:
                free[tag] -= 1
                asked = {"reference": reference, "request": self._request.to_dict(), "processes": self._processes}
                future = self._client.submit(
                    measured_by_worker, json.dumps(asked), self._files[reference],
                    resources={tag: 1}, pure=False, key=_key(tag, reference),
                )  # fmt: skip
                self._running[future] = (tag, reference)
            else:
                self._waiting.append((tag, reference))

    def _collected(self) -> Iterator[Run]:
        """Wait until one is done, or for a moment; what is, each as a run."""
        until_s = time.monotonic() + POLL_S
        while not any(future.done() for future in self._running) and time.monotonic() < until_s:
            time.sleep(POLL_S / 20)
        for future in [future for future in self._running if future.done()]:
            tag, reference = self._running.pop(future)
            if future.cancelled() and self._client.status != "running":  # lost with the scheduler, which may come back
                self._waiting.appendleft((tag, reference))
            else:
                self._done[tag, reference] = _answer(future, tag, reference)
                yield self._run_of([(tag, reference)])

    def _give_up(self, reason: str, only: str | None = None) -> None:
        """What is not done, of one tag or of all, is a failure."""
        for tag, reference in self._wanted:
            if (tag, reference) not in self._done and only in (tag, None):
                self._done[tag, reference] = [Failure(model=reference, tag=tag, reason=reason)]
        self._waiting = deque(each for each in self._waiting if each not in self._done)
        for future in [future for future, each in self._running.items() if each in self._done]:
            del self._running[future]
            if self._client.status == "running":
                future.cancel()

    def _progress(self, workers: Mapping[str, frozenset[str]]) -> Progress:
        tags = {tag for tag, _ in self._wanted}
        failed = sum(isinstance(found[0], Failure) for found in self._done.values())
        return Progress(
            done=len(self._done) - failed,
            failed=failed,
            total=len(self._wanted),
            running=tuple(f"{reference} on {tag}" for tag, reference in self._running.values()),
            workers=sum(not tags.isdisjoint(of) for of in workers.values()),
        )

    def result(self) -> Run:
        """What came of each, in the order in which they were wanted."""
        return replace(self._run_of(self._wanted), is_interrupted=self._is_interrupted)

    def _run_of(self, wanted: Sequence[tuple[str, str]]) -> Run:
        found = [each for one in wanted for each in self._done[one]]
        return Run(
            measurements=tuple(each for each in found if isinstance(each, Measurement)),
            environment={"versions": versions()},
            failures=tuple(each for each in found if isinstance(each, Failure)),
        )


def _key(tag: str, reference: str) -> str:
    """What Dask's dashboard calls it; unlike any other, as a second measurement is not the first."""
    from uuid import uuid4

    return f"roofline measure {reference} on {tag}-{uuid4().hex}"


def _answer(future: Future, tag: str, reference: str) -> list[Measurement | Failure]:
    """What came of one measurement: at least one, and the measurements first."""

    def failed(reason: str) -> list[Measurement | Failure]:
        return [Failure(model=reference, tag=tag, reason=printable(reason))]

    if future.status != "finished":
        return failed(_why(future))
    try:
        answer = json.loads(future.result(timeout=ANSWER_S))
        if "error" in answer:
            return failed(answer["error"])
        run, worker = Run.from_dict(answer["run"]), str(answer["worker"])
    except TimeoutError:
        return failed(f"its worker, or the scheduler, did not hand over the answer within {ANSWER_S:g} s")
    except (LookupError, TypeError, ValueError) as error:
        return failed(f"its worker answered what is no measurement, maybe of another version: {error}")
    found: list[Measurement | Failure] = [
        replace(
            each,
            tag=tag,
            worker=worker,
            anchor=run.anchor,
            environment={**each.environment, "fleet": {"tag": tag}},  # two boards with one CPU have two histories
        )
        for each in run.measurements
    ]
    return [*found, *(replace(each, model=reference, tag=tag) for each in run.failures)] or failed("no answer")


def _why(future: Future) -> str:
    """Why a task of Dask's has no result."""
    from distributed.scheduler import KilledWorker

    if future.status != "error":  # "cancelled" or "lost"
        return "the scheduler dropped it"
    error = future.exception(timeout=ANSWER_S)
    if isinstance(error, KilledWorker):
        return "several workers ended while they measured it: a crash, or more memory than they have"
    if isinstance(error, ImportError | AttributeError):
        return f"its worker lacks this version of roofline, or what it needs: {subject.in_one_line(error)}"
    return f"its worker failed: {subject.in_one_line(error)}" if error is not None else "its worker failed"


# --- the file of a reference ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The file that a reference names, on its way to a worker.

    Attributes:
        place: Its path, as the reference has it.
        sha256: Of its contents.
        contents: Themselves; None of a file that is too large to be sent along.
        size_bytes: How large it is.
    """

    place: str
    sha256: str
    contents: bytes | None
    size_bytes: int

    @classmethod
    def of(cls, reference: str) -> _File | None:
        """That of ``net.py:make_net``, ``net.onnx``, ``net.pt2`` or ``hf:config.json``; None if it names none here.

        Raises:
            MeasurementError: It cannot be read.
        """
        whole = reference.removeprefix(f"{HUGGING_FACE}:")
        for place in (whole, whole.rpartition(":")[0]):
            if PurePath(place).suffix and Path(place).is_file():
                try:
                    contents = Path(place).read_bytes()
                except OSError as error:
                    raise MeasurementError(f"cannot read {place}: {error.strerror}") from error
                size_bytes = len(contents)
                return cls(
                    place=place,
                    sha256=hashlib.sha256(contents).hexdigest(),
                    contents=contents if size_bytes <= SENT_BYTES else None,
                    size_bytes=size_bytes,
                )
        return None

    @contextmanager
    def here(self) -> Iterator[str]:
        """Its path on this machine, where that has the same file at the same path; or else that of a copy.

        Raises:
            MeasurementError: It is not here, and was too large to be sent.
        """
        path = Path(self.place)
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256:
            yield self.place
            return
        if self.contents is None:
            raise MeasurementError(
                f"{self.place} has {self.size_bytes / 1e6:.0f} MB, and no more than {SENT_BYTES / 1e6:.0f} MB are sent "
                "to a worker: put the same file at that path there"
            )
        with tempfile.TemporaryDirectory(prefix="roofline-") as folder:
            copy = Path(folder, path.name)
            copy.write_bytes(self.contents)
            yield str(copy)


# --- on the worker ----------------------------------------------------------------------------------------------------


def measured_by_worker(asked: str, file: _File | None = None) -> str:
    """Measure one model in fresh processes on this machine; text of JSON in and out.

    Args:
        asked: ``reference``, ``request`` and ``processes``.
        file: What the reference names.

    Returns:
        ``worker``, its name, and ``run``, with all samples, or ``error``.
    """
    from distributed import get_worker

    worker = get_worker()
    given = json.loads(asked)
    request = api.Request.from_dict(given["request"])
    answer: dict[str, Any] = {"worker": str(worker.name)}
    place = here = "" if file is None else file.place
    try:
        with _ALONE, nullcontext("") if file is None else file.here() as here:
            run = measure_in_processes(
                [given["reference"].replace(place, here, 1)],
                request,
                processes=given["processes"],
                variables=_variables(bool(worker.nanny)),
            )
        answer["run"] = run.to_dict(samples=True)
    except RooflineError as error:
        answer["error"] = str(error)
    text = json.dumps(answer, allow_nan=False)
    # a copy, whose path is in names and messages, is known to nobody but this worker
    return text if here == place else text.replace(json.dumps(here)[1:-1], json.dumps(place)[1:-1])


def _variables(has_nanny: bool) -> dict[str, str]:
    """The environment variables of a measurement: those with which `dask worker` was started.

    Dask's nanny adds some to a worker's: among others OMP_NUM_THREADS=1 and a threshold of glibc's allocator
    (``distributed.nanny.pre-spawn-environ``), with which a model would be timed on one core.
    """
    variables = dict(os.environ)
    if has_nanny:
        import dask
        import psutil  # type: ignore[import-untyped]

        added = {*dask.config.get("distributed.nanny.pre-spawn-environ", {}), "PYTHONHASHSEED"}
        try:
            started = psutil.Process().parent().environ()
        except (psutil.Error, AttributeError):  # a parent that is gone, or that may not be looked at
            started = {}
        for name in added:
            variables.pop(name, None)
            if name in started:
                variables[name] = started[name]
    return variables
