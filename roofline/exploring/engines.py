"""Who does the work: this process, processes of this machine, or a dask cluster. All give the same blocks in order.

Blocks come in the order of their numbers, and only a few are under way at once: whoever takes them holds little
memory, and may stop whenever enough has come.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from roofline.errors import RooflineError
from roofline.units import printable

BLOCKS_A_WORKER = 2  # one that it does, and one that waits for it
FEWEST_BLOCKS = 8  # of a cluster, which may have no worker before there is work
TRIES = 3  # of a block whose process ended; as dask has it (distributed.scheduler.allowed-failures)
CONNECT_S = 3.0  # to reach a scheduler at all; it and the next two together stay below 10 s
GREET_S = 3.0  # until it has answered as dask does
REGISTER_S = 3.0  # until it knows this client
COUNT_EVERY_S = 2.0  # how often a cluster is asked how many workers it has

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


class Promise(Protocol):
    """What `concurrent.futures` and dask call a future."""

    def result(self) -> Any:
        """Wait for it, and raise what was raised."""


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
    engine: Engine, work: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
) -> Iterator[Result]:
    """What comes of each task, in their order; lost ones are done again.

    Args:
        engine: Who does it.
        work: A function of a module, called with `shared` and a task.
        shared: What all tasks have in common.
        tasks: Small, and as many as one likes, even without end: they are taken when there is room for them.

    Raises:
        RooflineError: A task failed, or ended its process again and again.
    """
    left = iter(tasks)
    waiting: deque[tuple[Task, Promise]] = deque()
    losses = 0
    while True:
        for task in islice(left, max(0, max(engine.fewest, BLOCKS_A_WORKER * engine.workers) - len(waiting))):
            waiting.append((task, engine.submit(work, shared, task)))
        if not waiting:
            return
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

    def submit(self, work: Callable[[Any, Any], Any], shared: Any, task: Any) -> Promise:
        if self._pool is None or self._shared is not shared:
            self.renew()
            self._pool, self._shared = self._new(shared), shared
        try:
            with _interrupts_ignored():  # and so by the processes that this starts
                promise: Promise = self._pool.submit(_with_shared, work, task)
        except self.lost as error:  # it ended meanwhile
            return _Failed(error)
        return promise

    def _new(self, shared: Any) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

        return ProcessPoolExecutor(self.workers, env=ONE_THREAD, initializer=_begin, initargs=(shared,))

    def renew(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
        self._pool = None


@dataclass(frozen=True, slots=True)
class _Failed:
    """Work that could not even be begun."""

    error: BaseException

    def result(self) -> Any:
        raise self.error


_shared: Any = None  # of a process of a pool


def _begin(shared: Any) -> None:
    """Get a process ready."""
    global _shared
    _shared = shared


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C at a terminal reaches all processes there; it is for the first one, which ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
        RooflineError: dask is not installed, or nothing answers at the address within 10 s.
    """
    check_dask()
    _quiet()
    from distributed import Client, LocalCluster

    if address is not None:
        with connected(address) as client:
            yield _Dask(client, address)
        return
    with (
        LocalCluster(
            n_workers=workers or cores(), threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address=None, silence_logs=logging.CRITICAL, env=ONE_THREAD,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield _Dask(client, "127.0.0.1")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of a running scheduler.

    Raises:
        RooflineError: dask is not installed, or nothing answers at the address within 10 s.
    """
    check_dask()
    _quiet()
    from distributed import Client

    place = urlsplit(address)
    try:
        host, port = place.hostname, place.port
    except ValueError as error:
        raise RooflineError(f"{printable(address)!r} is no address of a scheduler: {error}") from error
    if place.scheme not in ("tcp", "tls", "ucx", "ws", "wss") or not host or not port:
        raise RooflineError(f"{printable(address)!r} is no address of a scheduler, as in tcp://10.0.0.5:8786")
    failed = f"no dask scheduler answers at {address}"
    try:
        if place.scheme in ("tcp", "tls"):
            with socket.create_connection((host, port), timeout=CONNECT_S):
                pass  # a refusal is known at once; dask would try again until its time is over
        if place.scheme == "tcp":
            with ThreadPoolExecutor(1) as thread:  # here, as in a notebook, a loop may be running
                thread.submit(asyncio.run, _greet(address)).result()
        client = Client(address, timeout=REGISTER_S, set_as_default=False)
    except Exception as error:  # whatever listens there may answer anything
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, TimeoutError):
            reason = "it took too long"
        elif not isinstance(error, OSError):
            reason = "what answers there is something else"
        raise RooflineError(
            f"{failed}: {printable(reason)}; 'dask scheduler' starts one, and prints its address"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=REGISTER_S)


async def _greet(address: str) -> None:
    """Shake hands, for which dask itself has no limit of time.

    Raises:
        OSError, TimeoutError: What listens there is none of dask's.
    """
    from distributed.comm import connect

    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_S), GREET_S)
    await comm.close()


class _Dask:
    """A client's workers. Dask itself gives the work of a lost worker to another."""

    lost: tuple[type[BaseException], ...] = ()
    fewest = FEWEST_BLOCKS

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._threads, self._asked_s = 0, -COUNT_EVERY_S

    @property
    def workers(self) -> int:
        now_s = time.monotonic()
        if now_s - self._asked_s >= COUNT_EVERY_S:
            with _reached(self._address):
                self._threads, self._asked_s = sum(self._client.nthreads().values()), now_s
        return self._threads

    def submit(self, work: Callable[[Any, Any], Any], shared: Any, task: Any) -> Promise:
        with _reached(self._address):
            return _OfDask(self._client.submit(work, shared, task, pure=False), self._address)

    def renew(self) -> None:
        pass


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """Whatever a client cannot do any longer is told in the words of this program."""
    try:
        yield
    except Exception as error:
        raise RooflineError(f"the scheduler at {address} is gone") from error


@dataclass(frozen=True, slots=True)
class _OfDask:
    """A future of dask, whose own failures are told in the words of this program."""

    future: Any
    address: str

    def result(self) -> Any:
        from distributed.scheduler import KilledWorker

        try:
            return self.future.result()
        except RooflineError:
            raise
        except KilledWorker as error:
            raise RooflineError(
                "several workers of the cluster ended at the same work: a crash, or more memory than they have"
            ) from error
        except Exception as error:
            if self.future.cancelled() or self.future.status in ("cancelled", "lost"):
                raise RooflineError(f"the scheduler at {self.address} is gone") from error
            raise


def check_dask() -> None:
    """Find out before the work whether dask is there.

    Raises:
        RooflineError: It is not installed.
    """
    if find_spec("distributed") is None:
        raise RooflineError("a scheduler needs dask's distributed: pip install 'roofline-profiler[dask]'")


def _quiet() -> None:
    """What dask logs of workers that come and go is no part of the answer; its own variable brings it back."""
    if "DASK_LOGGING__DISTRIBUTED" in os.environ:
        return
    import distributed  # noqa: F401  # sets up its loggers as it is imported

    for name in ("distributed", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed."))):
        logging.getLogger(name).setLevel(logging.CRITICAL)
