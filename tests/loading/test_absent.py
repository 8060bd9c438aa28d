"""A library is imported without one that it imports, and nothing of that is left behind."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from roofline.loading.absent import absent, is_of

NEEDY = """
import gone
import gone.io
from gone import transforms
from gone.ops.misc import Norm, apply
from gone.transforms import functional as F
from gone.transforms.functional import Mode

class Mine(transforms.Base):
    pass

class Inner(Mine):
    def __init__(self):
        self.value = 1

MODES = {Mode.NEAREST: "nearest", Mode.LINEAR: "linear"}
def given(mode: Mode | str = Mode.LINEAR, *, pad=F.pad): ...
def is_norm(module): return isinstance(module, Norm)
"""


@pytest.fixture
def needy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None) -> Any:
    (tmp_path / "needy_of_gone.py").write_text(NEEDY)
    monkeypatch.syspath_prepend(tmp_path)
    with absent("gone"):
        return importlib.import_module("needy_of_gone")


def test_what_modules_do_while_they_load_works(needy: Any) -> None:
    assert sorted(needy.MODES.values()) == ["linear", "nearest"]
    assert needy.Mode.NEAREST is needy.Mode.NEAREST
    assert not needy.is_norm(3)
    assert issubclass(needy.Inner, needy.Mine)


@pytest.mark.parametrize(
    ("use", "named"),
    [
        (lambda needy: needy.Norm(8), "gone.ops.misc.Norm"),
        (lambda needy: needy.apply(), "gone.ops.misc.apply"),
        (lambda needy: needy.F.pad([1], 2), "gone.transforms.functional.pad"),
        (lambda needy: needy.Mode.NEAREST(), "gone.transforms.functional.Mode.NEAREST"),
        (lambda needy: needy.Mine(), "gone.transforms.Base"),
        (lambda needy: needy.Inner(), "gone.transforms.Base"),
        (lambda needy: needy.gone.load("x"), "gone.load"),
    ],
)
def test_what_is_used_is_named(needy: Any, use: Any, named: str) -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        use(needy)
    assert str(caught.value) == f"this takes {named}, and gone is not there or does not import"
    assert caught.value.name == "gone"


def test_afterwards_it_is_as_missing_as_before(needy: Any) -> None:
    assert [name for name in sys.modules if is_of(name, "gone")] == []
    with pytest.raises(ModuleNotFoundError, match="No module named 'gone'"):
        importlib.import_module("gone")
    finders = [type(finder).__module__ for finder in sys.meta_path]
    assert absent.__module__ not in finders


@pytest.mark.parametrize("found", [None, ModuleType("gone")])
def test_what_was_imported_of_it_is_put_back(found: ModuleType | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it, where it failed; or None, which is how a module is hidden."""
    monkeypatch.setitem(sys.modules, "gone", found)
    with absent("gone"):
        inside = importlib.import_module("gone.ops")
        assert sys.modules["gone"] is not found
        assert inside.nms.__module__ == "gone.ops"
    assert sys.modules["gone"] is found
    assert "gone.ops" not in sys.modules


def test_it_ends_with_the_import_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None
) -> None:
    (tmp_path / "fails_after_gone.py").write_text("import gone\n1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError), absent("gone"):
        importlib.import_module("fails_after_gone")
    assert "gone" not in sys.modules


def test_protocols_find_nothing(needy: Any) -> None:
    assert not hasattr(needy.Norm, "__iter__")
    assert not hasattr(needy.gone, "__all__")


def test_no_other_library_is_taken_for_it() -> None:
    assert is_of("gone", "gone")
    assert is_of("gone.ops", "gone")
    assert not is_of("gone_too", "gone")
    with absent("gone"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("gone_too")
