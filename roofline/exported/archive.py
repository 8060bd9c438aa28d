"""What is safe to read of a ``.pt2`` archive: the JSON of its graph and of its weights' shapes, and nothing else.

`torch.export.save` writes a zip (torch/export/pt2_archive):

    NAME/archive_format, archive_version          "pt2", "0"
    NAME/models/model.json                        the graph, with the shape of every tensor
    NAME/data/weights/model_weights_config.json   which weight is in which file, how laid out
    NAME/data/weights/weight_0 ...                raw numbers, or a pickle
    NAME/data/constants/..., sample_inputs/...    pickles among them

`torch.export.load` unpickles the last ones with ``weights_only=False``, which runs whatever code they hold; its
documentation warns of it. Here no weight, constant or sample input is opened, and no file is written. Archives of
PyTorch before 2.8 keep the same graph in ``serialized_exported_program.json``.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roofline.errors import ModelError

SCHEMA_MAJOR = 8  # torch/_export/serde/schema.py, SCHEMA_VERSION; the minor number grows with compatible changes
MAX_JSON_BYTES = 64 * 2**20  # an 80-layer language model has about 30 MB, mostly stack traces
OLD_GRAPH = "serialized_exported_program.json"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Archive:
    """The parts of an archive that describe the network.

    Attributes:
        program: The exported program: schema ``ExportedProgram`` of torch/_export/serde/schema.py.
        weights: By dotted name: schema ``PayloadMeta``; empty in archives that do not tell.
    """

    program: Json
    weights: Json


def read_archive(path: Path) -> Archive:
    """Read the graph of an archive, without its weights.

    Raises:
        ModelError: No such archive, a damaged one, one of another kind or of another version, or one that would take
            more memory than a graph needs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names and min(member.header_offset for member in archive.infolist()) > 0:
                raise zipfile.BadZipFile("its end is missing")  # then a smaller zip inside is taken for the whole
            _check_names(path, names)
            graph = _name_of_graph(path, names)
            program = _json(path, archive, graph)
            folder, _, stem = graph.removesuffix(".json").rpartition("models/")
            config = f"{folder}data/weights/{stem}_weights_config.json"
            weights = _json(path, archive, config).get("config", {}) if config in names else {}
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{path} is no whole .pt2 archive: {' '.join(str(error).split())}") from error
    _check_version(path, program)
    return Archive(program, weights)


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
    size = archive.getinfo(name).file_size
    if size > MAX_JSON_BYTES:
        raise ModelError(f"{path}: {name} would be {size:,} bytes; graphs have up to {MAX_JSON_BYTES:,}")
    with archive.open(name) as member:
        text = member.read(MAX_JSON_BYTES + 1)  # no more than that, whatever the archive says of itself
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
