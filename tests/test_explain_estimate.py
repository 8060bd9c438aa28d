"""The arithmetic of a prediction by a calibration, done again from the figures that are written out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import roofline
from roofline import Analysis
from roofline.calibration.data import Calibration
from roofline.calibration.file import save
from roofline.calibration.profile import profile_of
from roofline.explain import explain
from roofline.measurement.environment import environment
from roofline.units import seconds
from tests.calibration.known_laws import LAW
from tests.calibration.known_laws import calibration as from_law
from tests.calibration.test_compiled import calibration as of_compiled

MODEL = "mobilenetv4_conv_s"
UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
PRODUCT = re.compile(r"(\w+) +([\d,.]+) x +([\d.]+) ns = ([\d.]+ \w+)")
ROUNDING = 0.006  # of three digits, and of a sum of such


def written(made: Calibration, folder: Path) -> Path:
    """The profile of a calibration, as if made here."""
    here = environment()
    made = replace(made, environment=here, threads=here["threads"]["intra_op"])
    save(made, folder / "local.calibration.npz")
    (folder / "local.yaml").write_text(profile_of(made, "local", file="local.calibration.npz"))
    return folder / "local.yaml"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile that was calibrated in this environment, as a known law would have it."""
    return written(from_law(noise=0.02), tmp_path_factory.mktemp("calibrated"))


@pytest.fixture(scope="module", params=["calibrated", "learned"])
def analysis(request: pytest.FixtureRequest, local: Path) -> Analysis:
    return roofline.analyze(MODEL, hw=local, estimator=request.param)


@pytest.fixture(scope="module")
def by_compiled(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return roofline.analyze(MODEL, hw=written(of_compiled(), tmp_path_factory.mktemp("compiled")))


def in_s(text: str) -> float:
    value, unit = text.split()
    return float(value) * UNITS_S[unit]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_every_line_comes_to_what_it_says(analysis: Analysis) -> None:
    check_lines(analysis)


def test_and_so_it_does_compiled_where_ops_share_loops(by_compiled: Analysis) -> None:
    check_lines(by_compiled)
    (lines,) = [lines for heading, lines in explain(by_compiled, "stem.act") if "estimator" in heading]
    assert lines[0] == "it runs in a generated loop, whose law was fitted to 20 compiled networks"


def check_lines(analysis: Analysis) -> None:
    for row in analysis.rows():
        sections = explain(analysis, row["name"])
        assert analysis.estimates is not None
        ((_, lines),) = [
            found for found in sections if found[0].endswith(f"by the {analysis.estimates.chosen} estimator")
        ]
        so_far_s = loops_s = 0.0
        for line in lines:
            if product := PRODUCT.fullmatch(line):
                _, term, constant, shown = product.groups()
                assert in_s(shown) == pytest.approx(number(term) * number(constant) * 1e-9, rel=ROUNDING), line
                so_far_s += in_s(shown)
            elif found := re.fullmatch(r"together ([\d.]+ \w+), of which ([\d.]+) is its share: ([\d.]+ \w+)", line):
                assert in_s(found[1]) == pytest.approx(so_far_s - loops_s, rel=2 * ROUNDING), line
                assert in_s(found[3]) == pytest.approx(in_s(found[1]) * float(found[2]), rel=2 * ROUNDING), line
                loops_s += in_s(found[3])
                so_far_s = loops_s
            elif line.startswith("together "):
                assert in_s(line.removeprefix("together ")) == pytest.approx(so_far_s, rel=2 * ROUNDING), line
            elif line.startswith("no call takes less"):
                so_far_s = in_s(line.partition(": ")[2])
            elif found := re.match(r"x ([\d.]+), .* = ([\d.]+ \w+)", line):
                assert in_s(found[2]) == pytest.approx(so_far_s * float(found[1]), rel=3 * ROUNDING), line
                so_far_s = in_s(found[2])
            elif found := re.match(r"an equal share .*: ([\d.]+ \w+) / (\d+) = ([\d.]+ \w+)", line):
                assert in_s(found[3]) == pytest.approx(in_s(found[1]) / int(found[2]), rel=ROUNDING), line
                assert int(found[2]) == len(analysis.layers)
                so_far_s += in_s(found[3])
            elif line.startswith("their sum is the latency: predicted "):
                assert in_s(line.rpartition("predicted ")[2]) == pytest.approx(so_far_s, rel=3 * ROUNDING), line
                assert line.endswith(seconds(row["latency_s"]))
                break
        else:
            pytest.fail(f"{row['name']} has no sum")


def test_the_constants_are_those_of_the_law_that_made_the_times(analysis: Analysis) -> None:
    name = next(row["name"] for row in analysis.rows() if row["kind"] == "pointwise_conv")
    said = dict(explain(analysis, name))
    (lines,) = [lines for heading, lines in said.items() if "estimator" in heading]
    assert re.match(r"its kernel is a conv_1x1, whose law was fitted to [\d,]+ calls", lines[0])
    constants = {found[1]: number(found[3]) * 1e-9 for line in lines if (found := PRODUCT.fullmatch(line))}
    assert constants["macs"] == pytest.approx(LAW["conv_1x1"][1], rel=0.2)


def test_the_bound_of_eq_1_is_named_as_such_beside_it(analysis: Analysis) -> None:
    row = max(analysis.rows(), key=lambda row: row["latency_s"])
    ((_, lines),) = [found for found in explain(analysis, row["name"]) if "the bound of eq. 1" in found[0]]
    (bound,) = [line for line in lines if "is the bound: " in line]
    assert seconds(max(row["mac_time_s"], row["mem_time_s"])) in bound
    assert not any("predicted" in line for line in lines)


def test_by_the_roofline_it_is_as_of_any_profile(local: Path) -> None:
    analysis = roofline.analyze(MODEL, hw=local, estimator="roofline")
    headings = [heading for heading, _ in explain(analysis, "stem.conv")]
    assert [heading.partition(" on ")[0] for heading in headings[3:]] == ["Time", "Sources"]
    assert not any("estimator" in heading for heading in headings)


def test_the_command_explains_what_analyze_said(
    local: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    latency_s = next(row["latency_s"] for row in roofline.analyze(MODEL, hw=local).rows() if row["name"] == "stem.conv")
    done = command("explain", MODEL, "stem.conv", "--hw", local)
    assert done.returncode == 0
    assert f"their sum is the latency: predicted {seconds(latency_s)}" in " ".join(done.stdout.split())
    assert "by the learned estimator" in done.stdout
    done = command("explain", MODEL, "stem.conv", "--hw", local, "--estimator", "calibrated")
    assert "by the calibrated estimator" in done.stdout
    done = command("analyze", MODEL, "--hw", local, "--estimator", "calibrated")
    assert "--estimator calibrated" in " ".join(done.stdout.split()).rpartition("Next: ")[2]
