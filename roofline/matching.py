"""Which layer of one network is which layer of another: an alignment of two sequences.

Names alone do not tell. In a numbered container, a block that was put in shifts the name of every block behind it; and
another network has other names. So two layers may be matched where they are

    alike      of one kind, with the same shapes and MACs an image, whatever they are called
    similar    of one kind, with shapes that differ in at most one size beside the batch
    namesakes  called the same, whatever they are

and of all ways to match that keep the order of both networks, the one is taken that has the most alike pairs; then the
one whose other pairs, and whose names, agree best. It is found by the dynamic programme of Needleman & Wunsch
(J. Mol. Biol. 48(3), 1970, doi:10.1016/0022-2836(70)90057-4), without a price for a gap. Layers left over that have the
same name and kind, though elsewhere in the order, are matched last.

The result does not depend on which network is called the first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALIKE = 10**6  # more than all other points of the largest alignment together
SAME_SHAPES, SIMILAR_SHAPES, SAME_NAME, SAME_ROLE = 60, 30, 50, 5
MAX_CELLS = 4_000_000  # of the programme's table; where two networks need more, only namesakes are matched

Pair = tuple[int | None, int | None]
Ints = NDArray[np.int64]


class _Layer(NamedTuple):
    """What is compared of a layer; ordered, so that two networks are.

    Attributes:
        name: Its path.
        kind: Its kind.
        shapes: Its input and output shape without the batch.
        macs: MACs an image; a quotient, so that batches compare.
    """

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    macs: float

    @property
    def role(self) -> str:
        """Its path without numbers: ``stages.0.2.expand`` and ``stages.1.0.expand`` have one role."""
        return re.sub(r"\d+", "", self.name)


def match(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Pair]:
    """Match the layers of two analyses.

    Args:
        first, second: As plain data, schema "roofline/analysis/1".

    Returns:
        Pairs of positions in their `layers`; None for a layer that the other lacks. In the order of `second`, and the
        layers that it lacks behind those they follow in `first`.
    """
    one, two = _layers(first), _layers(second)
    swapped = (len(one), one) > (len(two), two)
    pairs = [(i, j) for j, i in _matched(two, one)] if swapped else _matched(one, two)
    return _with_gaps(pairs, len(one), len(two))


def _layers(analysis: Mapping[str, Any]) -> list[_Layer]:
    images = analysis["batch"] or 1
    return [
        _Layer(
            row["name"],
            row["kind"],
            (tuple(row["input_shape"][1:]), tuple(row["output_shape"][1:])),
            row["macs"] / images,
        )
        for row in analysis["layers"]
    ]


def _matched(one: list[_Layer], two: list[_Layer]) -> list[tuple[int, int]]:
    """What both have, in any order; the ends that are the same are not worth a programme."""
    shorter = min(len(one), len(two))
    head = next((i for i in range(shorter) if one[i] != two[i]), shorter)
    tail = next((i for i in range(shorter - head) if one[-1 - i] != two[-1 - i]), shorter - head)
    rows, columns = one[head : len(one) - tail], two[head : len(two) - tail]
    pairs = [(i, i) for i in range(head)]
    pairs += [(len(one) - 1 - i, len(two) - 1 - i) for i in range(tail)]
    if len(rows) * len(columns) <= MAX_CELLS:
        pairs += [(head + i, head + j) for i, j in _align(_scores(rows, columns))]
    return pairs + _namesakes(one, two, pairs)


def _scores(one: Sequence[_Layer], two: Sequence[_Layer]) -> Ints:
    """How well each layer of one goes with each layer of the other; 0 where they do not."""
    same_kind, same_name, same_role, same_macs = (
        _equal([getattr(layer, of) for layer in one], [getattr(layer, of) for layer in two])
        for of in ("kind", "name", "role", "macs")
    )
    likeness = _shape_likeness([layer.shapes for layer in one], [layer.shapes for layer in two])
    score = np.where(same_kind, np.array([0, SIMILAR_SHAPES, SAME_SHAPES])[likeness], 0)
    score[same_kind & same_macs & (likeness == 2)] = ALIKE
    score[same_role & (score > 0)] += SAME_ROLE
    score[same_name] += SAME_NAME
    return score


def _equal(one: Sequence[Any], two: Sequence[Any]) -> NDArray[np.bool_]:
    number = {value: i for i, value in enumerate(dict.fromkeys([*one, *two]))}
    codes = [np.array([number[value] for value in values], dtype=np.int64) for values in (one, two)]
    return np.asarray(codes[0][:, None] == codes[1])


def _shape_likeness(one: Sequence[Any], two: Sequence[Any]) -> NDArray[np.int64]:
    """2 where the shapes of two layers are the same, 1 where they are similar, else 0."""
    known = [{shapes: i for i, shapes in enumerate(dict.fromkeys(all_of))} for all_of in (one, two)]
    table = np.array([[_likeness(a, b) for b in known[1]] for a in known[0]], dtype=np.int64)
    codes = [
        np.array([known[side][shapes] for shapes in all_of], dtype=np.int64) for side, all_of in enumerate((one, two))
    ]
    return table.reshape(len(known[0]), len(known[1]))[np.ix_(*codes)]


def _likeness(one: Sequence[Sequence[int]], two: Sequence[Sequence[int]]) -> int:
    if one == two:
        return 2
    similar = all(
        len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) <= 1 for a, b in zip(one, two, strict=True)
    )
    return 1 if similar else 0


def _align(score: Ints) -> list[tuple[int, int]]:
    """The pairs of the best alignment, each row and column at most once, in order; no pair that scores 0."""
    rows, columns = score.shape
    best = np.zeros((rows + 1, columns + 1), dtype=np.int64)
    for i in range(rows):
        np.maximum(best[i, 1:], best[i, :-1] + score[i], out=best[i + 1, 1:])
        np.maximum.accumulate(best[i + 1], out=best[i + 1])
    pairs = []
    i, j = rows, columns
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs


def _namesakes(
    one: Sequence[_Layer], two: Sequence[_Layer], matched: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Of the layers left over, those of one name and kind, wherever they stand."""
    left = [
        {(layer.name, layer.kind): i for i, layer in enumerate(layers) if i not in taken}
        for layers, taken in zip((one, two), ({i for i, _ in matched}, {j for _, j in matched}), strict=True)
    ]
    counts = [Counter((layer.name, layer.kind) for layer in layers) for layers in (one, two)]
    return [(i, left[1][key]) for key, i in left[0].items() if key in left[1] and all(c[key] == 1 for c in counts)]


def _with_gaps(pairs: Sequence[tuple[int, int]], first: int, second: int) -> list[Pair]:
    """All layers of both, each once."""
    partner, matched = dict(pairs), {j for _, j in pairs}
    placed: list[tuple[int, int, Pair]] = [(j, 0, (i, j)) for i, j in pairs]
    placed += [(j, 0, (None, j)) for j in range(second) if j not in matched]
    behind = -1
    for i in range(first):
        behind = partner.get(i, behind)
        if i not in partner:
            placed.append((behind, i + 1, (i, None)))
    return [pair for *_, pair in sorted(placed, key=lambda item: item[:2])]
