"""`roofline history`: what was measured before, and what has changed since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roofline.commands.options import OUTPUT, complete_model
from roofline.commands.show import emit, format_of, show
from roofline.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


@click.command()
@click.argument("model", required=False, metavar="[MODEL]", shell_complete=complete_model)
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where 'roofline measure' kept them; the user's data directory if not given.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Only what was measured there.")
@click.option("--format", "format", type=click.Choice(["table", "json", "csv"]),
              help="A table, or what the suffix of -o says.")  # fmt: skip
@click.option("--export", type=click.Choice(["csv", "parquet"]), help="Write all that is kept, whole records, instead.")
@OUTPUT
def history(
    model: str | None,
    db: Path | None,
    device: str | None,
    format: str | None,
    export: str | None,
    output: Path | None,
) -> None:
    """Show the measurements that are kept.

    Of each MODEL, the latest and whether it changed; of one, or of a pattern of names ('mobilenet*'), all, with changes
    beyond noise named: the intervals do not overlap, and the change exceeds what processes differ by.
    """
    output = None if output == Path("-") else output
    if output is not None and db is not None and output.resolve() == db.resolve():
        raise click.UsageError(f"--db and -o both name {output}")
    if export is not None:
        _export(export, format, output, db, model, device)
        return
    format = format_of(format, output)
    if format == "md":
        raise OutputError(f"a history is no Markdown: name {output} .txt, .json or .csv, or give --format")
    from roofline.measurement.history import History

    found = History.of(model, device=device, path=db)
    if format == "json":
        emit(found.to_json() + "\n", output)
    elif format == "csv":
        from roofline.reports.history_export import render_history_csv

        emit(render_history_csv(found), output)
    else:
        from roofline.reports.history_terminal import render_history, render_overview

        def draw(console: Console) -> RenderableType:
            return render_overview(found) if model is None else render_history(found, width=console.width)

        show(draw, output)


def _export(
    export: str, format: str | None, output: Path | None, db: Path | None, model: str | None, device: str | None
) -> None:
    """Write every column of the database, and the whole records."""
    if format is not None:
        raise click.UsageError("--export and --format both say what to write: give one")
    if export == "parquet" and output is None:
        raise click.UsageError("Parquet is no text for a terminal: name a file, -o measurements.parquet")
    if output is not None:
        from roofline.output import check_writable

        check_writable(output)
    from roofline.reports.history_export import check_parquet, export_csv, export_parquet

    if export == "parquet":
        check_parquet()
    from roofline.measurement.history import select
    from roofline.measurement.store import default_path, read

    kept = select(read(db, records=True), db or default_path(), model=model, device=device)
    if output is None or export == "csv":
        emit(export_csv(kept), output)
    else:
        from roofline.output import write_bytes

        write_bytes(output, export_parquet(kept))
    if output is not None:
        click.echo(f"Wrote {len(kept)} measurement{'s' if len(kept) > 1 else ''} to {output}", err=True)
