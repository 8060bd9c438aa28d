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
from typing import Annotated, Any, Final, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
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
    OverheadLayers,
)

SCHEMA: Final = "roofline/hardware/1"
# The classes of layers that do MACs, by `roofline.count`; a share of the peak changes no other.
MacClass = Literal[
    "conv", "depthwise_conv", "depthwise_conv_k7", "grouped_conv", "pointwise_conv", "linear", "matmul", "attention"
]
MAC_CLASSES: Final[tuple[MacClass, ...]] = get_args(MacClass)

ONE, GIGA, MICRO, PICO, MEBI = Decimal(1), Decimal("1e9"), Decimal("1e-6"), Decimal("1e-12"), Decimal(2**20)

_BY_CLASS = ("peak_share_by_class", "bandwidth_gb_per_s_by_class")
_MAX_BYTES = 1_000_000
_MAX_DEPTH = 8
_LOADER: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Place = tuple[str | int, ...]  # in a document, such as ("peak_gmacs_per_s", "int8", "value")


def _one_line(given: object) -> object:
    return " ".join(given.split()) if isinstance(given, str) else given


# Limits beyond any machine: the upper one catches MACs/s or bytes/s written where GMAC/s or GB/s belong.
_Number = Annotated[float, Field(gt=0, ge=1e-9, le=1e9, allow_inf_nan=False)]
_Text = Annotated[
    str,
    Field(min_length=1, pattern=r"^\P{Cc}*$"),  # no control characters
    BeforeValidator(_one_line),
    WithJsonSchema({"type": "string", "pattern": r"\S"}),
]
_Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
_Activations = Annotated[
    list[Activation],
    BeforeValidator(lambda given: list(ACTIVATIONS) if given == "all" else given),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "items": {"enum": list(ACTIVATIONS)}}]}),
]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FigureEntry(_Entry):
    """A number in the unit that the name of its field says, what kind of number it is, and where it comes from."""

    value: _Number = Field(title="Value", description="In the unit of the field's name; write 4700 or 4.7e+3.")
    kind: FigureKind = Field(
        title="Kind",
        description="datasheet: printed by the vendor; the source says where it is at second hand. "
        "derived: arithmetic on such figures, which the source shows. fitted: chosen so that predictions meet "
        "latencies. measured: on the device. estimate: none of these. A time on fitted or measured figures is a "
        "prediction, else a bound.",
    )
    source: _Text = Field(
        title="Source",
        description="What lets a stranger check it: a document and its page, a table, the arithmetic; "
        "of a figure at second hand, 'as quoted by' whom.",
    )

    def si(self, unit: Decimal) -> Figure:
        """Return the figure in SI base units, of which the field's unit is `unit`; decimal, so 3 us is 3e-06 s."""
        return Figure(value=float(Decimal(str(self.value)) * unit), kind=self.kind, source=self.source)


class ProfileEntry(_Entry):
    """The schema of a profile: its fields as they stand in the YAML, in the units of their names."""

    schema_version: Literal["roofline/hardware/1"] = Field(
        alias="schema", title="Version of the format", description="What this release reads.", examples=[SCHEMA]
    )
    id: _Slug = Field(
        title="Name for --hw",
        description="Lower-case words and digits joined by '_'; of a bundled profile, the stem of its file.",
        examples=["my_device"],
    )
    name: _Text = Field(title="Name", description="What people call the device.", examples=["My Device"])
    device_class: DeviceClass = Field(
        alias="class",
        title="Class",
        description="cpu, gpu, dsp, npu, edgetpu, or abstract for a device that only teaches.",
        examples=["npu"],
    )
    peak_gmacs_per_s: dict[Dtype, FigureEntry] = Field(
        min_length=1,
        title="Peak rate by dtype, GMAC/s",
        description="1e9 MACs a second, dense, of this device alone; 1 MAC = 2 FLOPs, so 8 TOPS are 4000. "
        "Dtypes: fp32, fp16, bf16, int8.",
        examples=[
            {
                "fp16": {"value": 2000, "kind": "estimate", "source": "TODO: document, page, and the arithmetic"},
                "int8": {"value": 4000, "kind": "estimate", "source": "TODO: document, page, and the arithmetic"},
            }
        ],
    )
    bandwidth_gb_per_s: FigureEntry = Field(
        title="Memory bandwidth, GB/s",
        description="1e9 bytes a second, read and written together.",
        examples=[{"value": 34.1, "kind": "estimate", "source": "TODO: document, page, and the arithmetic"}],
    )
    default_dtype: Dtype = Field(
        title="Dtype where --dtype does not say",
        description="One of those that have a peak.",
        examples=["int8"],
    )
    default_fusion: Fusion = Field(
        title="Fusion where --fusion does not say",
        description="none: each op reads its inputs from memory and writes its outputs, as in eager PyTorch. epilogue: "
        "norms, biases, residual adds and some activations run in the op before them.",
        examples=["epilogue"],
    )
    fused_activations: _Activations = Field(
        title="Activations that run in the op before them",
        description="A list, as in [relu, relu6]; all, of a compiler that generates code; or []. The others pay for "
        "their own bytes.",
        examples=[["relu", "relu6"]],
    )
    combine: Combine = Field(
        default="max",
        title="How the times of a layer combine",
        description="max: arithmetic and memory overlap, the longer one counts. add: they do not.",
        examples=["add"],
    )
    peak_share_by_class: dict[MacClass, FigureEntry] = Field(
        default_factory=dict,
        title="Share of the peak by class of layers, 0 to 1",
        description="At which layers of a class do their MACs; of the others it is 1. Classes are the kinds of layers "
        "that do MACs, and depthwise_conv_k7 (a kernel of 7 or more).",
        examples=[{"depthwise_conv": {"value": 0.125, "kind": "derived", "source": "16 of 128 lanes, manual, p. 12"}}],
    )
    vector_gops_per_s: FigureEntry | None = Field(
        default=None,
        title="Rate of vector ops, Gop/s",
        description="1e9 elementwise operations a second that are no MACs: activations, adds, norms. Without it they "
        "cost nothing but their bytes.",
        examples=[{"value": 60, "kind": "estimate", "source": "one unit of 64 lanes at about 1 GHz"}],
    )
    weight_bandwidth_gb_per_s: FigureEntry | None = Field(
        default=None,
        title="Bandwidth of weights, GB/s",
        description="Of weight bytes, where they come another way than activations do; else the memory bandwidth.",
        examples=[{"value": 4, "kind": "measured", "source": "time against weight bytes, 8 to 64 MB, firmware 3.1"}],
    )
    bandwidth_gb_per_s_by_class: dict[LayerClass, FigureEntry] = Field(
        default_factory=dict,
        title="Bandwidth by class of layers, GB/s",
        description="Of all bytes of layers of a class, in place of the memory bandwidth. Classes are the kinds of "
        "layers, depthwise_conv_k7, transpose and the activations; with one for transpose, a view that reorders "
        "elements is a layer of its own.",
        examples=[{"grouped_conv": {"value": 9, "kind": "fitted", "source": "latencies of 12 layers, table 3"}}],
    )
    layer_overhead_us: FigureEntry | None = Field(
        default=None,
        title="Overhead of a layer, us",
        description="1e-6 s, to start one layer. Without it, 0.",
        examples=[{"value": 4, "kind": "measured", "source": "slope over 1 to 64 empty layers, firmware 3.1"}],
    )
    overhead_layers: OverheadLayers = Field(
        default="all",
        title="Which layers have that overhead",
        description="all, or macs: those that do MACs; the others then start for free.",
        examples=["macs"],
    )
    inference_overhead_us: FigureEntry | None = Field(
        default=None,
        title="Overhead of an inference, us",
        description="1e-6 s, once for each inference, whatever the network. Without it, 0.",
        examples=[{"value": 250, "kind": "measured", "source": "an empty network, median of 1000 runs"}],
    )
    onchip_mib: FigureEntry | None = Field(
        default=None,
        title="On-chip memory, MiB",
        description="2^20 bytes; the one unit that is binary.",
        examples=[{"value": 8, "kind": "datasheet", "source": "product brief, p. 3"}],
    )
    onchip_holds: list[OnChip] = Field(
        default_factory=list,
        title="What stays in on-chip memory where it fits",
        description="weights: from one inference to the next. activations: from one layer to the next. What stays does "
        "not cross the memory bus.",
        examples=[["weights", "activations"]],
    )
    energy_pj_per_mac: FigureEntry | None = Field(
        default=None,
        title="Energy of a MAC, pJ",
        description="1e-12 J.",
        examples=[{"value": 0.6, "kind": "estimate", "source": "2 W at 8 TOPS, less memory"}],
    )
    energy_pj_per_byte: FigureEntry | None = Field(
        default=None,
        title="Energy of a byte, pJ",
        description="1e-12 J, to or from memory.",
        examples=[{"value": 80, "kind": "estimate", "source": "typical of LPDDR4X"}],
    )
    calibration: _Text | None = Field(
        default=None,
        title="File of the calibration",
        description="What 'roofline calibrate' measured on the device, beside this file: with it, latencies are "
        "predicted from times of its kernels.",
        examples=["my_device.npz"],
    )
    notes: _Text | None = Field(
        default=None,
        title="Notes",
        description="One paragraph: what a user of these figures has to know.",
        examples=["The peak holds at the boost clock, which a phone sustains for seconds."],
    )

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

    def hardware(self, folder: Path = Path()) -> Hardware:
        """Return the device in SI base units; `folder` is where the profile is, and its calibration from there."""
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
            overhead_layers=self.overhead_layers,
            inference_overhead_s=value.get("inference_overhead_s", 0.0),
            onchip_bytes=round(value["onchip_bytes"]) if "onchip_bytes" in value else None,
            onchip_holds=frozenset(self.onchip_holds),
            energy_per_mac_j=value.get("energy_per_mac_j"),
            energy_per_byte_j=value.get("energy_per_byte_j"),
            figures={f"{field}.{key}": figure for field, given in by_key.items() for key, figure in given.items()}
            | others,
            calibration=None if self.calibration is None else folder / self.calibration,
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
        data = read_file(path)
    except NoFileError as error:
        if only_a_name and name in bundled():
            return _load_bundled(name)
        if not only_a_name or (error.is_folder and path.name):
            raise
        missing = ": no such file, and no bundled profile of that name" if path.suffix in (".yaml", ".yml") else ""
        hint = did_you_mean(name, bundled())
        raise ProfileError(f"unknown hardware {str(reference)!r}{missing}.{hint} 'roofline hw' lists all.") from None
    return _parse(data, str(path)).hardware(path.parent)


class NoFileError(ProfileError):
    """There is no file of that name: nothing, or a folder. It may yet be the name of a bundled profile."""

    def __init__(self, path: Path, *, is_folder: bool) -> None:
        super().__init__(f"{path}: is a directory; a profile is a YAML file" if is_folder else f"{path}: no such file")
        self.is_folder = is_folder


def read_file(path: Path) -> bytes:
    """Return the bytes of a profile's file; of one that is too large, as many as `examine` refuses.

    Raises:
        NoFileError: There is none.
        ProfileError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, ValueError):  # ValueError: a null byte
        raise NoFileError(path, is_folder=False) from None
    except IsADirectoryError:
        raise NoFileError(path, is_folder=True) from None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from None


def parse_profile(data: bytes, file: str) -> Hardware:
    """Return the device that the text of a profile describes; `file` is what messages call it.

    Raises:
        ProfileError: It does not fit the schema; one line, with the file, the line and the field.
    """
    return _parse(data, file).hardware()


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
    entry, problems, _ = examine(data, file, stem)
    if entry is None:
        first, *more = problems
        raise ProfileError(f"{file}:{first}" + (f" (+{len(more)} more)" if more else ""))
    return entry


def examine(
    data: bytes, file: str, stem: str | None = None
) -> tuple[ProfileEntry | None, list[str], Mapping[Place, int]]:
    """Return the profile that a text holds, all that is wrong with it, and the line of each field.

    Args:
        data: The bytes of the file.
        file: What messages call it.
        stem: What its id has to be, if it matters.

    Returns:
        ``(entry, problems, lines)``: None and problems, each as ``line: field: what``; or a profile and no problem.

    Raises:
        ProfileError: It is no plain YAML at all; one line, with the file and the line.
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
        return ProfileEntry.model_validate(document, context={"stem": stem}), [], lines
    except ValidationError as invalid:
        errors = sorted(invalid.errors(), key=rank)
    fields = [f"{_dotted(error['loc'])}: ".removeprefix(": ") for error in errors]
    return None, [f"{line(e)}: {field}{_problem(e)}" for e, field in zip(errors, fields, strict=True)], lines


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
            if place[0] == "peak_share_by_class" and given in LAYER_CLASSES:
                return f"such layers do no MACs, so no share of the peak changes them; {', '.join(MAC_CLASSES)} do"
            near: tuple[str, ...] = MAC_CLASSES if place[0] == "peak_share_by_class" else LAYER_CLASSES
            return f"no class of layers.{did_you_mean(str(given), near)} docs/profiles.md lists them"
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
    if not math.isfinite(number) or len(text) > 60:
        return ""
    mantissa, _, exponent = text.lower().strip().partition("e")
    if not exponent:
        return "; write it without quotes"
    point, sign = "" if "." in mantissa else ".0", "" if exponent[0] in "+-" else "+"
    wanted = f"{mantissa}{point}e{sign}{exponent}"  # YAML 1.1: a number has a point, and its exponent a sign
    missing = " and ".join(what for what, lacks in (("the point", point), ("the exponent's sign", sign)) if lacks)
    return f"; YAML wants {missing}: {wanted}" if missing else "; write it without quotes"


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


def _read(data: bytes, file: str) -> tuple[object, dict[Place, int]]:
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
    lines: dict[Place, int] = {(): root.start_mark.line + 1}
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


def _plain(node: yaml.Node, place: Place, lines: dict[Place, int], file: str) -> object:
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


def _dotted(place: Place) -> str:
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
