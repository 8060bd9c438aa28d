"""`roofline models`: the zoo."""

from __future__ import annotations

import json

import click

from roofline.commands.options import complete_model
from roofline.commands.show import emit, show


@click.command()
@click.argument("pattern", required=False, metavar="[NAME]", shell_complete=complete_model)
@click.option("--format", "format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def models(pattern: str | None, format: str) -> None:
    """List the model zoo, or describe the model NAME.

    Exact parameters and MACs, the published input size and accuracy. NAME may be a pattern, 'rexnet*'. For one
    model: what was published of it, its paper, the rule that generates it and the arguments it takes.
    """
    from roofline.models import entries, is_pattern, match

    found = entries() if pattern is None else match(pattern)
    if format == "json":
        emit(json.dumps([entry.to_dict() for entry in found], indent=2) + "\n", None)
    elif pattern is None or is_pattern(pattern):
        from roofline.reports.terminal import render_models

        show(lambda _: render_models(found), None)
    else:
        from roofline.reports.terminal import render_model

        show(lambda _: render_model(found[0]), None)
