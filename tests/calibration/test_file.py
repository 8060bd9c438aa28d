"""The file of a calibration: what is written is read, and nothing that is damaged."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.calibration import file
from roofline.calibration.data import Calibration
from roofline.calibration.file import from_bytes, load, save, to_bytes
from roofline.errors import CalibrationError, OutputError
from tests.calibration.made import TERMS, content, make_calibration, make_ceilings, make_ops, make_wholes

STAMP = len("roofline sha256 ") + 64


@pytest.fixture(scope="module")
def data() -> bytes:
    return to_bytes(make_calibration())


def stamped(data: bytes) -> bytes:
    """An archive with the stamp of its content, as a forger would make it."""
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"x" * STAMP
    body = buffer.getvalue()[:-STAMP]
    return body + b"roofline sha256 " + hashlib.sha256(body).hexdigest().encode()


def rewritten(data: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    """The file with its arrays and what it says about them changed, and stamped anew."""
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        arrays = dict(loaded)
    about = json.loads(arrays.pop("about").tobytes())
    change(arrays, about)
    buffer = io.BytesIO()
    np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8), **arrays)
    return stamped(buffer.getvalue())


# --- there and back ---------------------------------------------------------------------------------------------------


def test_a_calibration_comes_back_whole(tmp_path: Path) -> None:
    calibration = make_calibration()
    save(calibration, tmp_path / "local.npz")
    assert content(load(tmp_path / "local.npz")) == content(calibration)
    assert list(tmp_path.iterdir()) == [tmp_path / "local.npz"]


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
TIMES = st.floats(1e-12, 1e6)


@given(
    st.dictionaries(TEXT, st.tuples(TIMES, TIMES, st.integers(1, 2**40), st.lists(TIMES, min_size=3, max_size=3))),
    st.lists(TEXT, unique=True, max_size=4),
    st.lists(TEXT, max_size=3),
    st.dictionaries(TEXT, st.none() | st.booleans() | st.floats(allow_nan=False) | TEXT | st.lists(st.integers())),
)
def test_every_calibration_comes_back_whole(
    ops: dict[str, Any], networks: list[str], notes: list[str], environment: dict[str, Any]
) -> None:
    columns = {
        "time_s": np.array([row[0] for row in ops.values()]),
        "raw_s": np.array([row[1] for row in ops.values()]),
        "samples": np.array([row[2] for row in ops.values()], dtype=np.int64),
        "terms": np.array([row[3] for row in ops.values()]).reshape(-1, len(TERMS)),
    }
    calibration = make_calibration(
        ops=make_ops(list(ops), **columns),
        wholes=make_wholes(networks),
        ceilings=make_ceilings(caches_bytes=()),
        notes=tuple(notes),
        environment=environment,
    )
    assert content(from_bytes(to_bytes(calibration))) == content(calibration)


def test_the_same_calibration_is_the_same_file(data: bytes) -> None:
    assert to_bytes(from_bytes(data)) == data


def test_what_is_no_mapping_of_python_is_kept_as_json_has_it() -> None:
    environment = types.MappingProxyType({"threads": {"intra_op": np.int64(2)}, "affinity": (0, 1)})
    found = from_bytes(to_bytes(make_calibration(environment=environment))).environment
    assert found == {"threads": {"intra_op": 2}, "affinity": [0, 1]}
    with pytest.raises(TypeError, match="plain data, and not complex"):
        to_bytes(make_calibration(environment={"z": 1j}))


def test_numpy_and_zip_read_it_as_any_other_archive(data: bytes) -> None:
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        assert loaded["ops.key"].tolist() == ["gemm 1x2x3", "gemm 4x5x6"]
        assert all(loaded[name].dtype.kind in "Uifu" for name in loaded.files)
        assert json.loads(loaded["about"].tobytes())["schema"] == "roofline/calibration/4"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None


def test_five_thousand_kernels_take_less_than_5_mb() -> None:
    """Random numbers, which do not compress; keys as long as those of a convolution with all its sizes and strides."""
    rows, rng = 5000, np.random.default_rng(0)
    key = "conv_kxk/strided aten.convolution {} x {} k 7x7 s 2x2 p 3x3 d 1x1 g {} fp32 channels_last {}"
    keys = [key.format(*rng.integers(1, 2**20, size=3), row) for row in range(rows)]
    terms = tuple(f"term_{column}" for column in range(20))
    ops = make_ops(
        keys,
        kernel=np.array(["conv_depthwise_multiplier/strided"] * rows),
        terms=rng.random((rows, len(terms))),
        time_s=rng.random(rows),
        raw_s=rng.random(rows),
        samples=rng.integers(1, 1000, size=rows),
        network=np.array([f"network-{number}" for number in rng.integers(0, 200, size=rows)]),
    )
    calibration = make_calibration(ops=ops, terms=terms)
    made = to_bytes(calibration)
    assert len(made) < 5_000_000
    assert content(from_bytes(made)) == content(calibration)


# --- damage -----------------------------------------------------------------------------------------------------------


def test_a_file_that_was_cut_short_is_refused_wherever(data: bytes) -> None:
    rng = random.Random(0)
    for length in [*range(3, 80), *rng.sample(range(len(data)), 200), *range(len(data) - STAMP - 30, len(data))]:
        with pytest.raises(CalibrationError, match="it was cut short or changed"):
            from_bytes(data[:length])


def test_a_file_that_was_changed_is_refused_wherever(data: bytes) -> None:
    """In every byte: headers, columns, the directory of the archive, the stamp itself."""
    rng = random.Random(0)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= rng.randrange(1, 256)
        with pytest.raises(CalibrationError) as raised:
            from_bytes(bytes(damaged))
        assert "\n" not in str(raised.value)


def test_a_file_that_was_added_to_is_refused(data: bytes) -> None:
    with pytest.raises(CalibrationError, match="it was cut short or changed"):
        from_bytes(data + b"\n")
    with pytest.raises(CalibrationError, match="was changed after it was written"):
        from_bytes(data[:100] + b"\n" + data[100:])


def test_one_that_numpy_saved_again_is_refused(data: bytes) -> None:
    buffer = io.BytesIO()
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        np.savez(buffer, **dict(loaded))
    with pytest.raises(CalibrationError, match="it was cut short or changed"):
        from_bytes(buffer.getvalue())


@given(st.binary(max_size=300), st.booleans())
def test_what_is_no_calibration_is_refused(noise: bytes, is_zip: bool) -> None:
    with pytest.raises(CalibrationError, match=r"is no calibration|does not end"):
        from_bytes(b"PK\x03\x04" * is_zip + noise)


@given(st.binary(max_size=300))
def test_noise_is_refused_even_with_a_stamp(noise: bytes) -> None:
    body = b"PK\x03\x04" + noise
    with pytest.raises(CalibrationError, match="is no calibration, though stamped as one"):
        from_bytes(body + b"roofline sha256 " + hashlib.sha256(body).hexdigest().encode())


class Burglar:
    """Pickled, it would run a command where it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 7",)


def test_no_pickle_is_loaded(data: bytes) -> None:
    buffer = io.BytesIO()
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        np.savez(buffer, **(dict(loaded) | {"ops.time_s": np.array([Burglar(), Burglar()], dtype=object)}))
    with pytest.raises(CalibrationError, match=r"is no calibration, though .*allow_pickle=False"):
        from_bytes(stamped(buffer.getvalue()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, about: arrays.pop("ops.key"), r"is no calibration, though .*ops\.key"),
        (lambda arrays, about: about.pop("dtype"), "is no calibration, though .*dtype"),
        (lambda arrays, about: about.update(threads="two"), "is no calibration, though"),
        (lambda arrays, about: about.update(made_at=3), "is no calibration, though"),
        (lambda arrays, about: about.update(anchor=[1]), "is no calibration, though"),
        (lambda arrays, about: about.update(left_out=10**9), "left_out must be a part of total_samples"),
        (lambda arrays, about: arrays.update({"ops.time_s": np.zeros(2)}), "ops: time_s must be positive"),
        (lambda arrays, about: arrays.update({"ops.terms": np.ones(2)}), "ops: terms has the wrong shape"),
        (lambda arrays, about: arrays.update({"wholes.macs": np.array(["a"])}), "wholes: macs must be of int64"),
        (
            lambda arrays, about: about.update(schema="roofline/calibration/5"),
            "has the schema 'roofline/calibration/5', and this version of roofline reads roofline/calibration/4",
        ),
    ],
)
def test_a_forged_stamp_makes_no_calibration(
    data: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object], message: str
) -> None:
    from_bytes(rewritten(data, lambda arrays, about: None))
    with pytest.raises(CalibrationError, match=message):
        from_bytes(rewritten(data, change))


def test_what_unpacks_without_end_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_UNPACKED_BYTES", 1_000_000)
    from_bytes(data)
    bomb = io.BytesIO(data)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ops.more.npy", bytes(1_000_000))
    with pytest.raises(CalibrationError, match="unpacks to more than 1 MB"):
        from_bytes(stamped(bomb.getvalue()))


# --- on disk ----------------------------------------------------------------------------------------------------------


def test_messages_name_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "local.npz"
    with pytest.raises(CalibrationError, match=r"local\.npz: no such file; 'roofline calibrate' makes"):
        load(path)
    with pytest.raises(CalibrationError, match=r"no such file"):
        load(tmp_path / "a\0b")
    with pytest.raises(CalibrationError, match=r": cannot be read: Is a directory"):
        load(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(CalibrationError, match=r"local\.npz: is no calibration, such as 'roofline calibrate' writes"):
        load(path)
    path.write_bytes(data[:1000])
    with pytest.raises(CalibrationError, match=r"local\.npz: does not end as a calibration does"):
        load(path)


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    (tmp_path / "large.npz").write_bytes(data)
    monkeypatch.setattr(file, "MAX_BYTES", 1000)
    with pytest.raises(CalibrationError, match=r"is larger than 0\.001 MB"):
        load(tmp_path / "large.npz")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "local.npz"
    save(make_calibration(["old"]), path)

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        save(make_calibration(["new"]), path)
    assert load(path).ops.key.tolist() == ["old"]
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="there is no folder"):
        save(make_calibration(), tmp_path / "missing" / "local.npz")


def test_what_is_merged_can_be_saved(tmp_path: Path) -> None:
    save(make_calibration(["a"]), tmp_path / "a.npz")
    read = load(tmp_path / "a.npz")
    merged: Calibration = read.merged(make_calibration(["b"]))
    save(merged, tmp_path / "a.npz")
    assert load(tmp_path / "a.npz").ops.key.tolist() == ["a", "b"]
