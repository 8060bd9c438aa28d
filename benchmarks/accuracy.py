"""How accurate predictions on this machine are: the tables of docs/accuracy.md.

    python benchmarks/accuracy.py [--mode MODE] [--budget SECONDS] [--max-time SECONDS] [--every N] [--write]

Calibrates for `--budget`; freezes the predictions of all test rows, measures these in two processes, and joins. In
eager mode it calibrates anew for each budget of a curve, too, and what that and the parts of the estimator are worth is
judged by the same measurements. At the end, the first networks of the calibration are timed once more, by a calibration
of half a minute: what they take then, over what they took, is what the reference state of the machine is worth. `--out`
keeps the calibrations and the validation. Other modes than eager have three tables alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import filled, markdown
from benchmarks.networks import FRESH, TEST_ROWS, TIMM_ROWS
from roofline.calibration.ablations import ablations
from roofline.calibration.collect import MODES, Request, calibrate, usual_budget_s
from roofline.calibration.data import Calibration
from roofline.calibration.estimators import Estimator, best, estimators
from roofline.calibration.file import load, save
from roofline.calibration.physics import nonnegative_fit
from roofline.calibration.profile import profile_of
from roofline.errors import BusyError
from roofline.graph import Graph
from roofline.layers import lower
from roofline.output import write_text
from roofline.profiles import load_profile
from roofline.units import shape
from roofline.validation import Asked, Row, Validation, environment_notes, known_estimators, setup, validate
from roofline.validation_predictions import graph_of
from roofline.validation_statistics import Statistics

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "accuracy.md"
CURVE_S = (30.0, 600.0)  # seconds of calibration beside the usual
AGAIN_S = 30.0  # of the one at the end
PARTS_OF_OTHER_MODES = ("setting", "estimators", "worst")
WORST = 12
LEAST_SHARE = 0.002  # of the time of all layers, of a kernel class that is listed


def percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value * 100:.{digits}f} %"


def share(log: float) -> float:
    """What a logarithm of a ratio is as a share above 1."""
    return float(np.expm1(log))


STATISTICS = ("n", "median", "mean", "p90", "within 5 %", "within 10 %", "within 20 %", "bias", "Spearman", "Kendall")


def statistics_cells(found: Mapping[str, Any], n: int) -> list[str]:
    shares = [percent(found[f"within_{most}"], 0) for most in (5, 10, 20)]
    if found["within_10_ci95"] is not None:  # of no rows there is nothing to say
        low, high = found["within_10_ci95"]
        shares[1] += f" ({low * 100:.0f} to {high * 100:.0f})"
    ranks = ["-" if found[name] is None else f"{found[name]:.3f}" for name in ("spearman", "kendall")]
    return [
        str(n), percent(found["median_error"]), percent(found["mape"]), percent(found["p90_error"]), *shares,
        percent(None if found["bias"] is None else share(found["bias"])), *ranks,
    ]  # fmt: skip


def judged(rows: Sequence[Row], predicted_s: Sequence[float]) -> list[str]:
    """The statistics of other predictions of the same rows."""
    found = Statistics.of(predicted_s, [row.measured_s for row in rows])
    return statistics_cells(found.to_dict(), len(rows))


def drift(calibration: Calibration, again: Calibration) -> str:
    """What the networks of both take in the second, over what they took in the first."""
    first, second = (
        {
            (name, macs, ops): time_s
            for name, macs, ops, time_s in zip(each.network.tolist(), each.macs, each.ops, each.time_s, strict=True)
        }
        for each in (calibration.wholes, again.wholes)
    )
    ratios = [second[which] / first[which] for which in first.keys() & second.keys()]
    if not ratios:
        return "No network of the calibration could be timed once more after the test."
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return (
        f"Timed once more after the test, {len(ratios)} networks of the calibration took {middle:.3f} times as long at "
        f"the reference state (half of them {low:.2f} to {high:.2f})."
    )


def setting(validation: Validation, calibration: Calibration, took_s: float) -> str:
    noise = validation.noise_ceiling().to_dict()
    summary = validation.summary()
    device, torch = validation.environment["device"]["name"], validation.environment["versions"]["torch"]
    factor = calibration.anchor["factor"]
    families = {row.model.family for row in validation.of(validation.judged)}
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {device}, {calibration.threads} threads, torch {torch}, {calibration.mode}, "
        f"{calibration.dtype}. Calibration: {took_s:.0f} s, {len(calibration.wholes)} networks, "
        f"{len(calibration.ops):,} kernel calls; the machine was {factor['median']:.2f} times as slow as at its "
        f"reference state (80 % of the time {factor['p10']:.2f} to {factor['p90']:.2f}). Test: {summary['n']} rows of "
        f"{len(families)} families, of which {summary['decided']} are decided. Two processes agreed within 5 % on "
        f"{percent(noise['within_5'], 0)} of the rows and within 10 % on {percent(noise['within_10'], 0)} (the noise "
        f"ceiling), and differed by {percent(noise['median_difference'])} in the median. Frozen predictions: SHA-256 "
        f"`{validation.predictions.sha256[:16]}`."
    )


def estimator_table(validation: Validation, steady: Sequence[Row], graphs: Sequence[Graph]) -> str:
    rows = []
    for name in validation.estimators:
        summary = validation.summary(name)
        rows.append([f"{name}, steady rows", *statistics_cells(summary["steady"], summary["steady"]["n"])])
    regressed = judged(steady, regressed_s(steady, graphs))
    rows.append(["three constants of the measured rows of other families, steady rows", *regressed])
    summary = validation.summary()
    rows.append([f"**{validation.judged}, decided rows**", *statistics_cells(summary, summary["decided"])])
    parts: dict[str, Callable[[str], bool]] = {
        "of the zoo and benchmarks/networks": lambda reference: not reference.startswith("timm:"),
        "of timm": lambda reference: reference.startswith("timm:"),
        "first measured here": lambda reference: reference in FRESH,
    }
    for which, belongs in parts.items():
        models = [model for model in validation.models if belongs(model.predicted.asked.reference)]
        part = replace(validation, models=tuple(models)).summary()
        if 0 < part["decided"] < summary["decided"]:
            rows.append([f"{validation.judged}, decided rows {which}", *statistics_cells(part, part["decided"])])
    covered = ", ".join(
        f"{level} %: {percent(summary[f'coverage_{level}'], 0)} (median width {percent(summary[f'width_{level}'], 0)})"
        for level in (80, 90)
    )
    return (
        markdown(["estimator", *STATISTICS], rows)
        + "\n\nSteady rows are those whose measurement is fit to judge by, whatever was predicted: all estimators have"
        + " the same. Decided rows leave out those, too, whose measurement straddles the limit for this estimator."
        + f"\n\nCoverage of the intervals of {validation.judged}, decided rows: {covered}."
    )


def regressed_s(rows: Sequence[Row], graphs: Sequence[Graph]) -> list[float]:
    """Three constants, on MACs, activation bytes and ops, fitted to the measured rows of all other families."""
    tables = [lower(graph, fusion="none", dtype="fp32") for graph in graphs]
    ops = [sum(not op.is_view for op in graph.ops) for graph in graphs]
    columns = np.array(
        [(table.macs.sum(), table.activation_bytes.sum(), count) for table, count in zip(tables, ops, strict=True)],
        dtype=np.float64,
    )
    measured_s = np.array([row.measured_s for row in rows])
    family = np.array([row.model.family for row in rows])
    found = np.zeros(len(rows))
    for name in set(family.tolist()):
        left = family == name
        found[left] = columns[left] @ nonnegative_fit(columns[~left], measured_s[~left])
    return [float(each) for each in found]


def kernel_table(validation: Validation) -> str:
    rows = [
        [
            each["kernel"], f"{each['layers']:,}", percent(each["share"]), percent(each["median_error"]),
            percent(each["error"]),
        ]
        for each in validation.to_dict()["kernels"]
        if each["share"] >= LEAST_SHARE
    ]  # fmt: skip
    return markdown(["kernel", "layers", "share of the time", "median error", "error of the sum"], rows)


def family_table(validation: Validation) -> str:
    rows = [
        [each["family"], str(each["n"]), percent(each["median_error"]), percent(share(each["bias"]))]
        for each in validation.families()
    ]
    return markdown(["family", "rows", "median error", "bias"], rows)


def predictions_of(estimator: Estimator, graphs: Sequence[Graph]) -> list[float]:
    return [estimator.estimate(graph).latency_s for graph in graphs]


def ablation_table(calibration: Calibration, rows: Sequence[Row], graphs: Sequence[Graph], name: str) -> str:
    lines = [["all of it", *judged(rows, [row.guess.latency_s for row in rows])]]
    for missing, estimator in ablations(calibration, name).items():
        lines.append([missing, *judged(rows, predictions_of(estimator, graphs))])
    return markdown(["estimator", *STATISTICS], lines)


def budget_table(made: Mapping[float, Calibration], rows: Sequence[Row], graphs: Sequence[Graph]) -> str:
    lines = []
    for budget_s, part in sorted(made.items()):
        cells = judged(rows, predictions_of(best(estimators(part, None)), graphs))
        lines.append([f"{budget_s:.0f} s", str(len(part.wholes)), f"{len(part.ops):,}", *cells])
    return markdown(["budget", "networks", "kernel calls", *STATISTICS], lines)


def worst_table(validation: Validation) -> str:
    rows = sorted(validation.of(validation.judged), key=lambda row: -abs(row.error))[:WORST]
    lines = [
        [
            row.model.asked.reference, shape(row.model.input_shapes[0][1:]), str(row.model.asked.batch),
            f"{row.guess.latency_s * 1e3:.2f}", f"{row.measured_s * 1e3:.2f}", percent(row.error), row.verdict,
        ]
        for row in rows
    ]  # fmt: skip
    return markdown(["network", "input", "batch", "predicted ms", "measured ms", "error", "verdict"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate, predict, measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mode", default="eager", choices=MODES)
    parser.add_argument("--budget", type=float, help="seconds of the calibration that is judged")
    parser.add_argument(
        "--max-time", type=float, default=3.0, help="seconds of timing each row in each process, at most"
    )
    parser.add_argument("--every", type=int, default=1, help="take only every so manieth test row")
    parser.add_argument("--out", type=Path, help="folder to keep all in; calibrations that are there are used")
    parser.add_argument("--write", action="store_true", help="write docs/accuracy.md; of eager mode alone")
    given = parser.parse_args(arguments)
    if given.write and given.mode != "eager":
        parser.error("docs/accuracy.md has the tables of eager mode: leave out --write")
    out = (given.out or Path(tempfile.mkdtemp())).resolve()
    os.chdir(ROOT)  # the references of the rows are relative to it
    out.mkdir(parents=True, exist_ok=True)
    budget_s = given.budget or usual_budget_s(given.mode)
    curve_s = CURVE_S if given.mode == "eager" else ()
    budgets_s = (*(each for each in curve_s if each != budget_s), budget_s)  # the one that is judged is made last
    made_in = {each: _calibration(out / f"{each:.0f}s.npz", each, given.mode) for each in budgets_s}
    calibration = made_in[budget_s]
    save(calibration, out / "local.calibration.npz")
    write_text(out / "local.yaml", profile_of(calibration, "local", file="local.calibration.npz"))
    hardware = load_profile(out / "local.yaml")
    rows = (*TEST_ROWS, *(TIMM_ROWS if find_spec("timm") else ()))
    asked = [
        Asked(reference=row.reference, family=row.family, input_size=row.input_size, batch=row.batch)
        for row in rows[:: given.every]
    ]
    _, known = known_estimators(hardware)
    how = setup(calibration)
    validation = validate(
        asked, known, hardware, how=how, max_s=given.max_time, per_layer=given.mode != "compile",
        notes=environment_notes(calibration, how),
        freeze=lambda frozen: print(f"frozen: {frozen.sha256}", file=sys.stderr),
        take=lambda so_far: _keep(so_far, out),
    )  # fmt: skip
    _keep(validation, out)
    drifted = ""
    if given.mode != "compile":  # where compiling half a dozen would take minutes
        again = out / "again.npz"
        again.unlink(missing_ok=True)  # of an earlier test
        try:
            drifted = " " + drift(calibration, _calibration(again, AGAIN_S, given.mode))
        except BusyError as error:
            drifted = f" The calibration was not repeated after the test: {error}."
    steady = [row for row in validation.of(validation.judged) if not row.unfit]
    graphs = [graph_of(row.model.asked)[1] for row in steady]
    parts: dict[str, Callable[[], str]] = {
        "setting": lambda: setting(validation, calibration, budget_s) + drifted,
        "estimators": lambda: estimator_table(validation, steady, graphs),
        "families": lambda: family_table(validation),
        "kernels": lambda: kernel_table(validation),
        "ablations": lambda: ablation_table(calibration, steady, graphs, validation.judged),
        "budget": lambda: budget_table(made_in, steady, graphs),
        "worst": lambda: worst_table(validation),
    }
    if given.mode != "eager":
        parts = {name: parts[name] for name in PARTS_OF_OTHER_MODES}
    made = {name: make() for name, make in parts.items()}
    for failure in validation.failures:
        print(f"not measured: {failure.model}: {failure.reason}", file=sys.stderr)
    if given.write:
        write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), made))
        return
    for name, part in made.items():
        print(f"\n## {name}\n\n{part}")


def _keep(validation: Validation, out: Path) -> None:
    write_text(out / "validation.json", json.dumps(validation.to_dict()))


def _calibration(path: Path, budget_s: float, mode: str) -> Calibration:
    if path.exists():
        return load(path)
    start_s = time.monotonic()
    made, _ = calibrate(Request(budget_s=budget_s, mode=mode))
    print(f"calibrated in {time.monotonic() - start_s:.0f} s", file=sys.stderr)
    save(made, path)
    return made


if __name__ == "__main__":
    main()
