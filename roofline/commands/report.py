"""`roofline report`: a saved result drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from roofline.commands.options import BESIDE, Pages


@click.command()
@click.argument("saved", metavar="SAVED", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    is_flag=False,
    flag_value=BESIDE,
    help="The report; FILE.html beside the result, or report.html in the folder, if not given.",
)
@click.option(
    "--plotlyjs",
    type=click.Choice(["inline", "cdn", "directory"]),
    default="inline",
    show_default=True,
    help="Where the report has plotly.js from: in it, the network, or a file beside it.",
)
@click.option("--png", type=click.Path(path_type=Path), metavar="FOLDER", help="Write its figures as PNG.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FOLDER", help="Write its figures as SVG.")
def report(saved: Path, html: Path | None, plotlyjs: str, png: Path | None, svg: Path | None) -> None:
    """Draw a saved result again.

    SAVED is a FILE.json of 'analyze', 'sweep', 'compare', 'whatif', 'fit', 'measure', 'validate', 'activations' or
    'explore', or the folder of a run of 'explore'.
    """
    if html == BESIDE or (html is None and png is None and svg is None):
        html = saved / "report.html" if saved.is_dir() else saved.with_suffix(".html")
    pages = Pages(html=html, plotlyjs=plotlyjs, png=png, svg=svg)
    pages.check(saved)
    pages.write(_read(saved))


def _read(saved: Path) -> Mapping[str, Any]:
    """The plain data of what was saved: of a file, or of a run of `roofline explore`, which is a folder."""
    if saved.is_dir():
        from roofline.exploring.analysis import summary

        return summary(saved).to_dict()
    from roofline.saved import load_saved

    return load_saved(saved)
