"""Hardware profiles: the YAML that people write, checked line by line, turned into `Hardware`.

A profile is plain YAML of the version ``roofline/hardware/1``; `roofline.hwprofiles` shows one, and docs/profiles.md
explains each field. Each number is a figure with a value, a kind and a source, in the unit that its field's name says.
Reading one never runs code: tags, anchors and aliases are refused, so nothing but text, numbers, lists and mappings is
ever built.

Every problem is a `ProfileError` of one line that names the file and, where there is one, the line and the field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from yaml.reader import Reader

from roofline.errors import ProfileError, did_you_mean
from roofline.hardware import (
    ACTIVATIONS,
    LAYER_CLASSES,
    Activation,
    Combine,
    DeviceClass,
    Dtype,
    Figure,
    FigureKind,
    Fusion,
    Hardware,
    LayerClass,
    OnChip,
)

SCHEMA: Final = "roofline/hardware/1"

ONE, GIGA, MICRO, PICO, MEBI = Decimal(1), Decimal("1e9"), Decimal("1e-6"), Decimal("1e-12"), Decimal(2**20)

_BY_CLASS = ("peak_share_by_class", "bandwidth_gb_per_s_by_class")
_MAX_BYTES = 1_000_000
_MAX_DEPTH = 8
_LOADER: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Path = tuple[str | int, ...]  # a place in a document, such as ("peak_gmacs_per_s", "int8", "value")


def _one_line(given: object) -> object:
    return " ".join(given.split()) if isinstance(given, str) else given


# Limits beyond any machine: the upper one catches MACs/s or bytes/s written where GMAC/s or GB/s belong.
_Number = Annotated[float, Field(gt=0, ge=1e-9, le=1e9, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1, pattern=r"^\P{Cc}*$"), BeforeValidator(_one_line)]  # no control characters
_Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
_Activations = Annotated[
    list[Activation], BeforeValidator(lambda given: list(ACTIVATIONS) if given == "all" else given)
]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FigureEntry(_Entry):
    """A number in the unit that the name of its field says, what kind of number it is, and where it comes from."""

    value: _Number
    kind: FigureKind
    source: _Text

    def si(self, unit: Decimal) -> Figure:
        """Return the figure in SI base units, of which the field's unit is `unit`; decimal, so 3 us is 3e-06 s."""
        return Figure(value=float(Decimal(str(self.value)) * unit), kind=self.kind, source=self.source)


class ProfileEntry(_Entry):
    """The schema of a profile: its fields as they stand in the YAML, in the units of their names."""

    schema_version: Literal["roofline/hardware/1"] = Field(alias="schema")
    id: _Slug
    name: _Text
    device_class: DeviceClass = Field(alias="class")
    peak_gmacs_per_s: dict[Dtype, FigureEntry] = Field(min_length=1)
    bandwidth_gb_per_s: FigureEntry
    default_dtype: Dtype
    default_fusion: Fusion
    fused_activations: _Activations
    combine: Combine = "max"
    peak_share_by_class: dict[LayerClass, FigureEntry] = Field(default_factory=dict)
    vector_gops_per_s: FigureEntry | None = None
    weight_bandwidth_gb_per_s: FigureEntry | None = None
    bandwidth_gb_per_s_by_class: dict[LayerClass, FigureEntry] = Field(default_factory=dict)
    layer_overhead_us: FigureEntry | None = None
    inference_overhead_us: FigureEntry | None = None
    onchip_mib: FigureEntry | None = None
    onchip_holds: list[OnChip] = Field(default_factory=list)
    energy_pj_per_mac: FigureEntry | None = None
    energy_pj_per_byte: FigureEntry | None = None
    notes: _Text | None = None

    @field_validator("id")
    @classmethod
    def _is_the_stem(cls, slug: str, info: ValidationInfo) -> str:
        stem = info.context and info.context["stem"]
        if stem and slug != stem:
            raise PydanticCustomError("not_the_stem", f"Input should be {stem!r}, as the file is named")
        return slug

    @field_validator("default_dtype")
    @classmethod
    def _has_a_peak(cls, dtype: Dtype, info: ValidationInfo) -> Dtype:
        peaks = info.data.get("peak_gmacs_per_s")
        if peaks is not None and dtype not in peaks:
            raise PydanticCustomError(
                "no_peak", f"Input should be a dtype that peak_gmacs_per_s lists: {', '.join(peaks)}"
            )
        return dtype

    @field_validator("onchip_holds")
    @classmethod
    def _has_a_memory(cls, holds: list[OnChip], info: ValidationInfo) -> list[OnChip]:
        if holds and info.data.get("onchip_mib", True) is None:
            raise PydanticCustomError("no_memory", "Input should be left out where there is no onchip_mib to hold it")
        return holds

    def hardware(self) -> Hardware:
        """Return the device in SI base units."""
        entries = {
            "bandwidth_bytes_per_s": (self.bandwidth_gb_per_s, GIGA),
            "vector_ops_per_s": (self.vector_gops_per_s, GIGA),
            "weight_bandwidth_bytes_per_s": (self.weight_bandwidth_gb_per_s, GIGA),
            "layer_overhead_s": (self.layer_overhead_us, MICRO),
            "inference_overhead_s": (self.inference_overhead_us, MICRO),
            "onchip_bytes": (self.onchip_mib, MEBI),
            "energy_per_mac_j": (self.energy_pj_per_mac, PICO),
            "energy_per_byte_j": (self.energy_pj_per_byte, PICO),
        }
        mappings: dict[str, tuple[Mapping[Any, FigureEntry], Decimal]] = {
            "peak_macs_per_s": (self.peak_gmacs_per_s, GIGA),
            "peak_share_by_class": (self.peak_share_by_class, ONE),
            "bandwidth_bytes_per_s_by_class": (self.bandwidth_gb_per_s_by_class, GIGA),
        }
        by_key = {field: {key: e.si(unit) for key, e in given.items()} for field, (given, unit) in mappings.items()}
        others = {field: entry.si(unit) for field, (entry, unit) in entries.items() if entry is not None}
        value = {field: figure.value for field, figure in others.items()}
        values = {field: {key: figure.value for key, figure in given.items()} for field, given in by_key.items()}
        return Hardware(
            id=self.id,
            name=self.name,
            device_class=self.device_class,
            peak_macs_per_s=values["peak_macs_per_s"],
            bandwidth_bytes_per_s=value["bandwidth_bytes_per_s"],
            default_dtype=self.default_dtype,
            default_fusion=self.default_fusion,
            fused_activations=frozenset(self.fused_activations),
            combine=self.combine,
            peak_share_by_class=values["peak_share_by_class"],
            vector_ops_per_s=value.get("vector_ops_per_s"),
            weight_bandwidth_bytes_per_s=value.get("weight_bandwidth_bytes_per_s"),
            bandwidth_bytes_per_s_by_class=values["bandwidth_bytes_per_s_by_class"],
            layer_overhead_s=value.get("layer_overhead_s", 0.0),
            inference_overhead_s=value.get("inference_overhead_s", 0.0),
            onchip_bytes=round(value["onchip_bytes"]) if "onchip_bytes" in value else None,
            onchip_holds=frozenset(self.onchip_holds),
            energy_per_mac_j=value.get("energy_per_mac_j"),
            energy_per_byte_j=value.get("energy_per_byte_j"),
            figures={f"{field}.{key}": figure for field, given in by_key.items() for key, figure in given.items()}
            | others,
            notes=self.notes or "",
        )


def bundled() -> tuple[str, ...]:
    """Return the names of the profiles that come with roofline, sorted."""
    names = (entry.name for entry in resources.files("roofline.hwprofiles").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_all() -> tuple[Hardware, ...]:
    """Return every bundled profile, in the order of `bundled`."""
    return tuple(_load_bundled(name) for name in bundled())


def load_profile(reference: str | Path) -> Hardware:
    """Return the device that `reference` names.

    Args:
        reference: A path to a YAML file; or, if there is no such file and the reference has no directory part, the name
            of a bundled profile, with or without ``.yaml``, in any case, with ``-`` or ``_``.

    Raises:
        ProfileError: Nothing of that name, a file that cannot be read, or a profile that does not fit the schema. The
            message is one line, with the file, the line and the field.
    """
    path = Path(reference)
    name = path.name.lower().removesuffix(".yaml").removesuffix(".yml").replace("-", "_")
    only_a_name = str(reference) == path.name or not path.name
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, ValueError) as error:  # ValueError: a null byte
        if only_a_name and name in bundled():
            return _load_bundled(name)
        if isinstance(error, IsADirectoryError) and path.name:
            raise ProfileError(f"{path}: is a directory; a profile is a YAML file") from None
        if not only_a_name:
            raise ProfileError(f"{path}: no such file") from None
        missing = ": no such file, and no bundled profile of that name" if path.suffix in (".yaml", ".yml") else ""
        hint = did_you_mean(name, bundled())
        raise ProfileError(f"unknown hardware {str(reference)!r}{missing}.{hint} 'roofline hw' lists all.") from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None
    return _parse(data, str(path)).hardware()


def _load_bundled(name: str) -> Hardware:
    file = f"{name}.yaml"
    data = resources.files("roofline.hwprofiles").joinpath(file).read_bytes()
    return _parse(data, file, stem=name).hardware()


def _parse(data: bytes, file: str, stem: str | None = None) -> ProfileEntry:
    """Return the profile in `data`, checked against the schema.

    Args:
        data: The bytes of the file.
        file: What messages call it.
        stem: What its id has to be, if it matters.
    """
    document, lines = _read(data, file)

    def line(error: ErrorDetails) -> int:
        place = error["loc"]
        while place not in lines:  # of a missing field, the mapping that lacks it
            place = place[:-1]
        return lines[place]

    def rank(error: ErrorDetails) -> tuple[bool, bool, int]:
        # A foreign version explains everything else, and a misspelt field explains a missing one.
        return error["loc"] != ("schema",), error["type"] == "missing", line(error)

    try:
        return ProfileEntry.model_validate(document, context={"stem": stem})
    except ValidationError as invalid:
        first, *more = sorted(invalid.errors(), key=rank)
    field = _dotted(first["loc"])
    what = f"{field}: {_problem(first)}" if field else _problem(first)
    raise ProfileError(f"{file}:{line(first)}: {what}" + (f" (+{len(more)} more)" if more else ""))


def _problem(error: ErrorDetails) -> str:
    """Say in our words, or else in pydantic's, what is wrong with a value and what would be right."""
    place, given = error["loc"], error["input"]
    got = f"(got {_shown(given)})"
    match error["type"]:
        case _ if place == ("schema",):
            found = "it is missing" if error["type"] == "missing" else f"got {_shown(given)}"
            return f"must be {SCHEMA!r}, the version that this release reads ({found})"
        case "missing":
            return "required, but missing"
        case "extra_forbidden":
            model = ProfileEntry if len(place) == 1 else FigureEntry
            known = (field.alias or name for name, field in model.model_fields.items())
            return f"unknown field.{did_you_mean(str(place[-1]), known)}".removesuffix(".")
        case "model_type" if not place:
            return f"a profile is a mapping that begins with 'schema: {SCHEMA}' {got}"
        case "model_type":
            return f"must be a figure, as in {{value: 41, kind: datasheet, source: where it is printed}} {got}"
        case "dict_type" if place[0] in _BY_CLASS:
            return f"must list a figure by class, as in 'grouped_conv: {{value: ..., kind: ..., source: ...}}' {got}"
        case "dict_type" | "too_short":
            return f"must list a figure by dtype, as in 'int8: {{value: ..., kind: ..., source: ...}}' {got}"
        case "literal_error" if place[0] in _BY_CLASS and place[-1] == "[key]":
            return f"no class of layers.{did_you_mean(str(given), LAYER_CLASSES)} docs/profiles.md lists them"
        case "list_type" if place == ("onchip_holds",):
            return f"must be a list, as in [weights, activations] {got}"
        case "list_type":
            return f"must be 'all' or a list, as in [relu, relu6] {got}"
        case "float_type" if isinstance(given, str):
            return f"must be a number (got the text {_shown(given)}{_number_hint(given)})"
        case "less_than_equal":
            return f"must be at most 1e9 in the unit of the field's name {got}"
        case "greater_than_equal" if given <= 0:
            return f"must be greater than 0 {got}"
        case "greater_than_equal":
            return f"must be at least 1e-9 in the unit of the field's name {got}"
        case "string_too_short":
            return "must not be empty"
        case "string_pattern_mismatch" if place != ("id",):
            return f"must not hold control characters {got}"
        case "string_pattern_mismatch":
            return f"must be lower-case words and digits joined by '_', as in pixel6_tpu {got}"
        case _:
            return f"{error['msg'].replace('Input should be', 'must be')} {got}"


def _number_hint(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    exponent = "e" in text.lower()
    return "; YAML wants 4.7e+12 or 4700, not 4.7e12" if exponent else "; write it without quotes"


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.15g}"
        case dict() | list():
            return "a mapping" if isinstance(value, dict) else "a list"
        case _:
            text = repr(value)
            return text if len(text) <= 60 else f"{text[:56]}...'"


def _read(data: bytes, file: str) -> tuple[object, dict[_Path, int]]:
    """Return the plain data of a YAML text, and the line on which each of its fields stands."""
    if len(data) > _MAX_BYTES:
        raise ProfileError(f"{file}: larger than 1 MB; a profile is a page of YAML")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError(f"{file}:{line}: not UTF-8 text") from None
    if control := Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise ProfileError(f"{file}:{line}: not YAML: holds the control character {control.group()!r}")
    try:
        _refuse_all_but_plain(text, file)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise ProfileError(f"{file}:{line}: not YAML: {what}") from None
    except ProfileError:
        raise
    except (ValueError, OverflowError):  # PyYAML's parser in pure Python, on an escape such as "\UFFFFFFFF"
        raise ProfileError(f"{file}: not YAML: holds an escape that is no character") from None
    if root is None:
        return None, {(): 1}
    lines: dict[_Path, int] = {(): root.start_mark.line + 1}
    return _plain(root, (), lines, file), lines


def _refuse_all_but_plain(text: str, file: str) -> None:
    """Refuse, before anything is built, what a profile has no use for and an attacker has."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        where = f"{file}:{event.start_mark.line + 1}" if event.start_mark else file
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ProfileError(f"{where}: nested more than {_MAX_DEPTH} deep, which no profile is")
        if isinstance(event, yaml.NodeEvent) and (event.anchor or getattr(event, "tag", None)):
            raise ProfileError(f"{where}: tags (!), anchors (&) and aliases (*) have no place in a profile")


def _plain(node: yaml.Node, place: _Path, lines: dict[_Path, int], file: str) -> object:
    """Return `node` as text, number, bool, None, list or dict, and note the line of each field in `lines`."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*place, i), lines, file) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node.tag, node.value)
    mapping: dict[str, object] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ProfileError(f"{file}:{line}: the name of a field must be a word")
        inner = (*place, key.value)
        if key.value in mapping:
            raise ProfileError(f"{file}:{line}: {_dotted(inner)}: given twice, first on line {lines[inner]}")
        lines[inner] = line
        mapping[key.value] = _plain(value, inner, lines, file)
    return mapping


def _dotted(place: _Path) -> str:
    """Return the field of a place, less list positions and pydantic's mark for the key itself."""
    steps = (step for step in place if isinstance(step, str) and step != "[key]")
    return ".".join(step if step.isprintable() and len(step) <= 60 else _shown(step) for step in steps)


def _scalar(tag: str, text: str) -> object:
    """Return the value of a scalar; `tag` is the type that YAML gave it by its looks.

    YAML 1.1 also knows dates, octal (010 is 8) and base 60 (1:30 is 90). Here 010 is 10, and the others stay text.
    """
    match tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() in ("yes", "true", "on")
        case "int" | "float":
            try:
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            except ValueError:
                return text
        case _:
            return text
