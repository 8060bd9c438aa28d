"""Many models: rows as they come, what fails is told of, and a file that can be gone on with after any end."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

import roofline
from roofline import cache, models
from roofline.calibration.file import save
from roofline.commands.show import CLEAR_LINE
from roofline.errors import CalibrationError, OutputError, ProfileError
from roofline.hardware import Figure, Hardware
from roofline.many import (
    COLUMNS,
    Failure,
    RowFile,
    Summary,
    analyze_many,
    digest_of,
    header,
    line,
    made_from,
    summary,
    versions_of,
)
from roofline.profiles import load_profile
from tests.calibration.made import make_calibration
from tests.signals import asks_linux, ignores_interrupts

Command = Callable[..., subprocess.CompletedProcess[str]]

NETS = """\
import os

from torch import nn


def good():
    print("a word of the user's own file")
    return nn.Conv2d(3, 4, 1)


def broken():
    raise RuntimeError("no weights today\\n  sorry")


def dies():
    os._exit(9)


def leaves():
    raise SystemExit(3)
"""
SMALL, MEDIUM, LARGE = (f"mobilenetv4_conv_{size}" for size in ("small", "medium", "large"))
ON_TPU = ["--hw", "pixel6_tpu"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_modules: None) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)


def rows(path: str) -> dict[str, dict[str, str]]:
    with Path(path).open(newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_is_what_the_analysis_of_one_says() -> None:
    analysis = roofline.analyze(SMALL, hw="pixel6_tpu", batch=2)
    totals, entry = analysis.totals(), models.find(SMALL)
    (row,) = analyze_many([SMALL], hw="pixel6_tpu", batch=2)
    assert row == summary(analysis)
    assert isinstance(row, Summary)
    assert (row.params, row.macs, row.batch) == (entry.params, 2 * entry.macs, 2)
    assert (row.latency_s, row.latency_kind) == (totals["latency_s"], "prediction")
    assert row.compute_bound_share + row.memory_bound_share == pytest.approx(1)
    assert row.bound == ("compute" if totals["compute_bound_share"] > 0.5 else "memory")
    assert row.input_shape == "2x3x224x224"


def test_a_model_that_fails_is_told_of_and_the_others_go_on() -> None:
    asked = ["nets.py:broken", SMALL, "nets.py:leaves", "no_such_net", "nets.py:good"]
    found = {row.model: row for row in analyze_many(asked, hw="pixel6_tpu", jobs=1)}
    assert list(found) == asked  # one process takes them in turn
    failed = {name: row.reason for name, row in found.items() if isinstance(row, Failure)}
    assert list(failed) == ["nets.py:broken", "nets.py:leaves", "no_such_net"]
    assert "RuntimeError: no weights today sorry" in failed["nets.py:broken"]
    assert "unknown model" in failed["no_such_net"]
    assert not any("\n" in reason for reason in failed.values())


def test_a_fault_of_ours_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def analyze(reference: str, **options: Any) -> Any:
        raise ZeroDivisionError("at\nhome")

    monkeypatch.setattr("roofline.analysis.analyze", analyze)
    (failure,) = analyze_many([SMALL], hw="pixel6_tpu")
    assert isinstance(failure, Failure)
    assert failure.reason == "a fault of roofline, please report it: ZeroDivisionError: at home"


def test_each_is_done_once() -> None:
    assert [row.model for row in analyze_many([SMALL, SMALL], hw="pixel6_tpu")] == [SMALL]
    assert list(analyze_many([], hw="pixel6_tpu")) == []


def test_a_device_that_cannot_do_it_is_known_before_any_work() -> None:
    with pytest.raises(ProfileError, match="unknown hardware"):
        analyze_many(["nets.py:dies"], hw="pixel66")
    with pytest.raises(ProfileError, match="no peak for dtype 'fp32'"):
        analyze_many(["nets.py:dies"], hw="pixel6_tpu", dtype="fp32")


def test_whoever_takes_rows_one_by_one_keeps_joblibs_threads() -> None:
    """Forests of scikit-learn ask for them, and a backend that is set for a block stands in their place."""
    from joblib.parallel import get_active_backend  # type: ignore[import-untyped]

    rows = iter(analyze_many(["mobilenetv1_025", "mobilenetv2_035"], hw="pixel6_tpu", jobs=2))
    next(rows)
    backend, _ = get_active_backend(prefer="threads")
    assert type(backend).__name__ == "ThreadingBackend"
    list(rows)


@asks_linux
def test_no_process_sees_ctrl_c_not_even_while_it_starts() -> None:
    rows = iter(analyze_many(["mobilenetv1_025", "mobilenetv2_035"], hw="pixel6_tpu", jobs=2))
    next(rows)
    children = psutil.Process().children()
    workers = [
        each.pid for each in children if each.is_running() and any("popen_loky" in word for word in each.cmdline())
    ]
    assert workers
    assert all(map(ignores_interrupts, workers))
    list(rows)


def test_processes_give_the_same_rows_and_lose_only_the_model_that_ends_one() -> None:
    """Four of which one takes its process with it: the other three are as in one process."""
    asked = [SMALL, "nets.py:dies", "nets.py:good", MEDIUM]
    found = {row.model: row for row in analyze_many(asked, hw="pixel6_tpu", jobs=2)}
    assert found.keys() == set(asked)
    died = found.pop("nets.py:dies")
    assert isinstance(died, Failure)
    assert died.reason.startswith("its process ended")
    here = {row.model: row for row in analyze_many(list(found), hw="pixel6_tpu", jobs=1)}
    own, same = found.pop("nets.py:good"), here.pop("nets.py:good")
    assert found == here
    assert isinstance(own, Summary)
    assert isinstance(same, Summary)
    assert replace(own, made_from="") == replace(same, made_from="")  # each process has imported other packages


# --- the file ---------------------------------------------------------------------------------------------------------

TOY = replace(load_profile("pixel6_tpu"), id="toy")
ROW = Summary(
    model="net, \"one\"|`x`", hw="toy", options="--batch 2", dtype="int8", fusion="none", batch=2,
    input_shape="2x3x8x8", params=7, macs=2**62, weight_bytes=7, activation_bytes=9, latency_s=0.1 + 0.2,
    latency_kind="bound", estimator="learned", interval90_low_s=0.2, interval90_high_s=0.4, bound="memory",
    compute_bound_share=0.25, memory_bound_share=0.75, versions=versions_of("net"), hw_digest=digest_of(TOY),
    made_from='{"files": {}, "versions": {}}',
)  # fmt: skip


@pytest.fixture(params=["csv", "json"])
def format(request: pytest.FixtureRequest) -> Iterator[Any]:
    return request.param  # type: ignore[no-any-return]


def grown(format: Any, *, restart: bool = False, hw: Hardware = TOY, options: str = "--batch 2") -> RowFile:
    return RowFile(Path("rows"), format, hw=hw, options=options, restart=restart)


def test_a_row_stands_in_the_file_at_once_and_is_done_the_next_time(format: Any) -> None:
    with grown(format) as file:
        assert file.done == frozenset()
        file.write(ROW)
        text = Path("rows").read_text()  # while it is still open
    assert text == header(format) + line(ROW, format)
    assert grown(format).done == {ROW.model}
    assert grown(format, restart=True).done == frozenset()


def test_a_row_is_read_back_to_the_last_bit() -> None:
    Path("rows").write_text(header("csv") + line(ROW, "csv"))
    assert rows("rows")[ROW.model] == {name: str(value) for name, value in ROW.to_dict().items()}
    assert json.loads(line(ROW, "json")) == {"schema": "roofline/summary/1", **ROW.to_dict()}
    assert list(rows("rows")[ROW.model]) == list(COLUMNS)


@pytest.mark.parametrize("format", ["csv", "json"])
def test_a_run_that_ended_anywhere_can_be_gone_on_with(format: Any) -> None:
    """Cut after each byte: what is whole is kept, and what is not is done again."""
    other = Summary(**{**ROW.to_dict(), "model": "other"})
    whole = header(format) + line(ROW, format) + line(other, format)
    for size in range(len(whole) + 1):
        Path("rows").write_text(whole[:size])
        with grown(format) as file:
            for row in (ROW, other):
                if row.model not in file.done:
                    file.write(row)
        assert Path("rows").read_text() == whole, size


def test_a_file_of_another_device_or_other_options_is_not_gone_on_with(format: Any) -> None:
    Path("rows").write_text(header(format) + line(ROW, format))
    with pytest.raises(OutputError, match=r"rows:\d has the hw toy, and this is other: .*--restart"):
        grown(format, hw=replace(TOY, id="other"))
    with pytest.raises(OutputError, match=r"has the options --batch 2, and this is none"):
        grown(format, options="")


def test_a_file_of_another_version_is_not_gone_on_with(format: Any) -> None:
    versions = versions_of("timm:resnet18")
    assert versions.startswith(f"roofline {roofline.__version__} torch ")
    older = Summary(**{**ROW.to_dict(), "versions": "roofline 0.0.1"})
    Path("rows").write_text(header(format) + line(older, format))
    with pytest.raises(OutputError, match=r"rows:\d has the versions roofline 0\.0\.1, and this is roofline .*--resta"):
        grown(format)


def test_a_file_of_other_figures_of_the_device_is_not_gone_on_with(format: Any) -> None:
    Path("rows").write_text(header(format) + line(ROW, format))
    slower = replace(TOY, bandwidth_bytes_per_s=TOY.bandwidth_bytes_per_s / 2)
    with pytest.raises(
        OutputError, match=r"rows:\d is from before the profile or the calibration of toy changed: .*--restart"
    ):
        grown(format, hw=slower)
    assert grown(format).done == {ROW.model}


def test_the_digest_of_a_device_is_of_what_decides_a_time() -> None:
    path = "bandwidth_bytes_per_s"
    reworded = {name: replace(figure, source="elsewhere") for name, figure in TOY.figures.items()}
    energy = {"energy_per_mac_j": Figure(value=1e-12, kind="estimate", source="a guess")}
    same: list[dict[str, Any]] = [
        {"name": "Toy 2"},
        {"notes": "new"},
        {"energy_per_mac_j": 1e-12, "figures": reworded | energy},
    ]
    assert {digest_of(replace(TOY, **changes)) for changes in same} == {digest_of(TOY)}
    others: list[dict[str, Any]] = [
        {path: TOY.bandwidth_bytes_per_s * (1 + 1e-15)},
        {"peak_macs_per_s": {"int8": 1e12}},
        {"layer_overhead_s": 1e-9},
        {"fused_activations": frozenset()},
        {"default_fusion": "none"},
        {"figures": {**TOY.figures, path: replace(TOY.figures[path], kind="datasheet")}},
    ]
    assert len({digest_of(TOY), *(digest_of(replace(TOY, **changes)) for changes in others)}) == 1 + len(others)


def test_a_device_that_was_calibrated_anew_is_another_one(format: Any) -> None:
    calibrated = replace(TOY, calibration=Path("toy.npz"))
    with pytest.raises(CalibrationError, match=r"^toy\.npz: cannot be read: No such file or directory$"):
        grown(format, hw=calibrated)
    save(make_calibration(), Path("toy.npz"))
    Path("rows").write_text(header(format) + line(replace(ROW, hw_digest=digest_of(calibrated)), format))
    assert grown(format, hw=calibrated).done == {ROW.model}
    save(make_calibration(notes=("measured again",)), Path("toy.npz"))
    for now in (calibrated, TOY):
        with pytest.raises(OutputError, match="before the profile or the calibration of toy changed"):
            grown(format, hw=now)


def own_row(reference: str) -> Summary:
    return replace(ROW, model=reference, made_from=made_from(reference))


@pytest.mark.parametrize("reference", ["nets.py:good", "net.pt2", "hf:config.json"])
def test_a_row_is_done_again_once_the_users_own_file_has_changed(reference: str, format: Any) -> None:
    for name in ("net.pt2", "config.json"):
        Path(name).write_text("as it was")
    row = own_row(reference)
    Path("rows").write_text(header(format) + line(row, format) + line(ROW, format))
    assert grown(format).done == {reference, ROW.model}
    Path({"nets.py:good": "nets.py", "hf:config.json": "config.json"}.get(reference, reference)).write_text("and now")
    assert grown(format).done == {ROW.model}
    again = own_row(reference)
    with grown(format) as file:
        assert file.done == {ROW.model}
        file.write(again)
    assert Path("rows").read_text() == header(format) + line(ROW, format) + line(again, format)


def test_only_rows_of_the_users_own_say_what_they_were_made_from() -> None:
    assert made_from(MEDIUM) == made_from("timm:resnet18") == ""
    made = json.loads(made_from("nets.py:good"))
    assert len(made["files"]["nets.py"]) == 64  # from here, so that a folder may move as a whole
    assert made["versions"]["torch"] == roofline.analysis.versions()["torch"]


@pytest.mark.parametrize(
    "text",
    ["", "null", "{}", "3", "[" * 10**5, '{"files": {"nets.py": 3}, "versions": {}}', '{"files": {}, "versions": {}}',
     '{"files": {"/dev/zero": ""}, "versions": {}}', '{"files": {"a\\u0000b": ""}, "versions": {}}'],
)  # fmt: skip
def test_a_row_that_does_not_say_so_is_done_again(text: str, format: Any) -> None:
    Path("rows").write_text(header(format) + line(replace(own_row("nets.py:good"), made_from=text), format))
    assert grown(format).done == frozenset()


def test_a_row_of_the_zoo_that_was_the_users_own_is_done_again(format: Any) -> None:
    zoo = replace(ROW, model=SMALL, made_from="")
    Path("rows").write_text(header(format) + line(zoo, format))
    assert grown(format).done == {SMALL}
    Path("rows").write_text(header(format) + line(replace(zoo, made_from=ROW.made_from), format))
    assert grown(format).done == frozenset()


def test_a_row_is_done_again_once_python_would_find_another_file_or_there_is_none(
    format: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "other"):
        Path(folder).mkdir()
        Path(folder, "own_module.py").write_text(NETS)
    monkeypatch.syspath_prepend("one")
    (row,) = analyze_many(["own_module:good"], hw="pixel6_tpu")
    assert isinstance(row, Summary)
    row = replace(ROW, model=row.model, made_from=row.made_from)
    Path("rows").write_text(header(format) + line(row, format))
    assert grown(format).done == {"own_module:good"}
    with monkeypatch.context() as patch:
        patch.syspath_prepend("other")
        assert grown(format).done == frozenset()
    assert grown(format).done == {"own_module:good"}
    Path("one", "own_module.py").unlink()
    assert grown(format).done == frozenset()


def test_another_version_of_a_package_that_was_imported_is_seen(format: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("rows").write_text(header(format) + line(own_row("nets.py:good"), format))
    assert grown(format).done == {"nets.py:good"}
    real = cache._version
    monkeypatch.setattr(cache, "_version", lambda name: "99.0" if name == "numpy" else real(name))
    assert grown(format).done == frozenset()


@pytest.mark.parametrize(
    "text",
    ["precious", "precious\n", "name,kind,ops\nstem,conv,x\n", '{"schema": "roofline/analysis/1"}\n', "[" * 10**5],
)
def test_a_file_of_something_else_is_left_alone(text: str, format: Any) -> None:
    Path("rows").write_text(text)
    with pytest.raises(OutputError, match=r"could be gone on with: choose another file, or --restart"):
        grown(format)
    assert Path("rows").read_text() == text


def test_a_damaged_row_is_told_of(format: Any) -> None:
    damaged = line(ROW, format).rpartition(",")[0] + "\n"  # its last cell, or key, is gone
    Path("rows").write_text(header(format) + line(ROW, format) + damaged)
    with pytest.raises(OutputError, match="gone on with"):
        grown(format)


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_pattern_gives_a_row_a_model(command: Command) -> None:
    run = command("analyze", "mobilenetv4_conv_[sm]*", *ON_TPU)
    assert run.returncode == 0
    head, *lines = run.stdout.splitlines()
    assert head.split() == ["Model", "params", "MACs", "weights", "activations", "latency", "bound", "share"]
    assert [text.split()[0] for text in lines] == [SMALL, MEDIUM]
    assert "1.08 G" in lines[1]  # as the README has it of the medium one
    assert "0.626 ms" in lines[1]
    assert run.stderr == "2 of 2 models analysed; 0 failed.\n"


def test_one_model_is_what_it_was(command: Command) -> None:
    assert command("analyze", SMALL, *ON_TPU).stdout.startswith(f"{SMALL}  1x3x224x224  on pixel6_tpu")
    assert json.loads(command("analyze", SMALL, *ON_TPU, "--format", "json").stdout)["schema"] == "roofline/analysis/1"


def test_what_failed_is_listed_at_the_end_with_exit_code_1(command: Command) -> None:
    run = command("analyze", "nets.py:good", "nets.py:broken", "no_such_net", *ON_TPU, "--format", "csv")
    assert run.returncode == 1
    assert [row["model"] for row in csv.DictReader(run.stdout.splitlines())] == ["nets.py:good"]
    told = run.stderr.splitlines()
    assert told[-3] == "1 of 3 models analysed; 2 failed."
    assert told[-2].startswith("failed: nets.py:broken: nets.py:broken fails to build: ")
    assert told[-1].startswith("failed: no_such_net: unknown model")


def test_a_file_is_gone_on_with_and_begun_anew_only_if_asked(command: Command) -> None:
    asked = ["analyze", "nets.py:broken", "nets.py:good", SMALL, *ON_TPU, "-o", "rows.csv"]
    assert command(*asked).returncode == 1
    Path("nets.py").write_text(NETS.replace('raise RuntimeError("no weights today\\n  sorry")', "return nn.Identity()"))
    second = command(*asked)
    assert second.stderr.splitlines()[-1] == "3 of 3 models analysed, 1 of them from before; 0 failed."
    assert second.stdout == ""
    assert rows("rows.csv").keys() == {SMALL, "nets.py:broken", "nets.py:good"}
    third = command(*asked)  # nothing has changed any more
    assert third.stderr.splitlines()[-1] == "3 of 3 models analysed, 3 of them from before; 0 failed."

    other = command(*asked, "--batch", "2")
    assert other.returncode == 2
    assert "rows.csv:2 has the options none, and this is --batch 2" in other.stderr
    assert command(*asked, "--batch", "2", "--restart").returncode == 0
    assert {row["batch"] for row in rows("rows.csv").values()} == {"2"}


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_json_is_an_object_a_line(name: str, command: Command) -> None:
    assert command("analyze", SMALL, MEDIUM, *ON_TPU, "-o", name).returncode == 0
    found = [json.loads(text) for text in Path(name).read_text().splitlines()]
    assert [(row["schema"], row["model"]) for row in found] == [
        ("roofline/summary/1", SMALL),
        ("roofline/summary/1", MEDIUM),
    ]


def test_a_table_goes_to_a_file_as_a_whole(command: Command) -> None:
    assert command("analyze", SMALL, MEDIUM, *ON_TPU, "-o", "rows.md").returncode == 0
    lines = Path("rows.md").read_text().splitlines()
    assert lines[0].startswith("| Model | params |")
    assert len({text.count("|") for text in lines}) == 1
    assert len(lines) == 4


BAD = [
    ([SMALL, MEDIUM], "Missing option '--hw'"),
    (["no_such_*", *ON_TPU], "no model matches 'no_such_*'"),
    ([SMALL, MEDIUM, "--hw", "pixel66"], "unknown hardware 'pixel66'"),
    ([SMALL, MEDIUM, *ON_TPU, "--dtype", "fp32"], "no peak for dtype 'fp32'"),
    ([SMALL, MEDIUM, *ON_TPU, "--top", "3"], "--top is for one model; of several there is a row each"),
    ([SMALL, MEDIUM, *ON_TPU, "--html", "x.html"], "--html is for one model"),
    ([SMALL, MEDIUM, "--cross-check"], "--cross-check is for one model"),
    ([SMALL, *ON_TPU, "--jobs", "2"], "--jobs is for several models"),
    ([SMALL, *ON_TPU, "--restart"], "--restart is for several models"),
    ([SMALL, MEDIUM, *ON_TPU, "--restart"], "--restart is for -o FILE.csv or FILE.json"),
    ([SMALL, MEDIUM, *ON_TPU, "--jobs", "0"], "'--jobs': 0 is not in the range"),
    ([SMALL, MEDIUM, *ON_TPU, "-o", "nets.py", "--format", "csv"], "nets.py is there, and is no CSV of several models"),
    ([SMALL, MEDIUM, *ON_TPU, "-o", "none/x.csv"], "there is no folder none"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[message[:45] for _, message in BAD])
def test_what_is_asked_wrongly_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, command: Command
) -> None:
    run = command("analyze", *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1
    assert Path("nets.py").read_text() == NETS


def test_progress_is_a_line_of_stderr_that_rows_replace(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # stderr is then taken for a terminal
    run = command("analyze", SMALL, "no_such_net", *ON_TPU, "--format", "csv")
    assert [row["model"] for row in csv.DictReader(run.stdout.splitlines())] == [SMALL]
    lines = run.stderr.replace(CLEAR_LINE, "\n").splitlines()
    assert [text.partition(", about ")[0] for text in lines if "of 2 models," in text] == [
        "1 of 2 models, 0 failed",
        "2 of 2 models, 1 failed",
    ]
    assert lines[-2:] == ["1 of 2 models analysed; 1 failed.", lines[-1]]
    assert lines[-1].startswith("failed: no_such_net: ")


def test_with_nothing_left_to_do_the_file_stays(command: Command) -> None:
    asked = ["analyze", SMALL, MEDIUM, *ON_TPU, "-o", "rows.csv"]
    assert command(*asked).returncode == 0
    before = Path("rows.csv").read_bytes()
    again = command(*asked)
    assert (again.returncode, again.stderr) == (0, "2 of 2 models analysed, 2 of them from before; 0 failed.\n")
    assert Path("rows.csv").read_bytes() == before


PROFILE = """\
schema: roofline/hardware/1
id: my
name: My device
class: npu
peak_gmacs_per_s:
  int8: {value: 1000, kind: estimate, source: a guess}
bandwidth_gb_per_s: {value: BANDWIDTH, kind: estimate, source: a guess}
default_dtype: int8
default_fusion: epilogue
fused_activations: [relu]
"""


def test_an_edited_profile_is_another_device(command: Command) -> None:
    """Else one file would rank models across two devices."""
    asked = ["--hw", "my.yaml", "-o", "rows.csv"]
    Path("my.yaml").write_text(PROFILE.replace("BANDWIDTH", "40"))
    assert command("analyze", SMALL, MEDIUM, *asked).returncode == 0
    before = Path("rows.csv").read_bytes()
    Path("my.yaml").write_text(PROFILE.replace("BANDWIDTH", "40").replace("a guess", "a better guess"))
    assert command("analyze", SMALL, MEDIUM, *asked).stderr.startswith("2 of 2 models analysed, 2 of them from before")
    Path("my.yaml").write_text(PROFILE.replace("BANDWIDTH", "10"))
    run = command("analyze", SMALL, MEDIUM, LARGE, *asked)
    assert run.returncode == 2
    assert "rows.csv:2 is from before the profile or the calibration of my changed" in run.stderr
    assert run.stderr.count("\n") == 1
    assert Path("rows.csv").read_bytes() == before
    assert command("analyze", SMALL, MEDIUM, LARGE, *asked, "--restart").returncode == 0
    assert len({row["hw_digest"] for row in rows("rows.csv").values()}) == 1


OWN = """\
from own_blocks import WIDTH
from torch import nn


def make():
    return nn.Conv2d(3, WIDTH, 1, bias=False)
"""


@pytest.mark.parametrize("reference", ["own_net.py:make", "own_net:make"])
@pytest.mark.parametrize("cached", [[], ["--cache"]], ids=["no cache", "cache"])
def test_a_row_is_done_again_once_what_the_users_file_imports_has_changed(
    reference: str, cached: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 1x1 convolution of 3 channels has 3 weights for each of WIDTH."""
    monkeypatch.setenv("ROOFLINE_CACHE_DIR", "tables")

    def params(*restart: str) -> tuple[str, str]:
        monkeypatch.setattr("roofline.loading.users._IMPORTED", {}, raising=False)  # as in a new process
        for name in ("own_net", "own_blocks"):
            sys.modules.pop(name, None)
        run = command("analyze", reference, SMALL, *ON_TPU, *cached, "-o", "rows.csv", *restart)
        assert run.returncode == 0, run.stderr
        told = run.stderr.splitlines()[-1].removeprefix("2 of 2 models analysed").removesuffix("; 0 failed.")
        return rows("rows.csv")[reference]["params"], told

    Path("own_net.py").write_text(OWN)
    Path("own_blocks.py").write_text("WIDTH = 8\n")
    assert params() == ("24", "")
    assert params() == ("24", ", 2 of them from before")
    assert params("--restart") == ("24", "")  # with --cache, nothing of it is imported
    changed(Path("own_blocks.py"), "WIDTH = 16\n")
    assert params() == ("48", ", 1 of them from before")
    changed(Path("own_net.py"), OWN.replace("(3, WIDTH", "(3, 2 * WIDTH"))
    assert params() == ("96", ", 1 of them from before")
    assert params() == ("96", ", 2 of them from before")


def changed(file: Path, text: str) -> None:
    """Write a source file so that Python takes no bytecode of before for it, which it tells by size and seconds."""
    now_s = file.stat().st_mtime
    file.write_text(text)
    os.utime(file, (now_s + 2, now_s + 2))
