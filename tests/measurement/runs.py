"""Runs to draw and to keep, made on the machine of `tests.measurement.fakes`: always the same figures."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from roofline.measurement.result import Failure, Run
from roofline.measurement.session import run as run_session
from roofline.measurement.stopping import Limits
from tests.measurement.fakes import ANCHOR_S, Machine, always

ENVIRONMENT: dict[str, Any] = {
    "device": {"type": "cpu", "name": "A CPU"},
    "cpu": {"model": "A CPU", "caches": [{"level": 1, "kind": "data", "bytes": 32768}], "governor": None},
    "threads": {"intra_op": 2, "affinity": [0, 1]},
    "flags": {"flush_denormal": False},
    "versions": {"roofline": "0.1.0", "torch": "2.9.0"},
    "seed": 0,
}
LAYERS: dict[str, Any] = {
    "schema": "roofline/layer_times/1",
    "device": "cpu",
    "rounds": 12,
    "rows": [
        {"name": "conv", "kind": "conv", "ops": "convolution", "latency_s": 3e-3, "ci95_s": [2.9e-3, 3.1e-3]},
        {"name": "act", "kind": "activation", "ops": "relu", "latency_s": 1e-3, "ci95_s": [0.9e-3, 1.1e-3]},
        {"name": "unseen", "kind": "other", "ops": "foo", "latency_s": None, "ci95_s": [None, None]},
    ],
    "gap": {
        "whole_s": 5e-3, "layers_s": 4e-3, "free_ops": 1, "free_ops_s": 1e-5, "ops": 4, "module_calls": 3,
        "host": {"op_s": 1e-6, "module_s": 5e-6}, "dispatch_s": 4e-6, "modules_s": 1.5e-5, "unexplained_s": 9.71e-4,
        "unexplained_share": 0.1942,
    },
    "notes": [],
}  # fmt: skip


def made_run(machine: Machine | None = None, *names: str, limits: Limits | None = None, **changed: Any) -> Run:
    """A run of models that take 5 ms, 10 ms and so on at the reference state."""
    machine = machine or Machine(slowdown=always(1.2), noise=0.05)
    subjects = [
        machine.subject(name, 5e-3 * (i + 1), reference=name, params=1000)
        for i, name in enumerate(names or ("fast", "slow"))
    ]
    found = run_session(
        subjects, clock=machine.clock, anchor=machine, probe=machine, rng=random.Random(1), threads=2,
        reference_s=ANCHOR_S, limits=limits,
    )  # fmt: skip
    measurements = tuple(replace(each, environment=ENVIRONMENT) for each in found.measurements)
    anchor = {**found.anchor, "reference_source": "an earlier session"}
    run = Run(measurements=measurements, environment=ENVIRONMENT, anchor=anchor, failures=found.failures)
    return replace(run, **changed)


def with_everything() -> Run:
    """A run in which whatever may be said is said."""
    run = made_run(Machine(slowdown=always(1.2), noise=0.05, others=0.05, switches=0), "fast", "slow", "layered")
    fast, slow, layered = run.measurements
    return replace(
        run,
        measurements=(
            replace(fast, status="capped", is_interrupted=True, notes=("9 threads share the 2 CPUs",)),
            replace(slow, status="contended", flags={"contended": 7, "preempted": 2}, left_out=7),
            replace(layered, between_process=0.034, process_medians_s=(0.0150, 0.0155), layers=LAYERS,
                    kernel_latency_s=layered.latency_s, device="cuda", mode="cudagraph"),
        ),
        failures=(Failure(model="nope", reason="unknown model 'nope'"),),
        is_interrupted=True,
        environment={**ENVIRONMENT, "processes": 2},
    )  # fmt: skip
