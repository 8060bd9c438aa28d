"""`roofline explore` as people type it: what it prints and keeps, what is wrong in one line, and Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exploring.runs import TINY, alone, parts, rows, tiny

Command = Callable[..., subprocess.CompletedProcess[str]]
SPACE = f"{TINY}:Tiny"
ON_TPU = ("--hw", "pixel6_tpu")


def test_it_prints_what_the_networks_are(command: Command) -> None:
    done = command("explore", SPACE, "--n", 60, *ON_TPU, "--ridge", "30,100", "--top", 3, "--pareto")
    assert (done.returncode, done.stderr) == (0, "")
    assert "60 networks of tiny" in done.stdout
    for words in ("pixel6_tpu", "ridge=30", "ridge=100", "Best 3 by latency on pixel6_tpu", "Pareto front"):
        assert words in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_it_keeps_a_dataset_and_a_report(command: Command, tmp_path: Path) -> None:
    arguments = ("explore", SPACE, "--n", 60, *ON_TPU, "--hw", "apple_m1_gpu", "--ridge", "30", "-o", tmp_path / "run")
    done = command(*arguments)
    assert done.returncode == 0
    assert "60 networks in" in done.stderr
    assert "3 were traced whole and agreed" in done.stderr or "4 were traced whole and agreed" in done.stderr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["networks", "report.html", "space.json"]
    alone(tiny(60), tmp_path / "same")
    assert parts(tmp_path / "run") == parts(tmp_path / "same")
    again = command(*arguments)
    assert again.returncode == 0
    assert "60 of them from before" in again.stderr
    other = command(*arguments, "--seed", 1)
    assert other.returncode == 2
    assert "holds another run: its seed was 0, and is 1 now" in other.stderr


def test_formats(command: Command) -> None:
    asked = ("explore", SPACE, "--n", 40, *ON_TPU, "--top", 5)
    data = json.loads(command(*asked, "--format", "json").stdout)
    assert (data["schema"], data["networks"], len(data["best"])) == ("roofline/exploration/1", 40, 5)
    listed = list(csv.DictReader(io.StringIO(command(*asked, "--format", "csv").stdout)))
    latencies = [float(row["latency_s:pixel6_tpu"]) for row in listed]
    assert len(latencies) == 5
    assert latencies == sorted(latencies)
    assert all(len(row["kernels"].split()) == int(row["depth"]) for row in listed)
    both = command(*asked, "--pareto", "--format", "csv")
    assert both.returncode == 2
    assert "--top and --pareto are two tables" in both.stderr


def test_where_no_device_is_named_it_takes_three_abstract_ones_and_says_so(command: Command) -> None:
    done = command("explore", SPACE, "--n", 5, "--format", "csv")
    assert done.returncode == 0
    assert "no --hw and no --ridge: predicting on abstract_low_ridge, abstract_middle_ridge" in done.stderr
    columns = set(done.stdout.splitlines()[0].split(","))
    assert {"latency_s:abstract_low_ridge", "latency_s:abstract_high_ridge"} < columns


def test_it_lists_the_spaces(command: Command) -> None:
    done = command("explore", "--list")
    assert done.returncode == 0
    for name in ("anynetxa", "anynetxe", "regnetx", "regnety", "uib", "mobilenetv3", "rexnet"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'SPACE'"),
        (("regnetz", *ON_TPU), "unknown space 'regnetz'"),
        ((SPACE, *ON_TPU, "--set", "widht=8"), "has no parameter 'widht'. Did you mean 'width'?"),
        ((SPACE, *ON_TPU, "--set", "width"), "'width' is not NAME=VALUE"),
        ((SPACE, *ON_TPU, "--macs", "5M"), "'5M' is no range"),
        ((SPACE, *ON_TPU, "--macs", "9M..5M"), "nothing is in 9 M..5 M"),
        ((SPACE, *ON_TPU, "--latency", "5ms"), "'5ms' is not DEVICE:LOW..HIGH"),
        ((SPACE, *ON_TPU, "--latency", "pixel6_tpu:..5"), "'..5' is no range, as in ..5ms"),
        ((SPACE, *ON_TPU, "--latency", "pixel6_cpu:..5ms"), "--hw does not name that device"),
        ((SPACE, "--ridge", "a"), "'a' is no list of ridge points"),
        ((SPACE, *ON_TPU, "--macs", "1G..", "--max-draws", "64", "--workers", 1), "96 draws were tried"),
        ((SPACE, *ON_TPU, "--scheduler", "head"), "'head' is no address of a scheduler"),
        ((SPACE, *ON_TPU, "--scheduler", "tcp://127.0.0.1:9"), "no dask scheduler answers at tcp://127.0.0.1:9"),
        ((SPACE, *ON_TPU, "--scheduler", "tcp://a:1", "--workers", 2), "--workers is for this machine"),
        ((SPACE, *ON_TPU, "--scheduler", "tcp://a:1", "--engine", "local"), "--engine local is not"),
        ((SPACE, *ON_TPU, "-o", __file__), "it is no folder"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(command: Command, arguments: tuple[str, ...], message: str) -> None:
    done = command("explore", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("roofline: ")
    assert len(done.stderr.splitlines()) == 1


def test_without_pyarrow_it_says_how_to_install_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.exploring.networks.find_spec", lambda name: None)
    done = command("explore", SPACE, *ON_TPU)
    assert done.returncode == 2
    assert "pip install 'roofline-profiler[parquet]'" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_keeps_whole_blocks_and_the_same_command_goes_on(command: Command, tmp_path: Path) -> None:
    """As a terminal sends it, to all processes of the command; then killed outright; then to its end."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        TINY.read_text().replace("        depth = c", "        __import__('time').sleep(0.004)\n        depth = c")
    )
    folder = tmp_path / "run"
    arguments = ["explore", f"{slow}:Tiny", "--n", "350", *ON_TPU, "-o", str(folder), "--workers"]

    def blocks() -> int:
        return len(list(folder.glob("networks/part-*.parquet")))

    def until(more: int, number: int, workers: int) -> subprocess.CompletedProcess[str]:
        """Stopped when that many blocks more than before are there, whichever worker was first."""
        before = blocks()
        process = subprocess.Popen(
            [sys.executable, "-m", "roofline", *arguments, str(workers)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        for _ in range(6000):  # two minutes, and then the test fails rather than hang
            if blocks() >= before + more or process.poll() is not None:
                break
            time.sleep(0.02)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    interrupted = until(1, signal.SIGINT, 2)
    assert (interrupted.returncode, interrupted.stdout) == (130, "")
    (line,) = interrupted.stderr.splitlines()
    assert line.startswith("Interrupted: ")
    assert f"of 350 networks are done; they are in {folder}, and the same command goes on" in line
    done = len(rows(folder))
    assert 0 < done < 350
    killed = until(1, signal.SIGKILL, 1)
    assert killed.returncode == -signal.SIGKILL
    assert done < len(rows(folder)) < 350
    alone(tiny(350, hw=("pixel6_tpu",), ridge=()), tmp_path / "whole")
    assert command(*arguments, 1).returncode == 0
    assert parts(folder) == parts(tmp_path / "whole")
