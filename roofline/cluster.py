"""A Dask cluster, as one who has work for it sees it: reached within 10 s, or told why not, and asked in bounded time.

Scheduler, workers and whoever has the work need the same dask and the same roofline. Dask sends a task as pickled
references to functions and classes, and a worker that cannot resolve them ends, task and all
(`distributed.worker.Worker.handle_scheduler`). So the versions are compared before there is any work, by what every
version of dask understands.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pkgutil
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from roofline import __version__
from roofline.errors import RooflineError
from roofline.units import printable

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 3.0  # to reach a scheduler at all; it and the next two together stay below 10 s
GREET_S = 3.0  # until it has answered as dask does
REGISTER_S = 3.0  # until it knows this client
ANSWER_S = 15.0  # for an answer of a scheduler that is known; dask's own limit, of a connection, is 30 s
ASKED = 2  # times at most: this machine may have slept in between, and its clock not
DASK, ROOFLINE = "distributed:__version__", "roofline:__version__"  # for a function of Python's own, which all have

Answer = TypeVar("Answer")


class UnreachableError(RooflineError):
    """A scheduler that answered once, and does so no longer."""


def check_dask() -> None:
    """Find out before the work whether dask is there.

    Raises:
        RooflineError: It is not installed.
    """
    if find_spec("distributed") is None:
        raise RooflineError("a scheduler needs dask's distributed: pip install 'roofline-profiler[dask]'")


def quiet() -> None:
    """What dask logs of workers that come and go is no part of the answer; its own variable brings it back."""
    if "DASK_LOGGING__DISTRIBUTED" in os.environ:
        return
    import distributed  # noqa: F401  # sets up its loggers as it is imported

    for name in ("distributed", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed."))):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of a running scheduler, as in ``tcp://10.0.0.5:8786``.

    Raises:
        RooflineError: dask is not installed, nothing answers at the address within 10 s, or what does has no roofline,
            or another version of it or of dask.
    """
    check_dask()
    quiet()
    from distributed import Client, Security

    place = urlsplit(address)
    try:
        host, port = place.hostname, place.port
    except ValueError as error:
        raise RooflineError(f"{printable(address)!r} is no address of a scheduler: {error}") from error
    if place.scheme not in ("tcp", "tls", "ucx", "ws", "wss") or not host or not port:
        raise RooflineError(f"{printable(address)!r} is no address of a scheduler, as in tcp://10.0.0.5:8786")
    try:
        if place.scheme in ("tcp", "tls"):
            with socket.create_connection((host, port), timeout=CONNECT_S):
                pass  # a refusal is known at once; dask would try again until its time is over
            how = Security().get_connection_args("client")  # as its configuration has it
            if place.scheme == "tls" and how.get("ssl_context") is None:
                raise RooflineError(
                    "tls:// needs certificates: name them in dask's configuration, distributed.comm.tls.ca-file, "
                    "client.cert and client.key"
                )
            with ThreadPoolExecutor(1) as thread:  # here, as in a notebook, a loop may be running
                version = thread.submit(asyncio.run, _greeted(address, how)).result()
            _check_dask(f"the scheduler at {address}", version)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a table of all packages of other versions; those that matter are checked
            client = Client(address, timeout=REGISTER_S, set_as_default=False)
    except RooflineError:
        raise
    except Exception as error:  # whatever listens there may answer anything
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, TimeoutError):
            reason = "it took too long"
        elif not isinstance(error, OSError):
            reason = "what answers there is something else"
        raise RooflineError(
            f"no dask scheduler answers at {address}: {printable(reason)}; 'dask scheduler' starts one, and prints its "
            "address"
        ) from error
    try:
        _check_scheduler(client, address)
        yield client
    finally:
        client.close(timeout=REGISTER_S)


async def _greeted(address: str, how: Mapping[str, Any]) -> str:
    """Shake hands, for which dask itself has no limit of time, and ask for its version.

    Raises:
        OSError, TimeoutError, TypeError, LookupError: What listens there is none of dask's.
    """
    from distributed.comm import connect
    from distributed.core import send_recv

    async def greet() -> Any:
        comm = await connect(address, timeout=CONNECT_S, **how)
        try:
            return await send_recv(comm, op="versions", packages=[])
        finally:
            comm.abort()

    answer = await asyncio.wait_for(greet(), GREET_S)
    return str(answer["packages"]["distributed"])


def _check_dask(whose: str, version: object) -> None:
    import distributed

    _check_version(whose, "dask", version, distributed.__version__)


def _check_version(whose: str, name: str, version: object, own: str) -> None:
    if version != own:
        raise RooflineError(
            f"{whose} has {name} {printable(str(version))}, and here it is {own}: install the same on all machines"
        )


def _check_scheduler(client: Client, address: str) -> None:
    def version() -> Any:
        try:
            return client.run_on_scheduler(pkgutil.resolve_name, ROOFLINE, callback_timeout=ANSWER_S)
        except ImportError as error:
            return error

    _check_roofline(f"the scheduler at {address}", _asked(address, version))


def _check_roofline(whose: str, version: object) -> None:
    if isinstance(version, Exception):
        raise RooflineError(
            f"{whose} has no roofline that can be imported ({type(version).__name__}: {printable(str(version))}): "
            "pip install 'roofline-profiler[dask]' there"
        )
    _check_version(whose, "roofline", version, __version__)


def workers_of(client: Client, address: str) -> dict[str, Mapping[str, Any]]:
    """What a scheduler knows of its workers, by their addresses: among others ``nthreads`` and ``resources``.

    Raises:
        UnreachableError: It does not answer any longer.
    """
    found: Mapping[str, Any] = _asked(
        address, lambda: client.sync(client.scheduler.identity, callback_timeout=ANSWER_S)
    )
    return dict(found["workers"])


def check_versions(client: Client, address: str, workers: Iterable[str]) -> None:
    """Refuse workers that cannot do what they are sent; one that does not answer is given the benefit of the doubt.

    Args:
        client: Of their scheduler.
        address: Of the scheduler.
        workers: Their addresses.

    Raises:
        RooflineError: A worker has no roofline, or another version of it or of dask.
        UnreachableError: The scheduler does not answer any longer.
    """
    among = list(workers)

    def versions(of: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = client.run(
            pkgutil.resolve_name, of, workers=among, on_error="return", callback_timeout=ANSWER_S
        )
        return found

    try:
        of_dask, of_roofline = (_asked(address, partial(versions, of)) for of in (DASK, ROOFLINE))
    except UnreachableError:
        workers_of(client, address)
        return  # it is a worker that does not answer
    for worker in among:
        for found, check in ((of_dask, _check_dask), (of_roofline, _check_roofline)):
            if not isinstance(found.get(worker), OSError | None):  # it is gone
                check(f"the worker at {worker}", found[worker])


def _asked(address: str, question: Callable[[], Answer]) -> Answer:
    """The answer of a scheduler.

    Raises:
        UnreachableError: There is none.
    """
    for _ in range(ASKED):
        try:
            return question()
        except TimeoutError:
            continue
        except Exception as error:  # dask has many for this
            raise UnreachableError(f"the scheduler at {address} is gone") from error
    raise UnreachableError(f"the scheduler at {address} has not answered for {ASKED * ANSWER_S:g} s")
