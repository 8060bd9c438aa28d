"""What the user's own network is called with, and that it reaches the tracer by whatever name."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import roofline
from roofline.errors import ModelError
from roofline.loading import load
from roofline.measurement.clock import SystemClock, WallTimer
from roofline.measurement.subject import of_reference
from roofline.trace import trace

HEAD = "import torch\nfrom torch import nn\n"
TEXT_NET = HEAD + (
    "class Net(nn.Module):\n"
    "    def __init__(self, width=16):\n"
    "        super().__init__()\n"
    "        self.embedding = nn.Embedding(100, width)\n"
    "        self.head = nn.Linear(width, 10)\n"
    "    def forward(self, ids, *, scale):\n"
    "        return self.head(self.embedding(ids) * scale)\n"
)
MACS = 128 * 16 * 10  # of the linear layer, over 128 tokens


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None) -> None:
    monkeypatch.chdir(tmp_path)


def macs(reference: str, **options: object) -> int:
    analysis = roofline.analyze(reference, hw="pixel6_tpu", **options)  # type: ignore[arg-type]
    return int(analysis.layers.macs.sum())


def test_inputs_in_words_are_keywords_of_forward() -> None:
    Path("net.py").write_text(TEXT_NET)
    arguments = {"ids": "int64[1,128]", "scale": "float32[]", "width": 16}
    loaded = load("net.py:Net", arguments=arguments)
    assert [(tuple(given.shape), given.dtype) for given in loaded.inputs] == [
        ((1, 128), torch.int64),
        ((), torch.float32),
    ]
    assert loaded.name == "net.py:Net(ids=int64[1,128], scale=float32[], width=16)"
    assert loaded.input_source == "given"
    assert macs("net.py:Net", arguments=arguments) == MACS
    assert macs("net.py:Net", arguments=arguments, batch=4) == 4 * MACS


@pytest.mark.parametrize(
    "beside",
    [
        "example_inputs = {'ids': torch.zeros(1, 128, dtype=torch.int64), 'scale': torch.ones(1)}",
        "def example_inputs():\n    return {'ids': torch.zeros(1, 128, dtype=torch.int64), 'scale': torch.ones(1)}",
        "def example_inputs(batch=1):\n    return dict(ids=torch.zeros(batch, 128, dtype=torch.int64), scale=2.0)",
        "def make():\n    return Net()\n"
        "make.example_inputs = dict(ids=torch.zeros(1, 128, dtype=torch.int64), scale=torch.ones(1))",
        "Net.example_inputs = lambda self: dict(ids=torch.zeros(1, 128).long(), scale=torch.ones(1).tolist()[0])",
    ],
    ids=["a dict", "a function", "of the batch", "of the callable", "a method that reads values"],
)
def test_inputs_that_stand_beside_the_callable(beside: str) -> None:
    Path("net.py").write_text(f"{TEXT_NET}{beside}\n")
    reference = "net.py:make" if "def make" in beside else "net.py:Net"
    loaded = load(reference)
    assert {tensor.device.type for tensor in loaded.inputs} == {"meta"}
    assert loaded.input_source == "net.py's example_inputs"
    assert sum(op.name == "embedding" for op in trace(loaded.module, loaded.inputs).ops) == 1
    assert macs(reference) == MACS
    if "batch=1" in beside:
        assert macs(reference, batch=3) == 3 * MACS
    else:
        with pytest.raises(ModelError, match=r"has a batch of its own; make it a function of one argument, batch"):
            load(reference, batch=3)


def test_a_tuple_and_a_nest_of_them() -> None:
    Path("net.py").write_text(
        HEAD + "class Net(nn.Module):\n"
        "    def forward(self, images, state):\n"
        "        return images[0] + images[1] + state['h']\n"
        "example_inputs = ([torch.zeros(2, 3), torch.zeros(2, 3)], {'h': torch.zeros(2, 3), 'n': 7})\n"
    )
    loaded = load("net.py:Net")
    assert [tuple(given.shape) for given in loaded.inputs] == [(2, 3)] * 3
    assert [op.name for op in trace(loaded.module, loaded.inputs).ops] == ["add", "add"]


def test_an_input_size_goes_before_what_stands_beside() -> None:
    Path("net.py").write_text(
        HEAD + "def make():\n    return nn.Conv2d(3, 8, 3)\nexample_inputs = torch.zeros(1, 3, 10, 10)\n"
    )
    assert load("net.py:make").inputs[0].shape == (1, 3, 10, 10)
    assert load("net.py:make", input_size=(3, 20, 20)).inputs[0].shape == (1, 3, 20, 20)


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ("example_inputs = ()", "net.py's example_inputs holds no tensor"),
        ("example_inputs = {1: torch.zeros(1)}", "keys are no names"),
        ("def example_inputs():\n    raise KeyError('data')", r"example_inputs fails: .*net\.py:11: KeyError: 'data'"),
        ("def example_inputs(path):\n    return path", "missing 1 required positional argument"),
    ],
)
def test_inputs_that_are_none_say_so(beside: str, expected: str) -> None:
    Path("net.py").write_text(f"{TEXT_NET}{beside}\n")
    with pytest.raises(ModelError, match=expected):
        load("net.py:Net")


def test_an_image_and_an_input_in_words_exclude_each_other() -> None:
    Path("net.py").write_text(TEXT_NET)
    with pytest.raises(ModelError, match="an input size and the input 'ids' exclude each other"):
        load("net.py:Net", input_size=(3, 8, 8), arguments={"ids": "int64[1,8]"})
    with pytest.raises(ModelError, match=r"mobilenetv1_100 takes an image: give its input size, not the input 'ids'"):
        load("mobilenetv1", arguments={"ids": "int64[1,8]"})
    with pytest.raises(ModelError, match="beyond any machine"):
        load("net.py:Net", arguments={"ids": "int64[1000000000000,1000000000000]"})


def test_a_copy_calls_itself() -> None:
    """The cross-check gives weights to a copy: its forward must not be the original's."""
    Path("net.py").write_text(TEXT_NET + "example_inputs = dict(ids=torch.zeros(1, 8).long(), scale=torch.ones(1))\n")
    loaded = load("net.py:Net")
    twin = copy.deepcopy(loaded.module).to_empty(device="cpu")
    for parameter in twin.parameters():
        nn.init.ones_(parameter)
    out = twin(torch.zeros(1, 8, dtype=torch.int64), torch.ones(1))
    assert out.device.type == "cpu"
    assert torch.equal(out, torch.full((1, 8, 10), 17.0)), "16 ones and a bias"


def test_a_module_that_is_loaded_twice_takes_what_it_takes_the_second_time() -> None:
    Path("kept.py").write_text(TEXT_NET + "net = Net()\n")
    first = load("kept:net", arguments={"ids": "int64[1,128]", "scale": "float32[1]"})
    second = load("kept:net", arguments={"scale": "float32[1]", "ids": "int64[1,64]"})
    assert first.module is second.module
    assert [op.name for op in trace(second.module, second.inputs).ops] == ["embedding", "mul", "linear"]


# --- on the command line ----------------------------------------------------------------------------------------------

SAYS = "roofline: running net.py, your own code, as python would.\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_command_line_takes_inputs_and_says_whose_code_it_runs(
    is_terminal: bool, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    Path("net.py").write_text(TEXT_NET)
    words = ["--input", "ids:int64[1,128]", "--input", "scale:float32[]", "--hw", "pixel6_tpu", "--format", "json"]
    done = command("analyze", "net.py:Net", *words)
    assert (done.returncode, done.stderr) == (0, SAYS if is_terminal else "")
    analysis = json.loads(done.stdout)
    assert analysis["totals"]["macs"] == MACS
    assert analysis["model"]["name"] == "net.py:Net(ids=int64[1,128], scale=float32[])"


def test_a_module_is_the_users_own_code_too(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Path("nets").mkdir()
    Path("nets/text.py").write_text(TEXT_NET)
    words = ["--input", "ids:int64[1,128]", "--input", "scale:float32[]", "--hw", "pixel6_tpu", "--format", "json"]
    done = command("analyze", "nets.text:Net", *words)
    assert (done.returncode, done.stderr) == (0, SAYS.replace("net.py", "nets.text"))


def test_a_shape_of_other_than_three_numbers_is_an_input(command: Callable[..., Any]) -> None:
    done = command("analyze", "mobilenetv1", "--hw", "pixel6_tpu", "--input-size", "3x8x32x32")
    assert done.returncode == 2
    assert "another shape is written as in --input 'x:float32[1,3,8,32,32]'" in " ".join(done.stderr.split())


def test_the_zoo_is_nobodys_own_code(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert command("analyze", "mobilenetv1", "--hw", "pixel6_tpu").stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--input", "ids"], "is not NAME:DTYPE[SIZES], as in ids:int64[1,128]"),
        (["--input", "ids:int46[1]"], "no dtype 'int46'"),
        (["--input", "ids:int64[1]", "--input", "ids:int64[2]"], "ids is given more than once"),
        (["--prefill", "4", "--decode", "4"], "two passes; give one of them"),
        (["--prefill", "4"], "mobilenetv1 is no language model: prefill is for a config, hf:PATH"),
    ],
)
def test_what_is_wrong_with_an_input_is_said_in_one_line(
    command: Callable[..., Any], words: list[str], expected: str
) -> None:
    done = command("analyze", "mobilenetv1", "--hw", "pixel6_tpu", *words)
    assert done.returncode == 2
    assert expected in " ".join(done.stderr.split())


def test_keywords_reach_a_measurement_and_every_other_command(command: Callable[..., Any]) -> None:
    """An activation's name is one more argument of the callable, and inputs are others."""
    Path("net.py").write_text(
        TEXT_NET + "class Choice(Net):\n"
        "    def __init__(self, act='relu'):\n"
        "        super().__init__()\n"
        "        self.act = {'relu': nn.ReLU, 'silu': nn.SiLU}[act]()\n"
        "    def forward(self, ids, *, scale):\n"
        "        return self.act(super().forward(ids, scale=scale))\n"
    )
    subject = of_reference(
        "net.py:Choice", timer=WallTimer(SystemClock()), arguments={"ids": "int64[1,128]", "scale": "float32[1]"}
    )
    subject.first_call()
    words = ["--input", "ids:int64[1,128]", "--input", "scale:float32[1]"]
    hardware = ["--hw", "pixel6_tpu"]
    for line in (
        ["explain", "net.py:Choice", "head", *hardware],
        ["sweep", "net.py:Choice"],
        ["compare", "net.py:Choice", "net.py:Net", *hardware],
        ["whatif", "net.py:Choice", *hardware],
        ["activations", "--model", "net.py:Choice", "--acts", "relu,silu", *hardware],
        ["analyze", "net.py:Choice", "--cross-check"],
    ):
        done = command(*line, *words)
        assert done.returncode == 0, (line, done.stderr)
