"""Who does the work makes no difference: processes here, a dask cluster, and either with a worker killed in between."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from roofline import cluster as reached
from roofline.errors import RooflineError
from roofline.exploring import engines
from roofline.exploring.engines import Promise, dask, in_order, local
from roofline.exploring.request import Request
from roofline.exploring.run import Progress, explore
from tests.clusters import Cluster, bounded
from tests.exploring.runs import TINY, parts, rows, tiny
from tests.signals import asks_linux, ignores_interrupts

N = 400  # networks, of some 450 draws in 4 blocks
Whole = Callable[[int], Path]


@pytest.fixture(autouse=True)
def in_bounded_time() -> Iterator[None]:
    """Whatever these wait for."""
    with bounded():
        yield


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
    """An engine that loses, of each task, as many as it is told to, or lets one wait for it as often."""

    losses: dict[int, int] = field(default_factory=dict)
    slow: dict[int, int] = field(default_factory=dict)
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
            def wait(self, at_most_s: float) -> bool:
                if engine.slow.get(task, 0) > 0:
                    engine.slow[task] -= 1
                    return False
                return True

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


def test_who_waits_is_told_and_a_cluster_that_grew_meanwhile_gets_more_work() -> None:
    engine, told = Fake(slow={2: 3}), list[int]()

    def idle() -> None:
        told.append(engine.waiting)
        engine.workers += 1

    assert list(in_order(engine, power, 2, range(20), idle=idle)) == [number * number for number in range(20)]
    assert told == [4, 6, 8]


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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers of one thread each, that nobody starts again when they end."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        for name in ("one", "two"):
            made.add(name, "--nthreads", "1", "--no-nanny", OMP_NUM_THREADS="1")
        made.wait_for(2)
        yield made
    finally:
        made.close()


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


def test_who_waits_for_workers_is_told_once(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cluster that has none at first, then two, and then none again for a while."""
    engine, asked = Fake(slow={0: 6}), list[int]()

    @contextmanager
    def coming(*_: object) -> Iterator[Fake]:
        yield engine

    def workers(_: Fake) -> int:
        asked.append(2 if 3 < len(asked) < 8 or len(asked) > 11 else 0)
        return asked[-1]

    monkeypatch.setattr(Fake, "workers", property(workers))
    monkeypatch.setattr(engines, "dask", coming)
    done = command(
        "explore", f"{TINY}:Tiny", "--n", 20, "--hw", "pixel6_tpu", "--scheduler", "tcp://head:8786",
        "-o", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "no workers" in line] == [
        "roofline: the cluster has no workers yet; waiting for them",
        "roofline: the cluster has no workers; waiting for them",
    ]


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


def test_a_scheduler_that_does_not_answer_ends_the_run(
    tmp_path: Path, cluster: Cluster, slow: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, not ended: its connections stay open, as those of a machine that hangs."""

    def tell(progress: Progress) -> None:
        if progress.networks:
            for module in (reached, engines):
                monkeypatch.setattr(module, "ANSWER_S", 0.2)
            cluster.processes["scheduler"].send_signal(signal.SIGSTOP)

    try:
        with (
            pytest.raises(RooflineError, match=r"the scheduler at tcp://\S+ has not answered for 0\.4 s"),
            dask(cluster.address) as engine,
        ):
            explore(slow, tmp_path / "run", engine=engine, tell=tell)
    finally:
        cluster.processes["scheduler"].send_signal(signal.SIGCONT)
    assert parts(tmp_path / "run")


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
        client = engine._client  # type: ignore[attr-defined]
        handlers = client.run(signal.getsignal, signal.SIGINT)  # Ctrl-C is for the first process, and no traceback
        assert set(handlers.values()) == {signal.SIG_IGN}
    assert parts(tmp_path) == parts(whole(N))


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@asks_linux
def test_no_process_of_a_pool_sees_ctrl_c_not_even_while_it_starts() -> None:
    with local(2) as engine:
        engine.submit(power, 2, 1)
        processes = engine._pool._processes  # type: ignore[attr-defined]
        assert len(processes) == 2
        assert all(map(ignores_interrupts, processes))
    assert not ignores_interrupts("self")


def test_ctrl_c_while_work_is_handed_out_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with local(2) as engine:
        assert engine.submit(power, 2, 3).result() == 9
        pool = engine._pool  # type: ignore[attr-defined]
        submit, handed = pool.submit, list[Any]()

        def interrupted(*task: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            handed.append(submit(*task))
            return handed[-1]

        monkeypatch.setattr(pool, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.submit(power, 2, 4)
        assert handed[0].result() == 16  # it came between two tasks, not in the middle of one


def test_a_pool_that_is_given_up_at_once_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with local(2) as engine:
        engine.submit(power, 2, 3).result()
        engine.submit(power, 2, 4)
    assert capfd.readouterr() == ("", "")


class OwnPool:
    """One that does nothing; it keeps whether it had taken up what it was given when it was shut down."""

    def __init__(self) -> None:
        self.given: Future[Any] = Future()
        self.ends: list[tuple[bool, dict[str, bool]]] = []

    def submit(self, *_: object) -> Future[Any]:
        return self.given

    def shutdown(self, **how: bool) -> None:
        self.ends.append((self.given.running(), how))


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> OwnPool:
    """In place of loky's, whose own thread failed in one of three that were shut down at once."""
    made = OwnPool()
    monkeypatch.setattr(engines._Processes, "_new", lambda *_: made)
    return made


def test_a_pool_is_shut_down_once_it_has_taken_up_what_it_was_given(
    pool: OwnPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "TAKEN_UP_S", 60.0)
    with local(2) as engine:
        engine.submit(power, 2, 3)
        later = Timer(0.1, pool.given.set_running_or_notify_cancel)
        later.start()
    later.join()
    assert pool.ends == [(True, {"wait": True, "kill_workers": True})]


def test_a_pool_that_never_takes_it_up_is_shut_down_all_the_same(
    pool: OwnPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "TAKEN_UP_S", 0.05)
    with local(2) as engine:
        engine.submit(power, 2, 3)
    assert pool.ends == [(False, {"wait": True, "kill_workers": True})]
