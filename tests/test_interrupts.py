"""Ctrl-C is for the process at the terminal: not lost while that one starts others, and not seen by these."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from roofline import interrupts
from tests.signals import asks_linux, ignores_interrupts


def test_an_interrupt_waits_until_the_others_are_started() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), interrupts.held_while_processes_start():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        done.append("all")
    assert done == ["all"]
    with pytest.raises(KeyboardInterrupt):  # and the next does not wait
        signal.raise_signal(signal.SIGINT)


def test_one_that_another_thread_receives_waits_too() -> None:
    """Of a process, the system gives a signal to any thread that has not blocked it."""
    done: list[str] = []
    begin = threading.Event()

    def receive() -> None:
        begin.wait()
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=receive)
    thread.start()
    with pytest.raises(KeyboardInterrupt), interrupts.held_while_processes_start():  # noqa: PT012
        begin.set()
        thread.join()
        done.append("all")
    assert done == ["all"]


def test_what_fails_meanwhile_is_what_is_raised_where_nobody_interrupts() -> None:
    with pytest.raises(ZeroDivisionError), interrupts.held_while_processes_start():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@asks_linux
def test_a_process_that_starts_there_never_sees_one() -> None:
    with interrupts.held_while_processes_start():
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert ignores_interrupts(process.pid)
    assert not ignores_interrupts("self")
    process.send_signal(signal.SIGINT)
    process.communicate(b"\n")
    assert process.returncode == 0


@asks_linux
def test_in_another_thread_than_the_first_nothing_is_held() -> None:
    """Python handles signals in its first thread alone."""
    found: list[bool] = []

    def look() -> None:
        with interrupts.held_while_processes_start():
            found.append(ignores_interrupts("thread-self"))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_worker_leaves_them_to_the_first_process() -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        interrupts.ignore()
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, handler)
