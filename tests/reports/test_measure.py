"""A measurement as sentences, on 80 columns, as text for others, and as a page."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from roofline import units
from roofline.measurement import words
from roofline.measurement.result import Failure
from roofline.measurement.session import Progress
from roofline.measurement.stopping import Limits
from roofline.reports.measure_export import COLUMNS, render_measurement_csv, render_measurement_markdown
from roofline.reports.measure_terminal import progress_line, render_measurement
from roofline.reports.pages import page_of, render_page
from tests.measurement.fakes import Machine, always
from tests.measurement.runs import made_run, with_everything

Golden = Callable[[str, str], None]
EVIL = "</script><script>alert(1)</script>\x1b[31m|`"


def terminal(data: dict[str, Any], width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    console.print(render_measurement(data, width=width, **options))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return made_run().to_dict(samples=True)


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return with_everything().to_dict(samples=True)


def evil(data: dict[str, Any]) -> dict[str, Any]:
    """Names of an author who means no good."""
    text = json.dumps(data).replace('"fast"', json.dumps(EVIL)).replace('"conv"', json.dumps(EVIL))
    return json.loads(text)  # type: ignore[no-any-return]


# --- sentences --------------------------------------------------------------------------------------------------------


def test_one_model_has_both_latencies() -> None:
    run = made_run(Machine(slowdown=always(1.5)), "net").to_dict()
    assert words.verdict(run) == (
        "Measured: net takes 5 ms at the machine's reference state (95 % interval 5 ms to 5 ms) "
        "and took 7.5 ms as timed."
    )


def test_of_several_the_fastest_and_the_slowest_are_named(plain: dict[str, Any]) -> None:
    assert re.fullmatch(
        r"Measured at the reference state: fast is the fastest with 5\.\d+ ms; slow takes (1\.9\d?|2(\.0\d)?) times "
        r"that\.",
        words.verdict(plain),
    )


def test_models_that_cannot_be_told_apart_are_not_ranked() -> None:
    run = made_run().to_dict()
    run["measurements"][1]["reference_latency_s"] = run["measurements"][0]["reference_latency_s"]
    assert "though" in words.verdict(run)
    assert "may be as fast: their intervals overlap" in words.verdict(run)


def test_what_the_machine_was_not_fit_for_is_said_first(everything: dict[str, Any]) -> None:
    assert words.verdict(everything).endswith("But the machine was not fit to measure slow: do it again when it is.")


def test_too_few_samples_have_a_range_and_no_interval() -> None:
    run = made_run(Machine(), "net", limits=Limits(cap_s=0.02)).to_dict()
    assert run["measurements"][0]["reference_latency_s"]["n"] < 6
    assert words.half_width(run["measurements"][0]) is None
    assert "(samples from 5 ms to 5 ms)" in words.verdict(run)


def test_nothing_is_said_of_nothing() -> None:
    run = replace(made_run(), measurements=()).to_dict()
    assert words.verdict(run) == "Nothing was measured."
    assert "Nothing was measured." in terminal(run)
    assert len(render_measurement_csv(run).splitlines()) == 1
    assert "Nothing was measured." in render_page(run, plotlyjs="cdn")


def test_every_remark_is_made(everything: dict[str, Any]) -> None:
    said = "\n".join(words.remarks(everything))
    for part in (
        "fast was interrupted",
        "fast: 9 threads share the 2 CPUs.",
        "slow: contended, as more than 20 % of the samples were left out",
        "samples were left out, as they were contended",
        "layered: the medians of 2 processes differ by 3 %.",
        "Not measured: unknown model 'nope'.",
    ):
        assert part in said
    assert "fast: capped" not in said  # it was interrupted, and --max-time would not help


def test_what_time_ran_out_for_is_told() -> None:
    run = made_run(Machine(noise=0.3), "net", limits=Limits(cap_s=0.1)).to_dict()
    assert any(line.startswith("net: capped, as time ran out") for line in words.remarks(run))


def test_a_sentence_has_one_full_stop_and_says_of_what_it_is() -> None:
    failures = (
        Failure(model="a", reason="a does not run."),
        Failure(model="b", reason="interrupted before it was timed"),
        Failure(model="", reason="process 2 of 3: it ended with code 137"),
    )
    first, second = made_run().measurements
    measurements = (replace(first, notes=("nothing is known.",)), second)
    assert list(words.remarks(replace(made_run(), measurements=measurements, failures=failures).to_dict())) == [
        "fast: nothing is known.",
        "Not measured: a does not run.",
        "Not measured: b: interrupted before it was timed.",
        "Not measured: process 2 of 3: it ended with code 137.",
    ]


def test_near_zero_there_is_no_share_of_the_median() -> None:
    run = made_run(None, "net").to_dict()
    run["measurements"][0]["reference_latency_s"] |= {"median": 4.7e-9, "ci95": [2e-9, 7e-9]}
    assert words.half_width(run["measurements"][0]) is None


def test_layers_are_said_to_be_as_timed(everything: dict[str, Any]) -> None:
    """The headline above them is at the reference state."""
    layers = everything["measurements"][2]["layers"]
    assert words.gap(layers).startswith("As timed, not at the reference state, the layers take 4 ms of 5 ms (80 %);")
    assert "timed" in next(line for line in terminal(everything).splitlines() if "Top 2 of 3 layers" in line)


# --- the terminal -----------------------------------------------------------------------------------------------------


def test_a_terminal_of_80_columns(plain: dict[str, Any], golden: Golden) -> None:
    golden(terminal(plain), "measure.txt")


def test_all_that_may_be_said_on_80_columns(everything: dict[str, Any], golden: Golden) -> None:
    text = terminal(everything)
    golden(text, "measure_everything.txt")
    assert max(map(len, text.splitlines())) <= 80


def test_no_layers_if_none_are_wanted(everything: dict[str, Any]) -> None:
    assert "Top 2 of 3 layers" in terminal(everything)
    assert "Top" not in terminal(everything, top=0)
    assert "p90" in terminal(everything, width=120)


def test_names_cannot_steer_a_terminal(everything: dict[str, Any]) -> None:
    assert "\x1b" not in terminal(evil(everything))


def test_progress_is_one_line() -> None:
    told = Progress(model="net\x1b[31m", phase="warm-up", round=0, done=0, models=2, samples=0, estimate_s=None,
                    half_width=None, left_s=12.3)  # fmt: skip
    assert progress_line(told) == "net\\x1b[31m, warming up, 0 of 2 done, 12 s left at most"
    told = replace(told, model="net", phase="timing", round=4, samples=15, estimate_s=0.0123, half_width=0.021,
                   process=1, processes=3)  # fmt: skip
    assert progress_line(told) == (
        "net, process 2 of 3, round 5, 12.3 ms +/- 2.1 % of 15, 0 of 2 done, 12 s left at most"
    )
    told = replace(told, phase="layers", half_width=None, process=0, processes=1)
    assert progress_line(told) == "net, layers, round 5, 12.3 ms of 15, 0 of 2 done, 12 s left at most"


# --- text for others --------------------------------------------------------------------------------------------------


def test_the_csv_has_a_line_a_model(everything: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(render_measurement_csv(everything))))
    assert [row["model"] for row in rows] == ["fast", "slow", "layered"]
    assert tuple(rows[0]) == COLUMNS
    for row, each in zip(rows, everything["measurements"], strict=True):
        assert float(row["reference_latency_median_s"]) == each["reference_latency_s"]["median"]
        assert float(row["latency_low_s"]) == each["latency_s"]["ci95"][0]
    assert rows[0]["kernel_latency_median_s"] == ""
    assert rows[1]["flags"] == "contended:7 preempted:2"
    assert rows[0]["input_shape"] == "1x3x8x8"


def test_markdown(everything: dict[str, Any], golden: Golden) -> None:
    golden(render_measurement_markdown(everything), "measure.md.txt")
    assert "<script>" not in render_measurement_markdown(evil(everything))


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_bars_are_the_medians_with_their_intervals(plain: dict[str, Any]) -> None:
    reference, timed = page_of(plain).figures["latencies"].data
    assert (reference.name, timed.name) == ("at reference", "as timed")
    for bars, key in ((reference, "reference_latency_s"), (timed, "latency_s")):
        for i, each in enumerate(plain["measurements"]):
            assert bars.x[i] == pytest.approx(each[key]["median"] * 1e3)
            low, high = each[key]["ci95"]
            assert bars.x[i] - bars.error_x.arrayminus[i] == pytest.approx(low * 1e3)
            assert bars.x[i] + bars.error_x.array[i] == pytest.approx(high * 1e3)


def test_what_was_timed_long_leaves_room_for_what_is_at_reference(plain: dict[str, Any]) -> None:
    longest_s = max(each["reference_latency_s"]["ci95"][1] for each in plain["measurements"])
    assert page_of(plain).figures["latencies"].layout.xaxis.range is None
    outlying = json.loads(json.dumps(plain))
    outlying["measurements"][0]["latency_s"]["median"] = 100 * longest_s
    figure = page_of(outlying).figures["latencies"]
    assert figure.data[1].x[0] == pytest.approx(1e5 * longest_s)  # the bar is as long as it is, and is cut
    assert figure.layout.xaxis.range[1] / 1e3 < 3 * longest_s
    (note,) = figure.layout.annotations
    assert note.text.startswith(units.seconds(100 * longest_s))
    assert note.y == words.name(outlying["measurements"][0])


def test_the_status_stands_beside_the_model_and_what_nobody_has_is_left_out(
    plain: dict[str, Any], everything: dict[str, Any]
) -> None:
    def keys(data: dict[str, Any]) -> list[str]:
        return [column.key for column in page_of(data).context["model_table"].columns]

    assert keys(plain) == [
        "model", "status", "reference_latency_s", "interval", "half_width", "latency_s", "n", "cores_used", "p90_s",
    ]  # fmt: skip
    assert set(keys(everything)) - set(keys(plain)) == {"kernel_latency_s", "left_out", "between_process", "how"}
    assert "1x3x8x8, fp32, eager" in page_of(plain).context["subtitle"]


def test_every_sample_is_drawn(plain: dict[str, Any]) -> None:
    drawn = page_of(plain).figures["samples"].data
    assert [len(trace.x) for trace in drawn] == [len(each["samples"]) for each in plain["measurements"]]


def test_without_samples_there_is_no_such_figure() -> None:
    page = page_of(made_run().to_dict())
    assert set(page.figures) == {"latencies"}
    assert "Every sample" not in render_page(made_run().to_dict(), plotlyjs="cdn")


def test_layers_kernels_and_environment_are_on_the_page(everything: dict[str, Any]) -> None:
    page = page_of(everything)
    assert set(page.figures) == {"latencies", "samples", "layers-0"}
    assert [bars.name for bars in page.figures["latencies"].data] == ["at reference", "as timed", "in kernels"]
    text = render_page(everything, plotlyjs="cdn")
    for part in ("Layers of layered", "threads.affinity", "0, 1", "level 1, kind data, bytes 32768", "contended"):
        assert part in text


def test_one_model_has_tiles() -> None:
    text = render_page(made_run(None, "net").to_dict(), plotlyjs="cdn")
    for tile in ("tile-reference", "tile-timed", "tile-width", "tile-status", "tile-factor"):
        assert f'id="{tile}"' in text


def test_names_cannot_become_markup(everything: dict[str, Any]) -> None:
    assert "<script>alert(1)" not in render_page(evil(everything), plotlyjs="cdn")
