"""The form of a profile for other programs: a JSON Schema (draft 2020-12) that editors complete and check YAML by.

It says what `roofline.profiles.ProfileEntry` accepts, one rule between two fields included. What YAML itself may not
hold there (tags, anchors, a field given twice) no JSON Schema can say: that is for `roofline.profile_check`.
"""

from __future__ import annotations

from typing import Any, Final

from roofline.hardware import DTYPES, LAYER_CLASSES
from roofline.profiles import MAC_CLASSES, SCHEMA, ProfileEntry

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ID: Final = f"urn:{SCHEMA.replace('/', ':')}"
EDITOR_LINE: Final = "# yaml-language-server: $schema={}"  # the first line of a profile, with the path of the schema

_FIGURE = {"$ref": "#/$defs/Figure"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a profile, as plain data."""
    made = ProfileEntry.model_json_schema(by_alias=True)
    fields: dict[str, Any] = made["properties"]
    for field in fields.values():
        if field.get("default", ...) in (None, [], {}):
            del field["default"]  # an editor would offer to write out nothing
    fields["peak_gmacs_per_s"] |= _by(DTYPES)
    fields["peak_share_by_class"] |= _by(MAC_CLASSES)
    fields["bandwidth_gb_per_s_by_class"] |= _by(LAYER_CLASSES)
    for name, field in fields.items():
        field.pop("propertyNames", None)
        fields[name] = _with_figures(field)
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "Hardware profile of roofline",
        "description": "One device: peak rates, a memory bandwidth, optional terms, and where each figure comes from.",
        "type": "object",
        "properties": fields,
        "required": made["required"],
        "additionalProperties": False,
        "allOf": [*map(_needs_a_peak, DTYPES), _needs_a_memory()],
        "$defs": {"Figure": {**made["$defs"]["FigureEntry"], "title": "Figure"}},
    }


def _by(keys: tuple[str, ...]) -> dict[str, Any]:
    """A mapping from some names to figures; listed, so that an editor can offer them."""
    return {"properties": dict.fromkeys(keys, _FIGURE), "additionalProperties": False}


def _with_figures(field: dict[str, Any]) -> dict[str, Any]:
    """The field with our name of a figure for pydantic's."""
    if "$ref" in field:
        return {**field, **_FIGURE}
    if "anyOf" in field:
        return {**field, "anyOf": [_with_figures(choice) for choice in field["anyOf"]]}
    return field


def _needs_a_peak(dtype: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"default_dtype": {"const": dtype}}, "required": ["default_dtype"]},
        "then": {"properties": {"peak_gmacs_per_s": {"required": [dtype]}}},
    }


def _needs_a_memory() -> dict[str, Any]:
    return {
        "if": {"properties": {"onchip_holds": {"type": "array", "minItems": 1}}, "required": ["onchip_holds"]},
        "then": {"properties": {"onchip_mib": _FIGURE}, "required": ["onchip_mib"]},
    }
