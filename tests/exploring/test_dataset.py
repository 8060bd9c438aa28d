"""The folder of a run: whole files or none, gone on with after any end, and never mixed with another run."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from roofline.errors import OutputError
from roofline.exploring.dataset import Dataset
from roofline.exploring.request import Range
from roofline.exploring.work import Job, explored
from tests.exploring.runs import alone, parts, rows, tiny

Whole = Callable[[int], Path]


class Stop(Exception):
    """What a test ends a run with."""


def stopped_after(blocks: int, folder: Path, n: int = 200) -> None:
    """A run that was ended after so many blocks."""
    told = []

    def tell(progress: object) -> None:
        told.append(progress)
        if len(told) > blocks:
            raise Stop

    with pytest.raises(Stop):
        alone(tiny(n), folder, tell=tell)


def test_a_run_is_parquet_that_pandas_reads(whole: Whole) -> None:
    folder = whole(200)
    frame = pd.read_parquet(folder / "networks")
    assert len(frame) == 200
    assert frame["index"].is_monotonic_increasing
    assert frame["index"].is_unique
    assert frame["kernels"].map(len).equals(frame["depth"].astype("int64"))
    assert sorted(path.name for path in folder.iterdir()) == ["networks", "space.json"]


def test_it_says_what_it_is(whole: Whole) -> None:
    about = json.loads((whole(200) / "space.json").read_text())
    assert about["schema"] == "roofline/space/1"
    assert about["complete"] is True
    assert about["space"] == {
        "name": "tiny",
        "summary": "a chain of convolutions",
        "parameters": ["width", "depth", "kernels", "act"],
    }
    request, counts = about["request"], about["counts"]
    assert (request["n"], request["seed"], request["hw"]) == (200, 0, ["pixel6_tpu", "apple_m1_gpu"])
    assert [device["id"] for device in about["devices"]] == request["hw"]
    assert counts["networks"] == 200
    assert counts["tried"] == counts["invalid"] + counts["outside"] + sum(
        explored(Job.of(tiny()), number).table().num_rows for number in range(counts["blocks"])
    )


def test_no_more_networks_than_asked_for(tmp_path: Path, whole: Whole) -> None:
    """A shorter run is the beginning of a longer one."""
    alone(tiny(50), tmp_path / "short")
    assert rows(tmp_path / "short") == rows(whole(200))[:50]


@pytest.mark.parametrize("n", [1, 25, 50, 199])
def test_a_run_goes_on_to_more_networks_and_is_the_longer_run(tmp_path: Path, whole: Whole, n: int) -> None:
    """Byte for byte; whole files of the shorter run are left alone, and the one that was cut is made again."""
    alone(tiny(n), tmp_path)
    before = {name: (tmp_path / "networks" / name).stat().st_mtime_ns for name in parts(tmp_path)}
    progress = alone(tiny(), tmp_path)
    assert parts(tmp_path) == parts(whole(200))
    assert (tmp_path / "space.json").read_text() == (whole(200) / "space.json").read_text()
    kept = list(before)[:-1]
    assert [(tmp_path / "networks" / name).stat().st_mtime_ns for name in kept] == [before[name] for name in kept]
    assert progress.resumed <= n


def test_a_run_that_was_ended_may_go_on_to_more_networks(tmp_path: Path, whole: Whole) -> None:
    stopped_after(1, tmp_path, n=150)
    alone(tiny(), tmp_path)
    assert parts(tmp_path) == parts(whole(200))
    with pytest.raises(OutputError, match="its n was 200, and is 150 now"):
        alone(tiny(150), tmp_path)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_run_that_was_ended_goes_on_to_the_same_files(tmp_path: Path, whole: Whole, blocks: int) -> None:
    stopped_after(blocks, tmp_path)
    assert len(parts(tmp_path)) == blocks
    assert json.loads((tmp_path / "space.json").read_text())["complete"] is False
    before = {name: (tmp_path / "networks" / name).stat().st_mtime_ns for name in parts(tmp_path)}
    progress = alone(tiny(), tmp_path)
    assert parts(tmp_path) == parts(whole(200))
    assert (tmp_path / "space.json").read_text() == (whole(200) / "space.json").read_text()
    assert progress.resumed == sum(parquet.read_metadata(tmp_path / "networks" / name).num_rows for name in before)
    assert before == {name: (tmp_path / "networks" / name).stat().st_mtime_ns for name in before}


def test_what_is_complete_is_left_alone(tmp_path: Path, whole: Whole) -> None:
    shutil.copytree(whole(200), tmp_path / "run")
    progress = alone(tiny(), tmp_path / "run")
    assert progress.networks == progress.resumed == 200


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", None])
def test_a_file_that_was_damaged_since_is_made_again(tmp_path: Path, whole: Whole, damage: bytes | None) -> None:
    shutil.copytree(whole(200), tmp_path / "run")
    path = tmp_path / "run" / "networks" / "part-00001.parquet"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    alone(tiny(), tmp_path / "run")
    assert parts(tmp_path / "run") == parts(whole(200))


def test_what_a_killed_run_left_half_written_is_not_read_and_goes(tmp_path: Path, whole: Whole) -> None:
    stopped_after(1, tmp_path)
    half = tmp_path / "part-00001.parquet.unfinished"
    half.write_bytes(b"PAR1")
    assert len(rows(tmp_path)) == len(pd.read_parquet(tmp_path / "networks")) > 0
    alone(tiny(), tmp_path)
    assert not half.exists()
    assert parts(tmp_path) == parts(whole(200))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "its seed was 0, and is 1 now"),
        ({"n": 100}, "its n was 200, and is 100 now"),
        ({"macs": Range(0, 5e6)}, r"its macs was null, and is \[null, 5000000.0\] now"),
        ({"hw": ("pixel6_tpu",)}, r'its hw was \["pixel6_tpu", "apple_m1_gpu"\], and is \["pixel6_tpu"\] now'),
        ({"settings": (("depth", "2"),)}, r'its settings was \{\}, and is \{"depth": "2"\} now'),
    ],
)
def test_another_run_is_not_mixed_in(whole: Whole, other: dict[str, Any], message: str) -> None:
    before = parts(whole(200))
    with pytest.raises(OutputError, match=rf"holds another run: {message}; name another folder"):
        alone(tiny(**other), whole(200))
    assert parts(whole(200)) == before


def test_a_space_whose_file_has_changed_is_another(tmp_path: Path, user_modules: None) -> None:
    path = tmp_path / "mine.py"
    path.write_text(Path(tiny().space.rpartition(":")[0]).read_text())
    request = tiny(10, space=f"{path}:Tiny")
    alone(request, tmp_path / "run")
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(OutputError, match="the file of the space is no longer what it was"):
        alone(request, tmp_path / "run")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(OutputError, match="is not empty, and holds no run of 'roofline explore'"):
        alone(tiny(), tmp_path)
    (tmp_path / "space.json").write_text("[1")
    with pytest.raises(OutputError, match=r"space\.json does not describe a run"):
        alone(tiny(), tmp_path)
    with pytest.raises(OutputError, match="it is no folder"):
        alone(tiny(), tmp_path / "thesis.tex")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["space.json", "thesis.tex"]


def test_a_full_disk_leaves_what_was_written_readable(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == "part-00002.parquet":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"part-00002\.parquet: No space left on device; the \d+ networks written"):
        alone(tiny(), tmp_path)
    assert list(parts(tmp_path)) == ["part-00000.parquet", "part-00001.parquet"]
    assert rows(tmp_path) == rows(whole(200))[: len(rows(tmp_path))]
    assert not list(tmp_path.glob("*.unfinished"))
    monkeypatch.undo()
    alone(tiny(), tmp_path)
    assert parts(tmp_path) == parts(whole(200))


def test_a_folder_that_cannot_be_written_is_known_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Dataset(tmp_path / "file" / "run", Job.of(tiny()))
