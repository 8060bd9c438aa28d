"""A real Dask scheduler on loopback, and workers beside it, each a process of Dask's own command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What a nanny of Dask sets for its worker, and leaves in the environment of the process that it is in.
OF_A_NANNY = ("MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LONGEST_S = 300  # of a test with a cluster, on a machine however slow


class Cluster:
    """A scheduler, and workers, each with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        file = folder / "scheduler.json"
        self._start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        described = awaited(lambda: file.exists() and file.read_text() and json.loads(file.read_text()))
        self.address = str(described["address"])

    def _start(self, name: str, *arguments: str, **variables: str) -> None:
        kept = {key: value for key, value in os.environ.items() if key not in OF_A_NANNY}
        with (self.folder / "cluster.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                cwd=self.folder,
                env={**kept, "XDG_DATA_HOME": str(self.folder), "PYTHONWARNINGS": "default", **variables},
                stdout=log,
                stderr=log,
            )

    def add(self, name: str, *arguments: str, **variables: str) -> None:
        """A worker."""
        self._start(name, "worker", self.address, "--host", "127.0.0.1", "--name", name, *arguments, **variables)

    def wait_for(self, workers: int) -> None:
        """Until there are so many."""
        from distributed import Client

        with Client(self.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)

    def stop(self, name: str) -> None:
        """Kill one."""
        self.processes[name].kill()
        self.processes[name].wait()

    def close(self) -> None:
        """Kill all."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()


def awaited(what: Callable[[], Any]) -> Any:
    """What comes within a minute."""
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


@contextmanager
def bounded(at_most_s: int = LONGEST_S) -> Iterator[None]:
    """What takes longer ends with an error that says where, whatever it waits for."""

    def end(*_: object) -> None:
        raise AssertionError(f"it took more than {at_most_s} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(at_most_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
