"""The command as people type it: what it prints, what it writes, and what it says when something is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import roofline
from roofline.analysis import LAYER_COLUMNS
from roofline.models import names
from roofline.profiles import bundled
from roofline.units import percent, seconds, si

pytestmark = pytest.mark.usefixtures("traced_once")

Command = Callable[..., subprocess.CompletedProcess[str]]

NETS = """\
import torch
from torch import nn
from torch.nn import functional as F


def good():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))


def flattens():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 32 * 32, 10))


def large_kernel():
    return nn.Sequential(nn.Conv2d(3, 8, 7), nn.Conv2d(8, 8, 300))


class Fails(nn.Module):
    def forward(self, x):
        raise KeyError("a\\nb")


class Decides(nn.Module):
    def forward(self, x):
        if x.mean() > 0:
            return x
        return -x


def paints():
    raise RuntimeError("\\x1b[31mred\\x1b[0m")


def needs(width):
    return nn.Linear(width, width)


def nothing():
    pass


def broken():
    raise RuntimeError("no pretrained\\n  weights today")


def tokens():
    return nn.Embedding(100, 16)


number = 3


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Conv2d(3, 32, 16, stride=16)

    def forward(self, x):
        t = self.project(x).flatten(2).transpose(1, 2).unsqueeze(1)
        return F.scaled_dot_product_attention(t, t, t)
"""
CHATTY = """\
from torch import nn

print("imported")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        print("built")
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        print("run")
        return self.conv(x)
"""
PROFILE = """\
schema: roofline/hardware/1
id: my_device
name: My Device
class: npu
peak_gmacs_per_s:
  int8: {value: 4000, kind: datasheet, source: 8 TOPS}
  fp16: {value: 2000, kind: derived, source: half of it}
bandwidth_gb_per_s:
  value: 20
  kind: datasheet
  source: product brief
default_dtype: int8
default_fusion: epilogue
fused_activations: [relu, relu6]
"""
ZOO = ["analyze", "mobilenetv4_conv_s", "--hw", "pixel6_tpu"]
OWN = ["analyze", "nets.py:good", "--hw", "pixel6_tpu", "--input-size", "3x32x32"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder as a user has it: networks, profiles good and bad, results of yesterday."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    Path("chatty.py").write_text(CHATTY)
    Path("syntax.py").write_text("x = 1\ndef make(:\n")
    Path("raises.py").write_text("x = 1\ny = 1 / 0\n")
    Path("leaves.py").write_text("import sys\nsys.exit(3)\n")
    Path("my device.yaml").write_text(PROFILE)
    Path("broken.yaml").write_text(PROFILE.replace("class: npu", "class: [npu"))
    Path("zero.yaml").write_text(PROFILE.replace("value: 20\n", "value: 0\n"))
    Path("typo.yaml").write_text(PROFILE.replace("bandwidth_gb", "bandwith_gb"))
    Path("folder").mkdir()
    Path("old.json").write_text("precious")


def well(run: subprocess.CompletedProcess[str]) -> str:
    """What a command that went well printed."""
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    """What a command that was refused said: one line, exit code 2, and not a word on stdout."""
    assert run.returncode == 2
    assert run.stdout == ""
    assert re.fullmatch(r"roofline: [^\n]+\n", run.stderr), run.stderr
    return run.stderr.removeprefix("roofline: ").removesuffix("\n")


# --- bad input --------------------------------------------------------------------------------------------------------

TOO_LONG = "9" * 5000
BAD = [
    # models
    ("analyze mobilenetv4_conv_x --hw pixel6_tpu", r"unknown model 'mobilenetv4_conv_x'\. Did you mean 'mobilenetv4_"),
    ("analyze '' --hw pixel6_tpu", r"unknown model ''"),
    ("analyze missing.py:make --hw pixel6_tpu", r"missing\.py: no such file"),
    ("analyze syntax.py:make --hw pixel6_tpu", r"syntax\.py does not import: .*syntax\.py:2: SyntaxError"),
    ("analyze raises.py:make --hw pixel6_tpu", r"raises\.py does not import: .*raises\.py:2: ZeroDivisionError"),
    ("analyze leaves.py:make --hw pixel6_tpu", r"leaves\.py"),
    ("analyze nets.py:godo --hw pixel6_tpu", r"nets\.py has no 'godo'\. Did you mean 'good'\?"),
    ("analyze nets.py --hw pixel6_tpu", r"nets\.py:"),
    ("analyze nets.py:number --hw pixel6_tpu", r"nets\.py:number is an? int; a callable that returns an nn\.Module"),
    ("analyze nets.py:nothing --hw pixel6_tpu", r"nets\.py:nothing returns an? NoneType; an nn\.Module is needed"),
    ("analyze nets.py:broken --hw pixel6_tpu", r"fails to build: .*nets\.py:\d+: RuntimeError: no pretrained weights"),
    ("analyze nets.py:needs --hw pixel6_tpu", r"nets\.py:needs fails to build: .*missing 1 required .*'width'"),
    ("analyze no.such.module:make --hw pixel6_tpu", r"there is no module 'no\.such\.module'"),
    # forward passes
    ("analyze nets.py:Fails --hw pixel6_tpu", r"Fails fails on input 1x3x224x224: KeyError: .*nets\.py:\d+"),
    ("analyze nets.py:Decides --hw pixel6_tpu", r"depends on data values: .*nets\.py:\d+.* Decide by shapes"),
    ("analyze nets.py:tokens --hw pixel6_tpu", r"Embedding fails on input 1x3x224x224: .*Long"),
    (
        "analyze nets.py:flattens --hw pixel6_tpu --input-size 64",
        r"layer '2', Linear\(in_features=8192.*got 1x32768: ",
    ),
    ("analyze nets.py:large_kernel --hw pixel6_tpu", r"layer '1', Conv2d\(8, 8, .*got 1x8x218x218: .*Kernel size"),
    (
        "analyze mobilenetv4_conv_s --hw pixel6_tpu --input-size 1x224x224",
        r"layer 'stem\.conv', Conv2d\(3, 32, .*got 1x1x224x224: ",
    ),
    # sizes
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --batch 0", r"'--batch': 0 is not in the range"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --batch -1", r"'--batch': -1 is not in the range"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --batch x", r"'--batch': 'x' is not a valid integer"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --batch 1.5", r"'--batch': '1\.5' is not a valid integer"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --batch 99999999999999999999", r"batch"),
    *(
        (f"analyze mobilenetv4_conv_s --hw pixel6_tpu --input-size {size}", r"'--input-size': .* is not CxHxW, as in")
        for size in ("0", "-3", "x", "''", "3x224", "3x0x224", "3x224x224x1", "3x2.5x224", "1e3", "3xaxb", TOO_LONG)
    ),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --input-size 3x99999999999x99999999999", r"99999999999"),
    # profiles
    ("analyze mobilenetv4_conv_s", r"Missing option '--hw'"),
    ("explain mobilenetv4_conv_s stem.conv", r"Missing option '--hw'"),
    ("analyze mobilenetv4_conv_s --hw pixel6_npu", r"unknown hardware 'pixel6_npu'\. Did you mean 'pixel6_"),
    ("analyze mobilenetv4_conv_s --hw folder/none.yaml", r"folder/none\.yaml: no such file"),
    ("analyze mobilenetv4_conv_s --hw folder/", r"folder: is a directory"),
    ("analyze mobilenetv4_conv_s --hw broken.yaml", r"broken\.yaml:\d+: not YAML: "),
    ("analyze mobilenetv4_conv_s --hw zero.yaml", r"zero\.yaml:9: bandwidth_gb_per_s\.value: must be greater than 0"),
    ("analyze mobilenetv4_conv_s --hw typo.yaml", r"typo\.yaml:8: bandwith_gb_per_s: unknown field\. Did you mean"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --dtype fp32", r"no peak for dtype 'fp32' \(it lists: int8"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --dtype fp64", r"'--dtype': 'fp64' is not one of"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --fusion all", r"'--fusion': 'all' is not one of"),
    # outputs
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu -o none/out.json", r"cannot write none/out\.json: .*no folder none"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu -o folder", r"cannot write folder: it is a folder"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu -o out.pdf", r"format of out\.pdf .*\.json, \.csv, \.md, or --fo"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu -o out", r"format of out "),
    (f"analyze mobilenetv4_conv_s --hw pixel6_tpu -o {'n' * 300}.json", r"cannot write n+\.json: File name too long"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --format pdf", r"'--format': 'pdf' is not one of"),
    # choices and layers
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --top -1", r"'--top': -1 is not in the range"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --sort size", r"'--sort': 'size' is not one of"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --group layer", r"'--group': 'layer' is not one of"),
    ("analyze", r"Missing argument 'MODEL\.\.\.'"),
    ("explain mobilenetv4_conv_s --hw pixel6_tpu", r"Missing argument 'LAYER'"),
    ("explain mobilenetv4_conv_s stem.cnov --hw pixel6_tpu", r"no layer 'stem\.cnov'\. Did you mean 'stem\.conv'"),
    ("explain mobilenetv4_conv_s stages --hw pixel6_tpu", r"'stages' is 43 layers; name one: stages\.0\.0\.conv, "),
    ("explain mobilenetv4_conv_s stem.conv extra --hw pixel6_tpu", r"unexpected extra argument \(extra\)"),
    ("analyze mobilenetv4_conv_s --hw", r"'--hw' requires an argument"),
    ("analyze mobilenetv4_conv_s --hw pixel6_tpu --fromat json", r"No such option '?--fromat"),
    ("analyse mobilenetv4_conv_s", r"No such command 'analyse'"),
    ("completion powershell", r"'powershell' is not one of"),
    ("models --format csv", r"'--format': 'csv' is not one of"),
    ("hw pixel6_npu", r"unknown hardware 'pixel6_npu'\. Did you mean 'pixel6_tpu'"),
    # cross-check
    ("analyze nets.py:good --cross-check --hw pixel6_npu", r"unknown hardware 'pixel6_npu'"),
    ("analyze nets.py:Fails --cross-check", r"Fails fails on input 1x3x224x224"),
    ("analyze mobilenetv4_conv_x --cross-check", r"unknown model 'mobilenetv4_conv_x'"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), BAD, ids=[line[:70] for line, _ in BAD])
def test_bad_input_gets_one_line_and_exit_code_2(line: str, expected: str, command: Command) -> None:
    assert re.search(expected, one_line(command(*shlex.split(line))))


@pytest.mark.parametrize("line", [line for line, _ in BAD if ".py:" in line], ids=str)
def test_what_fails_in_the_users_file_is_not_blamed_on_ours(line: str, command: Command) -> None:
    assert not re.search(r"loading\.py|trace\.py|site-packages", command(*shlex.split(line)).stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "\x1b[31mred", "--hw", "pixel6_tpu"],
        ["analyze", "\x1b[31mred.py:make", "--hw", "pixel6_tpu"],
        ["analyze", "mobilenetv4_conv_s", "--hw", "\x1b[31mred/x.yaml"],
        ["analyze", "mobilenetv4_conv_s", "--hw", "pixel6_tpu", "-o", "\x1b[31mred/x.json"],
        ["analyze", "mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--input-size", "\x1b[31m"],
        ["explain", "mobilenetv4_conv_s", "\x1b[31mred", "--hw", "pixel6_tpu"],
        ["analyze", "nets.py:paints", "--hw", "pixel6_tpu"],
        ["\x1b[31mred"],
        ["analyze", "--\x1b[31mred"],
    ],
    ids=["model", "file", "profile", "output", "size", "layer", "exception", "command", "option"],
)
def test_an_error_never_sends_control_characters_to_the_terminal(arguments: list[str], command: Command) -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", one_line(command(*arguments)))


def test_a_folder_without_permission_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not mode & os.W_OK)
    assert "no permission to write in folder" in one_line(command(*ZOO, "-o", "folder/out.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["mobilenetv4_conv_x", "--hw", "pixel6_tpu"],
        ["mobilenetv4_conv_s", "--hw", "zero.yaml"],
        ["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--input-size", "1x8x8"],
        ["nets.py:Decides", "--hw", "pixel6_tpu"],
        ["nets.py:Fails", "--cross-check"],
    ],
    ids=" ".join,
)
def test_yesterdays_result_survives_a_failure(arguments: list[str], command: Command) -> None:
    one_line(command("analyze", *arguments, "-o", "old.json"))
    assert Path("old.json").read_text() == "precious"


def test_where_nothing_can_be_written_is_known_before_the_work(command: Command) -> None:
    Path("slow.py").write_text("raise AssertionError('imported for nothing')\n")
    assert "there is no folder" in one_line(command("analyze", "slow.py:make", "--hw", "pixel6_tpu", "-o", "no/x.json"))


def test_an_older_click_gives_one_line_too(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest that pyproject.toml allows, 8.1.8, has no NoArgsIsHelpError."""
    monkeypatch.delattr("click.exceptions.NoArgsIsHelpError", raising=False)
    assert "unknown model" in one_line(command("analyze", "mobilenetv5", "--hw", "pixel6_tpu"))


def test_an_interrupt_is_quiet(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("roofline.analysis.analyze", interrupted)
    run = command(*ZOO)
    assert (run.returncode, run.stdout) == (130, "")
    assert "Traceback" not in run.stderr


# --- forms of an answer -----------------------------------------------------------------------------------------------


def test_table_json_csv_markdown_and_frame_agree(command: Command) -> None:
    document = json.loads(well(command(*ZOO, "--format", "json")))
    lines = list(csv.DictReader(io.StringIO(well(command(*ZOO, "--format", "csv")))))
    analysis = roofline.analyze("mobilenetv4_conv_s", hw="pixel6_tpu")
    frame, totals = analysis.to_frame(), document["totals"]

    assert document == analysis.to_dict()
    assert list(lines[0]) == list(LAYER_COLUMNS) == list(frame.columns)
    for line, layer, row in zip(lines, document["layers"], frame.to_dict("records"), strict=True):
        assert line["name"] == layer["name"] == row["name"]
        assert int(line["macs"]) == layer["macs"] == row["macs"]
        assert float(line["latency_s"]) == layer["latency_s"] == row["latency_s"]
        assert line["output_shape"] == "x".join(map(str, layer["output_shape"]))
    assert totals["latency_s"] == pytest.approx(sum(layer["latency_s"] for layer in document["layers"]))

    table, markdown = well(command(*ZOO)), well(command(*ZOO, "--format", "md"))
    slowest = max(document["layers"], key=lambda layer: layer["latency_s"])
    assert f"Predicted latency {seconds(totals['latency_s'])}" in table
    assert f"Predicted latency {seconds(totals['latency_s'])}" in markdown
    assert si(totals["macs"]) in table.replace("\u00a0", " ")
    assert si(totals["macs"], digits=4) in markdown
    share = percent(slowest["latency_s"] / totals["latency_s"])
    assert re.search(rf"^{slowest['name']} .* {slowest['latency_s'] * 1e6:.1f} +{share} ", table, re.MULTILINE)


@pytest.mark.parametrize("suffix", ["txt", "json", "csv", "md", "JSON"])
def test_the_suffix_of_a_file_says_its_form(suffix: str, command: Command) -> None:
    assert well(command(*ZOO, "-o", f"out.{suffix}")) == ""
    form = {"txt": "table"}.get(suffix, suffix.lower())
    printed = well(command(*ZOO, "--format", form))
    written = Path(f"out.{suffix}").read_text()
    if form == "table":
        assert written.split("\n")[0] == printed.split("\n")[0]
        assert max(map(len, written.splitlines())) <= 100
        assert "\x1b" not in written
    else:
        assert written == printed


def test_a_form_that_is_asked_for_comes_before_the_suffix(command: Command) -> None:
    well(command(*ZOO, "--format", "csv", "-o", "out.data"))
    assert Path("out.data").read_text().startswith("name,kind,ops,")
    well(command(*ZOO, "--format", "csv", "-o", "out.json"))
    assert Path("out.json").read_text().startswith("name,kind,ops,")


def test_a_dash_is_the_standard_output(command: Command) -> None:
    printed = well(command(*ZOO, "--format", "json", "-o", "-"))
    assert not Path("-").exists()
    assert json.loads(printed)["schema"] == "roofline/analysis/1"


def test_a_result_that_is_there_is_replaced(command: Command) -> None:
    well(command(*ZOO, "-o", "old.json"))
    assert json.loads(Path("old.json").read_text())["batch"] == 1


def test_a_file_is_no_place_for_colours(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    well(command(*ZOO, "-o", "out.txt"))
    assert "\x1b" not in Path("out.txt").read_text()


@pytest.mark.parametrize("form", ["json", "csv", "md"])
def test_what_the_users_file_prints_does_not_get_into_the_result(form: str, command: Command) -> None:
    run = command("analyze", "chatty.py:Net", "--hw", "pixel6_tpu", "--format", form)
    assert run.returncode == 0
    assert not re.search("^(imported|built|run)$", run.stdout, re.MULTILINE)


# --- options ----------------------------------------------------------------------------------------------------------


def document(command: Command, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(well(command(*arguments, "--format", "json")))
    return found


@pytest.mark.parametrize(("size", "shape"), [("256", [1, 3, 256, 256]), ("3x64X96", [1, 3, 64, 96])])
def test_input_size(size: str, shape: list[int], command: Command) -> None:
    assert document(command, *ZOO, "--input-size", size)["model"]["input_shape"] == shape
    assert "Taken as defaults: batch 1, " in well(command(*ZOO, "--input-size", size))


def test_batch(command: Command) -> None:
    one, eight = (document(command, *ZOO, "--batch", batch) for batch in ("1", "8"))
    assert (eight["batch"], eight["model"]["input_shape"]) == (8, [8, 3, 224, 224])
    assert eight["totals"]["macs"] == 8 * one["totals"]["macs"]


def test_dtype(command: Command) -> None:
    own = ["analyze", "mobilenetv4_conv_s", "--hw", "my device.yaml"]
    int8, fp16 = (document(command, *own, "--dtype", dtype) for dtype in ("int8", "fp16"))
    assert (fp16["hardware"]["dtype"], fp16["hardware"]["peak_macs_per_s"]) == ("fp16", 2e12)
    assert fp16["totals"]["weight_bytes"] == 2 * int8["totals"]["weight_bytes"]


def test_fusion(command: Command) -> None:
    none, epilogue = (document(command, *ZOO, "--fusion", fusion) for fusion in ("none", "epilogue"))
    assert (none["fusion"], epilogue["fusion"]) == ("none", "epilogue")
    assert len(none["layers"]) > len(epilogue["layers"])
    assert none["totals"]["macs"] == epilogue["totals"]["macs"]
    assert none["totals"]["activation_bytes"] > epilogue["totals"]["activation_bytes"]


def test_top_sort_and_group(command: Command) -> None:
    rows = roofline.analyze("mobilenetv4_conv_s", hw="pixel6_tpu").rows()
    text = well(command(*ZOO, "--top", "3", "--sort", "macs", "--group", "stage"))
    assert re.search(r"^Stage +layers ", text, re.MULTILINE)
    shown = text[text.index("Top 3 of") :].splitlines()[2:5]
    assert [line.split()[0] for line in shown] == [row["name"] for row in sorted(rows, key=lambda r: -r["macs"])[:3]]
    assert "Top" not in well(command(*ZOO, "--top", "0"))
    assert f"First 10 of {len(rows)} layers" in well(command(*ZOO, "--sort", "order"))


def test_a_profile_may_be_a_file_with_a_blank_in_its_name(command: Command) -> None:
    text = well(command("analyze", "mobilenetv4_conv_s", "--hw", "my device.yaml"))
    assert " on my_device, int8, epilogue fusion" in text
    assert "Latency bound: at least " in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["mobilenetv4_conv_s", "--hw", "pixel6_tpu"],
        ["mobilenetv4_conv_s", "--hw", "my device.yaml"],
        ["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--batch", "8"],
        ["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--input-size", "3x96x96"],
        ["mobilenetv4_conv_s", "--hw", "my device.yaml", "--dtype", "fp16", "--fusion", "none"],
        ["nets.py:good", "--hw", "pixel6_tpu"],
    ],
    ids=" ".join,
)
def test_the_next_command_explains_the_layer_that_was_shown(
    arguments: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied and pasted, it has to resolve, and to come to the same milliseconds."""
    monkeypatch.setenv("COLUMNS", "200")
    text = well(command("analyze", *arguments))
    (line,) = re.findall(r"^Next: roofline (.*)$", text, re.MULTILINE)
    layers = document(command, "analyze", *arguments)["layers"]
    slowest = max(layers, key=lambda layer: layer["latency_s"])
    explained = well(command(*shlex.split(line)))
    assert explained.startswith(f"{slowest['name']}: ")
    assert f" {seconds(slowest['latency_s'])}, {slowest['bound']}-bound" in explained


# --- explain ----------------------------------------------------------------------------------------------------------


def test_explain_takes_a_layer_or_a_module_that_has_one(command: Command) -> None:
    by_layer = well(command("explain", "mobilenetv4_conv_s", "stem.conv", "--hw", "pixel6_tpu"))
    by_module = well(command("explain", "mobilenetv4_conv_s", "stem", "--hw", "pixel6_tpu"))
    assert by_layer == by_module
    assert "401,408 x 27 = 10,838,016 MACs" in by_layer  # 32 x 112 x 112 outputs, 3 x 3 x 3 each
    assert max(map(len, by_layer.splitlines())) <= 80


def test_explain_takes_the_options_of_analyze(command: Command) -> None:
    text = well(
        command("explain", "nets.py:good", "2", "--hw", "my device.yaml", "--input-size", "16", "--batch", "2",
                "--dtype", "fp16", "--fusion", "none")
    )  # fmt: skip
    assert "2: depthwise_conv, convolution" in text
    assert "Bytes (fp16, unfused)" in text
    assert f"{2 * 8 * 14 * 14:,} x 9 = {2 * 8 * 14 * 14 * 9:,} MACs" in text


# --- sweep ------------------------------------------------------------------------------------------------------------

SWEPT = ("sweep", "mobilenetv4_conv_s", "mobilenetv3_large", "mobilenetv1*", "--points", "6")


def test_sweep(command: Command) -> None:
    data = json.loads(well(command(*SWEPT, "--ridge", "0..500", "--format", "json")))
    assert data["schema"] == "roofline/sweep/1"
    assert data["ridge_points"] == [0, 100, 200, 300, 400, 500]
    assert data["normalisation"] == "peak"
    assert [model["name"] for model in data["models"]] == [
        "mobilenetv4_conv_small", "mobilenetv3_large_100",
        *(f"mobilenetv1_{w}" for w in ("025", "050", "075", "100", "150")),
    ]  # fmt: skip
    for model in data["models"]:
        assert len(model["latency"]) == 6
        assert model["latency"][0] == model["macs"]
    assert data["models"][0]["pareto_intervals"] == [[0, 500]]
    assert {"a", "b", "ridge_point"} == set(data["crossings"][0])


def test_sweep_as_text(command: Command) -> None:
    text = well(command(*SWEPT, "--hw", "pixel6_cpu", "--dtype", "int8"))
    assert max(map(len, text.splitlines())) <= 80
    assert "mobilenetv1_150" in text  # which has no published top-1, and is shown nonetheless
    assert "pixel6_cpu 25.3" in text
    assert len(well(command(*SWEPT, "--format", "csv")).splitlines()) == 1 + 7 * 6
    assert "mobilenetv4\\_conv\\_small" in well(command(*SWEPT, "--format", "md"))


def test_sweep_takes_arguments_of_the_models(command: Command) -> None:
    run = command("sweep", "mobilenetv1", "rexnet", "--arg", "width_mult=0.5", "--points", "2", "--format", "json")
    models = json.loads(well(run))["models"]
    assert [model["name"] for model in models] == ["mobilenetv1_100(width_mult=0.5)", "rexnet_100(width_mult=0.5)"]
    assert models[0]["macs"] == 149_497_088
    assert [model["top1"] for model in models] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'MODEL...'"),
        (["vgg*"], "no model matches 'vgg*'"),
        (["mobilenetv1", "--ridge", "-1..5"], "from 0 to"),
        (["mobilenetv1", "--ridge", "500..0"], "the lower first (got 500..0)"),
        (["mobilenetv1", "--arg", "width=1"], "mobilenetv1_100 takes no argument 'width'"),
        (["mobilenetv1", "--ridge", "a..b"], "'a..b' is not LOW..HIGH in MACs/byte, as in 0..500"),
        (["mobilenetv1", "--ridge", "5"], "'5' is not LOW..HIGH"),
        (["mobilenetv1", "--ridge", "0..nan"], "two numbers of MACs/byte"),
        (["mobilenetv1", "--ridge", "0..10", "--scale", "log"], "log"),
        (["mobilenetv1", "--points", "1"], "points must be a whole number from 2"),
        (["mobilenetv1", "--hw", "pixle6_cpu"], "pixel6_cpu"),
        (["mobilenetv1", "--html", "no/where.html"], "there is no folder no"),
    ],
)
def test_what_cannot_be_swept(command: Command, arguments: list[str], message: str) -> None:
    assert message in one_line(command("sweep", *arguments))


# --- compare, report, pages -------------------------------------------------------------------------------------------


def test_compare(command: Command) -> None:
    run = command("compare", "mobilenetv4_conv_[sm]*", "--hw", "pixel6_tpu", "--hw", "pixel6_cpu", "--format", "json")
    data = json.loads(well(run))
    assert data["schema"] == "roofline/comparison/1"
    assert data["matrix"]["models"] == ["mobilenetv4_conv_small", "mobilenetv4_conv_medium"]
    assert data["matrix"]["devices"] == ["pixel6_tpu", "pixel6_cpu"]
    text = well(command("compare", "mobilenetv4_conv_s", "mobilenetv4_conv_m", "--hw", "pixel6_tpu"))
    assert max(map(len, text.splitlines())) <= 80
    assert "mobilenetv4_conv_small" in text


def test_compare_saved_analyses(command: Command) -> None:
    for name in ("mobilenetv4_conv_s", "mobilenetv4_conv_m"):
        well(command("analyze", name, "--hw", "pixel6_tpu", "-o", f"{name}.json"))
    assert "mobilenetv4_conv_medium" in well(command("compare", "mobilenetv4_conv_s.json", "mobilenetv4_conv_m.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilenetv1"], "needs a device"),
        (["mobilenetv1", "--hw", "pixel6_tpu"], "at least two"),
        (["nothing.json", "mobilenetv1", "--hw", "pixel6_tpu"], "nothing.json"),
    ],
)
def test_what_cannot_be_compared(command: Command, arguments: list[str], message: str) -> None:
    assert message in one_line(command("compare", *arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "mobilenetv4_conv_s", "--hw", "pixel6_tpu"],
        ["sweep", "mobilenetv4_conv_s", "mobilenetv1"],
        ["compare", "mobilenetv4_conv_s", "mobilenetv1", "--hw", "pixel6_tpu"],
    ],
)
def test_a_page_and_the_same_page_from_what_was_saved(command: Command, arguments: list[str]) -> None:
    run = command(*arguments, "--html", "page.html", "--plotlyjs", "directory", "-o", "result.json")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "Wrote page.html\n")
    page = Path("page.html").read_text()
    assert "roofline " + arguments[0] in page  # the command line
    assert Path("plotly.min.js").is_file()
    run = command("report", "result.json", "--html", "again.html", "--plotlyjs", "directory")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "Wrote again.html\n")

    def without_command(text: str) -> str:
        return re.sub(r"roofline (analyze|sweep|compare|report)[^<]*", "", text)

    assert without_command(Path("again.html").read_text()) == without_command(page)


def test_a_report_lies_beside_the_result_if_nothing_else_is_said(command: Command) -> None:
    well(command("analyze", "mobilenetv4_conv_s", "--hw", "pixel6_tpu", "-o", "result.json"))
    for arguments in (["result.json"], ["result.json", "--html"]):
        Path("result.html").unlink(missing_ok=True)
        assert command("report", *arguments).stderr == "Wrote result.html\n"
        assert Path("result.html").stat().st_size > 3_000_000  # with plotly.js in it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "result.json:1:2: not JSON"),
        ("{}", "no 'schema'"),
        ('{"schema": "roofline/analysis/99"}', "newer"),
        ('{"schema": "roofline/analysis/1"}', "missing"),
    ],
)
def test_what_cannot_be_drawn(command: Command, text: str, message: str) -> None:
    Path("result.json").write_text(text)
    assert message in one_line(command("report", "result.json"))
    assert not Path("result.html").exists()


def test_brackets_in_the_name_of_a_folder_are_no_pattern(command: Command) -> None:
    Path("a[1]").mkdir()
    Path("a[1]/net.py").write_text("from torch import nn\ndef make():\n    return nn.Conv2d(3, 8, 3)\n")
    well(command("sweep", "a[1]/net.py:make", "--points", "2"))
    well(command("compare", "a[1]/net.py:make", "mobilenetv1", "--hw", "pixel6_tpu"))


def test_a_report_that_cannot_be(command: Command) -> None:
    analyze = ("analyze", "mobilenetv1", "--hw", "pixel6_tpu")
    assert "--cross-check has no report" in one_line(command(*analyze, "--cross-check", "--html", "x.html"))
    assert "--html and -o both name x.json" in one_line(command(*analyze, "--html", "x.json", "-o", "x.json"))


def test_pictures_need_kaleido(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.reports.pictures.find_spec", lambda name: None)
    monkeypatch.setattr("roofline.analysis.lower_reference", None)  # it is told before the work
    message = one_line(command("analyze", "mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--png", "pictures"))
    assert message.startswith(
        "pictures need kaleido, which is not installed: pip install 'roofline-profiler[pictures]'"
    )


# --- models, hw, version, completion ----------------------------------------------------------------------------------


def test_models(command: Command) -> None:
    listed = json.loads(well(command("models", "--format", "json")))
    assert [entry["name"] for entry in listed] == list(names())
    assert {"params", "macs", "input_size", "aliases", "top1", "published", "paper"} <= set(listed[0])
    assert {"published_params", "published_macs", "top1", "source", "convention", "note"} <= set(
        listed[0]["published"][0]
    )
    text = well(command("models"))
    assert all(name in text for name in names())


def test_models_of_a_pattern(command: Command) -> None:
    listed = json.loads(well(command("models", "ReXNet-1?0", "--format", "json")))
    assert [entry["name"] for entry in listed] == ["rexnet_100", "rexnet_130", "rexnet_150"]
    text = well(command("models", "mobilenetv2*"))
    assert "mobilenetv2_140" in text
    assert "mobilenetv1_100" not in text


def test_a_model_is_described(command: Command) -> None:
    text = " ".join(well(command("models", "regnetx_200mf")).split())
    assert text.startswith("regnetx_002, also called regnetx, regnet, regnetx_200mf")
    assert "2,684,792 params, 199,039,872 MACs at 3x224x224" in text
    assert "group_width=8" in text  # an argument, and what this variant has for it
    assert "Designing Network Design Spaces" in text
    assert "arXiv:2003.13678" in text
    assert "pycls model_complexity.json" in text  # who published the figures


def test_models_that_are_not_there(command: Command) -> None:
    assert "no model matches 'vgg*'; 'roofline models' lists all" in one_line(command("models", "vgg*"))
    assert "unknown model 'rexnt'. Did you mean 'rexnet'" in one_line(command("models", "rexnt"))


# --- arguments of the model -------------------------------------------------------------------------------------------


def test_arguments_reach_the_constructor(command: Command) -> None:
    run = command("analyze", "rexnet", "--arg", "width_mult=1.7", "--hw", "pixel6_tpu", "--format", "json")
    model = json.loads(well(run))["model"]
    assert model["name"] == "rexnet_100(width_mult=1.7)"
    assert model["params"] > 4_796_873
    text = well(command("analyze", "mobileone_s0:train", "--hw", "pixel6_tpu", "--arg", "act=silu"))
    assert "mobileone_s0:train(act='silu')" in text
    assert "silu" in text
    assert "Published" not in text  # the figures are of another network
    assert "--arg act=silu" in text  # of the next command


def test_arguments_of_a_users_callable(command: Command, tmp_path: Path) -> None:
    Path("wide.py").write_text("from torch import nn\ndef make(width=8):\n    return nn.Conv2d(3, width, 3)\n")
    run = command("analyze", "wide.py:make", "--arg", "width=16", "--hw", "pixel6_tpu", "--format", "json")
    assert json.loads(well(run))["model"]["params"] == 16 * (27 + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["rexnet", "--arg", "width_mult=0"],
            "rexnet_100: width_mult must be a number above 0 (got 0)",
        ),
        (["rexnet", "--arg", "width"], "'width' is not NAME=VALUE, as in width_mult=0.5"),
        (["rexnet", "--arg", "1x=2"], "'1x=2' is not NAME=VALUE"),
        (["rexnet", "--arg", "width_mult=2", "--arg", "width_mult=3"], "--arg width_mult is given more than once"),
        (["mobileone_s0", "--arg", "se=maybe"], "mobileone_s0: se must be True or False (got 'maybe')"),
        (["rexnet", "--arg", "depth=2"], "rexnet_100 takes no argument 'depth'. Did you mean 'depth_mult'?"),
        (
            ["mobilenetv1", "--input-size", "16"],
            "divides the size of its input by 32: height and width must be at least that (got 3x16x16)",
        ),
        (["mobileone_s0:trian"], "mobileone_s0 has no form 'trian'. Did you mean 'train'?"),
        (["anynetx", "--arg", "group_widths=[7,7,7,7]"], "group width 7"),
    ],
)
def test_bad_arguments(command: Command, arguments: list[str], message: str) -> None:
    assert message in one_line(command("analyze", *arguments, "--hw", "pixel6_tpu"))


def test_hw(command: Command) -> None:
    listed = json.loads(well(command("hw", "--format", "json")))
    assert [device["id"] for device in listed] == list(bundled())
    for device in listed:
        for dtype, peak in device["peak_macs_per_s"].items():
            assert device["ridge_point_macs_per_byte"][dtype] == peak / device["bandwidth_bytes_per_s"]
        assert all(figure["source"] for figure in device["figures"].values())
    text = well(command("hw"))
    assert all(name in text for name in bundled())


def test_version(command: Command) -> None:
    assert well(command("--version")) == f"roofline {roofline.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["analyze", "--help"], ["explain", "-h"], ["hw", "--help"]])
def test_help_fits_80_columns(arguments: list[str], command: Command) -> None:
    text = well(command(*arguments))
    assert text.startswith("Usage: roofline ")
    assert max(map(len, text.splitlines())) <= 80


def test_help_names_every_option_in_the_spelling_that_works(command: Command) -> None:
    text = well(command("analyze", "--help"))
    for option in ("--hw", "--batch", "--input-size CxHxW", "--dtype", "--fusion", "--format", "--output", "--top",
                   "--sort", "--group", "--cross-check"):  # fmt: skip
        assert option in text


def test_no_arguments_show_the_help_and_are_no_success(command: Command) -> None:
    run = command()
    assert run.returncode == 2
    assert "Usage: roofline " in run.stdout + run.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_that_of_the_shell(shell: str, command: Command) -> None:
    text = well(command("completion", shell))
    assert f"_ROOFLINE_COMPLETE={shell}_complete" in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("roofline analyze mobilenetv4_c", {name for name in names() if "_conv_" in name}),
        ("roofline analyze mobilenetv4_conv_s --hw galaxy_s23", {"galaxy_s23_cpu", "galaxy_s23_cpu_peak"}),
        ("roofline analyze mobilenetv4_conv_s --group ", {"kind", "stage"}),
        ("roofline mod", {"models"}),
    ],
)
def test_completion_completes(line: str, expected: set[str], command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ROOFLINE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    found = {item.partition(",")[2] for item in well(command()).split()}
    assert found == expected


# --- cross-check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hw", [[], ["--hw", "pixel6_tpu"]], ids=["without --hw", "with --hw"])
def test_cross_check(hw: list[str], command: Command) -> None:
    text = well(command("analyze", "nets.py:Attends", "--cross-check", "--input-size", "64", *hw))
    assert text.startswith("nets.py:Attends\n")
    attention = 16 * 16 * (32 + 32)
    assert re.search(rf"^attention +{attention:,} +0 ", text, re.MULTILINE)
    assert "fvcore has no formula for scaled_dot_product_attention" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_cross_check_is_written_to_a_file_too(command: Command) -> None:
    assert well(command("analyze", "nets.py:good", "--cross-check", "-o", "check.txt")) == ""
    assert "All three agree." in Path("check.txt").read_text()


@pytest.mark.parametrize("how", [["--format", "json"], ["-o", "check.json"]], ids=" ".join)
def test_a_cross_check_that_is_asked_for_as_json_is_json_or_refused(how: list[str], command: Command) -> None:
    run = command("analyze", "nets.py:good", "--cross-check", *how)
    if run.returncode:
        one_line(run)
        assert not Path("check.json").exists()
    else:
        json.loads(run.stdout or Path("check.json").read_text())


# --- colours and terminals --------------------------------------------------------------------------------------------

COLOUR = re.compile(r"\x1b\[[\d;]*(?:3[0-8]|9[0-7]|4[0-8])[\d;]*m")


def test_colours_come_when_they_are_forced_and_only_then(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = well(command(*ZOO))
    assert "\x1b" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = well(command(*ZOO))
    assert COLOUR.search(coloured)
    uncoloured = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in uncoloured.splitlines()] == plain.splitlines()


def test_no_color_is_respected_even_then(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    for arguments in (ZOO, ["models"], ["hw"], ["explain", "mobilenetv4_conv_s", "stem", "--hw", "pixel6_tpu"]):
        assert not COLOUR.search(well(command(*arguments)))


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("arguments", [ZOO, ["models"], ["hw"]], ids=["analyze", "models", "hw"])
def test_no_line_is_wider_than_the_terminal(
    columns: int, arguments: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, well(command(*arguments)).splitlines())) <= columns


# --- as a process -----------------------------------------------------------------------------------------------------

SCRIPT = shutil.which("roofline", path=sysconfig.get_path("scripts")) or shutil.which("roofline")
ENVIRONMENT = {key: value for key, value in os.environ.items() if "COLOR" not in key and "ENCODING" not in key}
GERMAN = PROFILE.replace("My Device", "Größtes Gerät")


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: the installed script, or in a clone its entry point."""
    start = [SCRIPT] if SCRIPT else [sys.executable, "-c", "from roofline.cli import main; main()"]
    clone = {} if SCRIPT else {"PYTHONPATH": str(Path(roofline.__file__).parents[1])}
    variables = {**ENVIRONMENT, **clone, **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run([*start, *arguments], stderr=subprocess.PIPE, text=True, env=variables, **options)


def test_the_installed_script_pipes_plain_text_of_80_columns() -> None:
    text = well(process(*OWN))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_installed_script_refuses_bad_input() -> None:
    assert "depends on data values" in one_line(process("analyze", "nets.py:Decides", "--hw", "pixel6_tpu"))


@pytest.mark.parametrize(
    "arguments",
    [["models"], ["models", "--format", "json"], ["hw", "--format", "json"], ["completion", "bash"], ["-h"]],
    ids=" ".join,
)
def test_a_reader_that_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    """As in ``roofline models | head -1``: no message, and success, or the signal that ends other tools there."""
    read, write = os.pipe()
    os.close(read)
    try:
        run = process(*arguments, stdout=write)
    finally:
        os.close(write)
    assert run.stderr == ""
    assert run.returncode in (0, -signal.SIGPIPE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_full_disk_behind_a_redirection_is_one_line(form: str) -> None:
    with Path("/dev/full").open("w") as full:
        run = process("models", "--format", form, stdout=full)
    assert run.returncode == 2
    assert re.fullmatch(r"roofline: .*No space left on device\n", run.stderr)


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_a_closed_standard_output_is_no_traceback() -> None:
    run = process("models", "--format", "json", stdout=None, preexec_fn=lambda: os.close(1))
    assert "Traceback" not in run.stderr
    assert len(run.stderr.splitlines()) <= 1


def test_a_list_comes_through_in_the_encoding_of_the_process() -> None:
    well(process("models", env={"PYTHONIOENCODING": "ascii"}))


def printed(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """What is printed from now on, on a standard output as Python makes it in that encoding."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, write_through=True))
    return out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("arguments", [["models"], ["hw"], ["--help"]], ids=" ".join)
def test_lists_come_through_in_any_encoding(
    encoding: str, arguments: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = printed(encoding, monkeypatch)
    run = command(*arguments)
    assert (run.returncode, run.stderr) == (0, "")
    assert out.getvalue()


@pytest.mark.parametrize("form", ["table", "md", "json", "csv"])
def test_an_analysis_comes_through_in_ascii(form: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A C locale, a device and a layer with names it cannot spell: no traceback, and the numbers are all there."""
    Path("device.yaml").write_text(GERMAN)
    Path("net.py").write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def groß(): return nn.Sequential(OrderedDict([('größe', nn.Conv2d(3, 8, 3))]))\n"
    )
    out = printed("ascii", monkeypatch)
    run = command("analyze", "net.py:groß", "--hw", "device.yaml", "--input-size", "32", "--format", form)
    assert (run.returncode, run.stderr) == (0, "")
    assert b"conv" in out.getvalue()


def test_the_whole_answer_comes_through_in_ascii(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    out = printed("ascii", monkeypatch)
    run = command(*ZOO)
    assert (run.returncode, run.stderr) == (0, "")
    assert out.getvalue().isascii()
    assert b"classifier" in out.getvalue()
