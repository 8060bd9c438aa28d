"""One self-contained HTML page of any saved result, picked by its schema.

A page is drawn from plain data alone, so a file that was saved is drawn as the result it came from would be. Each kind
of result has a module with ``page(data) -> Page``: its figures (plotly), its tables and what its own script needs. The
template `base.html.j2` gives all of them the same head, style, switch of themes and footer.

Nothing that a model's author wrote can become markup or script: Jinja2 escapes text, `embed` escapes data, figures
escape labels, and a Content-Security-Policy lets no script run but those whose hash it lists, and nothing be loaded.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline import units
from roofline.errors import RooflineError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jinja2 import Environment

PAGES: Mapping[str, str] = {  # schema without its version -> the module that draws it
    "roofline/analysis": "analysis_page",
    "roofline/sweep": "sweep_page",
    "roofline/comparison": "comparison_page",
    "roofline/hardware-list": "hardware_page",
    "roofline/whatif": "whatif_page",
    "roofline/activations": "activations_page",
    "roofline/elementwise": "elementwise_page",
    "roofline/measurement": "measure_page",
    "roofline/fit": "fit_page",
    "roofline/validation": "validation_page",
    "roofline/exploration": "space_page",
}
VERSION = "1"
PLOTLYJS = ("inline", "cdn", "directory")
PLOTLYJS_FILE = "plotly.min.js"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the footer: each figure that was used, with its kind and its source.

    Attributes:
        name: What people call it.
        figures: Of its profile: path -> ``{"value", "kind", "source"}``; empty where it was made in Python.
    """

    name: str
    figures: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one kind of result puts into the base template.

    Attributes:
        template: Name of its template, which extends ``base.html.j2``.
        title: Of the window, plain text.
        context: Names for the template.
        figures: By the id that the template's `figure` macro is given.
        data: Plain data for its script: ``Roofline.data``.
        script: Name of its script in templates/, run after ``report.js``; none if empty.
        devices: For the footer.
        conventions: What was counted, and how; sentences.
        not_counted: What was not; sentences.
        versions: Of what made the result.
    """

    template: str
    title: str
    context: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, go.Figure] = field(default_factory=dict)
    data: Any = None
    script: str = ""
    devices: Sequence[Device] = ()
    conventions: Sequence[str] = ()
    not_counted: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def page_of(data: Mapping[str, Any]) -> Page:
    """The page of a result, as `to_dict` or a saved file gives it.

    Raises:
        RooflineError: It is no result, or of a schema that this release does not draw.
    """
    schema = data.get("schema") if isinstance(data, Mapping) else None
    if not isinstance(schema, str):
        raise RooflineError("this is no result of roofline: it has no 'schema'")
    kind, _, version = schema.rpartition("/")
    if kind not in PAGES:
        raise RooflineError(f"no report draws a result of schema {schema!r} (known: {', '.join(PAGES)})")
    if version != VERSION:
        raise RooflineError(
            f"this release draws {kind}/{VERSION}, and the result is {schema!r}: "
            "make the result again, or draw it with the release that made it"
        )
    module = import_module(f"roofline.reports.{PAGES[kind]}")
    with _whole(schema):
        page: Page = module.page(data)
    return page


@contextmanager
def _whole(schema: str) -> Iterator[None]:
    """Say in one line that a result is not what its schema says, wherever in the drawing that is found."""
    from jinja2 import TemplateError

    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, TemplateError) as error:
        if isinstance(error, RooflineError):
            raise
        what = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RooflineError(
            f"the result says it is {schema!r}, but {what}: it was cut short, edited, or saved by an older roofline"
        ) from error


def draw(data: Mapping[str, Any], theme: str = "light") -> dict[str, go.Figure]:
    """The figures of a result's page, with the colours of a theme: for pictures without a page."""
    from roofline.reports.figures import resolve

    return {name: resolve(figure, theme) for name, figure in page_of(data).figures.items()}


def render_page(data: Mapping[str, Any], *, command: str | None = None, plotlyjs: str = "inline") -> str:
    """The page of a result as one HTML text.

    Args:
        data: A result's `to_dict()`, or a saved file's contents.
        command: The command line that made it, for the footer.
        plotlyjs: Where the page has plotly.js from: ``"inline"`` (in it, 5 MB), ``"cdn"`` (the network, when it is
            opened), ``"directory"`` (``plotly.min.js`` beside it: see `write_page`).

    Raises:
        RooflineError: `data` is not a result that can be drawn, or an unknown `plotlyjs`.
    """
    if plotlyjs not in PLOTLYJS:
        raise RooflineError(f"unknown plotlyjs {plotlyjs!r}: choose one of {', '.join(PLOTLYJS)}")
    page = page_of(data)
    scripts = [_template("report.js")] + ([_template(page.script)] if page.script else [])
    if plotlyjs == "inline":
        scripts.insert(0, plotly_source())
    with _whole(data["schema"]):
        text = environment().get_template(page.template).render(
            **page.context,
            page=page,
            command=command,
            policy=_policy(scripts, plotlyjs),
            style=_template("style.css"),
            scripts=scripts,
            plotly_url=_plotly_url(plotlyjs),
            plotly_integrity=_hash(plotly_source()) if plotlyjs == "cdn" else None,
            figures_json=embed({name: figure.to_plotly_json() for name, figure in page.figures.items()}),
            data_json=embed(page.data),
        )  # fmt: skip
    return text + "\n"


def write_page(path: Path, data: Mapping[str, Any], *, command: str | None = None, plotlyjs: str = "inline") -> None:
    """Write the page of a result, and plotly.js beside it if it is to come from there.

    Raises:
        RooflineError: As `render_page`, or a file cannot be written.
    """
    from roofline.output import write_text

    text = render_page(data, command=command, plotlyjs=plotlyjs)
    if plotlyjs == "directory":
        write_text(path.resolve().parent / PLOTLYJS_FILE, plotly_source())
    write_text(path, text)


@functools.cache
def environment() -> Environment:
    """Jinja2 as the reports use it: everything is escaped, and a name that is missing is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_template),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    from roofline.reports.figures import color, colors

    made.globals.update(themes={theme: colors(theme) for theme in ("light", "dark")}, color=color)
    made.filters.update(si=units.si, percent=units.percent, significant=units.significant, seconds=seconds, shape=shape)
    return made


def seconds(value: float) -> str:
    """A duration as a page shows it.

    >>> seconds(31.2e-6)
    '31.2 µs'
    """
    return units.seconds(value).replace("us", "µs")


def shape(sizes: Sequence[int]) -> str:
    """Sizes as a page shows them.

    >>> shape([1, 3, 224, 224]) == "1x3x224x224".replace("x", "\N{MULTIPLICATION SIGN}")
    True
    """
    return units.shape(tuple(sizes)).replace("x", "\N{MULTIPLICATION SIGN}")


@functools.cache
def _template(name: str) -> str:
    return files("roofline.reports").joinpath(f"templates/{name}").read_text(encoding="utf-8")


@functools.cache
def plotly_source() -> str:
    """plotly.js of the installed plotly."""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    assert "</script" not in source.lower(), "it would end the element that holds it"
    return source


def _plotly_url(plotlyjs: str) -> str | None:
    if plotlyjs == "inline":
        return None
    if plotlyjs == "directory":
        return PLOTLYJS_FILE
    return f"https://cdn.plot.ly/plotly-{_plotly_version()}.min.js"


def _plotly_version() -> str:
    from plotly.offline import get_plotlyjs_version

    version: str = get_plotlyjs_version()
    return version


def _policy(scripts: Sequence[str], plotlyjs: str) -> str:
    """A Content-Security-Policy: these scripts and no other, and nothing from the network but a CDN that was asked for.

    plotly.js writes style attributes and makes images of its figures, so those stay allowed. Evaluating text as a
    program does not: the traces that would (WebGL) are not used.
    """
    outside = {"inline": [], "cdn": ["https://cdn.plot.ly"], "directory": ["'self'", "file:"]}[plotlyjs]
    allowed = [*(f"'{_hash(script)}'" for script in scripts), *outside]
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(allowed)}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def embed(value: Any) -> str:
    """JSON that may stand in a script element: no character in it can end the element or start markup.

    >>> print(embed({"name": "</script>"}))
    {"name":"\\u003c/script\\u003e"}
    """
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # all that could be markup was escaped above
