"""`roofline check` as CI runs it: exit codes, baselines on disk, formats, and what is wrong with a question."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from roofline.cli import cli

pytestmark = pytest.mark.usefixtures("traced_once")

Command = Callable[..., subprocess.CompletedProcess[str]]

NET = """\
from torch import nn

print("a word of the user's own file")


def make(layers=1):
    return nn.Sequential(*(nn.Conv2d(3, 3, 1, bias=False) for _ in range(layers)))
"""
ZOO = ["check", "mobilenetv4_conv_s", "--hw", "pixel6_tpu"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("precious.txt").write_text("precious")


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (["--max-macs", "186005568"], 0),  # what models/catalogue.csv has of it, exactly
        (["--max-macs", "186005567"], 1),
        (["--max-latency", "1ms", "--max-weights", "10MB", "--max-activations", "10MB"], 0),
        (["--max-latency", "1ms", "--max-weights", "1MB", "--max-activations", "10MB"], 1),
        (["--max-latency", "1us"], 1),
        (["--max-latency", "1"], 2),
        ([], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_exit_code_is_the_answer(limits: list[str], code: int) -> None:
    run = CliRunner().invoke(cli, [*ZOO, *limits], env={"COLUMNS": "80"})
    assert run.exit_code == code, run.output


def test_a_shell_sees_it_too() -> None:
    """One process of its own, as CI starts it."""
    run = subprocess.run(
        [sys.executable, "-m", "roofline", *ZOO, "--max-macs", "1M", "--top", "1"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert "Over budget: MACs 186 M, at most 1 M." in run.stdout
    assert "1 of " in run.stdout
    assert run.stderr == ""


def test_a_pull_request_that_makes_it_slower(command: Command) -> None:
    net = ["check", "net.py:make", "--hw", "pixel6_tpu", "--baseline", "ci.json"]
    written = command(*net, "--update-baseline")
    assert (written.returncode, written.stdout) == (0, "")
    assert "Wrote ci.json" in written.stderr
    same = command(*net, "--tolerance", "2%")
    assert same.returncode == 0
    assert same.stdout.splitlines()[1].startswith("Within budget: predicted latency")

    Path("net.py").write_text(NET.replace("layers=1", "layers=3"))
    slower = command(*net, "--tolerance", "2%", "--format", "json")
    assert slower.returncode == 1
    budgets = {budget["name"]: budget for budget in json.loads(slower.stdout)["budgets"]}
    assert budgets["macs"]["change"] == pytest.approx(2.0)  # three times as many
    assert [(layer["name"], layer["status"]) for layer in budgets["macs"]["layers"]] == [
        ("1", "added"), ("2", "added"),
    ]  # fmt: skip
    assert "the user's own file" not in slower.stdout

    assert command(*net, "--update-baseline").returncode == 0
    assert command(*net).returncode == 0


def test_a_new_baseline_is_still_held_against_what_is_given(command: Command) -> None:
    run = command(*ZOO, "--baseline", "ci.json", "--update-baseline", "--max-macs", "1M")
    assert run.returncode == 1
    assert "at most 1 M" in run.stdout
    assert json.loads(Path("ci.json").read_text())["totals"]["macs"] == 186_005_568


def test_the_baseline_is_a_saved_analysis(command: Command) -> None:
    assert command("analyze", *ZOO[1:], "-o", "ci.json").returncode == 0
    assert command(*ZOO, "--baseline", "ci.json").returncode == 0


@pytest.mark.parametrize("markdown", [["--format", "markdown"], ["--format", "md"], ["-o", "out.md"]], ids=" ".join)
def test_markdown_by_either_name_and_by_suffix(markdown: list[str], command: Command) -> None:
    run = command(*ZOO, "--max-macs", "1M", *markdown)
    text = Path("out.md").read_text() if "-o" in markdown else run.stdout
    assert run.returncode == 1
    assert text.startswith("**Over budget: MACs 186 M, at most 1 M.**\n")


BAD = [
    (["check", "mobilenetv4_conv_s", "--max-macs", "1G"], "Missing option '--hw'"),
    (ZOO, "nothing to check: give --max-latency, --max-macs, --max-weights, --max-activations or --baseline"),
    ([*ZOO, "--max-latency", "5"], "'--max-latency': '5' has no unit, and a duration is written as in 5ms"),
    ([*ZOO, "--max-latency", "5MB"], "'5MB' has the unit 'mb', and a duration is written as in 5ms"),
    ([*ZOO, "--max-weights", "10Mb"], "'10Mb' has the unit 'Mb', and a number of bytes is written as in 10MB"),
    ([*ZOO, "--max-macs", "5ms"], "'5ms' has the unit 'ms', and a number of MACs is written as in 1G"),
    ([*ZOO, "--max-macs", "-1"], "'-1' is no number of MACs"),
    ([*ZOO, "--baseline", "ci.json", "--tolerance", "2"], "'2' would be 200 %: write a share as in 2% or 0.02"),
    ([*ZOO, "--max-macs", "1G", "--tolerance", "2%"], "--tolerance needs --baseline FILE.json"),
    ([*ZOO, "--max-macs", "1G", "--update-baseline"], "--update-baseline needs --baseline FILE.json"),
    ([*ZOO, "--baseline", "c.json", "--update-baseline", "--tolerance", "2%"], "--update-baseline makes none"),
    ([*ZOO, "--baseline", "ci.json"], "there is no baseline ci.json"),
    ([*ZOO, "--baseline", "net.py"], "net.py:1:1: not JSON"),
    ([*ZOO, "--baseline", "precious.txt", "--update-baseline"], "left as it is: remove it first"),
    ([*ZOO, "--baseline", "none/ci.json", "--update-baseline"], "there is no folder none"),
    ([*ZOO, "--baseline", "x.json", "-o", "x.json"], "--baseline and -o both name x.json"),
    ([*ZOO, "--max-macs", "1G", "-o", "x.csv"], "a table, JSON or Markdown, not CSV"),
    ([*ZOO, "--max-macs", "1G", "--format", "csv"], "'csv' is not one of"),
    (["check", "mobilenetv5", "--hw", "pixel6_tpu", "--max-macs", "1G"], "unknown model 'mobilenetv5'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_what_is_asked_wrongly_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, command: Command
) -> None:
    run = command(*arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
    assert Path("precious.txt").read_text() == "precious"


def test_a_half_written_baseline_is_no_baseline(command: Command) -> None:
    assert command(*ZOO, "--baseline", "ci.json", "--update-baseline").returncode == 0
    whole = Path("ci.json").read_text()
    Path("ci.json").write_text(whole[: len(whole) // 2])
    run = command(*ZOO, "--baseline", "ci.json")
    assert run.returncode == 2
    assert "not JSON" in run.stderr


def test_a_baseline_of_another_model_or_device_is_refused(command: Command) -> None:
    assert command(*ZOO, "--baseline", "ci.json", "--update-baseline").returncode == 0
    other = command("check", "mobilenetv4_conv_m", "--hw", "pixel6_tpu", "--baseline", "ci.json")
    assert other.returncode == 2
    assert "ci.json has the model mobilenetv4_conv_small, and this is mobilenetv4_conv_medium" in other.stderr
    assert "'--update-baseline' writes a new one" in other.stderr
    device = command("check", "mobilenetv4_conv_s", "--hw", "pixel6_cpu", "--baseline", "ci.json")
    assert "ci.json has the profile pixel6_tpu, and this is pixel6_cpu" in device.stderr
