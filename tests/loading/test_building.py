"""What holds while a library builds a network."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from roofline.loading.building import OFFLINE, offline


def test_connections_are_refused_in_the_thread_that_builds_and_in_no_other() -> None:
    def answers() -> bool:
        with socket.create_connection(server.getsockname(), timeout=10):
            return True

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as others:
        with offline():
            with pytest.raises(ConnectionError, match="roofline downloads nothing"):
                answers()
            assert others.submit(answers).result()
        assert answers()


def test_the_hubs_are_told_and_the_environment_is_as_it_was() -> None:
    before = dict(os.environ)
    with offline():
        assert OFFLINE.items() <= os.environ.items()
    assert dict(os.environ) == before
