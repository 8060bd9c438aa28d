r"""What physics leaves over: a learned correction of kernel times, as large as cross-validation lets it be.

The logarithm of a time is that of physics plus a weighted sum of corrections, :math:`\ln t = \ln t_p + w \cdot r`:

``trees``     extremely randomised trees (Geurts, Ernst & Wehenkel, Machine Learning 63, 2006) on the log residual;
``smooth``    kernel ridge regression of it, class by class, which goes to 0 away from what was measured;
``direct``    such trees on ln t itself, without physics.

The weights, not below 0 and 1 at most together, are chosen on calls of networks that the learners had not seen
(stacking: Breiman, Machine Learning 24, 1996), for each class, pulled towards those of all. Where the gain is less than
its standard error they are 0, and the class keeps its physics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.calibration.forest import Forest
from roofline.calibration.kernels import KERNELS

Floats = NDArray[np.float64]

CANDIDATES = ("trees", "smooth", "direct")
TREES = {"n_estimators": 40, "min_samples_leaf": 3, "max_features": 0.5, "random_state": 0, "n_jobs": -1}
FEWEST_SMOOTH = 12  # calls of a class that kernel ridge regression is made of
NOISE = 0.3  # its ridge: the variance of noise over that of the signal
LEAST_SPREAD = 0.25  # octaves: directions in which sizes differ less are not stretched further
PULL_ROWS = 30.0  # how many calls of a class weigh as much as the weights of all classes
SMEAR_ROWS = 10.0  # how many weigh as much as no correction of the mean
_CODE = {name: float(code) for code, name in enumerate(KERNELS)}  # related classes are neighbours


@dataclass(frozen=True, slots=True, eq=False)
class Learners:
    """The three learners, fitted.

    Attributes:
        names: Of the terms.
        trees, direct: The forests, as arrays.
        smooth: The ridge regressions by class.
    """

    names: tuple[str, ...]
    trees: Forest
    smooth: Mapping[str, _Ridge]
    direct: Forest

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        kernel: NDArray[np.str_],
        terms: Floats,
        physics_s: Floats,
        time_s: Floats,
        weight: ArrayLike = 1.0,
    ) -> Learners:
        """From n calls: their class, terms, (n, terms), time by physics and time as measured, in seconds.

        `weight` says how often each counts, (n,).
        """
        from sklearn.ensemble import ExtraTreesRegressor

        names = tuple(names)
        x, residual = features(names, kernel, terms, physics_s), np.log(time_s / physics_s)
        sizes = np.log2(1 + terms)
        often = np.broadcast_to(np.asarray(weight, dtype=np.float64), time_s.shape)
        smooth = {}
        for name in np.unique(kernel).tolist():
            rows = kernel == name
            if rows.sum() >= FEWEST_SMOOTH:
                smooth[name] = _Ridge.fit(sizes[rows], residual[rows], often[rows])
        return cls(
            names,
            trees=Forest.of(ExtraTreesRegressor(**TREES).fit(x, residual, often)),
            smooth=smooth,
            direct=Forest.of(ExtraTreesRegressor(**TREES).fit(x, np.log(time_s), often)),
        )

    def corrections(self, kernel: NDArray[np.str_], terms: Floats, physics_s: Floats) -> Floats:
        """What each of `CANDIDATES` would add to the logarithm of the time by physics; shape (n, 3)."""
        found = np.zeros((len(kernel), len(CANDIDATES)))
        if len(kernel):
            x = features(self.names, kernel, terms, physics_s)
            found[:, 0] = self.trees.predict(x)
            found[:, 2] = self.direct.predict(x) - np.log(physics_s)
            sizes = np.log2(1 + terms)
            for name in set(kernel.tolist()) & set(self.smooth):
                rows = kernel == name
                found[rows, 1] = self.smooth[name].predict(sizes[rows])
        return found


def features(names: Sequence[str], kernel: NDArray[np.str_], terms: Floats, physics_s: Floats) -> Floats:
    """What trees split on: the class, and in octaves the terms, their ratios to the elements, and the time by physics.

    Ratios are what a tree cannot make of sizes: MACs an element are the length of a sum, MACs a weight the positions
    of a filter, bytes read an element the stride.
    """
    sizes = np.log2(1 + terms)
    column = {name: sizes[:, [index]] for index, name in enumerate(names)}
    none = np.zeros((len(kernel), 1))
    code = np.array([[_CODE.get(name, -1.0)] for name in kernel.tolist()]).reshape(-1, 1)
    elements, macs, weights = (column.get(name, none) for name in ("elements", "macs", "weight_bytes"))
    return np.hstack([code, np.log2(physics_s)[:, np.newaxis], sizes, sizes - elements, macs - weights])


@dataclass(frozen=True, slots=True, eq=False)
class _Ridge:
    """Gaussian kernel ridge regression on the principal directions of sizes in octaves."""

    mean: Floats  # (terms,)
    directions: Floats  # (terms, d), scaled
    centres: Floats  # (n, d)
    dual: Floats  # (n,)

    @classmethod
    def fit(cls, sizes: Floats, residual: Floats, weight: Floats) -> _Ridge:
        from scipy.linalg import solve

        mean = sizes.mean(axis=0)
        _, spread, directions = np.linalg.svd(sizes - mean, full_matrices=False)
        spread = spread / np.sqrt(len(sizes))
        kept = spread > 1e-6 * max(spread[0], 1.0)
        scaled = directions[kept].T / np.maximum(spread[kept], LEAST_SPREAD)
        centres = (sizes - mean) @ scaled
        dual = solve(_likeness(centres, centres) + NOISE * np.diag(1 / weight), residual, assume_a="pos")
        return cls(mean, np.asarray(scaled), centres, np.asarray(dual, dtype=np.float64))

    def predict(self, sizes: Floats) -> Floats:
        return np.asarray(_likeness((sizes - self.mean) @ self.directions, self.centres) @ self.dual)


def _likeness(a: Floats, b: Floats) -> Floats:
    """``exp(-|a - b|^2 / 2 d)``, (n, m), of points in d directions: their usual distance is the scale."""
    square = (a**2).sum(axis=1)[:, np.newaxis] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.exp(-np.maximum(square, 0.0) / (2 * max(a.shape[1], 1))))


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """How much of each correction a class takes.

    Attributes:
        weights: By class, (3,), as `CANDIDATES`.
        shift: By class, the logarithm by which times are larger on average than at their middle, so that sums are
            unbiased ("smearing": Duan, JASA 78, 1983).
    """

    weights: Mapping[str, Floats]
    shift: Mapping[str, float]

    @classmethod
    def fit(cls, kernel: NDArray[np.str_], corrections: Floats, residual: Floats, weight: ArrayLike = 1.0) -> Blend:
        """From calls that the learners had not seen: corrections, (n, 3), and what they should have been, (n,).

        `weight` says how often each counts, (n,).
        """
        often = np.broadcast_to(np.asarray(weight, dtype=np.float64), residual.shape)
        root = np.sqrt(often)
        pull = _weights(corrections * root[:, np.newaxis], residual * root, np.zeros(len(CANDIDATES)), 0.0)
        weights, shift = {}, {}
        for name in np.unique(kernel).tolist():
            rows = kernel == name
            given, wanted, scale = corrections[rows], residual[rows], root[rows]
            chosen = _weights(given * scale[:, np.newaxis], wanted * scale, pull, PULL_ROWS / len(wanted))
            if not _gains(given @ chosen, wanted):
                continue
            weights[name] = chosen
            ratio = np.exp(np.clip(wanted - given @ chosen, -1.0, 1.0))
            trust = len(ratio) / (len(ratio) + SMEAR_ROWS)
            shift[name] = float(trust * np.log(np.average(ratio, weights=often[rows])))
        return cls(weights, shift)

    def log_factor(self, kernel: NDArray[np.str_], corrections: Floats) -> Floats:
        """What is added to the logarithm of n times by physics."""
        total = np.zeros(len(kernel))
        for name in set(kernel.tolist()) & set(self.weights):
            rows = kernel == name
            total[rows] = corrections[rows] @ self.weights[name] + self.shift[name]
        return total


def _weights(given: Floats, wanted: Floats, pull: Floats, strength: float) -> Floats:
    """Weights >= 0, 1 at most together, by least squares pulled towards others.

    Args:
        given: Corrections, (n, 3).
        wanted: What they should be, (n,).
        pull: The others.
        strength: How many times all n calls they weigh.
    """
    from scipy.optimize import nnls

    size = np.sqrt(strength * (given**2).sum() / given.shape[1])
    found, _ = nnls(np.vstack([given, size * np.eye(len(pull))]), np.concatenate([wanted, size * pull]))
    return np.asarray(found / max(found.sum(), 1.0))


def _gains(taken: Floats, wanted: Floats) -> bool:
    """Whether a correction takes away more of the squared errors than one standard error of that."""
    gain = wanted**2 - (wanted - taken) ** 2
    return len(gain) > 1 and float(gain.mean()) > float(gain.std(ddof=1)) / np.sqrt(len(gain))


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """The learned correction: learners and how they are blended."""

    learners: Learners
    blend: Blend

    def factor(self, kernel: NDArray[np.str_], terms: Floats, physics_s: Floats) -> Floats:
        """What n times by physics are multiplied by."""
        corrections = self.learners.corrections(kernel, terms, physics_s)
        return np.asarray(np.exp(self.blend.log_factor(kernel, corrections)))
