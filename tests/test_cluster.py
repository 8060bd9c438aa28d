"""A Dask cluster is reached in bounded time, and has the same versions, or it is told in a line why not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed")

import distributed

from roofline import __version__, cluster
from roofline.cluster import UnreachableError, check_versions, connected, workers_of
from roofline.errors import RooflineError
from tests.clusters import Cluster, bounded

NO_ROOFLINE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "roofline":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(autouse=True)
def in_bounded_time() -> Iterator[None]:
    """Whatever these wait for."""
    with bounded(120):
        yield


# --- where it is ------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    began_s = time.monotonic()
    with (
        pytest.raises(RooflineError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:\d+: Connection refused"),
        connected(f"tcp://127.0.0.1:{free_port()}"),
    ):
        pass
    assert time.monotonic() - began_s < 10  # what was asked for, on a machine however slow


def test_what_listens_and_is_no_scheduler_is_told_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.CONNECT_S + cluster.GREET_S + cluster.REGISTER_S < 10
    monkeypatch.setattr(cluster, "GREET_S", 0.5)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with (
            pytest.raises(RooflineError, match=r"no dask scheduler answers at .*: it took too long"),
            connected(f"tcp://127.0.0.1:{listening.getsockname()[1]}"),
        ):
            pass


def test_what_answers_and_is_no_scheduler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "GREET_S", 60)  # a machine that is busy may need more than it is given
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(60)

        def answer() -> None:
            with suppress(OSError):
                for _ in range(2):  # of a connection, and of a greeting
                    connection, _ = listening.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        web = threading.Thread(target=answer, daemon=True)
        web.start()
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with (
            pytest.raises(RooflineError, match=f"no dask scheduler answers at {address}: what answers there"),
            connected(address),
        ):
            pass
        web.join(timeout=60)


@pytest.mark.parametrize("address", ["head:8786", "tcp://head", "http://head:8786", "tcp://head:x", "nonsense", ""])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(RooflineError, match="is no address of a scheduler"), connected(address):
        pass


def test_a_host_that_is_unknown_is_told() -> None:
    with (
        pytest.raises(RooflineError, match=r"no dask scheduler answers at tcp://no-such-host\.invalid:8786"),
        connected("tcp://no-such-host.invalid:8786"),
    ):
        pass


def test_tls_without_certificates_says_where_they_are_named() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with (
            pytest.raises(RooflineError, match=r"^tls:// needs certificates: .* distributed\.comm\.tls\.ca-file"),
            connected(f"tls://127.0.0.1:{listening.getsockname()[1]}"),
        ):
            pass


def test_without_dask_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(RooflineError, match=r"pip install 'roofline-profiler\[dask\]'"), connected("tcp://head:8786"):
        pass


# --- what it has ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of a worker as it should be, `good`, and of one without roofline, `bare`."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "without").mkdir()
    (folder / "without" / "sitecustomize.py").write_text(NO_ROOFLINE)
    made = Cluster(folder)
    try:
        made.add("good", "--nthreads", "1", "--no-nanny")
        made.add("bare", "--nthreads", "1", "--no-nanny", PYTHONPATH=str(folder / "without"))
        made.wait_for(2)
        yield made
    finally:
        made.close()


def named(client: Any, made: Cluster, name: str) -> str:
    (address,) = (address for address, worker in workers_of(client, made.address).items() if worker["name"] == name)
    return address


def test_a_worker_without_roofline_is_refused_and_lives(mixed: Cluster) -> None:
    """A task would have ended it: that is why it is not sent one to find out."""
    with connected(mixed.address) as client:
        bare, good = named(client, mixed, "bare"), named(client, mixed, "good")
        check_versions(client, mixed.address, [good])
        with pytest.raises(RooflineError, match=rf"^the worker at {bare} has no roofline that can be imported .*\n?$"):
            check_versions(client, mixed.address, [good, bare])
        assert set(workers_of(client, mixed.address)) == {good, bare}
    assert mixed.processes["bare"].poll() is None


def test_another_version_of_roofline_is_refused(mixed: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(mixed.address) as client:
        good = named(client, mixed, "good")
        monkeypatch.setattr(cluster, "__version__", "0.0.1")
        with pytest.raises(
            RooflineError, match=rf"^the worker at {good} has roofline {__version__}, and here it is 0\.0\.1: install"
        ):
            check_versions(client, mixed.address, [good])
    with (
        pytest.raises(RooflineError, match=rf"^the scheduler at {mixed.address} has roofline {__version__}, and here"),
        connected(mixed.address),
    ):
        pass


def test_another_version_of_dask_is_refused(mixed: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    version = distributed.__version__
    with connected(mixed.address) as client:
        good = named(client, mixed, "good")
        monkeypatch.setattr(distributed, "__version__", "1.2.3")
        with pytest.raises(RooflineError, match=rf"^the worker at {good} has dask {version}, and here it is 1\.2\.3"):
            check_versions(client, mixed.address, [good])
    with (
        pytest.raises(RooflineError, match=rf"^the scheduler at {mixed.address} has dask {version}, and here it is"),
        connected(mixed.address),
    ):
        pass


def test_a_worker_that_is_gone_or_does_not_answer_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def client(run: Any) -> Any:
        known = {"workers": {"tcp://a:1": {"nthreads": 1}}}
        return SimpleNamespace(run=run, sync=lambda *_, **__: known, scheduler=SimpleNamespace(identity=None))

    def gone(*_: object, workers: list[str], **__: object) -> dict[str, object]:
        return {worker: OSError("closed") for worker in workers}

    def frozen(*_: object, **__: object) -> None:
        raise TimeoutError

    check_versions(client(gone), "tcp://head:8786", ["tcp://a:1"])
    check_versions(client(frozen), "tcp://head:8786", ["tcp://a:1"])


def test_a_scheduler_that_was_slow_once_is_asked_again() -> None:
    """As a machine that slept wakes up to a limit that is over and an answer that is on its way."""
    answers: list[Any] = [TimeoutError(), {"workers": {"tcp://a:1": {"nthreads": 1}}}]

    def sync(*_: object, **__: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client: Any = SimpleNamespace(sync=sync, scheduler=SimpleNamespace(identity=None))
    assert list(workers_of(client, "tcp://head:8786")) == ["tcp://a:1"]
    answers += [TimeoutError(), TimeoutError()]
    with pytest.raises(UnreachableError, match=r"^the scheduler at tcp://head:8786 has not answered for 30 s$"):
        workers_of(client, "tcp://head:8786")
    answers += [OSError("closed")]
    with pytest.raises(UnreachableError, match=r"^the scheduler at tcp://head:8786 is gone$"):
        workers_of(client, "tcp://head:8786")


def test_tests_of_clusters_end(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it took more than 1 s"), bounded(1):
        threading.Event().wait()
