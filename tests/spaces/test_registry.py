from __future__ import annotations

from pathlib import Path

import pytest

from roofline.errors import RooflineError
from roofline.exploring.rows import rows
from roofline.spaces import BUILT_IN, RandomChooser, load
from roofline.spaces.counting import Counter, differences

OWN = """
from torch import nn
from roofline.spaces import Space

class Plain(Space):
    name = "plain"
    summary = "a convolution or two"

    def draw(self, choose):
        return {"depth": choose.integer("depth", 1, 2), "chans": choose.integer("chans", 8, 64, step=8)}

    def build(self, config):
        chans = config["chans"]
        rest = [nn.Conv2d(chans, chans, 3) for _ in range(config["depth"] - 1)]
        return nn.Sequential(nn.Conv2d(3, chans, 3), *rest, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))

made = Plain()

class Listed(Plain):
    name = "listed"

    def draw(self, choose):
        return {**super().draw(choose), "unused": [1, 2]}

class Nameless(Plain):
    name = None

class Shapeless(Plain):
    input_shape = (1, 0, 8)

class Needy(Plain):
    def __init__(self, chans):
        self.chans = chans

class Abstract(Space):
    name = "abstract"
    summary = "without methods"

number = 7
"""


@pytest.fixture
def own(tmp_path: Path, user_modules: None) -> str:
    """A user's file."""
    path = tmp_path / "own_spaces.py"
    path.write_text(OWN, encoding="utf-8")
    return str(path)


def test_there_are_the_spaces_of_the_papers() -> None:
    assert list(BUILT_IN) == [
        *(f"anynetx{letter}" for letter in "abcde"), "regnet", "regnetx", "regnety", "uib", "mobilenetv3", "rexnet",
    ]  # fmt: skip
    for name, space in BUILT_IN.items():
        assert load(name) is space
        assert space.name == name
        assert 20 < len(space.summary) < 120


def test_one_of_your_own(own: str) -> None:
    space = load(f"{own}:Plain")
    assert (space.name, load(f"{own}:made").name) == ("plain", "plain")
    counter = Counter(fusion="epilogue", dtype="fp32")
    configs = [space.draw(RandomChooser(0, index)) for index in range(5)]
    assert all(differences(space, config, counter) == [] for config in configs)
    table = rows(space, configs, range(5), counter, [])
    expected = [28 * c + (d - 1) * (9 * c * c + c) for d, c in zip(table["depth"], table["chans"], strict=True)]
    assert list(table["params"]) == expected


def test_lists_will_do_where_tuples_are_meant(own: str) -> None:
    space, counter = load(f"{own}:Listed"), Counter()
    config = space.draw(RandomChooser(0, 0))
    assert differences(space, config, counter) == []
    assert rows(space, [config], [0], counter, [])["unused"] == [[1, 2]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Plan", r"own_spaces.py has no 'Plan'. Did you mean 'Plain'\?"),
        ("Nameless", r"has no name: a space needs one, of text"),
        ("Needy", r"cannot be made without arguments: .*chans"),
        ("Abstract", r"cannot be made without arguments: .*abstract"),
        ("Shapeless", r"has an input_shape of \(1, 0, 8\): whole numbers above 0, the batch first"),
        ("number", r"is no space: a subclass of roofline.spaces.Space is needed, or one made of it"),
    ],
)
def test_what_is_no_space(own: str, name: str, message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        load(f"{own}:{name}")


def test_a_file_that_does_not_import(tmp_path: Path, user_modules: None) -> None:
    path = tmp_path / "broken_space.py"
    path.write_text("import nothing_of_that_name\n", encoding="utf-8")
    with pytest.raises(RooflineError, match=r"broken_space.py does not import: .*:1: ModuleNotFoundError"):
        load(f"{path}:Space")
    with pytest.raises(RooflineError, match=r"absent.py: no such file"):
        load(f"{tmp_path / 'absent.py'}:Space")


def test_an_unknown_name() -> None:
    with pytest.raises(RooflineError, match=r"unknown space 'regnetz'. Did you mean .*'regnetx'") as caught:
        load("regnetz")
    for reference in ("mine.py:", ":Mine", "no_such_module:Mine"):
        with pytest.raises(RooflineError, match=f"unknown space '{reference}'"):
            load(reference)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        RooflineError, match=r"unknown space 'qqq'. There are anynetxa, .* FILE.py:CLASS or MODULE:CLASS"
    ):
        load("qqq")
