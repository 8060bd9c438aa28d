"""`roofline report` of the folder of a run, and of what was saved of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from roofline.exploring.analysis import summary
from tests.explored import networks, write_run

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_run_is_drawn_from_its_folder_and_from_its_json(command: Command, tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", [networks(40)])
    done = command("report", out, "--plotlyjs", "directory")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"Wrote {out / 'report.html'}\n")
    (tmp_path / "run.json").write_text(summary(out, best=20).to_json(), encoding="utf-8")
    done = command("report", tmp_path / "run.json", "--html", tmp_path / "again.html", "--plotlyjs", "directory")
    assert done.returncode == 0

    def without_command(page: Path) -> str:
        return re.sub(r"roofline report[^<]*", "", page.read_text(encoding="utf-8"))

    assert without_command(out / "report.html") == without_command(tmp_path / "again.html")


def test_a_folder_of_something_else_is_one_line(command: Command, tmp_path: Path) -> None:
    done = command("report", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path} holds no networks/*.parquet" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
