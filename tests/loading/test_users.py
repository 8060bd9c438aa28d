"""A user's file is imported once in a process, as python would, and takes only the arguments that it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from roofline.errors import ModelError
from roofline.loading import load
from roofline.loading.users import named

HEAD = "import torch\nfrom torch import nn\n"
COUNTS = "with open('runs.txt', 'a') as runs: runs.write(f'{__name__}\\n')\n"
TWO = (
    HEAD
    + COUNTS
    + "LIBRARY = torch.library.Library('NAMESPACE', 'DEF')  # a second of that name is an error\n"
    + "LIBRARY.define('twice(Tensor x) -> Tensor')\n"
    + "class A(nn.Linear):\n    def __init__(self): super().__init__(224, 10)\n"
    + "class B(A): pass\n"
    + "def make(): return A()\n"
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def runs() -> list[str]:
    """The names under which files ran."""
    return Path("runs.txt").read_text().split()


def test_two_references_to_a_file_run_it_once() -> None:
    write(TWO.replace("NAMESPACE", "roofline_test_two"), "nets.py")
    first, second, third = (load(f"nets.py:{name}").module for name in ("A", "B", "make"))
    assert isinstance(second, type(first)), "one class A, not one a reference"
    assert type(third) is type(first) is named("nets.py:A")
    assert type(load(f"{Path('nets.py').resolve()}:A").module) is type(first)
    assert runs() == ["nets"]


def test_a_comparison_runs_the_file_of_both_once(command: Callable[..., Any]) -> None:
    write(TWO.replace("NAMESPACE", "roofline_test_compare"), "nets.py")
    done = command("compare", "nets.py:A", "nets.py:B", "--hw", "pixel6_tpu")
    assert (done.returncode, runs()) == (0, ["nets"]), done.stderr


def test_what_has_changed_runs_once_more_and_what_is_as_it_was_does_not() -> None:
    old, new = HEAD + COUNTS + "Net = nn.ReLU\n", HEAD + COUNTS + "Net = nn.SiLU\n"
    made = []
    for text in (old, new, old, new):
        write(text, "nets.py")
        made.append(type(load("nets.py:Net").module))
    assert made == [nn.ReLU, nn.SiLU, nn.ReLU, nn.SiLU]
    assert runs() == ["nets", "nets"]


def test_a_file_and_the_module_that_it_is_are_one() -> None:
    write(HEAD + COUNTS + "class Net(nn.ReLU): pass\n", "one_net.py")
    assert type(load("one_net:Net").module) is type(load("one_net.py:Net").module)
    write(HEAD + COUNTS + "class Net(nn.ReLU): pass\n", "other_net.py")
    assert type(load("other_net.py:Net").module) is type(load("other_net:Net").module)
    assert runs() == ["one_net", "other_net"]


def test_a_neighbour_runs_once_whatever_is_loaded_in_between() -> None:
    for folder in ("old", "new"):
        write(HEAD + COUNTS + "class Net(nn.ReLU): pass\n", f"{folder}/blocks.py")
        write("def make():\n    import blocks\n    return blocks.Net()\n", f"{folder}/net.py")
    kinds = [type(load(f"{folder}/net.py:make").module) for folder in ("old", "new", "old", "new")]
    assert kinds[:2] == kinds[2:]
    assert kinds[0] is not kinds[1]
    assert runs() == ["blocks", "blocks"]


def test_a_file_that_failed_is_tried_again() -> None:
    write("import pathlib\npathlib.Path('missing.txt').read_text()\n" + HEAD + "Net = nn.ReLU\n", "nets.py")
    with pytest.raises(ModelError, match=r"nets\.py does not import: .*FileNotFoundError"):
        load("nets.py:Net")
    write("", "missing.txt")
    assert isinstance(load("nets.py:Net").module, nn.ReLU)


@pytest.mark.parametrize("name", ["prefill", "decode"])
def test_a_pass_of_a_language_model_is_refused_but_where_it_is_an_argument(name: str) -> None:
    write(
        HEAD + "def make(): return nn.ReLU()\n"
        f"def takes({name}=1): return nn.ReLU()\ndef takes_all(**given): return nn.ReLU()\n",
        "nets.py",
    )
    line = rf"^nets\.py:make has no argument {name}, and is no language model: {name} is for a config, hf:PATH$"
    with pytest.raises(ModelError, match=line):
        load("nets.py:make", arguments={name: 512})
    for taking in ("takes", "takes_all"):
        assert isinstance(load(f"nets.py:{taking}", arguments={name: 512}).module, nn.ReLU)
