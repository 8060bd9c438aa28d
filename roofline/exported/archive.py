"""What is safe to read of a ``.pt2`` archive: the JSON of its graph and of its weights' shapes, and plain numbers.

`torch.export.save` writes a zip (torch/export/pt2_archive):

    NAME/archive_format, archive_version          "pt2", "0"
    NAME/models/model.json                        the graph, with the shape of every tensor
    NAME/data/weights/model_weights_config.json   which weight is in which file, how laid out
    NAME/data/weights/weight_0 ...                raw numbers, or a pickle
    NAME/data/constants/...                       the same of constants, and of buffers that are no state
    NAME/data/sample_inputs/...                   pickles

`torch.export.load` unpickles the last ones with ``weights_only=False``, which runs whatever code they hold; its
documentation warns of it. Here no pickle is opened, and no file is written; raw numbers are read where the network is
to run. Archives of PyTorch before 2.8 keep the same graph in ``serialized_exported_program.json``, and all weights in
a pickle.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roofline.errors import ModelError

SCHEMA_MAJOR = 8  # torch/_export/serde/schema.py, SCHEMA_VERSION; the minor number grows with compatible changes
MAX_JSON_BYTES = 64 * 2**20  # an 80-layer language model has about 30 MB, mostly stack traces
MAX_VALUES = 2**22  # in such a JSON; that of vision and language models has 5 to 6 for every 100 bytes
MAX_RATIO = 200  # of a member compressed by others, PyTorch compresses none; their graphs shrink to 1/30 or 1/40
OLD_GRAPH = "serialized_exported_program.json"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an archive keeps the numbers of a tensor.

    Attributes:
        member: Of the zip; tensors that share memory share it.
        is_pickle: Whether it is a pickle, which is not to be opened.
        meta: Shape, strides, offset and dtype: schema ``TensorMeta``; None of some pickles.
    """

    member: str
    is_pickle: bool
    meta: Json | None


@dataclass(frozen=True, slots=True)
class Archive:
    """The parts of an archive that describe the network.

    Attributes:
        program: The exported program: schema ``ExportedProgram`` of torch/_export/serde/schema.py.
        weights, constants: Where they are, by dotted name; empty in archives that do not tell.
    """

    program: Json
    weights: dict[str, Stored]
    constants: dict[str, Stored]


def read_archive(path: Path) -> Archive:
    """Read the graph of an archive, without its weights.

    Raises:
        ModelError: No such archive, a damaged one, one of another kind or of another version, or one that would take
            more memory than a graph needs.
    """
    with _opened(path) as archive:
        names = archive.namelist()
        if names and min(member.header_offset for member in archive.infolist()) > 0:
            raise zipfile.BadZipFile("its end is missing")  # then a smaller zip inside is taken for the whole
        _check_names(path, names)
        graph = _name_of_graph(path, names)
        program = _json(path, archive, graph)
        weights, constants = (_stored(path, archive, graph, kind) for kind in ("weights", "constants"))
    _check_version(path, program)
    return Archive(program, weights, constants)


def read_numbers(path: Path, members: Iterable[str]) -> dict[str, Tensor]:
    """The raw bytes of some members of an archive, in memory of torch's; a member that it lacks is left out.

    Raises:
        ModelError: The archive is damaged, or its numbers are not as PyTorch writes them.
    """
    found: dict[str, Tensor] = {}
    with _opened(path) as archive:
        names = set(archive.namelist())
        order = next((archive.read(name) for name in names if name.rpartition("/")[2] == "byteorder"), b"")
        if order and order.decode(errors="replace") != sys.byteorder:
            raise ModelError(f"{path} has its numbers in the byte order of another kind of machine: export it here")
        for member in names.intersection(members):
            info = archive.getinfo(member)
            if info.compress_type != zipfile.ZIP_STORED:  # a few bytes could become more than memory holds
                raise ModelError(f"{path}: {member} is compressed, which PyTorch does not do with numbers")
            numbers = np.frombuffer(archive.read(info), dtype=np.uint8)
            found[member] = torch.empty(len(numbers), dtype=torch.uint8)  # aligned as torch's kernels like it
            found[member].numpy()[:] = numbers
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except MemoryError as error:
        raise ModelError(f"{path} does not fit into memory") from error
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{path} is no whole .pt2 archive: {' '.join(str(error).split())}") from error


def _stored(path: Path, archive: zipfile.ZipFile, graph: str, kind: str) -> dict[str, Stored]:
    """Where weights or constants are, beside a graph of that name."""
    root, _, stem = graph.removesuffix(".json").rpartition("models/")
    folder = f"{root}data/{kind}"
    config = f"{folder}/{stem}_{kind}_config.json"
    if config not in archive.namelist():
        return {}
    try:
        return {
            str(name): Stored(f"{folder}/{entry['path_name']}", bool(entry.get("use_pickle")), entry.get("tensor_meta"))
            for name, entry in _json(path, archive, config).get("config", {}).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: {config} does not say where its tensors are") from error


def _check_names(path: Path, names: list[str]) -> None:
    for name in names:
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
            raise ModelError(f"{path} holds {name!r}, a path that leaves the archive: it is damaged or malicious")


def _name_of_graph(path: Path, names: list[str]) -> str:
    graphs = [name for name in names if name.endswith(".json") and "/models/" in f"/{name}"]
    if not graphs and OLD_GRAPH in names:
        return OLD_GRAPH
    chosen = [name for name in graphs if name.endswith("models/model.json")] or graphs
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise ModelError(
            f"{path} holds {len(chosen)} networks ({', '.join(chosen[:5])}); save one in a file of its own"
        )
    if any(name.endswith("data.pkl") for name in names):
        what = "is a TorchScript archive or a pickle, and loading it runs code from inside it"
    elif any("aotinductor" in name for name in names):
        what = "holds compiled code, and no graph"
    else:
        what = "holds no exported program"
    raise ModelError(
        f"{path} {what}; torch.export.save(torch.export.export(net, inputs), 'net.pt2') makes one that does"
    )


def _json(path: Path, archive: zipfile.ZipFile, name: str) -> Json:
    info = archive.getinfo(name)
    size = info.file_size
    if size > MAX_JSON_BYTES:
        raise ModelError(f"{path}: {name} would be {size:,} bytes; graphs have up to {MAX_JSON_BYTES:,}")
    if size > MAX_RATIO * info.compress_size:
        raise ModelError(
            f"{path}: {name} would be {size:,} bytes, out of {info.compress_size:,}: no graph is as repetitive"
        )
    with archive.open(name) as member:
        text = member.read(MAX_JSON_BYTES + 1)  # no more than that, whatever the archive says of itself
    if sum(text.count(mark) for mark in (b"{", b"[", b",")) > MAX_VALUES:  # in memory, each has up to some 200 bytes
        raise ModelError(f"{path}: {name} has more than {MAX_VALUES:,} values, which no graph has")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: {name} is no JSON: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: {name} is no JSON object")
    return found


def _check_version(path: Path, program: Json) -> None:
    version = program.get("schema_version")
    major = version.get("major") if isinstance(version, dict) else None
    if major != SCHEMA_MAJOR:
        made = str(program.get("torch_version", "unknown"))[:40]
        raise ModelError(
            f"{path} was made by another version of PyTorch ({made}): its schema is {major}, and {SCHEMA_MAJOR} is "
            "what can be read here; export it again with the PyTorch that is installed"
        )
