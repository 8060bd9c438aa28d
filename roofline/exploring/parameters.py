r"""Which parameters of a space explain the latency of its networks: what each tells alone, and what a forest loses.

Parameters become numbers (`features`): a number is itself, a list its mean, first, last and length, a choice among few
words one column of zeros and ones a word. Two measures, which answer two questions:

- **Rank correlation** (Spearman 1904) of a feature with latency: does latency grow where this grows? It needs no model,
  and sees one feature at a time.
- **Grouped permutation importance**: a random forest (Breiman, Machine Learning 45(1), 2001,
  doi:10.1023/A:1010933404324) learns the logarithm of latency from all features of some networks. On networks that it
  has not seen, all features of one parameter are shuffled together, which no other network then fits; how much of the
  explained variance that costs is the importance of the parameter. Shuffling the columns of a parameter together is the
  measure of Gregorutti, Michel & Saint-Pierre (Computational Statistics & Data Analysis 90, 2015,
  doi:10.1016/j.csda.2015.04.002): taken one by one, columns that tell the same stand in for each other, and each looks
  unimportant. The same holds for parameters that depend on each other, as depth and widths may.

Neither says what would happen to one network if one parameter were changed and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.exploring.statistics import Floats, Ints

if TYPE_CHECKING:
    import pyarrow as pa

MOST_OPTIONS = 12  # words of a choice that get a column each; the rarer ones get none
FOREST = {"n_estimators": 60, "min_samples_leaf": 3, "max_features": 0.5, "random_state": 0, "n_jobs": 1}
MOST_NETWORKS = 4000  # for the forest; a third of them unseen
FEWEST_NETWORKS = 60  # of which a forest is made
SHUFFLES = 5


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Feature:
    """One number for each network, made of a parameter.

    Attributes:
        name: ``"w0"``, ``"mean of widths"``, ``"activation = silu"``.
        parameter: What it is made of.
        values: Shape (networks,).
    """

    name: str
    parameter: str
    values: Floats


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Importance:
    """What a forest says of the parameters.

    Attributes:
        seen, unseen: Networks that it learned from, and that it was judged by.
        explained: Share of the variance of log latency that it explains in the unseen ones, R squared; (targets,).
        lost: How much of that is lost when a parameter is shuffled, in R squared; shape (parameters, targets).
        parameters: In the order of the rows of `lost`.
    """

    seen: int
    unseen: int
    explained: Floats
    lost: Floats
    parameters: tuple[str, ...]


def features(table: pa.Table, parameters: Sequence[str]) -> list[Feature]:
    """The parameters as numbers; without those that all networks share, and those that are neither number nor word."""
    made = (feature for name in parameters for feature in _features_of(name, table.column(name).combine_chunks()))
    return [feature for feature in made if _varies(feature.values)]


def _varies(values: Floats) -> bool:
    """Beyond what sums in another order differ by."""
    return len(values) > 0 and bool(np.ptp(values) > 1e-12 * np.abs(values).max())


def _features_of(name: str, column: pa.Array) -> Iterator[Feature]:
    import pyarrow.types as is_type

    kind = column.type
    if _is_number(kind):
        yield Feature(name=name, parameter=name, values=_numbers(column))
    elif _is_word(kind):
        for option in _options(column):
            yield Feature(name=f"{name} = {option}", parameter=name, values=_is(column, option))
    elif is_type.is_list(kind) or is_type.is_large_list(kind) or is_type.is_fixed_size_list(kind):
        yield from _features_of_lists(name, column)


def _features_of_lists(name: str, column: pa.Array) -> Iterator[Feature]:
    import pyarrow.compute as pc

    lengths = _numbers(pc.list_value_length(column)).astype(np.int64)
    items = column.flatten()  # without those of missing lists
    starts = np.cumsum(lengths) - lengths
    if _is_number(items.type):
        values = _numbers(items)
        yield Feature(name=f"mean of {name}", parameter=name, values=_means(values, starts, lengths))
        for place, at in (("first", starts), ("last", starts + lengths - 1)):
            picked = np.append(values, 0.0)[np.where(lengths > 0, at, -1)]
            yield Feature(name=f"{place} of {name}", parameter=name, values=picked)
    elif _is_word(items.type):
        for option in _options(items):
            values = _means(_is(items, option), starts, lengths)
            yield Feature(name=f"share of {option} in {name}", parameter=name, values=values)
    else:
        return
    yield Feature(name=f"length of {name}", parameter=name, values=lengths.astype(np.float64))


def _means(values: Floats, starts: Ints, lengths: Ints) -> Floats:
    """The mean of each stretch of `values`; 0 of an empty one."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means: Floats = (sums[starts + lengths] - sums[starts]) / np.maximum(1, lengths)
    return means


def _is_number(kind: Any) -> bool:
    import pyarrow.types as is_type

    return bool(is_type.is_integer(kind) or is_type.is_floating(kind) or is_type.is_boolean(kind))


def _is_word(kind: Any) -> bool:
    import pyarrow.types as is_type

    return bool(is_type.is_string(kind) or is_type.is_large_string(kind) or is_type.is_dictionary(kind))


def _numbers(column: pa.Array) -> Floats:
    """As floats; what is missing is 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(pc.cast(column, pa.float64()), 0.0)
    return np.asarray(np.nan_to_num(filled.to_numpy(zero_copy_only=False)), dtype=np.float64)


def _options(column: pa.Array) -> list[str]:
    """The words of a column, the most frequent first; one fewer where they are two, as one column tells both."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counted = pc.value_counts(pc.drop_null(pc.cast(column, pa.string()))).to_pylist()
    counted.sort(key=lambda found: (-found["counts"], found["values"]))
    words = [found["values"] for found in counted]
    return words[:1] if len(words) == 2 else words[:MOST_OPTIONS]


def _is(column: pa.Array, option: str) -> Floats:
    import pyarrow as pa
    import pyarrow.compute as pc

    same = pc.fill_null(pc.equal(pc.cast(column, pa.string()), option), False)
    return np.asarray(same.to_numpy(zero_copy_only=False), dtype=np.float64)


# --- a forest ---------------------------------------------------------------------------------------------------------


def has_forest() -> bool:
    """Whether scikit-learn, the extra `learn`, is there to grow one."""
    return find_spec("sklearn") is not None


def importance(of: Sequence[Feature], latency_s: Floats) -> Importance | None:
    """Grouped permutation importance of each parameter for each latency; None of too few networks or features.

    Args:
        of: The features, of as many networks each.
        latency_s: Above 0; shape (networks, targets). The networks must be in an order without meaning.
    """
    count = min(len(latency_s), MOST_NETWORKS)
    if not of or count < FEWEST_NETWORKS:
        return None
    from sklearn.ensemble import RandomForestRegressor

    inputs = np.column_stack([feature.values[:count] for feature in of])
    targets = np.log(latency_s[:count])
    spread = targets.std(axis=0)
    targets = (targets - targets.mean(axis=0)) / np.where(spread > 0, spread, 1)  # each device counts as much
    seen = count - count // 3
    forest = RandomForestRegressor(**FOREST)
    forest.fit(inputs[:seen], targets[:seen] if targets.shape[1] > 1 else targets[:seen, 0])
    unseen, true = inputs[seen:], targets[seen:]

    def explained(tried: Floats) -> Floats:
        return _explained(true, forest.predict(tried).reshape(true.shape))

    whole = explained(unseen)
    parameters = tuple(dict.fromkeys(feature.parameter for feature in of))
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(unseen)) for _ in range(SHUFFLES)]  # the same ones for every parameter
    lost = np.empty((len(parameters), true.shape[1]))
    for row, parameter in enumerate(parameters):
        columns = [place for place, feature in enumerate(of) if feature.parameter == parameter]
        lost[row] = np.mean([whole - explained(_shuffled(unseen, columns, order)) for order in orders], axis=0)
    return Importance(seen=seen, unseen=len(unseen), explained=whole, lost=lost, parameters=parameters)


def _shuffled(inputs: Floats, columns: Sequence[int], order: Ints) -> Floats:
    shuffled = inputs.copy()
    shuffled[:, columns] = inputs[order][:, columns]
    return shuffled


def _explained(true: Floats, predicted: Floats) -> Floats:
    """R squared of each column; 0 where all are the same."""
    residual = ((true - predicted) ** 2).sum(axis=0)
    total = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), 0.0)
