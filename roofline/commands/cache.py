"""`roofline cache`: the layer tables that are kept, and the option of the commands that use them."""

from __future__ import annotations

import json

import click

CACHE = click.option(
    "--cache/--no-cache",
    "cached",
    default=None,
    help="Keep the layer tables of your own files too, or none; those of the zoo and of libraries if not given.",
)


@click.command()
@click.option("--clear", is_flag=True, help="Delete all of them.")
@click.option("--format", "format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def cache(clear: bool, format: str) -> None:
    """Show where layer tables are kept, how many, and how large.

    A second look at the same model then builds and traces nothing. A table is of one model and its arguments, input,
    fusion and dtype, and of the versions and source files that made it. ROOFLINE_CACHE_DIR names another place,
    ROOFLINE_NO_CACHE=1 keeps nothing.
    """
    from roofline.cache import MAX_BYTES, contents, is_off
    from roofline.cache import clear as delete
    from roofline.commands.show import emit
    from roofline.units import si

    there = delete() if clear else contents()
    if format == "json":
        data = {
            "folder": str(there.folder),
            "entries": there.entries,
            "bytes": there.bytes,
            "max_bytes": MAX_BYTES,
            "is_off": is_off(),
            "is_cleared": clear,
        }
        emit(json.dumps(data, indent=2) + "\n", None)
        return
    lines = [
        f"place    {there.folder}",
        f"entries  {there.entries}",
        f"size     {si(there.bytes, 'B')} of at most {si(MAX_BYTES, 'B')}",
    ]
    if clear:
        lines.append("All of them are deleted.")
    if is_off():
        lines.append("ROOFLINE_NO_CACHE is set: nothing is read from here or kept, but by --cache.")
    emit("\n".join(lines) + "\n", None)
