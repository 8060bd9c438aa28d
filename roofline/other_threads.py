"""Threads that a model starts in its forward, where nothing is recorded: what they run is refused, not left out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch.utils._python_dispatch import TorchDispatchMode

from roofline.overloads import overload_of


class AnotherThread(Exception):
    """A layer or an op runs where ops are not recorded."""


class _Refuses(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """In a thread: no op runs while the pass does; afterwards each as usual."""

    def __init__(self, strayed: Callable[[str], AnotherThread], is_over: threading.Event) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._strayed, self._is_over = strayed, is_over

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As in `Recorder`."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._is_over.is_set():
            return func(*args, **(kwargs or {}))
        raise self._strayed(f"op {overload_of(func).name!r}")


@contextmanager
def threads_refused(strayed: Callable[[str], AnotherThread], is_refused: Callable[[], bool]) -> Iterator[None]:
    """No op runs in a thread that this one starts, nor in what it hands to a pool, nor in theirs.

    Args:
        strayed: Told what ran there, it returns what to raise.
        is_refused: Whether anything strayed before: then whatever ends such a thread follows from it, and is not shown.
    """
    is_over = threading.Event()
    followed = {threading.get_ident()}
    submitting: set[int] = set()  # a pool's own threads outlive what is submitted
    start_as_usual, submit_as_usual = threading.Thread.start, ThreadPoolExecutor.submit

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if is_over.is_set():
                return function(*args, **kwargs)
            followed.add(threading.get_ident())
            try:
                with _Refuses(strayed, is_over):
                    return function(*args, **kwargs)
            finally:
                followed.discard(threading.get_ident())

        return run

    def start(thread: threading.Thread) -> None:
        here = threading.get_ident()
        if here in followed and here not in submitting:
            run = refusing(thread.run)

            def run_once() -> None:
                del vars(thread)["run"]
                try:
                    run()
                except Exception:
                    if not is_refused():
                        raise

            vars(thread)["run"] = run_once
        start_as_usual(thread)

    def submit(pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        here = threading.get_ident()
        if here not in followed:
            return submit_as_usual(pool, function, *args, **kwargs)
        submitting.add(here)
        try:
            return submit_as_usual(pool, refusing(function), *args, **kwargs)
        finally:
            submitting.discard(here)

    with mock.patch.object(threading.Thread, "start", start), mock.patch.object(ThreadPoolExecutor, "submit", submit):
        try:
            yield
        finally:
            is_over.set()
