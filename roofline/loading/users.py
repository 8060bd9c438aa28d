"""A callable of the user's own, ``net.py:make_net`` or ``package.module:make_net``, and the inputs that stand beside.

The file is run as python would run it, and once in a process, however many references name it; nothing else is.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from roofline.errors import ModelError, did_you_mean
from roofline.loading.building import build, where
from roofline.loading.inputs import DEFAULT_INPUT_SIZE, Built, Example, image, without_data
from roofline.loading.references import HUGGING_FACE, LIBRARIES, PASSES, no_pass

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
            _check_passes(found, arguments, reference)
            module = build(partial(found, **arguments), reference, weights)

    def example(batch: int, size: tuple[int, ...] | None) -> Example:
        stated = None if size else _stated(module, found, home)
        if stated is not None:
            with _importing_from(folder):
                return _example(stated, batch, f"{place}'s {EXAMPLE_INPUTS}")
        source = "given" if size else "the default, as the reference names none"
        return Example(args=(image(module, batch, size or DEFAULT_INPUT_SIZE),), source=source)

    return Built(module=module, name=reference, example=example)


def _check_passes(found: Any, arguments: Mapping[str, Any], reference: str) -> None:
    """Refuse ``prefill`` and ``decode`` where the callable has no such arguments of its own."""
    try:
        takes = inspect.signature(found).parameters
    except (TypeError, ValueError):  # it does not say
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values()):
        return
    for name in PASSES:
        if name in arguments and name not in takes:
            raise ModelError(f"{reference} has no argument {name}, and {no_pass(name)}")


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
    """Neighbours of the user's file come first, as python would have it, and are not taken for those of another.

    Those of another folder wait aside until a file of that folder is asked for again.
    """
    for name, home in list(_NEIGHBOURS.items()):
        if home != folder:
            module = sys.modules.pop(name, None)
            if module is not None:
                _ASIDE.setdefault(home, {})[name] = module
            del _NEIGHBOURS[name]
    for name, module in _ASIDE.pop(folder, {}).items():
        if sys.modules.setdefault(name, module) is module:
            _NEIGHBOURS[name] = folder
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        new = [name for name in set(sys.modules) - before if _is_neighbour(name, folder)]
        _NEIGHBOURS.update(dict.fromkeys(new, folder))
        for name in new:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).is_file():
                _IMPORTED.setdefault(_content(Path(file)), sys.modules[name])


def _is_neighbour(name: str, folder: Path) -> bool:
    """Whether a module is of the folder itself, not of a library installed somewhere below it."""
    top = name.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and Path(file) in (folder / f"{top}.py", folder / top / "__init__.py")


_NEIGHBOURS: dict[str, Path] = {}  # modules that users' files imported, and from which folder
_ASIDE: dict[Path, dict[str, ModuleType]] = {}  # those of folders that were imported from earlier
_IMPORTED: dict[tuple[Path, str], ModuleType] = {}  # what each of the user's files, as it then stood, became


def _content(path: Path) -> tuple[Path, str]:
    """A file and what stands in it."""
    return path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest()


def _attribute(module: ModuleType, name: str, reference: str) -> Any:
    found = getattr(module, name, None)
    if found is None:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(f"{reference.rpartition(':')[0]} has no {name!r}.{did_you_mean(name, public)}")
    if not callable(found):
        raise ModelError(f"{reference} is a {type(found).__name__}; a callable that returns an nn.Module is needed")
    return found


class _AsWritten(SourceFileLoader):
    """Compiles a file anew: bytecode is found again by its size and second, in which it can have been changed since."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _import_file(path: Path) -> ModuleType:
    """The module of a file: imported once, and once more where the file has changed since."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    content = _content(path)
    if content in _IMPORTED:
        module = _IMPORTED[content]
        if sys.modules.get(module.__name__) in (None, *_IMPORTED.values()):  # what it became in between, or nothing
            sys.modules[module.__name__] = module
        return module
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=_AsWritten(path.stem, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    earlier = sys.modules.get(path.stem)
    if earlier is None or earlier in _IMPORTED.values():
        sys.modules[path.stem] = module  # dataclasses of the user's file look it up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if sys.modules.get(path.stem) is module:
            del sys.modules[path.stem]
            if earlier is not None:
                sys.modules[path.stem] = earlier
        raise ModelError(f"{path} does not import: {where(error)}") from error
    _IMPORTED[content] = module
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
