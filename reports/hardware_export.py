"""Hardware profiles as text for other programs: CSV and Markdown. (JSON is the list of `Hardware.to_dict`.)"""

from __future__ import annotations

import csv
import io

from roofline.hardware_list import COLUMNS, HardwareList
from roofline.reports.export import _escape, _markdown_table
from roofline.units import si, significant


def render_hardware_csv(listed: HardwareList) -> str:
    """One line a device and dtype, in SI base units."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed.rows())
    return text.getvalue()


def render_hardware_markdown(listed: HardwareList) -> str:
    """One line a device and dtype, and what a time on them is, to paste into an issue."""
    header = ("profile", "class", "dtype", "peak MAC/s", "bandwidth B/s", "ridge MACs/B", "figures", "a time is a")
    rows = [
        (
            row["id"], row["class"], row["dtype"], si(row["peak_macs_per_s"]), si(row["bandwidth_bytes_per_s"]),
            significant(row["ridge_point_macs_per_byte"]), row["figures"], row["latency_kind"],
        )
        for row in listed.rows()
    ]  # fmt: skip
    return "\n".join((_escape(listed.verdict()), "", *_markdown_table(header, rows), ""))
