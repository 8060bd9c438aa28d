"""A profile to fill in: YAML that loads as it stands, with each field explained, and the optional ones as comments.

The words are those of `roofline.profiles.ProfileEntry`, so that the template and the JSON Schema cannot disagree. A
comment has a blank after its ``#``; a field to use, were its ``#`` taken away, has none.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import yaml

from roofline.errors import ProfileError
from roofline.profile_schema import EDITOR_LINE
from roofline.profiles import FigureEntry, ProfileEntry

WIDTH: Final = 100
_HEAD = (
    "A hardware profile of roofline: replace what stands here by what you know of the device, and say whence.",
    "Lines that begin with '#' and no blank are optional fields: take the '#' away to use one.",
    "",
    "Check it with 'roofline hw check FILE', use it with 'roofline analyze MODEL --hw FILE'. For an editor to complete "
    "and check it, run 'roofline hw schema -o profile.schema.json' and begin this file with",
    f"  {EDITOR_LINE.format('profile.schema.json')}",
    "",
    "Each number is a figure: its value in the unit of the field's name, its kind, and its source. Kinds:",
    *(f"  {told}" for told in re.findall(r"\w+: [^.]+\.", str(FigureEntry.model_fields["kind"].description))),
)
_OPTIONAL = "Optional. Without these a layer takes the larger of MACs / peak and bytes / bandwidth."


def template(profile_id: str = "my_device") -> str:
    """The text of a profile to fill in.

    Raises:
        ProfileError: `profile_id` is no id of a profile.
    """
    if not profile_id or slug(profile_id) != profile_id:
        hint = f", as in {slug(profile_id)}" if slug(profile_id) else ", as in pixel6_tpu"
        raise ProfileError(f"an id is lower-case words and digits joined by '_'{hint} (got {profile_id!r})")
    head = [line for paragraph in _HEAD for line in _comment(paragraph)]
    return "\n".join([*head, *_fields(profile_id)]) + "\n"


def slug(text: str) -> str:
    """The id nearest to a text; empty if nothing of it is left.

    >>> slug("My Device (2.0)"), slug("pixel6_tpu"), slug("--")
    ('my_device_2_0', 'pixel6_tpu', '')
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _fields(profile_id: str) -> Iterator[str]:
    optional = False
    for name, field in ProfileEntry.model_fields.items():
        key, example = field.alias or name, (field.examples or [None])[0]
        yield ""
        if not field.is_required() and not optional:
            optional = True
            yield from (*_comment(_OPTIONAL), "")
        yield from _comment(f"{field.title}. {field.description}")
        value: Any = profile_id if key == "id" else example
        if optional:
            yield f"#{key}: {_flow(value)}"
        elif key == "peak_gmacs_per_s":
            yield from (f"{key}:", *(f"  {dtype}: {_flow(figure)}" for dtype, figure in value.items()))
        else:
            yield f"{key}: {_flow(value)}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ") or ["#"]


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if not isinstance(value, str):
        return str(value)
    plain = re.fullmatch(r"[\w/ ]+", value) and yaml.safe_load(value) == value  # "no" is not, nor "2024"
    return value if plain else json.dumps(value)  # a text of JSON is one of YAML, too
