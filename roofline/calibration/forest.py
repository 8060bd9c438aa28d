"""A forest of regression trees as arrays: what is left of one when it is grown, for which no scikit-learn is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAF = -1  # as scikit-learn marks the children of one
SIDES = ("left", "right")


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees that answer with the mean of their leaves' values; their nodes stand one after the other, tree by tree.

    Attributes:
        roots: Where each tree begins, (trees,).
        feature: What a node asks for, (nodes,); `LEAF` of a leaf, which asks nothing.
        number: A leaf's value; of other nodes, the threshold: what is not above it goes left; (nodes,).
        children: The nodes to the left and to the right, (nodes, 2); of a leaf, the leaf.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    number: Floats
    children: NDArray[np.int32]

    @classmethod
    def of(cls, regressor: Any) -> Forest:
        """A forest that scikit-learn has grown, such as its ``ExtraTreesRegressor``, of one target."""
        trees = [member.tree_ for member in regressor.estimators_]
        ends = np.cumsum([tree.node_count for tree in trees], dtype=np.int32)
        roots = np.concatenate([np.zeros(1, dtype=np.int32), ends[:-1]])
        left, right = (np.concatenate([getattr(tree, f"children_{side}") for tree in trees]) for side in SIDES)
        start = np.repeat(roots, np.diff(roots, append=ends[-1:]))
        is_leaf = left == LEAF
        own = np.arange(len(left))
        children = np.column_stack([np.where(is_leaf, own, start + side) for side in (left, right)])
        threshold = np.concatenate([tree.threshold for tree in trees])
        value = np.concatenate([tree.value[:, 0, 0] for tree in trees])
        return cls(
            roots=roots,
            feature=np.where(is_leaf, LEAF, np.concatenate([tree.feature for tree in trees])).astype(np.int16),
            number=np.where(is_leaf, value, threshold),
            children=children.astype(np.int32),
        )

    def predict(self, x: Floats) -> Floats:
        """The answers for rows of features, (n, features): those of scikit-learn on one thread, to the last bit."""
        given = np.asarray(x, dtype=np.float32)  # as trees are grown of
        node, row = np.repeat(self.roots, len(given)), np.tile(np.arange(len(given)), len(self.roots))
        going = np.flatnonzero(self.feature[node] != LEAF)
        while len(going):
            here = node[going]
            is_above = given[row[going], self.feature[here]] > self.number[here]
            here = self.children[here, is_above.astype(np.intp)]
            node[going] = here
            going = going[self.feature[here] != LEAF]
        total = np.zeros(len(given))
        for values in self.number[node].reshape(len(self.roots), len(given)):  # tree after tree, as they are added up
            total += values
        return total / len(self.roots)
