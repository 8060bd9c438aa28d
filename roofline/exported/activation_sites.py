"""Where a graph has its activation functions: which of its ops another function may take the place of.

The author of a live network says where its activation, `act`, stands: after layers, and between the two of
squeeze-and-excitation. So of a graph, the functions of `FUNCTIONS` are activations, be they an op or
the formula of one, but for those

    that gate        sigmoid, hard sigmoid, tanh and hard tanh that are only multiplied with other values, as in
                     squeeze-and-excitation, GLU and cells of LSTMs, or are the answer of the network
    that attend      whose result is a factor of a product of two activations, as the ReLU of linear attention, which
                     keeps its weights from being negative
    of weights       what is computed from weights alone

`act` of the zoo leaves out the same (`roofline.models`): it goes to no gate and into no attention. Where an author has
kept further ones from it, as timm's MobileNetV3 keeps the ReLU in squeeze-and-excitation, no graph tells.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from roofline.errors import ModelError
from roofline.exported.onnx_nodes import GELUS, HARD_SIXTH, Node, Pattern, matches

# By the op of a `Node`: its own name, which is that of `roofline.models.activations` where that has it.
FUNCTIONS: Mapping[str, str] = {
    "Relu": "relu",
    "Relu6": "relu6",
    "LeakyRelu": "leaky_relu",
    "PRelu": "prelu",
    "Elu": "elu",
    "Selu": "selu",
    "Celu": "celu",
    "Gelu": "gelu",
    "Swish": "silu",
    "Mish": "mish",
    "HardSwish": "hardswish",
    "HardSigmoid": "hardsigmoid",
    "HardTanh": "hardtanh",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
CLIPS: Mapping[tuple[float, float], str] = {
    (0.0, 6.0): "Relu6",
    (0.0, math.inf): "Relu",
    (-1.0, 1.0): "HardTanh",
}  # by what it clips to
BOUNDED = frozenset({"hardsigmoid", "hardtanh", "sigmoid", "tanh"})  # what a gate or an answer may be
RANKS: Mapping[str, tuple[int, ...]] = {  # of what has weights for each channel: how many dimensions it works on
    "prelu": (2, 4, 5),
    **dict.fromkeys(("se_relu", "dynamic_relu_a", "dynamic_relu_b", "dynamic_shift_max"), (4,)),
}
MAX_CHANNELS = 2**18  # the widest networks have some 2^14
_HARD_SIGMOIDS: Sequence[Pattern] = [
    ("Div", ("Relu6", ("Add", "x", 3.0)), 6.0),
    ("Mul", ("Relu6", ("Add", "x", 3.0)), HARD_SIXTH),
]
# Formulas of a function, the larger before what is inside of it.
FORMULAS: Sequence[tuple[str, Sequence[Pattern]]] = (
    ("Swish", [("Mul", "x", ("Sigmoid", "x"))]),
    ("Mish", [("Mul", "x", ("Tanh", ("Softplus", "x")))]),
    (
        "HardSwish",
        [
            ("Mul", "x", ("HardSigmoid", "x")),
            *(("Mul", "x", form) for form in _HARD_SIGMOIDS),
            ("Div", ("Mul", "x", ("Relu6", ("Add", "x", 3.0))), 6.0),
            ("Mul", ("Mul", "x", ("Relu6", ("Add", "x", 3.0))), HARD_SIXTH),
        ],
    ),
    ("HardSigmoid", _HARD_SIGMOIDS),
    ("Gelu", [form for forms in GELUS.values() for form in forms]),
)
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})  # with a number it changes nothing of what is asked here
PASSES = frozenset({
    "Cast", "Dropout", "Expand", "Flatten", "Identity", "Neg", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze", "View",
})  # fmt: skip  # re-describes its input, or copies it
PRODUCTS = frozenset({"Attention", "Einsum", "MatMul"})
FACTORS = frozenset({"Div", "Mul"})


@dataclass(frozen=True, slots=True)
class Site:
    """A place where an activation function stands.

    Attributes:
        function: Its name.
        nodes: Indices of the nodes that it is.
        source, result: The values that it reads and that it writes.
    """

    function: str
    nodes: frozenset[int]
    source: str
    result: str

    @property
    def last(self) -> int:
        """Index of the node that writes the result."""
        return max(self.nodes)


def find_sites(
    nodes: Sequence[Node],
    outputs: Sequence[str],
    numbers: Mapping[str, float],
    weights: Collection[str],
    *,
    known: Sequence[Site] = (),
) -> list[Site]:
    """The activation functions of a graph, in the order they run.

    Args:
        nodes: In the order they run, by ONNX's names of ops; beside these, ``Relu6`` and ``HardTanh`` are clips.
        outputs: Names of the values that the graph returns.
        numbers: Values that are one known number.
        weights: Values that do not depend on the inputs.
        known: Sites that were found in another way; nothing in them is another.
    """
    taken = {index for site in known for index in site.nodes}
    sites = list(known)
    for index, match in matches(nodes, outputs, numbers, [patterns for _, patterns in FORMULAS]).items():
        if not match.inside & taken:
            taken |= match.inside
            op, _ = FORMULAS[match.form]
            sites.append(Site(FUNCTIONS[op], match.inside, match.bound["x"], nodes[index].outputs[0]))
    for index, node in enumerate(nodes):
        if node.op in FUNCTIONS and index not in taken:
            sites.append(Site(FUNCTIONS[node.op], frozenset({index}), node.inputs[0], node.outputs[0]))
    flow = _Flow(nodes, numbers, weights)
    return sorted((site for site in sites if flow.is_activation(site)), key=lambda site: site.last)


class _Flow:
    """What becomes of values, through all that passes them on.

    Attributes:
        fixed: Those that do not depend on the inputs.
        attending: Those that are factors of a product with another activation.
        shown: Those that something reads which does not only multiply them with others.
    """

    def __init__(self, nodes: Sequence[Node], numbers: Mapping[str, float], weights: Collection[str]) -> None:
        self.fixed = {*weights, *numbers}
        for node in nodes:
            if all(not name or name in self.fixed for name in node.inputs):
                self.fixed.update(node.outputs)
        self.attending: set[str] = set()
        self.shown: set[str] = set()
        for node in reversed(nodes):
            inputs = set(node.inputs)
            if node.op in PASSES or (node.op in ARITHMETIC and not inputs.isdisjoint(numbers)):
                for kind in (self.attending, self.shown):
                    if not kind.isdisjoint(node.outputs):
                        kind |= inputs
                continue
            loose = {name for name in inputs if name and name not in self.fixed}
            alone = inputs if not loose else loose if len(loose) == 1 else set()  # with weights and numbers at most
            if node.op in PRODUCTS:
                self.attending |= inputs - alone
            self.shown |= alone if node.op in FACTORS else inputs

    def is_activation(self, site: Site) -> bool:
        """Whether a function stands where networks have their activations."""
        if site.source in self.fixed or site.result in self.attending:
            return False
        return site.function not in BOUNDED or site.result in self.shown


def clip(low: float | None, high: float | None) -> str:
    """The op that a clip is, if it is a function of its own; a limit that it does not have is None.

    >>> clip(0, 6), clip(0, None), clip(-1, 1), clip(0, 1)
    ('Relu6', 'Relu', 'HardTanh', 'Clip')
    """
    limits = (-math.inf if low is None else low, math.inf if high is None else high)
    return CLIPS.get(limits, "Clip")


def check_channels(act: str, place: str, channels: int) -> None:
    """Refuse weights for more channels than networks have: how many there are, a file may say as it likes.

    Raises:
        ModelError: There are too many, or none.
    """
    if not 0 < channels <= MAX_CHANNELS:
        raise ModelError(f"{act} has weights for each channel, and {place!r} is said to have {channels:,} of them")
