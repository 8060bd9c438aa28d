"""The figures of a result's page as static pictures: PNG or SVG files, drawn by plotly's kaleido in a Chrome."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from roofline.errors import OutputError
from roofline.output import write_bytes

WIDTH_PX, HEIGHT_PX = 960, 560
SCALE = {"png": 2, "svg": 1}  # a PNG of twice the pixels stays sharp in print


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

    try:
        import kaleido  # noqa: F401  # only to see that it is there: plotly calls it
    except ImportError as error:
        raise OutputError(
            "pictures need kaleido, which is not installed: pip install 'roofline-profiler[pictures]'"
        ) from error
    figures = draw(data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}") from error
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
