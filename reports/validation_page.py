"""The page of a validation: predicted against measured, where the error sits, and what the worst layers have in common.

Everything is drawn from the plain data of `Validation.to_dict`. A row of the table of models is an item of the figures;
the items are the models, the misses first.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from roofline import validation_words as words
from roofline.reports import validation_charts as charts
from roofline.reports.figures import color, kind_color
from roofline.reports.fit_page import signed
from roofline.reports.measure_page import environment_table
from roofline.reports.pages import Device, Page, seconds, shape
from roofline.reports.tables import Cell, Column, Table
from roofline.reports.validation_terminal import share
from roofline.units import percent, significant

Plain = Mapping[str, Any]

NONE = "\N{EN DASH}"
SHOWN_MODELS = 12  # of which the layers are drawn: those that the predictions miss most
LEAD = re.compile(r"(.*/)?([^/:]*\.[^/:]*:|(timm|torchvision|hf):)?")  # folders, and a library, file or module
CONVENTIONS = (
    "A prediction is right if it is within the limit of the measured time wherever that lies in its 95 % interval, "
    "wrong if it is so nowhere, and undecided in between. Nothing is decided where the processes differ by more than "
    "10 %, or the machine was busy with other work.",
    "Error: predicted / measured - 1. Bias: the median of ln(predicted / measured), as a share.",
    "Times are at the machine's reference state: each sample over how many times as long as at that state an anchor "
    "took beside it.",
    "A layer's time is that of its op alone, in the recorded sequence, scaled by the whole at reference over the whole "
    "that was timed beside it, and so that all of them add up to what they took together.",
    "Intervals of shares are those of Wilson, at 95 %.",
)


def page(data: Plain) -> Page:
    """The page of a validation."""
    rows = words.worst_first(data)
    shown = _shown_models(data, rows)
    figures = {"scatter": charts.scatter(data, rows)} if rows else {}
    names = {}
    if data["families"]:
        figures["families"] = charts.families(data, rows)
        names["families"] = charts.clipped([group["family"] for group in data["families"]])
    if data["kernels"]:
        figures["kernels"] = charts.kernels(data)
        names["kernels"] = charts.clipped([row["kernel"] for row in charts.kernel_bars(data["kernels"])])
    if shown:
        figures["roofline"] = charts.roofline(data, shown)
    title = rows[0]["model"] if len(rows) == 1 else words.counted(len(rows), "model")
    hardware = data["hardware"]
    leads = leads_of([row["model"] for row in rows])
    return Page(
        template="validation.html.j2",
        title=f"Validated: {title}",
        context={
            "title": f"{title}, predicted and measured",
            "subtitle": words.where(data),
            "verdict": words.verdict(data),
            "frozen": words.frozen(data),
            "tiles": _tiles(data),
            "sentences": [text for text in (words.quality(data["summary"]), words.intervals(data["summary"]),
                                            words.noise(data), words.machine(data)) if text],
            "remarks": list(words.remarks(data)),
            "limit": percent(data["limit"]),
            "row_table": _row_table(rows, leads) if rows else None,
            "summary_table": _summary_table(data),
            "side_by_side": words.SIDE_BY_SIDE,
            "meanings": [(name, meaning) for name, meaning in words.meanings(data) if meaning],
            "family_table": _family_table(data["families"]),
            "family_height": 110 + 24 * len(data["families"]),
            "families_clipped": (
                " A triangle at the edge is a model farther out, with its error beside it."
                if charts.edge(rows, data["limit"]) < math.inf
                else ""
            ),
            "kernel_table": _kernel_table(charts.costliest(data["kernels"])) if data["kernels"] else None,
            "kernel_height": 110 + 24 * len(charts.kernel_bars(data["kernels"])),
            "kernels_folded": (
                f", at the bottom all but the {charts.DRAWN_KERNELS} costliest in two sums"
                if len(charts.kernel_bars(data["kernels"])) < len(data["kernels"])
                else ""
            ),
            "worst_table": _worst_table(data["worst_layers"], leads) if data["worst_layers"] else None,
            "layered": [_model(model["model"], leads).text for model in shown],
            "layer_table": _layer_table(shown, leads) if shown else None,
            "drawn": _drawn(data, shown),
            "environment_table": environment_table(data["environment"]),
        },
        figures=figures,
        data={
            "names": names,
            "times": charts.time_ticks(charts.times(rows)) if rows else None,
            "rooflines": charts.rooflines(data, shown) if shown else [],
        },
        script="validation.js",
        devices=[Device(name=hardware["name"], figures=hardware["figures"])],
        conventions=CONVENTIONS,
        versions=data["versions"],
    )  # fmt: skip


def leads_of(models: Sequence[str]) -> dict[str, str]:
    """What of the name of each model need not be shown: folders and file, or the library, where the rest says which.

    >>> leads_of(["nets/a.py:small at 1x3x8x8", "timm:big", "timm:tiny", "hf:tiny", "mobilenetv4_hybrid_medium:mhsa"])
    {'nets/a.py:small at 1x3x8x8': 'nets/a.py:', 'timm:big': 'timm:'}
    """
    found = {model: match[0] for model in dict.fromkeys(models) if (match := LEAD.match(model))}
    rest = {model: model.removeprefix(lead) for model, lead in found.items()}
    count = Counter(rest.values())
    return {model: lead for model, lead in found.items() if lead and rest[model] and count[rest[model]] == 1}


def _model(name: str, leads: Mapping[str, str], mark: str = "") -> Cell:
    lead = leads.get(name, "")
    return Cell(name.removeprefix(lead), color=mark, lead=lead)


def _shown_models(data: Plain, rows: Sequence[Plain]) -> list[Plain]:
    """The models whose layers are drawn; what is missed most first."""
    order = {row["model"]: number for number, row in reversed(list(enumerate(rows)))}
    return sorted(_layered(data), key=lambda model: order.get(model["model"], len(rows)))[:SHOWN_MODELS]


def _layered(data: Plain) -> list[Plain]:
    """The models that have layers to draw."""
    return [model for model in data["layers"] if charts.drawn_layers(model["rows"])]


def _drawn(data: Plain, shown: Sequence[Plain]) -> str:
    """Which models and which of their layers are drawn, as sentences."""
    count = len(_layered(data))
    chosen = "" if len(shown) == count else f"{len(shown)} of {count} models, those that the predictions miss most. "
    return f"{chosen}Of a model the layers that do MACs, at most {charts.DRAWN_LAYERS}: those that take longest."


def _tiles(data: Plain) -> list[dict[str, Any]]:
    summary = data["summary"]
    within, interval = summary["within_10"], summary["within_10_ci95"]
    ceiling = summary["noise_ceiling"]
    tiles: list[dict[str, Any]] = [
        {"id": "right", "name": "Within 10 %", "value": share(within), "number": "" if within is None else within,
         "note": NONE if interval is None else f"of {summary['decided']}; 95 % {' to '.join(map(percent, interval))}"},
        {"id": "error", "name": "Median error", "value": _tenth(summary["median_error"]),
         "number": "" if summary["median_error"] is None else summary["median_error"],
         "note": f"90th percentile {_tenth(summary['p90_error'])}"},
        {"id": "bias", "name": "Bias", "value": NONE if summary["bias"] is None else words.bias(summary["bias"]),
         "number": "" if summary["bias"] is None else summary["bias"], "note": "above 0: predicted too slow"},
    ]  # fmt: skip
    if summary["spearman"] is not None:
        tiles.append({"id": "ranks", "name": "Spearman", "value": f"{summary['spearman']:.3f}",
                      "note": f"Kendall {summary['kendall']:.3f}"})  # fmt: skip
    if summary["coverage_90"] is not None:
        tiles.append({"id": "coverage", "name": "90 % intervals", "value": percent(summary["coverage_90"]),
                      "note": f"hold; {percent(summary['width_90'])} wide"})  # fmt: skip
    tiles.append({"id": "undecided", "name": "Undecided", "value": str(summary["undecided"]),
                  "note": f"of {words.counted(summary['n'], 'model')}"})  # fmt: skip
    if ceiling["n"]:
        tiles.append({"id": "noise", "name": "Noise ceiling", "value": percent(ceiling["within_10"]),
                      "note": "of models agree with themselves"})  # fmt: skip
    if data["anchor"]:
        factor = data["anchor"]["factor"]["median"]
        tiles.append({"id": "factor", "name": "Machine factor", "value": significant(factor), "number": factor,
                      "note": "times as slow as at reference"})  # fmt: skip
    return tiles


def _tenth(value: float | None) -> str:
    return NONE if value is None else words.tenth(value)


# --- tables -----------------------------------------------------------------------------------------------------------


def _range(interval_s: Sequence[float] | None) -> str:
    return NONE if interval_s is None else " to ".join(map(seconds, interval_s))


def _row_table(rows: Sequence[Plain], leads: Mapping[str, str]) -> Table:
    largest = max(abs(row["error"]) for row in rows) or 1.0
    columns = (
        Column(key="model", label="model"),
        Column(key="error", label="error", numeric=True),
        Column(key="verdict", label="verdict", filter=True),
        Column(key="predicted_s", label="predicted", numeric=True),
        Column(key="interval90_s", label="90 % interval"),
        Column(key="measured_s", label="measured", numeric=True),
        Column(key="measured_ci95_s", label="95 % interval"),
        Column(key="between_process", label="processes", unit="differ by", numeric=True),
        Column(key="family", label="family", filter=True),
        Column(key="input_shape", label="input"),
        Column(key="machine_factor", label="machine", unit="factor", numeric=True),
        Column(key="reason", label="why undecided", wrap=True),
    )
    return Table(
        id="models",
        caption="The models, the misses first",
        columns=columns,
        rows=[
            [
                _model(row["model"], leads, color(charts.VERDICTS[row["verdict"]][0])),
                Cell(signed(row["error"]), row["error"], share=min(1.0, abs(row["error"]) / largest)),
                Cell(row["verdict"]),
                Cell(seconds(row["predicted_s"]), row["predicted_s"]),
                Cell(_range(row["interval90_s"])),
                Cell(seconds(row["measured_s"]), row["measured_s"]),
                Cell(_range(row["measured_ci95_s"])),
                _percent(row["between_process"]),
                Cell(row["family"]),
                Cell(_shape(row["input_shape"])),
                Cell(significant(row["machine_factor"]), row["machine_factor"]),
                Cell(row["reason"] or NONE),
            ]
            for row in rows
        ],
        searchable=len(rows) > 1,
        linked=True,
    )


def _shape(sizes: Sequence[Any]) -> str:
    several = sizes if not sizes or isinstance(sizes[0], list) else [sizes]
    return " ".join(shape(one) for one in several)


def _percent(value: float | None) -> Cell:
    return Cell(NONE, "") if value is None else Cell(words.tenth(value), value)


def _summary_table(data: Plain) -> Table:
    columns = (
        Column(key="estimator", label="estimator"),
        Column(key="right", label="right", unit="of decided", numeric=True),
        Column(key="n", label="fit", unit="to judge", numeric=True),
        Column(key="median_error", label="error", unit="median", numeric=True),
        Column(key="mape", label="error", unit="mean", numeric=True),
        Column(key="p90_error", label="error", unit="p90", numeric=True),
        *(Column(key=f"within_{most}", label="within", unit=f"{most} %", numeric=True) for most in (5, 10, 20)),
        Column(key="bias", label="bias", numeric=True),
        Column(key="spearman", label="rank", unit="Spearman", numeric=True),
        Column(key="kendall", label="rank", unit="Kendall", numeric=True),
        *(Column(key=f"coverage_{level}", label="hold", unit=f"{level} % int.", numeric=True) for level in (80, 90)),
    )
    rows = []
    for summary in data["summaries"]:
        steady, name = summary["steady"], summary["estimator"]
        rows.append(
            [
                Cell(name, color=color("prediction") if name == data["estimator"] else ""),
                Cell(f"{summary['right']} of {summary['decided']}", summary["right"]),
                Cell(str(steady["n"]), steady["n"]),
                *(_percent(steady[key]) for key in ("median_error", "mape", "p90_error")),
                *(_share(steady[f"within_{most}"]) for most in (5, 10, 20)),
                Cell(NONE, "") if steady["bias"] is None else Cell(words.bias(steady["bias"]), steady["bias"]),
                *(_rank(steady[key]) for key in ("spearman", "kendall")),
                *(_share(steady[f"coverage_{level}"]) for level in (80, 90)),
            ]
        )
    return Table(id="estimators", caption="The estimators, side by side", columns=columns, rows=rows)


def _share(value: float | None) -> Cell:
    return Cell(NONE, "") if value is None else Cell(percent(value), value)


def _rank(value: float | None) -> Cell:
    return Cell(NONE, "") if value is None else Cell(f"{value:.3f}", value)


def _family_table(groups: Sequence[Plain]) -> Table:
    columns = (
        Column(key="family", label="family"),
        *(Column(key=key, label=label, numeric=True)
          for key, label in (("n", "models"), ("right", "right"), ("wrong", "wrong"), ("undecided", "undecided"))),
        Column(key="median_error", label="median error", numeric=True),
        Column(key="worst_error", label="largest", numeric=True),
        Column(key="bias", label="bias", numeric=True),
    )  # fmt: skip
    rows = [
        [
            Cell(group["family"]),
            *(Cell(str(group[key]), group[key]) for key in ("n", "right", "wrong", "undecided")),
            _percent(group["median_error"]),
            _percent(group["worst_error"]),
            Cell(words.bias(group["bias"]), group["bias"]),
        ]
        for group in groups
    ]
    return Table(id="family-table", caption="Error by family", columns=columns, rows=rows)


def _kernel_table(kernels: Sequence[Plain]) -> Table:
    columns = (
        Column(key="kernel", label="kernel class"),
        Column(key="layers", label="layers", numeric=True),
        Column(key="excess_s", label="difference", numeric=True),
        Column(key="share", label="share of the time", numeric=True),
        Column(key="predicted_s", label="predicted", numeric=True),
        Column(key="measured_s", label="measured", numeric=True),
        Column(key="error", label="error", numeric=True),
        Column(key="median_error", label="of a layer, median", numeric=True),
    )
    rows = [
        [
            Cell(row["kernel"]),
            Cell(str(row["layers"]), row["layers"]),
            Cell(charts.difference(row), charts.excess_s(row)),
            Cell(percent(row["share"]), row["share"], share=min(1.0, row["share"])),
            Cell(seconds(row["predicted_s"]), row["predicted_s"]),
            Cell(seconds(row["measured_s"]), row["measured_s"]),
            Cell(signed(row["error"]), row["error"]),
            _percent(row["median_error"]),
        ]
        for row in kernels
    ]
    return Table(id="kernel-table", caption="Error by kernel class", columns=columns, rows=rows)


def _worst_table(layers: Sequence[Plain], leads: Mapping[str, str]) -> Table:
    columns = (
        Column(key="layer", label="layer"),
        Column(key="excess_s", label="difference", numeric=True),
        Column(key="error", label="error", numeric=True),
        Column(key="model", label="model", filter=True),
        Column(key="kernel", label="kernel class", filter=True),
        Column(key="reason", label="why", wrap=True),
        Column(key="predicted_s", label="predicted", numeric=True),
        Column(key="measured_s", label="measured", numeric=True),
    )
    rows = [
        [
            Cell(row["layer"], color=kind_color(row["kind"])),
            Cell(charts.difference(row), charts.excess_s(row)),
            Cell(signed(row["error"]), row["error"]),
            _model(row["model"], leads),
            Cell(row["kernel"] or NONE),
            Cell(row["reason"]),
            Cell(seconds(row["predicted_s"]), row["predicted_s"]),
            Cell(seconds(row["measured_s"]), row["measured_s"]),
        ]
        for row in layers
    ]
    return Table(id="worst-layers", caption="The worst layers", columns=columns, rows=rows, searchable=True)


def _layer_table(models: Sequence[Plain], leads: Mapping[str, str]) -> Table:
    columns = (
        Column(key="layer", label="layer"),
        Column(key="model", label="model", filter=True),
        Column(key="kernel", label="kernel class", filter=True),
        Column(key="intensity_macs_per_byte", label="MACs/byte", numeric=True),
        Column(key="predicted_s", label="predicted", numeric=True),
        Column(key="measured_s", label="measured", numeric=True),
        Column(key="error", label="error", numeric=True),
    )
    rows = [
        [
            Cell(row["name"], color=kind_color(row["kind"])),
            _model(model["model"], leads),
            Cell(row["kernel"] or NONE),
            Cell(significant(row["macs"] / row["mem_bytes"]), row["macs"] / row["mem_bytes"]),
            Cell(seconds(row["predicted_s"]), row["predicted_s"]),
            Cell(seconds(row["measured_s"]), row["measured_s"]),
            Cell(signed(row["error"]), row["error"]),
        ]
        for model in models
        for row in charts.drawn_layers(model["rows"])
    ]
    return Table(id="layers", caption="The layers that are drawn", columns=columns, rows=rows, searchable=True)
