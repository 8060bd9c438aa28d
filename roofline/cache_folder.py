"""The folder in the user's cache directory that keeps what was found once, and how its files are written and read.

One file an entry, named by the SHA-256 of all that its content depends on and by what it is, one of `KINDS`. It holds a
line that says what it is, a SHA-256 over its name and the rest, and the rest, of which nothing is ever run. Each is
written beside its place and renamed into it, so that a reader finds all of it or nothing, whoever else writes; the last
one wins, and all write the same. What is damaged, of another format or not to be read is as good as absent, and what
cannot be written is not kept: the cache never makes a command fail. `MAX_BYTES` bound all entries together; what was
not used for the longest time goes first.

    ROOFLINE_CACHE_DIR    another place
    ROOFLINE_NO_CACHE     neither read nor write, unless a command or a call asks for it
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from roofline.errors import OutputError

MAX_BYTES = 64 * 2**20  # a network of 300 layers takes some 10 kB, what was fitted to a calibration some 3 MB
MAX_ENTRY_BYTES = 64 * 2**20  # of one, as a file and unpacked: a table of a hundred thousand layers
KEPT_SHARE = 7 / 8  # of MAX_BYTES, once that is exceeded, so that not every entry that follows must make room
STALE_S = 3600.0  # no writer takes so long: what it left behind was not finished
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What an entry may be.

    Attributes:
        name: As plain data has it.
        called: Many of them, as a person calls them.
        suffix: Of their files.
        head: With what they begin: their format, and its number.
    """

    name: str
    called: str
    suffix: str
    head: bytes


TABLES = Kind(name="tables", called="layer tables", suffix=".layers", head=b"roofline layer table 1\n")
FITS = Kind(name="fits", called="fitted calibrations", suffix=".fit", head=b"roofline fitted calibration 1\n")
KINDS = (TABLES, FITS)
_OURS = {  # in the middle: what is not finished
    kind: re.compile(r"[0-9a-f]{64}(\.\w+)?" + re.escape(kind.suffix)) for kind in KINDS
}


def is_off(wanted: bool | None = None) -> bool:
    """Whether nothing is to be read or kept: where that is wanted, or the environment says so and nobody else."""
    return os.environ.get("ROOFLINE_NO_CACHE", "") not in ("", "0") if wanted is None else not wanted


def folder() -> Path:
    """Where the entries are."""
    if given := os.environ.get("ROOFLINE_CACHE_DIR"):
        return Path(given)
    import platformdirs

    return Path(platformdirs.user_cache_dir("roofline"))


def source_digest(folders: Mapping[str, Path]) -> str:
    """A digest of the Python files of folders, by what these are called."""
    digest = hashlib.sha256()
    for name, place in folders.items():
        for file in sorted(place.glob("*.py")):
            content = file.read_bytes()
            digest.update(f"{name}/{file.name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


# --- entries ----------------------------------------------------------------------------------------------------------


def read(kind: Kind, key: str) -> bytes:
    """What an entry holds.

    Raises:
        OSError: There is none, or it cannot be read.
        ValueError: It is damaged, of another format, or under another name than its own.
    """
    with path_of(kind, key).open("rb") as file:
        content = file.read(MAX_ENTRY_BYTES)
    start = len(kind.head) + _DIGEST_BYTES
    body = content[start:]
    if content[:start] != kind.head + _digest(key, body):
        raise ValueError("no entry, or a damaged one")
    return body


def was_used(kind: Kind, key: str) -> None:
    """Make an entry the last one used."""
    with suppress(OSError):
        os.utime(path_of(kind, key))


def write(kind: Kind, key: str, body: bytes) -> None:
    """Keep an entry, and let go of the oldest where all together are too large.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    target = path_of(kind, key)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f"{target.stem}.", suffix=kind.suffix, delete=False
    ) as file:
        temporary = Path(file.name)
        try:
            file.write(kind.head + _digest(key, body) + body)
            file.close()  # Windows renames no open file
            temporary.replace(target)
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
    _make_room(target.parent)


def path_of(kind: Kind, key: str) -> Path:
    """The file of an entry."""
    return folder() / f"{key}{kind.suffix}"


def _digest(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + body).digest()


def _make_room(place: Path) -> None:
    """Delete the entries that were not used for the longest time, where all together exceed `MAX_BYTES`."""
    entries = list(_files(place))
    for file in entries:
        if file.is_unfinished and time.time() - file.used_at_s > STALE_S:
            file.path.unlink(missing_ok=True)
    size = sum(file.bytes for file in entries)
    if size <= MAX_BYTES:
        return
    for file in sorted(entries, key=lambda file: file.used_at_s):
        if size <= KEPT_SHARE * MAX_BYTES:
            break
        if not file.is_unfinished:
            file.path.unlink(missing_ok=True)
            size -= file.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    kind: Kind
    bytes: int
    used_at_s: float
    is_unfinished: bool


def _files(place: Path) -> Iterator[_File]:
    """Those of the folder that are the cache's; others it never touches."""
    with os.scandir(place) as found:
        for file in found:
            kind = next((kind for kind in KINDS if file.name.endswith(kind.suffix)), None)
            if kind is None or not (ours := _OURS[kind].fullmatch(file.name)):
                continue
            with suppress(FileNotFoundError):  # another process has deleted it meanwhile
                known = file.stat(follow_symlinks=False)
                yield _File(
                    path=Path(file.path),
                    kind=kind,
                    bytes=known.st_size,
                    used_at_s=known.st_mtime,
                    is_unfinished=ours[1] is not None,
                )


# --- what there is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Entries of one kind: how many they are, and how large all of them."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the cache holds.

    Attributes:
        folder: Where it is.
        held: Of each of `KINDS`, what there is of it.
    """

    folder: Path
    held: Mapping[Kind, Held]

    @property
    def entries(self) -> int:
        """How many there are."""
        return sum(held.entries for held in self.held.values())

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(held.bytes for held in self.held.values())


def contents() -> Contents:
    """What there is.

    Raises:
        OutputError: The folder cannot be read.
    """
    place = folder()
    files = _listed(place)
    return Contents(
        folder=place,
        held={
            kind: Held(
                entries=sum(not file.is_unfinished for file in files if file.kind == kind),
                bytes=sum(file.bytes for file in files if file.kind == kind),
            )
            for kind in KINDS
        },
    )


def clear() -> Contents:
    """Delete all entries, and return what there was. Other files of the folder stay.

    Raises:
        OutputError: The folder cannot be read, or an entry not be deleted.
    """
    before = contents()
    for file in _listed(before.folder):
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot delete {file.path}: {error.strerror}") from error
    return before


def _listed(place: Path) -> list[_File]:
    try:
        return list(_files(place))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"cannot read the cache {place}: {error.strerror}") from error
