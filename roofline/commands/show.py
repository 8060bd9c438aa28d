"""Where an answer goes: to the terminal, a pipe or a file, as a table or as text."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from roofline.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

FORMAT_OF_SUFFIX = {".txt": "table", ".json": "json", ".csv": "csv", ".md": "md"}
FILE_COLUMNS = 100  # of a table that goes to a file
CLEAR_LINE = "\r\x1b[K"  # back to the beginning of a terminal's line, and nothing on it

T = TypeVar("T")


def format_of(format: str | None, output: Path | None) -> str:
    """The format asked for; else the one that the suffix of the output file names; else a table."""
    if output is None:
        return format or "table"
    from roofline.output import check_writable

    check_writable(output)
    suffix = output.suffix.lower()
    if format is None and suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise OutputError(f"cannot tell the format of {output} by its suffix: use one of {known}, or --format")
    return format or FORMAT_OF_SUFFIX[suffix]


def show(draw: Callable[[Console], RenderableType], output: Path | None) -> None:
    """Draw for the terminal, or as plain text for a pipe or a file."""
    from rich.console import Console

    terminal = Console()  # knows the terminal's width, colours and encoding, and prints nothing
    text = io.StringIO()  # rich would handle a pipe that closes in its own way
    canvas = Console(
        file=text,
        highlight=False,
        width=terminal.width if output is None else FILE_COLUMNS,
        color_system=_COLORS.get(terminal.color_system or "") if output is None else None,
        force_terminal=terminal.is_terminal and output is None,
        no_color=terminal.no_color,
    )
    canvas.print(draw(terminal if output is None else canvas))
    emit(text.getvalue() if canvas.is_terminal else _stripped(text.getvalue()), output)


@contextmanager
def live_line(words: Callable[[T], str]) -> Iterator[Callable[[T], None] | None]:
    """A line on stderr that is written over each time, where that is a terminal; else None.

    There is no spinner: a thread that draws would take time from what is measured.

    Args:
        words: What is told, as text.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return

    def tell(told: T) -> None:
        console.file.write(f"{CLEAR_LINE}{words(told)[: console.width - 1]}")
        console.file.flush()

    try:
        yield tell
    finally:
        console.file.write(CLEAR_LINE)
        console.file.flush()


_COLORS: dict[str, Literal["standard", "256", "truecolor", "windows"]] = {
    "standard": "standard",
    "256": "256",
    "truecolor": "truecolor",
    "windows": "windows",
}


def _stripped(text: str) -> str:
    """Without the blanks that fill up a terminal's lines."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def emit(text: str, output: Path | None) -> None:
    """Write an answer to a file, or print it."""
    if output is not None:
        from roofline.output import write_text

        write_text(output, text)
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:  # a full disk behind a redirection
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered cannot be written
        raise OutputError(f"cannot write the output: {error.strerror or error}") from error
