"""Writing results so that nothing is ever half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from roofline.errors import OutputError


def check_writable(path: Path) -> None:
    """Find out before the work whether a result can be written there.

    Raises:
        OutputError: `path` is a folder or not writable, or its folder is missing or not writable.
    """
    try:
        if _is_stream(path):
            return
        target = path.resolve()  # a link stays, what it points to is written
        if target.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"cannot write {path}: no permission to write it")
        if not os.access(target.parent, os.W_OK):
            raise OutputError(f"cannot write {path}: no permission to write in {path.parent}")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    except RuntimeError as error:  # how Python 3.11 reports links that lead in a circle
        raise OutputError(f"cannot write {path}: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary file beside `path`, then rename it into place; a pipe or device is written to.

    Raises:
        OutputError: The file cannot be written; what was there before is untouched.
    """
    write_bytes(path, text.encode("utf-8", errors="replace"))  # a file name that is no UTF-8 may be part of a result


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as `write_text` writes a text.

    Raises:
        OutputError: The file cannot be written; what was there before is untouched.
    """
    check_writable(path)
    try:
        if _is_stream(path):
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _replace(target: Path, data: bytes) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(data)
            file.flush()
            temporary.chmod(mode)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe or a device, such as /dev/stdout."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
