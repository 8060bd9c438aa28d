"""A profile to fill in: it loads as it stands, whatever of it is used, and it names every field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roofline.errors import ProfileError
from roofline.hardware import Hardware
from roofline.profile_check import check_profile
from roofline.profile_template import slug, template
from roofline.profiles import ProfileEntry, load_profile

OPTIONAL = re.findall(r"^#(\w+):", template(), re.MULTILINE)


def loaded(text: str, folder: Path) -> Hardware:
    (folder / "my_device.yaml").write_text(text)
    return load_profile(folder / "my_device.yaml")


def test_it_loads_as_it_stands(tmp_path: Path) -> None:
    device = loaded(template(), tmp_path)
    assert device.id == "my_device"
    assert device.peak_macs_per_s == {"fp16": 2e12, "int8": 4e12}


def test_every_field_is_there_the_optional_ones_as_comments() -> None:
    fields = {field.alias or name: field.is_required() for name, field in ProfileEntry.model_fields.items()}
    assert re.findall(r"^(\w+):", template(), re.MULTILINE) == [name for name, required in fields.items() if required]
    assert [name for name, required in fields.items() if not required] == OPTIONAL


@pytest.mark.parametrize("field", OPTIONAL)
def test_each_optional_field_can_be_used_by_taking_its_hash_away(field: str, tmp_path: Path) -> None:
    needs = {"onchip_holds": "onchip_mib"}.get(field, field)
    text = re.sub(rf"^#(?=({field}|{needs}):)", "", template(), flags=re.MULTILINE)
    assert loaded(template(), tmp_path) != loaded(text, tmp_path)


def test_all_of_them_can_be_used_at_once(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=\w)", "", template(), flags=re.MULTILINE)
    (tmp_path / "my_device.yaml").write_text(text)
    device = load_profile(tmp_path / "my_device.yaml")
    assert device.combine == "add"
    assert device.onchip_holds == {"weights", "activations"}
    assert device.calibration == tmp_path / "my_device.npz"
    assert device.notes


def test_who_leaves_it_as_it_is_gets_told(tmp_path: Path) -> None:
    (tmp_path / "my_device.yaml").write_text(template())
    warnings = check_profile(tmp_path / "my_device.yaml").warnings
    assert [warning.partition("warning: ")[2].partition(": ")[2] for warning in warnings] == [
        "estimates, and a result is no better than its figures",
        "the source is 'TODO: document, page, and the arithmetic', which nobody can look up",
    ]


@pytest.mark.parametrize("name", ["pixel9_tpu", "x", "no", "null", "2024", "0x1f", "true_north", "1_000", "e1"])
def test_any_id_is_taken_as_text(name: str, tmp_path: Path) -> None:
    """YAML reads ``no`` as a truth value, and ``1_000`` as a number."""
    assert loaded(template(name), tmp_path).id == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My Device", "as in my_device "),
        ("a__b", "as in a_b "),
        ("../x", "as in x "),
        ("", "pixel6_tpu"),
        ("é", "pixel"),
    ],
)
def test_what_is_no_id_is_refused_with_the_nearest_one(name: str, hint: str) -> None:
    with pytest.raises(ProfileError, match=f"^an id is lower-case words and digits joined by '_', .*{hint}"):
        template(name)


def test_a_slug_is_an_id_or_nothing() -> None:
    for text in ("My Device (2.0)", "jetson-nano", "Ü", "a  b", "_x_", "A100/80"):
        assert not slug(text) or template(slug(text))


def test_lines_are_short_enough_to_read() -> None:
    assert max(map(len, template().splitlines())) <= 120
    assert all(len(line) <= 100 for line in template().splitlines() if line.startswith("# "))
