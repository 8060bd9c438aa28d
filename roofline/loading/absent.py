"""Import a library that imports another which is not there, and use what does without it.

timm imports torchvision for its data sets, its transforms of images and one kind of batch norm, of which its networks
need none. While it is imported, whatever it takes from torchvision is a class without anything in it, that may be
named, inherited from and compared with, as happens while modules load. Calling one says what is missing.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Absent(type):
    """The type of what is not there: each attribute is a class of the kind, too, and calling one fails."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # what protocols look for
            raise AttributeError(name)
        found = _Absent(name, (), {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.{name}"})
        setattr(cls, name, found)
        return found

    def __call__(cls, *_: Any, **__: Any) -> Any:
        missing = next(base for base in cls.__mro__ if base.__bases__ == (object,))  # of which cls may be a subclass
        library = missing.__module__.partition(".")[0]
        what = f"{missing.__module__}.{missing.__qualname__}"
        raise ModuleNotFoundError(f"this takes {what}, and {library} is not there or does not import", name=library)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds each module of a library, and fills it with what is asked of it."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not is_of(fullname, self.library):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        names: dict[str, Any] = {}

        def absent(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return names.setdefault(name, _Absent(name, (), {"__module__": module.__name__}))

        module.__dict__["__getattr__"] = absent


@contextmanager
def absent(library: str) -> Iterator[None]:
    """Import without `library`, or with what of it does not load; afterwards it is as missing as before."""
    finder = _Finder(library)
    before = _taken_out(library)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _taken_out(library)
        sys.modules.update(before)


def _taken_out(library: str) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if is_of(name, library)}


def is_of(module: str, library: str) -> bool:
    """Whether the name of a module is that of a library, or of a part of it."""
    return module.partition(".")[0] == library
