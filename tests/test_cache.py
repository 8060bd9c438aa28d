"""The cache of layer tables: what comes back is what went in, what depends on it is in its name, and nothing fails."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import roofline
from roofline import cache, cache_folder, models
from roofline.analysis import analyze
from roofline.cache import LoweredModel, find, key_of, store
from roofline.cache_folder import MAX_BYTES, TABLES, clear, contents
from roofline.errors import OutputError
from roofline.layers import COLUMNS, KINDS, LayerTable, UncountedOp
from roofline.lowering import lower_reference
from roofline.sweep import sweep

HEAVY = {"torch", "pandas", "plotly", "fvcore", "jinja2", "scipy"}
RUN = """
import json
import sys
from roofline.cli import main

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["roofline", *arguments]
    try:
        main()
    except SystemExit as leaving:
        assert not leaving.code
    print(end="\\f", flush=True)
print(*sys.modules, file=sys.stderr)
"""
MODEL = "mobilenetv3_small_100"
ASKED: dict[str, Any] = {"batch": 1, "input_size": None, "arguments": {}}
HOW: dict[str, Any] = {
    "fusion": "epilogue", "dtype": "int8", "fused_activations": frozenset({"relu", "relu6"}), "transposes": False,
}  # fmt: skip
NET = "from torch import nn\n\ndef make():\n    return nn.Conv2d(3, {width}, 3)\n"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    place = tmp_path / "cache"
    monkeypatch.delenv("ROOFLINE_NO_CACHE", raising=False)
    monkeypatch.setenv("ROOFLINE_CACHE_DIR", str(place))
    return place


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The references that were loaded, and so not taken from the cache."""
    from roofline import loading

    found: list[str] = []
    real = loading.load

    def load(reference: str, **options: Any) -> Any:
        found.append(reference)
        return real(reference, **options)

    monkeypatch.setattr(loading, "load", load, raising=False)
    return found


def content(layers: LayerTable) -> dict[str, Any]:
    """All that a table holds, and of what types."""
    return {
        **{column: (getattr(layers, column).dtype, getattr(layers, column).tolist()) for column in COLUMNS},
        "choices": (layers.fusion, layers.dtype, layers.fused_activations, layers.transposes),
        "totals": (layers.params, layers.peak_activation_bytes, layers.uncounted_ops),
        "reuse": None if layers.reuse is None else layers.reuse().tolist(),
        "unfused": None if layers.unfused is None else layers.unfused().tolist(),
    }


def kept(layers: LayerTable, key: str = "0" * 64) -> LayerTable:
    """What comes back of a table."""
    store(key, MODEL, LoweredModel(name="net", input_shapes=((1, 3),), input_source="given", layers=layers))
    found = find(key)
    assert found is not None
    return found.layers


def small_table(name: str = "conv", layers: int = 1) -> LayerTable:
    columns: dict[str, Any] = {
        **{column: np.fromiter([name] * layers, dtype=object) for column in ("name", "kind", "ops")},
        **{column: np.fromiter([()] * layers, dtype=object) for column in ("input_shape", "output_shape", "kernel")},
    }
    columns |= {column: np.arange(layers) for column in COLUMNS if column not in columns}
    return LayerTable(
        **columns, fusion="none", dtype="fp32", fused_activations=frozenset(), transposes=False, params=0,
        peak_activation_bytes=0,
    )  # fmt: skip


def model_of(layers: LayerTable) -> LoweredModel:
    return LoweredModel(name="net", input_shapes=((1, 3),), input_source="given", layers=layers)


# --- what comes back --------------------------------------------------------------------------------------------------


def smallest() -> list[str]:
    """The network with the fewest MACs of each family of the zoo."""
    families: dict[str, models.Entry] = {}
    for entry in models.entries():
        if entry.family not in families or entry.macs < families[entry.family].macs:
            families[entry.family] = entry
    return [entry.name for entry in families.values()]


@pytest.mark.parametrize("name", smallest())
@pytest.mark.parametrize("fusion", ["none", "epilogue"])
def test_a_table_comes_back_as_it_was(name: str, fusion: str, loads: list[str]) -> None:
    transposes = fusion == "epilogue"
    options: dict[str, Any] = {"asked": ASKED, "fusion": fusion, "dtype": "int8", "transposes": transposes}
    (made, _), (again, _), (anew, _) = (lower_reference(name, **options, cached=c) for c in (None, None, False))
    assert loads == [name, name]
    assert content(again.layers) == content(made.layers) == content(anew.layers)
    assert (again.name, again.input_shapes, again.input_source) == (anew.name, anew.input_shapes, anew.input_source)
    chosen = anew.layers.macs > 0
    assert content(again.layers.take(chosen)) == content(anew.layers.take(chosen))
    for column in COLUMNS:
        assert not getattr(again.layers, column).flags.writeable
    assert all(isinstance(shape, tuple) for shape in again.layers.input_shape)


count = st.integers(0, 2**63 - 1)
shape = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)
texts = st.text(st.characters())  # surrogates too: a file's name may have them


@st.composite
def tables(draw: st.DrawFn) -> LayerTable:
    size = draw(st.integers(0, 6))

    def column(items: st.SearchStrategy[Any], dtype: type = object) -> Any:
        return np.fromiter(draw(st.lists(items, min_size=size, max_size=size)), dtype=dtype, count=size)

    pairs = st.lists(st.tuples(count, count), max_size=3).map(tuple)
    reuse, unfused = column(pairs), column(count, np.int64)
    return LayerTable(
        name=column(texts), kind=column(st.sampled_from(KINDS)), ops=column(texts),
        input_shape=column(shape), output_shape=column(shape), kernel=column(shape),
        macs=column(count, np.int64), vector_ops=column(count, np.int64), weight_bytes=column(count, np.int64),
        input_bytes=column(count, np.int64), output_bytes=column(count, np.int64),
        external_bytes=column(count, np.int64),
        fusion=draw(texts), dtype=draw(texts), fused_activations=draw(st.frozensets(texts, max_size=3)),
        transposes=draw(st.booleans()), params=draw(st.integers(0, 2**80)),
        peak_activation_bytes=draw(count),
        uncounted_ops=tuple(draw(st.lists(st.builds(UncountedOp, texts, count, count), max_size=2))),
        reuse=draw(st.sampled_from([None, lambda: reuse])), unfused=draw(st.sampled_from([None, lambda: unfused])),
    )  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_any_table_comes_back_as_it_was(layers: LayerTable) -> None:
    assert content(kept(layers)) == content(layers)


FORMS = ("table", "json", "csv", "md")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "arguments",
    [
        f"analyze {MODEL} --hw pixel6_tpu",
        f"analyze {MODEL} --hw pixel6_tpu --batch 4 --input-size 3x192x160 --arg act=hardswish --dtype int8 --top 3",
        "analyze MNv4-Conv-S --hw jetson_orin_nano --fusion none",
        f"sweep {MODEL} mobilenetv4_conv_small --points 5",
        "sweep regnety_002 --dtype fp16 --points 3 --input-size 192",
    ],
)
def test_all_output_is_the_same_to_the_byte(command: Command, arguments: str, form: str, loads: list[str]) -> None:
    given = [*arguments.split(), "--format", form]
    anew, first = command(*given, "--no-cache"), command(*given)
    loaded = len(loads)
    again = command(*given)
    assert anew.returncode == first.returncode == again.returncode == 0, anew.stderr
    assert anew.stdout == first.stdout == again.stdout
    assert (anew.stderr, again.stderr) == ("", "")
    assert len(loads) == loaded > 0


def test_so_is_a_page(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: list[str]) -> None:
    page = tmp_path / "page.html"
    given = ["analyze", MODEL, "--hw", "pixel6_tpu", "--html", str(page), "--plotlyjs", "cdn"]

    def drawn() -> bytes:
        assert command(*given).returncode == 0
        return page.read_bytes()

    monkeypatch.setenv("ROOFLINE_NO_CACHE", "1")
    anew = drawn()
    monkeypatch.delenv("ROOFLINE_NO_CACHE")
    first = drawn()
    assert loads == [MODEL, MODEL]
    assert anew == first == drawn()
    assert loads == [MODEL, MODEL]


def test_a_second_look_imports_neither_torch_nor_pandas(command: Command) -> None:
    """One process asks for each form in turn: what any of them imported is there at its end."""
    cache._source_digest.cache_clear()  # somebody may be at work on the sources
    commands = (f"analyze {MODEL} --hw pixel6_tpu", f"sweep {MODEL} mobilenetv4_conv_small --points 9")
    asked = [[*line.split(), "--format", form] for line in commands for form in FORMS]
    first = [command(*arguments).stdout for arguments in asked]
    again = subprocess.run([sys.executable, "-c", RUN, json.dumps(asked)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.split("\f") == [*first, ""]
    assert not HEAVY & set(again.stderr.split())


def test_the_graph_of_a_kept_table_is_traced_when_it_is_asked_for(loads: list[str]) -> None:
    first, again = (analyze(MODEL, hw="pixel6_tpu") for _ in range(2))
    assert loads == [MODEL]
    assert len(again.graph.ops) == len(first.graph.ops) > 0
    assert again.graph is again.graph
    assert loads == [MODEL, MODEL]


def test_an_entry_of_the_zoo_and_its_accuracy_come_with_a_kept_table(loads: list[str]) -> None:
    first, again = (analyze("MNv4-Conv-S", hw="pixel6_tpu") for _ in range(2))
    assert again.entry is not None
    assert again.entry == first.entry
    assert again.reference == "MNv4-Conv-S"
    (one,), (two,) = (sweep("mobilenetv4_conv_small", points=2).models for _ in range(2))
    assert one.top1 == two.top1 is not None
    assert analyze("MNv4-Conv-S", hw="pixel6_tpu", arguments={"num_classes": 10}).entry is None
    assert analyze("MNv4-Conv-S", hw="pixel6_tpu", arguments={"num_classes": 10}).entry is None


def test_several_names_of_one_network_share_a_table(loads: list[str]) -> None:
    (swept,) = sweep(["mobilenetv4_conv_small", "MNv4-Conv-S"], points=2).models
    assert swept.name == "mobilenetv4_conv_small"
    assert len(loads) == 1


# --- what a table depends on ------------------------------------------------------------------------------------------


def changed(**changes: Any) -> str | None:
    asked, how = dict(ASKED), dict(HOW)
    for name, value in changes.items():
        (asked if name in asked else how)[name] = value
    return key_of(MODEL, asked=asked, how=how)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 2},
        {"input_size": (3, 192, 192)},
        {"arguments": {"act": "relu"}},
        {"arguments": {"width_mult": 1}},
        {"arguments": {"width_mult": 1.0}},
        {"arguments": {"width_mult": True}},
        {"arguments": {"width_mult": "1"}},
        {"fusion": "none"},
        {"dtype": "fp32"},
        {"fused_activations": frozenset({"relu"})},
        {"transposes": True},
    ],
    ids=str,
)
def test_whatever_is_asked_for_has_a_table_of_its_own(changes: dict[str, Any]) -> None:
    keys = {changed(), changed(**changes), changed(arguments={"width_mult": 0.5})}
    assert len(keys) == 3
    assert None not in keys
    assert changed(**changes) == changed(**changes)


def test_a_name_is_that_of_its_network() -> None:
    small, alias, medium = (
        key_of(name, asked=ASKED, how=HOW)
        for name in ("mobilenetv4_conv_small", "MNv4-Conv-S", "mobilenetv4_conv_medium")
    )
    assert small == alias != medium


@pytest.mark.parametrize("package", ["torch", "roofline-profiler"])
def test_another_version_is_another_table(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = changed(), metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == package else version(name))
    assert changed() != before


def test_another_python_is_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before = changed()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert changed() != before


@pytest.mark.parametrize("file", ["count.py", "loading/model.py", "models/mobilenetv3.py"])
def test_another_line_of_roofline_is_another_table(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who change roofline itself have the same version before and after."""
    own = Path(roofline.__file__).parent
    copy = tmp_path / "roofline"
    for name in ("", "loading", "models", "exported"):
        (copy / name).mkdir(exist_ok=True)
        for source in (own / name).glob("*.py"):
            (copy / name / source.name).write_bytes(source.read_bytes())
    digest = cache._source_digest.__wrapped__
    before = digest()
    monkeypatch.setattr(cache, "__file__", str(copy / "cache.py"))
    monkeypatch.setattr(models, "__file__", str(copy / "models" / "__init__.py"))
    assert digest() == before
    (copy / file).write_bytes((copy / file).read_bytes() + b"# a change\n")
    assert digest() != before


def test_a_library_counts_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def timm(now: str) -> str | None:
        monkeypatch.setattr(metadata, "version", lambda name: now if name == "timm" else version(name))
        return key_of("timm:resnet18", asked=ASKED, how=HOW)

    monkeypatch.setattr(cache, "_is_editable", lambda library: False)
    before = timm("1.0.0")
    assert before == timm("1.0.0") != timm("1.0.1")
    monkeypatch.setenv("TIMM_FUSED_ATTN", "0")  # other ops in attention
    assert timm("1.0.0") not in (None, before)


def test_a_library_counts_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit in place, which leaves the version as it is, is seen; a file that is no source is not looked at."""
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(cache, "_is_editable", lambda library: False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    source = tmp_path / "timm" / "models" / "net.py"
    source.parent.mkdir(parents=True)
    (tmp_path / "timm" / "__init__.py").touch()
    source.write_text("width = 1")

    def key() -> str | None:
        return key_of("timm:resnet18", asked=ASKED, how=HOW)

    before = key()
    (source.parent / "notes.txt").write_text("nothing")
    assert key() == before is not None
    source.write_text("width = 10")
    changed = key()
    assert changed not in (before, None)
    (source.parent / "other.py").touch()
    assert key() not in (before, changed, None)


def test_a_library_that_is_missing_or_being_developed_has_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    class Editable:
        def read_text(self, name: str) -> str:
            return '{"dir_info": {"editable": true}, "url": "file:///src/timm"}' if name == "direct_url.json" else ""

    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name == "timm" else real(name))
    monkeypatch.setattr(metadata, "distribution", lambda name: Editable())
    assert key_of("timm:resnet18", asked=ASKED, how=HOW) is None
    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.setattr(metadata, "version", lambda name: missing(name) if name == "timm" else real(name))
    assert key_of("timm:resnet18", asked=ASKED, how=HOW) is None


@pytest.mark.parametrize("value", [object(), np.float64(1.0), {1, 2}, [np.int64(3)], {"a": print}], ids=range(5))
def test_what_cannot_be_told_apart_in_writing_has_no_table(value: object) -> None:
    assert changed(arguments={"act": value}) is None


def test_inputs_in_the_layout_of_a_calibrated_device_have_no_table(loads: list[str]) -> None:
    for _ in range(2):
        lower_reference(
            MODEL, asked=ASKED, fusion="none", dtype="fp32", arrange=lambda module, inputs: inputs, cached=True
        )
    assert loads == [MODEL, MODEL]
    assert contents().entries == 0


# --- whether to cache -------------------------------------------------------------------------------------------------


def test_files_of_the_users_own_have_a_table_only_if_asked(
    tmp_path: Path, loads: list[str], user_modules: None
) -> None:
    net = tmp_path / "own_net.py"
    net.write_text(NET.format(width=8))
    reference = f"{net}:make"
    first, again = (analyze(reference, hw="pixel6_tpu") for _ in range(2))
    assert len(loads) == 2
    assert contents().entries == 0
    first, again = (analyze(reference, hw="pixel6_tpu", cached=True) for _ in range(2))
    assert len(loads) == 3
    assert content(first.layers) == content(again.layers)
    assert first.to_dict() == again.to_dict()


def test_a_change_of_the_users_file_or_of_what_it_imports_is_seen(
    tmp_path: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch, user_modules: None
) -> None:
    net, width = tmp_path / "own_net.py", tmp_path / "own_width.py"
    width.write_text("WIDTH = 8\n")
    net.write_text("from own_width import WIDTH\n" + NET.format(width="WIDTH"))

    def params() -> int:
        monkeypatch.setattr("roofline.loading.users._IMPORTED", {}, raising=False)  # as in a new process
        sys.modules.pop("own_width", None)
        return analyze(f"{net}:make", hw="pixel6_tpu", cached=True).layers.params

    assert params() == params() == (3 * 9 + 1) * 8
    assert len(loads) == 1
    width.write_text("WIDTH = 16\n")
    assert params() == params() == (3 * 9 + 1) * 16
    assert len(loads) == 2
    net.write_text(NET.format(width=4))
    assert params() == params() == (3 * 9 + 1) * 4
    assert len(loads) == 3
    assert contents().entries == 1  # the newest
    net.unlink()
    with pytest.raises(roofline.ModelError, match="no such file"):
        params()


def test_what_a_kept_table_was_made_from_counts_as_imported(tmp_path: Path, user_modules: None) -> None:
    """Whoever asks what a model was made from is told, also where its table was found and nothing imported for it."""
    net, width = tmp_path / "own_net.py", tmp_path / "own_width.py"
    width.write_text("WIDTH = 8\n")
    net.write_text("from own_width import WIDTH\n" + NET.format(width="WIDTH"))
    analyze(f"{net}:make", hw="pixel6_tpu", cached=True)
    made = cache.made_from(f"{net}:make")
    assert made["files"][str(width)] == hashlib.sha256(b"WIDTH = 8\n").hexdigest()
    for name in ("own_net", "own_width"):
        sys.modules.pop(name, None)
    assert str(width) not in cache.made_from(f"{net}:make")["files"]
    analyze(f"{net}:make", hw="pixel6_tpu", cached=True)
    assert "own_width" not in sys.modules
    assert cache.made_from(f"{net}:make") == made
    assert cache.is_as_it_was(made)
    width.unlink()
    assert not cache.is_as_it_was(made)


def test_a_module_is_found_where_python_would_look_for_it(
    tmp_path: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch, user_modules: None
) -> None:
    for folder, width in (("one", 8), ("other", 16)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own_module.py").write_text(NET.format(width=width))

    def params(folder: str) -> int:
        monkeypatch.chdir(tmp_path / folder)
        sys.modules.pop("own_module", None)
        return analyze("own_module:make", hw="pixel6_tpu", cached=True).layers.params

    assert params("one") == params("one") == (3 * 9 + 1) * 8
    assert params("other") == params("other") == (3 * 9 + 1) * 16
    assert len(loads) == 2


def test_the_options_and_the_environment_say_whether(
    command: Command, monkeypatch: pytest.MonkeyPatch, loads: list[str]
) -> None:
    given = ["analyze", MODEL, "--hw", "pixel6_tpu"]

    def is_loaded(*options: str) -> bool:
        before = len(loads)
        assert command(*given, *options).returncode == 0
        return len(loads) > before

    assert is_loaded("--no-cache")
    assert contents().entries == 0
    monkeypatch.setenv("ROOFLINE_NO_CACHE", "1")
    assert is_loaded()
    assert contents().entries == 0
    assert is_loaded("--cache")
    assert not is_loaded("--cache")
    assert is_loaded()
    monkeypatch.setenv("ROOFLINE_NO_CACHE", "0")
    assert not is_loaded()
    assert is_loaded("--no-cache")


def test_the_place_is_the_users_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROOFLINE_CACHE_DIR")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    assert cache_folder.folder() == tmp_path / "roofline"


# --- what may happen to it --------------------------------------------------------------------------------------------


def path_of(folder: Path, key: str = "0" * 64) -> Path:
    return folder / f"{key}.layers"


def sealed(data: bytes) -> bytes:
    """With the head and the checksum that make it look whole."""
    return TABLES.head + hashlib.sha256(b"0" * 64 + data).digest() + data


class Harm:
    def __reduce__(self) -> Any:
        return (print, ("run",))


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "a pickle": pickle.dumps(Harm()),
    "a sealed pickle": sealed(pickle.dumps(Harm())),
    "not compressed": sealed(b"{}"),
    "no JSON": sealed(zlib.compress(b"{")),
    "no UTF-8": sealed(zlib.compress(b"\xff")),
    "a list": sealed(zlib.compress(b"[]")),
    "nothing in it": sealed(zlib.compress(b"{}")),
    "nested": sealed(zlib.compress(b"[" * 200_000)),
    "other types": sealed(zlib.compress(json.dumps({"made_from": 3}).encode())),
    "another head": b"roofline layer table 2\n" + sealed(b"")[len(TABLES.head) :],
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_no_entry_is_none(folder: Path, damaged: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    kept(small_table())
    path_of(folder).write_bytes(damaged)
    assert find("0" * 64) is None
    assert capsys.readouterr().out == ""


def test_a_changed_byte_or_a_missing_end_is_seen(folder: Path) -> None:
    kept(small_table())
    whole = path_of(folder).read_bytes()
    for place in range(0, len(whole), 7):
        path_of(folder).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert find("0" * 64) is None
        path_of(folder).write_bytes(whole[:place])
        assert find("0" * 64) is None
    path_of(folder).write_bytes(whole)
    assert find("0" * 64) is not None


def test_an_entry_under_another_name_is_none(folder: Path) -> None:
    kept(small_table())
    path_of(folder).rename(path_of(folder, "1" * 64))
    assert find("1" * 64) is None


def test_an_entry_that_unpacks_beyond_measure_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(small_table("x" * 10_000))
    monkeypatch.setattr(cache, "MAX_ENTRY_BYTES", 10_000)
    assert path_of(folder).stat().st_size < 10_000
    assert find("0" * 64) is None


def test_a_damaged_entry_is_made_again(command: Command, folder: Path, loads: list[str]) -> None:
    given = ["analyze", MODEL, "--hw", "pixel6_tpu"]
    first = command(*given)
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    again = command(*given)
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")
    assert loads == [MODEL, MODEL]
    command(*given)
    assert loads == [MODEL, MODEL]


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROOFLINE_CACHE_DIR", str(tmp_path / "file"))
    run = command("analyze", MODEL, "--hw", "pixel6_tpu")
    assert (run.returncode, run.stderr) == (0, "")
    shown = command("cache")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == f"roofline: cannot read the cache {tmp_path / 'file'}: Not a directory\n"


def test_writers_and_readers_do_not_wait_for_each_other(folder: Path) -> None:
    """Whoever reads finds all of an entry or none, and nobody leaves anything behind."""
    written = [small_table(f"conv{number}", layers=50 * (number + 1)) for number in range(4)]
    contents_of = [content(layers) for layers in written]

    def work(number: int) -> int:
        found = 0
        for turn in range(25):
            store("0" * 64, MODEL, model_of(written[(number + turn) % 4]))
            read = find("0" * 64)
            assert read is not None
            assert content(read.layers) in contents_of
            found += 1
        return found

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 200
    assert [path.name for path in folder.iterdir()] == [f"{'0' * 64}.layers"]


def test_a_writer_that_is_stopped_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            kept(small_table())
    assert list(folder.iterdir()) == []


def test_what_was_not_used_for_the_longest_time_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{number:064x}" for number in range(8)]
    for age, key in enumerate(keys):
        kept(small_table(), key)
        os.utime(path_of(folder, key), (1000 + age, 1000 + age))
    assert find(keys[0]) is not None  # the oldest, and now the last one used
    size = path_of(folder, keys[0]).stat().st_size
    monkeypatch.setattr(cache_folder, "MAX_BYTES", 8 * size + size // 2)  # room for eight of nine; 7/8 of it for seven
    kept(small_table(), "f" * 64)
    left = {path.stem for path in folder.iterdir()}
    assert left == {keys[0], *keys[3:], "f" * 64}
    assert contents().bytes <= cache_folder.KEPT_SHARE * cache_folder.MAX_BYTES


def test_only_what_is_the_caches_own_is_deleted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    others = [folder / name for name in ("thesis.txt", "net.layers", f"{'0' * 63}.layers", f"{'0' * 64}.layers.bak")]
    for path in others:
        path.write_text("mine")
        os.utime(path, (0, 0))
    fresh, stale = (folder / f"{'a' * 64}.{name}.layers" for name in ("fresh", "stale"))
    fresh.write_bytes(b"half of one")
    stale.write_bytes(b"half of one")
    os.utime(stale, (0, 0))
    monkeypatch.setattr(cache_folder, "MAX_BYTES", 0)
    kept_none = LoweredModel(name="net", input_shapes=(), input_source="given", layers=small_table())
    store("0" * 64, MODEL, kept_none)
    assert set(folder.iterdir()) == {*others, fresh}  # another process may be writing it
    monkeypatch.setattr(cache_folder, "MAX_BYTES", 2**20)
    kept(small_table())
    before = clear()
    assert (before.entries, contents().entries, contents().bytes) == (1, 0, 0)
    assert set(folder.iterdir()) == set(others)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_what_there_is_and_clears_it(command: Command, folder: Path) -> None:
    assert command("cache").stdout == (
        f"place                {folder}\n"
        "layer tables         0, 0 B\n"
        "fitted calibrations  0, 0 B\n"
        "all together         0 B of at most 67.1 MB\n"
    )
    command("analyze", MODEL, "--hw", "pixel6_tpu")
    cache_folder.write(cache_folder.FITS, "0" * 64, b"of a calibration")
    tables, fits = (sum(path.stat().st_size for path in folder.glob(f"*.{end}")) for end in ("layers", "fit"))
    data = json.loads(command("cache", "--format", "json").stdout)
    assert data == {
        "folder": str(folder), "entries": 2, "bytes": tables + fits,
        "kinds": {"tables": {"entries": 1, "bytes": tables}, "fits": {"entries": 1, "bytes": fits}},
        "max_bytes": MAX_BYTES, "is_off": False, "is_cleared": False,
    }  # fmt: skip
    cleared = command("cache", "--clear").stdout
    assert f"fitted calibrations  1, {fits} B\n" in cleared
    assert cleared.endswith("All of them are deleted.\n")
    assert list(folder.iterdir()) == []


def test_the_command_says_when_the_cache_is_off(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFLINE_NO_CACHE", "1")
    assert "ROOFLINE_NO_CACHE is set" in command("cache").stdout


def test_an_entry_that_cannot_be_deleted_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(small_table())

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"^cannot delete .*\.layers: Permission denied$"):
        clear()
