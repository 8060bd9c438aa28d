"""Who does the work makes no difference: processes here, a dask cluster, and either with a worker killed in between."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from roofline.errors import RooflineError
from roofline.exploring import engines
from roofline.exploring.engines import Promise, dask, in_order, local
from roofline.exploring.request import Request
from roofline.exploring.run import Progress, explore
from tests.exploring.runs import TINY, parts, rows, tiny

N = 400  # networks, of some 450 draws in 4 blocks
Whole = Callable[[int], Path]


@pytest.fixture
def slow(tmp_path: Path, user_modules: None) -> Request:
    """The same networks from a space that takes its time, so that there is a middle to kill a worker in."""
    path = tmp_path / "slow.py"
    path.write_text(
        TINY.read_text().replace(
            "        depth = choose", "        __import__('time').sleep(0.002)\n        depth = choose"
        )
    )
    return tiny(N, space=f"{path}:Tiny")


# --- in order ---------------------------------------------------------------------------------------------------------


@dataclass
class Fake:
    """An engine that loses, of each task, as many as it is told to."""

    losses: dict[int, int] = field(default_factory=dict)
    lost: tuple[type[BaseException], ...] = (ConnectionError,)
    workers: int = 2
    fewest: int = 1
    most: int = 0
    waiting: int = 0
    renewed: int = 0

    def submit(self, work: Callable[[Any, Any], Any], shared: Any, task: Any) -> Promise:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        engine = self

        class Later:
            def result(self) -> Any:
                engine.waiting -= 1
                if engine.losses.get(task, 0) > 0:
                    engine.losses[task] -= 1
                    raise ConnectionError
                return work(shared, task)

        return Later()

    def renew(self) -> None:
        self.renewed += 1
        self.waiting = 0


def power(exponent: int, number: int) -> int:
    if number == 99:
        raise ZeroDivisionError("ninety\nnine")
    return int(number**exponent)


def test_results_come_in_order_and_few_at_once() -> None:
    engine = Fake()
    squares = in_order(engine, power, 2, count())
    assert [next(squares) for _ in range(20)] == [number * number for number in range(20)]
    assert engine.most == 4  # two a worker, though there is no end of tasks
    assert list(in_order(engine, power, 2, [])) == []
    nobody = Fake(workers=0, fewest=3)  # a cluster that grows when there is work
    next(in_order(nobody, power, 2, count()))
    assert nobody.most == 3


def test_what_is_lost_is_done_again() -> None:
    engine = Fake(losses={3: 2, 5: 1})
    assert list(in_order(engine, power, 3, range(9))) == [number**3 for number in range(9)]
    assert engine.renewed == 3


def test_what_is_lost_again_and_again_ends_the_run() -> None:
    with pytest.raises(RooflineError, match="a worker's process ended 3 times at the same work"):
        list(in_order(Fake(losses={3: 3}), power, 2, range(9)))


def test_what_fails_is_told_in_one_line() -> None:
    with pytest.raises(RooflineError, match=r"^a worker failed: ZeroDivisionError: ninety nine$"):
        list(in_order(Fake(), power, 2, [99]))


# --- processes of this machine ----------------------------------------------------------------------------------------


def test_processes_give_the_same_files_also_when_one_is_killed(tmp_path: Path, whole: Whole, slow: Request) -> None:
    killed: list[int] = []

    with local(2) as engine:

        def tell(progress: Progress) -> None:
            if progress.networks and not killed:
                pool = engine._pool  # type: ignore[attr-defined]
                killed.append(next(iter(pool._processes)))
                os.kill(killed[0], signal.SIGKILL)

        progress = explore(slow, tmp_path / "run", engine=engine, tell=tell)
    assert killed
    assert (progress.networks, progress.workers) == (N, 2)
    assert parts(tmp_path / "run") == parts(whole(N))


# --- dask -------------------------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """A scheduler and its workers, each a process."""

    address: str
    processes: dict[str, subprocess.Popen[bytes]]

    def stop(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()


def started(*arguments: str, folder: Path) -> subprocess.Popen[bytes]:
    """A process of dask's own command."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    log = (folder / f"{arguments[0]}.log").open("ab")
    with log:
        return subprocess.Popen([sys.executable, "-m", "dask", *arguments], cwd=folder, env=env, stdout=log, stderr=log)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers of one thread each, that nobody starts again when they end."""
    folder = tmp_path_factory.mktemp("cluster")
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    processes = {"scheduler": started(*scheduler, folder=folder)}
    processes |= {name: started(*worker, "--name", name, folder=folder) for name in ("one", "two")}
    try:
        from distributed import Client

        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield Cluster(address, processes)
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()


def test_a_cluster_gives_the_same_files_without_having_the_users_file(
    tmp_path: Path, whole: Whole, cluster: Cluster, user_modules: None
) -> None:
    """The workers run elsewhere, where the relative path of the space leads to nothing."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(TINY, home / "mine.py")
    with pytest.MonkeyPatch.context() as patch, dask(cluster.address) as engine:
        patch.chdir(home)
        explore(tiny(N, space="mine.py:Tiny"), tmp_path / "run", engine=engine)
    assert parts(tmp_path / "run") == parts(whole(N))


def test_what_fails_on_a_worker_is_told_here(tmp_path: Path, cluster: Cluster, user_modules: None) -> None:
    text = TINY.read_text().replace("        return network(**numbers)", "        raise KeyError('no such network')")
    (tmp_path / "broken.py").write_text(text)
    with dask(cluster.address) as engine, pytest.raises(RooflineError, match=r"fails at draw \d+ \(.*no such network"):
        explore(tiny(40, space=f"{tmp_path / 'broken.py'}:Tiny"), tmp_path / "run", engine=engine)


def test_a_worker_killed_in_the_middle_changes_nothing(
    tmp_path: Path, whole: Whole, cluster: Cluster, slow: Request
) -> None:
    """Each row is there once, though what one of the workers was doing was lost."""
    busy: list[Any] = []
    with dask(cluster.address) as engine:
        client = engine._client  # type: ignore[attr-defined]

        def tell(progress: Progress) -> None:
            if progress.networks and not busy:
                named = {info["name"]: address for address, info in client.scheduler_info()["workers"].items()}
                busy.append(client.processing()[named["one"]])
                cluster.stop("one")

        explore(slow, tmp_path / "run", engine=engine, tell=tell)
        assert len(client.nthreads()) == 1
    assert busy[0], "it was doing something"
    assert parts(tmp_path / "run") == parts(whole(N))
    numbers = [row["index"] for row in rows(tmp_path / "run")]
    assert len(numbers) == len(set(numbers)) == N


def test_a_scheduler_that_goes_ends_the_run_and_it_goes_on_without(
    tmp_path: Path, whole: Whole, cluster: Cluster, slow: Request
) -> None:
    def tell(progress: Progress) -> None:
        if progress.networks:
            cluster.stop("scheduler")

    with pytest.raises(RooflineError, match=r"the scheduler at tcp://.* is gone"), dask(cluster.address) as engine:
        explore(slow, tmp_path / "run", engine=engine, tell=tell)
    assert 0 < len(parts(tmp_path / "run")) < len(parts(whole(N)))
    with local(1) as engine:
        explore(slow, tmp_path / "run", engine=engine)
    assert parts(tmp_path / "run") == parts(whole(N))


def test_dasks_own_processes_give_the_same_files(tmp_path: Path, whole: Whole) -> None:
    with dask(workers=1) as engine:
        explore(tiny(N), tmp_path, engine=engine)
    assert parts(tmp_path) == parts(whole(N))


# --- a scheduler that is not there ------------------------------------------------------------------------------------


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    began_s = time.monotonic()
    with (
        pytest.raises(RooflineError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:\d+: Connection refused"),
        dask(f"tcp://127.0.0.1:{free_port()}"),
    ):
        pass
    assert time.monotonic() - began_s < 10  # what the issue allows, on a machine however slow


def test_what_listens_and_is_no_scheduler_is_told_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.CONNECT_S + engines.GREET_S + engines.REGISTER_S < 10
    monkeypatch.setattr(engines, "GREET_S", 0.5)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with (
            pytest.raises(RooflineError, match=r"no dask scheduler answers at .*: it took too long"),
            dask(f"tcp://127.0.0.1:{listening.getsockname()[1]}"),
        ):
            pass


def test_what_answers_and_is_no_scheduler_is_told() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def answer() -> None:
            for _ in range(2):  # of a connection, and of a greeting
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        web = threading.Thread(target=answer)
        web.start()
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with (
            pytest.raises(RooflineError, match=f"no dask scheduler answers at {address}: what answers there"),
            dask(address),
        ):
            pass
        web.join()


@pytest.mark.parametrize("address", ["head:8786", "tcp://head", "http://head:8786", "tcp://head:x", "nonsense", ""])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(RooflineError, match="is no address of a scheduler"), dask(address):
        pass


def test_a_host_that_is_unknown_is_told() -> None:
    with (
        pytest.raises(RooflineError, match=r"no dask scheduler answers at tcp://no-such-host\.invalid:8786"),
        dask("tcp://no-such-host.invalid:8786"),
    ):
        pass


def test_without_dask_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(RooflineError, match=r"pip install 'roofline-profiler\[dask\]'"), dask("tcp://head:8786"):
        pass
