"""Who does the work: this process, processes of this machine, or a dask cluster. All give the same blocks in order.

Blocks come in the order of their numbers, and only a few are under way at once: whoever takes them holds little
memory, and may stop whenever enough has come.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from roofline import interrupts
from roofline.cluster import ANSWER_S, UnreachableError, check_dask, check_versions, connected, quiet, workers_of
from roofline.errors import RooflineError
from roofline.units import printable

if TYPE_CHECKING:
    from distributed import Client

BLOCKS_A_WORKER = 2  # one that it does, and one that waits for it
FEWEST_BLOCKS = 8  # of a cluster, which may have no worker before there is work
TAKEN_UP_S = 1.0  # until a pool has taken up what it was given, which it does within milliseconds
TRIES = 3  # of a block whose process ended; as dask has it (distributed.scheduler.allowed-failures)
LOOK_EVERY_S = 2.0  # how often a cluster is asked which workers it has, and one who waits is told

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
NO_INTERRUPTS = "from roofline.interrupts import ignore\nignore()\n"  # of a worker of dask's own

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


class Promise(Protocol):
    """What `concurrent.futures` and dask call a future."""

    def wait(self, at_most_s: float) -> bool:
        """Wait for it, and tell whether it is there."""

    def result(self) -> Any:
        """What has come of it; raises what was raised."""


class Engine(Protocol):
    """Who does the work.

    Attributes:
        lost: What is raised where a process ended in the middle of its work, and it may be tried again.
        fewest: How much work is to be under way even where there are no workers yet.
    """

    lost: tuple[type[BaseException], ...]
    fewest: int

    @property
    def workers(self) -> int:
        """How many work at once, just now."""

    def submit(self, work: Callable[[Any, Any], Any], shared: Any, task: Any) -> Promise:
        """Have ``work(shared, task)`` done; `shared` is the same each time, and may be large."""

    def renew(self) -> None:
        """After a loss: be ready for work again. What was under way is lost."""


def in_order(
    engine: Engine,
    work: Callable[[Shared, Task], Result],
    shared: Shared,
    tasks: Iterable[Task],
    *,
    idle: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """What comes of each task, in their order; lost ones are done again.

    Args:
        engine: Who does it.
        work: A function of a module, called with `shared` and a task.
        shared: What all tasks have in common.
        tasks: Small, and as many as one likes, even without end: they are taken when there is room for them.
        idle: Called every few seconds for as long as the next one is not there.

    Raises:
        RooflineError: A task failed, or ended its process again and again; or a cluster does not answer any longer.
    """
    left = iter(tasks)
    waiting: deque[tuple[Task, Promise]] = deque()
    losses = 0
    while True:
        for task in islice(left, max(0, max(engine.fewest, BLOCKS_A_WORKER * engine.workers) - len(waiting))):
            waiting.append((task, engine.submit(work, shared, task)))
        if not waiting:
            return
        if not waiting[0][1].wait(LOOK_EVERY_S):
            if idle is not None:
                idle()
            continue  # and see which workers there are
        try:
            result = waiting[0][1].result()
        except engine.lost as error:
            losses += 1
            if losses >= TRIES:
                raise RooflineError(
                    f"a worker's process ended {TRIES} times at the same work: a crash, or more memory than there is"
                ) from error
            engine.renew()
            waiting = deque((task, engine.submit(work, shared, task)) for task, _ in waiting)
            continue
        except RooflineError:
            raise
        except Exception as error:
            raise RooflineError(f"a worker failed: {type(error).__name__}: {printable(str(error))}") from error
        losses = 0
        waiting.popleft()
        yield result


# --- this machine -----------------------------------------------------------------------------------------------------


@contextmanager
def local(workers: int) -> Iterator[Engine]:
    """Processes of this machine; one is this process itself."""
    if workers == 1:
        yield _Here()
        return
    processes = _Processes(workers)
    try:
        yield processes
    finally:
        processes.renew()


@dataclass(frozen=True, slots=True)
class _Later:
    """Work that is done when its result is asked for."""

    work: Callable[[Any, Any], Any]
    shared: Any
    task: Any

    def wait(self, at_most_s: float) -> bool:
        return True

    def result(self) -> Any:
        return self.work(self.shared, self.task)


class _Here:
    """This process."""

    lost: tuple[type[BaseException], ...] = ()
    fewest = workers = 1

    def submit(self, work: Callable[[Any, Any], Any], shared: Any, task: Any) -> _Later:
        return _Later(work, shared, task)

    def renew(self) -> None:
        pass


class _Processes:
    """Loky's: new processes that import nothing of the caller's main module, each with one thread.

    What tasks share goes to a process when it starts, and a task is a few bytes. Large ones might fill the pipe of the
    queue, and if all who read it end, whoever shuts the pool down waits for it to drain.
    """

    fewest = 1

    def __init__(self, workers: int) -> None:
        from joblib.externals.loky.process_executor import BrokenProcessPool  # type: ignore[import-untyped]

        self.workers = workers
        self.lost: tuple[type[BaseException], ...] = (BrokenProcessPool,)
        self._pool: Any = None
        self._shared: Any = None
        self._last: futures.Future[Any] | None = None

    def submit(self, work: Callable[[Any, Any], Any], shared: Any, task: Any) -> Promise:
        if self._pool is None or self._shared is not shared:
            self.renew()
            self._pool, self._shared = self._new(shared), shared
        try:
            with interrupts.held_while_processes_start():
                self._last = self._pool.submit(_with_shared, work, task)
                return _OfPool(self._last)
        except self.lost as error:  # it ended meanwhile
            return _Failed(error)

    def _new(self, shared: Any) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

        return ProcessPoolExecutor(self.workers, env=ONE_THREAD, initializer=_begin, initargs=(shared,))

    def renew(self) -> None:
        if self._pool is not None:
            self._wait_until_taken_up()
            self._pool.shutdown(wait=True, kill_workers=True)
        self._pool = self._last = None

    def _wait_until_taken_up(self) -> None:
        """Loky's own thread fails, aloud, if the pool is shut down before the thread has seen the latest task."""
        until_s = time.monotonic() + TAKEN_UP_S
        while self._last is not None and not (self._last.running() or self._last.done()):
            if time.monotonic() > until_s:
                return
            time.sleep(0.001)


@dataclass(frozen=True, slots=True)
class _OfPool:
    """A future of a pool of processes."""

    future: futures.Future[Any]

    def wait(self, at_most_s: float) -> bool:
        return bool(futures.wait([self.future], at_most_s).done)

    def result(self) -> Any:
        return self.future.result()


@dataclass(frozen=True, slots=True)
class _Failed:
    """Work that could not even be begun."""

    error: BaseException

    def wait(self, at_most_s: float) -> bool:
        return True

    def result(self) -> Any:
        raise self.error


_shared: Any = None  # of a process of a pool


def _begin(shared: Any) -> None:
    """Get a process ready."""
    global _shared
    interrupts.ignore()
    _shared = shared


def _with_shared(work: Callable[[Any, Any], Any], task: Any) -> Any:
    return work(_shared, task)


def cores() -> int:
    """How many processes this machine has room for."""
    from joblib import cpu_count  # type: ignore[import-untyped]

    return int(cpu_count())


# --- dask -------------------------------------------------------------------------------------------------------------


@contextmanager
def dask(address: str | None = None, workers: int | None = None) -> Iterator[Engine]:
    """The workers of a dask scheduler, which may come and go; without an address, dask's own processes here.

    Args:
        address: Of a running scheduler, as in ``tcp://10.0.0.5:8786``; its cluster is used as it is.
        workers: How many processes to start, without an address; as many as there are cores if not given.

    Raises:
        RooflineError: dask is not installed, nothing answers at the address within 10 s, or it or a worker has other
            versions of what this needs.
    """
    check_dask()
    quiet()
    from distributed import Client, LocalCluster

    if address is not None:
        with connected(address) as client:
            yield _Dask(client, address)
        return
    with (
        LocalCluster(
            n_workers=workers or cores(), threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}, silence_logs=logging.CRITICAL,
            env=ONE_THREAD, preload=[NO_INTERRUPTS],
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield _Dask(client, "127.0.0.1")


class _Dask:
    """A client's workers. Dask itself gives the work of a lost worker to another."""

    lost: tuple[type[BaseException], ...] = ()
    fewest = FEWEST_BLOCKS

    def __init__(self, client: Client, address: str) -> None:
        self._client, self._address = client, address
        self._threads, self._asked_s = 0, -LOOK_EVERY_S
        self._checked: frozenset[str] = frozenset()

    @property
    def workers(self) -> int:
        now_s = time.monotonic()
        if now_s - self._asked_s >= LOOK_EVERY_S:
            found = workers_of(self._client, self._address)
            new = found.keys() - self._checked
            if new:
                check_versions(self._client, self._address, new)
            self._checked = frozenset(found)
            self._threads = sum(worker["nthreads"] for worker in found.values())
            self._asked_s = time.monotonic()
        return self._threads

    def submit(self, work: Callable[[Any, Any], Any], shared: Any, task: Any) -> Promise:
        try:
            future = self._client.submit(work, shared, task, pure=False)
        except Exception as error:  # dask has many for this
            raise UnreachableError(f"the scheduler at {self._address} is gone") from error
        return _OfDask(future, self._client, self._address)

    def renew(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _OfDask:
    """A future of dask, whose own failures are told in the words of this program."""

    future: Any
    client: Client
    address: str

    def wait(self, at_most_s: float) -> bool:
        with suppress(TimeoutError, CancelledError):
            self.future.exception(timeout=at_most_s)
        return bool(self.future.done())

    def result(self) -> Any:
        from distributed.scheduler import KilledWorker

        try:
            return self._fetched()
        except RooflineError:
            raise
        except KilledWorker as error:
            raise RooflineError(
                "several workers of the cluster ended at the same work: a crash, or more memory than they have"
            ) from error
        except Exception as error:
            if self.future.cancelled() or self.future.status in ("cancelled", "lost"):
                raise UnreachableError(f"the scheduler at {self.address} is gone") from error
            raise

    def _fetched(self) -> Any:
        """The result, which is on a worker; dask gives up one that does not answer after a while.

        Raises:
            UnreachableError: It is the scheduler that does not.
        """
        while True:
            try:
                return self.future.result(timeout=ANSWER_S)
            except TimeoutError:
                if self.future.status == "error":  # it is the work's own
                    raise
                workers_of(self.client, self.address)
