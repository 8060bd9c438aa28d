"""The reference state is the same from session to session, and never stands in the way of a measurement."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roofline.errors import OutputError
from roofline.measurement.machine_state import State, load_state, save_state, state_file

NAMES = ("a", "b", "c")
STATE = (1.5e-3, 1e-3, 5e-4)
HERE = {"device": {"name": "A CPU"}, "threads": {"intra_op": 2}, "versions": {"torch": "2.9.0"},
        "flags": {"freed_memory": "kept"}}  # fmt: skip


def test_a_state_is_kept(tmp_path: Path) -> None:
    path = state_file(HERE, tmp_path / "made" / "here")
    assert load_state(path, NAMES) is None
    save_state(path, NAMES, STATE, HERE)
    kept = load_state(path, NAMES)
    assert kept == State(STATE, f"{datetime.now(UTC):%Y-%m-%d}")
    save_state(path, NAMES, (1.0, 2.0, 3.0), HERE)
    assert load_state(path, NAMES) != kept


def test_the_state_of_another_anchor_is_none(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_state(path, NAMES, STATE, HERE)
    assert load_state(path, ("sgemm", "another", "copy")) is None


@pytest.mark.parametrize(
    "other",
    [
        {**HERE, "device": {"name": "Another CPU"}},
        {**HERE, "threads": {"intra_op": 1}},
        {**HERE, "versions": {"torch": "2.8.0"}},
        {**HERE, "flags": {"freed_memory": "system"}},
        {},
    ],
)
def test_another_machine_has_another(other: dict[str, object], tmp_path: Path) -> None:
    assert state_file(other, tmp_path) != state_file(HERE, tmp_path)
    assert state_file(dict(HERE), tmp_path) == state_file(HERE, tmp_path)


def test_it_lies_in_the_users_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / name))
    assert state_file(HERE).parent == tmp_path / "roofline" / "anchors"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"schema": "roofline/anchor/1"}',
        json.dumps({"schema": "roofline/anchor/2", "names": NAMES, "reference_s": STATE, "taken_on": ""}),
        json.dumps({"schema": "roofline/anchor/1", "names": ["other"], "reference_s": STATE, "taken_on": ""}),
        json.dumps({"schema": "roofline/anchor/1", "names": NAMES, "reference_s": [1.0, 2.0], "taken_on": ""}),
        json.dumps({"schema": "roofline/anchor/1", "names": NAMES, "reference_s": [1.0, 2.0, 0.0], "taken_on": ""}),
        json.dumps({"schema": "roofline/anchor/1", "names": NAMES, "reference_s": [1.0, 2.0, "x"], "taken_on": ""}),
        '{"schema": "roofline/anchor/1", "names": ["a", "b", "c"], "reference_s": [1, 2, NaN], "taken_on": ""}',
    ],
)
def test_a_file_that_cannot_be_used_is_as_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    assert load_state(path, NAMES) is None


def test_what_cannot_be_kept_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_state(tmp_path / "file" / "state.json", NAMES, STATE, HERE)
