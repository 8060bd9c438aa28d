"""Which parameters explain latency, where the law of it is known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from roofline.exploring.parameters import FEWEST_NETWORKS, MOST_OPTIONS, Feature, features, importance
from roofline.exploring.statistics import rank_correlation
from tests.explored import networks

PARAMETERS = ("stem", "widths", "depths", "blocks", "activation", "always")


def values(table: pa.Table, *parameters: str) -> dict[str, list[float]]:
    return {feature.name: feature.values.tolist() for feature in features(table, parameters)}


def test_parameters_become_numbers() -> None:
    table = pa.table(
        {
            "w0": [8, 16, 24],
            "widths": [[8, 16], [4], []],
            "blocks": [["a", "b", "b"], ["b"], ["a", "a"]],
            "act": ["relu", "silu", "relu"],
            "se": [True, False, None],
            "ratio": pa.array([0.5, None, 1.5]),
            "same": [1, 1, 1],
            "fixed": [[0.1, 0.2, 0.3]] * 3,
            "nothing": pa.array([None, None, None]),
        }
    )
    assert values(table, *table.column_names) == {
        "w0": [8, 16, 24],
        "mean of widths": [12, 4, 0],
        "first of widths": [8, 4, 0],
        "last of widths": [16, 4, 0],
        "length of widths": [2, 1, 0],
        "share of a in blocks": [pytest.approx(1 / 3), 0, 1],
        "length of blocks": [3, 1, 2],
        "act = relu": [1, 0, 1],
        "se": [1, 0, 0],
        "ratio": [0.5, 0, 1.5],
    }


def test_lists_of_a_slice_and_of_several_chunks_are_their_own() -> None:
    table = pa.concat_tables([pa.table({"d": [[1, 2], [3]]}), pa.table({"d": [[5], [7, 8]]})])
    assert values(table.slice(1, 3), "d")["first of d"] == [3, 5, 7]
    assert values(table.slice(1, 3), "d")["last of d"] == [3, 5, 8]


def test_of_many_words_the_frequent_ones_are_told() -> None:
    words = [f"w{number:02}" for number in range(20) for _ in range(20 - number)]
    names = list(values(pa.table({"word": words}), "word"))
    assert names == [f"word = w{number:02}" for number in range(MOST_OPTIONS)]


def test_the_parameters_of_the_law_are_found() -> None:
    """On one device the stem and the activation, on the other what the MACs are made of."""
    table = networks(1500)
    found = features(table, PARAMETERS)
    latency = np.column_stack([table.column(f"latency_s:{device}").to_numpy() for device in ("fast_npu", "slow_cpu")])
    grown = importance(found, latency)
    assert grown is not None
    assert (grown.seen, grown.unseen) == (1000, 500)
    assert "always" not in grown.parameters
    lost = dict(zip(grown.parameters, grown.lost, strict=True))
    assert grown.explained[0] > 0.95
    assert grown.explained[1] > 0.8
    assert sorted(lost, key=lambda name: -lost[name][0])[:2] == ["stem", "activation"]
    assert {max(lost, key=lambda name: lost[name][1])} == {"widths"}
    for name in ("widths", "depths", "blocks"):
        assert abs(lost[name][0]) < 0.05
    correlation = rank_correlation(np.column_stack([feature.values for feature in found]), latency)
    by_name = {feature.name: row for feature, row in zip(found, correlation, strict=True)}
    assert by_name["stem"][0] > 0.8 > 0.1 > abs(by_name["stem"][1])
    assert by_name["mean of widths"][1] > 0.6


def test_single_columns_have_the_importance_that_scikit_learn_gives_them() -> None:
    """Groups of one column are its `permutation_importance`, but for the shuffles."""
    random = np.random.default_rng(3)
    inputs = random.uniform(0, 1, (900, 3))
    latency = np.exp(2 * inputs[:, 0] + inputs[:, 1])[:, None]
    of = [Feature(name=name, parameter=name, values=inputs[:, i]) for i, name in enumerate("abc")]
    grown = importance(of, latency)
    assert grown is not None
    target = np.log(latency[:, 0])
    forest = RandomForestRegressor(60, min_samples_leaf=3, max_features=0.5, random_state=1).fit(
        inputs[:600], target[:600]
    )
    reference = permutation_importance(forest, inputs[600:], target[600:], n_repeats=20, random_state=1)
    assert grown.explained[0] == pytest.approx(forest.score(inputs[600:], target[600:]), abs=0.03)
    assert grown.lost[:, 0] == pytest.approx(reference.importances_mean, abs=0.12)


def test_columns_that_tell_the_same_do_not_hide_each_other() -> None:
    """Shuffled one by one, each of two equal columns leaves the other to tell; as one parameter they cannot."""
    random = np.random.default_rng(5)
    width, noise = random.uniform(0, 1, 600), random.uniform(0, 1, 600)
    latency = np.exp(width)[:, None]
    twice = [Feature(name=name, parameter="widths", values=width) for name in ("mean of widths", "last of widths")]
    apart = [Feature(name=name, parameter=name, values=width) for name in ("mean", "last")]
    other = Feature(name="noise", parameter="noise", values=noise)
    together, single = importance([*twice, other], latency), importance([*apart, other], latency)
    assert together is not None
    assert single is not None
    assert together.lost[0, 0] > 1.5 > 1.4 * single.lost[:2, 0].max()


def test_too_few_networks_make_no_forest() -> None:
    table = networks(FEWEST_NETWORKS - 1)
    latency = table.column("latency_s:slow_cpu").to_numpy()[:, None]
    assert importance(features(table, PARAMETERS), latency) is None
    assert importance([], np.ones((100, 1))) is None


def test_a_latency_that_is_always_the_same_is_explained_by_nothing() -> None:
    grown = importance(features(networks(90), ["stem"]), np.full((90, 2), 0.5))
    assert grown is not None
    assert grown.explained.tolist() == [0, 0]
    assert grown.lost.tolist() == [[0, 0]]
