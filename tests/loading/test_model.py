"""From a reference to a module without weights."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from roofline.errors import ModelError
from roofline.loading import DEFAULT_INPUT_SIZE, build_on_meta, load
from roofline.models import names
from roofline.trace import trace

HEAD = "import torch\nfrom torch import nn\n"
CONV = HEAD + "def make():\n    return nn.Conv2d(3, 8, 3)\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, path: str = "net.py") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def refusal(reference: str) -> str:
    with pytest.raises(ModelError) as caught:
        load(reference)
    message = str(caught.value)
    assert "\n" not in message
    assert "loading.py" not in message, "the user's code failed, not ours"
    return message


def devices(module: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}


def weights(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


# --- the zoo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
@pytest.mark.sampled(4)
def test_a_model_of_the_zoo_has_shapes_and_no_memory(name: str) -> None:
    state = torch.get_rng_state()
    loaded = load(name)
    assert devices(loaded.module) == {"meta"}
    assert {tensor.device.type for tensor in loaded.inputs} == {"meta"}
    assert torch.equal(torch.get_rng_state(), state), "random numbers were drawn"
    assert loaded.entry is not None
    assert loaded.inputs[0].shape == (1, *loaded.entry.input_size)
    assert loaded.input_source == "the published size"
    assert sum(parameter.numel() for parameter in loaded.module.parameters()) == loaded.entry.params


def test_a_reference_is_kept_beside_what_it_resolved_to() -> None:
    loaded = load("MNv4-Conv-S")
    assert (loaded.reference, loaded.name) == ("MNv4-Conv-S", "mobilenetv4_conv_small")


def test_batch_and_input_size_shape_the_input() -> None:
    loaded = load("mnv4_conv_s", batch=5, input_size=(3, 64, 96))
    assert loaded.inputs[0].shape == (5, 3, 64, 96)
    assert loaded.input_source == "given"


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    assert "Did you mean 'mobilenetv4_conv_s" in refusal("mobilenetv4_conv_smal")


def test_channels_and_strides_that_arguments_change() -> None:
    assert load("rexnet", arguments={"in_chans": 1}).inputs[0].shape == (1, 1, 224, 224)
    assert load("anynetx", arguments={"strides": 1}, input_size=(3, 16, 16)).name == "anynetx(strides=1)"
    with pytest.raises(ModelError, match=r"divides the size of its input by 128: .* \(got 3x64x64\)"):
        load("anynetx", arguments={"strides": [8, 2, 2, 2]}, input_size=(3, 64, 64))


def test_a_form_of_a_network_is_no_module_of_the_user() -> None:
    assert load("MobileOne-S0:train").name == "mobileone_s0:train"


def test_arguments_are_named_and_make_it_another_network() -> None:
    loaded = load("rexnet", arguments={"width_mult": 1.7, "num_classes": 10})
    assert loaded.name == "rexnet_100(width_mult=1.7, num_classes=10)"
    assert loaded.entry is None
    assert loaded.module.eval()(loaded.inputs[0]).shape == (1, 10)


@pytest.mark.parametrize("size", [(3, 31, 64), (3, 224, 16)])
def test_an_input_too_small_for_the_strides_is_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(
        ModelError, match="mobilenetv1_100 divides the size of its input by 32: height and width must be at least"
    ):
        load("mobilenetv1", input_size=size)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_has_an_image_at_least(batch: int) -> None:
    with pytest.raises(ModelError, match=f"batch must be at least 1 .*{batch}"):
        load("mnv4_conv_s", batch=batch)


@pytest.mark.parametrize(
    ("size", "given"), [((3, 0, 64), "3x0x64"), ((3, -1, 64), "3x-1x64"), ((3, 10**11, 10**11), "3x1")]
)
def test_an_input_size_that_no_tensor_can_have_is_refused(size: tuple[int, ...], given: str) -> None:
    with pytest.raises(ModelError, match=given):
        load("mnv4_conv_s", input_size=size)


def test_a_batch_that_no_tensor_can_have_is_refused() -> None:
    with pytest.raises(ModelError, match="batch"):
        load("mnv4_conv_s", batch=10**20)


# --- a file of the user's own -----------------------------------------------------------------------------------------


def test_a_callable_in_a_file_is_built_without_memory() -> None:
    write(CONV)
    loaded = load("net.py:make", batch=2)
    assert isinstance(loaded.module, nn.Conv2d)
    assert devices(loaded.module) == {"meta"}
    assert loaded.inputs[0].shape == (2, *DEFAULT_INPUT_SIZE)
    assert (loaded.reference, loaded.name, loaded.entry) == ("net.py:make", "net.py:make", None)
    assert "default" in loaded.input_source


@pytest.mark.parametrize("place", ["nets/net.py", "./nets/net.py", "nets/../nets/net.py", "my nets/n-1.2.py"])
def test_a_file_may_lie_anywhere(place: str) -> None:
    Path("nets").mkdir()
    write(CONV, place)
    assert isinstance(load(f"{place}:make").module, nn.Conv2d)
    assert isinstance(load(f"{Path(place).resolve()}:make").module, nn.Conv2d)


def test_a_class_a_function_and_a_module_all_serve() -> None:
    write(
        HEAD
        + "class Net(nn.Linear):\n    def __init__(self): super().__init__(224, 10)\n"
        + "built = Net()\nlater = lambda: Net()\n"
    )
    for name in ("Net", "built", "later"):
        assert isinstance(load(f"net.py:{name}").module, nn.Linear)


def test_a_file_is_read_again_each_time() -> None:
    write(CONV)
    load("net.py:make")
    write(CONV.replace("Conv2d(3, 8, 3)", "Conv2d(3, 16, 5)"))
    os.utime("net.py", (1, 1))
    module = load("net.py:make").module
    assert isinstance(module, nn.Conv2d)
    assert module.out_channels == 16


def test_no_random_numbers_are_drawn_for_a_users_model() -> None:
    write(HEAD + "def make():\n    return nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4), nn.BatchNorm1d(4))\n")
    state = torch.get_rng_state()
    load("net.py:make")
    assert torch.equal(torch.get_rng_state(), state)


VALUES = HEAD + (
    "class Net(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        rates = [rate.item() for rate in torch.linspace(0, 0.2, 3)]\n"
    "        self.parts = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3), nn.Dropout(rate)) for rate in rates))\n"
    "    def forward(self, x):\n"
    "        return self.parts(x)\n"
)


def test_a_constructor_that_needs_values_gets_them() -> None:
    write(VALUES)
    loaded = load("net.py:Net")
    assert [module.p for module in loaded.module.modules() if isinstance(module, nn.Dropout)] == pytest.approx(
        [0, 0.1, 0.2]
    )
    assert sum(op.name == "convolution" for op in trace(loaded.module, loaded.inputs).ops) == 3


def test_no_random_numbers_are_drawn_for_a_constructor_that_needs_values() -> None:
    write(VALUES)
    state = torch.get_rng_state()
    load("net.py:Net")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "double", "float"])
def test_the_input_has_the_dtype_of_the_weights(dtype: str) -> None:
    write(HEAD + f"def make():\n    return nn.Conv2d(3, 8, 3).{dtype}()\n")
    loaded = load("net.py:make")
    assert loaded.inputs[0].dtype == next(loaded.module.parameters()).dtype == getattr(torch, dtype)
    trace(loaded.module, loaded.inputs)


def test_a_model_without_weights_gets_a_plain_float_input() -> None:
    write(HEAD + "make = nn.ReLU\n")
    assert load("net.py:make").inputs[0].dtype == torch.float32


def test_what_torch_does_by_default_is_left_alone() -> None:
    write(CONV)
    load("net.py:make")
    linear = nn.Linear(100, 100)
    assert linear.weight.device.type == "cpu"
    assert linear.weight.std() > 0


# --- its neighbours ---------------------------------------------------------------------------------------------------


def test_a_file_imports_its_neighbours_as_under_python() -> None:
    write(CONV, "nets/blocks.py")
    write("from blocks import make\n", "nets/net.py")
    assert isinstance(load("nets/net.py:make").module, nn.Conv2d)


def test_a_callable_imports_its_neighbours_too() -> None:
    write(CONV, "nets/blocks.py")
    write("def make():\n    import blocks\n    return blocks.make()\n", "nets/net.py")
    assert isinstance(load("nets/net.py:make").module, nn.Conv2d)


def test_two_folders_may_have_neighbours_of_the_same_name() -> None:
    for folder, width in (("old", 8), ("new", 16)):
        write(CONV.replace("8", str(width)), f"{folder}/blocks.py")
        write("from blocks import make\n", f"{folder}/net.py")
    modules = [load(f"{folder}/net.py:make").module for folder in ("old", "new")]
    assert [module.weight.shape[0] for module in modules if isinstance(module, nn.Conv2d)] == [8, 16]


def test_libraries_installed_below_the_folder_are_no_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project has its .venv inside: what is imported from there must be imported once."""
    write("", "project/.venv/site-packages/installed/__init__.py")
    write("", "project/.venv/site-packages/installed/part.py")
    monkeypatch.syspath_prepend(Path("project/.venv/site-packages").resolve())
    for folder in ("project", "elsewhere"):
        write("import installed.part\n" + CONV, f"{folder}/net.py")
    load("project/net.py:make")
    first = sys.modules["installed"], sys.modules["installed.part"]
    load("elsewhere/net.py:make")
    assert (sys.modules["installed"], sys.modules["installed.part"]) == first


@pytest.mark.parametrize(
    "text",
    [
        CONV,
        "import sys\nsys.path.insert(0, 'elsewhere')\n" + CONV,
        "import sys\nsys.path.append('elsewhere')\n" + CONV,
        "import nothing_of_that_name\n",
        "1 / 0\n",
        "def make(:\n",
    ],
    ids=["good", "puts a folder first", "puts a folder last", "lacks an import", "raises", "is no Python"],
)
def test_the_import_path_is_as_it_was(text: str) -> None:
    write(text, "nets/net.py")
    before = list(sys.path)
    with suppress(ModelError):
        load("nets/net.py:make")
    assert str(Path("nets").resolve()) not in sys.path
    assert [place for place in sys.path if place != "elsewhere"] == before


def test_a_file_that_fails_leaves_no_half_made_module() -> None:
    write("made = 1\nraise ValueError\n", "half_made.py")
    refusal("half_made.py:make")
    assert "half_made" not in sys.modules


def test_a_file_may_be_called_as_a_module_of_pythons_own() -> None:
    import json

    write(CONV, "json.py")
    assert isinstance(load("json.py:make").module, nn.Conv2d)
    assert sys.modules["json"] is json


def test_classes_of_a_file_find_their_module() -> None:
    write(
        "from __future__ import annotations\nimport sys\nfrom dataclasses import dataclass\n" + HEAD + "@dataclass\n"
        "class Config:\n    width: int = 8\n"
        "def make():\n    assert sys.modules[Config.__module__].Config is Config\n    return nn.Conv2d(3, 8, 3)\n",
        "my_own_net.py",
    )
    assert isinstance(load("my_own_net.py:make").module, nn.Conv2d)


# --- a module of the user's own ---------------------------------------------------------------------------------------


def test_a_callable_in_an_importable_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("", "lib/mine/__init__.py")
    write(CONV, "lib/mine/net.py")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    assert isinstance(load("mine.net:make").module, nn.Conv2d)


def test_a_package_in_the_current_folder_is_importable() -> None:
    """As with ``python -m``; the installed script's own folder comes first on its path, not the user's."""
    write("", "here/__init__.py")
    write(CONV, "here/net.py")
    assert isinstance(load("here.net:make").module, nn.Conv2d)


# --- what does not resolve --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("missing.py:make", r"^missing\.py: no such file$"),
        ("nets:make", r"unknown model 'nets:make': there is no module 'nets'"),
        ("torchvison:resnet50", r"there is no module 'torchvison'\. Did you mean 'torchvision'\?$"),
        ("nets.small:make", r"there is no module 'nets\.small'"),
        (":make", r"FILE\.py:CALLABLE"),
        ("a/b:make", r"FILE\.py:CALLABLE"),
        ("", r"^unknown model ''"),
        ("net.py:", r"net\.py has no ''"),
        ("net.py:mkae", r"^net\.py has no 'mkae'\. Did you mean 'make'\?$"),
        ("net.py:nothing", r"^net\.py has no 'nothing'\.$"),
        ("net.py:number", r"net\.py:number is an? int; a callable that returns an nn\.Module is needed"),
        ("net.py:gives_none", r"net\.py:gives_none returns an? NoneType; an nn\.Module is needed"),
        ("net.py:gives_class", r"net\.py:gives_class returns an? type; an nn\.Module is needed"),
        ("net.py:needs", r"net\.py:needs fails to build: .*missing 1 required positional argument: 'width'"),
        ("net.py:fails", r"net\.py:fails fails to build: .*net\.py:8: RuntimeError: no pretrained weights today"),
        ("net.py:leaves", r"net\.py:leaves fails to build: .*SystemExit"),
    ],
)
def test_what_does_not_resolve_says_so_in_one_line(reference: str, expected: str) -> None:
    write(
        CONV + "number = 3\ndef gives_none(): pass\n"
        "def fails():\n    raise RuntimeError('no pretrained\\n   weights today')\n"
        "def gives_class(): return nn.Linear\n"
        "def needs(width): return nn.Linear(width, width)\n"
        "def leaves(): raise SystemExit(0)\n"
    )
    assert re.search(expected, refusal(reference))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\ndef make(:\n", r"^net\.py does not import: .*net\.py:2: SyntaxError: "),
        ("x = 1\ny = 1 / 0\n", r"^net\.py does not import: .*net\.py:2: ZeroDivisionError: division by zero$"),
        ("import no_such_library\n", r"net\.py:1: ModuleNotFoundError: No module named 'no_such_library'"),
        ("import sys\nsys.exit(3)\n", r"^net\.py does not import: .*SystemExit"),
        ("\0", r"^net\.py does not import: "),
        ("x = '\xff'\n", r"^net\.py does not import: "),
    ],
    ids=["syntax", "raises", "lacks a library", "exits", "a null byte", "no UTF-8"],
)
def test_a_file_that_does_not_import_says_where(text: str, expected: str) -> None:
    Path("net.py").write_bytes(text.encode("latin-1"))
    assert re.search(expected, refusal("net.py:make"))


def test_the_innermost_line_is_named_even_in_a_neighbour() -> None:
    write("def helper():\n    raise KeyError('width')\n", "nets/blocks.py")
    write("from blocks import helper\nhelper()\n", "nets/net.py")
    message = refusal("nets/net.py:make")
    assert message.startswith("nets/net.py does not import: ")
    assert "blocks.py:2: KeyError: 'width'" in message


def test_a_file_without_a_callable_is_told_how_to_name_one() -> None:
    write(CONV)
    assert "net.py:" in refusal("net.py"), "the usual slip: `roofline analyze net.py`"


# --- the primitive ----------------------------------------------------------------------------------------------------


def test_initialisation_is_skipped_and_nothing_else() -> None:
    def factory() -> nn.Module:
        module = nn.Linear(4, 4)
        assert nn.init.xavier_uniform_(module.weight) is module.weight
        assert nn.init.constant_(tensor=module.bias, val=1.0) is module.bias
        assert torch.tensor([1.0, 2.0], device="cpu").sum().item() == 3
        return module

    assert devices(build_on_meta(factory)) == {"meta"}
