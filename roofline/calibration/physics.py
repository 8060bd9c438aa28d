r"""Laws of kernel times, linear in physical quantities: the part of a calibration that may extrapolate.

A class of kernels has one law, and a network one of its host,

.. math:: t_i = \sum_j c_j x_{ij}, \qquad T = s \sum_i t_i + a\,\mathrm{ops} + b\,\mathrm{modules} + d\,\mathrm{views}

with x the terms of op i (MACs, bytes, elements, a call, ...) and no constant below 0: more work never takes less time.
They are non-negative least squares (Lawson & Hanson, Solving Least Squares Problems, 1974, chapter 23) of
*relative* errors, each divided by the law's own time. So a law is unbiased where times are summed,
:math:`\sum (t_i - \hat t_i) / \hat t_i = 0`; division by the measured time would favour short times and come out low.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.calibration.kernels import FALLBACK, TERMS

Floats = NDArray[np.float64]

STEPS = 5  # of reweighting; the constants of generated data settle to 1 % in three
OUTLIER = 1.0  # a relative error from which on it counts linearly (Huber, Ann. Math. Stat. 35, 1964), unless told
FEWEST_ROWS = 10  # of a class with a law of its own
PARENT_ROWS = 2.0  # how many rows of a smaller class weigh as much as what its parent says
COMPOSITION = (0.90, 1.15)  # within which the sum of ops may be scaled; beyond it, something is missing
HULL_FACTOR = 2.0  # beyond the range measured, up to which a term counts as inside
FAMILIES: Mapping[str, tuple[str, ...]] = {  # classes that borrow from each other; those of convolutions by their names
    "matmul": ("gemm", "gemm_skinny", "gemv", "bmm", "sdpa", "sdpa_math", "lstm", "recurrent"),
    "norm": ("batch_norm", "batch_norm_training", "layer_norm", "group_norm"),
    "elementwise": ("elementwise_cheap", "elementwise_binary", "elementwise_broadcast"),
    "activation": (
        "activation_transcendental", "activation_sigmoid", "activation_silu", "activation_gelu",
        "activation_gelu_tanh", "activation_elu", "activation_tanh", "activation_mish",
    ),
    "window": ("pool_max", "pool_avg"),
    "reduction": ("pool_global", "reduce", "softmax"),
    "memory": ("copy", "cat", "pad", "embedding", "upsample"),
}  # fmt: skip
EVERYTHING = "everything"
ROWS = TERMS.index("rows")  # what an inner loop takes to begin; work as such is in the other terms


def parent_of(name: str) -> str | None:
    """From what a class borrows: the strided from the contiguous, that from its family, that from everything.

    >>> parent_of("gemm/strided"), parent_of("gemm"), parent_of("family matmul"), parent_of("everything")
    ('gemm', 'family matmul', 'everything', None)
    """
    if name == EVERYTHING:
        return None
    base, slash, _ = name.partition("/")
    if slash:
        return base
    family = family_of(base)
    return EVERYTHING if family is None or name.startswith("family ") else f"family {family}"


def family_of(kernel: str) -> str | None:
    """The family of a class; None for one that is alone, such as the fallback."""
    base = kernel.partition("/")[0]
    if base.startswith("conv_"):
        return "convolution"
    return next((family for family, classes in FAMILIES.items() if base in classes), None)


def nonnegative_fit(
    columns: ArrayLike, time_s: ArrayLike, weight: ArrayLike = 1.0, *, outlier: float = OUTLIER
) -> Floats:
    """Constants >= 0 of ``columns @ constants = time_s``, by least squares of errors relative to the fitted time.

    Args:
        columns: Terms; shape (n, k).
        time_s: Positive; shape (n,).
        weight: How often each row counts; shape (n,) or one for all.
        outlier: A relative error from which on it counts linearly.
    """
    from scipy.optimize import nnls

    x, t = np.asarray(columns, dtype=np.float64), np.asarray(time_s, dtype=np.float64)
    often = np.broadcast_to(np.asarray(weight, dtype=np.float64), t.shape)
    unit = x.max(axis=0, initial=0.0)
    constants = np.zeros(x.shape[1])
    used = unit > 0
    if not used.any():
        return constants
    x = x[:, used] / unit[used]
    fitted = t
    for _ in range(STEPS):
        error = np.abs(t / fitted - 1)
        scale = np.sqrt(often * np.minimum(1.0, outlier / np.maximum(error, outlier))) / fitted
        rows, target = x * scale[:, np.newaxis], t * scale
        if len(t) > x.shape[1]:  # the same problem with as many rows as constants
            q, rows = np.linalg.qr(rows)
            target = q.T @ target
        solved, _ = nnls(rows, target)
        fitted = np.maximum(x @ solved, 0.05 * t)  # where no term is, not zero
    constants[used] = solved / unit[used]
    return constants


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Time of a class of kernels.

    Attributes:
        constants: Seconds a unit of each term; shape (terms,).
        shortest_s: What no call takes less than: half of the shortest that was measured.
        rows: Calls it was fitted to; 0 if it is borrowed, 1 to `FEWEST_ROWS` if borrowed and scaled.
        most_loops: Inner loops of a call up to which their cost is extrapolated. Where they were few, what a call and
            what a loop takes are hardly told apart, and a thousand times as many would take a thousand times the error.
    """

    constants: Floats
    shortest_s: float
    rows: int
    most_loops: float = np.inf

    def times(self, terms: Floats) -> Floats:
        """Seconds of calls with such terms, (n, terms); never 0."""
        beyond = np.maximum(terms[:, ROWS] - self.most_loops, 0.0)
        return np.asarray(np.maximum(terms @ self.constants - beyond * self.constants[ROWS], self.shortest_s))


@dataclass(frozen=True, slots=True, eq=False)
class Physics:
    """The laws by class of kernels; also of families, and of everything."""

    laws: Mapping[str, Law]

    @classmethod
    def fit(cls, kernel: NDArray[np.str_], terms: Floats, time_s: Floats, weight: ArrayLike = 1.0) -> Physics:
        """The laws of n calls: their class and time, (n,), and terms, (n, terms); and how often each counts, (n,)."""
        families = {name: family_of(name) for name in np.unique(kernel).tolist()}
        family = np.array([families[name] or "" for name in kernel.tolist()])
        often = np.broadcast_to(np.asarray(weight, dtype=np.float64), time_s.shape)
        laws = {EVERYTHING: _fit_law(terms, time_s, often)}
        groups = {f"family {name}": family == name for name in np.unique(family).tolist() if name}
        groups |= {name: kernel == name for name in sorted(families)}  # a contiguous class comes before its strided
        for name, rows in groups.items():
            parent = cls(laws).law(name)
            count = int(rows.sum())
            laws[name] = (
                _fit_law(terms[rows], time_s[rows], often[rows]) if count >= FEWEST_ROWS
                else _scaled(parent, terms[rows], time_s[rows])
            )  # fmt: skip
        return cls(laws)

    def law(self, kernel: str) -> Law:
        """That of a class, or of the nearest from which it borrows."""
        name: str | None = kernel
        while name is not None and name not in self.laws:
            name = parent_of(name)
        return self.laws[name or EVERYTHING]

    def times(self, kernel: NDArray[np.str_], terms: Floats) -> Floats:
        """Seconds of n calls."""
        time_s = np.empty(len(kernel))
        for name in np.unique(kernel).tolist():
            rows = kernel == name
            time_s[rows] = self.law(name).times(terms[rows])
        return time_s


def is_measured(kernel: NDArray[np.str_], classes: Sequence[str] | NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which calls are of a class that was measured; the fallback class is a collection, and never counts as one."""
    return np.asarray(np.isin(kernel, np.asarray(classes)) & (kernel != FALLBACK) & (kernel != f"{FALLBACK}/strided"))


def _fit_law(terms: Floats, time_s: Floats, weight: Floats) -> Law:
    most_loops = HULL_FACTOR * float(terms[:, ROWS].max())
    return Law(nonnegative_fit(terms, time_s, weight), float(time_s.min()) / 2, len(time_s), most_loops)


def _scaled(parent: Law, terms: Floats, time_s: Floats) -> Law:
    """A parent's law, moved towards the few rows of a class."""
    pull = len(time_s) / (len(time_s) + PARENT_ROWS)
    factor = float(np.exp(pull * np.log(time_s / parent.times(terms)).mean()))
    shortest_s = min(parent.shortest_s, float(time_s.min()) / 2)
    return Law(parent.constants * factor, shortest_s, len(time_s), parent.most_loops)


@dataclass(frozen=True, slots=True)
class Host:
    """What a network takes beside its ops, on the host.

    Attributes:
        op_s, module_s, view_s: Seconds an op that is no view, a module call, a view.
        composition: What a sum of ops is multiplied by within a network.
    """

    op_s: float
    module_s: float
    view_s: float
    composition: float

    @classmethod
    def fit(cls, time_s: Floats, ops_s: Floats, calls: Floats) -> Host:
        """From m networks: their times, sums of ops, and counts of ops, module calls and views, (m, 3).

        Without networks nothing is known of the host, and all of it is 0.
        """
        if not len(time_s):
            return cls(0.0, 0.0, 0.0, 1.0)
        columns = np.column_stack([ops_s, calls])
        constants = nonnegative_fit(columns, time_s)
        composition = float(np.clip(constants[0], *COMPOSITION)) if len(time_s) >= 2 * columns.shape[1] else 1.0
        if composition != constants[0]:  # out of bounds, or too few to tell: the calls take the rest
            rest_s = time_s - composition * ops_s
            constants[1:] = rest_fit(calls, rest_s, time_s)
        op_s, module_s, view_s = constants[1:].tolist()
        return cls(op_s, module_s, view_s, composition)

    def parts_s(self, ops_s: float, ops: int, module_calls: int, views: int) -> dict[str, float]:
        """Seconds beside `ops_s` of a network with so many calls, by what they are for."""
        return {
            "op": self.op_s * ops,
            "module": self.module_s * module_calls,
            "view": self.view_s * views,
            "composition": (self.composition - 1) * ops_s,
        }

    def whole_s(self, ops_s: Floats, calls: Floats) -> Floats:
        """Seconds of m networks, from sums of ops, (m,), and counts, (m, 3)."""
        return np.asarray(self.composition * ops_s + calls @ np.array([self.op_s, self.module_s, self.view_s]))


def rest_fit(calls: Floats, rest_s: Floats, time_s: Floats) -> Floats:
    """Non-negative constants of the calls that best make up a rest, errors relative to the whole."""
    from scipy.optimize import nnls

    unit = np.maximum(calls.max(axis=0), 1.0)
    solved, _ = nnls(calls / unit / time_s[:, np.newaxis], rest_s / time_s)
    return np.asarray(solved / unit)


@dataclass(frozen=True, slots=True, eq=False)
class Hull:
    """The range of each term that was measured of each class, (terms,) from and to."""

    ranges: Mapping[str, tuple[Floats, Floats]]

    @classmethod
    def of(cls, kernel: NDArray[np.str_], terms: Floats) -> Hull:
        """That of n calls."""
        return cls(
            {
                name: (terms[kernel == name].min(axis=0) / HULL_FACTOR, terms[kernel == name].max(axis=0) * HULL_FACTOR)
                for name in np.unique(kernel).tolist()
            }
        )

    def contains(self, kernel: NDArray[np.str_], terms: Floats) -> NDArray[np.bool_]:
        """Which of n calls are within it; those of a class that was not measured are not."""
        inside = np.zeros(len(kernel), dtype=bool)
        for name in np.unique(kernel).tolist():
            if name in self.ranges:
                low, high = self.ranges[name]
                rows = kernel == name
                inside[rows] = ((terms[rows] >= low) & (terms[rows] <= high)).all(axis=1)
        return inside
