"""The JSON Schema of a profile says what the loader says: what one accepts or refuses, so does the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from roofline.errors import ProfileError
from roofline.hardware import LAYER_CLASSES
from roofline.profile_schema import EDITOR_LINE, json_schema
from roofline.profile_template import template
from roofline.profiles import MAC_CLASSES, FigureEntry, ProfileEntry, bundled, load_profile

PROFILES = Path(__file__).parents[1] / "hwprofiles"
VALIDATOR = Draft202012Validator(json_schema())
PROFILE = """\
schema: roofline/hardware/1
id: my_device
name: My Device
class: npu
peak_gmacs_per_s:
  int8: {value: 4000, kind: datasheet, source: 8 TOPS}
bandwidth_gb_per_s: {value: 20, kind: measured, source: a copy of 1 GB}
default_dtype: int8
default_fusion: epilogue
fused_activations: [relu, relu6]
"""
FIGURE = "{value: 1, kind: estimate, source: none}"


def loads(text: str, folder: Path) -> bool:
    """The loader's opinion."""
    (folder / "my_device.yaml").write_text(text)
    try:
        load_profile(folder / "my_device.yaml")
    except ProfileError:
        return False
    return True


def test_it_is_a_schema_of_its_draft() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert re.fullmatch(r"urn:[a-z]+(:[a-z0-9]+)+", schema["$id"])  # RFC 8141


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_profile_satisfies_it(name: str) -> None:
    document = yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_every_field_is_explained_with_its_unit() -> None:
    """The unit of a field's name stands in its title, as a person writes it."""
    units = {"gmacs_per_s": "GMAC/s", "gb_per_s": "GB/s", "gops_per_s": "Gop/s", "us": "us", "mib": "MiB", "pj": "pJ"}
    fields = json_schema()["properties"]
    assert set(fields) == {field.alias or name for name, field in ProfileEntry.model_fields.items()}
    for name, field in fields.items():
        assert field["title"]
        assert field["description"].endswith(".")
        for ending, unit in units.items():
            if re.search(rf"_{ending}(_by_class|_per_mac|_per_byte)?$", name):
                assert field["title"].endswith(unit), name
    figure = json_schema()["$defs"]["Figure"]["properties"]
    assert set(figure) == set(FigureEntry.model_fields)
    assert all(part["description"] for part in figure.values())


def test_an_editor_can_offer_names_where_the_loader_knows_them() -> None:
    fields = json_schema()["properties"]
    assert set(fields["peak_gmacs_per_s"]["properties"]) == {"fp32", "fp16", "bf16", "int8"}
    assert set(fields["peak_share_by_class"]["properties"]) == set(MAC_CLASSES)
    assert set(fields["bandwidth_gb_per_s_by_class"]["properties"]) == set(LAYER_CLASSES)
    assert fields["class"]["enum"] == ["cpu", "gpu", "dsp", "npu", "edgetpu", "abstract"]


def test_its_examples_are_valid() -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            for example in value.get("examples", []):
                validator = VALIDATOR.evolve(schema={**value, "$defs": json_schema()["$defs"]})
                assert list(validator.iter_errors(example)) == []
            for inner in value.values():
                check(inner)

    fields = json_schema()["properties"]
    assert sum("examples" in field for field in fields.values()) == len(fields)
    check(fields)


SAME = [  # what is put in place of what, and whether it is a profile
    ("npu", "npu", True),
    ("npu", "tpu", False),
    ("id: my_device", "id: My Device", False),
    ("id: my_device", "id: my__device", False),
    ("name: My Device", "name: ''", False),
    ("name: My Device", "name: '  '", False),
    ("name: My Device", "name: >-\n  Two\n  lines", True),
    ("name: My Device", "name: 3", False),
    ("name: My Device\n", "", False),
    ("name: My Device", "nmae: My Device", False),
    ("roofline/hardware/1", "roofline/hardware/2", False),
    ("value: 4000", "value: 0", False),
    ("value: 4000", "value: -1", False),
    ("value: 4000", "value: 1.0e-10", False),
    ("value: 4000", "value: 1.0e-9", True),
    ("value: 4000", "value: 1000000000", True),
    ("value: 4000", "value: 1000000001", False),
    ("value: 4000", "value: '4000'", False),
    ("value: 4000", "value: true", False),
    ("value: 4000", "value: [4000]", False),
    ("kind: measured", "kind: guess", False),
    ("source: 8 TOPS", "source: ''", False),
    ("source: 8 TOPS", "page: 3", False),
    ("source: 8 TOPS", "source: 8 TOPS, page: 3", False),
    ("  int8:", "  int4:", False),
    ("  int8: {value: 4000, kind: datasheet, source: 8 TOPS}", "  {}", False),
    ("default_dtype: int8", "default_dtype: fp16", False),
    ("default_dtype: int8", "default_dtype: fp61", False),
    ("fusion: epilogue", "fusion: all", False),
    ("[relu, relu6]", "all", True),
    ("[relu, relu6]", "none", False),
    ("[relu, relu6]", "[]", True),
    ("[relu, relu6]", "[relu, swish]", False),
    ("[relu, relu6]", "[relu]\ncombine: add", True),
    ("[relu, relu6]", "[relu]\ncombine: mean", False),
    ("[relu, relu6]", f"[relu]\nlayer_overhead_us: {FIGURE}", True),
    ("[relu, relu6]", "[relu]\nlayer_overhead_us: 3", False),
    ("[relu, relu6]", "[relu]\nlayer_overhead_us:", True),
    ("[relu, relu6]", "[relu]\noverhead_layers: macs", True),
    ("[relu, relu6]", "[relu]\noverhead_layers: some", False),
    ("[relu, relu6]", "[relu]\nnotes: one", True),
    ("[relu, relu6]", "[relu]\nnotes: [one]", False),
    ("[relu, relu6]", f"[relu]\npeak_share_by_class: {{linear: {FIGURE}}}", True),
    ("[relu, relu6]", f"[relu]\npeak_share_by_class: {{liner: {FIGURE}}}", False),
    ("[relu, relu6]", f"[relu]\npeak_share_by_class: {{softmax: {FIGURE}}}", False),
    ("[relu, relu6]", f"[relu]\nbandwidth_gb_per_s_by_class: {{softmax: {FIGURE}}}", True),
    ("[relu, relu6]", f"[relu]\nbandwidth_gb_per_s_by_class: {{transpose: {FIGURE}}}", True),
    ("[relu, relu6]", "[relu]\ncalibration: local.npz", True),
    ("[relu, relu6]", "[relu]\ncalibration:", True),
    ("[relu, relu6]", "[relu]\ncalibration: ''", False),
    ("[relu, relu6]", "[relu]\ncalibration: {file: local.npz}", False),
    ("[relu, relu6]", "[relu]\nonchip_holds: []", True),
    ("[relu, relu6]", "[relu]\nonchip_holds: [weights]", False),
    ("[relu, relu6]", f"[relu]\nonchip_mib: {FIGURE}\nonchip_holds: [weights]", True),
    ("[relu, relu6]", f"[relu]\nonchip_mib: {FIGURE}\nonchip_holds: [rugs]", False),
]


@pytest.mark.parametrize(("good", "other", "valid"), SAME, ids=[f"{other[:40]!r}" for _, other, _ in SAME])
def test_schema_and_loader_agree(good: str, other: str, valid: bool, tmp_path: Path) -> None:
    assert PROFILE.count(good) == 1
    text = PROFILE.replace(good, other)
    assert loads(text, tmp_path) is valid
    assert VALIDATOR.is_valid(yaml.safe_load(text)) is valid


def test_the_line_for_an_editor_stands_in_the_template_and_is_off() -> None:
    """An editor heeds it on a line of its own, ``# yaml-language-server: ...``; here, it would name a missing file."""
    line = EDITOR_LINE.format("profile.schema.json")
    assert line in template()
    assert not re.search(r"^#\s+yaml-language-server", template(), re.MULTILINE)
