"""`roofline hw`: the hardware profiles."""

from __future__ import annotations

import json

import click

from roofline.commands.show import emit, show


@click.command()
@click.option("--format", "format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def hw(format: str) -> None:
    """List the hardware profiles.

    Class, peak, bandwidth and ridge point, and where the figures come from.
    """
    from roofline.profiles import load_all

    if format == "json":
        emit(json.dumps([device.to_dict() for device in load_all()], indent=2) + "\n", None)
    else:
        from roofline.reports.terminal import render_hardware

        show(lambda _: render_hardware(load_all()), None)
