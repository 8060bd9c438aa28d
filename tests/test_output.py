"""A result is written whole or not at all."""

from __future__ import annotations

import os
import re
import resource
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from roofline.errors import OutputError
from roofline.output import check_writable, write_text


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Obey the permission bits, as for anyone but root."""

    def access(path: Any, mode: int, **_: Any) -> bool:
        bits = Path(path).stat().st_mode
        return not (mode & os.W_OK and not bits & 0o222)

    monkeypatch.setattr(os, "access", access)


def in_folder() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_file_holds_the_text_and_nothing_else() -> None:
    write_text(Path("out.csv"), "a,b\n1,2\nµ\r\n")
    assert Path("out.csv").read_bytes() == "a,b\n1,2\nµ\r\n".encode()
    assert in_folder() == ["out.csv"]


def test_a_file_that_is_there_is_replaced() -> None:
    Path("out.txt").write_text("a longer text than the new one")
    write_text(Path("out.txt"), "new")
    assert Path("out.txt").read_text() == "new"
    assert in_folder() == ["out.txt"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_of_any_other(umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(Path("out.txt"), "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert mode(Path("out.txt")) == 0o666 & ~umask


def test_a_private_file_stays_private() -> None:
    path = Path("out.txt")
    path.touch()
    path.chmod(0o600)
    write_text(path, "text")
    assert mode(path) == 0o600


def test_a_link_stays_a_link_and_its_target_is_written() -> None:
    Path("results").mkdir()
    target, link = Path("results/today.json"), Path("latest.json")
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_to_and_stays_a_pipe() -> None:
    """So are /dev/stdout and /dev/null, which root would otherwise replace by a file."""
    pipe, read = Path("pipe"), []
    os.mkfifo(pipe)

    def reader() -> None:
        with pipe.open() as file:
            read.append(file.read())

    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    write_text(pipe, "text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    thread.join(timeout=5)
    assert read == ["text"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_an_open_pipe_is_written_to_by_its_name() -> None:
    """So are /dev/stdout in a pipeline, and the shell's ``-o >(gzip > result.gz)``."""
    reading, writing = os.pipe()
    try:
        write_text(Path(f"/dev/fd/{writing}"), "text")
        assert os.read(reading, 100) == b"text"
    finally:
        os.close(reading)
        os.close(writing)


# --- what cannot be written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("folder", "cannot write folder: it is a folder"),
        ("missing/out.txt", "cannot write missing/out.txt: there is no folder missing"),
        ("file.txt/out.txt", "cannot write file.txt/out.txt: there is no folder file.txt"),
        ("", "cannot write .: it is a folder"),
        ("n" * 300 + ".txt", "File name too long"),
    ],
    ids=["a folder", "in no folder", "in a file", "nothing", "a name too long"],
)
def test_where_nothing_can_be_written_is_known_before_the_work(path: str, why: str) -> None:
    Path("folder").mkdir()
    Path("file.txt").touch()
    with pytest.raises(OutputError, match=re.escape(why)):
        check_writable(Path(path))
    with pytest.raises(OutputError, match=re.escape(why)):
        write_text(Path(path), "text")
    assert in_folder() == ["file.txt", "folder"]


@pytest.mark.usefixtures("_ordinary_user")
def test_a_folder_without_write_permission_is_refused() -> None:
    Path("folder").mkdir(mode=0o555)
    with pytest.raises(OutputError, match=r"cannot write folder/out\.txt: no permission to write in folder"):
        check_writable(Path("folder/out.txt"))


@pytest.mark.usefixtures("_ordinary_user")
def test_a_file_without_write_permission_is_refused_and_kept() -> None:
    path = Path("out.txt")
    path.write_text("precious")
    path.chmod(0o444)
    with pytest.raises(OutputError, match=r"cannot write out\.txt"):
        write_text(path, "text")
    assert path.read_text() == "precious"


def test_links_that_lead_in_a_circle_are_refused() -> None:
    Path("one").symlink_to("two")
    Path("two").symlink_to("one")
    with pytest.raises(OutputError, match=r"^cannot write one: "):
        write_text(Path("one"), "text")


def test_checking_writes_nothing() -> None:
    check_writable(Path("out.txt"))
    assert in_folder() == []


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_leaves_what_was_there() -> None:
    Path("out.txt").write_text("precious")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match=r"^cannot write out\.txt: File too large$"):
            write_text(Path("out.txt"), "text" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Path("out.txt").read_text() == "precious"
    assert in_folder() == ["out.txt"]


def test_a_rename_that_fails_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(source: Any, target: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "replace", replace)
    Path("out.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"^cannot write out\.txt: Operation not permitted$"):
        write_text(Path("out.txt"), "text")
    assert Path("out.txt").read_text() == "precious"
    assert in_folder() == ["out.txt"]


def test_text_that_has_no_encoding_leaves_what_was_there() -> None:
    """A file name that is not UTF-8 reaches Python as a lone surrogate, and from there a report."""
    Path("out.txt").write_text("precious")
    try:
        write_text(Path("out.txt"), "net_\udcff.py")
    except OutputError:
        assert Path("out.txt").read_text() == "precious"
    assert in_folder() == ["out.txt"]
