"""How fast the learned estimator predicts, what it takes to fit it or to find the fit, and how large a calibration is.

    python benchmarks/predict.py [--rounds N] [--calibration local.calibration.npz]

A network of 300 layers is estimated in this process again and again, in rounds whose order is drawn anew each time. The
calibration is that of `roofline calibrate`, or one that is made here: as many kernel calls as two minutes of
calibrating give, of networks of its menu, timed by a law. What is learned then differs, and not how long that takes.
Beside it stand the fit itself, and finding what was fitted in the cache, which every later process does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's path starts at its own folder

from benchmarks._harness import (
    Target,
    Timing,
    environment,
    measure,
    print_environment,
    print_targets,
    rounds_option,
    timing_table,
)
from roofline.calibration.data import Calibration
from roofline.calibration.estimators import Estimator, estimators
from roofline.calibration.file import load, to_bytes
from roofline.calibration.fitted_cache import find, key_of, store
from roofline.calibration.fitting import fit
from roofline.calibration.forest import Forest
from roofline.calibration.kernels import kernels_of
from roofline.calibration.menu import network
from roofline.layers import lower
from roofline.loading import load as load_model
from roofline.trace import trace
from tests.calibration.known_laws import of_graphs

MODEL, LAYERS = "efficientvit_b2", 300
NETWORKS = 140  # of the menu, with about 4,000 kernel calls, as two minutes on two cores time
LEARNED, BY_SKLEARN = "learned", "learned, by sklearn's predict()"
CALIBRATED, KERNELS = "calibrated", "kernels of the graph"
FITTED, FOUND = "fitting to the calibration", "finding the fit in the cache"
OURS = {BY_SKLEARN: LEARNED, FITTED: FOUND}


def made_calibration() -> Calibration:
    """Networks of the menu, traced, each kernel call as long as a law says."""
    import torch

    graphs = {}
    for seed in range(NETWORKS):
        module, size = network(seed)
        graphs[f"menu{seed}"] = trace(module, torch.empty(size, device="meta"))
    return of_graphs(graphs)


def grown_by_sklearn(calibration: Calibration) -> tuple[dict[str, Estimator], dict[int, Any]]:
    """The estimators, and what scikit-learn grew each of their forests as, by its id."""
    grown: dict[int, Any] = {}
    as_arrays = Forest.of

    def remembered(regressor: Any) -> Forest:
        forest = as_arrays(regressor)
        grown[id(forest)] = regressor
        return forest

    with mock.patch.object(Forest, "of", remembered):
        return estimators(calibration, None, cached=False), grown


def by_sklearn(estimate: Callable[[], object], grown: Mapping[int, Any]) -> object:
    """The same estimate, with each forest evaluated by scikit-learn's own ``predict``."""
    with mock.patch.object(Forest, "predict", lambda forest, x: grown[id(forest)].predict(x)):
        return estimate()


def targets(timings: Mapping[str, Timing], file_bytes: int) -> list[Target]:
    """The limits that were set in advance."""
    found = timings[LEARNED].median_s * 1e3 if LEARNED in timings else None
    return [
        Target(f"the learned estimator predicts {LAYERS} layers in under 50 ms", found, 50.0, "ms"),
        Target("the file of a calibration takes under 5 MB", file_bytes / 1e6, 5.0, "MB"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the learned estimator, fitting it, and finding what was fitted.")
    rounds_option(parser, 20)
    parser.add_argument("--calibration", type=Path, help="of 'roofline calibrate'; made here if not given")
    arguments = parser.parse_args()

    console = Console(highlight=False)
    where = environment()
    calibration = made_calibration() if arguments.calibration is None else load(arguments.calibration)
    found, grown = grown_by_sklearn(calibration)
    loaded = load_model(MODEL)
    graph = trace(loaded.module, loaded.inputs)
    assert len(lower(graph, fusion="none")) == LAYERS

    def estimate(by: Estimator) -> Callable[[], object]:
        return lambda: by.estimate(graph)

    calls: dict[str, Callable[[], object]] = {
        LEARNED: estimate(found[LEARNED]),
        BY_SKLEARN: lambda: by_sklearn(estimate(found[LEARNED]), grown),
        CALIBRATED: estimate(found[CALIBRATED]),
        KERNELS: lambda: kernels_of(graph),
        FITTED: lambda: fit.__wrapped__(calibration, cached=False),
        FOUND: lambda: find(key_of(calibration)),
    }
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"ROOFLINE_CACHE_DIR": folder}):
        store(key_of(calibration), fit(calibration, cached=False))
        timings, failures = measure(calls, rounds=arguments.rounds)
    console.print(timing_table(f"{MODEL}, {LAYERS} layers", timings, OURS))
    for name, why in failures.items():
        console.print(f"{name}: {why}", style="red")
    console.print()
    file_bytes = len(to_bytes(calibration)) if arguments.calibration is None else arguments.calibration.stat().st_size
    print_environment(
        console, where,
        f"Medians of {arguments.rounds} interleaved rounds in one process",
        f"A calibration of {len(calibration.ops)} kernel calls in {len(calibration.wholes)} networks",
    )  # fmt: skip
    print_targets(console, targets(timings, file_bytes), timings)


if __name__ == "__main__":
    main()
