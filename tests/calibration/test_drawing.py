"""Which network is measured next: by hand arithmetic on few calls, and by what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from roofline.calibration.data import OpTimes
from roofline.calibration.drawing import Drawing
from roofline.calibration.kernels import TERMS, Kernels

CALLS = 12  # of a class and network
SPREAD = {"gemm": 0.02, "pool_max": 0.5}  # of ln(time): one class that is known well, and one that is not


def calls(name: str, count: int, *, network: str, rng: np.random.Generator) -> list[dict[str, object]]:
    """Calls that take a nanosecond a byte read, with noise."""
    rows: list[dict[str, object]] = []
    for number in range(count):
        terms = np.zeros(len(TERMS))
        read_bytes = float(rng.integers(10_000, 1_000_000))
        terms[0], terms[TERMS.index("read_bytes")] = 1, read_bytes
        time_s = 1e-9 * read_bytes * float(np.exp(SPREAD[name] * rng.standard_normal()))
        rows.append(
            {
                "kernel": name, "key": f"{name} {network} {number}", "terms": terms, "time_s": time_s, "raw_s": time_s,
                "samples": 4, "network": network,
            }
        )  # fmt: skip
    return rows


@pytest.fixture
def known() -> OpTimes:
    rng = np.random.default_rng(0)
    rows = [
        row
        for network in range(10)
        for name in SPREAD
        for row in calls(name, CALLS, network=f"menu-{network}", rng=rng)
    ]
    return OpTimes(**{column: np.array([row[column] for row in rows]) for column in OpTimes.__dataclass_fields__})


def network_of(*names: str, read_bytes: float = 1e5) -> Kernels:
    terms = np.zeros((len(names), len(TERMS)))
    terms[:, 0], terms[:, TERMS.index("read_bytes")] = 1, read_bytes
    keys = tuple(f"{name} new {number}" for number, name in enumerate(names))
    return Kernels(
        op=np.arange(len(names)), kernel=np.array(names), key=keys, terms=terms, views=0, module_calls=len(names)
    )


def test_a_call_of_what_is_known_badly_is_worth_more(known: OpTimes) -> None:
    worth = Drawing.of(known).worth
    shares = {name: known.time_s[known.kernel == name].sum() / known.time_s.sum() for name in SPREAD}
    expected = (shares["pool_max"] * SPREAD["pool_max"] / (shares["gemm"] * SPREAD["gemm"])) ** 2
    assert worth["pool_max"] / worth["gemm"] == pytest.approx(expected, rel=0.2)


def test_a_class_that_was_never_measured_is_worth_as_much_as_the_worst(known: OpTimes) -> None:
    drawing = Drawing.of(known)
    new, worst = (drawing.value(network_of(name), known=(), runs=0, fixed_s=1) for name in ("conv_kxk", "pool_max"))
    assert new == worst == max(drawing.worth.values())


def test_what_was_measured_promises_nothing_and_what_runs_twice_counts_twice(known: OpTimes) -> None:
    drawing = Drawing.of(known)
    network = network_of("pool_max", "gemm")
    twice = Kernels(
        op=np.arange(4), kernel=np.tile(network.kernel, 2), key=network.key * 2, terms=np.tile(network.terms, (2, 1)),
        views=0, module_calls=4,
    )  # fmt: skip
    assert drawing.value(network, known=network.key, runs=0, fixed_s=1) == 0
    once, both = (drawing.value(each, known=(), runs=0, fixed_s=1) for each in (network, twice))
    assert both == pytest.approx(2 * once)


def test_a_network_that_takes_as_long_as_two_must_promise_as_much(known: OpTimes) -> None:
    drawing = Drawing.of(known)
    short, long = (network_of("pool_max", read_bytes=size) for size in (1e5, 3e5))
    ratio = drawing.value(short, known=(), runs=1e6, fixed_s=0) / drawing.value(long, known=(), runs=1e6, fixed_s=0)
    assert ratio == pytest.approx(3, rel=0.1)
