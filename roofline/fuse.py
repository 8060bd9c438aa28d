"""Which ops a compiler runs as one layer: an ordered list of rules over the dataflow.

"Epilogue" fusion, as TFLite, Core ML and the EdgeTPU compilers do it and as the MobileNetV4 analysis assumes:

1. a batch norm in eval mode folds into the weights and bias of the convolution or linear layer before it,
2. so does any other multiplication or addition by a constant per channel (a layer scale, a bias),
3. a residual add runs in the epilogue of the later of its two producers and reads the other branch from memory,
4. an activation that the device fuses runs in the epilogue of the op before it.

What is computed from constants alone, but for matrix products (a standardised weight, a frozen norm's scale), is
computed before the network runs: it is in no layer, and its results are weights. Each rule holds only if the tensor in
between has no other reader: what something else reads has to be stored anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from roofline.count import Cost, takes_batch_statistics
from roofline.graph import Graph, Op, Value
from roofline.vector_ops import ACTIVATIONS

CONVOLUTIONS = frozenset({"conv", "depthwise_conv", "grouped_conv", "pointwise_conv"})
WEIGHTED = CONVOLUTIONS | {"linear"}
CONTRACTIONS = WEIGHTED | {"matmul", "attention"}
ACTIVATION_HOSTS = CONTRACTIONS | {"elementwise", "norm", "pool"}
FOLDING_OPS = frozenset({"convolution", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm"})
FUSIONS = ("none", "epilogue")


@dataclass(slots=True)
class Group:
    """Ops that run as one layer, its main op first.

    Attributes:
        ops: Their indices in the graph.
        kind: The main op's.
        folded: Those among them that vanish into the main op's weights.
        bias_elements: Elements of the bias that folding makes; 0 where the main op has one already.
        is_affine: Whether nothing but folded ops follow the main op, so that one more can fold.
        sums: Whether a residual add is in it already; an epilogue has one second operand.
    """

    ops: list[int]
    kind: str
    folded: set[int] = field(default_factory=set)
    bias_elements: int = 0
    is_affine: bool = True
    sums: bool = False


@dataclass(frozen=True, slots=True)
class _State:
    graph: Graph
    group_of: dict[int, Group]
    readers: dict[int, int]  # id of a written value -> how often it is read; the caller of the model reads its outputs
    fused_activations: Collection[str]

    def feeding(self, value: Value) -> Group | None:
        """The group whose last op wrote all of `value`, if nobody else reads it."""
        root = value.root
        group = self.group_of.get(root.producer)
        if group is None or self.readers[id(root)] != 1 or value.extent_of_root == "other":
            return None
        return group if group.ops[-1] == root.producer else None

    def starts(self, value: Value) -> int:
        """Where the layer that writes `value` stands in the order of layers; -1 for what was there before."""
        group = self.group_of.get(value.root.producer)
        return -1 if group is None else group.ops[0]

    def is_read_between(self, group: Group, index: int, storage: int) -> bool:
        """Whether an op of another layer reads that memory after `group` has started and before op `index`."""
        between = (i for i in range(group.ops[0] + 1, index) if i not in group.ops)
        return any(value.storage == storage for i in between for value in self.graph.ops[i].inputs)


Rule = Callable[[_State, int, Op], Group | None]


def fuse(graph: Graph, costs: Sequence[Cost | None], fusion: str, fused_activations: Collection[str]) -> list[Group]:
    """Group the ops of a graph into layers, in execution order.

    Args:
        graph: The traced model.
        costs: One per op of the graph; None for a view, which is in no layer.
        fusion: ``"none"``: every op is a layer. ``"epilogue"``: the rules above.
        fused_activations: Canonical names of the activations that the device fuses.
    """
    groups: list[Group] = []
    state = _State(graph, {}, _count_readers(graph, costs), fused_activations)
    for index, (op, cost) in enumerate(zip(graph.ops, costs, strict=True)):
        if cost is None:
            continue
        host = None
        for rule in RULES if fusion == "epilogue" else ():
            host = rule(state, index, op)
            if host is not None:
                break
        if host is None:
            groups.append(host := Group([], cost.kind))
        host.ops.append(index)
        state.group_of[index] = host
    return groups


def _count_readers(graph: Graph, costs: Sequence[Cost | None]) -> dict[int, int]:
    readers: dict[int, int] = {}
    for op, cost in zip(graph.ops, costs, strict=True):
        if cost is not None:
            for value in op.inputs:
                root = id(value.root)
                readers[root] = readers.get(root, 0) + 1
            for value in op.outputs:
                readers.setdefault(id(value), 0)
    for value in graph.outputs:
        readers[id(value.root)] = readers.get(id(value.root), 0) + 1
    return readers


def _fold_batch_norm(state: _State, index: int, op: Op) -> Group | None:
    if op.name != "batch_norm" or takes_batch_statistics(op) or not all(v.is_constant for v in op.inputs[1:]):
        return None
    operand = op.inputs[0]
    group = _foldable(state, operand)
    if group is None or _channel_axis(state, group, operand) != 1:
        return None
    _fold(state, group, index, bias_elements=operand.shape[1])
    return group


def _fold_constant(state: _State, index: int, op: Op) -> Group | None:
    if op.name not in ("mul", "div", "add", "sub") or not isinstance(op.args[0], Value):
        return None
    if op.kwargs.get("rounding_mode") is not None:
        return None
    constants = [value for value in op.inputs if value.is_constant]
    operands = [value for value in op.inputs if not value.is_constant]
    if len(operands) != 1 or operands[0].shape != op.outputs[0].shape:
        return None
    if op.name in ("div", "sub") and op.args[0].is_constant:
        return None
    group = _foldable(state, operands[0])
    if group is None:
        return None
    channel = _channel_axis(state, group, operands[0])
    if not all(_is_per_channel(value, operands[0], channel) for value in constants):
        return None
    _fold(state, group, index, bias_elements=operands[0].shape[channel] if op.name in ("add", "sub") else 0)
    return group


def _foldable(state: _State, operand: Value) -> Group | None:
    """The layer with weights, so far affine in them, that wrote `operand` as it stands."""
    group = state.feeding(operand)
    if group is None or operand.extent_of_root != "same" or not group.is_affine:
        return None
    main = state.graph.ops[group.ops[0]]
    has_channels = all(len(value.shape) > 1 for value in main.inputs[:2])  # not the product with a vector
    return group if main.name in FOLDING_OPS and group.kind in WEIGHTED and has_channels else None


def _channel_axis(state: _State, group: Group, output: Value) -> int:
    """The axis of a layer's output that its weight's output channels are."""
    main = state.graph.ops[group.ops[0]]
    if main.name == "convolution":
        return len(output.shape) - len(main.inputs[1].shape) + 1  # 0 for an image without a batch
    factors = main.inputs[1:] if main.name in ("addmm", "baddbmm") else main.inputs
    return len(output.shape) - (2 if factors[0].is_weight else 1)


def _is_per_channel(constant: Value, operand: Value, channel: int) -> bool:
    offset = len(operand.shape) - len(constant.shape)
    return all(size == 1 or axis + offset == channel for axis, size in enumerate(constant.shape))


def _fold(state: _State, group: Group, index: int, bias_elements: int) -> None:
    main = state.graph.ops[group.ops[0]]
    group.folded.add(index)
    if not any(value.is_weight and len(value.shape) == 1 for value in main.inputs):
        group.bias_elements = max(group.bias_elements, bias_elements)


def _fuse_residual_add(state: _State, index: int, op: Op) -> Group | None:
    if op.name != "add" or len(op.inputs) != 2:
        return None
    later = max(op.inputs, key=state.starts)
    if later.shape != op.outputs[0].shape:
        return None
    group = state.feeding(later)
    if group is None or group.kind not in CONTRACTIONS or group.sums:
        return None
    if op.outputs[0].storage != later.storage and state.is_read_between(group, index, op.outputs[0].storage):
        return None  # in place over the other branch, whose old values a layer in between still wants
    group.is_affine, group.sums = False, True
    return group


def _fuse_activation(state: _State, index: int, op: Op) -> Group | None:
    if op.name not in state.fused_activations or op.name not in ACTIVATIONS:
        return None
    group = state.feeding(op.inputs[0])
    if group is None or group.kind not in ACTIVATION_HOSTS:
        return None
    group.is_affine = False
    return group


RULES: Sequence[Rule] = (_fold_batch_norm, _fold_constant, _fuse_residual_add, _fuse_activation)
