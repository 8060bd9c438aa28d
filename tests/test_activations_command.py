"""`roofline activations`: what it prints, writes and refuses. No time is taken: the stopwatch is a stand-in."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from roofline.errors import StoreError
from roofline.loading import load
from roofline.measurement.result import Failure
from roofline.measurement.store import read
from roofline.saved import load_saved
from tests import timed_activations
from tests.timed_activations import LEVELS, interrupted, measure_each, measurement, run_of

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *args, **kwargs: str(folder))
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests to measure, which are answered at once."""
    requests: list[Any] = []

    def measure(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
        requests.append(request)
        return timed_activations.measure(factories, request, labels=labels)

    monkeypatch.setattr("roofline.measurement.api.measure_here", measure)
    return requests


@pytest.fixture
def elementwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.measurement.api.measure_here", measure_each)
    monkeypatch.setattr("roofline.elementwise._levels_here", lambda: LEVELS)


def test_without_options_three_are_predicted_on_the_tpu_and_measured_here(command: Command, asked: list[Any]) -> None:
    ran = command("activations")
    assert ran.returncode == 0
    assert (asked[0].device, asked[0].batch, asked[0].input_size) == ("cpu", 1, None)
    assert "Predicted on pixel6_tpu: ReLU takes 0.967 ms, SiLU and h-swish 1.23x that." in ran.stdout.replace("\n", " ")
    assert "Measured on this cpu" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_a_profile_alone_is_predicted_and_nothing_measured(command: Command, asked: list[Any]) -> None:
    ran = command("activations", "--hw", "pixel6_tpu", "--hw", "iphone12_ane", "--acts", "relu,gelu")
    assert ran.returncode == 0
    assert not asked
    assert "Measured" not in ran.stdout
    assert "Bound on iphone12_ane: ReLU and GELU take the same" in ran.stdout.replace("\n", " ")


def test_options_of_the_network_and_the_measurement_arrive(command: Command, asked: list[Any]) -> None:
    ran = command(
        "activations", "--model", "mobilenetv3_small_100", "--acts", "all", "--device", "cpu", "--hw", "pixel6_tpu",
        "--batch", 2, "--input-size", "3x64x64", "--arg", "width_mult=0.5", "--threads", 1, "--mode", "channels_last",
        "--max-time", 2, "--format", "json",
    )  # fmt: skip
    assert ran.returncode == 0
    data = json.loads(ran.stdout)
    assert len(data["rows"]) == 16
    assert data["model"]["arguments"] == {"width_mult": 0.5}
    assert data["model"]["input_shape"] == [2, 3, 64, 64]
    (request,) = asked
    assert (request.batch, request.threads, request.mode, request.max_s) == (2, 1, "channels_last", 2.0)
    assert request.arguments == {"width_mult": 0.5}


def test_a_network_of_ones_own(command: Command, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nfrom roofline.models.activations import make_activation\nprint('loaded')\n"
        "def make(act='relu'):\n    return nn.Sequential(nn.Conv2d(3, 8, 3), make_activation(act, 8))\n"
    )
    ran = command("activations", "--model", f"{tmp_path / 'net.py'}:make", "--hw", "pixel6_tpu", "--format", "csv")
    assert ran.returncode == 0
    lines = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert [line["activation"] for line in lines] == ["relu", "silu", "hardswish"]
    # read and written once more: 8 channels of 222 x 222
    assert int(lines[1]["mem_bytes"]) - int(lines[0]["mem_bytes"]) == 2 * 8 * 222 * 222
    assert "loaded" in ran.stderr


def test_the_csv_has_a_line_for_each_place(command: Command, asked: list[Any]) -> None:
    ran = command("activations", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert [(line["activation"], line["where"], line["latency_kind"]) for line in lines] == [
        (act, *where)
        for act in ("relu", "silu", "hardswish")
        for where in (("pixel6_tpu", "prediction"), ("cpu", "measurement"))
    ]
    measured = lines[3]
    assert float(measured["latency_s"]) == pytest.approx(0.06)
    assert float(measured["ratio_to_relu"]) == pytest.approx(1.2)
    assert float(measured["ratio_ci95_low"]) < 1.2 < float(measured["ratio_ci95_high"])
    assert measured["mem_bytes"] == ""  # those of the other lines are of int8, fused


def test_markdown_and_a_file(command: Command, asked: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "answer.md"
    ran = command("activations", "-o", file)
    assert (ran.returncode, ran.stdout) == (0, "")
    text = file.read_text(encoding="utf-8")
    assert (
        "| SiLU | 17.81 M | 3.133 G | 70 M | 36.6 MB | 1.19 | 1.23 | 60 (59.4 to 60.6) | 1.2 (1.18 to 1.22) |" in text
    )


def test_a_page_and_a_saved_result_that_gives_the_same(command: Command, asked: list[Any], tmp_path: Path) -> None:
    page, file, again = (tmp_path / name for name in ("a.html", "a.json", "b.html"))
    ran = command("activations", "--html", page, "--plotlyjs", "directory", "-o", file)
    assert ran.returncode == 0
    assert load_saved(file)["schema"] == "roofline/activations/1"
    assert command("report", file, "--plotlyjs", "directory", "--html", again).returncode == 0
    body = [path.read_text(encoding="utf-8").partition("<h3>Command</h3>")[0] for path in (page, again)]
    assert body[0] == body[1]
    assert "Activation functions in activation_probe" in body[0]


def test_elementwise_times_each_on_its_own(command: Command, elementwise: None, tmp_path: Path) -> None:
    ran = command("activations", "--elementwise", "--acts", "relu,silu", "--html", tmp_path / "e.html")
    assert ran.returncode == 0
    assert "Out of place, GB/s" in ran.stdout
    assert "element by element" in (tmp_path / "e.html").read_text(encoding="utf-8")
    data = json.loads(command("activations", "--elementwise", "--acts", "relu", "--format", "json").stdout)
    assert data["schema"] == "roofline/elementwise/1"
    lines = list(csv.DictReader(io.StringIO(command("activations", "--elementwise", "--format", "csv").stdout)))
    assert len(lines) == 12 * 2 * 3  # eleven functions and a reference, in place and not, at three levels
    assert "| SiLU |" in command("activations", "--elementwise", "--format", "md").stdout


# --- what cannot be done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--acts rulu", "Invalid value for '--acts': unknown activation 'rulu'. Did you mean 'relu'"),
        ("--acts ,", "no activation is named"),
        ("--model nope --hw pixel6_tpu", "unknown model 'nope'"),
        ("--hw nope", "unknown hardware 'nope'"),
        ("--device tpu", "'tpu' is not one of 'cpu', 'cuda'"),
        ("--hw pixel6_tpu --dtype fp32", "pixel6_tpu has no peak for dtype 'fp32'"),
        ("--device cpu --dtype int8", "int8 can be predicted, not measured"),
        ("--dtype int8", "int8 can be predicted, not measured"),
        ("--hw pixel6_tpu --arg act=silu", "act is what is compared"),
        (
            "--hw pixel6_tpu --threads 2",
            "--max-time, --system-allocator, --db, --no-db are of a measurement: give",
        ),
        ("--hw pixel6_tpu --no-db", "--no-db are of a measurement"),
        ("--db a.sqlite --no-db", "--db and --no-db exclude each other"),
        ("--db .", "."),
        ("--elementwise --db a.sqlite", "--elementwise times functions and keeps no results: leave out --db"),
        ("--mode cudagraph", "cudagraph"),
        ("--threads 0", "0 is not in the range x>=1"),
        ("--elementwise --hw pixel6_tpu", "--elementwise times functions in one thread of this CPU: leave out --hw"),
        ("--elementwise --device cuda", "leave out --device cuda"),
        ("--elementwise --batch 2", "leave out --batch"),
        ("--elementwise --acts se_relu", "SE-ReLU does not work on each element alone"),
        ("-o answer.xyz", "cannot tell the format of answer.xyz"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(command: Command, asked: list[Any], arguments: str, said: str) -> None:
    ran = command("activations", *arguments.split())
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("roofline: ")


def test_cuda_without_a_gpu_is_one_line(command: Command, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ran = command("activations", "--device", "cuda")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "there is no CUDA device" in ran.stderr


def test_ctrl_c_keeps_what_is_done(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.measurement.api.measure_here", interrupted)
    ran = command("activations", "--acts", "relu,silu,gelu", "--max-time", 2)
    assert ran.returncode == 130
    assert "Predicted on pixel6_tpu" in ran.stdout
    assert "stopped by hand" in ran.stdout.replace("\n", " ")
    assert ran.stderr == (
        "Interrupted: 0 of 3 are done, and what there is of the others is above. To measure these: "
        "roofline activations --acts relu,silu,gelu --max-time 2\n"
    )


def test_ctrl_c_element_by_element_names_the_functions_that_are_left(
    command: Command, elementwise: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
        whole = measure_each(factories, request, labels=labels)
        is_left = [label.startswith(("copy", "silu")) for label in labels]
        return run_of(
            [item for item, left in zip(whole.measurements, is_left, strict=True) if not left],
            failures=tuple(
                Failure(model=label, reason="interrupted before it was timed")
                for label, left in zip(labels, is_left, strict=True)
                if left
            ),
            is_interrupted=True,
        )

    monkeypatch.setattr("roofline.measurement.api.measure_here", some)
    ran = command("activations", "--elementwise", "--acts=relu,silu")
    assert ran.returncode == 130
    assert ran.stderr.startswith("Interrupted: 12 of 24 are done")
    assert ran.stderr.endswith("To measure these: roofline activations --acts silu --elementwise\n")


def test_what_cannot_be_measured_leaves_the_rest_and_ends_in_2(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
        return run_of([measurement(labels[0], 0.05)], failures=(Failure(model="silu", reason="it does not run"),))

    monkeypatch.setattr("roofline.measurement.api.measure_here", some)
    ran = command("activations", "--acts", "relu,silu")
    assert ran.returncode == 2
    assert "Measured on this CPU: ReLU took 50 ms." in ran.stdout.replace("\n", " ")
    assert (ran.stdout.count("it does not run"), ran.stderr) == (1, "")
    ran = command("activations", "--acts", "relu,silu", "--format", "csv")  # which has no place for it
    assert (ran.returncode, ran.stderr) == (2, "roofline: silu is not measured: it does not run\n")


# --- a machine that is busy, and what is kept ------------------------------------------------------------------------


def test_doubt_is_exit_code_3(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
        return run_of([measurement(labels[0], 0.05, status="noisy"), measurement(labels[1], 0.06, status="capped")])

    monkeypatch.setattr("roofline.measurement.api.measure_here", noisy)
    ran = command("activations", "--acts", "relu,silu")
    assert (ran.returncode, ran.stderr) == (3, "")
    assert "ReLU is noisy" in ran.stdout


def test_what_no_sample_counts_of_has_no_time_and_no_ratio(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "all 71 samples were taken under heavy contention"

    def busy(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
        return run_of([measurement(labels[0], 0.05)], failures=(Failure(model="silu", reason=reason, left_out=71),))

    monkeypatch.setattr("roofline.measurement.api.measure_here", busy)
    ran = command("activations", "--acts", "relu,silu")
    assert (ran.returncode, ran.stderr) == (3, "")
    said = ran.stdout.replace("\n", " ")
    assert f"SiLU was not measured: {reason}." in said
    assert "ReLU took 50 ms. Other work disturbed it" in said
    data = json.loads(command("activations", "--acts", "relu,silu", "--format", "json").stdout)
    assert data["rows"][1]["ratio_to_relu_measured"] is None


def test_what_is_measured_is_kept_as_measure_keeps_it(
    command: Command, asked: list[Any], tmp_path: Path, data_directory: Path
) -> None:
    file = tmp_path / "mine.sqlite"
    assert command("activations", "--acts", "relu,silu", "--arg", "depth=6", "--db", file).returncode == 0
    kept = read(file)
    named = [load("activation_probe", arguments={"depth": 6, "act": act}).name for act in ("relu", "silu")]
    assert [each.model for each in kept] == named
    assert {each.reference for each in kept} == {"activation_probe"}
    assert kept[1].latency_s.median == pytest.approx(0.06)
    assert not data_directory.exists()


def test_nothing_is_kept_if_that_is_asked_for(command: Command, asked: list[Any], data_directory: Path) -> None:
    assert command("activations", "--no-db").returncode == 0
    assert asked[0].reference_state == "read"
    assert command("activations", "--hw", "pixel6_tpu").returncode == 0
    assert not data_directory.exists()
    assert command("activations").returncode == 0
    assert asked[-1].reference_state == "kept"
    assert len(read()) == 3


def test_a_database_that_cannot_be_is_refused_before_the_work(
    command: Command, asked: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "text.sqlite").write_text("no database " * 100)
    ran = command("activations", "--db", tmp_path / "text.sqlite")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert not asked


def test_a_data_directory_that_is_read_only_loses_nothing(
    command: Command, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Any, path: Any = None) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("roofline.measurement.store.save", fail)
    ran = command("activations")
    assert (ran.returncode, ran.stderr) == (2, "roofline: the results are not kept: the disk is full\n")
    assert "Measured on this cpu" in ran.stdout


def test_the_allocator_of_the_system_is_left_as_it_is_if_that_is_asked_for(command: Command, asked: list[Any]) -> None:
    command("activations")
    command("activations", "--system-allocator")
    assert [request.keep_memory for request in asked] == [True, False]


def test_help_does_not_wait_for_torch(command: Command) -> None:
    assert "--elementwise" in command("activations", "--help").stdout
    code = "import sys, roofline.commands.activations; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pandas", "plotly", "rich"} & set(modules)
