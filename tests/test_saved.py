"""Saved results are read back as they were written; whatever else a file holds is one clear line."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import roofline
from roofline import RooflineError
from roofline.comparison import compare, from_dict
from roofline.errors import SavedError
from roofline.fit import infer
from roofline.saved import SCHEMAS, load_analysis, load_saved
from roofline.sweep import sweep
from roofline.units import printable
from roofline.whatif import whatif
from tests.explored import summed_up
from tests.fit_rows import known, network
from tests.measurement.runs import with_everything
from tests.timed_activations import compared, timed_each
from tests.validations import with_everything as validated

pytestmark = pytest.mark.usefixtures("traced_once")

REMOVED = object()
Path_ = tuple[str | int, ...]


def net(channels: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2)
    )


def analysed(channels: int = 8) -> dict[str, Any]:
    return roofline.analyze(net(channels), torch.empty(1, 3, 16, 16, device="meta"), hw="pixel6_tpu").to_dict()


RESULTS: dict[str, dict[str, Any]] = {
    "analysis": analysed(),
    "sweep": sweep([net(), net(16)], points=3, input_size=(3, 16, 16)).to_dict(),
    "comparison": compare([analysed(), analysed(16)]).to_dict(),
    "whatif": whatif(net(), torch.empty(1, 3, 16, 16, device="meta"), hw="pixel6_tpu", target_s=1e-9).to_dict(),
    "measurement": json.loads(with_everything().to_json(samples=True)),
    "activations": json.loads(compared(acts=["relu", "silu"], hw=["pixel6_tpu", "iphone12_ane"]).to_json()),
    "elementwise": json.loads(timed_each(["relu", "silu"]).to_json()),
    "fit": json.loads(infer(known((), [network(seed) for seed in range(5)]), device="d", terms=()).to_json()),
    "validation": json.loads(validated().to_json()),
    "exploration": summed_up(8),
}


@pytest.fixture(params=sorted(RESULTS))
def result(request: pytest.FixtureRequest) -> dict[str, Any]:
    return copy.deepcopy(RESULTS[request.param])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "result.json"


def refusal(file: Path, content: str | bytes | dict[str, Any]) -> str:
    """What is said of a file, less its name; always one line."""
    if isinstance(content, dict):
        content = json.dumps(content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SavedError) as error:
        load_saved(file)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(file), "FILE")


# --- what was saved is what is read -----------------------------------------------------------------------------------


def test_what_was_saved_is_what_is_read(result: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(result), encoding="utf-8")
    assert load_saved(file) == result
    assert load_saved(str(file)) == result


def test_keys_of_a_later_minor_change_are_kept_and_left_alone(result: dict[str, Any], file: Path) -> None:
    result["added_in_2031"] = {"x": [1, None, "y"]}
    file.write_text(json.dumps(result), encoding="utf-8")
    assert load_saved(file)["added_in_2031"] == {"x": [1, None, "y"]}


def test_a_file_from_before_keys_were_added_is_read(file: Path) -> None:
    old = copy.deepcopy(RESULTS["analysis"])
    for key in ("verdict", "estimates", "groups", "defaults", "notes", "conventions", "left_out"):
        del old[key]
    del old["model"]["arguments"]
    for key in ("class", "peaks_macs_per_s", "vector_ops_per_s", "layer_overhead_s", "notes"):
        del old["hardware"][key]
    for layer in old["layers"]:
        del layer["unfused_bytes"], layer["operational_intensity_macs_per_byte"]
    file.write_text(json.dumps(old), encoding="utf-8")
    assert load_saved(file) == old
    assert compare([load_saved(file), RESULTS["analysis"]]).differences[0].changes() == []


@pytest.mark.parametrize(
    ("estimates", "said"),
    [
        (5, "estimates must be a list (got 5)"),
        ([{"estimator": "learned"}], "estimates[0].is_chosen is missing"),
        ([{"estimator": None, "is_chosen": True}], "estimates[0].estimator must be text (got null)"),
    ],
)
def test_what_estimators_say_is_checked(estimates: Any, said: str, file: Path) -> None:
    assert said in refusal(file, {**RESULTS["analysis"], "estimates": estimates})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_any_encoding_of_json_is_read(file: Path, encoding: str) -> None:
    data = copy.deepcopy(RESULTS["analysis"])
    data["model"]["name"] = "Grüße, 網路"
    file.write_text(json.dumps(data, ensure_ascii=False), encoding=encoding)
    assert load_saved(file) == data


def test_several_inputs_are_read(file: Path) -> None:
    data = copy.deepcopy(RESULTS["analysis"])
    data["model"]["input_shape"] = [[1, 3, 8, 8], [1]]
    file.write_text(json.dumps(data), encoding="utf-8")
    assert load_saved(file)["model"]["input_shape"] == [[1, 3, 8, 8], [1]]


def test_every_schema_that_is_written_is_read() -> None:
    written = {result["schema"] for result in RESULTS.values()}
    assert written == {f"roofline/{what}/{version}" for what, (version, *_) in SCHEMAS.items()}


def test_an_analysis_is_told_from_other_results(file: Path) -> None:
    file.write_text(json.dumps(RESULTS["analysis"]), encoding="utf-8")
    assert load_analysis(file) == RESULTS["analysis"]
    for what in ("sweep", "comparison", "whatif"):
        file.write_text(json.dumps(RESULTS[what]), encoding="utf-8")
        with pytest.raises(SavedError, match=rf"result\.json holds a saved {what}, and a saved analysis is needed"):
            load_analysis(file)


def test_reading_imports_no_torch() -> None:
    code = "import sys, roofline.saved; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pandas", "plotly", "pydantic"} & set(modules)


# --- no file, no JSON, no result --------------------------------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match=r"^there is no file .*nothing\.json$"):
        load_saved(tmp_path / "nothing.json")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="is a folder, not a saved result"):
        load_saved(tmp_path)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="cannot read"):
        load_saved("a\0b.json")
    with pytest.raises(SavedError, match="cannot read"):
        load_saved(tmp_path / ("x" * 5000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(file: Path) -> None:
    file.write_text("{}")
    file.chmod(0)
    with pytest.raises(SavedError, match=r"cannot read .*: Permission denied"):
        load_saved(file)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_a_file_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.saved.MAX_BYTES", 10**6)
    with pytest.raises(SavedError, match="/dev/zero is larger than 1 MB"):
        load_saved("/dev/zero")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "FILE:1:1: not JSON: Expecting value"),
        ('{"schema":\n "roofline/analysis/1"\n "model": 1}', "FILE:3:2: not JSON: Expecting ',' delimiter"),
        ('{"schema": "roofline/analysis/1", "model": {', "FILE:1:45: not JSON"),
        (b"{}\n\n\xff\xfe\xff", "FILE:3: not JSON: not utf-8 text"),
        ("schema: roofline/analysis/1", "FILE:1:1: not JSON"),
        ("[" * 200_000, "FILE: nested deeper than any result"),
        ('{"schema": ' + '{"a":' * 200_000, "FILE: nested deeper than any result"),
        ('{"x": NaN}', "FILE: holds NaN, which is no number of a result"),
        ('{"x": -Infinity}', "FILE: holds -Infinity, which is no number"),
        ('{"x": 1e999}', "FILE: holds 1e999, which is out of the range of numbers"),
        ('{"x": ' + "9" * 5000 + "}", "FILE: holds a number with thousands of digits"),
        ("[]", "FILE is no saved result of roofline: it has no 'schema'"),
        ("null", "FILE is no saved result of roofline"),
        ('"roofline/analysis/1"', "FILE is no saved result of roofline"),
        ("{}", "FILE is no saved result of roofline"),
        ('{"schema": 1}', "FILE is no saved result of roofline"),
        ('{"schema": "roofline/hardware/1"}', "FILE has the schema 'roofline/hardware/1', which is none of roofline/"),
        ('{"schema": "https://json-schema.org"}', "FILE has the schema 'https://json-schema.org', which is none of"),
        ('{"schema": "roofline/analysis/one"}', "which is none of"),
        ('{"schema": "roofline/analysis/2"}', "roofline/analysis/2, and this version reads up to roofline/analysis/1"),
        ('{"schema": "roofline/sweep/10"}', "FILE was made by a newer roofline"),
        ('{"schema": "roofline/comparison/0"}', "FILE has the schema roofline/comparison/0, which there never was"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_is_no_result_is_said_in_one_line(file: Path, content: str | bytes, said: str) -> None:
    assert said in refusal(file, content)


def test_deep_data_inside_a_result_does_not_crash(file: Path) -> None:
    text = json.dumps({**RESULTS["analysis"], "model": "DEEP"}).replace(
        '"DEEP"', '{"input_shape":' * 900 + "1" + "}" * 900
    )
    assert "model.reference is missing" in refusal(file, text)
    text = json.dumps({**RESULTS["analysis"], "batch": "DEEP"}).replace('"DEEP"', "[" * 900 + "]" * 900)
    assert "batch must be a whole number, 0 or more (got a list)" in refusal(file, text)


def test_nothing_in_a_file_is_run(file: Path, tmp_path: Path) -> None:
    data = copy.deepcopy(RESULTS["analysis"])
    data["model"]["name"] = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    data["!!python/object/apply:os.system"] = ["touch ran"]
    file.write_text(json.dumps(data), encoding="utf-8")
    load_saved(file)
    assert not (tmp_path / "ran").exists()


# --- wrong keys -------------------------------------------------------------------------------------------------------


def test_the_key_that_is_missing_or_wrong_is_named(file: Path) -> None:
    def said(*path: str | int, value: Any = REMOVED) -> str:
        message = refusal(file, edited(RESULTS["analysis"], path, value))
        assert message.startswith("FILE: ")
        assert message.endswith(" (schema roofline/analysis/1)")
        return message.removeprefix("FILE: ").removesuffix(" (schema roofline/analysis/1)")

    assert said("totals") == "totals is missing"
    assert said("layers", 1, "macs") == "layers[1].macs is missing"
    assert said("layers", value={}) == "layers must be a list (got an object)"
    assert said("layers", 0, value=None) == "layers[0] must be an object (got null)"
    assert said("layers", 0, "macs", value=1.5) == "layers[0].macs must be a whole number, 0 or more (got 1.5)"
    assert (
        said("layers", 0, "macs", value=2**63)
        == "layers[0].macs must be less than 9.22337e+18 (got 9223372036854775808)"
    )
    assert said("layers", 0, "macs", value=10**40).endswith("(got a number with many digits)")
    assert said("layers", 0, "macs", value=True) == "layers[0].macs must be a whole number, 0 or more (got true)"
    assert said("layers", 0, "latency_s", value=-1e-9) == "layers[0].latency_s must be 0 or more (got -1e-09)"
    assert (
        said("layers", 0, "latency_s", value="1 ms") == "layers[0].latency_s must be a number, 0 or more (got '1 ms')"
    )
    assert (
        said("layers", 0, "output_shape", 1, value="x")
        == "layers[0].output_shape[1] must be a whole number, 0 or more (got 'x')"
    )
    assert said("layers", 0, "bound", value="cache") == "layers[0].bound must be 'memory' or 'compute' (got 'cache')"
    assert (
        said("latency_kind", value="measurement") == "latency_kind must be 'bound' or 'prediction' (got 'measurement')"
    )
    assert (
        said("hardware", "bandwidth_bytes_per_s", value=0)
        == "hardware.bandwidth_bytes_per_s must be more than 0 (got 0)"
    )
    assert said("model", "input_shape", value="3x224x224") == "model.input_shape must be a list (got '3x224x224')"
    assert said("model", "input_shape", value=[[1], 2]) == "model.input_shape[1] must be a list (got 2)"
    assert said("model", "arguments", value=[]) == "model.arguments must be an object (got a list)"
    assert said("layers", 0, "macs", value=-1) == "layers[0].macs must be 0 or more (got -1)"
    assert said("layers", 0, "latency_s", value=10**400) == (
        "layers[0].latency_s must be a number, 0 or more (got a number with many digits)"
    )
    assert said("layers", 0, "latency_s", value=1e300) == "layers[0].latency_s must be less than 1e+300 (got 1e+300)"
    assert said("model", "name", value=["x"]) == "model.name must be text (got a list)"
    assert said("verdict", value=0) == "verdict must be text (got 0)"
    assert said("versions", value={"a\nb\x1b": 1}) == "versions.a b\\x1b must be text (got 1)"
    assert said("versions", "torch", value=2.4) == "versions.torch must be text (got 2.4)"
    assert said("hardware", "figures", "bandwidth_bytes_per_s", "source", value=None).endswith(
        "source must be text (got null)"
    )
    assert len(said("model", "name", value=7 * "long text " + "x" * 10**6 and {"a": 1})) < 80


def test_a_check_stops_at_the_first_wrong_item(file: Path) -> None:
    before = time.perf_counter()
    assert "layers[0].macs is missing" in refusal(file, edited(RESULTS["analysis"], ("layers",), [{}] * 200_000))
    assert time.perf_counter() - before < 5


def test_a_sweep_that_does_not_fit_together(file: Path) -> None:
    def said(*path: str | int, value: Any = REMOVED) -> str:
        return refusal(file, edited(RESULTS["sweep"], path, value))

    assert "models must have at least 1 item, not 0" in said("models", value=[])
    assert "models[0].latency must have 3 items (it has 2)" in said("models", 0, "latency", value=[1.0, 2.0])
    assert "models[0].layers.macs must have" in said("models", 0, "layers", "macs", value=[])
    assert "models[1].pareto_intervals[0] must have at least 2 items, not 1" in said(
        "models", 1, "pareto_intervals", value=[[1]]
    )
    assert "ridge_range must have at least 2 items, not 1" in said("ridge_range", value=[0])
    assert "ridge_range must have at most 2 items, not 3" in said("ridge_range", value=[0, 1, 2])
    assert "profiles[0].figures is missing" in said("profiles", 0, "figures")
    assert "models[0].fused_activations must be a list (got null)" in said("models", 0, "fused_activations", value=None)


def test_a_comparison_that_does_not_fit_together(file: Path) -> None:
    def said(*path: str | int, value: Any = REMOVED) -> str:
        return refusal(file, edited(RESULTS["comparison"], path, value))

    assert "analyses must have at least 2 items, not 1" in said("analyses", value=RESULTS["comparison"]["analyses"][:1])
    assert "totals must have 2 items (it has 0)" in said("totals", value=[])
    assert "differences[0].other must be below 2 (got 2)" in said("differences", 0, "other", value=2)
    assert "differences[0].layers must hold each of the 3 layers of its baseline once" in said(
        "differences", 0, "layers", value=[]
    )
    assert "differences[0].layers must hold" in said("differences", 0, "layers", 0, "other", value=3)
    pairs = [*RESULTS["comparison"]["differences"][0]["layers"], {"baseline": None, "other": None}]
    assert "differences[0].layers[3] is a pair of nothing" in said("differences", 0, "layers", value=pairs)
    assert "analyses[1].layers[0].kind is missing" in said("analyses", 1, "layers", 0, "kind")


def test_parts_of_a_comparison_of_activations_that_do_not_fit_are_named(file: Path) -> None:
    def said(*path: str | int, value: Any = REMOVED) -> str:
        return refusal(file, edited(RESULTS["activations"], path, value))

    assert "rows must hold one of relu" in said("rows", 0, "activation", value="relu6")
    assert "rows[1].parts_s must have iphone12_ane" in said("rows", 1, "parts_s", "iphone12_ane")
    assert "rows must have at least 1 item" in said("rows", value=[])
    assert "rows[0].measured_ci95_s must have at least 2 items" in said("rows", 0, "measured_ci95_s", value=[1.0])


def edited(data: dict[str, Any], path: Path_, value: Any) -> dict[str, Any]:
    """A copy in which what stands at a place is another value, or gone."""
    copied = copy.deepcopy(data)
    place: Any = copied
    for step in path[:-1]:
        place = place[step]
    if value is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copied


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every place in plain data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


PLACES = [(what, path) for what, data in RESULTS.items() for path in places(data)]
VALUES = st.one_of(
    st.just(REMOVED), st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(PLACES), value=VALUES)
def test_whatever_is_changed_is_read_and_compared_or_refused(file: Path, where: tuple[str, Path_], value: Any) -> None:
    """No other error than the one that is meant for users, neither here nor from what is built on it."""
    what, path = where
    file.write_text(json.dumps(edited(RESULTS[what], path, value)), encoding="utf-8")
    try:
        data = load_saved(file)
    except RooflineError as error:
        said = str(error)
    else:
        said = shown(data)
    assert said.isprintable()


def shown(data: dict[str, Any]) -> str:
    if data["schema"] not in ("roofline/analysis/1", "roofline/comparison/1"):
        return "drawn elsewhere"
    compared = compare([data, RESULTS["analysis"]]) if data["schema"] == "roofline/analysis/1" else from_dict(data)
    assert json.loads(compared.to_json())["schema"] == "roofline/comparison/1"
    return printable(compared.verdict())
