"""What a saved run tells, against the same computed at once by pandas, scipy and brute force."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.stats

from roofline import RooflineError
from roofline.exploring import analysis, scan
from roofline.exploring import networks as reading
from roofline.exploring.analysis import LISTED, on_front, pareto, summary, top
from roofline.saved import load_saved
from tests.explored import DESCRIPTION, networks, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "out"
    return write_run(folder, [networks(250, first=first) for first in range(0, 1000, 250)])


@pytest.fixture(scope="module")
def frame(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "networks")


def refusal(folder: Path, ask: Any = summary) -> str:
    with pytest.raises(RooflineError) as error:
        ask(folder)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(folder), "OUT")


# --- the summary ------------------------------------------------------------------------------------------------------


def test_distributions_are_those_of_all_networks(run: Path, frame: pd.DataFrame) -> None:
    told = summary(run)
    assert told.count == 1000
    for column, found in [("macs", told.macs), *((place.column, place.latency_s) for place in told.places)]:
        reference = scipy.stats.ecdf(frame[column].to_numpy()).cdf
        assert found.shares == pytest.approx(reference.evaluate(found.values))
        assert found.quantile(0.5) == pytest.approx(frame[column].median(), rel=0.02)
        assert (found.values[0], found.values[-1]) == (frame[column].min(), frame[column].max())


def test_more_networks_than_are_sampled_are_all_counted(
    run: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SAMPLED", 300)
    monkeypatch.setattr(reading, "BLOCK_ROWS", 64)
    told, at_once = summary(run), frame["latency_s:slow_cpu"].to_numpy()
    slow = {place.id: place for place in told.places}["slow_cpu"]
    assert told.sampled == 300
    assert told.count == slow.latency_s.count == 1000
    assert slow.latency_s.shares == pytest.approx(scipy.stats.ecdf(at_once).cdf.evaluate(slow.latency_s.values))
    assert (slow.latency_s.values[0], slow.latency_s.values[-1]) == (at_once.min(), at_once.max())
    mask = on_front(at_once, frame["macs"].to_numpy(dtype=np.float64))
    assert sorted(slow.front.index.tolist()) == np.flatnonzero(mask).tolist(), "the front is not of the sample"
    sampled = told.sample["index"]
    assert len(set(sampled)) == len(sampled) == 300
    assert frame["macs"].to_numpy()[np.array(sampled, dtype=np.int64)].tolist() == told.sample["macs"]


def test_what_is_told_does_not_depend_on_the_parts(run: Path, tmp_path: Path) -> None:
    whole = pa.concat_tables([networks(250, first=first) for first in range(0, 1000, 250)])
    other = write_run(tmp_path / "out", [whole.slice(700), whole.slice(0, 1), whole.slice(1, 699)], row_group_size=77)
    one, two = summary(run).to_dict(), summary(other).to_dict()
    for place, again in zip(one["places"], two["places"], strict=True):
        assert again.pop("compute_bound_share") == pytest.approx(place.pop("compute_bound_share"))  # a sum of floats
    assert one == two


def test_a_sample_is_the_same_however_often_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    table = networks(500)
    cut, whole = scan.Sample(50), scan.Sample(50)
    whole.add(np.arange(500), table.combine_chunks().to_batches()[0])
    for block in table.to_batches(max_chunksize=20):
        cut.add(block.column("index").to_numpy(), block)
    assert cut.held <= 100
    assert cut.table().equals(whole.table())
    assert len(whole.table()) == 50


def test_correlations_and_shares_are_those_of_pandas(run: Path, frame: pd.DataFrame) -> None:
    for place in summary(run).places:
        latency = frame[place.column]
        for count, found in place.by_count.items():
            assert found == pytest.approx(frame[count].corr(latency, method="spearman"))
        widths = frame["widths"].map(np.mean)
        assert place.by_feature["mean of widths"] == pytest.approx(widths.corr(latency, method="spearman"))
        assert place.compute_bound_share == pytest.approx(frame[f"compute_bound_share:{place.id}"].mean())


def test_names_and_kinds_are_those_that_the_run_says(run: Path) -> None:
    fast, slow, ridge = summary(run).places
    assert (fast.name, fast.latency_kind, fast.ridge_point) == ("Fast NPU", "prediction", None)
    assert (slow.name, slow.latency_kind) == ("Slow CPU", "bound")
    assert (ridge.name, ridge.ridge_point) == ("ridge point 10 MACs/byte", 10)


def test_the_rows_are_those_of_the_best_and_of_the_fronts(run: Path, frame: pd.DataFrame) -> None:
    told = summary(run, best=7)
    indices = {row["index"] for row in told.rows}
    assert told.best == frame.sort_values("latency_s:fast_npu")["index"].head(7).tolist()
    fronts = [place.front.index.tolist() for place in told.places]
    assert indices <= {*told.best, *(index for front in fronts for index in front)}
    for front in fronts:
        assert {front[0], front[-1]} <= indices
        assert len(indices & set(front)) >= min(len(front), LISTED)
    row = told.rows[3]
    assert row["widths"] == frame.loc[row["index"], "widths"].tolist()
    assert row["latency_s:slow_cpu"] == frame.loc[row["index"], "latency_s:slow_cpu"]


def test_of_a_long_front_some_are_listed_from_end_to_end(tmp_path: Path) -> None:
    table = networks(300)
    order = pa.array(np.arange(1, 301) * 1e-4)
    table = table.set_column(table.column_names.index("latency_s:slow_cpu"), "latency_s:slow_cpu", order)
    table = table.set_column(table.column_names.index("macs"), "macs", pa.array(np.arange(1, 301) * 1000))
    told = summary(
        write_run(tmp_path / "out", [table.drop_columns(["latency_s:fast_npu", "latency_s:ridge=10"])]), best=1
    )
    assert len(told.places[0].front.index) == 300
    indices = [row["index"] for row in told.rows]
    assert len(indices) == LISTED
    assert (indices[0], indices[-1]) == (0, 299)


def test_it_is_plain_data_and_says_what_it_is(run: Path) -> None:
    told = summary(run)
    data = json.loads(told.to_json())
    assert data == told.to_dict()
    assert data["schema"] == "roofline/exploration/1"
    assert data["request"] == DESCRIPTION["request"]
    assert data["verdict"].startswith("1,000 networks of regnety, of 1,500 that were drawn. On Fast NPU they take ")
    assert "best on ridge point 10 MACs/byte (rank correlation 1.00) and worst on Fast NPU (" in data["verdict"]


def test_a_run_that_was_stopped_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "out", [networks(40)], description={"schema": "roofline/space/1", "complete": False})
    assert "40 networks. The run is not complete" in summary(folder).verdict()


def test_a_run_without_its_description_is_read(tmp_path: Path) -> None:
    told = summary(write_run(tmp_path / "out", [networks(1)], description=None))
    assert told.count == 1
    assert told.places[0].name == "fast_npu"
    assert told.forest is None
    assert told.verdict().startswith("1 network.")


def test_an_accuracy_is_what_the_front_weighs(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "out", [networks(200, accuracy=True)])
    told, frame = summary(folder), pd.read_parquet(folder / "networks")
    assert (told.value, told.by) == ("accuracy", "reward")
    assert told.best == frame.sort_values("reward", ascending=False)["index"].head(20).tolist()
    fast = told.places[0]
    mask = on_front(frame["latency_s:fast_npu"].to_numpy(), frame["accuracy"].to_numpy())
    assert fast.front.index.tolist() == frame[mask].sort_values("latency_s:fast_npu")["index"].tolist()
    assert "of the highest accuracy in the least time" in told.verdict()


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "largest", "column", "ascending"),
    [
        ("", None, "latency_s:fast_npu", True),
        ("slow_cpu", None, "latency_s:slow_cpu", True),
        ("ridge=10", None, "latency_s:ridge=10", True),
        ("macs", True, "macs", False),
        ("compute_bound_share:fast_npu", True, "compute_bound_share:fast_npu", False),
    ],
)
def test_the_top_are_the_first_of_all_sorted(
    run: Path, frame: pd.DataFrame, by: str, largest: bool | None, column: str, ascending: bool
) -> None:
    expected = frame.sort_values(column, ascending=ascending, kind="stable")["index"].head(9).tolist()
    assert [row["index"] for row in top(run, 9, by, largest=largest)] == expected


def test_the_most_accurate_are_the_top(tmp_path: Path) -> None:
    table = networks(50, accuracy=True).drop_columns(["reward"])
    place = table.column_names.index("accuracy")
    accuracy = table.column("accuracy").to_pylist()
    best = int(np.argmax(accuracy))
    table = table.set_column(place, "accuracy", pa.array([None if i == 3 else a for i, a in enumerate(accuracy)]))
    folder = write_run(tmp_path / "out", [table])
    assert top(folder, 1)[0]["index"] == best
    assert len(top(folder, 50)) == 49, "what was never judged is not among them"
    assert 3 not in [row["index"] for row in pareto(folder)]


def test_a_front_of_any_two_columns(run: Path, frame: pd.DataFrame) -> None:
    for cost, value in (("", ""), ("slow_cpu", ""), ("params", "latency_s:fast_npu")):
        rows = pareto(run, cost, value)
        costs = frame[{"": "latency_s:fast_npu", "slow_cpu": "latency_s:slow_cpu"}.get(cost, cost)]
        values = frame[value or "macs"]
        beaten = [
            ((costs <= c) & (values >= v) & ((costs < c) | (values > v))).any()
            for c, v in zip(costs, values, strict=True)
        ]
        expected = frame[~np.array(beaten)].sort_values(str(costs.name))["index"].tolist()
        assert [row["index"] for row in rows] == expected


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert refusal(out) == "there is no folder OUT"
    out.mkdir()
    assert "OUT holds no networks" in refusal(out)
    (out / "networks").mkdir()
    (out / "networks" / ".part-00000.parquet").write_bytes(b"half")
    assert "OUT holds no networks" in refusal(out)
    part = out / "networks" / "part-00000.parquet"
    part.write_bytes(b"no parquet at all")
    assert refusal(out).startswith("OUT/networks/part-00000.parquet cannot be read: ")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "out", [networks(20), networks(20, first=20)])
    second = folder / "networks" / "part-00001.parquet"
    second.write_bytes(second.read_bytes()[:-40])
    assert refusal(folder).startswith("OUT/networks/part-00001.parquet cannot be read: ")
    pq = networks(20, first=20).drop_columns(["macs"])
    pa.parquet.write_table(pq, second)
    assert refusal(folder) == "OUT/networks/part-00001.parquet has no column 'macs', unlike part-00000.parquet"


@pytest.mark.parametrize("column", ["index", "macs", "latency_s:fast_npu"])
def test_a_dataset_of_something_else_is_refused(tmp_path: Path, column: str) -> None:
    table = networks(3)
    others = (
        [name for name in table.column_names if name.startswith("latency")] if column.startswith("lat") else [column]
    )
    folder = write_run(tmp_path / "out", [table.drop_columns(others)])
    assert "is no dataset of 'roofline explore': it has no column" in refusal(folder)


@pytest.mark.parametrize("latency", [0.0, -1.0, float("nan"), None, float("inf")])
def test_a_latency_that_is_none_is_refused(tmp_path: Path, latency: float | None) -> None:
    table = networks(3)
    place = table.column_names.index("latency_s:slow_cpu")
    table = table.set_column(place, "latency_s:slow_cpu", pa.array([1.0, latency, 2.0]))
    assert "OUT: latency_s:slow_cpu of network 1 must be a number above 0 (it is" in refusal(
        write_run(tmp_path / "out", [table])
    )


def test_files_without_rows_are_no_networks(tmp_path: Path) -> None:
    assert "OUT holds no networks" in refusal(write_run(tmp_path / "out", [networks(3).slice(0, 0)]))


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "roofline/space/7"}', '{"complete": true}'])
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_run(tmp_path / "out", [networks(3)])
    (folder / "space.json").write_text(text, encoding="utf-8")
    assert refusal(folder).startswith("OUT/space.json ")


def test_an_unknown_column_names_those_that_are_near(run: Path) -> None:
    said = refusal(run, lambda folder: top(folder, 3, "fast_npus"))
    assert said == "OUT has no column 'fast_npus'. Did you mean 'fast_npu'?"
    assert "It has: index, stem" in refusal(run, lambda folder: pareto(folder, "", "zzz"))
    assert (
        refusal(run, lambda folder: top(folder, 3, "widths")) == "column 'widths' of OUT holds no numbers to choose by"
    )
    assert "holds no numbers" in refusal(run, lambda folder: top(folder, 3, "activation"))


def test_without_pyarrow_one_line_says_how_to_have_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    assert "pip install 'roofline-profiler[parquet]'" in refusal(run)


def test_without_scikit_learn_there_are_correlations_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "has_forest", lambda: False)
    told = summary(run)
    assert told.forest is None
    assert all(place.explained is None and place.lost == {} for place in told.places)
    assert told.places[0].by_feature["stem"] > 0.8


# --- at scale ---------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_networks(tmp_path: Path) -> None:
    """What Arrow holds at its peak, of 8 and of 120 times as many networks as are sampled."""
    program = """
import sys
from pathlib import Path
import pyarrow as pa
from roofline.exploring import analysis, scan
scan.SAMPLED = 500
analysis.has_forest = lambda: False
for folder in sys.argv[1:]:
    told = analysis.summary(Path(folder))
    print(told.count, pa.default_memory_pool().max_memory())
"""
    part, folders = networks(2000), []
    for parts in (2, 30):
        tables = [part.set_column(0, "index", pa.array(np.arange(2000) + 2000 * number)) for number in range(parts)]
        folders.append(str(write_run(tmp_path / str(parts), tables)))
    done = subprocess.run(
        [sys.executable, "-c", program, *folders], capture_output=True, text=True, check=True, timeout=300
    )
    (few, peak_of_few), (many, peak_of_many) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == (4000, 60_000)
    assert peak_of_many < 1.5 * peak_of_few


def test_nothing_of_a_run_is_changed(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    summary(run)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


# --- docs/json.md -----------------------------------------------------------------------------------------------------

DOC = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
DOCUMENTED: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "exploration": lambda data: [data],
    "explored place": lambda data: data["places"],
    "distribution": lambda data: [data["macs"], *(place["latency_s"] for place in data["places"])],
}


@pytest.mark.parametrize("what", DOCUMENTED)
def test_the_documented_keys_are_the_real_ones(run: Path, what: str) -> None:
    section = re.search(rf"^\| of an? {what} \|.*\n\| ---.*\n((?:\|.*\n)*)", DOC, re.MULTILINE)
    assert section is not None
    documented = re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)
    found = DOCUMENTED[what](summary(run).to_dict())
    assert found
    assert all(list(item) == documented for item in found)


def test_a_saved_summary_is_read_back(run: Path, tmp_path: Path) -> None:
    told = summary(run)
    (tmp_path / "space.json").write_text(told.to_json(), encoding="utf-8")
    assert load_saved(tmp_path / "space.json") == told.to_dict()
