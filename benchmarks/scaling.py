"""What a run of `roofline explore` asks of its workers and of the process that writes, and what that is on 100.

    python benchmarks/scaling.py [--blocks N]

CPU time of this process, which does both by turns: a block of draws as a worker does it (`explored`), then as the
first process takes it (out of its Arrow stream, into Parquet, onto the disk). The worker is warm: what it learns of a
space's parts in the first blocks is left out, as it is once a worker. The first process is the only thing that does
not grow with the number of workers, so that its share says how many it can serve. Memory is that of this process, after
the first of the blocks and after the last. How fast one and two workers are by
the clock, benchmarks/spaces.py measures. See docs/scaling.md.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import environment, print_environment
from benchmarks.spaces import DEVICES
from roofline.exploring.dataset import Dataset
from roofline.exploring.request import Request
from roofline.exploring.work import Job, explored

SPACES = ("regnetx", "uib")
WARM = 6  # blocks, the first ones, which are small
WORKERS, NETWORKS = 100, 1_000_000


def of_space(space: str, blocks: int) -> tuple[str, ...]:
    """A row of the table."""
    job = Job.of(Request(space=space, n=10**9, hw=DEVICES))
    worker_s = writer_s = 0.0
    memory_bytes = []
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset(Path(folder), job)
        sent = 0
        for number in range(WARM + blocks):
            start_s = time.process_time()
            block = explored(job, number)
            done_s = time.process_time()
            dataset.add(block)
            end_s = time.process_time()
            if number < WARM:
                networks = dataset.networks
                continue
            worker_s, writer_s = worker_s + done_s - start_s, writer_s + end_s - done_s
            sent += len(block.rows)
            memory_bytes.append(psutil.Process().memory_info().rss)
        networks = dataset.networks - networks
        kept = sum(path.stat().st_size for path in (Path(folder) / "networks").iterdir()) / dataset.networks
    most = worker_s / writer_s
    hundred_s = NETWORKS / networks * max(worker_s / WORKERS, writer_s)
    return (
        space,
        f"{1e3 * worker_s / networks:.3g}",
        f"{1e3 * writer_s / networks:.3g}",
        f"{most:.0f}",
        f"{hundred_s:.0f}",
        f"{sent / networks:.0f}",
        f"{kept:.0f}",
        f"{len(pickle.dumps(job)) / 1e3:.0f}",
        f"{memory_bytes[0] / 1e6:.0f} to {memory_bytes[-1] / 1e6:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10, help="of 1024 draws, for each space (default: 10)")
    blocks: int = parser.parse_args().blocks
    console = Console()
    print_environment(console, environment())
    table = Table(title=f"CPU time a network, on {len(DEVICES)} devices")
    for heading in (
        "space", "worker, ms", "writer, ms", "workers a writer serves", f"{NETWORKS:,} networks on {WORKERS}, s",
        "sent, B", "on disk, B", "job, kB", "memory, MB",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "space" else "right")
    for space in SPACES:
        table.add_row(*of_space(space, blocks))
    console.print(table)


if __name__ == "__main__":
    main()
