"""ONNX nodes as plain records, and the patterns of nodes that are one operation.

Exporters write what a version of ONNX has no op for as several nodes: a SiLU as ``x * Sigmoid(x)``, a GELU by its
formula, a linear layer on more than two dimensions as MatMul and Add. The live model runs each as one op, and compilers
find them again, so they are put together here before anything is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from typing import Any

OWN_DOMAIN = "roofline"  # of nodes that a pattern makes
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        op: Its op type; with the domain before it, ``com.microsoft.Gelu``, where that is not ONNX's own.
        name: As the file has it, for messages.
        inputs, outputs: Names of values; an optional one that is left out is empty.
        attributes: By name: numbers, texts, lists of them, tensors as the file holds them.
        version: Of the op set of its domain.
        scopes: Paths of the modules it ran in, outermost first.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0
    scopes: tuple[str, ...] = ()


def op_key(domain: str, op_type: str) -> str:
    """``Conv``, or ``com.microsoft.Gelu``."""
    return op_type if domain in _STANDARD else f"{domain}.{op_type}"


# A pattern is an op with patterns of its inputs, a number, or the name of whatever stands there.
Pattern = tuple[Any, ...] | float | str


def _times(*factors: Pattern) -> Iterator[Pattern]:
    """The two ways to multiply three factors, two at a time, that exporters write."""
    for a, b, c in permutations(factors):
        yield ("Mul", ("Mul", a, b), c)


def _erf(x: str) -> Iterator[Pattern]:
    yield ("Add", ("Erf", ("Div", x, math.sqrt(2))), 1.0)
    yield ("Add", ("Erf", ("Mul", x, math.sqrt(0.5))), 1.0)


def _tanh(x: str) -> Iterator[Pattern]:
    for cube in (("Pow", x, 3.0), ("Mul", ("Mul", x, x), x)):
        inner = ("Add", x, ("Mul", cube, 0.044715))
        yield ("Add", ("Tanh", ("Mul", inner, math.sqrt(2 / math.pi))), 1.0)


def _gelus(forms: Callable[[str], Iterator[Pattern]]) -> list[Pattern]:
    """x/2 (1 + erf(x / sqrt 2)), or with tanh (Hendrycks & Gimpel, arXiv:1606.08415), in any order of the factors."""
    return [whole for form in forms("x") for whole in _times("x", form, 0.5)]


GELUS: Mapping[str, Sequence[Pattern]] = {"none": _gelus(_erf), "tanh": _gelus(_tanh)}  # by the approximation


def _attention() -> Iterator[Pattern]:
    """softmax(q k^T / sqrt(d) + mask) v as PyTorch's exporters write their one op: each factor times the fourth root.

    Attention that a model itself writes as products scales one factor, or the scores; it stays as it is.
    """
    transposed = [
        ("Reshape", ("Transpose", ("Reshape", "k", "flat")), "whole"),
        ("Reshape", ("Transpose", "k"), "whole"),
        ("Transpose", "k"),
    ]
    for key, scale in product(transposed, ("s", ("Sqrt", "s"))):
        scores = ("MatMul", ("Mul", "q", scale), ("Mul", key, scale))
        for masked in (scores, ("Add", scores, "mask")):
            shares = ("Softmax", masked)
            yield ("MatMul", shares, "v")
            yield ("MatMul", ("Where", ("IsNaN", shares), "zero", shares), "v")  # rows of which all is masked


_CENTRED = ("Sub", "x", ("ReduceMean", "x"))
PATTERNS: Sequence[tuple[str, Sequence[Pattern], tuple[str, ...], Mapping[str, Any]]] = (
    ("Swish", [("Mul", "x", ("Sigmoid", "x"))], ("x",), {}),
    ("Mish", [("Mul", "x", ("Tanh", ("Softplus", "x")))], ("x",), {}),
    ("HardSwish", [("Mul", "x", ("HardSigmoid", "x"))], ("x",), {}),
    *(("Gelu", forms, ("x",), {"approximate": approximate}) for approximate, forms in GELUS.items()),
    (
        "LayerNormalization",
        [("Add", ("Mul", ("Div", _CENTRED, ("Sqrt", ("Add", ("ReduceMean", ("Pow", _CENTRED, 2.0)), "e"))), "w"), "b")],
        ("x", "w", "b"),
        {"axis": -1},
    ),
    ("Linear", [("Add", ("MatMul", "x", "w"), "b")], ("x", "w", "b"), {}),
    ("Attention", list(_attention()), ("q", "k", "v", "mask"), {}),
)
HARD_SIXTH = 1 / 6  # the slope of a hard sigmoid in the middle
COMMUTATIVE = frozenset({"Add", "Mul"})
# What an op inside a pattern has to be set to: hard sigmoid as MobileNetV3 has it; means and shares over the last axis.
SETTINGS: Mapping[str, Callable[[Node], bool]] = {
    "HardSigmoid": lambda node: (
        math.isclose(node.attributes.get("alpha", 0.2), HARD_SIXTH, rel_tol=1e-3)
        and node.attributes.get("beta", 0.5) == 0.5
    ),
    "ReduceMean": lambda node: list(node.attributes.get("axes", ())) == [-1],
    "Softmax": lambda node: node.attributes.get("axis", -1 if node.version >= 13 else 1) == -1,
    "Transpose": lambda node: list(node.attributes.get("perm", ())) in ([1, 0], [0, 2, 1], [0, 1, 3, 2]),
}


def put_together(
    nodes: Sequence[Node], outputs: Sequence[str], numbers: Mapping[str, float], ranks: Mapping[str, int]
) -> list[Node]:
    """The nodes with each pattern as one of them, where nothing else reads what is inside.

    Args:
        nodes: In the order they run.
        outputs: Names of the values that the graph returns.
        numbers: Values that are one known number.
        ranks: Of the weights: a linear layer has a matrix and a vector.
    """
    found = matches(
        nodes, outputs, numbers, [patterns for _, patterns, _, _ in PATTERNS],
        fits=lambda form, bound: _fits(PATTERNS[form][0], bound, ranks),
    )  # fmt: skip
    made: dict[int, Node] = {}
    for index, match in found.items():
        op, _, names, attributes = PATTERNS[match.form]
        inputs = tuple(match.bound.get(name, "") for name in names)
        made[index] = replace(nodes[index], op=f"{OWN_DOMAIN}.{op}", inputs=inputs, attributes=attributes)
    gone = {index for match in found.values() for index in match.inside} - made.keys()
    return [made.get(index, node) for index, node in enumerate(nodes) if index not in gone]


@dataclass(frozen=True, slots=True)
class Match:
    """Where a graph has a pattern.

    Attributes:
        form: Which of those that were looked for.
        bound: What its names stand for.
        inside: Indices of its nodes; nothing else reads what they write, but for the last.
    """

    form: int
    bound: Mapping[str, str]
    inside: frozenset[int]


def matches(
    nodes: Sequence[Node],
    outputs: Sequence[str],
    numbers: Mapping[str, float],
    forms: Sequence[Sequence[Pattern]],
    *,
    fits: Callable[[int, Mapping[str, str]], bool] = lambda form, bound: True,
) -> dict[int, Match]:
    """The patterns in a graph by the index of their last node; none has a node of another.

    Args:
        nodes: In the order they run.
        outputs: Names of the values that the graph returns.
        numbers: Values that are one known number.
        forms: What to look for, each in the ways it can be written; what may be inside of another comes after it.
        fits: Whether a form may stand for these values.
    """
    graph = _Graph(nodes, outputs, numbers)
    found: dict[int, Match] = {}
    taken: set[int] = set()
    for index in range(len(nodes) - 1, -1, -1):  # from the end, so that the largest is found first
        if index in taken:
            continue
        for form, patterns in enumerate(forms):
            match = graph.match(index, patterns)
            if match is not None and not taken & match[1] and fits(form, match[0]):
                found[index] = Match(form, match[0], frozenset(match[1]))
                taken |= match[1]
                break
    return found


def _fits(op: str, bound: Mapping[str, str], ranks: Mapping[str, int]) -> bool:
    """Whether the weights in it are what they have to be: a matrix and a vector; one number, or computed."""
    if op == "Linear":
        return ranks.get(bound["w"]) == 2 and ranks.get(bound["b"]) == 1
    return op != "Attention" or ranks.get(bound["s"], 0) <= 1


class _Graph:
    """Who writes and who reads each value."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[str], numbers: Mapping[str, float]) -> None:
        self.nodes, self.numbers = nodes, numbers
        self.producer = {name: index for index, node in enumerate(nodes) for name in node.outputs}
        self.readers: dict[str, set[int]] = {name: {-1} for name in outputs}
        for index, node in enumerate(nodes):
            for name in node.inputs:
                self.readers.setdefault(name, set()).add(index)

    def match(self, index: int, patterns: Sequence[Pattern]) -> tuple[dict[str, str], set[int]] | None:
        """What a pattern's names stand for, and which nodes are inside, if one of the patterns ends with that node."""
        (output, *_) = self.nodes[index].outputs
        for pattern in patterns:
            for bound, inside in self._matches(pattern, output, {}):
                private = {name for i in inside - {index} for name in self.nodes[i].outputs}
                if all(self.readers.get(name, set()) <= inside for name in private):
                    return bound, inside
        return None

    def _matches(self, pattern: Pattern, name: str, bound: dict[str, str]) -> Iterator[tuple[dict[str, str], set[int]]]:
        if isinstance(pattern, float):
            if name in self.numbers and math.isclose(self.numbers[name], pattern, rel_tol=1e-3):
                yield bound, set()
            return
        if isinstance(pattern, str):
            if bound.get(pattern, name) == name:
                yield {**bound, pattern: name}, set()
            return
        op, *operands = pattern
        index = self.producer.get(name)
        if index is None or self.nodes[index].op != op or (op in SETTINGS and not SETTINGS[op](self.nodes[index])):
            return
        inputs = self.nodes[index].inputs
        if len(inputs) != len(operands):
            return
        for order in [inputs, inputs[::-1]] if op in COMMUTATIVE else [inputs]:
            for found, inside in self._all(operands, order, bound):
                yield found, inside | {index}

    def _all(
        self, patterns: Sequence[Pattern], names: Sequence[str], bound: dict[str, str]
    ) -> Iterator[tuple[dict[str, str], set[int]]]:
        if not patterns:
            yield bound, set()
            return
        for found, inside in self._matches(patterns[0], names[0], bound):
            for rest, more in self._all(patterns[1:], names[1:], found):
                yield rest, inside | more
