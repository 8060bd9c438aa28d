"""`roofline cache`: what is kept for the next time, and the option of the commands that use it."""

from __future__ import annotations

import json

import click

CACHE = click.option(
    "--cache/--no-cache",
    "cached",
    default=None,
    help="Keep the layer tables of your own files too, or nothing, fits of a calibration included; if not given, those "
    "of the zoo and of libraries, and fits.",
)


@click.command()
@click.option("--clear", is_flag=True, help="Delete all of it.")
@click.option("--format", "format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def cache(clear: bool, format: str) -> None:
    """Show where layer tables and fitted calibrations are kept, how many, and how large.

    A second look at the same model then builds and traces nothing, and a second prediction with the same calibration
    fits nothing. An entry is of all that it was made from, and of the versions and source files that made it.
    ROOFLINE_CACHE_DIR names another place, ROOFLINE_NO_CACHE=1 keeps nothing.
    """
    from roofline.cache_folder import MAX_BYTES, contents, is_off
    from roofline.cache_folder import clear as delete
    from roofline.commands.show import emit
    from roofline.units import si

    there = delete() if clear else contents()
    if format == "json":
        data = {
            "folder": str(there.folder),
            "entries": there.entries,
            "bytes": there.bytes,
            "kinds": {kind.name: {"entries": held.entries, "bytes": held.bytes} for kind, held in there.held.items()},
            "max_bytes": MAX_BYTES,
            "is_off": is_off(),
            "is_cleared": clear,
        }
        emit(json.dumps(data, indent=2) + "\n", None)
        return
    lines = [("place", str(there.folder))]
    lines += [(kind.called, f"{held.entries}, {si(held.bytes, 'B')}") for kind, held in there.held.items()]
    lines += [("all together", f"{si(there.bytes, 'B')} of at most {si(MAX_BYTES, 'B')}")]
    width = max(len(name) for name, _ in lines)
    told = [f"{name:{width}}  {value}" for name, value in lines]
    if clear:
        told.append("All of them are deleted.")
    if is_off():
        told.append("ROOFLINE_NO_CACHE is set: nothing is read from here or kept, but by --cache.")
    emit("\n".join(told) + "\n", None)
