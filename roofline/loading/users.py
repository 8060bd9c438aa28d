"""A callable of the user's own, ``net.py:make_net`` or ``package.module:make_net``, and the inputs that stand beside.

The file is run as python would run it; nothing else is.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from roofline.errors import ModelError, did_you_mean
from roofline.loading.building import build, where
from roofline.loading.inputs import DEFAULT_INPUT_SIZE, Built, Example, image, without_data
from roofline.loading.references import HUGGING_FACE, LIBRARIES

EXAMPLE_INPUTS = "example_inputs"


def built(reference: str, arguments: Mapping[str, Any], weights: bool) -> Built:
    """Run the user's file and build what its callable makes.

    Raises:
        ModelError: It does not import, has no such callable, fails, or makes no module.
    """
    place, _, name = reference.rpartition(":")
    is_file = place.endswith(".py")
    folder = Path(place).resolve().parent if is_file else Path.cwd()
    with _importing_from(folder):
        home = _import_file(Path(place)) if is_file else _import_module(place, reference)
        found = _attribute(home, name, reference)
        if isinstance(found, nn.Module):
            if arguments:
                raise ModelError(f"{reference} is a module already; only a callable takes arguments")
            module = found
        else:
            module = build(partial(found, **arguments), reference, weights)

    def example(batch: int, size: tuple[int, ...] | None) -> Example:
        stated = None if size else _stated(module, found, home)
        if stated is not None:
            with _importing_from(folder):
                return _example(stated, batch, f"{place}'s {EXAMPLE_INPUTS}")
        source = "given" if size else "the default, as the reference names none"
        return Example(args=(image(module, batch, size or DEFAULT_INPUT_SIZE),), source=source)

    return Built(module=module, name=reference, example=example)


# --- example inputs ---------------------------------------------------------------------------------------------------


def _stated(module: nn.Module, found: Any, home: ModuleType) -> Any:
    """`example_inputs` of the module, of the callable that made it, or of the file; None where there is none."""
    beside = None if isinstance(found, type) else getattr(found, EXAMPLE_INPUTS, None)
    for stated in (getattr(module, EXAMPLE_INPUTS, None), beside, getattr(home, EXAMPLE_INPUTS, None)):
        if stated is not None:
            return stated
    return None


def _example(stated: Any, batch: int, source: str) -> Example:
    """The call that `example_inputs` states: a tensor, a tuple, a dict, or a function that returns one of these."""
    takes_batch = False
    if callable(stated) and not isinstance(stated, Tensor):
        try:
            takes_batch = "batch" in inspect.signature(stated).parameters
            call = partial(stated, batch=batch) if takes_batch else stated
            with torch.random.fork_rng(devices=[]):
                try:
                    with torch.device("meta"):
                        stated = call()
                except (Exception, SystemExit):  # what reads values needs real ones
                    stated = call()
        except (Exception, SystemExit) as error:
            raise ModelError(f"{source} fails: {where(error)}") from error
    if batch != 1 and not takes_batch:
        raise ModelError(f"{source} has a batch of its own; make it a function of one argument, batch, to choose it")
    if isinstance(stated, Mapping):
        if not all(isinstance(key, str) for key in stated):
            raise ModelError(f"{source} is a dict whose keys are no names of arguments of forward")
        args, kwargs = (), dict(stated)
    else:
        args, kwargs = tuple(stated) if isinstance(stated, tuple | list) else (stated,), {}
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
        raise ModelError(f"{source} holds no tensor: a tensor, a tuple, a dict, or a function that returns one")
    return Example(args=without_data(args), kwargs=without_data(kwargs), source=source)


def named(reference: str) -> Any:
    """What ``FILE.py:NAME`` or ``MODULE:NAME`` names.

    Raises:
        ModelError: The file or module does not import, or has nothing of that name.
    """
    place, _, name = reference.rpartition(":")
    is_file = place.endswith(".py")
    with _importing_from(Path(place).resolve().parent if is_file else Path.cwd()):
        home = _import_file(Path(place)) if is_file else _import_module(place, reference)
    found = getattr(home, name, None)
    if found is None:
        public = [key for key, value in vars(home).items() if isinstance(value, type) and not key.startswith("_")]
        raise ModelError(f"{place} has no {name!r}.{did_you_mean(name, public)}")
    return found


# --- importing it -----------------------------------------------------------------------------------------------------


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Neighbours of the user's file come first, as python would have it, and are not taken for those of another."""
    for name, home in list(_NEIGHBOURS.items()):
        if home != folder:
            sys.modules.pop(name, None)
            del _NEIGHBOURS[name]
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        _NEIGHBOURS.update((name, folder) for name in set(sys.modules) - before if _is_neighbour(name, folder))


def _is_neighbour(name: str, folder: Path) -> bool:
    """Whether a module is of the folder itself, not of a library installed somewhere below it."""
    top = name.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and Path(file) in (folder / f"{top}.py", folder / top / "__init__.py")


_NEIGHBOURS: dict[str, Path] = {}  # modules that users' files imported, and from which folder


def _attribute(module: ModuleType, name: str, reference: str) -> Any:
    found = getattr(module, name, None)
    if found is None:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(f"{reference.rpartition(':')[0]} has no {name!r}.{did_you_mean(name, public)}")
    if not callable(found):
        raise ModelError(f"{reference} is a {type(found).__name__}; a callable that returns an nn.Module is needed")
    return found


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    known = sys.modules.setdefault(path.stem, module)  # dataclasses of the user's file look it up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if known is module:
            del sys.modules[path.stem]
        raise ModelError(f"{path} does not import: {where(error)}") from error
    return module


def _import_module(name: str, reference: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModelError(f"unknown model {reference!r}: expected a zoo name, FILE.py:CALLABLE or MODULE:CALLABLE")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            near = did_you_mean(name, (*LIBRARIES, HUGGING_FACE))
            raise ModelError(f"unknown model {reference!r}: there is no module {name!r}.{near}".rstrip(".")) from error
        raise ModelError(f"{name} does not import: {where(error)}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name} does not import: {where(error)}") from error
