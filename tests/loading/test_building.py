"""What holds while a library builds a network."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from roofline.loading.building import MAX_FRAMES, OFFLINE, offline, where


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


# --- where it failed --------------------------------------------------------------------------------------------------


def told(run: Callable[..., Any], *given: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is, it is what is told
        run(*given)
    return where(caught.value)


def test_a_traceback_is_cut_to_the_users_frames() -> None:
    """The innermost frames are PyTorch's; those shown are of this file."""
    first = test_a_traceback_is_cut_to_the_users_frames.__code__.co_firstlineno

    def inner() -> nn.Module:
        return nn.Linear("many", 3)  # type: ignore[arg-type]

    def outer() -> nn.Module:
        return inner()

    line = told(outer)
    at = f"{__file__}:{first + 8} -> {__file__}:{first + 5}: TypeError: "
    assert at in line
    assert "site-packages" not in line
    assert "\n" not in line


def test_of_a_recursion_the_innermost_frames_are_told() -> None:
    def deeper(steps: int) -> int:
        return 1 // steps if not steps else deeper(steps - 1)

    assert told(deeper, 50).count(f"{Path(__file__).name}:") == MAX_FRAMES


def test_a_library_that_fails_by_itself_is_told_of() -> None:
    error = TypeError("no frame of the user's")
    try:
        nn.Linear("many", 3)  # type: ignore[arg-type]
    except TypeError as caught:
        error.__traceback__ = caught.__traceback__ and caught.__traceback__.tb_next
    assert "linear.py:" in where(error)
