"""A search finds what trying everything finds, obeys its constraints, and judges by the reward of MnasNet."""

from __future__ import annotations

import csv
import itertools
import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")
pytest.importorskip("pyarrow")

from roofline import spaces
from roofline.errors import OutputError, RooflineError
from roofline.exploring import optimiser
from roofline.exploring import search as searching
from roofline.exploring.analysis import summary, top
from roofline.exploring.request import Range
from roofline.exploring.search import Found, Objective, Progress, search
from roofline.exploring.work import Job, Worker
from tests.exploring.runs import TINY, parts, rows, tiny
from tests.exploring.tiny import Tiny, macs

Command = Callable[..., subprocess.CompletedProcess[str]]

DEVICE = "pixel6_tpu"
LATENCY = f"latency_s:{DEVICE}"
ACCURACY = """
def accuracy(network):
    return 1 - 1 / (1 + network["macs"] / 1e5)

def nothing(network):
    return None

def fails(network):
    return network["no such thing"]

number = 3
"""


@pytest.fixture(scope="module")
def accuracies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's file: an accuracy that grows with MACs, and what is none."""
    path = tmp_path_factory.mktemp("accuracies") / "trained.py"
    path.write_text(ACCURACY)
    return path


def all_configs() -> Iterator[dict[str, Any]]:
    """Every network of the tiny space."""
    for width, depth, act in itertools.product(range(8, 65, 8), range(1, 5), ("relu", "silu")):
        for kernels in itertools.product((1, 3), repeat=depth):
            config: dict[str, Any] = {"width": width, "depth": depth, "kernels": kernels, "act": act}
            if not Tiny().why_invalid(config):
                yield config


@pytest.fixture(scope="module")
def everything() -> list[dict[str, Any]]:
    """All networks of the tiny space with their latencies, counted and predicted without any search."""
    configs = dict(enumerate(all_configs()))
    columns = Worker(Job.of(tiny())).rows(configs)
    return [{**config, "macs": columns["macs"][i], LATENCY: columns[LATENCY][i]} for i, config in configs.items()]


def run(folder: Path, objective: Objective | None = None, *, trials: int | None = 40, **request: Any) -> Found:
    return search(Job.of(tiny(**request)), objective or Objective(device=DEVICE), folder, trials=trials)


# --- the objective ----------------------------------------------------------------------------------------------------


def test_twice_the_latency_is_worth_five_percent_of_accuracy() -> None:
    """MnasNet, section 3.1: two such networks have a similar reward, from which its -0.07 is."""
    objective = Objective(device=DEVICE, accuracy="a.py:f", target_s=1e-3)
    fast, slow = objective.reward(0.75, 1.3e-3), objective.reward(0.75 * 1.05, 2.6e-3)
    assert slow == pytest.approx(fast, rel=1e-3)
    assert objective.reward(0.75, 1e-3) == 0.75  # at the target, whatever w


def test_a_hard_target_gives_nothing_for_speed_and_takes_in_proportion() -> None:
    objective = Objective(device=DEVICE, accuracy="a.py:f", target_s=1e-3, is_hard=True)
    assert objective.reward(0.75, 0.2e-3) == objective.reward(0.75, 1e-3) == 0.75
    assert objective.reward(0.75, 2e-3) == pytest.approx(0.375)


def test_w_is_the_users() -> None:
    """MobileNetV3 (arXiv:1905.02244, section 4.1) took -0.15 for its small network."""
    objective = Objective(device=DEVICE, accuracy="a.py:f", target_s=1e-3, w=-0.15)
    assert objective.reward(1.0, 2e-3) == pytest.approx(2**-0.15)


# --- what it finds ----------------------------------------------------------------------------------------------------


def test_the_fastest_within_constraints_is_what_trying_everything_finds(
    tmp_path: Path, everything: list[dict[str, Any]]
) -> None:
    limits = Range.parse("150k..")
    found = run(tmp_path / "run", trials=120, macs=limits)
    kept = rows(tmp_path / "run")
    assert all(row["macs"] >= 150e3 and row["macs"] == macs(row) for row in kept)
    assert (found.trials, found.tally.tried, len(kept)) == (120, 120, found.networks)
    assert found.tally.invalid + found.tally.outside + found.networks <= 120
    within = sorted(row[LATENCY] for row in everything if row["macs"] >= 150e3)
    best = min(row[LATENCY] for row in kept)
    assert best == within[0]


def test_the_most_rewarding_is_what_trying_everything_finds(
    tmp_path: Path, everything: list[dict[str, Any]], accuracies: Path, user_modules: None
) -> None:
    target_s = sorted(row[LATENCY] for row in everything)[len(everything) // 2]
    objective = Objective(device=DEVICE, accuracy=f"{accuracies}:accuracy", target_s=target_s, is_hard=True)

    def reward(row: dict[str, Any]) -> float:
        return float((1 - 1 / (1 + row["macs"] / 1e5)) * min(1.0, target_s / row[LATENCY]))

    run(tmp_path / "run", objective, trials=120)
    kept = rows(tmp_path / "run")
    for row in kept:
        assert row["reward"] == pytest.approx(reward(row), rel=1e-12)
    rewards = sorted((reward(row) for row in everything), reverse=True)
    assert max(row["reward"] for row in kept) >= rewards[len(rewards) // 50]  # among the best 2 %
    (best,) = top(tmp_path / "run", 1)
    assert best["reward"] == max(row["reward"] for row in kept)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        run(tmp_path / name, seed=seed)
    assert parts(tmp_path / "one") == parts(tmp_path / "again") != parts(tmp_path / "other")


def test_a_network_stands_there_once(tmp_path: Path) -> None:
    found = run(tmp_path / "run", trials=60, settings=(("depth", "1"), ("act", "relu"), ("kernels", "3")))
    kept = rows(tmp_path / "run")
    assert found.networks == len(kept) == len({row["width"] for row in kept}) <= 8
    assert found.repeated == 60 - found.networks
    assert {(row["depth"], row["act"], *row["kernels"]) for row in kept} == {(1, "relu", 3)}


def test_the_dataset_is_one_of_explore(tmp_path: Path, accuracies: Path, user_modules: None) -> None:
    objective = Objective(device=DEVICE, accuracy=f"{accuracies}:accuracy", target_s=1e-4)
    run(tmp_path / "run", objective, trials=30)
    told = summary(tmp_path / "run")
    assert (told.by, told.value) == ("reward", "accuracy")
    about = json.loads((tmp_path / "run" / "space.json").read_text())
    assert about["schema"] == "roofline/space/1"
    assert about["complete"]
    assert (about["search"]["target_s"], about["search"]["alpha"]) == (1e-4, -0.07)
    assert (about["counts"]["tried"], about["counts"]["checked"]) == (30, 3)


@pytest.mark.parametrize("name", ["uib", "anynetxd", "regnetx", "rexnet"])
def test_every_kind_of_space_can_be_searched(name: str, tmp_path: Path) -> None:
    """Among them one in which what a parameter may be depends on the others."""
    found = run(tmp_path / "run", trials=14, space=name, hw=(DEVICE,), ridge=())
    assert found.trials == 14
    assert found.networks > 0
    space = spaces.load(name)
    for row in rows(tmp_path / "run"):
        config = {key: tuple(row[key]) if isinstance(row[key], list) else row[key] for key in space.parameters()}
        assert space.why_invalid(config) == ""


# --- a table of accuracies --------------------------------------------------------------------------------------------


def table(path: Path, lines: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def line(width: int, kernels: str, accuracy: float) -> dict[str, Any]:
    return {"width": width, "depth": len(kernels.split()), "kernels": kernels, "act": "relu", "accuracy": accuracy}


def test_of_a_table_each_network_is_judged(tmp_path: Path, everything: list[dict[str, Any]]) -> None:
    lines = [line(8, "3 3", 0.6), line(16, "1 3 1", 0.7), line(48, "3 3 3", 0.8), line(64, "1 1", 0.9)]
    path = table(tmp_path / "trained.csv", lines)
    objective = Objective(device=DEVICE, accuracy=str(path), target_s=1e-4)
    found = run(tmp_path / "run", objective, trials=None)
    assert (found.trials, found.tally.invalid, found.networks) == (4, 1, 3)  # a width of 64 is none of the space
    latencies = {(row["width"], row["kernels"], row["act"]): row[LATENCY] for row in everything}
    for row, trained in zip(rows(tmp_path / "run"), lines, strict=False):
        latency_s = latencies[row["width"], tuple(row["kernels"]), "relu"]
        assert row["accuracy"] == trained["accuracy"]
        assert row["reward"] == pytest.approx(trained["accuracy"] * (latency_s / 1e-4) ** -0.07, rel=1e-12)


def test_what_explore_prints_is_a_table_once_it_has_accuracies(
    tmp_path: Path, command: Command, user_modules: None
) -> None:
    asked = (f"{TINY}:Tiny", "--hw", DEVICE)
    printed = command("explore", *asked, "--n", 5, "--top", 5, "--format", "csv").stdout
    lines = [{**row, "accuracy": 0.5 + number / 10} for number, row in enumerate(csv.DictReader(printed.splitlines()))]
    path = table(tmp_path / "trained.csv", lines)
    done = command("explore", *asked, "--search", "--accuracy", path, "--target", "1ms", "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    best = {row["index"]: row for row in told["rows"]}[told["best"][0]]
    again = {row["kernels"]: row for row in lines}[" ".join(map(str, best["kernels"]))]
    assert math.isclose(best[LATENCY], float(again[LATENCY]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"act": None}, "has no column 'act': a table of accuracies has width, depth, kernels, act and accuracy"),
        ({"widht": 3}, "tiny has no 'widht'. Did you mean 'width'?"),
        ({"width": "wide"}, "trained.csv:2: width cannot be 'wide'"),
        ({"accuracy": "-"}, "trained.csv:2 gives an accuracy of -: a number above 0 is needed"),
        ({"accuracy": ""}, "trained.csv:2 gives an accuracy of nothing: a number above 0 is needed"),
        ({"accuracy": 0}, "a number above 0 is needed"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    one = {key: value for key, value in {**line(8, "3", 0.5), **changed}.items() if value is not None}
    path = table(tmp_path / "trained.csv", [one])
    with pytest.raises(RooflineError) as error:
        run(tmp_path / "run", Objective(device=DEVICE, accuracy=str(path), target_s=1e-3), trials=None)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_network_with_two_accuracies_is_told(tmp_path: Path) -> None:
    path = table(tmp_path / "trained.csv", [line(8, "3", 0.5), line(8, "3", 0.6)])
    with pytest.raises(RooflineError, match=r"trained\.csv:3: this network has another accuracy further up"):
        run(tmp_path / "run", Objective(device=DEVICE, accuracy=str(path), target_s=1e-3), trials=None)


# --- what can be wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "trained.py:nothing gives an accuracy of None: a number above 0 is needed"),
        ("fails", "trained.py:fails fails: "),
        ("number", "trained.py:number is no function"),
        ("accuracies", "has no 'accuracies'"),
    ],
)
def test_what_is_no_accuracy_is_told(
    name: str, message: str, tmp_path: Path, accuracies: Path, user_modules: None
) -> None:
    objective = Objective(device=DEVICE, accuracy=f"{accuracies}:{name}", target_s=1e-3)
    with pytest.raises(RooflineError) as error:
        run(tmp_path / "run", objective)
    assert message in str(error.value)


def test_constraints_that_nothing_satisfies_say_how_many_were_tried_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RooflineError, match=r"no network of .*Tiny with macs in 1 G\.\.: 40 networks were judged.*; "
                                            r"the nearest, draw \d+, has macs "):  # fmt: skip
        run(tmp_path / "run", macs=Range.parse("1G.."))


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty, and a search cannot be gone on with"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_accuracy_that_fails_late_leaves_what_was_judged_before(tmp_path: Path, user_modules: None) -> None:
    """Each may have taken hours of training."""
    path = tmp_path / "late.py"
    path.write_text("seen = []\ndef accuracy(network):\n    seen.append(1)\n    return 0.5 / (len(seen) < 9)\n")
    objective = Objective(device=DEVICE, accuracy=f"{path}:accuracy", target_s=1e-6)
    with pytest.raises(RooflineError, match=r"late\.py:accuracy fails"):
        run(tmp_path / "run", objective, trials=40)
    assert len(rows(tmp_path / "run")) == 8
    assert json.loads((tmp_path / "run" / "space.json").read_text())["complete"] is False
    assert summary(tmp_path / "run").verdict().startswith("8 networks of tiny, of ")


def test_what_was_judged_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "SAVE_EVERY_S", 0.0)
    found = []

    def tell(progress: Progress) -> None:
        if progress.networks and (tmp_path / "run").exists():
            found.append((len(rows(tmp_path / "run")), progress.networks))

    search(Job.of(tiny()), Objective(device=DEVICE), tmp_path / "run", trials=12, tell=tell)
    assert found
    assert all(before in (now, now - 1) for before, now in found)
    assert json.loads((tmp_path / "run" / "space.json").read_text())["complete"] is True


def test_ctrl_c_keeps_what_there_is(tmp_path: Path) -> None:
    def tell(progress: Progress) -> None:
        if progress.trials == 20:
            raise KeyboardInterrupt

    job = Job.of(tiny())
    found = search(job, Objective(device=DEVICE), tmp_path / "run", trials=40, tell=tell)
    assert (found.is_interrupted, found.trials) == (True, 20)
    assert len(rows(tmp_path / "run")) == found.networks > 0
    assert not json.loads((tmp_path / "run" / "space.json").read_text())["complete"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trials", 3), "--trials is of a search: give --search, too"),
        (("--search", "--n", 3), "--n is of a sample: a search has --trials"),
        (("--search", "--objective", "reward"), "a reward needs --accuracy and --target"),
        (("--search", "--target", "5ms"), "--target is of --objective reward"),
        (("--search", "--device", "pixel7_cpu"), "--hw does not name the device 'pixel7_cpu' that is to be fast"),
        (("--search", "--accuracy", "x", "--target", "5ms"), "'x' is no accuracy: FILE.csv, FILE.py:FUNCTION"),
        (("--search", "--accuracy", "x.csv", "--target", "5ms"), "cannot read x.csv: No such file or directory"),
        (("--search", "--accuracy", "x", "--target", "5ms", "--w", "0.1"), "w must be 0 or less"),
        (("--search", "--accuracy", "x", "--target", "5ms", "--w", "-1", "--hard"), "give --w or --hard"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: tuple[object, ...], message: str, command: Command, user_modules: None
) -> None:
    done = command("explore", f"{TINY}:Tiny", "--hw", DEVICE, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())


def test_a_search_from_the_command_line(command: Command, tmp_path: Path, user_modules: None) -> None:
    done = command(
        "explore", f"{TINY}:Tiny", "--hw", "apple_m1_gpu", "--hw", DEVICE, "--device", DEVICE, "--search",
        "--trials", 30, "--params", "1k..", "-o", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of 30 trials in" in done.stderr
    assert f"by latency on {DEVICE}" in done.stdout
    assert "networks" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_without_optuna_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(optimiser, "find_spec", lambda name: None)
    with pytest.raises(RooflineError, match=r"pip install 'roofline-profiler\[search\]'"):
        run(tmp_path / "run")
