"""`roofline report`: a saved result drawn again."""

from __future__ import annotations

from pathlib import Path

import click

from roofline.commands.options import BESIDE, Pages


@click.command()
@click.argument("saved", metavar="FILE.json", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    is_flag=False,
    flag_value=BESIDE,
    help="The report; FILE.html beside the result if not given.",
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

    FILE.json is the JSON of 'analyze', 'sweep', 'compare', 'whatif', 'fit', 'measure', 'validate' or
    'activations'.
    """
    from roofline.saved import load_saved

    if html == BESIDE or (html is None and png is None and svg is None):
        html = saved.with_suffix(".html")
    pages = Pages(html=html, plotlyjs=plotlyjs, png=png, svg=svg)
    pages.check(saved)
    pages.write(load_saved(saved))
