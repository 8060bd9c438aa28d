"""A cache of layer tables in the user's cache directory, so that a second look at a model imports no torch.

One entry a table, under the SHA-256 of all that it depends on (`key_of`): JSON, compressed. `roofline.cache_folder` has
where entries are, how they are written, and how many are kept. One that is damaged, or made from files that have
changed, is as good as absent.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import operator
import os
import platform
import sys
import sysconfig
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import roofline
from roofline import models
from roofline.cache_folder import MAX_ENTRY_BYTES, TABLES, is_off, read, source_digest, was_used, write
from roofline.layers import COLUMNS, LayerTable, UncountedOp
from roofline.loading.references import HUGGING_FACE, library_of

_INT_COLUMNS = ("macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes", "external_bytes")
_SHAPE_COLUMNS = ("input_shape", "output_shape", "kernel")
_NOT_OWN = ("roofline", "__main__", "__mp_main__")  # modules of which the last two are the command itself
_PLAIN = (type(None), bool, int, float, str)
_NO_ENTRY = (  # what reading one raises that is damaged, or made from what is no longer there
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, zlib.error,
    metadata.PackageNotFoundError,
)  # fmt: skip
_FILES_OF_ENTRIES: set[str] = set()  # what tables that were found here were made from: as good as imported
_PACKAGES_OF_ENTRIES: set[str] = set()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoweredModel:
    """What a reference was lowered to.

    Attributes:
        name: What the reference resolved to.
        input_shapes: Of the example inputs, batch included.
        input_source: Why they have these.
        layers: The layer table.
    """

    name: str
    input_shapes: tuple[tuple[int, ...], ...]
    input_source: str
    layers: LayerTable


# --- what a table depends on ----------------------------------------------------------------------------------------


def key_of(
    reference: str, *, asked: Mapping[str, Any], how: Mapping[str, Any], wanted: bool | None = None
) -> str | None:
    """The name of the entry of a reference; None where its table is not to be cached.

    That is the SHA-256 of the reference, of how it is built and lowered, of the versions of roofline, Python, torch and
    the library it is from, of the source files of roofline and its zoo, and of whether files of the library have
    changed. Nothing is imported to find it. What a file of the user's own says is not in it: the entry knows the files
    it was made from (`store`).

    Args:
        reference: Of a model, as in `roofline.loading`.
        asked: How to build it and its inputs.
        how: How to lower it, as `roofline.layers.lower` takes it.
        wanted: True to cache files of the user's own too, False to cache nothing; None for the zoo and for libraries,
            unless the environment has ROOFLINE_NO_CACHE.
    """
    if is_off(wanted):
        return None
    if models.knows(reference):
        name, packages = models.find(reference).name, ["torch"]
    elif (found := library_of(reference)) is not None:
        library, _ = found
        if _is_editable(library):
            return None
        settings = sorted(item for item in os.environ.items() if item[0].startswith("TIMM_"))  # TIMM_FUSED_ATTN=0
        name, packages = f"{reference} {settings} {_state(library)}", ["torch", library]
    elif wanted:
        name, packages = _located(reference), ["torch"]
    else:
        return None
    plain = {**asked, **how, "fused_activations": sorted(how.get("fused_activations", ()))}
    if not _is_plain(plain):
        return None
    try:
        versions = [f"{package} {metadata.version(package)}" for package in packages]
    except metadata.PackageNotFoundError:
        return None
    parts = (name, plain, versions, platform.python_version(), roofline.__version__, _source_digest())
    return hashlib.sha256(repr(parts).encode("utf-8", errors="surrogateescape")).hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether `repr` tells all of it, and the same in every process."""
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return type(value) in _PLAIN


def _is_editable(library: str) -> bool:
    """Whether it is installed as a folder that its developer edits, so that its version tells nothing (PEP 610)."""
    try:
        return '"editable": true' in (metadata.distribution(library).read_text("direct_url.json") or "")
    except metadata.PackageNotFoundError:
        return False


def _state(library: str) -> str:
    """A digest of a library's source files by name, size and time of change: reading them all would take too long."""
    found: list[str] = []
    with suppress(OSError, ImportError, ValueError):  # there is none, or a file of it has just gone
        spec = importlib.util.find_spec(library)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in Path(folder).rglob("*.py"):
                known = path.stat()
                found.append(f"{path} {known.st_size} {known.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(found)).encode(errors="surrogateescape")).hexdigest()


def _located(reference: str) -> str:
    """A reference to the user's own, with where Python would look for it."""
    file = own_file(reference)
    place = [str(file.resolve())] if file is not None else [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    return "\n".join([reference, *place])


def own_file(reference: str) -> Path | None:
    """The file that a reference names; None where it names a module."""
    if reference.startswith(f"{HUGGING_FACE}:"):
        path = Path(reference.removeprefix(f"{HUGGING_FACE}:"))
        return path / "config.json" if path.is_dir() else path
    whole, place = Path(reference), Path(reference.rpartition(":")[0])
    if whole.is_file():
        return whole
    return place if place.suffix == ".py" else None


@cache
def _source_digest() -> str:
    """Of roofline's own files: all but those that only draw, and the commands."""
    own = Path(__file__).parent
    folders = {"": own, "loading": own / "loading", "exported": own / "exported"}
    return source_digest(folders | {"models": Path(models.__file__).parent})


def made_from(reference: str) -> dict[str, dict[str, str]]:
    """What the user's own model was made from: the files of all that Python has imported, and versions of packages.

    What its own imports were, Python does not tell, so it is those of the process; where its table was found in the
    cache and nothing imported, it is what that was made from.

    Returns:
        ``files``, the SHA-256 of each by its absolute path, and ``versions``, of each installed package.
    """
    library_folders = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
    files, packages = [file for file in [own_file(reference)] if file is not None], set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not Path(file).is_file() or name.partition(".")[0] in _NOT_OWN:
            continue  # torch has modules of which it says so of a file that is none
        if {"site-packages", "dist-packages"} & set(Path(file).parts):
            packages.add(name.partition(".")[0])
        elif not file.startswith(library_folders):
            files.append(Path(file))
    files += filter(Path.is_file, map(Path, _FILES_OF_ENTRIES))
    distributions = {distribution for name in packages for distribution in _distributions().get(name, ())}
    return {
        "files": {str(file.resolve()): _digest(file) for file in files},
        "versions": {name: _version(name) for name in sorted(distributions | _PACKAGES_OF_ENTRIES)},
    }


def is_as_it_was(made_from: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether all that `made_from` tells of is there and unchanged.

    Raises:
        PackageNotFoundError, or whatever else there is to say of what `made_from` has not made.
    """
    return all(
        Path(file).is_file() and _digest(Path(file)) == digest for file, digest in made_from["files"].items()
    ) and all(_version(name) == version for name, version in made_from["versions"].items())


_version = cache(metadata.version)  # reading one takes a millisecond, and is done for some 40 of each model
_distributions = cache(metadata.packages_distributions)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def is_own(reference: str) -> bool:
    """Whether it names the user's own: no network of the zoo or of a library."""
    return not models.knows(reference) and library_of(reference) is None


# --- finding and keeping --------------------------------------------------------------------------------------------


def find(key: str) -> LoweredModel | None:
    """The entry of this key, which is then the last one used; None where there is none that is whole and still true."""
    try:
        data = _decoded(read(TABLES, key))
        if not is_as_it_was(data["made_from"]):
            return None
        model = LoweredModel(
            name=data["name"],
            input_shapes=tuple(map(tuple, data["input_shapes"])),
            input_source=data["input_source"],
            layers=_table(data["layers"]),
        )
    except _NO_ENTRY:
        return None
    _FILES_OF_ENTRIES.update(data["made_from"]["files"])
    _PACKAGES_OF_ENTRIES.update(data["made_from"]["versions"])
    was_used(TABLES, key)
    return model


def store(key: str, reference: str, model: LoweredModel) -> None:
    """Keep an entry. What goes wrong is no reason to fail.

    An entry of the user's own also keeps what it was made from: the content of the file, and of every file outside the
    installed packages that Python has imported by now, and the versions of these packages.
    """
    with suppress(OSError, TypeError, metadata.PackageNotFoundError):
        data = _encoded(
            {
                "made_from": made_from(reference) if is_own(reference) else {"files": {}, "versions": {}},
                "name": model.name,
                "input_shapes": model.input_shapes,
                "input_source": model.input_source,
                "layers": _table_data(model.layers),
            }
        )
        write(TABLES, key, data)


# --- tables as bytes ------------------------------------------------------------------------------------------------


def _encoded(data: Mapping[str, Any]) -> bytes:
    text = json.dumps(data, separators=(",", ":"), default=operator.index)
    return zlib.compress(text.encode("ascii"), level=1)


def _decoded(body: bytes) -> Any:
    """What `_encoded` made bytes of.

    Raises:
        ValueError, zlib.error: These are not such bytes, or not all of them.
    """
    unpacked = zlib.decompressobj()
    text = unpacked.decompress(body, MAX_ENTRY_BYTES)
    if not unpacked.eof:
        raise ValueError("an entry that is too large")
    return json.loads(text)


def _table_data(layers: LayerTable) -> dict[str, Any]:
    """A layer table as plain data, with what it finds only when it is asked."""
    return {
        **{column: getattr(layers, column).tolist() for column in COLUMNS},
        "fusion": layers.fusion,
        "dtype": layers.dtype,
        "fused_activations": sorted(layers.fused_activations),
        "transposes": layers.transposes,
        "params": layers.params,
        "peak_activation_bytes": layers.peak_activation_bytes,
        "uncounted_ops": [astuple(op) for op in layers.uncounted_ops],
        "reuse": None if layers.reuse is None else layers.reuse().tolist(),
        "unfused": None if layers.unfused is None else layers.unfused().tolist(),
    }


def _table(data: dict[str, Any]) -> LayerTable:
    """The layer table that `_table_data` made plain data of."""
    length = len(data["name"])
    columns: dict[str, Any] = {}
    for column in COLUMNS:
        if column in _INT_COLUMNS:
            columns[column] = np.array(data[column], dtype=np.int64)
        else:
            items = map(tuple, data[column]) if column in _SHAPE_COLUMNS else data[column]
            columns[column] = np.fromiter(items, dtype=object)
    if any(len(column) != length for column in columns.values()):
        raise ValueError("the columns differ in length")
    reuse = [tuple(map(tuple, tensors)) for tensors in data["reuse"]] if data["reuse"] is not None else None
    return LayerTable(
        **columns,
        fusion=data["fusion"],
        dtype=data["dtype"],
        fused_activations=frozenset(data["fused_activations"]),
        transposes=data["transposes"],
        params=data["params"],
        peak_activation_bytes=data["peak_activation_bytes"],
        uncounted_ops=tuple(UncountedOp(*op) for op in data["uncounted_ops"]),
        reuse=_found(reuse, object),
        unfused=_found(data["unfused"], np.int64),
    )


def _found(items: Sequence[Any] | None, dtype: type[Any]) -> Callable[[], Any] | None:
    """A column for one that is found when it is asked for."""
    if items is None:
        return None
    column = np.fromiter(items, dtype=dtype, count=len(items))
    return lambda: column
