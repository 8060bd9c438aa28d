"""What the figures of every report share: colours, the plotly template, axes, and text that plotly may show.

A colour in a figure is the name of a CSS variable, ``var(--conv)``. The page's own script puts in the value of the
theme that is on, and does so again when the theme changes; `resolve` does the same for a picture without a page, and
shows the legend of a figure for which the page has a key of its own (``meta={"legend in pictures": True}``).
plotly reads some HTML in the text that it is given, so whatever a model's author may have named goes through `escape`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"
)

# Hues of Okabe and Ito (jfly.uni-koeln.de/color) and of Paul Tol's "muted" scheme, which people with any of the common
# colour deficiencies can tell apart; the kinds that stand next to each other in a network are the farthest apart.
# (light, dark)
KIND_COLORS: Mapping[str, tuple[str, str]] = {
    "conv": ("#0072b2", "#4a9fdb"),
    "depthwise_conv": ("#e69f00", "#f0b429"),
    "grouped_conv": ("#332288", "#8f84d8"),
    "pointwise_conv": ("#56b4e9", "#8ccdf2"),
    "linear": ("#009e73", "#2cc295"),
    "matmul": ("#cc79a7", "#e39cc3"),
    "attention": ("#882255", "#c9659a"),
    "norm": ("#7a7f87", "#9aa0a8"),
    "activation": ("#d55e00", "#f5803e"),
    "pool": ("#999933", "#bfbf5a"),
    "elementwise": ("#a8adb4", "#70757d"),
    "reduce": ("#5c6068", "#c3c7cd"),
    "softmax": ("#aa4499", "#d27fc6"),
    "embedding": ("#117733", "#55b57a"),
    "copy": ("#c2b59b", "#857a64"),
    "other": ("#3d4148", "#e1e4e8"),
}
# Curves of a chart that has no kinds: models of a sweep, devices of a comparison.
SERIES_COLORS: Sequence[tuple[str, str]] = (
    ("#0072b2", "#4a9fdb"), ("#d55e00", "#f5803e"), ("#009e73", "#2cc295"), ("#cc79a7", "#e39cc3"),
    ("#e69f00", "#f0b429"), ("#332288", "#8f84d8"), ("#56b4e9", "#8ccdf2"), ("#882255", "#c9659a"),
    ("#999933", "#bfbf5a"), ("#117733", "#55b57a"),
)  # fmt: skip
DASHES = ("solid", "dash", "dot", "dashdot")
ROLES: Mapping[str, tuple[str, str]] = {
    "page": ("#ffffff", "#14171c"),
    "panel": ("#f6f7f9", "#1c2027"),
    "module": ("#e9ecf0", "#2a303a"),
    "text": ("#1b1f24", "#e4e7eb"),
    "muted": ("#5a626c", "#a2aab4"),
    "line": ("#d5d9df", "#363c46"),
    "grid": ("#e6e8ec", "#2a2f38"),
    "link": ("#0b5cad", "#7db8f0"),
    "accent": ("#0b5cad", "#7db8f0"),
    "mark": ("#1b1f24", "#ffffff"),
    "memory": ("#2f6f9f", "#6fb1de"),
    "compute": ("#a8560b", "#eaa15a"),
    "memory-zone": ("rgba(47, 111, 159, 0.07)", "rgba(111, 177, 222, 0.09)"),
    "compute-zone": ("rgba(168, 86, 11, 0.07)", "rgba(234, 161, 90, 0.09)"),
    "share": ("rgba(47, 111, 159, 0.18)", "rgba(111, 177, 222, 0.22)"),
    "bound": ("#5a4a9c", "#b0a3ec"),
    "prediction": ("#0b6e6e", "#5cc8c8"),
    "measurement": ("#9c2a4a", "#f08fa8"),
    "better": ("#00734f", "#4cc79c"),
    "worse": ("#b03a0c", "#f58a5b"),
}


def colors(theme: str) -> dict[str, str]:
    """The CSS variables of a theme, ``"light"`` or ``"dark"``: name without the dashes -> colour."""
    column = ("light", "dark").index(theme)
    series = {f"series-{number}": pair for number, pair in enumerate(SERIES_COLORS)}
    named = {**ROLES, **{kind.replace("_", "-"): pair for kind, pair in KIND_COLORS.items()}, **series}
    return {name: pair[column] for name, pair in named.items()}


def color(name: str) -> str:
    """A colour of the page, by the name of a kind of layer or of one of `ROLES`.

    >>> color("depthwise_conv"), color("memory")
    ('var(--depthwise-conv)', 'var(--memory)')
    """
    return f"var(--{name.replace('_', '-')})"


def kind_color(kind: str) -> str:
    """The colour of a kind of layer; one that is not known, as a later release may save it, has that of `other`."""
    return color(kind if kind in KIND_COLORS else "other")


def series(number: int) -> dict[str, str]:
    """Colour and dash of curve `number`; the dashes change where the colours come round again."""
    count = len(SERIES_COLORS)
    return {"color": f"var(--series-{number % count})", "dash": DASHES[number // count % len(DASHES)]}


_VARIABLE = re.compile(r"var\(--([a-z0-9-]+)\)")  # all of a text: within another it is a name's own


def resolve(figure: go.Figure, theme: str = "light") -> go.Figure:
    """The figure with the colours of a theme put in, for a picture that no page surrounds."""
    palette = colors(theme)

    def put_in(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: put_in(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [put_in(item) for item in value]
        name = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
        return palette.get(name[1], value) if name else value

    resolved = go.Figure(put_in(figure.to_plotly_json()))
    resolved.update_layout(paper_bgcolor=palette["page"])
    if (figure.layout.meta or {}).get("legend in pictures"):
        resolved.update_layout(showlegend=True, legend={"y": 1.07, "itemsizing": "constant"}, margin={"t": 64})
    return resolved


def escape(text: str) -> str:
    """Text of unknown origin for a label of plotly, which takes some tags and entities for markup.

    >>> escape("<b>1 & 2</b>")
    '&lt;b&gt;1 &amp; 2&lt;/b&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def card(title: str, lines: Iterable[str]) -> str:
    """The text of a hover box; `title` and `lines` are plain text."""
    return "<br>".join((f"<b>{escape(title)}</b>", *map(escape, lines)))


def layout(**settings: Any) -> go.Layout:
    """A layout in the style of the reports; `settings` are plotly's own and go over it."""
    axis = {
        "gridcolor": color("grid"), "linecolor": color("line"), "zerolinecolor": color("line"),
        "tickcolor": color("line"), "automargin": True, "ticks": "outside", "ticklen": 4,
        "title": {"standoff": 8, "font": {"size": 13}},
    }  # fmt: skip
    template = go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": color("text")},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 8, "t": 24, "b": 8},
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": color("page"), "bordercolor": color("line"), "align": "left",
                "font": {"family": FONT, "size": 12, "color": color("text")},
            },
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": color("muted"), "activecolor": color("text")},
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
            "xaxis": axis,
            "yaxis": axis,
        }
    )  # fmt: skip
    # "uirevision": zoom and hidden traces stay when the figure is drawn again; plotly does not take it from a template
    return go.Layout(**{"template": template, "uirevision": "kept", **settings})


def log_axis(title: str, **settings: Any) -> dict[str, Any]:
    """A logarithmic axis with SI prefixes, labelled at the decades; plain numbers below a thousand."""
    return {"type": "log", "title": {"text": title}, "tickformat": "~s", "dtick": 1, "minor": {"ticks": ""}, **settings}


def log_limits(values: Iterable[float], above: float = 2.5) -> tuple[float, float]:
    """The ends of a logarithmic axis that shows all of these, with room below, and above by a factor."""
    shown = [value for value in values if 0 < value < math.inf]
    return min(shown) / 2.5, max(shown) * above


def bound_symbol(bound: str) -> str:
    """The marker of a layer: round where memory sets its time, else a diamond."""
    return "circle" if bound == "memory" else "diamond"
