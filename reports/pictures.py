"""The figures of a result's page as static pictures: PNG or SVG files, drawn by plotly's kaleido in a Chrome."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from roofline.errors import OutputError
from roofline.output import write_bytes

WIDTH_PX, HEIGHT_PX = 960, 560
SCALE = {"png": 2, "svg": 1}  # a PNG of twice the pixels stays sharp in print


def check_pictures(folder: Path) -> None:
    """Find out before the work whether pictures can be written there; makes the folder.

    Raises:
        OutputError: kaleido is missing, or the folder cannot be made.
    """
    if find_spec("kaleido") is None:  # which plotly calls
        raise OutputError("pictures need kaleido, which is not installed: pip install 'roofline-profiler[pictures]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}") from error


def write_pictures(folder: Path, data: Mapping[str, Any], *, format: Literal["png", "svg"]) -> list[Path]:
    """Draw every figure of a result's page into ``folder/<figure>.<format>``, and return the paths.

    Args:
        folder: Made if it is not there.
        data: A result's `to_dict()`, or a saved file's contents.
        format: ``"png"`` or ``"svg"``.

    Raises:
        OutputError: kaleido or a Chrome for it is missing, or a file cannot be written.
        RooflineError: `data` is not a result that can be drawn.
    """
    from roofline.reports.pages import draw

    check_pictures(folder)
    figures = draw(data)
    paths = []
    for name, figure in figures.items():
        width, height = figure.layout.width or WIDTH_PX, figure.layout.height or HEIGHT_PX
        try:
            picture = figure.to_image(format=format, width=width, height=height, scale=SCALE[format])
        except Exception as error:  # kaleido's own, of several classes: no Chrome, or one that does not start
            why = " ".join(str(error).split())[:200]
            raise OutputError(f"kaleido cannot draw {name}: {type(error).__name__}: {why}") from error
        paths.append(folder / f"{name}.{format}")
        write_bytes(paths[-1], picture)
    return paths
