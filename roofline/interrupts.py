"""Ctrl-C at a terminal reaches all processes there: it is for the first one, which ends the others."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_while_processes_start() -> Iterator[None]:
    """Have an interrupt wait until the end of the block; it is not lost, and no process sees it that starts in there.

    Such a process has SIGINT blocked from its first instruction on (sigprocmask(2): a mask is kept across fork and
    execve), as one that is interrupted while it starts dies with a traceback. Nothing is held on Windows, which has no
    masks, nor in other threads than the first, which handle no signals: there `ignore` has to do.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # or else it is started beside the first process, and unblocks SIGINT
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))  # another thread may receive it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def ignore() -> None:
    """Leave interrupts to the process that started this one."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
