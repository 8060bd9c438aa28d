"""`roofline fit`: a table and a profile on the command line, and nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import roofline
from roofline import fit as fit_module
from roofline.commands import fit as command_module
from roofline.engine import predict
from roofline.errors import OutputError
from roofline.fit import Fit
from roofline.fit_terms import Rows
from roofline.layers import lower
from roofline.loading import load
from roofline.profiles import load_profile
from roofline.saved import load_saved
from roofline.trace import trace

pytestmark = pytest.mark.usefixtures("traced_once")

Run = Callable[..., "subprocess.CompletedProcess[str]"]

NETS = """
from torch import nn

def net(channels, depth=2):
    layers = [nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.Conv2d(channels, channels, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))

def a(): return net(8)
def b(): return net(16, 3)
def c(): return net(32, 1)
def d(): return net(64, 4)
def e(): return net(24, 6)
def f(): return net(96, 2)
"""
PEAK, BANDWIDTH = 40e9, 2e9  # of the device that the table is of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)


@pytest.fixture(autouse=True, scope="module")
def _fitted_once() -> Iterator[None]:
    """The same rows are fitted once: these tests are of what is asked for and what is written."""
    infer, fits = fit_module.infer, dict[str, Fit]()

    def infer_once(rows: Rows, **asked: Any) -> Fit:
        columns = ("dtype", "fusion", "fused_activations", "macs", "mem_bytes", "vector_ops")
        tables = [[str(getattr(table, column)) for column in columns] for table in rows.tables]
        key = repr((rows.latencies, tables, asked["device"], asked["source"], asked["terms"]))
        if key not in fits:
            fits[key] = infer(rows, **asked)
        return fits[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "infer", infer_once)
        yield


@cache
def latencies() -> str:
    """Of a plain roofline, with the digits that tables have; made once, as the networks are always the same."""
    lines = ["model,latency_ms,input_size,note"]
    for name, size in zip("abcdef", (64, 96, 32, 64, 48, 128), strict=True):
        model = load(f"nets.py:{name}", input_size=(3, size, size))
        layers = lower(trace(model.module, model.inputs), fusion="epilogue", dtype="int8")
        latency_s = sum(max(m / PEAK, b / BANDWIDTH) for m, b in zip(layers.macs, layers.mem_bytes, strict=True))
        lines.append(f'nets.py:{name},{latency_s * 1e3:.4g},3x{size}x{size},"made up, of {name}"')
    return "\n".join(lines) + "\n"


@pytest.fixture
def table() -> Path:
    path = Path("table.csv")
    path.write_text(latencies())
    return path


def in_folder() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != "__pycache__")


# --- what it prints and writes ----------------------------------------------------------------------------------------


def test_a_table_for_people(command: Run, table: Path) -> None:
    done = command("fit", table, "--device", "Some NPU", "--terms", "none")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "Some NPU: fitted to 6 latencies of table.csv\nTerms: peak and bandwidth (as given).\n"
    )
    assert "nets.py:d" in done.stdout


def test_json_is_the_result_and_can_be_drawn_again(command: Run, table: Path) -> None:
    done = command("fit", table, "--device", "Some NPU", "--terms", "", "--format", "json")
    data = json.loads(done.stdout)
    assert (data["schema"], data["device"], data["source"]) == ("roofline/fit/1", "Some NPU", "table.csv")
    assert data["parameters"][0]["value"] == pytest.approx(PEAK, rel=0.01)
    assert data["parameters"][1]["value"] == pytest.approx(BANDWIDTH, rel=0.01)
    assert data["rows"][1]["note"] == "made up, of b"
    Path("fit.json").write_text(done.stdout)
    assert load_saved("fit.json") == data
    assert command("report", "fit.json").returncode == 0
    assert "fit.html" in in_folder()


def test_the_profile_predicts_what_was_fitted(command: Run, table: Path) -> None:
    done = command(
        "fit", table, "--device", "Some NPU", "--terms", "none", "-o", "mine.yaml", "--class", "npu", "--format", "json"
    )
    assert done.stderr == "Wrote mine.yaml\n"
    rows = json.loads(done.stdout)["rows"]
    hardware = load_profile("mine.yaml")
    assert (hardware.id, hardware.name) == ("some_npu", "Some NPU")
    for row in rows:
        model = load(row["model"], input_size=tuple(row["input_size"]))
        layers = lower(trace(model.module, model.inputs), fusion="epilogue", dtype="int8")
        assert float(predict(layers, hardware).latency_s) == pytest.approx(row["predicted_s"], rel=1e-4)
    analysis = roofline.analyze("nets.py:d", hw="mine.yaml", input_size=(3, 64, 64))
    assert analysis.to_dict()["latency_kind"] == "prediction"
    assert analysis.to_dict()["totals"]["latency_s"] == pytest.approx(rows[3]["predicted_s"], rel=1e-4)


def test_yaml_on_the_terminal_is_the_file(command: Run, table: Path) -> None:
    arguments = ["fit", table, "--device", "d", "--terms", "none"]
    printed = command(*arguments, "--format", "yaml").stdout
    command(*arguments, "-o", "mine.yml")
    assert Path("mine.yml").read_text() == printed


def test_options_reach_the_fit(command: Run, table: Path) -> None:
    arguments = ["--device", "d", "--terms", "inference_overhead", "--format", "json", "--without", "*:a"]
    done = command("fit", table, *arguments, "--dtype", "fp16", "--fusion", "none", "--fused", "all")
    data = json.loads(done.stdout)
    assert (data["terms"], data["terms_chosen"], data["fusion"]) == (["inference_overhead"], False, "none")
    assert len(data["fused_activations"]) == 12
    assert [row["model"] for row in data["rows"]] == [f"nets.py:{name}" for name in "bcdef"]
    assert {row["dtype"] for row in data["rows"]} == {"fp16"}
    conv = json.loads(
        command("fit", table, "--device", "d", "--terms", "none", "--ops", "conv_only", "--format", "json").stdout
    )
    assert conv["ops"] == "conv_only"


def test_a_report(command: Run, table: Path) -> None:
    done = command("fit", table, "--device", "d", "--terms", "none", "--html", "fit.html", "-o", "mine.yaml")
    assert done.stderr == "Wrote fit.html\nWrote mine.yaml\n"
    assert in_folder() == ["fit.html", "mine.yaml", "nets.py", "table.csv"]


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv", "--device", "d"], "none.csv: no such file"),
        (["table.csv"], "Missing option '--device'."),
        (["table.csv", "--device", "!!"], "a device needs a name with letters or digits (got '!!')"),
        (["table.csv", "--device", "d", "--terms", "add,overhead"], "unknown term 'overhead'."),
        (["table.csv", "--device", "d", "--without", "resnet*"], "table.csv: no model is named 'resnet*'"),
        (["table.csv", "--device", "d", "--without", "*"], "table.csv: 0 rows, and a fit needs at least 4"),
        (["table.csv", "--device", "d", "--terms", "softmax"], "no row has a layer of softmax"),
        (["table.csv", "--device", "d", "--fused", "swish"], "unknown fused activation 'swish'"),
        (["table.csv", "--device", "d", "-o", "mine.json"], "a profile is YAML: name it mine.yaml"),
        (
            ["table.csv", "--device", "d", "-o", "none/mine.yaml"],
            "cannot write none/mine.yaml: there is no folder none",
        ),
        (["table.csv", "--device", "d", "-o", "there.yaml"], "there.yaml is there already: --force writes over it"),
        (
            ["table.csv", "--device", "d", "-o", "mine.yaml", "--ops", "conv_only"],
            "--ops conv_only gives no profile, which predicts all layers: leave out -o, or --ops",
        ),
        (["table.csv", "--device", "d", "-o", "mine.yaml", "--html", "mine.yaml"], "--html and -o both name mine.yaml"),
        (["bad.csv", "--device", "d", "-o", "mine.yaml"], "bad.csv:6: latency_ms: must be a number of milliseconds"),
        (["unknown.csv", "--device", "d", "-o", "mine.yaml"], "unknown.csv:3: model: nets.py has no 'zz'"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    command: Run, table: Path, arguments: list[str], message: str
) -> None:
    Path("bad.csv").write_text("model,latency_ms\n" + "nets.py:a,1\n" * 4 + "nets.py:b,fast\n")
    rows = "".join(f"nets.py:{name},1,3x32x32\n" for name in ("a", "zz", "b", "c"))
    Path("unknown.csv").write_text(f"model,latency_ms,input_size\n{rows}")
    Path("there.yaml").write_text("mine")
    before = in_folder()
    done = command("fit", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"roofline: {message}")
    assert done.stderr.count("\n") == 1
    assert in_folder() == before
    assert Path("there.yaml").read_text() == "mine"


def test_what_could_not_be_written_is_found_before_the_work(
    command: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "fit", None)
    Path("there.yaml").write_text("mine")
    for arguments in (["-o", "there.yaml"], ["-o", "x.txt"], ["--html", "none/x.html"], ["-o", "none/x.yaml"]):
        assert command("fit", table, "--device", "d", *arguments).returncode == 2


def test_a_profile_that_is_there_is_written_over_if_told_to(command: Run, table: Path) -> None:
    Path("there.yaml").write_text("mine")
    done = command("fit", table, "--device", "d", "--terms", "none", "-o", "there.yaml", "--force")
    assert done.returncode == 0
    assert load_profile("there.yaml").id == "d"


def test_a_profile_that_cannot_be_written_leaves_what_was_there(
    command: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OutputError("cannot write there.yaml: No space left on device")

    Path("there.yaml").write_text("mine")
    monkeypatch.setattr("roofline.output._replace", fail)
    done = command("fit", table, "--device", "d", "--terms", "none", "-o", "there.yaml", "--force")
    assert (done.returncode, done.stderr) == (2, "roofline: cannot write there.yaml: No space left on device\n")
    assert Path("there.yaml").read_text() == "mine"
    assert in_folder() == ["nets.py", "table.csv", "there.yaml"]


@pytest.mark.parametrize(
    "where", ["roofline.fit.load_rows", "roofline.fit.infer", "os.replace", "pathlib.Path.replace"]
)
def test_an_interrupt_leaves_nothing(command: Run, table: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if where == "os.replace":
        monkeypatch.setattr(os, "replace", interrupt)
        monkeypatch.setattr(os, "rename", interrupt)
        monkeypatch.setattr(Path, "replace", interrupt)
    else:
        monkeypatch.setattr(where, interrupt)
    done = command("fit", table, "--device", "d", "--terms", "none", "-o", "mine.yaml")
    assert done.returncode == 130
    assert in_folder() == ["nets.py", "table.csv"]


def test_what_a_model_file_prints_is_no_part_of_the_answer(command: Run, table: Path) -> None:
    Path("nets.py").write_text(f"print('hello')\n{NETS}")
    done = command("fit", table, "--device", "d", "--terms", "none", "--format", "json")
    assert json.loads(done.stdout)["device"] == "d"
    assert "hello" in done.stderr


def test_help_needs_no_torch() -> None:
    program = "import sys; sys.argv[1:] = ['fit', '--help']\nimport roofline.cli\n"
    program += "try: roofline.cli.main()\nfinally: print('torch' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False False\n")
    assert "Infer a device from published latencies." in done.stdout


def test_classes_are_those_of_profiles() -> None:
    from typing import get_args

    from roofline.hardware import DeviceClass

    assert set(command_module.CLASSES) == set(get_args(DeviceClass)) - {"abstract"}
