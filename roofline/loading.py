"""From a model reference to a module and its example inputs; weights are not read, and not made but to run it.

    mobilenetv4_conv_m            the zoo (`roofline.models`)
    mobileone_s0:train            a form of one of its networks
    path/to/net.py:make_net       a callable in your own file that returns a module, or a module class
    package.module:make_net       the same in an importable module

Modules are built on the meta device with the functions of ``torch.nn.init`` switched off: no weights are allocated
and no random numbers drawn. A constructor that needs real numbers is built on the CPU instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from roofline import models
from roofline.errors import ModelError, did_you_mean

MAX_ELEMENTS = 2**44  # of an input: beyond any machine, and far from where sums of MACs leave 64 bits
DEFAULT_INPUT_SIZE = (3, 224, 224)  # of a reference that does not say; ImageNet's usual


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedModel:
    """A module ready to be traced.

    Attributes:
        reference: What the user wrote.
        name: What the reference resolved to.
        module: The module, on the meta device where it could be built there.
        inputs: Positional example inputs, on the meta device.
        input_source: Why the inputs have the size they have.
        entry: Its row in the zoo's catalogue, if it is from there and was built without arguments.
    """

    reference: str
    name: str
    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    input_source: str
    entry: models.Entry | None = None


def load(
    reference: str,
    *,
    batch: int = 1,
    input_size: tuple[int, ...] | None = None,
    arguments: Mapping[str, Any] | None = None,
    weights: bool = False,
) -> LoadedModel:
    """Resolve a model reference and build the model for analysis, or to run.

    Args:
        reference: See the module's head.
        batch: Images a pass, at least 1.
        input_size: Channels, height, width; the published size, or 3x224x224, when not given.
        arguments: For the constructor or callable, by name: ``{"width_mult": 1.7}``.
        weights: Whether it is to run: its weights are then made, as its constructor initialises them.

    Raises:
        ModelError: The reference does not resolve, its code fails, it does not take the arguments, or `batch` or
            `input_size` make no sense.
    """
    if not isinstance(batch, int) or not all(isinstance(length, int) for length in input_size or ()):
        raise ModelError(f"batch and input_size are whole numbers (got {batch!r}, {input_size!r})")
    if batch < 1:
        raise ModelError(f"batch must be at least 1 (got {batch})")
    arguments = dict(arguments or {})
    entry = None
    if reference.endswith(".py"):
        raise ModelError(f"{reference} is a file; name a callable in it that returns a module: {reference}:make_net")
    if ":" in reference and not models.knows(reference):
        module, name = _load_users(reference, arguments, weights), reference
        default, source = DEFAULT_INPUT_SIZE, "the default, as the reference names none"
    else:
        entry = models.find(reference)
        build = partial(entry.build, **arguments)
        module, name = build() if weights else build_on_meta(build), entry.name
        default, source = (arguments.get("in_chans", 3), *entry.input_size[1:]), "the published size"
    if arguments:
        name = f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    if input_size is not None:
        source = "given"
    size = input_size or default
    if any(length < 1 for length in size):
        raise ModelError(f"an input size needs positive lengths (got {'x'.join(map(str, size))})")
    if batch * math.prod(size) > MAX_ELEMENTS:
        given = "x".join(map(str, (batch, *size)))
        raise ModelError(
            f"an input of {given[:60]} (batch, then size) is beyond any machine; 2^44 elements are allowed"
        )
    reduction = getattr(module, "reduction", models.REDUCTION)
    if entry is not None and min(size[1:]) < reduction:
        given = "x".join(map(str, size))
        raise ModelError(
            f"{name} divides the size of its input by {reduction}: height and width must be at least that (got {given})"
        )
    return LoadedModel(
        reference=reference,
        name=name,
        module=module,
        inputs=(torch.empty((batch, *size), dtype=_floating_dtype(module), device="meta"),),
        input_source=source,
        entry=None if arguments else entry,
    )


def build_on_meta(factory: Callable[[], nn.Module]) -> nn.Module:
    """Call `factory` so that its parameters are shapes without memory, and its random initialisation is skipped."""
    with torch.device("meta"), _WithoutInit():
        return factory()


class _WithoutInit(TorchFunctionMode):
    """Leaves tensors as they are where ``torch.nn.init`` would fill them."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _floating_dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _load_users(reference: str, arguments: Mapping[str, Any], weights: bool) -> nn.Module:
    place, _, name = reference.rpartition(":")
    is_file = place.endswith(".py")
    folder = Path(place).resolve().parent if is_file else Path.cwd()
    with _importing_from(folder):
        found = _attribute(_import_file(Path(place)) if is_file else _import_module(place, reference), name, reference)
        if isinstance(found, nn.Module):
            if arguments:
                raise ModelError(f"{reference} is a module already; only a callable takes arguments")
            return found
        return _build(partial(found, **arguments), reference, weights)


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
        raise ModelError(f"{path} does not import: {_where(error)}") from error
    return module


def _import_module(name: str, reference: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModelError(f"unknown model {reference!r}: expected a zoo name, FILE.py:CALLABLE or MODULE:CALLABLE")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ModelError(f"unknown model {reference!r}: there is no module {name!r}") from error
        raise ModelError(f"{name} does not import: {_where(error)}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{name} does not import: {_where(error)}") from error


def _build(factory: Callable[[], Any], reference: str, weights: bool) -> nn.Module:
    try:
        module = factory() if weights else build_on_meta(factory)
    except (Exception, SystemExit):
        try:  # a constructor that reads values, such as a linspace of drop rates, needs a real device
            with torch.random.fork_rng(devices=[]):
                module = factory()
        except (Exception, SystemExit) as error:
            raise ModelError(f"{reference} fails to build: {_where(error)}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{reference} returns a {type(module).__name__}; an nn.Module is needed")
    return module


def _where(error: BaseException) -> str:
    """``net.py:12: NameError: ...``, in one line; the innermost line that is neither ours nor Python's own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if f.filename != __file__ and not f.filename.startswith("<frozen")]
    place = f"{theirs[-1].filename}:{theirs[-1].lineno}: " if theirs else ""
    return f"{place}{type(error).__name__}: {' '.join(str(error).split())}"
