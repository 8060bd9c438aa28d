"""Forests as arrays answer as scikit-learn's do."""

import numpy as np
import pytest

from roofline.calibration.forest import LEAF, Forest


def grown(rows: int, options: dict[str, object], seed: int = 0) -> tuple[Forest, object, np.ndarray]:
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(0, 3, (rows, 6)), 1)  # ties, and values that are thresholds
    regressor = ensemble.ExtraTreesRegressor(n_estimators=7, random_state=seed, n_jobs=1, **options)
    return Forest.of(regressor.fit(x, np.sin(x[:, 0]) + x[:, 1] * x[:, 2])), regressor, x


@pytest.mark.parametrize(
    "options",
    [{}, {"min_samples_leaf": 3, "max_features": 0.5}, {"max_leaf_nodes": 9}, {"max_depth": 1}, {"max_depth": 30}],
    ids=str,
)
@pytest.mark.parametrize("rows", [1, 2, 300])
def test_the_answers_are_those_of_scikit_learn_to_the_last_bit(rows: int, options: dict[str, object]) -> None:
    """Grown depth first, or best first as with `max_leaf_nodes`, whose nodes stand in another order."""
    forest, regressor, x = grown(rows, options)
    others = np.random.default_rng(1).normal(0, 5, (200, x.shape[1]))
    for given in (x, others, others[:1], np.asfortranarray(others), others[::3]):
        assert np.array_equal(forest.predict(given), regressor.predict(given))  # type: ignore[attr-defined]


def test_a_tree_by_hand() -> None:
    forest = Forest(
        roots=np.array([0, 3], dtype=np.int32),
        feature=np.array([1, LEAF, LEAF, LEAF], dtype=np.int16),
        number=np.array([2.0, 10.0, 20.0, 4.0]),
        children=np.array([[1, 2], [1, 1], [2, 2], [3, 3]], dtype=np.int32),
    )
    assert forest.predict(np.array([[9.0, 2.0], [9.0, 2.5]])).tolist() == [7.0, 12.0]  # (10 + 4) / 2, (20 + 4) / 2
    assert forest.predict(np.zeros((0, 2))).tolist() == []
